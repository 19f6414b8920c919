//! An encoded OTLP request → owned spans.
//!
//! Input: the bytes of an `ExportTraceServiceRequest`, as exporters get them. Output: [`TraceSpan`]s, by scope. Bound: a
//! copy of everything; for exporters that need objects, and for eyes.

use super::convert::{Field, key_value, service, take_field};
use super::model::{Attributes, SpanEvent, SpanKind, SpanLink, Status, TraceSpan};
use core::fmt;
use spanlet::{SpanId, TraceId};
use std::sync::Arc;

/// An encoded request that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// In which of its spans, counted from 1; 0 before the first.
    pub span: usize,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the OTLP request cannot be read at or behind its span {}",
            self.span
        )
    }
}
impl core::error::Error for RequestError {}

/// The spans of one scope, with what surrounds them.
#[derive(Debug, Default)]
pub(crate) struct ScopeSpans {
    pub(crate) resource: Arc<Attributes>,
    #[allow(dead_code, reason = "for the bridge: Zipkin has no place for it")]
    #[cfg(feature = "opentelemetry")]
    pub(crate) resource_schema_url: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) attributes: Attributes,
    pub(crate) schema_url: String,
    pub(crate) spans: Vec<TraceSpan>,
}

impl TraceSpan {
    /// The spans of an encoded `ExportTraceServiceRequest`, in its order: what [`Batch::body`](crate::export::Batch)
    /// holds.
    ///
    /// # Errors
    /// If the bytes are no such request, or a span or link has no valid ids.
    ///
    /// ```
    /// use spanlet_std::trace::TraceSpan;
    /// assert_eq!(TraceSpan::from_otlp_request(b"").unwrap(), []);
    /// let error = TraceSpan::from_otlp_request(b"\x0a\x06\x12\x04\x12\x02\x2a\x00").unwrap_err();
    /// assert_eq!(error.span, 1); // no ids
    /// ```
    pub fn from_otlp_request(request: &[u8]) -> Result<Vec<TraceSpan>, RequestError> {
        let groups = decode_request(request)?;
        Ok(groups.into_iter().flat_map(|group| group.spans).collect())
    }
}

/// Reads a request, scope by scope.
pub(crate) fn decode_request(request: &[u8]) -> Result<Vec<ScopeSpans>, RequestError> {
    let mut groups = Vec::new();
    let mut spans = 0;
    request_into(request, &mut groups, &mut spans)
        .ok_or(RequestError { span: spans })
        .map(|()| groups)
}

/// The fields of a message, each handed on; `None` if they cannot be read or one is refused.
fn each_field<'a>(
    mut message: &'a [u8],
    mut take: impl FnMut(u64, Field<'a>) -> Option<()>,
) -> Option<()> {
    while !message.is_empty() {
        let (number, field) = take_field(&mut message)?;
        take(number, field)?;
    }
    Some(())
}

fn text(bytes: &[u8]) -> Option<String> {
    Some(core::str::from_utf8(bytes).ok()?.to_owned())
}

fn request_into(request: &[u8], groups: &mut Vec<ScopeSpans>, spans: &mut usize) -> Option<()> {
    each_field(request, |number, field| match (number, field) {
        (1, Field::Bytes(by_resource)) => resource_spans(by_resource, groups, spans),
        _ => Some(()),
    })
}

fn resource_spans(message: &[u8], groups: &mut Vec<ScopeSpans>, spans: &mut usize) -> Option<()> {
    let (mut resource, mut schema_url) = (Attributes::new(), String::new());
    each_field(message, |number, field| {
        match (number, field) {
            (1, Field::Bytes(message)) => each_field(message, |number, field| {
                if let (1, Field::Bytes(pair)) = (number, field) {
                    resource.push(key_value(pair, 0)?);
                }
                Some(())
            })?,
            (3, Field::Bytes(url)) => schema_url = text(url)?,
            _ => {}
        }
        Some(())
    })?;
    let resource = Arc::new(resource);
    each_field(message, |number, field| {
        if let (2, Field::Bytes(by_scope)) = (number, field) {
            let mut group = ScopeSpans {
                resource: resource.clone(),
                #[cfg(feature = "opentelemetry")]
                resource_schema_url: schema_url.clone(),
                ..ScopeSpans::default()
            };
            scope_spans(by_scope, &mut group, spans)?;
            groups.push(group);
        }
        Some(())
    })
}

fn scope_spans(message: &[u8], group: &mut ScopeSpans, spans: &mut usize) -> Option<()> {
    each_field(message, |number, field| {
        match (number, field) {
            (1, Field::Bytes(scope)) => each_field(scope, |number, field| {
                match (number, field) {
                    (1, Field::Bytes(name)) => group.name = text(name)?,
                    (2, Field::Bytes(version)) => group.version = text(version)?,
                    (3, Field::Bytes(pair)) => group.attributes.push(key_value(pair, 0)?),
                    _ => {}
                }
                Some(())
            })?,
            (3, Field::Bytes(url)) => group.schema_url = text(url)?,
            _ => {}
        }
        Some(())
    })?;
    let service = service(&group.resource);
    each_field(message, |number, field| {
        if let (2, Field::Bytes(message)) = (number, field) {
            *spans += 1;
            let mut span = span(message)?;
            span.service.clone_from(&service);
            span.resource = group.resource.clone();
            span.scope_name.clone_from(&group.name);
            span.scope_version.clone_from(&group.version);
            group.spans.push(span);
        }
        Some(())
    })
}

fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    TraceId::from_bytes(bytes.try_into().ok()?)
}
fn span_id(bytes: &[u8]) -> Option<SpanId> {
    SpanId::from_bytes(bytes.try_into().ok()?)
}
/// A varint of a 32-bit field is cut to 32 bits, as protobuf says.
#[expect(clippy::cast_possible_truncation, reason = "what protobuf asks for")]
fn cut(v: u64) -> u32 {
    v as u32
}

fn span(message: &[u8]) -> Option<TraceSpan> {
    let (mut trace, mut own) = (None, None);
    each_field(message, |number, field| {
        match (number, field) {
            (1, Field::Bytes(id)) => trace = trace_id(id),
            (2, Field::Bytes(id)) => own = span_id(id),
            _ => {}
        }
        Some(())
    })?;
    let mut span = TraceSpan::new(trace?, own?, "");
    each_field(message, |number, field| {
        match (number, field) {
            (3, Field::Bytes(state)) => span.trace_state = text(state)?,
            (4, Field::Bytes(id)) => span.parent_span_id = span_id(id),
            (5, Field::Bytes(name)) => span.name = text(name)?,
            (6, Field::Varint(kind)) => {
                span.kind = match kind {
                    2 => SpanKind::Server,
                    3 => SpanKind::Client,
                    4 => SpanKind::Producer,
                    5 => SpanKind::Consumer,
                    _ => SpanKind::Internal,
                }
            }
            (7, Field::Fixed64(ns)) => span.start_unix_ns = ns,
            (8, Field::Fixed64(ns)) => span.end_unix_ns = ns,
            (9, Field::Bytes(pair)) => span.attributes.push(key_value(pair, 0)?),
            (10, Field::Varint(n)) => span.dropped_attributes = cut(n),
            (11, Field::Bytes(message)) => span.events.push(event(message)?),
            (12, Field::Varint(n)) => span.dropped_events = cut(n),
            (13, Field::Bytes(message)) => span.links.push(link(message)?),
            (14, Field::Varint(n)) => span.dropped_links = cut(n),
            (15, Field::Bytes(message)) => each_field(message, |number, field| {
                match (number, field) {
                    (2, Field::Bytes(message)) => span.status_message = text(message)?,
                    (3, Field::Varint(1)) => span.status = Status::Ok,
                    (3, Field::Varint(2)) => span.status = Status::Error,
                    _ => {}
                }
                Some(())
            })?,
            (16, Field::Fixed32(flags)) => span.flags = flags,
            _ => {}
        }
        Some(())
    })?;
    Some(span)
}

fn event(message: &[u8]) -> Option<SpanEvent> {
    let mut event = SpanEvent::default();
    each_field(message, |number, field| {
        match (number, field) {
            (1, Field::Fixed64(ns)) => event.time_unix_ns = ns,
            (2, Field::Bytes(name)) => event.name = text(name)?,
            (3, Field::Bytes(pair)) => event.attributes.push(key_value(pair, 0)?),
            (4, Field::Varint(n)) => event.dropped_attributes = cut(n),
            _ => {}
        }
        Some(())
    })?;
    Some(event)
}

fn link(message: &[u8]) -> Option<SpanLink> {
    let (mut trace, mut to) = (None, None);
    let (mut state, mut attributes, mut dropped, mut flags) =
        (String::new(), Attributes::new(), 0, 0);
    each_field(message, |number, field| {
        match (number, field) {
            (1, Field::Bytes(id)) => trace = trace_id(id),
            (2, Field::Bytes(id)) => to = span_id(id),
            (3, Field::Bytes(bytes)) => state = text(bytes)?,
            (4, Field::Bytes(pair)) => attributes.push(key_value(pair, 0)?),
            (5, Field::Varint(n)) => dropped = cut(n),
            (6, Field::Fixed32(v)) => flags = v,
            _ => {}
        }
        Some(())
    })?;
    Some(SpanLink {
        trace_id: trace?,
        span_id: to?,
        trace_state: state,
        flags,
        attributes,
        dropped_attributes: dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use spanlet::otlp::{OtlpEncoder, Resource};
    use spanlet::testing::TestTracer;
    use spanlet::{InlineBuf, InstrumentationScope, KeyValue, Span, TickRate, Ticks, UnixAnchor};

    #[test]
    fn decodes_what_was_recorded() {
        let tracer: TestTracer = TestTracer::new();
        {
            let mut parent: Span<_, InlineBuf<128>> = tracer.span("parent").start();
            let mut child: Span<_, InlineBuf<128>> = tracer
                .span("child")
                .kind(SpanKind::Client)
                .parent(&parent)
                .start();
            child.set_attribute("n", -3).set_attribute("texts", "a");
            child.add_event("retry", &[KeyValue::new("attempt", 2)]);
            child.add_link(&parent.context(), &[KeyValue::new("why", "because")]);
            child.set_error("broke");
            parent.set_attribute("ok", true);
        }
        let anchor = UnixAnchor::new(Ticks(0), 1_000, TickRate::MICROSECONDS);
        let attributes = [KeyValue::new("service.name", "shop")];
        let resource = Resource::new(&attributes).with_schema_url("https://schema");
        let scope = InstrumentationScope::new("lib").with_version("2");
        tracer.with_spans(|spans| {
            let mut buf = [0; 4096];
            let mut request = OtlpEncoder::new(&mut buf, &resource, &scope, anchor).unwrap();
            let shared = Arc::new(vec![("service.name".to_owned(), "shop".into())]);
            let mut expected = Vec::new();
            for span in spans {
                let view = span.view();
                request.push(&view).unwrap();
                expected.push(TraceSpan::from_view(&view, &anchor, &shared, &scope));
            }
            assert_eq!(expected.len(), 2);
            let bytes = request.finish();
            assert_eq!(TraceSpan::from_otlp_request(bytes).unwrap(), expected);
            #[cfg(feature = "opentelemetry")]
            assert_eq!(
                decode_request(bytes).unwrap()[0].resource_schema_url,
                "https://schema"
            );
            for cut in 1..bytes.len() {
                assert!(
                    TraceSpan::from_otlp_request(&bytes[..cut]).is_err(),
                    "{cut}"
                );
            }
        });
    }

    proptest! {
        #[test]
        fn takes_any_bytes(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), 0_u8..32, Just(0x0a), Just(0x12)], 0..60)) {
            let _ = TraceSpan::from_otlp_request(&bytes);
        }
    }
}
