//! The wire does not change: the bytes of a fixed set of frames, and what they decode to.
//!
//! `tests/golden/*.hex` hold each frame as hex, annotated by `tests/golden/annotate.py`, which reads the
//! wire on its own from `core/WIRE.md`. After an intended change: `SPANLET_BLESS=1 cargo test --test
//! wire_golden`, then `python3 tests/golden/annotate.py tests/golden/*.hex`, and a line under *Wire* in the
//! changelog.
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

use frames::{Host, describe, span_id, trace};
use spanlet::frame::{
    Ack, Body, ClockPing, ClockPong, DeviceCounters, Epoch, Frame, FrameEncoder, Hello, Link,
    Message, Push, ResourceEncoder, TraceCommand,
};
use spanlet::testing::TestTracer;
use spanlet::{
    AlwaysOn, InlineBuf, InstrumentationScope, KeyValue, SpanContext, SpanKind, SpanLimits,
    StrArray, Ticks, TraceFlags, Value,
};
use std::path::PathBuf;

type Encoder = FrameEncoder<2048, 64>;
type Tracer = TestTracer<AlwaysOn>;

static SCOPE: InstrumentationScope<'static> =
    InstrumentationScope::new("driver").with_version("1.2");

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.hex"))
}

/// Compares with the file, or writes it.
fn golden(name: &str, frames: &[Vec<u8>]) {
    let hex = |frame: &Vec<u8>| frame.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let bytes: Vec<String> = frames.iter().map(hex).collect();
    if std::env::var_os("SPANLET_BLESS").is_some() {
        std::fs::write(path(name), bytes.join("\n---\n") + "\n").unwrap();
        return;
    }
    let file = std::fs::read_to_string(path(name)).unwrap();
    let mut expected = vec![String::new()];
    for line in file.lines() {
        match line.split('#').next().unwrap().trim() {
            "---" => expected.push(String::new()),
            hex => expected.last_mut().unwrap().push_str(&hex.replace(' ', "")),
        }
    }
    assert_eq!(bytes, expected, "the wire has changed: {name}");
}

fn all(encoder: &mut Encoder, sent_at: u64) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(frame) = encoder.frame(Ticks(sent_at)) {
        frames.push(frame.to_vec());
    }
    frames
}

fn push_all(tracer: &Tracer, encoder: &mut Encoder, first: u32) -> Vec<String> {
    tracer.with_spans(|spans| {
        let mut all = Vec::new();
        for (record, sequence) in spans.zip(first..) {
            assert_eq!(encoder.push(sequence, &record), Push::Taken);
            all.push(describe(&record));
        }
        all
    })
}

fn decoded(frames: &[Vec<u8>]) -> Vec<String> {
    let mut host = Host::default();
    frames.iter().for_each(|frame| host.take(frame));
    assert_eq!((host.refused, host.unresolved()), (0, 0));
    host.spans.into_iter().map(|(_, span)| span).collect()
}

/// A reading that is sent: two children and their parent.
fn reading(tracer: &Tracer) {
    tracer.clock().set(Ticks(12_345_678));
    let parent = tracer
        .span("report")
        .kind(SpanKind::Client)
        .start::<InlineBuf<32>>();
    tracer.clock().advance(30);
    {
        let mut read = tracer
            .span("read sensor")
            .parent(&parent)
            .start::<InlineBuf<32>>();
        tracer.clock().advance(1_250);
        read.set_attribute("sensor.celsius", 21.5)
            .set_attribute("sensor.id", 4);
    }
    let mut send = tracer.span("send").parent(&parent).start::<InlineBuf<32>>();
    tracer.clock().advance(48_000);
    send.set_attribute("retry", true)
        .set_attribute("peer", Value::Static("gateway"));
    send.set_error("no answer");
    drop(send);
    tracer.clock().advance(5);
    drop(parent);
}

#[test]
fn typical_records() {
    let tracer = Tracer::new();
    reading(&tracer);
    let mut encoder = Encoder::new(Epoch(300), Link::datagrams(1400));
    let sent = push_all(&tracer, &mut encoder, 1000);
    let counters = DeviceCounters {
        started: 1005,
        recorded: 1003,
        ring_full: 1,
        ..DeviceCounters::default()
    };
    encoder.finish(&counters);
    let mut frames = all(&mut encoder, 12_400_000);
    assert_eq!(decoded(&frames), sent);
    // The same again: symbols instead of texts, and one announcement in turn.
    assert_eq!(push_all(&tracer, &mut encoder, 1003), sent);
    encoder.finish(&DeviceCounters {
        started: 1008,
        recorded: 1006,
        ..counters
    });
    frames.extend(all(&mut encoder, 12_450_000));
    assert_eq!(decoded(&frames).len(), 6);
    golden("records", &frames);
}

#[test]
fn every_kind_of_entry() {
    let limits = SpanLimits {
        attribute_count: 16,
        event_attribute_count: 1,
        ..SpanLimits::DEFAULT
    };
    let tracer = Tracer::new().with_scope(&SCOPE).with_limits(limits);
    tracer.clock().set(Ticks(500));
    let parent = SpanContext::new(trace(0xabc), span_id(0xdef), TraceFlags::from_byte(3)).remote();
    let state = frames::WithState(Some(parent), Some("rojo=00f067aa0ba902b7"));
    let mut span = tracer
        .span("op")
        .kind(SpanKind::Consumer)
        .parent(&state)
        .start::<InlineBuf<512>>();
    span.set_attribute("false", false)
        .set_attribute("true", true)
        .set_attribute("int", -300)
        .set_attribute("double", 0.1)
        .set_attribute("short double", 21.5)
        .set_attribute("symbol", Value::Static("constant"))
        .set_attribute("text", "grün")
        .set_attribute("bytes", &[1u8, 2, 0][..])
        .set_attribute("bools", &[true, false][..])
        .set_attribute("ints", &[1i64, -1, i64::MIN][..])
        .set_attribute("doubles", &[f64::NAN, -0.0][..])
        .set_attribute("texts", Value::StrArray(StrArray::new(&["a", "", "ü"])))
        .set_attribute("any", Value::Any(&[0x18, 5]))
        .set_attribute_copied("copied key", i64::MAX);
    tracer.clock().advance(7);
    span.add_event(
        "event",
        &[KeyValue::new("n", 1), KeyValue::new("dropped", 2)],
    );
    span.add_link(&parent, &[]);
    let other = SpanContext::new(trace(1), span_id(2), TraceFlags::NONE);
    span.add_link_with_state(&other, Some("a=b"), &[KeyValue::new("reason", "retry")]);
    span.set_attribute("one", 1)
        .set_attribute("two", 2)
        .set_attribute("too many", 3);
    span.update_name("renamed");
    span.set_error("why");
    drop(span);
    let mut encoder = Encoder::new(Epoch(1), Link::datagrams(1400));
    let sent = push_all(&tracer, &mut encoder, 0);
    encoder.finish(&DeviceCounters {
        started: 1,
        recorded: 1,
        ..DeviceCounters::default()
    });
    let frames = all(&mut encoder, 508);
    assert_eq!(decoded(&frames), sent);
    golden("entries", &frames);
}

#[test]
fn fragments_and_stream() {
    let tracer = Tracer::new();
    reading(&tracer);
    let mut encoder = Encoder::new(Epoch(2), Link::datagrams(96));
    let sent = push_some(&tracer, &mut encoder);
    let counters = DeviceCounters {
        started: 4,
        recorded: 3,
        ..DeviceCounters::default()
    };
    encoder.finish(&counters);
    let frames = all(&mut encoder, 12_400_000);
    assert!(frames.len() > 1);
    assert_eq!(decoded(&frames), sent);
    golden("fragments", &frames);

    let mut encoder = Encoder::new(Epoch(2), Link::stream());
    push_some(&tracer, &mut encoder);
    encoder.finish(&counters);
    golden("stream", &all(&mut encoder, 12_400_000));
}

/// Of the reading the second record, the one with most entries.
fn push_some(tracer: &Tracer, encoder: &mut Encoder) -> Vec<String> {
    tracer.with_spans(|spans| {
        let record = spans.last_named("send");
        assert_eq!(encoder.push(0, &record), Push::Taken);
        vec![describe(&record)]
    })
}
trait LastNamed<'a> {
    fn last_named(self, name: &str) -> spanlet::LocalRecord<'a>;
}
impl<'a, I: Iterator<Item = spanlet::LocalRecord<'a>>> LastNamed<'a> for I {
    fn last_named(self, name: &str) -> spanlet::LocalRecord<'a> {
        self.filter(|span| span.name() == name).last().unwrap()
    }
}

#[test]
fn heartbeat_with_all_counters() {
    let counters = DeviceCounters {
        started: 10_000,
        recorded: 9_005,
        sampled_out: 800,
        ring_full: 70,
        too_large: 6,
        overwritten: 5,
        unsendable: 4,
        lost_at_reset: 3,
        escalated_incomplete: 2,
    };
    let mut encoder = Encoder::new(Epoch(u64::MAX), Link::datagrams(1400));
    encoder.finish_at(9_000, None, &counters);
    let mut frames = all(&mut encoder, 1 << 40);
    encoder.finish_at(9_000, Some(8_990), &counters);
    frames.extend(all(&mut encoder, 1 << 40));
    let kept = Frame::parse(&frames[1]).unwrap();
    assert!(matches!(kept.body(), Body::Records(batch) if batch.oldest() == Some(8_990)));
    let frame = Frame::parse(&frames[0]).unwrap();
    let Body::Records(batch) = frame.body() else {
        panic!("a batch");
    };
    assert_eq!(
        (batch.first(), batch.count(), batch.oldest()),
        (9_000, 0, None)
    );
    assert_eq!(batch.counters(), Some(&counters));
    assert_eq!(
        (frame.epoch(), frame.sent_at()),
        (Epoch(u64::MAX), Ticks(1 << 40))
    );
    golden("heartbeat", &frames);
}

#[test]
fn messages() {
    let mut resource: ResourceEncoder<128> = ResourceEncoder::new();
    assert!(resource.add("service.name", "thermostat") && resource.add("hw.revision", 3));
    let context = SpanContext::new(trace(0xabc), span_id(0xdef), TraceFlags::from_byte(3)).remote();
    let hello = Hello {
        device_id: "th-0017",
        build_id: &[0xde, 0xad, 0xbe, 0xef],
        tick_hz: 1_000_000,
        capabilities: Hello::ACKNOWLEDGED | Hello::CLOCK,
        scope_name: "firmware",
        scope_version: "0.9.0",
        scope_schema_url: "",
        resource: resource.attributes(),
    };
    let ping = ClockPing {
        id: 7,
        host_unix_nanos: 1_800_000_000_000_000_000,
    };
    let pong = ClockPong {
        id: 7,
        host_unix_nanos: ping.host_unix_nanos,
        received_at_ticks: 99,
    };
    let messages = [
        Message::Hello(hello),
        Message::ClockPong(pong),
        Message::Ack(Ack { next: 1003 }),
        Message::ClockPing(ping),
        Message::TraceCommand(TraceCommand::new(&context, b"on")),
        Message::SendDictionary,
        Message::SendHello,
    ];
    let mut encoder: FrameEncoder<256, 0> = FrameEncoder::new(Epoch(3), Link::datagrams(255));
    let mut frames = Vec::new();
    for message in &messages {
        assert!(encoder.message(message));
        let frame = encoder.frame(Ticks(100)).unwrap().to_vec();
        assert!(encoder.frame(Ticks(100)).is_none());
        match Frame::parse(&frame).unwrap().body() {
            Body::Message(found) => assert_eq!(found, message),
            other => panic!("{other:?}"),
        }
        frames.push(frame);
    }
    let Message::TraceCommand(command) = messages[4] else {
        panic!()
    };
    assert_eq!(command.context(), Some(context));
    let mut seen = Vec::new();
    hello
        .resource
        .for_each(|kv| seen.push(format!("{}={:?}", kv.key, kv.value)))
        .unwrap();
    assert_eq!(
        seen,
        ["service.name=Str(\"thermostat\")", "hw.revision=I64(3)"]
    );
    golden("messages", &frames);
}
