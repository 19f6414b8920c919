//! The host's clock: the time-stamp counter where it is steady, the monotonic clock where it is not.

use spanlet::{TickRate, Ticks, UnixAnchor};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far the wall clock may move away from the mapping before the mapping follows.
const TOLERANCE: Duration = Duration::from_millis(1);

/// Reads ticks. `quanta` has found out whether the processor's counter is steady and how fast it runs.
#[derive(Clone, Debug)]
pub(crate) struct HostClock(quanta::Clock);

impl HostClock {
    /// Calibrates once per process: up to 200 ms.
    pub(crate) fn new() -> Self {
        HostClock(quanta::Clock::new())
    }
    #[inline(always)]
    pub(crate) fn now(&self) -> Ticks {
        Ticks(self.0.raw())
    }
    pub(crate) fn ticks_of(&self, duration: core::time::Duration) -> u64 {
        let ticks = duration.as_nanos() * u128::from(self.rate().as_hz()) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
    #[cfg(feature = "tracing")]
    pub(crate) fn nanos_of(&self, ticks: u64) -> u64 {
        self.0.delta_as_nanos(0, ticks)
    }
    fn rate(&self) -> TickRate {
        // quanta keeps the rate to itself; what it makes of a long stretch gives it to 2^-40.
        const STRETCH: u64 = 1 << 40;
        let nanos = self.0.delta_as_nanos(0, STRETCH).max(1);
        let hz = u128::from(STRETCH) * 1_000_000_000 / u128::from(nanos);
        TickRate::hz(u64::try_from(hz).unwrap_or(u64::MAX)).unwrap_or(TickRate::NANOSECONDS)
    }
}

/// Maps ticks to Unix time. The drain keeps one and moves it when the wall clock is set or drifts; the
/// spans of one batch all go through the same mapping, so none ends before it starts.
pub(crate) struct WallClock {
    clock: HostClock,
    rate: TickRate,
    anchor: UnixAnchor,
}

impl WallClock {
    pub(crate) fn new(clock: HostClock) -> Self {
        let rate = clock.rate();
        let anchor = anchor(&clock, rate);
        WallClock {
            clock,
            rate,
            anchor,
        }
    }
    pub(crate) fn anchor(&mut self) -> UnixAnchor {
        let now = anchor(&self.clock, self.rate);
        let ticks = self.clock.now();
        let moved = now
            .unix_nanos(ticks)
            .abs_diff(self.anchor.unix_nanos(ticks));
        if u128::from(moved) > TOLERANCE.as_nanos() {
            self.anchor = now;
        }
        self.anchor
    }
}

/// The best of a few readings: the one with the least time between the two clocks.
fn anchor(clock: &HostClock, rate: TickRate) -> UnixAnchor {
    let best = (0..5)
        .map(|_| {
            let before = clock.now();
            let unix = SystemTime::now();
            let after = clock.now();
            (after.0.wrapping_sub(before.0), before, unix)
        })
        .min_by_key(|(gap, ..)| *gap);
    let (gap, before, unix) = best.unwrap_or((0, clock.now(), SystemTime::now()));
    let unix = unix.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
    UnixAnchor::new(Ticks(before.0 + gap / 2), nanos, rate)
}
