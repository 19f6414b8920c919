//! Request metrics as a scrape sees them.
#![allow(clippy::unwrap_used, reason = "tests")]

use core::time::Duration;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};
use spanlet_std::metrics::{Request, RequestMetrics, RequestObservation};
use std::sync::Arc;

fn span(flags: TraceFlags) -> Option<SpanContext> {
    let (trace, span) = (
        TraceId::from_bytes([0x4b; 16]),
        SpanId::from_bytes([0xf0; 8]),
    );
    Some(SpanContext::new(trace?, span?, flags))
}
fn http<'a>(
    method: &'a str,
    route: &'a str,
    status: u16,
    error_type: Option<&'a str>,
) -> Request<'a> {
    Request::HttpServer {
        method,
        scheme: "http",
        route: Some(route),
        status: Some(status),
        error_type,
    }
}
fn observe(metrics: &RequestMetrics, request: Request<'_>, millis: u64, span: Option<SpanContext>) {
    metrics.observe(&RequestObservation {
        request,
        duration: Duration::from_millis(millis),
        span,
    });
}

/// One of each metric, and labels that have to be escaped.
fn example() -> RequestMetrics {
    let metrics = RequestMetrics::new();
    let sampled = span(TraceFlags::SAMPLED);
    observe(
        &metrics,
        http("GET", "/orders/{id}", 200, None),
        42,
        sampled,
    );
    observe(
        &metrics,
        http("GET", "/orders/{id}", 200, None),
        3,
        span(TraceFlags::NONE),
    );
    observe(
        &metrics,
        http("GET", "/orders/{id}", 200, None),
        20_000,
        sampled,
    );
    observe(
        &metrics,
        http("BREW", "/\"\\\n", 500, Some("500")),
        100,
        None,
    );
    let client = Request::HttpClient {
        method: "POST",
        server_address: "payments",
        server_port: Some(8443),
        status: None,
        error_type: Some("timeout"),
    };
    observe(&metrics, client, 2500, sampled);
    let rpc = Request::RpcServer {
        system: "grpc",
        method: "shop.Orders/Place",
        status: Some("OK"),
        error_type: None,
    };
    observe(&metrics, rpc, 7, None);
    let rpc = Request::RpcClient {
        system: "grpc",
        method: "shop.Orders/Place",
        status: Some("UNAVAILABLE"),
        error_type: Some("UNAVAILABLE"),
        server_address: "orders",
        server_port: None,
    };
    observe(&metrics, rpc, 1, None);
    let db = Request::DbClient {
        system: "postgresql",
        operation: Some("SELECT"),
        collection: Some("orders"),
        error_type: None,
    };
    observe(&metrics, db, 1, sampled);
    metrics
}

/// The time of each exemplar, which is the one thing that differs between runs, as 0.
fn without_times(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once(' ') {
        Some((rest, time)) if line.contains(" # ") => {
            assert!(time.parse::<f64>().unwrap() > 1.7e9, "{line}");
            format!("{rest} 0\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The golden text was read by Prometheus' own parser: `python3 std-adapter/tests/golden/check_openmetrics.py`.
#[test]
fn the_text_is_open_metrics() {
    let text = without_times(&example().encode());
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/request_metrics.txt"
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap());
}

#[test]
fn a_registry_of_prometheus_client_has_the_same_counts() {
    let metrics = Arc::new(example());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(metrics.clone()));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let samples = |text: &str| {
        let mut samples: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(" # ").next().unwrap().replace(".0\"", "\""))
            .map(|line| line.strip_suffix(".0").map(Into::into).unwrap_or(line))
            // The library puts `le` first.
            .map(|line| {
                let mut labels: Vec<_> = line.split(['{', '}', ',']).map(str::to_owned).collect();
                labels.sort();
                labels.join(" ")
            })
            .collect();
        samples.sort();
        samples
    };
    assert_eq!(samples(&text), samples(&metrics.encode()));
}

#[test]
fn label_sets_are_bounded() {
    let metrics = RequestMetrics::with_label_sets(10);
    let routes: Vec<_> = (0..100).map(|n| format!("/r{n}")).collect();
    for _ in 0..2 {
        for route in &routes {
            observe(&metrics, http("GET", route, 200, None), 1, None);
        }
    }
    let text = metrics.encode();
    let count = |of: &str| -> u64 {
        let lines = text
            .lines()
            .filter(|line| line.contains("_count{") && line.contains(of));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    assert_eq!(
        (count("http_route"), count("otel_metric_overflow=\"true\"")),
        (20, 180)
    );
    assert_eq!(text.matches("_count{").count(), 11);
}

#[test]
fn threads_that_meet_new_labels_make_one_set_of_each() {
    let metrics = RequestMetrics::with_label_sets(50);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..2000_u16 {
                    observe(
                        &metrics,
                        http("GET", "/", n % 40, None),
                        1,
                        span(TraceFlags::SAMPLED),
                    );
                }
            });
        }
    });
    let text = metrics.encode();
    let counts: Vec<_> = text
        .lines()
        .filter(|line| line.contains("_count{"))
        .collect();
    assert_eq!(counts.len(), 40, "{counts:?}");
    assert!(
        counts.iter().all(|line| line.ends_with("} 200")),
        "{counts:?}"
    );
}
