//! The other side of a test: requests byte by byte, and a server that keeps what it was sent.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// The runtime that all servers of this process run on.
pub static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// Serves a router of axum on a port of its own.
pub fn serve(app: axum::Router) -> SocketAddr {
    serve_with(|_| app)
}

/// The same for one that needs to know where it is.
pub fn serve_with(app: impl FnOnce(SocketAddr) -> axum::Router) -> SocketAddr {
    crate::memory::installed();
    let bind = tokio::net::TcpListener::bind("127.0.0.1:0");
    let listener = RUNTIME.block_on(bind).unwrap();
    let address = listener.local_addr().unwrap();
    let app = app(address);
    RUNTIME.spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Header fields as they came, names in lower case.
pub type Fields = Vec<(String, String)>;

/// Sends bytes and reads the answer up to the connection's end: status, header fields, body.
pub fn send(to: SocketAddr, request: &[u8]) -> (u16, Fields, Vec<u8>) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(request).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let fields = read_fields(&mut reader);
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    (status, fields, body)
}

/// A request of HTTP/1.1 whose header lines are taken as they are.
pub fn request(method: &str, target: &str, lines: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    if !lines
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        bytes.push_str("Host: shop.test:8080\r\n");
    }
    if !body.is_empty() {
        bytes.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    for (name, value) in lines {
        bytes.push_str(&format!("{name}:{value}\r\n"));
    }
    (bytes + "\r\n" + body).into_bytes()
}

fn read_fields(reader: &mut impl BufRead) -> Fields {
    let mut fields = Fields::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.split_once(':') {
            Some((name, value)) => {
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()))
            }
            None => return fields,
        }
    }
}

/// Answers every request with 200 and keeps its header fields under its path.
pub struct Harness {
    pub address: SocketAddr,
    seen: Arc<Mutex<HashMap<String, Fields>>>,
}

pub static HARNESS: LazyLock<Harness> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::<Mutex<HashMap<String, Fields>>>::default();
    let kept = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, kept) = (stream.unwrap(), kept.clone());
            std::thread::spawn(move || answer(&stream, &kept));
        }
    });
    Harness { address, seen }
});

impl Harness {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    /// What came to this path.
    pub fn take(&self, path: &str) -> Fields {
        let seen = self.seen.lock().unwrap().remove(path);
        seen.unwrap_or_else(|| panic!("nothing came to {path}"))
    }
}

fn answer(stream: &TcpStream, kept: &Mutex<HashMap<String, Fields>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        // The client has gone.
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let fields = read_fields(&mut reader);
        let length = fields.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        kept.lock().unwrap().insert(path.clone(), fields);
        let status = match path.strip_prefix("/status/") {
            Some(status) => status.split('/').next().unwrap(),
            None => "200",
        };
        let mut stream = stream;
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\nX-Answer: yes\r\n\r\nok");
        stream.write_all(answer.as_bytes()).unwrap();
    }
}
