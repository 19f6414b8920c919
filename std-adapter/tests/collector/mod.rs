//! A collector on loopback that plays a script, and a clock that does not wait.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of this"
)]

use core::net::SocketAddr;
use core::time::Duration;
use spanlet_std::export::{
    Batch, ExportOutcome, OtlpHttpBuilder, OtlpHttpExporter, SpanExporter, StopSignal, Timer,
};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

pub const BODY: &[u8] = b"any bytes: the exporter looks into none of them";
pub const SPANS: u64 = 5;

pub fn batch() -> Batch<'static> {
    Batch {
        body: BODY,
        spans: SPANS,
    }
}

/// Plays a script to one export with default settings and a clock that does not wait.
pub fn export(script: Vec<Step>) -> (ExportOutcome, Vec<Duration>, usize) {
    let collector = Collector::play(script);
    let timer = FakeTimer::new();
    let exporter = collector.builder().timer(timer.clone()).build().unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!(outcome.spans(), SPANS, "{outcome:?}");
    (outcome, timer.waits(), collector.requests().len())
}

/// Offers a batch as the queue does, again and again while its fault is one that passes, with a clock that does not
/// wait; returns how long that was, and the last outcome.
pub fn outlast(
    exporter: &dyn SpanExporter,
    timer: &FakeTimer,
    batch: Batch<'_>,
) -> (Duration, ExportOutcome) {
    let begun = timer.now();
    loop {
        let outcome = exporter.export(batch, Duration::from_secs(30));
        assert_eq!(outcome.spans(), batch.spans, "{outcome:?}");
        let Some(pause) = outcome.retry_in else {
            return (timer.now() - begun, outcome);
        };
        assert_eq!(
            outcome.failed, batch.spans,
            "nothing is in doubt: {outcome:?}"
        );
        timer.advance(pause);
    }
}

pub fn text(outcome: &ExportOutcome) -> String {
    outcome.error.as_ref().unwrap().to_string()
}

/// What the collector does about one request.
pub enum Step {
    /// Reads it and writes these bytes; the connection stays open.
    Say(Vec<u8>),
    /// Reads it, writes these bytes and closes.
    SayAndClose(Vec<u8>),
    /// Closes as soon as the connection stands.
    CloseUnread,
    /// Reads it and never answers; the connection stays open.
    Hang,
}

/// An answer with a body and a content length.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut bytes = (bytes + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub fn say(status: u16) -> Step {
    Step::Say(answer(status, &[], b""))
}

/// 200 with a protobuf body.
pub fn protobuf(body: &[u8]) -> Step {
    Step::Say(answer(
        200,
        &[("Content-Type", "application/x-protobuf")],
        body,
    ))
}

/// A request as it came in.
#[derive(Debug)]
pub struct Request {
    /// Which connection it came on, from 0.
    pub connection: usize,
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

pub struct Collector {
    pub address: SocketAddr,
    requests: Receiver<Request>,
}

impl Collector {
    /// Plays the steps, one a request; afterwards nothing listens any more.
    pub fn play(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (report, requests) = mpsc::channel();
        std::thread::spawn(move || {
            let mut script = script.into_iter().peekable();
            let mut held = Vec::new();
            let mut connection = 0;
            while script.peek().is_some() {
                let stream = listener.accept().unwrap().0;
                if let Some(Step::CloseUnread) = script.peek() {
                    script.next();
                    connection += 1;
                    continue;
                }
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while script.peek().is_some() {
                    let Some(request) = read_request(&mut reader, connection) else {
                        break;
                    };
                    let _ = report.send(request);
                    match script.next().unwrap() {
                        Step::Say(bytes) => write(&stream, &bytes),
                        Step::SayAndClose(bytes) => {
                            write(&stream, &bytes);
                            let _ = stream.shutdown(Shutdown::Both);
                            break;
                        }
                        Step::Hang => {
                            held.push(stream.try_clone().unwrap());
                            break;
                        }
                        Step::CloseUnread => break,
                    }
                }
                connection += 1;
            }
            // A collector that hangs does so until the test is over.
            if !held.is_empty() {
                std::thread::park();
            }
        });
        Collector { address, requests }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }

    /// Blocks until a request has come.
    pub fn await_request(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    pub fn builder(&self) -> OtlpHttpBuilder {
        OtlpHttpExporter::builder()
            .endpoint(&self.endpoint())
            .unwrap()
    }
}

fn write(mut stream: &TcpStream, bytes: &[u8]) {
    // The exporter may have hung up on an answer that is too large.
    let _ = stream.write_all(bytes);
}

fn read_request(reader: &mut impl BufRead, connection: usize) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|&n| n > 0)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        connection,
        line: line.trim().to_owned(),
        headers,
        body: Vec::new(),
    };
    let length = request.header("content-length")?.parse().unwrap();
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// Stands still but for waits, which pass at once and are written down.
#[derive(Debug)]
pub struct FakeTimer {
    start: Instant,
    state: Mutex<FakeState>,
}

#[derive(Debug, Default)]
struct FakeState {
    elapsed: Duration,
    waits: Vec<Duration>,
}

impl FakeTimer {
    pub fn new() -> Arc<Self> {
        Arc::new(FakeTimer {
            start: Instant::now(),
            state: Mutex::default(),
        })
    }
    pub fn waits(&self) -> Vec<Duration> {
        self.state.lock().unwrap().waits.clone()
    }
    pub fn advance(&self, by: Duration) {
        self.state.lock().unwrap().elapsed += by;
    }
    /// The wall clock at the start: a whole second.
    pub fn unix_start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }
}

impl Timer for FakeTimer {
    fn now(&self) -> Instant {
        self.start + self.state.lock().unwrap().elapsed
    }
    fn unix_now(&self) -> SystemTime {
        Self::unix_start() + self.state.lock().unwrap().elapsed
    }
    fn wait_until(&self, until: Instant, stop: &StopSignal) -> bool {
        if stop.is_raised() {
            return true;
        }
        let mut state = self.state.lock().unwrap();
        let wait = until.saturating_duration_since(self.start + state.elapsed);
        state.elapsed += wait;
        state.waits.push(wait);
        false
    }
}
