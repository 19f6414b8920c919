//! The usual span of a device: a call each for its start, its attributes and its end, so that another span in
//! the firmware costs little flash.

use super::*;
use crate::attribute;
use crate::sampler::{SamplingDecision, SamplingParameters, ThresholdUpdate};

/// The bit of a key in [`Span::seen`](Span), of the lower half.
#[inline(always)]
pub(super) fn key_bit(key: &str) -> Seen {
    1 << hash(key)
}
/// The number of a key's bit. The last one is CAREFUL.
#[inline(always)]
fn hash(key: &str) -> u32 {
    let hash = key_hash(key, 5);
    hash - (hash == 31) as u32
}
/// Fewer bits than on a server, for fewer attributes.
pub(super) type Seen = u32;

/// All that is constant about an attribute in one register: bits 0–10 the length of the key, 16–20 the number
/// of its bit, 28–31 the tag of its entry.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked by the caller; a tag"
)]
fn describe(key: &str, tag: u64) -> u32 {
    key.len() as u32 | hash(key) << 16 | (tag as u32) << 28
}
/// The upper half of the entry's head word.
const OF_HEAD: u32 = 0xf << 28 | ((1 << KEY_BITS) - 1);

impl<R: Recorder, B: SpanBuf> Span<R, B> {
    #[inline(always)]
    pub(super) fn attribute(&mut self, key: &'static str, value: Value<'_>) {
        if !R::ENABLED {
            return;
        }
        if key.is_empty() || !packs(key, KEY_BITS) {
            return self.no_room_for_attribute();
        }
        match value {
            Value::Bool(false) => self.scalar(key.as_ptr(), describe(key, TAG_FALSE), 0),
            Value::Bool(true) => self.scalar(key.as_ptr(), describe(key, TAG_TRUE), 0),
            Value::I64(v) => self.scalar(key.as_ptr(), describe(key, TAG_I64), v as u64),
            Value::F64(v) => self.scalar(key.as_ptr(), describe(key, TAG_F64), v.to_bits()),
            Value::Static(text) => self.scalar(key.as_ptr(), describe(key, TAG_REF), pack(text)),
            Value::Str(text) => self.text(key, text),
            other => self.other(key, other),
        }
    }

    /// An attribute of one or two words whose key starts at `key`.
    #[inline(never)]
    fn scalar(&mut self, key: *const u8, described: u32, word: u64) {
        if !self.rec.is_there() {
            return;
        }
        let bit = 1 << (described >> 16 & 31);
        let at = self.pos as usize;
        let (head, n) = head(key, described, word);
        // Too far for a span that records nothing: its position is OFF.
        if self.seen & bit != 0 || at + n + RESERVED > self.buf.words().len() {
            return self.scalar_rarely(key, described, word);
        }
        self.seen |= bit;
        // SAFETY: just compared.
        unsafe { self.put_scalar(at, head, n, word) };
    }
    /// Writes an entry of `n` words, one or two.
    ///
    /// # Safety
    /// The buffer must have them at `at`.
    #[inline(always)]
    unsafe fn put_scalar(&mut self, at: usize, head: u64, n: usize, word: u64) {
        // SAFETY: the caller's promise.
        unsafe {
            let slot = self.buf.words_mut().as_mut_ptr().add(at).cast::<u64>();
            slot.write(head);
            if n != 1 {
                slot.add(1).write(word);
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 2^15")]
        {
            self.pos = (at + n) as u32;
        }
    }
    /// A key that may have been set before, or one too many, or no room.
    #[cold]
    #[inline(never)]
    fn scalar_rarely(&mut self, key: *const u8, described: u32, word: u64) {
        if !self.is_recording() {
            return;
        }
        let mut word = word;
        if (described >> 28) as u64 == TAG_REF {
            word = self.cut_reference(word);
        }
        let (head, n) = head(key, described, word);
        let len = (described & ((1 << KEY_BITS) - 1)) as usize;
        // SAFETY: `attribute` took the two apart from a static text.
        let old = self.find_key(unsafe { core::slice::from_raw_parts(key, len) });
        if old.is_none() && self.attributes_left() == 0 || !self.replace(old, n) {
            return self.no_room_for_attribute();
        }
        // SAFETY: `replace` made room for them.
        unsafe { self.put_scalar(self.pos as usize, head, n, word) };
        if old.is_none() {
            self.saw_carefully(1 << (described >> 16 & 31));
        }
    }

    /// A text by reference, cut to the limit.
    fn cut_reference(&mut self, word: u64) -> u64 {
        // SAFETY: `pack` made it, of a static text.
        let text: &'static str = unsafe { packed_text(word) };
        let cut = attribute::cut(text, self.rec.limits().attribute_value_length);
        if cut.len() != text.len() {
            self.count_cut();
        }
        pack(cut)
    }

    #[inline(always)]
    pub(super) fn finish_at(&mut self, at: Ticks) {
        // SAFETY: a recording span has its whole header but the end.
        let start = unsafe { self.header.get_unchecked(START).assume_init() };
        let fits = close(&mut self.header, start, at.0);
        let is_rare = self.word(META) & (META_RECORD_ONLY | META_HAS_COUNTS) != 0;
        // One place that records, which is then inlined here.
        if (!fits || is_rare) && !self.finish_rare(start, at) {
            return;
        }
        self.record();
    }

    #[inline(never)]
    fn text(&mut self, key: &'static str, text: &str) {
        self.apart(key, Value::Str(text));
    }
    #[inline(never)]
    fn other(&mut self, key: &'static str, value: Value<'_>) {
        self.apart(key, value);
    }
    #[inline(always)]
    fn apart(&mut self, key: &'static str, value: Value<'_>) {
        if !self.is_recording() {
            return;
        }
        let bit = key_bit(key);
        if self.seen & bit != 0 {
            self.attribute_carefully(key, value);
        } else if EntryWriter::attribute(self, key, 0, value) {
            self.seen |= bit;
        } else {
            self.no_room_for_attribute();
        }
    }
}

/// Head word and words of a scalar attribute: an integer of 16 bits is in its head.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes words apart")]
fn head(key: *const u8, described: u32, word: u64) -> (u64, usize) {
    let (low, high) = (word as u32 as i32, (word >> 32) as u32 as i32);
    let small = low as i16 as i32;
    let tag = (described >> 28) as u64;
    let (upper, n) = if tag == TAG_I64 && (low ^ small) | (high ^ small >> 31) == 0 {
        let bits = (low as u32 & 0xffff) << KEY_BITS;
        (
            described & OF_HEAD ^ ((TAG_I64 ^ TAG_SMALL) as u32) << 28 | bits,
            1,
        )
    } else {
        (described & OF_HEAD, 1 + (tag > TAG_TRUE) as usize)
    };
    let lower = key.expose_provenance() as u32;
    ((upper as u64) << 32 | lower as u64, n)
}

impl<R: Recorder> SpanBuilder<'_, R> {
    /// Starts the span.
    #[inline(always)]
    pub fn start<B: SpanBuf>(self) -> Span<R, B> {
        if !R::ENABLED {
            return self.start_here();
        }
        if !self.attributes.is_empty() || !self.links.is_empty() {
            return start_full(&self);
        }
        let builder::Head {
            name,
            kind,
            parent,
            has_parent,
            trace_state,
            start,
            scope,
        } = self.head;
        let mut plain = Plain {
            name,
            kind,
            has: 0,
            parent: MaybeUninit::uninit(),
            trace_state: MaybeUninit::uninit(),
            start: MaybeUninit::uninit(),
            scope: MaybeUninit::uninit(),
        };
        if has_parent {
            plain.has |= HAS_SAID;
        }
        if let Some(parent) = parent {
            plain.has |= HAS_PARENT;
            plain.parent.write(parent);
        }
        if let Some(text) = trace_state {
            plain.has |= HAS_TRACE_STATE;
            plain.trace_state.write(text);
        }
        if let Some(at) = start {
            plain.has |= HAS_START;
            plain.start.write(at);
        }
        if let Some(scope) = scope {
            plain.has |= HAS_SCOPE;
            plain.scope.write(scope);
        }
        if let Some(text) = trace_state {
            let mut span = start_plain(self.rec, &mut plain);
            if plain.has & HAS_TRACE_STATE != 0 {
                begin_trace_state(&mut span, text);
            }
            return span;
        }
        // Apart, so that it is made in its place.
        start_plain(self.rec, &mut plain)
    }
}

/// A builder without attributes and links on its way into the call: what it has not is not even written.
struct Plain<'b> {
    name: &'static str,
    kind: SpanKind,
    has: u8,
    parent: MaybeUninit<SpanContext>,
    trace_state: MaybeUninit<&'b str>,
    start: MaybeUninit<Ticks>,
    scope: MaybeUninit<&'static InstrumentationScope<'static>>,
}
/// The builder says whose child it is, and not the current context.
const HAS_SAID: u8 = 1 << 0;
const HAS_PARENT: u8 = 1 << 1;
const HAS_TRACE_STATE: u8 = 1 << 2;
const HAS_START: u8 = 1 << 3;
const HAS_SCOPE: u8 = 1 << 4;

impl Plain<'_> {
    #[cold]
    #[inline(never)]
    fn start(&self) -> Ticks {
        let at = self.get(HAS_START, &self.start);
        at.copied().unwrap_or_default()
    }
    #[inline(always)]
    fn get<'f, T>(&self, bit: u8, field: &'f MaybeUninit<T>) -> Option<&'f T> {
        // SAFETY: whoever set the bit wrote the field.
        (self.has & bit != 0).then(|| unsafe { field.assume_init_ref() })
    }
}

/// As [`SpanBuilder::start_here`] without attributes and links, whose code is linked only where there are some,
/// and without a trace state.
///
/// Each word is written where it stays as soon as it is known: a Cortex-M has few registers. Nothing here calls
/// with the span's address, which would make a copy of its return.
#[inline(never)]
fn start_plain<R: Recorder, B: SpanBuf>(rec: R, plain: &mut Plain<'_>) -> Span<R, B> {
    // Off until it is complete, should a recorder unwind.
    let mut span = Span {
        header: [MaybeUninit::uninit(); HEADER],
        rec,
        pos: OFF,
        left: 0,
        seen: 0,
        dropped: MaybeUninit::uninit(),
        buf: B::new(),
    };
    let current;
    let parent = if !rec.is_enabled() || plain.has & HAS_SAID != 0 {
        plain.get(HAS_PARENT, &plain.parent)
    } else {
        current = rec.current();
        current.as_ref()
    };
    let parent = parent.filter(|parent| parent.is_valid());
    if !rec.is_enabled() {
        span.set_off(parent);
        return span;
    }
    let flags = match parent {
        Some(parent) => {
            span.set_trace(parent.trace_id());
            parent.flags()
        }
        None => {
            let (trace_id, flags) = rec.trace_id();
            span.set_trace(trace_id);
            flags
        }
    };
    let SpanStart {
        sampling,
        span_id,
        limits,
        at,
    } = rec.start(
        &SamplingParameters {
            parent,
            // Read back: only some samplers ask for it.
            trace_id: TraceId::from_words([span.word(TRACE), span.word(TRACE + 1)])
                .unwrap_or(TraceId::INVALID),
            is_random: flags.is_random(),
            name: plain.name,
            kind: plain.kind,
            attributes: &[],
            trace_state: plain.get(HAS_TRACE_STATE, &plain.trace_state).copied(),
        },
        if plain.has & HAS_START != 0 {
            Some(plain.start())
        } else {
            None
        },
    );
    span.set_word(SPAN, span_id.to_word());
    let sampled = matches!(sampling.decision, SamplingDecision::RecordAndSample);
    let mut bits = meta(flags.with_sampled(sampled), plain.kind);
    if matches!(sampling.decision, SamplingDecision::Drop) {
        span.set_word(META, bits);
        return span;
    }
    if !sampled {
        bits |= META_RECORD_ONLY;
    }
    let mut parent_word = 0;
    if let Some(parent) = parent {
        parent_word = parent.span_id().to_word();
        if parent.is_remote() {
            bits |= META_REMOTE_PARENT;
        }
    }
    span.set_word(PARENT, parent_word);
    span.set_word(START, at.0);
    span.left = limits.left;
    if limits.is_careful {
        span.seen = ALL_SEEN;
    }
    span.pos = 0;
    let scope = plain.get(HAS_SCOPE, &plain.scope).copied();
    let scope = scope.or(rec.scope());
    let mut room = FirstWord(&mut span);
    match scope {
        Some(scope) if room.is_there() && EntryWriter::scope(&mut room, scope) => {
            put_name(&mut span.header, bits | META_HAS_SCOPE, plain.name);
        }
        _ => put_name(&mut span.header, bits, plain.name),
    }
    if let Some(scope) = scope
        && !FirstWord(&mut span).is_there()
    {
        span.begin_scope(scope);
    }
    // With a sampler that never sets a threshold the code that edits trace states (12 KiB on an M0) is not linked.
    if !matches!(sampling.threshold, ThresholdUpdate::Keep) {
        let text = plain.get(HAS_TRACE_STATE, &plain.trace_state).copied();
        span.update_trace_state(text.unwrap_or_default(), sampling.threshold);
        plain.has &= !HAS_TRACE_STATE;
    }
    span
}

/// The first word of a buffer that has some from the start.
struct FirstWord<'s, R: Recorder, B: SpanBuf>(&'s mut Span<R, B>);

impl<R: Recorder, B: SpanBuf> FirstWord<'_, R, B> {
    #[inline(always)]
    fn is_there(&self) -> bool {
        self.0.buf.words().len() > RESERVED
    }
}
impl<R: Recorder, B: SpanBuf> Room for FirstWord<'_, R, B> {
    #[inline(always)]
    fn room(&mut self, _: usize) -> Option<*mut u64> {
        self.0.pos = 1;
        let first = self.0.buf.words_mut().first_mut()?;
        Some(core::ptr::from_mut(first).cast())
    }
}
#[cold]
#[inline(never)]
fn begin_trace_state<R: Recorder, B: SpanBuf>(span: &mut Span<R, B>, text: &str) {
    if span.is_recording() {
        span.keep_trace_state(text, ThresholdUpdate::Keep);
    } else if span.context().is_valid() {
        span.pass_on(|span| span.keep_trace_state(text, ThresholdUpdate::Keep));
    }
}
#[inline(never)]
fn start_full<R: Recorder, B: SpanBuf>(builder: &SpanBuilder<'_, R>) -> Span<R, B> {
    let SpanBuilder {
        rec,
        head,
        attributes,
        links,
    } = *builder;
    SpanBuilder {
        rec,
        head,
        attributes,
        links,
    }
    .start_here()
}
