//! Devices for tests: the core alone, over any stream.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use embedded_io::ErrorType;
use spanlet::drain::{Delivery, Drain, RecordSource};
use spanlet::frame::{
    Body, ClockPong, DeviceCounters, Epoch, Frame, Hello, Link, Message, Progress, ResourceEncoder,
    StreamDecoder,
};
use spanlet::{
    AlwaysOn, Clock, DeviceIds, InlineBuf, InstrumentationScope, Span, TickRate, Ticks, Tracer,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

/// Microseconds since the first look.
pub(crate) struct HostMicros;
impl Clock for HostMicros {
    fn now(&self) -> Ticks {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let start = START.get_or_init(Instant::now);
        // As a device that has been up for a while.
        Ticks(7_000_000 + start.elapsed().as_micros() as u64)
    }
    fn rate(&self) -> TickRate {
        TickRate::MICROSECONDS
    }
}

pub(crate) const RING: usize = 16_384;
pub(crate) type DeviceTracer<const N: usize = RING> = Tracer<HostMicros, DeviceIds, AlwaysOn, N>;
pub(crate) type DeviceSpan<const N: usize = RING> = Span<&'static DeviceTracer<N>, InlineBuf<40>>;

/// A tracer that lives as long as the test.
pub(crate) fn tracer(device: u64) -> &'static DeviceTracer {
    tracer_with_ring(device)
}
pub(crate) fn tracer_with_ring<const N: usize>(device: u64) -> &'static DeviceTracer<N> {
    let tracer = Tracer::new(HostMicros, DeviceIds::unset(), AlwaysOn);
    tracer.ids().set(device, 1);
    Box::leak(Box::new(tracer))
}

/// One reading: two spans.
pub(crate) fn work<const N: usize>(tracer: &'static DeviceTracer<N>, n: i64) {
    let mut parent: DeviceSpan<N> = tracer.span("reading").start();
    parent.set_attribute("n", n);
    let mut child: DeviceSpan<N> = tracer.span("sample adc").parent(&parent).start();
    child.set_attribute("channel", 3);
    child.set_attribute("volts", 1.25);
    child.add_event("settled", &[]);
}

static MODBUS: InstrumentationScope<'static> =
    InstrumentationScope::new("modbus").with_version("0.3");

/// One span of a library.
pub(crate) fn work_of_a_library(tracer: &'static DeviceTracer) {
    let mut span: DeviceSpan = tracer.span("read register").scope(&MODBUS).start();
    span.set_attribute("register", 40_001);
    span.set_attribute("values", &[1i64, 2, 3][..]);
}

/// What a stream of std is to the core.
pub(crate) struct Io<T>(pub T);
impl<T> ErrorType for Io<T> {
    type Error = embedded_io::ErrorKind;
}
impl<T: Write> embedded_io::Write for Io<T> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        self.0.write(buf).map_err(|error| error.kind().into())
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        self.0.flush().map_err(|error| error.kind().into())
    }
}

/// Says hello as `name`, through `send`.
pub(crate) fn with_hello<T>(
    name: &str,
    capabilities: u32,
    send: impl FnOnce(&Message<'_>) -> T,
) -> T {
    let mut resource: ResourceEncoder<128> = ResourceEncoder::new();
    assert!(resource.add("service.name", name));
    assert!(resource.add("hw.revision", 3));
    send(&Message::Hello(Hello {
        device_id: name,
        build_id: b"fw 1.2.3",
        tick_hz: 1_000_000,
        capabilities,
        scope_name: "sensor-fw",
        scope_version: "1.2.3",
        scope_schema_url: "",
        resource: resource.attributes(),
    }))
}

pub(crate) type DeviceDrain = Drain<2048, 64>;

/// A device with a link to the gateway.
pub(crate) struct Device<S: RecordSource> {
    pub name: String,
    pub capabilities: u32,
    pub drain: Box<DeviceDrain>,
    pub source: S,
    link: Option<TcpStream>,
    decoder: Box<StreamDecoder<1024>>,
    pub hellos_wanted: u32,
    pub acks: u32,
    /// The highest record that it may forget, and one.
    pub acknowledged: u32,
}

pub(crate) fn device(
    name: &str,
    epoch: u64,
    delivery: Delivery,
    tracer: &'static DeviceTracer,
) -> Device<impl RecordSource> {
    // As on real links, frames are short.
    device_on(Link::stream().with_mtu(400), name, epoch, delivery, tracer)
}
pub(crate) fn device_on<const N: usize>(
    link: Link,
    name: &str,
    epoch: u64,
    delivery: Delivery,
    tracer: &'static DeviceTracer<N>,
) -> Device<impl RecordSource> {
    let capabilities = match delivery {
        Delivery::OneWay => 0,
        Delivery::Acknowledged { .. } => Hello::ACKNOWLEDGED | Hello::CLOCK,
    };
    Device {
        name: name.to_owned(),
        capabilities,
        drain: Box::new(Drain::new(Epoch(epoch), link, delivery)),
        source: tracer.records().expect("nobody else drains"),
        link: None,
        decoder: Box::default(),
        hellos_wanted: 0,
        acks: 0,
        acknowledged: 0,
    }
}

impl<S: RecordSource> Device<S> {
    pub(crate) fn connect(&mut self, to: SocketAddr) {
        let stream = TcpStream::connect(to).expect("the gateway listens");
        stream
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        self.link = Some(stream);
        *self.decoder = StreamDecoder::new();
        self.hello();
    }
    /// As [`connect`](Self::connect), without a word.
    pub(crate) fn connect_silently(&mut self, to: SocketAddr) {
        self.connect(to);
        let _ = self.drain.failed(&mut self.source);
    }
    pub(crate) fn disconnect(&mut self) {
        self.link = None;
    }
    pub(crate) fn hello(&mut self) {
        let drain = &mut self.drain;
        // If something else is on its way, the gateway asks again.
        with_hello(&self.name, self.capabilities, |hello| drain.message(hello));
    }
    /// Sends what there is; false if the link is gone.
    pub(crate) fn send(&mut self) -> bool {
        self.send_some(1000)
    }
    /// As [`send`](Self::send), so many frames at most.
    pub(crate) fn send_some(&mut self, frames: u32) -> bool {
        self.drain.heartbeat();
        let Some(link) = &mut self.link else {
            return false;
        };
        let done = self
            .drain
            .drain(&mut self.source, &mut Io(link), &HostMicros, frames);
        if done.is_err() {
            self.link = None;
        }
        done.is_ok()
    }
    /// Reads what the gateway says, and answers.
    pub(crate) fn listen(&mut self) {
        let mut buffer = [0; 512];
        let Some(link) = &mut self.link else { return };
        let Ok(n) = link.read(&mut buffer) else {
            return;
        };
        let (hello, pongs) = self.take(&buffer[..n]);
        if hello {
            self.hellos_wanted += 1;
            self.send();
            self.hello();
            self.send();
        }
        for pong in pongs {
            self.send();
            assert!(self.drain.message(&Message::ClockPong(pong)));
            self.send();
        }
    }
    /// Takes bytes from the gateway. Whether it asks for a hello, and what its pings are to be answered with.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> (bool, Vec<ClockPong>) {
        let (mut input, mut pongs, mut hello) = (bytes, Vec::new(), false);
        while let Progress::Frame(frame) = self.decoder.feed(&mut input) {
            // Damaged on the way.
            let Ok(frame) = Frame::parse(frame) else {
                continue;
            };
            let Body::Message(message) = frame.body() else {
                panic!("only messages go down")
            };
            hello |= matches!(message, Message::SendHello);
            if let Message::Ack(ack) = message {
                self.acks += 1;
                self.acknowledged = self.acknowledged.max(ack.next);
            }
            let now = HostMicros.now();
            pongs.extend(self.drain.handle_frame(&mut self.source, &frame, now));
        }
        (hello, pongs)
    }
    pub(crate) fn counters(&mut self) -> DeviceCounters {
        self.source.counters()
    }
}

/// Waits until `done`, for ten seconds at most.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_nanos() as u64
}
