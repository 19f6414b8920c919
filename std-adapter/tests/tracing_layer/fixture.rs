//! One telemetry for all tests of this binary; each finds its own spans by their target, which is their scope.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use prost::Message;
use spanlet::{
    AlwaysOn, ParentBased, Sampler, SamplingDecision, SamplingParameters, SamplingResult,
};
use spanlet_std::Telemetry;
use spanlet_std::config::{BatchConfig, Config};
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::layer::TracingLayer;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<String, Vec<OtlpSpan>>>>);

impl SpanExporter for Memory {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        let request = ExportTraceServiceRequest::decode(batch.body).expect("valid protobuf");
        let mut by_scope = self.0.lock().unwrap();
        for scope in request
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans)
        {
            let name = scope.scope.map(|scope| scope.name).unwrap_or_default();
            by_scope.entry(name).or_default().extend(scope.spans);
        }
        ExportOutcome {
            exported: batch.spans,
            attempts: 1,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}

/// Drops roots of this name; everything else follows its parent.
pub(crate) const DROPPED: &str = "dropped";

struct ByName;

impl Sampler for ByName {
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        if parameters.name == DROPPED && parameters.parent.is_none() {
            return SamplingResult::new(SamplingDecision::Drop);
        }
        ParentBased::new(AlwaysOn).should_sample(parameters)
    }
    fn describe(&self, to: &mut dyn std::fmt::Write) -> std::fmt::Result {
        to.write_str("ByName")
    }
}

fn running() -> &'static (Telemetry, Memory) {
    static RUNNING: OnceLock<(Telemetry, Memory)> = OnceLock::new();
    RUNNING.get_or_init(|| {
        let memory = Memory::default();
        let batch = BatchConfig {
            max_queue_size: 1 << 24,
            max_export_batch_size: 4096,
            ..BatchConfig::default()
        };
        let telemetry = Telemetry::builder_with(Config::default())
            .batch(batch)
            .sampler(ByName)
            .ring_bytes(16 << 20)
            .exporter(memory.clone())
            .install()
            .unwrap();
        (telemetry, memory)
    })
}

/// Runs with this layer, and returns what it recorded for a target.
pub(crate) fn recorded_by(layer: TracingLayer, target: &str, run: impl FnOnce()) -> Vec<OtlpSpan> {
    running();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, run);
    recorded(target)
}
/// The same with a layer as it comes.
pub(crate) fn record(target: &str, run: impl FnOnce()) -> Vec<OtlpSpan> {
    recorded_by(TracingLayer::new(), target, run)
}
/// What was recorded for a target so far.
pub(crate) fn recorded(target: &str) -> Vec<OtlpSpan> {
    let (telemetry, memory) = running();
    assert!(telemetry.flush(Duration::from_secs(30)));
    let ledger = telemetry.ledger();
    assert_eq!((ledger.missing(), ledger.lost()), (0, 0), "{ledger:?}");
    let by_scope = memory.0.lock().unwrap();
    by_scope.get(target).cloned().unwrap_or_default()
}
/// Makes sure that spans are on.
pub(crate) fn install() {
    running();
}

pub(crate) fn named<'s>(spans: &'s [OtlpSpan], name: &str) -> &'s OtlpSpan {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next();
    let span = span.unwrap_or_else(|| panic!("no span {name:?} among {:?}", names(spans)));
    assert!(found.next().is_none(), "more than one {name:?}");
    span
}
pub(crate) fn names(spans: &[OtlpSpan]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}
/// `key=value` of each attribute, in order.
pub(crate) fn texts(attributes: &[KeyValue]) -> Vec<String> {
    let text = |kv: &KeyValue| {
        let value = kv.value.clone().unwrap().value.unwrap();
        let value = match value {
            Value::StringValue(text) => format!("{text:?}"),
            Value::IntValue(n) => n.to_string(),
            Value::DoubleValue(n) => format!("{n:?}"),
            Value::BoolValue(b) => b.to_string(),
            Value::BytesValue(bytes) => format!("{bytes:?}"),
            other => format!("{other:?}"),
        };
        format!("{}={value}", kv.key)
    };
    attributes.iter().map(text).collect()
}
/// Status code and description.
pub(crate) fn status(span: &OtlpSpan) -> (i32, String) {
    let status = span.status.clone().unwrap_or_default();
    (status.code, status.message)
}
