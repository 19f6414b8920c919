//! A program that uses `tracing`, and exports through spanlet: five lines more than it had (marked `// +`).
//!
//! `cargo run -p spanlet-examples --example tracing_migration` sends to an OTLP collector at
//! `http://localhost:4318`, or wherever `OTEL_EXPORTER_OTLP_ENDPOINT` says; with `OTEL_TRACES_EXPORTER=console` the spans
//! go to standard output, between the log lines that carry their ids.

use spanlet_std::{Telemetry, layer::TracingLayer, logs::JsonFormat}; // +
use std::time::Duration;
use tracing::{error, info, instrument, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let telemetry = Telemetry::builder().service_name("checkout").install()?; // +
    let lines =
        tracing_subscriber::fmt::layer().event_format(JsonFormat::new().with_service("checkout")); // +
    tracing_subscriber::registry()
        .with(TracingLayer::new()) // +
        .with(lines)
        .init();

    for order in 1..=3 {
        if let Err(declined) = checkout(order) {
            error!(order, "checkout failed: {declined}");
        }
    }
    println!("{}", telemetry.shutdown(Duration::from_secs(2))); // +
    Ok(())
}

// From here on nothing has changed.

#[instrument(fields(otel.kind = "server"))]
fn checkout(order: u32) -> Result<(), &'static str> {
    info!(order, "checking out");
    reserve(order);
    charge(order, 3995)?;
    info!("done");
    Ok(())
}

#[instrument]
fn reserve(order: u32) {
    std::thread::sleep(Duration::from_millis(2));
}

#[instrument(err)]
fn charge(order: u32, cents: u64) -> Result<(), &'static str> {
    for attempt in 1..=2 {
        if order != 2 {
            return Ok(());
        }
        warn!(attempt, "card declined");
    }
    Err("card declined")
}
