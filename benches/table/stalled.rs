//! What a collector that answers no more does to the traced operation: nothing.
//!
//! `stalled [--rounds N] [--no-count]` runs the same load against a collector that answers and against one that reads
//! nothing, in turns, each in a process of its own, and compares the operation's latencies; then callgrind counts its
//! instructions while all is well, while a collector hangs and the queue is full, and when nobody reads the ring.
//!
//! The operation is a trace: a root and ten children with four attributes each.

use crate::collector::Collector;
use crate::count;
use crate::inputs::SPANS;
use crate::measure::median;
use crate::meter::{self, Meter, Mode};
use crate::recorder::parent;
use crate::spans::{Nowhere, four, root_of};
use spanlet::{SpanContext, TraceFlags};
use spanlet_std::config::BatchConfig;
use spanlet_std::export::{Batch, ExportOutcome, OtlpHttpBuilder, ShutdownReport, SpanExporter};
use spanlet_std::{Ledger, Local, PooledBuf, Span, Telemetry};
use std::process::Command;
use std::time::{Duration, Instant};

/// Traces of a run, and how many a second: enough to fill the default queue three times.
const TRACES: u32 = 40_000;
const A_SECOND: u32 = 10_000;
/// What the ratio of the latencies may be.
const TARGET: f64 = 1.1;

fn trace() {
    let root: Span = root_of(Local);
    for _ in 0..10 {
        four::<Local, PooledBuf>(Local, &root.context());
    }
}

/// In a process of its own: prints the latencies' median and 99.9th percentile, in nanoseconds, and what was lost.
pub(crate) fn run(url: &str) {
    let exporter = OtlpHttpBuilder::default()
        .endpoint(url)
        .map(|builder| builder.build().expect("no files to read"))
        .expect("a URL");
    let telemetry = Telemetry::builder_with(Default::default())
        .exporter(exporter)
        .install()
        .expect("the only one");
    let mut took = Vec::with_capacity(TRACES as usize);
    let from = Instant::now();
    for burst in 1..=100 * TRACES / A_SECOND {
        for _ in 0..A_SECOND / 100 {
            let at = Instant::now();
            trace();
            took.push(at.elapsed().as_nanos() as u64);
        }
        let next = from + Duration::from_millis(10) * burst;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    took.sort_unstable();
    let at = |share: f64| took[(took.len() as f64 * share) as usize];
    let Ledger {
        ring_full,
        queue_full,
        ..
    } = telemetry.ledger();
    println!("{} {} {ring_full} {queue_full}", at(0.5), at(0.999));
    // Without the flush of an orderly end, which would wait for the deaf collector.
    std::process::exit(0);
}

/// Median, 99.9th percentile, spans that found a full ring, and a full queue.
fn measure(is_deaf: bool) -> [f64; 4] {
    let collector = Collector::start(is_deaf);
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["stalled-run", &collector.url()])
        .output()
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let figures: Vec<f64> = text
        .split_whitespace()
        .map_while(|f| f.parse().ok())
        .collect();
    figures.try_into().expect("four figures")
}

/// The comparison. `false` if a target was missed.
pub(crate) fn compare(rounds: usize, with_instructions: bool) -> bool {
    println!(
        "A: collector answers; B: collector reads nothing; latency of a trace of 11 spans, ns\n"
    );
    println!(
        "{:>5} {:>9} {:>9} {:>9} {:>9} {:>7} {:>22}",
        "round", "A p50", "B p50", "A p99.9", "B p99.9", "B / A", "B: ring, queue full"
    );
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let (a, b) = if round % 2 == 1 {
            let a = measure(false);
            (a, measure(true))
        } else {
            let b = measure(true);
            (measure(false), b)
        };
        let ratio = b[1] / a[1];
        ratios.push(ratio);
        println!(
            "{round:>5} {:>9} {:>9} {:>9} {:>9} {ratio:>7.2} {:>11} {:>10}",
            a[0], b[0], a[1], b[1], b[2], b[3]
        );
        assert!(b[3] > 0.0, "the deaf collector's queue fills up");
    }
    let ratio = median(&mut ratios);
    let mut met = ratio <= TARGET;
    println!("\np99.9 ratio, median of {rounds} rounds: {ratio:.2} (target ≤ {TARGET})");
    if with_instructions {
        met &= instructions();
    }
    met
}

/// The states that callgrind compares, and the words for them.
const STATES: [(&str, &str); 3] = [
    ("answering", "collector answers"),
    ("hanging", "collector hangs, queue full"),
    ("nobody", "nobody reads, ring full"),
];

fn instructions() -> bool {
    println!("\ninstructions of a span with four attributes:");
    let mut all = Vec::new();
    for (state, words) in STATES {
        match count::under_callgrind(&["stalled-count", state]) {
            Ok(counts) => {
                let count = counts.into_values().next().unwrap_or(f64::NAN);
                println!("  {words:<30} {count:>6.0}");
                all.push(count);
            }
            Err(error) => {
                eprintln!("no instructions: {error}");
                return false;
            }
        }
    }
    // A ring that grows wakes the drain now and then: half an instruction a span is no difference.
    let met = all.iter().all(|count| *count <= all[0] + 0.5);
    println!("  {}", if met { "unchanged" } else { "NOT unchanged" });
    met
}

/// Never answers.
struct Hanging;

impl SpanExporter for Hanging {
    fn export(&self, _: Batch<'_>, _: Duration) -> ExportOutcome {
        loop {
            std::thread::park();
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}

/// Under callgrind: chunks of spans in one of the states, of which the last is counted.
pub(crate) fn count(state: &str) -> Option<()> {
    let parent = parent(TraceFlags::SAMPLED);
    let builder = Telemetry::builder_with(Default::default()).batch(BatchConfig {
        // Small where it is to fill up.
        max_queue_size: if state == "hanging" { 1000 } else { 1 << 20 },
        max_export_batch_size: 512,
        ..BatchConfig::default()
    });
    let telemetry = match state {
        "answering" => builder.exporter(Nowhere),
        "hanging" => builder.exporter(Hanging),
        "nobody" => builder.exporter(Nowhere).ring_bytes(1 << 17),
        _ => return None,
    }
    .install()
    .expect("the only one");
    let chunk = |m: &mut Meter, parent: &SpanContext| {
        m.start();
        for _ in 0..SPANS {
            four::<Local, PooledBuf>(Local, parent);
        }
        m.stop();
    };
    chunk(&mut Meter::new(Mode::Time), &parent);
    if state == "nobody" {
        // The drain's end leaves the thread with its ring.
        telemetry.shutdown(Duration::from_secs(60));
    }
    // A hanging collector's queue is never empty: there is nothing to wait for.
    let patience = match state {
        "answering" => Duration::from_secs(60),
        _ => Duration::from_millis(200),
    };
    for _ in 0..20 {
        chunk(&mut Meter::new(Mode::Time), &parent);
        telemetry.flush(patience);
    }
    let ledger = telemetry.ledger();
    assert_eq!(ledger.queue_full > 0, state == "hanging", "{ledger}");
    meter::zero();
    chunk(&mut Meter::new(Mode::Count), &parent);
    meter::dump(&format!("stalled|{state}|{SPANS}"));
    // Whatever hangs is left hanging.
    std::process::exit(0);
}
