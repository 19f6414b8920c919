//! The std adapter of spanlet.
//!
//! [`config`] (what the environment asks for) → `recorder` (spans of this process: [`Telemetry`]) → [`export`] (encoded batches to a collector) →
//! [`receiver`] (devices' frames in, for gateways; OTLP in, for tests and demonstrations) → [`trace`] (traces as people see them).
#![deny(unsafe_code)]

pub mod config;

mod recorder;

pub mod export;

pub mod receiver;

pub mod trace;

pub use recorder::{
    InstallError, Ledger, Local, PooledBuf, Span, Telemetry, TelemetryBuilder, span,
};
