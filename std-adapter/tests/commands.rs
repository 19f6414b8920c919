//! Commands to devices: over TCP into the device's own trace, and every reason why not.

mod devices;

use devices::{HostMicros, Io, tracer, wait_until};
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{
    Body, Epoch, Frame, Hello, Link, Message, Progress, ResourceAttributes, StreamDecoder,
};
use spanlet::{
    Clock, InlineBuf, RecordSource, Span, SpanContext, SpanId, TraceFlags, TraceId, Uplink,
};
use spanlet_std::clock::Arrival;
use spanlet_std::receiver::{CommandError, Gateway, MAX_PAYLOAD_BYTES};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(5);

fn caller() -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes([1; 16]).unwrap(),
        SpanId::from_bytes([2; 8]).unwrap(),
        TraceFlags::SAMPLED,
    )
}

fn uplink(
    name: &'static str,
    records: impl RecordSource,
    capabilities: u32,
) -> Uplink<'static, impl RecordSource, 512, 32> {
    let delivery = Delivery::Acknowledged {
        resend_after_ticks: 100_000,
    };
    let hello = Hello {
        device_id: name,
        build_id: b"1",
        tick_hz: HostMicros.rate().as_hz(),
        capabilities,
        scope_name: "",
        scope_version: "",
        scope_schema_url: "",
        resource: ResourceAttributes::default(),
    };
    Uplink::new(
        Drain::new(Epoch(1), Link::stream(), delivery),
        records,
        hello,
    )
    .unwrap()
}

/// A device over TCP: each command is a span.
struct Device {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    fn start(name: &'static str, capabilities: u32, to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let tracer = tracer(7);
            let mut uplink = uplink(name, tracer.records().unwrap(), capabilities);
            let mut stream = TcpStream::connect(to).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(2)))
                .unwrap();
            let mut buffer = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                uplink
                    .send(&mut Io(&mut stream), &HostMicros, u32::MAX)
                    .unwrap();
                let Ok(n) = stream.read(&mut buffer) else {
                    continue;
                };
                uplink.receive(&buffer[..n], HostMicros.now(), |caller, payload| {
                    let mut span: Span<_, InlineBuf<20>> =
                        tracer.span("set fan").parent(&caller).start();
                    span.set_attribute("fan.percent", i64::from(payload[0]));
                });
            }
        });
        Device {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn the_device_goes_on_with_the_callers_trace() {
    let spans = Arc::new(Mutex::new(Vec::new()));
    let sink = spans.clone();
    let receiver = Gateway::builder()
        .sink(move |span| sink.lock().unwrap().push(span.to_trace_span()))
        .bind("127.0.0.1:0")
        .unwrap();
    let gateway = receiver.gateway();
    let _device = Device::start("fan", Hello::COMMANDS, receiver.local_addr());
    wait_until("the device is known", || {
        gateway.command("fan", &caller(), &[40]).is_ok()
    });
    gateway.command("fan", &caller(), &[60]).unwrap();
    wait_until("both spans", || spans.lock().unwrap().len() == 2);
    for (span, percent) in spans.lock().unwrap().iter().zip([40, 60]) {
        assert_eq!(span.name, "set fan");
        assert_eq!(span.trace_id, caller().trace_id());
        assert_eq!(span.parent_span_id, Some(caller().span_id()));
        let set = (span.attributes.iter()).find(|(key, _)| key == "fan.percent");
        assert_eq!(set.unwrap().1, i64::from(percent).into());
    }
    assert!(receiver.shutdown(WAIT).is_balanced());
}

#[test]
fn what_cannot_be_sent_is_refused_with_its_reason() {
    let receiver = Gateway::builder().bind("127.0.0.1:0").unwrap();
    let gateway = receiver.gateway();
    let send = |name: &str, payload: &[u8]| gateway.command(name, &caller(), payload);
    assert!(matches!(send("fan", &[]), Err(CommandError::UnknownDevice)));

    let device = Device::start("fan", Hello::COMMANDS, receiver.local_addr());
    wait_until("the device is known", || send("fan", &[1]).is_ok());
    let longest = [0; MAX_PAYLOAD_BYTES + 1];
    assert!(send("fan", &longest[1..]).is_ok());
    assert!(matches!(send("fan", &longest), Err(CommandError::TooLarge)));
    drop(device);
    wait_until("the device has gone", || {
        matches!(send("fan", &[1]), Err(CommandError::NotConnected))
    });

    let _deaf = Device::start("deaf", 0, receiver.local_addr());
    wait_until("the deaf device is known", || {
        matches!(send("deaf", &[1]), Err(CommandError::NotSupported))
    });
}

#[test]
fn without_a_writer_commands_wait_to_be_taken() {
    let gateway = Gateway::builder().start().unwrap();
    let tracer = tracer(8);
    let mut uplink = uplink("fan", tracer.records().unwrap(), Hello::COMMANDS);
    let mut link = gateway.link("uart");
    let mut sent = Vec::new();
    uplink
        .send(&mut Io(&mut sent), &HostMicros, u32::MAX)
        .unwrap();
    link.feed(&sent, Arrival::now());
    link.take_replies();

    gateway.command("fan", &caller(), b"on").unwrap();
    let replies = link.take_replies().unwrap();
    let (mut decoder, mut input) = (StreamDecoder::<256>::new(), &replies[..]);
    let Progress::Frame(frame) = decoder.feed(&mut input) else {
        panic!("{replies:?}")
    };
    let frame = Frame::parse(frame).unwrap();
    let Body::Message(Message::TraceCommand(command)) = frame.body() else {
        panic!("{frame:?}")
    };
    assert_eq!(frame.epoch(), Epoch(1));
    assert_eq!(command.context(), Some(caller().remote()));
    assert_eq!(command.payload, b"on");
    assert!(link.take_replies().is_none());

    // Nobody takes them: bounded.
    let refused = (0..10_000).find_map(|_| gateway.command("fan", &caller(), b"on").err());
    assert!(matches!(refused, Some(CommandError::Busy)));
    assert!(link.take_replies().unwrap().len() <= 64 * 64);
    gateway.command("fan", &caller(), b"on").unwrap();
}
