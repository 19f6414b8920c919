//! A service of axum, traced: the place to start from.
//!
//! Input: `GET /orders/{id}`. Output: the order, put together from two calls to other services, which for this example
//! are routes of the same process. The trace: `GET /orders/{id}` → `assemble order` → `GET /stock/{id}` and
//! `GET /prices/{id}`, each with the span of the service that answers. Its id is in the answer's `trace-id` header.
//!
//! `cargo run -p spanlet-examples --example axum_service -- 8080`, then `curl -i 127.0.0.1:8080/orders/17`. Spans go to
//! where `OTEL_EXPORTER_OTLP_ENDPOINT` says (`http://localhost:4318`); without a collector the service does as well,
//! and says at its end how many spans were lost.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde_json::{Value, json};
use spanlet::{KeyValue, ParentContext, ResultExt, within};
use spanlet_std::propagation::Context;
use spanlet_std::reqwest::{TraceMiddleware, UrlTemplate};
use spanlet_std::tower::TraceServerLayer;
use spanlet_std::{Span, Telemetry, span};
use std::error::Error;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = match std::env::args().nth(1) {
        Some(port) => port.parse()?,
        None => return Err("usage: axum_service PORT".into()),
    };

    // 1. Recording, once, at the start. `OTEL_*` variables apply.
    let telemetry = Telemetry::builder().service_name("orders").install()?;

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    println!("http://{address}/orders/17");
    axum::serve(listener, app(format!("http://{address}")))
        .with_graceful_shutdown(async {
            // Without signals it serves until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;

    // 5. At the end: what is left is sent, and what was lost is known.
    println!("{}", telemetry.shutdown(Duration::from_secs(2)));
    Ok(())
}

/// Where the other services are, and the client that calls them.
#[derive(Clone)]
struct Services {
    client: ClientWithMiddleware,
    base: String,
}

/// The service. Those that it calls are under `base`.
pub(crate) fn app(base: String) -> Router {
    // 2. A client whose calls are spans, and carry the trace on.
    let client = ClientBuilder::new(reqwest::Client::new())
        .with(TraceMiddleware::new())
        .build();
    Router::new()
        .route("/orders/{id}", get(order))
        .route("/stock/{id}", get(stock))
        .route("/prices/{id}", get(price))
        .route("/healthz", get(|| async { "well" }))
        .layer(from_fn(tell_trace_id))
        // 3. A server whose requests are spans: the outermost layer, added last.
        .layer(TraceServerLayer::new().skip_paths(["/healthz"]))
        .with_state(Services { client, base })
}

async fn order(
    State(services): State<Services>,
    Path(id): Path<u32>,
) -> Result<Json<Value>, (StatusCode, String)> {
    // 4. What only this service knows: a span with the business's attributes. What is called inside is its child.
    let mut assemble: Span = span("assemble order").start();
    assemble.set_attribute("order.id", id);
    let parts = within(&mut assemble, async {
        let stock = services.get("/stock/{id}", id).await?;
        let price = services.get("/prices/{id}", id).await?;
        Ok::<_, reqwest_middleware::Error>((stock, price))
    });
    let parts = parts.await.record_err(&mut assemble);
    let (stock, price) = parts.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;

    if stock["pieces"] == 0 {
        assemble.add_event("order.backordered", &[KeyValue::new("order.id", id)]);
    }
    if let Some(cents) = price["cents"].as_i64() {
        assemble.set_attribute("order.total_cents", cents);
    }
    Ok(Json(json!({"id": id, "stock": stock, "price": price})))
}

async fn stock(Path(id): Path<u32>) -> Json<Value> {
    Json(json!({"pieces": id % 5}))
}

async fn price(Path(id): Path<u32>) -> Json<Value> {
    // A slow one, to have something to see.
    tokio::time::sleep(Duration::from_millis(20)).await;
    Json(json!({"cents": 100 + i64::from(id)}))
}

impl Services {
    async fn get(&self, template: &'static str, id: u32) -> reqwest_middleware::Result<Value> {
        let url = self.base.clone() + &template.replace("{id}", &id.to_string());
        let request = self.client.get(url).with_extension(UrlTemplate(template));
        let response = request.send().await?.error_for_status()?;
        Ok(response.json().await?)
    }
}

/// The trace id in the answer, for whoever has to ask about it.
async fn tell_trace_id(request: Request, next: Next) -> Response {
    let trace = Context::current().span_context();
    let mut response = next.run(request).await.into_response();
    let id = trace.map(|span| span.trace_id().to_string());
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        response.headers_mut().insert("trace-id", id);
    }
    response
}
