//! Recording in a process, end to end up to the exporter: threads, limits, the ledger.
//!
//! One process has one telemetry, so this is one test.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use prost::Message;
use spanlet::{KeyValue, SpanKind, Status};
use spanlet_std::config::{BatchConfig, Config};
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::{Span, Telemetry, span};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<OtlpSpan>>>, Arc<Mutex<Vec<String>>>);

impl SpanExporter for Memory {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        let request = ExportTraceServiceRequest::decode(batch.body).expect("valid protobuf");
        let mut count = 0;
        for resource in request.resource_spans {
            for kv in resource.resource.unwrap().attributes {
                self.1.lock().unwrap().push(kv.key);
            }
            for scope in resource.scope_spans {
                count += scope.spans.len() as u64;
                self.0.lock().unwrap().extend(scope.spans);
            }
        }
        assert_eq!(count, batch.spans);
        ExportOutcome {
            exported: count,
            attempts: 1,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}

#[test]
fn every_span_arrives_or_is_counted() {
    // Before: off.
    let mut early: Span = span("early").start();
    early.set_attribute("a", 1);
    assert!(!early.is_recording());
    drop(early);

    let memory = Memory::default();
    let batch = BatchConfig {
        schedule_delay: Duration::from_millis(200),
        max_queue_size: 1 << 20,
        max_export_batch_size: 1000,
        ..BatchConfig::default()
    };
    let telemetry = Telemetry::builder_with(Config::default())
        .service_name("test")
        .batch(batch)
        .exporter(memory.clone())
        .install()
        .unwrap();
    assert!(
        Telemetry::builder_with(Config::default())
            .exporter(memory.clone())
            .install()
            .is_err()
    );

    let root_id = {
        let mut root: Span = span("root").kind(SpanKind::Server).start();
        assert!(root.context().flags().is_random());
        // 128 attributes fit, however long; the next is dropped.
        const KEYS: &[&str] = &include!("keys.in");
        for key in KEYS {
            root.set_attribute(key, "x".repeat(40).as_str());
        }
        root.set_attribute("one.more", 1);
        let child: Span = span("child").parent(&root).start();
        let moved = std::thread::spawn(move || {
            let mut child = child;
            child.add_event("moved", &[KeyValue::new("k", 1)]);
        });
        moved.join().unwrap();
        root.run(|_| {
            let _: Span = span("ambient").start();
            let _library = spanlet::span!("library");
        });
        root.context().span_id().to_bytes().to_vec()
    };
    assert!(telemetry.flush(Duration::from_secs(5)));
    {
        let spans = memory.0.lock().unwrap();
        let by_name: HashMap<_, _> = spans.iter().map(|s| (s.name.as_str(), s)).collect();
        assert_eq!(spans.len(), 4);
        let root = by_name["root"];
        assert_eq!(
            (root.attributes.len(), root.dropped_attributes_count),
            (128, 1)
        );
        for name in ["child", "ambient", "library"] {
            assert_eq!(by_name[name].parent_span_id, root_id);
            assert!(by_name[name].start_time_unix_nano >= root.start_time_unix_nano);
            assert!(by_name[name].end_time_unix_nano <= root.end_time_unix_nano);
        }
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64;
        assert!(root.end_time_unix_nano.abs_diff(now) < 10_000_000_000);
    }

    // Many threads at full speed: some spans find their ring full, and all are accounted for.
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| {
                for i in 0..20_000 {
                    let mut s: Span = span("busy").start();
                    s.set_attribute("i", i).set_status(Status::Ok);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let unwound = std::thread::spawn(|| {
        let _s: Span = span("unwound").start();
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(unwound.join().is_err());
    let still_open: Span = span("open").start();
    assert!(telemetry.flush(Duration::from_secs(10)));
    let ledger = telemetry.ledger();
    println!("{ledger}");
    assert_eq!(
        (ledger.missing(), ledger.open, ledger.buffered),
        (0, 1, 0),
        "{ledger:?}"
    );
    assert_eq!(ledger.started, 4 + 160_000 + 1 + 1);
    assert_eq!(ledger.exported, memory.0.lock().unwrap().len() as u64);
    assert_eq!(
        memory
            .0
            .lock()
            .unwrap()
            .iter()
            .find(|s| s.name == "unwound")
            .unwrap()
            .status
            .clone()
            .unwrap()
            .code,
        2
    );
    assert!(ledger.ring_full < ledger.started);
    drop(still_open);
    let ledger = telemetry.shutdown(Duration::from_secs(5));
    assert_eq!(
        (ledger.missing(), ledger.open, ledger.buffered),
        (0, 0, 0),
        "{ledger:?}"
    );
    assert!(
        memory
            .1
            .lock()
            .unwrap()
            .iter()
            .any(|k| k == "telemetry.sdk.name")
    );
    // After: counted, not exported, and nothing hangs.
    drop::<Span>(span("late").start());
    let ledger = telemetry.ledger();
    assert_eq!((ledger.missing(), ledger.buffered), (0, 1), "{ledger:?}");
}
