//! OTLP/HTTP, protobuf or JSON, on a blocking client: no async runtime, no thread of its own.
//!
//! Stage: export. Input: [`Batch`]. Output: [`ExportOutcome`]. Bound: as [`delivery`](super::delivery); the request is
//! at most [`REQUEST_LIMIT_BYTES`] before and after compression, the answer [`RESPONSE_LIMIT_BYTES`].
//!
//! A batch is protobuf in the queue, whatever its destinations speak: the recorder encodes once. For `http/json` it is
//! rewritten here, in the sending thread, without objects in between.

use super::attempt::HttpTarget;
use super::builder::OtlpHttpBuilder;
use super::delivery::{Delivery, Transport};
use super::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use core::time::Duration;

/// Largest request body, before and after compression: 64 MiB.
pub const REQUEST_LIMIT_BYTES: usize = 64 << 20;
/// Largest answer that is read: 4 MiB.
pub const RESPONSE_LIMIT_BYTES: usize = 4 << 20;

/// Sends batches to one OTLP/HTTP endpoint.
///
/// Connections are kept alive between batches. May be shared between threads; each call sends on a
/// connection of its own. A `Retry-After` holds back all calls.
///
/// ```
/// use core::time::Duration;
/// use spanlet_std::export::{Batch, ExportError, OtlpHttpExporter, SpanExporter};
///
/// let exporter = OtlpHttpExporter::builder()
///     .endpoint("http://127.0.0.1:9/v1/traces")? // nothing listens there
///     .timeout(Some(Duration::from_millis(200)))
///     .build()?;
/// let outcome = exporter.export(Batch { body: b"\x0a\x00", spans: 3 }, Duration::MAX);
/// assert_eq!(outcome.failed, 3);
/// println!("{}", outcome.error.unwrap()); // "… refused the connection: is it running? …"
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OtlpHttpExporter(pub(super) Delivery<HttpTarget>);

impl OtlpHttpExporter {
    /// A builder with the specification's defaults: `http://localhost:4318/v1/traces`, 10 s, no
    /// compression.
    pub fn builder() -> OtlpHttpBuilder {
        OtlpHttpBuilder::default()
    }

    /// Where the batches go, without credentials.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.0.transport.shown()
    }
}

impl SpanExporter for OtlpHttpExporter {
    fn export(&self, batch: Batch<'_>, budget: Duration) -> ExportOutcome {
        self.0.export(batch, budget)
    }
    fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        self.0.shutdown(timeout)
    }
}
