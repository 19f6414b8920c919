//! Spans of one device → one OTLP request.
//!
//! Input: [`DeviceSpan`]s of one resource. Output: the bytes of one `ExportTraceServiceRequest`. Bound:
//! [`SCRATCH_BYTES`] a span, and the caller's limit on the batch.
//!
//! Spans come one by one, from frames of any connection, so no encoder can stay open over them. Each is
//! encoded as a request of its own in scratch, taken out of its two envelopes, and put behind the others;
//! the envelopes, whose lengths come first, are written at the end. Spans with a scope of their own keep
//! their `ScopeSpans`. What the gateway adds to a span stands behind what the encoder wrote of it.

use super::device::{DeviceInfo, DeviceSpan};
use spanlet::otlp::{OtlpEncoder, OtlpFull, Resource};
use spanlet::{InstrumentationScope, KeyValue, Value};
use std::sync::Arc;
use std::time::Instant;

/// Room for one span with its resource: a record is at most 256 KiB.
pub(crate) const SCRATCH_BYTES: usize = 512 << 10;

// SPEC: opentelemetry-proto: each field is length-delimited.
const REQUEST_RESOURCE_SPANS: u8 = 0x0a;
const RESOURCE_SPANS_SCOPE_SPANS: u8 = 0x12;
const SCOPE_SPANS_SPAN: u8 = 0x12;
const SPAN_ATTRIBUTE: u8 = 0x4a;
const KEY_VALUE_KEY: u8 = 0x0a;
const KEY_VALUE_VALUE: u8 = 0x12;
const ANY_VALUE_STRING: u8 = 0x0a;
const ANY_VALUE_INT: u8 = 0x18;

/// A request in the making.
pub(crate) struct OtlpBatch {
    device: Arc<DeviceInfo>,
    /// Everything of the ResourceSpans but its ScopeSpans.
    resource: Vec<u8>,
    /// Body of the ScopeSpans of the device's own scope.
    own: Vec<u8>,
    /// Other ScopeSpans, whole.
    others: Vec<u8>,
    spans: u64,
    since: Instant,
}

impl OtlpBatch {
    pub(crate) fn new(device: &Arc<DeviceInfo>) -> Self {
        OtlpBatch {
            device: device.clone(),
            resource: Vec::new(),
            own: Vec::new(),
            others: Vec::new(),
            spans: 0,
            since: Instant::now(),
        }
    }
    pub(crate) fn spans(&self) -> u64 {
        self.spans
    }
    pub(crate) fn since(&self) -> Instant {
        self.since
    }
    pub(crate) fn bytes(&self) -> usize {
        self.resource.len() + self.own.len() + self.others.len()
    }
    /// Appends a span. `false`: it is too large for any request.
    pub(crate) fn push(&mut self, span: &DeviceSpan<'_>, scratch: &mut [u8]) -> bool {
        let is_own = span.view.scope().is_none();
        let device = self.device.clone();
        let nobody = Resource::new(&[]);
        let scope = match is_own && !self.own.is_empty() {
            true => InstrumentationScope::new(""),
            false => device.scope(),
        };
        let is_first = self.resource.is_empty();
        let added = span.clock_attribute().map(|kv| attribute(&kv));
        let append = |bytes: &[u8]| self.append(bytes, is_own, &added.unwrap_or_default());
        // The first of all brings the resource along, the first of the own scope the scope.
        let done = if is_first {
            device.with_resource(|resource| encode(scratch, resource, &scope, span, append))
        } else {
            encode(scratch, &nobody, &scope, span, append)
        };
        done == Ok(Some(()))
    }
    /// Takes a request with one span apart, and puts fields behind the span's. `None`: this is not what the encoder writes.
    fn append(&mut self, request: &[u8], is_own: bool, added: &[u8]) -> Option<()> {
        let (_, body, _) = field(request)?;
        // Resource and schema come before the ScopeSpans, which is the last.
        let mut rest = body;
        let (before, scope_spans) = loop {
            let (tag, inside, behind) = field(rest)?;
            if tag == RESOURCE_SPANS_SCOPE_SPANS {
                break (body.get(..body.len() - rest.len())?, inside);
            }
            rest = behind;
        };
        if self.resource.is_empty() {
            self.resource.extend_from_slice(before);
        }
        // The span is the last of the ScopeSpans too, but for its schema.
        let mut inside = scope_spans;
        let (before, span, behind) = loop {
            let (tag, body, behind) = field(inside)?;
            if tag == SCOPE_SPANS_SPAN {
                break (
                    scope_spans.get(..scope_spans.len() - inside.len())?,
                    body,
                    behind,
                );
            }
            inside = behind;
        };
        let to = &mut self.own;
        let from = to.len();
        to.extend_from_slice(before);
        to.push(SCOPE_SPANS_SPAN);
        put_varint(to, (span.len() + added.len()) as u64);
        to.extend_from_slice(span);
        to.extend_from_slice(added);
        to.extend_from_slice(behind);
        if !is_own {
            let whole = to.split_off(from);
            put_field(&mut self.others, RESOURCE_SPANS_SCOPE_SPANS, &whole);
        }
        self.spans += 1;
        Some(())
    }
    /// The request.
    pub(crate) fn finish(self) -> Arc<[u8]> {
        let mut body = self.resource;
        if !self.own.is_empty() {
            put_field(&mut body, RESOURCE_SPANS_SCOPE_SPANS, &self.own);
        }
        body.extend_from_slice(&self.others);
        let mut request = Vec::with_capacity(body.len() + 8);
        put_field(&mut request, REQUEST_RESOURCE_SPANS, &body);
        request.into()
    }
    /// Whether spans of `device` belong here.
    pub(crate) fn is_of(&self, device: &Arc<DeviceInfo>) -> bool {
        Arc::ptr_eq(&self.device, device)
    }
}

/// Encodes one span as a request, and hands its bytes to `take`.
fn encode<T>(
    scratch: &mut [u8],
    resource: &Resource<'_>,
    scope: &InstrumentationScope<'_>,
    span: &DeviceSpan<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<T, OtlpFull> {
    let mut request = OtlpEncoder::new(scratch, resource, scope, span.anchor)?;
    request.push_with(&span.view, &span.anchor)?;
    Ok(take(request.finish()))
}

/// The first field: its tag, its body, what is behind it.
fn field(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, mut rest) = bytes.split_first()?;
    let (mut len, mut shift) = (0usize, 0);
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        len |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (body, rest) = rest.split_at_checked(len)?;
    Some((*tag, body, rest))
}

/// An attribute of a span, which is a text or an integer of the gateway's own.
fn attribute(kv: &KeyValue<'_, &str>) -> Vec<u8> {
    let mut value = Vec::new();
    match kv.value {
        Value::I64(number) => {
            value.push(ANY_VALUE_INT);
            put_varint(&mut value, number.cast_unsigned());
        }
        Value::Str(text) => put_field(&mut value, ANY_VALUE_STRING, text.as_bytes()),
        _ => {}
    }
    let mut body = Vec::new();
    put_field(&mut body, KEY_VALUE_KEY, kv.key.as_bytes());
    put_field(&mut body, KEY_VALUE_VALUE, &value);
    let mut field = Vec::new();
    put_field(&mut field, SPAN_ATTRIBUTE, &body);
    field
}

fn put_field(to: &mut Vec<u8>, tag: u8, body: &[u8]) {
    to.push(tag);
    put_varint(to, body.len() as u64);
    to.extend_from_slice(body);
}

fn put_varint(to: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        to.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    to.push(n as u8);
}
