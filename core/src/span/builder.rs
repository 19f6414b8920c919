//! Starting a span: name, parent, sampling, ids, time.

use super::*;
use crate::sampler::{SamplingDecision, SamplingParameters, ThresholdUpdate};

/// Something that a span can be a child of: a [`SpanContext`], an open span, what was extracted from a
/// request.
pub trait ParentContext {
    /// Ids and flags; `None` starts a new trace.
    fn span_context(&self) -> Option<SpanContext>;
    /// The trace state that goes with them.
    fn trace_state(&self) -> Option<&str> {
        None
    }
}

impl ParentContext for SpanContext {
    #[inline(always)]
    fn span_context(&self) -> Option<SpanContext> {
        self.is_valid().then_some(*self)
    }
}
impl ParentContext for Option<SpanContext> {
    #[inline(always)]
    fn span_context(&self) -> Option<SpanContext> {
        self.filter(SpanContext::is_valid)
    }
}
impl<R: Recorder, B: SpanBuf> ParentContext for Span<R, B> {
    #[inline(always)]
    fn span_context(&self) -> Option<SpanContext> {
        self.context().span_context()
    }
    #[inline(always)]
    fn trace_state(&self) -> Option<&str> {
        if self.pos == OFF || self.word(META) & META_HAS_TEXT == 0 {
            return None;
        }
        self.own_trace_state()
    }
}

/// A span about to be started; made by [`Recorder`]s' `span`.
///
/// Small and without a buffer, so that it stays in registers. Giving attributes here rather than later
/// lets the sampler see them, which is the preferred way.
#[must_use = "a builder records nothing until `start`"]
pub struct SpanBuilder<'b, R: Recorder> {
    rec: R,
    name: &'static str,
    kind: SpanKind,
    parent: Option<SpanContext>,
    trace_state: Option<&'b str>,
    start: Option<Ticks>,
    scope: Option<&'static InstrumentationScope<'static>>,
    attributes: &'b [KeyValue<'b>],
    links: &'b [SpanContext],
}

impl<'b, R: Recorder> SpanBuilder<'b, R> {
    /// A span of the recorder's current context, or a root.
    #[inline(always)]
    pub fn new(rec: R, name: &'static str) -> Self {
        SpanBuilder {
            rec,
            name,
            kind: SpanKind::Internal,
            parent: if R::ENABLED { rec.current() } else { None },
            trace_state: None,
            start: None,
            scope: if R::ENABLED { rec.scope() } else { None },
            attributes: &[],
            links: &[],
        }
    }
    /// Sets the kind.
    #[inline(always)]
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = kind;
        self
    }
    /// Makes it a child of `parent`, with its trace state; a parent without a context makes it a root.
    #[inline(always)]
    pub fn parent(mut self, parent: &'b (impl ParentContext + ?Sized)) -> Self {
        self.parent = parent.span_context();
        self.trace_state = parent.trace_state();
        self
    }
    /// Sets the library that it belongs to, instead of the recorder's scope.
    #[inline(always)]
    pub fn scope(mut self, scope: &'static InstrumentationScope<'static>) -> Self {
        self.scope = Some(scope);
        self
    }
    /// Makes it the root of a new trace.
    #[inline(always)]
    pub fn root(mut self) -> Self {
        self.parent = None;
        self.trace_state = None;
        self
    }
    /// Sets the start time, instead of the moment of [`start`](Self::start).
    #[inline(always)]
    pub fn start_time(mut self, at: Ticks) -> Self {
        self.start = Some(at);
        self
    }
    /// Sets attributes that the sampler sees too.
    #[inline(always)]
    pub fn attributes(mut self, attributes: &'b [KeyValue<'b>]) -> Self {
        self.attributes = attributes;
        self
    }
    /// Links the span to others.
    #[inline(always)]
    pub fn links(mut self, links: &'b [SpanContext]) -> Self {
        self.links = links;
        self
    }

    /// Starts the span.
    #[inline(always)]
    pub fn start<B: SpanBuf>(self) -> Span<R, B> {
        let rec = self.rec;
        if !R::ENABLED || !rec.is_enabled() {
            return Span::off(rec, self.parent);
        }
        // Everything that can unwind comes before the value that has a Drop: otherwise LLVM builds the
        // span in a temporary with a cleanup pad and copies all of it to the caller.
        let (trace_id, flags) = match &self.parent {
            Some(parent) => (parent.trace_id(), parent.flags()),
            None => rec.trace_id(),
        };
        let result = rec.sample(&SamplingParameters {
            parent: self.parent.as_ref(),
            trace_id,
            is_random: flags.is_random(),
            name: self.name,
            kind: self.kind,
            attributes: self.attributes,
            trace_state: self.trace_state,
        });
        let span_id = rec.span_id();
        let recording = !matches!(result.decision, SamplingDecision::Drop);
        let sampled = matches!(result.decision, SamplingDecision::RecordAndSample);
        rec.started(recording);
        let limits = rec.limits();
        let start = match self.start {
            _ if !recording => Ticks(0),
            Some(at) => at,
            None => rec.now(),
        };
        let flags = flags.with_sampled(sampled);
        let mut bits = meta(flags, self.kind);
        if let Some(parent) = &self.parent
            && parent.is_remote()
        {
            bits |= META_REMOTE_PARENT;
        }
        if recording && !sampled {
            bits |= META_RECORD_ONLY;
        }
        let mut span = Span {
            header: [MaybeUninit::uninit(); HEADER],
            rec,
            pos: OFF,
            left: Left {
                attributes: limits.attribute_count,
                events: limits.event_count,
                links: limits.link_count,
            },
            seen: 0,
            dropped: MaybeUninit::uninit(),
            buf: B::new(),
        };
        let [high, low] = trace_id.to_words();
        span.set_word(META, bits);
        span.set_word(TRACE, high);
        span.set_word(TRACE + 1, low);
        span.set_word(SPAN, span_id.to_word());
        if recording {
            span.pos = 0;
            let parent = self.parent.map_or(0, |p| p.span_id().to_word());
            span.set_word(PARENT, parent);
            span.set_word(START, start.0);
            let name = if packs(self.name, REF_BITS) {
                self.name
            } else {
                ""
            };
            span.set_word(NAME, pack(name));
            if self.scope.is_some()
                || self.trace_state.is_some()
                || matches!(result.threshold, ThresholdUpdate::Set(_))
            {
                span.begin_with(self.scope, self.trace_state, result.threshold);
            }
            for kv in self.attributes {
                span.attribute(kv.key, kv.value);
            }
            for link in self.links {
                span.add_link(link, &[]);
            }
        }
        span
    }
}

impl<R: Recorder, B: SpanBuf> Span<R, B> {
    /// A span that records nothing and has the context of its parent, or an invalid one.
    #[inline(always)]
    pub fn off(rec: R, parent: Option<SpanContext>) -> Self {
        let mut span = Span {
            header: [MaybeUninit::uninit(); HEADER],
            rec,
            pos: OFF,
            left: Left {
                attributes: 0,
                events: 0,
                links: 0,
            },
            seen: 0,
            dropped: MaybeUninit::uninit(),
            buf: B::new(),
        };
        let (words, id, flags) = match parent {
            Some(parent) => (
                parent.trace_id().to_words(),
                parent.span_id().to_word(),
                parent.flags(),
            ),
            None => ([0; 2], 0, TraceFlags::NONE),
        };
        let [high, low] = words;
        span.set_word(META, meta(flags, SpanKind::Internal));
        span.set_word(TRACE, high);
        span.set_word(TRACE + 1, low);
        span.set_word(SPAN, id);
        span
    }
    #[cold]
    fn own_trace_state(&self) -> Option<&str> {
        self.text_of(TextKind::TraceState)
    }
}
