//! Entries into a record, for the open span and for the decoder that rebuilds one.
//!
//! Input: typed items. Output: words behind the header. Bound: whatever room the owner grants; an entry
//! is written whole or not at all.

use super::bytes::{put_words, words_of};
use super::*;
use crate::attribute::{StrArray, Value};

/// Whoever owns the words of an open record.
pub(crate) trait Room {
    /// Takes the next `n` words, or none.
    ///
    /// The result is valid for writes of `n` words, which become part of the record: all of them must be
    /// written before the record is read.
    fn room(&mut self, n: usize) -> Option<*mut u64>;
}

/// More words than any record has: the size of what cannot be expressed.
pub(crate) const NEVER: usize = 0xffff;

/// Writes entries into whatever grants room.
pub(crate) struct EntryWriter;

impl EntryWriter {
    /// Words that an attribute takes, [`NEVER`] if it cannot be expressed.
    #[inline(always)]
    pub(crate) fn attribute_words(key: &str, value: &Value<'_>) -> usize {
        if !packs(key, KEY_BITS) {
            return NEVER;
        }
        match value {
            Value::Bool(_) => 1,
            Value::I64(v) if is_small(*v) => 1,
            Value::I64(_) | Value::F64(_) => 2,
            Value::Static(text) => {
                if packs(text, REF_BITS) {
                    2
                } else {
                    NEVER
                }
            }
            // A text is shorter than half the address space, which spares `words_of` its care.
            Value::Str(text) => 2 + ((text.len() + 7) >> 3),
            other => 2 + words_of(payload_len(other)),
        }
    }

    /// Writes an attribute of the span, or with [`OF_ITEM`] in `mark` of the last event or link.
    /// `false` if there was no room.
    ///
    /// The key, and the text of a `Static`, are kept as references: they must outlive the record.
    #[inline(always)]
    pub(crate) fn attribute(to: &mut impl Room, key: &str, mark: u64, value: Value<'_>) -> bool {
        let n = Self::attribute_words(key, &value);
        let Some(slot) = to.room(n) else { return false };
        // SAFETY: the slot has the `n` words that `attribute_words` counted for this value.
        unsafe { Self::put_attribute(slot, pack_key(key) | mark, value) };
        true
    }

    /// # Safety
    /// `slot` must be valid for the words of the attribute, whose key and mark are packed in `key`.
    #[inline(always)]
    pub(crate) unsafe fn put_attribute(slot: *mut u64, key: u64, value: Value<'_>) {
        // SAFETY: each arm writes the words that `attribute_words` counts for it.
        unsafe {
            match value {
                Value::Bool(v) => {
                    let tag = if v { TAG_TRUE } else { TAG_FALSE };
                    slot.write(key | tag << TAG_SHIFT);
                }
                Value::I64(v) if is_small(v) => {
                    let bits = (v as u64 & 0xffff) << SMALL_SHIFT;
                    slot.write(key | bits | TAG_SMALL << TAG_SHIFT);
                }
                Value::I64(v) => {
                    slot.write(key | TAG_I64 << TAG_SHIFT);
                    slot.add(1).write(v as u64);
                }
                Value::F64(v) => {
                    slot.write(key | TAG_F64 << TAG_SHIFT);
                    slot.add(1).write(v.to_bits());
                }
                Value::Static(text) => {
                    slot.write(key | TAG_REF << TAG_SHIFT);
                    slot.add(1).write(pack(text));
                }
                Value::Str(text) => {
                    slot.write(key | TAG_STR << TAG_SHIFT);
                    slot.add(1).write(text.len() as u64);
                    put_words(slot.add(2), text.as_bytes());
                }
                other => {
                    slot.write(key | TAG_VALUE << TAG_SHIFT);
                    put_payload(slot.add(1), 0, &other);
                }
            }
        }
    }

    /// Words that an attribute with a copied key takes, [`NEVER`] if it cannot be expressed.
    pub(crate) fn attribute_copied_words(key: &str, value: &Value<'_>) -> usize {
        if key.is_empty() || key.len() >= 1 << 16 {
            return NEVER;
        }
        2 + words_of(key.len()) + words_of(payload_len(value))
    }

    /// Writes an attribute whose key is copied too.
    pub(crate) fn attribute_copied(
        to: &mut impl Room,
        key: &str,
        mark: u64,
        value: Value<'_>,
    ) -> bool {
        let n = Self::attribute_copied_words(key, &value);
        let Some(slot) = to.room(n) else { return false };
        // SAFETY: head, length, key and payload are what `n` counts.
        unsafe {
            slot.write(mark | TAG_VALUE << TAG_SHIFT);
            put_words(slot.add(2), key.as_bytes());
            put_payload(slot.add(1), key.len(), &value);
        }
        true
    }

    /// Writes an event's head; its attributes must follow at once.
    #[inline(always)]
    pub(crate) fn event(to: &mut impl Room, name: &str, ticks: u64) -> bool {
        if !packs(name, KEY_BITS) {
            return false;
        }
        let Some(slot) = to.room(EVENT_WORDS) else {
            return false;
        };
        // SAFETY: two words were granted.
        unsafe {
            slot.write(pack_key(name) | TAG_EVENT << TAG_SHIFT);
            slot.add(1).write(ticks);
        }
        true
    }

    /// Writes a link's head; its texts and attributes must follow at once.
    pub(crate) fn link(to: &mut impl Room, context: &crate::SpanContext) -> bool {
        let Some(slot) = to.room(LINK_WORDS) else {
            return false;
        };
        let [high, low] = context.trace_id().to_words();
        let bits = context.flags().to_byte() as u64 | (context.is_remote() as u64) << 8;
        // SAFETY: four words were granted.
        unsafe {
            slot.write(bits | TAG_LINK << TAG_SHIFT);
            slot.add(1).write(high);
            slot.add(2).write(low);
            slot.add(3).write(context.span_id().to_word());
        }
        true
    }

    /// Writes how many attributes the last event or link lost.
    pub(crate) fn item_counts(to: &mut impl Room, dropped: u32) -> bool {
        let Some(slot) = to.room(1) else { return false };
        // SAFETY: one word was granted.
        unsafe { slot.write(dropped as u64 | OF_ITEM | TAG_ITEM_COUNTS << TAG_SHIFT) };
        true
    }

    /// Writes a reference to the scope, which must outlive the record.
    #[inline(always)]
    pub(crate) fn scope(to: &mut impl Room, scope: &InstrumentationScope<'_>) -> bool {
        let at = core::ptr::from_ref(scope).expose_provenance();
        if !layout::address_fits(at) {
            return false;
        }
        let Some(slot) = to.room(1) else { return false };
        // SAFETY: one word was granted.
        unsafe { slot.write(layout::of_address(at) | TAG_SCOPE << TAG_SHIFT) };
        true
    }

    /// Writes a text attribute as a reference: key and text must outlive the record. Copies the text if
    /// a reference cannot express it.
    #[inline(always)]
    pub(crate) fn attribute_ref(to: &mut impl Room, key: &str, mark: u64, text: &str) -> bool {
        if !packs(key, KEY_BITS) || !packs(text, REF_BITS) {
            return Self::attribute(to, key, mark, Value::Str(text));
        }
        let Some(slot) = to.room(2) else { return false };
        // SAFETY: two words were granted.
        unsafe {
            slot.write(pack_key(key) | mark | TAG_REF << TAG_SHIFT);
            slot.add(1).write(pack(text));
        }
        true
    }

    /// Writes a value entry of `len` payload bytes of a [`value_type`], zero for the caller to fill; the
    /// key copied, or kept as a reference.
    pub(crate) fn value_words<'r>(
        to: &'r mut impl Room,
        key: &str,
        copied: bool,
        mark: u64,
        kind: u8,
        len: usize,
    ) -> Option<&'r mut [u64]> {
        let (head, key_len) = match copied {
            true if key.is_empty() || key.len() >= 1 << 16 => return None,
            true => (0, key.len()),
            false if !packs(key, KEY_BITS) => return None,
            false => (pack_key(key), 0),
        };
        let payload = words_of(len);
        let slot = to.room((2 + words_of(key_len)).saturating_add(payload))?;
        // SAFETY: head, length, key and payload are what was granted, and `to` is borrowed as long as the
        // payload is.
        unsafe {
            slot.write(head | mark | TAG_VALUE << TAG_SHIFT);
            slot.add(1)
                .write(len as u64 | (kind as u64) << 32 | (key_len as u64) << 48);
            let key = if copied { key.as_bytes() } else { &[] };
            put_words(slot.add(2), key);
            let at = slot.add(2 + words_of(key_len));
            at.write_bytes(0, payload);
            Some(core::slice::from_raw_parts_mut(at, payload))
        }
    }

    /// Writes the span's counts of what was dropped: attributes, events, links, cut values.
    pub(crate) fn counts(to: &mut impl Room, counts: [u32; 4]) -> bool {
        let mut words = layout::counts(counts);
        let Some(slot) = to.room(words.len()) else {
            return false;
        };
        words[0] |= TAG_COUNTS << TAG_SHIFT;
        // SAFETY: as many words were granted.
        unsafe { slot.cast::<[u64; layout::COUNTS_WORDS]>().write(words) };
        true
    }

    /// Writes the span's end, which [`close`] could not.
    pub(crate) fn end(to: &mut impl Room, ticks: u64) -> bool {
        let Some(slot) = to.room(END_WORDS) else {
            return false;
        };
        // SAFETY: two words were granted.
        unsafe {
            slot.write(TAG_END << TAG_SHIFT);
            slot.add(1).write(ticks);
        }
        true
    }

    /// Words that a text entry takes.
    pub(crate) const fn text_words(text: &str) -> usize {
        2 + words_of(text.len())
    }

    /// Writes a text of the span, or with [`OF_ITEM`] in `mark` of the last event or link.
    pub(crate) fn text(to: &mut impl Room, kind: TextKind, mark: u64, text: &str) -> bool {
        let Some(slot) = to.room(Self::text_words(text)) else {
            return false;
        };
        // SAFETY: the words that `text_words` counts were granted.
        unsafe {
            slot.write(kind.to_bits() << 48 | mark | TAG_TEXT << TAG_SHIFT);
            slot.add(1).write(text.len() as u64);
            put_words(slot.add(2), text.as_bytes());
        }
        true
    }
}

/// Words of an event without attributes.
pub(crate) const EVENT_WORDS: usize = 2;
/// Words of a link without attributes.
pub(crate) const LINK_WORDS: usize = 4;

/// Words of an end that lies apart.
pub(crate) const END_WORDS: usize = 2;

/// A key in the head's bits; `packs(key, KEY_BITS)` must hold.
#[inline(always)]
pub(crate) fn pack_key(key: &str) -> u64 {
    pack(key)
}

/// Where in its head a small integer stands: behind the key.
pub(super) const SMALL_SHIFT: u32 = layout::KEY_SHIFT + KEY_BITS;

/// Whether an integer is kept in its head.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "that is the question")]
fn is_small(value: i64) -> bool {
    layout::HAS_SMALL && value as i16 as i64 == value
}

/// Bytes of the value after the two head words of a [`TAG_VALUE`] entry.
fn payload_len(value: &Value<'_>) -> usize {
    match value {
        Value::Bool(_) | Value::I64(_) | Value::F64(_) => 8,
        Value::Str(text) => text.len(),
        Value::Static(text) => text.len(),
        Value::Bytes(bytes) | Value::Any(bytes) => bytes.len(),
        Value::BoolArray(items) => items.len(),
        Value::I64Array(items) => items.len().saturating_mul(8),
        Value::F64Array(items) => items.len().saturating_mul(8),
        Value::StrArray(texts) => texts.packed_len(),
    }
}

/// Writes the second word of a [`TAG_VALUE`] entry and, behind an inline key of `key_len` bytes, the
/// payload.
///
/// # Safety
/// `slot` must be valid for one word, the key's words, and the payload's.
unsafe fn put_payload(slot: *mut u64, key_len: usize, value: &Value<'_>) {
    // SAFETY: by the caller's promise every write below stays inside the entry: word 0, then behind the
    // key as many words as `payload_len` counts bytes for.
    unsafe {
        let to = slot.add(1 + words_of(key_len));
        let kind = match value {
            Value::Bool(v) => {
                to.write(*v as u64);
                value_type::BOOL
            }
            Value::I64(v) => {
                to.write(*v as u64);
                value_type::I64
            }
            Value::F64(v) => {
                to.write(v.to_bits());
                value_type::F64
            }
            Value::Str(text) => {
                put_words(to, text.as_bytes());
                value_type::STR
            }
            Value::Static(text) => {
                put_words(to, text.as_bytes());
                value_type::STR
            }
            Value::Bytes(bytes) => {
                put_words(to, bytes);
                value_type::BYTES
            }
            Value::Any(bytes) => {
                put_words(to, bytes);
                value_type::ANY
            }
            Value::BoolArray(items) => {
                for (i, eight) in items.chunks(8).enumerate() {
                    let mut word = [0; 8];
                    for (byte, item) in word.iter_mut().zip(eight) {
                        *byte = *item as u8;
                    }
                    to.add(i).write(u64::from_ne_bytes(word));
                }
                value_type::BOOL_ARRAY
            }
            Value::I64Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    to.add(i).write(*item as u64);
                }
                value_type::I64_ARRAY
            }
            Value::F64Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    to.add(i).write(item.to_bits());
                }
                value_type::F64_ARRAY
            }
            Value::StrArray(texts) => {
                put_texts(to, texts);
                value_type::STR_ARRAY
            }
        };
        let len = payload_len(value) as u64;
        slot.write(len & 0xffff_ffff | (kind as u64) << 32 | (key_len as u64) << 48);
    }
}

/// # Safety
/// `to` must be valid for the words of `texts.packed_len()` bytes.
unsafe fn put_texts(to: *mut u64, texts: &StrArray<'_>) {
    let len = texts.packed_len();
    if len == 0 {
        return;
    }
    // SAFETY: the last word is inside; the bytes below are `len` in all, as `packed_len` counted them.
    unsafe {
        to.add(words_of(len) - 1).write(0);
        let mut at = to.cast::<u8>();
        for text in texts.iter() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a record is shorter than 2^18 bytes"
            )]
            let head = (text.len() as u32).to_ne_bytes();
            at.copy_from_nonoverlapping(head.as_ptr(), 4);
            at = at.add(4);
            at.copy_from_nonoverlapping(text.as_ptr(), text.len());
            at = at.add(text.len());
        }
    }
}
