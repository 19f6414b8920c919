//! The owned span of the viewing side.
//!
//! Input: whatever decoded it (OTLP, a frame, JSON lines). Output: plain fields that the tree reads.
//! Bound: as large as the span was.

use core::fmt;
use std::sync::Arc;

use crate::clock::{ATTRIBUTE_ERROR, ATTRIBUTE_ERROR_BOUND, ClockError};

use spanlet::{SpanId, TraceId};
pub use spanlet::{SpanKind, Status};

/// An attribute's value. SPEC: OpenTelemetry common, "AnyValue".
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// Text.
    String(String),
    /// True or false.
    Bool(bool),
    /// A signed integer.
    I64(i64),
    /// A floating-point number.
    F64(f64),
    /// Opaque bytes.
    Bytes(Vec<u8>),
    /// A list, usually of one type.
    Array(Vec<AttributeValue>),
    /// A map, in the order in which it came.
    Map(Attributes),
    /// Present without a value.
    Empty,
}

/// Keys and values in the order in which they came.
pub type Attributes = Vec<(String, AttributeValue)>;

/// The first of `keys` that is present, with its value. Cost: one pass for each key.
///
/// ```
/// use spanlet_std::trace::{attribute, AttributeValue};
/// let attributes = vec![("http.host".to_owned(), AttributeValue::from("shop"))];
/// let (key, value) = attribute(&attributes, &["server.address", "http.host"]).unwrap();
/// assert_eq!((key, value.to_string().as_str()), ("http.host", "shop"));
/// ```
pub fn attribute<'a>(
    attributes: &'a [(String, AttributeValue)],
    keys: &[&str],
) -> Option<(&'a str, &'a AttributeValue)> {
    keys.iter().find_map(|key| {
        let (k, v) = attributes.iter().find(|(k, _)| k == key)?;
        Some((k.as_str(), v))
    })
}

/// Something that happened at a moment of a span.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SpanEvent {
    /// When, in Unix nanoseconds.
    pub time_unix_ns: u64,
    /// What, such as `retry` or `exception`.
    pub name: String,
    /// Details.
    pub attributes: Attributes,
    /// Attributes that did not fit.
    pub dropped_attributes: u32,
}

/// A span elsewhere that this one follows from, such as the producer of its message.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanLink {
    /// The other span's trace.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// The other span's `tracestate` header, or empty.
    pub trace_state: String,
    /// OTLP `Link.flags`: W3C flags in bits 0–7, 0x100 has-is-remote, 0x200 is-remote.
    pub flags: u32,
    /// Details.
    pub attributes: Attributes,
    /// Attributes that did not fit.
    pub dropped_attributes: u32,
}

/// A finished span with everything that is known of it.
///
/// Nothing here is checked: an end before the start, a parent that never came or a name full of
/// escape sequences are shown for what they are.
///
/// ```
/// use spanlet::{SpanId, TraceId};
/// use spanlet_std::trace::TraceSpan;
/// let trace = TraceId::from_bytes([1; 16]).unwrap();
/// let mut span = TraceSpan::new(trace, SpanId::from_bytes([2; 8]).unwrap(), "POST /checkout");
/// span.service = "api-gateway".to_owned();
/// (span.start_unix_ns, span.end_unix_ns) = (1_000, 3_500);
/// assert_eq!(span.duration_ns(), 2_500);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSpan {
    /// The trace that it belongs to.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The span that caused it; `None` for a root.
    pub parent_span_id: Option<SpanId>,
    /// The `tracestate` header, or empty.
    pub trace_state: String,
    /// OTLP `Span.flags`: W3C flags in bits 0–7, 0x100 has-is-remote, 0x200 is-remote.
    pub flags: u32,
    /// The operation, such as `POST /checkout`.
    pub name: String,
    /// The resource's `service.name`, or empty.
    pub service: String,
    /// Its part in a call.
    pub kind: SpanKind,
    /// How it ended.
    pub status: Status,
    /// What went wrong, for [`Status::Error`]; else empty.
    pub status_message: String,
    /// Start in Unix nanoseconds.
    pub start_unix_ns: u64,
    /// End in Unix nanoseconds.
    pub end_unix_ns: u64,
    /// What is known of the operation.
    pub attributes: Attributes,
    /// Attributes that did not fit.
    pub dropped_attributes: u32,
    /// What happened meanwhile.
    pub events: Vec<SpanEvent>,
    /// Events that did not fit.
    pub dropped_events: u32,
    /// What it follows from besides its parent.
    pub links: Vec<SpanLink>,
    /// Links that did not fit.
    pub dropped_links: u32,
    /// What is known of the process or device, shared by its spans.
    pub resource: Arc<Attributes>,
    /// The instrumentation scope's name, or empty.
    pub scope_name: String,
    /// The instrumentation scope's version, or empty.
    pub scope_version: String,
}

impl TraceSpan {
    /// A span with these ids and this name, all else empty or zero.
    pub fn new(trace_id: TraceId, span_id: SpanId, name: impl Into<String>) -> Self {
        TraceSpan {
            trace_id,
            span_id,
            parent_span_id: None,
            trace_state: String::new(),
            flags: 0,
            name: name.into(),
            service: String::new(),
            kind: SpanKind::default(),
            status: Status::default(),
            status_message: String::new(),
            start_unix_ns: 0,
            end_unix_ns: 0,
            attributes: Vec::new(),
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            resource: Arc::default(),
            scope_name: String::new(),
            scope_version: String::new(),
        }
    }

    /// End minus start in nanoseconds; 0 where the end lies before the start.
    pub fn duration_ns(&self) -> u64 {
        self.end_unix_ns.saturating_sub(self.start_unix_ns)
    }

    /// How far its times may be off by its device's clock, from the attributes that [`clock`](crate::clock) describes;
    /// `None` where they say nothing, as those of services do.
    #[must_use]
    pub fn clock_error(&self) -> Option<ClockError> {
        match attribute(&self.attributes, &[ATTRIBUTE_ERROR_BOUND, ATTRIBUTE_ERROR])? {
            (ATTRIBUTE_ERROR_BOUND, AttributeValue::I64(ns)) => {
                u64::try_from(*ns).ok().map(ClockError::Within)
            }
            (ATTRIBUTE_ERROR, _) => Some(ClockError::Unknown),
            _ => None,
        }
    }

    /// The value of the first of `keys` among the span's attributes, as text.
    pub(crate) fn text(&self, keys: &[&str]) -> Option<String> {
        attribute(&self.attributes, keys).map(|(_, value)| value.to_string())
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Bool(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F64(v) => v.fmt(f),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|b| write!(f, "{b:02x}")),
            Self::Array(values) => f
                .debug_list()
                .entries(values.iter().map(|v| v.to_string()))
                .finish(),
            Self::Map(map) => f
                .debug_map()
                .entries(map.iter().map(|(k, v)| (k, v.to_string())))
                .finish(),
            Self::Empty => Ok(()),
        }
    }
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}
impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}
impl From<bool> for AttributeValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<i64> for AttributeValue {
    fn from(value: i64) -> Self {
        Self::I64(value)
    }
}
impl From<f64> for AttributeValue {
    fn from(value: f64) -> Self {
        Self::F64(value)
    }
}
