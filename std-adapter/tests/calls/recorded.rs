//! The spans of the test's process, by trace.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use prost::Message;
use spanlet_std::config::{BatchConfig, Config};
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::{Span, Telemetry, span};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

static SPANS: Mutex<Vec<OtlpSpan>> = Mutex::new(Vec::new());

struct Memory;

impl SpanExporter for Memory {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        let request = ExportTraceServiceRequest::decode(batch.body).expect("valid protobuf");
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans);
        SPANS.lock().unwrap().extend(scopes.flat_map(|s| s.spans));
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

fn telemetry() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(|| {
        let batch = BatchConfig {
            schedule_delay: Duration::from_millis(20),
            ..BatchConfig::default()
        };
        let builder = Telemetry::builder_with(Config::default())
            .service_name("test")
            .batch(batch);
        builder
            .exporter(Memory)
            .install()
            .expect("the only telemetry")
    })
}

/// A root span for a test to work in.
pub(crate) fn root() -> Span {
    telemetry();
    span("test").root().start()
}

/// The ended spans of the trace that `root` begins, `root` among them, in the order of their starts.
pub(crate) fn trace_of(mut root: Span) -> Vec<OtlpSpan> {
    root.end();
    let id = root.context().trace_id();
    trace(&id.to_bytes())
}

/// The ended spans of a trace.
pub(crate) fn trace(id: &[u8]) -> Vec<OtlpSpan> {
    assert!(telemetry().flush(Duration::from_secs(10)));
    let mut spans: Vec<_> = SPANS
        .lock()
        .unwrap()
        .iter()
        .filter(|s| s.trace_id == id)
        .cloned()
        .collect();
    spans.sort_by_key(|span| span.start_time_unix_nano);
    spans
}

/// An attribute as text.
pub(crate) fn text(span: &OtlpSpan, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|kv| kv.key == key)?;
    Some(match attribute.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

/// The span of this name.
#[track_caller]
pub(crate) fn named<'s>(spans: &'s [OtlpSpan], name: &str) -> &'s OtlpSpan {
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    spans
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no {name} in {names:?}"))
}

pub(crate) const CLIENT: i32 = 3;
pub(crate) const PRODUCER: i32 = 4;
pub(crate) const CONSUMER: i32 = 5;
#[cfg(any(feature = "redis-tokio", feature = "rusqlite", feature = "sqlx"))]
pub(crate) const ERROR: i32 = 2;

#[cfg(any(feature = "redis-tokio", feature = "rusqlite", feature = "sqlx"))]
pub(crate) fn status(span: &OtlpSpan) -> i32 {
    span.status.as_ref().map_or(0, |status| status.code)
}
