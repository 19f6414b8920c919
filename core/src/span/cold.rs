//! The span's rare ways: values that are set again or cut, items with attributes, texts, drops, growth.
//!
//! Out of line, so that the setters stay small where they are inlined. One file, though a long one: all of it
//! writes into the same open record and counts drops by the same rules.

use super::builder::Extras;
use super::*;
use crate::attribute::{self, StrArray};
use crate::context::{TraceState, TraceStateBuf};
use crate::recorder::EndedUnsampled;
use crate::sampler::{ThresholdUpdate, encode_threshold, threshold_of};
use core::fmt::Write;

/// Bytes of an error's message that [`Span::record_error`] keeps.
const MESSAGE: usize = 256;

/// Whether a text of `value` is longer than `longest` bytes.
#[inline(always)]
pub(super) fn is_longer(value: &Value<'_>, longest: u32) -> bool {
    let longest = longest as usize;
    match value {
        Value::Str(text) => text.len() > longest,
        Value::Static(text) => text.len() > longest,
        Value::Bytes(bytes) => bytes.len() > longest,
        Value::StrArray(texts) => texts.iter().any(|text| text.len() > longest),
        _ => false,
    }
}

fn cut<'v>(value: &Value<'v>, longest: u32) -> Value<'v> {
    match *value {
        Value::Str(text) => Value::Str(attribute::cut(text, longest)),
        Value::Static(text) => Value::Str(attribute::cut(text, longest)),
        Value::Bytes(bytes) => Value::Bytes(bytes.get(..longest as usize).unwrap_or(bytes)),
        Value::StrArray(texts) => Value::StrArray(StrArray::cut(texts, longest)),
        other => other,
    }
}

/// What of a span was dropped.
#[derive(Clone, Copy)]
enum Dropped {
    Attribute,
    Event,
    Link,
    /// Not dropped: cut. Also a name, description, trace state or scope without room.
    Value,
}

impl<R: Recorder, B: SpanBuf> Span<R, B> {
    /// Grows the buffer so that `end` words and the counts fit.
    #[cold]
    #[inline(never)]
    pub(super) fn more_room(&mut self, end: usize) -> bool {
        let used = self.pos as usize;
        self.pos != OFF
            && end + RESERVED <= MAX_WORDS - HEADER
            && self.buf.grow(used, end + RESERVED)
            && end + RESERVED <= self.buf.words().len()
    }

    #[cold]
    fn count(&mut self, what: Dropped) {
        let meta = self.word(META);
        if meta & META_HAS_COUNTS == 0 {
            self.set_word(META, meta | META_HAS_COUNTS);
            self.dropped.write([0; 4]);
        }
        // SAFETY: written above, now or before: META says so.
        let [attributes, events, links, values] = unsafe { self.dropped.assume_init_mut() };
        let count = match what {
            Dropped::Attribute => attributes,
            Dropped::Event => events,
            Dropped::Link => links,
            Dropped::Value => values,
        };
        *count = count.saturating_add(1);
    }
    #[cold]
    #[inline(never)]
    pub(super) fn no_room_for_attribute(&mut self) {
        self.count(Dropped::Attribute);
    }
    #[cfg(not(target_pointer_width = "64"))]
    pub(super) fn count_cut(&mut self) {
        self.count(Dropped::Value);
    }
    #[cold]
    #[inline(never)]
    pub(super) fn drop_event(&mut self) {
        self.count(Dropped::Event);
    }

    /// Attributes that may still be added.
    pub(super) fn attributes_left(&self) -> u32 {
        let left = u32::from(self.left(ATTRIBUTES));
        if self.seen & CAREFUL != 0 {
            left
        } else {
            left.saturating_sub(self.seen.count_ones())
        }
    }
    /// Takes note of an attribute that was added in a careful way. There must have been one left.
    pub(super) fn saw_carefully(&mut self, bit: Seen) {
        if self.seen & (CAREFUL | bit) == 0 {
            self.seen |= bit;
            return;
        }
        let left = self.attributes_left().saturating_sub(1);
        if left <= CAREFUL.trailing_zeros() {
            self.seen = ALL_SEEN;
            self.left = self.left >> 16 << 16 | u64::from(left & 0xffff);
        } else {
            self.left -= (self.left(ATTRIBUTES) != 0) as u64;
        }
    }

    /// A key that may have been set before, or one too many, or an empty one, or a text that may be too long.
    #[cfg_attr(target_pointer_width = "64", cold, inline(never))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(always))]
    pub(super) fn attribute_carefully(&mut self, key: &'static str, value: Value<'_>) {
        if key.is_empty() {
            return self.count(Dropped::Attribute);
        }
        let longest = self.rec.limits().attribute_value_length;
        let value = if is_longer(&value, longest) {
            self.count(Dropped::Value);
            cut(&value, longest)
        } else {
            value
        };
        let n = EntryWriter::attribute_words(key, &value);
        let old = self.find_key(key.as_bytes());
        if self.attributes_left() == 0 && old.is_none() {
            return self.count(Dropped::Attribute);
        }
        if !self.replace(old, n) {
            return self.count(Dropped::Attribute);
        }
        if !EntryWriter::attribute(self, key, 0, value) {
            return self.count(Dropped::Attribute);
        }
        if old.is_none() {
            self.saw_carefully(key_bit(key));
        }
    }

    /// Sets an attribute whose key is not constant: the key is copied too.
    ///
    /// As [`set_attribute`](Self::set_attribute) otherwise. A key set before by either way gets the new
    /// value.
    #[inline(always)]
    pub fn set_attribute_copied<'v>(
        &mut self,
        key: &str,
        value: impl Into<Value<'v>>,
    ) -> &mut Self {
        if self.is_recording() {
            self.attribute_copied(key, value.into());
        }
        self
    }
    #[inline(never)]
    fn attribute_copied(&mut self, key: &str, value: Value<'_>) {
        let longest = self.rec.limits().attribute_value_length;
        let value = if is_longer(&value, longest) {
            self.count(Dropped::Value);
            cut(&value, longest)
        } else {
            value
        };
        let bit = key_bit(key);
        let old = if self.seen & bit != 0 {
            self.find_key(key.as_bytes())
        } else {
            None
        };
        let n = EntryWriter::attribute_copied_words(key, &value);
        if self.attributes_left() == 0 && old.is_none() || !self.replace(old, n) {
            return self.count(Dropped::Attribute);
        }
        if EntryWriter::attribute_copied(self, key, 0, value) {
            if old.is_none() {
                self.saw_carefully(bit);
            }
        } else {
            self.count(Dropped::Attribute);
        }
    }

    fn raw_entries(&self) -> RawEntries<'_> {
        let len = match self.pos {
            OFF => usize::from(self.left(PASSED_ON)),
            pos => pos as usize,
        };
        let words = self.buf.words().get(..len).unwrap_or(&[]);
        // SAFETY: the words up to there are whole entries that this span wrote, and what they refer to is
        // static.
        unsafe {
            RawEntries::of(core::slice::from_raw_parts(
                words.as_ptr().cast(),
                words.len(),
            ))
        }
    }
    /// The words, from and to, of the entry that `is` finds.
    #[inline(always)]
    fn find(&self, is: impl Fn(RawEntry<'_>) -> bool) -> Option<(usize, usize)> {
        let mut from = 0;
        for entry in self.raw_entries() {
            let to = from + entry.words();
            if is(entry) {
                return Some((from, to));
            }
            from = to;
        }
        None
    }
    /// A text of the span.
    pub(super) fn text_of(&self, wanted: TextKind) -> Option<&str> {
        let entry = self.raw_entries().find(|entry| entry.is_text(wanted))?;
        core::str::from_utf8(entry.text_bytes()).ok()
    }
    #[inline(never)]
    pub(super) fn find_key(&self, wanted: &[u8]) -> Option<(usize, usize)> {
        self.find(|entry| entry.has_key(wanted))
    }
    fn find_text(&self, wanted: TextKind) -> Option<(usize, usize)> {
        self.find(|entry| entry.is_text(wanted))
    }
    /// Takes the entry `old` out, if `n` words will then find room: else nothing changes.
    pub(super) fn replace(&mut self, old: Option<(usize, usize)>, n: usize) -> bool {
        let (from, to) = old.unwrap_or((0, 0));
        let used = self.pos as usize;
        let end = used - (to - from) + n;
        if end + RESERVED > self.buf.words().len() && !self.more_room(end) {
            return false;
        }
        move_down(self.buf.words_mut(), to..used, from);
        #[expect(clippy::cast_possible_truncation, reason = "less than before")]
        {
            self.pos = (used - (to - from)) as u32;
        }
        true
    }

    /// Sets a text of the span, instead of the one of its kind that is there.
    #[cold]
    fn set_text(&mut self, kind: TextKind, text: &str) -> bool {
        let longest = u32::from(u16::MAX);
        let text = attribute::cut(text, longest);
        let old = self.find_text(kind);
        if !self.is_recording() || !self.replace(old, EntryWriter::text_words(text)) {
            return false;
        }
        let meta = self.word(META);
        self.set_word(META, meta | META_HAS_TEXT);
        EntryWriter::text(self, kind, 0, text)
    }

    /// Changes the name. The text is copied. Without room the old name stays.
    #[inline(always)]
    pub fn update_name(&mut self, name: &str) -> &mut Self {
        if self.is_recording() {
            self.set_text_or_count(TextKind::Name, name);
        }
        self
    }
    /// Sets status Error with a description, unless the status is already Ok.
    #[inline(always)]
    pub fn set_error(&mut self, description: &str) -> &mut Self {
        if self.is_recording() {
            self.error(description);
        }
        self
    }
    #[cold]
    #[inline(never)]
    fn error(&mut self, description: &str) {
        if self.word(META) >> META_STATUS_SHIFT & 3 != Status::Ok.to_wire() as u64 {
            self.set_status(Status::Error);
            self.set_text_or_count(TextKind::StatusDescription, description);
        }
    }
    #[cold]
    #[inline(never)]
    fn set_text_or_count(&mut self, kind: TextKind, text: &str) {
        if !self.set_text(kind, text) {
            self.count(Dropped::Value);
        }
    }
    /// Records an error: an `exception` event with `exception.type` and `exception.message`, and status
    /// Error with the message as description. The message is the error's text and its sources', 256
    /// bytes of it.
    ///
    /// SPEC: semantic conventions, "Recording errors on spans" and "Exceptions".
    #[inline(always)]
    pub fn record_error<E: core::error::Error + ?Sized>(&mut self, error: &E) -> &mut Self {
        if self.is_recording() {
            self.exception(core::any::type_name::<E>(), &error, error.source());
        }
        self
    }
    /// One copy per recorder and buffer, not per error type.
    #[cold]
    #[inline(never)]
    fn exception(
        &mut self,
        type_name: &'static str,
        error: &dyn core::fmt::Display,
        mut source: Option<&(dyn core::error::Error + 'static)>,
    ) {
        let mut message = Message::default();
        // A full message is not a failure: the rest is cut.
        let _ = write!(message, "{error}");
        // Ends even if an error is its own source: each round fills at least two bytes.
        while let Some(error) = source
            && message.0.len() < MESSAGE
        {
            let _ = write!(message, ": {error}");
            source = error.source();
        }
        self.add_event(
            "exception",
            &[
                KeyValue::new("exception.type", Value::Static(type_name)),
                KeyValue::new("exception.message", message.0.as_str()),
            ],
        );
        self.error(&message.0);
    }

    #[cold]
    #[inline(never)]
    pub(super) fn event_with(
        &mut self,
        name: &'static str,
        at: Ticks,
        attributes: &[KeyValue<'_>],
    ) {
        let limits = self.rec.limits();
        let limit = limits.event_attribute_count as usize;
        let n = item_words(attributes, limit, limits.attribute_value_length);
        if !packs(name, KEY_BITS) || !self.has_room(EVENT_WORDS.saturating_add(n)) {
            return self.count(Dropped::Event);
        }
        self.left -= 1 << EVENTS;
        EntryWriter::event(self, name, at.0);
        self.item_attributes(attributes, limit, limits.attribute_value_length);
    }

    /// As [`add_link`](Self::add_link), with the trace state of the span that is linked to.
    #[inline(always)]
    pub fn add_link_with_state(
        &mut self,
        to: &SpanContext,
        trace_state: Option<&str>,
        attributes: &[KeyValue<'_>],
    ) -> &mut Self {
        if self.is_recording() {
            self.link(to, trace_state, attributes);
        }
        self
    }
    #[cold]
    #[inline(never)]
    fn link(&mut self, to: &SpanContext, trace_state: Option<&str>, attributes: &[KeyValue<'_>]) {
        let limits = self.rec.limits();
        let limit = limits.link_attribute_count as usize;
        let n = item_words(attributes, limit, limits.attribute_value_length)
            .saturating_add(trace_state.map_or(0, EntryWriter::text_words));
        if self.left(LINKS) == 0 || !to.is_valid() || !self.has_room(LINK_WORDS.saturating_add(n)) {
            return self.count(Dropped::Link);
        }
        self.left -= 1 << LINKS;
        EntryWriter::link(self, to);
        if let Some(text) = trace_state {
            EntryWriter::text(self, TextKind::TraceState, OF_ITEM, text);
        }
        self.item_attributes(attributes, limit, limits.attribute_value_length);
    }

    /// Adds an event whose name is not constant, happened at `at`: the name is copied.
    ///
    /// As [`add_event_at`](Self::add_event_at) otherwise.
    ///
    /// ```
    /// # use spanlet::testing::TestTracer;
    /// use spanlet::{InlineBuf, KeyValue, Recorder, Span};
    /// # let tracer: TestTracer = TestTracer::new();
    /// # let tracer = &tracer;
    /// let mut span: Span<_, InlineBuf<32>> = tracer.span("import").start();
    /// let line = format!("skipped line {}", 7);
    /// span.add_event_copied_at(&line, tracer.now(), [KeyValue::new("bytes", 12)].into_iter());
    /// span.end();
    /// tracer.with_spans(|spans| {
    ///     let event = spans.named("import").unwrap().events().next().unwrap();
    ///     assert_eq!((event.name(), event.attributes().count()), ("skipped line 7", 1));
    /// });
    /// ```
    #[inline(always)]
    pub fn add_event_copied_at<'v>(
        &mut self,
        name: &str,
        at: Ticks,
        attributes: impl Iterator<Item = KeyValue<'v>> + Clone,
    ) -> &mut Self {
        if self.is_recording() {
            self.event_copied(name, at, attributes);
        }
        self
    }
    #[inline(never)]
    fn event_copied<'v>(
        &mut self,
        name: &str,
        at: Ticks,
        attributes: impl Iterator<Item = KeyValue<'v>> + Clone,
    ) {
        let limits = self.rec.limits();
        let limit = limits.event_attribute_count as usize;
        let longest = limits.attribute_value_length;
        let name = attribute::cut(name, u32::from(u16::MAX));
        let head = EVENT_WORDS.saturating_add(EntryWriter::text_words(name));
        // One for each, of which one stays for the count of those that are dropped.
        let n = attributes.clone().take(limit).fold(head, |n, kv| {
            n.saturating_add(item_words(core::slice::from_ref(&kv), 1, longest))
        });
        if self.left(EVENTS) == 0 || !self.has_room(n.saturating_add(1)) {
            return self.count(Dropped::Event);
        }
        self.left -= 1 << EVENTS;
        EntryWriter::event(self, "", at.0);
        EntryWriter::text(self, TextKind::Name, OF_ITEM, name);
        let mut dropped = 0;
        for (i, kv) in attributes.enumerate() {
            dropped += !(i < limit && self.item_attribute(&kv, longest)) as usize;
        }
        if dropped != 0 {
            EntryWriter::item_counts(self, u32::try_from(dropped).unwrap_or(u32::MAX));
        }
    }

    /// Whether `n` more words fit, after growing if need be.
    fn has_room(&mut self, n: usize) -> bool {
        let end = (self.pos as usize).saturating_add(n);
        end.saturating_add(RESERVED) <= self.buf.words().len() || self.more_room(end)
    }

    /// Writes the attributes of the item just written; room was checked.
    fn item_attributes(&mut self, attributes: &[KeyValue<'_>], limit: usize, longest: u32) {
        let mut dropped = attributes.len().saturating_sub(limit);
        for kv in attributes.iter().take(limit) {
            dropped += !self.item_attribute(kv, longest) as usize;
        }
        if dropped != 0 {
            EntryWriter::item_counts(self, u32::try_from(dropped).unwrap_or(u32::MAX));
        }
    }
    #[inline(always)]
    fn item_attribute(&mut self, kv: &KeyValue<'_>, longest: u32) -> bool {
        let mut value = kv.value;
        if is_longer(&value, longest) {
            self.count(Dropped::Value);
            value = cut(&value, longest);
        }
        !kv.key.is_empty() && EntryWriter::attribute(self, kv.key, OF_ITEM, value)
    }

    /// The end of a span that was recorded only in case it fails, or that has something to append. Whether it is to
    /// be recorded.
    #[cold]
    #[inline(never)]
    pub(super) fn finish_rare(&mut self, start: u64, at: Ticks) -> bool {
        let mut meta = self.word(META);
        if meta & META_RECORD_ONLY != 0 {
            let ended = EndedUnsampled {
                trace_id: self.context().trace_id(),
                span_id: self.context().span_id(),
                is_error: meta >> META_STATUS_SHIFT & 3 == Status::Error.to_wire() as u64,
                duration_ticks: at.0.saturating_sub(start),
            };
            if !self.rec.escalate(&ended) {
                return false;
            }
            meta |= META_ESCALATED;
            self.set_word(META, meta);
        }
        if meta & META_HAS_COUNTS != 0 {
            // SAFETY: META says that they were written.
            let counts = unsafe { self.dropped.assume_init() };
            // Fails only if the buffer never had a word.
            if !EntryWriter::counts(&mut Reserve(self), counts) {
                self.set_word(META, meta & !META_HAS_COUNTS);
            }
        }
        if meta & META_END_APART != 0 {
            EntryWriter::end(&mut Reserve(self), at.0);
        }
        true
    }
    /// The end of a span that a panic ends.
    #[cold]
    #[inline(never)]
    pub(super) fn finish_unwinding(&mut self, at: Ticks) {
        self.set_error("panicked");
        self.finish_at(at);
    }

    /// What `SpanBuilder::start` adds where it is not the plain case.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_with(&mut self, extras: &Extras<'_, R, B>) {
        if let Some(scope) = extras.scope {
            self.begin_scope(scope);
        }
        if extras.trace_state.is_some() || matches!(extras.threshold, ThresholdUpdate::Set(_)) {
            let text = extras.trace_state.unwrap_or_default();
            (extras.write_state)(self, text, extras.threshold);
        }
    }
    #[cold]
    #[inline(never)]
    pub(super) fn begin_scope(&mut self, scope: &'static InstrumentationScope<'static>) {
        if EntryWriter::scope(self, scope) {
            let meta = self.word(META);
            self.set_word(META, meta | META_HAS_SCOPE);
        } else {
            self.count(Dropped::Value);
        }
    }
    /// Sets the trace state of the parent, the first text that there is.
    pub(super) fn keep_trace_state(&mut self, text: &str, _: ThresholdUpdate) {
        if text.is_empty() {
            return;
        }
        let meta = self.word(META);
        if EntryWriter::text(self, TextKind::TraceState, 0, text) {
            self.set_word(META, meta | META_HAS_TEXT);
        } else {
            self.count(Dropped::Value);
        }
    }
    /// Sets the trace state of the parent with what the sampler says of its threshold.
    #[cold]
    pub(super) fn update_trace_state(&mut self, text: &str, threshold: ThresholdUpdate) {
        match threshold {
            ThresholdUpdate::Set(threshold) if text.is_empty() => {
                // The usual root: no need of a whole list's room.
                let mut text = heapless::String::<24>::new();
                let _fits = write!(text, "ot=th:{}", &*encode_threshold(threshold));
                self.trace_state_or_count(&text);
            }
            ThresholdUpdate::Set(threshold) => self.begin_with_threshold(text, Some(threshold)),
            ThresholdUpdate::Erase if threshold_of(text).is_some() => {
                self.begin_with_threshold(text, None);
            }
            _ => self.keep_trace_state(text, threshold),
        }
    }
    #[cold]
    fn trace_state_or_count(&mut self, text: &str) {
        if !self.set_text(TextKind::TraceState, text) {
            self.count(Dropped::Value);
        }
    }
    /// Sets the trace state with another `th`. A malformed list is left out; a member without room for
    /// the new `th` loses the old one, which would be wrong.
    #[cold]
    #[inline(never)]
    fn begin_with_threshold(&mut self, text: &str, threshold: Option<u64>) {
        let state = TraceState::parse([text.as_bytes()]).unwrap_or_default();
        let mut state = TraceStateBuf::<512>::from(&state);
        if state.set_threshold(threshold).is_err() && state.set_threshold(None).is_err() {
            return;
        }
        if !state.is_empty() {
            self.trace_state_or_count(state.as_str());
        }
    }
}

/// The words that an open span keeps for its end.
struct Reserve<'s, R: Recorder, B: SpanBuf>(&'s mut Span<R, B>);

impl<R: Recorder, B: SpanBuf> Room for Reserve<'_, R, B> {
    fn room(&mut self, n: usize) -> Option<*mut u64> {
        let at = self.0.pos as usize;
        let slot = self.0.buf.words_mut().get_mut(at..at + n)?.as_mut_ptr();
        #[expect(clippy::cast_possible_truncation, reason = "below 2^15")]
        {
            self.0.pos += n as u32;
        }
        Some(slot.cast())
    }
}

/// Words that an item's attributes take, with the count of those over the limit.
fn item_words(attributes: &[KeyValue<'_>], limit: usize, longest: u32) -> usize {
    let kept = attributes.iter().take(limit);
    // One more, for the count of those that cannot be expressed or are over the limit.
    kept.fold(1, |n: usize, kv| {
        let value = cut(&kv.value, longest);
        match EntryWriter::attribute_words(kv.key, &value) {
            NEVER => n,
            words => n.saturating_add(words),
        }
    })
}

/// A message of fixed room: what does not fit is cut at a char boundary.
#[derive(Default)]
struct Message(heapless::String<MESSAGE>);

impl Write for Message {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = MESSAGE - self.0.len();
        let longest = u32::try_from(room).unwrap_or(u32::MAX);
        self.0
            .push_str(attribute::cut(text, longest))
            .map_err(|_| core::fmt::Error)
    }
}
