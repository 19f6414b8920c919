//! The rings of threads: memory given out, grown in a burst, taken back when the thread is gone.
//!
//! Input: a thread's first span, and the span that finds its ring full. Output: [`ThreadRing`]s, which the drain
//! reads. Bound: [`FIRST_BYTES`] to [`LARGEST_BYTES`] for each thread, [`GROWN_BYTES`] for all that have grown.
//!
//! A ring begins small, because a ring touches all of its memory once it has gone round. Where a burst is
//! faster than the drain, the thread goes on in a ring four times as large; the drain empties the one before,
//! and takes it back. A ring's memory is not touched before spans lie in it.

use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use spanlet::ring::SpscControl;
use spanlet::{SpanConsumer, SpanProducer, spsc_spans};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a thread's first ring: about 1,900 spans with four attributes.
const FIRST_BYTES: usize = 256 << 10;
/// Bytes of the largest that one grows to. With those before it, it holds a burst of 40,000 such spans.
const LARGEST_BYTES: usize = 4 << 20;
/// How much larger the next one is.
const GROWTH: usize = 4;
/// Bytes of all rings that are not a thread's first.
const GROWN_BYTES: usize = 64 << 20;
/// First rings kept for threads to come.
const KEPT: usize = 32;
/// Rings that may wait for the drain to take note before it is woken.
const WAITING: usize = 64;

/// How large rings are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSizes {
    first_words: usize,
    largest_words: usize,
}

impl RingSizes {
    /// Begins small and grows in bursts.
    pub(crate) const GROWING: Self = RingSizes {
        first_words: FIRST_BYTES / 8,
        largest_words: LARGEST_BYTES / 8,
    };
    /// Rounded up to a power of two, 4 KiB to 1 GiB; does not grow.
    pub(crate) fn fixed(bytes: usize) -> Self {
        let words = bytes.clamp(4 << 10, 1 << 30).next_power_of_two() / 8;
        RingSizes {
            first_words: words,
            largest_words: words,
        }
    }
}

/// The drain's end of a thread's ring.
pub(crate) struct ThreadRing {
    pub(crate) consumer: SpanConsumer<'static>,
    /// What the ring had refused when the drain looked last, modulo 2^32.
    full_seen: u32,
    too_large_seen: u32,
    words: usize,
}

impl ThreadRing {
    /// How many more spans the ring has refused since the last look: full, too large. Less than none where it
    /// took what another ring had refused.
    pub(crate) fn refused(&mut self) -> (i32, i32) {
        let (full, too_large) = (self.consumer.full(), self.consumer.too_large());
        let new = (
            full.wrapping_sub(self.full_seen).cast_signed(),
            too_large.wrapping_sub(self.too_large_seen).cast_signed(),
        );
        (self.full_seen, self.too_large_seen) = (full, too_large);
        new
    }
}

/// Memory of a ring, leaked while the ring is in use.
struct RingMemory {
    control: &'static mut SpscControl,
    words: &'static mut [MaybeUninit<u64>],
}

impl RingMemory {
    fn new(words: usize) -> Self {
        RingMemory {
            control: Box::leak(Box::default()),
            words: Box::leak(Box::new_uninit_slice(words)),
        }
    }
    /// Both ends, and what a full ring has counted before.
    fn split(self) -> Option<(SpanProducer<'static>, ThreadRing)> {
        let words = self.words.len();
        let (mut producer, consumer) = spsc_spans(self.control, self.words).ok()?;
        producer.on_filling(super::drain::wake);
        let (full_seen, too_large_seen) = (consumer.full(), consumer.too_large());
        let ring = ThreadRing {
            consumer,
            full_seen,
            too_large_seen,
            words,
        };
        Some((producer, ring))
    }
    fn free(self) {
        // SAFETY: both were leaked by `new`, and this is the only reference to either.
        unsafe {
            drop(Box::from_raw(self.control));
            drop(Box::from_raw(self.words));
        }
    }
}

/// All rings that the drain does not have, and the memory of those that nobody has.
pub(crate) struct Rings {
    sizes: RingSizes,
    /// Bytes of the rings that are not a thread's first.
    grown_bytes: AtomicUsize,
    /// Rings that the drain has not taken over yet: a list, the latest first. Without a lock, because a thread in a
    /// burst must not wait for a drain that was preempted, nor lose spans over it.
    new: AtomicPtr<New>,
    /// How many those are, about.
    waiting: AtomicUsize,
    /// First rings for threads to come.
    free: Mutex<Vec<RingMemory>>,
}

struct New {
    ring: ThreadRing,
    next: *mut New,
}

impl Rings {
    pub(crate) fn new(sizes: RingSizes) -> Self {
        Rings {
            sizes,
            grown_bytes: AtomicUsize::new(0),
            new: AtomicPtr::new(null_mut()),
            waiting: AtomicUsize::new(0),
            free: Mutex::default(),
        }
    }
    fn free(&self) -> MutexGuard<'_, Vec<RingMemory>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Has the drain know of a ring when it looks next. Never waits. How many it has to take note of.
    fn announce(&self, ring: ThreadRing) -> usize {
        let next = null_mut();
        let node = Box::into_raw(Box::new(New { ring, next }));
        let mut latest = self.new.load(Relaxed);
        loop {
            // SAFETY: nobody else has seen the node before the exchange gives it away.
            unsafe { (*node).next = latest };
            // ORDERING: publishes the node; pairs with Acquire in `take_new`.
            match (self.new).compare_exchange_weak(latest, node, Release, Relaxed) {
                Ok(_) => break,
                Err(other) => latest = other,
            }
        }
        // ORDERING: a count.
        self.waiting.fetch_add(1, Relaxed) + 1
    }
    /// A ring for a thread that has none.
    pub(crate) fn first(&self) -> Option<SpanProducer<'static>> {
        let free = self.free().pop();
        let memory = free.unwrap_or_else(|| RingMemory::new(self.sizes.first_words));
        let (producer, ring) = memory.split()?;
        if self.announce(ring) >= WAITING {
            super::drain::wake();
        }
        Some(producer)
    }
    /// A larger ring for the span that one of `words` words has just refused; none if it must not grow.
    pub(crate) fn larger(&self, words: usize) -> Option<(SpanProducer<'static>, usize)> {
        let larger = words * GROWTH;
        if !self.may_grow(words) {
            return None;
        }
        // ORDERING: a count.
        if self.grown_bytes.load(Relaxed) + larger * 8 > GROWN_BYTES {
            return None;
        }
        if self.grown_bytes.fetch_add(larger * 8, Relaxed) + larger * 8 > GROWN_BYTES {
            self.give_back(larger);
            return None;
        }
        let Some((producer, mut ring)) = RingMemory::new(larger).split() else {
            self.give_back(larger);
            return None;
        };
        // What the other has refused is not lost.
        ring.full_seen = ring.full_seen.wrapping_add(1);
        self.announce(ring);
        Some((producer, larger))
    }
    /// Whether there is a larger size than this one.
    pub(crate) fn may_grow(&self, words: usize) -> bool {
        words * GROWTH <= self.sizes.largest_words
    }
    fn give_back(&self, words: usize) {
        // ORDERING: a count.
        self.grown_bytes.fetch_sub(words * 8, Relaxed);
    }
    /// Words of a thread's first ring.
    pub(crate) fn first_words(&self) -> usize {
        self.sizes.first_words
    }
    /// Rings that the drain does not know yet, in the order in which they came.
    pub(crate) fn take_new(&self) -> Vec<ThreadRing> {
        // ORDERING: a count.
        self.waiting.store(0, Relaxed);
        // ORDERING: sees the nodes; pairs with Release in `announce`.
        let mut list = self.new.swap(null_mut(), Acquire);
        let mut rings = Vec::new();
        while !list.is_null() {
            // SAFETY: a node that `announce` made and gave away; the swap made the list ours alone.
            let New { ring, next } = *unsafe { Box::from_raw(list) };
            rings.push(ring);
            list = next;
        }
        rings.reverse();
        rings
    }
    /// Takes a ring back that is finished.
    pub(crate) fn reclaim(&self, ring: ThreadRing) -> Result<(), ThreadRing> {
        let ThreadRing {
            consumer,
            full_seen,
            too_large_seen,
            words,
        } = ring;
        let (control, memory) = match consumer.reclaim() {
            Ok(parts) => parts,
            Err(consumer) => {
                return Err(ThreadRing {
                    consumer,
                    full_seen,
                    too_large_seen,
                    words,
                });
            }
        };
        let memory = RingMemory {
            control,
            words: memory,
        };
        if words != self.sizes.first_words {
            self.give_back(words);
            memory.free();
            return Ok(());
        }
        let mut free = self.free();
        if free.len() < KEPT {
            free.push(memory);
        } else {
            drop(free);
            memory.free();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_grows_within_its_bound_and_comes_back() {
        let rings = Rings::new(RingSizes::GROWING);
        let first = rings.first().expect("memory");
        let (second, words) = rings.larger(rings.first_words()).expect("room to grow");
        assert_eq!(words, FIRST_BYTES / 8 * GROWTH);
        let (third, words) = rings.larger(words).expect("room to grow");
        assert_eq!(words, LARGEST_BYTES / 8);
        assert!(rings.larger(words).is_none());
        drop((first, second, third));
        let mut taken = rings.take_new();
        assert_eq!(taken.len(), 3);
        // Each of the two took what the one before had refused.
        let refused: Vec<i32> = taken.iter_mut().map(|ring| ring.refused().0).collect();
        assert_eq!(refused, [0, -1, -1]);
        for ring in taken {
            assert!(rings.reclaim(ring).is_ok());
        }
        assert_eq!(rings.grown_bytes.load(Relaxed), 0);
        assert_eq!(rings.free().len(), 1);
        drop(rings.first().expect("the one kept"));
        assert_eq!(rings.free().len(), 0);
        rings.take_new().into_iter().for_each(|ring| {
            assert!(rings.reclaim(ring).is_ok());
        });
        rings.free().drain(..).for_each(RingMemory::free);
    }

    #[test]
    fn all_grown_rings_together_are_bounded() {
        let rings = Rings::new(RingSizes::GROWING);
        let grown: Vec<_> = (0..100)
            .map_while(|_| rings.larger(LARGEST_BYTES / 8 / GROWTH))
            .collect();
        assert_eq!(grown.len(), GROWN_BYTES / LARGEST_BYTES);
        drop(grown);
        for ring in rings.take_new() {
            assert!(rings.reclaim(ring).is_ok());
        }
        assert_eq!(rings.grown_bytes.load(Relaxed), 0);
    }

    #[test]
    fn a_fixed_ring_does_not_grow() {
        let rings = Rings::new(RingSizes::fixed(5000));
        assert_eq!(rings.first_words(), 1024);
        assert!(rings.larger(1024).is_none());
    }
}
