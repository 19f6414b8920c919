//! Recording in a process: per-thread rings, a drain thread, a sending thread per destination.
//!
//! Input: spans of [`Local`], and of libraries through the global tracer. Output: batches to exporters.
//! Bound: a ring per thread, one batch in the making, a queue per destination. A request never waits for
//! telemetry: what finds no room is counted, by cause, in the [`Ledger`].

mod clock;
mod drain;
mod ledger;
#[allow(unsafe_code, reason = "a free list through the pages themselves")]
mod pages;
#[allow(
    unsafe_code,
    reason = "rings are leaked while a thread or the drain has an end of them"
)]
mod shared;
#[allow(unsafe_code, reason = "a pointer to this thread's part")]
mod thread;

pub use ledger::Ledger;
pub use pages::PooledBuf;
pub use thread::Local;

use crate::config::{BatchConfig, Config, LimitsConfig, RootSampler, TracesExporter};
use crate::export::queue::Queue;
use crate::export::{ConsoleExporter, ExporterError, SpanExporter, ZipkinBuilder, otlp_exporter};
use crate::propagation;
use crate::resource::{self, Resource, ResourceDetector};
use crate::trace::AttributeValue;
use clock::{HostClock, WallClock};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use drain::{Control, Drain};
use shared::{ProcessSampler, Shared};
use spanlet::context::{Propagator, Propagators};
use spanlet::{
    AlwaysOff, AlwaysOn, InstrumentationScope, ParentBased, Sampler, SpanLimits, TraceIdRatio,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A span of this process: two words of buffer handle, pages from a pool of the thread.
pub type Span = spanlet::Span<Local, PooledBuf>;

/// Starts a span on this thread: a child of the current context, or a root.
///
/// ```
/// let mut span: spanlet_std::Span = spanlet_std::span("parse").start();
/// span.set_attribute("bytes", 120);
/// ```
#[inline(always)]
pub fn span<'b>(name: &'static str) -> spanlet::SpanBuilder<'b, Local> {
    Local.span(name)
}

/// Bytes of a thread's ring: about 2,000 spans with four attributes.
const RING_BYTES: usize = 256 << 10;
/// How long [`Telemetry`]'s drop waits for what is left.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// Sets up recording for the process.
///
/// ```no_run
/// let telemetry = spanlet_std::Telemetry::builder().service_name("checkout").install()?;
/// {
///     let mut span: spanlet_std::Span = spanlet_std::span("charge").start();
///     span.set_attribute("payment.provider", "acme");
/// }
/// telemetry.shutdown(std::time::Duration::from_secs(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is recorded before `install`"]
pub struct TelemetryBuilder {
    config: Config,
    resource: Resource,
    detected: Resource,
    sampler: Option<Box<dyn Sampler + Send + Sync>>,
    exporters: Option<Vec<Box<dyn SpanExporter>>>,
    scope: InstrumentationScope<'static>,
    ring_bytes: usize,
    escalate_after: Option<Duration>,
    id_seed: Option<u64>,
    concurrent_exports: u32,
    propagators: Option<Propagators>,
    forward_baggage: Vec<&'static str>,
}

/// Why recording could not be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstallError {
    /// Another [`Telemetry`] has been installed in this process.
    AlreadyInstalled,
    /// An exporter could not be made.
    Exporter(ExporterError),
    /// A thread could not be started.
    Thread(std::io::Error),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstallError::AlreadyInstalled => {
                f.write_str("telemetry is installed already: install it once per process")
            }
            InstallError::Exporter(error) => write!(f, "the exporter could not be set up: {error}"),
            InstallError::Thread(error) => write!(f, "no thread could be started: {error}"),
        }
    }
}

impl std::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InstallError::AlreadyInstalled => None,
            InstallError::Exporter(error) => Some(error),
            InstallError::Thread(error) => Some(error),
        }
    }
}

impl TelemetryBuilder {
    /// Sets `service.name`.
    pub fn service_name(self, name: &str) -> Self {
        self.resource_attribute("service.name", name)
    }
    /// Sets an attribute of the resource, in place of what the environment says.
    pub fn resource_attribute(mut self, key: &str, value: impl Into<AttributeValue>) -> Self {
        self.resource.set(key, value);
        self
    }
    /// Merges a resource into what code has set so far, and so in place of what the environment says. Where
    /// the schemas contradict each other, there is none, and standard error says so.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resource = self.resource.merge_or_warn(resource);
        self
    }
    /// Asks a detector, now. What it finds stands where neither code nor the environment says otherwise; of
    /// two detectors the later one wins.
    ///
    /// ```no_run
    /// use spanlet_std::resource::{ContainerDetector, HostDetector};
    /// let telemetry = spanlet_std::Telemetry::builder()
    ///     .resource_detector(HostDetector)
    ///     .resource_detector(ContainerDetector)
    ///     .install()?;
    /// # Ok::<(), spanlet_std::InstallError>(())
    /// ```
    pub fn resource_detector(mut self, detector: impl ResourceDetector) -> Self {
        self.detected = self.detected.merge_or_warn(detector.detect());
        self
    }
    /// Sets the sampler, in place of what the environment says.
    pub fn sampler(mut self, sampler: impl Sampler + Send + Sync + 'static) -> Self {
        self.sampler = Some(Box::new(sampler));
        self
    }
    /// Sends to this exporter, and not where the environment says. Again for more than one.
    pub fn exporter(mut self, exporter: impl SpanExporter + 'static) -> Self {
        self.exporters
            .get_or_insert_with(Vec::new)
            .push(Box::new(exporter));
        self
    }
    /// Sets the scope of spans that carry none of their own.
    pub fn scope(mut self, scope: InstrumentationScope<'static>) -> Self {
        self.scope = scope;
        self
    }
    /// Sets queue, batch and delay, in place of what the environment says.
    pub fn batch(mut self, batch: BatchConfig) -> Self {
        self.config.batch = batch;
        self
    }
    /// Sets the span limits, in place of what the environment says.
    pub fn limits(mut self, limits: LimitsConfig) -> Self {
        self.config.limits = limits;
        self
    }
    /// Sets the bytes of each thread's ring; rounded up to a power of two, 4 KiB to 1 GiB.
    pub fn ring_bytes(mut self, bytes: usize) -> Self {
        self.ring_bytes = bytes;
        self
    }
    /// Keeps spans that the sampler recorded only, if they fail or take at least this long.
    pub fn escalate_after(mut self, duration: Duration) -> Self {
        self.escalate_after = Some(duration);
        self
    }
    /// How many batches may be on their way to one destination at the same time: a thread each. One by default;
    /// more where a collector is far away and one batch after the other is too slow. Clamped to 1..=64.
    pub fn concurrent_exports(mut self, batches: u32) -> Self {
        self.concurrent_exports = batches.clamp(1, 64);
        self
    }
    /// Makes ids repeatable, **for tests and demonstrations only**: each thread's follow from `seed` and
    /// from its turn among the threads that start spans. Two processes with the same seed make the same ids.
    pub fn id_seed(mut self, seed: u64) -> Self {
        self.id_seed = Some(seed);
        self
    }

    /// Sets the formats of contexts in and out of the process, in place of what `OTEL_PROPAGATORS` says.
    ///
    /// ```no_run
    /// use spanlet::context::{Propagator, Propagators};
    /// let telemetry = spanlet_std::Telemetry::builder()
    ///     .propagators(Propagators::W3C.with(Propagator::B3))
    ///     .install()?;
    /// # Ok::<(), spanlet_std::InstallError>(())
    /// ```
    pub fn propagators(mut self, propagators: Propagators) -> Self {
        self.propagators = Some(propagators);
        self
    }
    /// Lets the baggage members with these keys leave the process, in calls of
    /// [`propagation::inject`](crate::propagation::inject()) and of the client layers; without it none do. What leaves
    /// reaches everything downstream, third parties included: no secrets, no personal data. Again for more.
    ///
    /// ```no_run
    /// let telemetry = spanlet_std::Telemetry::builder().forward_baggage(["tenant.id"]).install()?;
    /// # Ok::<(), spanlet_std::InstallError>(())
    /// ```
    pub fn forward_baggage(mut self, keys: impl IntoIterator<Item = &'static str>) -> Self {
        self.forward_baggage.extend(keys);
        self
    }

    /// Starts recording.
    ///
    /// Until it returns, spans are off. It also makes [`Local`] the global tracer that libraries see,
    /// unless there is one.
    ///
    /// # Errors
    /// If there is another in this process, or an exporter or a thread cannot be made.
    pub fn install(self) -> Result<Telemetry, InstallError> {
        let config = self.config;
        let control = Arc::<Control>::default();
        let mut telemetry = Telemetry {
            shared: None,
            control: control.clone(),
            destinations: Vec::new(),
            threads: Mutex::default(),
        };
        let propagation = propagation::Settings {
            propagators: self
                .propagators
                .unwrap_or_else(|| propagators_of(&config.propagators)),
            allowed: self.forward_baggage,
        };
        if config.disabled {
            // SPEC: Environment Variable Specification, "OTEL_SDK_DISABLED": propagators stay.
            propagation::set(propagation);
            return Ok(telemetry);
        }
        let exporters = match self.exporters {
            Some(exporters) => exporters,
            None => exporters_of(&config).map_err(InstallError::Exporter)?,
        };
        let clock = HostClock::new();
        let escalate_after = self.escalate_after.map(|d| clock.ticks_of(d));
        let ring_words = self.ring_bytes.clamp(4 << 10, 1 << 30).next_power_of_two() / 8;
        let shared = Shared::new(
            clock.clone(),
            limits_of(&config.limits),
            sampler_of(self.sampler, &config),
            ring_words,
            escalate_after,
            self.id_seed,
        );
        let shared = shared.install().ok_or(InstallError::AlreadyInstalled)?;
        telemetry.shared = Some(shared);
        propagation::set(propagation);
        static LOCAL: Local = Local;
        // A binary may have chosen another global tracer; then that one stays.
        let _ = spanlet::set_global_tracer(&LOCAL);

        let budget = config.batch.export_timeout.unwrap_or(Duration::MAX);
        let mut threads = Vec::new();
        for exporter in exporters {
            let destination = Arc::new(Destination {
                queue: Arc::new(Queue::new(u64::from(config.batch.max_queue_size))),
                exporter,
            });
            for _ in 0..self.concurrent_exports {
                let sender = destination.clone();
                let thread = std::thread::Builder::new()
                    .name("spanlet-send".into())
                    .spawn(move || sender.queue.send_all(&*sender.exporter, budget));
                threads.push(thread.map_err(InstallError::Thread)?);
            }
            telemetry.destinations.push(destination);
        }
        let drain = Drain {
            shared,
            control,
            queues: telemetry
                .destinations
                .iter()
                .map(|d| d.queue.clone())
                .collect(),
            clock: WallClock::new(clock),
            resource: resource::of_process(self.detected, &config.resource, self.resource),
            scope: self.scope,
            max_batch_spans: config.batch.max_export_batch_size,
            schedule_delay: config.batch.schedule_delay,
            rings: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("spanlet-drain".into())
            .spawn(move || drain.run());
        threads.push(thread.map_err(InstallError::Thread)?);
        telemetry.threads = Mutex::new(threads);
        Ok(telemetry)
    }
}

struct Destination {
    queue: Arc<Queue>,
    exporter: Box<dyn SpanExporter>,
}

impl Destination {
    /// Ends the exporter, and what is under way and queued if it is not idle.
    fn end(&self, idle: bool, until: Instant) {
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

/// Recording for this process: keep it until the end. Dropped, it shuts down within five seconds.
///
/// A process that ends without dropping it (`std::process::exit`, an abort, a signal) loses what the
/// exporters had not sent yet: at most the schedule delay's worth.
pub struct Telemetry {
    shared: Option<&'static Shared>,
    control: Arc<Control>,
    destinations: Vec<Arc<Destination>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Telemetry {
    /// A builder that begins with the `OTEL_*` variables of the environment; warnings about values that
    /// cannot be used go to standard error.
    pub fn builder() -> TelemetryBuilder {
        let (config, warnings) = Config::from_process();
        for warning in warnings {
            eprintln!("spanlet: {warning}");
        }
        Telemetry::builder_with(config)
    }
    /// A builder that begins with this configuration and does not look at the environment.
    pub fn builder_with(config: Config) -> TelemetryBuilder {
        TelemetryBuilder {
            config,
            resource: Resource::empty(),
            detected: Resource::empty(),
            sampler: None,
            exporters: None,
            scope: InstrumentationScope::new(""),
            ring_bytes: RING_BYTES,
            escalate_after: None,
            id_seed: None,
            concurrent_exports: 1,
            propagators: None,
            forward_baggage: Vec::new(),
        }
    }
    /// Sends what has ended so far. `false` if `timeout` ran out first.
    ///
    /// Never deadlocks: it waits for threads that never wait for callers.
    pub fn flush(&self, timeout: Duration) -> bool {
        let until = deadline(timeout);
        self.shared.is_none()
            || self.control.flush(until)
                && self.destinations.iter().all(|d| d.queue.wait_idle(until))
    }
    /// Sends what has ended so far, then stops. Spans that end later are lost, and counted while their
    /// rings have room as `buffered`. Returns the final ledger. Later calls only return the ledger.
    pub fn shutdown(&self, timeout: Duration) -> Ledger {
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
    /// What became of all spans so far.
    ///
    /// With more than one destination, the counts of export are those of the first: see [`ledgers`](Self::ledgers).
    pub fn ledger(&self) -> Ledger {
        self.ledger_at(self.destinations.first())
    }
    /// What became of all spans so far at each destination, in their order: what was recorded is the same in each,
    /// what was exported and lost behind the queue is the destination's own.
    pub fn ledgers(&self) -> Vec<Ledger> {
        (self.destinations.iter())
            .map(|destination| self.ledger_at(Some(destination)))
            .collect()
    }
    fn ledger_at(&self, destination: Option<&Arc<Destination>>) -> Ledger {
        let mut ledger = Ledger::default();
        let Some(shared) = self.shared else {
            return ledger;
        };
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
        let ended = shared.counts(&mut counts);
        ledger.started = counts.started;
        ledger.sampled_out = counts.sampled_out;
        ledger.thread_gone = counts.thread_gone;
        ledger.open = counts.open;
        ledger.ring_full += ring_full;
        ledger.too_large += ring_too_large + batch_too_large;
        ledger.buffered += in_batch + ended.saturating_sub(taken + ring_full + ring_too_large);
        ledger
    }
    /// The last error of each destination that has one.
    pub fn last_errors(&self) -> Vec<String> {
        let mut unused = Ledger::default();
        self.destinations
            .iter()
            .filter_map(|d| d.queue.read(&mut unused))
            .collect()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.shutdown(DROP_TIMEOUT);
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

fn exporters_of(config: &Config) -> Result<Vec<Box<dyn SpanExporter>>, ExporterError> {
    let mut exporters: Vec<Box<dyn SpanExporter>> = Vec::new();
    for exporter in &config.exporters {
        exporters.push(match exporter {
            TracesExporter::Otlp => otlp_exporter(config.otlp.clone())?,
            TracesExporter::Zipkin => Box::new(ZipkinBuilder::from(config.zipkin.clone()).build()?),
            TracesExporter::Console => Box::new(ConsoleExporter::new()),
        });
    }
    Ok(exporters)
}

fn sampler_of(sampler: Option<Box<dyn Sampler + Send + Sync>>, config: &Config) -> ProcessSampler {
    fn any(
        parent_based: bool,
        root: impl Sampler + Send + Sync + 'static,
    ) -> Box<dyn Sampler + Send + Sync> {
        if parent_based {
            Box::new(ParentBased::new(root))
        } else {
            Box::new(root)
        }
    }
    let parent_based = config.sampler.parent_based;
    ProcessSampler::Any(match (sampler, config.sampler.root) {
        (Some(sampler), _) => sampler,
        (None, RootSampler::AlwaysOn) if parent_based => {
            return ProcessSampler::ParentBasedAlwaysOn;
        }
        (None, RootSampler::AlwaysOn) => any(parent_based, AlwaysOn),
        (None, RootSampler::AlwaysOff) => any(parent_based, AlwaysOff),
        (None, RootSampler::TraceIdRatio(ratio)) => match TraceIdRatio::new(ratio) {
            Ok(root) => any(parent_based, root),
            // The configuration has seen to it that it is a ratio.
            Err(_) => any(parent_based, AlwaysOn),
        },
    })
}

fn propagators_of(names: &[crate::config::Propagator]) -> Propagators {
    use crate::config::Propagator as Name;
    let formats = names.iter().map(|name| match name {
        Name::TraceContext => Propagator::TraceContext,
        Name::Baggage => Propagator::Baggage,
        Name::B3 => Propagator::B3,
        Name::B3Multi => Propagator::B3Multi,
        Name::Jaeger => Propagator::Jaeger,
        Name::OtTrace => Propagator::OtTrace,
    });
    formats.fold(Propagators::NONE, Propagators::with)
}

fn limits_of(limits: &LimitsConfig) -> SpanLimits {
    let count = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    SpanLimits {
        attribute_count: count(limits.attribute_count),
        event_count: count(limits.event_count),
        link_count: count(limits.link_count),
        event_attribute_count: count(limits.event_attribute_count),
        link_attribute_count: count(limits.link_attribute_count),
        attribute_value_length: limits.attribute_value_length.unwrap_or(u32::MAX),
    }
}
