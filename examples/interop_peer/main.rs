//! A peer for tests against tracing software that is not ours: everything that a span can hold, and
//! context in and out over HTTP.
//!
//! ```text
//! interop_peer spans         records one span of each sort
//! interop_peer spans finite  the same without doubles that JSON has no numbers for
//! interop_peer burst COUNT   records spans as fast as it can
//! interop_peer call URL      GETs it, in the trace that TRACEPARENT, TRACESTATE and BAGGAGE name
//! interop_peer serve         answers with what it got, until its input ends
//! ```
//!
//! Exports to where `OTEL_EXPORTER_OTLP_ENDPOINT` says. Prints lines of JSON: what it did, then the ledger.

mod spans;

use serde_json::{Value as Json, json};
use spanlet::{InstrumentationScope, ParentContext, SpanContext, SpanKind};
use spanlet_std::propagation::{Context, HttpFieldsMut, MessageFields, TinyHttpFields};
use spanlet_std::{Span, Telemetry, span};
use std::error::Error;
use std::time::Duration;

/// What of the baggage may leave this process.
const FORWARDED: &[&str] = &["tenant.id", "user.name"];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let telemetry = Telemetry::builder()
        .scope(InstrumentationScope::new("interop_peer"))
        .resource_attribute("set.in.code", "größer als 3")
        .install()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["spans"] => spans::spans(false)?,
        ["spans", "finite"] => spans::spans(true)?,
        ["burst", count] => burst(count.parse()?),
        ["call", url] => call(url)?,
        ["serve"] => serve()?,
        _ => {
            return Err(
                "usage: interop_peer spans [finite] | burst COUNT | call URL | serve".into(),
            );
        }
    }
    let ledger = telemetry.shutdown(Duration::from_secs(20));
    let (missing, errors) = (ledger.missing(), telemetry.last_errors());
    println!(
        "{}",
        json!({"ledger": ledger, "missing": missing, "errors": errors})
    );
    Ok(())
}

/// A span's ids, as the other side should see them. Ends it.
fn report(mut span: Span, parent: Option<SpanContext>, more: Json) {
    let context = span.context();
    span.end();
    println!(
        "{}",
        json!({
            "trace_id": context.trace_id().to_string(),
            "span_id": context.span_id().to_string(),
            "parent_id": parent.map(|parent| parent.span_id().to_string()),
            "more": more,
        })
    );
}

fn burst(count: u64) {
    for i in 0..count {
        let mut span: Span = span("burst").start();
        span.set_attribute("i", i as i64)
            .set_static("static", "text");
    }
}

fn call(url: &str) -> Result<(), Box<dyn Error>> {
    let of_environment =
        |name: &'static str| Some((name, std::env::var(name.to_uppercase()).ok()?));
    let came: MessageFields = ["traceparent", "tracestate", "baggage"]
        .into_iter()
        .filter_map(of_environment)
        .collect();
    let context = Context::extract(&came);
    let mut client: Span = span("GET").kind(SpanKind::Client).parent(&context).start();
    client.set_attribute("url.full", url);
    let mut request = ureq::http::Request::get(url).body(())?;
    context.inject(
        &client,
        FORWARDED,
        &mut HttpFieldsMut(request.headers_mut()),
    )?;
    let answered = ureq::run(request).and_then(|mut response| response.body_mut().read_to_string());
    if let Err(error) = &answered {
        client.record_error(error);
    }
    report(client, context.span_context(), json!(answered?));
    Ok(())
}

fn serve() -> Result<(), Box<dyn Error>> {
    let server = tiny_http::Server::http("127.0.0.1:0").map_err(|error| error as Box<dyn Error>)?;
    println!("{}", json!({ "listens": server.server_addr().to_string() }));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            server.unblock();
        });
        for request in server.incoming_requests() {
            let mut context = Context::extract(&TinyHttpFields(request.headers()));
            let served: Span = span("serve")
                .kind(SpanKind::Server)
                .parent(&context)
                .start();
            let baggage: serde_json::Map<_, _> = context
                .baggage_mut()
                .iter()
                .map(|entry| (entry.key().to_owned(), entry.value().to_string().into()))
                .collect();
            let answer = json!({
                "trace_id": served.context().trace_id().to_string(),
                "span_id": served.context().span_id().to_string(),
                "is_recording": served.is_recording(),
                "trace_state": context.trace_state().unwrap_or_default(),
                "baggage": baggage,
                "fault": context.fault().map(ToString::to_string),
            });
            // A caller that went away is its own affair.
            let _ = request.respond(tiny_http::Response::from_string(answer.to_string()));
        }
    });
    Ok(())
}
