//! Contexts of requests: what comes in, what a span makes of it, what goes out.

use spanlet::context::{Carrier, CarrierMut, ExtractError};
use spanlet::{ParentContext, SpanContext, SpanId, TraceFlags, TraceId};
use spanlet_std::propagation::{self, Context, HttpFields, HttpFieldsMut, MessageFields};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn fields(pairs: &[(&str, &str)]) -> MessageFields {
    pairs.iter().copied().collect()
}

/// A client's span of the trace of [`PARENT`], with this trace state.
struct Client(Option<&'static str>);

impl ParentContext for Client {
    fn span_context(&self) -> Option<SpanContext> {
        let of_parent = Context::extract(&[("traceparent", PARENT)]).span_context()?;
        let span = SpanId::from_bytes([7; 8])?;
        Some(SpanContext::new(
            of_parent.trace_id(),
            span,
            of_parent.flags(),
        ))
    }
    fn trace_state(&self) -> Option<&str> {
        self.0
    }
}

#[test]
fn a_context_goes_through_unharmed() {
    let incoming = fields(&[
        ("TraceParent", PARENT),
        ("tracestate", "rojo=1"),
        ("tracestate", "congo=2"),
        ("baggage", "tenant.id=Bl%C3%BCte"),
        ("Baggage", "card=4111,channel=web;ttl=1"),
    ]);
    let context = Context::extract(&incoming);
    assert!(context.fault().is_none());
    let parent = context.span_context().unwrap();
    assert!(parent.is_remote() && parent.is_sampled());
    assert_eq!(context.trace_state(), Some("rojo=1,congo=2"));

    let mut out = MessageFields::new();
    let client = Client(Some("rojo=1,congo=2"));
    context
        .inject(&client, &["tenant.id", "channel"], &mut out)
        .unwrap();
    let expected = PARENT.replace("00f067aa0ba902b7", "0707070707070707");
    assert_eq!(out.get("traceparent"), Some(&*expected));
    assert_eq!(out.get("tracestate"), Some("rojo=1,congo=2"));
    // The card is on no list.
    assert_eq!(
        out.get("baggage"),
        Some("tenant.id=Bl%C3%BCte,channel=web;ttl=1")
    );
}

#[test]
fn bad_headers_cost_a_fresh_trace_and_nothing_else() {
    for bad in [
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "",
        "\u{e9}",
    ] {
        let incoming = fields(&[
            ("traceparent", bad),
            ("tracestate", "a=1"),
            ("baggage", "k=v"),
        ]);
        let context = Context::extract(&incoming);
        assert_eq!(context.span_context(), None, "{bad}");
        assert!(
            matches!(context.fault(), Some(ExtractError::Traceparent(_))),
            "{bad}"
        );
        assert_eq!(
            context.trace_state(),
            None,
            "without a trace its state means nothing"
        );
        assert_eq!(context.baggage("k").as_deref(), Some("v"));
    }
    let twice = fields(&[("traceparent", PARENT), ("traceparent", PARENT)]);
    let context = Context::extract(&twice);
    assert_eq!(context.span_context(), None);
    assert!(matches!(
        context.fault(),
        Some(ExtractError::Repeated { .. })
    ));
    // A bad state does not lose the trace.
    let context = Context::extract(&fields(&[("traceparent", PARENT), ("tracestate", "A=1")]));
    assert!(context.span_context().is_some() && context.fault().is_some());
}

#[test]
fn a_span_that_is_not_recorded_passes_the_state_of_its_trace_on() {
    let context = Context::extract(&[("traceparent", PARENT), ("tracestate", "rojo=1")]);
    let mut out = MessageFields::new();
    context.inject(&Client(None), &[], &mut out).unwrap();
    assert_eq!(out.get("tracestate"), Some("rojo=1"));

    // But not with another trace.
    let trace = TraceId::from_bytes([1; 16]).unwrap();
    let other = SpanContext::new(
        trace,
        SpanId::from_bytes([2; 8]).unwrap(),
        TraceFlags::SAMPLED,
    );
    let mut out = MessageFields::new();
    context.inject(&other, &[], &mut out).unwrap();
    assert_eq!(out.get("tracestate"), None);
    assert!(out.get("traceparent").unwrap().contains("01010101"));
}

#[test]
fn a_span_may_change_the_state() {
    let context = Context::extract(&[("traceparent", PARENT), ("tracestate", "rojo=1")]);
    let mut out = MessageFields::new();
    context
        .inject(&Client(Some("ot=th:8,rojo=1")), &[], &mut out)
        .unwrap();
    assert_eq!(out.get("tracestate"), Some("ot=th:8,rojo=1"));
}

#[test]
fn without_telemetry_baggage_still_travels() {
    let mut context = Context::new();
    context.baggage_mut().set("tenant.id", "7").unwrap();
    // No tracer is installed in this process: the span has no context.
    let span: spanlet_std::Span = spanlet_std::span("call").parent(&context).start();
    let mut out = MessageFields::new();
    context.inject(&span, &["tenant.id"], &mut out).unwrap();
    assert_eq!(out.iter().collect::<Vec<_>>(), [("baggage", "tenant.id=7")]);
}

#[test]
fn baggage_over_the_limit_is_cut_by_members() {
    let member = format!("k={}", "x".repeat(5000));
    let context = Context::extract(&fields(&[("baggage", "a=1"), ("baggage", &member)]));
    assert_eq!(context.baggage("k").map(|v| v.len()), Some(5000));
    let too_much = format!("{member},l={}", "y".repeat(5000));
    let context = Context::extract(&fields(&[("baggage", "a=1"), ("baggage", &too_much)]));
    assert_eq!(context.baggage("a").as_deref(), Some("1"));
    assert_eq!(context.baggage("l"), None);
}

#[test]
fn http_fields_refuse_what_http_does() {
    let mut map = http::HeaderMap::new();
    assert!(HttpFieldsMut(&mut map).set("tracestate", "a=\n").is_err());
    assert!(HttpFieldsMut(&mut map).set("not a name", "1").is_err());
    HttpFieldsMut(&mut map).set("tracestate", "a=1").unwrap();
    HttpFieldsMut(&mut map).set("tracestate", "b=2").unwrap();
    assert!(HttpFields(&map).values("tracestate").eq([b"b=2"]));
    assert_eq!(HttpFields(&map).values("no such name\n").count(), 0);
}

/// No telemetry is installed in this process.
#[test]
fn without_telemetry_the_callers_context_passes_through() {
    let incoming = fields(&[
        ("traceparent", PARENT),
        ("tracestate", "rojo=1"),
        ("baggage", "tenant.id=7"),
    ]);
    let context = propagation::extract(&incoming);
    context.run(|| {
        let mut served: spanlet_std::Span = spanlet_std::span("served").start();
        served.run(|_| {
            let call: spanlet_std::Span = spanlet_std::span("call").start();
            let mut out = MessageFields::new();
            propagation::inject(&call, &mut out).unwrap();
            let sent: Vec<_> = out.iter().collect();
            assert_eq!(sent, [("traceparent", PARENT), ("tracestate", "rojo=1")]);
        });
        // The ids are there for log lines.
        let ids = spanlet::LogIds::current(spanlet_std::Local).to_string();
        assert!(ids.contains("trace_id=4bf92f3577b34da6a3ce929d0e0e4736"));
    });
    assert_eq!(Context::current().span_context(), None);
}
