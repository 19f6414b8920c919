//! The global tracer: what libraries instrument against.
//!
//! Until a binary installs a tracer, a span of the global tracer is off: one load and a compare. A
//! library needs nothing but this crate, allocates nothing, and compiles for targets without
//! compare-and-swap.

use crate::clock::Ticks;
use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use crate::current::DetachedContext;
use crate::filter;
use crate::record::InstrumentationScope;
use crate::recorder::{EndedUnsampled, FinishedSpan, OpenLimits, Recorder, SpanLimits, SpanStart};
use crate::sampler::{SamplingDecision, SamplingParameters, SamplingResult};
use crate::span::{InlineBuf, Span, SpanBuilder};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, Ordering};

/// Words for the entries of a span of the global tracer: 64 on 64-bit targets, 24 on small ones, or
/// `SPANLET_SPAN_WORDS` at build time (a multiple of four).
pub const GLOBAL_SPAN_WORDS: usize = match option_env!("SPANLET_SPAN_WORDS") {
    Some(text) => match usize::from_str_radix(text, 10) {
        Ok(words) => words,
        Err(_) => panic!("SPANLET_SPAN_WORDS must be a number"),
    },
    None if cfg!(target_pointer_width = "64") => 64,
    None => 24,
};

/// A span of the global tracer.
pub type GlobalSpan = Span<Global, InlineBuf<GLOBAL_SPAN_WORDS>>;

/// A [`Recorder`] behind a reference: what can be installed.
///
/// Implemented for every `T` whose `&T` is a [`Recorder`].
pub trait DynRecorder: Sync {
    /// See [`Recorder::is_enabled`].
    fn is_enabled(&self) -> bool;
    /// See [`Recorder::now`].
    fn now(&self) -> Ticks;
    /// See [`Recorder::span_id`].
    fn span_id(&self) -> SpanId;
    /// See [`Recorder::trace_id`].
    fn trace_id(&self) -> (TraceId, TraceFlags);
    /// See [`Recorder::sample`].
    fn sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult;
    /// See [`Recorder::record`].
    fn record(&self, span: FinishedSpan<'_>);
    /// See [`Recorder::started`].
    fn started(&self, recording: bool);
    /// See [`Recorder::start`].
    fn start(&self, parameters: &SamplingParameters<'_>, at: Option<Ticks>) -> SpanStart {
        let sampling = self.sample(parameters);
        let span_id = self.span_id();
        let recording = !matches!(sampling.decision, SamplingDecision::Drop);
        self.started(recording);
        SpanStart {
            sampling,
            span_id,
            limits: OpenLimits::new(&self.limits()),
            at: match at {
                _ if !recording => Ticks(0),
                Some(at) => at,
                None => self.now(),
            },
        }
    }
    /// See [`Recorder::limits`].
    fn limits(&self) -> SpanLimits;
    /// See [`Recorder::scope`].
    fn scope(&self) -> Option<&'static InstrumentationScope<'static>>;
    /// See [`Recorder::current`].
    fn current(&self) -> Option<SpanContext>;
    /// See [`Recorder::with_current`].
    fn with_current(&self, context: &SpanContext, run: &mut dyn FnMut());
    /// See [`Recorder::has_trace_state`].
    #[cfg(target_pointer_width = "64")]
    fn has_trace_state(&self) -> bool {
        false
    }
    /// See [`Recorder::with_trace_state`].
    #[cfg(target_pointer_width = "64")]
    fn with_trace_state(&self, run: &mut dyn FnMut(Option<&str>)) {
        run(None);
    }
    /// See [`Recorder::note_trace_state`].
    #[cfg(target_pointer_width = "64")]
    fn note_trace_state(&self, text: &str) {
        let _ = text;
    }
    /// See [`Recorder::detach`].
    fn detach(&self) -> DetachedContext {
        DetachedContext::NONE
    }
    /// See [`Recorder::attach`].
    fn attach(&self, context: DetachedContext) {
        let _ = context;
    }
    /// See [`Recorder::escalate`].
    fn escalate(&self, ended: &EndedUnsampled) -> bool;
    /// See [`Recorder::is_unwinding`].
    fn is_unwinding(&self) -> bool;
}

impl<T: Sync> DynRecorder for T
where
    for<'a> &'a T: Recorder,
{
    fn is_enabled(&self) -> bool {
        Recorder::is_enabled(self)
    }
    fn now(&self) -> Ticks {
        Recorder::now(self)
    }
    fn span_id(&self) -> SpanId {
        Recorder::span_id(self)
    }
    fn trace_id(&self) -> (TraceId, TraceFlags) {
        Recorder::trace_id(self)
    }
    fn sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        Recorder::sample(self, parameters)
    }
    fn record(&self, span: FinishedSpan<'_>) {
        Recorder::record(self, span);
    }
    fn started(&self, recording: bool) {
        Recorder::started(self, recording);
    }
    fn start(&self, parameters: &SamplingParameters<'_>, at: Option<Ticks>) -> SpanStart {
        Recorder::start(self, parameters, at)
    }
    fn limits(&self) -> SpanLimits {
        Recorder::limits(self)
    }
    fn scope(&self) -> Option<&'static InstrumentationScope<'static>> {
        Recorder::scope(self)
    }
    fn current(&self) -> Option<SpanContext> {
        Recorder::current(self)
    }
    fn with_current(&self, context: &SpanContext, run: &mut dyn FnMut()) {
        Recorder::with_current(self, context, run);
    }
    #[cfg(target_pointer_width = "64")]
    fn has_trace_state(&self) -> bool {
        Recorder::has_trace_state(self)
    }
    #[cfg(target_pointer_width = "64")]
    fn with_trace_state(&self, run: &mut dyn FnMut(Option<&str>)) {
        Recorder::with_trace_state(self, run);
    }
    #[cfg(target_pointer_width = "64")]
    fn note_trace_state(&self, text: &str) {
        Recorder::note_trace_state(self, text);
    }
    fn detach(&self) -> DetachedContext {
        Recorder::detach(self)
    }
    fn attach(&self, context: DetachedContext) {
        Recorder::attach(self, context);
    }
    fn escalate(&self, ended: &EndedUnsampled) -> bool {
        Recorder::escalate(self, ended)
    }
    fn is_unwinding(&self) -> bool {
        Recorder::is_unwinding(self)
    }
}

/// The global tracer, as a zero-sized [`Recorder`] that finds what was installed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Global;

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const SET: u8 = 2;

struct Slot(UnsafeCell<Option<&'static dyn DynRecorder>>);
// SAFETY: written once, by whoever moved `STATE` from EMPTY to BUSY, and read only after SET.
unsafe impl Sync for Slot {}

/// A static of its own, all zeros: in a program that never installs a tracer, a linker that optimises (LTO)
/// sees that it stays zero, and drops the spans' code.
static STATE: AtomicU8 = AtomicU8::new(EMPTY);
static TRACER: Slot = Slot(UnsafeCell::new(None));

/// The global tracer was installed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AlreadyInstalledError;

impl core::fmt::Display for AlreadyInstalledError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a global tracer is installed already; install it once, in the binary")
    }
}
impl core::error::Error for AlreadyInstalledError {}

/// Installs the tracer that spans of libraries go to. For binaries, once, at the start.
///
/// # Errors
/// If there is one already.
pub fn set_global_tracer(tracer: &'static dyn DynRecorder) -> Result<(), AlreadyInstalledError> {
    if !begin() {
        return Err(AlreadyInstalledError);
    }
    // SAFETY: `begin` is true once: nobody else writes, and nobody reads before SET.
    unsafe { *TRACER.0.get() = Some(tracer) };
    // ORDERING: publishes the tracer; pairs with Acquire in `installed`.
    STATE.store(SET, Ordering::Release);
    Ok(())
}

#[cfg(all(target_has_atomic = "8", not(no_cas)))]
fn begin() -> bool {
    // ORDERING: only who gets it writes, and publishes with SET.
    STATE
        .compare_exchange(EMPTY, BUSY, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}
#[cfg(any(not(target_has_atomic = "8"), no_cas))]
fn begin() -> bool {
    critical_section::with(|_| {
        // ORDERING: the section keeps others out.
        let free = STATE.load(Ordering::Relaxed) == EMPTY;
        if free {
            STATE.store(BUSY, Ordering::Relaxed);
        }
        free
    })
}

#[inline(always)]
fn installed() -> Option<&'static dyn DynRecorder> {
    // ORDERING: makes the tracer visible; pairs with Release in `set_global_tracer`.
    if filter::ANY && STATE.load(Ordering::Acquire) == SET {
        // SAFETY: written before SET, never again.
        unsafe { *TRACER.0.get() }
    } else {
        None
    }
}

impl Global {
    /// Starts a span of this name: a child of the current context, or a root. Prefer
    /// [`span!`](crate::span!), which goes through the filter and names the library.
    #[inline(always)]
    pub fn span<'b>(self, name: &'static str) -> SpanBuilder<'b, Self> {
        SpanBuilder::new(self, name)
    }
}

impl Recorder for Global {
    const ENABLED: bool = filter::ANY;
    /// A device's tracer has none to keep.
    const KEEPS_TRACE_STATE: bool = cfg!(target_pointer_width = "64");

    #[inline(always)]
    fn is_enabled(self) -> bool {
        installed().is_some_and(|t| t.is_enabled())
    }
    /// Not on servers, which would load it with each setter.
    #[inline(always)]
    fn is_there(self) -> bool {
        // ORDERING: nothing is read behind it; who installed the tracer did so before any span recorded.
        filter::ANY && (cfg!(target_pointer_width = "64") || STATE.load(Ordering::Relaxed) == SET)
    }
    #[inline]
    fn now(self) -> Ticks {
        installed().map_or(Ticks(0), |t| t.now())
    }
    #[inline]
    fn span_id(self) -> SpanId {
        installed().map_or(SpanId::INVALID, |t| t.span_id())
    }
    #[inline]
    fn trace_id(self) -> (TraceId, TraceFlags) {
        installed().map_or((TraceId::INVALID, TraceFlags::NONE), |t| t.trace_id())
    }
    #[inline]
    fn sample(self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        installed().map_or(SamplingResult::new(SamplingDecision::Drop), |t| {
            t.sample(parameters)
        })
    }
    #[inline]
    fn record(self, span: FinishedSpan<'_>) {
        if let Some(t) = installed() {
            t.record(span);
        }
    }
    #[inline]
    fn started(self, recording: bool) {
        if let Some(t) = installed() {
            t.started(recording);
        }
    }
    #[inline]
    fn start(self, parameters: &SamplingParameters<'_>, at: Option<Ticks>) -> SpanStart {
        match installed() {
            Some(t) => t.start(parameters, at),
            None => SpanStart {
                sampling: SamplingResult::new(SamplingDecision::Drop),
                span_id: SpanId::INVALID,
                limits: OpenLimits::new(&SpanLimits::DEFAULT),
                at: Ticks(0),
            },
        }
    }
    #[inline]
    fn limits(self) -> SpanLimits {
        installed().map_or(SpanLimits::DEFAULT, |t| t.limits())
    }
    #[inline]
    fn scope(self) -> Option<&'static InstrumentationScope<'static>> {
        installed().and_then(|t| t.scope())
    }
    #[inline]
    fn current(self) -> Option<SpanContext> {
        installed().and_then(|t| t.current())
    }
    fn with_current<T>(self, context: &SpanContext, run: impl FnOnce() -> T) -> T {
        let mut once = Once::new(run);
        if let Some(t) = installed() {
            t.with_current(context, &mut || once.call(|run| run()));
        }
        once.result(|run| run())
    }
    #[cfg(target_pointer_width = "64")]
    #[inline]
    fn has_trace_state(self) -> bool {
        installed().is_some_and(|t| t.has_trace_state())
    }
    #[cfg(target_pointer_width = "64")]
    fn with_trace_state<T>(self, run: impl FnOnce(Option<&str>) -> T) -> T {
        let mut once = Once::new(run);
        if let Some(t) = installed() {
            t.with_trace_state(&mut |text| once.call(|run| run(text)));
        }
        once.result(|run| run(None))
    }
    #[cfg(target_pointer_width = "64")]
    #[inline]
    fn note_trace_state(self, text: &str) {
        if let Some(t) = installed() {
            t.note_trace_state(text);
        }
    }
    #[inline]
    fn detach(self) -> DetachedContext {
        installed().map_or(DetachedContext::NONE, |t| t.detach())
    }
    #[inline]
    fn attach(self, context: DetachedContext) {
        if let Some(t) = installed() {
            t.attach(context);
        }
    }
    #[inline]
    fn escalate(self, ended: &EndedUnsampled) -> bool {
        installed().is_some_and(|t| t.escalate(ended))
    }
    #[inline]
    fn is_unwinding(self) -> bool {
        installed().is_some_and(|t| t.is_unwinding())
    }
}

/// Work that a tracer is to call back, once.
struct Once<F, T> {
    work: Option<F>,
    out: Option<T>,
}

impl<F, T> Once<F, T> {
    #[inline(always)]
    fn new(work: F) -> Self {
        let work = Some(work);
        Once { work, out: None }
    }
    /// Does the work, once, however often it is called.
    #[inline(always)]
    fn call(&mut self, run: impl FnOnce(F) -> T) {
        if let Some(work) = self.work.take() {
            self.out = Some(run(work));
        }
    }
    /// What came of it. A tracer that did not call back must not keep the work from being done.
    #[inline(always)]
    fn result(self, run: impl FnOnce(F) -> T) -> T {
        match (self.out, self.work) {
            (Some(out), _) => out,
            (None, Some(work)) => run(work),
            (None, None) => unreachable!("the tracer swallowed a panic of the traced code"),
        }
    }
}
