//! Trace and span ids in log lines, so that a line leads to its trace and a trace to its lines.
//!
//! Input: the thread's current context, whether of a span of spanlet's own or of one of `tracing`'s that the
//! [layer](crate::layer) records. Output: ids in each line. Bound: nothing is kept.
//!
//! | logging by | use | feature |
//! |---|---|---|
//! | `tracing_subscriber::fmt`, JSON lines | [`JsonFormat`] | `tracing-json` |
//! | `tracing_subscriber::fmt`, any other format | [`WithIds`] around it | `tracing-json` |
//! | the `log` crate, any logger that shows key-values | [`TracedLogger`] around it | `log` |
//! | anything else | [`LogIds`](spanlet::LogIds)`::current(Local)` in the line | — |
//!
//! SPEC: OpenTelemetry, "Trace Context in non-OTLP Log Formats": `trace_id`, `span_id`, `trace_flags`, in hex.
#![cfg_attr(
    not(all(feature = "tracing-json", feature = "log")),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "names what other features add"
    )
)]

mod ids;

#[cfg(feature = "tracing-json")]
mod json;
#[cfg(feature = "tracing-json")]
mod timestamp;
#[cfg(feature = "tracing-json")]
mod value;
#[cfg(feature = "tracing-json")]
mod with_ids;

#[cfg(feature = "log")]
mod logger;

pub use ids::{IdFormat, IdNames};
#[cfg(feature = "tracing-json")]
pub use json::JsonFormat;
#[cfg(feature = "log")]
pub use logger::TracedLogger;
#[cfg(feature = "tracing-json")]
pub use with_ids::WithIds;
