//! What destinations get in formats other than OTLP's protobuf: OTLP/JSON, Zipkin, text.

mod collector;
mod spans;

use collector::{Collector, FakeTimer, Step, answer, outlast, say};
use core::time::Duration;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use spanlet_std::config::Compression;
use spanlet_std::export::{
    Batch, ConsoleExporter, ExportError, OtlpHttpExporter, SpanExporter, ZipkinExporter,
};
use spanlet_std::trace::Waterfall;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

fn exported(exporter: &impl SpanExporter) {
    let (request, spans) = spans::request();
    let body = &request;
    let outcome = exporter.export(Batch { body, spans }, Duration::MAX);
    assert_eq!((outcome.exported, outcome.error), (spans, None));
}

#[test]
fn otlp_json_holds_what_the_protobuf_holds() {
    let json = [("Content-Type", "application/json")];
    let collector = Collector::play(vec![
        Step::Say(answer(200, &json, br#"{"partialSuccess":{}}"#)),
        say(200),
    ]);
    let (request, _) = spans::request();
    let expected = ExportTraceServiceRequest::decode(&*request).unwrap();
    for compression in [Compression::None, Compression::Gzip] {
        let builder = collector.builder().json(true).compression(compression);
        exported(&builder.build().unwrap());
        let got = collector.await_request();
        assert_eq!(got.header("content-type"), Some("application/json"));
        let body = match compression {
            Compression::Gzip => {
                assert_eq!(got.header("content-encoding"), Some("gzip"));
                let mut body = Vec::new();
                let mut unpacker = flate2::read::GzDecoder::new(&*got.body);
                unpacker.read_to_end(&mut body).unwrap();
                body
            }
            _ => {
                assert_eq!(got.header("content-encoding"), None);
                got.body
            }
        };
        let read: ExportTraceServiceRequest = serde_json::from_slice(&body).unwrap();
        assert_eq!(read, expected);
        let text = String::from_utf8(body).unwrap();
        for form in [
            r#""kind":3"#,
            r#""intValue":"-3""#,
            r#""bytesValue":"AP8=""#,
            r#""startTimeUnixNano":"17"#,
        ] {
            assert!(text.contains(form), "{form} in {text}");
        }
    }
}

#[test]
fn json_answers_faults_and_limits_count_as_those_of_protobuf() {
    let json = [("Content-Type", "application/json")];
    let partial = br#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"m"}}"#;
    let status = br#"{"code":3,"message":"bad"}"#;
    let collector = Collector::play(vec![
        say(503),
        Step::Say(answer(200, &json, partial)),
        Step::Say(answer(400, &json, status)),
    ]);
    let (request, spans) = spans::request();
    let batch = Batch {
        body: &request,
        spans,
    };
    let builder = collector.builder().json(true).timer(FakeTimer::new());
    let exporter = builder.clone().build().unwrap();
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!(
        (outcome.rejected, outcome.exported, outcome.attempts),
        (1, spans - 1, 2)
    );
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!((outcome.failed, outcome.attempts), (spans, 1));
    assert!(outcome.error.unwrap().to_string().contains("400 \"bad\""));
    // The text is larger than the protobuf, and counts.
    let exporter = builder.request_limit(request.len() + 10).build().unwrap();
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!((outcome.too_large, outcome.attempts), (spans, 0));
    // What is no request never leaves.
    let broken = Batch {
        body: &request[..50],
        spans,
    };
    let outcome = exporter.export(broken, Duration::MAX);
    assert_eq!((outcome.failed, outcome.attempts), (spans, 0));
    assert!(matches!(
        outcome.error,
        Some(ExportError::BadRequest { .. })
    ));
    assert_eq!(collector.requests().len(), 3);
}

#[test]
fn a_collector_that_is_down_for_minutes_loses_nothing() {
    let (request, spans) = spans::request();
    let batch = Batch {
        body: &request,
        spans,
    };
    for json in [false, true] {
        let outage = (0..150).map(|_| say(503)).chain([say(200)]);
        let collector = Collector::play(outage.collect());
        let timer = FakeTimer::new();
        let builder = collector.builder().json(json).timer(timer.clone());
        let (took, outcome) = outlast(&builder.build().unwrap(), &timer, batch);
        assert!(took > Duration::from_secs(180), "{took:?}");
        assert_eq!(outcome.exported, spans);
        // All of it is the same request.
        let requests = collector.requests();
        assert_eq!(requests.len(), 151);
        assert!(
            requests
                .iter()
                .all(|request| request.body == requests[0].body)
        );
    }
}

#[test]
fn zipkin_gets_its_own_json() {
    let collector = Collector::play(vec![say(202)]);
    let url = format!("http://{}/api/v2/spans", collector.address);
    let exporter = ZipkinExporter::builder().endpoint(&url).unwrap();
    exported(&exporter.build().unwrap());
    let request = collector.await_request();
    assert_eq!(request.line, "POST /api/v2/spans HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    let spans: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
    let by_name = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    let (checkout, charge, plain) = (by_name("checkout"), by_name("charge"), by_name("plain"));

    assert_eq!(charge["traceId"], checkout["traceId"]);
    assert_eq!(charge["traceId"].as_str().unwrap().len(), 32);
    assert_eq!(charge["parentId"], checkout["id"]);
    assert_eq!(checkout.get("parentId"), None);
    assert_eq!(
        (&charge["kind"], &checkout["kind"]),
        (&json!("CLIENT"), &json!("SERVER"))
    );
    assert_eq!(plain.get("kind"), None);
    assert_eq!(charge["localEndpoint"], json!({"serviceName": "shop"}));
    let timestamp = charge["timestamp"].as_u64().unwrap();
    assert!((1_700_000_000_000_000..1_700_000_100_000_000).contains(&timestamp));
    assert!(charge["duration"].as_u64().unwrap() >= 1);
    let tags = json!({
        "text": "a",
        "whole": "-3",
        "real": "1.5",
        "yes": "true",
        "bytes": "AP8=",
        "wholes": "[1,2]",
        "texts": r#"["x","y"]"#,
        "host.name": "h1",
        "otel.scope.name": "shop-lib",
        "otel.scope.version": "2",
        "otel.status_code": "ERROR",
        "error": "declined",
        "otlp.link.0": format!(
            "{}|{}||{{\"why\":\"because\"}}|0",
            checkout["traceId"].as_str().unwrap(),
            checkout["id"].as_str().unwrap()
        ),
    });
    assert_eq!(charge["tags"], tags);
    let annotation = &charge["annotations"][0];
    assert_eq!(annotation["value"], r#""retry": {"attempt":2}"#);
    assert!(annotation["timestamp"].as_u64().unwrap() >= timestamp);
    assert_eq!(checkout["tags"]["otel.status_code"], "OK");
    assert_eq!(checkout["tags"].get("error"), None);
    assert_eq!(plain["tags"].get("otel.status_code"), None);
}

#[test]
fn a_zipkin_collector_fails_like_others() {
    let busy = Step::Say(answer(503, &[("Retry-After", "2")], b"busy"));
    let collector = Collector::play(vec![busy, say(202), say(400)]);
    let url = format!("http://{}/api/v2/spans", collector.address);
    let timer = FakeTimer::new();
    let exporter = ZipkinExporter::builder()
        .endpoint(&url)
        .unwrap()
        .timer(timer.clone())
        .build()
        .unwrap();
    exported(&exporter);
    assert!(timer.waits()[0] >= Duration::from_secs(2));
    let (request, spans) = spans::request();
    let batch = Batch {
        body: &request,
        spans,
    };
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!((outcome.failed, outcome.attempts), (spans, 1));
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_console_shows_a_line_for_each_span_or_a_picture() {
    let page = Page::default();
    exported(&ConsoleExporter::new().writer(page.clone()));
    let text = page.text();
    assert_eq!(text.lines().count(), 3, "{text}");
    let line = text
        .lines()
        .find(|line| line.contains("\"charge\""))
        .unwrap();
    assert!(line.starts_with("2023-11-14T22:13:20."), "{line}");
    for part in [
        " shop \"charge\" client ",
        " error=\"declined\" trace_id=",
        " parent_id=",
        " text=a whole=-3 real=1.5 yes=true bytes=00ff",
        " retry attempt=2]",
        " link=",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }

    let page = Page::default();
    let picture = ConsoleExporter::new().waterfall(Waterfall::new(100));
    exported(&picture.writer(page.clone()));
    let text = page.text();
    assert!(
        text.contains("charge") && text.contains("declined"),
        "{text}"
    );

    /// A pipe that nobody reads.
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (request, spans) = spans::request();
    let batch = Batch {
        body: &request,
        spans,
    };
    let outcome = ConsoleExporter::new()
        .writer(Broken)
        .export(batch, Duration::MAX);
    assert_eq!((outcome.failed, outcome.spans()), (spans, spans));
    assert!(
        outcome
            .error
            .unwrap()
            .to_string()
            .contains("the exporter console failed")
    );
}

#[test]
fn a_host_that_does_not_resolve_is_failed_and_said() {
    let exporter = OtlpHttpExporter::builder()
        .endpoint("http://collector.invalid:4318/v1/traces")
        .unwrap()
        .timeout(Some(Duration::from_secs(2)))
        .build()
        .unwrap();
    let (request, spans) = spans::request();
    let batch = Batch {
        body: &request,
        spans,
    };
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!(outcome.failed, spans, "{outcome:?}");
    assert!(
        matches!(outcome.error, Some(ExportError::Connect { .. })),
        "{outcome:?}"
    );
}
