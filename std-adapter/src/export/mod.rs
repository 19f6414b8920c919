//! Export: encoded batches out, the fate of every span back.
//!
//! Stage: after the drain's encoder. Input: [`Batch`], an encoded ExportTraceServiceRequest and its
//! span count. Output: [`ExportOutcome`], whose counts add up to the batch and feed the loss ledger.
//! Bound: an exporter holds no queue; it owns at most one copy in its destination's format and one compressed copy of
//! the batch that is being sent. There is one exporter, and so one queue of the caller's, per destination.
//!
//! | exporter | sends |
//! |---|---|
//! | [`OtlpHttpExporter`] | OTLP over HTTP, protobuf or JSON |
//! | `OtlpGrpcExporter` (feature `grpc`) | OTLP over gRPC |
//! | [`ZipkinExporter`] | Zipkin's v2 JSON |
//! | [`ConsoleExporter`] | text, for eyes |
//! | `OpenTelemetryExporter` (feature `opentelemetry`) | through any exporter of `opentelemetry_sdk` |
//!
//! A batch is encoded once, by the thread that collects spans, whatever its destinations speak: it is the one thread
//! that must keep up with all others. What a destination wants else (JSON, compression, objects) is made of the bytes in
//! the thread that sends there.

mod builder;

mod otlp_http;

mod zipkin;

mod console;

#[cfg(feature = "grpc")]
mod grpc;

#[cfg(feature = "opentelemetry")]
mod opentelemetry;

mod delivery;

mod packing;

mod attempt;

mod response;

mod retry;

mod error;

pub(crate) mod queue;

pub use builder::{ExporterError, OtlpHttpBuilder, otlp_exporter};
pub use console::ConsoleExporter;
pub use error::{ConnectReason, ExportError, MAX_REMOTE_TEXT};
#[cfg(feature = "grpc")]
pub use grpc::{OtlpGrpcBuilder, OtlpGrpcExporter};
#[cfg(feature = "opentelemetry")]
pub use opentelemetry::OpenTelemetryExporter;
pub use otlp_http::{OtlpHttpExporter, REQUEST_LIMIT_BYTES, RESPONSE_LIMIT_BYTES};
pub use response::{AnswerError, PartialSuccess, parse_trace_response};
pub use retry::{RetryPolicy, StopSignal, SystemTimer, Timer, parse_retry_after};
pub use zipkin::{ZipkinBuilder, ZipkinExporter};

use core::time::Duration;

/// An encoded ExportTraceServiceRequest.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The protobuf bytes, uncompressed.
    pub body: &'a [u8],
    /// How many spans the bytes hold.
    pub spans: u64,
}

/// What became of a batch.
///
/// INVARIANT: `exported + rejected + indeterminate + failed + too_large` is the batch's span count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "what was lost must be counted"]
pub struct ExportOutcome {
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans that the collector took note of and refused (partial success).
    pub rejected: u64,
    /// Spans that the collector may have taken: its answer was lost or could not be read.
    pub indeterminate: u64,
    /// Spans that the collector did not take.
    pub failed: u64,
    /// Spans of a request over the size limit, never sent.
    pub too_large: u64,
    /// Requests made, counting those that found no connection.
    pub attempts: u32,
    /// The last error; set unless every span was exported at the first attempt.
    pub error: Option<ExportError>,
    /// What the collector wants the user to know although it took every span.
    pub warning: Option<String>,
    /// When the fault is one that passes: the same batch may be offered again after this long.
    /// Spans counted `indeterminate` may then arrive twice.
    pub retry_in: Option<Duration>,
}

impl ExportOutcome {
    /// The batch's span count.
    ///
    /// ```
    /// use spanlet_std::export::ExportOutcome;
    /// let outcome = ExportOutcome { exported: 3, rejected: 1, ..ExportOutcome::default() };
    /// assert_eq!(outcome.spans(), 4);
    /// ```
    #[must_use]
    pub fn spans(&self) -> u64 {
        self.exported + self.rejected + self.indeterminate + self.failed + self.too_large
    }
}

/// What a shutdown cut short. The batches' own [`ExportOutcome`]s count the same spans: feed the
/// ledger from those only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "what was lost must be counted"]
pub struct ShutdownReport {
    /// Spans of batches that were under way and did not arrive.
    pub failed: u64,
    /// Spans of batches that were under way and may have arrived.
    pub indeterminate: u64,
    /// Spans of calls that had not returned by the end of the timeout (a name resolution or TCP
    /// connect cannot be interrupted); they return later with their own outcome.
    pub unfinished: u64,
}

/// Sends encoded batches to one destination.
pub trait SpanExporter: Send + Sync {
    /// Sends a batch and returns the fate of each of its spans. Blocks for at most `budget`, and
    /// less if the exporter has a shorter timeout of its own. Never panics on what a collector does.
    fn export(&self, batch: Batch<'_>, budget: Duration) -> ExportOutcome;

    /// Refuses new batches, ends waits between attempts at once, lets a request that is under way
    /// run until `timeout` and then cuts it. Later calls do nothing and report nothing new.
    fn shutdown(&self, timeout: Duration) -> ShutdownReport;
}

impl SpanExporter for Box<dyn SpanExporter> {
    fn export(&self, batch: Batch<'_>, budget: Duration) -> ExportOutcome {
        (**self).export(batch, budget)
    }
    fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        (**self).shutdown(timeout)
    }
}
