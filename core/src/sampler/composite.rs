//! Samplers that state a preference, and the one that turns it into a decision.
//!
//! Input: what is known at a span's start. Output: a [`SamplingIntent`], which samplers can combine without
//! losing what the trace state says, and at the end of the chain a [`SamplingResult`]. Bound: a pass over the
//! parent's trace state at most for each sampler that asks for it; nothing allocates.
//!
//! SPEC: Trace SDK, "CompositeSampler", "ComposableSampler".

use super::threshold::{MAX_THRESHOLD, randomness, threshold_of};
use super::{
    AlwaysOff, AlwaysOn, ConsistentRatio, Sampler, SamplingDecision, SamplingParameters,
    SamplingResult, ThresholdUpdate,
};
use core::fmt;

/// What a composable sampler would like to happen to a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SamplingIntent {
    /// The rejection threshold, 0 (keeps all) to 2^56 - 1; `None` keeps nothing.
    pub threshold: Option<u64>,
    /// Whether a backend may count a kept span as 2^56 / (2^56 - threshold) spans.
    pub is_reliable: bool,
}

impl SamplingIntent {
    /// Keeps nothing.
    pub const DROP: Self = SamplingIntent {
        threshold: None,
        is_reliable: false,
    };

    /// Keeps what is not below a threshold, 0 to 2^56; 2^56 and more keep nothing.
    ///
    /// ```
    /// use spanlet::sampler::SamplingIntent;
    /// assert_eq!(SamplingIntent::reliable(0).threshold, Some(0));
    /// assert_eq!(SamplingIntent::reliable(1 << 56), SamplingIntent::DROP);
    /// ```
    #[must_use]
    pub const fn reliable(threshold: u64) -> Self {
        if threshold >= MAX_THRESHOLD {
            return Self::DROP;
        }
        SamplingIntent {
            threshold: Some(threshold),
            is_reliable: true,
        }
    }
}

/// A sampler that says what it prefers and leaves the decision, and the trace state, to [`CompositeSampler`].
///
/// The threshold must not depend on the trace's randomness, nor on whether the parent is sampled: the counts
/// that a backend makes of it would be wrong.
///
/// ```
/// use spanlet::sampler::{ComposableSampler, SamplingIntent};
/// use spanlet::{SamplingParameters, SpanKind};
///
/// /// Half of what others wait for, a sixteenth of the rest.
/// struct ByKind;
/// impl ComposableSampler for ByKind {
///     fn sampling_intent(&self, parameters: &SamplingParameters<'_>) -> SamplingIntent {
///         SamplingIntent::reliable(match parameters.kind {
///             SpanKind::Server => 1 << 55,
///             _ => 0xf << 52,
///         })
///     }
///     fn describe_intent(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
///         to.write_str("ByKind")
///     }
/// }
/// ```
pub trait ComposableSampler {
    /// The preference. Called for every span, so it must be quick.
    fn sampling_intent(&self, parameters: &SamplingParameters<'_>) -> SamplingIntent;
    /// Writes the sampler's name with its settings, like `ComposableProbability{0.1}`.
    ///
    /// # Errors
    /// Only those of `to`.
    fn describe_intent(&self, to: &mut dyn fmt::Write) -> fmt::Result;
}

impl<S: ComposableSampler + ?Sized> ComposableSampler for &S {
    fn sampling_intent(&self, parameters: &SamplingParameters<'_>) -> SamplingIntent {
        (**self).sampling_intent(parameters)
    }
    fn describe_intent(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        (**self).describe_intent(to)
    }
}

impl ComposableSampler for AlwaysOn {
    fn sampling_intent(&self, _: &SamplingParameters<'_>) -> SamplingIntent {
        SamplingIntent::reliable(0)
    }
    fn describe_intent(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        to.write_str("ComposableAlwaysOn")
    }
}

impl ComposableSampler for AlwaysOff {
    fn sampling_intent(&self, _: &SamplingParameters<'_>) -> SamplingIntent {
        SamplingIntent::DROP
    }
    fn describe_intent(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        to.write_str("ComposableAlwaysOff")
    }
}

/// SPEC: "ComposableProbability".
impl ComposableSampler for ConsistentRatio {
    fn sampling_intent(&self, _: &SamplingParameters<'_>) -> SamplingIntent {
        SamplingIntent::reliable(self.threshold())
    }
    fn describe_intent(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        write!(to, "ComposableProbability{{{}}}", self.ratio())
    }
}

/// Keeps what the parent's threshold keeps; another sampler prefers for roots.
///
/// A parent whose trace state has no `th`, or one that contradicts its SAMPLED flag, is followed by the flag,
/// and its spans cannot be counted back.
///
/// SPEC: Trace SDK, "ComposableParentThreshold".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ParentThreshold<Root>(
    /// Prefers for roots.
    pub Root,
);

impl<Root: ComposableSampler> ComposableSampler for ParentThreshold<Root> {
    fn sampling_intent(&self, parameters: &SamplingParameters<'_>) -> SamplingIntent {
        let Some(parent) = parameters.parent else {
            return self.0.sampling_intent(parameters);
        };
        let threshold = parameters.trace_state.and_then(threshold_of);
        let kept = |threshold| randomness(parameters.trace_id, parameters.trace_state) >= threshold;
        match threshold {
            Some(threshold) if kept(threshold) == parent.is_sampled() => {
                SamplingIntent::reliable(threshold)
            }
            _ if parent.is_sampled() => SamplingIntent {
                threshold: Some(0),
                is_reliable: false,
            },
            _ => SamplingIntent::DROP,
        }
    }
    fn describe_intent(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        to.write_str("ComposableParentThreshold{root:")?;
        self.0.describe_intent(to)?;
        to.write_str("}")
    }
}

/// One rule: a sampler for the spans that a condition holds for, and what prefers for the others.
///
/// Rules are tried in order, the first that holds counts, and what none holds for is dropped.
///
/// SPEC: Trace SDK, "ComposableRuleBased".
///
/// ```
/// use spanlet::sampler::{CompositeSampler, ParentThreshold, Rule};
/// use spanlet::{AlwaysOff, AlwaysOn, ConsistentRatio, SamplingParameters, Value};
///
/// fn is_health_check(span: &SamplingParameters<'_>) -> bool {
///     let is_path = |kv: &spanlet::KeyValue<'_>| kv.key == "url.path" && kv.value == Value::Str("/healthz");
///     span.attributes.iter().any(is_path)
/// }
/// fn is_checkout(span: &SamplingParameters<'_>) -> bool {
///     span.name.starts_with("POST /checkout")
/// }
/// /// No health checks, all checkouts, a tenth of the rest; and below the root what the root decided.
/// fn sampler() -> Result<impl spanlet::Sampler, spanlet::RatioError> {
///     let rest = ConsistentRatio::new(0.1)?;
///     let checkouts = Rule::new(is_checkout, AlwaysOn).or(rest);
///     let rules = Rule::new(is_health_check, AlwaysOff).or(checkouts);
///     Ok(CompositeSampler(ParentThreshold(rules)))
/// }
/// # sampler().unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rule<Condition, Then, Else = AlwaysOff> {
    condition: Condition,
    then: Then,
    or: Else,
}

impl<Condition, Then> Rule<Condition, Then>
where
    Condition: Fn(&SamplingParameters<'_>) -> bool,
{
    /// `then` prefers where `condition` holds; the rest is dropped.
    pub const fn new(condition: Condition, then: Then) -> Self {
        Rule {
            condition,
            then,
            or: AlwaysOff,
        }
    }
    /// `or`, another rule or any other sampler, prefers where the condition does not hold.
    pub fn or<Else>(self, or: Else) -> Rule<Condition, Then, Else> {
        Rule {
            condition: self.condition,
            then: self.then,
            or,
        }
    }
}

impl<Condition, Then, Else> ComposableSampler for Rule<Condition, Then, Else>
where
    Condition: Fn(&SamplingParameters<'_>) -> bool,
    Then: ComposableSampler,
    Else: ComposableSampler,
{
    fn sampling_intent(&self, parameters: &SamplingParameters<'_>) -> SamplingIntent {
        if (self.condition)(parameters) {
            self.then.sampling_intent(parameters)
        } else {
            self.or.sampling_intent(parameters)
        }
    }
    fn describe_intent(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        to.write_str("ComposableRuleBased{")?;
        self.then.describe_intent(to)?;
        to.write_str(",")?;
        self.or.describe_intent(to)?;
        to.write_str("}")
    }
}

/// Decides by a composable sampler's preference, and keeps the trace state's `th` in step with it.
///
/// A span is kept if the trace's randomness (see [`randomness`]) is at least the threshold. `th` is written
/// where a span is kept and its threshold is reliable, and removed otherwise; `rv` is never touched.
///
/// SPEC: Trace SDK, "CompositeSampler". Costs a comparison more than its sampler, and a pass over the trace
/// state where there is one.
///
/// ```
/// use spanlet::ConsistentRatio;
/// use spanlet::sampler::{CompositeSampler, ParentThreshold};
/// let sampler = CompositeSampler(ParentThreshold(ConsistentRatio::new(0.1)?));
/// # let _ = sampler; Ok::<(), spanlet::RatioError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CompositeSampler<S>(
    /// States the preference.
    pub S,
);

impl<S: ComposableSampler> Sampler for CompositeSampler<S> {
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        let intent = self.0.sampling_intent(parameters);
        let kept =
            |threshold: &u64| randomness(parameters.trace_id, parameters.trace_state) >= *threshold;
        match intent.threshold.filter(kept) {
            Some(threshold) => SamplingResult {
                decision: SamplingDecision::RecordAndSample,
                threshold: if intent.is_reliable {
                    ThresholdUpdate::Set(threshold)
                } else {
                    ThresholdUpdate::Erase
                },
            },
            None => SamplingResult {
                decision: SamplingDecision::Drop,
                threshold: ThresholdUpdate::Erase,
            },
        }
    }
    fn describe(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        to.write_str("CompositeSampler{")?;
        self.0.describe_intent(to)?;
        to.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::tests::{ask, name, parent};
    use super::*;
    use SamplingDecision::{Drop, RecordAndSample};
    use ThresholdUpdate::{Erase, Set};

    const HALF: u64 = 1 << 55;

    fn half() -> ConsistentRatio {
        ConsistentRatio::new(0.5).unwrap()
    }

    #[test]
    fn a_preference_becomes_a_decision_and_a_threshold() {
        let sampler = CompositeSampler(half());
        let decided = |low, state| {
            let result = ask(&sampler, low, None, state);
            (result.decision, result.threshold)
        };
        assert_eq!(decided(HALF, None), (RecordAndSample, Set(HALF)));
        assert_eq!(decided(HALF - 1, None), (Drop, Erase));
        // Explicit randomness goes before the trace id.
        let rv = Some("ot=rv:80000000000000");
        assert_eq!(decided(0, rv), (RecordAndSample, Set(HALF)));
        let rv = Some("ot=rv:7fffffffffffff;th:0");
        assert_eq!(decided(u64::MAX, rv), (Drop, Erase));

        let all = ask(&CompositeSampler(AlwaysOn), 0, None, None);
        assert_eq!((all.decision, all.threshold), (RecordAndSample, Set(0)));
        let none = ask(&CompositeSampler(AlwaysOff), u64::MAX, None, None);
        assert_eq!((none.decision, none.threshold), (Drop, Erase));
        // A share too small for 56 bits is none, whatever the randomness.
        let never = CompositeSampler(ConsistentRatio::new(0.0).unwrap());
        assert_eq!(ask(&never, u64::MAX, None, None).decision, Drop);
    }

    #[test]
    fn the_parents_threshold_is_passed_on_and_never_guessed() {
        let sampler = CompositeSampler(ParentThreshold(AlwaysOff));
        for (low, sampled, state, decision, threshold) in [
            (HALF, true, Some("ot=th:8"), RecordAndSample, Set(HALF)),
            (HALF - 1, false, Some("ot=th:8"), Drop, Erase),
            (
                0,
                true,
                Some("ot=th:8;rv:80000000000000"),
                RecordAndSample,
                Set(HALF),
            ),
            // Without one, or where it contradicts the flag, the flag counts, and no number does.
            (HALF - 1, true, Some("ot=th:8"), RecordAndSample, Erase),
            (HALF, false, Some("ot=th:8"), Drop, Erase),
            (0, true, Some("vendor=1"), RecordAndSample, Erase),
            (0, true, None, RecordAndSample, Erase),
            (u64::MAX, false, None, Drop, Erase),
        ] {
            for remote in [true, false] {
                let parent = parent(low, sampled, remote);
                let result = ask(&sampler, low, Some(&parent), state);
                assert_eq!(
                    (result.decision, result.threshold),
                    (decision, threshold),
                    "{low:x} {state:?}"
                );
            }
        }
        // A root has no parent to follow.
        let root = CompositeSampler(ParentThreshold(half()));
        assert_eq!(ask(&root, HALF, None, None).threshold, Set(HALF));
        assert_eq!(ask(&root, 0, None, None).decision, Drop);
    }

    #[test]
    fn the_first_rule_that_holds_counts() {
        let servers = |p: &SamplingParameters<'_>| p.kind == crate::SpanKind::Server;
        let tests = |p: &SamplingParameters<'_>| p.name == "test";
        let sampler = CompositeSampler(Rule::new(servers, AlwaysOff).or(Rule::new(tests, half())));
        // `ask` asks for an internal span called "test".
        assert_eq!(ask(&sampler, HALF, None, None).threshold, Set(HALF));
        assert_eq!(ask(&sampler, 0, None, None).decision, Drop);
        let tests_never = Rule::new(tests, AlwaysOff).or(Rule::new(tests, AlwaysOn));
        assert_eq!(
            ask(&CompositeSampler(tests_never), 0, None, None).decision,
            Drop
        );
        // What no rule holds for is dropped.
        let only_servers = CompositeSampler(Rule::new(servers, AlwaysOn));
        assert_eq!(ask(&only_servers, u64::MAX, None, None).decision, Drop);
    }

    #[test]
    fn a_composite_says_what_it_is_made_of() {
        let all = |_: &SamplingParameters<'_>| true;
        let sampler = CompositeSampler(ParentThreshold(Rule::new(all, AlwaysOn).or(half())));
        assert_eq!(
            name(&sampler),
            "CompositeSampler{ComposableParentThreshold{root:ComposableRuleBased{ComposableAlwaysOn,\
             ComposableProbability{0.5}}}}"
        );
        assert_eq!(
            name(&CompositeSampler(AlwaysOff)),
            "CompositeSampler{ComposableAlwaysOff}"
        );
    }
}
