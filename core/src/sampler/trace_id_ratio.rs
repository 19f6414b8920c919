//! A share of the traces, by the rule that SDKs have shared since before the trace state could say it.

use super::{Sampler, SamplingDecision, SamplingParameters, SamplingResult, ThresholdUpdate};
use core::fmt;

/// A ratio that is not one: below 0, above 1, or not a number.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RatioError {
    /// What was given.
    pub ratio: f64,
}

impl fmt::Display for RatioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sampling ratio {} is not within 0 to 1", self.ratio)
    }
}
impl core::error::Error for RatioError {}

/// `ratio`, if it is one.
pub(super) const fn checked(ratio: f64) -> Result<f64, RatioError> {
    // Not `contains`, which is not const; NaN is outside too.
    if ratio >= 0.0 && ratio <= 1.0 {
        Ok(ratio)
    } else {
        Err(RatioError { ratio })
    }
}

/// Keeps a share of the traces: those whose id is below a bound.
///
/// The rule is `(low64 >> 1) < ratio · 2^63`, where low64 is the right half of the trace id. The
/// OpenTelemetry SDKs of Rust, Go and Python use it, so that services in these languages with the same
/// ratio keep the same traces, and a service with a larger ratio keeps theirs and more. It ignores the
/// parent: make it the root of a [`ParentBased`](super::ParentBased).
///
/// Backends cannot see the ratio; [`ConsistentRatio`](super::ConsistentRatio) tells them. An incoming
/// `th` is erased, since this decision was not made by it.
///
/// SPEC: Trace SDK, "TraceIdRatioBased". Costs a shift and a comparison.
///
/// ```
/// use spanlet::{RatioError, TraceIdRatio};
/// const TENTH: TraceIdRatio = match TraceIdRatio::new(0.1) {
///     Ok(sampler) => sampler,
///     Err(_) => panic!("a ratio is within 0 to 1"), // at compile time
/// };
/// assert_eq!(TENTH.ratio(), 0.1);
/// assert_eq!(TraceIdRatio::new(10.0), Err(RatioError { ratio: 10.0 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceIdRatio {
    /// Of 63 bits; 2^63 keeps all.
    bound: u64,
    ratio: f64,
}

impl TraceIdRatio {
    /// Keeps the share `ratio` of the traces, 0 to 1.
    ///
    /// # Errors
    /// If `ratio` is outside 0 to 1 or not a number.
    pub const fn new(ratio: f64) -> Result<Self, RatioError> {
        match checked(ratio) {
            #[expect(clippy::cast_possible_truncation, reason = "at most 2^63")]
            Ok(ratio) => Ok(TraceIdRatio {
                bound: (ratio * (1u64 << 63) as f64) as u64,
                ratio,
            }),
            Err(error) => Err(error),
        }
    }
    /// The share, as it was given.
    pub const fn ratio(&self) -> f64 {
        self.ratio
    }
}

impl Sampler for TraceIdRatio {
    #[inline(always)]
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        SamplingResult {
            decision: if parameters.trace_id.low64() >> 1 < self.bound {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            threshold: ThresholdUpdate::Erase,
        }
    }
    fn describe(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        write!(to, "TraceIdRatioBased{{{}}}", self.ratio)
    }
}
