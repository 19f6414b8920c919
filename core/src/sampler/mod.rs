//! Sampling: decided when a span starts, before anything is recorded.
//!
//! Input: what is known at the start. Output: a [`SamplingResult`]. Bound: constant time, no allocation;
//! at most the 512 characters of a remote parent's trace state are read.
//!
//! | sampler | keeps |
//! |---|---|
//! | [`AlwaysOn`], [`AlwaysOff`] | all, none |
//! | [`TraceIdRatio`] | a share of the traces, by the rule that SDKs have shared for years |
//! | [`ConsistentRatio`] | a share of the traces, and says which in the trace state, so that it can be counted back |
//! | [`RateLimited`] | so many a second |
//! | [`ParentBased`] | what the parent's trace keeps; another sampler decides on roots |
//! | [`AlwaysRecord`] | what its inner sampler keeps, and records the rest in case it fails or is slow |
//! | [`CompositeSampler`] | what composable samplers ([`ParentThreshold`], [`Rule`], [`ConsistentRatio`]) prefer together |

mod always_record;
mod composite;
mod parent_based;
mod probability;
mod rate_limited;
mod threshold;
mod trace_id_ratio;

pub use always_record::AlwaysRecord;
pub use composite::{ComposableSampler, CompositeSampler, ParentThreshold, Rule, SamplingIntent};
pub use parent_based::ParentBased;
pub use probability::ConsistentRatio;
pub use rate_limited::RateLimited;
pub use threshold::{
    MAX_THRESHOLD, ThresholdError, ThresholdText, encode_threshold, parse_threshold, randomness,
    threshold_of,
};
pub use trace_id_ratio::{RatioError, TraceIdRatio};

use crate::attribute::KeyValue;
use crate::context::{SpanContext, TraceId};
use crate::record::SpanKind;

/// What becomes of a span. SPEC: Trace SDK, "Sampling".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SamplingDecision {
    /// Nothing is recorded; the context still propagates, unsampled.
    Drop,
    /// Recorded, and dropped at its end unless it fails or is slow ("escalation"). Not sampled.
    RecordOnly,
    /// Recorded, kept, and the SAMPLED flag tells those downstream.
    RecordAndSample,
}

/// What a sampler does to the `th` of the trace state's `ot` member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ThresholdUpdate {
    /// Leaves the trace state as it came.
    #[default]
    Keep,
    /// Sets the rejection threshold, 0 to 2^56 - 1, to be written by [`encode_threshold`].
    Set(u64),
    /// Removes it: the decision contradicts it.
    Erase,
}

/// A sampler's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SamplingResult {
    /// What becomes of the span.
    pub decision: SamplingDecision,
    /// What becomes of the trace state's `th`.
    pub threshold: ThresholdUpdate,
}

impl SamplingResult {
    /// A decision that leaves the trace state alone.
    ///
    /// ```
    /// use spanlet::{SamplingDecision, SamplingResult, ThresholdUpdate};
    /// let kept = SamplingResult::new(SamplingDecision::RecordAndSample);
    /// assert_eq!(kept.threshold, ThresholdUpdate::Keep);
    /// ```
    #[inline(always)]
    pub const fn new(decision: SamplingDecision) -> Self {
        SamplingResult {
            decision,
            threshold: ThresholdUpdate::Keep,
        }
    }
}

/// What a sampler sees. SPEC: Trace SDK, "ShouldSample".
#[derive(Clone, Copy, Debug)]
pub struct SamplingParameters<'a> {
    /// The parent, local or remote; `None` for a root.
    pub parent: Option<&'a SpanContext>,
    /// The trace that the span will be part of.
    pub trace_id: TraceId,
    /// Whether the low 56 bits of the trace id are random.
    pub is_random: bool,
    /// The span's name.
    pub name: &'a str,
    /// The span's kind.
    pub kind: SpanKind,
    /// Attributes given at creation.
    pub attributes: &'a [KeyValue<'a>],
    /// The parent's trace state.
    pub trace_state: Option<&'a str>,
}

/// Decides when a span starts whether it is recorded and kept.
///
/// ```
/// use spanlet::{Sampler, SamplingDecision, SamplingParameters, SamplingResult, SpanKind};
///
/// /// Keeps what others wait for.
/// struct ServersOnly;
/// impl Sampler for ServersOnly {
///     fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
///         SamplingResult::new(match parameters.kind {
///             SpanKind::Server => SamplingDecision::RecordAndSample,
///             _ => SamplingDecision::Drop,
///         })
///     }
///     fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
///         to.write_str("ServersOnly")
///     }
/// }
/// ```
pub trait Sampler {
    /// The decision. Called for every span, so it must be quick.
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult;
    /// Writes the sampler's name with its settings, like `TraceIdRatioBased{0.1}`.
    ///
    /// # Errors
    /// Only those of `to`.
    fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result;
}

impl<S: Sampler + ?Sized> Sampler for &S {
    #[inline(always)]
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        (**self).should_sample(parameters)
    }
    fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
        (**self).describe(to)
    }
}

/// Keeps every span. SPEC: Trace SDK, "AlwaysOn". Costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysOn;
impl Sampler for AlwaysOn {
    #[inline(always)]
    fn should_sample(&self, _: &SamplingParameters<'_>) -> SamplingResult {
        SamplingResult::new(SamplingDecision::RecordAndSample)
    }
    fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
        to.write_str("AlwaysOnSampler")
    }
}

/// Drops every span. SPEC: Trace SDK, "AlwaysOff". Costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysOff;
impl Sampler for AlwaysOff {
    #[inline(always)]
    fn should_sample(&self, _: &SamplingParameters<'_>) -> SamplingResult {
        SamplingResult::new(SamplingDecision::Drop)
    }
    fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
        to.write_str("AlwaysOffSampler")
    }
}

#[cfg(test)]
mod tests;
