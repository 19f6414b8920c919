//! `OTEL_EXPORTER_OTLP_*`, in which `OTEL_EXPORTER_OTLP_TRACES_*` goes before the general variable.
//!
//! SPEC: OpenTelemetry Protocol Exporter, "Configuration Options", "Endpoint URLs for OTLP/HTTP",
//! "Specifying headers via environment variables".

use super::env::{Env, Setting, percent_decode};
use core::fmt;
use core::time::Duration;
use std::path::PathBuf;
use ureq::http::{HeaderName, HeaderValue, Uri, header};

/// How an OTLP exporter reaches its collector.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpConfig {
    /// `…_ENDPOINT`: where batches are posted to.
    pub endpoint: Endpoint,
    /// `…_PROTOCOL`.
    pub protocol: OtlpProtocol,
    /// `…_HEADERS`: sent with every request.
    pub headers: Headers,
    /// `…_TIMEOUT`: time for one batch, all attempts included; `None` is without limit.
    pub timeout: Option<Duration>,
    /// `…_COMPRESSION`.
    pub compression: Compression,
    /// `…_CERTIFICATE`: PEM file of the only certificates to trust.
    pub certificate: Option<PathBuf>,
    /// `…_CLIENT_CERTIFICATE` and `…_CLIENT_KEY`: PEM files of the chain and the key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// `…_INSECURE`: no TLS for a gRPC endpoint without a scheme. OTLP/HTTP goes by the scheme.
    pub insecure: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        OtlpConfig {
            endpoint: Endpoint::default(),
            protocol: OtlpProtocol::HttpProtobuf,
            headers: Headers::default(),
            timeout: Some(Duration::from_secs(10)),
            compression: Compression::None,
            certificate: None,
            client: None,
            insecure: false,
        }
    }
}

/// The pair of variables for an option: the one for traces, and the general one.
macro_rules! option {
    ($name:literal) => {
        (
            concat!("OTEL_EXPORTER_OTLP_TRACES_", $name),
            concat!("OTEL_EXPORTER_OTLP_", $name),
        )
    };
}

impl OtlpConfig {
    pub(super) fn read(env: &mut Env<'_>) -> Self {
        let default = OtlpConfig::default();
        let certificate = first(env, option!("CERTIFICATE")).map(|s| PathBuf::from(s.value));
        let (traces, general) = option!("TIMEOUT");
        let protocol = read_protocol(env);
        let insecure = {
            let (traces, general) = option!("INSECURE");
            if env.get(traces).is_some() {
                env.boolean(traces)
            } else {
                env.boolean(general)
            }
        };
        OtlpConfig {
            endpoint: read_endpoint(env, protocol, insecure)
                .unwrap_or_else(|| Endpoint::of(protocol)),
            protocol,
            headers: read_headers(env),
            timeout: env
                .timeout(traces)
                .or_else(|| env.timeout(general))
                .unwrap_or(default.timeout),
            compression: read_compression(env),
            certificate,
            client: read_client(env),
            insecure,
        }
    }
}

fn first(env: &mut Env<'_>, (traces, general): (&'static str, &'static str)) -> Option<Setting> {
    env.get(traces).or_else(|| env.get(general))
}

fn read_endpoint(env: &mut Env<'_>, protocol: OtlpProtocol, insecure: bool) -> Option<Endpoint> {
    type Parse<'p> = &'p dyn Fn(&str) -> Result<Endpoint, EndpointError>;
    let grpc = |url: &str| Endpoint::grpc(url, insecure);
    let (exact, base): (Parse<'_>, Parse<'_>) = match protocol {
        OtlpProtocol::Grpc => (&grpc, &grpc),
        OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => (&Endpoint::exact, &Endpoint::base),
    };
    let (traces, general) = option!("ENDPOINT");
    if let Some(setting) = env.get(traces) {
        match exact(&setting.value) {
            Ok(endpoint) => return Some(endpoint),
            Err(error) => warn_endpoint(env, &setting, error),
        }
    }
    let setting = env.get(general)?;
    match base(&setting.value) {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            warn_endpoint(env, &setting, error);
            None
        }
    }
}

pub(super) fn warn_endpoint(env: &mut Env<'_>, setting: &Setting, error: EndpointError) {
    let problem = format!("{error}; it is not taken");
    if error == EndpointError::Credentials {
        env.warn_hidden(setting.variable, problem);
    } else {
        env.warn(setting, problem);
    }
}

fn read_protocol(env: &mut Env<'_>) -> OtlpProtocol {
    let Some(setting) = first(env, option!("PROTOCOL")) else {
        return OtlpProtocol::default();
    };
    match setting.value.as_str() {
        "http/protobuf" => OtlpProtocol::HttpProtobuf,
        "http/json" => OtlpProtocol::HttpJson,
        "grpc" => OtlpProtocol::Grpc,
        _ => {
            env.warn(
                &setting,
                "is no protocol (grpc, http/protobuf, http/json); http/protobuf stands",
            );
            OtlpProtocol::HttpProtobuf
        }
    }
}

fn read_compression(env: &mut Env<'_>) -> Compression {
    let Some(setting) = first(env, option!("COMPRESSION")) else {
        return Compression::None;
    };
    match setting.value.as_str() {
        "gzip" => Compression::Gzip,
        "none" => Compression::None,
        _ => {
            env.warn(&setting, "is no compression (gzip, none); none stands");
            Compression::None
        }
    }
}

fn read_client(env: &mut Env<'_>) -> Option<(PathBuf, PathBuf)> {
    let chain = first(env, option!("CLIENT_CERTIFICATE"));
    let key = first(env, option!("CLIENT_KEY"));
    match (chain, key) {
        (Some(chain), Some(key)) => Some((chain.value.into(), key.value.into())),
        (Some(alone), None) | (None, Some(alone)) => {
            env.warn(
                &alone,
                "is of use only with both _CLIENT_CERTIFICATE and _CLIENT_KEY; it is not taken",
            );
            None
        }
        (None, None) => None,
    }
}

fn read_headers(env: &mut Env<'_>) -> Headers {
    let mut headers = Headers::default();
    let Some(setting) = first(env, option!("HEADERS")) else {
        return headers;
    };
    for (index, pair) in setting.value.split(',').enumerate() {
        if pair.trim().is_empty() {
            continue;
        }
        // A value is often base64, so an "=" in it is its own.
        let problem = match pair.split_once('=') {
            None => Some("has no \"=\"".to_owned()),
            Some((name, value)) => {
                match (percent_decode(name.trim()), percent_decode(value.trim())) {
                    (Some(name), Some(value)) => headers
                        .set(&name, &value)
                        .err()
                        .map(|error| error.to_string()),
                    _ => Some("is not percent-encoded UTF-8".to_owned()),
                }
            }
        };
        if let Some(problem) = problem {
            let problem = format!("entry {} {problem}; it is left out", index + 1);
            env.warn_hidden(setting.variable, problem);
        }
    }
    headers
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OtlpProtocol {
    /// `http/protobuf`.
    #[default]
    HttpProtobuf,
    /// `http/json`.
    HttpJson,
    /// `grpc`; needs the feature `grpc`.
    Grpc,
}

/// How request bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all; no `Content-Encoding` is sent, `identity` included.
    #[default]
    None,
    /// gzip.
    Gzip,
}

/// The URL that batches are posted to: `http` or `https`, with a host, without credentials.
///
/// `Display` leaves out the query, which may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// Why a URL is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// It does not begin with `http://` or `https://`.
    Scheme,
    /// It has no host, or is no URL.
    Url,
    /// It has a user name or password.
    Credentials,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndpointError::Scheme => {
                "an endpoint begins with http:// or https:// (as in http://localhost:4318)"
            }
            EndpointError::Url => "is no URL with a host (as in http://localhost:4318)",
            EndpointError::Credentials => {
                "credentials are not taken from the URL: put them into OTEL_EXPORTER_OTLP_HEADERS \
                 (Authorization=Basic%20…)"
            }
        })
    }
}

impl core::error::Error for EndpointError {}

impl Default for Endpoint {
    /// `http://localhost:4318/v1/traces`.
    fn default() -> Self {
        Endpoint(Uri::from_static("http://localhost:4318/v1/traces"))
    }
}

impl Endpoint {
    /// A URL used as it is; without a path, the path is `/`.
    ///
    /// # Errors
    /// If it is not of an endpoint's form.
    pub fn exact(url: &str) -> Result<Self, EndpointError> {
        let url = url.trim();
        let scheme_ok = ["http://", "https://"].iter().any(|scheme| {
            url.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        if !scheme_ok {
            return Err(EndpointError::Scheme);
        }
        let uri: Uri = url.parse().map_err(|_| EndpointError::Url)?;
        let authority = uri.authority().ok_or(EndpointError::Url)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        // `Uri` takes any text as a port.
        let port_ok = authority.port().is_none_or(|port| port.as_u16() != 0)
            && (authority.port().is_some() || !has_port_text(authority.as_str()));
        if authority.host().is_empty() || !port_ok {
            return Err(EndpointError::Url);
        }
        Ok(Endpoint(uri))
    }

    /// Where a collector on this machine listens for the protocol.
    #[must_use]
    pub fn of(protocol: OtlpProtocol) -> Self {
        match protocol {
            OtlpProtocol::Grpc => Endpoint(Uri::from_static("http://localhost:4317/")),
            OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => Endpoint::default(),
        }
    }

    /// The URL of a gRPC collector, whose path does not count. Without a scheme it is reached by TLS, unless
    /// `insecure`.
    ///
    /// # Errors
    /// If it is not of an endpoint's form.
    ///
    /// ```
    /// use spanlet_std::config::Endpoint;
    /// assert_eq!(Endpoint::grpc("collector:4317", false)?.to_string(), "https://collector:4317/");
    /// assert_eq!(Endpoint::grpc("http://collector:4317", false)?.to_string(), "http://collector:4317/");
    /// # Ok::<(), spanlet_std::config::EndpointError>(())
    /// ```
    pub fn grpc(url: &str, insecure: bool) -> Result<Self, EndpointError> {
        let url = url.trim();
        if url.contains("://") {
            return Self::exact(url);
        }
        let scheme = if insecure { "http" } else { "https" };
        Self::exact(&format!("{scheme}://{url}"))
    }

    /// A base URL, below which traces go to `v1/traces`.
    ///
    /// # Errors
    /// If it is not of an endpoint's form.
    ///
    /// ```
    /// use spanlet_std::config::Endpoint;
    /// let endpoint = Endpoint::base("http://collector:4318/mine/")?;
    /// assert_eq!(endpoint.to_string(), "http://collector:4318/mine/v1/traces");
    /// # Ok::<(), spanlet_std::config::EndpointError>(())
    /// ```
    pub fn base(url: &str) -> Result<Self, EndpointError> {
        let Endpoint(base) = Self::exact(url)?;
        let query = base
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        let path = format!("{}/v1/traces{query}", base.path().trim_end_matches('/'));
        let mut parts = base.into_parts();
        parts.path_and_query = Some(path.parse().map_err(|_| EndpointError::Url)?);
        Uri::from_parts(parts)
            .map(Endpoint)
            .map_err(|_| EndpointError::Url)
    }

    pub(super) fn zipkin() -> Self {
        Endpoint(Uri::from_static("http://localhost:9411/api/v2/spans"))
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

/// Whether something follows the host's last colon.
fn has_port_text(authority: &str) -> bool {
    let after_host = authority.rsplit(']').next().unwrap_or(authority);
    after_host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or("http");
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Headers that go with every request. `Debug` shows names only: values are often secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

/// Why a header cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// HTTP does not allow the name.
    Name,
    /// HTTP does not allow the value.
    Value,
    /// The exporter sets this header itself.
    Reserved(String),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Name => f.write_str("has a name that HTTP does not allow"),
            HeaderError::Value => f.write_str("has a value that HTTP does not allow"),
            HeaderError::Reserved(name) => write!(f, "sets {name}, which the exporter sets itself"),
        }
    }
}

impl core::error::Error for HeaderError {}

impl Headers {
    /// Sets a header, in place of an earlier one of the same name.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::Name)?;
        let mut value = HeaderValue::from_str(value).map_err(|_| HeaderError::Value)?;
        // These frame the request; another value would break it.
        let reserved = [
            header::CONTENT_TYPE,
            header::CONTENT_LENGTH,
            header::CONTENT_ENCODING,
            header::TRANSFER_ENCODING,
            header::CONNECTION,
            header::HOST,
            header::EXPECT,
            header::UPGRADE,
            header::TE,
        ];
        if reserved.contains(&name) {
            return Err(HeaderError::Reserved(name.to_string()));
        }
        value.set_sensitive(true);
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value));
        Ok(())
    }

    /// The value of a header, if set and text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known.as_str().eq_ignore_ascii_case(name))
            .and_then(|(_, value)| value.to_str().ok())
    }

    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name.as_str()))
            .finish()
    }
}
