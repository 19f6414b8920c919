//! A burst from one thread, with default settings: nothing is lost. Then threads that come and go: nothing is left.
//!
//! One process has one telemetry, so this is one test. `SPANLET_THREADS=1000000` makes it the long form.

use core::time::Duration;
use spanlet_std::config::Config;
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::{ClockSource, Span, Telemetry, span};

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

const BURST: u64 = 20_000;

fn record(spans: u64) {
    for i in 0..spans {
        let mut span: Span = span("item").start();
        span.set_static("http.request.method", "GET")
            .set_attribute("i", i as i64 + 1_000_000)
            .set_attribute("cache.hit", true)
            .set_attribute("user.id", "user-48151623");
    }
}

/// Kilobytes that the process has in memory, where the system says so.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_burst_is_not_lost_and_threads_leave_nothing_behind() {
    let telemetry = Telemetry::builder_with(Config::default())
        .clock_source(ClockSource::Monotonic)
        .exporter(Nowhere)
        .install()
        .unwrap();
    assert_eq!(telemetry.clock_source(), Some(ClockSource::Monotonic));
    record(BURST);
    assert!(telemetry.flush(Duration::from_secs(30)));
    let ledger = telemetry.ledger();
    assert_eq!(
        (ledger.exported, ledger.lost(), ledger.missing()),
        (BURST, 0, 0),
        "{ledger}"
    );

    let threads = std::env::var("SPANLET_THREADS").map_or(5_000, |n| n.parse().expect("a number"));
    let rounds = 10;
    let mut kilobytes = Vec::new();
    for _ in 0..rounds {
        for _ in 0..threads / rounds {
            std::thread::spawn(|| record(2)).join().unwrap();
        }
        kilobytes.push(resident());
    }
    assert!(telemetry.flush(Duration::from_secs(30)));
    let ledger = telemetry.ledger();
    println!("{ledger}; KB resident after each tenth of {threads} threads: {kilobytes:?}");
    assert_eq!(
        (ledger.started, ledger.exported, ledger.missing()),
        (BURST + 2 * threads, BURST + 2 * threads, 0),
        "{ledger}"
    );
    // A leak of a page a thread would be 20 MB of 5,000.
    if let (Some(Some(early)), Some(Some(late))) = (kilobytes.first(), kilobytes.last()) {
        let most = early + 4096;
        assert!(*late <= most, "{kilobytes:?}");
    }
}
