//! The OpenTelemetry SDK, with its batch processor, and its propagator and OTLP encoder.

use crate::case::*;
use crate::inputs::*;
use core::hint::black_box;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use prost::Message;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

const NAME: &str = "opentelemetry SDK 0.33";

#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        black_box(batch);
        Ok(())
    }
}

/// A provider whose spans a background thread hands to an exporter that does nothing.
pub(crate) fn provider() -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_batch_exporter(Nowhere)
        .build()
}

/// The parent of children that are measured alone.
pub(crate) fn parent(flags: TraceFlags) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from_bytes([0x5a; 16]),
        SpanId::from_bytes([0xa5; 8]),
        flags,
        true,
        TraceState::default(),
    ))
}

fn two() -> [KeyValue; 2] {
    [
        KeyValue::new("http.method", STATIC_TEXT),
        KeyValue::new("http.status", int()),
    ]
}
fn attributes() -> [KeyValue; 4] {
    let [method, status] = two();
    let text = text().to_owned();
    [
        method,
        status,
        KeyValue::new("cache.hit", boolean()),
        KeyValue::new("user.id", text),
    ]
}

fn child(tracer: &SdkTracer, cx: &Context) {
    black_box(&tracer.start_with_context("child", cx));
}
fn four(tracer: &SdkTracer, cx: &Context) {
    let span = tracer
        .span_builder("child")
        .with_attributes(attributes())
        .start_with_context(tracer, cx);
    black_box(&span);
}

pub(crate) fn register(cases: &mut Vec<Case>) {
    let provider = provider();
    let mut add = |row, ops, flags, op: fn(&SdkTracer, &Context)| {
        let (provider, cx) = (provider.clone(), parent(flags));
        let tracer = provider.tracer("bench");
        cases.push(Case::new(row, NAME, ops, move |m| {
            m.start();
            for _ in 0..ops {
                op(&tracer, &cx);
            }
            m.stop();
            provider.force_flush().expect("flushed");
        }));
    };
    add(CHILD, SPANS, TraceFlags::SAMPLED, child);
    add(FOUR, SPANS, TraceFlags::SAMPLED, four);
    add(UNSAMPLED, SPANS, TraceFlags::NOT_SAMPLED, child);
    add(UNSAMPLED_FOUR, SPANS, TraceFlags::NOT_SAMPLED, four);
    add(ROOT, SPANS, TraceFlags::SAMPLED, |tracer, _| {
        black_box(&tracer.start_with_context("root", &Context::new()));
    });
    add(TRACE, TRACES, TraceFlags::SAMPLED, |tracer, _| {
        let cx = Context::new().with_span(tracer.start_with_context("root", &Context::new()));
        for _ in 0..10 {
            let builder = tracer.span_builder("child").with_attributes(two());
            let mut span = builder.start_with_context(tracer, &cx);
            span.add_event("retry", Vec::new());
            black_box(&span);
        }
        black_box(&cx);
    });
    propagator(cases);
    otlp(cases);
}

fn propagator(cases: &mut Vec<Case>) {
    let carrier = HashMap::from([("traceparent".to_owned(), TRACEPARENT.to_owned())]);
    cases.push(Case::new(
        PARSE,
        "opentelemetry propagator (lax)",
        SPANS,
        move |m| {
            let propagator = TraceContextPropagator::new();
            let cx = Context::new();
            m.start();
            for _ in 0..SPANS {
                black_box(&propagator.extract_with_context(&cx, black_box(&carrier)));
            }
            m.stop();
        },
    ));
    let cx = parent(TraceFlags::SAMPLED);
    cases.push(Case::new(
        ENCODE,
        "opentelemetry propagator",
        SPANS,
        move |m| {
            let propagator = TraceContextPropagator::new();
            let mut carrier = HashMap::new();
            m.start();
            for _ in 0..SPANS {
                propagator.inject_context(black_box(&cx), &mut carrier);
            }
            m.stop();
        },
    ));
}

/// Keeps what it is given.
#[derive(Clone, Debug, Default)]
struct Keep(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Keep {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("no panics").extend(batch);
        Ok(())
    }
}

fn otlp(cases: &mut Vec<Case>) {
    let kept = Keep::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(kept.clone())
        .build();
    let tracer = provider.tracer("bench");
    for _ in 0..SPANS {
        four(&tracer, &parent(TraceFlags::SAMPLED));
    }
    let spans = core::mem::take(&mut *kept.0.lock().expect("no panics"));
    assert_eq!(spans.len(), SPANS);
    let to_json =
        |request: &ExportTraceServiceRequest| serde_json::to_vec(request).expect("encodes");
    for (row, encode) in [
        (
            OTLP,
            (|request| request.encode_to_vec()) as fn(&ExportTraceServiceRequest) -> Vec<u8>,
        ),
        (OTLP_JSON, to_json),
    ] {
        let spans = spans.clone();
        cases.push(Case::new(
            row,
            "opentelemetry-proto 0.33",
            SPANS,
            move |m| {
                let batch = spans.clone();
                m.start();
                let resource = ResourceAttributesWithSchema::default();
                let request = ExportTraceServiceRequest {
                    resource_spans: group_spans_by_resource_and_scope(batch, &resource),
                };
                black_box(&encode(&request));
                drop(request);
                m.stop();
            },
        ));
    }
}
