//! The current context of a device: on whose behalf the code runs that runs now.
//!
//! Kept by value in words of their own, so that no pointer to a stack outlives it. Interrupts nest: each
//! puts back exactly what it found, a half-written context included, so whoever was interrupted goes on
//! undisturbed. It is one per core: two cores never see or disturb each other's.
//!
//! What an interrupt handler sees is the context of whoever it interrupted, or none where it came in the
//! middle of a change. That is the right parent only for work that belongs to the interrupted code; others
//! name theirs, start a [`root`](crate::SpanBuilder::root), or run [`detached`](crate::Recorder::detached).

use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst, compiler_fence};

const NONE: u32 = 0;
const WRITING: u32 = 1;
/// With the flags in bits 8–15 and "remote" in bit 16.
const SET: u32 = 2;

/// Words of a context: trace id, span id.
const WORDS: usize = 6;

/// Tells which core runs the code that asks.
///
/// On an RP2040 it reads `SIO.CPUID`, on a Xtensa `PRID`, on RISC-V `mhartid`. Under an RTOS that preempts
/// threads, or moves them between cores, the number of the running thread does the same: what matters is
/// that code of the same number is interrupted only by code that finishes first.
///
/// ```
/// use spanlet::testing::ManualClock;
/// use spanlet::{AlwaysOn, CoreId, DeviceIds, Tracer, ring::DefaultReserve};
///
/// struct Sio;
/// impl CoreId for Sio {
///     fn core_id() -> usize {
///         # fn cpuid() -> u32 { 0 }
///         cpuid() as usize // a volatile read of 0xd000_0000
///     }
/// }
/// static TRACER: Tracer<ManualClock, DeviceIds, AlwaysOn, 4096, DefaultReserve, Sio, 2> =
///     Tracer::with_reserve(ManualClock::new(), DeviceIds::unset(), AlwaysOn);
/// # drop::<spanlet::Span<_, spanlet::InlineBuf<4>>>(TRACER.span("on either core").start());
/// ```
pub trait CoreId {
    /// Its number, counted from 0. A number beyond those that the tracer was told of has no current context:
    /// its spans are roots unless they name a parent.
    fn core_id() -> usize;
}

/// The [`CoreId`] of a part with one core, or of a tracer that only one core uses.
#[derive(Clone, Copy, Debug)]
pub struct Core0;
impl CoreId for Core0 {
    #[inline(always)]
    fn core_id() -> usize {
        0
    }
}

/// One of something for each of `CORES` cores, told apart by `K`.
pub(crate) struct PerCore<T, K, const CORES: usize>([T; CORES], PhantomData<fn() -> K>);

impl<T, K, const CORES: usize> PerCore<T, K, CORES> {
    pub(crate) const fn new(each: [T; CORES]) -> Self {
        PerCore(each, PhantomData)
    }
    /// That of the core that asks.
    #[inline(always)]
    pub(crate) fn here(&self) -> Option<&T>
    where
        K: CoreId,
    {
        self.0.get(K::core_id())
    }
}

/// For one core.
pub(crate) struct Current {
    state: AtomicU32,
    words: [AtomicU32; WORDS],
}

/// What was current, as [`Recorder::detach`](crate::Recorder::detach) found it. 28 bytes.
#[must_use = "whoever was interrupted needs it back"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetachedContext {
    state: u32,
    words: [u32; WORDS],
}

impl DetachedContext {
    /// Nothing was current.
    pub const NONE: Self = DetachedContext {
        state: NONE,
        words: [0; WORDS],
    };
    /// As words, to be kept where only words can be: the state, then the ids.
    pub(crate) const fn to_words(self) -> [u32; 1 + WORDS] {
        let [a, b, c, d, e, f] = self.words;
        [self.state, a, b, c, d, e, f]
    }
    pub(crate) const fn from_words([state, words @ ..]: [u32; 1 + WORDS]) -> Self {
        DetachedContext { state, words }
    }
}

impl Current {
    pub(crate) const fn new() -> Self {
        Current {
            state: AtomicU32::new(NONE),
            words: [const { AtomicU32::new(0) }; WORDS],
        }
    }
    /// The context, unless there is none or it is being written by whoever was interrupted.
    pub(crate) fn get(&self) -> Option<SpanContext> {
        let DetachedContext {
            state,
            words: [a, b, c, d, e, f],
        } = self.save();
        if state & 0xff != SET {
            return None;
        }
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let trace_id = TraceId::from_words([pair(a, b), pair(c, d)])?;
        let span_id = SpanId::from_word(pair(e, f))?;
        #[expect(clippy::cast_possible_truncation, reason = "takes the byte")]
        let context =
            SpanContext::new(trace_id, span_id, TraceFlags::from_byte((state >> 8) as u8));
        Some(if state & 1 << 16 != 0 {
            context.remote()
        } else {
            context
        })
    }
    pub(crate) fn set(&self, context: &SpanContext) {
        let [high, low] = context.trace_id().to_words();
        let span = context.span_id().to_word();
        #[expect(clippy::cast_possible_truncation, reason = "splits words")]
        let half = |word: u64| [word as u32, (word >> 32) as u32];
        let ([a, b], [c, d], [e, f]) = (half(high), half(low), half(span));
        let flags = u32::from(context.flags().to_byte()) << 8;
        self.restore(DetachedContext {
            state: SET | flags | u32::from(context.is_remote()) << 16,
            words: [a, b, c, d, e, f],
        });
    }
    /// Takes the context away, to be put back by `restore`.
    #[inline]
    pub(crate) fn take(&self) -> DetachedContext {
        let saved = self.save();
        // ORDERING: as in `save`. An interrupt that finds the words without the state puts both back.
        self.state.store(NONE, Relaxed);
        saved
    }
    pub(crate) fn save(&self) -> DetachedContext {
        // ORDERING: for one core: only the compiler must keep the order, so that an interrupt finds
        // WRITING whenever the words are not whole.
        let mut saved = DetachedContext {
            state: self.state.load(Relaxed),
            words: [0; WORDS],
        };
        compiler_fence(SeqCst);
        for (to, from) in saved.words.iter_mut().zip(&self.words) {
            *to = from.load(Relaxed);
        }
        saved
    }
    pub(crate) fn restore(&self, saved: DetachedContext) {
        // ORDERING: as in `save`.
        self.state.store(WRITING, Relaxed);
        compiler_fence(SeqCst);
        for (to, from) in self.words.iter().zip(saved.words) {
            to.store(from, Relaxed);
        }
        compiler_fence(SeqCst);
        self.state.store(saved.state, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn comes_back_as_it_was_put() {
        let current = Current::new();
        assert_eq!(current.get(), None);
        let of = |n: u8| {
            let (trace, span) = (TraceId::from_bytes([n; 16]), SpanId::from_bytes([n + 1; 8]));
            SpanContext::new(trace.unwrap(), span.unwrap(), TraceFlags::from_byte(n))
        };
        current.set(&of(1));
        assert_eq!(current.get(), Some(of(1)));
        let saved = current.save();
        current.set(&of(2).remote());
        assert_eq!(current.get(), Some(of(2).remote()));
        current.restore(saved);
        assert_eq!(current.get(), Some(of(1)));
        let taken = current.take();
        assert_eq!(current.get(), None);
        current.restore(DetachedContext::from_words(taken.to_words()));
        assert_eq!(current.get(), Some(of(1)));
    }

    /// Whoever was interrupted between any two of its stores goes on as if nothing had been.
    #[test]
    fn an_interrupt_in_the_middle_of_a_change_leaves_no_trace() {
        let of = |n: u8| {
            let (trace, span) = (TraceId::from_bytes([n; 16]), SpanId::from_bytes([n + 1; 8]));
            SpanContext::new(trace.unwrap(), span.unwrap(), TraceFlags::from_byte(n))
        };
        let (before, after) = (Current::new(), Current::new());
        (before.set(&of(1)), after.set(&of(2)));
        let (old, new) = (before.save(), after.save());
        for detaches in [false, true] {
            for stores in 0..=WORDS + 2 {
                let current = Current::new();
                current.restore(old);
                // The first `stores` stores of `current.set(&of(2))`.
                if stores > 0 {
                    current.state.store(WRITING, Relaxed);
                }
                let written = (stores.saturating_sub(1)).min(WORDS);
                let store = |range: core::ops::Range<usize>| {
                    for (to, from) in current
                        .words
                        .iter()
                        .zip(new.words)
                        .take(range.end)
                        .skip(range.start)
                    {
                        to.store(from, Relaxed);
                    }
                };
                store(0..written);
                if stores == WORDS + 2 {
                    current.state.store(new.state, Relaxed);
                }
                // The interrupt.
                let seen = current.get();
                assert!(
                    seen.is_none() || seen == Some(of(1)) || seen == Some(of(2)),
                    "never a mixture"
                );
                let saved = if detaches {
                    current.take()
                } else {
                    current.save()
                };
                assert!(!detaches || current.get().is_none());
                current.set(&of(9));
                assert_eq!(current.get(), Some(of(9)));
                current.restore(saved);
                // And on.
                assert_eq!(current.get(), seen);
                store(written..WORDS);
                current.state.store(new.state, Relaxed);
                assert_eq!(current.get(), Some(of(2)));
            }
        }
    }

    #[test]
    fn a_core_sees_its_own_and_one_too_many_none() {
        std::thread_local!(static CORE: core::cell::Cell<usize> = const { core::cell::Cell::new(0) });
        struct Which;
        impl CoreId for Which {
            fn core_id() -> usize {
                CORE.get()
            }
        }
        let contexts = PerCore::<_, Which, 2>::new([const { Current::new() }; 2]);
        let cx = SpanContext::new(
            TraceId::from_bytes([1; 16]).unwrap(),
            SpanId::from_bytes([2; 8]).unwrap(),
            TraceFlags::SAMPLED,
        );
        contexts.here().unwrap().set(&cx);
        CORE.set(1);
        assert_eq!(contexts.here().unwrap().get(), None);
        CORE.set(2);
        assert!(contexts.here().is_none());
        CORE.set(0);
        assert_eq!(contexts.here().unwrap().get(), Some(cx));
    }
}
