//! `traceparent`: the header that joins this process's spans to the caller's.
//!
//! Input: one header value, as it came. Output: a remote [`SpanContext`], or a [`TraceparentError`] that
//! names the element and its offset; the other way, 55 bytes. Bound: reads at most the first 56 bytes
//! and the whitespace around them. Parsing costs about 60 instructions with SSE2.
//!
//! ```abnf
//! value          = version "-" version-format          ; offset 0
//! version        = 2HEXDIGLC                           ; "ff" is forbidden
//! version-format = trace-id "-" parent-id "-" trace-flags
//! trace-id       = 32HEXDIGLC                          ; offset 3, not all zero
//! parent-id      = 16HEXDIGLC                          ; offset 36, not all zero
//! trace-flags    = 2HEXDIGLC                           ; offset 53
//! ```
//!
//! SPEC: Trace Context Level 2, 3.2 "Traceparent Header". What comes from above version 00 is read by
//! the same offsets, and may go on after a `-` at offset 55 (3.2.4). Flags of which Level 2 knows
//! nothing are cleared (3.2.2.5.3).
//!
//! **Whitespace.** Spaces and tabs around a field value are not part of it (RFC 9110, 5.5). Most HTTP
//! stacks have removed them; some carriers have not, and the W3C's own suite sends them. They are
//! skipped here, at the cost of four comparisons; offsets in errors count from the first byte after them.

use core::fmt;

use super::hex_text::{self, kernel};
use super::{SpanContext, SpanId, TraceFlags, TraceId, trim_ows};

/// Length in bytes of the version that [`encode`] writes.
pub const TRACEPARENT_LEN: usize = hex_text::LEN;

const DASHES: [usize; 3] = [hex_text::TRACE - 1, hex_text::SPAN - 1, hex_text::FLAGS - 1];

/// Why a `traceparent` was refused. Offsets count bytes from the start of the value, after optional
/// whitespace.
///
/// ```
/// use spanlet::context::traceparent::{TraceparentError, parse};
/// let upper = b"00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// assert_eq!(parse(upper), Err(TraceparentError::BadHex { offset: 4 }));
/// assert_eq!(
///     parse(upper).unwrap_err().to_string(),
///     "traceparent: no lowercase hex digit at offset 4"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TraceparentError {
    /// Fewer than 55 bytes, or more than 55 in version 00.
    WrongLength {
        /// Bytes without the whitespace around them; 65535 if more.
        len: u16,
    },
    /// A byte that must be one of `0`–`9`, `a`–`f`.
    BadHex {
        /// Its place, 0 to 54.
        offset: u8,
    },
    /// A byte that must be `-`.
    BadDelimiter {
        /// Its place: 2, 35, 52 or, in versions above 00, 55.
        offset: u8,
    },
    /// Version `ff`.
    ForbiddenVersion,
    /// A trace id of zeros only.
    ZeroTraceId,
    /// A parent id of zeros only.
    ZeroSpanId,
}

impl fmt::Display for TraceparentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { len } => write!(f, "traceparent: wrong length of {len} bytes"),
            Self::BadHex { offset } => {
                write!(f, "traceparent: no lowercase hex digit at offset {offset}")
            }
            Self::BadDelimiter { offset } => write!(f, "traceparent: no '-' at offset {offset}"),
            Self::ForbiddenVersion => f.write_str("traceparent: forbidden version ff"),
            Self::ZeroTraceId => f.write_str("traceparent: all-zero trace id"),
            Self::ZeroSpanId => f.write_str("traceparent: all-zero parent id"),
        }
    }
}

impl core::error::Error for TraceparentError {}

/// Reads a header value into a context that is marked remote.
///
/// # Errors
/// [`TraceparentError`] for anything that the grammar above does not allow. The caller then starts a
/// new trace; a request never fails for it. Repeated headers are the carrier's matter: see
/// [`extract_traceparent`](super::propagator::extract_traceparent).
///
/// ```
/// use spanlet::context::traceparent::parse;
/// let cx = parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03").unwrap();
/// assert_eq!(cx.span_id().to_string(), "00f067aa0ba902b7");
/// assert!(cx.is_remote() && cx.is_sampled() && cx.flags().is_random());
/// ```
#[inline]
pub fn parse(value: &[u8]) -> Result<SpanContext, TraceparentError> {
    let value = trim_ows(value);
    let Some((text, rest)) = value.split_first_chunk::<TRACEPARENT_LEN>() else {
        return Err(wrong_length(value));
    };
    let Some(fields) = kernel::decode_fields(text) else {
        return Err(first_bad_byte(text));
    };
    if let Some(next) = rest.first() {
        if fields.version == 0 {
            return Err(wrong_length(value));
        }
        if *next != b'-' {
            return Err(TraceparentError::BadDelimiter { offset: 55 });
        }
    }
    if fields.version == 0xff {
        return Err(TraceparentError::ForbiddenVersion);
    }
    let trace_id = TraceId::from_words(fields.trace).ok_or(TraceparentError::ZeroTraceId)?;
    let span_id = SpanId::from_word(fields.span).ok_or(TraceparentError::ZeroSpanId)?;
    Ok(SpanContext::new(trace_id, span_id, TraceFlags::from_byte(fields.flags)).remote())
}

#[cold]
fn wrong_length(value: &[u8]) -> TraceparentError {
    TraceparentError::WrongLength {
        len: u16::try_from(value.len()).unwrap_or(u16::MAX),
    }
}

/// Of 55 bytes that a kernel refused.
#[cold]
fn first_bad_byte(text: &[u8; TRACEPARENT_LEN]) -> TraceparentError {
    let mut last = 0;
    for (offset, byte) in (0_u8..).zip(text) {
        let dash = DASHES.contains(&usize::from(offset));
        if dash && *byte != b'-' {
            return TraceparentError::BadDelimiter { offset };
        }
        if !dash && hex_text::digit(*byte).is_none() {
            return TraceparentError::BadHex { offset };
        }
        last = offset;
    }
    // Not reached: a kernel refuses only what the loop finds.
    TraceparentError::BadHex { offset: last }
}

/// The context as a version 00 header value, ASCII.
///
/// ```
/// use spanlet::context::traceparent::{encode, parse};
/// let text = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// assert_eq!(&encode(&parse(text).unwrap()), text);
/// ```
#[inline]
pub fn encode(cx: &SpanContext) -> [u8; TRACEPARENT_LEN] {
    let mut out = [0; TRACEPARENT_LEN];
    encode_into(cx, &mut out);
    out
}

/// As [`encode`], into a buffer that the caller has: saves the copy of a result that is not inlined.
///
/// ```
/// use spanlet::context::traceparent::{encode_into, parse};
/// let text = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
/// let mut out = [0; 55];
/// encode_into(&parse(text).unwrap(), &mut out);
/// assert_eq!(&out, text);
/// ```
#[inline]
pub fn encode_into(cx: &SpanContext, out: &mut [u8; TRACEPARENT_LEN]) {
    kernel::encode_fields(
        cx.trace_id().to_words(),
        cx.span_id().to_word(),
        cx.flags().to_byte(),
        out,
    );
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]
    use super::*;
    use crate::context::hex_text::{Fields, scalar};

    const BASES: [&[u8; 55]; 4] = [
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"cc-0123456789abcdef0123456789abcdef-fedcba9876543210-ff",
        b"00-00000000000000000000000000000000-0000000000000000-00",
        b"ff-ffffffffffffffffffffffffffffffff-ffffffffffffffff-ff",
    ];

    /// Every value of every byte: the kernels agree with each other and with a digit-by-digit oracle.
    #[test]
    fn kernels_agree_on_every_single_byte_change() {
        for base in BASES {
            for offset in 0..55 {
                for byte in 0..=255 {
                    let mut text = *base;
                    text[offset] = byte;
                    let fields = kernel::decode_fields(&text);
                    assert_eq!(fields, scalar::decode_fields(&text), "{text:?}");
                    let dash = matches!(offset, 2 | 35 | 52);
                    let ok = if dash {
                        byte == b'-'
                    } else {
                        b"0123456789abcdef".contains(&byte)
                    };
                    assert_eq!(fields.is_some(), ok, "offset {offset} byte {byte}");
                }
            }
        }
    }

    /// Random words there and back through each kernel, against formatting by the standard library.
    #[test]
    fn kernels_encode_what_format_writes() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..20_000 {
            let (trace, span) = ([next(), next()], next());
            let flags = (round % 4) as u8;
            let (mut a, mut b) = ([0; 55], [0; 55]);
            kernel::encode_fields(trace, span, flags, &mut a);
            scalar::encode_fields(trace, span, flags, &mut b);
            let expected = std::format!(
                "00-{:016x}{:016x}-{:016x}-{flags:02x}",
                u64::from_be_bytes(trace[0].to_ne_bytes()),
                u64::from_be_bytes(trace[1].to_ne_bytes()),
                u64::from_be_bytes(span.to_ne_bytes()),
            );
            assert_eq!(core::str::from_utf8(&a).unwrap(), expected);
            assert_eq!(a, b);
            let fields = Fields {
                version: 0,
                trace,
                span,
                flags,
            };
            assert_eq!(kernel::decode_fields(&a), Some(fields));
            assert_eq!(scalar::decode_fields(&a), Some(fields));
        }
    }

    #[test]
    fn errors_name_the_place() {
        use TraceparentError::*;
        let cases: [(&[u8], TraceparentError); 12] = [
            (b"", WrongLength { len: 0 }),
            (
                b"0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                WrongLength { len: 54 },
            ),
            (
                b"000-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                BadDelimiter { offset: 2 },
            ),
            (
                b"00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                BadHex { offset: 3 },
            ),
            (
                b"CC-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                BadHex { offset: 0 },
            ),
            (
                b"00-4bf92f3577b34da6a3ce929d0e0e4736.00f067aa0ba902b7-01",
                BadDelimiter { offset: 35 },
            ),
            (
                b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0G",
                BadHex { offset: 54 },
            ),
            (
                b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                ForbiddenVersion,
            ),
            (
                b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                ZeroTraceId,
            ),
            (
                b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                ZeroSpanId,
            ),
            (
                b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what",
                WrongLength { len: 60 },
            ),
            (
                b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
                BadDelimiter { offset: 55 },
            ),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn later_versions_and_whitespace() {
        let plain = parse(BASES[0]).unwrap();
        for text in [
            &b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..],
            b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like",
            b" \t00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\t ",
        ] {
            assert_eq!(parse(text), Ok(plain));
        }
        // Only spaces and tabs are whitespace.
        assert!(parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n").is_err());
    }

    #[test]
    fn unknown_flags_are_cleared() {
        let mut text = *BASES[0];
        text[53..].copy_from_slice(b"ff");
        assert_eq!(parse(&text).unwrap().flags().to_byte(), 0x03);
        text[53..].copy_from_slice(b"fc");
        assert_eq!(parse(&text).unwrap().flags().to_byte(), 0x00);
    }
}
