//! What became of every span: the ledger.

use core::fmt;

/// Counts of spans since the start, by what became of them.
///
/// INVARIANT, at any moment at which nothing is being recorded or exported:
/// `started = open + buffered + exported + every cause of loss`. [`Ledger::missing`] is the difference, and zero.
///
/// `open` and `buffered` are counted on their own (ends, what the drain took, what the queue holds), so
/// the equation can fail; a test that checks it checks something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ledger {
    /// Spans started, sampled or not.
    pub started: u64,
    /// Started and not ended.
    pub open: u64,
    /// Ended, and in a ring, a batch or the queue.
    pub buffered: u64,
    /// Taken by the collector.
    pub exported: u64,
    /// Dropped by the sampler at their start, or recorded only and not escalated.
    pub sampled_out: u64,
    /// Found their thread's ring full.
    pub ring_full: u64,
    /// Longer than a ring or a request takes.
    pub too_large: u64,
    /// Found the export queue full.
    pub queue_full: u64,
    /// Refused by the collector one by one (partial success).
    pub rejected: u64,
    /// The collector's answer was lost: it may have them.
    pub indeterminate: u64,
    /// Never taken by the collector.
    pub failed: u64,
    /// Ended on a thread whose recorder was gone already.
    pub thread_gone: u64,
}

impl Ledger {
    /// Spans lost, of whatever cause; sampling is no loss.
    pub fn lost(&self) -> u64 {
        self.ring_full
            + self.too_large
            + self.queue_full
            + self.rejected
            + self.failed
            + self.thread_gone
    }
    /// Spans that no line of the ledger accounts for: zero, or negative for spans counted twice.
    pub fn missing(&self) -> i64 {
        let accounted = self.open
            + self.buffered
            + self.exported
            + self.sampled_out
            + self.indeterminate
            + self.lost();
        self.started.wrapping_sub(accounted) as i64
    }
    /// The sums of two ledgers, as of several processes.
    #[must_use]
    pub fn plus(&self, other: &Ledger) -> Ledger {
        Ledger {
            started: self.started + other.started,
            open: self.open + other.open,
            buffered: self.buffered + other.buffered,
            exported: self.exported + other.exported,
            sampled_out: self.sampled_out + other.sampled_out,
            ring_full: self.ring_full + other.ring_full,
            too_large: self.too_large + other.too_large,
            queue_full: self.queue_full + other.queue_full,
            rejected: self.rejected + other.rejected,
            indeterminate: self.indeterminate + other.indeterminate,
            failed: self.failed + other.failed,
            thread_gone: self.thread_gone + other.thread_gone,
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} started = {} exported", self.started, self.exported)?;
        for (n, cause) in [
            (self.open, "open"),
            (self.buffered, "buffered"),
            (self.sampled_out, "sampled out"),
            (self.ring_full, "ring full"),
            (self.too_large, "too large"),
            (self.queue_full, "queue full"),
            (self.rejected, "rejected"),
            (self.indeterminate, "indeterminate"),
            (self.failed, "failed"),
            (self.thread_gone, "thread gone"),
        ] {
            if n != 0 {
                write!(f, " + {n} {cause}")?;
            }
        }
        match self.missing() {
            0 => Ok(()),
            n => write!(f, " + {n} MISSING"),
        }
    }
}
