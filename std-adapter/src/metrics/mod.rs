//! Request metrics with exemplars: alert by metric, find by trace.
//!
//! Input: an observation of each request that ended, sampled or not. Output: histograms of durations as OpenMetrics
//! text, where buckets name a trace that fell into them. Bound: [`LABEL_SETS`] label sets, or as many as are asked for;
//! what comes beyond goes into one set of its metric with `otel_metric_overflow="true"`.
//!
//! Fed by whoever serves or makes the requests, not by what is exported: what the sampler drops counts too.
//!
//! | [`Request`] | histogram | labels |
//! |---|---|---|
//! | [`HttpServer`](Request::HttpServer) | `http_server_request_duration_seconds` | `http_request_method`, `url_scheme`, `http_route`, `http_response_status_code`, `error_type` |
//! | [`HttpClient`](Request::HttpClient) | `http_client_request_duration_seconds` | `http_request_method`, `server_address`, `server_port`, `http_response_status_code`, `error_type` |
//! | [`RpcServer`](Request::RpcServer) | `rpc_server_call_duration_seconds` | `rpc_system_name`, `rpc_method`, `rpc_response_status_code`, `error_type` |
//! | [`RpcClient`](Request::RpcClient) | `rpc_client_call_duration_seconds` | the same, `server_address`, `server_port` |
//! | [`DbClient`](Request::DbClient) | `db_client_operation_duration_seconds` | `db_system_name`, `db_operation_name`, `db_collection_name`, `error_type` |
//!
//! SPEC: semantic conventions, "HTTP metrics", "RPC metrics", "Database metrics"; OpenMetrics 1.0.
//!
//! ```
//! use core::time::Duration;
//! use spanlet_std::metrics::{Request, RequestMetrics, RequestObservation};
//!
//! let metrics = RequestMetrics::new();
//! // What a server's middleware does when the response is there:
//! metrics.observe(&RequestObservation {
//!     request: Request::HttpServer {
//!         method: "GET",
//!         scheme: "https",
//!         route: Some("/orders/{id}"),
//!         status: Some(200),
//!         error_type: None,
//!     },
//!     duration: Duration::from_millis(42),
//!     span: None, // span.context(): an exemplar, if it is sampled
//! });
//! // What the endpoint answers that Prometheus scrapes, as RequestMetrics::CONTENT_TYPE.
//! let text = metrics.encode();
//! assert!(text.contains("http_server_request_duration_seconds_count{http_request_method=\"GET\","));
//! ```

mod collect;
mod encode;
mod histogram;
mod labels;
mod series;

pub use labels::Request;

use core::time::Duration;
use series::SeriesTable;
use spanlet::SpanContext;

/// Label sets that are kept by default, of all metrics together.
pub const LABEL_SETS: usize = 2000;

/// Counts requests. Shared by reference or in an `Arc`: observing takes `&self`.
///
/// An observation of a known label set is a hash, a comparison of texts, two additions, and for a sampled span a look
/// at the wall clock; no lock, no allocation. Threads count apart from each other, so that they do not take turns. A new
/// label set allocates, about 3 KiB.
#[derive(Debug)]
pub struct RequestMetrics {
    series: SeriesTable,
}

/// A request that ended.
#[derive(Clone, Copy, Debug)]
pub struct RequestObservation<'a> {
    /// What it was.
    pub request: Request<'a>,
    /// How long it took.
    pub duration: Duration,
    /// Its span: an exemplar, if it is sampled, so that the trace is there to be found.
    pub span: Option<SpanContext>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestMetrics {
    /// The content type of what [`encode`](Self::encode) makes.
    pub const CONTENT_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// With room for [`LABEL_SETS`] label sets.
    pub fn new() -> Self {
        Self::with_label_sets(LABEL_SETS)
    }
    /// With room for so many label sets, besides one for each metric that takes what comes beyond.
    pub fn with_label_sets(limit: usize) -> Self {
        RequestMetrics {
            series: SeriesTable::new(limit),
        }
    }
    /// Counts a request.
    pub fn observe(&self, observation: &RequestObservation<'_>) {
        let histogram = self.series.histogram(&observation.request);
        histogram.add(observation.duration, observation.span.as_ref());
    }
    /// Everything so far, as OpenMetrics text, ordered by labels.
    pub fn encode(&self) -> String {
        encode::text(&self.series)
    }
}
