//! Numbers and checks that a reset may keep.

use super::sync::{
    AtomicU32, Lock,
    Ordering::{Relaxed, Release},
    const_fn,
};

/// A count with its complement beside it, so that after a reset a damaged one is told from a right one.
///
/// A reset between the two stores leaves the complement behind by what was added, which
/// [`intact`](Self::intact) takes for right.
#[repr(C)]
pub(crate) struct Kept {
    value: AtomicU32,
    inverse: AtomicU32,
}

impl Kept {
    const_fn! {
        /// Zero; its complement is yet to be written.
        pub(crate) fn new() -> Self {
            Kept { value: AtomicU32::new(0), inverse: AtomicU32::new(0) }
        }
    }
    #[inline(always)]
    pub(crate) fn get(&self) -> u32 {
        self.value.load(Relaxed)
    }
    /// Sets it, value first. For whoever is alone, or in the critical section.
    // ORDERING: a reset must see the value first, and what came before it. Nobody else reads the complement.
    #[inline(always)]
    pub(crate) fn set(&self, value: u32) {
        self.set_value(value);
        self.set_inverse(value);
    }
    #[inline(always)]
    pub(super) fn set_value(&self, value: u32) {
        self.value.store(value, Release);
    }
    #[inline(always)]
    pub(super) fn set_inverse(&self, value: u32) {
        self.inverse.store(!value, Release);
    }
    /// Adds `n`, modulo 2^32. Out of line, so that nothing of the caller's is moved into the section.
    #[inline(never)]
    pub(crate) fn add(&self, lock: &Lock, n: u32) {
        lock.with(|| self.set(self.get().wrapping_add(n)));
    }
    /// The value that the complement says.
    pub(crate) fn by_inverse(&self) -> u32 {
        !self.inverse.load(Relaxed)
    }
    /// The value, if the complement agrees with it, or lacks the last addition of at most `step`.
    pub(crate) fn intact(&self, step: u32) -> Option<u32> {
        (self.get().wrapping_sub(self.by_inverse()) <= step).then(|| self.get())
    }
}

/// A word that sums words up: finds each change of a single word, and others with odds of 2^32 to 1.
///
/// Each step is a bijection of the state, so a difference in one word stays a difference. Two instructions a
/// step on a Cortex-M4, three on an M0.
#[derive(Clone, Copy)]
pub(crate) struct Check(u32);

impl Check {
    /// Of what stands there: what stood somewhere else does not pass.
    #[inline(always)]
    pub(crate) const fn new(place: u32) -> Self {
        Check(place ^ 0x5bd1_e995)
    }
    #[inline(always)]
    pub(crate) fn add(&mut self, word: u32) {
        self.0 = (self.0.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b1);
    }
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves")]
    pub(crate) fn add_word(&mut self, word: u64) {
        self.add(word as u32);
        self.add((word >> 32) as u32);
    }
    #[inline(always)]
    pub(crate) const fn word(self) -> u32 {
        self.0
    }
}
