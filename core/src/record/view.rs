//! Reading a record in place.
//!
//! Input: words that a span or the decoder wrote. Output: borrowed values. Bound: the record's length;
//! iterators end with it.

use super::entries::{Entries, Entry, Text, text_at};
use super::*;
use crate::attribute::KeyValue;
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
    pub(crate) fn word(&self, i: usize) -> u64 {
        debug_assert!(i < HEADER);
        // SAFETY: `new` checked that the header is there.
        unsafe { *self.words.get_unchecked(i) }
    }
    #[inline(always)]
    fn header(&self) -> &'a Header {
        // SAFETY: `new` checked that the header is there.
        unsafe { &*self.words.as_ptr().cast() }
    }
    /// `len` bytes of the header from word `i` on: of ids, which lie in memory order.
    pub(crate) fn bytes(&self, i: usize, len: usize) -> &'a [u8] {
        debug_assert!(i + len.div_ceil(8) <= HEADER);
        // SAFETY: `new` checked that the header is there.
        unsafe { core::slice::from_raw_parts(self.words.as_ptr().add(i).cast(), len) }
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
        match layout::end(self.header()) {
            Some(end) => Ticks(end),
            None => self.end_apart(),
        }
    }
    #[cold]
    #[inline(never)]
    fn end_apart(&self) -> Ticks {
        let entry = self.raw_entries().find(|entry| entry.tag() == TAG_END);
        entry.map_or(self.start(), |entry| Ticks(entry.word(1)))
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
        let text = unsafe {
            let (address, len) = layout::name(self.header());
            text_at(address, len)
        };
        Text { text, by_ref: true }
    }
    /// Why the status is an error, if somebody said; `None` with any other status.
    ///
    /// SPEC: Trace API, "Set Status": a description is for errors only.
    pub fn status_description(&self) -> Option<&'a str> {
        self.text_if_any(TextKind::StatusDescription)
            .filter(|_| self.status() == Status::Error)
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
        let entry = self
            .raw_entries()
            .filter(|entry| entry.is_text(kind))
            .last()?;
        // SAFETY: see `new`.
        Some(unsafe { core::str::from_utf8_unchecked(entry.text_bytes()) })
    }
    #[inline(always)]
    pub(crate) fn raw_entries(&self) -> RawEntries<'a> {
        // SAFETY: `new` checked that the header is there; its contract is that of `of`.
        unsafe { RawEntries::of(self.words.get_unchecked(HEADER..)) }
    }
    /// The library that made the span, where it is not the tracer's own scope.
    #[inline(always)]
    pub fn scope(&self) -> Option<&'a InstrumentationScope<'a>> {
        if !self.has(META_HAS_SCOPE) {
            return None;
        }
        let entry = self.raw_entries().find(|entry| entry.tag() == TAG_SCOPE)?;
        let at = layout::to_address(entry.word(0));
        // SAFETY: see `new`.
        Some(unsafe { &*core::ptr::with_exposed_provenance::<InstrumentationScope<'a>>(at) })
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
    /// Attribute values that were cut to the length limit, and names, descriptions, trace states and scopes
    /// that found no room.
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
        // SAFETY: `new` checked that the header is there; its contract is that of `of`.
        unsafe { Entries::of(self.words.get_unchecked(HEADER..)) }
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
