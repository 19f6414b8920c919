//! What should come out: naively from what was set, and from the view's public face.

use super::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use spanlet::Attributes;
use spanlet::otlp::{OtlpEncoder, Resource};

pub fn model(input: &Input, limits: SpanLimits) -> proto::Span {
    let longest = limits.attribute_value_length as usize;
    let mut truncated = 0;
    let mut now = input.start;
    let mut attributes: Vec<(String, Val)> = Vec::new();
    let mut out = proto::Span {
        trace_id: input.parent.map_or_else(
            || (1u128 << 64 | 1).to_be_bytes().to_vec(),
            |(t, ..)| t.to_be_bytes().to_vec(),
        ),
        parent_span_id: input
            .parent
            .map_or(vec![], |(_, s, _)| s.to_be_bytes().to_vec()),
        span_id: if input.parent.is_some() { 1u64 } else { 2 }
            .to_be_bytes()
            .to_vec(),
        trace_state: input
            .parent
            .map_or(String::new(), |_| input.trace_state.clone()),
        name: KEYS[input.name].into(),
        kind: match input.kind {
            SpanKind::Internal => proto::span::SpanKind::Internal,
            SpanKind::Server => proto::span::SpanKind::Server,
            SpanKind::Client => proto::span::SpanKind::Client,
            SpanKind::Producer => proto::span::SpanKind::Producer,
            SpanKind::Consumer => proto::span::SpanKind::Consumer,
        } as i32,
        start_time_unix_nano: unix(now),
        flags: 0x101
            | if matches!(input.parent, Some((.., true))) {
                0x200
            } else {
                0
            },
        ..Default::default()
    };
    let mut item = |given: &[(usize, Val)], limit: u16| {
        let kept = given.iter().take(limit as usize).map(|(key, value)| {
            let (value, cut) = value.cut(longest);
            truncated += u32::from(cut);
            pair(KEYS[*key], &value)
        });
        let kept: Vec<_> = kept.collect();
        let dropped = given.len() - kept.len();
        (kept, dropped as u32)
    };
    let (mut code, mut message) = (0, String::new());
    let mut cut_attributes = 0;
    for op in &input.ops {
        let (key, value) = match op {
            Op::Attribute(key, value) => (KEYS[*key].to_string(), value),
            Op::Copied(key, value) => (key.clone(), value),
            Op::Event(name, given) => {
                let (kept, dropped) = item(given, limits.event_attribute_count);
                out.events.push(proto::span::Event {
                    time_unix_nano: unix(now),
                    name: KEYS[*name].into(),
                    attributes: kept,
                    dropped_attributes_count: dropped,
                });
                continue;
            }
            Op::EventAt(name, at) => {
                out.events.push(proto::span::Event {
                    time_unix_nano: unix(*at),
                    name: KEYS[*name].into(),
                    ..Default::default()
                });
                continue;
            }
            Op::Link(t, s, flags, remote, state, given) => {
                let (kept, dropped) = item(given, limits.link_attribute_count);
                out.links.push(proto::span::Link {
                    trace_id: t.to_be_bytes().to_vec(),
                    span_id: s.to_be_bytes().to_vec(),
                    trace_state: state.clone(),
                    attributes: kept,
                    dropped_attributes_count: dropped,
                    flags: u32::from(TraceFlags::from_byte(*flags).to_byte())
                        | 0x100
                        | if *remote { 0x200 } else { 0 },
                });
                continue;
            }
            Op::Name(name) => {
                out.name = name.clone();
                continue;
            }
            Op::Error(text) => {
                if code != 1 {
                    (code, message) = (2, text.clone());
                }
                continue;
            }
            Op::Ok => {
                code = 1;
                continue;
            }
            Op::Advance(ticks) => {
                now = now.wrapping_add(*ticks);
                continue;
            }
        };
        let known = attributes.iter().any(|(k, _)| *k == key);
        let (value, cut) = value.cut(longest);
        if attributes.len() >= limits.attribute_count as usize && !known {
            out.dropped_attributes_count += 1;
            cut_attributes += u32::from(cut);
            continue;
        }
        cut_attributes += u32::from(cut);
        attributes.retain(|(k, _)| *k != key);
        attributes.push((key, value));
    }
    out.attributes = attributes.iter().map(|(k, v)| pair(k, v)).collect();
    out.end_time_unix_nano = unix(now.max(input.start));
    truncated += cut_attributes;
    if truncated != 0 {
        let count = Val::I64(truncated.into());
        out.attributes
            .push(pair("spanlet.truncated_values", &count));
    }
    if code != 2 {
        // SPEC: a description is for errors only. The record keeps it where Ok came later.
        message.clear();
    }
    out.status = (code != 0).then_some(proto::Status { message, code });
    out
}

pub fn from_attributes(attributes: Attributes<'_>) -> Vec<common::KeyValue> {
    let values = attributes.map(|kv| {
        let value = match kv.value {
            Value::Bool(v) => Val::Bool(v),
            Value::I64(v) => Val::I64(v),
            Value::F64(v) => Val::F64(v.to_bits()),
            Value::Str(v) => Val::Str(v.into()),
            Value::Static(v) => Val::Static(v),
            Value::Bytes(v) => Val::Bytes(v.into()),
            Value::BoolArray(v) => Val::Bools(v.into()),
            Value::I64Array(v) => Val::I64s(v.into()),
            Value::F64Array(v) => Val::F64s(v.iter().map(|v| v.to_bits()).collect()),
            Value::StrArray(v) => Val::Strs(v.iter().map(String::from).collect()),
            Value::Any(bytes) => {
                return common::KeyValue {
                    key: kv.key.into(),
                    value: Some(common::AnyValue::decode(bytes).unwrap()),
                    ..Default::default()
                };
            }
            other => panic!("unknown value {other:?}"),
        };
        pair(kv.key, &value)
    });
    values.collect()
}
pub fn from_view(view: &SpanView<'_>) -> proto::Span {
    let id = |id: Option<SpanId>| id.map_or(vec![], |id| id.to_bytes().to_vec());
    let mut attributes = from_attributes(view.attributes());
    let mut own = |key, value| attributes.push(pair(key, &value));
    if view.truncated_values() != 0 {
        own(
            "spanlet.truncated_values",
            Val::I64(view.truncated_values().into()),
        );
    }
    if view.is_duration_unknown() {
        own("spanlet.duration_unknown", Val::Bool(true));
    }
    if view.is_escalated() {
        own("spanlet.escalated", Val::Bool(true));
    }
    let code = view.status() as i32;
    let mut message = view.status_description().unwrap_or("").to_string();
    if view.status() != Status::Error {
        message.clear();
    }
    let flags = |flags: TraceFlags, remote: bool| {
        u32::from(flags.to_byte()) | if remote { 0x300 } else { 0x100 }
    };
    proto::Span {
        trace_id: view.trace_id().to_bytes().to_vec(),
        span_id: id(Some(view.span_id())),
        trace_state: view.trace_state().unwrap_or("").into(),
        parent_span_id: id(view.parent_id()),
        flags: flags(view.flags(), view.parent_is_remote()),
        name: view.name().into(),
        kind: view.kind() as i32 + 1,
        start_time_unix_nano: unix(view.start().0),
        end_time_unix_nano: unix(view.end().0),
        attributes,
        dropped_attributes_count: view.dropped_attributes(),
        events: view
            .events()
            .map(|event| proto::span::Event {
                time_unix_nano: unix(event.ticks().0),
                name: event.name().into(),
                attributes: from_attributes(event.attributes()),
                dropped_attributes_count: event.dropped_attributes(),
            })
            .collect(),
        dropped_events_count: view.dropped_events(),
        links: view
            .links()
            .map(|link| proto::span::Link {
                trace_id: link.context().trace_id().to_bytes().to_vec(),
                span_id: id(Some(link.context().span_id())),
                trace_state: link.trace_state().unwrap_or("").into(),
                attributes: from_attributes(link.attributes()),
                dropped_attributes_count: link.dropped_attributes(),
                flags: flags(link.context().flags(), link.context().is_remote()),
            })
            .collect(),
        dropped_links_count: view.dropped_links(),
        status: (code != 0).then_some(proto::Status { message, code }),
    }
}

pub fn request(spans: Vec<proto::Span>, scopes: &[Option<usize>]) -> ExportTraceServiceRequest {
    let mut groups: Vec<proto::ScopeSpans> = Vec::new();
    for (span, scope) in spans.into_iter().zip(scopes) {
        let scope = scope.map_or(default_scope(), |i| SCOPES[i]);
        let (schema_url, is_named) = (scope.schema_url.into(), !scope.name.is_empty());
        let scope = is_named.then(|| common::InstrumentationScope {
            name: scope.name.into(),
            version: scope.version.into(),
            ..Default::default()
        });
        match groups.last_mut() {
            Some(open) if open.scope == scope && open.schema_url == schema_url => {
                open.spans.push(span);
            }
            _ => groups.push(proto::ScopeSpans {
                scope,
                spans: vec![span],
                schema_url,
            }),
        }
    }
    ExportTraceServiceRequest {
        resource_spans: vec![proto::ResourceSpans {
            resource: Some(ProtoResource {
                attributes: vec![
                    pair("service.name", &Val::Static("test")),
                    pair("ports", &Val::I64s(vec![80, 443])),
                ],
                dropped_attributes_count: 3,
                ..Default::default()
            }),
            scope_spans: groups,
            schema_url: SCHEMA.into(),
        }],
    }
}
pub fn with_resource<T>(f: impl FnOnce(Resource<'_>) -> T) -> T {
    let key = String::from("service.name");
    let attributes = [
        KeyValue::new(key.as_str(), "test"),
        KeyValue::new("ports", &[80i64, 443][..]),
    ];
    f(Resource::new(&attributes)
        .with_dropped_attributes(3)
        .with_schema_url(SCHEMA))
}
pub fn encode(views: &[SpanView<'_>]) -> Vec<u8> {
    let mut buf = vec![0xaa; 2 << 20];
    with_resource(|resource| {
        let mut encoder =
            OtlpEncoder::new(&mut buf, &resource, &default_scope(), anchor()).unwrap();
        for view in views {
            encoder.push(view).unwrap();
        }
        assert_eq!(encoder.spans() as usize, views.len());
        let len = encoder.len();
        let bytes = encoder.finish();
        assert_eq!(bytes.len(), len);
        bytes.to_vec()
    })
}

/// A message's fields, in the order of their numbers: what prost writes, if each field is canonical.
/// `inner` says which fields are messages to put in order too.
pub fn in_order(mut bytes: &[u8], inner: &dyn Fn(u64) -> Option<Level>) -> Vec<u8> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        prost::encoding::decode_varint(bytes).unwrap()
    }
    let mut fields: Vec<(u64, Vec<u8>)> = Vec::new();
    while !bytes.is_empty() {
        let from = bytes;
        let head = varint(&mut bytes);
        let mut field;
        match head & 7 {
            0 => {
                varint(&mut bytes);
                field = from[..from.len() - bytes.len()].to_vec();
            }
            1 | 5 => {
                bytes = &bytes[if head & 7 == 1 { 8 } else { 4 }..];
                field = from[..from.len() - bytes.len()].to_vec();
            }
            _ => {
                let len = varint(&mut bytes) as usize;
                field = from[..from.len() - bytes.len()].to_vec();
                match inner(head >> 3) {
                    Some(level) => field.extend(level.in_order(&bytes[..len])),
                    None => field.extend(&bytes[..len]),
                }
                bytes = &bytes[len..];
            }
        }
        fields.push((head >> 3, field));
    }
    fields.sort_by_key(|(number, _)| *number);
    fields.into_iter().flat_map(|(_, field)| field).collect()
}
#[derive(Clone, Copy)]
pub enum Level {
    Request,
    ResourceSpans,
    ScopeSpans,
    Span,
    Leaf,
}
impl Level {
    pub fn in_order(self, bytes: &[u8]) -> Vec<u8> {
        in_order(bytes, &|field| match (self, field) {
            (Level::Request, 1) => Some(Level::ResourceSpans),
            (Level::ResourceSpans, 2) => Some(Level::ScopeSpans),
            (Level::ScopeSpans, 2) => Some(Level::Span),
            (Level::Span, 11 | 13) => Some(Level::Leaf),
            _ => None,
        })
    }
}

/// Equality by bytes, so that NaN equals itself.
pub fn assert_same(got: &[u8], expected: &ExportTraceServiceRequest) {
    let decoded = ExportTraceServiceRequest::decode(got).unwrap();
    let expected_bytes = expected.encode_to_vec();
    if decoded.encode_to_vec() != expected_bytes {
        assert_eq!(format!("{decoded:#?}"), format!("{expected:#?}"));
        assert_eq!(decoded.encode_to_vec(), expected_bytes);
    }
    assert_eq!(got.len(), expected_bytes.len(), "lengths are canonical");
    assert!(
        Level::Request.in_order(got) == expected_bytes,
        "bytes differ"
    );
}
