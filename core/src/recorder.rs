//! What an open span needs from its surroundings.
//!
//! One trait between the span and whoever owns clock, ids, sampler and ring: a device's static
//! [`Tracer`](crate::Tracer), a server's thread-local recorder, an edge function's arena, or the global
//! tracer that libraries see.

use crate::clock::Ticks;
use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use crate::current::DetachedContext;
use crate::record::{HEADER, Header, InstrumentationScope};
use crate::sampler::{SamplingDecision, SamplingParameters, SamplingResult};
use core::mem::MaybeUninit;

/// A tracer as spans see it. `Copy`, because every open span keeps one: a reference, or a zero-sized
/// type that finds a thread-local or a `static`.
///
/// ```
/// use spanlet::testing::TestTracer;
/// use spanlet::{FinishedSpan, InlineBuf, Recorder, SamplingParameters, SamplingResult, Span, SpanBuilder};
/// use spanlet::{SpanId, Ticks, TraceFlags, TraceId};
///
/// /// A recorder in front of another one, that looks at each span on its way.
/// #[derive(Clone, Copy)]
/// struct Watched<'a>(&'a TestTracer, &'a core::cell::Cell<usize>);
///
/// impl Recorder for Watched<'_> {
///     fn now(self) -> Ticks { self.0.now() }
///     fn span_id(self) -> SpanId { self.0.span_id() }
///     fn trace_id(self) -> (TraceId, TraceFlags) { self.0.trace_id() }
///     fn sample(self, p: &SamplingParameters<'_>) -> SamplingResult { self.0.sample(p) }
///     fn started(self, recording: bool) { self.0.started(recording) }
///     fn record(self, span: FinishedSpan<'_>) {
///         self.1.set(self.1.get() + span.words());
///         self.0.record(span);
///     }
/// }
///
/// let (tracer, words) = (TestTracer::new(), core::cell::Cell::new(0));
/// let watched = Watched(&tracer, &words);
/// drop::<Span<_, InlineBuf<32>>>(SpanBuilder::new(watched, "s").start());
/// assert_eq!(words.get(), 8);
/// ```
pub trait Recorder: Copy {
    /// False where spans of this recorder must leave no code at all.
    const ENABLED: bool = true;
    /// Whether the trace state of the current span is kept beside it, for its children. False, as on devices, and
    /// the methods about it are never called; no code is left of them.
    const KEEPS_TRACE_STATE: bool = false;

    /// Whether spans can be started: false, and a span has its parent's context or none.
    #[inline(always)]
    fn is_enabled(self) -> bool {
        Self::ENABLED
    }
    /// Whether there is anything behind it: false, and no span of it records. For a linker that optimises (LTO), which
    /// then drops the code of open spans too.
    #[doc(hidden)]
    #[inline(always)]
    fn is_there(self) -> bool {
        Self::ENABLED
    }
    /// The present.
    fn now(self) -> Ticks;
    /// A fresh span id.
    fn span_id(self) -> SpanId;
    /// A fresh trace id, with [`TraceFlags::RANDOM`] if its low 56 bits are random.
    fn trace_id(self) -> (TraceId, TraceFlags);
    /// The sampling decision.
    fn sample(self, parameters: &SamplingParameters<'_>) -> SamplingResult;
    /// Takes the record of an ended span, or counts it as lost.
    fn record(self, span: FinishedSpan<'_>);
    /// Counts a start: `recording` is false for a span that was dropped by its sampler.
    fn started(self, recording: bool);

    /// All that a span asks for at its start, at once: for a recorder that has to be found first, or is
    /// behind a pointer to functions. To override it is to do the same.
    #[inline(always)]
    fn start(self, parameters: &SamplingParameters<'_>, at: Option<Ticks>) -> SpanStart {
        let sampling = self.sample(parameters);
        let span_id = self.span_id();
        let recording = !matches!(sampling.decision, SamplingDecision::Drop);
        self.started(recording);
        SpanStart {
            sampling,
            span_id,
            limits: self.open_limits(),
            at: match at {
                _ if !recording => Ticks(0),
                Some(at) => at,
                None => self.now(),
            },
        }
    }
    /// All that a span asks for at its end before it is recorded. To override it is to do the same.
    #[inline(always)]
    fn end(self) -> SpanEnd {
        SpanEnd {
            at: self.now(),
            is_unwinding: self.is_unwinding(),
        }
    }

    /// The limits of a span.
    #[inline(always)]
    fn limits(self) -> SpanLimits {
        SpanLimits::DEFAULT
    }
    /// The same as a span keeps them, for a recorder that has them ready.
    #[inline(always)]
    fn open_limits(self) -> OpenLimits {
        OpenLimits::new(&self.limits())
    }
    /// The scope of its spans where it is not the exporter's default.
    #[inline(always)]
    fn scope(self) -> Option<&'static InstrumentationScope<'static>> {
        None
    }
    /// The span that new spans become children of when nobody names a parent. One that is
    /// [none](SpanContext::is_valid) is as good as `None`.
    #[inline(always)]
    fn current(self) -> Option<SpanContext> {
        None
    }
    /// Runs `run` with `context` as the current one, and puts the one before back, also on unwinding.
    #[inline]
    fn with_current<T>(self, context: &SpanContext, run: impl FnOnce() -> T) -> T {
        let _ = context;
        run()
    }
    /// Whether the current span has a trace state.
    #[inline(always)]
    fn has_trace_state(self) -> bool {
        false
    }
    /// Runs `run` with the current span's trace state.
    #[inline]
    fn with_trace_state<T>(self, run: impl FnOnce(Option<&str>) -> T) -> T {
        run(None)
    }
    /// Tells the trace state of the span that is about to become current: the next
    /// [`with_current`](Self::with_current) takes it. One that was not told of any keeps the trace state there is,
    /// if it is of the same trace.
    ///
    /// Apart from `with_current`, because the text lies in the span, which the work may change.
    #[inline]
    fn note_trace_state(self, text: &str) {
        let _ = text;
    }
    /// Runs `run` without a current context: spans started inside are roots unless they name a parent.
    ///
    /// For interrupt handlers, and whatever else runs in the middle of somebody's work but not for it.
    ///
    /// ```
    /// # use spanlet::testing::TestTracer;
    /// use spanlet::{InlineBuf, Recorder, Span};
    /// # let tracer: TestTracer = TestTracer::new();
    /// # let tracer = &tracer;
    /// let mut task: Span<_, InlineBuf<8>> = tracer.span("task").start();
    /// task.run(|_| {
    ///     // An interrupt comes:
    ///     tracer.detached(|| drop::<Span<_, InlineBuf<8>>>(tracer.span("interrupt").start()));
    /// });
    /// # tracer.with_spans(|s| assert_eq!(s.named("interrupt").unwrap().parent_id(), None));
    /// ```
    #[inline]
    fn detached<T>(self, run: impl FnOnce() -> T) -> T {
        self.with_current(&SpanContext::NONE, run)
    }
    /// Takes the current context away, where [`detached`](Self::detached) would need a closure and there is
    /// none: an executor's hooks. Nothing is current until [`attach`](Self::attach), on the same core.
    ///
    /// Recorders that are not for interrupts to preempt need neither, and do nothing.
    #[inline]
    fn detach(self) -> DetachedContext {
        DetachedContext::NONE
    }
    /// Puts what [`detach`](Self::detach) took back, last taken first.
    #[inline]
    fn attach(self, context: DetachedContext) {
        let _ = context;
    }
    /// Whether the code that a span ends in is unwinding from a panic: its status becomes Error.
    #[inline(always)]
    fn is_unwinding(self) -> bool {
        false
    }
    /// Whether a record-only span that ends is to be kept; see [`Escalation`](crate::Escalation).
    #[inline]
    fn escalate(self, ended: &EndedUnsampled) -> bool {
        let _ = ended;
        false
    }
}

/// What a span starts with; see [`Recorder::start`].
#[derive(Clone, Copy, Debug)]
pub struct SpanStart {
    /// The sampling decision.
    pub sampling: SamplingResult,
    /// The span's id.
    pub span_id: SpanId,
    /// The span's limits.
    pub limits: OpenLimits,
    /// When it starts: the time that was asked for, or the present; not looked at for a dropped span.
    pub at: Ticks,
}

/// What a span ends with; see [`Recorder::end`].
#[derive(Clone, Copy, Debug)]
pub struct SpanEnd {
    /// The present.
    pub at: Ticks,
    /// Whether it ends because of a panic.
    pub is_unwinding: bool,
}

/// What an escalation decides on: a span that was recorded but not sampled, at its end.
#[derive(Clone, Copy, Debug)]
pub struct EndedUnsampled {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// Whether it ended with status Error.
    pub is_error: bool,
    /// How long it took, in ticks.
    pub duration_ticks: u64,
}

/// The record of an ended span: a header, and the entries behind it.
///
/// Only a span can make one, which is why a ring that takes nothing else can be trusted to hold records.
#[derive(Clone, Copy)]
pub struct FinishedSpan<'a> {
    header: &'a Header,
    entries: &'a [MaybeUninit<u64>],
    len: usize,
}

impl<'a> FinishedSpan<'a> {
    /// # Safety
    /// `entries` must be whole groups of four words, the first `len` of them initialised entries, and all
    /// that header and entries refer to static.
    #[inline(always)]
    pub(crate) unsafe fn new(
        header: &'a Header,
        entries: &'a [MaybeUninit<u64>],
        len: usize,
    ) -> Self {
        debug_assert!(len <= entries.len());
        FinishedSpan {
            header,
            entries,
            len,
        }
    }
    /// Calls `rare` with the span, out of line and in registers, as the last thing that a recorder does: so that
    /// nothing has to be kept in memory for the usual way around the call.
    #[inline(always)]
    pub fn hand_over<T>(self, to: T, rare: fn(T, FinishedSpan<'_>)) {
        #[cold]
        #[inline(never)]
        fn call<T>(
            header: &Header,
            entries: &[MaybeUninit<u64>],
            len: usize,
            to: T,
            rare: fn(T, FinishedSpan<'_>),
        ) {
            let span = FinishedSpan {
                header,
                entries,
                len,
            };
            rare(to, span);
        }
        call(self.header, self.entries, self.len, to, rare);
    }
    /// The header; the low half of its first word is the ring's.
    #[inline(always)]
    pub(crate) fn header(&self) -> &'a Header {
        self.header
    }
    /// The entries.
    pub(crate) fn entry_words(&self) -> &'a [u64] {
        let words = self.entries.get(..self.len).unwrap_or(&[]);
        // SAFETY: `new` was promised that these are initialised.
        unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
    }
    /// Header, entries rounded up to whole groups of four words, and how many of those words are entries.
    #[inline(always)]
    pub(crate) fn parts(
        &self,
    ) -> (
        &'a [MaybeUninit<u64>; HEADER],
        &'a [MaybeUninit<u64>],
        usize,
    ) {
        // SAFETY: the same words, seen as ones that may be uninitialised; they are only read.
        let header = unsafe { &*core::ptr::from_ref(self.header).cast() };
        (header, self.entries, self.len)
    }
    /// Header and entries.
    #[inline(always)]
    pub(crate) fn exact_parts(&self) -> (&'a [MaybeUninit<u64>; HEADER], &'a [MaybeUninit<u64>]) {
        let (header, entries, len) = self.parts();
        // SAFETY: `new` was promised so many entries.
        (header, unsafe { entries.get_unchecked(..len) })
    }
    /// Words of header and entries.
    #[inline(always)]
    pub fn words(&self) -> usize {
        HEADER + self.len
    }
}

/// How much a span may hold. SPEC: Trace SDK, "Span Limits".
///
/// ```
/// use spanlet::SpanLimits;
/// let limits = SpanLimits { attribute_count: 16, ..SpanLimits::DEFAULT };
/// assert_eq!(limits.event_count, 128);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLimits {
    /// Attributes of a span. With fewer than 64 each one costs a look through those before it.
    pub attribute_count: u16,
    /// Events of a span.
    pub event_count: u16,
    /// Links of a span.
    pub link_count: u16,
    /// Attributes of an event.
    pub event_attribute_count: u16,
    /// Attributes of a link.
    pub link_attribute_count: u16,
    /// Bytes of a text, or of each text of an array; longer ones are cut at a char boundary. With a limit
    /// each attribute costs a look through those before it.
    pub attribute_value_length: u32,
}

impl SpanLimits {
    /// The specification's defaults: 128 of each, values of any length.
    pub const DEFAULT: Self = SpanLimits {
        attribute_count: 128,
        event_count: 128,
        link_count: 128,
        event_attribute_count: 128,
        link_attribute_count: 128,
        attribute_value_length: u32::MAX,
    };
}

/// The limits that an open span keeps, as it keeps them: a recorder makes them once and hands them to every
/// span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLimits {
    /// Attributes, events and links that are left, 16 bits each.
    pub(crate) left: u64,
    /// Whether every attribute has to be looked at: few are allowed, or its text may have to be cut.
    pub(crate) is_careful: bool,
}

impl OpenLimits {
    /// Of [`SpanLimits::DEFAULT`].
    pub const DEFAULT: Self = OpenLimits::new(&SpanLimits::DEFAULT);

    /// Of these limits. Those of events, links and texts are asked for when they matter.
    #[inline(always)]
    pub const fn new(limits: &SpanLimits) -> Self {
        // An open span counts up to 63 attributes by their bits alone.
        let careful = limits.attribute_count < 64 || limits.attribute_value_length != u32::MAX;
        OpenLimits {
            left: limits.attribute_count as u64
                | (limits.event_count as u64) << 16
                | (limits.link_count as u64) << 32,
            is_careful: careful,
        }
    }
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
