//! Borrowed and decoded spans → the owned span of the viewing side.
//!
//! Input: a [`SpanView`] with what surrounds it, or (feature `otlp-receiver`) a decoded OTLP span. Output:
//! [`TraceSpan`]. Bound: a copy of everything; opaque values nest at most [`MAX_DEPTH`] deep, what is
//! deeper or broken stays bytes.

use super::model::{AttributeValue, Attributes, SpanEvent, SpanLink, TraceSpan};
use spanlet::otlp::{ATTRIBUTE_DURATION_UNKNOWN, ATTRIBUTE_ESCALATED, ATTRIBUTE_TRUNCATED_VALUES};
use spanlet::{InstrumentationScope, SpanView, TraceFlags, UnixAnchor, Value};
use std::sync::Arc;

/// How deep values may nest.
const MAX_DEPTH: u32 = 32;

/// OTLP's flags. SPEC: opentelemetry-proto, trace.proto, "SpanFlags".
fn flags(w3c: TraceFlags, is_remote: bool) -> u32 {
    u32::from(w3c.to_byte()) | 0x100 | if is_remote { 0x200 } else { 0 }
}

/// The `service.name` among the attributes of a resource, or empty.
pub(super) fn service(resource: &Attributes) -> String {
    let name = resource.iter().find(|(key, _)| key == "service.name");
    name.map_or_else(String::new, |(_, value)| value.to_string())
}

fn attributes(from: spanlet::Attributes<'_>) -> Attributes {
    from.map(|kv| (kv.key.to_owned(), value(kv.value)))
        .collect()
}

/// A value, owned.
pub(crate) fn value(from: Value<'_>) -> AttributeValue {
    fn array<T: Into<AttributeValue>>(values: impl Iterator<Item = T>) -> AttributeValue {
        AttributeValue::Array(values.map(Into::into).collect())
    }
    match from {
        Value::Bool(v) => v.into(),
        Value::I64(v) => v.into(),
        Value::F64(v) => v.into(),
        Value::Str(text) => text.into(),
        Value::Static(text) => text.into(),
        Value::Bytes(bytes) => AttributeValue::Bytes(bytes.to_vec()),
        Value::BoolArray(values) => array(values.iter().copied()),
        Value::I64Array(values) => array(values.iter().copied()),
        Value::F64Array(values) => array(values.iter().copied()),
        Value::StrArray(texts) => array(texts.iter()),
        Value::Any(bytes) => {
            any_value(bytes, 0).unwrap_or_else(|| AttributeValue::Bytes(bytes.to_vec()))
        }
        // A kind of value that this version does not know.
        _ => AttributeValue::Empty,
    }
}

impl TraceSpan {
    /// A copy of a recorded span: `anchor` maps its ticks to Unix time, `scope` is that of spans without one
    /// of their own. What OTLP has no field for becomes an attribute, as the OTLP encoder does it.
    ///
    /// ```
    /// use spanlet::testing::TestTracer;
    /// use spanlet::{InlineBuf, InstrumentationScope, Span, TickRate, Ticks, UnixAnchor};
    /// use spanlet_std::trace::{AttributeValue, TraceSpan};
    /// let tracer: TestTracer = TestTracer::new();
    /// {
    ///     let mut span: Span<_, InlineBuf<32>> = tracer.span("read sensor").start();
    ///     span.set_attribute("celsius", 21.5);
    /// }
    /// let anchor = UnixAnchor::new(Ticks(0), 1_000, TickRate::MICROSECONDS);
    /// let resource = vec![("service.name".to_owned(), AttributeValue::from("thermostat"))].into();
    /// tracer.with_spans(|mut spans| {
    ///     let view = spans.next().expect("it was recorded").view();
    ///     let span = TraceSpan::from_view(&view, &anchor, &resource, &InstrumentationScope::new("fw"));
    ///     assert_eq!((span.service.as_str(), span.name.as_str()), ("thermostat", "read sensor"));
    ///     assert_eq!(span.start_unix_ns, 1_000);
    /// });
    /// ```
    #[must_use]
    pub fn from_view(
        view: &SpanView<'_>,
        anchor: &UnixAnchor,
        resource: &Arc<Attributes>,
        scope: &InstrumentationScope<'_>,
    ) -> Self {
        let scope = view.scope().unwrap_or(scope);
        let mut span = TraceSpan {
            parent_span_id: view.parent_id(),
            trace_state: view.trace_state().unwrap_or_default().to_owned(),
            flags: flags(view.flags(), view.parent_is_remote()),
            service: service(resource),
            kind: view.kind(),
            status: view.status(),
            status_message: view.status_description().unwrap_or_default().to_owned(),
            start_unix_ns: anchor.unix_nanos(view.start()),
            end_unix_ns: anchor.unix_nanos(view.end()),
            attributes: attributes(view.attributes()),
            dropped_attributes: view.dropped_attributes(),
            events: (view.events())
                .map(|event| SpanEvent {
                    time_unix_ns: anchor.unix_nanos(event.ticks()),
                    name: event.name().to_owned(),
                    attributes: attributes(event.attributes()),
                    dropped_attributes: event.dropped_attributes(),
                })
                .collect(),
            dropped_events: view.dropped_events(),
            links: (view.links())
                .map(|link| SpanLink {
                    trace_id: link.context().trace_id(),
                    span_id: link.context().span_id(),
                    trace_state: link.trace_state().unwrap_or_default().to_owned(),
                    flags: flags(link.context().flags(), link.context().is_remote()),
                    attributes: attributes(link.attributes()),
                    dropped_attributes: link.dropped_attributes(),
                })
                .collect(),
            dropped_links: view.dropped_links(),
            resource: resource.clone(),
            scope_name: scope.name.to_owned(),
            scope_version: scope.version.to_owned(),
            ..TraceSpan::new(view.trace_id(), view.span_id(), view.name())
        };
        let mut add = |key: &str, value: AttributeValue| span.attributes.push((key.into(), value));
        if view.truncated_values() != 0 {
            let n = i64::from(view.truncated_values());
            add(ATTRIBUTE_TRUNCATED_VALUES, n.into());
        }
        if view.is_duration_unknown() {
            add(ATTRIBUTE_DURATION_UNKNOWN, true.into());
        }
        if view.is_escalated() {
            add(ATTRIBUTE_ESCALATED, true.into());
        }
        span
    }
}

/// Decodes the protobuf bytes of an `AnyValue`; `None` if they are broken.
///
/// SPEC: opentelemetry-proto, common.proto.
fn any_value(bytes: &[u8], depth: u32) -> Option<AttributeValue> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut found = AttributeValue::Empty;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, field) = take_field(&mut rest)?;
        found = match (number, field) {
            (1, Field::Bytes(text)) => core::str::from_utf8(text).ok()?.into(),
            (2, Field::Varint(v)) => (v != 0).into(),
            (3, Field::Varint(v)) => v.cast_signed().into(),
            (4, Field::Fixed64(v)) => f64::from_bits(v).into(),
            (5, Field::Bytes(list)) => AttributeValue::Array(
                of_field_one(list)?
                    .into_iter()
                    .map(|item| any_value(item, depth + 1))
                    .collect::<Option<_>>()?,
            ),
            (6, Field::Bytes(list)) => AttributeValue::Map(
                of_field_one(list)?
                    .into_iter()
                    .map(|pair| key_value(pair, depth + 1))
                    .collect::<Option<_>>()?,
            ),
            (7, Field::Bytes(bytes)) => AttributeValue::Bytes(bytes.to_vec()),
            _ => found,
        };
    }
    Some(found)
}

pub(super) fn key_value(mut bytes: &[u8], depth: u32) -> Option<(String, AttributeValue)> {
    let mut pair = (String::new(), AttributeValue::Empty);
    while !bytes.is_empty() {
        match take_field(&mut bytes)? {
            (1, Field::Bytes(key)) => pair.0 = core::str::from_utf8(key).ok()?.to_owned(),
            (2, Field::Bytes(value)) => pair.1 = any_value(value, depth)?,
            _ => {}
        }
    }
    Some(pair)
}

fn of_field_one(mut list: &[u8]) -> Option<Vec<&[u8]>> {
    let mut items = Vec::new();
    while !list.is_empty() {
        if let (1, Field::Bytes(item)) = take_field(&mut list)? {
            items.push(item);
        }
    }
    Some(items)
}

pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

pub(super) fn take_field<'a>(from: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = take_varint(from)?;
    let field = match tag & 7 {
        0 => Field::Varint(take_varint(from)?),
        1 => {
            let (bytes, rest) = from.split_first_chunk::<8>()?;
            *from = rest;
            Field::Fixed64(u64::from_le_bytes(*bytes))
        }
        2 => {
            let len = usize::try_from(take_varint(from)?).ok()?;
            let (bytes, rest) = from.split_at_checked(len)?;
            *from = rest;
            Field::Bytes(bytes)
        }
        5 => {
            let (bytes, rest) = from.split_first_chunk::<4>()?;
            *from = rest;
            Field::Fixed32(u32::from_le_bytes(*bytes))
        }
        _ => return None,
    };
    Some((tag >> 3, field))
}

#[cfg(feature = "otlp-receiver")]
mod of_otlp {
    use super::super::model::{AttributeValue, Attributes, SpanEvent, SpanLink, TraceSpan};
    use super::service;
    use crate::receiver::proto;
    use spanlet::{SpanId, SpanKind, Status, TraceId};
    use std::sync::Arc;

    fn attributes(from: &[proto::KeyValue]) -> Attributes {
        from.iter()
            .map(|kv| {
                (
                    kv.key.clone(),
                    kv.value.as_ref().map_or(AttributeValue::Empty, any),
                )
            })
            .collect()
    }

    fn any(from: &proto::AnyValue) -> AttributeValue {
        match &from.value {
            None => AttributeValue::Empty,
            Some(proto::Value::String(v)) => AttributeValue::String(v.clone()),
            Some(proto::Value::Bool(v)) => AttributeValue::Bool(*v),
            Some(proto::Value::Int(v)) => AttributeValue::I64(*v),
            Some(proto::Value::Double(v)) => AttributeValue::F64(*v),
            Some(proto::Value::Bytes(v)) => AttributeValue::Bytes(v.clone()),
            Some(proto::Value::Array(v)) => {
                AttributeValue::Array(v.values.iter().map(any).collect())
            }
            Some(proto::Value::Map(v)) => AttributeValue::Map(attributes(&v.values)),
        }
    }

    fn trace_id(bytes: &[u8]) -> Option<TraceId> {
        TraceId::from_bytes(bytes.try_into().ok()?)
    }
    fn span_id(bytes: &[u8]) -> Option<SpanId> {
        SpanId::from_bytes(bytes.try_into().ok()?)
    }

    impl TraceSpan {
        /// The resource of an OTLP request, to be shared by its spans.
        #[must_use]
        pub fn otlp_resource(resource: Option<&proto::Resource>) -> Arc<Attributes> {
            Arc::new(resource.map_or_else(Vec::new, |r| attributes(&r.attributes)))
        }

        /// A decoded OTLP span; `None` if its trace or span id is not valid. A parent id that is not valid
        /// is none, an unknown kind is internal, links without valid ids are left out and counted.
        #[must_use]
        pub fn from_otlp(
            span: &proto::Span,
            resource: &Arc<Attributes>,
            scope: Option<&proto::InstrumentationScope>,
        ) -> Option<Self> {
            let ids = (trace_id(&span.trace_id)?, span_id(&span.span_id)?);
            let (code, message) = match &span.status {
                Some(status) => (status.code, status.message.clone()),
                None => (0, String::new()),
            };
            let links: Vec<SpanLink> = (span.links.iter())
                .filter_map(|link| {
                    Some(SpanLink {
                        trace_id: trace_id(&link.trace_id)?,
                        span_id: span_id(&link.span_id)?,
                        trace_state: link.trace_state.clone(),
                        flags: link.flags,
                        attributes: attributes(&link.attributes),
                        dropped_attributes: link.dropped_attributes_count,
                    })
                })
                .collect();
            let broken = u32::try_from(span.links.len() - links.len()).unwrap_or(u32::MAX);
            Some(TraceSpan {
                parent_span_id: span_id(&span.parent_span_id),
                trace_state: span.trace_state.clone(),
                flags: span.flags,
                service: service(resource),
                kind: match span.kind {
                    2 => SpanKind::Server,
                    3 => SpanKind::Client,
                    4 => SpanKind::Producer,
                    5 => SpanKind::Consumer,
                    _ => SpanKind::Internal,
                },
                status: match code {
                    1 => Status::Ok,
                    2 => Status::Error,
                    _ => Status::Unset,
                },
                status_message: message,
                start_unix_ns: span.start_time_unix_nano,
                end_unix_ns: span.end_time_unix_nano,
                attributes: attributes(&span.attributes),
                dropped_attributes: span.dropped_attributes_count,
                events: (span.events.iter())
                    .map(|event| SpanEvent {
                        time_unix_ns: event.time_unix_nano,
                        name: event.name.clone(),
                        attributes: attributes(&event.attributes),
                        dropped_attributes: event.dropped_attributes_count,
                    })
                    .collect(),
                dropped_events: span.dropped_events_count,
                links,
                dropped_links: span.dropped_links_count.saturating_add(broken),
                resource: resource.clone(),
                scope_name: scope.map_or_else(String::new, |s| s.name.clone()),
                scope_version: scope.map_or_else(String::new, |s| s.version.clone()),
                ..TraceSpan::new(ids.0, ids.1, span.name.clone())
            })
        }
    }

    impl proto::ExportTraceServiceRequest {
        /// Every span, owned; those without valid ids are left out.
        pub fn trace_spans(&self) -> impl Iterator<Item = TraceSpan> {
            self.resource_spans.iter().flat_map(|by_resource| {
                let resource = TraceSpan::otlp_resource(by_resource.resource.as_ref());
                by_resource.scope_spans.iter().flat_map(move |by_scope| {
                    let (resource, scope) = (resource.clone(), by_scope.scope.as_ref());
                    (by_scope.spans.iter())
                        .filter_map(move |span| TraceSpan::from_otlp(span, &resource, scope))
                })
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, u8::try_from(body.len()).unwrap()];
        bytes.extend_from_slice(body);
        bytes
    }
    fn read(bytes: &[u8]) -> AttributeValue {
        value(Value::Any(bytes))
    }

    #[test]
    fn opaque_values_are_read() {
        assert_eq!(read(&field(1, "é".as_bytes())), "é".into());
        assert_eq!(read(&[2 << 3, 1]), true.into());
        let minus_two: Vec<u8> = [3 << 3, 0xfe]
            .into_iter()
            .chain([0xff; 8])
            .chain([1])
            .collect();
        assert_eq!(read(&minus_two), (-2i64).into());
        let mut double = vec![4 << 3 | 1];
        double.extend_from_slice(&1.5f64.to_bits().to_le_bytes());
        assert_eq!(read(&double), 1.5.into());
        assert_eq!(
            read(&field(7, &[0, 255])),
            AttributeValue::Bytes(vec![0, 255])
        );
        let list = [field(1, &double), field(1, &[])].concat();
        let array = AttributeValue::Array(vec![1.5.into(), AttributeValue::Empty]);
        assert_eq!(read(&field(5, &list)), array);
        let pair = [field(1, b"k"), field(2, &field(5, &list))].concat();
        let map = AttributeValue::Map(vec![("k".to_owned(), array)]);
        assert_eq!(read(&field(6, &field(1, &pair))), map);
        assert_eq!(read(&[]), AttributeValue::Empty);
        // A field of tomorrow is passed over.
        assert_eq!(read(&[9 << 3 | 5, 1, 2, 3, 4, 2 << 3, 1]), true.into());
    }

    #[test]
    fn broken_or_bottomless_values_stay_bytes() {
        let mut deep = Vec::new();
        for _ in 0..50 {
            deep = field(5, &field(1, &deep));
            if deep.len() > 120 {
                break;
            }
        }
        assert!(
            matches!(read(&deep), AttributeValue::Array(_)),
            "as deep as a byte of length goes"
        );
        let mut bottomless = field(1, b"x");
        for _ in 0..40 {
            let len = bottomless.len() + 2;
            let mut next = vec![5 << 3 | 2];
            let put = |mut n: usize, to: &mut Vec<u8>| {
                while n > 0x7f {
                    to.push((n & 0x7f) as u8 | 0x80);
                    n >>= 7;
                }
                to.push(n as u8);
            };
            let mut item = vec![1 << 3 | 2];
            put(bottomless.len(), &mut item);
            item.extend_from_slice(&bottomless);
            put(item.len(), &mut next);
            next.extend_from_slice(&item);
            assert!(next.len() > len);
            bottomless = next;
        }
        for broken in [
            &bottomless[..],
            &[1 << 3 | 2, 200, b'a'],
            &[1 << 3 | 2, 1, 0xff],
            &[3 << 3, 0x80],
            &[7],
        ] {
            assert_eq!(read(broken), AttributeValue::Bytes(broken.to_vec()));
        }
    }

    #[cfg(feature = "otlp-receiver")]
    #[test]
    fn an_otlp_span_without_ids_is_none_and_a_broken_link_is_counted() {
        use crate::receiver::proto;
        let mut span = proto::Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            parent_span_id: vec![0; 8],
            kind: 77,
            links: vec![proto::Link::default()],
            dropped_links_count: 2,
            ..proto::Span::default()
        };
        let resource = TraceSpan::otlp_resource(None);
        let got = TraceSpan::from_otlp(&span, &resource, None).unwrap();
        assert_eq!(
            (got.parent_span_id, got.links.len(), got.dropped_links),
            (None, 0, 3)
        );
        assert_eq!(got.kind, spanlet::SpanKind::Internal);
        span.span_id = vec![2; 7];
        assert!(TraceSpan::from_otlp(&span, &resource, None).is_none());
        span.span_id = vec![0; 8];
        assert!(TraceSpan::from_otlp(&span, &resource, None).is_none());
    }
}
