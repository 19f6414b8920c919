//! The std adapter of spanlet: what owns threads, sockets and queues. The way of the data:
//!
//! | stage | what |
//! |---|---|
//! | [`config`] | what the `OTEL_*` variables ask for |
//! | [`resource`] | what produces the spans: from code, the environment, detectors |
//! | [`propagation`] | context in and out of requests and messages |
//! | `recorder`: [`Telemetry`], [`span()`] | spans of this process: a ring per thread, a drain thread, a [`Ledger`] |
//! | `tower`, `reqwest` | the requests of servers and clients, by features |
//! | [`clock`] | a device's ticks → Unix time, and how far off that may be |
//! | [`receiver`] | frames of devices in, for gateways; OTLP in, for tests and demonstrations |
//! | [`export`] | encoded batches to collectors, each span's fate counted |
//! | [`trace`] | traces as people see them: tree, critical path, waterfall, JSON lines |
#![deny(unsafe_code)]

pub mod config;

pub mod resource;

pub mod propagation;

mod recorder;

#[cfg(any(feature = "tower", feature = "reqwest"))]
mod conventions;

#[cfg(feature = "tower")]
pub mod tower;

#[cfg(feature = "reqwest")]
pub mod reqwest;

pub mod export;

pub mod clock;

pub mod receiver;

pub mod trace;

pub use recorder::{
    InstallError, Ledger, Local, PooledBuf, Span, Telemetry, TelemetryBuilder, span,
};

/// The code in the readme compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
