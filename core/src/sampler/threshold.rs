//! Consistent sampling's two numbers, in the trace state's `ot` member: the rejection threshold `th` and
//! the explicit randomness `rv`.
//!
//! Input: trace state text, or a threshold. Output: 56-bit numbers, or the text of one. Bound: one pass
//! over the text; what is malformed counts as absent.
//!
//! SPEC: "TraceState Handling", `th` and `rv`; "TraceState: Probability Sampling".

use crate::context::TraceId;
use core::fmt;

/// 2^56: the number of values that randomness can have, and the threshold that rejects them all.
pub const MAX_THRESHOLD: u64 = 1 << 56;

/// Hex digits of 56 bits.
const DIGITS: usize = 14;

/// Why a text is not a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ThresholdError {
    /// It is empty.
    Empty,
    /// It has more than 14 digits.
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It holds something else than a lowercase hex digit.
    BadHex {
        /// Where, in bytes.
        offset: usize,
    },
}

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("sampling threshold is empty"),
            Self::TooLong { len } => {
                write!(f, "sampling threshold has {len} digits, 14 are allowed")
            }
            Self::BadHex { offset } => write!(
                f,
                "sampling threshold has something else than a lowercase hex digit at byte {offset}"
            ),
        }
    }
}
impl core::error::Error for ThresholdError {}

/// The number of a `th` value: 1 to 14 lowercase hex digits, the missing ones on the right being zeros.
///
/// # Errors
/// If it is empty, longer, or has another character.
///
/// ```
/// use spanlet::sampler::{ThresholdError, parse_threshold};
/// assert_eq!(parse_threshold("8"), Ok(1 << 55)); // rejects half
/// assert_eq!(parse_threshold("0"), Ok(0)); // rejects none
/// assert_eq!(parse_threshold("8X"), Err(ThresholdError::BadHex { offset: 1 }));
/// ```
pub const fn parse_threshold(text: &str) -> Result<u64, ThresholdError> {
    let mut rest = text.as_bytes();
    if rest.is_empty() {
        return Err(ThresholdError::Empty);
    }
    if rest.len() > DIGITS {
        return Err(ThresholdError::TooLong { len: rest.len() });
    }
    let (mut number, mut offset) = (0, 0);
    while let [digit, after @ ..] = rest {
        let value = match digit {
            b'0'..=b'9' => *digit - b'0',
            b'a'..=b'f' => *digit - b'a' + 10,
            _ => return Err(ThresholdError::BadHex { offset }),
        };
        number = number << 4 | value as u64;
        offset += 1;
        rest = after;
    }
    Ok(number << (4 * (DIGITS - offset)))
}

/// A threshold as it stands behind `th:`; derefs to `str`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ThresholdText {
    digits: [u8; DIGITS],
    len: usize,
}

impl ThresholdText {
    /// The text, 1 to 14 lowercase hex digits.
    #[inline]
    pub fn as_str(&self) -> &str {
        let digits = self.digits.get(..self.len).unwrap_or(&[]);
        core::str::from_utf8(digits).unwrap_or("0")
    }
}
impl core::ops::Deref for ThresholdText {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}
impl fmt::Display for ThresholdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
impl fmt::Debug for ThresholdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The text of a threshold: 14 hex digits without the zeros at their end, but at least one digit.
///
/// Only the low 56 bits count: [`MAX_THRESHOLD`] has no text, for a span that nothing keeps carries no `th`.
///
/// ```
/// use spanlet::sampler::encode_threshold;
/// assert_eq!(encode_threshold(0).as_str(), "0"); // 100 %
/// assert_eq!(encode_threshold(1 << 55).as_str(), "8"); // 50 %
/// assert_eq!(encode_threshold(0xfd70a400000000).as_str(), "fd70a4"); // 1 %
/// ```
pub fn encode_threshold(threshold: u64) -> ThresholdText {
    let threshold = threshold & (MAX_THRESHOLD - 1);
    let mut digits = [0; DIGITS];
    for (i, digit) in digits.iter_mut().enumerate() {
        let [value, ..] = (threshold >> (4 * (DIGITS - 1 - i)) & 0xf).to_le_bytes();
        *digit = if value < 10 {
            b'0' + value
        } else {
            b'a' - 10 + value
        };
    }
    let zeros = (threshold.trailing_zeros() / 4) as usize;
    ThresholdText {
        digits,
        len: DIGITS.saturating_sub(zeros).max(1),
    }
}

/// The value of `ot`'s sub-key `key` (with its colon). The first of each counts: both are unique.
fn sub_value<'a>(trace_state: &'a str, key: &str) -> Option<&'a str> {
    let ot = trace_state
        .split(',')
        .find_map(|member| member.trim_matches([' ', '\t']).strip_prefix("ot="))?;
    ot.split(';').find_map(|pair| pair.strip_prefix(key))
}

/// The rejection threshold that a trace state carries, 0 to 2^56 - 1. A malformed one counts as absent.
///
/// ```
/// use spanlet::sampler::threshold_of;
/// assert_eq!(threshold_of("vendor=1,ot=rv:7479cfb506891d;th:8"), Some(1 << 55));
/// assert_eq!(threshold_of("vendor=th:8"), None);
/// ```
pub fn threshold_of(trace_state: &str) -> Option<u64> {
    parse_threshold(sub_value(trace_state, "th:")?).ok()
}

/// The trace's randomness, 56 bits: what `rv` says, or else the right-most 7 bytes of the trace id.
///
/// A malformed `rv` (other than 14 hex digits) counts as absent.
///
/// ```
/// use spanlet::{TraceId, sampler::randomness};
/// let id = TraceId::from_bytes([0x11; 16]).unwrap();
/// assert_eq!(randomness(id, None), 0x11111111111111);
/// assert_eq!(randomness(id, Some("ot=rv:7479cfb506891d")), 0x7479cfb506891d);
/// ```
#[inline]
pub fn randomness(trace_id: TraceId, trace_state: Option<&str>) -> u64 {
    match trace_state.and_then(explicit_randomness) {
        Some(explicit) => explicit,
        None => trace_id.low64() & (MAX_THRESHOLD - 1),
    }
}

#[cold]
fn explicit_randomness(trace_state: &str) -> Option<u64> {
    let text = sub_value(trace_state, "rv:")?;
    if text.len() == DIGITS {
        parse_threshold(text).ok()
    } else {
        None
    }
}
