//! One batch to one collector: attempts, pauses between them, and the end of it all by a shutdown.
//!
//! Stage: export, for every protocol. Input: [`Batch`]. Output: [`ExportOutcome`]. Bound: one call blocks for at
//! most the shorter of the exporter's timeout and the caller's budget, waits between attempts included.
//!
//! SPEC: OpenTelemetry Protocol Exporter; opentelemetry-proto "OTLP/HTTP". The timeout is "the maximum
//! time the OTLP exporter will wait for each batch export": it covers all attempts for a batch, not
//! one. A caller that still has the batch may offer it again when
//! [`retry_in`](ExportOutcome::retry_in) says so, and outlast any outage that way.

use super::error::{ExportError, tame};
use super::packing::Packing;
use super::response::PartialSuccess;
use super::retry::{RetryPolicy, StopSignal, Timer, lock};
use super::{Batch, ExportOutcome, ShutdownReport};
use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// How long a shutdown waits for a request to return after it has cut its connection.
const CUT_GRACE: Duration = Duration::from_millis(250);

/// What came of one request.
pub(super) enum Attempt {
    /// The collector took the request.
    Taken(PartialSuccess),
    /// It did not, or it is not known; `retry_after` is the collector's wish.
    Failed {
        error: ExportError,
        retry_after: Option<Duration>,
    },
}

/// What makes one request of packed bytes.
pub(super) trait Transport: Send + Sync + fmt::Debug {
    /// The endpoint without credentials, for messages.
    fn shown(&self) -> &str;
    /// Sends `body` and waits for the answer, for at most `time_left` (`None`: without limit). `allowed` is the
    /// time that the message of a timeout names.
    fn attempt(
        &self,
        body: &[u8],
        time_left: Option<Duration>,
        allowed: Duration,
        unix_now: &dyn Fn() -> SystemTime,
    ) -> Attempt;
    /// Ends requests that are under way, now and later.
    fn cut(&self);
}

/// A destination with its manners.
#[derive(Debug)]
pub(super) struct Delivery<T> {
    pub(super) transport: T,
    packing: Packing,
    timeout: Option<Duration>,
    retry: RetryPolicy,
    timer: Arc<dyn Timer>,
    stop: StopSignal,
    /// No request before this: the collector asked for it.
    hold_until: Mutex<Option<Instant>>,
    calls: Mutex<Calls>,
    call_ended: Condvar,
}

/// Calls under way, and what a shutdown did to them.
#[derive(Debug, Default)]
struct Calls {
    under_way: u64,
    spans_under_way: u64,
    report: ShutdownReport,
}

/// How long a call may take.
#[derive(Clone, Copy)]
struct Limit {
    /// `None`: without end.
    end: Option<Instant>,
    allowed: Duration,
}

impl Limit {
    /// Time left, `None` for without end.
    fn left(&self, now: Instant) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(now))
    }
    fn is_before(&self, instant: Instant) -> bool {
        self.end.is_some_and(|end| end <= instant)
    }
}

impl<T: Transport> Delivery<T> {
    pub(super) fn new(
        transport: T,
        packing: Packing,
        timeout: Option<Duration>,
        retry: RetryPolicy,
        timer: Arc<dyn Timer>,
    ) -> Self {
        Delivery {
            transport,
            packing,
            timeout,
            retry,
            timer,
            stop: StopSignal::default(),
            hold_until: Mutex::default(),
            calls: Mutex::default(),
            call_ended: Condvar::new(),
        }
    }

    fn send(&self, batch: Batch<'_>, budget: Duration) -> ExportOutcome {
        if self.stop.is_raised() {
            return failure(batch, 0, ExportError::ShutDown { last: None }, None);
        }
        if batch.body.is_empty() {
            return failure(batch, 0, ExportError::EmptyBody, None);
        }
        let sent = self
            .packing
            .with(batch.body, self.transport.shown(), |body| {
                self.send_packed(batch, body, budget)
            });
        match sent {
            Ok(outcome) => outcome,
            Err(error @ ExportError::RequestTooLarge { .. }) => ExportOutcome {
                too_large: batch.spans,
                error: Some(error),
                ..ExportOutcome::default()
            },
            Err(error) => failure(batch, 0, error, None),
        }
    }

    fn send_packed(&self, batch: Batch<'_>, body: &[u8], budget: Duration) -> ExportOutcome {
        let allowed = self.timeout.unwrap_or(Duration::MAX).min(budget);
        let limit = Limit {
            end: self.timer.now().checked_add(allowed),
            allowed,
        };
        let mut attempts = 0_u32;
        // An earlier attempt whose answer was lost may have been taken, whatever comes after it.
        let mut lost_answer: Option<ExportError> = None;
        let (error, retry_in) = loop {
            if let Err(ended) = self.hold(limit) {
                break ended;
            }
            let left = limit.left(self.timer.now());
            if left == Some(Duration::ZERO) {
                break (self.timed_out(limit, false), Some(self.retry.initial));
            }
            attempts += 1;
            let attempt = (self.transport).attempt(body, left, allowed, &|| self.timer.unix_now());
            let (error, retry_after) = match attempt {
                Attempt::Taken(partial) => {
                    return self.taken(batch, attempts, lost_answer, partial);
                }
                Attempt::Failed { error, retry_after } => (error, retry_after),
            };
            let maybe_taken = error.maybe_taken();
            if maybe_taken {
                lost_answer = Some(error.clone());
            }
            if !error.is_retryable() {
                break (error, None);
            }
            let pause = self.retry.pause(attempts - 1, retry_after, fastrand::f64);
            let now = self.timer.now();
            let Some(wake) = now.checked_add(pause) else {
                break (error, Some(pause));
            };
            if retry_after.is_some() {
                let mut hold_until = lock(&self.hold_until);
                *hold_until = (*hold_until).max(Some(wake));
            }
            // A shutdown ends the wait, or had cut the connection that failed.
            let last = Some(Box::new(error.clone()));
            if self.stop.is_raised() {
                break (ExportError::ShutDown { last }, None);
            }
            if limit.is_before(wake) {
                break (error, Some(pause));
            }
            if self.timer.wait_until(wake, &self.stop) {
                break (ExportError::ShutDown { last }, None);
            }
        };
        match lost_answer {
            Some(_) => ExportOutcome {
                indeterminate: batch.spans,
                attempts,
                error: Some(error),
                retry_in,
                ..ExportOutcome::default()
            },
            None => failure(batch, attempts, error, retry_in),
        }
    }

    /// Waits until the collector wants to hear from anyone again.
    fn hold(&self, limit: Limit) -> Result<(), (ExportError, Option<Duration>)> {
        let Some(until) = *lock(&self.hold_until) else {
            return Ok(());
        };
        let wait = until.saturating_duration_since(self.timer.now());
        if wait.is_zero() {
            return Ok(());
        }
        if limit.is_before(until) {
            let endpoint = self.transport.shown().to_owned();
            return Err((ExportError::Throttled { endpoint, wait }, Some(wait)));
        }
        if self.timer.wait_until(until, &self.stop) {
            return Err((ExportError::ShutDown { last: None }, None));
        }
        Ok(())
    }

    fn timed_out(&self, limit: Limit, sent_whole: bool) -> ExportError {
        ExportError::TimedOut {
            endpoint: self.transport.shown().to_owned(),
            sent_whole,
            allowed: limit.allowed,
        }
    }

    fn taken(
        &self,
        batch: Batch<'_>,
        attempts: u32,
        earlier: Option<ExportError>,
        partial: PartialSuccess,
    ) -> ExportOutcome {
        let message = tame(&partial.error_message);
        // A count that the batch cannot have is cut to what it has; below zero is none.
        let rejected = u64::try_from(partial.rejected_spans)
            .unwrap_or(0)
            .min(batch.spans);
        let mut outcome = ExportOutcome {
            exported: batch.spans - rejected,
            rejected,
            attempts,
            error: earlier,
            ..ExportOutcome::default()
        };
        let endpoint = self.transport.shown().to_owned();
        if rejected > 0 {
            outcome.error = Some(ExportError::Rejected {
                endpoint,
                spans: rejected,
                message,
            });
        } else if !message.is_empty() {
            outcome.warning = Some(format!("collector at {endpoint} says: \"{message}\""));
        }
        outcome
    }

    pub(super) fn export(&self, batch: Batch<'_>, budget: Duration) -> ExportOutcome {
        if batch.spans == 0 {
            // SPEC: opentelemetry-proto, "Empty Telemetry Envelopes".
            return ExportOutcome::default();
        }
        let call = Call::begin(self, batch.spans);
        let outcome = self.send(batch, budget);
        call.end(&outcome);
        outcome
    }

    pub(super) fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        self.stop.raise();
        self.await_calls(timeout);
        self.transport.cut();
        self.await_calls(CUT_GRACE);
        let calls = lock(&self.calls);
        ShutdownReport {
            unfinished: calls.spans_under_way,
            ..calls.report
        }
    }

    /// Blocks until no call is under way, at most for `timeout`.
    fn await_calls(&self, timeout: Duration) {
        let calls = lock(&self.calls);
        drop(
            self.call_ended
                .wait_timeout_while(calls, timeout, |calls| calls.under_way > 0)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// Counts a call as under way until dropped, so that a shutdown can wait for it.
struct Call<'a, T> {
    exporter: &'a Delivery<T>,
    spans: u64,
}

impl<'a, T> Call<'a, T> {
    fn begin(exporter: &'a Delivery<T>, spans: u64) -> Self {
        let mut calls = lock(&exporter.calls);
        calls.under_way += 1;
        calls.spans_under_way += spans;
        Call { exporter, spans }
    }

    fn end(self, outcome: &ExportOutcome) {
        // A call that began after the shutdown was refused whole and not cut short.
        if outcome.attempts > 0 && self.exporter.stop.is_raised() {
            let mut calls = lock(&self.exporter.calls);
            calls.report.failed += outcome.failed;
            calls.report.indeterminate += outcome.indeterminate;
        }
    }
}

impl<T> Drop for Call<'_, T> {
    fn drop(&mut self) {
        let mut calls = lock(&self.exporter.calls);
        calls.under_way -= 1;
        calls.spans_under_way -= self.spans;
        self.exporter.call_ended.notify_all();
    }
}

fn failure(
    batch: Batch<'_>,
    attempts: u32,
    error: ExportError,
    retry_in: Option<Duration>,
) -> ExportOutcome {
    ExportOutcome {
        failed: batch.spans,
        attempts,
        error: Some(error),
        retry_in,
        ..ExportOutcome::default()
    }
}
