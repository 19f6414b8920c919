//! The open span.
//!
//! Input: setters. Output: a finished record, pushed into the recorder's ring at the end. Bound: the
//! buffer's words; what does not fit is dropped whole and counted. Costs are measured in
//! `benches/README.md`.

mod buffer;
mod builder;
mod cold;

// How much of a span is inlined: on servers whatever the usual span passes, on devices hardly more than calls.
#[cfg(not(target_pointer_width = "64"))]
#[path = "called.rs"]
mod usual;
#[cfg(target_pointer_width = "64")]
#[path = "inlined.rs"]
mod usual;

pub use buffer::{InlineBuf, SpanBuf};
pub use builder::{ParentContext, SpanBuilder};
use usual::{Seen, key_bit};

use crate::attribute::{KeyValue, Value};
use crate::clock::Ticks;
use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use crate::record::*;
use crate::recorder::{FinishedSpan, Recorder, SpanEnd, SpanStart};
use core::mem::MaybeUninit;

/// An open span. It ends when it is dropped, or by [`end`](Span::end).
///
/// `R` finds the recorder, `B` holds the entries. A span that its sampler dropped records nothing and
/// still has a [`context`](Span::context) to propagate, and its parent's trace state; each setter on it costs one
/// comparison.
///
/// Setters take `&mut self`: a builder by value would copy the buffer. A span may move to another thread
/// if its recorder may; two threads cannot use one span at once, and need not: they take its context and
/// start children.
///
/// ```
/// # let tracer: spanlet::testing::TestTracer = spanlet::testing::TestTracer::new();
/// # let tracer = &tracer;
/// use spanlet::{InlineBuf, KeyValue, Span, SpanKind, Status};
///
/// let request: Span<_, InlineBuf<32>> = tracer.span("GET /orders").kind(SpanKind::Server).start();
/// let mut query: Span<_, InlineBuf<32>> = tracer.span("SELECT orders").parent(&request).start();
/// query
///     .set_static("db.system.name", "sqlite")
///     .set_attribute("db.response.returned_rows", 7)
///     .add_event("retry", &[KeyValue::new("attempt", 2)]);
/// query.set_status(Status::Ok);
/// query.end();
/// assert!(!query.is_recording());
/// # drop(request);
/// # tracer.with_spans(|spans| assert_eq!(spans.named("SELECT orders").unwrap().events().count(), 1));
/// ```
#[repr(C)]
pub struct Span<R: Recorder, B: SpanBuf> {
    /// What the record starts with, kept here so that a span without entries touches no buffer and one
    /// that is not recorded still has its context.
    header: [MaybeUninit<u64>; HEADER],
    rec: R,
    /// Words used in `buf`; [`OFF`] when nothing is recorded, so that the check for room is the only one.
    pos: u32,
    /// Attributes, events and links that the limits still allow, 16 bits each.
    left: u64,
    /// A bit per hash of the keys set so far: a bit set twice may be a key set twice. All of them, [`CAREFUL`]
    /// too, where every attribute needs care: few are left, or texts may have to be cut.
    ///
    /// INVARIANT: without CAREFUL each bit stands for one attribute, which `left` still has; more of them are
    /// left than bits can be set, so that a new bit always may be.
    seen: Seen,
    /// Dropped attributes, events, links, and cut values: written with [`META_HAS_COUNTS`].
    dropped: MaybeUninit<[u32; 4]>,
    buf: B,
}

/// The lowest bit in [`Span::left`](Span).
const ATTRIBUTES: u32 = 0;
const EVENTS: u32 = 16;
const LINKS: u32 = 32;
/// Of a dropped span: words of entries that it passes on. Otherwise 0.
const PASSED_ON: u32 = 48;

/// See [`Span::seen`](Span).
const CAREFUL: Seen = 1 << (Seen::BITS - 1);
/// See [`Span::seen`](Span).
const ALL_SEEN: Seen = Seen::MAX;

/// Larger than any room, and far enough from overflow.
const OFF: u32 = u32::MAX >> 1;

impl<R: Recorder, B: SpanBuf> Span<R, B> {
    /// A header word that `start` has written.
    #[inline(always)]
    fn word(&self, i: usize) -> u64 {
        debug_assert!(i <= SPAN);
        // SAFETY: every constructor writes the words up to SPAN, recording or not.
        unsafe { self.header.get_unchecked(i).assume_init() }
    }
    #[inline(always)]
    fn set_word(&mut self, i: usize, word: u64) {
        if let Some(to) = self.header.get_mut(i) {
            to.write(word);
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes 16 bits")]
    fn left(&self, of: u32) -> u16 {
        (self.left >> of) as u16
    }

    #[cfg(not(target_pointer_width = "64"))]
    #[inline(always)]
    fn set_trace(&mut self, id: TraceId) {
        let [high, low] = id.to_words();
        self.set_word(TRACE, high);
        self.set_word(TRACE + 1, low);
    }

    /// Ids and flags, to propagate and to start children from.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the byte")]
    pub fn context(&self) -> SpanContext {
        SpanContext::new(
            TraceId::from_words([self.word(TRACE), self.word(TRACE + 1)])
                .unwrap_or(TraceId::INVALID),
            SpanId::from_word(self.word(SPAN)).unwrap_or(SpanId::INVALID),
            TraceFlags::from_byte((self.word(META) >> META_FLAGS_SHIFT) as u8),
        )
    }
    /// Whether what is set is recorded. False for a dropped span and after the end.
    #[inline(always)]
    pub fn is_recording(&self) -> bool {
        R::ENABLED && self.pos != OFF && self.rec.is_there()
    }
    /// The recorder.
    #[inline(always)]
    pub fn recorder(&self) -> R {
        self.rec
    }

    /// Sets an attribute. A key that was set before gets the new value.
    ///
    /// The value is copied, except for [`Value::Static`], which is kept by reference. What is over the
    /// limits or finds no room is dropped whole and counted in `dropped_attributes`, and so is an empty
    /// key.
    #[inline(always)]
    pub fn set_attribute<'v>(
        &mut self,
        key: &'static str,
        value: impl Into<Value<'v>>,
    ) -> &mut Self {
        self.attribute(key, value.into());
        self
    }
    /// Sets an attribute to a constant text, kept by reference: 16 bytes whatever its length.
    #[inline(always)]
    pub fn set_static(&mut self, key: &'static str, value: &'static str) -> &mut Self {
        self.attribute(key, Value::Static(value));
        self
    }
    /// Sets several attributes.
    #[inline]
    pub fn set_attributes(&mut self, attributes: &[KeyValue<'_>]) -> &mut Self {
        for kv in attributes {
            self.attribute(kv.key, kv.value);
        }
        self
    }

    /// Adds an event that happens now.
    ///
    /// Kept whole or dropped whole; attributes over the limit are counted in the event's
    /// `dropped_attributes`.
    #[inline(always)]
    pub fn add_event(&mut self, name: &'static str, attributes: &[KeyValue<'_>]) -> &mut Self {
        if self.is_recording() {
            let now = self.rec.now();
            self.event(name, now, attributes);
        }
        self
    }
    /// Adds an event that happened at `at`.
    #[inline(always)]
    pub fn add_event_at(
        &mut self,
        name: &'static str,
        at: Ticks,
        attributes: &[KeyValue<'_>],
    ) -> &mut Self {
        if self.is_recording() {
            self.event(name, at, attributes);
        }
        self
    }
    #[inline(always)]
    fn event(&mut self, name: &'static str, at: Ticks, attributes: &[KeyValue<'_>]) {
        if self.left(EVENTS) == 0 {
            return self.drop_event();
        }
        if attributes.is_empty() {
            if !EntryWriter::event(self, name, at.0) {
                return self.drop_event();
            }
            self.left -= 1 << EVENTS;
        } else {
            self.event_with(name, at, attributes);
        }
    }

    /// Adds a link to a span of this trace or another, kept whole or dropped whole and counted. A context
    /// that is [none](SpanContext::is_valid) counts as dropped.
    #[inline(always)]
    pub fn add_link(&mut self, to: &SpanContext, attributes: &[KeyValue<'_>]) -> &mut Self {
        self.add_link_with_state(to, None, attributes)
    }

    /// Sets the status. `Ok` is final; `Unset` changes nothing; `Error` replaces `Unset`.
    ///
    /// SPEC: Trace API, "Set Status".
    #[inline(always)]
    pub fn set_status(&mut self, status: Status) -> &mut Self {
        if self.is_recording() {
            let meta = self.word(META);
            let old = meta >> META_STATUS_SHIFT & 3;
            if old != Status::Ok.to_wire() as u64 && status != Status::Unset {
                let meta = meta & !(3 << META_STATUS_SHIFT);
                self.set_word(META, meta | (status.to_wire() as u64) << META_STATUS_SHIFT);
            }
        }
        self
    }

    /// Ends the span now; later calls do nothing.
    ///
    /// Not `self` by value: the move would copy the whole buffer.
    #[inline(always)]
    pub fn end(&mut self) {
        if self.is_recording() {
            self.finish();
            self.pos = OFF;
        }
    }
    /// Ends the span at `at`, or at its start if that is later.
    #[inline]
    pub fn end_at(&mut self, at: Ticks) {
        if self.is_recording() {
            self.finish_at(at);
            self.pos = OFF;
        }
    }

    /// One copy per recorder type and buffer, not per call site. The rare ways are calls at the end, so that
    /// nothing has to be saved for the usual one.
    #[inline(never)]
    fn finish(&mut self) {
        let SpanEnd { at, is_unwinding } = self.rec.end();
        if is_unwinding {
            return self.finish_unwinding(at);
        }
        self.finish_at(at);
    }
    /// Hands the record on; everything is written.
    #[inline(always)]
    fn record(&mut self) {
        let len = self.pos as usize;
        // SAFETY: END was the last unwritten word.
        let header = unsafe { &*core::ptr::from_ref(&self.header).cast::<Header>() };
        // SAFETY: `len` is within the buffer, whose length is a multiple of four words (see `SpanBuf`).
        let groups = unsafe { self.buf.words().get_unchecked(..(len + 3) & !3) };
        // SAFETY: the first `len` words are entries that this span wrote, whose texts are static.
        let span = unsafe { FinishedSpan::new(header, groups, len) };
        self.rec.record(span);
    }
}

impl<R: Recorder, B: SpanBuf> Room for Span<R, B> {
    #[inline(always)]
    fn room(&mut self, n: usize) -> Option<*mut u64> {
        let at = self.pos as usize;
        let end = at + n;
        // The last words are kept for what the end adds.
        if end + RESERVED > self.buf.words().len()
            && !(at == 0 && self.buf.grow_first(end + RESERVED))
            && !self.more_room(end)
        {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "no more than the buffer's words, below 2^15"
        )]
        {
            self.pos = end as u32;
        }
        // SAFETY: at + n is within the buffer.
        Some(unsafe { self.buf.words_mut().as_mut_ptr().add(at).cast() })
    }
}

impl<R: Recorder, B: SpanBuf> Drop for Span<R, B> {
    /// Only the check is inline: drop glue cannot be `inline(always)`, so with the whole of `finish` in
    /// it LLVM would call the glue even for a span that records nothing.
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_recording() {
            self.finish();
        }
    }
}

/// A hash of a key's length and of its first, middle and last byte, constant where the key is: a number below
/// 2^`bits`.
#[inline(always)]
fn key_hash(key: &str, bits: u32) -> u32 {
    let bytes = key.as_bytes();
    let (first, last) = match bytes {
        [first, .., last] => (*first, *last),
        [one] => (*one, *one),
        [] => (0, 0),
    };
    let middle = match bytes.get(bytes.len() / 2) {
        Some(byte) => *byte,
        None => 0,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a hash")]
    let parts = u32::from_le_bytes([first, middle, last, bytes.len() as u8]);
    parts.wrapping_mul(0x9e37_79b1) >> (32 - bits)
}

#[cfg(test)]
mod tests;
