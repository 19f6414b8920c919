//! The headers of OpenTracing's basic tracers, for services that they still trace.
//!
//! Input: the values of `ot-tracer-traceid`, `ot-tracer-spanid` and `ot-tracer-sampled`. Output: a
//! [`SpanContext`], and the other way the values. Bound: 16 or 32 digits and a word.
//!
//! Such tracers know 64 bits of trace id: what goes out is the low half, and what comes in becomes that. A
//! trace that passes through them therefore goes on under another trace id; where both sides also know
//! `traceparent`, let them use it. SPEC: OpenTelemetry, "Propagators Distribution", "OT Trace". Their baggage
//! lies in fields named after its keys (`ot-baggage-…`), and a [`Carrier`](super::Carrier) is asked by name:
//! it is not read.

use core::fmt;

use super::jaeger::hex_id;
use super::{SpanContext, SpanId, TraceFlags, TraceId, trim_ows};

/// Why the headers were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OtTraceError {
    /// One id without the other.
    MissingId,
    /// Neither 16 nor 32 hex digits, or zero.
    BadTraceId,
    /// Not 16 hex digits, or zero.
    BadSpanId,
    /// Neither `true`, `false`, `1` nor `0`.
    BadSampled,
}

impl fmt::Display for OtTraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MissingId => "ot-tracer: the trace id or the span id is missing",
            Self::BadTraceId => "ot-tracer-traceid: neither 16 nor 32 hex digits, or zero",
            Self::BadSpanId => "ot-tracer-spanid: not 16 hex digits, or zero",
            Self::BadSampled => "ot-tracer-sampled: neither true nor false",
        })
    }
}

impl core::error::Error for OtTraceError {}

/// The values, as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtTraceHeaders<'a> {
    /// `ot-tracer-traceid`.
    pub trace_id: Option<&'a [u8]>,
    /// `ot-tracer-spanid`.
    pub span_id: Option<&'a [u8]>,
    /// `ot-tracer-sampled`; missing counts as false.
    pub sampled: Option<&'a [u8]>,
}

/// Reads the headers. The context is remote; `None` if there is neither id.
///
/// # Errors
/// The first value that is wrong; the caller then starts a new trace.
///
/// ```
/// use spanlet::context::ot_trace::{self, OtTraceHeaders};
/// let headers = OtTraceHeaders {
///     trace_id: Some(b"a3ce929d0e0e4736"),
///     span_id: Some(b"00f067aa0ba902b7"),
///     sampled: Some(b"true"),
/// };
/// let context = ot_trace::parse(headers).unwrap().unwrap();
/// assert_eq!(context.trace_id().to_string(), "0000000000000000a3ce929d0e0e4736");
/// assert!(context.is_sampled());
/// ```
pub fn parse(headers: OtTraceHeaders<'_>) -> Result<Option<SpanContext>, OtTraceError> {
    let (trace, span) = match (headers.trace_id, headers.span_id) {
        (None, None) => return Ok(None),
        (Some(trace), Some(span)) => (trim_ows(trace), trim_ows(span)),
        _ => return Err(OtTraceError::MissingId),
    };
    let trace_id = Some(trace)
        .filter(|text| matches!(text.len(), 16 | 32))
        .and_then(hex_id)
        .and_then(TraceId::from_bytes)
        .ok_or(OtTraceError::BadTraceId)?;
    let span_id = Some(span)
        .filter(|text| text.len() == 16)
        .and_then(hex_id)
        .and_then(SpanId::from_bytes)
        .ok_or(OtTraceError::BadSpanId)?;
    let is_sampled = match headers.sampled.map(trim_ows) {
        Some(b"true" | b"1") => true,
        None | Some(b"false" | b"0") => false,
        Some(_) => return Err(OtTraceError::BadSampled),
    };
    let flags = TraceFlags::NONE.with_sampled(is_sampled);
    Ok(Some(SpanContext::new(trace_id, span_id, flags).remote()))
}

/// The value of `ot-tracer-sampled`.
pub(super) const fn sampled_text(context: &SpanContext) -> &'static str {
    if context.is_sampled() {
        "true"
    } else {
        "false"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::string::ToString;

    fn read(trace: &str, span: &str, sampled: &str) -> Result<Option<SpanContext>, OtTraceError> {
        let value = |text: &'static [u8]| (!text.is_empty()).then_some(text);
        let leak = |text: &str| value(std::boxed::Box::leak(text.as_bytes().into()));
        parse(OtTraceHeaders {
            trace_id: leak(trace),
            span_id: leak(span),
            sampled: leak(sampled),
        })
    }

    #[test]
    fn both_lengths_and_both_words() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for sampled in ["true", "1"] {
            let context = read(trace, "00f067aa0ba902b7", sampled).unwrap().unwrap();
            assert_eq!(context.trace_id().to_string(), trace);
            assert!(context.is_sampled() && context.is_remote());
        }
        for unsampled in ["false", "0", ""] {
            let context = read("a3ce929d0e0e4736", "00f067aa0ba902b7", unsampled);
            assert!(!context.unwrap().unwrap().is_sampled());
        }
        assert_eq!(read("", "", "true"), Ok(None));
    }

    #[test]
    fn the_first_fault_is_named() {
        let (trace, span) = ("a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert_eq!(read(trace, "", ""), Err(OtTraceError::MissingId));
        assert_eq!(read("", span, ""), Err(OtTraceError::MissingId));
        for bad in [
            "1",
            "0000000000000000",
            "a3ce929d0e0e473g",
            "a3ce929d0e0e47361",
        ] {
            assert_eq!(read(bad, span, ""), Err(OtTraceError::BadTraceId), "{bad}");
        }
        for bad in ["1", "0000000000000000", "00f067aa0ba902b7a"] {
            assert_eq!(read(trace, bad, ""), Err(OtTraceError::BadSpanId), "{bad}");
        }
        assert_eq!(read(trace, span, "yes"), Err(OtTraceError::BadSampled));
    }
}
