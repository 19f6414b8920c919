//! `OTEL_EXPORTER_ZIPKIN_*`.
//!
//! SPEC: OpenTelemetry Environment Variable Specification, "Zipkin Exporter".

use super::env::Env;
use super::otlp::{Endpoint, warn_endpoint};
use core::time::Duration;

/// How a Zipkin exporter reaches its collector.
#[derive(Clone, Debug, PartialEq)]
pub struct ZipkinConfig {
    /// `OTEL_EXPORTER_ZIPKIN_ENDPOINT`: where spans are posted to, `http://localhost:9411/api/v2/spans` by
    /// default.
    pub endpoint: Endpoint,
    /// `OTEL_EXPORTER_ZIPKIN_TIMEOUT`: time for one batch, all attempts included, 10 s by default; `None` is
    /// without limit.
    pub timeout: Option<Duration>,
}

impl Default for ZipkinConfig {
    fn default() -> Self {
        ZipkinConfig {
            endpoint: Endpoint::zipkin(),
            timeout: Some(Duration::from_secs(10)),
        }
    }
}

impl ZipkinConfig {
    pub(super) fn read(env: &mut Env<'_>) -> Self {
        let default = ZipkinConfig::default();
        let mut endpoint = default.endpoint;
        if let Some(setting) = env.get("OTEL_EXPORTER_ZIPKIN_ENDPOINT") {
            match Endpoint::exact(&setting.value) {
                Ok(read) => endpoint = read,
                Err(error) => warn_endpoint(env, &setting, error),
            }
        }
        ZipkinConfig {
            endpoint,
            timeout: env
                .timeout("OTEL_EXPORTER_ZIPKIN_TIMEOUT")
                .unwrap_or(default.timeout),
        }
    }
}
