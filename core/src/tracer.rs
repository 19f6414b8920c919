//! A device's tracer: clock, ids, sampler, ring and counters in one `static`.
//!
//! Input: spans of tasks and interrupts. Output: records in the ring, for the drain. Bound: the ring;
//! interrupts are off for the reservation of a record and for counts, and only on targets without
//! compare-and-swap.

use crate::atomic;
use crate::clock::{Clock, Ticks};
use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use crate::current::{Core0, CoreId, Current, DetachedContext, PerCore};
use crate::drain::RecordSource;
use crate::escalation::Escalation;
use crate::frame::DeviceCounters;
use crate::id_generator::IdGenerator;
use crate::record::{InstrumentationScope, LocalRecord};
use crate::recorder::{EndedUnsampled, FinishedSpan, Recorder, SpanLimits};
use crate::ring::{DefaultReserve, Reserve};
use crate::sampler::{Sampler, SamplingParameters, SamplingResult};
use crate::span::SpanBuilder;
use crate::store::{SpanReader, SpanRing};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A tracer for a `static`: `C` tells the time, `I` makes ids, `S` samples, and a ring of `N` bytes holds
/// what has ended. `M` is how the ring reserves: by compare-and-swap where the target has it. `K` tells
/// the cores apart, of which `CORES` record into it: each has a current context of its own.
///
/// # Two cores
/// Any core may record, and any one may drain. The ring, the ids and the counters need what an atomic store
/// with Release and a load with Acquire give (a `dmb` on a Cortex-M; the cores of an RP2040 have neither caches
/// nor store buffers between them and would not even need that), and compare-and-swap or a critical section that
/// keeps *both* cores out, as the `critical-section` implementation of an RP2040's HAL does with a hardware spinlock;
/// one that only masks interrupts loses records. The clock must be the same for both: the RP2040's
/// timer is, a SysTick or a cycle counter of each core is not.
///
/// ```
/// use spanlet::testing::ManualClock;
/// use spanlet::{AlwaysOn, DeviceIds, InlineBuf, Span, Tracer};
///
/// static TRACER: Tracer<ManualClock, DeviceIds, AlwaysOn, 4096> =
///     Tracer::new(ManualClock::new(), DeviceIds::unset(), AlwaysOn);
///
/// TRACER.ids().set(0x0001_0203_0405_0607, 1); // device id, boot count
/// {
///     let mut span: Span<_, InlineBuf<20>> = TRACER.span("read sensor").start();
///     span.set_attribute("celsius", 21.5);
/// }
/// let mut records = TRACER.records().expect("nobody else drains");
/// # use spanlet::RecordSource;
/// assert_eq!(records.peek().map(|(sequence, record)| (sequence, record.name())), Some((0, "read sensor")));
/// assert_eq!(TRACER.counters().started, 1);
/// ```
pub struct Tracer<C, I, S, const N: usize, M = DefaultReserve, K = Core0, const CORES: usize = 1> {
    clock: C,
    ids: I,
    sampler: S,
    limits: FromDefault,
    scope: Option<&'static InstrumentationScope<'static>>,
    escalation: Option<&'static dyn Escalate>,
    started: AtomicU32,
    sampled_out: AtomicU32,
    escalated_incomplete: AtomicU32,
    current: PerCore<Current, K, CORES>,
    ring: SpanRing<N, M>,
}

/// Limits as their difference from the default, so that the default is all zeros: one word that is not, and
/// a static tracer with its ring would lie in `.data` and take as much flash as RAM.
struct FromDefault(SpanLimits);

impl FromDefault {
    const fn of(limits: SpanLimits) -> Self {
        const D: SpanLimits = SpanLimits::DEFAULT;
        FromDefault(SpanLimits {
            attribute_count: limits.attribute_count ^ D.attribute_count,
            event_count: limits.event_count ^ D.event_count,
            link_count: limits.link_count ^ D.link_count,
            event_attribute_count: limits.event_attribute_count ^ D.event_attribute_count,
            link_attribute_count: limits.link_attribute_count ^ D.link_attribute_count,
            attribute_value_length: limits.attribute_value_length ^ D.attribute_value_length,
        })
    }
    #[inline(always)]
    const fn get(&self) -> SpanLimits {
        Self::of(self.0).0
    }
}

/// An [`Escalation`] of any size.
trait Escalate: Sync {
    fn ended(&self, span: &EndedUnsampled) -> crate::escalation::EscalationResult;
}
impl<const K: usize> Escalate for Escalation<K> {
    fn ended(&self, span: &EndedUnsampled) -> crate::escalation::EscalationResult {
        Escalation::ended(self, span)
    }
}

impl<C, I, S, const N: usize> Tracer<C, I, S, N> {
    /// A tracer with an empty ring. `N` is a power of two.
    ///
    /// All zeros, and so in `.bss`, as long as clock, ids and sampler are and no limits, scope or escalation
    /// are set. With any of them the static, ring and all, is initialised from flash.
    #[cfg(not(loom))]
    pub const fn new(clock: C, ids: I, sampler: S) -> Self {
        Self::with_reserve(clock, ids, sampler)
    }
}

impl<C, I, S, const N: usize, M: Reserve, K: CoreId, const CORES: usize>
    Tracer<C, I, S, N, M, K, CORES>
{
    /// As `new`, with the kind of reservation that the type names.
    #[cfg(not(loom))]
    pub const fn with_reserve(clock: C, ids: I, sampler: S) -> Self {
        Tracer {
            clock,
            ids,
            sampler,
            limits: FromDefault::of(SpanLimits::DEFAULT),
            scope: None,
            escalation: None,
            started: AtomicU32::new(0),
            sampled_out: AtomicU32::new(0),
            escalated_incomplete: AtomicU32::new(0),
            current: PerCore::new([const { Current::new() }; CORES]),
            ring: SpanRing::new(),
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
    /// Keeps spans that were recorded only, if they fail or are slow.
    #[must_use]
    pub const fn with_escalation<const SLOTS: usize>(
        mut self,
        table: &'static Escalation<SLOTS>,
    ) -> Self {
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
    /// The reading end for the drain, if nobody has it. Dropped, it can be taken again.
    pub fn records(&self) -> Option<TracerRecords<'_, C, I, S, N, M, K, CORES>> {
        let reader = self.ring.reader()?;
        Some(TracerRecords {
            tracer: self,
            reader,
        })
    }
    /// What was started and lost so far. `recorded` is exact only through [`records`](Self::records),
    /// which sees what is in the ring; here it is what has ended.
    pub fn counters(&self) -> DeviceCounters {
        // ORDERING: counts. Losses first: a span in between shows as open.
        let (ring_full, too_large) = (self.ring.full(), self.ring.too_large());
        let sampled_out = self.sampled_out.load(Relaxed);
        DeviceCounters {
            started: self.started.load(Relaxed),
            sampled_out,
            ring_full,
            too_large,
            escalated_incomplete: self.escalated_incomplete.load(Relaxed),
            ..DeviceCounters::default()
        }
    }
}

impl<
    C: Clock,
    I: IdGenerator,
    S: Sampler,
    const N: usize,
    M: Reserve,
    K: CoreId,
    const CORES: usize,
> Tracer<C, I, S, N, M, K, CORES>
{
    /// Starts a span of this name: a child of the current context, or a root.
    #[inline(always)]
    pub fn span<'b>(&'static self, name: &'static str) -> SpanBuilder<'b, &'static Self> {
        SpanBuilder::new(self, name)
    }
}

/// Puts the context before back, also on unwinding.
struct Back<'a>(&'a Current, DetachedContext);
impl Drop for Back<'_> {
    fn drop(&mut self) {
        self.0.restore(self.1);
    }
}

impl<
    C: Clock,
    I: IdGenerator,
    S: Sampler,
    const N: usize,
    M: Reserve,
    K: CoreId,
    const CORES: usize,
> Recorder for &Tracer<C, I, S, N, M, K, CORES>
{
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
    #[inline]
    fn record(self, span: FinishedSpan<'_>) {
        // Full and too large are counted by the ring.
        let _ = self.ring.push(span);
    }
    #[inline]
    fn started(self, recording: bool) {
        atomic::next(&self.started);
        if !recording {
            atomic::next(&self.sampled_out);
        }
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
        self.current.here()?.get()
    }
    #[inline]
    fn with_current<T>(self, context: &SpanContext, run: impl FnOnce() -> T) -> T {
        // Of this core, from now until it is put back.
        let _back = self.current.here().map(|current| {
            let back = Back(current, current.save());
            current.set(context);
            back
        });
        run()
    }
    #[inline]
    fn detach(self) -> DetachedContext {
        self.current
            .here()
            .map_or(DetachedContext::NONE, Current::take)
    }
    #[inline]
    fn attach(self, context: DetachedContext) {
        if let Some(current) = self.current.here() {
            current.restore(context);
        }
    }
    #[cold]
    fn escalate(self, ended: &EndedUnsampled) -> bool {
        let Some(escalation) = self.escalation else {
            atomic::next(&self.sampled_out);
            return false;
        };
        let result = escalation.ended(ended);
        if !result.keep {
            atomic::next(&self.sampled_out);
        }
        if result.newly_incomplete != 0 {
            let n = result.newly_incomplete;
            // They keep their line in the ledger, sampled out; this one says how many of those belong to
            // kept traces.
            let _ = atomic::update(&self.escalated_incomplete, |c| Some(c.wrapping_add(n)));
        }
        result.keep
    }
}

/// A [`Tracer`]'s ring as the drain reads it.
pub struct TracerRecords<
    'a,
    C,
    I,
    S,
    const N: usize,
    M: Reserve = DefaultReserve,
    K = Core0,
    const CORES: usize = 1,
> {
    tracer: &'a Tracer<C, I, S, N, M, K, CORES>,
    reader: SpanReader<'a, N, M>,
}

impl<C, I, S, const N: usize, M: Reserve, K: CoreId, const CORES: usize> RecordSource
    for TracerRecords<'_, C, I, S, N, M, K, CORES>
{
    fn peek(&mut self) -> Option<(u32, LocalRecord<'_>)> {
        self.reader.peek()
    }
    fn advance(&mut self) {
        let _ = self.reader.read();
    }
    fn release_before(&mut self, next: u32) {
        self.reader.release_through(next.wrapping_sub(1));
    }
    fn rewind(&mut self) -> bool {
        self.reader.rewind();
        true
    }
    fn counters(&mut self) -> DeviceCounters {
        // What is committed, before what was started: a span in between shows as open.
        let recorded = self.reader.committed();
        DeviceCounters {
            recorded,
            ..self.tracer.counters()
        }
    }
}
