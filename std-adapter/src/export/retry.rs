//! When to try again: backoff, `Retry-After`, and waits that a shutdown can end.
//!
//! Stage: between two attempts of an export. Input: how many attempts failed and what the collector
//! asked for. Output: how long to wait. Bound: no wait is longer than the policy's limits.
//!
//! SPEC: OpenTelemetry Protocol Exporter, "Retry"; opentelemetry-proto, "OTLP/HTTP Throttling".

use core::fmt;
use core::time::Duration;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

/// Exponential backoff with jitter.
///
/// After the n-th failed attempt (from 0) the pause is drawn evenly from the upper half of
/// `initial · 2^n`, capped at `max`: clients that failed together do not come back together, and none
/// comes back at once.
///
/// ```
/// use core::time::Duration;
/// use spanlet_std::export::RetryPolicy;
/// let policy = RetryPolicy::default();
/// let pause = policy.pause(2, None, || 1.0);
/// assert_eq!(pause, Duration::from_secs(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Longest first pause.
    pub initial: Duration,
    /// Longest pause that backoff chooses.
    pub max: Duration,
    /// Longest `Retry-After` that is believed; a longer one counts as this.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    /// 500 ms doubling to 5 s; `Retry-After` up to 5 minutes.
    fn default() -> Self {
        RetryPolicy {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(5),
            max_retry_after: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// The pause after `failed` earlier failures. `random` gives numbers in `0.0..1.0`.
    ///
    /// A `Retry-After` is a floor, stretched by up to a tenth (at most a second) of jitter; the
    /// backoff still applies, so that `Retry-After: 0` cannot make a client spin.
    #[must_use]
    pub fn pause(
        &self,
        failed: u32,
        retry_after: Option<Duration>,
        mut random: impl FnMut() -> f64,
    ) -> Duration {
        let step = self
            .initial
            .saturating_mul(1_u32.checked_shl(failed).unwrap_or(u32::MAX))
            .min(self.max);
        let backoff = step.mul_f64(0.5 + 0.5 * random().clamp(0.0, 1.0));
        let Some(asked) = retry_after else {
            return backoff;
        };
        let asked = asked.min(self.max_retry_after);
        let jitter = (asked / 10).min(Duration::from_secs(1));
        backoff.max(asked + jitter.mul_f64(random().clamp(0.0, 1.0)))
    }
}

/// Reads a `Retry-After` header value: seconds, or an HTTP date measured from `now`. A date in the
/// past is a pause of zero. `None` if it is neither.
///
/// SPEC: RFC 9110, 10.2.3 "Retry-After".
///
/// ```
/// use core::time::Duration;
/// use std::time::SystemTime;
/// use spanlet_std::export::parse_retry_after;
/// let now = SystemTime::UNIX_EPOCH;
/// assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
/// assert_eq!(
///     parse_retry_after("Thu, 01 Jan 1970 00:00:07 GMT", now),
///     Some(Duration::from_secs(7))
/// );
/// assert_eq!(parse_retry_after("soon", now), None);
/// ```
#[must_use]
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // A number too large for u64 is still a number: the longest pause.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// Raised once, by a shutdown; ends waits.
#[derive(Debug, Default)]
pub struct StopSignal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl StopSignal {
    /// Ends all waits, now and later.
    pub fn raise(&self) {
        *lock(&self.raised) = true;
        self.changed.notify_all();
    }

    /// Whether it was raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *lock(&self.raised)
    }

    /// Blocks until `until`, or until raised. Returns whether it was raised.
    pub fn wait_until(&self, until: Instant) -> bool {
        let mut raised = lock(&self.raised);
        loop {
            if *raised {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            raised = self
                .changed
                .wait_timeout(raised, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Time as an exporter sees it. [`SystemTimer`] is the one to use; tests put their own in its place
/// so that no test sleeps through a backoff.
pub trait Timer: Send + Sync + fmt::Debug {
    /// Monotonic time.
    fn now(&self) -> Instant;
    /// Wall-clock time, against which HTTP dates are read.
    fn unix_now(&self) -> SystemTime;
    /// Blocks until `until` or until `stop` is raised; returns whether it was raised.
    fn wait_until(&self, until: Instant, stop: &StopSignal) -> bool;
}

/// The system's clocks and real waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTimer;

impl Timer for SystemTimer {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn unix_now(&self) -> SystemTime {
        SystemTime::now()
    }
    fn wait_until(&self, until: Instant, stop: &StopSignal) -> bool {
        stop.wait_until(until)
    }
}

/// Locks, and goes on with the data where another thread panicked: all data behind these locks is
/// whole at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_within_bounds_and_stays_capped() {
        let policy = RetryPolicy::default();
        for failed in 0..200 {
            let top = Duration::from_millis(500 << failed.min(10)).min(policy.max);
            assert_eq!(policy.pause(failed, None, || 0.0), top / 2);
            assert_eq!(policy.pause(failed, None, || 1.0), top);
            let drawn = policy.pause(failed, None, fastrand::f64);
            assert!(drawn >= top / 2 && drawn <= top, "{drawn:?}");
        }
    }

    #[test]
    fn jitter_spreads_clients() {
        let policy = RetryPolicy::default();
        let mut random = fastrand::Rng::with_seed(7);
        let pauses: Vec<_> = (0..50)
            .map(|_| policy.pause(3, None, || random.f64()))
            .collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(
            *most - *least > Duration::from_millis(1000),
            "{least:?}..{most:?}"
        );
    }

    #[test]
    fn retry_after_is_a_floor_with_a_cap() {
        let policy = RetryPolicy::default();
        let asked = Duration::from_secs(20);
        assert_eq!(policy.pause(0, Some(asked), || 0.0), asked);
        assert_eq!(
            policy.pause(0, Some(asked), || 1.0),
            asked + Duration::from_secs(1)
        );
        assert_eq!(
            policy.pause(0, Some(Duration::MAX), || 0.0),
            policy.max_retry_after
        );
        assert_eq!(
            policy.pause(0, Some(Duration::ZERO), || 0.0),
            Duration::from_millis(250)
        );
    }

    #[test]
    fn retry_after_reads_both_forms_and_refuses_others() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let secs = |s| Some(Duration::from_secs(s));
        assert_eq!(parse_retry_after(" 5 ", now), secs(5));
        assert_eq!(parse_retry_after("0", now), secs(0));
        assert_eq!(
            parse_retry_after("99999999999999999999999", now),
            secs(u64::MAX)
        );
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now),
            secs(60)
        );
        assert_eq!(
            parse_retry_after("Sunday, 06-Nov-94 08:49:40 GMT", now),
            secs(3)
        );
        assert_eq!(parse_retry_after("Sun Nov  6 08:49:38 1994", now), secs(1));
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now),
            secs(0)
        );
        for bad in ["", "-1", "+5", "1.5", "1 s", "tomorrow", "\u{663}"] {
            assert_eq!(parse_retry_after(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn a_raised_signal_ends_a_wait() {
        let signal = StopSignal::default();
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(!signal.wait_until(soon));
        assert!(Instant::now() >= soon);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| signal.raise());
            assert!(signal.wait_until(begun + Duration::from_secs(60)));
        });
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
