//! The OTLP encoder against `prost` and against a naive model of what was set on the spans.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod otlp_model;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use otlp_model::expected::*;
use otlp_model::*;
use proptest::prelude::*;
use prost::Message;
use spanlet::otlp::{OtlpEncoder, OtlpFull, Resource};
use spanlet::testing::TestTracer;
use spanlet::{
    InlineBuf, InstrumentationScope, Span, SpanKind, SpanLimits, Status, TickRate, Ticks,
    UnixAnchor,
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn comes_out_as_it_was_set(inputs in proptest::collection::vec(input(), 1..6)) {
        let limits = SpanLimits::DEFAULT;
        let scopes: Vec<_> = inputs.iter().map(|i| (i.scope < SCOPES.len()).then_some(i.scope)).collect();
        record(&inputs, limits, |views| {
            assert_eq!(views.len(), inputs.len());
            let bytes = encode(views);
            let from_views = views.iter().map(from_view).collect();
            assert_same(&bytes, &request(from_views, &scopes));
            let modelled = inputs.iter().map(|i| model(i, limits)).collect();
            assert_same(&bytes, &request(modelled, &scopes));
        });
    }

    #[test]
    fn limits_show(
        input in input(),
        attribute_count in 0u16..4,
        item_count in 0u16..3,
        attribute_value_length in 0u32..20,
    ) {
        let limits = SpanLimits {
            attribute_count,
            event_attribute_count: item_count,
            link_attribute_count: item_count,
            attribute_value_length,
            ..SpanLimits::DEFAULT
        };
        let scopes = [(input.scope < SCOPES.len()).then_some(input.scope)];
        record(core::slice::from_ref(&input), limits, |views| {
            let bytes = encode(views);
            assert_same(&bytes, &request(vec![from_view(&views[0])], &scopes));
            assert_same(&bytes, &request(vec![model(&input, limits)], &scopes));
        });
    }
}

// ---- buffers of every size ----

fn small_input(scope: usize, ops: Vec<Op>) -> Input {
    Input {
        name: 1,
        kind: SpanKind::Client,
        parent: Some((7, 8, true)),
        trace_state: "a=b".into(),
        start: 5,
        scope,
        ops,
    }
}

/// Spans of three scopes with every kind of field.
fn mixed_inputs() -> Vec<Input> {
    let short = vec![(0, Val::Str("v".into())), (2, Val::I64s(vec![1, -1]))];
    vec![
        small_input(9, vec![Op::Attribute(0, Val::I64(300))]),
        small_input(0, vec![]),
        small_input(
            0,
            vec![
                Op::Event(2, short.clone()),
                Op::Link(1, 2, 3, true, "s=t".into(), short.clone()),
                Op::Error("no".into()),
            ],
        ),
        small_input(
            1,
            vec![
                // Over what the event's one length byte and the span's two can say.
                Op::Event(0, vec![(0, Val::Str("x".repeat(130)))]),
                Op::Attribute(5, Val::Bytes(vec![7; 16_400])),
            ],
        ),
        small_input(
            9,
            vec![Op::Attribute(1, Val::Strs(vec![String::new(), "b".into()]))],
        ),
    ]
}

#[test]
fn a_push_is_whole_or_nothing_in_every_buffer() {
    let inputs = mixed_inputs();
    record(&inputs, SpanLimits::DEFAULT, |views| {
        let lens: Vec<usize> = (1..=views.len())
            .map(|n| encode(&views[..n]).len())
            .collect();
        let needed = *lens.last().unwrap();
        // What the reserved bytes may cost: the heads of the request and of each open group, a span's.
        let slack = 16;
        let mut fitted_all = false;
        with_resource(|resource| {
            for size in 0..needed + slack + 1 {
                let mut buf = vec![0xaa; size];
                let encoder = OtlpEncoder::new(&mut buf, &resource, &default_scope(), anchor());
                let Ok(mut encoder) = encoder else {
                    assert!(size < 200, "the resource takes less than {size}");
                    continue;
                };
                let mut kept = Vec::new();
                for view in views {
                    let before = (encoder.len(), encoder.spans());
                    match encoder.push(view) {
                        Ok(()) => kept.push(*view),
                        Err(full) => {
                            assert_eq!((encoder.len(), encoder.spans()), before);
                            let alone = if kept.is_empty() {
                                OtlpFull::Span
                            } else {
                                OtlpFull::Batch
                            };
                            assert_eq!(full, alone);
                        }
                    }
                    assert!(encoder.len() <= size);
                }
                let bytes = encoder.finish();
                if kept.is_empty() {
                    assert!(bytes.is_empty(), "no envelope without spans");
                } else {
                    // Whatever was refused in between left no trace.
                    assert!(bytes == encode(&kept), "size {size}, {} spans", kept.len());
                }
                assert!(size < needed + slack || kept.len() == views.len());
                fitted_all |= kept.len() == views.len();
            }
        });
        assert!(fitted_all);
    });
}

#[test]
fn batches_lose_nothing() {
    let inputs: Vec<Input> = (0..40)
        .map(|i| {
            small_input(
                i % 3 * 4,
                vec![Op::Attribute(0, Val::Str("x".repeat(i * 7)))],
            )
        })
        .collect();
    record(&inputs, SpanLimits::DEFAULT, |views| {
        let mut got = Vec::new();
        let mut buf = [0; 700];
        let (mut next, mut too_large, mut requests) = (0, 0, 0);
        while next < views.len() {
            let empty = Resource::default();
            let mut encoder =
                OtlpEncoder::new(&mut buf, &empty, &InstrumentationScope::new(""), anchor())
                    .unwrap();
            while let Some(view) = views.get(next) {
                match encoder.push(view) {
                    Ok(()) => {}
                    Err(OtlpFull::Batch) => break,
                    Err(_) => too_large += 1,
                }
                next += 1;
            }
            requests += 1;
            let request = ExportTraceServiceRequest::decode(encoder.finish()).unwrap();
            for group in request.resource_spans.into_iter().flat_map(|r| {
                assert_eq!(r.resource, None);
                r.scope_spans
            }) {
                got.extend(group.spans);
            }
        }
        assert!(requests > 5);
        assert_eq!(too_large, 0);
        let expected: Vec<_> = views.iter().map(from_view).collect();
        assert_eq!(got, expected);
    });
}

#[test]
fn a_span_too_large_is_told_from_a_full_batch() {
    let big = small_input(9, vec![Op::Attribute(0, Val::Str("x".repeat(1000)))]);
    let inputs = [small_input(9, vec![]), big];
    record(&inputs, SpanLimits::DEFAULT, |views| {
        let mut buf = [0; 600];
        let (empty, scope) = (Resource::default(), default_scope());
        let mut encoder = OtlpEncoder::new(&mut buf, &empty, &scope, anchor()).unwrap();
        assert_eq!(encoder.push(&views[1]), Err(OtlpFull::Span));
        assert!(encoder.is_empty());
        assert_eq!(encoder.len(), 0);
        encoder.push(&views[0]).unwrap();
        assert_eq!(encoder.push(&views[1]), Err(OtlpFull::Batch));
        assert_eq!(encoder.spans(), 1);
        assert!(OtlpEncoder::new(&mut [0; 0], &empty, &scope, anchor()).is_err());
    });
}

// ---- edges ----

#[test]
fn every_length_around_the_steps_of_a_varint() {
    for edge in [127usize, 16_383] {
        for n in edge.saturating_sub(110)..edge + 20 {
            let ops = vec![
                Op::Attribute(0, Val::Str("x".repeat(n))),
                Op::Event(0, vec![(0, Val::Bytes(vec![1; n]))]),
                Op::Link(1, 2, 3, false, "s".repeat(n), vec![]),
                Op::Error("e".repeat(n)),
                Op::Name("n".repeat(n)),
            ];
            for op in ops {
                let input = small_input(9, vec![op]);
                record(
                    core::slice::from_ref(&input),
                    SpanLimits::DEFAULT,
                    |views| {
                        let expected = vec![model(&input, SpanLimits::DEFAULT)];
                        assert_same(&encode(views), &request(expected, &[None]));
                    },
                );
            }
        }
    }
}

#[test]
fn as_many_as_the_limits_allow() {
    let mut ops: Vec<Op> = (0..150)
        .map(|i| Op::Copied(format!("key.{i}"), Val::I64(i)))
        .collect();
    ops.extend((0..140).map(|_| Op::EventAt(0, 7)));
    ops.extend((1..135).map(|i| Op::Link(i, 1, 1, false, String::new(), vec![])));
    ops.push(Op::Copied("key.5".into(), Val::Str("ß".repeat(8 << 10))));
    let input = small_input(9, ops);
    record(
        core::slice::from_ref(&input),
        SpanLimits::DEFAULT,
        |views| {
            let bytes = encode(views);
            assert_same(&bytes, &request(vec![from_view(&views[0])], &[None]));
            let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
            let span = &request.resource_spans[0].scope_spans[0].spans[0];
            assert_eq!(
                (span.attributes.len(), span.dropped_attributes_count),
                (128, 22)
            );
            assert_eq!((span.events.len(), span.dropped_events_count), (128, 12));
            assert_eq!((span.links.len(), span.dropped_links_count), (128, 6));
            let long = span.attributes.iter().find(|kv| kv.key == "key.5").unwrap();
            let Some(Any::StringValue(text)) = &long.value.as_ref().unwrap().value else {
                panic!()
            };
            assert_eq!(text.len(), 16 << 10);
        },
    );
}

#[test]
fn escalated_spans_say_so() {
    struct RecordOnly;
    impl spanlet::Sampler for RecordOnly {
        fn should_sample(&self, _: &spanlet::SamplingParameters<'_>) -> spanlet::SamplingResult {
            spanlet::SamplingResult::new(spanlet::SamplingDecision::RecordOnly)
        }
        fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
            to.write_str("RecordOnly")
        }
    }
    let tracer = TestTracer::<_, 256>::with_sampler(RecordOnly).with_escalation(u64::MAX - 1);
    {
        let mut s: Span<_, InlineBuf<32>> = tracer.span("failed").start();
        s.set_attribute("n", 1).set_status(Status::Error);
    }
    tracer.with_spans(|mut spans| {
        let view = spans.next().unwrap().view();
        let expected = from_view(&view);
        assert_eq!(expected.flags, 0x100, "still unsampled");
        assert_eq!(
            expected.attributes[1],
            pair("spanlet.escalated", &Val::Bool(true))
        );
        assert_same(&encode(&[view]), &request(vec![expected], &[None]));
    });
}

#[test]
fn each_span_may_have_its_own_clock() {
    let inputs = [
        small_input(9, vec![Op::EventAt(0, 9)]),
        small_input(9, vec![]),
    ];
    record(&inputs, SpanLimits::DEFAULT, |views| {
        let mut buf = [0; 1000];
        let (empty, scope) = (Resource::default(), default_scope());
        let mut encoder = OtlpEncoder::new(&mut buf, &empty, &scope, anchor()).unwrap();
        let device = UnixAnchor::new(Ticks(0), 1_000_000, TickRate::MILLISECONDS);
        encoder.push_with(&views[0], &device).unwrap();
        encoder.push(&views[1]).unwrap();
        let mut sent = Vec::new();
        let len = encoder.write_to(&mut sent).unwrap();
        assert_eq!(len, sent.len());
        let request = ExportTraceServiceRequest::decode(&sent[..]).unwrap();
        let spans = &request.resource_spans[0].scope_spans[0].spans;
        assert_eq!(spans[0].start_time_unix_nano, 6_000_000);
        assert_eq!(spans[0].events[0].time_unix_nano, 10_000_000);
        assert_eq!(spans[1].start_time_unix_nano, unix(5));
    });
}
