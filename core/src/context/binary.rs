//! The 29-byte binary form that gRPC carries as `grpc-trace-bin`.
//!
//! Input and output: the bytes themselves; base64 is the transport's. Bound: 29 bytes, no more, no less.
//!
//! ```text
//! 0   00               version
//! 1   00 | 16 bytes    field 0: trace id
//! 18  01 |  8 bytes    field 1: span id
//! 27  02 |  1 byte     field 2: flags
//! ```
//!
//! SPEC: OpenCensus "BinaryEncoding" (the W3C's own binary draft was abandoned). Read strictly: every
//! field, in this order, and nothing after it.

use core::fmt;

use super::{SpanContext, SpanId, TraceFlags, TraceId};

/// The metadata key under which gRPC carries it.
pub const GRPC_TRACE_BIN: &str = "grpc-trace-bin";
/// Length of the form in bytes.
pub const BINARY_LEN: usize = 29;

/// Why 29 bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BinaryError {
    /// Not 29 bytes.
    WrongLength {
        /// How many; 65535 if more.
        len: u16,
    },
    /// A version above 0.
    UnknownVersion {
        /// The first byte.
        version: u8,
    },
    /// Another field than the one that belongs there.
    BadField {
        /// Where its id stands: 1, 18 or 27.
        offset: u8,
    },
    /// A trace id of zeros only.
    ZeroTraceId,
    /// A span id of zeros only.
    ZeroSpanId,
}

impl fmt::Display for BinaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { len } => write!(f, "grpc-trace-bin: {len} bytes instead of 29"),
            Self::UnknownVersion { version } => {
                write!(f, "grpc-trace-bin: unknown version {version}")
            }
            Self::BadField { offset } => {
                write!(f, "grpc-trace-bin: wrong field at offset {offset}")
            }
            Self::ZeroTraceId => f.write_str("grpc-trace-bin: all-zero trace id"),
            Self::ZeroSpanId => f.write_str("grpc-trace-bin: all-zero span id"),
        }
    }
}

impl core::error::Error for BinaryError {}

/// Reads the form into a context that is marked remote. Unknown flags are cleared.
///
/// # Errors
/// [`BinaryError`]; the caller then starts a new trace.
///
/// ```
/// use spanlet::context::binary::{BinaryError, decode, encode};
/// let mut bytes = [1; 29];
/// (bytes[0], bytes[1], bytes[18], bytes[27]) = (0, 0, 1, 2);
/// let cx = decode(&bytes).unwrap();
/// assert!(cx.is_remote() && cx.is_sampled());
/// assert_eq!(encode(&cx), bytes);
/// bytes[18] = 2;
/// assert_eq!(decode(&bytes), Err(BinaryError::BadField { offset: 18 }));
/// ```
pub fn decode(bytes: &[u8]) -> Result<SpanContext, BinaryError> {
    let wrong_length = BinaryError::WrongLength {
        len: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
    };
    let [version, field_0, rest @ ..] = bytes else {
        return Err(wrong_length);
    };
    let Some((trace, [field_1, rest @ ..])) = rest.split_first_chunk::<16>() else {
        return Err(wrong_length);
    };
    let Some((span, [field_2, flags])) = rest.split_first_chunk::<8>() else {
        return Err(wrong_length);
    };
    if *version != 0 {
        return Err(BinaryError::UnknownVersion { version: *version });
    }
    for (offset, id, expected) in [(1, field_0, 0), (18, field_1, 1), (27, field_2, 2)] {
        if *id != expected {
            return Err(BinaryError::BadField { offset });
        }
    }
    let trace_id = TraceId::from_bytes(*trace).ok_or(BinaryError::ZeroTraceId)?;
    let span_id = SpanId::from_bytes(*span).ok_or(BinaryError::ZeroSpanId)?;
    Ok(SpanContext::new(trace_id, span_id, TraceFlags::from_byte(*flags)).remote())
}

/// The context in binary form.
///
/// ```
/// use spanlet::context::binary::encode;
/// use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};
/// let trace = TraceId::from_bytes([7; 16]).unwrap();
/// let span = SpanId::from_bytes([9; 8]).unwrap();
/// let bytes = encode(&SpanContext::new(trace, span, TraceFlags::SAMPLED));
/// assert_eq!(bytes[..3], [0, 0, 7]);
/// assert_eq!(bytes[26..], [9, 2, 1]);
/// ```
pub fn encode(cx: &SpanContext) -> [u8; BINARY_LEN] {
    let mut out = [0; BINARY_LEN];
    let [_, _, rest @ ..] = &mut out;
    if let Some((trace, [field_1, rest @ ..])) = rest.split_first_chunk_mut()
        && let Some((span, [field_2, flags])) = rest.split_first_chunk_mut()
    {
        *trace = cx.trace_id().to_bytes();
        *span = cx.span_id().to_bytes();
        (*field_1, *field_2, *flags) = (1, 2, cx.flags().to_byte());
    }
    out
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

    /// The example of the specification.
    const EXAMPLE: [u8; 29] = [
        0, 0, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 1, 97, 98, 99, 100,
        101, 102, 103, 104, 2, 1,
    ];

    #[test]
    fn the_example_goes_both_ways() {
        let cx = decode(&EXAMPLE).unwrap();
        assert_eq!(cx.span_id().to_bytes(), *b"abcdefgh");
        assert_eq!(encode(&cx), EXAMPLE);
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for len in (0..29).chain([30, 58]) {
            let bytes: std::vec::Vec<u8> = EXAMPLE.iter().cycle().take(len).copied().collect();
            let expected = BinaryError::WrongLength { len: len as u16 };
            assert_eq!(decode(&bytes), Err(expected));
        }
        let changed = |offset: usize, byte| {
            let mut bytes = EXAMPLE;
            bytes[offset] = byte;
            decode(&bytes)
        };
        assert_eq!(
            changed(0, 1),
            Err(BinaryError::UnknownVersion { version: 1 })
        );
        for offset in [1, 18, 27] {
            let expected = BinaryError::BadField {
                offset: offset as u8,
            };
            assert_eq!(changed(offset, 7), Err(expected));
        }
        assert_eq!(changed(28, 0xff).unwrap().flags().to_byte(), 3);
        let mut zero = EXAMPLE;
        zero[2..18].fill(0);
        assert_eq!(decode(&zero), Err(BinaryError::ZeroTraceId));
        let mut zero = EXAMPLE;
        zero[19..27].fill(0);
        assert_eq!(decode(&zero), Err(BinaryError::ZeroSpanId));
    }
}
