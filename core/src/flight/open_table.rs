//! The spans that are open, kept where a reset leaves them.
//!
//! Input: spans as they start and end. Output: after a reset, those that were open. Bound: `K` slots of 56
//! bytes; a span that finds none is counted.

use crate::record::{Header, META, META_RECORD_ONLY, NAME, PARENT, SPAN, START, TRACE};
use crate::ring::kept::{Check, Kept};
use crate::ring::sync::{
    AtomicU32, Lock,
    Ordering::{Acquire, Relaxed, Release},
};

/// State words that are no check word.
const FREE: u32 = 0;
const CLAIMED: u32 = 1;
/// Its record stands in the ring, or was refused, and this slot is about to be free.
const ENDING: u32 = 2;

/// Trace, span, parent, start, name.
const WORDS: usize = 6;

/// Ids, name and start of up to `K` open spans, in 56 bytes each.
///
/// What a [`FlightRecorder`](crate::FlightRecorder) keeps beside its ring, so that after a reset the spans
/// that were open can be closed. A span that starts when the table is full is recorded at its end as ever; if
/// a reset comes first, it counts as lost. Zero `K` keeps none and costs nothing.
///
/// Cost per span on a Cortex-M: a critical section of a few instructions, 14 stores, and at the end a look at
/// each slot before its own.
#[repr(C)]
pub struct OpenTable<const K: usize> {
    slots: [Slot; K],
    overflowed: Kept,
}

#[repr(C)]
struct Slot {
    state: AtomicU32,
    meta: AtomicU32,
    words: [[AtomicU32; 2]; WORDS],
}

/// The words of a header that a slot keeps: all but that of the end, where it has its own.
const KEPT: [usize; WORDS] = [TRACE, TRACE + 1, SPAN, PARENT, START, NAME];

impl<const K: usize> OpenTable<K> {
    pub(super) const fn new() -> Self {
        OpenTable {
            slots: [const {
                Slot {
                    state: AtomicU32::new(FREE),
                    meta: AtomicU32::new(0),
                    words: [const { [const { AtomicU32::new(0) }; 2] }; WORDS],
                }
            }; K],
            overflowed: Kept::new(),
        }
    }
    /// Spans that found no slot since the recorder was formatted, modulo 2^32.
    pub fn overflowed(&self) -> u32 {
        self.overflowed.get()
    }

    pub(super) fn format(&self) {
        self.clear();
        self.overflowed.set(0);
    }
    pub(super) fn clear(&self) {
        for slot in &self.slots {
            slot.free();
        }
    }
    pub(super) fn repair(&self) {
        if self.overflowed.intact(1).is_none() {
            self.overflowed.set(0);
        } else {
            self.overflowed.set(self.overflowed.get());
        }
    }

    /// Notes a span that has started and was counted.
    #[inline]
    pub(super) fn add(&self, lock: &Lock, span: &Header) {
        if K == 0 {
            return;
        }
        for slot in &self.slots {
            if slot.state.load(Relaxed) == FREE && slot.claim(lock) {
                return slot.fill(span);
            }
        }
        self.overflow(lock);
    }
    #[cold]
    #[inline(never)]
    fn overflow(&self, lock: &Lock) {
        self.overflowed.add(lock, 1);
    }

    /// The slot of a span, to be freed when it has ended.
    #[inline]
    pub(super) fn find(&self, span: u64) -> Option<OpenSlot<'_>> {
        let [low, high] = halves(span);
        self.slots
            .iter()
            .find(|slot| slot.is_of(low, high))
            .map(OpenSlot)
    }

    /// The spans that were open when the reset came, whole.
    pub(super) fn left(&self) -> impl Iterator<Item = (OpenSlot<'_>, Header)> {
        self.slots
            .iter()
            .filter_map(|slot| Some((OpenSlot(slot), slot.left()?)))
    }
}

/// The slot of an open span.
pub(super) struct OpenSlot<'a>(&'a Slot);

impl OpenSlot<'_> {
    /// Whether it records only in case it fails.
    pub(super) fn is_record_only(&self) -> bool {
        let meta = u64::from(self.0.meta.load(Relaxed)) << 32;
        meta & META_RECORD_ONLY != 0
    }
    /// Its end is decided: a reset from now on finds the span recorded, or counted.
    #[inline(always)]
    pub(super) fn ending(&self) {
        // ORDERING: after the record's check word, before its commit or count, for a reset.
        self.0.state.store(ENDING, Release);
    }
    #[inline(always)]
    pub(super) fn free(&self) {
        self.0.free();
    }
}

impl Slot {
    /// Out of line, so that nothing of the caller's is moved into the section.
    #[inline(never)]
    fn claim(&self, lock: &Lock) -> bool {
        lock.with(|| {
            // ORDERING: its last owner's accesses come before ours; pairs with Release in `free`.
            let is_free = self.state.load(Acquire) == FREE;
            if is_free {
                self.state.store(CLAIMED, Relaxed);
            }
            is_free
        })
    }
    #[inline(always)]
    fn fill(&self, span: &Header) {
        let mut check = Check::new(0);
        let [_, meta] = halves(span.get(META).copied().unwrap_or(0));
        check.add(meta);
        self.meta.store(meta, Relaxed);
        for (word, from) in self.words.iter().zip(KEPT) {
            let value = span.get(from).copied().unwrap_or(0);
            check.add_word(value);
            for (half, value) in word.iter().zip(halves(value)) {
                half.store(value, Relaxed);
            }
        }
        // ORDERING: after all that it sums up, for a reset.
        self.state.store(state_of(check), Release);
    }
    #[inline(always)]
    fn is_of(&self, low: u32, high: u32) -> bool {
        let [.., span, _, _, _] = &self.words;
        let [a, b] = span;
        a.load(Relaxed) == low && b.load(Relaxed) == high && self.state.load(Relaxed) > ENDING
    }
    fn left(&self) -> Option<Header> {
        let mut check = Check::new(0);
        let meta = self.meta.load(Relaxed);
        check.add(meta);
        let mut span: Header = Default::default();
        for (word, to) in self.words.iter().zip(KEPT) {
            let [low, high] = word;
            let value = u64::from(low.load(Relaxed)) | u64::from(high.load(Relaxed)) << 32;
            check.add_word(value);
            *span.get_mut(to)? = value;
        }
        *span.get_mut(META)? = u64::from(meta) << 32;
        (self.state.load(Relaxed) == state_of(check)).then_some(span)
    }
    #[inline(always)]
    fn free(&self) {
        // ORDERING: after the commit or the count, for a reset; pairs with Acquire in `claim`.
        self.state.store(FREE, Release);
    }
}

/// A check word that no other state looks like.
#[inline(always)]
fn state_of(check: Check) -> u32 {
    match check.word() {
        word @ (FREE | CLAIMED | ENDING) => word + 3,
        word => word,
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes the halves")]
const fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}
