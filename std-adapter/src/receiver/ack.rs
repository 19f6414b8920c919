//! What to acknowledge to a device that keeps its records.
//!
//! Input: what frames of records say. Output: the sequence before which the device may forget. Bound:
//! constant.
//!
//! Records are acknowledged up to the first gap, with two exceptions, without which a device would wait
//! for ever: a gap that its own counters explain; and what it can no longer send. The latter happens only when
//! the receiver comes (again) in the middle of an epoch, before its first acknowledgement: a device that sends
//! again starts with the oldest record that it has. A start that comes [`REPETITIONS`] times, on a link that
//! damages nothing meanwhile, says that nothing before it exists.

use spanlet::Ticks;

/// How often a device must start at the same record.
const REPETITIONS: u32 = 4;

#[derive(Debug, Default)]
pub(crate) struct AckState {
    next: u32,
    high: u32,
    newest: Ticks,
    has_acknowledged: bool,
    /// Where repetitions started that did not reach back to `next`, how many, and how much damage there
    /// had been.
    start: Option<(u32, u32, u64)>,
}

/// Whether `a` comes before `b`, modulo 2^32.
fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > 1 << 31
}

impl AckState {
    /// Takes note of a frame with `count` records from `first` on. `explained`: the device's counters
    /// account for every gap so far. `damage`: a count of what the link has damaged.
    pub(crate) fn batch(
        &mut self,
        first: u32,
        count: u32,
        sent_at: Ticks,
        explained: bool,
        damage: u64,
    ) {
        let end = first.wrapping_add(count);
        let is_newer = sent_at >= self.newest;
        if !before(self.next, first) || explained {
            if before(self.next, end) {
                self.advance(end);
            }
        } else if !self.has_acknowledged && count != 0 && is_newer && before(first, self.high) {
            self.start = match self.start {
                Some((start, n, d)) if start == first && d == damage => Some((start, n + 1, d)),
                Some((start, n, d)) if before(start, first) => Some((start, n, d)),
                _ => Some((first, 1, damage)),
            };
            if self.start.is_some_and(|(_, n, _)| n >= REPETITIONS) {
                self.advance(end);
            }
        }
        if is_newer {
            self.newest = sent_at;
        }
        if before(self.high, end) {
            self.high = end;
        }
    }
    fn advance(&mut self, next: u32) {
        self.next = next;
        self.has_acknowledged = true;
        self.start = None;
    }
    /// The first sequence that the device must still keep.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_at_a_gap_until_it_is_closed_or_explained() {
        let mut ack = AckState::default();
        ack.batch(0, 10, Ticks(1), true, 0);
        ack.batch(20, 10, Ticks(3), false, 0);
        assert_eq!(ack.next(), 10);
        ack.batch(10, 10, Ticks(2), true, 0);
        assert_eq!(ack.next(), 20, "a late frame closes it");
        ack.batch(20, 10, Ticks(4), true, 0);
        ack.batch(35, 1, Ticks(5), true, 0);
        assert_eq!(ack.next(), 36, "explained");
    }

    #[test]
    fn in_the_middle_of_an_epoch_repetitions_count_where_nothing_is_damaged() {
        for damages in [false, true] {
            let mut ack = AckState::default();
            for round in 0..8u64 {
                let damage = if damages { round } else { 0 };
                ack.batch(5000, 10, Ticks(10 * round + 1), false, damage);
                ack.batch(5010, 10, Ticks(10 * round + 2), false, damage);
                let is_sure = !damages && round >= 4;
                assert_eq!(ack.next(), if is_sure { 5020 } else { 0 }, "{round}");
            }
        }
    }

    #[test]
    fn what_was_not_acknowledged_is_never_skipped_later() {
        let mut ack = AckState::default();
        ack.batch(0, 10, Ticks(1), true, 0);
        for round in 0..20u64 {
            ack.batch(20, 10, Ticks(10 * round + 2), false, 0);
        }
        assert_eq!(ack.next(), 10);
    }

    #[test]
    fn a_frame_out_of_order_is_no_repetition() {
        let mut ack = AckState::default();
        ack.batch(20, 10, Ticks(9), false, 0);
        for _ in 0..3 {
            ack.batch(10, 10, Ticks(5), false, 0);
        }
        assert_eq!(ack.next(), 0);
    }

    #[test]
    fn wraps() {
        let mut ack = AckState {
            next: u32::MAX - 4,
            high: u32::MAX - 4,
            ..AckState::default()
        };
        ack.batch(u32::MAX - 4, 10, Ticks(1), true, 0);
        assert_eq!(ack.next(), 5);
    }
}
