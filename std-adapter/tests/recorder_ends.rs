//! Spans at the ends of things: of a thread, of the recording.
//!
//! One process has one telemetry, so this is one test.

use spanlet::{AlwaysOff, AlwaysRecord};
use spanlet_std::config::Config;
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::{Span, Telemetry, span};
use std::cell::RefCell;
use std::time::Duration;

struct Nowhere;

impl SpanExporter for Nowhere {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
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

/// Starts a span when it is dropped.
struct Starts;

impl Drop for Starts {
    fn drop(&mut self) {
        let span: Span = span("after its thread").start();
        assert!(!span.is_recording());
    }
}

thread_local! {
    static KEPT: RefCell<Option<Span>> = const { RefCell::new(None) };
    static STARTS: RefCell<Option<Starts>> = const { RefCell::new(None) };
}

#[test]
fn spans_that_end_after_their_thread_or_the_recording_are_accounted_for() {
    let telemetry = Telemetry::builder_with(Config::default())
        .exporter(Nowhere)
        .sampler(AlwaysRecord(AlwaysOff))
        .escalate_after(Duration::from_secs(60))
        .install()
        .unwrap();
    std::thread::spawn(|| {
        // Registered before the recorder's part of the thread, and so dropped after it.
        KEPT.with(|kept| assert!(kept.borrow().is_none()));
        STARTS.set(Some(Starts));
        let kept: Span = span("outlives its thread").start();
        assert!(kept.is_recording());
        KEPT.set(Some(kept));
    })
    .join()
    .unwrap();
    let ledger = telemetry.ledger();
    assert_eq!(
        (ledger.started, ledger.thread_gone, ledger.open),
        (1, 1, 0),
        "{ledger}"
    );
    assert_eq!(ledger.missing(), 0, "{ledger}");

    telemetry.shutdown(Duration::from_secs(10));
    std::thread::spawn(|| {
        let late: Span = span("nobody reads it").start();
        assert!(!late.is_recording(), "a new thread gets no ring");
    })
    .join()
    .unwrap();
    assert_eq!(telemetry.ledger(), ledger);
}
