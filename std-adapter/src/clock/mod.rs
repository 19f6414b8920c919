//! A device's ticks → Unix time, and how far off that may be.
//!
//! Input: times of sending with their arrivals, answered pings. Output: for each span an anchor and a [`ClockError`].
//! Bound: constant memory a boot; a span costs a search among at most 64 fixes.
//!
//! **What is certain.** The unknown is the *offset* of the host's clock from the device's. A frame says that it is at
//! most arrival − sending, for nothing arrives before it was sent. An answered ping says that it is at least
//! asking − hearing; so does a frame where the longest delay of the link is configured. Between two such fixes the
//! offset moves as fast as the device's ticks are off, which in turn follows from the fixes, and changes no faster than
//! [`ClockConfig`] says. All of this is kept as bounds; a bound that is stated is one that holds.
//!
//! **What is exported.** Spans are placed by a straight line near the middle of the bounds. It is kept as long as it is
//! hardly worse than the best, so that spans of one device keep their places relative to each other; durations are
//! corrected by the device's own drift. Spans from long before the last fix, such as those that waited for a link, are
//! placed by the line between the fixes around them. No span is moved, cut or reordered: a child that starts before
//! its parent by less than the error is exported so, with the error beside it.
//!
//! | attribute of the span | type | |
//! |---|---|---|
//! | [`ATTRIBUTE_ERROR_BOUND`] `spanlet.clock.error_bound_ns` | int | start and end are off the gateway's clock by at most so many nanoseconds |
//! | [`ATTRIBUTE_ERROR`] `spanlet.clock.error` | string | `unknown`: nothing bounds the link's delay. Times are late by its least delay, never early but for drift |
//!
//! Spans whose times the user stated (a capture with a boot time) have neither.
//!
//! **Reboots.** Each boot has a clock of its own. Nothing of a boot can have happened after the first frame of the
//! next: that bounds spans which were kept in memory over a reset, together with what was known of their boot's clock
//! when it was last heard. Without the latter the error is unknown.
//!
//! **The gateway's clock.** Everything is reckoned on the host's monotonic clock, and told on its wall clock as that
//! stands when the span is exported: a step of the wall clock is taken for a correction. A step also means that the host
//! may have been asleep, with devices going on; so the bounds begin anew, and pings are dense again. They begin anew
//! too when they contradict each other, as they do when a device stops its timer in deep sleep.
//!
//! **Pings.** A device that says [`CLOCK`](spanlet::frame::Hello::CLOCK) is asked at once, after 50 ms, 100 ms and so on,
//! up to the period. Its spans wait up to a second for the first answer. Answers may wait in the device's queue: what
//! counts is when it heard and, stamped at the transmission, when it answered.

mod arrival;
mod bounds;
mod config;
mod map;
mod pings;
mod skew;

#[cfg(test)]
mod tests;

pub use arrival::Arrival;
pub use config::ClockConfig;
pub(crate) use map::ClockMap;

/// Attribute (int) of a span from a device: how far its start and end may be off the gateway's clock.
pub const ATTRIBUTE_ERROR_BOUND: &str = "spanlet.clock.error_bound_ns";
/// Attribute (`unknown`) of a span from a device whose link has no known bound.
pub const ATTRIBUTE_ERROR: &str = "spanlet.clock.error";
/// The value of [`ATTRIBUTE_ERROR`].
pub const ERROR_UNKNOWN: &str = "unknown";

/// How far a span's start and end may be off the gateway's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// Its times are as the user stated them, by a boot time.
    Stated,
    /// At most so many nanoseconds.
    Within(u64),
    /// Nothing bounds the delay of its link.
    Unknown,
}

impl ClockError {
    /// The bound in nanoseconds, where there is one.
    #[must_use]
    pub fn bound_ns(self) -> Option<u64> {
        match self {
            ClockError::Within(ns) => Some(ns),
            ClockError::Stated | ClockError::Unknown => None,
        }
    }
}
