//! So many spans a second, and a burst of them at once.
//!
//! A token bucket as one word: the time at which it will be full again, counted in 256ths of the time that
//! one token takes. The word and the present are compared modulo 2^32.

use super::{Sampler, SamplingDecision, SamplingParameters, SamplingResult, ThresholdUpdate};
use crate::atomic::update;
use crate::clock::{Clock, TickRate};
use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};
use core::sync::atomic::AtomicU32;

/// Units of the bucket that a token takes.
const TOKEN: u32 = 1 << 8;
/// Most binary places of `units_per_tick`.
const MAX_PLACES: u32 = 87;

/// Keeps at most so many spans a second, after a quiet time up to a burst of them at once.
///
/// Meant as the root of a [`ParentBased`](super::ParentBased), where it limits traces: a flood of requests
/// then costs a known number of traces, and a quiet night keeps all of its few. Nobody can count back from
/// what is kept, so an incoming `th` is erased.
///
/// In any stretch of `s` seconds it keeps at most `burst + s · rate` spans. It errs only towards fewer:
/// after a pause of 2^24 tokens' time or more (194 days at one a second, 4.6 hours at a thousand) the bucket
/// seems less than full with a probability of `burst` · 2^-24, for at most as long as it takes to fill.
///
/// For tasks, threads and interrupts at once: one word by compare-and-swap, in a critical section of a few
/// instructions where the target has no compare-and-swap. Costs a reading of the clock and a 64-bit
/// product.
///
/// ```
/// use core::num::{NonZeroU16, NonZeroU32};
/// use spanlet::testing::ManualClock;
/// use spanlet::{ParentBased, RateLimited, TickRate};
///
/// static CLOCK: ManualClock = ManualClock::new();
/// /// Ten new traces a second, or twenty at once.
/// static SAMPLER: ParentBased<RateLimited<&ManualClock>> = ParentBased::new(RateLimited::new(
///     &CLOCK,
///     TickRate::MICROSECONDS, // what CLOCK.rate() says
///     NonZeroU32::new(10).unwrap(),
///     NonZeroU16::new(20).unwrap(),
/// ));
/// ```
#[derive(Debug)]
pub struct RateLimited<C> {
    clock: C,
    /// When the bucket will be full, in units, modulo 2^32. In the past: it is full.
    full_at: AtomicU32,
    /// Units a tick, with as many binary places as fit.
    units_per_tick: u64,
    places: u32,
    spans: NonZeroU32,
    per_seconds: NonZeroU32,
    burst: NonZeroU16,
}

impl<C> RateLimited<C> {
    /// Keeps `spans_per_second`, up to `burst` of them at once.
    ///
    /// `tick_rate` is what the clock's [`rate`](Clock::rate) says, given apart because a `static` cannot
    /// ask the clock.
    pub const fn new(
        clock: C,
        tick_rate: TickRate,
        spans_per_second: NonZeroU32,
        burst: NonZeroU16,
    ) -> Self {
        Self::per_period(clock, tick_rate, spans_per_second, NonZeroU32::MIN, burst)
    }
    /// Keeps `spans` in every `seconds`, for rates below one a second.
    pub const fn per_period(
        clock: C,
        tick_rate: TickRate,
        spans: NonZeroU32,
        seconds: NonZeroU32,
        burst: NonZeroU16,
    ) -> Self {
        let ticks = tick_rate.as_hz() as u128 * seconds.get() as u128;
        // No more a tick than fills the bucket.
        let full = burst.get() as u128 * TOKEN as u128;
        // Starts at what keeps spans (32 bits) times TOKEN within 127 bits, and ends at the latest where
        // `full` (24 bits) fits.
        let mut places = MAX_PLACES;
        let units_per_tick = loop {
            let exact = ((spans.get() as u128 * TOKEN as u128) << places) / ticks;
            let units = if exact < full << places {
                exact
            } else {
                full << places
            };
            if units >> 64 == 0 {
                #[expect(clippy::cast_possible_truncation, reason = "just checked")]
                break units as u64;
            }
            places -= 1;
        };
        RateLimited {
            clock,
            full_at: AtomicU32::new(0),
            units_per_tick,
            places,
            spans,
            per_seconds: seconds,
            burst,
        }
    }
}

impl<C: Clock> Sampler for RateLimited<C> {
    #[inline]
    fn should_sample(&self, _: &SamplingParameters<'_>) -> SamplingResult {
        let ticks = u128::from(self.clock.now().0);
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32")]
        let now = ((ticks * u128::from(self.units_per_tick)) >> self.places) as u32;
        let full = u32::from(self.burst.get()) * TOKEN;
        let taken = update(&self.full_at, |full_at| {
            let ahead = full_at.wrapping_sub(now);
            // Further ahead than a bucket is deep: it is in the past.
            let missing = if ahead > full { 0 } else { ahead };
            (missing + TOKEN <= full).then(|| now.wrapping_add(missing + TOKEN))
        });
        SamplingResult {
            decision: match taken {
                Ok(_) => SamplingDecision::RecordAndSample,
                Err(_) => SamplingDecision::Drop,
            },
            threshold: ThresholdUpdate::Erase,
        }
    }
    fn describe(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        write!(to, "RateLimitingSampler{{{}", self.spans)?;
        if self.per_seconds.get() != 1 {
            write!(to, "/{}s", self.per_seconds)?;
        }
        write!(to, ",burst:{}}}", self.burst)
    }
}
