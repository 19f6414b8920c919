//! What is certain of a device's clock: bounds, and how they loosen with time.
//!
//! Time is in nanoseconds: `at` on the device's clock by its stated rate, and the *offset*, the host's clock minus
//! that. A *rate* is the change of the offset in parts per 2^32 of the device's time. Input: an offset's bounds
//! somewhere. Output: its bounds elsewhere. Bound: constant time, without division where spans are concerned.
//! Everything rounds outwards.

use super::ClockConfig;
use spanlet::Ticks;

/// Past this distance (11 days) only the largest rate error counts; also what keeps squares within 128 bits.
const FAR_NS: i128 = 1_000_000_000_000_000;

/// What a device's oscillator may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Oscillator {
    /// In parts per 2^32.
    max_rate: i64,
    /// In parts per 2^64 a nanosecond.
    max_change: i128,
}

impl Oscillator {
    pub(super) fn new(config: &ClockConfig) -> Self {
        let change = i128::from(config.max_rate_change_ppb_a_second) << 64;
        Oscillator {
            max_rate: from_ppb(config.max_rate_error_ppb) + 1,
            // Parts per 10^9 and second.
            max_change: change / (1_000_000_000 * 1_000_000_000) + 1,
        }
    }
    /// How much a rate may change over `ns`.
    fn change(&self, ns: i128) -> i128 {
        ((self.max_change * ns.min(FAR_NS)) >> 32) + 1
    }
    /// The integral over `ns` of a rate that starts with at most `rate`.
    fn growth(&self, rate: i64, ns: i128) -> i128 {
        let limit = drift(self.max_rate, ns) + 1;
        if ns > FAR_NS {
            return limit;
        }
        let curve = (self.max_change * ns * ns) >> 65;
        (drift(rate, ns) + curve + 2).min(limit)
    }
    /// The largest rate.
    pub(super) fn max_rate(&self) -> i64 {
        self.max_rate
    }
}

/// By how much an offset moves in `ns`, rounded down.
pub(super) fn drift(rate: i64, ns: i128) -> i128 {
    (i128::from(rate) * ns) >> 32
}

/// Parts per 10^9 as parts per 2^32.
fn from_ppb(ppb: i64) -> i64 {
    // At most half of 2^63 on the way.
    (ppb << 32) / 1_000_000_000
}

/// Parts per 2^32 as parts per 10^9.
pub(super) fn to_ppb(rate: i64) -> i64 {
    i64::try_from((i128::from(rate) * 1_000_000_000) >> 32).unwrap_or(0)
}

/// Bounds of a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Rate {
    pub(super) fn unknown(oscillator: &Oscillator) -> Self {
        Rate {
            low: -oscillator.max_rate,
            high: oscillator.max_rate,
        }
    }
    /// The bounds a time before or after.
    pub(super) fn loosened(self, by_ns: i128, oscillator: &Oscillator) -> Self {
        // A change of more than the largest rate makes no difference to one of more.
        let change = oscillator.change(by_ns.abs());
        let change = i64::try_from(change)
            .unwrap_or(i64::MAX / 4)
            .min(i64::MAX / 4);
        Rate {
            low: (self.low - change).max(-oscillator.max_rate),
            high: (self.high + change).min(oscillator.max_rate),
        }
    }
    pub(super) fn within(self, other: Self) -> Self {
        Rate {
            low: self.low.max(other.low),
            high: self.high.min(other.high),
        }
    }
    pub(super) fn middle(self) -> i64 {
        self.low.midpoint(self.high)
    }
}

/// The bounds of an offset; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Offset {
    pub(super) low: Option<i128>,
    pub(super) high: Option<i128>,
}

impl Offset {
    pub(super) fn within(self, other: Self) -> Self {
        let pick = |a: Option<i128>, b: Option<i128>, f: fn(i128, i128) -> i128| match (a, b) {
            (Some(a), Some(b)) => Some(f(a, b)),
            (a, b) => a.or(b),
        };
        Offset {
            low: pick(self.low, other.low, i128::max),
            high: pick(self.high, other.high, i128::min),
        }
    }
    pub(super) fn is_possible(self) -> bool {
        !matches!((self.low, self.high), (Some(low), Some(high)) if low > high)
    }
    /// Half of what is between the bounds.
    pub(super) fn half(self) -> Option<i128> {
        Some((self.high? - self.low? + 1) / 2)
    }
}

/// What is certain at one moment of the device's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fix {
    pub(super) ticks: Ticks,
    pub(super) at: i128,
    pub(super) offset: Offset,
    pub(super) rate: Rate,
}

impl Fix {
    /// The offset's bounds at another moment, before or after.
    pub(super) fn offset_at(&self, at: i128, oscillator: &Oscillator) -> Offset {
        let (ns, rate) = ((at - self.at).abs(), self.rate);
        let (up, down) = match at >= self.at {
            true => (rate.high, -rate.low),
            false => (-rate.low, rate.high),
        };
        Offset {
            low: (self.offset.low).map(|low| low - oscillator.growth(down, ns)),
            high: (self.offset.high).map(|high| high + oscillator.growth(up, ns)),
        }
    }
    /// What a measurement at an earlier moment says of this one.
    pub(super) fn from_earlier(
        &self,
        at: i128,
        measured: Offset,
        oscillator: &Oscillator,
    ) -> Offset {
        let ns = (self.at - at).max(0);
        Offset {
            low: (measured.low).map(|low| low - oscillator.growth(-self.rate.low, ns)),
            high: (measured.high).map(|high| high + oscillator.growth(self.rate.high, ns)),
        }
    }
    /// The same a while later.
    pub(super) fn moved(&self, ticks: Ticks, at: i128, oscillator: &Oscillator) -> Self {
        Fix {
            ticks,
            at,
            offset: self.offset_at(at, oscillator),
            rate: self.rate.loosened(at - self.at, oscillator),
        }
    }
    /// What two bounds a while apart say of the rate at the later one: the mean between them lies within what the
    /// offsets allow, and the rate is off the mean by at most half of its change.
    pub(super) fn rate_since(&self, earlier: &Fix, oscillator: &Oscillator) -> Rate {
        let unknown = Rate::unknown(oscillator);
        let ns = self.at - earlier.at;
        if ns <= 0 {
            return unknown;
        }
        let slack = oscillator.change(ns) / 2 + 2;
        // Beyond what fits it tells nothing.
        let mean = |grown: i128| Some(grown.checked_mul(1 << 32)?.div_euclid(ns));
        let bound = |grown: i128, slack: i128| i64::try_from(mean(grown)? + slack).ok();
        let high = match (self.offset.high, earlier.offset.low) {
            (Some(high), Some(low)) => bound(high - low, slack),
            _ => None,
        };
        let low = match (self.offset.low, earlier.offset.high) {
            (Some(low), Some(high)) => bound(low - high, -slack),
            _ => None,
        };
        Rate {
            low: low.unwrap_or(unknown.low),
            high: high.unwrap_or(unknown.high),
        }
    }
}
