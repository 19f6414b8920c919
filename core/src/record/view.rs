//! Reading a record in place.
//!
//! Input: words that a span or the decoder wrote. Output: borrowed values. Bound: the record's length;
//! iterators end with it.

use super::*;
use crate::attribute::{KeyValue, StrArray, Value};
use crate::clock::Ticks;
use crate::context::{SpanContext, SpanId, TraceId};

/// Borrowed, zero-copy view of one recorded span: what every exporter eats.
///
/// Times are [`Ticks`] of the recording process; a [`UnixAnchor`](crate::UnixAnchor) turns them into Unix
/// time.
#[derive(Clone, Copy)]
pub struct SpanView<'a> {
    words: &'a [u64],
}

impl<'a> SpanView<'a> {
    /// # Safety
    /// `words` must be one whole record as [`EntryWriter`] wrote it in this process, and all that it
    /// refers to must live for `'a`: lengths and addresses in it are trusted.
    #[inline(always)]
    pub(crate) unsafe fn new(words: &'a [u64]) -> Option<Self> {
        (words.len() >= HEADER).then_some(SpanView { words })
    }

    #[inline(always)]
    fn word(&self, i: usize) -> u64 {
        debug_assert!(i < HEADER);
        // SAFETY: `new` checked that the header is there.
        unsafe { *self.words.get_unchecked(i) }
    }
    /// Header and entries.
    #[inline(always)]
    pub(crate) fn words(&self) -> &'a [u64] {
        self.words
    }
    #[inline(always)]
    pub(crate) fn has(&self, bit: u64) -> bool {
        self.word(META) & bit != 0
    }

    /// The trace.
    #[inline(always)]
    pub fn trace_id(&self) -> TraceId {
        // A record's id came from a `TraceId`; the fallback is never taken.
        TraceId::from_words([self.word(TRACE), self.word(TRACE + 1)]).unwrap_or(TraceId::INVALID)
    }
    /// The span.
    #[inline(always)]
    pub fn span_id(&self) -> SpanId {
        SpanId::from_word(self.word(SPAN)).unwrap_or(SpanId::INVALID)
    }
    /// The parent span; `None` for the root of the trace.
    #[inline(always)]
    pub fn parent_id(&self) -> Option<SpanId> {
        SpanId::from_word(self.word(PARENT))
    }
    /// Whether the parent was in another process.
    #[inline(always)]
    pub fn parent_is_remote(&self) -> bool {
        self.has(META_REMOTE_PARENT)
    }
    /// When the span started.
    #[inline(always)]
    pub fn start(&self) -> Ticks {
        Ticks(self.word(START))
    }
    /// When it ended.
    #[inline(always)]
    pub fn end(&self) -> Ticks {
        Ticks(self.word(END))
    }
    /// The W3C flags.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the byte")]
    pub fn flags(&self) -> TraceFlags {
        TraceFlags::from_byte((self.word(META) >> META_FLAGS_SHIFT) as u8)
    }
    /// The kind.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the bits")]
    pub fn kind(&self) -> SpanKind {
        SpanKind::from_wire((self.word(META) >> META_KIND_SHIFT) as u8 & 7)
    }
    /// The status; its description is [`status_description`](Self::status_description).
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the bits")]
    pub fn status(&self) -> Status {
        Status::from_wire((self.word(META) >> META_STATUS_SHIFT) as u8 & 3)
    }
    /// Whether the span was unsampled, and kept because it failed or was slow.
    pub fn is_escalated(&self) -> bool {
        self.has(META_ESCALATED)
    }
    /// Whether the clock stood still while the span was open, so that its length is unknown.
    pub fn is_duration_unknown(&self) -> bool {
        self.has(META_DURATION_UNKNOWN)
    }
    /// The name.
    #[inline(always)]
    pub fn name(&self) -> &'a str {
        self.name_text().text
    }
    #[inline(always)]
    pub(crate) fn name_text(&self) -> Text<'a> {
        if self.has(META_HAS_TEXT)
            && let Some(text) = self.text(TextKind::Name)
        {
            return Text {
                text,
                by_ref: false,
            };
        }
        // SAFETY: see `new`.
        let text = unsafe { packed_text(self.word(NAME)) };
        Text { text, by_ref: true }
    }
    /// Why the status is an error, if somebody said.
    pub fn status_description(&self) -> Option<&'a str> {
        self.text_if_any(TextKind::StatusDescription)
    }
    /// The trace state that the span was started with.
    #[inline(always)]
    pub fn trace_state(&self) -> Option<&'a str> {
        self.text_if_any(TextKind::TraceState)
    }
    #[inline(always)]
    fn text_if_any(&self, kind: TextKind) -> Option<&'a str> {
        if self.has(META_HAS_TEXT) {
            self.text(kind)
        } else {
            None
        }
    }
    #[cold]
    fn text(&self, kind: TextKind) -> Option<&'a str> {
        // The last one counts: a name or description set twice.
        self.entries().fold(None, |found, entry| match entry {
            Entry::Text(k, text) if k == kind => Some(text),
            _ => found,
        })
    }
    /// The library that made the span, where it is not the tracer's own scope.
    #[inline(always)]
    pub fn scope(&self) -> Option<&'a InstrumentationScope<'a>> {
        if !self.has(META_HAS_SCOPE) {
            return None;
        }
        self.entries().find_map(|entry| match entry {
            Entry::Scope(scope) => Some(scope),
            _ => None,
        })
    }
    fn counts(&self) -> [u32; 4] {
        if !self.has(META_HAS_COUNTS) {
            return [0; 4];
        }
        self.entries()
            .find_map(|entry| match entry {
                Entry::Counts(counts) => Some(counts),
                _ => None,
            })
            .unwrap_or([0; 4])
    }
    /// Attributes that found no room or were over the limit.
    pub fn dropped_attributes(&self) -> u32 {
        let [attributes, ..] = self.counts();
        attributes
    }
    /// Events that found no room or were over the limit.
    pub fn dropped_events(&self) -> u32 {
        let [_, events, ..] = self.counts();
        events
    }
    /// Links that found no room or were over the limit.
    pub fn dropped_links(&self) -> u32 {
        let [_, _, links, _] = self.counts();
        links
    }
    /// Attribute values that were cut to the length limit.
    pub fn truncated_values(&self) -> u32 {
        let [.., truncated] = self.counts();
        truncated
    }
    /// The span's own attributes, in order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes {
            entries: self.entries(),
            of_item: false,
        }
    }
    /// The events, in order.
    pub fn events(&self) -> Events<'a> {
        Events(self.entries())
    }
    /// The links, in order.
    pub fn links(&self) -> Links<'a> {
        Links(self.entries())
    }
    #[inline(always)]
    pub(crate) fn entries(&self) -> Entries<'a> {
        let range = self.words.as_ptr_range();
        Entries {
            // SAFETY: `new` checked that the header is there.
            at: unsafe { range.start.add(HEADER) },
            end: range.end,
            record: core::marker::PhantomData,
        }
    }
}

impl core::fmt::Debug for SpanView<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SpanView")
            .field("name", &self.name())
            .field("trace_id", &self.trace_id())
            .field("span_id", &self.span_id())
            .field("parent_id", &self.parent_id())
            .field("kind", &self.kind())
            .field("status", &self.status())
            .field("start", &self.start())
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

/// A record of this process: all that it refers to is static, so its texts can be given symbols.
///
/// What rings hand to the drain. Dereferences to [`SpanView`].
#[derive(Clone, Copy, Debug)]
pub struct LocalRecord<'a>(SpanView<'a>);

impl<'a> LocalRecord<'a> {
    /// # Safety
    /// As [`SpanView::new`], and all that the record refers to must be static.
    #[inline(always)]
    pub(crate) unsafe fn new(words: &'a [u64]) -> Option<Self> {
        // SAFETY: the caller's promise.
        unsafe { SpanView::new(words) }.map(LocalRecord)
    }
    /// The record, to read.
    #[inline(always)]
    pub fn view(&self) -> SpanView<'a> {
        self.0
    }
}

impl<'a> core::ops::Deref for LocalRecord<'a> {
    type Target = SpanView<'a>;
    #[inline(always)]
    fn deref(&self) -> &SpanView<'a> {
        &self.0
    }
}

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
    Scope(&'a InstrumentationScope<'a>),
    Text(TextKind, &'a str),
    ItemText(TextKind, &'a str),
    Counts([u32; 4]),
    ItemCounts(u32),
}

/// # Safety
/// `word` must be what `pack` made of a text that lives for `'a`.
#[inline(always)]
unsafe fn packed_text<'a>(word: u64) -> &'a str {
    // SAFETY: the caller's promise.
    unsafe { text_at(unpack_address(word), (word >> 48) as usize) }
}

/// # Safety
/// `address` and `len` must be those of a text that lives for `'a`, or `len` zero.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an address of this target")]
unsafe fn text_at<'a>(address: u64, len: usize) -> &'a str {
    if len == 0 {
        return "";
    }
    // SAFETY: the caller's promise.
    unsafe {
        core::str::from_utf8_unchecked(core::slice::from_raw_parts(
            core::ptr::with_exposed_provenance(address as usize),
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
    /// Where the next entry starts, in words from `base`.
    pub(crate) fn offset_from(&self, base: *const u64) -> usize {
        (self.at.addr() - base.addr()) / 8
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "fields of words")]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.at >= self.end {
            return None;
        }
        // SAFETY: `SpanView::new`'s contract: entries are whole, end at `end`, and what they refer to
        // lives for 'a.
        unsafe {
            let (p, head) = (self.at, *self.at);
            let key = || text_at(unpack_address(head), (head >> 48 & 0x7ff) as usize);
            let of_item = head & OF_ITEM != 0;
            let bytes = |p: *const u64, n: usize| core::slice::from_raw_parts(p.cast::<u8>(), n);
            let (value, words, value_by_ref) = match head >> TAG_SHIFT {
                TAG_FALSE => (Value::Bool(false), 1, false),
                TAG_TRUE => (Value::Bool(true), 1, false),
                TAG_I64 => (Value::I64(*p.add(1) as i64), 2, false),
                TAG_F64 => (Value::F64(f64::from_bits(*p.add(1))), 2, false),
                TAG_REF => (Value::Str(packed_text(*p.add(1))), 2, true),
                TAG_STR => {
                    let n = *p.add(1) as usize;
                    let text = core::str::from_utf8_unchecked(bytes(p.add(2), n));
                    (Value::Str(text), 2 + n.div_ceil(8), false)
                }
                TAG_VALUE => return Some(self.value(head, of_item)),
                tag => return self.other(tag, head, of_item),
            };
            self.at = p.add(words);
            Some(Entry::Attribute {
                of_item,
                key: Text {
                    text: key(),
                    by_ref: true,
                },
                value,
                value_by_ref,
            })
        }
    }
}

impl<'a> Entries<'a> {
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
                    text: text_at(unpack_address(head), (head >> 48 & 0x7ff) as usize),
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
                            text: text_at(unpack_address(head), (head >> 48 & 0x7ff) as usize),
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
                    let at = core::ptr::with_exposed_provenance::<InstrumentationScope<'a>>(
                        unpack_address(head) as usize,
                    );
                    Entry::Scope(&*at)
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
                    let (a, b) = (*p.add(1), *p.add(2));
                    self.at = p.add(COUNTS_WORDS);
                    Entry::Counts([a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32])
                }
                TAG_ITEM_COUNTS => {
                    self.at = p.add(1);
                    Entry::ItemCounts(head as u32)
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

/// Iterator over attributes.
#[derive(Clone)]
pub struct Attributes<'a> {
    entries: Entries<'a>,
    of_item: bool,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = KeyValue<'a, &'a str>;
    fn next(&mut self) -> Option<KeyValue<'a, &'a str>> {
        loop {
            match self.entries.next()? {
                Entry::Attribute {
                    of_item,
                    key,
                    value,
                    ..
                } if of_item == self.of_item => {
                    return Some(KeyValue {
                        key: key.text,
                        value,
                    });
                }
                Entry::Attribute { .. } | Entry::ItemText(..) | Entry::ItemCounts(_) => {}
                // The next event or link, or something of the span's: the item is over.
                _ if self.of_item => return None,
                _ => {}
            }
        }
    }
}

/// An event of a span.
#[derive(Clone)]
pub struct EventView<'a> {
    name: &'a str,
    ticks: Ticks,
    rest: Entries<'a>,
}

impl<'a> EventView<'a> {
    /// What happened.
    pub fn name(&self) -> &'a str {
        item_text(self.rest.clone(), TextKind::Name).unwrap_or(self.name)
    }
    /// When.
    pub fn ticks(&self) -> Ticks {
        self.ticks
    }
    /// Its attributes, in order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes {
            entries: self.rest.clone(),
            of_item: true,
        }
    }
    /// Attributes over the limit.
    pub fn dropped_attributes(&self) -> u32 {
        item_dropped(self.rest.clone())
    }
}

/// A link of a span to another span, of the same trace or another.
#[derive(Clone)]
pub struct LinkView<'a> {
    context: SpanContext,
    rest: Entries<'a>,
}

impl<'a> LinkView<'a> {
    /// The span that is linked to.
    pub fn context(&self) -> SpanContext {
        self.context
    }
    /// Its trace state, if any.
    pub fn trace_state(&self) -> Option<&'a str> {
        item_text(self.rest.clone(), TextKind::TraceState)
    }
    /// The link's attributes, in order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes {
            entries: self.rest.clone(),
            of_item: true,
        }
    }
    /// Attributes over the limit.
    pub fn dropped_attributes(&self) -> u32 {
        item_dropped(self.rest.clone())
    }
}

fn of_item(entry: &Entry<'_>) -> bool {
    matches!(
        entry,
        Entry::Attribute { of_item: true, .. } | Entry::ItemText(..) | Entry::ItemCounts(_)
    )
}
fn item_text<'a>(rest: Entries<'a>, kind: TextKind) -> Option<&'a str> {
    rest.take_while(of_item).find_map(|entry| match entry {
        Entry::ItemText(k, text) if k == kind => Some(text),
        _ => None,
    })
}
fn item_dropped(rest: Entries<'_>) -> u32 {
    rest.take_while(of_item)
        .find_map(|entry| match entry {
            Entry::ItemCounts(n) => Some(n),
            _ => None,
        })
        .unwrap_or(0)
}

/// Iterator over events.
#[derive(Clone)]
pub struct Events<'a>(Entries<'a>);

impl<'a> Iterator for Events<'a> {
    type Item = EventView<'a>;
    fn next(&mut self) -> Option<EventView<'a>> {
        loop {
            if let Entry::Event { name, ticks } = self.0.next()? {
                return Some(EventView {
                    name: name.text,
                    ticks,
                    rest: self.0.clone(),
                });
            }
        }
    }
}

/// Iterator over links.
#[derive(Clone)]
pub struct Links<'a>(Entries<'a>);

impl<'a> Iterator for Links<'a> {
    type Item = LinkView<'a>;
    fn next(&mut self) -> Option<LinkView<'a>> {
        loop {
            if let Entry::Link(context) = self.0.next()? {
                return Some(LinkView {
                    context,
                    rest: self.0.clone(),
                });
            }
        }
    }
}
