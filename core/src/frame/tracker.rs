//! What of a device's records has arrived, once.
//!
//! Input: sequences and counters of the frames of one device and epoch. Output: new or duplicate, and the
//! balance of the [`LinkLedger`]. Bound: constant time a record on average, 960 steps at worst; frames may come
//! up to 960 records out of order, what is later is not told from a duplicate and is dropped as one.
//!
//! A sender that keeps its records says with each frame before which none will come again
//! ([`RecordBatch::oldest`]). So a gap is told for good: what is missing before it has a counter of the device's,
//! or went to another receiver; what is missing behind it will come.

use super::{DeviceCounters, RecordBatch};

/// Records before the newest whose arrival is remembered.
const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;
/// Of these so many at least: the window moves by words.
const REMEMBERED: u64 = WINDOW - 64;

/// Tells new records from duplicates and counts the missing, for one device and epoch.
///
/// ```
/// use spanlet::frame::{DeviceCounters, SequenceTracker};
/// let mut tracker = SequenceTracker::new();
/// assert!(tracker.accept(0) && tracker.accept(2));
/// assert!(!tracker.accept(2), "a duplicate");
/// tracker.counters(&DeviceCounters { started: 4, recorded: 3, ..DeviceCounters::default() });
/// let ledger = tracker.ledger();
/// assert_eq!((ledger.received, ledger.link_lost, ledger.open), (2, 1, 1));
/// assert!(ledger.is_balanced());
/// ```
#[derive(Clone, Debug)]
pub struct SequenceTracker {
    /// One past the newest record, counted up from 0 without wrapping.
    high: u64,
    seen: [u64; WORDS],
    /// Whether the sender keeps its records until they are acknowledged.
    keeps: bool,
    /// Nothing before it is waited for: the sender has let go of it, or it is too long ago.
    low: u64,
    /// Of those before it, how many have arrived.
    arrived_below: u64,
    /// The first, not before `low`, that has not arrived.
    contiguous: u64,
    received: u64,
    duplicate: u64,
    corrupt: u64,
    last: DeviceCounters,
    totals: [u64; 9],
}

impl Default for SequenceTracker {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts of one device and epoch, without wrapping. Spans, but for `duplicate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLedger {
    /// Started on the device, as of its newest counters.
    pub started: u64,
    /// Open there.
    pub open: u64,
    /// Recorded there and not yet sent, or sent, not arrived and still kept there.
    pub pending: u64,
    /// Dropped by sampling.
    pub sampled_out: u64,
    /// Found the device's ring full.
    pub ring_full: u64,
    /// Too large for the ring.
    pub too_large: u64,
    /// Overwritten in the ring: before they were sent, or before they could be sent again.
    pub overwritten: u64,
    /// Too large for a frame.
    pub unsendable: u64,
    /// Destroyed by a reset.
    pub lost_at_reset: u64,
    /// Sent, and never arrived (or not yet, out of order). Of a sender that keeps nothing.
    pub link_lost: u64,
    /// Acknowledged by another receiver: one before this, or this one before its restart.
    pub acknowledged_elsewhere: u64,
    /// Arrived, but could not be decoded.
    pub corrupt: u64,
    /// Arrived.
    pub received: u64,
    /// Arrived again.
    pub duplicate: u64,
    /// The device's note on escalations.
    pub escalated_incomplete: u64,
}

impl LinkLedger {
    /// Whether `started` is the sum of everything else: each span is somewhere.
    pub const fn is_balanced(&self) -> bool {
        self.started
            == self.open
                + self.pending
                + self.sampled_out
                + self.ring_full
                + self.too_large
                + self.overwritten
                + self.unsendable
                + self.lost_at_reset
                + self.link_lost
                + self.acknowledged_elsewhere
                + self.corrupt
                + self.received
    }
}

impl SequenceTracker {
    /// At the beginning of an epoch: records count from 0, and what was sent before the receiver came is
    /// missing (or, of a sender that keeps records, was acknowledged elsewhere).
    pub const fn new() -> Self {
        SequenceTracker {
            high: 0,
            seen: [0; WORDS],
            keeps: false,
            low: 0,
            arrived_below: 0,
            contiguous: 0,
            received: 0,
            duplicate: 0,
            corrupt: 0,
            last: DeviceCounters {
                started: 0,
                recorded: 0,
                sampled_out: 0,
                ring_full: 0,
                too_large: 0,
                overwritten: 0,
                unsendable: 0,
                lost_at_reset: 0,
                escalated_incomplete: 0,
            },
            totals: [0; 9],
        }
    }

    /// The unwrapped number of a sequence: the one nearest to the newest; `None` before the beginning.
    fn unwrap(&self, sequence: u32) -> Option<u64> {
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 is meant")]
        let ahead = sequence.wrapping_sub(self.high as u32) as i32;
        self.high.checked_add_signed(ahead as i64)
    }
    fn bit(number: u64) -> (usize, u64) {
        let word = (number / 64 % WORDS as u64) as usize;
        (word, 1 << (number % 64))
    }
    /// For numbers that are remembered, that is from `low` on.
    fn has(&self, number: u64) -> bool {
        if number >= self.high {
            return false;
        }
        let (word, bit) = Self::bit(number);
        self.seen.get(word).is_some_and(|seen| seen & bit != 0)
    }
    /// Moves the window so that `high` is its end. At most the window's words are touched.
    fn advance(&mut self, high: u64) {
        self.let_go(high.saturating_sub(REMEMBERED));
        let (old, new) = (self.high.div_ceil(64), high.div_ceil(64));
        for word in old..new.min(old + WORDS as u64) {
            if let Some(seen) = self.seen.get_mut(Self::bit(word * 64).0) {
                *seen = 0;
            }
        }
        self.high = high;
        self.settle();
    }
    /// Waits no longer for what is before `low`.
    fn let_go(&mut self, low: u64) {
        if low <= self.low {
            return;
        }
        let arrived = (self.low..low.min(self.high)).filter(|n| self.has(*n));
        self.arrived_below += arrived.count() as u64;
        self.low = low;
    }
    fn settle(&mut self) {
        self.contiguous = self.contiguous.max(self.low);
        while self.has(self.contiguous) {
            self.contiguous += 1;
        }
    }
    /// Whether taking a number would push out of the window one that will still come.
    fn is_too_far(&self, number: u64) -> bool {
        self.keeps && number >= self.contiguous + REMEMBERED
    }

    /// Takes note of a frame: of its counters, and that all before its records has been sent.
    pub fn batch(&mut self, batch: &RecordBatch<'_>) {
        if let Some(oldest) = batch.oldest().and_then(|oldest| self.unwrap(oldest)) {
            self.keeps = true;
            if oldest > self.high {
                self.advance(oldest);
            }
            self.let_go(oldest);
            self.settle();
        }
        if let Some(first) = self.unwrap(batch.first())
            && first > self.high
            && !self.is_too_far(first)
        {
            self.advance(first);
        }
        if let Some(counters) = batch.counters() {
            self.counters(counters);
        }
    }
    /// Takes note of an arrived record. `false`: it is to be dropped, as a duplicate, or because its sender has
    /// more under way than [`MAX_UNACKNOWLEDGED`](super::MAX_UNACKNOWLEDGED); that one will come again.
    #[must_use = "a duplicate must be dropped"]
    pub fn accept(&mut self, sequence: u32) -> bool {
        let is_new = self.arrived(sequence);
        self.received += is_new as u64;
        is_new
    }
    /// Takes note of a record that arrived and cannot be decoded. `false`: it is a duplicate.
    pub fn corrupt(&mut self, sequence: u32) -> bool {
        let is_new = self.arrived(sequence);
        self.corrupt += is_new as u64;
        is_new
    }
    fn arrived(&mut self, sequence: u32) -> bool {
        let number = self.unwrap(sequence);
        if number.is_some_and(|n| self.is_too_far(n)) {
            return false;
        }
        let Some(number) = number.filter(|n| n + REMEMBERED >= self.high && !self.has(*n)) else {
            self.duplicate += 1;
            return false;
        };
        if number >= self.high {
            self.advance(number + 1);
        }
        let (word, bit) = Self::bit(number);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
        self.arrived_below += u64::from(number < self.low);
        self.settle();
        true
    }
    /// Takes note of a frame's counters. Those of frames that come late are passed over.
    pub fn counters(&mut self, counters: &DeviceCounters) {
        let fields = |c: &DeviceCounters| {
            [
                c.started,
                c.recorded,
                c.sampled_out,
                c.ring_full,
                c.too_large,
                c.overwritten,
                c.unsendable,
                c.lost_at_reset,
                c.escalated_incomplete,
            ]
        };
        let (new, old) = (fields(counters), fields(&self.last));
        // All of them only rise: if one is behind, the frame is older than what is known.
        let is_older = |(new, old): (&u32, &u32)| new.wrapping_sub(*old) > 1 << 31;
        if new.iter().zip(&old).any(is_older) {
            return;
        }
        for ((total, new), old) in self.totals.iter_mut().zip(new).zip(old) {
            *total += new.wrapping_sub(old) as u64;
        }
        self.last = *counters;
    }
    /// What to acknowledge to a sender that keeps records: the sequence of the first that is missing and
    /// may still come.
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 is meant")]
    pub fn next_missing(&self) -> u32 {
        self.contiguous as u32
    }
    /// The balance, as of the newest frame.
    pub fn ledger(&self) -> LinkLedger {
        let [
            started,
            recorded,
            sampled_out,
            ring_full,
            too_large,
            overwritten,
            unsendable,
            lost_at_reset,
            escalated_incomplete,
        ] = self.totals;
        // Frames may lack counters: what has been sent has been recorded, and started.
        let recorded = recorded.max(self.high);
        let never_recorded = sampled_out + ring_full + too_large;
        let started = started.max(recorded + never_recorded);
        let gaps = self.high - (self.received + self.corrupt);
        let gone = overwritten + unsendable + lost_at_reset;
        // What is missing for good, and what will still come.
        let (missing, kept) = if self.keeps {
            let missing = self.low - self.arrived_below;
            (missing, gaps - missing)
        } else {
            (gaps, 0)
        };
        // Of the former the device explains some; what it explains beyond them is among what is still to come.
        let explained = missing.min(gone);
        let unexplained = missing - explained;
        let under_way = recorded - self.high + kept;
        // Of what was overwritten before it was acknowledged some has arrived.
        let arrived = (gone - explained).saturating_sub(under_way);
        let overwritten = if self.keeps {
            overwritten.saturating_sub(arrived)
        } else {
            overwritten
        };
        let (link_lost, acknowledged_elsewhere) = if self.keeps {
            (0, unexplained)
        } else {
            (unexplained, 0)
        };
        LinkLedger {
            started,
            open: started - recorded - never_recorded,
            pending: under_way.saturating_sub(gone - explained),
            sampled_out,
            ring_full,
            too_large,
            overwritten,
            unsendable,
            lost_at_reset,
            link_lost,
            acknowledged_elsewhere,
            corrupt: self.corrupt,
            received: self.received,
            duplicate: self.duplicate,
            escalated_incomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_reorders_and_forgets() {
        let mut tracker = SequenceTracker::new();
        tracker.high = u64::from(u32::MAX) - 9;
        (tracker.contiguous, tracker.low) = (tracker.high, tracker.high);
        let start = tracker.high;
        for i in [0u64, 1, 5, 3, 20, 2, 4] {
            #[expect(clippy::cast_possible_truncation, reason = "modulo")]
            let sequence = (start + i) as u32;
            assert!(tracker.accept(sequence), "{i}");
            assert!(!tracker.accept(sequence), "{i}");
        }
        assert_eq!(tracker.contiguous, start + 6);
        #[expect(clippy::cast_possible_truncation, reason = "modulo")]
        let far = (start + 5000) as u32;
        assert!(tracker.accept(far));
        assert!(!tracker.accept(far.wrapping_sub(2000)), "too old to tell");
        assert!(tracker.accept(far.wrapping_sub(500)));
    }
}
