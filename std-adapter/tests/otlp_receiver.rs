//! The in-process receiver: what it decodes, and what it answers to what it cannot take.

use core::time::Duration;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Official;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, span::Event, span::Link,
};
use prost::Message;
use spanlet_std::config::Compression;
use spanlet_std::export::{Batch, ExportError, ExportOutcome, OtlpHttpExporter, SpanExporter};
use spanlet_std::receiver::otlp_http::{Answer, OtlpHttpReceiver, ReceiverStats};
use spanlet_std::receiver::proto::{ExportTraceServiceRequest, RpcStatus};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

fn pair(key: &str, value: Option<Value>) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value }),
        ..KeyValue::default()
    }
}

/// A request with every field set.
fn full() -> Official {
    let attributes = vec![
        pair("s", Some(Value::StringValue("é".to_owned()))),
        pair("b", Some(Value::BoolValue(true))),
        pair("i", Some(Value::IntValue(i64::MIN))),
        pair("d", Some(Value::DoubleValue(-0.5))),
        pair("y", Some(Value::BytesValue(vec![0, 255]))),
        pair("none", None),
        pair(
            "a",
            Some(Value::ArrayValue(ArrayValue {
                values: vec![AnyValue { value: None }],
            })),
        ),
        pair(
            "m",
            Some(Value::KvlistValue(KeyValueList {
                values: vec![pair("k", None)],
            })),
        ),
    ];
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        trace_state: "a=1".to_owned(),
        parent_span_id: vec![3; 8],
        flags: 0x301,
        name: "name".to_owned(),
        kind: 5,
        start_time_unix_nano: u64::MAX - 1,
        end_time_unix_nano: u64::MAX,
        attributes: attributes.clone(),
        dropped_attributes_count: 1,
        events: vec![Event {
            time_unix_nano: 9,
            name: "event".to_owned(),
            attributes: attributes.clone(),
            dropped_attributes_count: 4,
        }],
        dropped_events_count: 2,
        links: vec![Link {
            trace_id: vec![4; 16],
            span_id: vec![5; 8],
            trace_state: "b=2".to_owned(),
            attributes: attributes.clone(),
            dropped_attributes_count: 5,
            flags: 0x100,
        }],
        dropped_links_count: 3,
        status: Some(Status {
            message: "bad".to_owned(),
            code: 2,
        }),
    };
    let scope = InstrumentationScope {
        name: "scope".to_owned(),
        version: "1".to_owned(),
        attributes: attributes.clone(),
        dropped_attributes_count: 6,
    };
    let resource = Resource {
        attributes,
        dropped_attributes_count: 7,
        ..Resource::default()
    };
    Official {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: vec![span.clone(), span],
                schema_url: "scope schema".to_owned(),
            }],
            schema_url: "resource schema".to_owned(),
        }],
    }
}

fn send(receiver: &OtlpHttpReceiver, body: &[u8], compression: Compression) -> ExportOutcome {
    let builder = OtlpHttpExporter::builder()
        .endpoint(&receiver.endpoint())
        .unwrap();
    let exporter = builder.compression(compression).build().unwrap();
    exporter.export(Batch { body, spans: 2 }, Duration::MAX)
}

/// Sends raw bytes and returns the status and the message that came back.
fn raw(receiver: &OtlpHttpReceiver, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(receiver.local_addr()).unwrap();
    let length = body.len();
    let head =
        format!("{head}\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let split = answer
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&answer[..split]);
    assert!(
        head.contains("Content-Type: application/x-protobuf"),
        "{head}"
    );
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        RpcStatus::decode(&answer[split + 4..]).unwrap().message,
    )
}

#[test]
fn every_field_arrives() {
    let seen = Arc::new(Mutex::new(Vec::<ExportTraceServiceRequest>::new()));
    let log = Arc::clone(&seen);
    let receiver = OtlpHttpReceiver::bind("127.0.0.1:0", move |request| {
        log.lock().unwrap().push(request);
        Answer::Accept
    })
    .unwrap();
    let body = full().encode_to_vec();
    for compression in [Compression::None, Compression::Gzip] {
        let outcome = send(&receiver, &body, compression);
        let expected = ExportOutcome {
            exported: 2,
            attempts: 1,
            ..ExportOutcome::default()
        };
        assert_eq!(outcome, expected);
        let request = seen.lock().unwrap().pop().unwrap();
        // Ours wrote back what the official types read: no field is missing or misnumbered.
        assert_eq!(Official::decode(&*request.encode_to_vec()).unwrap(), full());
        assert_eq!(request.spans().count(), 2);
    }
    let stats = ReceiverStats {
        accepted_requests: 2,
        accepted_spans: 4,
        refused_requests: 0,
    };
    assert_eq!(receiver.stats(), stats);
}

#[test]
fn its_answers_reach_the_exporter() {
    let answers = Mutex::new(vec![
        Answer::Partial {
            rejected: 1,
            message: "half".to_owned(),
        },
        Answer::Refuse {
            status: 401,
            retry_after: None,
            message: "who?".to_owned(),
        },
        Answer::Refuse {
            status: 503,
            retry_after: Some(Duration::from_secs(100)),
            message: "later".to_owned(),
        },
    ]);
    let receiver = OtlpHttpReceiver::bind("127.0.0.1:0", move |_| {
        // Locked for the pop only, so that the panic below poisons nothing.
        let next = answers.lock().unwrap().pop();
        next.expect("the script is over")
    })
    .unwrap();
    let body = full().encode_to_vec();
    let outcome = send(&receiver, &body, Compression::None);
    assert_eq!((outcome.failed, outcome.attempts), (2, 1));
    assert!(outcome.retry_in.unwrap() >= Duration::from_secs(100));
    let outcome = send(&receiver, &body, Compression::None);
    assert!(outcome.error.unwrap().to_string().contains("401 \"who?\""));
    let outcome = send(&receiver, &body, Compression::None);
    assert_eq!((outcome.exported, outcome.rejected), (1, 1));
    // A callback that panics costs its request and no more.
    for _ in 0..4 {
        let outcome = send(&receiver, &body, Compression::None);
        assert!(matches!(
            outcome.error,
            Some(ExportError::Status { status: 500, .. })
        ));
    }
    let stats = ReceiverStats {
        accepted_requests: 1,
        accepted_spans: 1,
        refused_requests: 6,
    };
    assert_eq!(receiver.stats(), stats);
}

#[test]
fn what_it_cannot_take_is_named() {
    let receiver = OtlpHttpReceiver::bind("127.0.0.1:0", |_| Answer::Accept).unwrap();
    let post = "POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf";
    for (head, body, status, word) in [
        (post, &b"\xff"[..], 400, "failed to decode"),
        ("POST /v1/logs HTTP/1.1", b"", 404, "/v1/traces"),
        ("GET /v1/traces HTTP/1.1", b"", 405, "POST"),
        ("POST /v1/traces HTTP/1.1", b"", 415, "content type"),
        (
            "POST /v1/traces HTTP/1.1\r\nContent-Type: application/json",
            b"{}",
            415,
            "content type",
        ),
        (
            &format!("{post}\r\nContent-Encoding: identity"),
            b"",
            415,
            "content encoding",
        ),
        (
            &format!("{post}\r\nContent-Encoding: gzip"),
            b"not gzip",
            400,
            "cannot be read",
        ),
    ] {
        let (got, message) = raw(&receiver, head, body);
        assert_eq!(got, status, "{head}");
        assert!(message.contains(word), "{head}: {message}");
    }
    // A small body that unpacks to more than the limit.
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut std::io::repeat(0).take((64 << 20) + 1), &mut packer).unwrap();
    let (status, _) = raw(
        &receiver,
        &format!("{post}\r\nContent-Encoding: gzip"),
        &packer.finish().unwrap(),
    );
    assert_eq!(status, 413);
    assert_eq!(receiver.stats().refused_requests, 8);
}

#[test]
fn it_stops_when_dropped() {
    let receiver = OtlpHttpReceiver::bind("127.0.0.1:0", |_| Answer::Accept).unwrap();
    let address = receiver.local_addr();
    assert!(OtlpHttpReceiver::bind(address, |_| Answer::Accept).is_err());
    drop(receiver);
    // The listening thread notices a moment later.
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "still listening");
        std::thread::sleep(Duration::from_millis(1));
    }
}
