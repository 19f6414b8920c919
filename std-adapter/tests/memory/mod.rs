//! The process's telemetry, which keeps the spans that it exports.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of this"
)]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use prost::Message;
use spanlet::TraceId;
use spanlet_std::Telemetry;
use spanlet_std::config::Config;
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// Installed by the first test that looks.
pub struct Installed {
    pub telemetry: Telemetry,
    spans: Memory,
}

static INSTALLED: LazyLock<Installed> = LazyLock::new(|| {
    let spans = Memory::default();
    let telemetry = Telemetry::builder_with(Config::default())
        .service_name("test")
        .forward_baggage(["tenant.id", "channel"])
        .exporter(spans.clone())
        .install()
        .unwrap();
    Installed { telemetry, spans }
});

pub fn installed() -> &'static Installed {
    &INSTALLED
}

impl Installed {
    /// The spans of a trace, in the order of their start, once there are `count` of them; fails the test if that is
    /// not so after ten seconds.
    pub fn spans_of(&self, trace: TraceId, count: usize) -> Vec<OtlpSpan> {
        let since = Instant::now();
        loop {
            assert!(self.telemetry.flush(Duration::from_secs(10)));
            let mut spans = self.spans.0.lock().unwrap().clone();
            spans.retain(|span| span.trace_id == trace.to_bytes());
            if spans.len() >= count {
                spans.sort_by_key(|span| span.start_time_unix_nano);
                assert_eq!(spans.len(), count, "{spans:#?}");
                return spans;
            }
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "{count} spans are to come: {spans:#?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// An exporter that keeps spans.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Vec<OtlpSpan>>>);

impl SpanExporter for Memory {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        let request = ExportTraceServiceRequest::decode(batch.body).expect("valid protobuf");
        let spans = request.resource_spans.into_iter();
        let spans = spans.flat_map(|resource| resource.scope_spans);
        let spans = spans.flat_map(|scope| scope.spans);
        self.0.lock().unwrap().extend(spans);
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

/// An attribute as text; an array's items are joined by `|`.
pub fn attribute(span: &OtlpSpan, key: &str) -> Option<String> {
    fn text(value: &any_value::Value) -> String {
        match value {
            any_value::Value::StringValue(text) => text.clone(),
            any_value::Value::IntValue(n) => n.to_string(),
            any_value::Value::BoolValue(b) => b.to_string(),
            any_value::Value::DoubleValue(n) => n.to_string(),
            any_value::Value::ArrayValue(array) => {
                let items = array
                    .values
                    .iter()
                    .filter_map(|v| v.value.as_ref().map(text));
                items.collect::<Vec<_>>().join("|")
            }
            other => panic!("no such attribute is expected: {other:?}"),
        }
    }
    let found = span.attributes.iter().find(|kv| kv.key == key)?;
    Some(text(found.value.as_ref()?.value.as_ref()?))
}
