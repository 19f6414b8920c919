//! A collector that counts spans: a process of its own, so that what it takes is nobody's cost.
//!
//! Input: OTLP/HTTP requests in protobuf. Output: 200 for each, and the count to whoever asks by GET. Bound: a thread
//! for each connection, one request in memory. Asked to be deaf, it accepts connections and reads nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

static SPANS: AtomicU64 = AtomicU64::new(0);

/// Runs until it is killed; prints its port.
pub(crate) fn run(is_deaf: bool) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let mut kept = Vec::new();
    for connection in listener.incoming() {
        let connection = connection?;
        if is_deaf {
            kept.push(connection);
        } else {
            std::thread::spawn(move || serve(&connection));
        }
    }
    Ok(())
}

/// Answers until the client leaves.
fn serve(connection: &TcpStream) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut from = BufReader::with_capacity(1 << 20, connection);
    let mut to = connection;
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let is_get = line.starts_with("GET");
        let mut length = 0;
        let mut is_expecting = false;
        loop {
            line.clear();
            from.read_line(&mut line).ok()?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            is_expecting |= header.starts_with("expect:");
        }
        if is_expecting {
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        body.resize(length, 0);
        from.read_exact(&mut body).ok()?;
        if is_get {
            let count = SPANS.load(Ordering::SeqCst).to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{count}",
                count.len()
            );
            to.write_all(answer.as_bytes()).ok()?;
            continue;
        }
        SPANS.fetch_add(spans_of(&body), Ordering::SeqCst);
        to.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        )
        .ok()?;
    }
}

/// Spans of an ExportTraceServiceRequest: fields 1, 2 and 2, one in the other.
fn spans_of(request: &[u8]) -> u64 {
    let mut spans = 0;
    each_field(request, 1, |resource| {
        each_field(resource, 2, |scope| each_field(scope, 2, |_| spans += 1));
    });
    spans
}

/// Shows the length-delimited fields of this number.
fn each_field(mut message: &[u8], number: u64, mut show: impl FnMut(&[u8])) {
    fn varint(from: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = from.split_first().expect("whole");
            *from = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    while !message.is_empty() {
        let tag = varint(&mut message);
        let len = match tag & 7 {
            0 => {
                varint(&mut message);
                0
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            _ => 4,
        };
        let (field, rest) = message.split_at(len);
        message = rest;
        if tag == number << 3 | 2 {
            show(field);
        }
    }
}

/// A collector in a child process, killed when this is dropped.
pub(crate) struct Collector {
    child: Child,
    port: u16,
}

impl Collector {
    pub(crate) fn start(is_deaf: bool) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["collector", if is_deaf { "deaf" } else { "answering" }])
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a port");
        let port = line.trim().parse().expect("a port");
        Collector { child, port }
    }
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.port)
    }
    /// Spans that have arrived.
    pub(crate) fn spans(&self) -> u64 {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        connection
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .expect("it reads");
        connection
            .shutdown(std::net::Shutdown::Write)
            .expect("connected");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        let (_, count) = answer.split_once("\r\n\r\n").expect("a body");
        count.parse().expect("a number")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
