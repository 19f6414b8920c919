//! Distributed tracing that never allocates.
//!
//! The way of the data, each stage a module, in this order:
//!
//! header in → [`context`] → span → record → [`ring`] → drain → frame → (link) → decode → OTLP
//!
//! Nothing here allocates, nothing panics on input, nothing blocks the traced code. What is lost is
//! counted under a cause.
#![no_std]
#![deny(unsafe_code)]
#![warn(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation
)]

#[cfg(any(test, loom, step))]
extern crate std;

pub mod context;

pub mod ring;

pub use context::{SpanContext, SpanId, TraceFlags, TraceId};
