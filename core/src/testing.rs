//! For tests of instrumented code: a recorder with a fixed buffer, a clock that moves when told, ids that
//! count up.
//!
//! ```
//! use spanlet::testing::TestTracer;
//! use spanlet::{InlineBuf, Recorder, Span, Status};
//!
//! let tracer: TestTracer = TestTracer::new();
//! {
//!     let mut span: Span<_, InlineBuf<32>> = tracer.span("work").start();
//!     span.set_attribute("n", 3);
//!     tracer.clock().advance(250);
//! }
//! tracer.with_spans(|spans| {
//!     let span = spans.named("work").expect("the span was recorded");
//!     assert_eq!(span.end().0 - span.start().0, 250);
//!     assert_eq!(span.status(), Status::Unset);
//!     assert!(span.attributes().any(|kv| kv.key == "n"));
//! });
//! ```

use crate::clock::{Clock, TickRate, Ticks};
use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use crate::escalation::Escalation;
use crate::record::{HEADER, InstrumentationScope, LocalRecord, MAX_WORDS, META};
use crate::recorder::{EndedUnsampled, FinishedSpan, Recorder, SpanLimits};
use crate::sampler::{AlwaysOn, Sampler, SamplingParameters, SamplingResult};
use crate::span::SpanBuilder;
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A clock that stands still until a test moves it.
///
/// Starts at 0 with microsecond ticks. For one thread at a time; reading it while another thread moves it
/// may give a time in between.
#[derive(Debug, Default)]
pub struct ManualClock {
    high: AtomicU32,
    low: AtomicU32,
}

impl ManualClock {
    /// A clock at 0.
    pub const fn new() -> Self {
        ManualClock {
            high: AtomicU32::new(0),
            low: AtomicU32::new(0),
        }
    }
    /// Moves it to `at`, backwards too.
    #[expect(clippy::cast_possible_truncation, reason = "splits the word")]
    pub fn set(&self, at: Ticks) {
        // ORDERING: for one thread at a time.
        self.high.store((at.0 >> 32) as u32, Relaxed);
        self.low.store(at.0 as u32, Relaxed);
    }
    /// Moves it by `ticks`.
    pub fn advance(&self, ticks: u64) {
        self.set(Ticks(self.now().0.wrapping_add(ticks)));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Ticks {
        // ORDERING: for one thread at a time.
        Ticks((self.high.load(Relaxed) as u64) << 32 | self.low.load(Relaxed) as u64)
    }
    fn rate(&self) -> TickRate {
        TickRate::MICROSECONDS
    }
}

/// A recorder whose spans stay in a buffer of `W` words (8 bytes each) until a test has looked at them.
pub struct TestTracer<S = AlwaysOn, const W: usize = 4096> {
    clock: ManualClock,
    next_id: Cell<u64>,
    sampler: S,
    limits: SpanLimits,
    scope: Option<&'static InstrumentationScope<'static>>,
    current: Cell<Option<SpanContext>>,
    escalation: Option<Escalation<16>>,
    escalated_incomplete: Cell<u32>,
    words: RefCell<heapless::Vec<u64, W>>,
    lost: Cell<u32>,
    started: Cell<u32>,
    sampled_out: Cell<u32>,
}

impl<const W: usize> TestTracer<AlwaysOn, W> {
    /// Records everything.
    #[expect(
        clippy::new_without_default,
        reason = "a const generic with a default needs the type named"
    )]
    pub fn new() -> Self {
        Self::with_sampler(AlwaysOn)
    }
}

impl<S: Sampler, const W: usize> TestTracer<S, W> {
    /// Records what the sampler keeps.
    pub fn with_sampler(sampler: S) -> Self {
        TestTracer {
            clock: ManualClock::new(),
            next_id: Cell::new(1),
            sampler,
            limits: SpanLimits::DEFAULT,
            scope: None,
            current: Cell::new(None),
            escalation: None,
            escalated_incomplete: Cell::new(0),
            words: RefCell::new(heapless::Vec::new()),
            lost: Cell::new(0),
            started: Cell::new(0),
            sampled_out: Cell::new(0),
        }
    }
    /// Sets the span limits.
    #[must_use]
    pub fn with_limits(mut self, limits: SpanLimits) -> Self {
        self.limits = limits;
        self
    }
    /// Sets the scope of all spans.
    #[must_use]
    pub fn with_scope(mut self, scope: &'static InstrumentationScope<'static>) -> Self {
        self.scope = Some(scope);
        self
    }
    /// Keeps record-only spans that fail, or take at least this long, and those of their traces that end
    /// later.
    #[must_use]
    pub fn with_escalation(mut self, after_ticks: u64) -> Self {
        self.escalation = Some(Escalation::new().or_slower_than(after_ticks));
        self
    }
    /// The clock, to move it.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }
    /// Starts a span: a child of the current context, or a root.
    pub fn span(&self, name: &'static str) -> SpanBuilder<'_, &Self> {
        SpanBuilder::new(self, name)
    }
    /// Sets the current context; returns the one before.
    pub fn set_current(&self, context: Option<SpanContext>) -> Option<SpanContext> {
        self.current.replace(context)
    }
    /// Spans started, sampled or not.
    pub fn started_count(&self) -> u32 {
        self.started.get()
    }
    /// Spans that their sampler dropped, or that were recorded only and not escalated; without those that
    /// [`escalated_incomplete_count`](Self::escalated_incomplete_count) counts.
    pub fn sampled_out_count(&self) -> u32 {
        self.sampled_out.get()
    }
    /// Spans that were recorded only and not escalated, of traces of which another was escalated later.
    pub fn escalated_incomplete_count(&self) -> u32 {
        self.escalated_incomplete.get()
    }
    /// Spans that found no room in the buffer, or ended inside [`with_spans`](Self::with_spans).
    pub fn lost_count(&self) -> u32 {
        self.lost.get()
    }
    /// Looks at what was recorded, in the order in which the spans ended.
    pub fn with_spans<T>(&self, look: impl FnOnce(RecordedSpans<'_>) -> T) -> T {
        look(RecordedSpans {
            words: &self.words.borrow(),
        })
    }
    /// Forgets what was recorded.
    ///
    /// # Panics
    /// Inside [`with_spans`](Self::with_spans).
    pub fn clear(&self) {
        self.words.borrow_mut().clear();
    }
}

impl<S: Sampler, const W: usize> Recorder for &TestTracer<S, W> {
    fn now(self) -> Ticks {
        self.clock.now()
    }
    fn span_id(self) -> SpanId {
        let id = self.next_id.replace(self.next_id.get() + 1);
        SpanId::from_bytes(id.to_be_bytes()).unwrap_or(SpanId::INVALID)
    }
    fn trace_id(self) -> (TraceId, TraceFlags) {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let id = TraceId::from_bytes((u128::from(id) << 64 | u128::from(id)).to_be_bytes());
        (id.unwrap_or(TraceId::INVALID), TraceFlags::NONE)
    }
    fn sample(self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        self.sampler.should_sample(parameters)
    }
    fn record(self, span: FinishedSpan<'_>) {
        // Borrowed: the span ends inside `with_spans`.
        let Ok(mut words) = self.words.try_borrow_mut() else {
            return self.lost.set(self.lost.get() + 1);
        };
        let at = words.len();
        if W - at < span.words() || span.words() > MAX_WORDS {
            return self.lost.set(self.lost.get() + 1);
        }
        let [meta, rest @ ..] = span.header();
        // The ring's half of the first word: the length.
        let _ = words.push(meta & !0xffff_ffff | span.words() as u64);
        let _ = words.extend_from_slice(rest);
        let _ = words.extend_from_slice(span.entry_words());
    }
    fn started(self, recording: bool) {
        self.started.set(self.started.get() + 1);
        if !recording {
            self.sampled_out.set(self.sampled_out.get() + 1);
        }
    }
    fn limits(self) -> SpanLimits {
        self.limits
    }
    fn scope(self) -> Option<&'static InstrumentationScope<'static>> {
        self.scope
    }
    fn current(self) -> Option<SpanContext> {
        self.current.get()
    }
    fn with_current<T>(self, context: &SpanContext, run: impl FnOnce() -> T) -> T {
        struct Back<'a>(&'a Cell<Option<SpanContext>>, Option<SpanContext>);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }
        let _back = Back(&self.current, self.current.replace(Some(*context)));
        run()
    }
    fn escalate(self, ended: &EndedUnsampled) -> bool {
        let (keep, newly_incomplete) = match &self.escalation {
            Some(escalation) => {
                let result = escalation.ended(ended);
                (result.keep, result.newly_incomplete)
            }
            None => (false, 0),
        };
        let sampled_out = self.sampled_out.get() + u32::from(!keep) - newly_incomplete;
        self.sampled_out.set(sampled_out);
        self.escalated_incomplete
            .set(self.escalated_incomplete.get() + newly_incomplete);
        keep
    }
}

/// The spans that a [`TestTracer`] has recorded.
#[derive(Clone, Copy)]
pub struct RecordedSpans<'a> {
    words: &'a [u64],
}

impl<'a> RecordedSpans<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.count()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
    /// The first span of this name.
    pub fn named(mut self, name: &str) -> Option<LocalRecord<'a>> {
        self.find(|span| span.name() == name)
    }
}

impl<'a> Iterator for RecordedSpans<'a> {
    type Item = LocalRecord<'a>;
    fn next(&mut self) -> Option<LocalRecord<'a>> {
        let len = (self.words.get(META)? & 0xffff) as usize;
        let (span, rest) = self.words.split_at_checked(len.max(HEADER))?;
        self.words = rest;
        // SAFETY: only `record` writes here, and only whole records of spans.
        unsafe { LocalRecord::new(span) }
    }
}
