//! HTTP: axum in, reqwest out.

use crate::known;
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reqwest_middleware::ClientWithMiddleware;
use spanlet_std::reqwest::TraceMiddleware;
use spanlet_std::tower::TraceServerLayer;
use std::error::Error;
use std::net::SocketAddr;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Shop {
    client: ClientWithMiddleware,
    downstream: Option<String>,
}

pub(crate) async fn serve(
    listener: TcpListener,
    downstream: Option<String>,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
        .with(TraceMiddleware::new())
        .build();
    let service = Router::new()
        .route("/", get(relay))
        .route("/absent", get(absent))
        .with_state(Shop { client, downstream })
        .layer(TraceServerLayer::new().client_address(|head| {
            let ConnectInfo(address) = head.extensions.get::<ConnectInfo<SocketAddr>>()?;
            Some(address.ip())
        }))
        .into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(ended)
        .await?;
    Ok(())
}

async fn relay(State(shop): State<Shop>) -> Response {
    match &shop.downstream {
        Some(url) => ask(&shop.client, url).await,
        None => (
            [(header::CONTENT_TYPE, "application/json")],
            known().to_string(),
        )
            .into_response(),
    }
}

/// Asks for what the next service does not have.
async fn absent(State(shop): State<Shop>) -> Response {
    match &shop.downstream {
        Some(url) => ask(&shop.client, &format!("{url}absent")).await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn ask(client: &ClientWithMiddleware, url: &str) -> Response {
    let answer = async {
        let answer = client.get(url).send().await?;
        answer
            .error_for_status()?
            .text()
            .await
            .map_err(reqwest_middleware::Error::from)
    };
    match answer.await {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
