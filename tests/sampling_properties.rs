//! Samplers, escalation and id generators against naive oracles: exact arithmetic instead of shifts, a map
//! instead of a table of words, a bucket in fractions instead of a word modulo 2^32.
#![allow(missing_docs, reason = "tests")]

use core::num::{NonZeroU16, NonZeroU32};
use proptest::prelude::*;
use spanlet::id_generator::device_id;
use spanlet::sampler::{
    MAX_THRESHOLD, encode_threshold, parse_threshold, randomness, threshold_of,
};
use spanlet::testing::{ManualClock, TestTracer};
use spanlet::{
    AlwaysOff, AlwaysOn, AlwaysRecord, ConsistentRatio, DeviceIds, EndedUnsampled, Escalation,
    IdGenerator, InlineBuf, LocalIds, ParentBased, RateLimited, Recorder, Sampler,
    SamplingDecision, SamplingParameters, SamplingResult, SeededIds, Span, SpanContext, SpanId,
    SpanKind, Status, ThresholdUpdate, TickRate, Ticks, TraceFlags, TraceId, TraceIdRatio,
};
use std::collections::{BTreeMap, HashSet};

fn ask(
    sampler: &impl Sampler,
    trace_id: TraceId,
    parent: Option<&SpanContext>,
    trace_state: Option<&str>,
) -> SamplingResult {
    sampler.should_sample(&SamplingParameters {
        parent,
        trace_id,
        is_random: true,
        name: "test",
        kind: SpanKind::Internal,
        attributes: &[],
        trace_state,
    })
}
fn is_kept(result: SamplingResult) -> bool {
    result.decision == SamplingDecision::RecordAndSample
}

fn trace_id() -> impl Strategy<Value = TraceId> {
    any::<[u8; 16]>().prop_filter_map("zero", TraceId::from_bytes)
}
/// Ratios of every size, with the ends.
fn ratio() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(1.0),
        0.0..=1.0,
        (0.5..=1.0, 0..70i32).prop_map(|(m, e)| m * 0.5f64.powi(e)),
        (1u32..2_000_000).prop_map(|n| 1.0 / f64::from(n)),
    ]
}

/// `mantissa · 2^exponent` of a ratio.
fn exactly(ratio: f64) -> (u128, i32) {
    let bits = ratio.to_bits();
    let fraction = u128::from(bits & ((1 << 52) - 1));
    match (bits >> 52) as i32 {
        0 => (fraction, -1074),
        exponent => (fraction | 1 << 52, exponent - 1075),
    }
}
/// Whether `number < ratio · 2^bits`, in integers.
fn below_share(number: u128, ratio: f64, bits: i32) -> bool {
    let (mantissa, exponent) = exactly(ratio);
    let shift = exponent + bits;
    if shift >= 0 {
        number < mantissa << shift
    } else {
        // The rule takes the bound's integer part.
        let bound = if shift > -128 { mantissa >> -shift } else { 0 };
        number < bound
    }
}
/// A `tracestate` parsed the slow way.
fn sub_key(state: &str, wanted: &str) -> Option<String> {
    let member = state
        .split(',')
        .map(str::trim)
        .find(|m| m.starts_with("ot="))?;
    let pairs = member[3..]
        .split(';')
        .filter_map(|pair| pair.split_once(':'));
    let value = pairs
        .filter(|(key, _)| *key == wanted)
        .map(|(_, v)| v)
        .next()?;
    let hex = !value.is_empty()
        && value.len() <= 14
        && value.chars().all(|c| "0123456789abcdef".contains(c));
    hex.then(|| format!("{value:0<14}"))
}
fn trace_state() -> impl Strategy<Value = String> {
    let number = prop_oneof!["[0-9a-f]{1,14}", "[0-9a-f]{14}", "[0-9A-Fg]{0,16}"];
    let pair = prop_oneof![
        number.clone().prop_map(|n| format!("th:{n}")),
        number.prop_map(|n| format!("rv:{n}")),
        Just(String::from("p:8")),
    ];
    let ot =
        proptest::collection::vec(pair, 0..4).prop_map(|pairs| format!("ot={}", pairs.join(";")));
    let member = prop_oneof![
        ot,
        Just(String::from("rojo=th:8")),
        Just(String::from("xot=rv:1"))
    ];
    proptest::collection::vec(member, 0..4).prop_map(|members| members.join(" , "))
}

proptest! {
    #[test]
    fn old_ratio_is_the_shared_rule(id in trace_id(), ratio in ratio()) {
        let sampler = TraceIdRatio::new(ratio).unwrap();
        let low = u64::from_be_bytes(id.to_bytes()[8..].try_into().unwrap());
        let expected = below_share(u128::from(low >> 1), ratio, 63);
        prop_assert_eq!(is_kept(ask(&sampler, id, None, None)), expected);
    }

    #[test]
    fn larger_ratios_keep_more(id in trace_id(), a in ratio(), b in ratio(), digits in 0..16u32) {
        let (less, more) = (a.min(b), a.max(b));
        let old = |r| is_kept(ask(&TraceIdRatio::new(r).unwrap(), id, None, None));
        prop_assert!(old(more) || !old(less));
        let new = |r| is_kept(ask(&ConsistentRatio::new(r).unwrap(), id, None, None));
        prop_assert!(new(more) || !new(less));
        let threshold = |r| ConsistentRatio::with_precision(r, digits).unwrap().threshold();
        prop_assert!(threshold(more) <= threshold(less));
    }

    #[test]
    fn thresholds_reject_the_rest(ratio in ratio()) {
        let threshold = ConsistentRatio::new(ratio).unwrap().threshold();
        prop_assert!(threshold <= MAX_THRESHOLD);
        // 2^56 - T is the share kept; both sides times 2^44, which leaves whole numbers but for dust.
        let kept = u128::from(MAX_THRESHOLD - threshold) << 44;
        let (mantissa, exponent) = exactly(ratio);
        let shift = exponent + 100;
        let exact = if shift >= 0 { mantissa << shift } else { mantissa.checked_shr(-shift as u32).unwrap_or(0) };
        // Within the last digit of `1 - ratio`, 8 units, or half a unit for small ratios.
        let bound = if ratio >= 1.0 / 4096.0 { 8 << 44 } else { 1 << 43 };
        prop_assert!(kept.abs_diff(exact) <= bound, "{ratio}: {threshold:x}");
    }

    #[test]
    fn precision_is_that_of_the_text(ratio in ratio(), digits in 1..15u32) {
        let exact = ConsistentRatio::new(ratio).unwrap().threshold();
        let rounded = ConsistentRatio::with_precision(ratio, digits).unwrap().threshold();
        prop_assert_eq!(rounded == MAX_THRESHOLD, exact == MAX_THRESHOLD);
        if exact < MAX_THRESHOLD {
            let text = format!("{exact:014x}");
            let fs = text.chars().take_while(|c| *c == 'f').count();
            let written = encode_threshold(rounded);
            prop_assert!(written.len() <= (fs + digits as usize).min(14), "{text} {written}");
            let unit = 1u64 << (4 * 14usize.saturating_sub(fs + digits as usize));
            prop_assert!(exact.abs_diff(rounded) <= unit / 2);
        }
    }

    #[test]
    fn threshold_text_comes_back(threshold in 0..MAX_THRESHOLD, zeros in 0..14u32) {
        let threshold = threshold >> (4 * zeros) << (4 * zeros);
        let text = encode_threshold(threshold);
        let naive = format!("{threshold:014x}");
        let naive = naive.trim_end_matches('0');
        prop_assert_eq!(text.as_str(), if naive.is_empty() { "0" } else { naive });
        prop_assert_eq!(parse_threshold(&text), Ok(threshold));
        let state = format!("a=b,ot=p:8;th:{text},c=d");
        prop_assert_eq!(threshold_of(&state), Some(threshold));
    }

    #[test]
    fn any_text_is_a_threshold_or_an_error(text in "\\PC{0,20}") {
        let naive = (!text.is_empty() && text.len() <= 14
            && text.chars().all(|c| "0123456789abcdef".contains(c)))
            .then(|| u64::from_str_radix(&format!("{text:0<14}"), 16).unwrap());
        prop_assert_eq!(parse_threshold(&text).ok(), naive);
        let _ = threshold_of(&text);
        let _ = randomness(TraceId::from_bytes([1; 16]).unwrap(), Some(&text));
    }

    #[test]
    fn trace_states_read_as_the_slow_way(id in trace_id(), state in trace_state()) {
        let number = |text: String| u64::from_str_radix(&text, 16).unwrap();
        prop_assert_eq!(threshold_of(&state), sub_key(&state, "th").map(number));
        // A short rv is none: the slow way fills it up, so its length is checked apart.
        let whole = state.contains("ot=") && sub_key(&state, "rv").is_some_and(|rv| state.contains(&format!("rv:{rv}")));
        let random = randomness(id, Some(&state));
        let from_id = u64::from_be_bytes(id.to_bytes()[8..].try_into().unwrap()) << 8 >> 8;
        prop_assert_eq!(random, if whole { number(sub_key(&state, "rv").unwrap()) } else { from_id });
    }

    #[test]
    fn consistent_keeps_what_is_not_below(id in trace_id(), ratio in ratio(), state in trace_state()) {
        let sampler = ConsistentRatio::new(ratio).unwrap();
        let result = ask(&sampler, id, None, Some(&state));
        let kept = randomness(id, Some(&state)) >= sampler.threshold();
        prop_assert_eq!(is_kept(result), kept);
        let update = if kept { ThresholdUpdate::Set(sampler.threshold()) } else { ThresholdUpdate::Erase };
        prop_assert_eq!(result.threshold, update);
    }

    /// What ParentBased passes on is never a contradiction, and it erases nothing else.
    #[test]
    fn parents_and_thresholds_agree(
        id in trace_id(), state in trace_state(), sampled: bool, is_remote: bool, inverted: bool,
    ) {
        let span = SpanId::from_bytes([1; 8]).unwrap();
        let threshold = threshold_of(&state);
        let says = threshold.map(|t| randomness(id, Some(&state)) >= t);
        // A local parent has a threshold that is consistent with its flag, or none.
        let sampled = if is_remote { sampled } else { says.unwrap_or(sampled) };
        let mut parent = SpanContext::new(id, span, TraceFlags::NONE.with_sampled(sampled));
        if is_remote {
            parent = parent.remote();
        }
        let result = if inverted {
            ask(&ParentBased::with_delegates(AlwaysOn, AlwaysOff, AlwaysOn, AlwaysOff, AlwaysOn), id, Some(&parent), Some(&state))
        } else {
            ask(&ParentBased::new(AlwaysOff), id, Some(&parent), Some(&state))
        };
        prop_assert_eq!(is_kept(result), sampled != inverted);
        if threshold.is_some() {
            let contradicts = says != Some(is_kept(result));
            prop_assert_eq!(result.threshold == ThresholdUpdate::Erase, contradicts);
        }
    }

    /// Never more than the bucket allows, and no fewer than it allows but for rounding.
    #[test]
    fn rate_limit_is_a_bucket(
        spans in 1..5000u32, seconds in prop_oneof![Just(1u32), 1..100u32], burst in 1..200u16,
        start in any::<u32>(),
        steps in proptest::collection::vec((prop_oneof![0..2000u64, 0..3_000_000u64], 1..40u32), 1..60),
    ) {
        let clock = ManualClock::new();
        clock.set(Ticks(u64::from(start)));
        let sampler = RateLimited::per_period(
            &clock, TickRate::MICROSECONDS, NonZeroU32::new(spans).unwrap(),
            NonZeroU32::new(seconds).unwrap(), NonZeroU16::new(burst).unwrap(),
        );
        let id = TraceId::from_bytes([1; 16]).unwrap();
        // One with a 256th of a token more, which must keep whatever the sampler keeps; one that gains
        // a little less, of which the sampler must keep everything.
        let rate = f64::from(spans) / f64::from(seconds) / 1e6;
        let (mut most, mut least) = (f64::from(burst), f64::from(burst));
        let grain = 1.0 / 256.0;
        for (wait, tries) in steps {
            clock.advance(wait);
            let gained = rate * wait as f64;
            most = (most + gained + grain + 1e-6).min(f64::from(burst) + grain);
            least = (least + gained - grain - 1e-6).min(f64::from(burst));
            for _ in 0..tries {
                let kept = is_kept(ask(&sampler, id, None, None));
                if kept {
                    prop_assert!(most >= 1.0, "kept with {most} tokens");
                    most -= 1.0;
                    least -= 1.0;
                } else {
                    prop_assert!(least < 1.0, "dropped with {least} tokens");
                }
                // The bounds must not drift apart for longer than the bucket remembers.
                least = least.max(-1.0);
                most = most.min(f64::from(burst) + grain);
            }
        }
    }

    /// With room for all, the table is a map.
    #[test]
    fn escalation_is_a_map(
        spans in proptest::collection::vec((0..6u64, prop::bool::weighted(0.1), 0..120u64), 0..200),
        salt: u64,
    ) {
        let table = Escalation::<4096>::new().or_slower_than(100);
        let mut naive = BTreeMap::<u64, (bool, u32)>::new();
        for (trace, is_error, duration_ticks) in spans {
            let trace_id = TraceId::from_words([salt | 1, trace]).unwrap();
            let result = table.ended(&EndedUnsampled { span_id: spanlet::SpanId::from_bytes([1; 8]).unwrap(), trace_id, is_error, duration_ticks });
            let (kept, dropped) = naive.entry(trace).or_default();
            let mut newly = 0;
            if is_error || duration_ticks >= 100 {
                *kept = true;
                newly = core::mem::take(dropped);
            } else if !*kept {
                *dropped += 1;
            }
            prop_assert_eq!(result.keep, *kept);
            prop_assert_eq!(result.newly_incomplete, newly);
        }
    }

    /// However crowded, nothing is kept without a failure in its trace, none is counted twice, and
    /// failures are always kept.
    #[test]
    fn a_crowded_table_errs_to_one_side(
        spans in proptest::collection::vec((0..40u64, prop::bool::weighted(0.1)), 0..400),
    ) {
        let table = Escalation::<3>::new();
        let (mut failed, mut dropped) = (HashSet::new(), BTreeMap::<u64, u32>::new());
        for (trace, is_error) in spans {
            let trace_id = TraceId::from_words([7, trace]).unwrap();
            let result = table.ended(&EndedUnsampled { span_id: spanlet::SpanId::from_bytes([1; 8]).unwrap(), trace_id, is_error, duration_ticks: 1 });
            let gone = dropped.entry(trace).or_default();
            prop_assert!(result.newly_incomplete <= *gone);
            *gone -= result.newly_incomplete;
            if is_error {
                prop_assert!(result.keep);
                failed.insert(trace);
            }
            prop_assert!(!result.keep || failed.contains(&trace));
            *gone += u32::from(!result.keep);
        }
    }

    /// The ledger of a tracer balances, and the path from a failure to its root is whole.
    #[test]
    fn ancestors_of_a_failure_are_kept(
        depth in 1..8usize, failing in any::<prop::sample::Index>(), leaves in 0..4usize, fails: bool,
    ) {
        let tracer: TestTracer<_, 8192> =
            TestTracer::with_sampler(AlwaysRecord(ParentBased::new(AlwaysOff))).with_escalation(u64::MAX - 1);
        let failing = failing.index(depth);
        let mut open: Vec<Span<_, InlineBuf<32>>> = Vec::new();
        for level in 0..depth {
            let span = match open.last() {
                Some(parent) => tracer.span("span").parent(parent).start(),
                None => tracer.span("span").start(),
            };
            for _ in 0..leaves {
                drop(tracer.span("leaf").parent(&span).start::<InlineBuf<32>>());
            }
            open.push(span);
            if fails && level == failing {
                open[level].set_status(Status::Error);
            }
        }
        while let Some(span) = open.pop() {
            drop(span);
        }
        let kept = if fails { failing + 1 } else { 0 };
        let recorded = tracer.with_spans(|spans| spans.len());
        prop_assert_eq!(recorded, kept);
        let incomplete = if fails { depth * leaves + depth - kept } else { 0 };
        prop_assert_eq!(tracer.escalated_incomplete_count() as usize, incomplete);
        let all = recorded as u32 + tracer.sampled_out_count() + tracer.escalated_incomplete_count()
            + tracer.lost_count();
        prop_assert_eq!(tracer.started_count(), all);
    }

    /// Ids of different devices, boots and moments differ.
    #[test]
    fn device_ids_are_unique(
        devices in proptest::collection::hash_set(any::<u64>(), 1..6),
        boots in proptest::collection::hash_set(0..1u32 << 24, 1..6),
    ) {
        let mut seen = HashSet::new();
        for device in &devices {
            for boot in &boots {
                let ids = DeviceIds::new(*device, *boot);
                for _ in 0..50 {
                    let (trace, flags) = ids.trace_id();
                    prop_assert!(!flags.is_random());
                    prop_assert!(seen.insert(trace));
                }
            }
        }
    }

    #[test]
    fn seeds_decide(a: [u8; 16], b: [u8; 16]) {
        prop_assume!(a != b && a != [0; 16] && b != [0; 16]);
        let first = |seed| {
            let ids = SeededIds::new(seed).unwrap();
            (ids.span_id(), ids.trace_id())
        };
        prop_assert_eq!(first(a), first(a));
        prop_assert_ne!(first(a).0, first(b).0);
        prop_assert_ne!(first(a).1, first(b).1);
        let (one, other) = (LocalIds::new(a), LocalIds::new(a));
        prop_assert_eq!(one.span_id(), other.span_id());
        prop_assert_ne!(one.trace_id().0, LocalIds::new(b).trace_id().0);
    }

    #[test]
    fn device_names_do_not_clash(a in proptest::collection::vec(any::<u8>(), 0..20), b in proptest::collection::vec(any::<u8>(), 0..20)) {
        prop_assert_eq!(device_id(&a) == device_id(&b), a == b);
    }
}

/// A share of many random traces is the ratio, by either rule.
#[test]
fn shares_come_out_right() {
    const N: u32 = 200_000;
    let ids = LocalIds::new([42; 16]);
    for ratio in [0.001, 0.01, 0.1, 0.5, 0.9] {
        let old = TraceIdRatio::new(ratio).unwrap();
        let new = ConsistentRatio::with_precision(ratio, 4).unwrap();
        let (mut by_old, mut by_new) = (0u32, 0u32);
        for _ in 0..N {
            let (id, _) = ids.trace_id();
            by_old += u32::from(is_kept(ask(&old, id, None, None)));
            by_new += u32::from(is_kept(ask(&new, id, None, None)));
        }
        let deviation = (f64::from(N) * ratio * (1.0 - ratio)).sqrt();
        for count in [by_old, by_new] {
            let off = (f64::from(count) - f64::from(N) * ratio).abs();
            assert!(off < 5.0 * deviation, "{count} of {N} at {ratio}");
        }
    }
}

/// Another trace is mistaken for a kept one about once in 2^20 / 4 times at most.
#[test]
fn wrong_keeps_are_as_rare_as_stated() {
    let ids = LocalIds::new([43; 16]);
    let (mut wrong, mut asked) = (0u32, 0u32);
    for _ in 0..500 {
        let table = Escalation::<4>::new();
        let ended = |trace_id, is_error| {
            table.ended(&EndedUnsampled {
                span_id: spanlet::SpanId::from_bytes([1; 8]).unwrap(),
                trace_id,
                is_error,
                duration_ticks: 1,
            })
        };
        for _ in 0..4 {
            assert!(ended(ids.trace_id().0, true).keep);
        }
        for _ in 0..2_000 {
            // Touches nothing for long: a failed one comes again, as strangers wear the others out.
            asked += 1;
            wrong += u32::from(ended(ids.trace_id().0, false).keep);
        }
    }
    // At most 1 000 000 · 3.8e-6 = 3.8 expected.
    assert!(wrong <= 14, "{wrong} of {asked}");
}

#[test]
fn a_tracer_takes_its_flags_from_the_sampler() {
    let tracer: TestTracer<_> =
        TestTracer::with_sampler(ParentBased::new(ConsistentRatio::new(0.0).unwrap()));
    let span: Span<_, InlineBuf<32>> = tracer.span("root").start();
    assert!(!span.is_recording() && !span.context().is_sampled());
    let recorder = &tracer;
    assert_eq!(recorder.now(), Ticks(0));
    assert_eq!(tracer.sampled_out_count(), 1);
}

/// `th` reaches the record and the children, and goes where it is wrong.
#[test]
fn the_trace_state_carries_the_threshold() {
    struct Incoming(&'static str, bool);
    impl spanlet::ParentContext for Incoming {
        fn span_context(&self) -> Option<SpanContext> {
            let trace = TraceId::from_bytes([0x80; 16])?;
            let flags = TraceFlags::NONE.with_sampled(self.1);
            Some(SpanContext::new(trace, SpanId::from_bytes([1; 8])?, flags).remote())
        }
        fn trace_state(&self) -> Option<&str> {
            Some(self.0)
        }
    }
    type Buf = InlineBuf<64>;
    let tenth = ConsistentRatio::new(0.1).unwrap();
    let always = ConsistentRatio::new(1.0).unwrap();
    let state_of = |tracer: &TestTracer<_>, name: &str| {
        tracer.with_spans(|spans| spans.named(name).unwrap().trace_state().map(String::from))
    };

    let tracer: TestTracer<_> = TestTracer::with_sampler(ParentBased::new(always));
    let root: Span<_, Buf> = tracer.span("root").start();
    drop(tracer.span("child").parent(&root).start::<Buf>());
    drop(root);
    for (name, incoming) in [
        ("kept", Incoming("rojo=1,ot=th:8", true)),
        ("erased", Incoming("rojo=1,ot=th:9;p:8", true)),
        ("emptied", Incoming("ot=th:9", true)),
    ] {
        drop(tracer.span(name).parent(&incoming).start::<Buf>());
    }
    let state = |name: &'static str| {
        tracer.with_spans(|spans| spans.named(name).unwrap().trace_state().map(String::from))
    };
    assert_eq!(state("root").as_deref(), Some("ot=th:0"));
    assert_eq!(state("child").as_deref(), Some("ot=th:0"));
    assert_eq!(state("kept").as_deref(), Some("rojo=1,ot=th:8"));
    assert_eq!(state("erased").as_deref(), Some("ot=p:8,rojo=1"));
    assert_eq!(state("emptied"), None);

    let tracer: TestTracer<_> = TestTracer::with_sampler(tenth);
    let incoming = Incoming("rojo=1,ot=th:8;rv:ffffffffffffff", false);
    drop(tracer.span("set").parent(&incoming).start::<Buf>());
    let expected = "ot=th:e6666666666668;rv:ffffffffffffff,rojo=1";
    assert_eq!(state_of(&tracer, "set").as_deref(), Some(expected));
}
