//! Recording while the destination misbehaves: down, then up; then hanging; the timeouts hold and the ledger
//! balances.
//!
//! One process has one telemetry, so this is one test.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use core::time::Duration;
use spanlet_std::config::{BatchConfig, Config};
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::{Span, Telemetry, span};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Down,
    Up,
    Hanging,
}

struct Moody {
    mood: Mutex<Mood>,
    released: Condvar,
    attempts: AtomicU32,
}

#[derive(Clone)]
struct Exporter(Arc<Moody>);

impl Exporter {
    fn set(&self, mood: Mood) {
        *self.0.mood.lock().unwrap() = mood;
        self.0.released.notify_all();
    }
}

impl SpanExporter for Exporter {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        self.0.attempts.fetch_add(1, SeqCst);
        let mood = self.0.mood.lock().unwrap();
        let mood = self
            .0
            .released
            .wait_while(mood, |mood| *mood == Mood::Hanging)
            .unwrap();
        let up = *mood == Mood::Up;
        ExportOutcome {
            exported: if up { batch.spans } else { 0 },
            failed: if up { 0 } else { batch.spans },
            attempts: 1,
            retry_in: (!up).then_some(Duration::from_millis(20)),
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        self.set(Mood::Down);
        ShutdownReport::default()
    }
}

fn record(n: u32) {
    for i in 0..n {
        let mut s: Span = span("s").start();
        s.set_attribute("i", i);
    }
}

#[test]
fn outages_cost_nothing_while_there_is_room_and_hangs_cost_the_timeout() {
    let exporter = Exporter(Arc::new(Moody {
        mood: Mutex::new(Mood::Down),
        released: Condvar::new(),
        attempts: AtomicU32::new(0),
    }));
    let batch = BatchConfig {
        schedule_delay: Duration::from_millis(10),
        max_queue_size: 300,
        max_export_batch_size: 100,
        ..BatchConfig::default()
    };
    let telemetry = Telemetry::builder_with(Config::default())
        .batch(batch)
        .exporter(exporter.clone())
        .install()
        .unwrap();

    // Down: offered again and again, kept, and nothing waits but the flush that was told to.
    record(100);
    let from = Instant::now();
    assert!(!telemetry.flush(Duration::from_millis(200)));
    assert!(from.elapsed() < Duration::from_secs(2));
    assert!(exporter.0.attempts.load(SeqCst) > 2);
    let ledger = telemetry.ledger();
    assert_eq!(
        (ledger.missing(), ledger.buffered, ledger.failed),
        (0, 100, 0),
        "{ledger:?}"
    );

    // Up again: all of it arrives.
    exporter.set(Mood::Up);
    assert!(telemetry.flush(Duration::from_secs(5)));
    let ledger = telemetry.ledger();
    assert_eq!(
        (ledger.exported, ledger.lost(), ledger.missing()),
        (100, 0, 0),
        "{ledger:?}"
    );

    // Hanging: the queue fills up, and what it cannot take is counted.
    exporter.set(Mood::Hanging);
    for _ in 0..10 {
        record(100);
        telemetry.flush(Duration::from_millis(50));
    }
    let ledger = telemetry.ledger();
    assert_eq!(ledger.missing(), 0, "{ledger:?}");
    // At most one batch in the exporter's hands and three in the queue.
    let kept = ledger.buffered;
    assert!((300..=400).contains(&kept), "{ledger:?}");
    assert_eq!(ledger.queue_full, 1000 - kept, "{ledger:?}");

    // Shutdown returns in time, and what is left counts as failed.
    let from = Instant::now();
    let ledger = telemetry.shutdown(Duration::from_millis(800));
    assert!(from.elapsed() < Duration::from_secs(3));
    assert_eq!(
        (ledger.missing(), ledger.buffered, ledger.open),
        (0, 0, 0),
        "{ledger:?}"
    );
    assert_eq!((ledger.exported, ledger.failed), (100, kept), "{ledger:?}");
    let text = format!("{} queue full", 1000 - kept);
    assert!(ledger.to_string().contains(&text), "{ledger}");
}
