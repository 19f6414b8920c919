//! What the demo prints: the waterfall of the checkout, the ledger, and where to look next.
//!
//! Input: [`Traffic`]. Output: text on standard output. Bound: one trace; every line fits the width but the last.

use super::services::plan::Plan;
use super::{DemoArgs, Traffic};
use spanlet_std::trace::{TraceSpan, TraceTree};
use std::io::{self, Write};

/// Prints all of it.
pub(crate) fn print(
    args: &DemoArgs,
    plan: &Plan,
    traffic: &Traffic,
    spans: &[TraceSpan],
    forwarded: Option<&str>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let scale = match plan.incident.scale {
        1 => "times are the story's".to_owned(),
        scale => format!(
            "{scale} times quicker than the story: read 100 ms as {} s",
            f64::from(scale) / 10.0
        ),
    };
    writeln!(out, "Incident {}: {}", args.incident, plan.incident.title)?;
    writeln!(out, "{scale}; seed {}\n", plan.seed)?;

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
    let other = u8::from(args.incident == 1) + 1;
    write!(
        out,
        "\nNext: spanlet demo --incident {other} (there are 5)\n      \
         spanlet demo --otlp http://localhost:4318 sends this to Jaeger or any collector\n      \
         examples/checkout/ has the services' code, std-adapter/README.md how to trace your own\n"
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
