//! OTLP/JSON without alloc: the same request as text, for edge functions and for eyes.
//!
//! Input: records and a time mapping. Output: the JSON of one `ExportTraceServiceRequest`, to be posted as
//! `application/json` to `/v1/traces`. Bound: the caller's buffer.
//!
//! SPEC: OTLP 1.x, "JSON Protobuf Encoding": ids in hex, other bytes in base64, enums as integers, names
//! in lowerCamelCase, 64-bit integers as strings. Doubles that JSON has no number for are the strings
//! `NaN`, `Infinity` and `-Infinity`, as in protobuf's own mapping.

mod any;
mod text;

mod transcode;

use super::out::{Full, copy_short};
use super::span::{otlp_flags, otlp_kind};
use super::{
    ATTRIBUTE_DURATION_UNKNOWN, ATTRIBUTE_ESCALATED, ATTRIBUTE_TRUNCATED_VALUES, OtlpFull, Resource,
};
use crate::attribute::{KeyValue, Value};
use crate::clock::UnixAnchor;
use crate::context::{SpanContext, SpanId, TraceFlags, TraceId, traceparent};
use crate::record::{Entry, EventView, InstrumentationScope, LinkView, SpanView, Status};
use text::Json;
pub use transcode::{TranscodeError, transcode_json};

/// Closes the lists of spans, of scopes and of resources.
const TAIL: &[u8] = b"]}]}]}";

/// Encodes spans into a fixed buffer as the JSON of one `ExportTraceServiceRequest`.
///
/// As [`OtlpEncoder`](super::OtlpEncoder) in all else; about three times the bytes and five times the time
/// (100 ns for a span with four attributes).
/// An opaque [`Value::Any`] that is no valid `AnyValue`, or is nested more than 16 deep, becomes a
/// `bytesValue` of its bytes.
///
/// ```
/// use spanlet::otlp::{OtlpJsonEncoder, Resource};
/// use spanlet::testing::TestTracer;
/// use spanlet::{InlineBuf, InstrumentationScope, Span, TickRate, Ticks, UnixAnchor};
///
/// let tracer: TestTracer = TestTracer::new();
/// drop(tracer.span("work").start::<InlineBuf<32>>());
/// let anchor = UnixAnchor::new(Ticks(0), 1_700_000_000_000_000_000, TickRate::MICROSECONDS);
/// let mut buf = [0; 1024];
/// let scope = InstrumentationScope::new("edge");
/// let mut request = OtlpJsonEncoder::new(&mut buf, &Resource::default(), &scope, anchor)?;
/// tracer.with_spans(|mut spans| spans.try_for_each(|span| request.push(&span)))?;
/// let body = core::str::from_utf8(request.finish()).unwrap();
/// assert!(body.starts_with(r#"{"resourceSpans":[{"scopeSpans":[{"scope":{"name":"edge"},"spans":[{"#));
/// assert!(body.contains(r#""name":"work","kind":1,"startTimeUnixNano":"1700000000000000000""#));
/// # Ok::<(), spanlet::otlp::OtlpFull>(())
/// ```
pub struct OtlpJsonEncoder<'a> {
    buf: &'a mut [u8],
    pos: usize,
    group: Option<Group>,
    spans: u32,
    scope: InstrumentationScope<'a>,
    anchor: UnixAnchor,
}

/// The open ScopeSpans: where its head is, from and to, and whether it is that of the default scope.
#[derive(Clone, Copy)]
struct Group {
    from: usize,
    to: usize,
    is_default: bool,
}

impl<'a> OtlpJsonEncoder<'a> {
    /// An empty request: writes the resource.
    ///
    /// # Errors
    /// [`OtlpFull::Resource`] if the resource does not fit.
    pub fn new(
        buf: &'a mut [u8],
        resource: &Resource<'_>,
        scope: &InstrumentationScope<'a>,
        anchor: UnixAnchor,
    ) -> Result<Self, OtlpFull> {
        let pos = write_resource(buf, resource).map_err(|Full| OtlpFull::Resource)?;
        Ok(OtlpJsonEncoder {
            buf,
            pos,
            group: None,
            spans: 0,
            scope: *scope,
            anchor,
        })
    }

    /// Appends a span, whole or not at all.
    ///
    /// # Errors
    /// [`OtlpFull::Batch`] if it finds no room behind the spans that are there, [`OtlpFull::Span`] if there
    /// are none. The request is as before.
    pub fn push(&mut self, span: &SpanView<'_>) -> Result<(), OtlpFull> {
        let anchor = self.anchor;
        self.push_with(span, &anchor)
    }

    /// As [`push`](Self::push), with this span's own time mapping.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_with(&mut self, span: &SpanView<'_>, anchor: &UnixAnchor) -> Result<(), OtlpFull> {
        match self.append(span, anchor) {
            Ok((group, pos)) => {
                (self.group, self.pos) = (group, pos);
                self.spans = self.spans.wrapping_add(1);
                Ok(())
            }
            Err(Full) if self.spans == 0 => Err(OtlpFull::Span),
            Err(Full) => Err(OtlpFull::Batch),
        }
    }

    /// Writes behind `pos`; returns what becomes of the open group and of `pos`.
    fn append(
        &mut self,
        span: &SpanView<'_>,
        anchor: &UnixAnchor,
    ) -> Result<(Option<Group>, usize), Full> {
        let end = self.buf.len().checked_sub(TAIL.len()).ok_or(Full)?;
        let buf = self.buf.get_mut(..end).ok_or(Full)?;
        let mut out = Json::new(buf, self.pos);
        let mut group = self.group;
        let own = span.scope();
        let is_default = own.is_none();
        match group {
            Some(open) if is_default && open.is_default => out.put(b",")?,
            Some(open) => {
                out.put(b"]},")?;
                let from = out.pos();
                write_scope(&mut out, own.unwrap_or(&self.scope))?;
                let to = out.pos();
                if out.slice(open.from, open.to) == out.slice(from, to) {
                    out.rewind(self.pos);
                    out.put(b",")?;
                } else {
                    group = Some(Group {
                        from,
                        to,
                        is_default,
                    });
                }
            }
            None => {
                write_scope(&mut out, own.unwrap_or(&self.scope))?;
                let (from, to) = (self.pos, out.pos());
                group = Some(Group {
                    from,
                    to,
                    is_default,
                });
            }
        }
        write_span(&mut out, span, anchor)?;
        Ok((group, out.pos()))
    }

    /// Bytes that [`finish`](Self::finish) would return now.
    pub fn len(&self) -> usize {
        if self.spans == 0 {
            0
        } else {
            self.pos + TAIL.len()
        }
    }
    /// Whether there are no spans.
    pub fn is_empty(&self) -> bool {
        self.spans == 0
    }
    /// How many spans there are.
    pub fn spans(&self) -> u32 {
        self.spans
    }

    /// The request's text; empty without spans.
    pub fn finish(self) -> &'a [u8] {
        let len = self.len();
        if let Some(tail) = self.buf.get_mut(self.pos..len) {
            tail.copy_from_slice(TAIL);
        }
        self.buf.get(..len).unwrap_or(&[])
    }

    /// Writes the request to `to`, without flushing; nothing without spans. Returns its length.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_to<W: embedded_io::Write>(self, to: &mut W) -> Result<usize, W::Error> {
        let bytes = self.finish();
        to.write_all(bytes)?;
        Ok(bytes.len())
    }
}

impl core::fmt::Debug for OtlpJsonEncoder<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OtlpJsonEncoder")
            .field("spans", &self.spans)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

fn write_resource(buf: &mut [u8], resource: &Resource<'_>) -> Result<usize, Full> {
    let mut out = Json::new(buf, 0);
    out.put(br#"{"resourceSpans":[{"#)?;
    if !resource.attributes.is_empty() || resource.dropped_attributes != 0 {
        out.put(br#""resource":{"attributes":["#)?;
        list(&mut out, resource.attributes.iter().copied(), attribute)?;
        out.put(b"]")?;
        dropped(
            &mut out,
            br#","droppedAttributesCount":"#,
            resource.dropped_attributes,
        )?;
        out.put(b"},")?;
    }
    if !resource.schema_url.is_empty() {
        out.put(br#""schemaUrl":"#)?;
        out.string(resource.schema_url)?;
        out.put(b",")?;
    }
    out.put(br#""scopeSpans":["#)?;
    Ok(out.pos())
}

fn write_scope(out: &mut Json<'_>, scope: &InstrumentationScope<'_>) -> Result<(), Full> {
    out.put(b"{")?;
    if !scope.name.is_empty() || !scope.version.is_empty() {
        out.put(br#""scope":{"name":"#)?;
        out.string(scope.name)?;
        if !scope.version.is_empty() {
            out.put(br#","version":"#)?;
            out.string(scope.version)?;
        }
        out.put(b"},")?;
    }
    if !scope.schema_url.is_empty() {
        out.put(br#""schemaUrl":"#)?;
        out.string(scope.schema_url)?;
        out.put(b",")?;
    }
    out.put(br#""spans":["#)
}

fn write_span(out: &mut Json<'_>, view: &SpanView<'_>, anchor: &UnixAnchor) -> Result<(), Full> {
    ids(out, view.trace_id(), view.span_id(), view.parent_id())?;
    out.put(br#"","name":"#)?;
    out.string(view.name())?;
    out.put(br#","kind":"#)?;
    out.put(&[b'0' + otlp_kind(view.kind())])?;
    out.put(br#","startTimeUnixNano":""#)?;
    out.unsigned(anchor.unix_nanos(view.start()))?;
    out.put(br#"","endTimeUnixNano":""#)?;
    out.unsigned(anchor.unix_nanos(view.end()))?;
    out.put(br#"","flags":"#)?;
    out.unsigned(otlp_flags(view.flags(), view.parent_is_remote()).into())?;
    if let Some(state) = view.trace_state() {
        out.put(br#","traceState":"#)?;
        out.string(state)?;
    }
    let has_items = attributes(out, view)?;
    dropped(
        out,
        br#","droppedAttributesCount":"#,
        view.dropped_attributes(),
    )?;
    if has_items {
        array(out, br#","events":["#, view.events(), |out, e| {
            event(out, &e, anchor)
        })?;
    }
    dropped(out, br#","droppedEventsCount":"#, view.dropped_events())?;
    if has_items {
        array(out, br#","links":["#, view.links(), |out, l| link(out, &l))?;
    }
    dropped(out, br#","droppedLinksCount":"#, view.dropped_links())?;
    if view.status() != Status::Unset {
        out.put(br#","status":{"code":"#)?;
        out.put(&[b'0' + view.status().to_wire()])?;
        if let (Status::Error, Some(text)) = (view.status(), view.status_description()) {
            out.put(br#","message":"#)?;
            out.string(text)?;
        }
        out.put(b"}")?;
    }
    out.put(b"}")
}

/// The start of a span or link, up to the last id's end. The digits are those of a `traceparent`, which
/// come by vectors where there are some.
#[inline(always)]
fn ids(
    out: &mut Json<'_>,
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
) -> Result<(), Full> {
    let text = |span| traceparent::encode(&SpanContext::new(trace, span, TraceFlags::NONE));
    let own = text(span);
    out.put(br#"{"traceId":""#)?;
    out.put(own.get(TRACE_DIGITS).unwrap_or_default())?;
    out.put(br#"","spanId":""#)?;
    out.put(own.get(SPAN_DIGITS).unwrap_or_default())?;
    if let Some(parent) = parent {
        out.put(br#"","parentSpanId":""#)?;
        out.put(text(parent).get(SPAN_DIGITS).unwrap_or_default())?;
    }
    Ok(())
}
/// In a `traceparent`.
const TRACE_DIGITS: core::ops::Range<usize> = 3..35;
const SPAN_DIGITS: core::ops::Range<usize> = 36..52;

/// The span's own attributes, and those for what OTLP has no field for. Returns whether there are events
/// or links.
fn attributes(out: &mut Json<'_>, view: &SpanView<'_>) -> Result<bool, Full> {
    const HEAD: &[u8] = br#","attributes":["#;
    let (mut is_first, mut has_items) = (true, false);
    let mut one = |out: &mut Json<'_>, key, value| {
        out.put(if is_first { HEAD } else { b"," })?;
        is_first = false;
        attribute(out, KeyValue { key, value })
    };
    for entry in view.entries() {
        match entry {
            Entry::Attribute {
                of_item: false,
                key,
                value,
                ..
            } => one(out, key.text, value)?,
            Entry::Event { .. } | Entry::Link(_) => has_items = true,
            _ => {}
        }
    }
    let truncated = view.truncated_values();
    if truncated != 0 {
        one(
            out,
            ATTRIBUTE_TRUNCATED_VALUES,
            Value::I64(truncated.into()),
        )?;
    }
    if view.is_duration_unknown() {
        one(out, ATTRIBUTE_DURATION_UNKNOWN, Value::Bool(true))?;
    }
    if view.is_escalated() {
        one(out, ATTRIBUTE_ESCALATED, Value::Bool(true))?;
    }
    if !is_first {
        out.put(b"]")?;
    }
    Ok(has_items)
}

fn event(out: &mut Json<'_>, event: &EventView<'_>, anchor: &UnixAnchor) -> Result<(), Full> {
    out.put(br#"{"timeUnixNano":""#)?;
    out.unsigned(anchor.unix_nanos(event.ticks()))?;
    out.put(br#"","name":"#)?;
    out.string(event.name())?;
    array(out, br#","attributes":["#, event.attributes(), attribute)?;
    dropped(
        out,
        br#","droppedAttributesCount":"#,
        event.dropped_attributes(),
    )?;
    out.put(b"}")
}

fn link(out: &mut Json<'_>, link: &LinkView<'_>) -> Result<(), Full> {
    let to = link.context();
    ids(out, to.trace_id(), to.span_id(), None)?;
    out.put(br#"","flags":"#)?;
    out.unsigned(otlp_flags(to.flags(), to.is_remote()).into())?;
    if let Some(state) = link.trace_state() {
        out.put(br#","traceState":"#)?;
        out.string(state)?;
    }
    array(out, br#","attributes":["#, link.attributes(), attribute)?;
    dropped(
        out,
        br#","droppedAttributesCount":"#,
        link.dropped_attributes(),
    )?;
    out.put(b"}")
}

fn attribute(out: &mut Json<'_>, kv: KeyValue<'_, &str>) -> Result<(), Full> {
    out.put(br#"{"key":"#)?;
    out.string(kv.key)?;
    out.put(br#","value":"#)?;
    any::value(out, &kv.value)?;
    out.put(b"}")
}

fn dropped(out: &mut Json<'_>, head: &[u8], count: u32) -> Result<(), Full> {
    if count == 0 {
        return Ok(());
    }
    out.put(head)?;
    out.unsigned(count.into())
}

/// A field that is an array, nothing if it is empty. `head` ends with the bracket.
fn array<'b, T>(
    out: &mut Json<'b>,
    head: &[u8],
    items: impl Iterator<Item = T>,
    write: impl FnMut(&mut Json<'b>, T) -> Result<(), Full>,
) -> Result<(), Full> {
    let at = out.pos();
    out.put(head)?;
    let empty = out.pos();
    list(out, items, write)?;
    if out.pos() == empty {
        out.rewind(at);
        return Ok(());
    }
    out.put(b"]")
}

/// Items with commas between them.
fn list<'b, T>(
    out: &mut Json<'b>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Json<'b>, T) -> Result<(), Full>,
) -> Result<(), Full> {
    for (i, item) in items.enumerate() {
        if i != 0 {
            out.put(b",")?;
        }
        write(out, item)?;
    }
    Ok(())
}
