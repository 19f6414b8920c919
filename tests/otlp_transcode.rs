//! The transcoder from protobuf to OTLP/JSON, against `opentelemetry-proto`'s serde and against our own encoder.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod otlp_model;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otlp_model::expected::*;
use otlp_model::*;
use proptest::prelude::*;
use prost::Message;
use spanlet::otlp::{OtlpEncoder, OtlpJsonEncoder, TranscodeError, transcode_json};
use spanlet::{SpanLimits, SpanView};

fn json_of(request: &[u8]) -> Vec<u8> {
    let mut buf = vec![0xaa; request.len() * 8 + 64];
    let len = transcode_json(request, &mut buf).unwrap();
    buf.truncate(len);
    buf
}

fn protobuf(views: &[SpanView<'_>]) -> Vec<u8> {
    let mut buf = vec![0; 4 << 20];
    with_resource(|resource| {
        let mut encoder =
            OtlpEncoder::new(&mut buf, &resource, &default_scope(), anchor()).unwrap();
        views.iter().for_each(|view| encoder.push(view).unwrap());
        encoder.finish().to_vec()
    })
}

fn direct(views: &[SpanView<'_>]) -> Vec<u8> {
    let mut buf = vec![0; 8 << 20];
    with_resource(|resource| {
        let mut encoder =
            OtlpJsonEncoder::new(&mut buf, &resource, &default_scope(), anchor()).unwrap();
        views.iter().for_each(|view| encoder.push(view).unwrap());
        encoder.finish().to_vec()
    })
}

/// Fields whose default is as good as absent.
fn without_defaults(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value::{Array, Object};
    match value {
        Array(items) => Array(items.into_iter().map(without_defaults).collect()),
        Object(fields) => Object(
            fields
                .into_iter()
                .map(|(key, value)| (key, without_defaults(value)))
                .filter(|(key, value)| {
                    let empty_list = value.as_array().is_some_and(Vec::is_empty);
                    let empty_text = value.as_str() == Some("");
                    let no_time = key.ends_with("Nano") && value.as_str() == Some("0");
                    // Inside of a value the default counts.
                    let in_value = key.ends_with("Value") || key == "values";
                    in_value || !(empty_list || empty_text || no_time || value.as_u64() == Some(0))
                })
                .collect(),
        ),
        other => other,
    }
}

fn some_value() -> impl Strategy<Value = Option<AnyValue>> {
    use any_value::Value;
    let leaf = prop_oneof![
        ".{0,12}".prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        (-1e300..1e300).prop_map(Value::DoubleValue),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::BytesValue),
    ];
    let nested = leaf.prop_recursive(3, 12, 4, |inner| {
        let item = inner.prop_map(|value| AnyValue { value: Some(value) });
        prop_oneof![
            proptest::collection::vec(item.clone(), 0..4).prop_map(|values| {
                Value::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue { values })
            }),
            proptest::collection::vec((".{0,6}", item), 0..4).prop_map(|pairs| {
                Value::KvlistValue(opentelemetry_proto::tonic::common::v1::KeyValueList {
                    values: pairs
                        .into_iter()
                        .map(|(key, value)| KeyValue {
                            key,
                            value: Some(value),
                            ..KeyValue::default()
                        })
                        .collect(),
                })
            }),
        ]
    });
    nested.prop_map(|value| Some(AnyValue { value: Some(value) }))
}

fn pairs() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (".{0,12}", some_value());
    let pair = pair.prop_map(|(key, value)| KeyValue {
        key,
        value,
        ..KeyValue::default()
    });
    proptest::collection::vec(pair, 0..4)
}

/// A span in parts, each of which sets a few fields; their order is that of the wire.
fn parts() -> impl Strategy<Value = Vec<Span>> {
    let part = prop_oneof![
        (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<[u8; 8]>()).prop_map(|(t, s, p)| Span {
            trace_id: t.to_vec(),
            span_id: s.to_vec(),
            parent_span_id: p.to_vec(),
            ..Span::default()
        }),
        (".{0,20}", 0..6i32, any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
            |(name, kind, start, end, flags)| Span {
                name,
                kind,
                start_time_unix_nano: start,
                end_time_unix_nano: end,
                flags,
                ..Span::default()
            }
        ),
        pairs().prop_map(|attributes| Span {
            attributes,
            ..Span::default()
        }),
        (pairs(), ".{0,9}", any::<u64>(), any::<u32>()).prop_map(|(attributes, name, at, n)| {
            Span {
                events: vec![Event {
                    time_unix_nano: at,
                    name,
                    attributes,
                    dropped_attributes_count: n,
                }],
                ..Span::default()
            }
        }),
        (pairs(), any::<[u8; 16]>(), any::<u32>()).prop_map(|(attributes, id, flags)| Span {
            links: vec![Link {
                trace_id: id.to_vec(),
                span_id: id[..8].to_vec(),
                trace_state: "a=b".into(),
                attributes,
                dropped_attributes_count: 0,
                flags,
            }],
            ..Span::default()
        }),
        (".{0,9}", 0..3i32, any::<[u32; 3]>()).prop_map(|(message, code, n)| Span {
            status: Some(Status { message, code }),
            dropped_attributes_count: n[0],
            dropped_events_count: n[1],
            dropped_links_count: n[2],
            ..Span::default()
        }),
    ];
    proptest::collection::vec(part, 0..8)
}

fn one_span(span: Vec<u8>) -> Vec<u8> {
    fn field(number: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(body.len() as u64, &mut bytes);
        bytes.extend_from_slice(body);
        bytes
    }
    field(1, &field(2, &field(2, &span)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn is_what_our_json_encoder_writes(inputs in proptest::collection::vec(input(), 1..5)) {
        record(&inputs, SpanLimits::DEFAULT, |views| {
            let got: serde_json::Value = serde_json::from_slice(&json_of(&protobuf(views))).unwrap();
            let expected: serde_json::Value = serde_json::from_slice(&direct(views)).unwrap();
            let (got, expected) = (without_defaults(got), without_defaults(expected));
            let (got, expected) = (format!("{got:#}"), format!("{expected:#}"));
            let differ = got.lines().zip(expected.lines()).find(|(a, b)| a != b);
            assert!(got == expected, "{differ:?}");
        });
    }

    /// Fields in any order, repeated ones apart from each other, single ones several times.
    #[test]
    fn reads_back_as_what_the_protobuf_says(parts in parts()) {
        let span = parts.iter().flat_map(Message::encode_to_vec).collect();
        let request = one_span(span);
        let mut expected = ExportTraceServiceRequest::decode(&*request).unwrap();
        let json = json_of(&request);
        let read: ExportTraceServiceRequest = serde_json::from_slice(&json)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&json)));
        // A message that may come once and comes twice is merged by protobuf; here its last one counts.
        let status = parts.iter().filter_map(|part| part.status.clone()).next_back();
        expected.resource_spans[0].scope_spans[0].spans[0].status = status;
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn hostile_bytes_end_in_an_error_or_in_json(bytes in proptest::collection::vec(
        prop_oneof![any::<u8>(), 0_u8..32, Just(0x0a), Just(0x12)], 0..60)) {
        let mut buf = [0; 2000];
        match transcode_json(&bytes, &mut buf) {
            Ok(len) => {
                let json: Result<serde_json::Value, _> = serde_json::from_slice(&buf[..len]);
                prop_assert!(json.is_ok(), "{}", String::from_utf8_lossy(&buf[..len]));
            }
            Err(TranscodeError::Malformed { offset }) => prop_assert!(offset <= bytes.len()),
            Err(TranscodeError::Full) => prop_assert!(false, "2,000 bytes are enough"),
        }
    }
}

#[test]
fn every_buffer_that_is_too_small_is_full() {
    let span = Span {
        name: "n\"".into(),
        attributes: vec![KeyValue {
            key: "k".into(),
            value: None,
            ..KeyValue::default()
        }],
        ..Span::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![span],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    let request = request.encode_to_vec();
    let whole = json_of(&request);
    for size in 0..whole.len() {
        assert_eq!(
            transcode_json(&request, &mut vec![0; size]),
            Err(TranscodeError::Full)
        );
    }
    assert_eq!(
        transcode_json(&request, &mut vec![0; whole.len()]),
        Ok(whole.len())
    );
    assert_eq!(transcode_json(b"", &mut [0; 2]), Ok(2));
}

#[test]
fn what_cannot_be_read_is_named_by_its_place() {
    for (bytes, offset) in [
        // A tag without a value; a length past the end; text that is no UTF-8; a known field of another type.
        (&b"\x0a"[..], 0),
        (b"\x0a\x02\x12", 0),
        (b"\x0a\x07\x12\x05\x12\x03\x2a\x01\xff", 8),
        (b"\x0a\x06\x12\x04\x12\x02\x28\x01", 6),
    ] {
        let error = transcode_json(bytes, &mut [0; 200]).unwrap_err();
        assert_eq!(error, TranscodeError::Malformed { offset }, "{bytes:?}");
    }
}
