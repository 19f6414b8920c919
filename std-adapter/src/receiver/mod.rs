//! What comes in from outside this process.

#[cfg(feature = "otlp-receiver")]
pub mod otlp_http;

#[cfg(feature = "otlp-receiver")]
pub mod proto;
