//! The `spanlet` command: arguments, then the work of one subcommand.
//!
//! Exit codes: 0 done, also when whoever reads the output has seen enough; 1 it could not be done, with one line
//! that says why; 2 the arguments are wrong.
#![deny(unsafe_code)]

mod output;

mod control;
mod decode;
mod demo;
mod gateway;
mod intake;

use clap::{Parser, Subcommand};
use output::CliError;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  spanlet demo                                      a first trace, with nothing to install
  spanlet gateway --otlp http://localhost:4318      devices' spans to any OpenTelemetry collector
  spanlet decode --waterfall capture.bin            what a device has sent";

/// Distributed tracing from devices to servers.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows a slow checkout, traced from a device through its services, and what made it slow.
    Demo(demo::DemoArgs),
    /// One service of the demo.
    #[command(hide = true)]
    DemoService {
        /// Which one.
        name: String,
    },
    /// Takes the spans of devices over TCP and sends them on as OTLP.
    Gateway(gateway::GatewayArgs),
    /// Reads captured frames of a device and prints its spans.
    Decode(decode::DecodeArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::DemoService { name } => demo::services::run(&name)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| CliError::Other(format!("{name}: {error}"))),
        Command::Gateway(args) => gateway::run(args).map(|()| ExitCode::SUCCESS),
        Command::Decode(args) => decode::run(args).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        // Whoever reads has seen enough.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spanlet: {error}");
            ExitCode::FAILURE
        }
    }
}
