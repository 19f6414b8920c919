//! Keeping what failed or was slow although its trace was not sampled.
//!
//! Input: unsampled spans that were recorded, as they end. Output: whether to keep each, and how many of
//! those dropped before now count as missing from a kept trace. Bound: `K` words; four of them are looked
//! at.
//!
//! A span that fails is kept, and its trace is remembered: its local ancestors, which end later, read that
//! and are kept too, and so the path from the failure up to the entry of this process. Spans of the trace
//! that ended before are gone, and counted as such.

use crate::atomic::update;
use crate::context::TraceId;
use crate::recorder::EndedUnsampled;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Words that a trace may be in.
const PROBES: usize = 4;

/// What becomes of an unsampled span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "the ledger needs both"]
pub struct EscalationResult {
    /// Whether the span is kept. If not, it counts as sampled out.
    pub keep: bool,
    /// Spans of its trace that were dropped and counted as sampled out before, and now count as
    /// `escalated_incomplete` *instead*. No span is in two such numbers.
    pub newly_incomplete: u32,
}

/// The memory of escalated traces: a table of `K` words, one for each unsampled trace that is under way.
///
/// Four words for each trace that is recorded at the same time are plenty, one will do; `K` = 64 takes 256
/// bytes. What happens when the table is too small, or two traces look alike, is bounded:
/// - A trace is known by 20 bits of a hash. A span of a trace without a failure is kept by mistake with a
///   probability of at most 4 · 2^-20 = 3.8e-6, and only if as many failed traces are remembered in the
///   same four words.
/// - A trace that finds no word is not remembered until others have been silent: of it, the spans that fail
///   or are slow are kept as ever, but the dropped ones are not counted as incomplete; they stay sampled
///   out. A failed trace always finds one, at the cost of another, whose ancestors may then be dropped.
/// - Of one trace at most 1023 dropped spans are counted as incomplete; the others stay sampled out.
///
/// Whatever happens, each span is kept or dropped once, and each dropped one is counted once: the ledger
/// balances, and only the cause may be the coarser one.
///
/// For tasks, threads and interrupts at once: each word is changed by compare-and-swap, in a critical
/// section of a few instructions where the target has none. Costs, at the end of an unsampled span, two
/// 64-bit products and up to four words.
///
/// ```
/// use spanlet::{EndedUnsampled, Escalation, SpanId, TraceId};
/// static ESCALATION: Escalation<64> = Escalation::new().or_slower_than(500_000); // ticks
///
/// let trace_id = TraceId::from_bytes([1; 16]).unwrap();
/// let span_id = SpanId::from_bytes([2; 8]).unwrap();
/// let fine = EndedUnsampled { trace_id, span_id, is_error: false, duration_ticks: 10 };
/// let failed = EndedUnsampled { is_error: true, ..fine };
/// assert!(!ESCALATION.ended(&fine).keep, "nothing has gone wrong yet");
/// let result = ESCALATION.ended(&failed);
/// assert!(result.keep);
/// assert_eq!(result.newly_incomplete, 1, "the one that went before");
/// assert!(ESCALATION.ended(&fine).keep, "an ancestor of the failure");
/// ```
#[derive(Debug)]
pub struct Escalation<const K: usize> {
    words: [AtomicU32; K],
    latency_limit_ticks: u64,
}

/// A word of the table: tag 20 | fresh 1 | kept 1 | dropped 10. Zero is free: a word in use is kept or
/// counts at least one span.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u32);

impl Entry {
    const DROPPED: u32 = (1 << 10) - 1;
    const KEPT: u32 = 1 << 10;
    /// Touched since a trace last looked here for a place in vain.
    const FRESH: u32 = 1 << 11;
    const TAG: u32 = !0 << 12;

    fn is_free(self) -> bool {
        self.0 == 0
    }
    fn is_of(self, tag: u32) -> bool {
        !self.is_free() && self.0 & Self::TAG == tag
    }
    fn is_kept(self) -> bool {
        self.0 & Self::KEPT != 0
    }
    fn is_fresh(self) -> bool {
        self.0 & Self::FRESH != 0
    }
    fn dropped(self) -> u32 {
        self.0 & Self::DROPPED
    }
}

impl<const K: usize> Escalation<K> {
    /// Keeps spans that end with status Error, and their local ancestors.
    pub const fn new() -> Self {
        const { assert!(K > 0, "an escalation table needs at least one word") };
        Escalation {
            words: [const { AtomicU32::new(0) }; K],
            latency_limit_ticks: u64::MAX,
        }
    }
    /// Keeps also those that take at least this long.
    #[must_use]
    pub const fn or_slower_than(mut self, ticks: u64) -> Self {
        self.latency_limit_ticks = ticks;
        self
    }
    /// Decides on an unsampled span that ends. To be called once for each.
    #[inline(never)]
    pub fn ended(&self, span: &EndedUnsampled) -> EscalationResult {
        let (first, tag) = self.place(span.trace_id);
        if span.is_error || span.duration_ticks >= self.latency_limit_ticks {
            EscalationResult {
                keep: true,
                newly_incomplete: self.keep(first, tag),
            }
        } else {
            EscalationResult {
                keep: self.is_kept_or_count(first, tag),
                newly_incomplete: 0,
            }
        }
    }

    /// The first word that a trace may be in, and its tag.
    fn place(&self, trace_id: TraceId) -> (usize, u32) {
        // Ids need not be random (DeviceIds of others, a counter): they are mixed.
        let [a, b] = trace_id.to_words();
        let hash = (a.rotate_left(32) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below K, and a part of the hash"
        )]
        let (first, tag) = ((((hash >> 32) * K as u64) >> 32) as usize, hash as u32);
        (first, (tag ^ tag >> 20) << 12)
    }
    /// The words that a trace may be in, in the order in which everybody looks.
    fn probes(&self, first: usize) -> impl Iterator<Item = &AtomicU32> + Clone {
        let (before, from) = self
            .words
            .split_at_checked(first)
            .unwrap_or((&[], &self.words));
        from.iter().chain(before).take(PROBES)
    }

    /// Remembers the trace as kept; the spans of it that were counted as dropped.
    fn keep(&self, first: usize, tag: u32) -> u32 {
        let kept = tag | Entry::KEPT | Entry::FRESH;
        let (mut incomplete, mut known) = (0, false);
        // All of them: two contexts that met the trace at the same moment may each have given it a word.
        for word in self.probes(first) {
            let old = update(word, |word| Entry(word).is_of(tag).then_some(kept));
            if let Ok(old) = old {
                incomplete += Entry(old).dropped();
                known = true;
            }
        }
        // Bounded: each round but the last was lost to somebody who got a word.
        let mut rounds = 0;
        while !known && rounds <= PROBES {
            let Some((word, seen)) = self.victim(first, true) else {
                break;
            };
            known = update(word, |word| (word == seen).then_some(kept)).is_ok();
            rounds += 1;
        }
        incomplete
    }

    /// Whether the trace is kept; if not, the span is counted as dropped.
    fn is_kept_or_count(&self, first: usize, tag: u32) -> bool {
        // Kept in any word, before it is counted in one: see `keep`.
        for word in self.probes(first) {
            let touched = update(word, |word| {
                let entry = Entry(word);
                (entry.is_of(tag) && entry.is_kept()).then_some(word | Entry::FRESH)
            });
            if touched.is_ok() {
                return true;
            }
        }
        // Bounded as in `keep`.
        for _ in 0..=PROBES {
            for word in self.probes(first) {
                let old = update(word, |word| {
                    let entry = Entry(word);
                    let counts = !entry.is_kept() && entry.dropped() < Entry::DROPPED;
                    entry
                        .is_of(tag)
                        .then_some((word | Entry::FRESH) + u32::from(counts))
                });
                if let Ok(old) = old {
                    return Entry(old).is_kept();
                }
            }
            let Some((word, seen)) = self.victim(first, false) else {
                return false;
            };
            if update(word, |word| {
                (word == seen).then_some(tag | Entry::FRESH | 1)
            })
            .is_ok()
            {
                return false;
            }
        }
        false
    }

    /// A word to give to another trace, and what it holds: a free one, else one of a trace that was not
    /// touched since the last time that nothing was free, those with nothing kept first. If there is none,
    /// all lose their freshness, and one is taken only if it `must` be.
    fn victim(&self, first: usize, must: bool) -> Option<(&AtomicU32, u32)> {
        // ORDERING: the word is all there is.
        let seen = || self.probes(first).map(|word| (word, word.load(Relaxed)));
        let find = |is: fn(Entry) -> bool| seen().find(|(_, word)| is(Entry(*word)));
        let stale = find(Entry::is_free)
            .or_else(|| find(|entry| !entry.is_fresh() && !entry.is_kept()))
            .or_else(|| find(|entry| !entry.is_fresh()));
        if stale.is_some() {
            return stale;
        }
        for word in self.probes(first) {
            // A word that changed meanwhile is fresh: whether this wins or not is no matter.
            let _ = update(word, |word| Some(word & !Entry::FRESH));
        }
        if !must {
            return None;
        }
        find(|entry| !entry.is_kept()).or_else(|| seen().next())
    }
}

impl<const K: usize> Default for Escalation<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn span(trace: u64, is_error: bool) -> EndedUnsampled {
        EndedUnsampled {
            trace_id: TraceId::from_words([!trace, trace]).unwrap(),
            span_id: crate::SpanId::from_word(trace).unwrap(),
            is_error,
            duration_ticks: 10,
        }
    }
    fn result(keep: bool, newly_incomplete: u32) -> EscalationResult {
        EscalationResult {
            keep,
            newly_incomplete,
        }
    }

    #[test]
    fn a_failure_keeps_what_ends_later_and_counts_what_ended_before() {
        let table = Escalation::<64>::new();
        for _ in 0..3 {
            assert_eq!(table.ended(&span(1, false)), result(false, 0));
        }
        assert_eq!(table.ended(&span(2, false)), result(false, 0));
        assert_eq!(table.ended(&span(1, true)), result(true, 3));
        assert_eq!(table.ended(&span(1, false)), result(true, 0));
        assert_eq!(table.ended(&span(1, true)), result(true, 0), "counted once");
        assert_eq!(
            table.ended(&span(2, false)),
            result(false, 0),
            "another trace"
        );
        assert_eq!(table.ended(&span(2, true)), result(true, 2));
    }

    #[test]
    fn slow_from_the_limit_on() {
        let table = Escalation::<4>::new().or_slower_than(100);
        let lasting = |duration_ticks| EndedUnsampled {
            duration_ticks,
            ..span(1, false)
        };
        assert!(!table.ended(&lasting(99)).keep);
        assert_eq!(table.ended(&lasting(100)), result(true, 1));
        assert!(table.ended(&lasting(1)).keep, "an ancestor");
        let errors_only = Escalation::<4>::new();
        assert!(!errors_only.ended(&lasting(u64::MAX - 1)).keep);
    }

    #[test]
    fn a_count_stops_at_its_end() {
        let table = Escalation::<1>::new();
        for _ in 0..5000 {
            assert_eq!(table.ended(&span(1, false)), result(false, 0));
        }
        assert_eq!(table.ended(&span(1, true)), result(true, 1023));
        assert_eq!(table.ended(&span(1, false)), result(true, 0));
    }

    #[test]
    fn a_failed_trace_outlives_one_stranger_and_not_many() {
        let table = Escalation::<1>::new();
        assert_eq!(table.ended(&span(1, true)), result(true, 0));
        assert_eq!(
            table.ended(&span(2, false)),
            result(false, 0),
            "finds no word"
        );
        assert_eq!(
            table.ended(&span(1, false)),
            result(true, 0),
            "and takes none"
        );
        assert_eq!(table.ended(&span(2, false)), result(false, 0));
        assert_eq!(
            table.ended(&span(2, false)),
            result(false, 0),
            "takes the stale one"
        );
        assert_eq!(table.ended(&span(1, false)), result(false, 0), "forgotten");
        assert_eq!(
            table.ended(&span(2, true)),
            result(true, 1),
            "only what was counted"
        );
    }

    #[test]
    fn failures_find_a_word_in_a_full_table() {
        let table = Escalation::<8>::new();
        for trace in 1..1000 {
            assert_eq!(table.ended(&span(trace, true)), result(true, 0));
            assert_eq!(table.ended(&span(trace, false)), result(true, 0));
        }
    }

    #[test]
    fn threads_count_each_span_once() {
        let table = Escalation::<8>::new();
        let threads = 4;
        let (mut dropped, mut incomplete) = (0, 0);
        std::thread::scope(|scope| {
            let work = |n: u64| {
                let table = &table;
                move || {
                    let (mut dropped, mut incomplete) = (0u32, 0);
                    for i in 0..20_000u64 {
                        let result = table.ended(&span(i / 100 + 1, i % 37 == n));
                        dropped += u32::from(!result.keep);
                        incomplete += result.newly_incomplete;
                    }
                    (dropped, incomplete)
                }
            };
            let all: std::vec::Vec<_> = (0..threads).map(|n| scope.spawn(work(n))).collect();
            for thread in all {
                let (d, i) = thread.join().unwrap();
                dropped += d;
                incomplete += i;
            }
        });
        assert!(
            incomplete > 0 && incomplete <= dropped,
            "{incomplete} of {dropped}"
        );
    }
}
