//! What a span costs on the wire, everything counted: the shelf sensor of the demo for ten minutes of virtual time.
//!
//! Each second a reading makes two spans (see `examples/checkout/services/device.rs`). Every byte that the drain
//! writes counts, the hello, heartbeats, texts, envelopes and COBS among them; divided by the spans that a decoder
//! finds in those bytes. Once with a drain every five seconds, as a device with a radio or many spans has it, and
//! once with one after each reading.

use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{
    Body, Epoch, Frame, Hello, Link, Message, Progress, ResourceEncoder, StreamDecoder,
};
use spanlet::{
    AlwaysOn, Clock, DeviceIds, InlineBuf, KeyValue, Span, SpanKind, TickRate, Ticks, Tracer,
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const MINUTES: u64 = 10;
const SECOND: u64 = 1_000_000;

/// Virtual time in microseconds.
struct Timer;
static NOW: AtomicU64 = AtomicU64::new(0);
impl Clock for Timer {
    fn now(&self) -> Ticks {
        Ticks(NOW.load(Relaxed))
    }
    fn rate(&self) -> TickRate {
        TickRate::MICROSECONDS
    }
}
fn sleep(micros: u64) {
    NOW.fetch_add(micros, Relaxed);
}

type DeviceTracer = Tracer<Timer, DeviceIds, AlwaysOn, 8192>;
type Buf = InlineBuf<48>;

/// A reading: times vary as a scale's and a network's do, always in the same way.
fn reading(tracer: &'static DeviceTracer, n: u64) {
    let mut reading: Span<_, Buf> = tracer.span("shelf reading").start();
    sleep(3_000 + n * 37 % 211);
    reading
        .set_attribute("sensor.weight_g", 412.5 + (n % 50) as f64 * 7.25)
        .set_static("sensor.name", "scale-1");
    reading.add_event("item.taken", &[KeyValue::new("item.sku", "4006381333931")]);
    let mut call: Span<_, Buf> = tracer
        .span("POST /checkout")
        .kind(SpanKind::Client)
        .parent(&reading)
        .start();
    call.set_static("http.request.method", "POST")
        .set_static("server.address", "api-gateway.shop.internal");
    sleep(45_000 + n * 7_919 % 30_011);
    call.set_attribute("http.response.status_code", 200);
    call.end();
    sleep(400);
    reading.end();
}

fn hello(drain: &mut Drain<512, 16>) {
    let mut resource = ResourceEncoder::<160>::new();
    assert!(resource.add("service.name", "shelf-sensor"));
    assert!(resource.add("device.manufacturer", "spanlet"));
    assert!(resource.add("device.model.identifier", "shelf-scale-1"));
    assert!(resource.add("hw.firmware_version", "1.4.2"));
    let hello = Hello {
        device_id: "shelf-0042",
        build_id: b"1.4.2",
        tick_hz: Timer.rate().as_hz(),
        capabilities: 0,
        scope_name: "shelf",
        scope_version: "1.4.2",
        scope_schema_url: "",
        resource: resource.attributes(),
    };
    assert!(drain.message(&Message::Hello(hello)));
}

/// Bytes a span with a drain every so many readings.
fn bytes_per_span(tracer: &'static DeviceTracer, every: u64) -> f64 {
    NOW.store(0, Relaxed);
    tracer.ids().set(0x5ca1_e042, 17);
    let mut link = Vec::new();
    let mut drain = Drain::<512, 16>::new(Epoch(17), Link::stream(), Delivery::OneWay);
    let mut records = tracer.records().expect("nobody else drains");
    hello(&mut drain);
    let readings = MINUTES * 60;
    for n in 0..readings {
        reading(tracer, n);
        NOW.store((n + 1) * SECOND, Relaxed);
        if (n + 1) % every == 0 {
            // The last counters, even if nothing follows.
            drain.heartbeat();
            while let Some(frame) = drain.next_frame(&mut records, tracer.clock()) {
                link.extend_from_slice(frame);
            }
        }
    }
    let spans = spans_in(&link);
    assert_eq!(spans, 2 * readings, "spans delivered");
    link.len() as f64 / spans as f64
}

fn spans_in(mut link: &[u8]) -> u64 {
    let mut decoder: StreamDecoder<1024> = StreamDecoder::new();
    let mut spans = 0;
    while let Progress::Frame(bytes) = decoder.feed(&mut link) {
        let frame = Frame::parse(bytes).expect("a frame");
        if let Body::Records(batch) = frame.body() {
            spans += u64::from(batch.count());
        }
    }
    spans
}

fn main() {
    static BATCHED: DeviceTracer = Tracer::new(Timer, DeviceIds::unset(), AlwaysOn);
    static ALONE: DeviceTracer = Tracer::new(Timer, DeviceIds::unset(), AlwaysOn);
    println!("wire.bytes_per_span {:.1}", bytes_per_span(&BATCHED, 5));
    println!("wire.bytes_per_span_alone {:.1}", bytes_per_span(&ALONE, 1));
}
