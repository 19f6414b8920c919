//! A link that corrupts, truncates, duplicates, reorders and drops: nothing panics, no span is invented,
//! and each missing span is in the ledger.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod frames;

use frames::{Host, describe, encoder, input, record, send};
use proptest::prelude::*;
use spanlet::drain::{Delivery, Drain, RecordSource};
use spanlet::frame::{
    Ack, Body, DeviceCounters, Epoch, Frame, FrameEncoder, Link, Message, Progress, StreamDecoder,
};
use spanlet::testing::ManualClock;
use spanlet::{LocalRecord, Ticks};
use std::collections::HashSet;

/// What the link does to frames and bytes.
#[derive(Clone, Debug)]
enum Harm {
    DropFrame(usize),
    Duplicate(usize),
    Swap(usize, usize),
    Flip(usize, u8),
    Cut(usize, usize),
    Garbage(usize, Vec<u8>),
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = any::<usize>;
    prop_oneof![
        3 => at().prop_map(Harm::DropFrame),
        2 => at().prop_map(Harm::Duplicate),
        2 => (at(), 1usize..9).prop_map(|(a, b)| Harm::Swap(a, b)),
        3 => (at(), 1u8..).prop_map(|(a, b)| Harm::Flip(a, b)),
        2 => (at(), 1usize..300).prop_map(|(a, b)| Harm::Cut(a, b)),
        1 => (at(), proptest::collection::vec(any::<u8>(), 1..80)).prop_map(|(a, b)| Harm::Garbage(a, b)),
    ]
}

fn harmed(mut frames: Vec<Vec<u8>>, harms: &[Harm]) -> Vec<u8> {
    for harm in harms {
        let n = frames.len();
        match harm {
            _ if n == 0 => {}
            Harm::DropFrame(i) => drop(frames.remove(i % n)),
            Harm::Duplicate(i) => frames.insert(n / 2, frames[i % n].clone()),
            Harm::Swap(i, by) => frames.swap(i % n, (i.wrapping_add(*by)) % n),
            _ => {}
        }
    }
    let mut stream = frames.concat();
    for harm in harms {
        let n = stream.len();
        match harm {
            _ if n == 0 => {}
            Harm::Flip(i, bits) => stream[i % n] ^= bits,
            Harm::Cut(i, len) => drop(stream.drain(i % n..(i % n + len).min(n))),
            Harm::Garbage(i, bytes) => stream
                .splice(i % n..i % n, bytes.iter().copied())
                .for_each(drop),
            _ => {}
        }
    }
    stream
}

fn feed(decoder: &mut StreamDecoder<2048>, host: &mut Host, mut bytes: &[u8]) {
    while let Progress::Frame(frame) = decoder.feed(&mut bytes) {
        host.take(frame);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_missing_span_is_in_the_ledger(
        inputs in proptest::collection::vec(input(), 1..20),
        harms in proptest::collection::vec(harm(), 0..12),
        mtu in 100usize..600,
    ) {
        record(&inputs, |records| {
            let link = Link::stream().with_mtu(mtu);
            let mut encoder: Box<FrameEncoder<8192, 32>> = encoder(link);
            let (frames, unsendable) = send(&mut encoder, 0, records);
            let (mut decoder, mut host) = (StreamDecoder::<2048>::new(), Host::default());
            feed(&mut decoder, &mut host, &harmed(frames, &harms));
            // The link has recovered. One heartbeat tells of the tail, as many as there are symbols teach
            // them all; a delimiter first, as after every failure.
            feed(&mut decoder, &mut host, &[0]);
            let n = records.len() as u32;
            let counters = DeviceCounters { started: n, recorded: n, unsendable, ..DeviceCounters::default() };
            for _ in 0..=encoder.dictionary().len() {
                encoder.finish_at(n, None, &counters);
                while let Some(frame) = encoder.frame(Ticks(8_000_000)) {
                    feed(&mut decoder, &mut host, frame);
                }
            }

            assert_eq!(host.unresolved(), 0, "all texts were announced again");
            let mut seen = HashSet::new();
            for (sequence, got) in &host.spans {
                assert!(seen.insert(*sequence), "{sequence} came out twice");
                assert_eq!(*got, describe(&records[*sequence as usize]));
            }
            let ledger = host.tracker.ledger();
            assert!(ledger.is_balanced(), "{ledger:?}");
            assert_eq!(ledger.started, u64::from(n));
            assert_eq!(ledger.received as usize, host.spans.len());
            assert_eq!(ledger.received + ledger.link_lost + ledger.unsendable, u64::from(n));
            if harms.is_empty() {
                assert_eq!((ledger.link_lost, ledger.duplicate, host.refused), (0, 0, 0));
            }
        });
    }

    #[test]
    fn nothing_panics_on_any_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        valid_crc in any::<bool>(),
    ) {
        let mut frame = vec![spanlet::frame::CHANNEL, bytes.first().map_or(0, |b| b & 1), 0];
        frame.extend(bytes);
        let crc = if valid_crc { crc32(&frame) } else { 1 };
        frame.extend(crc.to_le_bytes());
        if let Ok(frame) = Frame::parse(&frame) {
            match frame.body() {
                Body::Records(batch) => {
                    let (mut records, mut scratch) = (batch.records(), [0; 300]);
                    let symbols = frames::Grown::default();
                    while let Some(record) = records.decode_next(&symbols, &mut scratch) {
                        if let Ok(record) = record {
                            let _ = describe(&record.span);
                        }
                    }
                }
                Body::Message(Message::Hello(hello)) => {
                    let _ = hello.resource.for_each(|_| ());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn acknowledged_delivery_survives_every_flap(
        inputs in proptest::collection::vec(input(), 1..20),
        script in proptest::collection::vec((any::<u16>(), any::<u16>()), 1..40),
    ) {
        record(&inputs, |records| {
            let mut source = Kept { records, next: 0, released: 0 };
            let delivery = Delivery::Acknowledged { resend_after_ticks: 1000 };
            let link = Link::datagrams(300);
            let mut drain: Box<Drain<8192, 32>> = Box::new(Drain::new(Epoch(1), link, delivery));
            let (clock, mut host) = (ManualClock::new(), Host::default());
            let mut script = script.into_iter();
            for round in 0..400 {
                let (lost_up, lost_down) = script.next().unwrap_or((0, 0));
                let mut bit = 0;
                while let Some(frame) = drain.next_frame(&mut source, &clock) {
                    if lost_up >> (bit % 16) & 1 == 0 {
                        host.take(frame);
                    }
                    bit += 1;
                }
                if lost_down & 1 == 0 {
                    let next = host.tracker.next_missing();
                    let ack = Message::Ack(Ack { next });
                    drain.handle(&mut source, &ack, Ticks(round * 600));
                }
                clock.advance(600);
                drain.heartbeat();
                if source.released as usize == records.len() && host.unresolved() == 0 {
                    break;
                }
            }
            let ledger = host.tracker.ledger();
            assert!(ledger.is_balanced(), "{ledger:?}");
            assert_eq!((host.spans.len(), ledger.link_lost), (records.len(), 0), "{ledger:?}");
            for (sequence, got) in &host.spans {
                assert_eq!(*got, describe(&records[*sequence as usize]));
            }
        });
    }
}

/// A source that keeps its records until they are released.
struct Kept<'a> {
    records: &'a [LocalRecord<'a>],
    next: u32,
    released: u32,
}

impl RecordSource for Kept<'_> {
    fn peek(&mut self) -> Option<(u32, LocalRecord<'_>)> {
        self.records
            .get(self.next as usize)
            .map(|r| (self.next, *r))
    }
    fn advance(&mut self) {
        self.next += 1;
    }
    fn release_before(&mut self, next: u32) {
        assert!(next <= self.next, "released before it was read");
        self.released = self.released.max(next);
    }
    fn rewind(&mut self) -> bool {
        self.next = self.released;
        true
    }
    fn counters(&mut self) -> DeviceCounters {
        let n = self.records.len() as u32;
        DeviceCounters {
            started: n,
            recorded: n,
            ..DeviceCounters::default()
        }
    }
}

/// A link that fails now and then: whole writes, and between two bytes.
struct Failing {
    bytes: Vec<u8>,
    fail_after: usize,
}
impl embedded_io::ErrorType for Failing {
    type Error = embedded_io::ErrorKind;
}
impl embedded_io::Write for Failing {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        if self.fail_after == 0 {
            return Err(embedded_io::ErrorKind::ConnectionReset);
        }
        let n = buf.len().min(self.fail_after).min(50);
        self.fail_after -= n;
        self.bytes.extend_from_slice(&buf[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_failing_writer_costs_a_source_that_keeps_nothing(
        inputs in proptest::collection::vec(input(), 1..20),
        failures in proptest::collection::vec(0usize..3000, 0..5),
    ) {
        record(&inputs, |records| {
            let mut source = Kept { records, next: 0, released: 0 };
            let link = Link::stream().with_mtu(300);
            let mut drain: Box<Drain<8192, 32>> = Box::new(Drain::new(Epoch(1), link, Delivery::OneWay));
            let (clock, mut host) = (ManualClock::new(), Host::default());
            let mut decoder = StreamDecoder::<2048>::new();
            for fail_after in failures.into_iter().chain([usize::MAX; 40]) {
                let mut wire = Failing { bytes: Vec::new(), fail_after };
                let done = drain.drain(&mut source, &mut wire, &clock, 1000);
                assert_eq!(done.is_ok(), fail_after == usize::MAX || wire.fail_after != 0);
                if let Err(error) = done {
                    assert!(error.will_resend);
                    wire.bytes.push(0);
                }
                feed(&mut decoder, &mut host, &wire.bytes);
                drain.heartbeat();
            }
            assert_eq!(source.released as usize, records.len());
            let ledger = host.tracker.ledger();
            assert!(ledger.is_balanced(), "{ledger:?}");
            assert_eq!((host.spans.len(), host.unresolved(), ledger.link_lost), (records.len(), 0, 0));
        });
    }
}

/// Bit by bit, as an oracle of the wire's.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    !crc
}
