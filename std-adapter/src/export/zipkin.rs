//! Zipkin v2 JSON, for collectors that speak no OTLP.
//!
//! Stage: export. Input: [`Batch`]. Output: [`ExportOutcome`]. Bound: as [`delivery`](super::delivery); the spans of a
//! batch are copied once into objects, in the sending thread.
//!
//! SPEC: OpenTelemetry to Zipkin Transformation; OpenTelemetry to non-OTLP formats. What Zipkin has no field for
//! becomes a tag: status, scope, resource, dropped counts, links (as the Collector writes them).

use super::attempt::HttpTarget;
use super::builder::http_target;
use super::delivery::{Delivery, Transport};
use super::packing::{Format, Packing};
use super::retry::{RetryPolicy, SystemTimer, Timer};
use super::{
    Batch, ExportOutcome, ExporterError, REQUEST_LIMIT_BYTES, RESPONSE_LIMIT_BYTES, ShutdownReport,
    SpanExporter,
};
use crate::config::{Endpoint, EndpointError, OtlpConfig, ZipkinConfig};
use core::time::Duration;
use std::sync::Arc;

mod span;

pub(super) use span::encode;

/// Builds a [`ZipkinExporter`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `build`"]
pub struct ZipkinBuilder {
    config: ZipkinConfig,
    retry: RetryPolicy,
    timer: Arc<dyn Timer>,
}

impl Default for ZipkinBuilder {
    fn default() -> Self {
        ZipkinBuilder::from(ZipkinConfig::default())
    }
}

impl From<ZipkinConfig> for ZipkinBuilder {
    fn from(config: ZipkinConfig) -> Self {
        ZipkinBuilder {
            config,
            retry: RetryPolicy::default(),
            timer: Arc::new(SystemTimer),
        }
    }
}

impl ZipkinBuilder {
    /// The full URL that spans are posted to, `api/v2/spans` included.
    ///
    /// # Errors
    /// If it is not an `http` or `https` URL with a host.
    pub fn endpoint(mut self, url: &str) -> Result<Self, EndpointError> {
        self.config.endpoint = Endpoint::exact(url)?;
        Ok(self)
    }
    /// Time for all attempts for one batch, 10 s by default; `None` is without limit.
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.config.timeout = timeout;
        self
    }
    /// When to try again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }
    /// Replaces the clocks and waits, for tests.
    pub fn timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = timer;
        self
    }
    /// Makes the exporter. Connects to nothing yet.
    ///
    /// # Errors
    /// If TLS is needed and not built in.
    pub fn build(self) -> Result<ZipkinExporter, ExporterError> {
        let config = OtlpConfig {
            endpoint: self.config.endpoint,
            ..OtlpConfig::default()
        };
        let target = http_target(&config, "application/json", RESPONSE_LIMIT_BYTES, false)?;
        Ok(ZipkinExporter(Delivery::new(
            target,
            Packing::new(Format::Zipkin, config.compression, REQUEST_LIMIT_BYTES),
            self.config.timeout,
            self.retry,
            self.timer,
        )))
    }
}

/// Sends batches to a Zipkin collector (`POST /api/v2/spans`), or to anything that takes its JSON.
///
/// ```
/// use core::time::Duration;
/// use spanlet_std::export::{Batch, SpanExporter, ZipkinExporter};
///
/// let exporter = ZipkinExporter::builder()
///     .endpoint("http://127.0.0.1:9/api/v2/spans")? // nothing listens there
///     .timeout(Some(Duration::from_millis(200)))
///     .build()?;
/// let outcome = exporter.export(Batch { body: b"\x0a\x00", spans: 3 }, Duration::MAX);
/// assert_eq!(outcome.failed, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ZipkinExporter(Delivery<HttpTarget>);

impl ZipkinExporter {
    /// A builder with the specification's defaults: `http://localhost:9411/api/v2/spans`, 10 s.
    pub fn builder() -> ZipkinBuilder {
        ZipkinBuilder::default()
    }

    /// Where the spans go, without credentials.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.0.transport.shown()
    }
}

impl SpanExporter for ZipkinExporter {
    fn export(&self, batch: Batch<'_>, budget: Duration) -> ExportOutcome {
        self.0.export(batch, budget)
    }
    fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        self.0.shutdown(timeout)
    }
}
