//! The client's layer and reqwest's middleware: what goes out, and what is recorded of it.

use crate::memory::{attribute, installed};
use crate::peer::{HARNESS, RUNTIME, request, send, serve};
use crate::server::trace;
use axum::body::Body;
use axum::{Router, routing::get};
use spanlet_std::propagation::{self, Context, WithContext};
use spanlet_std::reqwest::{TraceMiddleware, UrlTemplate};
use spanlet_std::tower::{HttpRoute, Resends, TraceClientLayer, TraceServerLayer};
use std::io;
use tower::{Layer, Service, ServiceExt, service_fn};

type Hyper =
    hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, Body>;

fn hyper_client() -> Hyper {
    hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http()
}

/// The context of a request of a trace of its own.
fn incoming() -> (spanlet::TraceId, Context) {
    installed();
    let (id, parent) = trace("01");
    let fields = [
        ("traceparent", &*parent),
        ("tracestate", "rojo=1"),
        ("baggage", "tenant.id=7,card=4111"),
    ];
    (id, propagation::extract(&fields))
}

#[test]
fn a_request_goes_out_with_the_context_of_its_span() {
    let (id, context) = incoming();
    let mut client = TraceClientLayer::new()
        .redact_query(["token"])
        .capture_request_headers(["x-tries"])
        .capture_response_headers(["x-answer"])
        .layer(hyper_client());
    let url = HARNESS.url("/client/one?token=t");
    let request = http::Request::get(url.replace("http://", "http://me:secret@"))
        .header("x-tries", "1")
        .extension(HttpRoute::new("/client/{which}"))
        .body(Body::empty())
        .unwrap();
    let call = async move {
        let answer = client.ready().await.unwrap().call(request).await.unwrap();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await;
        assert_eq!(body.unwrap().to_bytes(), "ok");
    };
    RUNTIME.block_on(call.with_context(context));

    let spans = installed().spans_of(id, 1);
    let span = &spans[0];
    assert_eq!((&*span.name, span.kind), ("GET /client/{which}", 3));
    let fields = HARNESS.take("/client/one?token=t");
    let of = |name: &str| {
        let found: Vec<_> = fields.iter().filter(|(n, _)| n == name).collect();
        assert!(found.len() < 2);
        found.first().map(|(_, value)| value.as_str())
    };
    let span_id = spanlet::SpanId::from_bytes(span.span_id.clone().try_into().unwrap()).unwrap();
    assert_eq!(of("traceparent"), Some(&*format!("00-{id}-{span_id}-01")));
    assert_eq!(of("tracestate"), Some("rojo=1"));
    assert_eq!(
        of("baggage"),
        Some("tenant.id=7"),
        "what is allowed, and no more"
    );
    let port = HARNESS.address.port().to_string();
    for (key, value) in [
        ("http.request.method", "GET"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("url.template", "/client/{which}"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "200"),
        ("http.request.header.x-tries", "1"),
        ("http.response.header.x-answer", "yes"),
    ] {
        assert_eq!(attribute(span, key).as_deref(), Some(value), "{key}");
    }
    let full = format!("http://REDACTED:REDACTED@127.0.0.1:{port}/client/one?token=REDACTED");
    assert_eq!(attribute(span, "url.full").as_deref(), Some(&*full));
}

#[test]
fn a_client_sees_an_error_from_4xx_on() {
    let mut client = TraceClientLayer::new().layer(hyper_client());
    for (code, is_error) in [(204, false), (302, false), (404, true), (500, true)] {
        let (id, context) = incoming();
        let url = HARNESS.url(&format!("/status/{code}/c"));
        let request = http::Request::get(url).body(Body::empty()).unwrap();
        let answer = RUNTIME.block_on(client.call(request).with_context(context.clone()));
        drop(answer.unwrap());
        // `call` was made outside of the context: a trace of its own.
        assert!(installed().spans_of(id, 0).is_empty());

        let url = HARNESS.url(&format!("/status/{code}/c"));
        let request = http::Request::get(url).body(Body::empty()).unwrap();
        let answer = RUNTIME.block_on(context.run(|| client.call(request)));
        drop(answer.unwrap());
        let spans = installed().spans_of(id, 1);
        let status = spans[0].status.as_ref().map_or(0, |status| status.code);
        assert_eq!(status, if is_error { 2 } else { 0 }, "{code}");
        assert_eq!(
            attribute(&spans[0], "error.type"),
            is_error.then(|| code.to_string())
        );
        assert_eq!(
            attribute(&spans[0], "spanlet.cancelled"),
            None,
            "a body may be dropped"
        );
    }
}

#[test]
fn errors_and_attempts_are_spans() {
    let (id, context) = incoming();
    let mut client = TraceClientLayer::new().layer(service_fn(async |_: http::Request<()>| {
        Err::<http::Response<Body>, _>(io::Error::other("nobody listens"))
    }));
    let mut request = http::Request::post("http://shop.test/a").body(()).unwrap();
    request.extensions_mut().insert(Resends::default());
    for _ in 0..3 {
        let sent = RUNTIME.block_on(context.run(|| client.call(request.clone())));
        assert!(sent.is_err());
    }
    // Nobody waits.
    let unsent = context.run(|| client.call(request.clone()));
    drop(unsent);
    let spans = installed().spans_of(id, 4);
    let resends: Vec<_> = spans
        .iter()
        .map(|span| attribute(span, "http.request.resend_count"))
        .collect();
    assert_eq!(
        resends,
        [None, Some("1".into()), Some("2".into()), Some("3".into())]
    );
    assert_eq!(spans[0].status.as_ref().unwrap().message, "nobody listens");
    assert!(
        attribute(&spans[0], "error.type")
            .unwrap()
            .contains("io::error::Error")
    );
    assert_eq!(attribute(&spans[0], "server.port").as_deref(), Some("80"));
    assert_eq!(
        attribute(&spans[3], "error.type").as_deref(),
        Some("cancelled")
    );
}

#[test]
fn a_filter_keeps_the_callers_context_going() {
    let (id, context) = incoming();
    let layer = TraceClientLayer::new().filter(|head| head.uri.path() != "/quiet");
    let mut client = layer.layer(hyper_client());
    let request = http::Request::get(HARNESS.url("/quiet"))
        .body(Body::empty())
        .unwrap();
    let answer = RUNTIME
        .block_on(context.run(|| client.call(request)))
        .unwrap();
    assert_eq!(answer.status(), 200);
    let fields = HARNESS.take("/quiet");
    let parent = fields
        .iter()
        .find(|(name, _)| name == "traceparent")
        .unwrap();
    assert_eq!(parent.1, format!("00-{id}-00f067aa0ba902b7-01"));
    assert!(installed().spans_of(id, 0).is_empty());
}

/// Server layer, handler, reqwest's middleware, and back: one trace.
#[test]
fn reqwest_continues_the_trace_of_the_request_that_is_served() {
    let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
        .with(Again)
        .with(TraceMiddleware::new().capture_response_headers(["x-answer"]))
        .build();
    let handler = async move || {
        let request = client.get(HARNESS.url("/reqwest/17"));
        let request = request.with_extension(UrlTemplate("/reqwest/{id}"));
        request.send().await.unwrap().status().to_string()
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(TraceServerLayer::new());
    let (id, parent) = trace("01");
    let lines = [
        ("traceparent", &*parent),
        ("baggage", "channel=web;ttl=1,card=4111"),
    ];
    let (status, ..) = send(serve(app), &request("GET", "/", &lines, ""));
    assert_eq!(status, 200);

    let spans = installed().spans_of(id, 3);
    let [server, first, second] = &spans[..] else {
        panic!()
    };
    for attempt in [first, second] {
        assert_eq!(attempt.parent_span_id, server.span_id);
        assert_eq!((&*attempt.name, attempt.kind), ("GET /reqwest/{id}", 3));
        assert_eq!(
            attribute(attempt, "http.response.header.x-answer").as_deref(),
            Some("yes")
        );
        let url = HARNESS.url("/reqwest/17");
        assert_eq!(attribute(attempt, "url.full").as_deref(), Some(&*url));
    }
    assert_eq!(attribute(first, "http.request.resend_count"), None);
    assert_eq!(
        attribute(second, "http.request.resend_count").as_deref(),
        Some("1")
    );
    let fields = HARNESS.take("/reqwest/17");
    let baggage = fields.iter().find(|(name, _)| name == "baggage").unwrap();
    assert_eq!(baggage.1, "channel=web;ttl=1");
}

/// Sends everything twice.
struct Again;

#[async_trait::async_trait]
impl reqwest_middleware::Middleware for Again {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut http::Extensions,
        next: reqwest_middleware::Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let copy = request.try_clone().unwrap();
        next.clone().run(copy, extensions).await?;
        next.run(request, extensions).await
    }
}

#[test]
fn reqwest_without_an_answer_is_an_error() {
    let (id, context) = incoming();
    let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
        .with(TraceMiddleware::new())
        .build();
    // A port that nobody listens on any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let call = async move { client.get(format!("http://{gone}/")).send().await };
    assert!(RUNTIME.block_on(call.with_context(context)).is_err());
    let spans = installed().spans_of(id, 1);
    assert_eq!(
        attribute(&spans[0], "error.type").as_deref(),
        Some("connect")
    );
    assert_eq!(spans[0].status.as_ref().unwrap().code, 2);
}
