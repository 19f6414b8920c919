//! Requests that are not counted (without the feature `metrics`).

use crate::conventions::Server;
use http::StatusCode;
use spanlet::SpanContext;

/// Nowhere to count.
#[derive(Clone, Copy, Default)]
pub(super) struct Metrics;

/// Nothing to count.
pub(super) struct Count;

impl Count {
    pub(super) fn http_server(_: &Metrics, _: &'static str, _: &str, _: Option<&str>) -> Self {
        Count
    }
    pub(super) fn http_client(_: &Metrics, _: &'static str, _: Server<'_>) -> Self {
        Count
    }
    pub(super) fn rpc_server(_: &Metrics, _: &str) -> Self {
        Count
    }
    pub(super) fn rpc_client(_: &Metrics, _: &str, _: Server<'_>) -> Self {
        Count
    }
    pub(super) fn route(&mut self, _: &str) {}
    pub(super) fn answered(&mut self, _: StatusCode) {}
    pub(super) fn outcome(&mut self, _: &'static str, _: bool) {}
    pub(super) fn failed(&mut self, _: &'static str) {}
    pub(super) fn ended(&mut self, _: SpanContext) {}
}
