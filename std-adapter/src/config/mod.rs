//! Configuration from `OTEL_*` environment variables.
//!
//! Stage: start-up. Input: a lookup from variable name to value. Output: [`Config`], checked and
//! typed, and a [`ConfigWarning`] for each value that was not taken. Bound: each variable is looked up
//! once; reading never fails, a bad value leaves the default standing.
//!
//! SPEC: OpenTelemetry Environment Variable Specification; OpenTelemetry Protocol Exporter. An empty
//! value is an unset one. Every setting has an equivalent in code, which wins: change the fields of
//! [`Config`], or set the value on the builder that takes it.

mod otlp;

mod zipkin;

mod sdk;

mod resource;

mod env;

pub use env::ConfigWarning;
pub use otlp::{
    Compression, Endpoint, EndpointError, HeaderError, Headers, OtlpConfig, OtlpProtocol,
};
pub use resource::{ResourceConfig, ResourceError, parse_resource_attributes};
pub use sdk::{BatchConfig, LimitsConfig, Propagator, RootSampler, SamplerConfig, TracesExporter};
pub use zipkin::ZipkinConfig;

use env::Env;

/// Everything about tracing that the environment can say.
///
/// ```
/// use spanlet_std::config::Config;
///
/// let env = |name: &str| match name {
///     "OTEL_SERVICE_NAME" => Some("checkout".to_owned()),
///     "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://collector:4318".to_owned()),
///     "OTEL_BSP_MAX_QUEUE_SIZE" => Some("many".to_owned()),
///     _ => None,
/// };
/// let (config, warnings) = Config::from_lookup(env);
/// assert_eq!(config.resource.service_name(), Some("checkout"));
/// assert_eq!(config.otlp.endpoint.to_string(), "http://collector:4318/v1/traces");
/// assert_eq!(config.batch.max_queue_size, 131_072);
/// assert!(warnings[0].to_string().starts_with("OTEL_BSP_MAX_QUEUE_SIZE=\"many\""));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `OTEL_SDK_DISABLED`: record and export nothing. Contexts still propagate.
    pub disabled: bool,
    /// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: ResourceConfig,
    /// `OTEL_PROPAGATORS`, each at most once; empty for `none`.
    pub propagators: Vec<Propagator>,
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub sampler: SamplerConfig,
    /// `OTEL_TRACES_EXPORTER`, each at most once; empty for `none`.
    pub exporters: Vec<TracesExporter>,
    /// `OTEL_BSP_*`.
    pub batch: BatchConfig,
    /// `OTEL_ATTRIBUTE_*`, `OTEL_SPAN_*`, `OTEL_EVENT_*` and `OTEL_LINK_*` limits.
    pub limits: LimitsConfig,
    /// `OTEL_EXPORTER_OTLP_*` and `OTEL_EXPORTER_OTLP_TRACES_*`.
    pub otlp: OtlpConfig,
    /// `OTEL_EXPORTER_ZIPKIN_*`.
    pub zipkin: ZipkinConfig,
}

impl Default for Config {
    /// What the specification says of an empty environment.
    fn default() -> Self {
        Config {
            disabled: false,
            resource: ResourceConfig::default(),
            propagators: vec![Propagator::TraceContext, Propagator::Baggage],
            sampler: SamplerConfig::default(),
            exporters: vec![TracesExporter::Otlp],
            batch: BatchConfig::default(),
            limits: LimitsConfig::default(),
            otlp: OtlpConfig::default(),
            zipkin: ZipkinConfig::default(),
        }
    }
}

impl Config {
    /// Reads the configuration through `lookup`. Never fails: what cannot be taken is in the
    /// warnings, and its default stands.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<ConfigWarning>) {
        let mut env = Env::new(&lookup);
        let config = Config {
            disabled: env.boolean("OTEL_SDK_DISABLED"),
            resource: ResourceConfig::read(&mut env),
            propagators: Propagator::read(&mut env),
            sampler: SamplerConfig::read(&mut env),
            exporters: TracesExporter::read(&mut env),
            batch: BatchConfig::read(&mut env),
            limits: LimitsConfig::read(&mut env),
            otlp: OtlpConfig::read(&mut env),
            zipkin: ZipkinConfig::read(&mut env),
        };
        (config, env.into_warnings())
    }

    /// Reads the configuration from the environment of this process. A value that is not Unicode
    /// is read with replacement characters.
    #[must_use]
    pub fn from_process() -> (Self, Vec<ConfigWarning>) {
        Self::from_lookup(|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }
}

#[cfg(test)]
mod tests;
