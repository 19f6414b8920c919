//! The current context of a device: who runs now.
//!
//! Kept by value in words of their own, so that no pointer to a stack outlives it. Interrupts nest: each
//! puts back exactly what it found, a half-written context included, so whoever was interrupted goes on
//! undisturbed.

use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst, compiler_fence};

const NONE: u32 = 0;
const WRITING: u32 = 1;
/// With the flags in bits 8–15 and "remote" in bit 16.
const SET: u32 = 2;

/// Words of a context: trace id, span id.
const WORDS: usize = 6;

/// For one core. Used from several at once it may hold a mixture of contexts, and nothing worse.
pub(crate) struct Current {
    state: AtomicU32,
    words: [AtomicU32; WORDS],
}

/// What a [`Current`] held.
#[derive(Clone, Copy)]
pub(crate) struct Saved {
    state: u32,
    words: [u32; WORDS],
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
        // ORDERING: as in `save`.
        if self.state.load(Relaxed) & 0xff != SET {
            return None;
        }
        compiler_fence(SeqCst);
        let [a, b, c, d, e, f] = self.words.each_ref().map(|word| word.load(Relaxed));
        let state = self.state.load(Relaxed);
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
        self.restore(Saved {
            state: SET | flags | u32::from(context.is_remote()) << 16,
            words: [a, b, c, d, e, f],
        });
    }
    pub(crate) fn save(&self) -> Saved {
        // ORDERING: for one core: only the compiler must keep the order, so that an interrupt finds
        // WRITING whenever the words are not whole.
        let mut saved = Saved {
            state: self.state.load(Relaxed),
            words: [0; WORDS],
        };
        compiler_fence(SeqCst);
        for (to, from) in saved.words.iter_mut().zip(&self.words) {
            *to = from.load(Relaxed);
        }
        saved
    }
    pub(crate) fn restore(&self, saved: Saved) {
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
    }
}
