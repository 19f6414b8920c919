//! The OTLP/JSON encoder, read back by `serde_json` into `opentelemetry-proto`'s types.
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
use otlp_model::expected::*;
use otlp_model::*;
use proptest::prelude::*;
use spanlet::otlp::{OtlpFull, OtlpJsonEncoder, Resource};
use spanlet::{SpanKind, SpanLimits, SpanView, Value};

fn encode_json(views: &[SpanView<'_>]) -> Vec<u8> {
    let mut buf = vec![0xaa; 8 << 20];
    with_resource(|resource| {
        let mut encoder =
            OtlpJsonEncoder::new(&mut buf, &resource, &default_scope(), anchor()).unwrap();
        for view in views {
            encoder.push(view).unwrap();
        }
        let len = encoder.len();
        let bytes = encoder.finish();
        assert_eq!(bytes.len(), len);
        bytes.to_vec()
    })
}

/// What the oracle's reader cannot take: doubles that are no JSON numbers.
fn without_odd_doubles(inputs: &mut [Input]) {
    let finite = |v: &mut u64| {
        if !f64::from_bits(*v).is_finite() {
            *v = 1.5f64.to_bits()
        }
    };
    let fix = |value: &mut Val| match value {
        Val::F64(v) => finite(v),
        Val::F64s(all) => all.iter_mut().for_each(finite),
        _ => {}
    };
    for op in inputs.iter_mut().flat_map(|input| &mut input.ops) {
        match op {
            Op::Attribute(_, v) | Op::Copied(_, v) => fix(v),
            Op::Event(_, all) | Op::Link(.., all) => all.iter_mut().for_each(|(_, v)| fix(v)),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn reads_back_as_it_was_set(mut inputs in proptest::collection::vec(input(), 1..5)) {
        without_odd_doubles(&mut inputs);
        let limits = SpanLimits::DEFAULT;
        let scopes: Vec<_> = inputs.iter().map(|i| (i.scope < SCOPES.len()).then_some(i.scope)).collect();
        record(&inputs, limits, |views| {
            let json = encode_json(views);
            let read: ExportTraceServiceRequest = serde_json::from_slice(&json)
                .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&json)));
            let modelled = inputs.iter().map(|i| model(i, limits)).collect();
            let expected = request(modelled, &scopes);
            if read != expected {
                let (read, expected) = (format!("{read:#?}"), format!("{expected:#?}"));
                let differ = read.lines().zip(expected.lines()).filter(|(a, b)| a != b);
                panic!("read, expected: {:#?}", differ.take(5).collect::<Vec<_>>());
            }
        });
    }

    #[test]
    fn opaque_bytes_of_any_kind_give_json(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        assert!(attribute(Value::Any(&bytes)).is_object());
    }
}

fn plain(ops: Vec<Op>) -> Input {
    Input {
        name: 1,
        kind: SpanKind::Server,
        parent: Some((7, 8, true)),
        trace_state: "a=b".into(),
        start: 5,
        scope: 9,
        ops,
    }
}

/// The JSON of a resource attribute's value.
fn attribute(value: Value<'_>) -> serde_json::Value {
    let attributes = [spanlet::KeyValue::new("k", value)];
    record(&[plain(vec![])], SpanLimits::DEFAULT, |views| {
        let mut buf = [0; 2000];
        let resource = Resource::new(&attributes);
        let mut encoder =
            OtlpJsonEncoder::new(&mut buf, &resource, &default_scope(), anchor()).unwrap();
        encoder.push(&views[0]).unwrap();
        let json: serde_json::Value = serde_json::from_slice(encoder.finish()).unwrap();
        json["resourceSpans"][0]["resource"]["attributes"][0]["value"].clone()
    })
}

#[test]
fn forms_of_values() {
    use serde_json::json;
    assert_eq!(
        attribute(Value::F64(f64::NAN)),
        json!({"doubleValue": "NaN"})
    );
    assert_eq!(
        attribute(Value::F64(f64::NEG_INFINITY)),
        json!({"doubleValue": "-Infinity"})
    );
    assert_eq!(attribute(Value::F64(1e300)), json!({"doubleValue": 1e300}));
    assert_eq!(
        attribute(Value::I64(i64::MIN)),
        json!({"intValue": "-9223372036854775808"})
    );
    assert_eq!(
        attribute(Value::Bytes(&[0xfb, 0xff])),
        json!({"bytesValue": "+/8="})
    );
    let odd = "\u{0}\u{1f}\"\\\n\r\t/\u{7f}\u{2028}ü😀";
    assert_eq!(attribute(Value::Str(odd)), json!({"stringValue": odd}));
    // Cut off, and nested deeper than is followed.
    assert_eq!(
        attribute(Value::Any(&[0x0a, 5, b'x'])),
        json!({"bytesValue": "CgV4"})
    );
    let mut deep = vec![0x10, 1];
    for _ in 0..20 {
        let inner = [&[0x0a, deep.len() as u8][..], &deep].concat();
        deep = [&[0x2a, inner.len() as u8][..], &inner].concat();
    }
    assert!(attribute(Value::Any(&deep))["bytesValue"].is_string());
    assert_eq!(attribute(Value::Any(&[])), json!({}));
}

#[test]
fn a_push_is_whole_or_nothing_in_every_buffer() {
    let inputs = [
        plain(vec![Op::Attribute(0, Val::I64(1))]),
        Input {
            scope: 0,
            ..plain(vec![Op::Error("\"no\"".into())])
        },
        Input {
            scope: 0,
            ..plain(vec![Op::Event(0, vec![(1, Val::Bytes(vec![1; 40]))])])
        },
    ];
    record(&inputs, SpanLimits::DEFAULT, |views| {
        let needed = encode_json(views).len();
        with_resource(|resource| {
            for size in 0..needed + 4 {
                let mut buf = vec![0xaa; size];
                let encoder = OtlpJsonEncoder::new(&mut buf, &resource, &default_scope(), anchor());
                let Ok(mut encoder) = encoder else { continue };
                let mut kept = Vec::new();
                for view in views {
                    match encoder.push(view) {
                        Ok(()) => kept.push(*view),
                        Err(full) => {
                            assert_eq!(full == OtlpFull::Span, kept.is_empty());
                        }
                    }
                }
                let bytes = encoder.finish();
                if kept.is_empty() {
                    assert!(bytes.is_empty());
                } else {
                    assert!(bytes == encode_json(&kept), "size {size}");
                }
            }
        });
    });
}
