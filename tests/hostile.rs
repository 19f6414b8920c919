//! What odd but safe callers do: contexts that are none, errors without an end, records that no frame
//! takes, recorders that call back twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use spanlet::context::propagator::inject_w3c;
use spanlet::context::{AllowedBaggage, FixedCarrier, TraceStateText};
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::DeviceCounters;
use spanlet::frame::{Ack, Body, Epoch, Frame, Link, Message, SequenceTracker};
use spanlet::testing::{ManualClock, TestTracer};
use spanlet::{
    InlineBuf, Instrument, KeyValue, LocalRecord, RecordSource, Span, SpanContext, Status, Ticks,
};

type Small<'a> = Span<&'a TestTracer, InlineBuf<64>>;

/// The context of a span that had neither a tracer nor a parent.
fn no_context(tracer: &TestTracer) -> Small<'_> {
    let off = Span::off(tracer, None);
    assert!(!off.context().is_valid());
    off
}

#[test]
fn a_span_without_a_context_is_nobodys_parent() {
    let tracer: TestTracer = TestTracer::new();
    let mut off = no_context(&tracer);
    let context: SpanContext = off.context();
    drop(
        tracer
            .span("of a span")
            .parent(&off)
            .start::<InlineBuf<16>>(),
    );
    drop(
        tracer
            .span("of a context")
            .parent(&context)
            .start::<InlineBuf<16>>(),
    );
    off.run(|_| drop(tracer.span("inside").start::<InlineBuf<16>>()));
    let work = async { drop(tracer.span("in a future").start::<InlineBuf<16>>()) };
    let mut work = std::pin::pin!(work.in_span(off));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(work.as_mut().poll(&mut cx).is_ready());
    tracer.with_spans(|spans| {
        assert_eq!(spans.len(), 4);
        for span in spans {
            assert_eq!(span.parent_id(), None, "{}", span.name());
            assert_ne!(span.trace_id(), context.trace_id(), "{}", span.name());
        }
    });
}

#[test]
fn no_context_is_not_sent() {
    let tracer: TestTracer = TestTracer::new();
    let context = no_context(&tracer).context();
    let mut out = FixedCarrier::<3, 64>::new();
    inject_w3c(
        &mut out,
        &context,
        TraceStateText::default(),
        AllowedBaggage::default(),
    )
    .unwrap();
    assert_eq!(out.iter().count(), 0);
}

#[test]
fn a_link_to_nothing_is_dropped_and_takes_nothing_with_it() {
    let tracer: TestTracer = TestTracer::new();
    let context = no_context(&tracer).context();
    let mut span: Small<'_> = tracer.span("links").start();
    span.add_link(&context, &[KeyValue::new("l", 1)]);
    span.set_attribute("after", 1).set_attribute("after", 2);
    drop(span);
    tracer.with_spans(|spans| {
        let span = spans.named("links").unwrap();
        assert_eq!((span.links().count(), span.dropped_links()), (0, 1));
        assert!(span.attributes().map(|kv| kv.key).eq(["after"]));
    });
}

#[derive(Debug)]
struct Circle;
impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("round")
    }
}
impl std::error::Error for Circle {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&Circle)
    }
}

#[test]
fn an_error_that_is_its_own_source_ends() {
    let tracer: TestTracer = TestTracer::new();
    let mut span: Span<_, InlineBuf<128>> = tracer.span("circle").start();
    span.record_error(&Circle);
    drop(span);
    tracer.with_spans(|spans| {
        let span = spans.named("circle").unwrap();
        assert_eq!(span.status_description().unwrap().len(), 256);
    });
}

#[test]
fn a_description_is_for_errors_only() {
    let tracer: TestTracer = TestTracer::new();
    let mut span: Small<'_> = tracer.span("mended").start();
    span.set_error("no route").set_status(Status::Ok);
    drop(span);
    tracer.with_spans(|spans| {
        let span = spans.named("mended").unwrap();
        assert_eq!(
            (span.status(), span.status_description()),
            (Status::Ok, None)
        );
    });
}

#[test]
fn a_span_that_ends_while_a_test_looks_is_counted() {
    let tracer: TestTracer = TestTracer::new();
    let span: Small<'_> = tracer.span("late").start();
    tracer.with_spans(|_| drop(span));
    assert_eq!(tracer.lost_count(), 1);
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

/// In acknowledged mode a record that no frame takes is counted once, and what comes behind it is
/// acknowledged all the same, whatever gets lost.
#[test]
fn an_unsendable_record_holds_nothing_up() {
    let tracer: TestTracer = TestTracer::new();
    for i in 0..6 {
        let mut span: Small<'_> = tracer.span("n").start();
        span.set_attribute("i", i);
        if i == 2 || i == 5 {
            span.set_attribute("long", "x".repeat(200).as_str());
        }
    }
    tracer.with_spans(|spans| {
        let records: Vec<_> = spans.collect();
        for lose in 0..64 {
            let mut source = Kept {
                records: &records,
                next: 0,
                released: 0,
            };
            let delivery = Delivery::Acknowledged {
                resend_after_ticks: 1000,
            };
            let link = Link::datagrams(100).without_fragments();
            let mut drain: Drain<512, 8> = Drain::new(Epoch(1), link, delivery);
            let (clock, mut tracker) = (ManualClock::new(), SequenceTracker::new());
            let (mut sent, mut got) = (0, Vec::new());
            for round in 0..40 {
                while let Some(bytes) = drain.next_frame(&mut source, &clock) {
                    sent += 1;
                    if sent <= 6 && lose >> (sent - 1) & 1 != 0 {
                        continue;
                    }
                    let frame = Frame::parse(bytes).unwrap();
                    let Body::Records(batch) = frame.body() else {
                        unreachable!()
                    };
                    tracker.batch(batch);
                    for i in 0..batch.count() {
                        let sequence = batch.first() + i;
                        if tracker.accept(sequence) {
                            got.push(sequence);
                        }
                    }
                }
                let ack = Message::Ack(Ack {
                    next: tracker.next_missing(),
                });
                drain.handle(&mut source, &ack, Ticks(round * 600));
                clock.advance(600);
                drain.heartbeat();
            }
            let ledger = tracker.ledger();
            got.sort_unstable();
            assert_eq!(got, [0, 1, 3, 4], "{lose:b}");
            assert_eq!(
                (ledger.unsendable, ledger.link_lost),
                (2, 0),
                "{lose:b} {ledger:?}"
            );
            assert!(ledger.is_balanced(), "{lose:b} {ledger:?}");
            assert_eq!(source.released, 6, "{lose:b}");
        }
    });
}

/// A global tracer that is off, and calls back as often as it likes.
struct Odd;
impl spanlet::DynRecorder for Odd {
    fn is_enabled(&self) -> bool {
        false
    }
    fn now(&self) -> Ticks {
        Ticks(0)
    }
    fn span_id(&self) -> spanlet::SpanId {
        unreachable!("no span is started")
    }
    fn trace_id(&self) -> (spanlet::TraceId, spanlet::TraceFlags) {
        unreachable!("no span is started")
    }
    fn sample(&self, _: &spanlet::SamplingParameters<'_>) -> spanlet::SamplingResult {
        unreachable!("no span is started")
    }
    fn record(&self, _: spanlet::FinishedSpan<'_>) {}
    fn started(&self, _: bool) {
        unreachable!("no span is started")
    }
    fn limits(&self) -> spanlet::SpanLimits {
        spanlet::SpanLimits::DEFAULT
    }
    fn scope(&self) -> Option<&'static spanlet::InstrumentationScope<'static>> {
        None
    }
    fn current(&self) -> Option<SpanContext> {
        None
    }
    fn with_current(&self, _: &SpanContext, run: &mut dyn FnMut()) {
        run();
        run();
    }
    fn escalate(&self, _: &spanlet::EndedUnsampled) -> bool {
        false
    }
    fn is_unwinding(&self) -> bool {
        false
    }
}

#[test]
fn an_odd_global_tracer_is_asked_and_runs_work_once() {
    use spanlet::Recorder;
    spanlet::set_global_tracer(&Odd).unwrap();
    assert!(!spanlet::span!("off").is_recording());
    let tracer: TestTracer = TestTracer::new();
    let context = tracer.span("s").start::<InlineBuf<16>>().context();
    let mut runs = 0;
    let out = spanlet::Global.with_current(&context, || {
        runs += 1;
        runs
    });
    assert_eq!((out, runs), (1, 1));
}
