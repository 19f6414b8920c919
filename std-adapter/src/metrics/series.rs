//! Which label set has which histogram.
//!
//! Input: a request. Output: the histogram of its labels. Bound: a limit of label sets; what comes beyond shares one of
//! its metric. Finding one takes no lock: chains that only grow.

use super::Request;
use super::histogram::Histogram;
use super::labels::{LABELS, METRICS};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;

const HEADS: usize = 512;

#[derive(Debug)]
pub(super) struct SeriesTable {
    heads: Box<[Link]>,
    /// A client of ours chooses some of the labels.
    hasher: RandomState,
    limit: usize,
    used: AtomicUsize,
    overflow: [OnceLock<Box<Histogram>>; METRICS.len()],
}

type Link = OnceLock<Box<Series>>;

/// A label set and its histogram.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) metric: usize,
    pub(super) labels: [Box<str>; LABELS],
    pub(super) histogram: Histogram,
    next: Link,
}

impl SeriesTable {
    pub(super) fn new(limit: usize) -> Self {
        SeriesTable {
            heads: (0..HEADS).map(|_| OnceLock::new()).collect(),
            hasher: RandomState::new(),
            limit,
            used: AtomicUsize::new(0),
            overflow: Default::default(),
        }
    }

    pub(super) fn histogram(&self, request: &Request<'_>) -> &Histogram {
        request.with_labels(|metric, labels| self.find(metric, labels))
    }

    fn find(&self, metric: usize, labels: [&str; LABELS]) -> &Histogram {
        let hash = self.hasher.hash_one(Key(metric, labels));
        #[expect(clippy::cast_possible_truncation, reason = "the low bits")]
        let Some(mut link) = self.heads.get(hash as usize % HEADS) else {
            return self.beyond(metric);
        };
        let mut made = None;
        loop {
            while let Some(series) = link.get() {
                let same = || series.labels.iter().zip(labels).all(|(a, b)| **a == *b);
                if series.metric == metric && same() {
                    if made.is_some() {
                        // Another thread was quicker.
                        self.used.fetch_sub(1, Ordering::Relaxed);
                    }
                    return &series.histogram;
                }
                link = &series.next;
            }
            let series = match made.take() {
                Some(series) => series,
                None => match self.make(metric, labels) {
                    Some(series) => series,
                    None => return self.beyond(metric),
                },
            };
            made = link.set(series).err();
        }
    }

    #[cold]
    fn make(&self, metric: usize, labels: [&str; LABELS]) -> Option<Box<Series>> {
        // ORDERING: a count.
        if self.used.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.used.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Box::new(Series {
            metric,
            labels: labels.map(Into::into),
            histogram: Histogram::new(METRICS.get(metric)?.bounds),
            next: OnceLock::new(),
        }))
    }

    /// The histogram of a metric that takes what there is no room for.
    #[cold]
    fn beyond(&self, metric: usize) -> &Histogram {
        // Five metrics, by numbers that `with_labels` writes.
        let metric = metric.min(METRICS.len() - 1);
        self.overflow[metric].get_or_init(|| Box::new(Histogram::new(METRICS[metric].bounds)))
    }

    /// Those of a metric, ordered by their labels.
    pub(super) fn of(&self, metric: usize) -> Vec<&Series> {
        let mut all = Vec::new();
        for mut link in &self.heads {
            while let Some(series) = link.get() {
                if series.metric == metric {
                    all.push(&**series);
                }
                link = &series.next;
            }
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all
    }
    /// What a metric had no room for.
    pub(super) fn overflow(&self, metric: usize) -> Option<&Histogram> {
        self.overflow
            .get(metric)?
            .get()
            .map(|histogram| &**histogram)
    }
}

struct Key<'k>(usize, [&'k str; LABELS]);

impl Hash for Key<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}
