//! Time: monotonic ticks while recording, Unix time only where spans leave.

use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A point in time of one clock, in ticks of its rate. Comparable only with ticks of the same clock
/// and boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ticks(pub u64);

/// Ticks per second of a clock; never zero.
///
/// ```
/// use spanlet::TickRate;
/// assert!(TickRate::hz(0).is_none());
/// assert_eq!(TickRate::NANOSECONDS.as_hz(), 1_000_000_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TickRate(NonZeroU64);

impl TickRate {
    /// One tick a nanosecond.
    pub const NANOSECONDS: Self = Self::of(1_000_000_000);
    /// One tick a microsecond.
    pub const MICROSECONDS: Self = Self::of(1_000_000);
    /// One tick a millisecond.
    pub const MILLISECONDS: Self = Self::of(1_000);

    const fn of(hz: u64) -> Self {
        match NonZeroU64::new(hz) {
            Some(hz) => TickRate(hz),
            None => TickRate(NonZeroU64::MIN),
        }
    }
    /// `None` for zero.
    pub const fn hz(hz: u64) -> Option<Self> {
        match NonZeroU64::new(hz) {
            Some(hz) => Some(TickRate(hz)),
            None => None,
        }
    }
    /// Ticks per second.
    pub const fn as_hz(self) -> u64 {
        self.0.get()
    }
}

/// A source of ticks.
///
/// The contract of [`now`](Self::now): monotonic, 64 bits wide and so never wrapping in practice,
/// and infallible. A 32-bit counter becomes one through [`Extend32`].
pub trait Clock {
    /// The present. Called twice a span: its cost is the floor of a span's cost.
    fn now(&self) -> Ticks;
    /// The rate, constant for the life of the clock.
    fn rate(&self) -> TickRate;
}

impl<C: Clock + ?Sized> Clock for &C {
    #[inline(always)]
    fn now(&self) -> Ticks {
        (**self).now()
    }
    fn rate(&self) -> TickRate {
        (**self).rate()
    }
}

/// Maps the ticks of one clock to Unix time: an anchor and a rate.
///
/// ```
/// use spanlet::{TickRate, Ticks, UnixAnchor};
/// let map = UnixAnchor::new(Ticks(1_000), 5_000_000_000, TickRate::MICROSECONDS);
/// assert_eq!(map.unix_nanos(Ticks(1_002)), 5_000_002_000);
/// assert_eq!(map.unix_nanos(Ticks(999)), 4_999_999_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixAnchor {
    ticks: u64,
    unix_nanos: u64,
    /// Nanoseconds a tick, 32.32 fixed point.
    nanos_per_tick: u64,
}

impl UnixAnchor {
    /// At `ticks` it was `unix_nanos` (since 1970) on a clock of `rate`.
    ///
    /// The rate is kept to 2^-32 ns a tick: over a day the mapping of a clock of
    /// `f` GHz is off by less than `f` × 21 µs, and by nothing where the rate divides 1 GHz.
    pub const fn new(ticks: Ticks, unix_nanos: u64, rate: TickRate) -> Self {
        let scaled = (1_000_000_000u128 << 32) / rate.as_hz() as u128;
        // A rate below 1 Hz does not exist, so the quotient is at most 1e9 << 32 < 2^62.
        #[expect(clippy::cast_possible_truncation, reason = "below 2^62, see above")]
        let nanos_per_tick = scaled as u64;
        UnixAnchor {
            ticks: ticks.0,
            unix_nanos,
            nanos_per_tick,
        }
    }
    /// The same anchor on a clock whose ticks take longer than their rate says, by so many parts in 10^9 (less
    /// where negative). From −999,999,999 on; to 2^-32 ns a tick.
    ///
    /// ```
    /// use spanlet::{TickRate, Ticks, UnixAnchor};
    /// let slow = UnixAnchor::new(Ticks(0), 0, TickRate::MICROSECONDS).with_drift_ppb(20_000);
    /// assert_eq!(slow.unix_nanos(Ticks(1_000_000)), 1_000_020_000);
    /// ```
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "clamped before")]
    pub const fn with_drift_ppb(mut self, ppb: i64) -> Self {
        let parts = 1_000_000_000i128 + ppb as i128;
        let parts = if parts < 1 { 1 } else { parts };
        let scaled = self.nanos_per_tick as i128 * parts / 1_000_000_000;
        // The bound that `unix_nanos` leans on.
        let most = 1i128 << 62;
        self.nanos_per_tick = if scaled > most {
            most as u64
        } else {
            scaled as u64
        };
        self
    }
    /// Unix time of `ticks`, before or after the anchor. Clamped to `0..=u64::MAX`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "halves of 128 bits")]
    pub const fn unix_nanos(&self, ticks: Ticks) -> u64 {
        let after = ticks.0.wrapping_sub(self.ticks) as i64;
        // Below 2^63 × 2^62 in size, and so is the sum.
        let nanos = (after as i128 * self.nanos_per_tick as i128) >> 32;
        let unix = self.unix_nanos as i128 + nanos;
        // One test of the high half instead of two comparisons of 128 bits.
        match (unix >> 64) as i64 {
            0 => unix as u64,
            ..0 => 0,
            _ => u64::MAX,
        }
    }
}

/// Widens a free-running 32-bit counter to 64 bits.
///
/// Right as long as [`extend`](Self::extend) is called at least once in every quarter period of the
/// counter (at 1 MHz: every 17 minutes). Interrupts may call it while a task is in it: a reading that is
/// older than the newest one seen, by less than a quarter period, gets its own earlier time. Load and
/// store only, no critical section.
///
/// ```
/// use spanlet::{Extend32, Ticks};
/// let wide = Extend32::new();
/// assert_eq!(wide.extend(0xffff_fff0), Ticks(0xffff_fff0));
/// assert_eq!(wide.extend(0x0000_0010), Ticks(0x1_0000_0010));
/// assert_eq!(wide.extend(0xffff_ffff), Ticks(0xffff_ffff), "an older reading keeps its time");
/// ```
#[derive(Debug, Default)]
pub struct Extend32 {
    /// Half periods begun by the newest reading: the upper word of the time and the counter's top bit
    /// in one word, so that an update is one store. A lost race leaves it one half behind, which the
    /// next reading makes up for.
    halves: AtomicU32,
}

impl Extend32 {
    /// Starts in the counter's first period.
    pub const fn new() -> Self {
        Extend32 {
            halves: AtomicU32::new(0),
        }
    }
    /// The wide time of the reading `now`. About 10 instructions on a Cortex-M.
    #[inline]
    pub fn extend(&self, now: u32) -> Ticks {
        // ORDERING: one word that nothing else depends on.
        let seen = self.halves.load(Relaxed);
        let half = if seen & 1 == now >> 31 {
            seen
        } else if now << 1 < 1 << 31 || seen == 0 {
            // Early in its half: the half after the one seen. (Before the first half was nothing.)
            let ahead = seen.wrapping_add(1);
            self.halves.store(ahead, Relaxed);
            ahead
        } else {
            // Late in its half: the half before, read by somebody whom we interrupted.
            seen.wrapping_sub(1)
        };
        Ticks(((half >> 1) as u64) << 32 | now as u64)
    }
}

#[cfg(feature = "embassy-time")]
mod embassy {
    use super::{Clock, TickRate, Ticks};

    /// The firmware's `embassy-time` driver as a [`Clock`]. Costs what its `now` costs.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct EmbassyClock;

    impl Clock for EmbassyClock {
        #[inline]
        fn now(&self) -> Ticks {
            Ticks(embassy_time::Instant::now().as_ticks())
        }
        fn rate(&self) -> TickRate {
            TickRate::of(embassy_time::TICK_HZ)
        }
    }
}
#[cfg(feature = "embassy-time")]
pub use embassy::EmbassyClock;

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn extend_follows_the_counter() {
        let (wide, mut now) = (Extend32::new(), 0u64);
        let mut step = 1u64;
        for _ in 0..100_000 {
            step = step.wrapping_mul(6364136223846793005).wrapping_add(1);
            now += step >> 34;
            assert_eq!(wide.extend(now as u32), Ticks(now));
            let late = now.saturating_sub(step >> 40);
            assert_eq!(wide.extend(late as u32), Ticks(late));
        }
        assert!(now > 1 << 40);
    }

    #[test]
    fn anchor_is_exact_at_ends() {
        let map = UnixAnchor::new(Ticks(0), 0, TickRate::NANOSECONDS);
        assert_eq!(map.unix_nanos(Ticks(i64::MAX as u64)), i64::MAX as u64);
        assert_eq!(map.unix_nanos(Ticks(u64::MAX)), 0);
        let slow = UnixAnchor::new(Ticks(0), u64::MAX - 5, TickRate::hz(1).unwrap());
        assert_eq!(slow.unix_nanos(Ticks(1)), u64::MAX);
        let odd = UnixAnchor::new(Ticks(0), 0, TickRate::hz(2_600_000_000).unwrap());
        let day = 86_400 * 2_600_000_000u64;
        assert!(odd.unix_nanos(Ticks(day)).abs_diff(86_400_000_000_000) < 60_000);
    }
}
