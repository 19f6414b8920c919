//! A context in 25 bytes, for links that count them: CAN, LoRa, BLE, CoAP.
//!
//! Input and output: the bytes. Bound: 25 bytes, no more, no less.
//!
//! ```text
//!  0  16 bytes   trace id, most significant byte first
//! 16   8 bytes   span id, most significant byte first
//! 24   1 byte    bits 0–1: the W3C flags sampled and random-trace-id
//!                bits 2–4: W3C flags to come; sent as zero, not looked at
//!                bits 5–7: version of this form: 0
//! ```
//!
//! The ids are those of `traceparent`, as bytes. The version stands in bits that Trace Context leaves
//! unused, since a byte of its own would be the 26th. Read strictly: any other length or version, and ids
//! of zeros only, are refused, and the receiver starts a new trace. What else tells the form from other bytes is the
//! carrier's: a port, a characteristic, an identifier, an option number.
//!
//! # Where it goes
//! | link | room | how |
//! |---|---|---|
//! | CAN, classic | 8 bytes a frame | four frames, as [`can`](super::can) splits them, or ISO 15765-2 where the bus has it |
//! | CAN FD | up to 64 | whole; a data length of 32 leaves 7 for the message |
//! | LoRaWAN | 11 (US915 DR0) to 51 (EU868 DR0) and more | at the end of the payload, told by the port; where 11 is all, not at all |
//! | BLE, connected | MTU − 3: 20 unless agreed on | in front of a notification or write from an MTU of 28; else a characteristic of its own, written first |
//! | BLE, advertised | 31, of which an AD structure takes 2 and a company id 2 | 25 of the 27 that are left as manufacturer data |
//! | CoAP | — | an option, by [`coap`](super::coap) |
//! | MQTT 5 | — | `traceparent` as user property, by [`mqtt`](super::mqtt): brokers and consoles can read it |

use super::{SpanContext, SpanId, TraceFlags, TraceId};
use core::fmt;

/// Length of the form in bytes.
pub const COMPACT_LEN: usize = 25;

const VERSION_SHIFT: u32 = 5;

/// Why 25 bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CompactError {
    /// Not 25 bytes.
    WrongLength {
        /// How many; 65535 if more.
        len: u16,
    },
    /// A version above 0.
    UnknownVersion {
        /// It: 1 to 7.
        version: u8,
    },
    /// A trace id of zeros only.
    ZeroTraceId,
    /// A span id of zeros only.
    ZeroSpanId,
}

impl fmt::Display for CompactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { len } => write!(f, "compact context: {len} bytes instead of 25"),
            Self::UnknownVersion { version } => {
                write!(f, "compact context: unknown version {version}")
            }
            Self::ZeroTraceId => f.write_str("compact context: all-zero trace id"),
            Self::ZeroSpanId => f.write_str("compact context: all-zero span id"),
        }
    }
}

impl core::error::Error for CompactError {}

/// Reads the form into a context that is marked remote.
///
/// # Errors
/// [`CompactError`]; the caller then starts a new trace.
///
/// ```
/// use spanlet::context::compact::{CompactError, decode, encode};
/// let mut bytes = [7; 25];
/// bytes[24] = 1;
/// let cx = decode(&bytes).unwrap();
/// assert!(cx.is_remote() && cx.is_sampled());
/// assert_eq!(encode(&cx), bytes);
/// bytes[24] |= 1 << 5;
/// assert_eq!(decode(&bytes), Err(CompactError::UnknownVersion { version: 1 }));
/// ```
pub fn decode(bytes: &[u8]) -> Result<SpanContext, CompactError> {
    let wrong_length = CompactError::WrongLength {
        len: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
    };
    let Some((trace, rest)) = bytes.split_first_chunk::<16>() else {
        return Err(wrong_length);
    };
    let Some((span, [flags])) = rest.split_first_chunk::<8>() else {
        return Err(wrong_length);
    };
    let version = flags >> VERSION_SHIFT;
    if version != 0 {
        return Err(CompactError::UnknownVersion { version });
    }
    let trace_id = TraceId::from_bytes(*trace).ok_or(CompactError::ZeroTraceId)?;
    let span_id = SpanId::from_bytes(*span).ok_or(CompactError::ZeroSpanId)?;
    Ok(SpanContext::new(trace_id, span_id, TraceFlags::from_byte(*flags)).remote())
}

/// The context in 25 bytes.
///
/// ```
/// use spanlet::context::compact::encode;
/// use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};
/// let trace = TraceId::from_bytes([7; 16]).unwrap();
/// let span = SpanId::from_bytes([9; 8]).unwrap();
/// let bytes = encode(&SpanContext::new(trace, span, TraceFlags::SAMPLED));
/// assert_eq!(bytes[14..18], [7, 7, 9, 9]);
/// assert_eq!(bytes[24], 1);
/// ```
pub fn encode(cx: &SpanContext) -> [u8; COMPACT_LEN] {
    let mut out = [0; COMPACT_LEN];
    if let Some((trace, rest)) = out.split_first_chunk_mut()
        && let Some((span, [flags])) = rest.split_first_chunk_mut()
    {
        *trace = cx.trace_id().to_bytes();
        *span = cx.span_id().to_bytes();
        // Sampled and random: nothing of the version's bits.
        *flags = cx.flags().to_byte();
    }
    out
}
