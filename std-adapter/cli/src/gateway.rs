//! `spanlet gateway`: devices over TCP and standard input → OTLP, JSON lines, waterfalls.
//!
//! Input: frames of devices. Output: spans to a collector, a file, the terminal; on standard error a line now and
//! then, and the ledger at the end. Bound: the gateway's. Ends on Ctrl-C or SIGTERM, or with standard input where that
//! is all there is, with what it has sent out.

use crate::control;
use crate::intake::{Intake, IntakeArgs};
use crate::output::{CliError, LookArgs, Printer};
use clap::{ArgGroup, Args};
use spanlet_std::clock::ClockConfig;
use spanlet_std::config::{Config, Endpoint};
use spanlet_std::export::{SpanExporter, otlp_exporter};
use spanlet_std::receiver::{Gateway, GatewayLedger};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often traces that have come to rest are looked for.
const TURN: Duration = Duration::from_millis(100);
/// How long the end may take.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Where to listen, and where spans go.
#[derive(Args)]
#[command(
    group(ArgGroup::new("output").required(true).multiple(true).args(["otlp", "json", "waterfall"])),
    after_help = "\
Examples:
  spanlet gateway --otlp http://localhost:4318           to a collector, Jaeger or Tempo
  spanlet gateway --waterfall                            each trace on the terminal
  spanlet gateway --json spans.jsonl --listen [::1]:9000
  spanlet gateway --json - | jq '{name, startTimeUnixNano, attributes}'
  spanlet gateway --waterfall --connect localhost:9090   to a bridge that listens, as OpenOCD's RTT server does
  spanlet gateway --waterfall --stdin < /dev/ttyACM0     a serial port (after `stty -F /dev/ttyACM0 raw`)

Devices connect over TCP and send frames (core/WIRE.md). Protocol (http/protobuf or http/json), headers,
timeout, compression and certificates for the collector come from the OTEL_EXPORTER_OTLP_* variables.

Times of devices are mapped to this machine's clock. Each span says by how much its start and end may be off it:
spanlet.clock.error_bound_ns, or spanlet.clock.error = unknown where nothing bounds the link's delay."
)]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    intake: IntakeArgs,
    /// Takes commands to devices over HTTP: POST /devices/{device_id}/commands, with a traceparent header
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: Option<SocketAddr>,
    /// Sends spans to this OTLP/HTTP collector; /v1/traces is added to the URL unless it is there
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Writes spans as JSON lines to a file, - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws each trace when it has come to rest
    #[arg(long)]
    waterfall: bool,
    /// Seconds between lines about what has come in, 0 for none
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    stats: u64,
    /// Exports the device's name as device.id
    #[arg(long)]
    device_id: bool,
    #[command(flatten)]
    clock: ClockArgs,
    #[command(flatten)]
    look: LookArgs,
}

/// What is known of devices' clocks and links.
#[derive(Args)]
#[command(next_help_heading = "Clocks of devices")]
struct ClockArgs {
    /// Seconds between questions for the time of devices that answer them; more often at first
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    ping_every: Duration,
    /// The longest that a frame is under way, from a device that answers no questions: bounds the error
    #[arg(long, value_name = "MILLISECONDS")]
    max_link_delay: Option<u64>,
    /// The speed of the serial link behind, in bits a second: what a frame takes on it is then no delay
    #[arg(long, value_name = "BITS")]
    baud: Option<u32>,
    /// How far devices' oscillators may be off
    #[arg(long, value_name = "PPM", default_value_t = 25_000, value_parser = clap::value_parser!(u32).range(..=500_000))]
    max_rate_error: u32,
}

impl ClockArgs {
    fn config(&self) -> ClockConfig {
        let mut config = ClockConfig::default().with_max_rate_error_ppm(self.max_rate_error);
        if let Some(ms) = self.max_link_delay {
            config = config.with_max_link_delay(Duration::from_millis(ms));
        }
        if let Some(baud) = self.baud {
            config = config.with_baud(baud);
        }
        config
    }
}

/// A time above zero, with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    match duration.is_zero() {
        true => Err("must be more than 0".to_owned()),
        false => Ok(duration),
    }
}

pub(crate) fn run(args: GatewayArgs) -> Result<(), CliError> {
    let waterfall = args.waterfall.then(|| args.look.waterfall());
    let mut builder = Gateway::builder()
        .allow_remote(args.intake.allow_remote)
        .export_device_id(args.device_id)
        .clock(args.clock.config())
        .ping_every(args.clock.ping_every);
    if let Some(url) = &args.otlp {
        builder = builder.exporter(exporter(url)?);
    }
    let printer = Printer::new(args.json.as_deref(), waterfall)?;
    let printer = Arc::new(Mutex::new(printer));
    let lock = || printer.lock().unwrap_or_else(PoisonError::into_inner);
    if args.json.is_some() || args.waterfall {
        let to = printer.clone();
        builder = builder.sink(move |span| {
            let span = span.to_trace_span();
            to.lock().unwrap_or_else(PoisonError::into_inner).span(span);
        });
    }
    if let Some(address) = args.control {
        control::check(address, args.intake.allow_remote)?;
    }
    let (stop, stopped) = channel();
    ctrlc::set_handler(move || {
        // Gone if the end has begun already.
        let _ = stop.send(());
    })
    .map_err(|cause| CliError::Other(format!("cannot wait for signals: {cause}")))?;
    let intake = Arc::new(Intake::start(builder, &args.intake)?);
    if let Some(address) = args.control {
        control::serve(address, &intake)?;
    }

    let mut reports = Reports::new(args.stats);
    let printed = loop {
        match stopped.recv_timeout(TURN) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break Ok(()),
        }
        let done = lock().turn();
        if done.is_err() || intake.is_finished() {
            break done;
        }
        reports.turn(&intake);
    };
    let (ledger, errors) = intake.shutdown(SHUTDOWN);
    let printed = printed.and_then(|()| lock().finish());
    print_ledger(&ledger);
    for error in errors {
        eprintln!("{error}");
    }
    printed?;
    match ledger.total().missing() {
        0 => Ok(()),
        n => Err(CliError::Other(format!(
            "{n} spans are not accounted for: please report this"
        ))),
    }
}

fn exporter(url: &str) -> Result<Box<dyn SpanExporter>, CliError> {
    let (mut config, warnings) = Config::from_process();
    for warning in warnings {
        eprintln!("spanlet: {warning}");
    }
    let path_end = url.split(['?', '#']).next().unwrap_or_default();
    let endpoint = match path_end.trim_end_matches('/').ends_with("/v1/traces") {
        true => Endpoint::exact(url),
        false => Endpoint::base(url),
    };
    config.otlp.endpoint =
        endpoint.map_err(|error| CliError::Other(format!("--otlp {url}: {error}")))?;
    otlp_exporter(config.otlp).map_err(|error| CliError::Other(format!("--otlp {url}: {error}")))
}

/// A line every now and then, if something has happened.
struct Reports {
    every: Duration,
    last: Instant,
    seen: GatewayLedger,
}

impl Reports {
    fn new(seconds: u64) -> Self {
        Reports {
            every: Duration::from_secs(seconds),
            last: Instant::now(),
            seen: GatewayLedger::default(),
        }
    }
    fn turn(&mut self, intake: &Intake) {
        if self.every.is_zero() || self.last.elapsed() < self.every {
            return;
        }
        self.last = Instant::now();
        let ledger = intake.gateway().ledger();
        if ledger == self.seen {
            return;
        }
        let (devices, connections) = (ledger.devices.len(), intake.connections());
        let (total, came) = (ledger.total(), ledger.intake);
        eprintln!("{devices} devices ({connections} connected): {total}; {came}");
        self.seen = ledger;
    }
}

fn print_ledger(ledger: &GatewayLedger) {
    for device in &ledger.devices {
        eprintln!("{}: {device}", device.device_id);
    }
    if ledger.devices.len() > 1 {
        eprintln!("{} devices: {}", ledger.devices.len(), ledger.total());
    }
    eprintln!("{}", ledger.intake);
}
