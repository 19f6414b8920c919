//! A histogram that threads add to without a lock, with an exemplar in each bucket.
//!
//! Input: durations. Output: counts, their sum, and the last sampled span of each bucket. Bound: fixed.

use super::labels::BUCKETS;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use core::time::Duration;
use spanlet::{SpanContext, SpanId, TraceId};
use std::time::{SystemTime, UNIX_EPOCH};

/// Threads count in so many places, apart from each other.
const SHARDS: usize = 4;

#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [(&'static str, u64)],
    shards: [Shard; SHARDS],
    exemplars: [ExemplarCell; BUCKETS],
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    counts: [AtomicU64; BUCKETS],
    /// Nanoseconds: enough for 584 years of requests.
    sum: AtomicU64,
}

/// The last sampled span of a bucket.
#[derive(Debug, Default)]
struct ExemplarCell {
    /// How often it was written, twice; odd while it is being written; 0: never.
    version: AtomicU64,
    /// Trace id, span id, duration and time in nanoseconds.
    words: [AtomicU64; 5],
}

/// A span whose request fell into a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exemplar {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) nanos: u64,
    pub(super) unix_nanos: u64,
}

/// What a histogram holds at a moment.
pub(super) struct Snapshot {
    /// Of each bucket, not cumulative.
    pub(super) counts: [u64; BUCKETS],
    pub(super) sum_nanos: u64,
}

thread_local! {
    static SHARD: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        // ORDERING: a number, and nothing else.
        THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

fn to_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Histogram {
    pub(super) fn new(bounds: &'static [(&'static str, u64)]) -> Self {
        Histogram {
            bounds,
            shards: Default::default(),
            exemplars: Default::default(),
        }
    }

    pub(super) fn add(&self, duration: Duration, span: Option<&SpanContext>) {
        let nanos = to_nanos(duration);
        // An upper bound belongs to its bucket.
        let bucket = self.bounds.partition_point(|(_, bound)| *bound < nanos);
        let shard = SHARD.try_with(|shard| *shard).unwrap_or(0);
        let (Some(shard), Some(exemplar)) = (self.shards.get(shard), self.exemplars.get(bucket))
        else {
            return;
        };
        // ORDERING: counts.
        if let Some(count) = shard.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        shard.sum.fetch_add(nanos, Ordering::Relaxed);
        if let Some(span) = span
            && span.is_valid()
            && span.is_sampled()
        {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            exemplar.set(span, nanos, to_nanos(since.unwrap_or_default()));
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            counts: [0; BUCKETS],
            sum_nanos: 0,
        };
        for shard in &self.shards {
            // ORDERING: counts.
            for (to, count) in snapshot.counts.iter_mut().zip(&shard.counts) {
                *to += count.load(Ordering::Relaxed);
            }
            let sum = shard.sum.load(Ordering::Relaxed);
            snapshot.sum_nanos = snapshot.sum_nanos.wrapping_add(sum);
        }
        snapshot
    }
    pub(super) fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        self.exemplars.get(bucket)?.get()
    }
}

impl ExemplarCell {
    /// Writes, unless another thread does: one of the two is as good as the other.
    fn set(&self, span: &SpanContext, nanos: u64, unix_nanos: u64) {
        let version = self.version.load(Ordering::Relaxed);
        if !version.is_multiple_of(2)
            || self
                .version
                .compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        // ORDERING: who sees one of the words sees the odd version; pairs with the fence in `get`.
        fence(Ordering::Release);
        let [high, low] = span.trace_id().to_words();
        let words = [high, low, span.span_id().to_word(), nanos, unix_nanos];
        for (to, word) in self.words.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        // ORDERING: publishes the words; pairs with Acquire in `get`.
        self.version.store(version + 2, Ordering::Release);
    }

    /// The exemplar, if there is one and it stays the same for long enough to be read.
    fn get(&self) -> Option<Exemplar> {
        for _ in 0..100 {
            // ORDERING: pairs with Release in `set`.
            let version = self.version.load(Ordering::Acquire);
            if version == 0 {
                return None;
            }
            let [high, low, span, nanos, unix_nanos] = self
                .words
                .each_ref()
                .map(|word| word.load(Ordering::Relaxed));
            // ORDERING: the words were read before the version is looked at again.
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return Some(Exemplar {
                    trace_id: TraceId::from_words([high, low])?,
                    span_id: SpanId::from_word(span)?,
                    nanos,
                    unix_nanos,
                });
            }
            core::hint::spin_loop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanlet::TraceFlags;

    const BOUNDS: &[(&str, u64)] = &[("0.001", 1_000_000), ("0.002", 2_000_000)];

    fn span(n: u64, flags: TraceFlags) -> SpanContext {
        let trace = TraceId::from_words([n, n]).unwrap();
        SpanContext::new(trace, SpanId::from_word(n).unwrap(), flags)
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_only_sampled_spans_are_exemplars() {
        let histogram = Histogram::new(BOUNDS);
        let add = |nanos, span: Option<SpanContext>| {
            histogram.add(Duration::from_nanos(nanos), span.as_ref());
        };
        add(0, None);
        add(1_000_000, Some(span(1, TraceFlags::NONE)));
        add(1_000_001, Some(span(2, TraceFlags::SAMPLED)));
        add(2_000_001, None);
        add(u64::MAX / 2, Some(span(3, TraceFlags::SAMPLED)));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts[..4], [2, 1, 2, 0]);
        assert_eq!(snapshot.sum_nanos, 4_000_002 + u64::MAX / 2);
        assert!(histogram.exemplar(0).is_none());
        assert_eq!(histogram.exemplar(1).unwrap().nanos, 1_000_001);
        assert_eq!(histogram.exemplar(2).unwrap().trace_id.to_words(), [3, 3]);
    }

    /// No exemplar is ever half of one and half of another.
    #[test]
    fn exemplars_are_whole_and_counts_add_up_under_threads() {
        const EACH: u64 = 20_000;
        let histogram = Histogram::new(BOUNDS);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let histogram = &histogram;
                scope.spawn(move || {
                    for n in 1..=EACH {
                        let n = n * 3 + thread;
                        let span = span(n, TraceFlags::SAMPLED);
                        histogram.add(Duration::from_nanos(n), Some(&span));
                    }
                });
            }
            scope.spawn(|| {
                let mut seen = 0;
                while seen < 1000 {
                    if let Some(exemplar) = histogram.exemplar(0) {
                        let n = exemplar.nanos;
                        assert_eq!(exemplar.trace_id.to_words(), [n, n]);
                        assert_eq!(exemplar.span_id.to_word(), n);
                        seen += 1;
                    }
                }
            });
        });
        assert_eq!(histogram.snapshot().counts[0], 3 * EACH);
    }
}
