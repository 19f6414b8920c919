//! From checked configuration to an exporter.
//!
//! Stage: start-up. Input: [`OtlpConfig`] and what the program sets itself, which wins. Output:
//! [`OtlpHttpExporter`]. Bound: certificate files are read once, here.

use super::SpanExporter;
use super::attempt::HttpTarget;
use super::delivery::Delivery;
use super::otlp_http::{OtlpHttpExporter, REQUEST_LIMIT_BYTES, RESPONSE_LIMIT_BYTES};
use super::packing::{Format, Packing};
use super::retry::{RetryPolicy, SystemTimer, Timer};
use crate::config::{Compression, Endpoint, EndpointError, HeaderError, OtlpConfig, OtlpProtocol};
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use ureq::http::{HeaderMap, HeaderValue, header};

/// SPEC: OpenTelemetry Protocol Exporter, "User Agent".
pub(super) const USER_AGENT: &str = concat!(
    "OTel-OTLP-Exporter-Rust-spanlet/",
    env!("CARGO_PKG_VERSION")
);

/// Why an exporter could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExporterError {
    /// A certificate or key file could not be read.
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A certificate or key file holds no usable PEM.
    Pem {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        detail: String,
    },
    /// The endpoint is `https` and the crate was built without its feature `tls`.
    NoTls {
        /// The endpoint as shown to the user.
        endpoint: String,
    },
    /// The protocol is `grpc` and the crate was built without its feature `grpc`.
    NoGrpc {
        /// The endpoint as shown to the user.
        endpoint: String,
    },
    /// A gRPC connection cannot be set up like this.
    Transport {
        /// The endpoint as shown to the user.
        endpoint: String,
        /// Why not.
        detail: String,
    },
    /// The runtime that a gRPC exporter drives itself could not be made.
    Runtime(io::Error),
    /// The endpoint is not a URL that the client takes.
    Endpoint(EndpointError),
}

impl fmt::Display for ExporterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExporterError::File { path, cause } => {
                write!(f, "cannot read {}: {cause}", path.display())
            }
            ExporterError::Pem { path, detail } => write!(f, "{}: {detail}", path.display()),
            ExporterError::NoTls { endpoint } => write!(
                f,
                "{endpoint} needs TLS, and this build has none: enable the feature `tls` of spanlet-std"
            ),
            ExporterError::NoGrpc { endpoint } => write!(
                f,
                "{endpoint} is to be reached by gRPC, and this build has none: enable the feature `grpc` of spanlet-std, \
                 or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf (port 4318)"
            ),
            ExporterError::Transport { endpoint, detail } => {
                write!(
                    f,
                    "no gRPC connection to {endpoint} can be set up: {detail}"
                )
            }
            ExporterError::Runtime(cause) => {
                write!(f, "no runtime for the gRPC exporter could be made: {cause}")
            }
            ExporterError::Endpoint(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ExporterError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            ExporterError::File { cause, .. } | ExporterError::Runtime(cause) => Some(cause),
            ExporterError::Endpoint(error) => Some(error),
            _ => None,
        }
    }
}

/// The OTLP exporter that a configuration asks for, by its protocol.
///
/// # Errors
/// If a file cannot be used, or what is asked for is not built in.
///
/// ```
/// use spanlet_std::config::{Config, OtlpProtocol};
/// use spanlet_std::export::otlp_exporter;
/// let (mut config, _) = Config::from_lookup(|_| None);
/// config.otlp.protocol = OtlpProtocol::HttpJson;
/// let exporter = otlp_exporter(config.otlp)?;
/// # Ok::<(), spanlet_std::export::ExporterError>(())
/// ```
pub fn otlp_exporter(config: OtlpConfig) -> Result<Box<dyn SpanExporter>, ExporterError> {
    match config.protocol {
        OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => {
            Ok(Box::new(OtlpHttpBuilder::from(config).build()?))
        }
        #[cfg(feature = "grpc")]
        OtlpProtocol::Grpc => Ok(Box::new(super::OtlpGrpcBuilder::from(config).build()?)),
        #[cfg(not(feature = "grpc"))]
        OtlpProtocol::Grpc => Err(ExporterError::NoGrpc {
            endpoint: config.endpoint.to_string(),
        }),
    }
}

/// Builds an [`OtlpHttpExporter`]. What is set here wins over the [`OtlpConfig`] it began with.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `build`"]
pub struct OtlpHttpBuilder {
    config: OtlpConfig,
    retry: RetryPolicy,
    request_limit: usize,
    response_limit: usize,
    timer: Arc<dyn Timer>,
}

impl Default for OtlpHttpBuilder {
    fn default() -> Self {
        OtlpHttpBuilder::from(OtlpConfig::default())
    }
}

impl From<OtlpConfig> for OtlpHttpBuilder {
    fn from(config: OtlpConfig) -> Self {
        OtlpHttpBuilder {
            config,
            retry: RetryPolicy::default(),
            request_limit: REQUEST_LIMIT_BYTES,
            response_limit: RESPONSE_LIMIT_BYTES,
            timer: Arc::new(SystemTimer),
        }
    }
}

impl OtlpHttpBuilder {
    /// The full URL that batches are posted to, `v1/traces` included.
    ///
    /// # Errors
    /// If it is not an `http` or `https` URL with a host.
    pub fn endpoint(mut self, url: &str) -> Result<Self, EndpointError> {
        self.config.endpoint = Endpoint::exact(url)?;
        Ok(self)
    }
    /// Whether bodies are OTLP/JSON (`http/json`) instead of protobuf.
    pub fn json(mut self, json: bool) -> Self {
        self.config.protocol = if json {
            OtlpProtocol::HttpJson
        } else {
            OtlpProtocol::HttpProtobuf
        };
        self
    }
    /// Adds a header to every request; a second one of the same name takes its place.
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
    /// Whether bodies are compressed; they are not by default.
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
    /// Largest request in bytes, before and after compression.
    pub fn request_limit(mut self, bytes: usize) -> Self {
        self.request_limit = bytes;
        self
    }
    /// Largest answer in bytes.
    pub fn response_limit(mut self, bytes: usize) -> Self {
        self.response_limit = bytes;
        self
    }
    /// Replaces the clocks and waits, for tests.
    pub fn timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = timer;
        self
    }

    /// Reads the certificate files and makes the exporter. Connects to nothing yet.
    ///
    /// A proxy is taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, except for a
    /// collector on this machine.
    ///
    /// # Errors
    /// If a file cannot be used, or TLS is needed and not built in.
    pub fn build(self) -> Result<OtlpHttpExporter, ExporterError> {
        let config = self.config;
        let (format, content_type) = match config.protocol {
            OtlpProtocol::HttpJson => (Format::Json, "application/json"),
            _ => (Format::Protobuf, "application/x-protobuf"),
        };
        let compression = config.compression;
        let timeout = config.timeout;
        let target = http_target(&config, content_type, self.response_limit, true)?;
        Ok(OtlpHttpExporter(Delivery::new(
            target,
            Packing::new(format, compression, self.request_limit),
            timeout,
            self.retry,
            self.timer,
        )))
    }
}

/// What requests to an HTTP endpoint have in common, from its configuration.
pub(super) fn http_target(
    config: &OtlpConfig,
    content_type: &'static str,
    response_limit: usize,
    answers_otlp: bool,
) -> Result<HttpTarget, ExporterError> {
    let endpoint = &config.endpoint;
    let uri = endpoint.uri().clone();
    if endpoint.is_tls() && !cfg!(feature = "tls") {
        return Err(ExporterError::NoTls {
            endpoint: endpoint.to_string(),
        });
    }
    let proxy = if is_this_machine(uri.host().unwrap_or_default()) {
        None
    } else {
        ureq::Proxy::try_from_env()
    };
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A redirected POST turns into a GET, whose success would say nothing.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(USER_AGENT)
        .accept("")
        .accept_encoding("")
        .no_delay(true)
        .proxy(proxy);
    let agent = with_tls(agent, config)?;

    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if config.compression == Compression::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in config.headers.iter() {
        headers.insert(name.clone(), value.clone());
    }
    Ok(HttpTarget {
        agent: agent.build().new_agent(),
        uri,
        shown: endpoint.to_string(),
        headers,
        response_limit,
        answers_otlp,
    })
}

/// Whether a host is this machine by name or address, which no proxy can stand in for.
fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

type AgentConfig = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

#[cfg(not(feature = "tls"))]
fn with_tls(agent: AgentConfig, _config: &OtlpConfig) -> Result<AgentConfig, ExporterError> {
    Ok(agent)
}

#[cfg(feature = "tls")]
fn with_tls(agent: AgentConfig, config: &OtlpConfig) -> Result<AgentConfig, ExporterError> {
    use ureq::tls::{ClientCert, RootCerts, TlsConfig};

    let mut tls = TlsConfig::builder();
    if let Some(path) = &config.certificate {
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates(path)?));
    }
    if let Some((chain, key)) = &config.client {
        let client = ClientCert::new_with_certs(&certificates(chain)?, private_key(key)?);
        tls = tls.client_cert(Some(client));
    }
    Ok(agent.tls_config(tls.build()))
}

/// The certificates of a PEM file, one at least.
#[cfg(feature = "tls")]
pub(super) fn certificates(
    path: &std::path::Path,
) -> Result<Vec<ureq::tls::Certificate<'static>>, ExporterError> {
    let pem = read(path)?;
    let found = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(pem_error(path, &error))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() {
        return Err(pem_error(path, &"holds no PEM certificate"));
    }
    Ok(found)
}

/// The private key of a PEM file.
#[cfg(feature = "tls")]
pub(super) fn private_key(
    path: &std::path::Path,
) -> Result<ureq::tls::PrivateKey<'static>, ExporterError> {
    ureq::tls::PrivateKey::from_pem(&read(path)?).map_err(|error| pem_error(path, &error))
}

#[cfg(feature = "tls")]
fn pem_error(path: &std::path::Path, detail: &dyn fmt::Display) -> ExporterError {
    ExporterError::Pem {
        path: path.to_owned(),
        detail: detail.to_string(),
    }
}

#[cfg(feature = "tls")]
pub(super) fn read(path: &std::path::Path) -> Result<Vec<u8>, ExporterError> {
    std::fs::read(path).map_err(|cause| ExporterError::File {
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["collector", "10.0.0.1", "[::2]", "localhost.example", ""] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn https_without_tls_says_what_to_enable() {
        let builder = OtlpHttpBuilder::default().endpoint("https://c").unwrap();
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains("feature `tls`"), "{error}");
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let builder = OtlpHttpBuilder::default()
            .endpoint("http://c/v1/traces?key=hidden")
            .unwrap()
            .header("Authorization", "hidden")
            .unwrap();
        assert!(!format!("{builder:?}").contains("hidden"));
        let exporter = builder.build().unwrap();
        assert_eq!(exporter.endpoint(), "http://c/v1/traces");
    }
}
