//! A thread's part: its ring, its ids, its counters, its current span.
//!
//! Input: spans that start and end on this thread. Output: records in the thread's ring. Bound: the
//! ring. Nothing here locks, and after a thread's first span nothing allocates.

use super::clock::HostClock;
use super::shared::{RingMemory, Shared};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use spanlet::{
    EndedUnsampled, FinishedSpan, IdGenerator, InstrumentationScope, LocalIds, Recorder,
    SamplingParameters, SamplingResult, SpanBuilder, SpanContext, SpanId, SpanLimits, SpanProducer,
    Ticks, TraceFlags, TraceId,
};
use std::cell::Cell;
use std::sync::Arc;

/// The recorder of the thread it is used on: zero bytes in every span.
///
/// Off until a [`Telemetry`](crate::Telemetry) is installed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

/// What the drain reads of a thread.
///
/// Aligned so that two threads' counters never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ThreadCounters {
    started: AtomicU64,
    sampled_out: AtomicU64,
    ended: AtomicU64,
}

impl ThreadCounters {
    /// `(started, sampled out, ended)`.
    pub(crate) fn read(&self) -> (u64, u64, u64) {
        // ORDERING: the end first, so that a span in between counts as open and never as ended twice.
        let ended = self.ended.load(Relaxed);
        let sampled_out = self.sampled_out.load(Relaxed);
        (self.started.load(Relaxed), sampled_out, ended)
    }
}

#[inline(always)]
fn add_one(counter: &AtomicU64) {
    // ORDERING: a count, written by one thread: no read-modify-write.
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

#[repr(align(128))]
pub(crate) struct ThreadState {
    producer: SpanProducer<'static>,
    clock: HostClock,
    ids: LocalIds,
    limits: SpanLimits,
    current: Cell<Option<SpanContext>>,
    counters: Arc<ThreadCounters>,
    shared: &'static Shared,
}

thread_local! {
    /// Without a destructor, so that reading it is one load: null before the first span and after the
    /// thread's locals are gone.
    static HERE: Cell<*const ThreadState> = const { Cell::new(core::ptr::null()) };
    /// Owns what `HERE` points to.
    static OWNER: Owner = const { Owner(Cell::new(None)) };
}

struct Owner(Cell<Option<Box<ThreadState>>>);

impl Drop for Owner {
    fn drop(&mut self) {
        HERE.set(core::ptr::null());
        // The producer's drop tells the drain that this ring will get no more.
        drop(self.0.take());
    }
}

impl Local {
    /// Starts a span of this name: a child of the current context, or a root.
    #[inline(always)]
    pub fn span<'b>(self, name: &'static str) -> SpanBuilder<'b, Self> {
        SpanBuilder::new(self, name)
    }

    #[inline(always)]
    fn with<T>(self, found: impl FnOnce(&ThreadState) -> T) -> Option<T> {
        let mut here = HERE.get();
        if here.is_null() {
            here = register();
            if here.is_null() {
                return None;
            }
        }
        // SAFETY: `OWNER` keeps it alive while `HERE` is not null, and only this thread sees it.
        Some(found(unsafe { &*here }))
    }
}

/// Makes this thread's state, if there is a telemetry to record for.
#[cold]
#[inline(never)]
fn register() -> *const ThreadState {
    let Some(shared) = super::shared::installed() else {
        return core::ptr::null();
    };
    OWNER
        .try_with(|owner| {
            let Some((producer, counters)) = shared.register(RingMemory::new(shared.ring_words))
            else {
                return core::ptr::null();
            };
            let state = Box::new(ThreadState {
                producer,
                clock: shared.clock.clone(),
                ids: LocalIds::new(shared.next_seed().unwrap_or_else(seed)),
                limits: shared.limits,
                current: Cell::new(None),
                counters,
                shared,
            });
            let here: *const ThreadState = &*state;
            owner.0.set(Some(state));
            HERE.set(here);
            here
        })
        .unwrap_or(core::ptr::null())
}

/// 128 bits that the operating system gave.
///
/// Without any the standard library's hash keys stand in: they come from the same source, once per thread,
/// and are counted up after that.
fn seed() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut seed = [0; 16];
    if getrandom::fill(&mut seed).is_err() {
        let keys = RandomState::new();
        for (n, half) in (1..).zip(seed.chunks_exact_mut(8)) {
            let mut hasher = keys.build_hasher();
            hasher.write_u8(n);
            half.copy_from_slice(&hasher.finish().to_ne_bytes());
        }
    }
    seed
}

/// For a thread whose state is gone between the start of a span and its id.
const NO_IDS: LocalIds = LocalIds::new([0; 16]);

impl Recorder for Local {
    #[inline(always)]
    fn is_enabled(self) -> bool {
        !HERE.get().is_null() || !register().is_null()
    }
    #[inline(always)]
    fn now(self) -> Ticks {
        self.with(|here| here.clock.now()).unwrap_or_default()
    }
    #[inline(always)]
    fn span_id(self) -> SpanId {
        match self.with(|here| here.ids.span_id()) {
            Some(id) => id,
            None => NO_IDS.span_id(),
        }
    }
    #[inline(always)]
    fn trace_id(self) -> (TraceId, TraceFlags) {
        match self.with(|here| here.ids.trace_id()) {
            Some(id) => id,
            None => NO_IDS.trace_id(),
        }
    }
    #[inline(always)]
    fn sample(self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        self.with(|here| here.shared.sampler.sample(parameters))
            .unwrap_or(SamplingResult::new(spanlet::SamplingDecision::Drop))
    }
    #[inline(always)]
    fn record(self, span: FinishedSpan<'_>) {
        let pushed = self.with(|here| {
            add_one(&here.counters.ended);
            // Full and too large are counted by the ring.
            let _ = here.producer.push(span);
        });
        if pushed.is_none() {
            super::shared::count_thread_gone();
        }
    }
    #[inline(always)]
    fn started(self, recording: bool) {
        self.with(|here| {
            add_one(&here.counters.started);
            if !recording {
                add_one(&here.counters.sampled_out);
            }
        });
    }
    #[inline(always)]
    fn limits(self) -> SpanLimits {
        self.with(|here| here.limits).unwrap_or(SpanLimits::DEFAULT)
    }
    #[inline(always)]
    fn scope(self) -> Option<&'static InstrumentationScope<'static>> {
        None
    }
    #[inline(always)]
    fn current(self) -> Option<SpanContext> {
        self.with(|here| here.current.get()).flatten()
    }
    #[inline]
    fn with_current<T>(self, context: &SpanContext, run: impl FnOnce() -> T) -> T {
        struct Back(Option<SpanContext>);
        impl Drop for Back {
            fn drop(&mut self) {
                Local.with(|here| here.current.set(self.0));
            }
        }
        let before = self.with(|here| here.current.replace(Some(*context)));
        let _back = Back(before.flatten());
        run()
    }
    #[inline(always)]
    fn is_unwinding(self) -> bool {
        std::thread::panicking()
    }
    #[cold]
    fn escalate(self, ended: &EndedUnsampled) -> bool {
        self.with(|here| {
            let keep = here.shared.escalate(ended);
            if !keep {
                add_one(&here.counters.sampled_out);
            }
            keep
        })
        .unwrap_or(false)
    }
}

/// Lets `&Local` be installed as the global tracer.
impl Recorder for &Local {
    #[inline]
    fn is_enabled(self) -> bool {
        Local.is_enabled()
    }
    fn now(self) -> Ticks {
        Local.now()
    }
    fn span_id(self) -> SpanId {
        Local.span_id()
    }
    fn trace_id(self) -> (TraceId, TraceFlags) {
        Local.trace_id()
    }
    fn sample(self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        Local.sample(parameters)
    }
    fn record(self, span: FinishedSpan<'_>) {
        Local.record(span);
    }
    fn started(self, recording: bool) {
        Local.started(recording);
    }
    fn limits(self) -> SpanLimits {
        Local.limits()
    }
    fn current(self) -> Option<SpanContext> {
        Local.current()
    }
    fn with_current<T>(self, context: &SpanContext, run: impl FnOnce() -> T) -> T {
        Local.with_current(context, run)
    }
    fn is_unwinding(self) -> bool {
        std::thread::panicking()
    }
    fn escalate(self, ended: &EndedUnsampled) -> bool {
        Local.escalate(ended)
    }
}
