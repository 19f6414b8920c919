//! The service that the W3C's trace-context test suite talks to.
//!
//! Input: `POST /test` with a JSON array of `{"url": …, "arguments": …}`. Output: each `arguments` as JSON to its
//! `url`, in the trace that the request's headers continue; 200 once all are sent. All of the tracing is done by the
//! layer of the server and the middleware of the client. Bound: one call after the other.
//!
//! `cargo run -p spanlet-examples --example w3c_service -- 5000`, and in the suite's directory
//! `SPEC_LEVEL=2 STRICT_LEVEL=2 python test.py http://127.0.0.1:5000/test`

use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::{Json, Router, routing::post};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde::Deserialize;
use serde_json::Value;
use spanlet_std::Telemetry;
use spanlet_std::reqwest::TraceMiddleware;
use spanlet_std::tower::TraceServerLayer;
use std::error::Error;
use std::time::Duration;

/// A call that the service is asked to make.
#[derive(Deserialize)]
struct Call {
    url: String,
    arguments: Value,
}

/// The service.
pub(crate) fn app() -> Router {
    let client = ClientBuilder::new(reqwest::Client::new())
        .with(TraceMiddleware::new())
        .build();
    Router::new()
        .route("/test", post(test))
        .layer(TraceServerLayer::new())
        .with_state(client)
}

async fn test(
    State(client): State<ClientWithMiddleware>,
    Json(calls): Json<Vec<Call>>,
) -> StatusCode {
    for Call { url, arguments } in calls {
        let call = (client.post(&url))
            .header(CONTENT_TYPE, "application/json")
            .body(arguments.to_string());
        if let Err(error) = call.send().await {
            eprintln!("POST {url}: {error}");
            return StatusCode::BAD_GATEWAY;
        }
    }
    StatusCode::OK
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = match std::env::args().nth(1) {
        Some(port) => port.parse()?,
        None => return Err("usage: w3c_service PORT".into()),
    };
    let telemetry = Telemetry::builder().service_name("w3c-service").install()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}/test", listener.local_addr()?);
    axum::serve(listener, app())
        .with_graceful_shutdown(async {
            // Without signals it serves until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    println!("{}", telemetry.shutdown(Duration::from_secs(2)));
    Ok(())
}
