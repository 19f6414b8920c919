//! Filters, reloading, other layers, other registries.

use crate::fixture::*;
use spanlet::Recorder;
use spanlet_std::Local;
use spanlet_std::layer::{SetParentError, SpanExt, TracingLayer};
use spanlet_std::propagation::Context;
use tracing::subscriber::with_default;
use tracing::{debug_span, info, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;

#[test]
fn what_a_filter_of_ours_hides_is_not_there() {
    const T: &str = "what_a_filter_of_ours_hides_is_not_there";
    install();
    let seen = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    let subscriber = tracing_subscriber::registry()
        .with(TracingLayer::new().with_filter(LevelFilter::INFO))
        .with(seen);
    with_default(subscriber, || {
        let a = info_span!(target: T, "a");
        let _a = a.enter();
        let hidden = debug_span!(target: T, "hidden");
        let _hidden = hidden.enter();
        info!(target: T, "for a");
        info_span!(target: T, "child of a");
        info_span!(target: T, parent: &hidden, "child of hidden");
        let remote = Context::new();
        assert_eq!(hidden.set_parent(&remote), Err(SetParentError::NotRecorded));
        assert!(hidden.context().is_none());
        assert_eq!(a.context().map(|cx| cx.ids()), Local.current());
    });
    let spans = recorded(T);
    let a = named(&spans, "a");
    assert_eq!(a.events[0].name, "for a");
    assert_eq!(named(&spans, "child of a").parent_span_id, a.span_id);
    assert_eq!(named(&spans, "child of hidden").parent_span_id, b"");
    assert_eq!(spans.len(), 3);
}

#[test]
fn a_reloadable_layer_is_as_good() {
    const T: &str = "a_reloadable_layer_is_as_good";
    install();
    let (layer, handle) = tracing_subscriber::reload::Layer::new(Some(TracingLayer::new()));
    let subscriber = tracing_subscriber::registry().with(layer);
    with_default(subscriber, || {
        let span = info_span!(target: T, "before");
        let remote = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        span.set_parent(&Context::extract(&[("traceparent", remote)]))
            .unwrap();
        let _in = span.enter();
        // The new layer does not know the span, and the old one ends it.
        handle.reload(Some(TracingLayer::new())).unwrap();
        info!(target: T, "nobody's");
        info_span!(target: T, "after");
    });
    let spans = recorded(T);
    let before = named(&spans, "before");
    assert!(before.events.is_empty());
    assert_eq!(hex::encode(&before.parent_span_id), "00f067aa0ba902b7");
    // What is current is the thread's, whoever set it.
    assert_eq!(named(&spans, "after").parent_span_id, before.span_id);
    // Nobody puts back what was current before a span whose layer is gone: the thread ends here.
}

#[test]
fn two_layers_record_each_on_its_own() {
    const T: &str = "two_layers_record_each_on_its_own";
    install();
    let only = |name: &'static str| {
        filter_fn(move |metadata| metadata.is_event() || metadata.name() == name)
    };
    let subscriber = tracing_subscriber::registry()
        .with(TracingLayer::new().with_filter(only("one")))
        .with(TracingLayer::new().with_filter(only("two")));
    with_default(subscriber, || {
        let _one = info_span!(target: T, "one").entered();
        let _two = info_span!(target: T, "two").entered();
        info!(target: T, "both");
    });
    let spans = recorded(T);
    let (one, two) = (named(&spans, "one"), named(&spans, "two"));
    assert_eq!(one.events.len() + two.events.len(), 2);
    assert_eq!(one.events[0].name, two.events[0].name);
    assert_eq!(two.parent_span_id, one.span_id);
}

/// Two registries give the same ids to different spans.
#[test]
fn subscribers_do_not_mix_up_their_ids() {
    const T: &str = "subscribers_do_not_mix_up_their_ids";
    install();
    let subscriber = || tracing_subscriber::registry().with(TracingLayer::new());
    with_default(subscriber(), || {
        let outer = info_span!(target: T, "outer");
        let _outer = outer.enter();
        with_default(subscriber(), || {
            let inner = info_span!(target: T, "inner");
            assert_eq!(inner.id(), outer.id());
            let _inner = inner.enter();
            info!(target: T, "for inner");
        });
        info!(target: T, "for outer");
    });
    let spans = recorded(T);
    let (outer, inner) = (named(&spans, "outer"), named(&spans, "inner"));
    assert_eq!(outer.events[0].name, "for outer");
    assert_eq!(inner.events[0].name, "for inner");
    assert_eq!((outer.events.len(), inner.events.len()), (1, 1));
    assert_eq!(inner.parent_span_id, outer.span_id);
}

/// A subscriber that gives all spans one id, closes them whenever it is asked to, and so breaks every promise.
#[test]
fn a_subscriber_that_lies_costs_spans_and_nothing_else() {
    const T: &str = "a_subscriber_that_lies_costs_spans_and_nothing_else";
    use tracing::span::{Attributes, Id, Record};
    struct Liar;
    impl tracing::Subscriber for Liar {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(7)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
        fn try_close(&self, _: Id) -> bool {
            true
        }
    }
    install();
    let dispatch = tracing::Dispatch::new(Liar.with(TracingLayer::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    for i in 0..2000 {
                        let span = info_span!(target: T, "span", i, late = tracing::field::Empty);
                        let _in = span.enter();
                        span.record("late", tracing::field::debug(i));
                        info!(target: T, "event {i}");
                        span.follows_from(span.clone());
                    }
                });
            });
        }
    });
    drop(dispatch);
    // No count to be held to: each span that was recorded is whole, and none is lost without a count.
    for span in recorded(T) {
        assert_eq!((span.name.as_str(), span.trace_id.len()), ("span", 16));
    }
}
