//! Spans as JSON lines: one span, one line.
//!
//! Input and output: [`TraceSpan`]s and text. Bound: one line in memory at a time when writing.
//!
//! Fields, in OpenTelemetry's words: `traceId` and `spanId` (lowercase hex), `parentSpanId`, `traceState`,
//! `flags`, `name`, `service`, `kind` (`internal` `server` `client` `producer` `consumer`),
//! `startTimeUnixNano` and `endTimeUnixNano` (decimal text: they do not fit a JavaScript number),
//! `status` (`{"code": "unset" | "ok" | "error", "message"}`), `attributes`, `droppedAttributesCount`, `events`
//! (`{"timeUnixNano", "name", "attributes", "droppedAttributesCount"}`), `droppedEventsCount`, `links`
//! (`{"traceId", "spanId", "traceState", "flags", "attributes", "droppedAttributesCount"}`),
//! `droppedLinksCount`, `resource` (attributes), `scope` (`{"name", "version"}`). Whatever is empty
//! or zero is left out, except ids, name, service, kind and times. Unknown fields are ignored.
//!
//! Attributes are an object. Texts, booleans, numbers and arrays stand for themselves; an integer is
//! written without, a float with a fraction or exponent, and read back as such. What JSON lacks is wrapped:
//! `{"bytesValue": "<base64>"}`, `{"kvlistValue": {…}}`, `{"doubleValue": "NaN" | "Infinity" | "-Infinity"}`.
//! `null` is an attribute without a value.

use core::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde::{Deserialize as DeriveDeserialize, Serialize as DeriveSerialize};
use spanlet::{SpanId, TraceId};

use super::model::{AttributeValue, Attributes, SpanEvent, SpanKind, SpanLink, Status, TraceSpan};

/// Writes each span as a line.
///
/// # Errors
/// Those of the writer.
///
/// ```
/// use spanlet::{SpanId, TraceId};
/// use spanlet_std::trace::{TraceSpan, read_json_lines, write_json_lines};
/// let trace = TraceId::from_bytes([1; 16]).unwrap();
/// let span = TraceSpan::new(trace, SpanId::from_bytes([2; 8]).unwrap(), "POST /checkout");
/// let mut out = Vec::new();
/// write_json_lines([&span], &mut out)?;
/// let text = String::from_utf8(out).unwrap();
/// assert!(text.starts_with(r#"{"traceId":"01010101010101010101010101010101","spanId":"0202020202020202","#));
/// assert_eq!(read_json_lines(&text).unwrap(), [span]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write_json_lines<'a>(
    spans: impl IntoIterator<Item = &'a TraceSpan>,
    mut out: impl Write,
) -> io::Result<()> {
    for span in spans {
        serde_json::to_writer(&mut out, &JsonSpan::from(span))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Reads spans from lines; blank lines are skipped.
///
/// # Errors
/// The first line that is not a span, by number, and what is wrong with it.
///
/// ```
/// use spanlet_std::trace::read_json_lines;
/// let e = read_json_lines("\n{\"traceId\":\"00\"}").unwrap_err();
/// assert_eq!(e.line, 2);
/// ```
pub fn read_json_lines(text: &str) -> Result<Vec<TraceSpan>, JsonLineError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            let span: JsonSpan = serde_json::from_str(line).map_err(|cause| JsonLineError {
                line: at + 1,
                cause,
            })?;
            Ok(TraceSpan::from(span))
        })
        .collect()
}

/// A line that is not a span.
#[derive(Debug)]
pub struct JsonLineError {
    /// The line, counted from 1.
    pub line: usize,
    cause: serde_json::Error,
}

impl fmt::Display for JsonLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The cause counts lines within the one line that it saw.
        write!(f, "line {}: {}", self.line, self.cause)
    }
}

impl core::error::Error for JsonLineError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.cause)
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[derive(DeriveSerialize, DeriveDeserialize)]
#[serde(rename_all = "camelCase")]
struct JsonSpan {
    trace_id: Hex<TraceId>,
    span_id: Hex<SpanId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Hex<SpanId>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    trace_state: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    flags: u32,
    name: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    kind: JsonKind,
    start_time_unix_nano: Nanos,
    end_time_unix_nano: Nanos,
    #[serde(default, skip_serializing_if = "JsonStatus::is_empty")]
    status: JsonStatus,
    #[serde(default, skip_serializing_if = "JsonAttributes::is_empty")]
    attributes: JsonAttributes,
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    events: Vec<JsonEvent>,
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped_events_count: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<JsonLink>,
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped_links_count: u32,
    #[serde(default, skip_serializing_if = "JsonAttributes::is_empty")]
    resource: JsonAttributes,
    #[serde(default, skip_serializing_if = "JsonScope::is_empty")]
    scope: JsonScope,
}

#[derive(DeriveSerialize, DeriveDeserialize)]
#[serde(rename_all = "camelCase")]
struct JsonEvent {
    time_unix_nano: Nanos,
    name: String,
    #[serde(default, skip_serializing_if = "JsonAttributes::is_empty")]
    attributes: JsonAttributes,
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
}

#[derive(DeriveSerialize, DeriveDeserialize)]
#[serde(rename_all = "camelCase")]
struct JsonLink {
    trace_id: Hex<TraceId>,
    span_id: Hex<SpanId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    trace_state: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    flags: u32,
    #[serde(default, skip_serializing_if = "JsonAttributes::is_empty")]
    attributes: JsonAttributes,
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
}

#[derive(DeriveSerialize, DeriveDeserialize, Default)]
#[serde(rename_all = "lowercase")]
enum JsonKind {
    #[default]
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

#[derive(DeriveSerialize, DeriveDeserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum JsonCode {
    #[default]
    Unset,
    Ok,
    Error,
}

#[derive(DeriveSerialize, DeriveDeserialize, Default)]
struct JsonStatus {
    #[serde(default)]
    code: JsonCode,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
}

impl JsonStatus {
    fn is_empty(&self) -> bool {
        self.code == JsonCode::Unset && self.message.is_empty()
    }
}

#[derive(DeriveSerialize, DeriveDeserialize, Default)]
struct JsonScope {
    #[serde(default)]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    version: String,
}

impl JsonScope {
    fn is_empty(&self) -> bool {
        self.name.is_empty() && self.version.is_empty()
    }
}

impl From<&TraceSpan> for JsonSpan {
    fn from(s: &TraceSpan) -> Self {
        JsonSpan {
            trace_id: Hex(s.trace_id),
            span_id: Hex(s.span_id),
            parent_span_id: s.parent_span_id.map(Hex),
            trace_state: s.trace_state.clone(),
            flags: s.flags,
            name: s.name.clone(),
            service: s.service.clone(),
            kind: match s.kind {
                SpanKind::Internal => JsonKind::Internal,
                SpanKind::Server => JsonKind::Server,
                SpanKind::Client => JsonKind::Client,
                SpanKind::Producer => JsonKind::Producer,
                SpanKind::Consumer => JsonKind::Consumer,
            },
            start_time_unix_nano: Nanos(s.start_unix_ns),
            end_time_unix_nano: Nanos(s.end_unix_ns),
            status: JsonStatus {
                code: match s.status {
                    Status::Unset => JsonCode::Unset,
                    Status::Ok => JsonCode::Ok,
                    Status::Error => JsonCode::Error,
                },
                message: s.status_message.clone(),
            },
            attributes: JsonAttributes(s.attributes.clone()),
            dropped_attributes_count: s.dropped_attributes,
            events: s
                .events
                .iter()
                .map(|e| JsonEvent {
                    time_unix_nano: Nanos(e.time_unix_ns),
                    name: e.name.clone(),
                    attributes: JsonAttributes(e.attributes.clone()),
                    dropped_attributes_count: e.dropped_attributes,
                })
                .collect(),
            dropped_events_count: s.dropped_events,
            links: s
                .links
                .iter()
                .map(|l| JsonLink {
                    trace_id: Hex(l.trace_id),
                    span_id: Hex(l.span_id),
                    trace_state: l.trace_state.clone(),
                    flags: l.flags,
                    attributes: JsonAttributes(l.attributes.clone()),
                    dropped_attributes_count: l.dropped_attributes,
                })
                .collect(),
            dropped_links_count: s.dropped_links,
            resource: JsonAttributes((*s.resource).clone()),
            scope: JsonScope {
                name: s.scope_name.clone(),
                version: s.scope_version.clone(),
            },
        }
    }
}

impl From<JsonSpan> for TraceSpan {
    fn from(s: JsonSpan) -> Self {
        let events = s.events.into_iter().map(|e| SpanEvent {
            time_unix_ns: e.time_unix_nano.0,
            name: e.name,
            attributes: e.attributes.0,
            dropped_attributes: e.dropped_attributes_count,
        });
        let links = s.links.into_iter().map(|l| SpanLink {
            trace_id: l.trace_id.0,
            span_id: l.span_id.0,
            trace_state: l.trace_state,
            flags: l.flags,
            attributes: l.attributes.0,
            dropped_attributes: l.dropped_attributes_count,
        });
        TraceSpan {
            trace_id: s.trace_id.0,
            span_id: s.span_id.0,
            parent_span_id: s.parent_span_id.map(|p| p.0),
            trace_state: s.trace_state,
            flags: s.flags,
            name: s.name,
            service: s.service,
            kind: match s.kind {
                JsonKind::Internal => SpanKind::Internal,
                JsonKind::Server => SpanKind::Server,
                JsonKind::Client => SpanKind::Client,
                JsonKind::Producer => SpanKind::Producer,
                JsonKind::Consumer => SpanKind::Consumer,
            },
            status: match s.status.code {
                JsonCode::Unset => Status::Unset,
                JsonCode::Ok => Status::Ok,
                JsonCode::Error => Status::Error,
            },
            status_message: s.status.message,
            start_unix_ns: s.start_time_unix_nano.0,
            end_unix_ns: s.end_time_unix_nano.0,
            attributes: s.attributes.0,
            dropped_attributes: s.dropped_attributes_count,
            events: events.collect(),
            dropped_events: s.dropped_events_count,
            links: links.collect(),
            dropped_links: s.dropped_links_count,
            resource: Arc::new(s.resource.0),
            scope_name: s.scope.name,
            scope_version: s.scope.version,
        }
    }
}

/// Nanoseconds as decimal text.
struct Nanos(u64);

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        // `parse` alone would take a sign.
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(ns) if digits => Ok(Nanos(ns)),
            _ => Err(de::Error::custom(format_args!(
                "{text:?} is not a time in Unix nanoseconds"
            ))),
        }
    }
}

/// An id as hex digits.
struct Hex<T>(T);

impl<T: fmt::Display> Serialize for Hex<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for Hex<TraceId> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let id = bytes(&text).and_then(TraceId::from_bytes).map(Hex);
        id.ok_or_else(|| {
            de::Error::custom(format_args!(
                "{text:?} is not a trace id: 32 hex digits, not all 0"
            ))
        })
    }
}
impl<'de> Deserialize<'de> for Hex<SpanId> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let id = bytes(&text).and_then(SpanId::from_bytes).map(Hex);
        id.ok_or_else(|| {
            de::Error::custom(format_args!(
                "{text:?} is not a span id: 16 hex digits, not all 0"
            ))
        })
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[derive(Default)]
struct JsonAttributes(Attributes);

impl JsonAttributes {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
impl Serialize for JsonAttributes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(k, v)| (k, JsonValueRef(v))))
    }
}
impl<'de> Deserialize<'de> for JsonAttributes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = JsonAttributes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of attributes")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, JsonValue(value))) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(JsonAttributes(pairs))
            }
        }
        d.deserialize_map(Pairs)
    }
}

struct JsonValueRef<'a>(&'a AttributeValue);

impl Serialize for JsonValueRef<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        fn wrapped<S: Serializer, V: Serialize>(s: S, key: &str, v: V) -> Result<S::Ok, S::Error> {
            let mut map = s.serialize_map(Some(1))?;
            map.serialize_entry(key, &v)?;
            map.end()
        }
        match self.0 {
            AttributeValue::String(v) => s.serialize_str(v),
            AttributeValue::Bool(v) => s.serialize_bool(*v),
            AttributeValue::I64(v) => s.serialize_i64(*v),
            AttributeValue::F64(v) if v.is_nan() => wrapped(s, "doubleValue", "NaN"),
            AttributeValue::F64(v) if v.is_infinite() => {
                let text = if *v > 0.0 { "Infinity" } else { "-Infinity" };
                wrapped(s, "doubleValue", text)
            }
            AttributeValue::F64(v) => s.serialize_f64(*v),
            AttributeValue::Bytes(v) => wrapped(s, "bytesValue", BASE64.encode(v)),
            AttributeValue::Array(v) => s.collect_seq(v.iter().map(JsonValueRef)),
            AttributeValue::Map(v) => {
                struct Pairs<'a>(&'a Attributes);
                impl Serialize for Pairs<'_> {
                    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                        s.collect_map(self.0.iter().map(|(k, v)| (k, JsonValueRef(v))))
                    }
                }
                wrapped(s, "kvlistValue", Pairs(v))
            }
            AttributeValue::Empty => s.serialize_unit(),
        }
    }
}

struct JsonValue(AttributeValue);

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = AttributeValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an attribute's value")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(AttributeValue::from(v))
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Self::Value, E> {
                Ok(AttributeValue::Bool(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Self::Value, E> {
                Ok(AttributeValue::I64(v))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Self::Value, E> {
                let v = i64::try_from(v).map_err(|_| {
                    E::custom(format_args!("integer {v} does not fit 64 bits with a sign"))
                })?;
                Ok(AttributeValue::I64(v))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Self::Value, E> {
                Ok(AttributeValue::F64(v))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(AttributeValue::Empty)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(JsonValue(value)) = seq.next_element()? {
                    values.push(value);
                }
                Ok(AttributeValue::Array(values))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let key: Option<String> = map.next_key()?;
                let value = match key.as_deref() {
                    Some("bytesValue") => {
                        let text: String = map.next_value()?;
                        let bytes = BASE64.decode(&text).map_err(|e| {
                            de::Error::custom(format_args!("bytesValue {text:?}: {e}"))
                        })?;
                        AttributeValue::Bytes(bytes)
                    }
                    Some("doubleValue") => match map.next_value::<String>()?.as_str() {
                        "NaN" => AttributeValue::F64(f64::NAN),
                        "Infinity" => AttributeValue::F64(f64::INFINITY),
                        "-Infinity" => AttributeValue::F64(f64::NEG_INFINITY),
                        v => {
                            let e = format_args!("doubleValue {v:?} is not NaN or ±Infinity");
                            return Err(de::Error::custom(e));
                        }
                    },
                    Some("kvlistValue") => {
                        AttributeValue::Map(map.next_value::<JsonAttributes>()?.0)
                    }
                    other => {
                        return Err(de::Error::custom(format_args!(
                            "{other:?} where bytesValue, doubleValue or kvlistValue was expected"
                        )));
                    }
                };
                match map.next_key::<String>()? {
                    None => Ok(value),
                    Some(extra) => Err(de::Error::custom(format_args!(
                        "{extra:?} beside a wrapped value"
                    ))),
                }
            }
        }
        d.deserialize_any(Any).map(JsonValue)
    }
}
