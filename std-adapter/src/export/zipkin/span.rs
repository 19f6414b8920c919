//! One span as Zipkin's JSON object.

use crate::trace::decode::{RequestError, ScopeSpans, decode_request};
use crate::trace::{
    AttributeValue, Attributes, SpanEvent, SpanKind, SpanLink, Status, TraceSpan, attribute,
};
use core::net::IpAddr;
use serde_json::{Map, Value, json};
use std::io::Write;

/// Writes the spans of an encoded request as a JSON list.
pub(in crate::export) fn encode(request: &[u8], to: &mut Vec<u8>) -> Result<(), RequestError> {
    let groups = decode_request(request)?;
    to.push(b'[');
    for group in &groups {
        for span in &group.spans {
            if to.last() == Some(&b'}') {
                to.push(b',');
            }
            // Writing into memory does not fail.
            let _ = write!(to, "{}", object(span, group));
        }
    }
    to.push(b']');
    Ok(())
}

fn object(span: &TraceSpan, group: &ScopeSpans) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("traceId", span.trace_id.to_string().into());
    put("id", span.span_id.to_string().into());
    if let Some(parent) = span.parent_span_id {
        put("parentId", parent.to_string().into());
    }
    put("name", span.name.as_str().into());
    let kind = match span.kind {
        SpanKind::Internal => None,
        SpanKind::Server => Some("SERVER"),
        SpanKind::Client => Some("CLIENT"),
        SpanKind::Producer => Some("PRODUCER"),
        SpanKind::Consumer => Some("CONSUMER"),
    };
    if let Some(kind) = kind {
        put("kind", kind.into());
    }
    put("timestamp", (span.start_unix_ns / 1000).into());
    // Zipkin takes 0 for "not known".
    put("duration", (span.duration_ns() / 1000).max(1).into());
    put("localEndpoint", json!({ "serviceName": span.service }));
    if let Some(remote) = remote_endpoint(span) {
        put("remoteEndpoint", remote);
    }
    if !span.events.is_empty() {
        put("annotations", span.events.iter().map(annotation).collect());
    }
    let tags = tags(span, group);
    if !tags.is_empty() {
        put("tags", tags.into());
    }
    Value::Object(object)
}

/// Who was called, for spans that call: by the first attribute of the specification's list.
fn remote_endpoint(span: &TraceSpan) -> Option<Value> {
    if !matches!(span.kind, SpanKind::Client | SpanKind::Producer) {
        return None;
    }
    let (key, value) = attribute(
        &span.attributes,
        &[
            "peer.service",
            "server.address",
            "net.peer.name",
            "network.peer.address",
            "server.socket.domain",
            "server.socket.address",
            "net.sock.peer.addr",
            "peer.hostname",
            "peer.address",
            "db.name",
        ],
    )?;
    let name = value.to_string();
    let Ok(address) = name.parse::<IpAddr>() else {
        return Some(json!({ "serviceName": name }));
    };
    let port = match key {
        "server.address" => "server.port",
        "network.peer.address" => "network.peer.port",
        "server.socket.address" => "server.socket.port",
        _ => "net.sock.peer.port",
    };
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut endpoint = Map::from_iter([(family.to_owned(), address.to_string().into())]);
    if let Some((_, AttributeValue::I64(port))) = attribute(&span.attributes, &[port]) {
        endpoint.insert("port".to_owned(), (*port).into());
    }
    Some(endpoint.into())
}

fn annotation(event: &SpanEvent) -> Value {
    let value = if event.attributes.is_empty() {
        event.name.clone()
    } else {
        let name = Value::from(event.name.as_str());
        format!("{name}: {}", Value::from(json_object(&event.attributes)))
    };
    json!({ "timestamp": event.time_unix_ns / 1000, "value": value })
}

fn tags(span: &TraceSpan, group: &ScopeSpans) -> Map<String, Value> {
    let mut tags = Map::new();
    let mut put = |key: &str, value: String| tags.insert(key.to_owned(), value.into());
    for (key, value) in group
        .resource
        .iter()
        .filter(|(key, _)| key != "service.name")
    {
        put(key, tag(value));
    }
    for (key, value) in &span.attributes {
        // Zipkin takes any `error` tag, "false" included, for a failure.
        let not_an_error = key == "error" && tag(value) == "false";
        if !not_an_error {
            put(key, tag(value));
        }
    }
    for (key, text) in [
        ("otel.scope.name", &group.name),
        ("otel.scope.version", &group.version),
    ] {
        if !text.is_empty() {
            put(key, text.clone());
        }
    }
    match span.status {
        Status::Unset => {}
        Status::Ok => {
            put("otel.status_code", "OK".to_owned());
        }
        Status::Error => {
            put("otel.status_code", "ERROR".to_owned());
            put("error", span.status_message.clone());
        }
    }
    for (key, count) in [
        ("otel.dropped_attributes_count", span.dropped_attributes),
        ("otel.dropped_events_count", span.dropped_events),
        ("otel.dropped_links_count", span.dropped_links),
    ] {
        if count != 0 {
            put(key, count.to_string());
        }
    }
    for (n, link) in span.links.iter().enumerate() {
        put(&format!("otlp.link.{n}"), link_text(link));
    }
    tags
}

/// A link in one text, in the form that the Collector's receiver reads back.
fn link_text(link: &SpanLink) -> String {
    format!(
        "{}|{}|{}|{}|{}",
        link.trace_id,
        link.span_id,
        link.trace_state,
        Value::from(json_object(&link.attributes)),
        link.dropped_attributes
    )
}

/// A tag's value. SPEC: "Attribute values … MUST be converted to strings", arrays as JSON lists.
fn tag(value: &AttributeValue) -> String {
    match value {
        AttributeValue::String(text) => text.clone(),
        AttributeValue::Empty => String::new(),
        other => match to_json(other) {
            // NaN and its kin are texts already.
            Value::String(text) => text,
            json => json.to_string(),
        },
    }
}

fn json_object(attributes: &Attributes) -> Map<String, Value> {
    attributes
        .iter()
        .map(|(key, value)| (key.clone(), to_json(value)))
        .collect()
}

fn to_json(value: &AttributeValue) -> Value {
    use base64::Engine as _;
    match value {
        AttributeValue::String(text) => text.as_str().into(),
        AttributeValue::Bool(v) => (*v).into(),
        AttributeValue::I64(v) => (*v).into(),
        AttributeValue::F64(v) if v.is_nan() => "NaN".into(),
        AttributeValue::F64(v) if v.is_infinite() => {
            if *v > 0.0 { "Infinity" } else { "-Infinity" }.into()
        }
        AttributeValue::F64(v) => (*v).into(),
        AttributeValue::Bytes(bytes) => base64::engine::general_purpose::STANDARD
            .encode(bytes)
            .into(),
        AttributeValue::Array(values) => values.iter().map(to_json).collect(),
        AttributeValue::Map(map) => json_object(map).into(),
        AttributeValue::Empty => Value::Null,
    }
}
