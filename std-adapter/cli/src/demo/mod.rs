//! `spanlet demo`: a slow checkout, from a device through the services, and what made it slow.
//!
//! Input: [`DemoArgs`]. Output: one waterfall, the bottleneck, the ledger; on request the spans to a file or a
//! collector. Bound: one checkout and a few requests beside it, on this machine's loopback.

mod processes;
pub(crate) mod services;

mod collect;

mod report;

use crate::output::{self, CliError, LookArgs};
use collect::Collector;
use processes::Service;
use services::plan::{BACKGROUND, Plan};
use spanlet_std::Ledger;
use spanlet_std::receiver::DeviceLedger;
use spanlet_std::trace::write_json_lines;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

/// What the demo is to show.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Which incident: 1 slow fraud check, 2 everything in sequence, 3 an external API, 4 missed
    /// parallelism, 5 a stale host
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    incident: u8,
    /// Makes ids and latencies repeatable [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Sends the same spans to a collector too, such as http://localhost:4318
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Writes all spans as JSON lines, to a file or `-`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    look: LookArgs,
}

const EXAMPLES: &str = "Examples:
  spanlet demo                                  a slow fraud check
  spanlet demo --incident 4 --seed 7            missed parallelism, the same each time
  spanlet demo --json spans.jsonl               for scripts
  spanlet demo --otlp http://localhost:4318     to Jaeger or any OpenTelemetry collector too";

/// Services and whether they record spans; each after those that it calls.
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

/// What the demo's processes did.
struct Traffic {
    /// Of all services together.
    services: Ledger,
    service_count: usize,
    /// Of the device, its link and the gateway.
    devices: DeviceLedger,
    /// Spans that arrived, each once.
    arrived: u64,
    /// The checkout's trace.
    trace: String,
}

impl Traffic {
    /// Every span that was started is accounted for, and what is said to have been exported is here.
    fn balances(&self) -> bool {
        self.services.missing() == 0
            && self.devices.missing() == 0
            && self.devices.link.started != 0
            && self.services.exported + self.devices.exported() == self.arrived
    }
}

/// Runs the demo. It fails if the ledger does not balance.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode, CliError> {
    show(args).map_err(|error| match error {
        DemoError::Cli(error) => error,
        error => CliError::Other(error.to_string()),
    })
}

fn show(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    let plan = Plan::new(args.incident.into(), seed).ok_or(DemoError::Incident)?;
    // First, so that a wrong URL or path costs no time.
    let uplink = args.otlp.as_deref().map(collect::uplink).transpose()?;
    let json = args.json.as_deref().map(output::create).transpose()?;
    let collector = Collector::listen().map_err(DemoError::Listen)?;
    let traffic = traffic(args, &plan, &collector);
    progress("");
    let mut traffic = traffic?;
    let spans = collector.spans();
    traffic.arrived = spans.len() as u64;
    if let (Some(mut out), Some(path)) = (json, &args.json) {
        write_json_lines(&spans, &mut out)
            .and_then(|()| out.flush())
            .map_err(|cause| CliError::file("write", path, cause))?;
    }
    let forwarded = match &uplink {
        Some(uplink) => Some(collector.forward(uplink)?),
        None => None,
    };
    report::print(args, &plan, &traffic, &spans, forwarded.as_deref())
        .map_err(|cause| CliError::file("write", Path::new("standard output"), cause))?;
    Ok(match traffic.balances() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Starts everything, has one checkout and the requests beside it, and stops everything.
fn traffic(args: &DemoArgs, plan: &Plan, collector: &Collector) -> Result<Traffic, DemoError> {
    let mut environment: Vec<(String, String)> = [
        ("DEMO_INCIDENT", args.incident.to_string()),
        ("DEMO_SEED", plan.seed.to_string()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.endpoint()),
        ("FRAME_GATEWAY", collector.frame_address()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let mut running = Vec::new();
    for (name, records) in SERVICES {
        progress(&format!("starting {name}"));
        let service = Service::start(name, &environment)?;
        let url = format!("http://{}", service.line("listening")?);
        environment.push((name.to_uppercase().replace('-', "_") + "_URL", url));
        running.push((service, records));
    }
    for (service, _) in &running {
        service.line("ready")?;
    }
    let entry = environment.last().map(|(_, url)| url.clone());
    let entry = entry.unwrap_or_default();
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None);
    let agent: ureq::Agent = agent.build().into();
    let others = |articles: core::ops::Range<u64>| {
        for article in articles {
            // Their answers are of no interest, their spans are.
            let _ = agent.get(format!("{entry}/stock/{article}")).call();
        }
    };
    others(0..BACKGROUND / 2);
    progress("an item is taken off the shelf: the checkout runs");
    let device = Service::start("device", &environment)?;
    let trace = device.line("trace")?;
    device.end()?;
    others(BACKGROUND / 2..BACKGROUND);

    progress("collecting");
    let mut traffic = Traffic {
        services: Ledger::default(),
        service_count: 0,
        devices: DeviceLedger::default(),
        arrived: 0,
        trace,
    };
    let mut add = |ledger: &Ledger| {
        traffic.services = traffic.services.plus(ledger);
        traffic.service_count += 1;
    };
    // Each before those that it calls, so that none calls one that is gone; the queue's reader before the queue.
    for (service, records) in running.into_iter().rev() {
        match records {
            true => add(&service.stop()?),
            false => service.end()?,
        }
    }
    traffic.devices = collector.finish().total();
    Ok(traffic)
}

/// Says what is going on, where somebody watches; an empty text clears the line.
fn progress(what: &str) {
    let mut err = io::stderr().lock();
    if err.is_terminal() {
        let text = if what.is_empty() {
            String::new()
        } else {
            format!("… {what}")
        };
        // For want of a terminal there is nobody to tell.
        let _ = write!(err, "\r\x1b[2K{text}").and_then(|()| err.flush());
    }
}

/// Why the demo could not be shown.
#[derive(Debug)]
pub(crate) enum DemoError {
    /// No such incident.
    Incident,
    /// No port on loopback.
    Listen(services::shop::Failure),
    /// A process could not be started.
    Start {
        name: &'static str,
        cause: io::Error,
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
    Ledger {
        name: &'static str,
        cause: serde_json::Error,
    },
    /// A file or standard output.
    Cli(CliError),
    /// The collector of `--otlp` cannot be sent to.
    Uplink {
        url: String,
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<CliError> for DemoError {
    fn from(error: CliError) -> Self {
        DemoError::Cli(error)
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DemoError::Incident => f.write_str("there are incidents 1 to 5"),
            DemoError::Listen(cause) => {
                write!(f, "no port of 127.0.0.1 can be listened at: {cause}")
            }
            DemoError::Start { name, cause } => write!(f, "{name} could not be started: {cause}"),
            DemoError::Silent { name, word } => write!(
                f,
                "{name} ended or took over 20 s before it came to \"{word}\": its messages above say why"
            ),
            DemoError::Failed { name, status } => {
                write!(f, "{name} failed ({status}): its messages above say why")
            }
            DemoError::Ledger { name, cause } => {
                write!(f, "{name} gave a ledger that cannot be read: {cause}")
            }
            DemoError::Cli(error) => error.fmt(f),
            DemoError::Uplink { url, cause } => {
                write!(f, "the spans cannot be sent to {url}: {cause}")
            }
        }
    }
}

impl std::error::Error for DemoError {}
