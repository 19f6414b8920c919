//! A small OTLP/HTTP receiver inside this process, for tests and demonstrations.
//!
//! Stage: the collector's end. Input: POSTs of binary protobuf to `/v1/traces`, gzip or not. Output:
//! each decoded request, to a callback, whose [`Answer`] goes back. Bound: a body is at most
//! [`BODY_LIMIT_BYTES`] before and after decompression; [`WORKERS`] requests are handled at a time.
//!
//! It is meant for loopback: it has neither TLS nor timeouts against slow senders.
//!
//! SPEC: opentelemetry-proto, "OTLP/HTTP Response".

use super::proto::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, RpcStatus,
};
use core::fmt;
use core::net::SocketAddr;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use prost::Message;
use std::io::{self, Read};
use std::net::ToSocketAddrs;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Largest request body, before and after decompression: 64 MiB.
pub const BODY_LIMIT_BYTES: usize = 64 << 20;
/// Requests handled at a time.
pub const WORKERS: usize = 2;

const PROTOBUF: &str = "application/x-protobuf";
const PATH: &str = "/v1/traces";

/// What the receiver says to a request that it could read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All spans are taken.
    Accept,
    /// All but some are taken; with none rejected, the message is a warning.
    Partial {
        /// Spans refused.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// Nothing is taken.
    Refuse {
        /// An HTTP status of 400 or more.
        status: u16,
        /// When to come back.
        retry_after: Option<Duration>,
        /// Why.
        message: String,
    },
}

/// What a receiver has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Requests answered with success, partial success among them.
    pub accepted_requests: u64,
    /// Spans taken.
    pub accepted_spans: u64,
    /// Requests answered with an error.
    pub refused_requests: u64,
}

#[derive(Debug, Default)]
struct Counters {
    accepted_requests: AtomicU64,
    accepted_spans: AtomicU64,
    refused_requests: AtomicU64,
    stopping: AtomicBool,
}

/// A running receiver; dropping it waits for requests being handled and then closes the port within
/// moments.
///
/// ```
/// use core::time::Duration;
/// use spanlet_std::export::{Batch, OtlpHttpExporter, SpanExporter};
/// use spanlet_std::receiver::otlp_http::{Answer, OtlpHttpReceiver};
///
/// let receiver = OtlpHttpReceiver::bind("127.0.0.1:0", |request| {
///     println!("{} spans", request.spans().count());
///     Answer::Accept
/// })?;
/// let exporter = OtlpHttpExporter::builder().endpoint(&receiver.endpoint())?.build()?;
/// // resource_spans { scope_spans { spans { name: "a" } } }
/// let body = b"\x0a\x07\x12\x05\x12\x03\x2a\x01a";
/// let outcome = exporter.export(Batch { body, spans: 1 }, Duration::from_secs(10));
/// assert_eq!(outcome.exported, 1);
/// assert_eq!(receiver.stats().accepted_spans, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OtlpHttpReceiver {
    server: Arc<tiny_http::Server>,
    address: SocketAddr,
    counters: Arc<Counters>,
    workers: Vec<JoinHandle<()>>,
}

impl OtlpHttpReceiver {
    /// Listens at `address` (port 0 picks a free one) and hands each decoded request to `on_request`,
    /// from [`WORKERS`] threads. If `on_request` panics, the sender gets status 500.
    ///
    /// # Errors
    /// If the address cannot be listened at.
    pub fn bind(
        address: impl ToSocketAddrs,
        on_request: impl Fn(ExportTraceServiceRequest) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let server = Arc::new(tiny_http::Server::http(address).map_err(io::Error::other)?);
        let address = server
            .server_addr()
            .to_ip()
            .ok_or_else(|| io::Error::other("the address is no IP address"))?;
        let counters = Arc::new(Counters::default());
        let on_request = Arc::new(on_request);
        let mut receiver = OtlpHttpReceiver {
            server,
            address,
            counters,
            workers: Vec::new(),
        };
        for _ in 0..WORKERS {
            let server = Arc::clone(&receiver.server);
            let counters = Arc::clone(&receiver.counters);
            let on_request = Arc::clone(&on_request);
            let worker = std::thread::Builder::new()
                .name("otlp-receiver".to_owned())
                .spawn(move || {
                    // ORDERING: the flag carries no data; `unblock` wakes the wait after it is set.
                    while !counters.stopping.load(Ordering::Relaxed) {
                        if let Ok(request) = server.recv() {
                            serve(request, &*on_request, &counters);
                        }
                    }
                })?;
            receiver.workers.push(worker);
        }
        Ok(receiver)
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL to send traces to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// What it has seen so far.
    #[must_use]
    pub fn stats(&self) -> ReceiverStats {
        // ORDERING: counters only; a sender that has its answer sees its own request counted through
        // the socket.
        ReceiverStats {
            accepted_requests: self.counters.accepted_requests.load(Ordering::Relaxed),
            accepted_spans: self.counters.accepted_spans.load(Ordering::Relaxed),
            refused_requests: self.counters.refused_requests.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for OtlpHttpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpHttpReceiver")
            .field("address", &self.address)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Drop for OtlpHttpReceiver {
    fn drop(&mut self) {
        // ORDERING: see the workers' loop.
        self.counters.stopping.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            // A wake-up that another worker took is repeated until this one has gone.
            while !worker.is_finished() {
                self.server.unblock();
                std::thread::sleep(Duration::from_millis(1));
            }
            // A panic of the callback was caught and answered inside.
            drop(worker.join());
        }
    }
}

/// An answer on its way out.
struct Reply {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Reply {
    fn refuse(status: u16, message: impl Into<String>) -> Self {
        Self::refuse_for(status, message, None)
    }

    fn refuse_for(status: u16, message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        // gRPC codes: INVALID_ARGUMENT, UNAVAILABLE, UNKNOWN.
        let code = match status {
            400..=499 if status != 429 => 3,
            429 | 502..=504 => 14,
            _ => 2,
        };
        let message = message.into();
        Reply {
            status,
            retry_after,
            body: RpcStatus { code, message }.encode_to_vec(),
        }
    }
}

fn serve(
    mut request: tiny_http::Request,
    on_request: &dyn Fn(ExportTraceServiceRequest) -> Answer,
    counters: &Counters,
) {
    let reply = match read_request(&mut request) {
        Ok(decoded) => {
            let spans = decoded.spans().count() as u64;
            let answer = catch_unwind(AssertUnwindSafe(|| on_request(decoded)));
            match answer {
                Ok(answer) => reply_to(answer, spans, counters),
                Err(_) => Reply::refuse(500, "the receiver failed on this request"),
            }
        }
        Err(reply) => reply,
    };
    if reply.status >= 400 {
        counters.refused_requests.fetch_add(1, Ordering::Relaxed);
    }
    let mut response = tiny_http::Response::from_data(reply.body).with_status_code(reply.status);
    let mut add = |name: &str, value: &str| {
        if let Ok(header) = tiny_http::Header::from_bytes(name, value) {
            response.add_header(header);
        }
    };
    add("Content-Type", PROTOBUF);
    if let Some(wait) = reply.retry_after {
        add("Retry-After", &wait.as_secs().to_string());
    }
    // A sender that has gone cannot be told; it counts its spans as indeterminate.
    drop(request.respond(response));
}

fn reply_to(answer: Answer, spans: u64, counters: &Counters) -> Reply {
    let (rejected, partial_success) = match answer {
        Answer::Accept => (0, None),
        Answer::Partial { rejected, message } => {
            let rejected = rejected.min(spans);
            let partial = ExportTracePartialSuccess {
                rejected_spans: rejected.cast_signed(),
                error_message: message,
            };
            (rejected, Some(partial))
        }
        Answer::Refuse {
            status,
            retry_after,
            message,
        } => return Reply::refuse_for(status.clamp(400, 599), message, retry_after),
    };
    counters.accepted_requests.fetch_add(1, Ordering::Relaxed);
    counters
        .accepted_spans
        .fetch_add(spans - rejected, Ordering::Relaxed);
    Reply {
        status: 200,
        retry_after: None,
        body: ExportTraceServiceResponse { partial_success }.encode_to_vec(),
    }
}

/// The request, or why it cannot be had.
fn read_request(request: &mut tiny_http::Request) -> Result<ExportTraceServiceRequest, Reply> {
    let header = |name: &'static str| {
        let mut headers = request.headers().iter();
        let found = headers.find(|header| header.field.equiv(name))?;
        Some(found.value.as_str().trim().to_ascii_lowercase())
    };
    let path = request.url().split('?').next().unwrap_or_default();
    if path != PATH {
        return Err(Reply::refuse(404, format!("traces go to {PATH}")));
    }
    if *request.method() != tiny_http::Method::Post {
        return Err(Reply::refuse(405, "traces are sent with POST"));
    }
    let content_type = header("Content-Type").unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some(PROTOBUF) {
        let message = format!("the content type is not {PROTOBUF}");
        return Err(Reply::refuse(415, message));
    }
    let gzip = match header("Content-Encoding").as_deref() {
        None => false,
        Some("gzip") => true,
        Some(_) => return Err(Reply::refuse(415, "the content encoding is not gzip")),
    };
    let body = read_body(request.as_reader())?;
    let body = if gzip {
        read_body(flate2::read::MultiGzDecoder::new(&*body))?
    } else {
        body
    };
    ExportTraceServiceRequest::decode(&*body).map_err(|error| Reply::refuse(400, error.to_string()))
}

fn read_body(from: impl Read) -> Result<Vec<u8>, Reply> {
    let mut body = Vec::new();
    from.take(BODY_LIMIT_BYTES as u64 + 1)
        .read_to_end(&mut body)
        .map_err(|error| Reply::refuse(400, format!("the body cannot be read: {error}")))?;
    if body.len() > BODY_LIMIT_BYTES {
        let message = format!("the body is over {BODY_LIMIT_BYTES} bytes");
        return Err(Reply::refuse(413, message));
    }
    Ok(body)
}
