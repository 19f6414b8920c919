//! A device on a slow serial line under virtual time: its answers to pings wait behind frames of records, and the
//! stated bound holds all the same.

use spanlet::drain::{Delivery, Drain, RecordSource};
use spanlet::frame::{
    Body, ClockPong, Epoch, Frame, Hello, Identity, Link, Message, Progress, StreamDecoder,
};
use spanlet::testing::ManualClock;
use spanlet::{AlwaysOn, Clock, DeviceIds, InlineBuf, Span, TickRate, Ticks, Tracer};
use spanlet_std::clock::ClockError;
use spanlet_std::receiver::{Arrival, ClockConfig, Gateway};
use spanlet_std::trace::AttributeValue;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const BAUD: u64 = 9600;
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;
const IDENTITY: Identity<96> = Identity::new("meter")
    .with_firmware_version("1.4.2")
    .with_capabilities(Hello::CLOCK);
const _: () = assert!(IDENTITY.fits());

type DeviceTracer = Tracer<ManualClock, DeviceIds, AlwaysOn, 16_384>;

fn on_the_wire_ns(bytes: usize) -> u64 {
    bytes as u64 * 10 * 1_000_000_000 / BAUD
}

/// Runs for a minute; the stated bounds of all readings, and by how much they were off.
fn run(config: ClockConfig) -> Vec<(u64, u64)> {
    let start = Instant::now();
    let spans = Arc::new(Mutex::new(Vec::new()));
    let to = spans.clone();
    let gateway = Gateway::builder()
        .clock(config)
        .sink(move |span| {
            to.lock()
                .unwrap()
                .push((span.clock_error, span.to_trace_span()))
        })
        .start()
        .unwrap();
    let mut host = gateway.link("uart");
    let tracer: &'static DeviceTracer = Box::leak(Box::new(Tracer::new(
        ManualClock::new(),
        DeviceIds::new(5, 1),
        AlwaysOn,
    )));
    let mut records = tracer.records().unwrap();
    let mut drain: Box<Drain<512, 16>> =
        Box::new(Drain::new(Epoch(1), Link::stream(), Delivery::OneWay));
    assert!(drain.message(&Message::Hello(
        IDENTITY.hello("meter-1", TickRate::MICROSECONDS)
    )));
    let mut down: Box<StreamDecoder<256>> = Box::default();

    let mut real_ns = 0u64;
    // 300 ppm slow, and up for an hour.
    let set_clock = |real_ns: u64| {
        let device_us = 3_600_000_000 + (real_ns - real_ns * 3 / 10_000) / 1000;
        tracer.clock().set(Ticks(device_us));
    };
    let arrival = |real_ns: u64| Arrival {
        at: start + Duration::from_nanos(real_ns),
        unix_ns: EPOCH_NS + real_ns,
    };
    let mut pong: Option<ClockPong> = None;
    // When a reply is all there.
    let mut replies: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut waited = 0;
    while real_ns < 60_000_000_000 {
        set_clock(real_ns);
        let mut span: Span<_, InlineBuf<40>> = tracer.span("reading").start();
        span.set_attribute("real_ns", real_ns as i64);
        drop(span);
        // As a firmware's loop has it: what came, an answer if a frame has room for it, records.
        let arrived = replies.iter().take_while(|(at, _)| *at <= real_ns).count();
        for (_, bytes) in replies.drain(..arrived) {
            let mut input = &bytes[..];
            while let Progress::Frame(frame) = down.feed(&mut input) {
                let frame = Frame::parse(frame).unwrap();
                let Body::Message(message) = frame.body() else {
                    panic!("only messages go down")
                };
                let now = tracer.clock().now();
                pong = drain.handle(&mut records, message, now).or(pong);
            }
        }
        for _ in 0..3 {
            // The frame at hand goes first, and the answer waits for it on the wire.
            let Some(bytes) = drain
                .next_frame(&mut records, tracer.clock())
                .map(<[u8]>::to_vec)
            else {
                break;
            };
            real_ns += on_the_wire_ns(bytes.len());
            set_clock(real_ns);
            host.feed(&bytes, arrival(real_ns));
        }
        if let Some(answer) = pong.take() {
            if drain.message(&Message::ClockPong(answer)) {
                waited = waited.max(tracer.clock().now().0 - answer.received_at_ticks);
            } else {
                pong = Some(answer);
            }
        }
        host.poll(arrival(real_ns));
        if let Some(bytes) = host.take_replies() {
            replies.push((real_ns + on_the_wire_ns(bytes.len()), bytes));
        }
        real_ns += 37_000_000;
    }
    assert!(waited > 50_000, "answers waited: {waited} µs");
    assert_eq!(records.counters().open(), 0);
    gateway.shutdown(Duration::from_secs(1));
    let spans = spans.lock().unwrap();
    assert!(spans.len() > 200, "{}", spans.len());
    let readings = spans.iter().map(|(error, span)| {
        let [(_, AttributeValue::I64(real)), ..] = span.attributes[..] else {
            panic!("{:?}", span.attributes)
        };
        let off = span.start_unix_ns.abs_diff(EPOCH_NS + real as u64);
        let ClockError::Within(bound) = *error else {
            panic!("it answers: {error:?}")
        };
        assert!(off <= bound, "{off} ns off, stated {bound}");
        (bound, off)
    });
    readings.collect()
}

fn widest_later(readings: &[(u64, u64)]) -> u64 {
    let later = readings.iter().skip(readings.len() / 3);
    later.map(|(bound, _)| *bound).max().unwrap()
}

#[test]
fn answers_that_waited_are_honest_and_a_known_speed_tightens_the_bound() {
    let blind = widest_later(&run(ClockConfig::default()));
    let knowing = widest_later(&run(ClockConfig::default().with_baud(BAUD as u32)));
    // A ping takes 23 ms down and its answer 26 ms up, and each has to wait for the device's next look.
    assert!(blind < 60_000_000, "{blind}");
    assert!(knowing + 15_000_000 < blind, "{knowing} {blind}");
}
