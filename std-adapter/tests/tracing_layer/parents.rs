//! Parents, sampling, remote contexts, links, and the current context.

use crate::fixture::*;
use spanlet::{ParentContext, Recorder, SpanKind};
use spanlet_std::layer::{SetParentError, SpanExt, TracingLayer};
use spanlet_std::propagation::{Context, MessageFields, inject};
use spanlet_std::{Local, PooledBuf, Span, span};
use tracing::{Instrument, error, info, info_span};

const REMOTE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const REMOTE_UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

#[test]
fn parents_are_contextual_explicit_or_none() {
    const T: &str = "parents_are_contextual_explicit_or_none";
    let spans = record(T, || {
        let a = info_span!(target: T, "a");
        let a_in = a.enter();
        let b = info_span!(target: T, "b");
        let b_in = b.enter();
        info_span!(target: T, "contextual");
        info_span!(target: T, parent: &a, "explicit");
        info_span!(target: T, parent: None, "root");
        // Not nested.
        drop(a_in);
        info_span!(target: T, "still in b");
        let b_again = b.enter();
        drop(b_in);
        info_span!(target: T, "entered twice");
        drop(b_again);
        info_span!(target: T, "in none");
        assert_eq!(Local.current(), None);
    });
    let id = |name| named(&spans, name).span_id.clone();
    for (child, parent) in [
        ("a", Vec::new()),
        ("b", id("a")),
        ("contextual", id("b")),
        ("explicit", id("a")),
        ("root", Vec::new()),
        ("still in b", id("b")),
        ("entered twice", id("b")),
        ("in none", Vec::new()),
    ] {
        assert_eq!(named(&spans, child).parent_span_id, parent, "{child}");
    }
    let trace = |name| named(&spans, name).trace_id.clone();
    assert_eq!(trace("explicit"), trace("a"));
    assert_ne!(trace("root"), trace("a"));
    // A parent closes with its last child, and still ended when it was left.
    let (a, b) = (named(&spans, "a"), named(&spans, "b"));
    assert!(a.end_time_unix_nano < b.end_time_unix_nano);
}

#[test]
fn spans_of_both_kinds_nest_in_each_other() {
    const T: &str = "spans_of_both_kinds_nest_in_each_other";
    let mut ids = Vec::new();
    let spans = record(T, || {
        let mut outer: Span = span("outer").kind(SpanKind::Server).start();
        ids.push(outer.context().span_id());
        outer.run(|_| {
            let _tracing = info_span!(target: T, "tracing").entered();
            let mut inner: Span = span("inner").start();
            ids.push(inner.context().span_id());
            inner.run(|_| {
                info_span!(target: T, "leaf");
            });
        });
        assert_eq!(Local.current(), None);
    });
    let tracing = named(&spans, "tracing");
    assert_eq!(tracing.parent_span_id, ids[0].to_bytes());
    assert_eq!(named(&spans, "leaf").parent_span_id, ids[1].to_bytes());
    let own = recorded("");
    let inner = own.iter().find(|s| s.span_id == ids[1].to_bytes()).unwrap();
    assert_eq!(inner.parent_span_id, tracing.span_id);
}

#[test]
fn a_span_takes_a_remote_parent_until_it_is_used() {
    const T: &str = "a_span_takes_a_remote_parent_until_it_is_used";
    let remote = Context::extract(&[("traceparent", REMOTE), ("tracestate", "rojo=1")]);
    let unsampled = Context::extract(&[("traceparent", REMOTE_UNSAMPLED)]);
    let spans = record(T, || {
        let request = info_span!(target: T, "request", route = "/orders", n = ?1);
        request.record("n", 2);
        assert_eq!(request.set_parent(&remote), Ok(()));
        assert_eq!(
            request.set_parent(&remote),
            Err(SetParentError::AlreadyStarted)
        );
        let context = request.context().unwrap();
        assert_eq!(context.trace_state(), Some("rojo=1"));
        // Would have been dropped as a root, fields and all.
        let kept = info_span!(target: T, parent: None, "dropped", kept = "from the start");
        kept.set_parent(&remote).unwrap();
        info_span!(target: T, parent: &request, "child");
        request.in_scope(|| {
            info_span!(target: T, "contextual");
            let mut sent = MessageFields::new();
            inject(&span("client").start::<PooledBuf>(), &mut sent).unwrap();
            assert_eq!(sent.get("tracestate"), Some("rojo=1"));
        });
        let off = info_span!(target: T, "off", n = 1);
        off.set_parent(&unsampled).unwrap();
        off.in_scope(|| info_span!(target: T, "off too").in_scope(|| info!("nothing")));
        assert_eq!(
            off.context().unwrap().ids().trace_id(),
            remote.span_context().unwrap().trace_id()
        );
        // A root after all.
        let root = info_span!(target: T, "root");
        root.set_parent(&Context::new()).unwrap();
        for used in [0, 1, 2, 3] {
            let late = info_span!(target: T, "late", used);
            let child = match used {
                0 => late.in_scope(tracing::Span::none),
                1 => info_span!(target: T, parent: &late, "its child"),
                2 => late.context().map(|_| tracing::Span::none()).unwrap(),
                _ => {
                    info!(target: T, parent: &late, "event");
                    tracing::Span::none()
                }
            };
            assert_eq!(
                late.set_parent(&remote),
                Err(SetParentError::AlreadyStarted)
            );
            drop(child);
        }
    });
    let request = named(&spans, "request");
    assert_eq!(hex::encode(&request.trace_id), REMOTE[3..35]);
    assert_eq!(hex::encode(&request.parent_span_id), REMOTE[36..52]);
    assert_eq!(
        (request.trace_state.as_str(), request.flags),
        ("rojo=1", 0x301)
    );
    assert_eq!(texts(&request.attributes), ["route=\"/orders\"", "n=2"]);
    assert_eq!(
        texts(&named(&spans, "dropped").attributes),
        ["kept=\"from the start\""]
    );
    let child = named(&spans, "child");
    assert_eq!(child.parent_span_id, request.span_id);
    assert_eq!(child.trace_state, "rojo=1");
    assert_eq!(named(&spans, "contextual").trace_state, "rojo=1");
    assert_eq!(named(&spans, "root").parent_span_id, b"");
    assert!(!names(&spans).iter().any(|name| name.starts_with("off")));
    assert_eq!(spans.iter().filter(|s| s.name == "late").count(), 4);
}

#[test]
fn without_a_layer_there_is_no_parent_to_set() {
    install();
    let span = info_span!("span");
    assert_eq!(
        span.set_parent(&Context::new()),
        Err(SetParentError::NotRecorded)
    );
    assert!(span.context().is_none());
    let text = SetParentError::NotRecorded.to_string();
    assert!(text.contains("TracingLayer"), "{text}");
}

#[test]
fn without_late_parents_a_root_starts_at_once() {
    const T: &str = "without_late_parents_a_root_starts_at_once";
    let spans = recorded_by(TracingLayer::new().with_late_parents(false), T, || {
        let span = info_span!(target: T, "root", a = 1);
        let remote = Context::extract(&[("traceparent", REMOTE)]);
        assert_eq!(
            span.set_parent(&remote),
            Err(SetParentError::AlreadyStarted)
        );
        info_span!(target: T, "dropped", a = ?Never);
    });
    assert_eq!(texts(&named(&spans, "root").attributes), ["a=1"]);
    assert_eq!(spans.len(), 1);
}

/// Must not be formatted.
struct Never;
impl std::fmt::Debug for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("the field of a span that is dropped was looked at")
    }
}

#[test]
fn what_the_sampler_drops_costs_no_visit_and_still_propagates() {
    const T: &str = "what_the_sampler_drops_costs_no_visit_and_still_propagates";
    let spans = record(T, || {
        let dropped = info_span!(target: T, "dropped");
        let _in = dropped.enter();
        let current = Local.current().unwrap();
        assert!(!current.is_sampled());
        let child = info_span!(target: T, "child", a = ?Never, later = tracing::field::Empty);
        child.in_scope(|| {
            let inside = Local.current().unwrap();
            assert_eq!(inside.trace_id(), current.trace_id());
            assert_ne!(inside.span_id(), current.span_id());
            error!(target: T, a = ?Never, "event");
            child.record("later", tracing::field::debug(Never));
            child.follows_from(&dropped);
            assert!(!span("own").start::<spanlet_std::PooledBuf>().is_recording());
        });
    });
    assert_eq!(names(&spans), [""; 0]);
}

#[test]
fn follows_from_becomes_a_link() {
    const T: &str = "follows_from_becomes_a_link";
    let spans = record(T, || {
        let batch = info_span!(target: T, "batch");
        // Neither has started.
        let message = info_span!(target: T, "message");
        batch.follows_from(&message);
        batch.follows_from(tracing::Span::none());
        batch.in_scope(|| {
            info_span!(target: T, "child").follows_from(&batch);
        });
    });
    let (batch, message) = (named(&spans, "batch"), named(&spans, "message"));
    assert_eq!(batch.links.len(), 1);
    assert_eq!(batch.links[0].span_id, message.span_id);
    assert_eq!(batch.links[0].trace_id, message.trace_id);
    assert_eq!(named(&spans, "child").links[0].span_id, batch.span_id);
}

#[tokio::test]
async fn the_current_context_follows_futures() {
    const T: &str = "the_current_context_follows_futures";
    install();
    let dispatch: tracing::Dispatch = {
        use tracing_subscriber::layer::SubscriberExt;
        tracing_subscriber::registry()
            .with(TracingLayer::new())
            .into()
    };
    let _guard = tracing::dispatcher::set_default(&dispatch);
    async fn step(name: &'static str) {
        for _ in 0..3 {
            let before = Local.current().unwrap();
            tokio::task::yield_now().await;
            assert_eq!(Local.current(), Some(before));
        }
        info!(target: T, "{name} done");
    }
    let one = step("one").instrument(info_span!(target: T, "one"));
    let two = step("two").instrument(info_span!(target: T, "two"));
    tokio::join!(one, two);
    assert_eq!(Local.current(), None);
    let spans = recorded(T);
    for name in ["one", "two"] {
        let span = named(&spans, name);
        assert_eq!(span.events[0].name, format!("{name} done"));
        assert_eq!(span.parent_span_id, b"");
    }
}
