//! Entries as they lie in memory: for whoever looks for one of them or moves them, without the code that reads
//! values of all types.
//!
//! Input: the words of entries. Output: their parts. Bound: the words.

use super::entries::{head_text, packed_text};
use super::write::SMALL_SHIFT;
use super::*;

/// One entry, whole.
#[derive(Clone, Copy)]
pub(crate) struct RawEntry<'a> {
    at: *const u64,
    record: core::marker::PhantomData<&'a [u64]>,
}

/// The entries of a record, one by one.
#[derive(Clone)]
pub(crate) struct RawEntries<'a> {
    at: *const u64,
    end: *const u64,
    record: core::marker::PhantomData<&'a [u64]>,
}

impl<'a> RawEntries<'a> {
    /// # Safety
    /// `words` must be whole entries as `EntryWriter` writes them, and what they refer to must live for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn of(words: &'a [u64]) -> Self {
        let range = words.as_ptr_range();
        RawEntries {
            at: range.start,
            end: range.end,
            record: core::marker::PhantomData,
        }
    }
}

impl<'a> Iterator for RawEntries<'a> {
    type Item = RawEntry<'a>;
    #[inline(always)]
    fn next(&mut self) -> Option<RawEntry<'a>> {
        if self.at >= self.end {
            return None;
        }
        let entry = RawEntry {
            at: self.at,
            record: core::marker::PhantomData,
        };
        self.at = self.at.wrapping_add(entry.words());
        Some(entry)
    }
}

impl<'a> RawEntry<'a> {
    /// A word of the entry.
    #[inline(always)]
    pub(crate) fn word(self, n: usize) -> u64 {
        debug_assert!(n < self.words());
        // SAFETY: `of` was promised that the entry is whole; whoever asks knows the words of its tag.
        unsafe { *self.at.add(n) }
    }
    #[inline(always)]
    pub(crate) fn tag(self) -> u64 {
        // SAFETY: each entry has its head.
        unsafe { *self.at >> TAG_SHIFT }
    }
    /// Whether it belongs to the last event or link.
    #[inline(always)]
    pub(crate) fn is_of_item(self) -> bool {
        self.word(0) & OF_ITEM != 0
    }
    /// Words that it takes.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "fields of words")]
    pub(crate) fn words(self) -> usize {
        // SAFETY: whoever has a length has it in its second word.
        unsafe {
            match self.tag() {
                TAG_STR | TAG_TEXT => 2 + (*self.at.add(1) as usize).div_ceil(8),
                TAG_VALUE => {
                    let word = *self.at.add(1);
                    let (len, key_len) = (word as u32 as usize, (word >> 48) as usize);
                    2 + key_len.div_ceil(8) + len.div_ceil(8)
                }
                TAG_I64 | TAG_F64 | TAG_REF | TAG_EVENT | TAG_END => 2,
                TAG_LINK => LINK_WORDS,
                TAG_COUNTS => layout::COUNTS_WORDS,
                _ => 1,
            }
        }
    }
    /// The text that its head refers to.
    pub(crate) fn head_text(self) -> &'a str {
        // SAFETY: whoever asks has a tag whose head has one; `of` was promised that it lives.
        unsafe { head_text(self.word(0)) }
    }
    /// The text that its second word refers to.
    pub(crate) fn reference(self) -> &'a str {
        // SAFETY: as in `head_text`.
        unsafe { packed_text(self.word(1)) }
    }
    /// `len` bytes from word `n` on.
    pub(crate) fn bytes(self, n: usize, len: usize) -> &'a [u8] {
        debug_assert!(n + len.div_ceil(8) <= self.words());
        // SAFETY: as in `word`.
        unsafe { core::slice::from_raw_parts(self.at.add(n).cast(), len) }
    }
    /// The bytes of a [`TAG_STR`] or [`TAG_TEXT`] entry.
    #[expect(clippy::cast_possible_truncation, reason = "below 2^18")]
    pub(crate) fn text_bytes(self) -> &'a [u8] {
        self.bytes(2, self.word(1) as usize)
    }
    /// The integer of a [`TAG_SMALL`] entry.
    pub(crate) fn small(self) -> i64 {
        (self.word(0) >> SMALL_SHIFT) as i16 as i64
    }
    /// The key inside a [`TAG_VALUE`] entry; empty: it is the head's.
    pub(crate) fn copied_key(self) -> &'a [u8] {
        self.bytes(2, (self.word(1) >> 48) as usize)
    }
    /// The counts of a [`TAG_COUNTS`] entry.
    pub(crate) fn counts(self) -> [u32; 4] {
        // SAFETY: an entry of this kind has as many words.
        layout::to_counts(unsafe { *self.at.cast() })
    }
    /// Whether it is this text of the span.
    pub(crate) fn is_text(self, wanted: TextKind) -> bool {
        self.word(0) == wanted.to_bits() << 48 | TAG_TEXT << TAG_SHIFT
    }
    /// Whether it is an attribute of the span with this key.
    pub(crate) fn has_key(self, wanted: &[u8]) -> bool {
        let key = match self.tag() {
            TAG_FALSE..=TAG_STR => self.head_text().as_bytes(),
            TAG_SMALL if layout::HAS_SMALL => self.head_text().as_bytes(),
            TAG_VALUE if self.word(1) >> 48 != 0 => self.copied_key(),
            TAG_VALUE => self.head_text().as_bytes(),
            _ => return false,
        };
        // By hand: keys are short, and a device need not link `memcmp` for them.
        !self.is_of_item()
            && key.len() == wanted.len()
            && key.iter().zip(wanted).all(|(a, b)| a == b)
    }
}
