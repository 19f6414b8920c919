//! What a request is counted by when it is over, sampled or not (feature `metrics`).
//!
//! Input: what is known at its head, then its outcome. Output: an observation of a [`RequestMetrics`]. Bound: one
//! allocation a request that is counted, more only for routes and names over 64 bytes.
//!
//! What a caller can write freely is no label: a path without a route counts without one, a method that the service
//! has not implemented as `_OTHER`.

use super::{TraceClientLayer, TraceServerLayer};
use crate::conventions::{Server, Text};
use crate::metrics::{Request, RequestMetrics, RequestObservation};
use http::StatusCode;
use spanlet::SpanContext;
use std::sync::Arc;
use std::time::Instant;

/// Where a layer counts its requests, if it does.
pub(super) type Metrics = Option<Arc<RequestMetrics>>;

impl TraceServerLayer {
    /// Counts the requests that this layer traces, sampled or not, from their head to the end of their span.
    ///
    /// Costs a counted request one allocation.
    ///
    /// ```
    /// use spanlet_std::metrics::RequestMetrics;
    /// use spanlet_std::tower::TraceServerLayer;
    /// use std::sync::Arc;
    /// let metrics = Arc::new(RequestMetrics::new());
    /// let layer = TraceServerLayer::new().metrics(metrics.clone()).skip_paths(["/metrics"]);
    /// // What `GET /metrics` answers:
    /// let text = metrics.encode();
    /// ```
    pub fn metrics(self, metrics: Arc<RequestMetrics>) -> Self {
        self.with(|options| options.metrics = Some(metrics))
    }
}

impl TraceClientLayer {
    /// Counts the requests that this layer traces, sampled or not, from their head to the end of their span.
    ///
    /// Costs a counted request one allocation.
    ///
    /// ```
    /// use spanlet_std::metrics::RequestMetrics;
    /// use spanlet_std::tower::TraceClientLayer;
    /// use std::sync::Arc;
    /// let metrics = Arc::new(RequestMetrics::new());
    /// let layer = TraceClientLayer::new().metrics(metrics.clone());
    /// ```
    pub fn metrics(self, metrics: Arc<RequestMetrics>) -> Self {
        self.with(|options| options.metrics = Some(metrics))
    }
}

/// A request that is being counted, or one that is not.
pub(super) struct Count(Option<Box<Open>>);

struct Open {
    metrics: Arc<RequestMetrics>,
    since: Instant,
    call: Call,
    status: Option<StatusCode>,
    /// Of gRPC, and whether it is an error.
    outcome: Option<(&'static str, bool)>,
    error: Option<&'static str>,
}

type Name = Text<64>;

enum Call {
    HttpServer {
        method: &'static str,
        scheme: &'static str,
        route: Option<Name>,
    },
    HttpClient {
        method: &'static str,
        address: Name,
        port: u16,
    },
    RpcServer {
        method: Name,
    },
    RpcClient {
        method: Name,
        address: Name,
        port: u16,
    },
}

fn name(text: &str) -> Name {
    let mut name = Name::new();
    name.push_str(text);
    name
}

impl Count {
    fn start(metrics: &Metrics, call: impl FnOnce() -> Call) -> Self {
        Count(metrics.as_ref().map(|metrics| {
            Box::new(Open {
                metrics: metrics.clone(),
                since: Instant::now(),
                call: call(),
                status: None,
                outcome: None,
                error: None,
            })
        }))
    }
    pub(super) fn http_server(
        metrics: &Metrics,
        method: &'static str,
        scheme: &str,
        route: Option<&str>,
    ) -> Self {
        Self::start(metrics, || Call::HttpServer {
            method,
            // The only two there are; a proxy's header may say anything.
            scheme: if scheme.eq_ignore_ascii_case("https") {
                "https"
            } else {
                "http"
            },
            route: route.map(name),
        })
    }
    pub(super) fn http_client(metrics: &Metrics, method: &'static str, server: Server<'_>) -> Self {
        Self::start(metrics, || Call::HttpClient {
            method,
            address: name(server.host),
            port: server.port,
        })
    }
    pub(super) fn rpc_server(metrics: &Metrics, method: &str) -> Self {
        Self::start(metrics, || Call::RpcServer {
            method: name(method),
        })
    }
    pub(super) fn rpc_client(metrics: &Metrics, method: &str, server: Server<'_>) -> Self {
        Self::start(metrics, || Call::RpcClient {
            method: name(method),
            address: name(server.host),
            port: server.port,
        })
    }

    /// The route, where the answer tells it.
    pub(super) fn route(&mut self, to: &str) {
        if let Some(open) = &mut self.0
            && let Call::HttpServer { route, .. } = &mut open.call
        {
            *route = Some(name(to));
        }
    }
    pub(super) fn answered(&mut self, status: StatusCode) {
        if let Some(open) = &mut self.0 {
            open.status = Some(status);
        }
    }
    pub(super) fn outcome(&mut self, status: &'static str, is_error: bool) {
        if let Some(open) = &mut self.0 {
            open.outcome = Some((status, is_error));
        }
    }
    pub(super) fn failed(&mut self, error_type: &'static str) {
        if let Some(open) = &mut self.0 {
            open.error = Some(error_type);
        }
    }
    /// Counts it, once.
    pub(super) fn ended(&mut self, span: SpanContext) {
        if let Some(open) = self.0.take() {
            open.metrics.observe(&RequestObservation {
                request: open.request(),
                duration: open.since.elapsed(),
                span: Some(span),
            });
        }
    }
}

impl Open {
    fn request(&self) -> Request<'_> {
        let status = self.status.as_ref();
        let http_error = |from: u16| {
            let of_status = status.filter(|status| status.as_u16() >= from);
            self.error.or(of_status.map(StatusCode::as_str))
        };
        let rpc_error = || {
            let of_outcome = self.outcome.filter(|(_, is_error)| *is_error);
            self.error.or(of_outcome.map(|(name, _)| name))
        };
        let system = "grpc";
        match &self.call {
            Call::HttpServer {
                method,
                scheme,
                route,
            } => Request::HttpServer {
                method,
                scheme,
                route: route.as_ref().map(Name::as_str),
                status: status.map(StatusCode::as_u16),
                error_type: http_error(500),
            },
            Call::HttpClient {
                method,
                address,
                port,
            } => Request::HttpClient {
                method,
                server_address: address.as_str(),
                server_port: Some(*port),
                status: status.map(StatusCode::as_u16),
                error_type: http_error(400),
            },
            Call::RpcServer { method } => Request::RpcServer {
                system,
                method: match self.outcome {
                    Some(("UNIMPLEMENTED", _)) => "_OTHER",
                    _ => method.as_str(),
                },
                status: self.outcome.map(|(name, _)| name),
                error_type: rpc_error(),
            },
            Call::RpcClient {
                method,
                address,
                port,
            } => Request::RpcClient {
                system,
                method: method.as_str(),
                status: self.outcome.map(|(name, _)| name),
                error_type: rpc_error(),
                server_address: address.as_str(),
                server_port: Some(*port),
            },
        }
    }
}
