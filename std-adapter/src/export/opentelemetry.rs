//! Through any `SpanExporter` of `opentelemetry_sdk`: vendors' exporters, and those of one's own.
//!
//! Stage: export. Input: [`Batch`]. Output: [`ExportOutcome`]. Bound: one batch as objects; a call ends with the budget,
//! unless the exporter blocks its thread. One call at a time, as the SDK promises to exporters.

mod data;
mod drive;

use super::retry::lock;
use super::{Batch, ExportError, ExportOutcome, ShutdownReport, SpanExporter};
use crate::trace::decode::{ScopeSpans, decode_request};
use core::fmt;
use core::time::Duration;
use drive::{Around, Drive, Ended};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::SpanExporter as SdkExporter;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

/// Sends batches through an exporter made for `opentelemetry_sdk`. Feature `opentelemetry`.
///
/// The spans arrive as that SDK makes them: attributes, events and links typed, scope and resource with their schema
/// URLs. What its values cannot hold arrives as text: bytes as hexadecimal digits, maps and mixed lists as shown by
/// `Display`.
///
/// The exporter's future is polled in the sending thread, where no runtime is. An exporter that needs tokio's (that of
/// `opentelemetry-otlp` with tonic, or with an async client) gets it with [`around`](Self::around).
///
/// A failure is final: to try again is the exporter's own business, says the SDK's contract.
///
/// ```no_run
/// use opentelemetry_sdk::error::OTelSdkResult;
/// use opentelemetry_sdk::trace::{SpanData, SpanExporter};
/// use spanlet_std::Telemetry;
/// use spanlet_std::export::OpenTelemetryExporter;
///
/// #[derive(Debug)]
/// struct Vendors;
/// impl SpanExporter for Vendors {
///     async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
///         println!("{} spans", batch.len());
///         Ok(())
///     }
/// }
/// let telemetry = Telemetry::builder().exporter(OpenTelemetryExporter::new(Vendors)).install()?;
/// # Ok::<(), spanlet_std::InstallError>(())
/// ```
pub struct OpenTelemetryExporter<E> {
    exporter: RwLock<E>,
    /// Held during a call: the resource that the exporter was told last.
    call: Mutex<Option<ResourceOf>>,
    drive: Drive,
}

type ResourceOf = (crate::trace::Attributes, String);

impl<E: SdkExporter> OpenTelemetryExporter<E> {
    /// Around an exporter that needs no runtime.
    pub fn new(exporter: E) -> Self {
        OpenTelemetryExporter {
            exporter: RwLock::new(exporter),
            call: Mutex::default(),
            drive: Drive::default(),
        }
    }

    /// Calls `around` with each poll of the exporter's future: to enter a runtime's context, which then has to be
    /// driven elsewhere.
    ///
    /// ```
    /// use spanlet_std::export::OpenTelemetryExporter;
    /// # use opentelemetry_sdk::{error::OTelSdkResult, trace::{SpanData, SpanExporter}};
    /// # #[derive(Debug)]
    /// # struct NeedsTokio;
    /// # impl SpanExporter for NeedsTokio {
    /// #     async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult { Ok(()) }
    /// # }
    /// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    /// let handle = runtime.handle().clone();
    /// let exporter = OpenTelemetryExporter::new(NeedsTokio).around(move |poll| {
    ///     let _guard = handle.enter();
    ///     poll();
    /// });
    /// # drop(exporter);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn around(mut self, around: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) -> Self {
        self.drive.around = Some(Around(Box::new(around)));
        self
    }

    /// Has the spans of one resource exported.
    fn send(
        &self,
        groups: &[ScopeSpans],
        told: &mut Option<ResourceOf>,
        until: Option<Instant>,
    ) -> Result<(), Failure> {
        let Some(first) = groups.first() else {
            return Ok(());
        };
        let is_told = told.as_ref().is_some_and(|(attributes, url)| {
            *attributes == *first.resource && *url == first.resource_schema_url
        });
        if !is_told {
            let mut exporter = self
                .exporter
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            exporter.set_resource(&data::resource(first));
            *told = Some(((*first.resource).clone(), first.resource_schema_url.clone()));
        }
        let spans = groups.iter().flat_map(data::spans).collect();
        let exporter = self.exporter.read().unwrap_or_else(PoisonError::into_inner);
        match self.drive.run(exporter.export(spans), until) {
            Ended::Done(Ok(())) => Ok(()),
            Ended::Done(Err(error @ OTelSdkError::Timeout(_))) => Err(Failure {
                maybe_taken: true,
                detail: error.to_string(),
            }),
            Ended::Done(Err(error)) => Err(Failure {
                maybe_taken: false,
                detail: error.to_string(),
            }),
            Ended::TimedOut => Err(Failure {
                maybe_taken: true,
                detail: "it did not end in the time allowed".to_owned(),
            }),
            Ended::Stopped { polled } => Err(Failure {
                maybe_taken: polled,
                detail: "it was cut by a shutdown".to_owned(),
            }),
        }
    }
}

struct Failure {
    maybe_taken: bool,
    detail: String,
}

impl<E: SdkExporter> SpanExporter for OpenTelemetryExporter<E> {
    fn export(&self, batch: Batch<'_>, budget: Duration) -> ExportOutcome {
        let mut outcome = ExportOutcome::default();
        if batch.spans == 0 {
            return outcome;
        }
        let until = Instant::now().checked_add(budget);
        let mut told = lock(&self.call);
        if self.drive.is_stopped() {
            outcome.failed = batch.spans;
            outcome.error = Some(ExportError::ShutDown { last: None });
            return outcome;
        }
        self.drive.begin(batch.spans);
        let fail = |outcome: &mut ExportOutcome, detail: String| {
            outcome.error = Some(ExportError::Exporter {
                exporter: core::any::type_name::<E>().to_owned(),
                detail: super::error::tame(&detail),
            });
        };
        let groups = match decode_request(batch.body) {
            Ok(groups) => groups,
            Err(error) => {
                outcome.failed = batch.spans;
                fail(&mut outcome, error.to_string());
                self.drive.end();
                return outcome;
            }
        };
        outcome.attempts = 1;
        let same_resource = |a: &ScopeSpans, b: &ScopeSpans| {
            a.resource_schema_url == b.resource_schema_url && a.resource == b.resource
        };
        for part in groups.chunk_by(same_resource) {
            let spans: usize = part.iter().map(|group| group.spans.len()).sum();
            let spans = spans as u64;
            match self.send(part, &mut told, until) {
                Ok(()) => outcome.exported += spans,
                Err(Failure {
                    maybe_taken,
                    detail,
                }) => {
                    if maybe_taken {
                        outcome.indeterminate += spans;
                    } else {
                        outcome.failed += spans;
                    }
                    fail(&mut outcome, detail);
                }
            }
        }
        self.drive.end();
        outcome
    }

    fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        let now = Instant::now();
        let until = now.checked_add(timeout);
        let unfinished = self.drive.stop(until);
        let left = until.map_or(timeout, |until| {
            until.saturating_duration_since(Instant::now())
        });
        // An exporter that blocks holds the lock for reading, as this does.
        let exporter = self.exporter.read().unwrap_or_else(PoisonError::into_inner);
        let _ = exporter.shutdown_with_timeout(left);
        ShutdownReport {
            unfinished,
            ..ShutdownReport::default()
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for OpenTelemetryExporter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTelemetryExporter")
            .field("exporter", &self.exporter)
            .finish_non_exhaustive()
    }
}
