//! The `spanlet` command.
#![deny(unsafe_code)]

mod demo;

use clap::{Parser, Subcommand};
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
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::DemoService { name } => demo::services::run(&name).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("spanlet: {error}");
        ExitCode::FAILURE
    })
}
