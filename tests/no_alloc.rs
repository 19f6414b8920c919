//! No hot-path call allocates.
//!
//! Input: every public call that a traced program makes. Output: the names of those that reached the allocator,
//! with how often. Bound: it counts this thread only, and only while a call runs, so the harness may allocate.
//!
//! To add a call, add a line to the test of its stage: `hot.call("name", || the_call(black_box(input)))`.
//! Prepare inputs before, with `let`; the call's result is dropped inside the measurement.
#![allow(clippy::unwrap_used, reason = "tests")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::hint::black_box;
use std::alloc::System;

use spanlet::boundary::{TaskTrace, Traced};
use spanlet::context::propagator::{extract_w3c, inject_w3c};
use spanlet::context::{
    AllowedBaggage, B3, Baggage, BaggageBuf, CanReassembly, FixedCarrier, TraceState,
    TraceStateBuf, TraceStateText, binary, can, coap, compact, mqtt, traceparent,
};
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{
    Body, Epoch, FixedSymbols, Frame, FrameEncoder, Link, Message, Progress, StreamDecoder,
};
use spanlet::otlp::{OtlpEncoder, OtlpJsonEncoder, Resource, transcode_json};
use spanlet::testing::{ManualClock, TestTracer};
use spanlet::{
    AlwaysOff, AlwaysOn, ConsistentRatio, DeviceIds, Escalation, IdGenerator, InlineBuf,
    Instrument, InstrumentationScope, KeyValue, LocalIds, ParentBased, RecordSource, SeededIds,
    Span, SpanContext, SpanId, SpanKind, Status, TickRate, Ticks, TraceFlags, TraceId,
    TraceIdRatio, Tracer, UnixAnchor, Value, span,
};

thread_local! {
    /// `Some` while a hot call runs on this thread: how often it reached the allocator.
    static REACHED: Cell<Option<u32>> = const { Cell::new(None) };
}

struct Counting;

fn reached() {
    // The thread-local is gone while its thread ends: no hot call runs then.
    let _ = REACHED.try_with(|count| count.set(count.get().map(|n| n + 1)));
}

// SAFETY: each call goes to `System` with the caller's own arguments; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The calls of one stage. Dropping it fails the test with every call that reached the allocator.
#[derive(Default)]
struct HotPath {
    calls: usize,
    guilty: Vec<(&'static str, u32)>,
}

impl HotPath {
    /// Runs the call twice, since what is lazily set up counts too and must not hide behind the first run.
    fn call<R>(&mut self, name: &'static str, mut operation: impl FnMut() -> R) {
        for _ in 0..2 {
            REACHED.set(Some(0));
            drop(black_box(operation()));
            let reached = REACHED.replace(None).unwrap();
            if reached > 0 {
                self.guilty.push((name, reached));
            }
        }
        self.calls += 1;
    }
}

impl Drop for HotPath {
    fn drop(&mut self) {
        // A call that panicked has its own message.
        if !std::thread::panicking() {
            assert!(self.calls > 0, "no call was made");
            assert!(
                self.guilty.is_empty(),
                "reached the allocator: {:?}",
                self.guilty
            );
        }
    }
}

#[test]
fn an_allocation_is_seen() {
    let mut hot = HotPath::default();
    hot.call("a vector", || vec![1u8; black_box(3)]);
    hot.call("nothing", || black_box(3));
    // Allocated and freed, in both runs.
    assert_eq!(
        core::mem::take(&mut hot.guilty),
        [("a vector", 2), ("a vector", 2)]
    );
}

#[test]
fn context() {
    let mut hot = HotPath::default();
    let (trace, span) = (
        TraceId::from_bytes([1; 16]).unwrap(),
        SpanId::from_bytes([2; 8]).unwrap(),
    );

    let cx = SpanContext::new(trace, span, TraceFlags::SAMPLED);
    let header = traceparent::encode(&cx);
    let states: [&[u8]; 2] = [b"a=1,b=2", b"ot=th:8"];
    let baggage: [&[u8]; 1] = [b"userId=al%20ice;p=1,tenant=7,secret=x"];
    let headers: [(&str, &[u8]); 4] = [
        ("Traceparent", &header),
        ("tracestate", states[0]),
        ("tracestate", states[1]),
        ("baggage", baggage[0]),
    ];
    let b3 = B3::from(&cx).encode_single();

    hot.call("TraceId::from_bytes", || {
        TraceId::from_bytes(black_box([1; 16]))
    });
    hot.call("SpanId::from_bytes", || {
        SpanId::from_bytes(black_box([2; 8]))
    });
    hot.call("SpanContext::new", || {
        SpanContext::new(black_box(trace), black_box(span), TraceFlags::SAMPLED).remote()
    });

    hot.call("traceparent::parse", || {
        traceparent::parse(black_box(&header))
    });
    hot.call("traceparent::parse, malformed", || {
        traceparent::parse(black_box(b"00-x"))
    });
    hot.call("traceparent::encode", || {
        traceparent::encode(black_box(&cx))
    });
    hot.call("TraceState::parse, get", || {
        TraceState::parse(black_box(states)).map(|state| state.get("ot").map(str::len))
    });
    hot.call("TraceStateBuf", || {
        let mut buf: TraceStateBuf = TraceStateBuf::from(&TraceState::parse(states).unwrap());
        buf.insert("vendor", "value").unwrap();
        buf.set_threshold(Some(1 << 55)).unwrap();
        buf.remove("a")
    });
    hot.call("Baggage", || {
        let parsed = Baggage::parse(black_box(baggage));
        let mut owned = BaggageBuf::<512>::new();
        owned.copy_from(&parsed);
        owned.set("key", "a b").unwrap();
        let mut out = [0; 512];
        owned
            .encode_allowed(&["userId", "key"], &mut out)
            .as_str()
            .len()
    });
    hot.call("binary", || binary::decode(&binary::encode(black_box(&cx))));
    hot.call("compact", || {
        compact::decode(&compact::encode(black_box(&cx)))
    });
    hot.call("CAN", || {
        let mut receiver = CanReassembly::new();
        can::split(black_box(&cx), 1).fold(None, |_, f| receiver.feed(f.as_bytes()).ok())
    });
    hot.call("CoAP", || {
        let mut message = [0; 64];
        message[..6].copy_from_slice(&[0x40, 1, 0, 7, 0xb1, b'a']);
        let len = coap::inject(&mut message, 6, coap::TRACE_CONTEXT, black_box(&cx)).unwrap();
        coap::extract(&message[..len], coap::TRACE_CONTEXT)
    });
    hot.call("MQTT 5", || {
        let mut buffer = [0; 128];
        let mut user = mqtt::UserProperties::new(&mut buffer);
        let (state, baggage) = (TraceStateText::default(), AllowedBaggage::default());
        inject_w3c(&mut user, black_box(&cx), state, baggage).unwrap();
        let properties = mqtt::Properties::parse(user.as_bytes()).unwrap();
        extract_w3c(&properties).span_context
    });
    hot.call("B3", || B3::parse_single(black_box(b3.as_str().as_bytes())));
    hot.call("extract, inject", || {
        let extracted = extract_w3c(black_box(&headers));
        let state = <TraceStateBuf>::from(&extracted.trace_state);
        let mut out = [0; 512];
        let allowed = extracted.baggage.encode_allowed(&["userId"], &mut out);
        let mut carrier = FixedCarrier::<4, 1024>::new();
        let injected = inject_w3c(
            &mut carrier,
            &extracted.span_context.unwrap(),
            state.text(),
            allowed,
        );
        (injected.is_ok(), carrier.iter().count())
    });
    let error = traceparent::parse(b"00-x").unwrap_err();
    hot.call("an error's text", || {
        use core::fmt::Write;
        struct Sink;
        impl Write for Sink {
            fn write_str(&mut self, _: &str) -> core::fmt::Result {
                Ok(())
            }
        }
        write!(Sink, "{error} {cx:?} {trace}")
    });
}

#[test]
fn ids_and_samplers() {
    let mut hot = HotPath::default();
    let (local, seeded, device) = (
        LocalIds::new([1; 16]),
        SeededIds::new([2; 16]).unwrap(),
        DeviceIds::new(3, 4),
    );
    hot.call("ids", || {
        (
            local.trace_id(),
            local.span_id(),
            seeded.trace_id(),
            device.trace_id(),
            device.span_id(),
        )
    });
    static TABLE: Escalation<8> = Escalation::new();
    hot.call("escalation", || {
        TABLE.ended(&spanlet::EndedUnsampled {
            span_id: spanlet::SpanId::from_bytes([1; 8]).unwrap(),
            trace_id: local.trace_id().0,
            is_error: true,
            duration_ticks: 1,
        })
    });
    let samplers: [&dyn spanlet::Sampler; 5] = [
        &AlwaysOn,
        &AlwaysOff,
        &TraceIdRatio::new(0.5).unwrap(),
        &ConsistentRatio::new(0.1).unwrap(),
        &ParentBased::new(AlwaysOn),
    ];
    for sampler in samplers {
        let tracer: TestTracer<_, 256> = TestTracer::with_sampler(sampler);
        hot.call("start with a sampler", || {
            tracer.clear();
            Span::<_, InlineBuf<32>>::context(&tracer.span("s").start())
        });
    }
}

/// A span with some of everything, and its error.
fn full_span(tracer: &TestTracer) {
    let mut span: Span<_, InlineBuf<256>> = tracer.span("full").kind(SpanKind::Client).start();
    span.set_attribute("i", 1)
        .set_attribute("s", "text")
        .set_static("c", "constant")
        .set_attribute("f", 0.5)
        .set_attribute("b", true)
        .set_attribute("bytes", &[1u8, 2][..])
        .set_attribute("texts", &["a", "b"][..])
        .set_attribute("any", Value::Any(&[0x0a, 0]))
        .set_attribute_copied("dynamic", 1)
        .set_attribute("i", 2);
    span.add_event("e", &[KeyValue::new("k", 1)]);
    let own = span.context();
    span.add_link_with_state(&own, Some("a=b"), &[KeyValue::new("k", 1)]);
    span.update_name("other");
    span.record_error(&core::fmt::Error);
    span.set_status(Status::Error);
    span.end();
}

#[test]
fn spans_and_otlp() {
    let mut hot = HotPath::default();
    let tracer: TestTracer = TestTracer::new();
    hot.call("a span with everything", || {
        tracer.clear();
        full_span(&tracer);
    });
    hot.call("a span that overflows", || {
        let mut span: Span<_, InlineBuf<16>> = tracer.span("small").start();
        for _ in 0..20 {
            span.set_attribute("a", "longer than the room there is")
                .add_event("e", &[]);
        }
    });
    hot.call("an instrumented future", || {
        let span: Span<_, InlineBuf<32>> = tracer.span("future").start();
        let future = core::pin::pin!(
            async { tracer.span("inner").start::<InlineBuf<32>>().context() }.in_span(span)
        );
        let mut cx = core::task::Context::from_waker(std::task::Waker::noop());
        future.poll(&mut cx).is_ready()
    });
    hot.call("span! without a tracer", || {
        let mut span = span!("nothing", "k" = 1);
        span.set_attribute("more", "text");
    });

    let attributes = [KeyValue::new("service.name", "test")];
    let resource = Resource::new(&attributes);
    let scope = InstrumentationScope::new("scope");
    let anchor = UnixAnchor::new(Ticks(0), 1, TickRate::NANOSECONDS);
    let mut buf = vec![0; 1 << 14];
    hot.call("OTLP", || {
        tracer.with_spans(|spans| {
            let mut request = OtlpEncoder::new(&mut buf, &resource, &scope, anchor).unwrap();
            spans.for_each(|span| request.push(&span).unwrap());
            request.finish().len()
        })
    });
    hot.call("OTLP/JSON", || {
        tracer.with_spans(|spans| {
            let mut request = OtlpJsonEncoder::new(&mut buf, &resource, &scope, anchor).unwrap();
            spans.for_each(|span| request.push(&span).unwrap());
            request.finish().len()
        })
    });
    let request = tracer.with_spans(|spans| {
        let mut request = OtlpEncoder::new(&mut buf, &resource, &scope, anchor).unwrap();
        spans.for_each(|span| request.push(&span).unwrap());
        request.finish().to_vec()
    });
    hot.call("OTLP to OTLP/JSON", || {
        transcode_json(&request, &mut buf).unwrap()
    });
    let mut small = [0; 16];
    hot.call("OTLP, no room", || {
        OtlpEncoder::new(&mut small, &resource, &scope, anchor).is_err()
    });
}

#[test]
fn boundaries() {
    let mut hot = HotPath::default();
    let tracer: TestTracer = TestTracer::new();
    hot.call("a traced stream", || {
        use embedded_io::{Read, Write};
        tracer.clear();
        let mut buffer = [0; 4];
        let mut sink = Traced::new(&mut buffer[..], &tracer).named("uart");
        let written = (sink.write_all(b"abcd"), sink.write_all(b"e").is_err());
        let mut source = Traced::new(&b"ab"[..], &tracer);
        (written, source.read(&mut [0; 4]))
    });
    struct Nobody;
    impl embedded_hal::i2c::ErrorType for Nobody {
        type Error = embedded_hal::i2c::ErrorKind;
    }
    impl embedded_hal_async::i2c::I2c for Nobody {
        async fn transaction(
            &mut self,
            _: u8,
            _: &mut [embedded_hal::i2c::Operation<'_>],
        ) -> Result<(), Self::Error> {
            Err(embedded_hal::i2c::ErrorKind::Bus)
        }
    }
    hot.call("a traced bus", || {
        use embedded_hal_async::i2c::I2c;
        tracer.clear();
        let mut i2c = Traced::new(Nobody, &tracer);
        let mut read = [0; 2];
        let call = core::pin::pin!(i2c.write_read(1, &[2], &mut read));
        let mut cx = core::task::Context::from_waker(std::task::Waker::noop());
        call.poll(&mut cx).is_ready()
    });
    static TASKS: TaskTrace<&Tracer<ManualClock, DeviceIds, AlwaysOn, 16384>> =
        TaskTrace::new(&TRACER, 0);
    hot.call("a slow poll", || {
        let _ = TASKS.name(2, "task");
        TASKS.poll_start(1);
        TASKS.task_exec_begin(1, 2);
        let task = TASKS.current_task();
        TASKS.task_exec_end(1, 2);
        TASKS.executor_idle(1);
        task
    });
}

static TRACER: Tracer<ManualClock, DeviceIds, AlwaysOn, 16384> =
    Tracer::new(ManualClock::new(), DeviceIds::new(1, 1), AlwaysOn);

/// A link that takes everything: the last frame is kept for the decoder.
struct Wire {
    bytes: [u8; 4096],
    len: usize,
}
impl embedded_io::ErrorType for Wire {
    type Error = core::convert::Infallible;
}
impl embedded_io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let n = bytes.len().min(self.bytes.len());
        self.bytes[..n].copy_from_slice(&bytes[..n]);
        self.len = n;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn device_to_decoder() {
    let mut hot = HotPath::default();
    hot.call("a device's span", || {
        let mut span: Span<_, InlineBuf<20>> = TRACER.span("read sensor").start();
        span.set_attribute("celsius", 21.5).set_static("unit", "C");
        span.run(|_| TRACER.span("convert").start::<InlineBuf<20>>().context())
    });
    let mut records = TRACER.records().unwrap();
    let mut drain: Drain<1024, 64> = Drain::new(Epoch(1), Link::stream(), Delivery::OneWay);
    let mut wire = Wire {
        bytes: [0; 4096],
        len: 0,
    };
    hot.call("records, counters", || {
        (records.peek().is_some(), records.counters())
    });
    hot.call("drain", || {
        drop(TRACER.span("to be sent").start::<InlineBuf<20>>());
        drain.heartbeat();
        drain
            .drain(&mut records, &mut wire, TRACER.clock(), 1)
            .unwrap()
            .bytes
    });
    assert!(wire.len > 0);
    let mut decoder = StreamDecoder::<2048>::new();
    let mut symbols = FixedSymbols::<64, 2048>::new();
    let mut scratch = vec![0u64; 4096];
    let mut decoded = 0;
    hot.call("decode", || {
        let mut input = &wire.bytes[..wire.len];
        while let Progress::Frame(bytes) = decoder.feed(&mut input) {
            let frame = Frame::parse(bytes).unwrap();
            if let Body::Records(batch) = frame.body() {
                let _ = batch.learn(&mut symbols);
                let mut records = batch.records();
                while let Some(Ok(record)) = records.decode_next(&symbols, &mut scratch) {
                    decoded += 1;
                    black_box(record.span.name().len());
                }
            }
        }
    });
    assert!(decoded > 0);
    let mut encoder: FrameEncoder<512, 16> = FrameEncoder::new(Epoch(1), Link::datagrams(512));
    hot.call("a message", || {
        let taken = encoder.message(&Message::ClockPing(spanlet::frame::ClockPing {
            id: 1,
            host_unix_nanos: 2,
        }));
        (taken, encoder.frame(Ticks(1)).map(<[u8]>::len))
    });
}
