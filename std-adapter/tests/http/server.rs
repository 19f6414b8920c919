//! The server's layer: names, attributes, status, when a span ends.

use crate::memory::{attribute, installed};
use crate::peer::{RUNTIME, request, send, serve};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use spanlet::TraceId;
use spanlet_std::propagation::Context;
use spanlet_std::tower::{HttpRoute, TraceServerLayer};
use spanlet_std::{Span, span};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use tower::{Layer, Service, service_fn};

/// The header of a trace of its own, sampled or not.
pub fn trace(flags: &str) -> (TraceId, String) {
    static LAST: AtomicU64 = AtomicU64::new(1);
    let low = LAST.fetch_add(1, Relaxed).to_be_bytes();
    let mut bytes = [0xab; 16];
    bytes[8..].copy_from_slice(&low);
    let id = TraceId::from_bytes(bytes).unwrap();
    (id, format!("00-{id}-00f067aa0ba902b7-{flags}"))
}

/// Sends one request; its status, and the spans of its trace.
fn spans(
    to: SocketAddr,
    method: &str,
    target: &str,
    lines: &[(&str, &str)],
    count: usize,
) -> (u16, Vec<OtlpSpan>) {
    let (id, parent) = trace("01");
    let mut lines = lines.to_vec();
    lines.push(("traceparent", &parent));
    let (status, ..) = send(to, &request(method, target, &lines, ""));
    (status, installed().spans_of(id, count))
}

fn all(span: &OtlpSpan, expected: &[(&str, &str)]) {
    let mut found: Vec<_> = span.attributes.iter().map(|kv| kv.key.as_str()).collect();
    found.sort_unstable();
    let mut keys: Vec<_> = expected.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    assert_eq!(found, keys);
    for (key, value) in expected {
        assert_eq!(attribute(span, key).as_deref(), Some(*value), "{key}");
    }
}

fn status_of(span: &OtlpSpan) -> (i32, &str) {
    let status = span.status.as_ref();
    status.map_or((0, ""), |status| (status.code, &status.message))
}

const ERROR: i32 = 2;

/// A request for `/never` is there.
static IS_SERVED: AtomicBool = AtomicBool::new(false);

fn app() -> Router {
    let file = |path| async move {
        let mut answer = format!("of {path}").into_response();
        answer
            .extensions_mut()
            .insert(HttpRoute::new("/files/{name}"));
        answer
    };
    Router::new()
        .route(
            "/orders/{id}",
            any(async || drop::<Span>(span("work").start())),
        )
        .route(
            "/status/{code}",
            get(
                |axum::extract::Path(code): axum::extract::Path<u16>| async move {
                    axum::http::StatusCode::from_u16(code).unwrap()
                },
            ),
        )
        .route(
            "/healthz",
            get(async || Context::current().baggage("tenant.id").unwrap_or_default()),
        )
        .route(
            "/panic",
            get(async || -> &'static str { panic!("as it should") }),
        )
        .route(
            "/never",
            get(async || {
                IS_SERVED.store(true, Relaxed);
                std::future::pending::<()>().await
            }),
        )
        .fallback(move |uri: axum::http::Uri| file(uri.path().to_owned()))
        .layer(
            TraceServerLayer::new()
                .skip_paths(["/healthz"])
                .redact_query(["token"])
                .capture_request_headers(["x-request-id", "no name"])
                .capture_response_headers(["content-type"]),
        )
}

#[test]
fn a_request_is_described() {
    let to = serve(app());
    let lines = [
        ("User-Agent", " curl/8"),
        ("X-Request-Id", "a"),
        ("x-request-id", "b"),
        ("Authorization", "Bearer secret"),
        ("X-Forwarded-For", "203.0.113.9"),
    ];
    let (_, spans) = spans(to, "GET", "/orders/17?q=1&token=t&sig=s", &lines, 2);
    let [server, work] = &spans[..] else { panic!() };
    assert_eq!((&*server.name, server.kind), ("GET /orders/{id}", 2));
    assert_eq!(work.parent_span_id, server.span_id);
    assert_eq!(
        server.parent_span_id,
        [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]
    );
    all(
        server,
        &[
            ("http.request.method", "GET"),
            ("url.path", "/orders/17"),
            ("url.query", "q=1&token=REDACTED&sig=REDACTED"),
            ("url.scheme", "http"),
            ("http.route", "/orders/{id}"),
            ("server.address", "shop.test"),
            ("server.port", "8080"),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", "curl/8"),
            ("http.request.header.x-request-id", "a|b"),
            ("http.response.status_code", "200"),
        ],
    );
    assert_eq!(status_of(server), (0, ""));
    assert!(server.end_time_unix_nano >= work.end_time_unix_nano);
}

#[test]
fn a_method_that_nobody_knows_is_other() {
    let to = serve(app());
    for (method, name) in [("BREW", "HTTP /orders/{id}"), ("get", "HTTP /orders/{id}")] {
        let (_, spans) = spans(to, method, "/orders/1", &[], 2);
        assert_eq!(spans[0].name, name);
        assert_eq!(
            attribute(&spans[0], "http.request.method").as_deref(),
            Some("_OTHER")
        );
        let original = attribute(&spans[0], "http.request.method_original");
        assert_eq!(original.as_deref(), Some(method));
    }
}

#[test]
fn only_5xx_is_the_servers_error() {
    let to = serve(app());
    for (code, error) in [
        (204, false),
        (302, false),
        (404, false),
        (499, false),
        (500, true),
        (503, true),
    ] {
        let (status, spans) = spans(to, "GET", &format!("/status/{code}"), &[], 1);
        assert_eq!(status, code);
        let text = code.to_string();
        assert_eq!(
            attribute(&spans[0], "http.response.status_code").as_deref(),
            Some(&*text)
        );
        let expected = if error { (ERROR, "") } else { (0, "") };
        assert_eq!(status_of(&spans[0]), expected, "{code}");
        let error_type = attribute(&spans[0], "error.type");
        assert_eq!(error_type.as_deref(), error.then_some(&*text));
    }
}

#[test]
fn a_route_may_be_told_by_the_answer_and_a_path_without_one_names_nothing() {
    let to = serve(app());
    let (_, spans_) = spans(to, "GET", "/files/a.txt", &[], 1);
    assert_eq!(spans_[0].name, "GET /files/{name}");
    assert_eq!(
        attribute(&spans_[0], "http.route").as_deref(),
        Some("/files/{name}")
    );
    let content_type = attribute(&spans_[0], "http.response.header.content-type");
    assert_eq!(content_type.as_deref(), Some("text/plain; charset=utf-8"));

    let plain = Router::new()
        .fallback(async || "x")
        .layer(TraceServerLayer::new());
    let (_, spans) = spans(serve(plain), "GET", "/files/a.txt", &[], 1);
    assert_eq!(spans[0].name, "GET");
}

#[test]
fn a_path_that_is_skipped_still_has_its_callers_context() {
    let to = serve(app());
    let (id, parent) = trace("01");
    let lines = [("traceparent", &*parent), ("baggage", "tenant.id=7")];
    let (_, _, body) = send(to, &request("GET", "/healthz", &lines, ""));
    assert_eq!(body, b"7");
    let (_, _, _) = send(to, &request("GET", "/orders/1", &lines, ""));
    // Of the second request alone.
    assert_eq!(installed().spans_of(id, 2)[0].name, "GET /orders/{id}");
}

#[test]
fn requests_that_are_not_sampled_are_served_the_same() {
    let to = serve(app());
    let (id, parent) = trace("00");
    let (status, ..) = send(
        to,
        &request("GET", "/orders/1", &[("traceparent", &parent)], ""),
    );
    assert_eq!(status, 200);
    assert!(installed().spans_of(id, 0).is_empty());
}

#[test]
fn behind_a_proxy_that_is_trusted() {
    let app = Router::new()
        .fallback(async || "x")
        .layer(TraceServerLayer::new().trust_proxy());
    let to = serve(app);
    let lines = [
        ("X-Forwarded-For", "203.0.113.9, 10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example"),
    ];
    let (_, first) = spans(to, "GET", "/", &lines, 1);
    let of = |key: &str| attribute(&first[0], key);
    assert_eq!(of("client.address").as_deref(), Some("203.0.113.9"));
    assert_eq!(of("url.scheme").as_deref(), Some("https"));
    assert_eq!(
        (of("server.address").as_deref(), of("server.port")),
        (Some("shop.example"), None)
    );

    let lines = [(
        "Forwarded",
        r#"For="[2001:db8::1]:4711";proto=https;host=a.example, for=10.0.0.1"#,
    )];
    let (_, second) = spans(to, "GET", "/", &lines, 1);
    let of = |key: &str| attribute(&second[0], key);
    assert_eq!(of("client.address").as_deref(), Some("2001:db8::1"));
    assert_eq!(of("server.address").as_deref(), Some("a.example"));
}

#[test]
fn a_panic_is_an_error() {
    let to = serve(app());
    let (id, parent) = trace("01");
    let mut stream = TcpStream::connect(to).unwrap();
    stream
        .write_all(&request("GET", "/panic", &[("traceparent", &parent)], ""))
        .unwrap();
    // The connection ends with the task.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    let spans = installed().spans_of(id, 1);
    assert_eq!(status_of(&spans[0]), (ERROR, "panicked"));
    assert_eq!(attribute(&spans[0], "error.type").as_deref(), Some("panic"));
    assert_eq!(attribute(&spans[0], "http.response.status_code"), None);
}

#[test]
fn a_client_that_hangs_up_before_there_is_an_answer() {
    let to = serve(app());
    let (id, parent) = trace("01");
    let mut stream = TcpStream::connect(to).unwrap();
    stream
        .write_all(&request("GET", "/never", &[("traceparent", &parent)], ""))
        .unwrap();
    // One that hangs up before it is heard is no request.
    while !IS_SERVED.load(Relaxed) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(stream);
    let spans = installed().spans_of(id, 1);
    assert_eq!(
        attribute(&spans[0], "spanlet.cancelled").as_deref(),
        Some("true")
    );
    assert_eq!(
        attribute(&spans[0], "error.type").as_deref(),
        Some("cancelled")
    );
    assert_eq!(status_of(&spans[0]).0, ERROR);
}

/// Two frames, and between them what the test does.
struct Frames(Vec<Option<&'static str>>, bool);

impl http_body::Body for Frames {
    type Data = axum::body::Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        drop::<Span>(span("frame").start());
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match self.0.remove(0) {
            Some(text) => Ok(http_body::Frame::data(text.into())),
            None => Err(std::io::Error::other("the disk is gone")),
        }))
    }
    fn is_end_stream(&self) -> bool {
        self.1 && self.0.is_empty()
    }
}

/// A service without sockets: its future and body are in the test's hands.
fn answers(
    body: impl Fn() -> Frames,
) -> impl Fn(
    TraceServerLayer,
) -> (
    TraceId,
    http::Response<spanlet_std::tower::TracedBody<Frames>>,
) {
    move |layer| {
        installed();
        let (id, parent) = trace("01");
        let frames = body();
        let mut frames = Some(frames);
        let mut service = layer.layer(service_fn(move |_: http::Request<()>| {
            let frames = frames.take().unwrap();
            async move { Ok::<_, Infallible>(http::Response::new(frames)) }
        }));
        let request = http::Request::get("/")
            .header("traceparent", parent)
            .body(())
            .unwrap();
        let answer = RUNTIME.block_on(service.call(request)).unwrap();
        (id, answer)
    }
}

#[test]
fn the_span_ends_with_the_body() {
    let of_two = answers(|| Frames(vec![Some("a"), Some("b")], false));
    let (id, answer) = of_two(TraceServerLayer::new());
    assert!(installed().spans_of(id, 0).is_empty(), "it is open");
    let body = RUNTIME.block_on(http_body_util::BodyExt::collect(answer.into_body()));
    assert_eq!(body.unwrap().to_bytes(), "ab");
    let spans = installed().spans_of(id, 4);
    assert!(
        spans[1..]
            .iter()
            .all(|frame| frame.parent_span_id == spans[0].span_id)
    );
    assert_eq!(attribute(&spans[0], "spanlet.cancelled"), None);
    assert!(spans[0].end_time_unix_nano >= spans[3].end_time_unix_nano);

    // Dropped on the way.
    let (id, answer) = of_two(TraceServerLayer::new());
    drop(answer);
    let spans = installed().spans_of(id, 1);
    assert_eq!(
        attribute(&spans[0], "spanlet.cancelled").as_deref(),
        Some("true")
    );
    assert_eq!(status_of(&spans[0]).0, 0);

    // With the head, if that is wanted.
    let (id, answer) = of_two(TraceServerLayer::new().end_at_head());
    assert_eq!(installed().spans_of(id, 1).len(), 1);
    drop(answer);

    // Nothing to wait for.
    let (id, answer) = answers(|| Frames(Vec::new(), true))(TraceServerLayer::new());
    assert_eq!(installed().spans_of(id, 1).len(), 1);
    drop(answer);
}

#[test]
fn a_body_that_fails_is_an_error() {
    let (id, answer) = answers(|| Frames(vec![Some("a"), None], false))(TraceServerLayer::new());
    let body = RUNTIME.block_on(http_body_util::BodyExt::collect(answer.into_body()));
    assert!(body.is_err());
    let spans = installed().spans_of(id, 3);
    assert_eq!(status_of(&spans[0]), (ERROR, "the disk is gone"));
    assert!(
        attribute(&spans[0], "error.type")
            .unwrap()
            .ends_with("Error")
    );
}

#[test]
fn a_service_that_fails_is_an_error() {
    installed();
    let (id, parent) = trace("01");
    let mut service = TraceServerLayer::new().layer(service_fn(async |_: http::Request<()>| {
        Err::<http::Response<Body>, std::fmt::Error>(std::fmt::Error)
    }));
    let request = http::Request::get("/")
        .header("traceparent", &parent)
        .body(())
        .unwrap();
    assert!(RUNTIME.block_on(service.call(request)).is_err());
    let spans = installed().spans_of(id, 1);
    assert_eq!(
        attribute(&spans[0], "error.type").as_deref(),
        Some("core::fmt::Error")
    );
    assert_eq!(status_of(&spans[0]).0, ERROR);
}

#[test]
fn filters_and_addresses_see_the_head() {
    installed();
    let layer = TraceServerLayer::new()
        .filter(|head| head.method != http::Method::OPTIONS)
        .route(|head| head.extensions.get::<&str>().copied().map(HttpRoute::new))
        .client_address(|_| Some(std::net::Ipv4Addr::LOCALHOST.into()))
        .https();
    let mut service = layer.layer(service_fn(async |_: http::Request<()>| {
        Ok::<_, Infallible>(http::Response::new(Body::empty()))
    }));
    let (id, parent) = trace("01");
    for method in [http::Method::OPTIONS, http::Method::GET] {
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = "/a/b".parse().unwrap();
        request
            .headers_mut()
            .insert("traceparent", parent.parse().unwrap());
        request.extensions_mut().insert("/{a}/{b}");
        RUNTIME.block_on(service.call(request)).unwrap();
    }
    let spans = installed().spans_of(id, 1);
    assert_eq!(spans[0].name, "GET /{a}/{b}");
    assert_eq!(
        attribute(&spans[0], "client.address").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(attribute(&spans[0], "url.scheme").as_deref(), Some("https"));
}
