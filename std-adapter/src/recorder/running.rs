//! A recording that runs: its drain, its queues and senders, its end.
//!
//! Input: a [`Plan`], and the exporters made of it. Output: what became of all spans, as a [`Ledger`]. Bound: a thread
//! for the drain and `concurrent_exports` for each destination; `shutdown` returns within its timeout.

use super::clock::{ClockSource, WallClock};
use super::drain::{Control, Drain};
use super::ledger::Ledger;
use super::shared::{Settings, Shared};
use crate::config::Config;
use crate::export::queue::Queue;
use crate::export::{ExporterError, SpanExporter};
use crate::resource::Resource;
use core::sync::atomic::Ordering::Relaxed;
use spanlet::InstrumentationScope;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type MakeExporter = dyn Fn() -> Result<Box<dyn SpanExporter>, ExporterError> + Send + Sync;

/// Where an exporter comes from.
pub(crate) enum ExporterSource {
    /// Whatever the configuration says.
    Config,
    /// Can be made as often as need be.
    Make(Box<MakeExporter>),
    /// Was made by the program.
    Made(Box<dyn SpanExporter>),
    /// Was made by the program, and is in use.
    Used,
}

/// What a recording is made of, also once more in the child of a fork.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) config: Config,
    pub(crate) resource: Resource,
    pub(crate) concurrent_exports: u32,
    pub(crate) scope: InstrumentationScope<'static>,
    pub(crate) sources: Vec<ExporterSource>,
}

impl Plan {
    /// Takes the exporters that are ready, and makes the others.
    pub(crate) fn make_exporters(&mut self) -> Result<Vec<Box<dyn SpanExporter>>, ExporterError> {
        let mut exporters = Vec::new();
        for source in &mut self.sources {
            match core::mem::replace(source, ExporterSource::Used) {
                ExporterSource::Made(exporter) => exporters.push(exporter),
                other => {
                    other.make(&self.config, &mut exporters)?;
                    *source = other;
                }
            }
        }
        Ok(exporters)
    }
    /// Makes all exporters anew. None, if that cannot be.
    pub(crate) fn exporters_again(&self) -> Option<Vec<Box<dyn SpanExporter>>> {
        let mut exporters = Vec::new();
        for source in &self.sources {
            if !source.make(&self.config, &mut exporters).ok()? {
                return None;
            }
        }
        Some(exporters)
    }
}

impl ExporterSource {
    /// `false` if it cannot be made.
    fn make(
        &self,
        config: &Config,
        to: &mut Vec<Box<dyn SpanExporter>>,
    ) -> Result<bool, ExporterError> {
        match self {
            ExporterSource::Config => to.append(&mut super::exporters_of(config)?),
            ExporterSource::Make(make) => to.push(make()?),
            ExporterSource::Made(_) | ExporterSource::Used => return Ok(false),
        }
        Ok(true)
    }
}

struct Destination {
    queue: Arc<Queue>,
    exporter: Box<dyn SpanExporter>,
}

impl Destination {
    /// Ends the exporter, and what is under way and queued if it is not idle.
    fn end(&self, idle: bool, until: Instant) {
        super::suppress_this_thread();
        // What is under way gets half of what is left; the rest is for hearing what became of it.
        let left = until.saturating_duration_since(Instant::now()) / 2;
        let shutdown = AssertUnwindSafe(|| self.exporter.shutdown(left));
        // The outcomes of its batches say what became of them.
        let _ = catch_unwind(shutdown);
        if !idle {
            self.queue.close(true);
        }
    }
}

/// Drain, senders, and what they have counted.
pub(crate) struct Running {
    shared: &'static Shared,
    control: Arc<Control>,
    destinations: Vec<Arc<Destination>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Running {
    /// Starts the threads.
    pub(crate) fn start(
        shared: &'static Shared,
        exporters: Vec<Box<dyn SpanExporter>>,
    ) -> Result<Self, std::io::Error> {
        let plan = &shared.plan;
        let batch = &plan.config.batch;
        let budget = batch.export_timeout.unwrap_or(Duration::MAX);
        let control = Arc::<Control>::default();
        let mut destinations = Vec::new();
        let mut threads = Vec::new();
        for exporter in exporters {
            let destination = Arc::new(Destination {
                queue: Arc::new(Queue::new(u64::from(batch.max_queue_size))),
                exporter,
            });
            for _ in 0..plan.concurrent_exports {
                let sender = destination.clone();
                let thread = std::thread::Builder::new()
                    .name("spanlet-send".into())
                    .spawn(move || {
                        super::suppress_this_thread();
                        sender.queue.send_all(&*sender.exporter, budget);
                    });
                threads.push(thread?);
            }
            destinations.push(destination);
        }
        let drain = Drain {
            shared,
            control: control.clone(),
            queues: destinations.iter().map(|d| d.queue.clone()).collect(),
            clock: WallClock::new(plan.settings.clock),
            resource: plan.resource.clone(),
            scope: plan.scope,
            max_batch_spans: batch.max_export_batch_size,
            schedule_delay: batch.schedule_delay,
            rings: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("spanlet-drain".into())
            .spawn(move || drain.run());
        threads.push(thread?);
        Ok(Running {
            shared,
            control,
            destinations,
            threads: Mutex::new(threads),
        })
    }

    pub(crate) fn clock_source(&self) -> ClockSource {
        self.shared.plan.settings.clock.source()
    }

    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let until = deadline(timeout);
        self.control.flush(until) && self.destinations.iter().all(|d| d.queue.wait_idle(until))
    }

    pub(crate) fn shutdown(&self, timeout: Duration) -> Ledger {
        let until = deadline(timeout);
        let threads =
            core::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return self.ledger();
        }
        let drained = self.control.stop(until);
        for destination in &self.destinations {
            destination.queue.close(!drained);
        }
        // A part of the time is for what follows: to end the attempt that is under way and hear of it.
        let soon = until.checked_sub(timeout / 4).unwrap_or(until);
        let mut ending = Vec::new();
        for destination in &self.destinations {
            let idle = destination.queue.wait_idle(soon);
            // One that takes its time does not keep the others from ending.
            let destination = destination.clone();
            let end = std::thread::Builder::new()
                .name("spanlet-end".into())
                .spawn(move || destination.end(idle, until));
            ending.extend(end);
        }
        for thread in ending {
            wait_for(thread, until);
        }
        for destination in &self.destinations {
            destination.queue.close(true);
            destination.queue.wait_idle(until);
        }
        // A thread inside a name resolution cannot be interrupted; it is left to itself.
        for thread in threads {
            if thread.is_finished() || until > Instant::now() {
                let _ = wait_for(thread, until);
            }
        }
        self.ledger()
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger_at(self.destinations.first())
    }

    pub(crate) fn ledgers(&self) -> Vec<Ledger> {
        (self.destinations.iter())
            .map(|destination| self.ledger_at(Some(destination)))
            .collect()
    }

    fn ledger_at(&self, destination: Option<&Arc<Destination>>) -> Ledger {
        let mut ledger = Ledger::default();
        // The later stages first: a span that moves on meanwhile counts as buffered, never twice.
        if let Some(destination) = destination {
            destination.queue.read(&mut ledger);
        }
        // ORDERING: counts.
        let taken = self.control.taken.load(Relaxed);
        let in_batch = self.control.in_batch.load(Relaxed);
        let ring_full = self.control.ring_full.load(Relaxed);
        let ring_too_large = self.control.ring_too_large.load(Relaxed);
        let batch_too_large = self.control.batch_too_large.load(Relaxed);
        if self.destinations.is_empty() {
            // Nowhere to go.
            ledger.queue_full += taken.saturating_sub(in_batch + batch_too_large);
        }
        let mut counts = Ledger::default();
        let ended = self.shared.counts(&mut counts);
        ledger.started = counts.started;
        ledger.sampled_out = counts.sampled_out;
        ledger.thread_gone = counts.thread_gone;
        ledger.open = counts.open;
        ledger.ring_full += ring_full;
        ledger.too_large += ring_too_large + batch_too_large;
        ledger.buffered += in_batch + ended.saturating_sub(taken + ring_full + ring_too_large);
        ledger
    }

    pub(crate) fn last_errors(&self) -> Vec<String> {
        let mut unused = Ledger::default();
        self.destinations
            .iter()
            .filter_map(|d| d.queue.read(&mut unused))
            .collect()
    }
}

fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout)
        .unwrap_or(now + Duration::from_secs(86_400 * 365))
}

fn wait_for(thread: JoinHandle<()>, until: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.join().is_ok()
}
