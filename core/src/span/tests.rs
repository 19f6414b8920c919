#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]
use super::*;
use crate::attribute::StrArray;
use crate::recorder::SpanLimits;
use crate::sampler::{AlwaysOff, Sampler, SamplingDecision, SamplingParameters, SamplingResult};
use crate::testing::TestTracer;
use std::string::{String, ToString};
use std::vec::Vec;

type Tracer = TestTracer<crate::AlwaysOn, 4096>;
type Wide<'a> = Span<&'a Tracer, InlineBuf<256>>;

fn list(view: &SpanView<'_>) -> Vec<String> {
    view.attributes()
        .map(|kv| std::format!("{}={:?}", kv.key, kv.value))
        .collect()
}

#[test]
fn everything_comes_out_as_it_went_in() {
    let tracer = Tracer::new();
    let root: Wide<'_> = tracer.span("root").start();
    let other = root.context();
    {
        let mut s: Wide<'_> = tracer
            .span("child")
            .parent(&root)
            .kind(SpanKind::Client)
            .links(&[other])
            .start();
        s.set_static("http.request.method", "GET")
            .set_attribute("i", -7)
            .set_attribute("f", 0.5)
            .set_attribute("b", true)
            .set_attribute("s", "grün")
            .set_attribute("bytes", &[1u8, 2, 255][..])
            .set_attribute("bools", &[true, false][..])
            .set_attribute("ints", &[1i64, -1][..])
            .set_attribute("floats", &[1.5f64][..])
            .set_attribute("texts", &["a", "", "bc"][..])
            .set_attribute("any", Value::Any(&[0x0a, 0]))
            .set_attribute_copied("made.up", 9)
            .set_attribute_copied("made.text", "t")
            .set_attribute("none", &[][..] as &[&str]);
        tracer.clock().advance(5);
        s.add_event(
            "retry",
            &[KeyValue::new("attempt", 2), KeyValue::new("why", "slow")],
        );
        s.set_attribute("late", 1u8);
        s.add_event("bare", &[]);
        s.add_link_with_state(&other.remote(), Some("a=b"), &[KeyValue::new("l", 1)]);
        s.set_error("no route");
        s.update_name("child 2");
        tracer.clock().advance(5);
    }
    let root_id = root.context().span_id();
    drop(root);
    tracer.with_spans(|mut spans| {
        assert_eq!(spans.len(), 2);
        let v = spans.next().unwrap();
        assert_eq!(v.name(), "child 2");
        assert_eq!((v.kind(), v.status()), (SpanKind::Client, Status::Error));
        assert_eq!(v.status_description(), Some("no route"));
        assert_eq!(v.parent_id(), Some(root_id));
        assert_eq!((v.start(), v.end()), (Ticks(0), Ticks(10)));
        assert!(v.flags().is_sampled());
        assert_eq!(
            list(&v),
            [
                "http.request.method=Str(\"GET\")",
                "i=I64(-7)",
                "f=F64(0.5)",
                "b=Bool(true)",
                "s=Str(\"grün\")",
                "bytes=Bytes([1, 2, 255])",
                "bools=BoolArray([true, false])",
                "ints=I64Array([1, -1])",
                "floats=F64Array([1.5])",
                "texts=StrArray([\"a\", \"\", \"bc\"])",
                "any=Any([10, 0])",
                "made.up=I64(9)",
                "made.text=Str(\"t\")",
                "none=StrArray([])",
                "late=I64(1)",
            ]
        );
        let events: Vec<_> = v.events().collect();
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].name(), events[0].ticks()), ("retry", Ticks(5)));
        assert!(
            events[0]
                .attributes()
                .map(|kv| kv.key)
                .eq(["attempt", "why"])
        );
        assert_eq!(events[1].attributes().count(), 0);
        let links: Vec<_> = v.links().collect();
        assert_eq!(links.len(), 2);
        assert!(!links[0].context().is_remote() && links[1].context().is_remote());
        assert_eq!(links[1].trace_state(), Some("a=b"));
        assert!(links[1].attributes().map(|kv| kv.value).eq([Value::I64(1)]));
        assert_eq!(
            (
                v.dropped_attributes(),
                v.dropped_events(),
                v.dropped_links()
            ),
            (0, 0, 0)
        );
    });
}

#[test]
fn a_key_set_again_gets_the_new_value() {
    let tracer = Tracer::new();
    {
        let mut s: Wide<'_> = tracer.span("s").start();
        for i in 0..1000 {
            s.set_attribute("n", i).set_attribute("m", "text");
            s.set_attribute_copied("n2", i);
        }
        s.set_attribute("n", "now text");
        s.set_attribute_copied("m", false);
    }
    tracer.with_spans(|mut spans| {
        let v = spans.next().unwrap();
        let mut got = list(&v);
        got.sort();
        assert_eq!(got, ["m=Bool(false)", "n2=I64(999)", "n=Str(\"now text\")"]);
        assert_eq!(v.dropped_attributes(), 0);
    });
}

#[test]
fn what_does_not_fit_is_dropped_whole_and_counted() {
    let tracer = Tracer::new();
    {
        let mut s: Span<_, InlineBuf<16>> = tracer.span("small").start();
        s.set_attribute("a", 1)
            .set_attribute("text", "x".repeat(100).as_str());
        s.set_attribute("b", 2);
        for _ in 0..10 {
            s.add_event("e", &[KeyValue::new("k", 1)]);
        }
        s.add_link(&s.context(), &[]);
        s.set_attribute("", 1);
        s.update_name("a longer name than there is room for in sixteen words of entries");
    }
    tracer.with_spans(|mut spans| {
        let v = spans.next().unwrap();
        assert_eq!(list(&v), ["a=I64(1)", "b=I64(2)"]);
        assert_eq!(v.dropped_attributes(), 2);
        let kept = v.events().count() as u32;
        assert!(kept > 0);
        assert_eq!(v.dropped_events(), 10 - kept);
        assert_eq!(v.dropped_links(), 1);
        assert_eq!(v.name(), "small");
    });
}

#[test]
fn as_many_attributes_as_the_limit_whatever_their_hashes() {
    let keys: Vec<&'static str> = (0..200).map(|n| &*std::format!("key.{n}").leak()).collect();
    for limit in [
        0, 1, 5, 62, 63, 64, 65, 66, 100, 127, 128, 150, 199, 200, 201,
    ] {
        for copied in [false, true] {
            let limits = SpanLimits {
                attribute_count: limit,
                ..SpanLimits::DEFAULT
            };
            let tracer = TestTracer::<crate::AlwaysOn, 16384>::new().with_limits(limits);
            {
                let mut s: Span<_, InlineBuf<1024>> = tracer.span("s").start();
                for (n, key) in keys.iter().enumerate() {
                    if copied && n % 3 == 0 {
                        s.set_attribute_copied(key, 0);
                    } else {
                        s.set_attribute(key, 0);
                    }
                }
                // Keys that are there may be set again; they take nobody's place.
                for (n, key) in keys.iter().enumerate().take(limit as usize) {
                    s.set_attribute(key, n as i64);
                }
            }
            tracer.with_spans(|mut spans| {
                let v = spans.next().unwrap();
                let mut got: Vec<i64> = v
                    .attributes()
                    .map(|kv| match kv.value {
                        Value::I64(n) => n,
                        other => panic!("{other:?}"),
                    })
                    .collect();
                got.sort_unstable();
                let kept = limit.min(200);
                assert_eq!(
                    got,
                    (0..i64::from(kept)).collect::<Vec<_>>(),
                    "limit {limit}"
                );
                assert_eq!(v.dropped_attributes(), 200 - u32::from(kept));
            });
        }
    }
}

#[test]
fn limits_hold_and_cuts_show() {
    let limits = SpanLimits {
        attribute_count: 2,
        event_count: 1,
        link_count: 1,
        event_attribute_count: 1,
        link_attribute_count: 0,
        attribute_value_length: 4,
    };
    let tracer = Tracer::new().with_limits(limits);
    {
        let mut s: Wide<'_> = tracer.span("s").start();
        s.set_attribute("a", "grün!").set_static("b", "constant");
        s.set_attribute("c", 1).set_attribute("a", "12345");
        let two = [KeyValue::new("x", "abcdefg"), KeyValue::new("y", 2)];
        s.add_event("one", &two).add_event("two", &two);
        let own = s.context();
        s.add_link(&own, &two).add_link(&own, &[]);
        s.set_attribute(
            "b",
            Value::StrArray(StrArray::new(&["grün", "abcd", "abcde"])),
        );
    }
    tracer.with_spans(|mut spans| {
        let v = spans.next().unwrap();
        assert_eq!(
            list(&v),
            [
                "a=Str(\"1234\")",
                "b=StrArray([\"grü\", \"abcd\", \"abcd\"])"
            ]
        );
        assert_eq!(
            (
                v.dropped_attributes(),
                v.dropped_events(),
                v.dropped_links()
            ),
            (1, 1, 1)
        );
        assert_eq!(v.truncated_values(), 5);
        let event = v.events().next().unwrap();
        assert!(
            event
                .attributes()
                .map(|kv| kv.value)
                .eq([Value::Str("abcd")])
        );
        assert_eq!(event.dropped_attributes(), 1);
        assert_eq!(v.links().next().unwrap().dropped_attributes(), 2);
    });
}

#[test]
fn an_unsampled_span_propagates_and_records_nothing() {
    let tracer: TestTracer<AlwaysOff> = TestTracer::with_sampler(AlwaysOff);
    {
        let mut s: Span<_, InlineBuf<32>> = tracer.span("s").start();
        s.set_attribute("a", 1).add_event("e", &[]).set_error("x");
        s.record_error(&core::fmt::Error);
        assert!(!s.is_recording() && !s.context().is_sampled());
        let child: Span<_, InlineBuf<32>> = tracer.span("c").parent(&s).start();
        assert_eq!(child.context().trace_id(), s.context().trace_id());
        assert_ne!(child.context().span_id(), s.context().span_id());
    }
    tracer.with_spans(|spans| assert!(spans.is_empty()));
    assert_eq!((tracer.started_count(), tracer.sampled_out_count()), (2, 2));
}

struct RecordOnly;
impl Sampler for RecordOnly {
    fn should_sample(&self, _: &SamplingParameters<'_>) -> SamplingResult {
        SamplingResult::new(SamplingDecision::RecordOnly)
    }
    fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
        to.write_str("RecordOnly")
    }
}

#[test]
fn a_recorded_only_span_is_kept_when_it_fails_or_is_slow() {
    let tracer: TestTracer<RecordOnly> = TestTracer::with_sampler(RecordOnly).with_escalation(100);
    for (took, error) in [(99, false), (100, false), (1, true)] {
        let mut s: Span<_, InlineBuf<32>> = tracer.span("s").start();
        assert!(s.is_recording() && !s.context().is_sampled());
        tracer.clock().advance(took);
        if error {
            s.record_error(&core::fmt::Error);
        }
    }
    assert_eq!(tracer.sampled_out_count(), 1);
    tracer.with_spans(|spans| {
        assert_eq!(spans.len(), 2);
        for v in spans {
            assert!(v.is_escalated() && !v.flags().is_sampled());
            assert_eq!(v.events().count(), (v.status() == Status::Error) as usize);
        }
    });
}

#[test]
fn end_is_final_and_never_before_the_start() {
    let tracer = Tracer::new();
    let mut s: Wide<'_> = tracer.span("s").start_time(Ticks(50)).start();
    s.end_at(Ticks(20));
    s.set_attribute("late", 1).add_event("late", &[]);
    s.end();
    assert!(!s.is_recording());
    drop(s);
    tracer.with_spans(|mut spans| {
        assert_eq!(spans.len(), 1);
        let v = spans.next().unwrap();
        assert_eq!((v.start(), v.end()), (Ticks(50), Ticks(50)));
        assert_eq!(v.attributes().count(), 0);
    });
}

#[test]
fn ok_is_final() {
    let tracer = Tracer::new();
    {
        let mut s: Wide<'_> = tracer.span("s").start();
        s.set_status(Status::Error).set_status(Status::Unset);
        s.set_status(Status::Ok)
            .set_status(Status::Error)
            .set_error("no");
    }
    tracer.with_spans(|mut spans| {
        let v = spans.next().unwrap();
        assert_eq!((v.status(), v.status_description()), (Status::Ok, None));
    });
}

#[test]
fn record_error_keeps_type_message_and_sources() {
    #[derive(Debug)]
    struct Outer(core::num::ParseIntError);
    impl core::fmt::Display for Outer {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.write_str(&"ö".repeat(200))
        }
    }
    impl core::error::Error for Outer {
        fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let tracer = Tracer::new();
    {
        let mut s: Wide<'_> = tracer.span("s").start();
        s.record_error(&"x".parse::<i32>().unwrap_err());
        s.record_error(&Outer("x".parse::<i32>().unwrap_err()));
    }
    tracer.with_spans(|mut spans| {
        let v = spans.next().unwrap();
        let kinds: Vec<_> = v
            .events()
            .map(|e| {
                e.attributes()
                    .map(|kv| std::format!("{:?}", kv.value))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(kinds[0][0].contains("ParseIntError"), "{kinds:?}");
        assert_eq!(kinds[0][1], "Str(\"invalid digit found in string\")");
        assert_eq!(v.status_description().unwrap(), "ö".repeat(128).to_string());
    });
}

#[test]
fn trace_state_and_scope_are_recorded_and_inherited() {
    struct Remote(SpanContext);
    impl ParentContext for Remote {
        fn span_context(&self) -> Option<SpanContext> {
            Some(self.0.remote())
        }
        fn trace_state(&self) -> Option<&str> {
            Some("vendor=1")
        }
    }
    static SCOPE: InstrumentationScope = InstrumentationScope::new("lib").with_version("1");
    let tracer = Tracer::new().with_scope(&SCOPE);
    let first: Wide<'_> = tracer.span("first").start();
    let remote = Remote(first.context());
    let second: Wide<'_> = tracer.span("second").parent(&remote).start();
    let third: Wide<'_> = tracer.span("third").parent(&second).start();
    drop((third, second, first));
    tracer.with_spans(|spans| {
        let (second, third) = (
            spans.named("second").unwrap(),
            spans.named("third").unwrap(),
        );
        assert!(second.parent_is_remote() && !third.parent_is_remote());
        assert_eq!(second.trace_state(), Some("vendor=1"));
        assert_eq!(third.trace_state(), Some("vendor=1"));
        assert_eq!(third.scope().unwrap().name, "lib");
    });
}

/// What a dropped span passes on to its children and to outgoing calls, and nothing of it recorded.
#[test]
fn a_dropped_span_hands_the_trace_state_on() {
    struct Remote(SpanContext, &'static str);
    impl ParentContext for Remote {
        fn span_context(&self) -> Option<SpanContext> {
            Some(self.0.remote())
        }
        fn trace_state(&self) -> Option<&str> {
            Some(self.1)
        }
    }
    let tracer = TestTracer::<_, 64>::with_sampler(crate::AlwaysOff);
    let cx = (&tracer).span("root").start::<InlineBuf<16>>().context();
    let remote = Remote(cx, "vendor=1");
    let mut dropped: Span<_, InlineBuf<16>> = tracer.span("dropped").parent(&remote).start();
    assert!(!dropped.is_recording());
    dropped.set_attribute("k", 1).add_event("e", &[]);
    dropped.update_name("other").set_error("no");
    dropped.end();
    assert_eq!(dropped.trace_state(), Some("vendor=1"));
    let child: Span<_, InlineBuf<16>> = tracer.span("child").parent(&dropped).start();
    assert_eq!(child.trace_state(), Some("vendor=1"));
    drop((child, dropped));
    // Without room, and without one, there is none.
    let long = "vendor=0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
    for state in [long, ""] {
        let remote = Remote(cx, state);
        let span: Span<_, InlineBuf<16>> = tracer.span("s").parent(&remote).start();
        assert_eq!(span.trace_state(), None);
    }
    tracer.with_spans(|spans| assert!(spans.is_empty()));
}

#[test]
fn sizes() {
    assert!(size_of::<Span<&Tracer, InlineBuf<20>>>() <= 128 + 160);
    fn is_send<T: Send>() {}
    is_send::<InlineBuf<32>>();
}
