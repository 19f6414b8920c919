//! When a device is asked for its time, and which answers count.
//!
//! Bound: [`OUTSTANDING`] questions that may still be answered.

use spanlet::frame::ClockPing;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const OUTSTANDING: usize = 16;
/// The first pause; each is twice the one before, up to the period.
const FIRST: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Pings {
    next_id: u32,
    outstanding: VecDeque<(u32, Instant)>,
    /// Since the bounds began (anew).
    sent: u32,
}

impl Pings {
    /// How long after one question the next is due.
    pub(super) fn pause(&self, period: Duration) -> Duration {
        let doubled = self.sent.saturating_sub(1).min(24);
        (FIRST * (1 << doubled)).min(period)
    }
    /// A question, not sent before `at`.
    pub(super) fn ask(&mut self, at: Instant, unix_ns: u64) -> ClockPing {
        self.next_id = self.next_id.wrapping_add(1);
        self.sent = self.sent.saturating_add(1);
        if self.outstanding.len() == OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back((self.next_id, at));
        ClockPing {
            id: self.next_id,
            host_unix_nanos: unix_ns,
        }
    }
    /// When the question was asked that this answers; once.
    pub(super) fn answered(&mut self, id: u32) -> Option<Instant> {
        let at = self
            .outstanding
            .iter()
            .position(|(known, _)| *known == id)?;
        self.outstanding.remove(at).map(|(_, asked)| asked)
    }
    /// Dense again. What was asked before tells nothing any more.
    pub(super) fn restart(&mut self) {
        self.sent = 0;
        self.outstanding.clear();
    }
}
