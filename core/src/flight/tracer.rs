//! A device's tracer over memory that a reset keeps.

use super::boot::{Boot, ResetReason};
use super::recorder::FlightRecorder;
use super::records::FlightRecords;
use super::recover::Recovery;
use crate::clock::{Clock, Ticks};
use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use crate::current::{Current, DetachedContext};
use crate::escalation::Escalation;
use crate::frame::DeviceCounters;
use crate::id_generator::IdGenerator;
use crate::record::{InstrumentationScope, META_RECORD_ONLY, META_REMOTE_PARENT, meta, whole};
use crate::recorder::{EndedUnsampled, FinishedSpan, OpenLimits, Recorder, SpanLimits, SpanStart};
use crate::ring::sync::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sampler::{Sampler, SamplingDecision, SamplingParameters, SamplingResult};
use crate::span::SpanBuilder;
use crate::tracer::{Back, Escalate, FromDefault};

const DETACHED: u32 = 0;
const ATTACHING: u32 = 1;
const ATTACHED: u32 = 2;

/// A [`Tracer`](crate::Tracer) whose spans survive a reset: its ring overwrites the oldest and, with the
/// table of open spans, lies in a [`FlightRecorder`].
///
/// Records nothing until it is [attached](Self::attach). Needs the binary's `critical-section` provider: a span
/// takes one section of a few instructions for each count and for the open span's slot, and one of 21
/// instructions on a Cortex-M4, 18 on an M0, for its place in the ring. With two integer attributes it costs 1130
/// instructions on an M4 and 1650 on an M0 (QEMU, opt-level "s"): over twice a [`Tracer`](crate::Tracer)'s.
///
/// ```
/// use spanlet::frame::Epoch;
/// use spanlet::testing::ManualClock;
/// use spanlet::{AlwaysOn, Boot, BuildId, DeviceIds, FlightRecorder, FlightTracer, InlineBuf};
/// use spanlet::{RecordSource, ResetReason, Retention, Span};
///
/// // On a device: #[unsafe(link_section = ".uninit.spans")]
/// static SPANS: FlightRecorder<4096> = FlightRecorder::new();
/// static TRACER: FlightTracer<ManualClock, DeviceIds, AlwaysOn, 4096> =
///     FlightTracer::new(ManualClock::new(), DeviceIds::new(1, 1), AlwaysOn, &SPANS);
///
/// let recovery = TRACER
///     .attach(&Boot {
///         build: BuildId::of(b"1.0.0"),
///         epoch: Epoch(1),
///         reason: ResetReason::PowerOn,
///         texts: &[], // on a device: unsafe { linker_section!(__srodata, __erodata) }
///     })
///     .expect("attached once");
/// assert_eq!(recovery.retention, Retention::Nothing);
///
/// drop::<Span<_, InlineBuf<20>>>(TRACER.span("read sensor").start());
/// let mut scratch = [0; 64];
/// let mut records = TRACER.records(&mut scratch).expect("nobody else drains");
/// assert_eq!(records.peek().map(|(_, record)| record.name()), Some("read sensor"));
/// ```
pub struct FlightTracer<C, I, S, const N: usize, const K: usize = 8> {
    clock: C,
    ids: I,
    sampler: S,
    limits: FromDefault,
    scope: Option<&'static InstrumentationScope<'static>>,
    escalation: Option<&'static dyn Escalate>,
    state: AtomicU32,
    current: Current,
    recorder: &'static FlightRecorder<N, K>,
}

impl<C, I, S, const N: usize, const K: usize> FlightTracer<C, I, S, N, K> {
    /// A tracer over retained memory, which no other tracer may use.
    pub const fn new(
        clock: C,
        ids: I,
        sampler: S,
        recorder: &'static FlightRecorder<N, K>,
    ) -> Self {
        FlightTracer {
            clock,
            ids,
            sampler,
            limits: FromDefault::of(SpanLimits::DEFAULT),
            scope: None,
            escalation: None,
            state: AtomicU32::new(DETACHED),
            current: Current::new(),
            recorder,
        }
    }
    /// Sets the span limits.
    #[must_use]
    pub const fn with_limits(mut self, limits: SpanLimits) -> Self {
        self.limits = FromDefault::of(limits);
        self
    }
    /// Sets the scope that its spans carry. Without one they get the session's; 8 bytes of ring a span.
    #[must_use]
    pub const fn with_scope(mut self, scope: &'static InstrumentationScope<'static>) -> Self {
        self.scope = Some(scope);
        self
    }
    /// Keeps spans that were recorded only, if they fail or are slow, or if a reset finds them open.
    #[must_use]
    pub const fn with_escalation<const E: usize>(mut self, table: &'static Escalation<E>) -> Self {
        self.escalation = Some(table);
        self
    }
    /// The clock.
    pub const fn clock(&self) -> &C {
        &self.clock
    }
    /// The id source, to seed it.
    pub const fn ids(&self) -> &I {
        &self.ids
    }
    /// The retained memory.
    pub const fn recorder(&self) -> &'static FlightRecorder<N, K> {
        self.recorder
    }
    /// The present boot's reading end for the drain, if nobody has it. The record at hand is copied into
    /// `scratch`: 8 words and a span's buffer, at least. Records that are longer count as unsendable.
    ///
    /// The boot before comes first, from [`Recovery::records`]: to release this boot's records gives up what
    /// is left of it.
    pub fn records<'a>(&self, scratch: &'a mut [u64]) -> Option<FlightRecords<'a, N, K>> {
        if !self.is_attached() {
            return None;
        }
        FlightRecords::new(self.recorder, scratch)
    }
    /// What this boot has started and lost so far.
    pub fn counters(&self) -> DeviceCounters {
        match self.recorder.base() {
            Some(base) if self.is_attached() => self.recorder.counters(&base),
            _ => DeviceCounters::default(),
        }
    }
    fn is_attached(&self) -> bool {
        // ORDERING: the memory is in order; pairs with Release in `attach`.
        self.state.load(Acquire) == ATTACHED
    }
}

impl<C: Clock, I, S, const N: usize, const K: usize> FlightTracer<C, I, S, N, K> {
    /// Takes the memory over, at boot, before the first span: finds out what the boot before has left, closes
    /// the spans that were open, and begins this one. `None` if it is attached already.
    ///
    /// Bound: three walks over the ring, and one record for each span that was open. A reset in here does no
    /// harm.
    pub fn attach(&'static self, boot: &Boot) -> Option<Recovery<N, K>> {
        let is_first = self.recorder.lock().with(|| {
            let is_first = self.state.load(Relaxed) == DETACHED;
            if is_first {
                self.state.store(ATTACHING, Relaxed);
            }
            is_first
        });
        if !is_first {
            return None;
        }
        let keeps_failed = self.escalation.is_some();
        let recovery = Recovery::of(self.recorder, boot, self.clock.rate(), keeps_failed);
        // ORDERING: publishes the memory; pairs with Acquire in `is_attached`.
        self.state.store(ATTACHED, Release);
        Some(recovery)
    }

    /// As [`FlightRecorder::panicked`], with the clock's time.
    pub fn panicked(&self, info: &core::panic::PanicInfo<'_>) {
        self.recorder.panicked(info, Some(self.clock.now()));
    }
    /// As [`FlightRecorder::faulted`], with the clock's time.
    pub fn faulted(&self, pc: u32, lr: u32) {
        self.recorder.faulted(pc, lr, Some(self.clock.now()));
    }
    /// As [`FlightRecorder::resetting`], with the clock's time.
    pub fn resetting(&self, reason: ResetReason) {
        self.recorder.resetting(reason, Some(self.clock.now()));
    }
}

impl<C: Clock, I: IdGenerator, S: Sampler, const N: usize, const K: usize>
    FlightTracer<C, I, S, N, K>
{
    /// Starts a span of this name: a child of the current context, or a root.
    #[inline(always)]
    pub fn span<'b>(&'static self, name: &'static str) -> SpanBuilder<'b, &'static Self> {
        SpanBuilder::new(self, name)
    }
}

impl<C: Clock, I: IdGenerator, S: Sampler, const N: usize, const K: usize> Recorder
    for &FlightTracer<C, I, S, N, K>
{
    #[inline(always)]
    fn is_enabled(self) -> bool {
        self.is_attached()
    }
    #[inline(always)]
    fn now(self) -> Ticks {
        self.clock.now()
    }
    #[inline(always)]
    fn span_id(self) -> SpanId {
        self.ids.span_id()
    }
    #[inline(always)]
    fn trace_id(self) -> (TraceId, TraceFlags) {
        self.ids.trace_id()
    }
    #[inline(always)]
    fn sample(self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        self.sampler.should_sample(parameters)
    }
    // In line, where the sampler is known: see `write_state` in the span's builder.
    #[inline(always)]
    fn start(self, parameters: &SamplingParameters<'_>, at: Option<Ticks>) -> SpanStart {
        let sampling = self.sample(parameters);
        let span_id = self.span_id();
        let recording = !matches!(sampling.decision, SamplingDecision::Drop);
        self.started(recording);
        let mut start = SpanStart {
            sampling,
            span_id,
            limits: OpenLimits::new(&self.limits()),
            at: Ticks(0),
        };
        if recording {
            start.at = at.unwrap_or_else(|| self.now());
            self.opened(parameters, &start);
        }
        start
    }
    #[inline]
    fn record(self, span: FinishedSpan<'_>) {
        self.recorder.record(span);
    }
    #[inline]
    fn started(self, recording: bool) {
        self.recorder.start(recording);
    }
    #[inline(always)]
    fn limits(self) -> SpanLimits {
        self.limits.get()
    }
    #[inline(always)]
    fn scope(self) -> Option<&'static InstrumentationScope<'static>> {
        self.scope
    }
    #[inline]
    fn current(self) -> Option<SpanContext> {
        self.current.get()
    }
    #[inline]
    fn with_current<T>(self, context: &SpanContext, run: impl FnOnce() -> T) -> T {
        let _back = Back(&self.current, self.current.save());
        self.current.set(context);
        run()
    }
    #[inline]
    fn detach(self) -> DetachedContext {
        self.current.take()
    }
    #[inline]
    fn attach(self, context: DetachedContext) {
        self.current.restore(context);
    }
    #[cold]
    fn escalate(self, ended: &EndedUnsampled) -> bool {
        let Some(escalation) = self.escalation else {
            self.recorder.sample_out(ended.span_id.to_word());
            return false;
        };
        let result = escalation.ended(ended);
        if !result.keep {
            self.recorder.sample_out(ended.span_id.to_word());
        }
        if result.newly_incomplete != 0 {
            let lock = self.recorder.lock();
            self.recorder
                .escalated_incomplete
                .add(lock, result.newly_incomplete);
        }
        result.keep
    }
}

impl<C, I, S, const N: usize, const K: usize> FlightTracer<C, I, S, N, K> {
    /// Notes in the table what the span's record starts with.
    #[inline(never)]
    fn opened(&self, parameters: &SamplingParameters<'_>, start: &SpanStart) {
        let is_sampled = matches!(start.sampling.decision, SamplingDecision::RecordAndSample);
        let (mut parent, mut bits) = (0, 0);
        let mut flags = if parameters.is_random {
            TraceFlags::RANDOM
        } else {
            TraceFlags::NONE
        };
        if let Some(context) = parameters.parent {
            flags = context.flags();
            parent = context.span_id().to_word();
            if context.is_remote() {
                bits |= META_REMOTE_PARENT;
            }
        }
        if !is_sampled {
            bits |= META_RECORD_ONLY;
        }
        bits |= meta(flags.with_sampled(is_sampled), parameters.kind);
        self.recorder.opened(&whole(
            bits,
            parameters.trace_id.to_words(),
            start.span_id.to_word(),
            parent,
            start.at.0,
            parameters.name,
        ));
    }
}
