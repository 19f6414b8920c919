//! The low 32 bits of a record's first word: state and length, the length twice.
//!
//! `state << 30 | (!len & 0x7fff) << 15 | len`, `len` in 64-bit words, the header's own word included.
//! The complement tells a header from payload or noise. Zero and all ones are never a header, so
//! cleared and erased memory hold none. The high 32 bits of the word belong to the record.

/// The longest record that a header can state, in 64-bit words.
pub const MAX_WORDS: usize = LEN as usize;

const LEN: u32 = 0x7fff;
const STATE: u32 = 0b11 << 30;
const RESERVED: u32 = 0b01 << 30;
const COMMITTED: u32 = 0b10 << 30;

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A writer owns it.
    Reserved,
    /// It can be read.
    Committed,
    /// Nothing to read: padding before the end of the buffer, or a record given up.
    Skip,
}

/// A valid header: made by [`Header::new`] or checked by [`Header::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header(u32);

impl Header {
    /// A header for `len` words, or `None` unless `len` is 1 to [`MAX_WORDS`].
    ///
    /// ```
    /// use spanlet::ring::header::{Header, State};
    /// let header = Header::new(State::Committed, 8).unwrap();
    /// assert_eq!(Header::parse(header.word()), Some(header));
    /// assert_eq!(Header::new(State::Committed, 0), None);
    /// ```
    #[must_use]
    pub const fn new(state: State, len: usize) -> Option<Self> {
        if len == 0 || len > MAX_WORDS {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most MAX_WORDS, just checked"
        )]
        Some(Self::of(state, len as u32))
    }

    /// As [`Header::new`] for a length that the caller has checked: three instructions.
    #[inline(always)]
    pub(super) const fn of(state: State, len: u32) -> Self {
        let state = match state {
            State::Reserved => RESERVED,
            State::Committed => COMMITTED,
            State::Skip => STATE,
        };
        // (0x7fff - len) << 15 | len, as one multiplication and one subtraction.
        Header((state | LEN << 15).wrapping_sub(len.wrapping_mul(LEN)))
    }

    /// Checks a word that may be anything.
    #[inline]
    #[must_use]
    pub const fn parse(word: u32) -> Option<Self> {
        let whole = (word >> 15) & LEN == !word & LEN;
        if whole && word & STATE != 0 && word & LEN != 0 {
            Some(Header(word))
        } else {
            None
        }
    }

    /// As stored.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// What stands here.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> State {
        match self.0 & STATE {
            RESERVED => State::Reserved,
            COMMITTED => State::Committed,
            _ => State::Skip,
        }
    }

    /// 64-bit words from this one to the next header, this one included: 1 to [`MAX_WORDS`].
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[inline(always)]
    #[must_use]
    pub const fn len(self) -> usize {
        (self.0 & LEN) as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_length_and_state_comes_back() {
        for state in [State::Reserved, State::Committed, State::Skip] {
            for len in 1..=MAX_WORDS {
                let header = Header::new(state, len).unwrap();
                let parsed = Header::parse(header.word()).unwrap();
                assert_eq!((parsed.state(), parsed.len()), (state, len));
            }
            assert_eq!(Header::new(state, 0), None);
            assert_eq!(Header::new(state, MAX_WORDS + 1), None);
        }
    }

    #[test]
    fn layout_is_state_complement_length() {
        let word = Header::new(State::Committed, 5).unwrap().word();
        assert_eq!(word, 0b10 << 30 | (!5 & 0x7fff) << 15 | 5);
        assert_eq!(Header::new(State::Skip, 1).unwrap().word() >> 30, 3);
        assert_eq!(Header::new(State::Reserved, 1).unwrap().word() >> 30, 1);
    }

    #[test]
    fn cleared_erased_and_damaged_words_are_refused() {
        assert_eq!(Header::parse(0), None);
        assert_eq!(Header::parse(u32::MAX), None);
        let word = Header::new(State::Committed, 17).unwrap().word();
        for bit in 0..30 {
            assert_eq!(Header::parse(word ^ 1 << bit), None, "bit {bit}");
        }
    }
}
