//! The entries of a record, one by one.
//!
//! Input: words that a span or the decoder wrote. Output: borrowed entries, in the order in which they were
//! written. Bound: the record's length.

use super::write::SMALL_SHIFT;
use super::*;
use crate::attribute::{StrArray, Value};
use crate::clock::Ticks;
use crate::context::{SpanContext, SpanId, TraceId};

/// A text of a record, and whether the record refers to it or holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Text<'a> {
    pub(crate) text: &'a str,
    pub(crate) by_ref: bool,
}

/// One entry of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    /// An attribute, of the last event or link if `of_item`; `value_by_ref` if it is text by reference.
    Attribute {
        of_item: bool,
        key: Text<'a>,
        value: Value<'a>,
        value_by_ref: bool,
    },
    Event {
        name: Text<'a>,
        ticks: Ticks,
    },
    Link(SpanContext),
    Scope,
    Text(TextKind, &'a str),
    ItemText(TextKind, &'a str),
    Counts([u32; 4]),
    ItemCounts(u32),
    End,
}

/// # Safety
/// `word` must be what `pack` made of a text that lives for `'a`.
#[inline(always)]
pub(crate) unsafe fn packed_text<'a>(word: u64) -> &'a str {
    // SAFETY: the caller's promise.
    unsafe { text_at(layout::to_address(word), layout::packed_len(word)) }
}

/// The key or name that a head word refers to.
///
/// # Safety
/// `head` must hold what `pack_key` made of a text that lives for `'a`.
#[inline(always)]
pub(super) unsafe fn head_text<'a>(head: u64) -> &'a str {
    // SAFETY: the caller's promise.
    unsafe {
        text_at(
            layout::to_address(head),
            (head >> layout::KEY_SHIFT & ((1 << KEY_BITS) - 1)) as usize,
        )
    }
}

/// # Safety
/// `address` and `len` must be those of a text that lives for `'a`, or `len` zero.
#[inline(always)]
pub(super) unsafe fn text_at<'a>(address: usize, len: usize) -> &'a str {
    if len == 0 {
        return "";
    }
    // SAFETY: the caller's promise.
    unsafe {
        core::str::from_utf8_unchecked(core::slice::from_raw_parts(
            core::ptr::with_exposed_provenance(address),
            len,
        ))
    }
}

/// The entries of a record in the order in which they were written.
#[derive(Clone)]
pub(crate) struct Entries<'a> {
    at: *const u64,
    end: *const u64,
    record: core::marker::PhantomData<&'a [u64]>,
}

impl<'a> Entries<'a> {
    /// # Safety
    /// As [`SpanView::new`], for the entries alone.
    pub(crate) unsafe fn of(words: &'a [u64]) -> Self {
        let range = words.as_ptr_range();
        Entries {
            at: range.start,
            end: range.end,
            record: core::marker::PhantomData,
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;
    #[inline(always)]
    fn next(&mut self) -> Option<Entry<'a>> {
        /// Keeps what it is shown.
        struct Keep;
        impl<'a> Visit<'a> for Keep {
            type Out = Entry<'a>;
            #[inline(always)]
            fn attribute(
                &mut self,
                of_item: bool,
                key: Text<'a>,
                value: Value<'a>,
                value_by_ref: bool,
            ) -> Entry<'a> {
                Entry::Attribute {
                    of_item,
                    key,
                    value,
                    value_by_ref,
                }
            }
            #[inline(always)]
            fn other(&mut self, entry: Entry<'a>) -> Entry<'a> {
                entry
            }
        }
        self.show_next(&mut Keep)
    }
}

/// What is shown the entries of a record one by one.
///
/// Instead of a `match` on each [`Entry`], where one is read often: `attribute` is inlined once for each
/// type of value, and so the dispatch on the entry's tag is also the one on the value's type.
pub(crate) trait Visit<'a> {
    type Out;
    /// A simple attribute; the others come as an [`Entry::Attribute`] to [`other`](Self::other).
    fn attribute(
        &mut self,
        of_item: bool,
        key: Text<'a>,
        value: Value<'a>,
        value_by_ref: bool,
    ) -> Self::Out;
    fn other(&mut self, entry: Entry<'a>) -> Self::Out;
}

impl<'a> Entries<'a> {
    /// Shows the next entry; `None` at the end.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "fields of words")]
    pub(crate) fn show_next<V: Visit<'a>>(&mut self, to: &mut V) -> Option<V::Out> {
        if self.at >= self.end {
            return None;
        }
        // SAFETY: `SpanView::new`'s contract: entries are whole, end at `end`, and what they refer to
        // lives for 'a.
        unsafe {
            let (p, head) = (self.at, *self.at);
            let of_item = head & OF_ITEM != 0;
            match head >> TAG_SHIFT {
                TAG_I64 => self.simple(to, head, 2, Value::I64(*p.add(1) as i64), false),
                TAG_SMALL if layout::HAS_SMALL => {
                    let small = (head >> SMALL_SHIFT) as i16;
                    self.simple(to, head, 1, Value::I64(small as i64), false)
                }
                TAG_REF => self.simple(to, head, 2, Value::Str(packed_text(*p.add(1))), true),
                TAG_STR => {
                    let n = *p.add(1) as usize;
                    let bytes = core::slice::from_raw_parts(p.add(2).cast::<u8>(), n);
                    let text = core::str::from_utf8_unchecked(bytes);
                    self.simple(to, head, 2 + n.div_ceil(8), Value::Str(text), false)
                }
                TAG_FALSE => self.simple(to, head, 1, Value::Bool(false), false),
                TAG_TRUE => self.simple(to, head, 1, Value::Bool(true), false),
                TAG_F64 => self.simple(to, head, 2, Value::F64(f64::from_bits(*p.add(1))), false),
                TAG_VALUE => Some(to.other(self.value(head, of_item))),
                tag => self.other(tag, head, of_item).map(|entry| to.other(entry)),
            }
        }
    }
}

impl<'a> Entries<'a> {
    /// Shows an attribute of `words` words.
    ///
    /// # Safety
    /// `self.at` must be at it, and `head` be its head.
    #[inline(always)]
    unsafe fn simple<V: Visit<'a>>(
        &mut self,
        to: &mut V,
        head: u64,
        words: usize,
        value: Value<'a>,
        value_by_ref: bool,
    ) -> Option<V::Out> {
        // SAFETY: the entry is whole, and its head's text lives for 'a.
        let text = unsafe {
            self.at = self.at.add(words);
            head_text(head)
        };
        let key = Text { text, by_ref: true };
        Some(to.attribute(head & OF_ITEM != 0, key, value, value_by_ref))
    }

    /// # Safety
    /// `self.at` must be at a [`TAG_VALUE`] entry whose head is `head`.
    #[expect(clippy::cast_possible_truncation, reason = "fields of words")]
    unsafe fn value(&mut self, head: u64, of_item: bool) -> Entry<'a> {
        // SAFETY: the entry is whole, as `put_payload` wrote it.
        unsafe {
            let p = self.at;
            let word = *p.add(1);
            let (len, key_len) = (word as u32 as usize, (word >> 48) as usize);
            let key = if key_len == 0 {
                Text {
                    text: head_text(head),
                    by_ref: true,
                }
            } else {
                let bytes = core::slice::from_raw_parts(p.add(2).cast::<u8>(), key_len);
                Text {
                    text: core::str::from_utf8_unchecked(bytes),
                    by_ref: false,
                }
            };
            let q = p.add(2 + key_len.div_ceil(8));
            self.at = q.add(len.div_ceil(8));
            let bytes = core::slice::from_raw_parts(q.cast::<u8>(), len);
            let value = match (word >> 32) as u8 {
                value_type::BOOL => Value::Bool(*q != 0),
                value_type::I64 => Value::I64(*q as i64),
                value_type::F64 => Value::F64(f64::from_bits(*q)),
                value_type::STR => Value::Str(core::str::from_utf8_unchecked(bytes)),
                value_type::BOOL_ARRAY => {
                    Value::BoolArray(core::slice::from_raw_parts(q.cast::<bool>(), len))
                }
                value_type::I64_ARRAY => {
                    Value::I64Array(core::slice::from_raw_parts(q.cast::<i64>(), len / 8))
                }
                value_type::F64_ARRAY => {
                    Value::F64Array(core::slice::from_raw_parts(q.cast::<f64>(), len / 8))
                }
                value_type::STR_ARRAY => Value::StrArray(StrArray::packed(bytes)),
                value_type::ANY => Value::Any(bytes),
                _ => Value::Bytes(bytes),
            };
            Entry::Attribute {
                of_item,
                key,
                value,
                value_by_ref: false,
            }
        }
    }

    /// # Safety
    /// `self.at` must be at an entry that is no attribute, whose head is `head`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "fields of words")]
    unsafe fn other(&mut self, tag: u64, head: u64, of_item: bool) -> Option<Entry<'a>> {
        // SAFETY: the entry is whole.
        unsafe {
            let p = self.at;
            Some(match tag {
                TAG_EVENT => {
                    self.at = p.add(2);
                    Entry::Event {
                        name: Text {
                            text: head_text(head),
                            by_ref: true,
                        },
                        ticks: Ticks(*p.add(1)),
                    }
                }
                TAG_LINK => {
                    self.at = p.add(4);
                    let trace = TraceId::from_words([*p.add(1), *p.add(2)])?;
                    let span = SpanId::from_word(*p.add(3))?;
                    let context = SpanContext::new(trace, span, TraceFlags::from_byte(head as u8));
                    Entry::Link(if head & 0x100 != 0 {
                        context.remote()
                    } else {
                        context
                    })
                }
                TAG_SCOPE => {
                    self.at = p.add(1);
                    Entry::Scope
                }
                TAG_TEXT => {
                    let n = *p.add(1) as usize;
                    self.at = p.add(2 + n.div_ceil(8));
                    let bytes = core::slice::from_raw_parts(p.add(2).cast::<u8>(), n);
                    let text = core::str::from_utf8_unchecked(bytes);
                    let kind = TextKind::from_bits(head >> 48 & 0x7ff)?;
                    if of_item {
                        Entry::ItemText(kind, text)
                    } else {
                        Entry::Text(kind, text)
                    }
                }
                TAG_COUNTS => {
                    self.at = p.add(layout::COUNTS_WORDS);
                    Entry::Counts(layout::to_counts(*p.cast()))
                }
                TAG_ITEM_COUNTS => {
                    self.at = p.add(1);
                    Entry::ItemCounts(head as u32)
                }
                TAG_END if layout::HAS_SMALL => {
                    self.at = p.add(END_WORDS);
                    Entry::End
                }
                // No writer makes these; what follows cannot be understood.
                _ => {
                    self.at = self.end;
                    return None;
                }
            })
        }
    }
}
