//! Our spans as the SDK's `SpanData`.

use crate::trace::decode::ScopeSpans;
use crate::trace::{AttributeValue, Attributes, SpanKind, Status, TraceSpan};
use core::str::FromStr;
use core::time::Duration;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind as SdkKind, Status as SdkStatus, TraceFlags,
    TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::time::{SystemTime, UNIX_EPOCH};

/// OTLP's flag for a parent or link elsewhere.
const IS_REMOTE: u32 = 0x200;

pub(super) fn resource(group: &ScopeSpans) -> Resource {
    let builder = Resource::builder_empty();
    let attributes = attributes(&group.resource);
    match group.resource_schema_url.as_str() {
        "" => builder.with_attributes(attributes).build(),
        url => builder.with_schema_url(attributes, url.to_owned()).build(),
    }
}

pub(super) fn spans(group: &ScopeSpans) -> impl Iterator<Item = SpanData> {
    let mut scope = InstrumentationScope::builder(group.name.clone())
        .with_attributes(attributes(&group.attributes));
    if !group.version.is_empty() {
        scope = scope.with_version(group.version.clone());
    }
    if !group.schema_url.is_empty() {
        scope = scope.with_schema_url(group.schema_url.clone());
    }
    let scope = scope.build();
    group
        .spans
        .iter()
        .map(move |span| data(span, scope.clone()))
}

fn data(span: &TraceSpan, instrumentation_scope: InstrumentationScope) -> SpanData {
    let mut events = SpanEvents::default();
    events.dropped_count = span.dropped_events;
    events.events = (span.events.iter())
        .map(|event| {
            Event::new(
                event.name.clone(),
                time(event.time_unix_ns),
                attributes(&event.attributes),
                event.dropped_attributes,
            )
        })
        .collect();
    let mut links = SpanLinks::default();
    links.dropped_count = span.dropped_links;
    links.links = (span.links.iter())
        .map(|link| {
            let to = context(
                link.trace_id,
                link.span_id,
                link.flags,
                link.flags & IS_REMOTE != 0,
                &link.trace_state,
            );
            Link::new(to, attributes(&link.attributes), link.dropped_attributes)
        })
        .collect();
    SpanData {
        // The span itself is of this process; the flag says where its parent was.
        span_context: context(
            span.trace_id,
            span.span_id,
            span.flags,
            false,
            &span.trace_state,
        ),
        parent_span_id: span
            .parent_span_id
            .map_or(SpanId::INVALID, |id| SpanId::from_bytes(id.to_bytes())),
        parent_span_is_remote: span.flags & IS_REMOTE != 0,
        span_kind: match span.kind {
            SpanKind::Internal => SdkKind::Internal,
            SpanKind::Server => SdkKind::Server,
            SpanKind::Client => SdkKind::Client,
            SpanKind::Producer => SdkKind::Producer,
            SpanKind::Consumer => SdkKind::Consumer,
        },
        name: span.name.clone().into(),
        start_time: time(span.start_unix_ns),
        end_time: time(span.end_unix_ns),
        attributes: attributes(&span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        events,
        links,
        status: match span.status {
            Status::Unset => SdkStatus::Unset,
            Status::Ok => SdkStatus::Ok,
            Status::Error => SdkStatus::error(span.status_message.clone()),
        },
        instrumentation_scope,
    }
}

fn context(
    trace: spanlet::TraceId,
    span: spanlet::SpanId,
    flags: u32,
    is_remote: bool,
    state: &str,
) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.to_bytes()),
        SpanId::from_bytes(span.to_bytes()),
        TraceFlags::new(flags.to_le_bytes()[0]),
        is_remote,
        // What that parser does not take (level 2 keys) cannot be held by its type.
        TraceState::from_str(state).unwrap_or_default(),
    )
}

fn time(unix_ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_ns)
}

fn attributes(from: &Attributes) -> Vec<KeyValue> {
    from.iter()
        .map(|(key, value)| KeyValue::new(key.clone(), sdk_value(value)))
        .collect()
}

fn sdk_value(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::String(text) => Value::String(text.clone().into()),
        AttributeValue::Bool(v) => Value::Bool(*v),
        AttributeValue::I64(v) => Value::I64(*v),
        AttributeValue::F64(v) => Value::F64(*v),
        AttributeValue::Array(values) => {
            array(values).map_or_else(|| Value::String(value.to_string().into()), Value::Array)
        }
        AttributeValue::Bytes(_) | AttributeValue::Map(_) | AttributeValue::Empty => {
            Value::String(value.to_string().into())
        }
    }
}

/// A list of one type.
fn array(values: &[AttributeValue]) -> Option<Array> {
    fn all<T>(
        values: &[AttributeValue],
        of: impl Fn(&AttributeValue) -> Option<T>,
    ) -> Option<Vec<T>> {
        values.iter().map(of).collect()
    }
    Some(match values.first() {
        Some(AttributeValue::Bool(_)) => Array::Bool(all(values, |value| match value {
            AttributeValue::Bool(v) => Some(*v),
            _ => None,
        })?),
        Some(AttributeValue::I64(_)) => Array::I64(all(values, |value| match value {
            AttributeValue::I64(v) => Some(*v),
            _ => None,
        })?),
        Some(AttributeValue::F64(_)) => Array::F64(all(values, |value| match value {
            AttributeValue::F64(v) => Some(*v),
            _ => None,
        })?),
        _ => Array::String(all(values, |value| match value {
            AttributeValue::String(text) => Some(StringValue::from(text.clone())),
            _ => None,
        })?),
    })
}
