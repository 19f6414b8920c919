//! Trace context: what travels between processes so that their spans form one tree.
//!
//! Read on in this order: [`traceparent`], [`tracestate`], [`baggage`], the other formats [`binary`], [`compact`],
//! [`b3`], [`jaeger`] and [`ot_trace`], the fields of a message as [`carrier`], and all of it together in [`propagator`]; then what small links
//! carry it in, [`can`], [`coap`] and [`mqtt`].
//!
//! Input: header values, as they came. Output: a [`SpanContext`] and the borrowed or owned forms of
//! `tracestate` and `baggage`. Bound: fixed sizes throughout; malformed input costs a request nothing
//! but a fresh trace.

mod flags;
pub(crate) mod hex_text;
mod id;
mod percent;

pub mod traceparent;

pub mod tracestate;

mod otel_state;

pub mod baggage;
mod baggage_buf;

pub mod binary;

pub mod compact;

pub mod b3;
pub mod jaeger;
pub mod ot_trace;

pub mod carrier;

pub mod propagator;

pub mod can;
pub mod coap;
pub mod mqtt;

pub use b3::{B3, B3Error, B3Headers, B3Sampling, B3Text};
pub use baggage::{Baggage, BaggageEntry, BaggageProperty};
pub use baggage_buf::{AllowedBaggage, BaggageBuf, BaggageError};
pub use binary::BinaryError;
pub use can::{CanError, CanReassembly};
pub use carrier::{Carrier, CarrierFull, CarrierMut, FixedCarrier};
pub use coap::CoapError;
pub use compact::CompactError;
pub use flags::TraceFlags;
pub use id::{SpanId, TraceId};
pub use jaeger::JaegerError;
pub use mqtt::MqttError;
pub use ot_trace::{OtTraceError, OtTraceHeaders};
pub use otel_state::OtelTraceState;
pub use percent::PercentDecoded;
pub use propagator::{ExtractError, Extracted, Propagator, Propagators};
pub use traceparent::TraceparentError;
pub use tracestate::{
    TraceState, TraceStateBuf, TraceStateError, TraceStateErrorKind, TraceStateText,
};

/// The part of a span that travels: ids, flags, and whether it came from another process.
///
/// Valid unless it comes from a span of the global tracer that had neither a tracer nor a parent:
/// [`is_valid`](Self::is_valid) tells, and nothing propagates an invalid one. SPEC: OpenTelemetry Trace API, "SpanContext".
///
/// ```
/// use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};
/// let trace = TraceId::from_bytes([1; 16]).unwrap();
/// let span = SpanId::from_bytes([2; 8]).unwrap();
/// let cx = SpanContext::new(trace, span, TraceFlags::SAMPLED);
/// assert!(cx.is_sampled() && !cx.is_remote());
/// assert!(cx.remote().is_remote());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SpanContext {
    trace_id: TraceId,
    span_id: SpanId,
    flags: TraceFlags,
    is_remote: bool,
}

impl SpanContext {
    /// Of nobody.
    pub(crate) const NONE: Self = Self::new(TraceId::INVALID, SpanId::INVALID, TraceFlags::NONE);

    /// A context of this process.
    #[inline(always)]
    pub const fn new(trace_id: TraceId, span_id: SpanId, flags: TraceFlags) -> Self {
        SpanContext {
            trace_id,
            span_id,
            flags,
            is_remote: false,
        }
    }
    /// The same context, marked as received from another process.
    #[inline(always)]
    #[must_use]
    pub const fn remote(mut self) -> Self {
        self.is_remote = true;
        self
    }
    /// Whether there is a span at all. False only without a tracer; then the ids mean nothing.
    #[inline(always)]
    pub const fn is_valid(&self) -> bool {
        let [high, low] = self.trace_id.to_words();
        high | low != 0
    }
    /// The trace that the span belongs to.
    #[inline(always)]
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }
    /// The span.
    #[inline(always)]
    pub const fn span_id(&self) -> SpanId {
        self.span_id
    }
    /// The W3C flags.
    #[inline(always)]
    pub const fn flags(&self) -> TraceFlags {
        self.flags
    }
    /// Whether the SAMPLED flag is set.
    #[inline(always)]
    pub const fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }
    /// Whether it came from another process.
    #[inline(always)]
    pub const fn is_remote(&self) -> bool {
        self.is_remote
    }
}

/// Without the spaces and tabs around it.
///
/// SPEC: RFC 9110, 5.6.3 `OWS`.
#[inline]
pub(crate) fn trim_ows(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
