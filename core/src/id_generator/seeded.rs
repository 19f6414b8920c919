//! Ids from a counter, mixed with a random key: entropy is needed once.

use super::{GOLDEN, IdGenerator, mix, span_id_of, trace_id_of};
use crate::atomic::next;
use crate::clock::Extend32;
use crate::context::{SpanId, TraceFlags, TraceId};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Two words that are set once and read by all.
#[derive(Debug)]
pub(super) struct Key([AtomicU32; 4]);

impl Key {
    pub(super) const fn new(words: [u64; 2]) -> Self {
        let [a, b] = words;
        #[expect(clippy::cast_possible_truncation, reason = "splits the words")]
        Key([
            AtomicU32::new(a as u32),
            AtomicU32::new((a >> 32) as u32),
            AtomicU32::new(b as u32),
            AtomicU32::new((b >> 32) as u32),
        ])
    }
    pub(super) fn set(&self, words: [u64; 2]) {
        let Key(ours) = Key::new(words);
        for (to, from) in self.0.iter().zip(ours) {
            // ORDERING: a reader that sees half of a new key makes an id of it that is as good as any.
            to.store(from.into_inner(), Relaxed);
        }
    }
    #[inline(always)]
    pub(super) fn words(&self) -> [u64; 2] {
        let [a, b, c, d] = &self.0;
        // ORDERING: as in `set`.
        let load = |word: &AtomicU32| u64::from(word.load(Relaxed));
        [load(b) << 32 | load(a), load(d) << 32 | load(c)]
    }
}

/// Counts calls in 64 bits, from tasks, threads and interrupts, without 64-bit atomics.
#[derive(Debug)]
pub(super) struct Count {
    low: AtomicU32,
    wide: Extend32,
}

impl Count {
    pub(super) const fn new() -> Self {
        Count {
            low: AtomicU32::new(0),
            wide: Extend32::new(),
        }
    }
    /// As if so many calls had been made.
    #[cfg(test)]
    pub(super) fn starting_at(calls: u32) -> Self {
        let count = Self::new();
        count.low.store(calls, Relaxed);
        count.wide.extend(0x4000_0000.min(calls));
        count.wide.extend(0x8000_0000.min(calls));
        count
    }
    /// The number of calls before this one. No two callers get the same, unless one is held up between
    /// two instructions while others make 2^30 calls.
    #[inline(always)]
    pub(super) fn next(&self) -> u64 {
        self.wide.extend(next(&self.low)).0
    }
}

/// Ids from a counter through a mixer whose 128-bit key is random: no entropy is needed after the start.
///
/// An id is a bijection of the counter under the key, so the 2^64 span ids of a key are all different, and
/// so are its trace ids; ids of different keys meet by chance only, as random ones do. The trace ids carry
/// RANDOM: Trace Context Level 2 asks for low bits that are random *or pseudo-random* with uniform
/// distribution, and these are, provided that the seed was random. They are no secrets: who has seen a few
/// ids may be able to predict the rest.
///
/// The seed must be 128 bits of true entropy (a hardware generator, the operating system, ring oscillators
/// or ADC noise hashed down from more than it seems to need). A serial number or the time since boot is
/// none; [`DeviceIds`](super::DeviceIds) is for those.
///
/// For tasks, threads and interrupts at once: one `fetch_add`, in a critical section of three instructions
/// where the target has no such operation. Costs three 64-bit products for a span, five for a trace.
///
/// ```
/// use spanlet::{IdGenerator, SeededIds};
/// static IDS: SeededIds = SeededIds::unseeded();
/// # let sixteen_bytes_from_the_trng = [5; 16];
/// assert!(!IDS.trace_id().1.is_random());
/// assert!(IDS.seed(sixteen_bytes_from_the_trng));
/// assert!(IDS.trace_id().1.is_random());
/// ```
#[derive(Debug)]
pub struct SeededIds {
    key: Key,
    count: Count,
}

impl SeededIds {
    /// For a `static`, to be [`seed`](Self::seed)ed at boot. Until then the ids are those of every other
    /// device that was not seeded, and not marked RANDOM.
    pub const fn unseeded() -> Self {
        SeededIds {
            key: Key::new([0; 2]),
            count: Count::new(),
        }
    }
    /// Seeded from the start. `None` for all zeros, which no working source gives.
    pub fn new(seed: [u8; 16]) -> Option<Self> {
        let ids = Self::unseeded();
        ids.seed(seed).then_some(ids)
    }
    /// Sets the key, at boot before spans are recorded. Also after a fork or the resumption of a snapshot,
    /// which would otherwise go on with the ids of its twin.
    ///
    /// `false` for all zeros, which no working source gives: the ids are then those of an unseeded
    /// generator.
    #[must_use = "false means that the entropy source is broken"]
    pub fn seed(&self, seed: [u8; 16]) -> bool {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = seed;
        self.key.set([
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        ]);
        self.is_seeded()
    }
    /// Whether a seed other than zero was set.
    pub fn is_seeded(&self) -> bool {
        self.key.words() != [0; 2]
    }
}

/// One of the sequences of a key: a bijection of `count`.
#[inline(always)]
const fn nth(count: u64, key: [u64; 2], salt: u64) -> u64 {
    let [a, b] = key;
    mix(count.wrapping_mul(GOLDEN).wrapping_add(a) ^ b.rotate_left(32) ^ salt).wrapping_add(b)
}

/// Tells the sequence of trace ids' high halves from that of span ids and low halves.
const HIGH: u64 = 0xd1b5_4a32_d192_ed03;

impl IdGenerator for SeededIds {
    #[inline]
    fn span_id(&self) -> SpanId {
        span_id_of(nth(self.count.next(), self.key.words(), 0))
    }
    #[inline]
    fn trace_id(&self) -> (TraceId, TraceFlags) {
        let (count, key) = (self.count.next(), self.key.words());
        let flags = if key == [0; 2] {
            TraceFlags::NONE
        } else {
            TraceFlags::RANDOM
        };
        (
            trace_id_of(nth(count, key, HIGH), nth(count, key, 0)),
            flags,
        )
    }
}
