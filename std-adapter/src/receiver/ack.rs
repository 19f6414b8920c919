//! What to acknowledge to a device that keeps its records.
//!
//! Input: what frames of records say. Output: the sequence before which the device may forget. Bound:
//! constant.
//!
//! Records are acknowledged up to the first gap, with two exceptions, without which a device would wait
//! for ever: a gap that its own counters explain; and what it can no longer send. The latter happens when the receiver
//! comes (again) in the middle of an epoch: a device that sends again starts with the oldest record that
//! it has, so a start that comes twice, and later than the gap, says that nothing before it exists.

use spanlet::Ticks;

#[derive(Debug, Default)]
pub(crate) struct AckState {
    next: u32,
    high: u32,
    newest: Ticks,
    /// Where a repetition started that did not reach back to `next`.
    start: Option<u32>,
}

/// Whether `a` comes before `b`, modulo 2^32.
fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > 1 << 31
}

impl AckState {
    /// Takes note of a frame with `count` records from `first` on. `explained`: the device's counters
    /// account for every gap so far.
    pub(crate) fn batch(&mut self, first: u32, count: u32, sent_at: Ticks, explained: bool) {
        let end = first.wrapping_add(count);
        let is_newer = sent_at >= self.newest;
        if !before(self.next, first) {
            if before(self.next, end) {
                self.next = end;
                self.start = None;
            }
        } else if explained {
            self.next = end;
            self.start = None;
        } else if count != 0 && is_newer && before(first, self.high) {
            match self.start {
                Some(start) if start == first => {
                    self.next = end;
                    self.start = None;
                }
                Some(start) if !before(first, start) => {}
                _ => self.start = Some(first),
            }
        }
        if is_newer {
            self.newest = sent_at;
        }
        if before(self.high, end) {
            self.high = end;
        }
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
        ack.batch(0, 10, Ticks(1), true);
        ack.batch(20, 10, Ticks(3), false);
        assert_eq!(ack.next(), 10);
        ack.batch(10, 10, Ticks(2), true);
        assert_eq!(ack.next(), 20, "a late frame closes it");
        ack.batch(20, 10, Ticks(4), true);
        ack.batch(35, 1, Ticks(5), true);
        assert_eq!(ack.next(), 36, "explained");
    }

    #[test]
    fn in_the_middle_of_an_epoch_the_second_repetition_counts() {
        let mut ack = AckState::default();
        for round in 0..2 {
            assert_eq!(ack.next(), 0);
            ack.batch(5000, 10, Ticks(10 * round + 1), false);
            ack.batch(5010, 10, Ticks(10 * round + 2), false);
        }
        ack.batch(5000, 10, Ticks(31), false);
        ack.batch(5010, 10, Ticks(32), false);
        assert_eq!(ack.next(), 5020);
    }

    #[test]
    fn a_frame_out_of_order_is_no_repetition() {
        let mut ack = AckState::default();
        ack.batch(20, 10, Ticks(9), false);
        for _ in 0..3 {
            ack.batch(10, 10, Ticks(5), false);
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
        ack.batch(u32::MAX - 4, 10, Ticks(1), true);
        assert_eq!(ack.next(), 5);
    }
}
