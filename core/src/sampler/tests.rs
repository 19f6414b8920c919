#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::clock::TickRate;
use crate::context::{SpanId, TraceFlags};
use crate::testing::ManualClock;
use core::num::{NonZeroU16, NonZeroU32};
use std::format;
use std::string::String;

fn trace(low: u64) -> TraceId {
    TraceId::from_bytes((1u128 << 127 | u128::from(low)).to_be_bytes()).unwrap()
}
pub(super) fn parent(low: u64, sampled: bool, remote: bool) -> SpanContext {
    let span = SpanId::from_bytes([3; 8]).unwrap();
    let context = SpanContext::new(trace(low), span, TraceFlags::NONE.with_sampled(sampled));
    if remote { context.remote() } else { context }
}
pub(super) fn ask<'a>(
    sampler: &impl Sampler,
    low: u64,
    parent: Option<&'a SpanContext>,
    trace_state: Option<&'a str>,
) -> SamplingResult {
    sampler.should_sample(&SamplingParameters {
        parent,
        trace_id: trace(low),
        is_random: true,
        name: "test",
        kind: SpanKind::Internal,
        attributes: &[],
        trace_state,
    })
}
pub(super) fn name(sampler: &dyn Sampler) -> String {
    let mut text = String::new();
    sampler.describe(&mut text).unwrap();
    text
}
fn th(sampler: ConsistentRatio) -> String {
    String::from(encode_threshold(sampler.threshold()).as_str())
}

#[test]
fn names_are_the_specifications() {
    assert_eq!(name(&AlwaysOn), "AlwaysOnSampler");
    assert_eq!(name(&AlwaysOff), "AlwaysOffSampler");
    let ratio = TraceIdRatio::new(0.1).unwrap();
    assert_eq!(name(&ratio), "TraceIdRatioBased{0.1}");
    assert_eq!(
        name(&AlwaysRecord(ParentBased::new(ratio))),
        "AlwaysRecordSampler{ParentBased{root:TraceIdRatioBased{0.1},\
         remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,\
         localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}}"
    );
    let small = ConsistentRatio::new(0.0001).unwrap();
    assert_eq!(name(&small), "ProbabilitySampler{0.0001}");
    assert_eq!(
        name(&limited(&ManualClock::new(), 5, 60, 2)),
        "RateLimitingSampler{5/60s,burst:2}"
    );
}

#[test]
fn ratios_are_checked() {
    for bad in [
        -0.1,
        1.000_000_1,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ] {
        let error = TraceIdRatio::new(bad).unwrap_err();
        assert_eq!(error.ratio.to_bits(), bad.to_bits());
        assert!(ConsistentRatio::new(bad).is_err());
        assert!(ConsistentRatio::with_precision(bad, 4).is_err());
    }
    let error = TraceIdRatio::new(10.0).unwrap_err();
    assert_eq!(format!("{error}"), "sampling ratio 10 is not within 0 to 1");
}

#[test]
fn the_old_ratio_bounds_the_low_half() {
    let bound = |ratio| TraceIdRatio::new(ratio).unwrap();
    let kept = |ratio, low| {
        ask(&bound(ratio), low, None, None).decision == SamplingDecision::RecordAndSample
    };
    assert!(kept(1.0, u64::MAX) && kept(1.0, 1));
    assert!(!kept(0.0, 1) && !kept(0.0, u64::MAX));
    assert!(kept(0.5, (1 << 63) - 1) && !kept(0.5, 1 << 63));
    // The shift: the last bit is not looked at.
    assert!(kept(0.25, (1 << 62) - 1) && !kept(0.25, 1 << 62) && !kept(0.25, (1 << 62) + 1));
}

#[test]
fn published_thresholds() {
    for (ratio, text) in [(1.0, "0"), (0.5, "8"), (0.25, "c"), (0.1, "e6666666666668")] {
        assert_eq!(th(ConsistentRatio::new(ratio).unwrap()), text);
    }
    // The table of "Converting floating-point probability to threshold value": precision 3, 4, 5.
    for (n, texts) in [
        (1.0, ["0", "0", "0"]),
        (2.0, ["8", "8", "8"]),
        (3.0, ["aab", "aaab", "aaaab"]),
        (4.0, ["c", "c", "c"]),
        (5.0, ["ccd", "cccd", "ccccd"]),
        (8.0, ["e", "e", "e"]),
        (10.0, ["e66", "e666", "e6666"]),
        (16.0, ["f", "f", "f"]),
        (100.0, ["fd71", "fd70a", "fd70a4"]),
        (1e3, ["ffbe7", "ffbe77", "ffbe76d"]),
        (1e4, ["fff972", "fff9724", "fff97247"]),
        (1e5, ["ffff584", "ffff583a", "ffff583a5"]),
        (1e6, ["ffffef4", "ffffef39", "ffffef391"]),
    ] {
        for (digits, text) in (3..).zip(texts) {
            let sampler = ConsistentRatio::with_precision(1.0 / n, digits).unwrap();
            assert_eq!(th(sampler), text, "1 in {n}, {digits} digits");
        }
    }
}

#[test]
fn the_smallest_ratios() {
    let threshold = |ratio| ConsistentRatio::new(ratio).unwrap().threshold();
    let least = 1.0 / MAX_THRESHOLD as f64;
    assert_eq!(threshold(least), MAX_THRESHOLD - 1);
    assert_eq!(threshold(least / 4.0), MAX_THRESHOLD);
    assert_eq!(threshold(0.0), MAX_THRESHOLD);
    for digits in 0..20 {
        let never = ConsistentRatio::with_precision(0.0, digits).unwrap();
        assert_eq!(never.threshold(), MAX_THRESHOLD);
        let dropped = ask(&never, u64::MAX, None, None);
        assert_eq!(dropped.decision, SamplingDecision::Drop);
        assert_eq!(dropped.threshold, ThresholdUpdate::Erase);
    }
}

#[test]
fn consistent_decisions_look_at_randomness() {
    let half = ConsistentRatio::new(0.5).unwrap();
    let kept = SamplingResult {
        decision: SamplingDecision::RecordAndSample,
        threshold: ThresholdUpdate::Set(1 << 55),
    };
    let dropped = SamplingResult {
        decision: SamplingDecision::Drop,
        threshold: ThresholdUpdate::Erase,
    };
    // The top byte of the low half is not part of it.
    assert_eq!(ask(&half, 1 << 55, None, None), kept);
    assert_eq!(
        ask(&half, (0xff << 56) | ((1 << 55) - 1), None, None),
        dropped
    );
    assert_eq!(ask(&half, 0, None, Some("a=1,ot=rv:80000000000000")), kept);
    let high = Some("ot=th:0;rv:7fffffffffffff");
    assert_eq!(ask(&half, u64::MAX, None, high), dropped);
    for malformed in [
        "ot=rv:8",
        "ot=rv:8000000000000g",
        "x=rv:80000000000000",
        "ot",
    ] {
        assert_eq!(ask(&half, 1, None, Some(malformed)), dropped, "{malformed}");
    }
}

#[test]
fn thresholds_that_are_none() {
    assert_eq!(parse_threshold(""), Err(ThresholdError::Empty));
    let long = "012345678901234";
    assert_eq!(
        parse_threshold(long),
        Err(ThresholdError::TooLong { len: 15 })
    );
    for (text, offset) in [("A", 0), ("0x1", 1), ("12 ", 2), ("é", 0)] {
        assert_eq!(
            parse_threshold(text),
            Err(ThresholdError::BadHex { offset })
        );
    }
    assert_eq!(parse_threshold("ffffffffffffff"), Ok(MAX_THRESHOLD - 1));
    for absent in [
        "",
        "a=b",
        "ot=",
        "ot=th",
        "ot=th:",
        "ot=xth:8",
        "ot=p:8;r:62",
        "xot=th:8",
    ] {
        assert_eq!(threshold_of(absent), None, "{absent}");
    }
    assert_eq!(threshold_of("a=th:4 , ot=p:8;th:8;rv:1"), Some(1 << 55));
}

/// Answers with something of its own.
struct Fixed(SamplingResult);
impl Sampler for Fixed {
    fn should_sample(&self, _: &SamplingParameters<'_>) -> SamplingResult {
        self.0
    }
    fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
        to.write_str("Fixed")
    }
}

#[test]
fn each_kind_of_parent_has_its_sampler() {
    let fixed = |n| {
        Fixed(SamplingResult {
            decision: SamplingDecision::RecordOnly,
            threshold: ThresholdUpdate::Set(n),
        })
    };
    let sampler = ParentBased::with_delegates(fixed(0), fixed(1), fixed(2), fixed(3), fixed(4));
    let asked =
        |parent: Option<SpanContext>| match ask(&sampler, 1, parent.as_ref(), Some("ot=th:8"))
            .threshold
        {
            ThresholdUpdate::Set(n) => n,
            other => panic!("a delegate's own threshold was changed to {other:?}"),
        };
    assert_eq!(asked(None), 0);
    assert_eq!(asked(Some(parent(1, true, true))), 1);
    assert_eq!(asked(Some(parent(1, false, true))), 2);
    assert_eq!(asked(Some(parent(1, true, false))), 3);
    assert_eq!(asked(Some(parent(1, false, false))), 4);
}

#[test]
fn a_threshold_that_contradicts_the_flag_is_erased() {
    use SamplingDecision::{Drop, RecordAndSample};
    use ThresholdUpdate::{Erase, Keep};
    let sampler = ParentBased::new(AlwaysOn);
    let (high, low) = (1 << 55, (1 << 55) - 1);
    for (low, sampled, state, decision, threshold) in [
        (high, true, Some("ot=th:8"), RecordAndSample, Keep),
        (low, true, Some("ot=th:8"), RecordAndSample, Erase),
        (
            low,
            true,
            Some("ot=rv:80000000000000;th:8"),
            RecordAndSample,
            Keep,
        ),
        (low, false, Some("ot=th:8"), Drop, Keep),
        (high, false, Some("ot=th:8"), Drop, Erase),
        (high, true, Some("vendor=th:9"), RecordAndSample, Keep),
        (high, true, Some("ot=th:zz"), RecordAndSample, Keep),
        (high, true, None, RecordAndSample, Keep),
    ] {
        let remote = parent(low, sampled, true);
        let result = ask(&sampler, low, Some(&remote), state);
        assert_eq!(
            result,
            SamplingResult {
                decision,
                threshold
            },
            "{low:x} {state:?}"
        );
        // A local parent has been through this.
        let local = parent(low, sampled, false);
        assert_eq!(ask(&sampler, low, Some(&local), state).threshold, Keep);
    }
    let contrary = ParentBased::with_delegates(AlwaysOn, AlwaysOff, AlwaysOn, AlwaysOff, AlwaysOn);
    for remote in [false, true] {
        let sampled = parent(high, true, remote);
        let result = ask(&contrary, high, Some(&sampled), Some("ot=th:8"));
        assert_eq!((result.decision, result.threshold), (Drop, Erase));
        let unsampled = parent(low, false, remote);
        let result = ask(&contrary, low, Some(&unsampled), Some("ot=th:8"));
        assert_eq!(
            (result.decision, result.threshold),
            (RecordAndSample, Erase)
        );
    }
}

#[test]
fn always_record_changes_nothing_but_drops() {
    let recorded = ask(&AlwaysRecord(AlwaysOff), 1, None, None);
    assert_eq!(recorded.decision, SamplingDecision::RecordOnly);
    assert_eq!(recorded.threshold, ThresholdUpdate::Erase);
    let half = ConsistentRatio::new(0.5).unwrap();
    let kept = ask(&half, 1 << 55, None, None);
    assert_eq!(ask(&AlwaysRecord(half), 1 << 55, None, None), kept);
}

fn limited(clock: &ManualClock, spans: u32, seconds: u32, burst: u16) -> RateLimited<&ManualClock> {
    RateLimited::per_period(
        clock,
        TickRate::MICROSECONDS,
        NonZeroU32::new(spans).unwrap(),
        NonZeroU32::new(seconds).unwrap(),
        NonZeroU16::new(burst).unwrap(),
    )
}
fn kept(sampler: &impl Sampler, tries: u32) -> u32 {
    let is_kept =
        |_: &u32| ask(sampler, 1, None, None).decision == SamplingDecision::RecordAndSample;
    u32::try_from((0..tries).filter(is_kept).count()).unwrap()
}

#[test]
fn a_burst_then_the_rate() {
    let clock = ManualClock::new();
    let sampler = limited(&clock, 10, 1, 20);
    assert_eq!(kept(&sampler, 100), 20);
    clock.advance(99_000);
    assert_eq!(kept(&sampler, 100), 0);
    clock.advance(2_000);
    assert_eq!(kept(&sampler, 100), 1);
    clock.advance(1_000_000);
    assert_eq!(kept(&sampler, 100), 10);
    clock.advance(3_600_000_000);
    assert_eq!(
        kept(&sampler, 100),
        20,
        "no more than a burst, however long the pause"
    );
}

#[test]
fn rates_at_the_ends() {
    let clock = ManualClock::new();
    let slow = limited(&clock, 1, 86_400, 1);
    assert_eq!(kept(&slow, 5), 1);
    clock.advance(86_399_999_000);
    assert_eq!(kept(&slow, 5), 0);
    clock.advance(1_001);
    assert_eq!(kept(&slow, 5), 1);
    let fast = limited(&clock, u32::MAX, 1, u16::MAX);
    assert_eq!(kept(&fast, 70_000), 65_535);
    clock.advance(1);
    assert_eq!(kept(&fast, 70_000), 4_294, "a tick's worth");
}

#[test]
fn threads_share_a_limit() {
    static CLOCK: ManualClock = ManualClock::new();
    let sampler = RateLimited::new(
        &CLOCK,
        TickRate::MICROSECONDS,
        NonZeroU32::MIN,
        NonZeroU16::new(1000).unwrap(),
    );
    let total: u32 = std::thread::scope(|scope| {
        let threads: std::vec::Vec<_> = (0..4)
            .map(|_| scope.spawn(|| kept(&sampler, 500)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(total, 1000);
}
