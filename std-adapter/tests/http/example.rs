//! `examples/axum_service.rs`, as a user would see it.

use crate::memory::{attribute, installed};
use crate::peer::{request, send, serve_with};
use spanlet::TraceId;

#[path = "../../../examples/axum_service.rs"]
#[allow(dead_code, reason = "its `main`")]
mod service;

#[test]
fn an_order_is_one_trace() {
    let to = serve_with(|address| service::app(format!("http://{address}")));
    let (status, fields, body) = send(to, &request("GET", "/orders/17", &[], ""));
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["price"]["cents"], 117);

    let (_, trace) = fields.iter().find(|(name, _)| name == "trace-id").unwrap();
    let bytes = u128::from_str_radix(trace, 16).unwrap().to_be_bytes();
    let spans = installed().spans_of(TraceId::from_bytes(bytes).unwrap(), 6);
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let expected = [
        "GET /orders/{id}",
        "assemble order",
        "GET /stock/{id}",
        "GET /stock/{id}",
        "GET /prices/{id}",
        "GET /prices/{id}",
    ];
    assert_eq!(names, expected);
    // Each the child of the one before but the second call, which is the business's too.
    for (child, parent) in [(1, 0), (2, 1), (3, 2), (4, 1), (5, 4)] {
        assert_eq!(
            spans[child].parent_span_id, spans[parent].span_id,
            "{child}"
        );
    }
    assert_eq!(
        attribute(&spans[1], "order.total_cents").as_deref(),
        Some("117")
    );

    let (status, fields, _) = send(to, &request("GET", "/healthz", &[], ""));
    assert_eq!(status, 200);
    assert!(
        fields.iter().all(|(name, _)| name != "trace-id"),
        "no span, no trace"
    );
}
