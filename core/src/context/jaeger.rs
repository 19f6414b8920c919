//! Jaeger's header, for services that its own clients still trace.
//!
//! Input: the value of `uber-trace-id`. Output: a [`SpanContext`], and the other way the value. Bound: 70
//! characters of either.
//!
//! ```text
//! uber-trace-id: {trace id, 1 to 32 digits}:{span id, 1 to 16}:{parent, 1 to 16}:{flags, 1 or 2}
//! ```
//!
//! SPEC: jaegertracing.io, "Client Libraries", "Propagation Format"; OpenTelemetry, "Propagators
//! Distribution". Zeros on the left may be missing, `:` may be written `%3A`, digits have either case. Of the
//! flags 1 is sampled and 2 is debug, which samples too. The parent is no longer used and written as 0.
//! Jaeger's baggage lies in fields that are named after its keys (`uberctx-…`), and a [`Carrier`](super::Carrier)
//! is asked by name: it is not read.

use core::fmt;

use heapless::String;

use super::hex_text::digit;
use super::{SpanContext, SpanId, TraceFlags, TraceId, trim_ows};

/// The longest value: 32 + 16 + 16 + 2 digits and three separators.
pub const JAEGER_MAX_LEN: usize = 69;

const SAMPLED: u8 = 0x01;
const DEBUG: u8 = 0x02;

/// Why an `uber-trace-id` was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum JaegerError {
    /// Longer than any value.
    TooLong,
    /// Not four parts.
    BadParts,
    /// Not 1 to 32 hex digits, or zero.
    BadTraceId,
    /// Not 1 to 16 hex digits, or zero.
    BadSpanId,
    /// Not 1 to 16 hex digits.
    BadParentSpanId,
    /// Not one or two hex digits.
    BadFlags,
}

impl fmt::Display for JaegerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "uber-trace-id: longer than 69 characters",
            Self::BadParts => "uber-trace-id: not four parts with : between them",
            Self::BadTraceId => "uber-trace-id: the trace id is not 1 to 32 hex digits, or zero",
            Self::BadSpanId => "uber-trace-id: the span id is not 1 to 16 hex digits, or zero",
            Self::BadParentSpanId => "uber-trace-id: the parent is not 1 to 16 hex digits",
            Self::BadFlags => "uber-trace-id: the flags are not one or two hex digits",
        })
    }
}

impl core::error::Error for JaegerError {}

/// At most `2 * N` digits of either case, with zeros on their left.
pub(super) fn hex_id<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.is_empty() || text.len() > 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (pair, byte) in text.rchunks(2).zip(bytes.iter_mut().rev()) {
        *byte = pair.iter().try_fold(0, |value, text| {
            Some(value << 4 | digit(text.to_ascii_lowercase())?)
        })?;
    }
    Some(bytes)
}

/// Reads the value of an `uber-trace-id`. The context is remote.
///
/// # Errors
/// The first part that is wrong; the caller then starts a new trace.
///
/// ```
/// use spanlet::context::jaeger::{self, JaegerError};
/// let context = jaeger::parse(b"463ac35c9f6413ad48485a3953bb6124:a2fb4a1d1a96d312:0:1").unwrap();
/// assert!(context.is_sampled() && context.is_remote());
/// assert_eq!(jaeger::parse(b"0:1:0:1"), Err(JaegerError::BadTraceId));
/// ```
pub fn parse(value: &[u8]) -> Result<SpanContext, JaegerError> {
    // Without the escapes, of which only that of the separator makes sense.
    let mut text = heapless::Vec::<u8, JAEGER_MAX_LEN>::new();
    let mut rest = trim_ows(value);
    while let [byte, after @ ..] = rest {
        let (byte, after) = match rest {
            [b'%', b'3', b'A' | b'a', after @ ..] => (b':', after),
            _ => (*byte, after),
        };
        text.push(byte).map_err(|_| JaegerError::TooLong)?;
        rest = after;
    }
    let mut parts = text.split(|byte| *byte == b':');
    let mut next = || parts.next().ok_or(JaegerError::BadParts);
    let (trace, span, parent, flags) = (next()?, next()?, next()?, next()?);
    if parts.next().is_some() {
        return Err(JaegerError::BadParts);
    }
    let trace_id = hex_id(trace)
        .and_then(TraceId::from_bytes)
        .ok_or(JaegerError::BadTraceId)?;
    let span_id = hex_id(span)
        .and_then(SpanId::from_bytes)
        .ok_or(JaegerError::BadSpanId)?;
    hex_id::<8>(parent).ok_or(JaegerError::BadParentSpanId)?;
    let [flags] = hex_id(flags).ok_or(JaegerError::BadFlags)?;
    let flags = TraceFlags::NONE.with_sampled(flags & (SAMPLED | DEBUG) != 0);
    Ok(SpanContext::new(trace_id, span_id, flags).remote())
}

/// The value of an `uber-trace-id`.
///
/// ```
/// use spanlet::context::{jaeger, traceparent};
/// let context = traceparent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
/// assert_eq!(jaeger::encode(&context), "4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7:0:1");
/// ```
pub fn encode(context: &SpanContext) -> String<JAEGER_MAX_LEN> {
    use fmt::Write;
    let mut text = String::new();
    let flags = u8::from(context.is_sampled());
    // Never longer than what there is room for.
    let _ = write!(
        text,
        "{}:{}:0:{flags}",
        context.trace_id(),
        context.span_id()
    );
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_jaegers_clients_write() {
        for (value, trace_id, span_id, sampled) in [
            (
                "463ac35c9f6413ad48485a3953bb6124:a2fb4a1d1a96d312:0:1",
                "463ac35c9f6413ad48485a3953bb6124",
                "a2fb4a1d1a96d312",
                true,
            ),
            // 64 bits, without zeros on the left, escaped, in capitals, with a parent.
            (
                "3bb6124:1a96d312:6d312:0",
                "00000000000000000000000003bb6124",
                "000000001a96d312",
                false,
            ),
            (
                "1%3A2%3a0%3A01",
                "00000000000000000000000000000001",
                "0000000000000002",
                true,
            ),
            (
                " ABC:DEF:0:0 ",
                "00000000000000000000000000000abc",
                "0000000000000def",
                false,
            ),
            // Debug samples; firehose (8) does not.
            (
                "1:2:0:2",
                "00000000000000000000000000000001",
                "0000000000000002",
                true,
            ),
            (
                "1:2:0:8",
                "00000000000000000000000000000001",
                "0000000000000002",
                false,
            ),
        ] {
            let context = parse(value.as_bytes()).unwrap();
            assert_eq!(context.trace_id().to_string(), trace_id, "{value}");
            assert_eq!(context.span_id().to_string(), span_id, "{value}");
            assert_eq!(context.is_sampled(), sampled, "{value}");
            assert_eq!(parse(encode(&context).as_bytes()), Ok(context), "{value}");
        }
    }

    #[test]
    fn what_they_do_not_write() {
        use JaegerError::*;
        let long = "1".repeat(70);
        for (value, error) in [
            ("", BadParts),
            ("1:2:0", BadParts),
            ("1:2:0:1:", BadParts),
            (":2:0:1", BadTraceId),
            ("0:2:0:1", BadTraceId),
            ("+1:2:0:1", BadTraceId),
            ("111111111111111111111111111111111:2:0:1", BadTraceId),
            ("1:0:0:1", BadSpanId),
            ("1:11111111111111111:0:1", BadSpanId),
            ("1:2:x:1", BadParentSpanId),
            ("1:2::1", BadParentSpanId),
            ("1:2:0:", BadFlags),
            ("1:2:0:001", BadFlags),
            ("1:2:0:-1", BadFlags),
            (&long, TooLong),
        ] {
            assert_eq!(parse(value.as_bytes()), Err(error), "{value}");
        }
    }
}
