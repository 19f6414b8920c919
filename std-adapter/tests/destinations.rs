//! Two destinations, one of which hangs: the other gets every span in time, and the shutdown waits for neither
//! longer than it was told.
//!
//! One process has one telemetry, so this is one test.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use core::time::Duration;
use spanlet_std::config::{BatchConfig, Config};
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::{Span, Telemetry, span};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

const SPANS: u64 = 50;

/// Takes all that it gets.
#[derive(Clone, Default)]
struct Prompt(Arc<AtomicU64>);

impl SpanExporter for Prompt {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        self.0.fetch_add(batch.spans, SeqCst);
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

/// Answers once it is shut down.
#[derive(Clone, Default)]
struct Hanging(Arc<(Mutex<bool>, Condvar, AtomicBool)>);

impl SpanExporter for Hanging {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        let (ended, changed, asked) = &*self.0;
        asked.store(true, SeqCst);
        let ended = ended.lock().unwrap();
        drop(changed.wait_while(ended, |ended| !*ended).unwrap());
        ExportOutcome {
            failed: batch.spans,
            attempts: 1,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
        ShutdownReport::default()
    }
}

#[test]
fn a_destination_that_hangs_holds_no_other_up() {
    let (prompt, hanging) = (Prompt::default(), Hanging::default());
    let batch = BatchConfig {
        schedule_delay: Duration::from_millis(10),
        ..BatchConfig::default()
    };
    let telemetry = Telemetry::builder_with(Config::default())
        .batch(batch)
        .exporter(prompt.clone())
        .exporter(hanging.clone())
        .install()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    for round in 1..=3 {
        for _ in 0..SPANS {
            drop::<Span>(span("s").start());
        }
        // Batch after batch arrives, while the other destination still has the first in its hands.
        while prompt.0.load(SeqCst) < round * SPANS {
            assert!(Instant::now() < until, "{}", telemetry.ledger());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(
        !telemetry.flush(Duration::from_millis(50)),
        "one of them hangs"
    );
    assert!(hanging.0.2.load(SeqCst), "it was given a batch");

    let from = Instant::now();
    let ledger = telemetry.shutdown(Duration::from_secs(2));
    assert!(from.elapsed() < Duration::from_secs(15));
    // The ledger's counts of export are those of the first destination.
    assert_eq!(
        (ledger.exported, ledger.missing()),
        (3 * SPANS, 0),
        "{ledger}"
    );
}
