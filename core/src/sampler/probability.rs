//! A share of the traces, decided consistently by all who see the trace and countable by the backend.

use super::threshold::{MAX_THRESHOLD, randomness};
use super::trace_id_ratio::checked;
use super::{
    RatioError, Sampler, SamplingDecision, SamplingParameters, SamplingResult, ThresholdUpdate,
};
use core::fmt;

/// Keeps a share of the traces and writes the rejection threshold into the trace state.
///
/// The threshold is T = (1 - ratio) · 2^56. A trace is kept if its randomness R (see
/// [`randomness`]) is at least T: whoever keeps a share that is as large or larger keeps it too, whatever
/// the language. The trace state of a kept span says `ot=th:T`, from which a backend knows that the span
/// stands for 2^56 / (2^56 - T) spans; that of a dropped span carries no `th`. It ignores the parent: make
/// it the root of a [`ParentBased`](super::ParentBased). A ratio of 0, or so small that T rounds to 2^56,
/// keeps nothing.
///
/// Trace ids are presumed random, whether or not the RANDOM flag says so, as the specification asks.
///
/// SPEC: Trace SDK, "ProbabilitySampler"; "TraceState: Probability Sampling". Costs a comparison, and a
/// pass over the trace state where there is one.
///
/// ```
/// use spanlet::ConsistentRatio;
/// use spanlet::sampler::encode_threshold;
/// const TENTH: ConsistentRatio = match ConsistentRatio::new(0.1) {
///     Ok(sampler) => sampler,
///     Err(_) => panic!("a ratio is within 0 to 1"), // at compile time
/// };
/// assert_eq!(encode_threshold(TENTH.threshold()).as_str(), "e6666666666668");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConsistentRatio {
    /// 0 keeps all, 2^56 none.
    threshold: u64,
    ratio: f64,
}

impl ConsistentRatio {
    /// Keeps the share `ratio` of the traces, 0 to 1, as exactly as 56 bits allow.
    ///
    /// # Errors
    /// If `ratio` is outside 0 to 1 or not a number.
    pub const fn new(ratio: f64) -> Result<Self, RatioError> {
        let ratio = match checked(ratio) {
            Ok(ratio) => ratio,
            Err(error) => return Err(error),
        };
        const ALL: f64 = MAX_THRESHOLD as f64;
        #[expect(clippy::cast_possible_truncation, reason = "at most 2^56")]
        // Both exact at 2^-12, where they meet, so that a larger ratio never has a larger threshold.
        let threshold = if ratio >= 1.0 / 4096.0 {
            // A multiple of 2^-53, so the product is whole.
            ((1.0 - ratio) * ALL) as u64
        } else {
            // `1 - ratio` would lose the digits of a small ratio.
            MAX_THRESHOLD - (ratio * ALL + 0.5) as u64
        };
        Ok(ConsistentRatio { threshold, ratio })
    }
    /// As [`new`](Self::new), with the threshold rounded to `digits` hex digits, not counting the `f`s at
    /// its beginning: shorter in each header, and off by less than 16^-digits of the ratio or so. The
    /// specification recommends 4. Values outside 1 to 14 are taken as the nearest.
    ///
    /// # Errors
    /// As `new`.
    ///
    /// ```
    /// use spanlet::ConsistentRatio;
    /// use spanlet::sampler::encode_threshold;
    /// let percent = ConsistentRatio::with_precision(0.01, 5)?;
    /// assert_eq!(encode_threshold(percent.threshold()).as_str(), "fd70a4");
    /// # Ok::<(), spanlet::RatioError>(())
    /// ```
    pub const fn with_precision(ratio: f64, digits: u32) -> Result<Self, RatioError> {
        let exact = match Self::new(ratio) {
            Ok(exact) => exact,
            Err(error) => return Err(error),
        };
        let fs = (exact.threshold << 8).leading_ones() / 4;
        let digits = fs + if digits == 0 { 1 } else { digits };
        if digits >= 14 || exact.threshold == MAX_THRESHOLD {
            return Ok(exact);
        }
        let dropped = 4 * (14 - digits);
        // No carry past the top: the digit behind the `f`s is not an `f`.
        let rounded = (exact.threshold + (1 << (dropped - 1))) >> dropped << dropped;
        Ok(ConsistentRatio {
            threshold: rounded,
            ratio,
        })
    }
    /// The rejection threshold, 0 to 2^56.
    pub const fn threshold(&self) -> u64 {
        self.threshold
    }
    /// The share, as it was given.
    pub const fn ratio(&self) -> f64 {
        self.ratio
    }
}

impl Sampler for ConsistentRatio {
    #[inline]
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        if randomness(parameters.trace_id, parameters.trace_state) >= self.threshold {
            SamplingResult {
                decision: SamplingDecision::RecordAndSample,
                threshold: ThresholdUpdate::Set(self.threshold),
            }
        } else {
            SamplingResult {
                decision: SamplingDecision::Drop,
                threshold: ThresholdUpdate::Erase,
            }
        }
    }
    fn describe(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        write!(to, "ProbabilitySampler{{{}}}", self.ratio)
    }
}
