//! What a span costs in total: recording, draining, encoding and sending, on all threads of the process.
//!
//! `cost [NAME…] [--spans N] [--rate N] [--rounds N] [--json]` runs each contender in a process of its own, in
//! turns, against a collector in another one, and reads the processor time that the process used. `rate [NAME]` raises
//! the rate until spans are lost.
//!
//! A run records traces of a root and ten children with four attributes each, in bursts a hundredth of a second
//! apart, so that nobody burns time in waiting; what the bursts alone take is a row of the table.

use crate::collector::Collector;
use crate::measure::median;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bursts a second.
const BURSTS: u64 = 100;
/// Spans of a trace.
pub(crate) const TRACE: u64 = 11;

/// Somebody who records spans and sends them.
pub(crate) trait Contender {
    /// Records a trace.
    fn trace(&mut self);
    /// Sends what is left, and returns when it has arrived.
    fn finish(self: Box<Self>);
}

type Make = fn(url: &str) -> Box<dyn Contender>;

/// Bursts without spans.
struct Nobody;

impl Contender for Nobody {
    fn trace(&mut self) {}
    fn finish(self: Box<Self>) {}
}

const NOBODY: &str = "(bursts without spans)";
/// What everybody is compared with.
const SDK: &str = "opentelemetry SDK 0.33";

fn contenders() -> Vec<(&'static str, Make)> {
    #[allow(unused_mut, reason = "with the feature `peers` there are more")]
    let mut all: Vec<(&'static str, Make)> = vec![
        (NOBODY, |_| Box::new(Nobody)),
        ("spanlet-std", ours::contender),
    ];
    #[cfg(feature = "peers")]
    all.extend([
        ("fastrace 0.7", crate::peers::cost::fastrace as Make),
        (SDK, crate::peers::cost::opentelemetry as Make),
    ]);
    all
}

mod ours {
    use super::{Contender, TRACE};
    use crate::spans::{four, root_of};
    use spanlet_std::export::OtlpHttpBuilder;
    use spanlet_std::{Local, PooledBuf, Span, Telemetry};
    use std::time::Duration;

    struct Ours(Telemetry);

    pub(super) fn contender(url: &str) -> Box<dyn Contender> {
        let exporter = OtlpHttpBuilder::default()
            .endpoint(url)
            .map(|builder| builder.build().expect("no files to read"))
            .expect("a URL");
        let telemetry = Telemetry::builder_with(Default::default())
            .service_name("bench")
            .exporter(exporter)
            .install()
            .expect("the only one");
        Box::new(Ours(telemetry))
    }

    impl Contender for Ours {
        fn trace(&mut self) {
            let root: Span = root_of(Local);
            for _ in 1..TRACE {
                four::<Local, PooledBuf>(Local, &root.context());
            }
        }
        fn finish(self: Box<Self>) {
            let ledger = self.0.shutdown(Duration::from_secs(60));
            if ledger.exported != ledger.started {
                eprintln!("{ledger}");
            }
        }
    }
}

/// What a run took.
#[derive(Clone, Copy)]
struct Run {
    user_ns: f64,
    system_ns: f64,
    /// Of both, what the recording thread took.
    here_ns: f64,
    lost: u64,
}

/// Nanoseconds of processor time of the process, or of this thread: in user mode, and in the kernel.
fn processor_time(who: i32) -> (f64, f64) {
    let ns = |time: libc::timeval| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3;
    // SAFETY: all zeros is an rusage, and the call writes to it only.
    let usage = unsafe {
        let mut usage: libc::rusage = core::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    (ns(usage.ru_utime), ns(usage.ru_stime))
}

/// In the contender's process: prints what `spans` spans took.
pub(crate) fn run(name: &str, url: &str, spans: u64, rate: u64) -> Option<()> {
    let (_, make) = contenders().into_iter().find(|(n, _)| *n == name)?;
    let mut contender = make(url);
    // Its threads have started, its first connection and its first allocations are made.
    contender.trace();
    std::thread::sleep(Duration::from_millis(200));
    let (user, system) = processor_time(libc::RUSAGE_SELF);
    let here = processor_time(libc::RUSAGE_THREAD);
    let (traces, from) = (spans / TRACE, Instant::now());
    let mut done = 0;
    let mut burst = 0;
    while done < traces {
        burst += 1;
        let due = (rate * burst / BURSTS / TRACE).clamp(done + 1, traces);
        for _ in done..due {
            contender.trace();
        }
        done = due;
        let next = from + Duration::from_secs(1) * u32::try_from(burst).ok()? / BURSTS as u32;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let now = processor_time(libc::RUSAGE_THREAD);
    let took = from.elapsed().as_secs_f64();
    contender.finish();
    let (user_now, system_now) = processor_time(libc::RUSAGE_SELF);
    let recorded = (traces * TRACE) as f64;
    println!(
        "{} {} {} {} {}",
        (user_now - user) / recorded,
        (system_now - system) / recorded,
        (now.0 + now.1 - here.0 - here.1) / recorded,
        (traces + 1) * TRACE,
        recorded / took,
    );
    Some(())
}

/// Runs a contender in a process of its own. Its figures, and the rate that it kept up.
fn measure(name: &str, spans: u64, rate: u64) -> (Run, f64) {
    let collector = Collector::start(false);
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["cost-run", name, &collector.url()])
        .args([spans.to_string(), rate.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let figures: Vec<f64> = text
        .split_whitespace()
        .map_while(|f| f.parse().ok())
        .collect();
    let [user_ns, system_ns, here_ns, started, reached] = figures[..] else {
        panic!("{name}: {}: {text}", output.status);
    };
    let started = if name == NOBODY { 0 } else { started as u64 };
    let run = Run {
        user_ns,
        system_ns,
        here_ns,
        lost: started.saturating_sub(collector.spans()),
    };
    (run, reached)
}

/// The table of costs.
pub(crate) fn table(wanted: &[String], spans: u64, rate: u64, rounds: usize, json: bool) {
    let contenders: Vec<&str> = contenders()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| {
            wanted.is_empty() || *name == NOBODY || wanted.iter().any(|w| name.contains(w))
        })
        .collect();
    let mut runs = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (name, runs) in contenders.iter().zip(&mut runs) {
            runs.push(measure(name, spans, rate).0);
        }
    }
    let middle =
        |runs: &[Run], of: fn(&Run) -> f64| median(&mut runs.iter().map(of).collect::<Vec<_>>());
    let total = |run: &Run| run.user_ns + run.system_ns;
    let at = |name| contenders.iter().position(|n| *n == name);
    // What the bursts take is in everybody's run, and nobody's cost.
    let bursts = at(NOBODY).map_or(0.0, |at| middle(&runs[at], total));
    let sdk = at(SDK).map(|at| middle(&runs[at], total) - bursts);
    if !json {
        println!("ns of processor time a span, less the bursts'; {spans} spans, {rate} a second,");
        println!("median of {rounds} rounds; lost in all rounds\n");
        println!(
            "{:<28} {:>8} {:>8} {:>10} {:>8} {:>9}",
            "", "total", "× SDK", "recording", "lost", "raw total"
        );
    }
    for (name, runs) in contenders.iter().zip(&runs) {
        let lost: u64 = runs.iter().map(|run| run.lost).sum();
        let raw = middle(runs, total);
        let (net, here) = (raw - bursts, middle(runs, |run| run.here_ns) - bursts);
        let (net, here) = if *name == NOBODY {
            (raw, raw)
        } else {
            (net, here)
        };
        let of_sdk = sdk.filter(|_| *name != NOBODY).map(|sdk| net / sdk);
        if json {
            let of_sdk = of_sdk.map_or_else(|| "null".into(), |ratio| format!("{ratio:.4}"));
            println!(
                r#"{{"name": "{name}", "total_ns": {net:.1}, "times_sdk": {of_sdk}, "recording_ns": {here:.1}, "lost": {lost}, "raw_total_ns": {raw:.1}}}"#
            );
        } else {
            let of_sdk = of_sdk.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"));
            println!("{name:<28} {net:>8.1} {of_sdk:>8} {here:>10.1} {lost:>8} {raw:>9.1}");
        }
    }
}

/// Raises the rate until spans are lost, or the thread cannot keep it up.
pub(crate) fn rate(name: &str) {
    const SECONDS: u64 = 3;
    println!("{name}: one thread, {SECONDS} s at each rate, default settings\n");
    println!(
        "{:>12} {:>12} {:>10} {:>14}",
        "spans/s", "kept up", "lost", "ns a span"
    );
    let mut best = None;
    for rate in [100, 200, 500, 1000, 1500, 2000, 3000, 5000, 10_000, 20_000] {
        let rate = rate * 1000;
        let (run, reached) = measure(name, rate * SECONDS, rate);
        let total = run.user_ns + run.system_ns;
        println!("{rate:>12} {reached:>12.0} {:>10} {total:>14.1}", run.lost);
        if run.lost == 0 {
            best = Some(reached);
        }
        if run.lost > 0 || reached < rate as f64 * 0.95 {
            break;
        }
    }
    match best {
        Some(rate) => println!("\nno span lost up to {rate:.0} a second"),
        None => println!("\nspans lost at every rate"),
    }
}
