//! Following the parent, so that a trace is kept whole or not at all.

use super::threshold::{randomness, threshold_of};
use super::{
    AlwaysOff, AlwaysOn, Sampler, SamplingDecision, SamplingParameters, SamplingResult,
    ThresholdUpdate,
};
use core::fmt;

/// Asks one of five samplers, by what the parent is: none, remote or local, sampled or not.
///
/// The rejection threshold of the trace state is passed on, and erased where it contradicts the decision:
/// `th` says that a trace is kept if and only if its randomness is not below it. A remote parent's is
/// checked against that. A local parent's was checked or set when it started, so it is erased only where
/// the decision is not the parent's.
///
/// SPEC: Trace SDK, "ParentBased"; "TraceState: Probability Sampling", "Parent-based threshold". The
/// child of a local sampled parent costs two bit tests.
///
/// ```
/// use spanlet::{AlwaysOff, AlwaysOn, AlwaysRecord, ParentBased, TraceIdRatio};
/// const TENTH: TraceIdRatio = match TraceIdRatio::new(0.1) {
///     Ok(sampler) => sampler,
///     Err(_) => panic!("a ratio is within 0 to 1"),
/// };
/// /// A tenth of what starts here, and of other traces what their root decided.
/// static USUAL: ParentBased<TraceIdRatio> = ParentBased::new(TENTH);
/// /// The same, but children of unsampled local spans are recorded in case they fail.
/// static WATCHFUL: ParentBased<TraceIdRatio, AlwaysOn, AlwaysOff, AlwaysOn, AlwaysRecord<AlwaysOff>> =
///     ParentBased::with_delegates(TENTH, AlwaysOn, AlwaysOff, AlwaysOn, AlwaysRecord(AlwaysOff));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ParentBased<
    Root,
    RemoteSampled = AlwaysOn,
    RemoteNotSampled = AlwaysOff,
    LocalSampled = AlwaysOn,
    LocalNotSampled = AlwaysOff,
> {
    root: Root,
    remote_sampled: RemoteSampled,
    remote_not_sampled: RemoteNotSampled,
    local_sampled: LocalSampled,
    local_not_sampled: LocalNotSampled,
}

impl<Root> ParentBased<Root> {
    /// Children do as their parents; `root` decides on roots.
    pub const fn new(root: Root) -> Self {
        Self::with_delegates(root, AlwaysOn, AlwaysOff, AlwaysOn, AlwaysOff)
    }
}

impl<Root, RemoteSampled, RemoteNotSampled, LocalSampled, LocalNotSampled>
    ParentBased<Root, RemoteSampled, RemoteNotSampled, LocalSampled, LocalNotSampled>
{
    /// A sampler for each case.
    pub const fn with_delegates(
        root: Root,
        remote_sampled: RemoteSampled,
        remote_not_sampled: RemoteNotSampled,
        local_sampled: LocalSampled,
        local_not_sampled: LocalNotSampled,
    ) -> Self {
        ParentBased {
            root,
            remote_sampled,
            remote_not_sampled,
            local_sampled,
            local_not_sampled,
        }
    }
}

impl<Root, RemoteSampled, RemoteNotSampled, LocalSampled, LocalNotSampled> Sampler
    for ParentBased<Root, RemoteSampled, RemoteNotSampled, LocalSampled, LocalNotSampled>
where
    Root: Sampler,
    RemoteSampled: Sampler,
    RemoteNotSampled: Sampler,
    LocalSampled: Sampler,
    LocalNotSampled: Sampler,
{
    #[inline(always)]
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        // The parent's bits first, local and sampled first of all: that is the child, the hot case.
        let Some(parent) = parameters.parent else {
            return self.root.should_sample(parameters);
        };
        if !parent.is_remote() {
            return if parent.is_sampled() {
                let result = self.local_sampled.should_sample(parameters);
                erase_unless(result, is_sampled(result))
            } else {
                let result = self.local_not_sampled.should_sample(parameters);
                erase_unless(result, !is_sampled(result))
            };
        }
        let result = if parent.is_sampled() {
            self.remote_sampled.should_sample(parameters)
        } else {
            self.remote_not_sampled.should_sample(parameters)
        };
        match parameters.trace_state {
            Some(text) if result.threshold == ThresholdUpdate::Keep => {
                erase_unless(result, agrees(parameters, text, is_sampled(result)))
            }
            _ => result,
        }
    }

    fn describe(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        to.write_str("ParentBased{root:")?;
        self.root.describe(to)?;
        to.write_str(",remoteParentSampled:")?;
        self.remote_sampled.describe(to)?;
        to.write_str(",remoteParentNotSampled:")?;
        self.remote_not_sampled.describe(to)?;
        to.write_str(",localParentSampled:")?;
        self.local_sampled.describe(to)?;
        to.write_str(",localParentNotSampled:")?;
        self.local_not_sampled.describe(to)?;
        to.write_str("}")
    }
}

#[inline(always)]
fn is_sampled(result: SamplingResult) -> bool {
    matches!(result.decision, SamplingDecision::RecordAndSample)
}

/// The result, with a threshold that it would keep erased unless the threshold `agrees`.
#[inline(always)]
fn erase_unless(result: SamplingResult, agrees: bool) -> SamplingResult {
    if agrees || result.threshold != ThresholdUpdate::Keep {
        return result;
    }
    SamplingResult {
        threshold: ThresholdUpdate::Erase,
        ..result
    }
}

/// Whether the trace state's threshold, if it has one, comes to the same decision.
#[cold]
fn agrees(parameters: &SamplingParameters<'_>, trace_state: &str, sampled: bool) -> bool {
    threshold_of(trace_state).is_none_or(|threshold| {
        let kept = randomness(parameters.trace_id, Some(trace_state)) >= threshold;
        kept == sampled
    })
}
