//! A thread's part: its ring, its ids, its counters. What is current is kept in
//! [`ambient`](crate::propagation), since it is there without a telemetry too.
//!
//! Input: spans that start and end on this thread. Output: records in the thread's ring. Bound: the
//! ring. Nothing here waits for a lock, and after a thread's first span nothing allocates, unless a burst makes the
//! ring grow.

use super::clock::HostClock;
use super::shared::{Settings, Shared};
use crate::propagation::ambient;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use spanlet::ring::PushError;
use spanlet::{
    EndedUnsampled, FinishedSpan, IdGenerator, LocalIds, OpenLimits, Recorder, SamplingDecision,
    SamplingParameters, SamplingResult, SpanBuilder, SpanContext, SpanId, SpanLimits, SpanProducer,
    SpanStart, Ticks, TraceFlags, TraceId,
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
    /// Spans that started to record.
    recording: AtomicU64,
    /// Spans that the sampler dropped at their start.
    dropped: AtomicU64,
    /// Spans that were recorded in case they fail, and did not.
    let_go: AtomicU64,
    ended: AtomicU64,
}

impl ThreadCounters {
    /// `(started, sampled out, ended)`.
    pub(crate) fn read(&self) -> (u64, u64, u64) {
        // ORDERING: the end first, so that a span in between counts as open and never as ended twice.
        let ended = self.ended.load(Relaxed);
        let let_go = self.let_go.load(Relaxed);
        let dropped = self.dropped.load(Relaxed);
        let recording = self.recording.load(Relaxed);
        (recording + dropped, dropped + let_go, ended)
    }
}

#[inline(always)]
fn add_one(counter: &AtomicU64) {
    // ORDERING: a count, written by one thread: no read-modify-write.
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

#[repr(align(128))]
pub(crate) struct ThreadState {
    /// INVARIANT: no reference to it outlives a call of `record`, which replaces it between two pushes.
    producer: UnsafeCell<SpanProducer<'static>>,
    clock: HostClock,
    ids: LocalIds,
    open_limits: OpenLimits,
    counters: Arc<ThreadCounters>,
    settings: &'static Settings,
    shared: &'static Shared,
    ring_words: Cell<usize>,
    may_grow: Cell<bool>,
}

thread_local! {
    /// Without a destructor, so that reading it is one load: null before the first span and after the
    /// thread's locals are gone.
    static HERE: Cell<*const ThreadState> = const { Cell::new(core::ptr::null()) };
    /// Owns what `HERE` points to.
    static OWNER: Owner = const { Owner(Cell::new(core::ptr::null_mut())) };
    /// No span starts here now: then `HERE` is null.
    static SUPPRESSED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `run` without recording: on this thread spans that would start meanwhile are off, as if no telemetry were
/// installed, and so are those of libraries. They still pass their parent's context on.
///
/// For whoever sends telemetry: a client that is traced itself would trace its own requests for ever. The threads
/// of spanlet's own drain and exporters need no such call; a runtime of an exporter's own does, on its threads
/// (see [`suppress_this_thread`]). Open spans end as usual meanwhile.
///
/// ```
/// let sent = spanlet_std::suppress(|| {
///     let request: spanlet_std::Span = spanlet_std::span("POST /v1/traces").start();
///     request.is_recording()
/// });
/// assert!(!sent);
/// ```
pub fn suppress<T>(run: impl FnOnce() -> T) -> T {
    struct Back {
        here: *const ThreadState,
        forks: u32,
        was_suppressed: bool,
    }
    impl Drop for Back {
        fn drop(&mut self) {
            // In the child of a fork that came in between, it is the parent's.
            if self.forks == super::fork::count() {
                HERE.set(self.here);
            }
            SUPPRESSED.set(self.was_suppressed);
        }
    }
    let _back = Back {
        here: HERE.replace(core::ptr::null()),
        forks: super::fork::count(),
        was_suppressed: SUPPRESSED.replace(true),
    };
    run()
}

/// As [`suppress`], for the rest of this thread: for the threads of an exporter's runtime.
///
/// ```
/// std::thread::spawn(|| {
///     spanlet_std::suppress_this_thread();
///     let request: spanlet_std::Span = spanlet_std::span("POST /v1/traces").start();
///     assert!(!request.is_recording());
/// }).join().unwrap();
/// ```
pub fn suppress_this_thread() {
    HERE.set(core::ptr::null());
    SUPPRESSED.set(true);
}

/// In the child of a fork: this thread's part is the parent's. It is freed when the child's own takes its place.
pub(crate) fn forget() {
    HERE.set(core::ptr::null());
}

struct Owner(Cell<*mut ThreadState>);

impl Drop for Owner {
    fn drop(&mut self) {
        HERE.set(core::ptr::null());
        self.replace(core::ptr::null_mut());
    }
}

impl Owner {
    /// Drops the state that it has: the producer's drop tells the drain that this ring will get no more.
    fn replace(&self, by: *mut ThreadState) {
        let old = self.0.replace(by);
        if !old.is_null() {
            // SAFETY: made by `Box::into_raw` in `register`, and here for the last time.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}

impl Local {
    /// Starts a span of this name: a child of the current context, or a root.
    #[inline(always)]
    pub fn span<'b>(self, name: &'static str) -> SpanBuilder<'b, Self> {
        SpanBuilder::new(self, name)
    }

    /// Nanoseconds of a stretch in ticks.
    #[cfg(feature = "tracing")]
    pub(crate) fn nanos_of(self, ticks: u64) -> u64 {
        self.known().map_or(0, |here| here.clock.nanos_of(ticks))
    }

    /// This thread's part, if it has one.
    #[inline(always)]
    fn known(&self) -> Option<&ThreadState> {
        let here = HERE.get();
        // SAFETY: `OWNER` keeps it alive while `HERE` is not null, which is until the thread's locals go; only
        // this thread sees it, and no caller below keeps it for longer than one call.
        unsafe { here.as_ref() }
    }
    /// This thread's part, made if need be.
    #[inline(always)]
    fn here(&self) -> Option<&ThreadState> {
        if HERE.get().is_null() {
            register();
        }
        self.known()
    }
}

/// Makes this thread's state, if there is a telemetry to record for.
#[cold]
#[inline(never)]
fn register() -> bool {
    if SUPPRESSED.get() {
        return false;
    }
    let installed = super::shared::installed();
    let Some(shared) = installed.or_else(super::fork::revive) else {
        return false;
    };
    if shared.is_closed() {
        return false;
    }
    OWNER
        .try_with(|owner| {
            let Some(producer) = shared.rings.first() else {
                return false;
            };
            let (counters, given) = shared.register();
            let settings = &shared.plan.settings;
            let state = Box::new(ThreadState {
                producer: UnsafeCell::new(producer),
                clock: settings.clock,
                ids: LocalIds::new(given.unwrap_or_else(seed)),
                open_limits: OpenLimits::new(&settings.limits),
                counters,
                settings,
                shared,
                ring_words: Cell::new(shared.rings.first_words()),
                may_grow: Cell::new(shared.rings.may_grow(shared.rings.first_words())),
            });
            let here = Box::into_raw(state);
            HERE.set(here);
            // There is an old one only if an allocator that records spans came in between.
            owner.replace(here);
            true
        })
        .unwrap_or(false)
}

/// The part of a thread that is suppressed: spans that were open before still end.
#[cold]
#[inline(never)]
fn suppressed() -> Option<*const ThreadState> {
    let state = OWNER.try_with(|owner| owner.0.get()).ok()?;
    (SUPPRESSED.get() && !state.is_null()).then_some(state.cast_const())
}

/// The present for a span that ends where there is no recorder (any more).
#[cold]
#[inline(never)]
fn now_elsewhere() -> Ticks {
    super::shared::installed().map_or(Ticks(0), |shared| shared.plan.settings.clock.now())
}

/// 128 bits that the operating system gave.
///
/// Without any the standard library's hash keys stand in: they come from the same source, once per thread,
/// and are counted up after that.
fn seed() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut seed = [0; 16];
    if getrandom::getrandom(&mut seed).is_err() {
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
const fn no_ids() -> LocalIds {
    LocalIds::new([0; 16])
}

impl Recorder for Local {
    const KEEPS_TRACE_STATE: bool = true;

    #[inline(always)]
    fn is_enabled(self) -> bool {
        !HERE.get().is_null() || register()
    }
    #[inline(always)]
    fn now(self) -> Ticks {
        match self.here() {
            Some(here) => here.clock.now(),
            None => now_elsewhere(),
        }
    }
    #[inline(always)]
    fn span_id(self) -> SpanId {
        match self.known() {
            Some(here) => here.ids.span_id(),
            None => no_ids().span_id(),
        }
    }
    #[inline(always)]
    fn trace_id(self) -> (TraceId, TraceFlags) {
        match self.known() {
            Some(here) => here.ids.trace_id(),
            None => no_ids().trace_id(),
        }
    }
    #[inline(always)]
    fn sample(self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        match self.known() {
            Some(here) => here.settings.sampler.sample(parameters),
            None => SamplingResult::new(SamplingDecision::Drop),
        }
    }
    #[inline(always)]
    fn record(self, span: FinishedSpan<'_>) {
        match self.known() {
            Some(here) => here.record(span),
            None => span.hand_over((), record_elsewhere),
        }
    }
    #[inline(always)]
    fn started(self, recording: bool) {
        if let Some(here) = self.known() {
            here.started(recording);
        }
    }
    /// One look for this thread's part.
    #[inline(always)]
    fn start(self, parameters: &SamplingParameters<'_>, at: Option<Ticks>) -> SpanStart {
        let Some(here) = self.known() else {
            return gone();
        };
        let sampling = here.settings.sampler.sample(parameters);
        let span_id = here.ids.span_id();
        let recording = !matches!(sampling.decision, SamplingDecision::Drop);
        here.started(recording);
        SpanStart {
            sampling,
            span_id,
            limits: here.open_limits,
            at: match at {
                _ if !recording => Ticks(0),
                Some(at) => at,
                None => here.clock.now(),
            },
        }
    }
    #[inline(always)]
    fn limits(self) -> SpanLimits {
        self.known()
            .map_or(SpanLimits::DEFAULT, |here| here.settings.limits)
    }
    #[inline(always)]
    fn current(self) -> Option<SpanContext> {
        ambient::current()
    }
    #[inline]
    fn with_current<T>(self, context: &SpanContext, run: impl FnOnce() -> T) -> T {
        let _back = ambient::enter(context);
        run()
    }
    #[inline(always)]
    fn has_trace_state(self) -> bool {
        ambient::has_trace_state()
    }
    #[inline]
    fn with_trace_state<T>(self, run: impl FnOnce(Option<&str>) -> T) -> T {
        ambient::with_trace_state(run)
    }
    #[inline]
    fn note_trace_state(self, text: &str) {
        ambient::note_trace_state(text);
    }
    #[inline(always)]
    fn is_unwinding(self) -> bool {
        std::thread::panicking()
    }
    #[cold]
    fn escalate(self, ended: &EndedUnsampled) -> bool {
        let Some(here) = self.here() else {
            super::shared::count_thread_gone();
            return false;
        };
        let keep = here.settings.escalate(ended);
        if !keep {
            add_one(&here.counters.let_go);
        }
        keep
    }
}

/// A span that ends where none has started before, or none may: on a new thread, in a suppressed piece of code,
/// or after the thread's part is gone.
fn record_elsewhere((): (), span: FinishedSpan<'_>) {
    if let Some(here) = Local.here() {
        return here.record(span);
    }
    match suppressed() {
        // SAFETY: as in `known`: the owner keeps it alive, and only this thread sees it.
        Some(state) => unsafe { (*state).record(span) },
        None => super::shared::count_thread_gone(),
    }
}

impl ThreadState {
    #[inline(always)]
    fn record(&self, span: FinishedSpan<'_>) {
        add_one(&self.counters.ended);
        // SAFETY: only this thread is here, and the producer is replaced by `record_in_larger` alone.
        let producer = unsafe { &*self.producer.get() };
        if !producer.push_at_once(span) {
            span.hand_over(self, ThreadState::record_slowly);
        }
    }
    /// Where the ring has to look how far the drain is: about twice a lap, and while it is full.
    fn record_slowly(&self, span: FinishedSpan<'_>) {
        // SAFETY: as in `record`.
        let producer = unsafe { &*self.producer.get() };
        // Full and too large are counted by the ring.
        let is_full =
            producer.refuse_if_full(span) || matches!(producer.push(span), Err(PushError::Full));
        if is_full && self.may_grow.get() {
            self.record_in_larger(span);
        }
    }
    /// Goes on in a larger ring. The one before is emptied by the drain.
    #[cold]
    #[inline(never)]
    fn record_in_larger(&self, span: FinishedSpan<'_>) {
        let Some((producer, words)) = self.shared.rings.larger(self.ring_words.get()) else {
            return;
        };
        self.ring_words.set(words);
        self.may_grow.set(self.shared.rings.may_grow(words));
        // SAFETY: nobody borrows the producer here (see the field); the old one's drop runs no code of others.
        let producer = unsafe {
            *self.producer.get() = producer;
            &*self.producer.get()
        };
        // A span that no ring takes is counted by this one: the other's refusal was taken off.
        let _ = producer.push(span);
    }
    #[inline(always)]
    fn started(&self, recording: bool) {
        add_one(if recording {
            &self.counters.recording
        } else {
            &self.counters.dropped
        });
    }
}

/// What a span gets on a thread whose state is gone.
#[cold]
fn gone() -> SpanStart {
    SpanStart {
        sampling: SamplingResult::new(SamplingDecision::Drop),
        span_id: no_ids().span_id(),
        limits: OpenLimits::new(&SpanLimits::DEFAULT),
        at: Ticks(0),
    }
}

/// Lets `&Local` be installed as the global tracer.
impl Recorder for &Local {
    const KEEPS_TRACE_STATE: bool = true;

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
    fn start(self, parameters: &SamplingParameters<'_>, at: Option<Ticks>) -> SpanStart {
        Local.start(parameters, at)
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
    fn has_trace_state(self) -> bool {
        Local.has_trace_state()
    }
    fn with_trace_state<T>(self, run: impl FnOnce(Option<&str>) -> T) -> T {
        Local.with_trace_state(run)
    }
    fn note_trace_state(self, text: &str) {
        Local.note_trace_state(text);
    }
    fn is_unwinding(self) -> bool {
        std::thread::panicking()
    }
    fn escalate(self, ended: &EndedUnsampled) -> bool {
        Local.escalate(ended)
    }
}
