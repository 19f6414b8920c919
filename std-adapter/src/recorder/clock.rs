//! The host's clock: the processor's counter where it is steady, the operating system's clock where it is not.
//!
//! Which of the two is found out once, at start, and stays: [`HostClock::new`]. The counter is read (10 ns, 18 for
//! both ends of a span) where all of this holds; else the monotonic clock (25 to 30 ns a reading):
//! 1. the processor says that its counter runs at one rate in all power states (x86-64: invariant TSC and RDTSCP, by
//!    CPUID; AArch64: the system counter, always);
//! 2. the operating system has not found it wanting: Linux takes a counter that drifts, jumps or differs between
//!    sockets off the list of its own clock sources;
//! 3. its rate against the monotonic clock, measured over two stretches of 10 ms (up to 80 ms where something came in
//!    between), is the same in both to 0.5 %. The mean of both is then good to some 10 ppm.

use super::counter;
use spanlet::{TickRate, Ticks, UnixAnchor};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How far the wall clock may move away from the mapping before the mapping follows.
const TOLERANCE: Duration = Duration::from_millis(1);
/// What Linux deems fit to tell the time by.
const KERNEL_CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
/// How far a stretch's rate may be from the mean: one part in so many.
const AGREEMENT: u64 = 200;
/// Stretches of calibration, the next where one will not do.
const STRETCHES: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
];

/// What spans are stamped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockSource {
    /// The processor's counter: TSC, or AArch64's system counter.
    Counter,
    /// The operating system's monotonic clock.
    Monotonic,
}

/// Reads ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostClock {
    /// Ticks of the counter, at this rate.
    Counter(TickRate),
    /// Nanoseconds since this moment.
    Monotonic(Instant),
}

impl HostClock {
    /// Calibrates for 20 ms, rarely up to 300, unless the monotonic clock is wished for.
    pub(crate) fn new(wish: ClockSource) -> Self {
        let counter = match wish {
            ClockSource::Counter => HostClock::counter(),
            ClockSource::Monotonic => None,
        };
        // One tick after its zero, for a time of zero means none.
        counter.unwrap_or_else(|| HostClock::Monotonic(Instant::now() - Duration::from_nanos(1)))
    }
    fn counter() -> Option<Self> {
        let kernel = std::fs::read_to_string(KERNEL_CLOCKS).ok();
        if !counter::is_steady() || !kernel_trusts_counter(kernel.as_deref()) {
            return None;
        }
        STRETCHES.iter().find_map(|stretch| {
            let from = Pair::read();
            std::thread::sleep(*stretch);
            let half = Pair::read();
            std::thread::sleep(*stretch);
            let to = Pair::read();
            let hz = from.rate_to(&to)?;
            (from.agrees(&half, hz) && half.agrees(&to, hz)).then_some(())?;
            Some(HostClock::Counter(TickRate::hz(hz)?))
        })
    }
    pub(crate) fn source(&self) -> ClockSource {
        match self {
            HostClock::Counter(_) => ClockSource::Counter,
            HostClock::Monotonic(_) => ClockSource::Monotonic,
        }
    }
    #[inline(always)]
    pub(crate) fn now(&self) -> Ticks {
        match self {
            HostClock::Counter(_) => Ticks(counter::now()),
            HostClock::Monotonic(start) => monotonic(start),
        }
    }
    pub(crate) fn ticks_of(&self, duration: core::time::Duration) -> u64 {
        let ticks = duration.as_nanos() * u128::from(self.rate().as_hz()) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
    #[cfg(feature = "tracing")]
    pub(crate) fn nanos_of(&self, ticks: u64) -> u64 {
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.rate().as_hz());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
    fn rate(&self) -> TickRate {
        match self {
            HostClock::Counter(rate) => *rate,
            HostClock::Monotonic(_) => TickRate::NANOSECONDS,
        }
    }
}

/// Out of line: it is long, and where the counter is read nobody calls it.
#[cold]
#[inline(never)]
fn monotonic(start: &Instant) -> Ticks {
    Ticks(start.elapsed().as_nanos() as u64)
}

/// A counter that Linux has found wanting is not among its clocks. Where it says nothing, the processor's word counts.
fn kernel_trusts_counter(available: Option<&str>) -> bool {
    available.is_none_or(|names| {
        names
            .split_whitespace()
            .any(|name| matches!(name, "tsc" | "arch_sys_counter"))
    })
}

/// The counter and the monotonic clock at the same moment, as nearly as a few attempts give it.
struct Pair {
    ticks: u64,
    at: Instant,
    /// How far `ticks` may be off.
    error: u64,
}

impl Pair {
    fn read() -> Self {
        let read = || {
            let before = counter::now();
            let at = Instant::now();
            let gap = counter::now().wrapping_sub(before);
            Pair {
                ticks: before.wrapping_add(gap / 2),
                at,
                error: gap / 2,
            }
        };
        (0..8).map(|_| read()).fold(
            read(),
            |best, next| {
                if next.error < best.error { next } else { best }
            },
        )
    }
    /// Ticks a second until `later`.
    fn rate_to(&self, later: &Pair) -> Option<u64> {
        let ticks = u128::from(later.ticks.checked_sub(self.ticks)?);
        let nanos = later.at.duration_since(self.at).as_nanos();
        u64::try_from((ticks * 1_000_000_000).checked_div(nanos)?).ok()
    }
    /// Whether the counter has run at `hz` until `later`, as far as the readings can tell. Not if it stood or went
    /// back.
    fn agrees(&self, later: &Pair, hz: u64) -> bool {
        let Some(ticks) = later.ticks.checked_sub(self.ticks) else {
            return false;
        };
        let nanos = later.at.duration_since(self.at).as_nanos();
        let Ok(expected) = u64::try_from(nanos * u128::from(hz) / 1_000_000_000) else {
            return false;
        };
        ticks > 0 && ticks.abs_diff(expected) <= expected / AGREEMENT + self.error + later.error
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_the_kernel_dropped_is_not_read() {
        assert!(kernel_trusts_counter(None));
        assert!(kernel_trusts_counter(Some("tsc kvm-clock \n")));
        assert!(kernel_trusts_counter(Some("arch_sys_counter \n")));
        assert!(!kernel_trusts_counter(Some("kvm-clock acpi_pm \n")));
        assert!(!kernel_trusts_counter(Some("hpet\n")));
    }

    #[test]
    fn a_counter_at_another_rate_is_not_read() {
        let at = Instant::now();
        let pair = |ticks, micros, error| Pair {
            ticks,
            at: at + Duration::from_micros(micros),
            error,
        };
        let start = pair(1000, 0, 0);
        let agrees =
            |ticks: u64, error: u64| start.agrees(&pair(1000 + ticks, 1000, error), 2_600_000_000);
        assert!(agrees(2_600_000, 0));
        assert_eq!(
            start.rate_to(&pair(2_601_000, 1000, 0)),
            Some(2_600_000_000)
        );
        assert_eq!(start.rate_to(&pair(999, 1000, 0)), None);
        assert!(agrees(2_613_000, 0) && agrees(2_587_000, 0));
        assert!(!agrees(2_613_001, 0) && !agrees(2_586_999, 0));
        // What cannot be told is not held against it.
        assert!(agrees(2_613_500, 500));
        // Standing, or set back by another core's.
        assert!(!agrees(0, 0));
        assert!(!start.agrees(&pair(999, 1000, 0), 2_600_000_000));
        assert!(!start.agrees(&pair(1000, 0, 0), 2_600_000_000));
    }

    #[test]
    fn both_clocks_keep_time() {
        for wish in [ClockSource::Counter, ClockSource::Monotonic] {
            let clock = HostClock::new(wish);
            assert!(wish == ClockSource::Counter || clock.source() == wish);
            assert!(clock.now().0 > 0);
            let (ticks, at) = (clock.now().0, Instant::now());
            std::thread::sleep(Duration::from_millis(20));
            let took = clock.now().0 - ticks;
            let (least, most) = (
                Duration::from_millis(20),
                at.elapsed() + Duration::from_millis(1),
            );
            // Both sides were read in turns; half a per cent for the rate.
            assert!(
                took >= clock.ticks_of(least) / 200 * 199,
                "{clock:?}: {took}"
            );
            assert!(
                took <= clock.ticks_of(most) / 200 * 201,
                "{clock:?}: {took}"
            );

            let mut wall = WallClock::new(clock);
            let before = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let unix = wall.anchor().unix_nanos(clock.now());
            assert!(unix.abs_diff(before.as_nanos() as u64) < 1_000_000_000);
        }
    }
}
