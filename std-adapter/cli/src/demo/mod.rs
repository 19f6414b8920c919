//! `spanlet demo`: a slow checkout, from a device through the services, and what made it slow.
//!
//! Input: [`DemoArgs`]. Output: one waterfall, the bottleneck, the ledger; on request the spans to a file or a
//! collector. Bound: one checkout and a few requests beside it, on this machine's loopback.

mod collect;
mod processes;
pub(crate) mod services;

use collect::Collected;
use processes::Service;
use services::plan::{BACKGROUND, Plan};
use spanlet_std::Ledger;
use spanlet_std::trace::{TraceTree, Waterfall, write_json_lines};
use std::fmt;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

/// What the demo is to show.
#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// Which incident: 1 slow fraud check, 2 everything in sequence, 3 an external API, 4 missed parallelism,
    /// 5 a stale host.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    incident: u8,
    /// Makes ids and latencies repeatable [default: another one each time].
    #[arg(long)]
    seed: Option<u64>,
    /// Sends the same spans to a collector too, such as http://localhost:4318/v1/traces.
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Writes all spans as JSON lines.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Columns of the picture [default: those of the terminal, else 100].
    #[arg(long)]
    width: Option<usize>,
    /// Draws without colours; so does NO_COLOR.
    #[arg(long)]
    no_color: bool,
    /// Draws with ASCII alone.
    #[arg(long)]
    ascii: bool,
}

/// Services, those that others call first. What has no spans has no ledger.
const SERVICES: [(&str, bool); 10] = [
    ("outside", false),
    ("queue", false),
    ("notification-service", true),
    ("card-processing", true),
    ("fraud-check", true),
    ("rates-service", true),
    ("payment-service", true),
    ("inventory-service", true),
    ("order-service", true),
    ("api-gateway", true),
];

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode, services::shop::Failure> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    let plan = Plan::new(usize::from(args.incident), seed).ok_or("incidents are 1 to 5")?;
    let (ledger, collected, trace) = traffic(args, &plan)?;
    let spans = collected.spans();
    if let Some(path) = &args.json {
        let file = std::fs::File::create(path)?;
        let mut out = BufWriter::new(file);
        write_json_lines(&spans, &mut out)?;
        out.flush()?;
    }
    let mut out = std::io::stdout().lock();
    let width = args
        .width
        .or_else(|| Some(terminal_size::terminal_size()?.0.0.into()));
    let colour = !args.no_color && std::env::var_os("NO_COLOR").is_none() && out.is_terminal();
    let waterfall = Waterfall::new(width.unwrap_or(100))
        .colour(colour)
        .ascii(args.ascii);
    for tree in TraceTree::build(&spans) {
        if tree.trace_id.to_string() == trace {
            waterfall.write(&tree, &mut out)?;
        }
    }
    writeln!(out, "Ledger: {ledger}")?;
    Ok(ExitCode::SUCCESS)
}

fn traffic(args: &DemoArgs, plan: &Plan) -> Result<(Ledger, Collected, String), DemoError> {
    let collected = Collected::listen().map_err(DemoError::Listen)?;
    let mut environment: Vec<(String, String)> = [
        ("DEMO_INCIDENT", args.incident.to_string()),
        ("DEMO_SEED", plan.seed.to_string()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collected.endpoint()),
        ("FRAME_GATEWAY", collected.frame_address()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let mut running: Vec<(Service, bool)> = Vec::new();
    for (name, has_spans) in SERVICES {
        let service = Service::start(name, &environment)?;
        let address = service.line("listening")?;
        let key = name.to_uppercase().replace('-', "_") + "_URL";
        environment.push((key, format!("http://{address}")));
        running.push((service, has_spans));
    }
    for (service, _) in &running {
        service.line("ready")?;
    }
    let gateway = environment
        .last()
        .map(|(_, url)| url.clone())
        .unwrap_or_default();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let background = |skus: core::ops::Range<u64>| {
        for sku in skus {
            // The answer is of no interest; its spans are.
            let _ = agent.get(format!("{gateway}/stock/{sku}")).call();
        }
    };
    background(0..BACKGROUND / 2);
    let device = Service::start("device", &environment)?;
    let trace = device.line("trace")?;
    device.end()?;
    background(BACKGROUND / 2..BACKGROUND);
    let mut ledger = Ledger::default();
    for (service, has_spans) in running.into_iter().rev() {
        if has_spans {
            ledger = ledger.plus(&service.stop()?);
        } else {
            service.end()?;
        }
    }
    Ok((ledger, collected, trace))
}

/// Why the demo could not be shown.
#[derive(Debug)]
pub(crate) enum DemoError {
    /// No port on loopback.
    Listen(std::io::Error),
    /// A process could not be started.
    Start {
        name: &'static str,
        cause: std::io::Error,
    },
    /// A process did not say what it should.
    Silent {
        name: &'static str,
        word: &'static str,
    },
    /// A process ended badly.
    Failed {
        name: &'static str,
        status: ExitStatus,
    },
    /// A ledger that is none.
    BadLedger {
        name: &'static str,
        cause: serde_json::Error,
    },
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DemoError::Listen(cause) => {
                write!(f, "no port of 127.0.0.1 can be listened at: {cause}")
            }
            DemoError::Start { name, cause } => write!(f, "{name} could not be started: {cause}"),
            DemoError::Silent { name, word } => {
                write!(
                    f,
                    "{name} did not get to \"{word}\" within 20 s or ended before: see its messages above"
                )
            }
            DemoError::Failed { name, status } => {
                write!(f, "{name} failed ({status}): see its messages above")
            }
            DemoError::BadLedger { name, cause } => {
                write!(f, "{name} gave a ledger that cannot be read: {cause}")
            }
        }
    }
}

impl std::error::Error for DemoError {}
