//! Encoded batches on their way to one destination: a bounded queue, and the thread that sends.
//!
//! Input: batches from the recorder's drain or a gateway. Output: what became of their spans. Bound: spans
//! and bytes; what finds the queue full is counted and never waits.

use super::error::tame;
use super::{Batch, ExportError, ExportOutcome, SpanExporter};
use crate::receiver::DestinationLedger;
use crate::recorder::Ledger;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that a queue holds at most.
const MAX_BYTES: usize = 64 << 20;

#[derive(Clone)]
pub(crate) struct Encoded {
    pub(crate) body: Arc<[u8]>,
    pub(crate) spans: u64,
    /// Whose spans they are, where several sources share a queue.
    pub(crate) owner: Option<Arc<Fate>>,
}

/// What became of one source's spans at one destination.
#[derive(Debug, Default)]
pub(crate) struct Fate(Mutex<DestinationLedger>);

impl Fate {
    fn with(&self, change: impl FnOnce(&mut DestinationLedger)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
    pub(crate) fn read(&self) -> DestinationLedger {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn buffered(&self) {
        self.with(|fate| fate.buffered += 1);
    }
    pub(crate) fn too_large(&self) {
        self.with(|fate| fate.too_large += 1);
    }
}

impl Encoded {
    fn settle(&self, count: impl FnOnce(&mut DestinationLedger)) {
        if let Some(owner) = &self.owner {
            owner.with(|fate| {
                fate.buffered = fate.buffered.saturating_sub(self.spans);
                count(fate);
            });
        }
    }
}

pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    max_spans: u64,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Encoded>,
    spans: u64,
    bytes: usize,
    /// Spans of the batches that are being sent.
    sending: u64,
    closed: bool,
    done: Ledger,
    last_error: Option<String>,
}

impl Queue {
    pub(crate) fn new(max_spans: u64) -> Self {
        Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            max_spans,
        }
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn push(&self, batch: Encoded) {
        let mut state = self.state();
        // A batch over the bound goes alone rather than never.
        let full = !state.batches.is_empty()
            && (state.spans + batch.spans > self.max_spans
                || state.bytes + batch.body.len() > MAX_BYTES);
        if full || state.closed {
            state.done.queue_full += batch.spans;
            batch.settle(|fate| fate.queue_full += batch.spans);
            return;
        }
        state.spans += batch.spans;
        state.bytes += batch.body.len();
        state.batches.push_back(batch);
        self.changed.notify_all();
    }
    /// Sends until the queue is closed and empty. Several threads may do so at once.
    pub(crate) fn send_all(&self, exporter: &dyn SpanExporter, budget: Duration) {
        loop {
            let batch = {
                let mut state = self.state();
                loop {
                    if let Some(batch) = state.batches.pop_front() {
                        state.spans -= batch.spans;
                        state.bytes -= batch.body.len();
                        state.sending += batch.spans;
                        break batch;
                    }
                    if state.closed {
                        return;
                    }
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            };
            let outcome = self.send(&batch, exporter, budget);
            let mut state = self.state();
            state.sending -= batch.spans;
            state.count(&outcome);
            batch.settle(|fate| {
                fate.exported += outcome.exported;
                fate.rejected += outcome.rejected;
                fate.indeterminate += outcome.indeterminate;
                fate.failed += outcome.failed;
                fate.too_large += outcome.too_large;
            });
            self.changed.notify_all();
        }
    }
    /// Offers a batch again and again while its fault is one that passes: an outage costs nothing as long as
    /// the queue has room. When the queue is closed, one last attempt is made.
    fn send(
        &self,
        batch: &Encoded,
        exporter: &dyn SpanExporter,
        budget: Duration,
    ) -> ExportOutcome {
        loop {
            let was_closed = self.state().closed;
            let outcome = guarded(exporter, batch, budget);
            // Offered again, a batch of which something arrived would arrive twice.
            let Some(pause) = outcome.retry_in else {
                return outcome;
            };
            if was_closed || outcome.failed != batch.spans {
                return outcome;
            }
            let mut state = self.state();
            state.last_error = outcome.error.as_ref().map(ToString::to_string);
            drop(
                self.changed
                    .wait_timeout_while(state, pause, |state| !state.closed)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }
    /// Waits until everything pushed before has been sent or given up. `false` if time ran out.
    pub(crate) fn wait_idle(&self, until: Instant) -> bool {
        let mut state = self.state();
        while !state.batches.is_empty() || state.sending != 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
    /// Takes no more; what is queued is still sent, or with `give_up` counted as failed.
    pub(crate) fn close(&self, give_up: bool) {
        let mut state = self.state();
        state.closed = true;
        if give_up {
            let mut failed = 0;
            for batch in state.batches.drain(..) {
                batch.settle(|fate| fate.failed += batch.spans);
                failed += batch.spans;
            }
            state.done.failed += failed;
            state.spans = 0;
            state.bytes = 0;
        }
        self.changed.notify_all();
    }
    /// Adds what became of the spans so far; returns the last error.
    pub(crate) fn read(&self, ledger: &mut Ledger) -> Option<String> {
        let state = self.state();
        *ledger = ledger.plus(&state.done);
        ledger.buffered += state.spans + state.sending;
        state.last_error.clone()
    }
}

/// One export, whatever the exporter does: a panic costs the batch and not the thread, and a report that does
/// not add up is not believed.
fn guarded(exporter: &dyn SpanExporter, batch: &Encoded, budget: Duration) -> ExportOutcome {
    let given = batch.spans;
    let export = AssertUnwindSafe(|| {
        let batch = Batch {
            body: &batch.body,
            spans: given,
        };
        exporter.export(batch, budget)
    });
    let outcome = catch_unwind(export).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        ExportOutcome {
            failed: given,
            error: Some(ExportError::Panicked {
                message: tame(text.unwrap_or("with no message")),
            }),
            ..ExportOutcome::default()
        }
    });
    match outcome.spans() {
        reported if reported != given => ExportOutcome {
            // Nobody knows better.
            indeterminate: given,
            attempts: outcome.attempts,
            error: Some(ExportError::Miscounted { given, reported }),
            ..ExportOutcome::default()
        },
        _ => outcome,
    }
}

impl State {
    fn count(&mut self, outcome: &ExportOutcome) {
        self.done.exported += outcome.exported;
        self.done.rejected += outcome.rejected;
        self.done.indeterminate += outcome.indeterminate;
        self.done.failed += outcome.failed;
        self.done.too_large += outcome.too_large;
        if let Some(error) = &outcome.error {
            self.last_error = Some(error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::ShutdownReport;
    use std::sync::Barrier;

    struct Scripted<F>(F);
    impl<F: Fn(Batch<'_>) -> ExportOutcome + Send + Sync> SpanExporter for Scripted<F> {
        fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
            (self.0)(batch)
        }
        fn shutdown(&self, _: Duration) -> ShutdownReport {
            ShutdownReport::default()
        }
    }

    fn exported(spans: u64) -> ExportOutcome {
        ExportOutcome {
            exported: spans,
            attempts: 1,
            ..ExportOutcome::default()
        }
    }

    fn push(queue: &Queue, spans: u64) {
        queue.push(Encoded {
            body: Arc::from(&b"body"[..]),
            spans,
            owner: None,
        });
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_panic_or_a_wrong_report_costs_the_batch_and_nothing_else() {
        let queue = Queue::new(100);
        let exporter = Scripted(|batch: Batch<'_>| match batch.spans {
            1 => panic!("no {}", "way"),
            2 => exported(7),
            3 => ExportOutcome::default(),
            spans => exported(spans),
        });
        std::thread::scope(|scope| {
            scope.spawn(|| queue.send_all(&exporter, Duration::MAX));
            let mut ledger = Ledger::default();
            for (spans, counted, words) in [
                (1, (0, 0, 1), "the exporter panicked: no way"),
                (2, (0, 2, 1), "was given 2 spans and reported on 7"),
                (3, (0, 5, 1), "was given 3 spans and reported on 0"),
                (4, (4, 5, 1), "was given 3"),
            ] {
                push(&queue, spans);
                assert!(queue.wait_idle(soon()));
                ledger = Ledger::default();
                let error = queue.read(&mut ledger).unwrap();
                let got = (ledger.exported, ledger.indeterminate, ledger.failed);
                assert_eq!(got, counted);
                assert!(error.contains(words), "{error}");
            }
            assert_eq!(ledger.buffered, 0);
            queue.close(false);
        });
    }

    #[test]
    fn several_threads_send_side_by_side() {
        let queue = Queue::new(100);
        // Each waits for the other: one after the other they would never end.
        let both = Barrier::new(2);
        let exporter = Scripted(|batch: Batch<'_>| {
            both.wait();
            exported(batch.spans)
        });
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| queue.send_all(&exporter, Duration::MAX));
            }
            for _ in 0..4 {
                push(&queue, 3);
            }
            assert!(queue.wait_idle(soon()));
            let mut ledger = Ledger::default();
            queue.read(&mut ledger);
            assert_eq!((ledger.exported, ledger.buffered), (12, 0));
            queue.close(false);
        });
    }
}
