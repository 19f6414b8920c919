//! What is current on a thread and across `await`: span, trace state, baggage.

mod memory;

use memory::installed;
use spanlet::{
    Instrument, ParentContext, Recorder, SpanContext, SpanId, TraceFlags, TraceId, within,
};
use spanlet_std::propagation::{self, Context, MessageFields, WithContext};
use spanlet_std::{Local, Span, span};
use std::pin::pin;
use std::task::{Poll, Waker};

/// A request of a trace of its own.
fn request(trace: u8, fields: &[(&str, &str)]) -> Context {
    installed();
    let trace_id = trace_of(trace);
    let traceparent = format!("00-{trace_id}-00f067aa0ba902b7-01");
    let mut all = vec![("traceparent", traceparent.as_str())];
    all.extend(fields);
    propagation::extract(all.as_slice())
}

fn trace_of(n: u8) -> TraceId {
    TraceId::from_bytes([n; 16]).unwrap()
}

fn sent(span: &Span) -> MessageFields {
    let mut fields = MessageFields::new();
    propagation::inject(span, &mut fields).unwrap();
    fields
}

/// Polls two futures in turns on one thread, until both are done.
fn in_turns(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let mut cx = std::task::Context::from_waker(Waker::noop());
    let (mut a_done, mut b_done) = (false, false);
    for _ in 0..100 {
        a_done = a_done || a.as_mut().poll(&mut cx).is_ready();
        b_done = b_done || b.as_mut().poll(&mut cx).is_ready();
        if a_done && b_done {
            return;
        }
    }
    panic!("they never end");
}

/// Lets the other future go on.
async fn turn() {
    let mut asked = false;
    core::future::poll_fn(|_| {
        if core::mem::replace(&mut asked, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[test]
fn children_of_what_is_current_have_the_state_of_their_trace() {
    let context = request(0x11, &[("tracestate", "rojo=1,congo=2")]);
    let mut server: Span = span("server").parent(&context).start();
    context.with_span(&server).run(|| {
        let mut child: Span = span("child").start();
        // One in between that has no parent named, and one of a library.
        child.run(|_| {
            let grandchild: Span = span("grandchild").start();
            assert_eq!(grandchild.trace_state(), Some("rojo=1,congo=2"));
            let library = spanlet::span!("library");
            assert_eq!(library.trace_state(), Some("rojo=1,congo=2"));
        });
    });
    assert!(Context::current().span_context().is_none());
    // A span alone hands its state on too.
    server.run(|_| drop::<Span>(span("of the span").start()));
    server.end();
    let outside: Span = span("outside").root().start();
    assert_eq!(outside.trace_state(), None);

    for span in installed().spans_of(trace_of(0x11), 5) {
        assert_eq!(span.trace_state, "rojo=1,congo=2", "{}", span.name);
    }
}

#[test]
fn a_trace_has_its_own_state_only() {
    let context = request(
        0x12,
        &[("tracestate", "rojo=1"), ("baggage", "tenant.id=7,card=4")],
    );
    context.run(|| {
        let mut root: Span = span("root").root().start();
        root.run(|root| {
            let child: Span = span("child").start();
            assert_eq!(child.trace_state(), None, "another trace");
            let fields = sent(&child);
            assert_eq!(fields.get("tracestate"), None);
            assert_eq!(
                fields.get("baggage"),
                Some("tenant.id=7"),
                "the same request"
            );
            assert_eq!(child.context().trace_id(), root.context().trace_id());
            // Back into the first.
            let first = context.span_context().unwrap();
            Local.with_current(&first, || {
                let child: Span = span("child").start();
                assert_eq!(
                    child.trace_state(),
                    None,
                    "ids alone cannot bring a state back"
                );
            });
        });
        // As it was.
        let child: Span = span("child").start();
        assert_eq!(child.trace_state(), Some("rojo=1"));
        Local.detached(|| {
            let alone: Span = span("alone").start();
            assert_eq!(alone.trace_state(), None);
            assert_ne!(alone.context().trace_id(), child.context().trace_id());
            assert_eq!(sent(&alone).get("baggage"), None);
        });
    });
}

#[test]
fn a_sampler_writes_a_state_that_children_have() {
    installed();
    // Two roots in turns, each with a state of its own.
    let root = |n: u8, state: &'static str| {
        let parent = Of(n, state);
        let span: Span = span("root").parent(&parent).start();
        assert_eq!(span.trace_state(), Some(state));
        async move {
            for _ in 0..3 {
                let child: Span = spanlet_std::span("child").start();
                assert_eq!(child.context().trace_id(), trace_of(n));
                assert_eq!(child.trace_state(), Some(state));
                turn().await;
            }
        }
        .in_span(span)
    };
    in_turns(root(0x13, "ot=th:8"), root(0x14, "ot=th:c"));
    in_turns(root(0x15, "ot=th:8"), root(0x16, "ot=th:8"));
    for (n, state) in [(0x13, "ot=th:8"), (0x14, "ot=th:c"), (0x15, "ot=th:8")] {
        for span in installed().spans_of(trace_of(n), 4) {
            assert_eq!(span.trace_state, state);
        }
    }
    // `within` too, and `run` while the work changes the span.
    let mut kept: Span = span("kept").parent(&Of(0x17, "a=1")).start();
    let child = within(&mut kept, async { span("child").start() });
    let mut cx = std::task::Context::from_waker(Waker::noop());
    let Poll::Ready(child) = pin!(child).poll(&mut cx) else {
        panic!("nothing to wait for")
    };
    let child: Span = child;
    assert_eq!(child.trace_state(), Some("a=1"));
    kept.run(|kept| {
        for _ in 0..100 {
            kept.add_event("an event that makes the span grow", &[]);
        }
        let child: Span = span("child").start();
        assert_eq!(child.trace_state(), Some("a=1"));
    });
}

/// A parent with a state.
struct Of(u8, &'static str);
impl ParentContext for Of {
    fn span_context(&self) -> Option<SpanContext> {
        let span = SpanId::from_bytes([self.0; 8]).unwrap();
        Some(SpanContext::new(
            trace_of(self.0),
            span,
            TraceFlags::SAMPLED,
        ))
    }
    fn trace_state(&self) -> Option<&str> {
        Some(self.1)
    }
}

#[test]
fn a_context_follows_its_future_and_no_other() {
    let serve = |n: u8, tenant: &'static str| {
        let baggage = format!("tenant.id={tenant},card=4111");
        let state = format!("t{tenant}=1");
        let context = request(n, &[("baggage", &baggage), ("tracestate", &state)]);
        let server: Span = span("server").parent(&context).start();
        let ours = context.with_span(&server);
        async move {
            for _ in 0..3 {
                let call: Span = span("call").start();
                assert_eq!(call.context().trace_id(), trace_of(n));
                let fields = sent(&call);
                assert_eq!(fields.get("tracestate"), Some(&*state));
                let allowed = format!("tenant.id={tenant}");
                assert_eq!(fields.get("baggage"), Some(&*allowed), "no card");
                assert_eq!(
                    fields.get("traceparent"),
                    Some(&*format!(
                        "00-{}-{}-01",
                        trace_of(n),
                        call.context().span_id()
                    ))
                );
                turn().await;
            }
            drop(server);
        }
        .with_context(ours)
    };
    in_turns(serve(0x21, "7"), serve(0x22, "8"));
    assert_eq!(Context::current().baggage("tenant.id"), None);
    assert_eq!(installed().spans_of(trace_of(0x21), 4).len(), 4);
}

#[test]
fn a_future_that_is_dropped_is_dropped_in_its_context() {
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            drop::<Span>(span("last").start());
        }
    }
    let context = request(0x23, &[("tracestate", "a=1")]);
    let last = Last;
    let work = async move {
        let _last = last;
        turn().await;
    };
    let mut work = Box::pin(work.with_context(context));
    let mut cx = std::task::Context::from_waker(Waker::noop());
    assert!(work.as_mut().poll(&mut cx).is_pending());
    drop(work);
    let spans = installed().spans_of(trace_of(0x23), 1);
    assert_eq!(
        (spans[0].name.as_str(), spans[0].trace_state.as_str()),
        ("last", "a=1")
    );
}

#[test]
fn a_panic_puts_back_what_was_current() {
    let context = request(0x24, &[("tracestate", "a=1"), ("baggage", "tenant.id=7")]);
    let unwound = std::panic::catch_unwind(|| {
        context.run(|| std::panic::resume_unwind(Box::new(())));
    });
    assert!(unwound.is_err());
    assert!(Context::current().span_context().is_none());
    assert_eq!(Context::current().baggage("tenant.id"), None);
    let after: Span = span("after").start();
    assert_eq!(after.trace_state(), None);
}

#[test]
fn unsampled_traces_keep_their_state_as_well() {
    installed();
    let parent = format!("00-{}-00f067aa0ba902b7-00", trace_of(0x25));
    let fields = [("traceparent", parent.as_str()), ("tracestate", "a=1,b=2")];
    let context = propagation::extract(&fields);
    let mut server: Span = span("server").parent(&context).start();
    assert!(!server.is_recording());
    server.run(|_| {
        let call: Span = span("call").start();
        assert!(!call.is_recording());
        let fields = sent(&call);
        assert_eq!(fields.get("tracestate"), Some("a=1,b=2"));
        assert!(fields.get("traceparent").unwrap().ends_with("-00"));
    });
}

#[test]
fn baggage_alone_travels_too() {
    installed();
    let mut context = Context::new();
    context.baggage_mut().set("channel", "web").unwrap();
    let (shared, mut changed) = (context.clone(), context.clone());
    changed.baggage_mut().set("channel", "app").unwrap();
    assert_eq!(shared.baggage("channel").as_deref(), Some("web"));
    context.run(|| {
        let root: Span = span("root").start();
        assert_eq!(sent(&root).get("baggage"), Some("channel=web"));
        let inner = Context::current().with_span(&root);
        inner.run(|| {
            let call: Span = span("call").start();
            assert_eq!(call.context().trace_id(), root.context().trace_id());
            assert_eq!(sent(&call).get("baggage"), Some("channel=web"));
        });
    });
}
