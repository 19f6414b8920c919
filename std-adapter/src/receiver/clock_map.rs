//! A device's ticks → Unix time.
//!
//! Input: times of sending with their arrivals, and answered pings. Output: an anchor and the bound of its error.
//! Bound: constant time and memory.
//!
//! The unknown is the *offset*: Unix time minus the device's own time. Each frame says that it is at most
//! `arrival − sent_at`, for nothing arrives before it was sent; each answered ping says that it is at
//! least `ping sent − ping received`. The tightest of each kind within the last one to two windows count:
//!
//! - One way, the offset is the least seen. Mapped times are **late by the least delay of the window's
//!   frames**: never early (but for drift), and by how much late nobody can say from here.
//! - With pings the offset lies between both bounds; the middle is taken, and half their distance is the
//!   error. Drift adds at most rate error × two windows (20 ppm × 2 min = 2.4 ms).
//!
//! The anchor in use moves only when it is off by [`TOLERANCE_NS`], so that spans of one trace keep their
//! places relative to each other. A step of the host's wall clock clears the bounds.

use spanlet::{TickRate, Ticks, UnixAnchor};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How far the anchor in use may be from the best estimate.
const TOLERANCE_NS: i128 = 250_000;
/// How long a bound counts at least, and half of how long at most.
const WINDOW: Duration = Duration::from_secs(60);
/// What counts as a step of the wall clock.
const STEP_NS: i128 = 200_000_000;

/// When bytes came in: on the clock that never steps, and on the one that tells the time.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Monotonic.
    pub at: Instant,
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
}

impl Arrival {
    /// The present.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ns = u64::try_from(unix.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        Arrival {
            at: Instant::now(),
            unix_ns,
        }
    }
}

/// The tightest bounds of one window, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    upper: Option<i128>,
    lower: Option<i128>,
}

/// The mapping of one device and epoch.
#[derive(Debug)]
pub(crate) struct ClockMap {
    rate: TickRate,
    /// Unix time of tick 0, where it is given and not found out.
    fixed: Option<u64>,
    this: Bounds,
    before: Bounds,
    since: Instant,
    /// The last arrival: tells steps of the wall clock.
    last: Option<Arrival>,
    offset: Option<i128>,
}

impl ClockMap {
    pub(crate) fn new(rate: TickRate, fixed: Option<u64>) -> Self {
        ClockMap {
            rate,
            fixed,
            this: Bounds::default(),
            before: Bounds::default(),
            since: Instant::now(),
            last: None,
            offset: None,
        }
    }
    fn device_ns(&self, ticks: Ticks) -> i128 {
        // Ticks of 64 bits times 1e9 stay below 2^94.
        i128::from(ticks.0) * 1_000_000_000 / i128::from(self.rate.as_hz())
    }
    fn turn(&mut self, arrival: Arrival) {
        if let Some(last) = self.last {
            let steady = arrival.at.saturating_duration_since(last.at).as_nanos();
            let wall = i128::from(arrival.unix_ns) - i128::from(last.unix_ns);
            if (wall - i128::try_from(steady).unwrap_or(i128::MAX)).abs() > STEP_NS {
                (self.this, self.before) = Default::default();
            }
        }
        self.last = Some(arrival);
        if arrival.at.saturating_duration_since(self.since) >= WINDOW {
            self.before = core::mem::take(&mut self.this);
            self.since = arrival.at;
        }
    }
    /// A frame that was sent at `sent_at` has arrived.
    pub(crate) fn sent(&mut self, sent_at: Ticks, arrival: Arrival) {
        self.turn(arrival);
        let upper = i128::from(arrival.unix_ns) - self.device_ns(sent_at);
        self.this.upper = Some(self.this.upper.map_or(upper, |u| u.min(upper)));
        self.settle();
    }
    /// The device received at `received_at` what the host had sent at `sent_unix_ns`.
    pub(crate) fn received(&mut self, sent_unix_ns: u64, received_at: Ticks) {
        let lower = i128::from(sent_unix_ns) - self.device_ns(received_at);
        self.this.lower = Some(self.this.lower.map_or(lower, |l| l.max(lower)));
        self.settle();
    }
    fn bounds(&self) -> (Option<i128>, Option<i128>) {
        let pick = |a: Option<i128>, b: Option<i128>, f: fn(i128, i128) -> i128| match (a, b) {
            (Some(a), Some(b)) => Some(f(a, b)),
            (a, b) => a.or(b),
        };
        (
            pick(self.this.lower, self.before.lower, i128::max),
            pick(self.this.upper, self.before.upper, i128::min),
        )
    }
    fn settle(&mut self) {
        let best = match self.bounds() {
            (Some(lower), Some(upper)) => lower.midpoint(upper),
            (None, Some(upper)) => upper,
            (Some(lower), None) => lower,
            (None, None) => return,
        };
        if self
            .offset
            .is_none_or(|offset| (offset - best).abs() > TOLERANCE_NS)
        {
            self.offset = Some(best);
        }
    }
    /// The mapping near `ticks`; `None` before anything is known.
    pub(crate) fn anchor(&self, ticks: Ticks) -> Option<UnixAnchor> {
        if let Some(unix_ns) = self.fixed {
            return Some(UnixAnchor::new(Ticks(0), unix_ns, self.rate));
        }
        // Anchored nearby, so that the fixed-point rate adds nothing.
        let unix = (self.device_ns(ticks) + self.offset?).max(0);
        let unix = u64::try_from(unix).unwrap_or(u64::MAX);
        Some(UnixAnchor::new(ticks, unix, self.rate))
    }
    /// How far the mapping may be off in nanoseconds; `None` if no ping bounds it from below.
    pub(crate) fn error_ns(&self) -> Option<u64> {
        let (lower, upper) = self.bounds();
        let half = (upper? - lower?).abs() / 2 + TOLERANCE_NS;
        Some(u64::try_from(half).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(start: Instant, ns: u64) -> Arrival {
        Arrival {
            at: start + Duration::from_nanos(ns),
            unix_ns: 1_000_000_000_000 + ns,
        }
    }

    #[test]
    fn the_least_delay_counts_and_never_maps_early() {
        let start = Instant::now();
        let mut map = ClockMap::new(TickRate::MICROSECONDS, None);
        assert!(map.anchor(Ticks(0)).is_none());
        for (sent_us, delay_us) in [(1_000, 9_000), (2_000, 4_000), (3_000, 700_000)] {
            map.sent(Ticks(sent_us), arrival(start, (sent_us + delay_us) * 1000));
        }
        let mapped = map.anchor(Ticks(3_000)).unwrap().unix_nanos(Ticks(2_000));
        assert_eq!(mapped, 1_000_000_000_000 + 6_000_000);
        assert_eq!(map.error_ns(), None);
    }

    #[test]
    fn pings_bound_the_error() {
        let start = Instant::now();
        let mut map = ClockMap::new(TickRate::MICROSECONDS, None);
        // True offset 0 against the host's 1e12; up takes 5 ms, down 1 ms.
        map.sent(Ticks(10_000), arrival(start, 15_000_000));
        map.received(1_000_000_000_000 + 20_000_000, Ticks(21_000));
        let mapped = map.anchor(Ticks(0)).unwrap().unix_nanos(Ticks(10_000));
        let truth = 1_000_000_000_000u64 + 10_000_000;
        let error = map.error_ns().unwrap();
        assert!(mapped.abs_diff(truth) <= error, "{mapped} {error}");
        assert!(error <= 3_250_000, "{error}");
    }

    #[test]
    fn a_step_of_the_wall_clock_is_followed() {
        let start = Instant::now();
        let mut map = ClockMap::new(TickRate::MILLISECONDS, None);
        map.sent(Ticks(0), arrival(start, 0));
        let mut later = arrival(start, 1_000_000_000);
        later.unix_ns += 3600 * 1_000_000_000;
        map.sent(Ticks(1_000), later);
        assert_eq!(
            map.anchor(Ticks(1_000)).unwrap().unix_nanos(Ticks(1_000)),
            later.unix_ns
        );
    }

    #[test]
    fn old_bounds_give_way() {
        let start = Instant::now();
        let mut map = ClockMap::new(TickRate::NANOSECONDS, None);
        // A device clock that loses 100 ppm: the least offset seen is always the oldest.
        let mut worst = 0;
        for second in 0..600u64 {
            let now = second * 1_000_000_000;
            let device = Ticks(now - now / 10_000);
            map.sent(device, arrival(start, now));
            let mapped = map.anchor(device).unwrap().unix_nanos(device);
            worst = worst.max(mapped.abs_diff(1_000_000_000_000 + now));
        }
        assert!(worst <= 100_000 * 121 + 250_000, "{worst}");
    }
}
