//! The std adapter of spanlet.
//!
//! [`config`] (what the environment asks for) → [`propagation`] (context of requests) → `recorder` (spans of this process: [`Telemetry`]) → [`export`] (encoded batches to a collector) →
//! [`receiver`] (devices' frames in, for gateways; OTLP in, for tests and demonstrations) → [`trace`] (traces as people see them).
#![deny(unsafe_code)]

pub mod config;

pub mod propagation;

mod recorder;

pub mod export;

pub mod receiver;

pub mod trace;

pub use recorder::{
    InstallError, Ledger, Local, PooledBuf, Span, Telemetry, TelemetryBuilder, span,
};

/// The code in the readme compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
