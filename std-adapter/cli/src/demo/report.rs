//! What the demo prints: the waterfall of the checkout, the ledger, and where to look next.
//!
//! Input: [`Traffic`]. Output: text on standard output. Bound: one trace; every line fits the width but the last.

use super::services::plan::Plan;
use super::{DemoArgs, Traffic};
use spanlet_std::trace::{TraceSpan, TraceTree};
use std::io::{self, Write};

/// What people say of each incident.
const STORIES: [&str; 5] = [
    "a checkout takes 3.2 s, and every service looks healthy",
    "a checkout takes 4 s, one call after the other",
    "310 ms, most of them in somebody else's service",
    "900 ms: a model in the way, and calls that wait for each other without need",
    "5 s, and 4.5 s of them nobody seems to work",
];

/// Prints all of it.
pub(crate) fn print(
    args: &DemoArgs,
    plan: &Plan,
    traffic: &Traffic,
    spans: &[TraceSpan],
    forwarded: Option<&str>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let story = STORIES.get(usize::from(args.incident) - 1).unwrap_or(&"");
    let speed = match plan.incident.scale {
        1 => "At full speed".to_owned(),
        scale => format!(
            "{scale} times quicker than it was: read 100 ms as {} s",
            f64::from(scale) / 10.0
        ),
    };
    writeln!(out, "Incident {}: {}", args.incident, story)?;
    writeln!(out, "{speed}; seed {}\n", plan.seed)?;

    let waterfall = args.look.waterfall();
    for tree in TraceTree::build(spans) {
        if tree.trace_id.to_string() == traffic.trace {
            waterfall.write(&tree, &mut out)?;
        }
    }

    ledger(traffic, &mut out)?;
    if let Some(forwarded) = forwarded {
        writeln!(out, "Sent to {forwarded}")?;
    }
    if let Some(path) = &args.json {
        writeln!(out, "Wrote {} spans to {}", spans.len(), path.display())?;
    }
    let spanlet = program();
    let other = args.incident % 5 + 1;
    writeln!(
        out,
        "\nNext: {spanlet} demo --incident {other}   another story of five"
    )?;
    writeln!(
        out,
        "      {spanlet} demo --otlp URL     to Jaeger or any collector"
    )?;
    writeln!(
        out,
        "      examples/checkout/ has the services, std-adapter/README.md how to trace yours"
    )?;
    out.flush()
}

/// Started and what became of it, summed over every process.
fn ledger(traffic: &Traffic, out: &mut impl Write) -> io::Result<()> {
    let (services, devices) = (&traffic.services, &traffic.devices);
    let started = services.started + devices.link.started;
    let exported = services.exported + devices.exported();
    let verdict = match traffic.balances() {
        true => "balanced",
        false => "DOES NOT BALANCE",
    };
    writeln!(
        out,
        "\nLedger: {verdict}: {started} started = {exported} exported{}; {} arrived",
        match started - exported.min(started) {
            0 => String::new(),
            others => format!(" + {others} others"),
        },
        traffic.arrived,
    )?;
    writeln!(out, "  {} services: {services}", traffic.service_count)?;
    writeln!(out, "  1 device:   {devices}")
}

/// How the user called this program.
fn program() -> &'static str {
    let is_built_here =
        |path: std::path::PathBuf| path.components().any(|c| c.as_os_str() == "target");
    match std::env::current_exe().is_ok_and(is_built_here) {
        true => "cargo run --release --",
        false => "spanlet",
    }
}
