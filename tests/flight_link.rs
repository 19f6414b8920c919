//! A flight recorder on a link with acknowledgements: what it overwrites while the link is down holds nothing up,
//! and the host's ledger says of each span where it went.
#![cfg(not(any(loom, step)))]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "tests")]

mod flight;
mod frames;

use flight::{Board, DeviceSpan, Image, text};
use frames::Host;
use proptest::prelude::*;
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Ack, Body, Epoch, Frame, Link, MAX_UNACKNOWLEDGED, Message};
use spanlet::{FlightRecords, RecordSource, Ticks};
use std::collections::BTreeSet;

const PAUSE: u64 = 1000;

struct World<'a> {
    board: Board,
    records: FlightRecords<'a, { flight::N }, { flight::K }>,
    drain: Drain<512, 8>,
    host: Host,
    now: u64,
    recorded: u32,
    /// Numbers that were in some frame, arrived or not.
    sent: BTreeSet<u32>,
}

/// A round: spans before the frames go and after each of them; which frames are lost; whether the answer is.
#[derive(Clone, Copy, Debug)]
struct Round {
    before: u32,
    between: u32,
    lost: u16,
    answer_lost: bool,
}
const FINE: Round = Round {
    before: 0,
    between: 0,
    lost: 0,
    answer_lost: false,
};
const CUT: Round = Round {
    lost: u16::MAX,
    answer_lost: true,
    ..FINE
};

impl<'a> World<'a> {
    fn new(scratch: &'a mut [u64]) -> Self {
        let board = Board::power_up(&Image::BLANK, false);
        board.attach(1);
        let delivery = Delivery::Acknowledged {
            resend_after_ticks: PAUSE,
        };
        World {
            records: board.tracer.records(scratch).expect("nobody else reads"),
            board,
            drain: Drain::new(Epoch(1), Link::datagrams(160), delivery),
            host: Host::default(),
            now: 0,
            recorded: 0,
            sent: BTreeSet::new(),
        }
    }
    /// Spans that say their numbers, each `also` with another attribute.
    fn spans(&mut self, count: u32, also: bool) {
        for _ in 0..count {
            let mut span: DeviceSpan = self.board.tracer.span(text("handler")).start();
            span.set_attribute(text("n"), self.recorded);
            if also {
                span.set_attribute(text("long"), "four words more");
            }
            self.recorded += 1;
        }
    }
    fn round(&mut self, round: Round) {
        self.spans(round.before, false);
        self.drain.heartbeat();
        let mut bit = 0;
        let clock = self.board.tracer.clock();
        while let Some(frame) = self.drain.next_frame(&mut self.records, clock) {
            if let Body::Records(batch) = Frame::parse(frame).expect("whole").body() {
                (self.sent).extend((0..batch.count()).map(|i| batch.first() + i));
            }
            if round.lost >> (bit % 16) & 1 == 0 {
                self.host.take(frame);
                let ledger = self.host.tracker.ledger();
                assert!(ledger.is_balanced(), "{ledger:?}");
            }
            // Each overwrites what comes next, but not for ever.
            if bit < 20 {
                self.spans(round.between, false);
            }
            bit += 1;
        }
        if !round.answer_lost {
            let next = self.host.tracker.next_missing();
            let ack = Message::Ack(Ack { next });
            (self.drain).handle(&mut self.records, &ack, Ticks(self.now));
        }
        self.now += PAUSE * 3 / 5;
        self.board.tracer.clock().set(Ticks(self.now));
    }
    /// Fine weather until the host has heard of all there is, which must be soon.
    fn recovers(&mut self, unsendable: u32) {
        let mut rounds = 0;
        while self.host.tracker.next_missing() != self.recorded {
            self.round(FINE);
            rounds += 1;
            let ledger = self.host.tracker.ledger();
            assert!(rounds < 12 + self.pauses(), "stalled: {ledger:?}");
        }
        self.round(FINE);

        let mut arrived = BTreeSet::new();
        for (sequence, span) in &self.host.spans {
            assert!(arrived.insert(*sequence), "{sequence} came out twice");
            assert!(span.contains(&format!("\"n\": I64({sequence})")), "{span}");
        }
        assert!(arrived.is_subset(&self.sent));
        let ledger = self.host.tracker.ledger();
        assert!(ledger.is_balanced(), "{ledger:?}");
        let lost = u64::from(self.recorded) - arrived.len() as u64;
        assert_eq!(ledger.started, u64::from(self.recorded));
        assert_eq!(ledger.received, arrived.len() as u64);
        assert_eq!(ledger.unsendable, u64::from(unsendable));
        assert_eq!(
            (ledger.overwritten, ledger.pending, ledger.open),
            (lost - u64::from(unsendable), 0, 0),
            "{ledger:?}"
        );
        assert_eq!(
            (ledger.link_lost, ledger.acknowledged_elsewhere),
            (0, 0),
            "{ledger:?}"
        );
    }
    /// Rounds that the drain may wait before it sends again: it doubles its pause while the host is silent.
    fn pauses(&self) -> u32 {
        2 * 64
    }
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let round = (0..9u32, 0..3u32, any::<u16>(), any::<u16>(), any::<bool>());
    let round = round.prop_map(|(before, between, a, b, answer_lost)| Round {
        before,
        between,
        lost: a & b,
        answer_lost,
    });
    let outage = (0..60u32).prop_map(|before| Round { before, ..CUT });
    prop::collection::vec(prop_oneof![3 => round, 1 => outage], 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_overwritten_holds_nothing_up(rounds in rounds()) {
        let mut scratch = [0; 64];
        let mut world = World::new(&mut scratch);
        for round in rounds {
            world.round(round);
        }
        world.recovers(0);
    }
}

/// More spans than may be under way, while nothing gets through: sent into the void, or not at all.
#[test]
fn an_outage_longer_than_the_window() {
    let most = 2 * MAX_UNACKNOWLEDGED;
    for (before, each) in [(0, most), (0, 3), (4, most), (4, 3)] {
        let mut scratch = [0; 64];
        let mut world = World::new(&mut scratch);
        world.spans(before, false);
        world.round(FINE);
        while world.recorded < most {
            world.round(Round {
                before: each,
                ..CUT
            });
        }
        world.recovers(0);
        let ledger = world.host.tracker.ledger();
        assert!(
            ledger.overwritten > u64::from(MAX_UNACKNOWLEDGED),
            "{ledger:?}"
        );
        assert!(ledger.received > u64::from(before), "{ledger:?}");
    }
}

/// Records that the reader's memory does not hold are met again with each resend, and counted once.
#[test]
fn an_unsendable_record_counts_once() {
    let mut scratch = [0; 12];
    let mut world = World::new(&mut scratch);
    world.spans(1, false);
    world.spans(2, true);
    world.spans(1, false);
    for _ in 0..9 {
        world.round(CUT);
    }
    assert!(world.records.counters().unsendable == 2);
    world.recovers(2);
    assert_eq!(world.host.tracker.ledger().received, 2);
}
