//! The layer for `tracing`, from the macros to the exporter.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fields;
mod fixture;
mod parents;
mod subscribers;
mod threads;
