//! Recording in a process: per-thread rings, a drain thread, a sending thread per destination.
//!
//! Input: spans of [`Local`], and of libraries through the global tracer. Output: batches to exporters.
//! Bound: a ring per thread, one batch in the making, a queue per destination. A request never waits for
//! telemetry: what finds no room is counted, by cause, in the [`Ledger`].

mod clock;
#[allow(unsafe_code, reason = "reads the processor's counter")]
mod counter;
mod drain;
mod ledger;
#[allow(unsafe_code, reason = "a free list through the pages themselves")]
mod pages;
#[allow(
    unsafe_code,
    reason = "rings are leaked while a thread or the drain has an end of them"
)]
mod rings;
mod running;
#[allow(unsafe_code, reason = "what is installed is never freed")]
mod shared;
#[allow(unsafe_code, reason = "a pointer to this thread's part")]
mod thread;

#[cfg(unix)]
#[allow(unsafe_code, reason = "libc's pthread_atfork")]
mod fork;
#[cfg(not(unix))]
#[path = "no_fork.rs"]
mod fork;
#[cfg(all(unix, feature = "signal"))]
#[allow(unsafe_code, reason = "libc's sigaction")]
mod signal;

pub use clock::ClockSource;
pub use ledger::Ledger;
pub use pages::PooledBuf;
pub use thread::{Local, suppress, suppress_this_thread};

use crate::config::{BatchConfig, Config, LimitsConfig, RootSampler, TracesExporter};
use crate::export::{ConsoleExporter, ExporterError, SpanExporter, ZipkinBuilder, otlp_exporter};
use crate::propagation;
use crate::resource::{self, Resource, ResourceDetector};
use crate::trace::AttributeValue;
use clock::HostClock;
use core::fmt;
use core::mem::ManuallyDrop;
use rings::RingSizes;
use running::{ExporterSource, Plan, Running};
use shared::{ProcessSampler, Settings, Shared};
use spanlet::context::{Propagator, Propagators};
use spanlet::{
    AlwaysOff, AlwaysOn, InstrumentationScope, ParentBased, Sampler, SpanLimits, TraceIdRatio,
};
use std::sync::Arc;
use std::time::Duration;

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
    exporters: Option<Vec<ExporterSource>>,
    scope: InstrumentationScope<'static>,
    ring_sizes: RingSizes,
    clock: Option<ClockSource>,
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
    ///
    /// The child of a fork cannot use it, and records nothing: see [`exporter_with`](Self::exporter_with).
    pub fn exporter(self, exporter: impl SpanExporter + 'static) -> Self {
        self.source(ExporterSource::Made(Box::new(exporter)))
    }
    /// As [`exporter`](Self::exporter), made by `make` now, and once more in the child of a fork that starts a
    /// span: so that no two processes share a connection.
    ///
    /// ```
    /// use spanlet_std::{Telemetry, export::OtlpHttpBuilder};
    /// let builder = Telemetry::builder_with(Default::default())
    ///     .exporter_with(|| Ok(Box::new(OtlpHttpBuilder::default().build()?)));
    /// # drop(builder);
    /// ```
    pub fn exporter_with(
        self,
        make: impl Fn() -> Result<Box<dyn SpanExporter>, ExporterError> + Send + Sync + 'static,
    ) -> Self {
        self.source(ExporterSource::Make(Box::new(make)))
    }
    fn source(mut self, source: ExporterSource) -> Self {
        self.exporters.get_or_insert_with(Vec::new).push(source);
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
    /// Gives each thread a ring of this many bytes, rounded up to a power of two, 4 KiB to 1 GiB, that never grows.
    ///
    /// Without it a ring begins with 256 KiB (1,900 spans with four attributes, untouched memory not counted), and
    /// one that is full goes on in another of 1 MiB and then of 4 MiB: a burst of 20,000 spans from one
    /// thread survives without the drain's getting to run at all. All rings that have grown take at most 64 MiB.
    pub fn ring_bytes(mut self, bytes: usize) -> Self {
        self.ring_sizes = RingSizes::fixed(bytes);
        self
    }
    /// Reads this clock, and not the best that the machine has. [`ClockSource::Counter`] is a wish: where
    /// the counter is not steady, it is the operating system's clock all the same.
    pub fn clock_source(mut self, source: ClockSource) -> Self {
        self.clock = Some(source);
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
        let propagation = propagation::Settings {
            propagators: self
                .propagators
                .unwrap_or_else(|| propagators_of(&config.propagators)),
            allowed: self.forward_baggage,
        };
        if config.disabled {
            // SPEC: Environment Variable Specification, "OTEL_SDK_DISABLED": propagators stay.
            propagation::set(propagation);
            return Ok(Telemetry::of(None));
        }
        let clock = HostClock::new(self.clock.unwrap_or(ClockSource::Counter));
        let settings = Settings {
            limits: limits_of(&config.limits),
            sampler: sampler_of(self.sampler, &config),
            escalate_after: self.escalate_after.map(|d| clock.ticks_of(d)),
            clock,
            id_seed: self.id_seed,
            ring_sizes: self.ring_sizes,
        };
        let sources = self
            .exporters
            .unwrap_or_else(|| vec![ExporterSource::Config]);
        let mut plan = Plan {
            settings,
            resource: resource::of_process(self.detected, &config.resource, self.resource),
            concurrent_exports: self.concurrent_exports,
            config,
            scope: self.scope,
            sources,
        };
        let exporters = plan.make_exporters().map_err(InstallError::Exporter)?;
        let shared = Shared::new(Arc::new(plan), 0)
            .install()
            .ok_or(InstallError::AlreadyInstalled)?;
        propagation::set(propagation);
        fork::watch();
        static LOCAL: Local = Local;
        // A binary may have chosen another global tracer; then that one stays.
        let _ = spanlet::set_global_tracer(&LOCAL);
        let running = Running::start(shared, exporters).map_err(|error| {
            shared.close();
            InstallError::Thread(error)
        })?;
        Ok(Telemetry::of(Some(Arc::new(running))))
    }
}

/// Recording for this process: keep it until the end. Dropped, it shuts down within five seconds.
///
/// A process that ends without dropping it (`std::process::exit`, an abort, a signal) loses what the
/// exporters had not sent yet: at most the schedule delay's worth. With the feature `signal`,
/// `flush_on_signals` flushes before SIGTERM and SIGINT take their course.
///
/// # In the child of a fork
/// The child's first span starts a recording of its own: new ids, new rings, a new drain, exporters made anew,
/// from the configuration or by [`exporter_with`](TelemetryBuilder::exporter_with). What the parent had recorded
/// stays the parent's. This handle, in the child's copy, is then that of the child's recording. With an exporter that
/// was given ready-made nothing is recorded in the child, unless it installs another telemetry. A span that was open
/// at the fork and ends in both is recorded in both: end it in the parent, and in the child
/// [`forget`](core::mem::forget) it, or leave by `_exit`. A fork that bypasses libc's `fork` goes unnoticed: then use
/// no spans before `exec`.
///
/// # In a signal handler
/// Nothing of this crate may be called in one, as little as `malloc`: a span that starts or ends in the middle
/// of another's push writes into the same words. Set a flag and record elsewhere. A [`SpanContext`](spanlet::SpanContext)
/// that was copied before may be read and written into a carrier without allocation.
///
/// # In destructors of thread-locals
/// A span that starts after the thread's recorder is gone is off; one that was open and ends then is lost, and
/// counted as [`thread_gone`](Ledger::thread_gone).
pub struct Telemetry {
    own: ManuallyDrop<Option<Arc<Running>>>,
    process: u32,
}

impl Telemetry {
    fn of(own: Option<Arc<Running>>) -> Self {
        Telemetry {
            own: ManuallyDrop::new(own),
            process: std::process::id(),
        }
    }
    /// The recording of this process: in the child of a fork not the one that this was made for.
    fn running(&self) -> Option<Arc<Running>> {
        if self.process == std::process::id() {
            self.own.as_ref().cloned()
        } else {
            shared::installed()?.revived.get().cloned()
        }
    }
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
            ring_sizes: RingSizes::GROWING,
            clock: None,
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
        self.running().is_none_or(|running| running.flush(timeout))
    }
    /// Sends what has ended so far, then stops. Spans that end later are lost, and counted while their
    /// rings have room as `buffered`. Returns the final ledger. Later calls only return the ledger.
    pub fn shutdown(&self, timeout: Duration) -> Ledger {
        self.running()
            .map_or_else(Ledger::default, |running| running.shutdown(timeout))
    }
    /// What became of all spans so far.
    ///
    /// With more than one destination, the counts of export are those of the first: see [`ledgers`](Self::ledgers).
    pub fn ledger(&self) -> Ledger {
        self.running()
            .map_or_else(Ledger::default, |running| running.ledger())
    }
    /// What became of all spans so far at each destination, in their order: what was recorded is the same in each,
    /// what was exported and lost behind the queue is the destination's own.
    pub fn ledgers(&self) -> Vec<Ledger> {
        self.running()
            .map_or_else(Vec::new, |running| running.ledgers())
    }
    /// The last error of each destination that has one.
    pub fn last_errors(&self) -> Vec<String> {
        self.running()
            .map_or_else(Vec::new, |running| running.last_errors())
    }
    /// Which clock spans are stamped with; `None` where nothing is recorded.
    ///
    /// ```
    /// let telemetry = spanlet_std::Telemetry::builder_with(Default::default()).install()?;
    /// println!("spans are stamped by {:?}", telemetry.clock_source());
    /// # assert!(telemetry.clock_source().is_some());
    /// # Ok::<(), spanlet_std::InstallError>(())
    /// ```
    pub fn clock_source(&self) -> Option<ClockSource> {
        let running = self.running()?;
        Some(running.clock_source())
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.shutdown(DROP_TIMEOUT);
        // The parent's is left to the parent: its threads, which it may wait for, are not here.
        if self.process == std::process::id() {
            drop(self.own.take());
        }
    }
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
