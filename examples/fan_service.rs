//! The cloud's side of `examples/firmware/embassy`: takes a device's readings, and sets its fan.
//!
//! Input: `POST /readings` of devices, with their `traceparent`. Output: spans to where `OTEL_EXPORTER_OTLP_ENDPOINT`
//! says; a command for each reading, through `spanlet gateway --control`. Ends when its input does, with the ledger as
//! a line of JSON.
//!
//! `cargo run -p spanlet-examples --example fan_service -- 127.0.0.1:8080 http://127.0.0.1:4320/devices/fan-0001/commands`

use serde_json::json;
use spanlet::SpanKind;
use spanlet_std::propagation::{Context, HttpFieldsMut, TinyHttpFields};
use spanlet_std::{Span, Telemetry, span};
use std::error::Error;
use std::io::Read;
use std::time::Duration;
use tiny_http::{Request, Response, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, commands] = &arguments[..] else {
        return Err("usage: fan_service ADDRESS:PORT COMMANDS_URL".into());
    };
    let telemetry = Telemetry::builder().service_name("fan-service").install()?;
    let server = Server::http(address).map_err(|error| error as Box<dyn Error>)?;
    println!("{}", json!({ "listens": server.server_addr().to_string() }));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            server.unblock();
        });
        for request in server.incoming_requests() {
            reading(request, commands);
        }
    });
    let ledger = telemetry.shutdown(Duration::from_secs(10));
    println!("{}", json!({"ledger": ledger, "missing": ledger.missing()}));
    Ok(())
}

/// The device calls us: a span in its trace.
fn reading(mut request: Request, commands: &str) {
    let context = Context::extract(&TinyHttpFields(request.headers()));
    let mut span: Span = (span("POST /readings").kind(SpanKind::Server))
        .parent(&context)
        .start();
    let mut body = String::new();
    let read = request.as_reader().take(16).read_to_string(&mut body);
    let celsius_tenths = read.ok().and_then(|_| body.parse::<i64>().ok());
    let status = match celsius_tenths {
        Some(celsius_tenths) => {
            span.set_attribute("celsius_tenths", celsius_tenths);
            // 20 % at 20.0 °C, and 40 % more a degree.
            let percent = ((celsius_tenths - 195) * 4).clamp(0, 100) as u8;
            match set_fan(percent, &context, &span, commands) {
                Ok(()) => 204,
                Err(error) => {
                    span.record_error(&*error);
                    502
                }
            }
        }
        None => 400,
    };
    span.set_attribute("http.response.status_code", status);
    span.end();
    // A device that went away is its own affair.
    let _ = request.respond(Response::empty(status as u16));
}

/// We call the device: the command carries the context of our span.
fn set_fan(
    percent: u8,
    context: &Context,
    parent: &Span,
    commands: &str,
) -> Result<(), Box<dyn Error>> {
    let mut span: Span = span("POST").kind(SpanKind::Client).parent(parent).start();
    span.set_attribute("url.full", commands)
        .set_attribute("fan.percent", i64::from(percent));
    let mut request = ureq::http::Request::post(commands).body(vec![percent])?;
    context.inject(&span, &[], &mut HttpFieldsMut(request.headers_mut()))?;
    let sent = ureq::run(request);
    if let Err(error) = &sent {
        span.record_error(error);
    }
    sent?;
    Ok(())
}
