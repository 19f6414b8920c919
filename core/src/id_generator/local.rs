//! Ids for one thread: no atomics, one product an id.

use super::{GOLDEN, IdGenerator, mix, span_id_of, trace_id_of};
use crate::context::{SpanId, TraceFlags, TraceId};
use core::cell::Cell;

/// The quickest generator, for one thread (it is not `Sync`): an adapter keeps one in each.
///
/// The state steps by an odd number, and an id is the product of two views of it, folded (the scheme of
/// wyrand). Both the state and the step come from the seed, 128 bits of true entropy for each thread, so
/// that no two threads walk the same way; hence the trace ids carry RANDOM, as those of
/// [`SeededIds`](super::SeededIds) do and for the same reason. Ids repeat by chance only: of 2^32 span ids
/// about two share one.
///
/// After a fork the child must [`reseed`](Self::reseed), or it goes on with its parent's ids.
///
/// Costs one 64 × 64 → 128-bit product, an addition, two xors and a test for a span, twice that for a
/// trace.
///
/// ```
/// use spanlet::{IdGenerator, LocalIds};
/// # let sixteen_random_bytes = [7; 16];
/// let ids = LocalIds::new(sixteen_random_bytes);
/// assert_ne!(ids.span_id(), ids.span_id());
/// assert!(ids.trace_id().1.is_random());
/// ```
#[derive(Debug)]
pub struct LocalIds {
    state: Cell<u64>,
    step: Cell<u64>,
}

impl LocalIds {
    /// Ids from a seed of 128 random bits. The same seed gives the same ids.
    pub const fn new(seed: [u8; 16]) -> Self {
        let (state, step) = split(seed);
        LocalIds {
            state: Cell::new(state),
            step: Cell::new(step),
        }
    }
    /// Starts over with another seed.
    pub fn reseed(&self, seed: [u8; 16]) {
        let (state, step) = split(seed);
        self.state.set(state);
        self.step.set(step);
    }
    #[inline(always)]
    fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(self.step.get());
        self.state.set(state);
        let product = u128::from(state) * u128::from(state ^ GOLDEN);
        #[expect(clippy::cast_possible_truncation, reason = "folds the halves")]
        {
            (product >> 64) as u64 ^ product as u64
        }
    }
}

const fn split(seed: [u8; 16]) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = seed;
    let state = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let step = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    // Mixed, so that seeds that are less random than they should be (a test's) do not begin alike. Odd,
    // so that the state takes every value before it repeats one.
    (mix(state.wrapping_add(GOLDEN)), mix(step ^ GOLDEN) << 1 | 1)
}

impl IdGenerator for LocalIds {
    #[inline(always)]
    fn span_id(&self) -> SpanId {
        span_id_of(self.next())
    }
    #[inline(always)]
    fn trace_id(&self) -> (TraceId, TraceFlags) {
        let high = self.next();
        (trace_id_of(high, self.next()), TraceFlags::RANDOM)
    }
}
