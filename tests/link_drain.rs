//! The drain by itself: what it does with acknowledgements, numbers that are left out, a silent host, and futures
//! that are dropped in the middle of a frame. And the reassembly of fragments in any order.
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
    Ack, Body, DeviceCounters, Epoch, Frame, FrameEncoder, Link, MAX_UNACKNOWLEDGED, Message,
    Progress, Reassembled, Reassembler, RecordBatch, SequenceTracker, StreamDecoder, TraceCommand,
};
use spanlet::testing::{ManualClock, TestTracer};
use spanlet::{InlineBuf, LocalRecord, SpanContext, Ticks, TraceFlags};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A source of `count` records, all the same, without the numbers `left_out`.
struct Numbers<'a> {
    record: LocalRecord<'a>,
    count: u32,
    left_out: &'a [u32],
    next: u32,
    released: u32,
}

impl<'a> Numbers<'a> {
    fn new(record: LocalRecord<'a>, count: u32, left_out: &'a [u32]) -> Self {
        Numbers {
            record,
            count,
            left_out,
            next: 0,
            released: 0,
        }
    }
    fn skip(&mut self) {
        while self.left_out.contains(&self.next) {
            self.next += 1;
        }
    }
}

impl RecordSource for Numbers<'_> {
    fn peek(&mut self) -> Option<(u32, LocalRecord<'_>)> {
        self.skip();
        (self.next < self.count).then_some((self.next, self.record))
    }
    fn advance(&mut self) {
        self.skip();
        self.next += 1;
    }
    fn release_before(&mut self, next: u32) {
        self.skip();
        assert!(next <= self.next, "{next} released before it was read");
        self.released = self.released.max(next);
    }
    fn rewind(&mut self) -> bool {
        self.next = self.released;
        true
    }
    fn counters(&mut self) -> DeviceCounters {
        DeviceCounters {
            started: self.count,
            recorded: self.count,
            overwritten: self.left_out.iter().filter(|n| **n < self.count).count() as u32,
            ..DeviceCounters::default()
        }
    }
}

fn with_record(look: impl FnOnce(LocalRecord<'_>)) {
    let tracer: TestTracer = TestTracer::new();
    tracer
        .span("n")
        .start::<InlineBuf<16>>()
        .set_attribute("i", 1);
    tracer.with_spans(|mut spans| look(spans.next().unwrap()));
}

const PAUSE: u64 = 1000;
const ACKNOWLEDGED: Delivery = Delivery::Acknowledged {
    resend_after_ticks: PAUSE,
};

type TestDrain = Drain<512, 8>;

fn drain(link: Link) -> TestDrain {
    Drain::new(Epoch(1), link, ACKNOWLEDGED)
}

fn ack(drain: &mut TestDrain, source: &mut Numbers<'_>, next: u32, at: u64) {
    drain.handle(source, &Message::Ack(Ack { next }), Ticks(at));
}

/// Numbers of all records that go out now, and of the newest batch the oldest.
fn out(
    drain: &mut TestDrain,
    source: &mut Numbers<'_>,
    clock: &ManualClock,
) -> (Vec<u32>, Option<u32>) {
    let (mut numbers, mut oldest) = (Vec::new(), None);
    while let Some(frame) = drain.next_frame(source, clock) {
        let frame = Frame::parse(frame).unwrap();
        if let Body::Records(batch) = frame.body() {
            numbers.extend((0..batch.count()).map(|i| batch.first() + i));
            oldest = batch.oldest();
        }
    }
    (numbers, oldest)
}

#[test]
fn an_acknowledgement_that_a_rewind_overtook_counts() {
    with_record(|record| {
        let mut source = Numbers::new(record, 40, &[]);
        let (mut drain, clock) = (drain(Link::datagrams(100)), ManualClock::new());
        assert_eq!(
            out(&mut drain, &mut source, &clock).0,
            (0..40).collect::<Vec<_>>()
        );
        clock.advance(PAUSE);
        // It begins again, and one frame is out when the host's answer to the first round comes.
        let frame = drain.next_frame(&mut source, &clock).unwrap();
        assert!(matches!(Frame::parse(frame).unwrap().body(), Body::Records(b) if b.first() == 0));
        ack(&mut drain, &mut source, 38, 1100);
        assert_eq!(source.released, 38);
        let (rest, oldest) = out(&mut drain, &mut source, &clock);
        assert_eq!((rest, oldest), (vec![38, 39], Some(38)));
        // What was never sent is not believed, nor what is old.
        for wrong in [41, 37, 0, 1 << 31] {
            ack(&mut drain, &mut source, wrong, 1200);
            assert_eq!(source.released, 38, "{wrong}");
        }
        ack(&mut drain, &mut source, 40, 1300);
        assert_eq!(source.released, 40);
    });
}

#[test]
fn a_frame_for_another_boot_acknowledges_nothing() {
    with_record(|record| {
        let mut source = Numbers::new(record, 10, &[]);
        let (mut drain, clock) = (drain(Link::datagrams(100)), ManualClock::new());
        let _ = out(&mut drain, &mut source, &clock);
        for (epoch, released) in [(2, 0), (1, 7)] {
            let mut down: FrameEncoder<256, 0> =
                FrameEncoder::new(Epoch(epoch), Link::datagrams(100));
            assert!(down.message(&Message::Ack(Ack { next: 7 })));
            let frame = Frame::parse(down.frame(Ticks(0)).unwrap()).unwrap();
            drain.handle_frame(&mut source, &frame, Ticks(5));
            assert_eq!(source.released, released, "epoch {epoch}");
        }
    });
}

#[test]
fn no_more_than_the_window_is_under_way() {
    with_record(|record| {
        let mut source = Numbers::new(record, 2000, &[]);
        let (mut drain, clock) = (drain(Link::datagrams(200)), ManualClock::new());
        let (numbers, _) = out(&mut drain, &mut source, &clock);
        assert_eq!(numbers, (0..MAX_UNACKNOWLEDGED).collect::<Vec<_>>());
        drain.heartbeat();
        assert_eq!(out(&mut drain, &mut source, &clock), (Vec::new(), Some(0)));
        ack(&mut drain, &mut source, 10, 0);
        let (numbers, oldest) = out(&mut drain, &mut source, &clock);
        let end = MAX_UNACKNOWLEDGED + 10;
        assert_eq!(
            (numbers, oldest),
            ((MAX_UNACKNOWLEDGED..end).collect(), Some(10))
        );
    });
}

#[test]
fn a_silent_host_is_asked_ever_less_and_one_that_speaks_at_once() {
    with_record(|record| {
        let mut source = Numbers::new(record, 3, &[]);
        let (mut drain, clock) = (drain(Link::datagrams(200)), ManualClock::new());
        let mut sent = vec![];
        for now in 0..300u64 {
            if !out(&mut drain, &mut source, &clock).0.is_empty() {
                sent.push(now);
            }
            clock.advance(PAUSE);
        }
        // Pauses of 1, 2, 4 … 64.
        assert_eq!(sent, [0, 1, 3, 7, 15, 31, 63, 127, 191, 255]);
        // It has all been lost, but the host heard a heartbeat.
        ack(&mut drain, &mut source, 0, 300 * PAUSE);
        assert_eq!(out(&mut drain, &mut source, &clock).0, [0, 1, 2]);
        // As long as it answers the pause stays short.
        for now in 301..310 {
            ack(&mut drain, &mut source, 0, now * PAUSE);
            clock.advance(PAUSE);
            assert_eq!(out(&mut drain, &mut source, &clock).0, [0, 1, 2], "{now}");
        }
    });
}

#[test]
fn numbers_that_are_left_out_hold_nothing_up() {
    let left_out = [0, 1, 7, 8, 20, 33];
    with_record(|record| {
        for lost in 0..32u32 {
            let mut source = Numbers::new(record, 35, &left_out);
            let (mut drain, clock) = (drain(Link::datagrams(120)), ManualClock::new());
            let (mut tracker, mut frames, mut got) = (SequenceTracker::new(), 0, Vec::new());
            let mut rounds = 0;
            while source.released < 35 {
                while let Some(frame) = drain.next_frame(&mut source, &clock) {
                    frames += 1;
                    if frames <= 5 && lost >> (frames - 1) & 1 != 0 {
                        continue;
                    }
                    let frame = Frame::parse(frame).unwrap();
                    let Body::Records(batch) = frame.body() else {
                        unreachable!()
                    };
                    tracker.batch(batch);
                    let numbers = (0..batch.count()).map(|i| batch.first() + i);
                    got.extend(numbers.filter(|n| tracker.accept(*n)));
                }
                ack(
                    &mut drain,
                    &mut source,
                    tracker.next_missing(),
                    rounds * 500,
                );
                clock.advance(500);
                rounds += 1;
                assert!(rounds < 40, "lost {lost:b}");
            }
            // Without a loss a hole costs a heartbeat and an answer; for those behind the first, which the
            // drain does not remember, the records are sent again.
            assert!(lost != 0 || rounds <= 5, "{rounds} rounds");
            got.sort_unstable();
            let expected: Vec<u32> = (0..35).filter(|n| !left_out.contains(n)).collect();
            assert_eq!(got, expected, "lost {lost:b}");
            let ledger = tracker.ledger();
            assert!(ledger.is_balanced());
            assert_eq!(
                (
                    ledger.overwritten,
                    ledger.acknowledged_elsewhere,
                    ledger.pending
                ),
                (6, 0, 0),
                "{ledger:?}"
            );
        }
    });
}

#[test]
fn a_receiver_does_not_forget_what_will_still_come() {
    // A sender with more under way than it should have, the first of which was lost.
    let heartbeat = |first: u32, oldest: u32| {
        let mut encoder: FrameEncoder<256, 0> = FrameEncoder::new(Epoch(1), Link::datagrams(100));
        encoder.finish_at(first, Some(oldest), &DeviceCounters::default());
        encoder.frame(Ticks(0)).unwrap().to_vec()
    };
    let take = |tracker: &mut SequenceTracker, frame: &[u8]| {
        let Body::Records(batch) = Frame::parse(frame).unwrap().body().clone() else {
            unreachable!()
        };
        let batch: RecordBatch<'_> = batch;
        tracker.batch(&batch);
    };
    let mut tracker = SequenceTracker::new();
    take(&mut tracker, &heartbeat(1, 0));
    let taken = (1..5000).filter(|n| tracker.accept(*n)).count();
    assert!((MAX_UNACKNOWLEDGED as usize..5000).contains(&taken));
    assert_eq!(tracker.next_missing(), 0);
    take(&mut tracker, &heartbeat(5000, 0));
    assert!(tracker.accept(0));
    assert_eq!(tracker.next_missing() as usize, taken + 1);
    // What was refused comes again and is taken.
    assert!(tracker.accept(taken as u32 + 1));
    // The sender has let go of the rest: another receiver has it.
    take(&mut tracker, &heartbeat(6000, 5990));
    assert_eq!(tracker.next_missing(), 5990);
    let ledger = tracker.ledger();
    assert_eq!(ledger.received as usize, taken + 2);
    assert_eq!(ledger.acknowledged_elsewhere, 5990 - ledger.received);
    assert_eq!((ledger.link_lost, ledger.pending), (0, 10));
    assert!(ledger.is_balanced());
}

/// A writer that takes a few bytes and then waits.
struct Slow<'a> {
    bytes: &'a mut Vec<u8>,
    at_once: usize,
    left: usize,
}
impl embedded_io::ErrorType for Slow<'_> {
    type Error = core::convert::Infallible;
}
impl embedded_io_async::Write for Slow<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        if self.left == 0 {
            core::future::pending::<()>().await;
        }
        let n = bytes.len().min(self.at_once).min(self.left);
        self.bytes.extend_from_slice(&bytes[..n]);
        self.left -= n;
        Ok(n)
    }
    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn a_future_dropped_anywhere_costs_a_source_that_keeps_nothing() {
    with_record(|record| {
        for delivery in [Delivery::OneWay, ACKNOWLEDGED] {
            for cut in 1..200 {
                let mut source = Numbers::new(record, 20, &[]);
                let link = Link::stream().with_mtu(64);
                let mut drain: TestDrain = Drain::new(Epoch(1), link, delivery);
                let (clock, mut bytes) = (ManualClock::new(), Vec::new());
                for left in [cut, cut / 2, usize::MAX] {
                    let mut writer = Slow {
                        bytes: &mut bytes,
                        at_once: 7,
                        left,
                    };
                    let is_over = {
                        let work = drain.drain_async(&mut source, &mut writer, &clock, 1000);
                        let mut context = Context::from_waker(Waker::noop());
                        matches!(pin!(work).poll(&mut context), Poll::Ready(Ok(_)))
                    };
                    assert_eq!(is_over, left == usize::MAX, "cut at {cut}");
                    if !is_over {
                        // It would be given up with the frame that was cut short.
                        let inside = bytes.last() != Some(&0);
                        let taken = drain.message(&Message::SendHello);
                        assert!(!(inside && taken), "cut at {cut}");
                    }
                }
                let (mut decoder, mut input) = (StreamDecoder::<256>::new(), &bytes[..]);
                let (mut tracker, mut got) = (SequenceTracker::new(), Vec::new());
                while let Progress::Frame(frame) = decoder.feed(&mut input) {
                    // Those that were cut short.
                    let Ok(frame) = Frame::parse(frame) else {
                        continue;
                    };
                    let Body::Records(batch) = frame.body() else {
                        continue;
                    };
                    tracker.batch(batch);
                    let numbers = (0..batch.count()).map(|i| batch.first() + i);
                    got.extend(numbers.filter(|n| tracker.accept(*n)));
                }
                got.sort_unstable();
                assert_eq!(got, (0..20).collect::<Vec<_>>(), "cut at {cut}");
            }
        }
    });
}

/// A message of three datagrams.
fn long_message(encoder: &mut FrameEncoder<256, 0>, fill: u8) -> Vec<Vec<u8>> {
    let payload = [fill; 50];
    let command = Message::TraceCommand(TraceCommand::new(
        &SpanContext::new(frames::trace(1), frames::span_id(2), TraceFlags::NONE),
        &payload,
    ));
    assert!(encoder.message(&command));
    core::iter::from_fn(|| encoder.frame(Ticks(0)).map(<[u8]>::to_vec)).collect()
}

#[test]
fn a_late_fragment_does_not_drop_what_came_after_it() {
    let mut encoder: FrameEncoder<256, 0> = FrameEncoder::new(Epoch(1), Link::datagrams(48));
    let (first, second) = (long_message(&mut encoder, 1), long_message(&mut encoder, 2));
    assert_eq!((first.len(), second.len()), (3, 3));
    let mut reassembler: Reassembler<256> = Reassembler::new();
    let mut push = |bytes: &Vec<u8>| {
        let frame = Frame::parse(bytes).unwrap();
        let Body::Fragment(fragment) = frame.body() else {
            unreachable!()
        };
        matches!(
            reassembler.push(Epoch(1), fragment),
            Reassembled::Content { .. }
        )
    };
    // The last of the first one is overtaken by the second, of which one comes again at the end.
    for (bytes, is_whole) in [
        (&first[0], false),
        (&first[1], false),
        (&second[1], false),
        (&first[2], false),
        (&second[0], false),
        (&second[2], true),
        (&second[0], false),
    ] {
        assert_eq!(push(bytes), is_whole);
    }
    assert_eq!(reassembler.dropped_count(), 1);
    assert!(!reassembler.is_open());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The fragments of one content in any order, some twice.
    #[test]
    fn fragments_in_any_order_make_the_content(
        inputs in proptest::collection::vec(input(), 1..4),
        order in proptest::collection::vec(any::<u16>(), 40),
        mtu in 100usize..250,
    ) {
        record(&inputs, |records| {
            let mut encoder: Box<FrameEncoder<8192, 32>> = encoder(Link::datagrams(mtu));
            let (frames, unsendable) = send(&mut encoder, 0, records);
            assert_eq!(unsendable, 0);
            assert!(frames.iter().all(|frame| frame.len() <= mtu));
            let mut host = Host::default();
            let mut rest = &frames[..];
            while let Some(first) = rest.first() {
                let id = |frame: &Vec<u8>| match Frame::parse(frame).unwrap().body() {
                    Body::Fragment(fragment) => Some(fragment.id()),
                    _ => None,
                };
                let of_content = id(first);
                let n = match of_content {
                    None => 1,
                    _ => rest.iter().take_while(|frame| id(frame) == of_content).count(),
                };
                let (mut content, others) = (rest[..n].to_vec(), &rest[n..]);
                rest = others;
                // Neighbours change places, so that there are never more gaps than are remembered.
                for (i, swap) in (1..content.len()).zip(&order) {
                    if swap & 1 == 1 {
                        content.swap(i - 1, i);
                    }
                    if swap & 6 == 6 {
                        content.insert(i, content[i - 1].clone());
                    }
                }
                content.iter().for_each(|frame| host.take(frame));
            }
            assert_eq!(host.reassembler.dropped_count(), 0);
            assert_eq!(host.spans.len(), records.len());
            for (sequence, got) in &host.spans {
                assert_eq!(*got, describe(&records[*sequence as usize]));
            }
        });
    }

    /// Some of the fragments of many contents: what comes out went in, and nothing is put together from two.
    #[test]
    fn fragments_of_different_contents_do_not_mix(
        inputs in proptest::collection::vec(input(), 1..6),
        times in 1usize..4,
        picks in proptest::collection::vec(any::<u16>(), 0..60),
    ) {
        record(&inputs, |records| {
            let mut encoder: Box<FrameEncoder<8192, 32>> = encoder(Link::datagrams(80));
            // The same records, sent again and again: their contents are of about the same size.
            let mut frames = Vec::new();
            for _ in 0..times {
                frames.extend(send(&mut encoder, 0, records).0);
            }
            let mut whole: Vec<Vec<u8>> = Vec::new();
            let mut alone: Reassembler<8192> = Reassembler::new();
            let mut mixed: Box<Reassembler<8192>> = Box::default();
            for frame in &frames {
                let frame = Frame::parse(frame).unwrap();
                if let Body::Fragment(fragment) = frame.body()
                    && let Reassembled::Content { bytes, .. } = alone.push(frame.epoch(), fragment)
                {
                    whole.push(bytes.to_vec());
                }
            }
            for pick in picks {
                let frame = &frames[usize::from(pick) % frames.len()];
                let frame = Frame::parse(frame).unwrap();
                if let Body::Fragment(fragment) = frame.body()
                    && let Reassembled::Content { bytes, .. } = mixed.push(frame.epoch(), fragment)
                {
                    assert!(whole.iter().any(|content| content == bytes), "a mixture");
                }
            }
        });
    }
}
