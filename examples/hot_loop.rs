//! A span for each item of a hot loop: what is kept, what it costs, and that nothing is lost without a word.
//!
//! Input: how many items (a million unless told). Output: the time of an item without spans, with spans of traces that
//! are not sampled, and with all of them recorded; then the ledger, which says of every span what became of it.
//!
//! Each batch of 1000 items is a trace, and one trace in a hundred is sampled, as a service would have it that can not
//! send everything: the decision is made once per trace, and its items follow it. Recorded spans go to an exporter that
//! counts them. The loop never waits for it: what finds no room is counted as `ring full` or `queue full`.
//!
//! `cargo run --release -p spanlet-examples --example hot_loop -- 1000000`

use spanlet::{ParentBased, TraceIdRatio};
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::propagation::Context;
use spanlet_std::{Span, Telemetry, span};
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const BATCH: u64 = 1000;
/// A caller that has decided to keep its trace.
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Where spans would be sent to.
struct Counting(Arc<AtomicU64>);

impl SpanExporter for Counting {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        // ORDERING: a count; it is read after the shutdown.
        self.0.fetch_add(batch.spans, Relaxed);
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

/// The work of an item.
fn work(item: u64) -> u64 {
    (0..8).fold(item, |hash, _| {
        black_box(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31))
    })
}

/// The loop as it would be without spans.
fn bare(items: u64) {
    for item in 0..items {
        black_box(work(item));
    }
}

/// The loop, with a root for each batch and a child for each item.
fn traced(items: u64) {
    for batch in 0..items.div_ceil(BATCH) {
        let root: Span = span("batch").root().start();
        for item in (batch * BATCH..items).take(BATCH as usize) {
            let mut child: Span = span("item").parent(&root).start();
            let hash = black_box(work(item));
            child
                .set_attribute("item.number", item as i64)
                .set_attribute("item.is_odd", hash % 2 == 1);
        }
    }
}

fn per_item(items: u64, run: impl FnOnce(u64)) -> f64 {
    let start = Instant::now();
    run(items);
    start.elapsed().as_nanos() as f64 / items as f64
}

fn main() -> Result<(), Box<dyn Error>> {
    let items = match std::env::args().nth(1) {
        Some(text) => text
            .parse()
            .ok()
            .filter(|&items| items > 0)
            .ok_or("usage: hot_loop [ITEMS, at least 1]")?,
        None => 1_000_000_u64,
    };
    // Before anything is installed spans are off: what a library costs in a program without tracing.
    let without = per_item(items, bare);
    let off = per_item(items, traced);

    let exported = Arc::new(AtomicU64::new(0));
    let telemetry = Telemetry::builder()
        .service_name("hot-loop")
        .sampler(ParentBased::new(TraceIdRatio::new(0.01)?))
        .exporter(Counting(exported.clone()))
        .install()?;
    let sampled = per_item(items, traced);
    // The same loop within a trace that is sampled: each span is recorded.
    let all = per_item(items, |items| {
        let context = Context::extract(&[("traceparent", SAMPLED)]);
        for item in 0..items {
            let mut child: Span = span("item").parent(&context).start();
            let hash = black_box(work(item));
            child
                .set_attribute("item.number", item as i64)
                .set_attribute("item.is_odd", hash % 2 == 1);
        }
    });
    let ledger = telemetry.shutdown(Duration::from_secs(30));

    println!("ns an item, {items} items:");
    println!("  without spans        {without:6.1}");
    println!("  no tracer installed  {off:6.1}");
    println!("  1 trace in 100 kept  {sampled:6.1}");
    println!("  every span recorded  {all:6.1}");
    println!("{ledger}");
    // ORDERING: the exporter's thread is done.
    println!(
        "{} arrived, {} lost, each counted above",
        exported.load(Relaxed),
        ledger.lost()
    );
    if ledger.missing() != 0 || exported.load(Relaxed) != ledger.exported {
        return Err("the ledger does not add up".into());
    }
    Ok(())
}
