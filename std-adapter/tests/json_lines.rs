//! Spans → JSON lines → the same spans.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use proptest::prelude::*;
use spanlet::{SpanId, TraceId};
use spanlet_std::trace::{
    AttributeValue, Attributes, SpanEvent, SpanKind, SpanLink, Status, TraceSpan, read_json_lines,
    write_json_lines,
};

fn value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(AttributeValue::String),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<i64>().prop_map(AttributeValue::I64),
        any::<f64>().prop_map(AttributeValue::F64),
        Just(AttributeValue::F64(f64::INFINITY)),
        Just(AttributeValue::F64(f64::NEG_INFINITY)),
        Just(AttributeValue::F64(3.0)),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(AttributeValue::Bytes),
        Just(AttributeValue::Empty),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(AttributeValue::Array),
            prop::collection::vec((any::<String>(), inner), 0..4).prop_map(AttributeValue::Map),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    prop::collection::vec((any::<String>(), value()), 0..4)
}

fn trace_id() -> impl Strategy<Value = TraceId> {
    any::<[u8; 16]>().prop_filter_map("zero", TraceId::from_bytes)
}
fn span_id() -> impl Strategy<Value = SpanId> {
    any::<[u8; 8]>().prop_filter_map("zero", SpanId::from_bytes)
}

fn event() -> impl Strategy<Value = SpanEvent> {
    (any::<u64>(), any::<String>(), attributes(), any::<u32>()).prop_map(
        |(time_unix_ns, name, attributes, dropped_attributes)| SpanEvent {
            time_unix_ns,
            name,
            attributes,
            dropped_attributes,
        },
    )
}

fn link() -> impl Strategy<Value = SpanLink> {
    (
        trace_id(),
        span_id(),
        any::<String>(),
        any::<u32>(),
        attributes(),
        any::<u32>(),
    )
        .prop_map(
            |(trace_id, span_id, trace_state, flags, attributes, dropped_attributes)| SpanLink {
                trace_id,
                span_id,
                trace_state,
                flags,
                attributes,
                dropped_attributes,
            },
        )
}

fn span() -> impl Strategy<Value = TraceSpan> {
    let kind = prop::sample::select(vec![
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ]);
    let status = prop::sample::select(vec![Status::Unset, Status::Ok, Status::Error]);
    let ids = (trace_id(), span_id(), prop::option::of(span_id()));
    let texts = any::<[String; 6]>();
    let lists = (
        attributes(),
        prop::collection::vec(event(), 0..3),
        prop::collection::vec(link(), 0..3),
        attributes(),
    );
    (
        ids,
        texts,
        kind,
        status,
        any::<[u32; 4]>(),
        any::<[u64; 2]>(),
        lists,
    )
        .prop_map(|(ids, texts, kind, status, numbers, times, lists)| {
            let [
                name,
                service,
                trace_state,
                status_message,
                scope_name,
                scope_version,
            ] = texts;
            let (attributes, events, links, resource) = lists;
            TraceSpan {
                trace_id: ids.0,
                span_id: ids.1,
                parent_span_id: ids.2,
                trace_state,
                flags: numbers[0],
                name,
                service,
                kind,
                status,
                status_message,
                start_unix_ns: times[0],
                end_unix_ns: times[1],
                attributes,
                dropped_attributes: numbers[1],
                events,
                dropped_events: numbers[2],
                links,
                dropped_links: numbers[3],
                resource: Arc::new(resource),
                scope_name,
                scope_version,
            }
        })
}

fn write(spans: &[TraceSpan]) -> String {
    let mut out = Vec::new();
    write_json_lines(spans, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(spans in prop::collection::vec(span(), 0..4)) {
        let text = write(&spans);
        prop_assert_eq!(text.lines().count(), spans.len(), "one span, one line");
        prop_assert_eq!(read_json_lines(&text).unwrap(), spans);
    }

    #[test]
    fn no_text_panics(text in any::<String>(), spans in span(), at in any::<prop::sample::Index>(), with in any::<char>()) {
        let _ = read_json_lines(&text);
        let mut line: Vec<char> = write(&[spans]).chars().collect();
        let at = at.index(line.len());
        line[at] = with;
        let _ = read_json_lines(&line.into_iter().collect::<String>());
    }
}

#[test]
fn field_names_are_frozen() {
    let mut s = TraceSpan::new(
        TraceId::from_bytes([0xab; 16]).unwrap(),
        SpanId::from_bytes([0xcd; 8]).unwrap(),
        "POST /check",
    );
    s.parent_span_id = SpanId::from_bytes([1; 8]);
    s.kind = SpanKind::Client;
    s.service = "fraud-check".to_owned();
    (s.start_unix_ns, s.end_unix_ns) = (u64::MAX - 1, u64::MAX);
    s.status = Status::Error;
    s.status_message = "late".to_owned();
    s.attributes = vec![
        ("n".to_owned(), 1_i64.into()),
        ("x".to_owned(), 1.0.into()),
        ("b".to_owned(), AttributeValue::Bytes(vec![0, 255])),
        ("nan".to_owned(), f64::NAN.into()),
    ];
    s.resource = Arc::new(vec![("host.name".to_owned(), "h".into())]);
    let expected = concat!(
        r#"{"traceId":"abababababababababababababababab","spanId":"cdcdcdcdcdcdcdcd","#,
        r#""parentSpanId":"0101010101010101","name":"POST /check","service":"fraud-check","#,
        r#""kind":"client","startTimeUnixNano":"18446744073709551614","#,
        r#""endTimeUnixNano":"18446744073709551615","status":{"code":"error","message":"late"},"#,
        r#""attributes":{"n":1,"x":1.0,"b":{"bytesValue":"AP8="},"nan":{"doubleValue":"NaN"}},"#,
        r#""resource":{"host.name":"h"}}"#,
        "\n"
    );
    assert_eq!(write(&[s]), expected);
}

#[test]
fn errors_name_the_line_and_the_fault() {
    let good = write(&[TraceSpan::new(
        TraceId::from_bytes([1; 16]).unwrap(),
        SpanId::from_bytes([2; 8]).unwrap(),
        "a",
    )]);
    for (from, to, fault) in [
        ("01010101", "0101", "is not a trace id"),
        ("0202020202020202", "0000000000000000", "is not a span id"),
        (
            "\"startTimeUnixNano\":\"0\"",
            "\"startTimeUnixNano\":\"+1\"",
            "is not a time",
        ),
        ("\"kind\":\"internal\"", "\"kind\":\"sideways\"", "sideways"),
        ("\"name\":\"a\",", "", "name"),
        (
            "\"kind\"",
            "\"attributes\":{\"a\":{\"b\":1}},\"kind\"",
            "bytesValue",
        ),
        (
            "\"kind\"",
            "\"attributes\":{\"a\":18446744073709551615},\"kind\"",
            "does not fit",
        ),
    ] {
        let text = format!("{good}\n{}", good.replacen(from, to, 1));
        let e = read_json_lines(&text).unwrap_err();
        assert_eq!(e.line, 3);
        assert!(e.to_string().contains(fault), "{e}");
    }
    let more = good.replace("\"kind\"", "\"later\":[1],\"kind\"");
    assert_eq!(
        read_json_lines(&more).unwrap().len(),
        1,
        "unknown fields are ignored"
    );
}
