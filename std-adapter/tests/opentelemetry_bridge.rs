//! Batches through exporters of `opentelemetry_sdk`: everything of a span arrives typed, and faults are counted.

mod spans;

use core::time::Duration;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry::{Array, Key, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SpanData, SpanExporter as SdkExporter};
use spanlet_std::export::{Batch, OpenTelemetryExporter, SpanExporter};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Instant;

#[test]
fn everything_of_a_span_arrives_typed() {
    let memory = InMemorySpanExporter::default();
    let exporter = OpenTelemetryExporter::new(memory.clone());
    let (request, count) = spans::request();
    let batch = Batch {
        body: &request,
        spans: count,
    };
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!(
        (outcome.exported, outcome.spans()),
        (count, count),
        "{outcome:?}"
    );
    let got = memory.get_finished_spans().unwrap();
    assert_eq!(got.len() as u64, count);

    let span = got.iter().find(|span| span.name == "charge").unwrap();
    let parent = got.iter().find(|span| span.name == "checkout").unwrap();
    assert_eq!(span.span_kind, SpanKind::Client);
    assert_eq!(span.parent_span_id, parent.span_context.span_id());
    assert_eq!(span.span_context.trace_id(), parent.span_context.trace_id());
    assert!(span.span_context.is_sampled() && !span.parent_span_is_remote);
    assert_eq!(span.status, Status::error("declined"));
    assert!(span.end_time >= span.start_time && span.start_time > std::time::UNIX_EPOCH);
    let expected = [
        KeyValue::new("text", "a"),
        KeyValue::new("whole", -3_i64),
        KeyValue::new("real", 1.5),
        KeyValue::new("yes", true),
        KeyValue::new("bytes", "00ff"),
        KeyValue::new("wholes", Value::Array(Array::I64(vec![1, 2]))),
        KeyValue::new(
            "texts",
            Value::Array(Array::String(vec!["x".into(), "y".into()])),
        ),
    ];
    assert_eq!(span.attributes, expected);
    let event = &span.events.events[0];
    assert_eq!(event.name, "retry");
    assert_eq!(event.attributes, [KeyValue::new("attempt", 2_i64)]);
    assert!(event.timestamp >= span.start_time && event.timestamp <= span.end_time);
    let link = &span.links.links[0];
    assert_eq!(link.span_context.span_id(), parent.span_context.span_id());
    assert_eq!(link.attributes, [KeyValue::new("why", "because")]);
    let scope = &span.instrumentation_scope;
    assert_eq!((scope.name(), scope.version()), ("shop-lib", Some("2")));
    assert_eq!(scope.schema_url(), Some("https://schema/scope"));
    assert_eq!(parent.span_kind, SpanKind::Server);
    assert_eq!(parent.status, Status::Ok);
}

#[derive(Clone, Debug, Default)]
struct Scripted {
    answers: Arc<Mutex<Vec<OTelSdkResult>>>,
    resource: Arc<Mutex<Option<Resource>>>,
    told: Arc<AtomicU32>,
    shut_down: Arc<AtomicU32>,
    hang: bool,
}

impl SdkExporter for Scripted {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        if self.hang {
            std::future::pending::<()>().await;
        }
        self.answers.lock().unwrap().pop().unwrap_or(Ok(()))
    }
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        self.shut_down.fetch_add(1, SeqCst);
        Ok(())
    }
    fn set_resource(&mut self, resource: &Resource) {
        self.told.fetch_add(1, SeqCst);
        *self.resource.lock().unwrap() = Some(resource.clone());
    }
}

#[test]
fn faults_are_counted_and_the_resource_is_told_once() {
    let (request, count) = spans::request();
    let batch = Batch {
        body: &request,
        spans: count,
    };
    let scripted = Scripted::default();
    *scripted.answers.lock().unwrap() = vec![
        Ok(()),
        Err(OTelSdkError::Timeout(Duration::from_secs(1))),
        Err(OTelSdkError::InternalFailure("no\nway".into())),
    ];
    let exporter = OpenTelemetryExporter::new(scripted.clone());
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!((outcome.failed, outcome.retry_in), (count, None));
    let text = outcome.error.unwrap().to_string();
    assert!(
        text.contains("Scripted failed: Operation failed: no way"),
        "{text}"
    );
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!(outcome.indeterminate, count);
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!((outcome.exported, outcome.error), (count, None));
    let broken = Batch {
        body: &request[..request.len() - 1],
        spans: count,
    };
    assert_eq!(exporter.export(broken, Duration::MAX).failed, count);

    assert_eq!(scripted.told.load(SeqCst), 1);
    let resource = scripted.resource.lock().unwrap().clone().unwrap();
    assert_eq!(resource.schema_url(), Some("https://schema/resource"));
    let service = resource.get(&Key::new("service.name")).unwrap();
    assert_eq!(service, Value::from("shop"));

    let _ = exporter.shutdown(Duration::from_secs(5));
    assert_eq!(scripted.shut_down.load(SeqCst), 1);
    let outcome = exporter.export(batch, Duration::MAX);
    assert_eq!((outcome.failed, outcome.attempts), (count, 0));
}

#[test]
fn a_call_that_hangs_ends_with_its_budget_or_the_shutdown() {
    let (request, count) = spans::request();
    let batch = Batch {
        body: &request,
        spans: count,
    };
    let hanging = || {
        OpenTelemetryExporter::new(Scripted {
            hang: true,
            ..Scripted::default()
        })
    };
    let begun = Instant::now();
    let outcome = hanging().export(batch, Duration::from_millis(100));
    assert_eq!(outcome.indeterminate, count, "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));

    let exporter = hanging();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| exporter.export(batch, Duration::MAX));
        std::thread::sleep(Duration::from_millis(50));
        let report = exporter.shutdown(Duration::from_millis(100));
        assert_eq!(report.unfinished, 0);
        let outcome = call.join().unwrap();
        assert_eq!(
            (outcome.exported, outcome.spans()),
            (0, count),
            "{outcome:?}"
        );
    });
    assert!(begun.elapsed() < Duration::from_secs(40));
}

/// Needs a runtime's timer, and is woken from the runtime's thread.
#[derive(Debug)]
struct NeedsTokio;

impl SdkExporter for NeedsTokio {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        tokio::time::sleep(Duration::from_millis(20)).await;
        tokio::spawn(async { Ok(()) }).await.unwrap()
    }
}

#[test]
fn an_exporter_that_needs_tokio_gets_it() {
    let (request, count) = spans::request();
    let batch = Batch {
        body: &request,
        spans: count,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    let exporter = OpenTelemetryExporter::new(NeedsTokio).around(move |poll| {
        let _guard = handle.enter();
        poll();
    });
    let outcome = exporter.export(batch, Duration::from_secs(20));
    assert_eq!(outcome.exported, count, "{outcome:?}");
}
