//! Ids for new traces and spans.
//!
//! Input: entropy, or a device's identity. Output: ids that are never zero, and whether the trace id is
//! random. Bound: constant time; what the entropy source takes, where one is asked for each id.
//!
//! There is no default, because none is right everywhere:
//!
//! | generator | needs | RANDOM | ids repeat |
//! |---|---|---|---|
//! | [`RandomIds`] | entropy for each id | yes | by chance only |
//! | [`SeededIds`] | 128 bits of entropy at boot | yes, once seeded | by chance only, and never in 2^64 ids of a boot |
//! | [`LocalIds`] | 128 bits of entropy a thread | yes | by chance only |
//! | [`DeviceIds`] | a device id, and a boot count that a reset keeps | no | trace ids never, within its limits |
//!
//! A part with neither entropy nor a boot count that survives a reset cannot have ids that are unique
//! across reboots: whatever it computes, it computes again. See [`DeviceIds`] for what is left then.
//! [`BootCounter`] counts boots with little wear.

mod boots;
mod device;
mod local;
mod seeded;

pub use boots::BootCounter;
pub use device::{DeviceIds, device_id};
pub use local::LocalIds;
pub use seeded::SeededIds;

use crate::context::{SpanId, TraceFlags, TraceId};

/// Makes ids for new spans and traces. From tasks, threads and interrupts, as far as the type is `Sync`.
///
/// SPEC: Trace SDK, "Id Generators".
pub trait IdGenerator {
    /// A fresh span id.
    fn span_id(&self) -> SpanId;
    /// A fresh trace id, with [`TraceFlags::RANDOM`] if and only if its low 56 bits are random or
    /// pseudo-random from a random seed, and uniform.
    ///
    /// SPEC: Trace Context Level 2, 3.2.2.5.2 "Random Trace ID Flag".
    fn trace_id(&self) -> (TraceId, TraceFlags);
}

impl<G: IdGenerator + ?Sized> IdGenerator for &G {
    #[inline(always)]
    fn span_id(&self) -> SpanId {
        (**self).span_id()
    }
    #[inline(always)]
    fn trace_id(&self) -> (TraceId, TraceFlags) {
        (**self).trace_id()
    }
}

/// A source of random bytes: a hardware generator, the operating system, the host of a WASM module.
///
/// Each closure that fills a slice is one.
///
/// The contract: every bit is random and independent of all others, and it does not fail. A hardware
/// generator that reports a fault must not be passed off as one that works: read it once at boot, check
/// it, and use [`SeededIds`] or fall back to [`DeviceIds`].
pub trait Entropy {
    /// Fills `bytes` with random ones.
    fn fill(&self, bytes: &mut [u8]);
    /// 64 random bits.
    #[inline]
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

impl<F: Fn(&mut [u8])> Entropy for F {
    #[inline]
    fn fill(&self, bytes: &mut [u8]) {
        self(bytes);
    }
}

/// Ids straight from an entropy source: one reading for a span, two for a trace.
///
/// The right one where entropy is quick and always there: the host of an edge function, an operating
/// system. Costs what the source costs; the source also decides whether it can be shared.
///
/// ```
/// use spanlet::{IdGenerator, RandomIds};
/// # fn host_fill(bytes: &mut [u8]) { bytes.fill(7) }
/// let ids = RandomIds::new(host_fill); // getrandom, crypto.getRandomValues, a TRNG
/// let (_, flags) = ids.trace_id();
/// assert!(flags.is_random());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RandomIds<E> {
    entropy: E,
}

impl<E: Entropy> RandomIds<E> {
    /// Ids from `entropy`.
    pub const fn new(entropy: E) -> Self {
        RandomIds { entropy }
    }
}

impl<E: Entropy> IdGenerator for RandomIds<E> {
    #[inline]
    fn span_id(&self) -> SpanId {
        span_id_of(self.entropy.next_u64())
    }
    #[inline]
    fn trace_id(&self) -> (TraceId, TraceFlags) {
        let high = self.entropy.next_u64();
        (
            trace_id_of(high, self.entropy.next_u64()),
            TraceFlags::RANDOM,
        )
    }
}

/// The id of a word. Zero, one word in 2^64, becomes one rather than being drawn again: a broken source
/// must not hang the traced code. (By `max`, which LLVM sees through: no branch.)
#[inline(always)]
fn span_id_of(word: u64) -> SpanId {
    SpanId::from_word(word.max(1)).unwrap_or(SpanId::INVALID)
}

/// The id of two words. Where both are zero the high one is changed, so that the low one stays uniform.
#[inline(always)]
fn trace_id_of(high: u64, low: u64) -> TraceId {
    TraceId::from_words([high, low])
        .or(TraceId::from_words([u64::MAX, low]))
        .unwrap_or(TraceId::INVALID)
}

/// The odd number nearest to 2^64 divided by the golden ratio: successive multiples of it are spread
/// evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection of 64-bit words in which each bit of the word changes each bit of the result with even
/// odds, so that a counter comes out looking random. Two products. (The constants are Pelle Evensen's
/// "moremur".)
#[inline(always)]
const fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 27).wrapping_mul(0x3c79_ac49_2ba7_b653);
    let word = (word ^ word >> 33).wrapping_mul(0x1c69_b3f7_4ac4_ae35);
    word ^ word >> 27
}

#[cfg(test)]
mod tests;
