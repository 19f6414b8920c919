//! Requests that the layers count: which labels, sampled or not, and what an exemplar names.

use crate::peer::{RUNTIME, request, serve};
use crate::server::trace;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response, StatusCode};
use spanlet_std::metrics::RequestMetrics;
use spanlet_std::tower::{TraceClientLayer, TraceServerLayer};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::{Layer, Service, service_fn};

/// Labels and counts of a family, in order.
fn counts(metrics: &RequestMetrics, family: &str) -> Vec<String> {
    let prefix = format!("{family}_count");
    let text = metrics.encode();
    text.lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
        .collect()
}

/// Waits until that is what was counted: a request is, when its response's body is over.
fn expect(metrics: &RequestMetrics, family: &str, expected: &[&str]) {
    let until = Instant::now() + Duration::from_secs(20);
    while counts(metrics, family) != expected && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(counts(metrics, family), expected, "{}", metrics.encode());
}

fn ask(to: SocketAddr, target: &str, parent: &str) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream
        .write_all(&request("GET", target, &[("traceparent", parent)], ""))
        .unwrap();
    // Whatever the answer is; a panic is none.
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn a_server_counts_what_it_serves() {
    let metrics = Arc::new(RequestMetrics::new());
    let app = axum::Router::new()
        .route("/orders/{id}", get(async || "an order"))
        .route("/busy", get(async || StatusCode::SERVICE_UNAVAILABLE))
        .route(
            "/panic",
            get(async || -> &'static str { panic!("as it should") }),
        )
        .route("/metrics", get(async || "not these"))
        .layer(
            TraceServerLayer::new()
                .metrics(metrics.clone())
                .skip_paths(["/metrics"]),
        );
    let to = serve(app);
    let (sampled, parent) = trace("01");
    let (unsampled, quiet) = trace("00");
    for (target, parent) in [
        ("/orders/1", &parent),
        ("/orders/2", &quiet),
        ("/orders/3", &quiet),
        ("/busy", &quiet),
        ("/panic", &parent),
        ("/nowhere/4711", &parent),
        ("/metrics", &parent),
    ] {
        ask(to, target, parent);
    }
    expect(
        &metrics,
        "http_server_request_duration_seconds",
        &[
            r#"{http_request_method="GET",url_scheme="http",http_response_status_code="404"} 1"#,
            r#"{http_request_method="GET",url_scheme="http",http_route="/busy",http_response_status_code="503",error_type="503"} 1"#,
            r#"{http_request_method="GET",url_scheme="http",http_route="/orders/{id}",http_response_status_code="200"} 3"#,
            r#"{http_request_method="GET",url_scheme="http",http_route="/panic",error_type="panic"} 1"#,
        ],
    );
    let text = metrics.encode();
    assert!(text.contains(&sampled.to_string()), "an example to look at");
    assert!(
        !text.contains(&unsampled.to_string()),
        "there is no such trace"
    );
}

/// A service that answers every request alike; with no status it fails.
fn answering(
    status: u16,
    grpc_status: Option<&'static str>,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = std::io::Error> {
    service_fn(move |_| async move {
        if status == 0 {
            return Err(std::io::Error::other("unplugged"));
        }
        let mut response = Response::builder().status(status);
        if let Some(code) = grpc_status {
            response = response.header("grpc-status", code);
        }
        Ok(response.body(Body::empty()).unwrap())
    })
}

fn to(url: &str, content_type: &str) -> Request<Body> {
    Request::post(url)
        .header("content-type", content_type)
        .body(Body::empty())
        .unwrap()
}

#[test]
fn a_client_counts_what_it_asks_for() {
    let metrics = Arc::new(RequestMetrics::new());
    let layer = TraceClientLayer::new().metrics(metrics.clone());
    for (status, grpc, content_type, url) in [
        (404, None, "text/plain", "http://stock.test:8080/orders/17"),
        (200, None, "text/plain", "https://stock.test/"),
        (0, None, "text/plain", "http://stock.test:8080/"),
        (
            200,
            Some("14"),
            "application/grpc",
            "http://orders.test:50051/shop.Orders/Place",
        ),
    ] {
        let answer = layer
            .layer(answering(status, grpc))
            .call(to(url, content_type));
        let _ = RUNTIME.block_on(answer);
    }
    expect(
        &metrics,
        "http_client_request_duration_seconds",
        &[
            r#"{http_request_method="POST",server_address="stock.test",server_port="443",http_response_status_code="200"} 1"#,
            r#"{http_request_method="POST",server_address="stock.test",server_port="8080",error_type="std::io::error::Error"} 1"#,
            r#"{http_request_method="POST",server_address="stock.test",server_port="8080",http_response_status_code="404",error_type="404"} 1"#,
        ],
    );
    expect(
        &metrics,
        "rpc_client_call_duration_seconds",
        &[
            r#"{rpc_system_name="grpc",rpc_method="shop.Orders/Place",rpc_response_status_code="UNAVAILABLE",error_type="UNAVAILABLE",server_address="orders.test",server_port="50051"} 1"#,
        ],
    );
}

#[test]
fn methods_that_a_service_does_not_have_are_one() {
    let metrics = Arc::new(RequestMetrics::new());
    let layer = TraceServerLayer::new().metrics(metrics.clone());
    for (code, path) in [
        ("0", "/shop.Orders/Place"),
        ("12", "/made.Up/First"),
        ("12", "/made.Up/Second"),
    ] {
        let call = layer
            .layer(answering(200, Some(code)))
            .call(to(path, "application/grpc"));
        drop(RUNTIME.block_on(call));
    }
    expect(
        &metrics,
        "rpc_server_call_duration_seconds",
        &[
            r#"{rpc_system_name="grpc",rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED",error_type="UNIMPLEMENTED"} 2"#,
            r#"{rpc_system_name="grpc",rpc_method="shop.Orders/Place",rpc_response_status_code="OK"} 1"#,
        ],
    );
}
