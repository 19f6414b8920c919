//! A gRPC collector on loopback that plays a script, with or without TLS.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of this"
)]

use bytes_of_request::collect;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

mod bytes_of_request {
    use super::{BodyExt, Bytes};
    pub(super) async fn collect(body: hyper::body::Incoming) -> Option<Bytes> {
        Some(body.collect().await.ok()?.to_bytes())
    }
}

/// What the collector does about one request.
pub enum GrpcStep {
    /// A message and status 0.
    Message(Vec<u8>),
    /// A status in trailers, with encoded `google.rpc.Status` details.
    Status(u8, &'static str, Vec<u8>),
    /// A status in the headers, without a body.
    TrailersOnly(u8),
    /// Not gRPC: an HTTP status, a content type and a body.
    Http(u16, &'static str, Vec<u8>),
    /// Bytes that stand where the message should, and status 0.
    Raw(Vec<u8>),
    /// Reads the request and closes the connection.
    Close,
    /// Reads the request and never answers.
    Hang,
}

/// A request as it came in.
#[derive(Debug)]
pub struct GrpcRequest {
    pub connection: usize,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl GrpcRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub struct GrpcCollector {
    pub address: SocketAddr,
    requests: Receiver<GrpcRequest>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    script: Mutex<VecDeque<GrpcStep>>,
    report: Mutex<Sender<GrpcRequest>>,
}

impl GrpcCollector {
    /// Plays the steps, one a request, and takes everything afterwards.
    pub fn play(script: Vec<GrpcStep>) -> Self {
        Self::play_on(script, None)
    }

    /// The same behind TLS.
    pub fn play_on(script: Vec<GrpcStep>, tls: Option<rustls::ServerConfig>) -> Self {
        let (report, requests) = mpsc::channel();
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into()),
            report: Mutex::new(report),
        });
        let tls = tls.map(|mut config| {
            config.alpn_protocols = vec![b"h2".to_vec()];
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    break;
                };
                let shared = shared.clone();
                match &tls {
                    None => serve(stream, connection, shared),
                    Some(tls) => {
                        let handshake = tls.accept(stream);
                        tokio::spawn(async move {
                            if let Ok(stream) = handshake.await {
                                serve(stream, connection, shared);
                            }
                        });
                    }
                }
            }
        });
        GrpcCollector {
            address,
            requests,
            _runtime: runtime,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
    pub fn requests(&self) -> Vec<GrpcRequest> {
        self.requests.try_iter().collect()
    }
    pub fn await_request(&self) -> GrpcRequest {
        self.requests.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: usize,
    shared: Arc<Shared>,
) {
    let this = Arc::<Mutex<Option<tokio::task::AbortHandle>>>::default();
    let to_abort = this.clone();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (shared, this) = (shared.clone(), this.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = collect(body).await.unwrap_or_default().to_vec();
            let _ = shared.report.lock().unwrap().send(GrpcRequest {
                connection,
                path: head.uri.path().to_owned(),
                headers: head.headers,
                body,
            });
            let step = shared.script.lock().unwrap().pop_front();
            let (status, kind, body, trailers) = match step {
                None => (200, GRPC, framed(b""), trailers(0, "", &[])),
                Some(GrpcStep::Message(message)) => {
                    (200, GRPC, framed(&message), trailers(0, "", &[]))
                }
                Some(GrpcStep::Status(code, message, details)) => {
                    (200, GRPC, Vec::new(), trailers(code, message, &details))
                }
                Some(GrpcStep::Raw(bytes)) => (200, GRPC, bytes, trailers(0, "", &[])),
                Some(GrpcStep::TrailersOnly(code)) => {
                    let mut response = hyper::Response::new(
                        Full::new(Bytes::new()).with_trailers(nothing()).boxed(),
                    );
                    *response.headers_mut() = trailers(code, "", &[]);
                    return Ok::<_, std::convert::Infallible>(response);
                }
                Some(GrpcStep::Http(status, kind, body)) => (status, kind, body, HeaderMap::new()),
                Some(GrpcStep::Close) => {
                    if let Some(handle) = this.lock().unwrap().take() {
                        handle.abort();
                    }
                    std::future::pending().await
                }
                Some(GrpcStep::Hang) => std::future::pending().await,
            };
            let body = Full::new(Bytes::from(body));
            let body = body.with_trailers(std::future::ready(
                (!trailers.is_empty()).then_some(Ok(trailers)),
            ));
            let mut response = hyper::Response::new(body.boxed());
            *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
            response
                .headers_mut()
                .insert("content-type", HeaderValue::from_static(kind));
            Ok(response)
        }
    });
    let mut handle = to_abort.lock().unwrap();
    let task = tokio::spawn(async move {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    *handle = Some(task.abort_handle());
}

const GRPC: &str = "application/grpc";

fn nothing() -> std::future::Ready<Option<Result<HeaderMap, std::convert::Infallible>>> {
    std::future::ready(None)
}

/// A message behind gRPC's five bytes.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

fn trailers(code: u8, message: &str, details: &[u8]) -> HeaderMap {
    use base64::Engine as _;
    let mut trailers = HeaderMap::new();
    let mut put = |name: &'static str, value: String| {
        trailers.insert(
            HeaderName::from_static(name),
            HeaderValue::try_from(value).unwrap(),
        );
    };
    put("grpc-status", code.to_string());
    if !message.is_empty() {
        put("grpc-message", message.replace(' ', "%20"));
    }
    if !details.is_empty() {
        let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(details);
        put("grpc-status-details-bin", base64);
    }
    trailers
}

/// An encoded `google.rpc.Status` whose details hold a `RetryInfo` of so many seconds.
pub fn retry_info(seconds: u8) -> Vec<u8> {
    let field = |number: u8, body: &[u8]| {
        let mut bytes = vec![number << 3 | 2, u8::try_from(body.len()).unwrap()];
        bytes.extend_from_slice(body);
        bytes
    };
    let info = field(1, &[1 << 3, seconds]);
    let url = field(1, b"type.googleapis.com/google.rpc.RetryInfo");
    field(3, &[url, field(2, &info)].concat())
}
