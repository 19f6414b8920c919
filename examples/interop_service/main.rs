//! Services for tests against tracing software that is not ours, traced by the layers that we ship and by
//! nothing else: their own code starts no span and reads no header.
//!
//! ```text
//! interop_service http    an axum service: GET / asks DOWNSTREAM, if there is one, and passes the answer on
//! interop_service grpc    a tonic service: spanlet.interop.Relay/Ask does the same
//! ```
//!
//! The last service answers with what it knows of the request. Exports to where `OTEL_EXPORTER_OTLP_ENDPOINT`
//! says. Prints where it listens, and when its input ends the ledger; both are lines of JSON.

mod grpc;
mod http;

use serde_json::{Value as Json, json};
use spanlet::{InstrumentationScope, ParentContext};
use spanlet_std::Telemetry;
use spanlet_std::propagation::Context;
use std::error::Error;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::builder()
        .scope(InstrumentationScope::new("interop_service"))
        .forward_baggage(["tenant.id", "user.name"])
        .install()?;
    let kind = std::env::args().nth(1).unwrap_or_default();
    let downstream = std::env::var("DOWNSTREAM")
        .ok()
        .filter(|url| !url.is_empty());
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!(
            "{}",
            json!({ "listens": listener.local_addr()?.to_string() })
        );
        match kind.as_str() {
            "http" => http::serve(listener, downstream, input_ended()).await,
            "grpc" => grpc::serve(listener, downstream, input_ended()).await,
            _ => Err("usage: interop_service http | grpc".into()),
        }
    })?;
    drop(runtime);
    let ledger = telemetry.shutdown(Duration::from_secs(20));
    let (missing, errors) = (ledger.missing(), telemetry.last_errors());
    println!(
        "{}",
        json!({"ledger": ledger, "missing": missing, "errors": errors})
    );
    Ok(())
}

/// Ends when standard input does.
async fn input_ended() {
    let (ended, wait) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = wait.await;
}

/// What is current while a request is served.
fn known() -> Json {
    let mut context = Context::current();
    let span = context.span_context();
    let baggage: serde_json::Map<_, _> = context
        .baggage_mut()
        .iter()
        .map(|entry| (entry.key().to_owned(), entry.value().to_string().into()))
        .collect();
    json!({
        "trace_id": span.map(|span| span.trace_id().to_string()),
        "span_id": span.map(|span| span.span_id().to_string()),
        "is_sampled": span.is_some_and(|span| span.is_sampled()),
        "trace_state": context.trace_state().unwrap_or_default(),
        "baggage": baggage,
    })
}
