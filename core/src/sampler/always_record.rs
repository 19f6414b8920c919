//! Recording what would be dropped, in case it turns out to matter.

use super::{Sampler, SamplingDecision, SamplingParameters, SamplingResult, ThresholdUpdate};
use core::fmt;

/// Turns its sampler's `Drop` into `RecordOnly`; what it keeps stays as it is.
///
/// The spans then cost as much as kept ones while they are open, and [`Escalation`](crate::Escalation) can
/// keep those that fail or are slow when they end. They carry no `th`, for what escalation keeps was not
/// chosen by chance.
///
/// SPEC: Trace SDK, "AlwaysRecord". Costs a comparison.
///
/// ```
/// use spanlet::{AlwaysRecord, ParentBased, TraceIdRatio};
/// # fn main() -> Result<(), spanlet::RatioError> {
/// let sampler = AlwaysRecord(ParentBased::new(TraceIdRatio::new(0.01)?));
/// # let _ = sampler; Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AlwaysRecord<S>(
    /// Decides which spans are sampled.
    pub S,
);

impl<S: Sampler> Sampler for AlwaysRecord<S> {
    #[inline(always)]
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        let result = self.0.should_sample(parameters);
        match result.decision {
            SamplingDecision::Drop => SamplingResult {
                decision: SamplingDecision::RecordOnly,
                threshold: ThresholdUpdate::Erase,
            },
            _ => result,
        }
    }
    fn describe(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        to.write_str("AlwaysRecordSampler{")?;
        self.0.describe(to)?;
        to.write_str("}")
    }
}
