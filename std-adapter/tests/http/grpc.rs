//! gRPC through tonic: the same layers, without an interceptor.

use crate::memory::{attribute, installed};
use crate::peer::RUNTIME;
use crate::server::trace;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use spanlet::TraceId;
use spanlet_std::propagation::{self, Context, WithContext};
use spanlet_std::tower::{TraceClientLayer, TraceServerLayer};
use spanlet_std::{Span, span};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::Poll;
use tonic::body::Body;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Layer, Service};

/// `shop.v1.Orders/Get`, by hand: answers the number, or fails with it as the code.
#[derive(Clone)]
struct Orders;

struct Get;

impl tonic::server::UnaryService<i32> for Get {
    type Response = i32;
    type Future = Pin<Box<dyn Future<Output = Result<Response<i32>, Status>> + Send>>;
    fn call(&mut self, request: Request<i32>) -> Self::Future {
        Box::pin(async move {
            drop::<Span>(span("work").start());
            let tenant = Context::current().baggage("tenant.id");
            match Code::from(*request.get_ref()) {
                Code::Ok => Ok(Response::new(tenant.map_or(0, |id| id.parse().unwrap()))),
                code => Err(Status::new(code, "as 100% asked: ä")),
            }
        })
    }
}

impl tonic::server::NamedService for Orders {
    const NAME: &'static str = "shop.v1.Orders";
}

impl Service<http::Request<Body>> for Orders {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;
    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<i32, i32>::default());
            Ok(grpc.unary(Get, request).await)
        })
    }
}

static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    installed();
    let bind = tokio::net::TcpListener::bind("127.0.0.1:0");
    let listener = RUNTIME.block_on(bind).unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    RUNTIME.spawn(async move {
        tonic::transport::Server::builder()
            .layer(TraceServerLayer::new())
            .add_service(Orders)
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
    address
});

/// Calls it in a trace of its own.
fn call(path: &'static str, number: i32) -> (TraceId, Result<i32, Status>) {
    let address = *SERVER;
    let (id, parent) = trace("01");
    let fields = [
        ("traceparent", &*parent),
        ("tracestate", "a=1"),
        ("baggage", "tenant.id=7"),
    ];
    let context = propagation::extract(&fields);
    let call = async move {
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let layer = TraceClientLayer::new().server("127.0.0.1", address.port());
        // What a generated client is given: `OrdersClient::new(layer.layer(channel))`.
        let mut client = tonic::client::Grpc::new(layer.layer(channel));
        client.ready().await.unwrap();
        let codec = ProstCodec::<i32, i32>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        client.unary(Request::new(number), path, codec).await
    };
    let answer = RUNTIME.block_on(call.with_context(context));
    (id, answer.map(Response::into_inner))
}

fn status_of(span: &OtlpSpan) -> (i32, &str) {
    let status = span.status.as_ref();
    status.map_or((0, ""), |status| (status.code, &status.message))
}

#[test]
fn a_call_is_a_span_on_both_sides() {
    let (id, answer) = call("/shop.v1.Orders/Get", 0);
    assert_eq!(answer.unwrap(), 7, "its baggage came along");
    let spans = installed().spans_of(id, 3);
    let [client, server, work] = &spans[..] else {
        panic!()
    };
    assert_eq!((client.kind, server.kind), (3, 2));
    assert_eq!(server.parent_span_id, client.span_id);
    assert_eq!(work.parent_span_id, server.span_id);
    for span in [client, server] {
        assert_eq!(span.name, "shop.v1.Orders/Get");
        assert_eq!(span.trace_state, "a=1");
        for (key, value) in [
            ("rpc.system.name", "grpc"),
            ("rpc.method", "shop.v1.Orders/Get"),
            ("rpc.response.status_code", "OK"),
            ("server.address", "127.0.0.1"),
        ] {
            assert_eq!(attribute(span, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(
            attribute(span, "server.port"),
            Some(SERVER.port().to_string())
        );
        assert_eq!(status_of(span), (0, ""));
    }
}

#[test]
fn codes_are_errors_by_whose_fault_they_are() {
    for (code, name, of_server) in [
        (3, "INVALID_ARGUMENT", false),
        (5, "NOT_FOUND", false),
        (4, "DEADLINE_EXCEEDED", true),
        (13, "INTERNAL", true),
        (16, "UNAUTHENTICATED", false),
    ] {
        let (id, answer) = call("/shop.v1.Orders/Get", code);
        assert_eq!(answer.unwrap_err().code(), Code::from(code));
        let spans = installed().spans_of(id, 3);
        let message = "as 100% asked: ä";
        assert_eq!(status_of(&spans[0]), (2, message), "{name}");
        let expected = if of_server { (2, message) } else { (0, "") };
        assert_eq!(status_of(&spans[1]), expected, "{name}");
        for span in &spans[..2] {
            assert_eq!(
                attribute(span, "rpc.response.status_code").as_deref(),
                Some(name)
            );
        }
        assert_eq!(attribute(&spans[0], "error.type").as_deref(), Some(name));
        assert_eq!(
            attribute(&spans[1], "error.type").as_deref(),
            of_server.then_some(name)
        );
    }
}

#[test]
fn a_method_that_is_not_there() {
    let (id, answer) = call("/shop.v1.Nothing/Get", 0);
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    let spans = installed().spans_of(id, 2);
    for span in &spans {
        assert_eq!(
            attribute(span, "rpc.response.status_code").as_deref(),
            Some("UNIMPLEMENTED")
        );
        assert_eq!(status_of(span).0, 2);
    }
}

#[test]
fn metadata_is_a_carrier() {
    installed();
    let mut request = Request::new(());
    let call: Span = span("by hand").root().start();
    let fields = &mut propagation::MetadataFieldsMut(request.metadata_mut());
    propagation::inject(&call, fields).unwrap();
    let context = propagation::extract(&propagation::MetadataFields(request.metadata()));
    let came = spanlet::ParentContext::span_context(&context).unwrap();
    assert_eq!(came.span_id(), call.context().span_id());
}
