//! Layers for servers and clients of HTTP and gRPC: hyper, axum, tonic, and clients behind a tower service.
//!
//! Input: requests and responses of the `http` crate. Output: a span per request, from its head to the end of the
//! response's body, named and described by the semantic conventions; context in and out. Bound: what is held is in
//! the response's future and body; a request that is not sampled and brings neither trace state nor baggage
//! allocates nothing here.
//!
//! A service of axum:
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! use axum::{Router, routing::get};
//! use spanlet_std::tower::TraceServerLayer;
//!
//! let app: Router = Router::new()
//!     .route("/orders/{id}", get(|| async { "an order" })) // the span: "GET /orders/{id}"
//!     .route("/healthz", get(|| async { "well" }))
//!     .layer(TraceServerLayer::new().skip_paths(["/healthz"]));
//! # }
//! ```
//!
//! What a handler does is done inside the server's span: spans that it starts are children, and a client with a
//! [`TraceClientLayer`] sends the context on. A task that it spawns is given the context:
//! [`WithContext`](crate::propagation::WithContext).
//!
//! gRPC, told by the request's content type, has its own conventions: spans are named `package.Service/Method`, and
//! their outcome is the `grpc-status` of the trailers. tonic takes the same layers, without an interceptor:
//! `Server::builder().layer(TraceServerLayer::new())`, and `TraceClientLayer::new().layer(channel)` for a generated
//! client.

mod body;
mod client;
#[cfg(feature = "metrics")]
mod count;
#[cfg(not(feature = "metrics"))]
#[path = "count_disabled.rs"]
mod count;
mod exchange;
mod head;
mod server;

pub use body::TracedBody;
pub use client::{ClientFuture, TraceClient, TraceClientLayer};
pub use head::{HttpRoute, RequestHead, Resends};
pub use server::{ServerFuture, TraceServer, TraceServerLayer};
