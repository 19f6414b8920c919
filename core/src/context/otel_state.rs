//! The `ot` member of a `tracestate`: OpenTelemetry's own sub-keys.
//!
//! Input: the value of `ot`, as in `ot=th:fd70a4;rv:6e6d1a75832a2f`. Output: the sampling threshold and
//! the randomness that consistent samplers share; written back into a [`TraceStateBuf`]. Bound: 256
//! characters, what a value may have.
//!
//! SPEC: OpenTelemetry "TraceState Handling": `th` is 1 to 14 lowercase hex digits, on the right of
//! which zeros are left out; `rv` is exactly 14. Sub-keys that are malformed count as absent and are
//! passed on as they are.

use heapless::String;

use super::hex_text::digit;
use super::tracestate::{
    MAX_PART_LEN, TraceState, TraceStateBuf, TraceStateError, TraceStateErrorKind,
};

const MEMBER: &str = "ot";
const THRESHOLD: &str = "th";
const RANDOMNESS: &str = "rv";
/// Digits of 56 bits.
const DIGITS: usize = 14;

/// The value of an `ot` member; empty if there is none.
///
/// ```
/// use spanlet::context::TraceState;
/// let state = TraceState::parse([&b"ot=th:8;rv:0123456789abcd"[..]]).unwrap();
/// assert_eq!(state.otel().threshold(), Some(0x80_0000_0000_0000));
/// assert_eq!(state.otel().randomness(), Some(0x01_2345_6789_abcd));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OtelTraceState<'a>(&'a str);

impl<'a> OtelTraceState<'a> {
    /// The text of a sub-key.
    pub fn get(self, sub_key: &str) -> Option<&'a str> {
        pairs(self.0)
            .find(|(key, _)| *key == sub_key)
            .and_then(|(_, value)| value)
    }

    /// `th`: spans whose 56 bits of randomness are below it were dropped. 0 is 100 %.
    pub fn threshold(self) -> Option<u64> {
        let text = self.get(THRESHOLD)?;
        let missing = DIGITS.checked_sub(text.len())?;
        let value = hex_number(text)?;
        Some(value << (missing * 4))
    }

    /// `rv`: the 56 bits of randomness, where the trace id does not supply them.
    pub fn randomness(self) -> Option<u64> {
        let text = self.get(RANDOMNESS)?;
        if text.len() != DIGITS {
            return None;
        }
        hex_number(text)
    }
}

/// Sub-keys and values; pieces without `:` have none.
fn pairs(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(';')
        .filter(|piece| !piece.is_empty())
        .map(|piece| match piece.split_once(':') {
            Some((key, value)) => (key, Some(value)),
            None => (piece, None),
        })
}

/// Of 1 to 14 lowercase hex digits.
fn hex_number(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes()
        .try_fold(0, |value, byte| Some(value << 4 | u64::from(digit(byte)?)))
}

/// 56 bits as 14 digits; `None` if there are more bits.
fn hex_digits(value: u64) -> Option<[u8; DIGITS]> {
    if value >> (DIGITS * 4) != 0 {
        return None;
    }
    let mut digits = [b'0'; DIGITS];
    let mut rest = value;
    for place in digits.iter_mut().rev() {
        let [nibble, ..] = (rest & 0x0f).to_le_bytes();
        *place = nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
        rest >>= 4;
    }
    Some(digits)
}

impl<'a> TraceState<'a> {
    /// OpenTelemetry's member.
    pub fn otel(&self) -> OtelTraceState<'a> {
        OtelTraceState(self.get(MEMBER).unwrap_or_default())
    }
}

impl<const N: usize> TraceStateBuf<N> {
    /// OpenTelemetry's member.
    pub fn otel(&self) -> OtelTraceState<'_> {
        OtelTraceState(self.get(MEMBER).unwrap_or_default())
    }

    /// Sets or removes `th`, and moves the `ot` member to the front. The other sub-keys stay.
    ///
    /// # Errors
    /// A threshold of more than 56 bits; a member past 256 characters or past the buffer. The list is
    /// then as it was.
    ///
    /// ```
    /// use spanlet::context::TraceStateBuf;
    /// let mut state = TraceStateBuf::<512>::new();
    /// state.set_randomness(0x6e_6d1a_7583_2a2f).unwrap();
    /// state.set_threshold(Some(0xe6_6666_6666_6680)).unwrap();
    /// assert_eq!(state.as_str(), "ot=rv:6e6d1a75832a2f;th:e666666666668");
    /// state.set_threshold(None).unwrap();
    /// assert_eq!(state.as_str(), "ot=rv:6e6d1a75832a2f");
    /// ```
    pub fn set_threshold(&mut self, threshold: Option<u64>) -> Result<(), TraceStateError> {
        let Some(threshold) = threshold else {
            return self.set_otel(THRESHOLD, None);
        };
        let digits = hex_digits(threshold).ok_or(bad_value())?;
        let text = core::str::from_utf8(&digits).map_err(|_| bad_value())?;
        let text = match text.trim_end_matches('0') {
            "" => "0",
            text => text,
        };
        self.set_otel(THRESHOLD, Some(text))
    }

    /// Sets `rv`, once: who finds it set must not change it.
    ///
    /// # Errors
    /// [`RandomnessIsSet`](TraceStateErrorKind::RandomnessIsSet), and as [`set_threshold`](Self::set_threshold).
    ///
    /// ```
    /// use spanlet::context::TraceStateBuf;
    /// let mut state = TraceStateBuf::<512>::new();
    /// state.set_randomness(7).unwrap();
    /// assert!(state.set_randomness(8).is_err());
    /// assert_eq!(state.as_str(), "ot=rv:00000000000007");
    /// ```
    pub fn set_randomness(&mut self, randomness: u64) -> Result<(), TraceStateError> {
        if self.otel().get(RANDOMNESS).is_some() {
            return Err(TraceStateError::new(
                TraceStateErrorKind::RandomnessIsSet,
                0,
            ));
        }
        let digits = hex_digits(randomness).ok_or(bad_value())?;
        let text = core::str::from_utf8(&digits).map_err(|_| bad_value())?;
        self.set_otel(RANDOMNESS, Some(text))
    }

    /// Replaces a sub-key where it stands, or appends it; the rest is passed on as it is.
    fn set_otel(&mut self, sub_key: &str, value: Option<&str>) -> Result<(), TraceStateError> {
        let mut text = String::<MAX_PART_LEN>::new();
        let mut push = |key: &str, value: Option<&str>| {
            let (colon, value) = value.map_or(("", ""), |value| (":", value));
            let semicolon = if text.is_empty() { "" } else { ";" };
            [semicolon, key, colon, value]
                .into_iter()
                .try_for_each(|part| text.push_str(part))
                .map_err(|_| TraceStateError::new(TraceStateErrorKind::ValueTooLong, MAX_PART_LEN))
        };
        let mut pending = value;
        for (key, old) in pairs(self.otel().0) {
            if key != sub_key {
                push(key, old)?;
            } else if let Some(value) = pending.take() {
                push(key, Some(value))?;
            }
        }
        if let Some(value) = pending {
            push(sub_key, Some(value))?;
        }
        if text.is_empty() {
            self.remove(MEMBER);
            return Ok(());
        }
        self.insert(MEMBER, &text).map(|_dropped| ())
    }
}

fn bad_value() -> TraceStateError {
    TraceStateError::new(TraceStateErrorKind::BadValue, 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::format;

    #[test]
    fn thresholds_of_the_specification() {
        for (threshold, text) in [
            (0, "0"),
            (0x80_0000_0000_0000, "8"),
            (0xe6_6666_6666_6680, "e666666666668"),
            (0xfd_70a4_0000_0000, "fd70a4"),
            ((1 << 56) - 1, "ffffffffffffff"),
        ] {
            let mut state = TraceStateBuf::<512>::new();
            state.set_threshold(Some(threshold)).unwrap();
            assert_eq!(state.as_str(), format!("ot=th:{text}"));
            assert_eq!(state.otel().threshold(), Some(threshold));
        }
        assert!(
            TraceStateBuf::<512>::new()
                .set_threshold(Some(1 << 56))
                .is_err()
        );
    }

    #[test]
    fn malformed_sub_keys_count_as_absent_and_stay() {
        for text in [
            "th:",
            "th:G",
            "th:0123456789abcdef",
            "rv:12",
            "th",
            "x;th:A",
        ] {
            let mut state = TraceStateBuf::<512>::new();
            state.insert("ot", text).unwrap();
            assert_eq!(state.otel().threshold(), None, "{text}");
            assert_eq!(state.otel().randomness(), None, "{text}");
        }
        let mut state = TraceStateBuf::<512>::new();
        state.insert("ot", "p:8;th:f;x;;zz:1").unwrap();
        state.insert("rojo", "1").unwrap();
        state.set_threshold(Some(0)).unwrap();
        assert_eq!(state.as_str(), "ot=p:8;th:0;x;zz:1,rojo=1");
    }

    #[test]
    fn a_member_that_would_pass_256_characters_stays_as_it_was() {
        let mut state = TraceStateBuf::<512>::new();
        let full = format!("x:{}", "y".repeat(254));
        state.insert("ot", &full).unwrap();
        assert!(state.set_threshold(Some(1)).is_err());
        assert_eq!(state.get("ot"), Some(&*full));
    }
}
