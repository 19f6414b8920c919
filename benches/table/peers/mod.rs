//! What others offer for the same operations, each in its quickest usual form, with an exporter that does nothing.
//!
//! Background threads are theirs, and work on the other core.

pub(crate) mod cost;
mod fastrace;
mod minitrace;
mod opentelemetry;
mod perfetto;
mod tracing;

use crate::case::Case;

pub(crate) fn register(cases: &mut Vec<Case>) {
    perfetto::register(cases);
    fastrace::register(cases);
    minitrace::register(cases);
    opentelemetry::register(cases);
    tracing::register(cases);
}
