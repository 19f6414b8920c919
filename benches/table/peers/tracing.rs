//! `tracing` with tracing-opentelemetry's layer over the SDK, as both come.

use super::opentelemetry::provider;
use crate::case::*;
use crate::inputs::*;
use core::hint::black_box;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use tracing::{Dispatch, dispatcher, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

const NAME: &str = "tracing-opentelemetry 0.34";

pub(crate) fn register(cases: &mut Vec<Case>) {
    let provider = provider();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    let mut add = |row, ops, op: fn(&tracing::Span), flags: Option<TraceFlags>| {
        let (dispatch, provider) = (dispatch.clone(), provider.clone());
        cases.push(Case::new(row, NAME, ops, move |m| {
            dispatcher::with_default(&dispatch, || {
                let root = info_span!("root");
                if let Some(flags) = flags {
                    let remote = SpanContext::new(
                        TraceId::from_bytes([0x5a; 16]),
                        SpanId::from_bytes([0xa5; 8]),
                        flags,
                        true,
                        TraceState::default(),
                    );
                    let cx = opentelemetry::Context::new().with_remote_span_context(remote);
                    root.set_parent(cx)
                        .expect("a span of the layer, not started");
                }
                // Started: children do not wait for their parent's.
                black_box(root.context());
                m.start();
                for _ in 0..ops {
                    op(&root);
                }
                m.stop();
            });
            provider.force_flush().expect("flushed");
        }));
    };
    let sampled = Some(TraceFlags::SAMPLED);
    let unsampled = Some(TraceFlags::NOT_SAMPLED);
    add(CHILD, SPANS, child, sampled);
    add(FOUR, SPANS, four, sampled);
    add(UNSAMPLED, SPANS, child, unsampled);
    add(UNSAMPLED_FOUR, SPANS, four, unsampled);
    add(
        ROOT,
        SPANS,
        |_| info_span!(parent: None, "root").in_scope(|| black_box(())),
        None,
    );
    let trace: fn(&tracing::Span) = |_| {
        let root = info_span!(parent: None, "root");
        root.in_scope(|| {
            for _ in 0..10 {
                let span = info_span!("child", http.method = STATIC_TEXT, http.status = int());
                span.in_scope(|| info!("retry"));
            }
        });
    };
    add(TRACE, TRACES, trace, None);
}

fn child(root: &tracing::Span) {
    info_span!(parent: root, "child").in_scope(|| black_box(()));
}
fn four(root: &tracing::Span) {
    let span = info_span!(
        parent: root,
        "child",
        http.method = STATIC_TEXT,
        http.status = int(),
        cache.hit = boolean(),
        user.id = text()
    );
    span.in_scope(|| black_box(()));
}
