//! OTLP over gRPC, on tonic's channel.
//!
//! Stage: export. Input: [`Batch`], whose bytes go out as they are behind gRPC's five. Output: [`ExportOutcome`].
//! Bound: as [`delivery`](super::delivery), and the limits of OTLP/HTTP.
//!
//! The runtime is one of its own: current-thread, driven by the thread that exports and only while it does. It needs
//! none of the program's, starts no thread but for name resolution, and cannot deadlock inside of one.
//!
//! SPEC: opentelemetry-proto "OTLP/gRPC"; gRPC over HTTP/2.

mod answer;
mod call;
#[cfg(feature = "tls")]
#[path = "tls_enabled.rs"]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls_disabled.rs"]
mod tls;

use super::builder::USER_AGENT;
use super::delivery::{Delivery, Transport};
use super::packing::{Format, Packing};
use super::retry::{RetryPolicy, SystemTimer, Timer};
use super::{
    Batch, ExportOutcome, ExporterError, REQUEST_LIMIT_BYTES, RESPONSE_LIMIT_BYTES, ShutdownReport,
    SpanExporter,
};
use crate::config::{Compression, Endpoint, EndpointError, HeaderError, OtlpConfig, OtlpProtocol};
use call::GrpcTarget;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;
use tonic::codegen::http::{HeaderMap, HeaderValue};

/// Builds an [`OtlpGrpcExporter`]. What is set here wins over the [`OtlpConfig`] it began with.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `build`"]
pub struct OtlpGrpcBuilder {
    config: OtlpConfig,
    retry: RetryPolicy,
    request_limit: usize,
    response_limit: usize,
    timer: Arc<dyn Timer>,
}

impl Default for OtlpGrpcBuilder {
    fn default() -> Self {
        OtlpGrpcBuilder::from(OtlpConfig {
            protocol: OtlpProtocol::Grpc,
            endpoint: Endpoint::of(OtlpProtocol::Grpc),
            ..OtlpConfig::default()
        })
    }
}

impl From<OtlpConfig> for OtlpGrpcBuilder {
    fn from(config: OtlpConfig) -> Self {
        OtlpGrpcBuilder {
            config,
            retry: RetryPolicy::default(),
            request_limit: REQUEST_LIMIT_BYTES,
            response_limit: RESPONSE_LIMIT_BYTES,
            timer: Arc::new(SystemTimer),
        }
    }
}

impl OtlpGrpcBuilder {
    /// The collector's URL; its path does not count. Without a scheme it is reached by TLS.
    ///
    /// # Errors
    /// If it is not an `http` or `https` URL with a host.
    pub fn endpoint(mut self, url: &str) -> Result<Self, EndpointError> {
        self.config.endpoint = Endpoint::grpc(url, self.config.insecure)?;
        Ok(self)
    }
    /// Adds metadata to every request; a second one of the same name takes its place. Names that begin with `grpc-` are
    /// the protocol's own, and left out.
    ///
    /// # Errors
    /// If HTTP does not allow the name or value, or the exporter sets this header itself.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, HeaderError> {
        self.config.headers.set(name, value)?;
        Ok(self)
    }
    /// Time for all attempts for one batch, 10 s by default; `None` is without limit.
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.config.timeout = timeout;
        self
    }
    /// Whether messages are compressed; they are not by default.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = compression;
        self
    }
    /// A PEM file of the only certificates to trust, in place of the built-in roots.
    pub fn certificate(mut self, file: impl Into<PathBuf>) -> Self {
        self.config.certificate = Some(file.into());
        self
    }
    /// PEM files of the certificate chain and private key to show to the collector.
    pub fn client_certificate(
        mut self,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.config.client = Some((chain.into(), key.into()));
        self
    }
    /// When to try again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }
    /// Largest request message in bytes, before and after compression.
    pub fn request_limit(mut self, bytes: usize) -> Self {
        self.request_limit = bytes;
        self
    }
    /// Largest answer in bytes.
    pub fn response_limit(mut self, bytes: usize) -> Self {
        self.response_limit = bytes;
        self
    }
    /// Replaces the clocks and waits, for tests. Deadlines of requests stay real.
    pub fn timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = timer;
        self
    }

    /// Reads the certificate files and makes the exporter. Connects to nothing yet, and uses no proxy.
    ///
    /// # Errors
    /// If a file cannot be used, TLS is needed and not built in, or the runtime cannot be made.
    pub fn build(self) -> Result<OtlpGrpcExporter, ExporterError> {
        let config = self.config;
        let endpoint = tonic::transport::Endpoint::from(config.endpoint.uri().clone());
        let bad = |error: tonic::transport::Error| ExporterError::Transport {
            endpoint: config.endpoint.to_string(),
            detail: answer::with_causes(&error),
        };
        let endpoint = endpoint
            .user_agent(USER_AGENT)
            .map_err(bad)?
            .tcp_nodelay(true);
        let endpoint = if config.endpoint.is_tls() {
            tls::configure(endpoint, &config)?
        } else {
            endpoint
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/grpc"),
            // SPEC: gRPC over HTTP/2: "Used to detect incompatible proxies".
            ("te", "trailers"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if config.compression == Compression::Gzip {
            headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        // What frames the call is not the user's, as over HTTP.
        let own = |name: &str| name.starts_with("grpc-");
        for (name, value) in config
            .headers
            .iter()
            .filter(|(name, _)| !own(name.as_str()))
        {
            headers.insert(name.clone(), value.clone());
        }
        let target = GrpcTarget::new(
            &endpoint,
            config.endpoint.to_string(),
            headers,
            self.response_limit,
        )?;
        Ok(OtlpGrpcExporter(Delivery::new(
            target,
            Packing::new(Format::Grpc, config.compression, self.request_limit),
            config.timeout,
            self.retry,
            self.timer,
        )))
    }
}

/// Sends batches to one OTLP/gRPC endpoint.
///
/// The connection is kept between batches, though nobody answers on it meanwhile: a collector that closes it is
/// connected to anew. May be shared between threads; their requests share the connection.
///
/// ```
/// use core::time::Duration;
/// use spanlet_std::export::{Batch, OtlpGrpcExporter, SpanExporter};
///
/// let exporter = OtlpGrpcExporter::builder()
///     .endpoint("http://127.0.0.1:9")? // nothing listens there
///     .timeout(Some(Duration::from_millis(200)))
///     .build()?;
/// let outcome = exporter.export(Batch { body: b"\x0a\x00", spans: 3 }, Duration::MAX);
/// assert_eq!(outcome.failed, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OtlpGrpcExporter(Delivery<GrpcTarget>);

impl OtlpGrpcExporter {
    /// A builder with the specification's defaults: `http://localhost:4317`, 10 s, no compression.
    pub fn builder() -> OtlpGrpcBuilder {
        OtlpGrpcBuilder::default()
    }

    /// Where the batches go, without credentials.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.0.transport.shown()
    }
}

impl SpanExporter for OtlpGrpcExporter {
    fn export(&self, batch: Batch<'_>, budget: Duration) -> ExportOutcome {
        self.0.export(batch, budget)
    }
    fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        self.0.shutdown(timeout)
    }
}
