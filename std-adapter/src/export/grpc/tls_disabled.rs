//! gRPC without the feature `tls`: `https` is refused.

use super::super::ExporterError;
use crate::config::OtlpConfig;
use tonic::transport::Endpoint;

pub(super) fn configure(
    _endpoint: Endpoint,
    config: &OtlpConfig,
) -> Result<Endpoint, ExporterError> {
    Err(ExporterError::NoTls {
        endpoint: config.endpoint.to_string(),
    })
}
