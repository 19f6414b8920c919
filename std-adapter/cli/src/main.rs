//! The `spanlet` command: arguments, then the work of one subcommand.
//!
//! Exit codes: 0 done, also when whoever reads the output has seen enough; 1 it could not be done, with one line
//! that says why; 2 the arguments are wrong.
#![deny(unsafe_code)]

mod output;

mod decode;
mod demo;
mod gateway;

use clap::{Parser, Subcommand};
use output::CliError;
use std::error::Error;
use std::process::ExitCode;

/// Distributed tracing from devices to servers.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows a slow checkout, traced from a device through seven services, and what made it slow.
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

fn run(command: Command) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    match command {
        Command::Demo(args) => return Ok(demo::run(&args)?),
        Command::DemoService { name } => demo::services::run(&name)?,
        Command::Gateway(args) => gateway::run(args)?,
        Command::Decode(args) => decode::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|error| {
        // Whoever reads has seen enough.
        let is_broken_pipe = |error: &CliError| error.is_broken_pipe();
        if error.downcast_ref().is_some_and(is_broken_pipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("spanlet: {error}");
        ExitCode::FAILURE
    })
}
