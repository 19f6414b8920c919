//! gRPC with TLS: Mozilla's roots, or a certificate file.

use super::super::ExporterError;
use super::super::builder::{certificates, private_key, read};
use super::answer::with_causes;
use crate::config::OtlpConfig;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

pub(super) fn configure(
    endpoint: Endpoint,
    config: &OtlpConfig,
) -> Result<Endpoint, ExporterError> {
    let mut tls = ClientTlsConfig::new();
    match &config.certificate {
        Some(path) => {
            // Looked into first, for an error that names the file.
            certificates(path)?;
            tls = tls.ca_certificate(Certificate::from_pem(read(path)?));
        }
        None => tls = tls.with_webpki_roots(),
    }
    if let Some((chain, key)) = &config.client {
        certificates(chain)?;
        private_key(key)?;
        tls = tls.identity(Identity::from_pem(read(chain)?, read(key)?));
    }
    endpoint
        .tls_config(tls)
        .map_err(|error| ExporterError::Transport {
            endpoint: config.endpoint.to_string(),
            detail: with_causes(&error),
        })
}
