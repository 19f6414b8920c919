//! A device, a link that goes wrong and a gateway under virtual time: what two files of tests share.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use spanlet::drain::{Delivery, Drain, RecordSource};
use spanlet::frame::{
    Epoch, Frame, Hello, Link, Message, Progress, ResourceEncoder, StreamDecoder,
};
use spanlet::testing::ManualClock;
use spanlet::{AlwaysOn, DeviceIds, InlineBuf, Span, SpanId, Ticks, Tracer};
use spanlet_std::receiver::{Arrival, Gateway, LinkReceiver};
use spanlet_tests::faults::{Faults, FaultyLink, Harm};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) const RING: usize = 4096;
pub(crate) type DeviceTracer = Tracer<ManualClock, DeviceIds, AlwaysOn, RING>;
pub(crate) type DeviceSpan = Span<&'static DeviceTracer, InlineBuf<40>>;

/// A step of the simulation.
pub(crate) const STEP_US: u64 = 5_000;
/// 115,200 baud: bytes that a step carries.
pub(crate) const BYTES_A_STEP: usize = 57;
/// What a driver's buffer takes before its writer waits.
pub(crate) const QUEUE: usize = 512;

pub(crate) const ONE_PERCENT: u32 = 10_000;
/// What issue 3 asks for: one byte in a hundred is damaged, and some frames come twice.
pub(crate) const NOISY: Faults = Faults {
    corrupt: ONE_PERCENT,
    duplicate: 5 * ONE_PERCENT,
    ..Faults::NONE
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weather {
    Fine,
    Noisy,
    /// Bytes vanish, both ways.
    Cut,
    /// Bytes wait, both ways.
    Stalled,
}

/// One direction: a queue that a rate empties through faults.
pub(crate) struct Way {
    pub(crate) queue: VecDeque<u8>,
    pub(crate) faulty: FaultyLink,
}

impl Way {
    pub(crate) fn new(seed: u64) -> Self {
        Way {
            queue: VecDeque::new(),
            faulty: FaultyLink::new(seed, Faults::NONE),
        }
    }
    pub(crate) fn step(&mut self, weather: Weather) -> Vec<u8> {
        let mut out = Vec::new();
        self.faulty.cut(weather == Weather::Cut, &mut out);
        let faults = [Faults::NONE, NOISY][usize::from(weather == Weather::Noisy)];
        self.faulty.set_faults(faults);
        if weather != Weather::Stalled {
            let n = BYTES_A_STEP.min(self.queue.len());
            let bytes: Vec<u8> = self.queue.drain(..n).collect();
            self.faulty.pass(&bytes, &mut out);
        }
        out
    }
}

pub(crate) struct ToQueue<'a>(&'a mut VecDeque<u8>);
impl embedded_io::ErrorType for ToQueue<'_> {
    type Error = core::convert::Infallible;
}
impl embedded_io::Write for ToQueue<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.0.extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Spans that arrived, with how often.
pub(crate) type Arrived = Arc<Mutex<HashMap<SpanId, u32>>>;

pub(crate) fn gateway() -> (Gateway, Arrived) {
    let arrived = Arrived::default();
    let to = arrived.clone();
    let gateway = Gateway::builder()
        .sink(move |span| *to.lock().unwrap().entry(span.view.span_id()).or_default() += 1)
        .start()
        .unwrap();
    (gateway, arrived)
}

pub(crate) struct World<S> {
    pub(crate) now_us: u64,
    pub(crate) start: Instant,
    pub(crate) tracer: &'static DeviceTracer,
    pub(crate) source: S,
    pub(crate) drain: Box<Drain<512, 16>>,
    pub(crate) capabilities: u32,
    pub(crate) said_hello: bool,
    pub(crate) decoder: StreamDecoder<256>,
    pub(crate) up: Way,
    pub(crate) down: Way,
    pub(crate) heartbeat_us: u64,
    /// Bytes that the device has written.
    pub(crate) written: u64,
    /// Ended, and in the ring or beyond; refused by the ring.
    pub(crate) kept: Vec<SpanId>,
    pub(crate) refused: Vec<SpanId>,
    pub(crate) acks: u32,
}

pub(crate) fn world(seed: u64, delivery: Delivery) -> World<impl RecordSource> {
    // Short frames: of 100 bytes a third is whole when one in a hundred is damaged.
    world_on(Link::stream().with_mtu(96), seed, delivery)
}

pub(crate) fn world_on(link: Link, seed: u64, delivery: Delivery) -> World<impl RecordSource> {
    let tracer: &'static DeviceTracer = Box::leak(Box::new(Tracer::new(
        ManualClock::new(),
        DeviceIds::unset(),
        AlwaysOn,
    )));
    tracer.ids().set(seed, 1);
    World {
        now_us: 0,
        start: Instant::now(),
        tracer,
        source: tracer.records().expect("nobody else drains"),
        drain: Box::new(Drain::new(Epoch(seed), link, delivery)),
        capabilities: match delivery {
            Delivery::OneWay => 0,
            Delivery::Acknowledged { .. } => Hello::ACKNOWLEDGED,
        },
        said_hello: false,
        decoder: StreamDecoder::new(),
        up: Way::new(seed),
        down: Way::new(!seed),
        heartbeat_us: 0,
        written: 0,
        kept: Vec::new(),
        refused: Vec::new(),
        acks: 0,
    }
}

impl<S: RecordSource> World<S> {
    pub(crate) fn span(&mut self, n: u64) {
        self.span_of(n, 0);
    }
    /// A span with so many more bytes of text.
    pub(crate) fn span_of(&mut self, n: u64, bytes: usize) {
        let before = self.tracer.counters().ring_full;
        let mut span: DeviceSpan = self.tracer.span("read sensor").start();
        let id = span.context().span_id();
        span.set_attribute("n", n as i64)
            .set_attribute("channel", 3);
        if bytes != 0 {
            span.set_attribute("text", "x".repeat(bytes).as_str());
        }
        if n.is_multiple_of(7) {
            span.add_event("settled", &[]);
        }
        span.end();
        if self.tracer.counters().ring_full == before {
            self.kept.push(id);
        } else {
            self.refused.push(id);
        }
    }
    pub(crate) fn arrival(&self) -> Arrival {
        Arrival {
            at: self.start + Duration::from_micros(self.now_us),
            unix_ns: 1_800_000_000_000_000_000 + self.now_us * 1000,
        }
    }
    pub(crate) fn tick(&mut self) {
        self.now_us += STEP_US;
        self.tracer.clock().set(Ticks(self.now_us));
        if self.now_us >= self.heartbeat_us {
            self.heartbeat_us = self.now_us + 250_000;
            self.drain.heartbeat();
        }
        if !self.said_hello {
            let mut resource: ResourceEncoder<64> = ResourceEncoder::new();
            assert!(resource.add("service.name", "sensor"));
            let hello = Message::Hello(Hello {
                device_id: "dev",
                build_id: b"1",
                tick_hz: 1_000_000,
                capabilities: self.capabilities,
                scope_name: "fw",
                scope_version: "",
                scope_schema_url: "",
                resource: resource.attributes(),
            });
            self.said_hello = self.drain.message(&hello);
        }
    }
    pub(crate) fn step(&mut self, weather: Weather, host: &mut LinkReceiver) {
        self.tick();
        while self.up.queue.len() < QUEUE {
            let mut to = ToQueue(&mut self.up.queue);
            let (drain, source) = (&mut self.drain, &mut self.source);
            let Ok(done) = drain.drain(source, &mut to, self.tracer.clock(), 1);
            self.written += done.bytes as u64;
            if done.frames == 0 {
                break;
            }
        }
        let bytes = self.up.step(weather);
        let arrival = self.arrival();
        host.feed(&bytes, arrival);
        host.poll(arrival);
        self.down
            .queue
            .extend(host.take_replies().unwrap_or_default());
        let bytes = self.down.step(weather);
        let mut input = &bytes[..];
        while let Progress::Frame(frame) = self.decoder.feed(&mut input) {
            let heard = (&mut self.said_hello, &mut self.acks);
            take_down(frame, &mut self.drain, &mut self.source, self.now_us, heard);
        }
    }
    /// A step on a link of datagrams, or of a stream in pieces of `piece` bytes, each of which may be dropped,
    /// doubled or overtaken.
    pub(crate) fn datagram_step(
        &mut self,
        piece: Option<usize>,
        faults: Faults,
        host: &mut LinkReceiver,
    ) {
        self.tick();
        let arrival = self.arrival();
        let mut arriving = Vec::new();
        self.up.faulty.set_faults(faults);
        for _ in 0..3 {
            let clock = self.tracer.clock();
            let Some(frame) = self.drain.next_frame(&mut self.source, clock) else {
                break;
            };
            for datagram in frame.chunks(piece.unwrap_or(frame.len())) {
                self.up.faulty.datagram(datagram, &mut arriving);
            }
        }
        for datagram in arriving {
            match piece {
                Some(_) => host.feed(&datagram, arrival),
                None => host.datagram(&datagram, arrival),
            }
        }
        host.poll(arrival);
        let mut answers = Vec::new();
        self.down.faulty.set_faults(faults);
        while let Some(reply) = host.take_reply() {
            for part in reply.chunks(piece.unwrap_or(reply.len())) {
                self.down.faulty.datagram(part, &mut answers);
            }
        }
        for answer in answers {
            if piece.is_none() {
                assert!(
                    answer.len() <= Link::MIN_MTU,
                    "acknowledgements fit anywhere"
                );
                let heard = (&mut self.said_hello, &mut self.acks);
                take_down(
                    &answer,
                    &mut self.drain,
                    &mut self.source,
                    self.now_us,
                    heard,
                );
                continue;
            }
            let mut input = &answer[..];
            while let Progress::Frame(frame) = self.decoder.feed(&mut input) {
                let heard = (&mut self.said_hello, &mut self.acks);
                take_down(frame, &mut self.drain, &mut self.source, self.now_us, heard);
            }
        }
    }
    pub(crate) fn steps(&mut self, n: u32, weather: Weather, host: &mut LinkReceiver) {
        (0..n).for_each(|_| self.step(weather, host));
    }
    pub(crate) fn harm(&self) -> (Harm, Harm) {
        (self.up.faulty.harm(), self.down.faulty.harm())
    }
}

pub(crate) fn take_down<S: RecordSource>(
    frame: &[u8],
    drain: &mut Drain<512, 16>,
    source: &mut S,
    now_us: u64,
    (said_hello, acks): (&mut bool, &mut u32),
) {
    let Ok(frame) = Frame::parse(frame) else {
        return;
    };
    match frame.message() {
        Some(Message::SendHello) => *said_hello = false,
        Some(Message::Ack(_)) => *acks += 1,
        _ => {}
    }
    let pong = drain.handle_frame(source, &frame, Ticks(now_us));
    assert_eq!(pong, None);
}

pub(crate) fn acknowledged() -> Delivery {
    Delivery::Acknowledged {
        resend_after_ticks: 200_000,
    }
}

pub(crate) fn seeds(n: u64) -> impl Iterator<Item = u64> {
    let more = std::env::var("SPANLET_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    1..=more.unwrap_or(n)
}
