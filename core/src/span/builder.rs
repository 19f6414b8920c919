//! Starting a span: name, parent, sampling, ids, time.

use super::*;
use crate::recorder::OpenLimits;
use crate::sampler::{SamplingDecision, SamplingParameters, ThresholdUpdate};

/// Something that a span can be a child of: a [`SpanContext`], an open span, what was extracted from a
/// request.
///
/// ```
/// use spanlet::{ParentContext, SpanContext};
/// /// A message that may carry the context of its sender.
/// struct Message {
///     sender: Option<SpanContext>,
/// }
/// impl ParentContext for Message {
///     fn span_context(&self) -> Option<SpanContext> {
///         self.sender.map(SpanContext::remote)
///     }
/// }
/// # let tracer: spanlet::testing::TestTracer = spanlet::testing::TestTracer::new();
/// # let span: spanlet::Span<_, spanlet::InlineBuf<32>> =
/// tracer.span("process").parent(&Message { sender: None }).start();
/// # assert!(span.is_recording());
/// ```
pub trait ParentContext {
    /// Ids and flags; `None` starts a new trace, and so does a context that is
    /// [none](SpanContext::is_valid).
    fn span_context(&self) -> Option<SpanContext>;
    /// The trace state that goes with them.
    fn trace_state(&self) -> Option<&str> {
        None
    }
}

impl ParentContext for SpanContext {
    #[inline(always)]
    fn span_context(&self) -> Option<SpanContext> {
        // Put together anew: of a copied one LLVM does not know that it is not `None`.
        let context = SpanContext::new(self.trace_id(), self.span_id(), self.flags());
        Some(if self.is_remote() {
            context.remote()
        } else {
            context
        })
    }
}
impl ParentContext for Option<SpanContext> {
    #[inline(always)]
    fn span_context(&self) -> Option<SpanContext> {
        *self
    }
}
impl<R: Recorder, B: SpanBuf> ParentContext for Span<R, B> {
    #[inline(always)]
    fn span_context(&self) -> Option<SpanContext> {
        self.context().span_context()
    }
    #[inline(always)]
    fn trace_state(&self) -> Option<&str> {
        if self.word(META) & META_HAS_TEXT == 0 {
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
    pub(super) rec: R,
    pub(super) head: Head<'b>,
    pub(super) attributes: &'b [KeyValue<'b>],
    pub(super) links: &'b [SpanContext],
}

/// What a span starts with besides attributes and links.
#[derive(Clone, Copy)]
pub(super) struct Head<'b> {
    pub(super) name: &'static str,
    pub(super) kind: SpanKind,
    pub(super) parent: Option<SpanContext>,
    /// Whether `parent` says it, and not the recorder's current context.
    pub(super) has_parent: bool,
    pub(super) trace_state: Option<&'b str>,
    pub(super) start: Option<Ticks>,
    pub(super) scope: Option<&'static InstrumentationScope<'static>>,
}

impl<'b, R: Recorder> SpanBuilder<'b, R> {
    /// A span of the recorder's current context, or a root.
    #[inline(always)]
    pub fn new(rec: R, name: &'static str) -> Self {
        SpanBuilder {
            rec,
            head: Head {
                name,
                kind: SpanKind::Internal,
                parent: None,
                has_parent: false,
                trace_state: None,
                start: None,
                scope: None,
            },
            attributes: &[],
            links: &[],
        }
    }
    /// Sets the kind.
    #[inline(always)]
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.head.kind = kind;
        self
    }
    /// Makes it a child of `parent`, with its trace state; a parent without a context makes it a root.
    #[inline(always)]
    pub fn parent(mut self, parent: &'b (impl ParentContext + ?Sized)) -> Self {
        self.head.parent = parent.span_context();
        self.head.has_parent = true;
        self.head.trace_state = parent.trace_state();
        self
    }
    /// Sets the library that it belongs to, instead of the recorder's scope.
    #[inline(always)]
    pub fn scope(mut self, scope: &'static InstrumentationScope<'static>) -> Self {
        self.head.scope = Some(scope);
        self
    }
    /// Makes it the root of a new trace.
    #[inline(always)]
    pub fn root(mut self) -> Self {
        self.head.parent = None;
        self.head.has_parent = true;
        self.head.trace_state = None;
        self
    }
    /// Sets the start time, instead of the moment of [`start`](Self::start).
    #[inline(always)]
    pub fn start_time(mut self, at: Ticks) -> Self {
        self.head.start = Some(at);
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

    /// Starts the span, in line.
    #[inline(always)]
    pub(super) fn start_here<B: SpanBuf>(self) -> Span<R, B> {
        let (rec, head) = (self.rec, self.head);
        if !R::ENABLED || !rec.is_enabled() {
            return Span::off(rec, head.parent.filter(SpanContext::is_valid));
        }
        let parent = if head.has_parent {
            head.parent
        } else {
            rec.current()
        };
        if R::KEEPS_TRACE_STATE && !head.has_parent && rec.has_trace_state() {
            // By parts, as below.
            return SpanBuilder {
                rec,
                head: Head {
                    name: head.name,
                    kind: head.kind,
                    parent,
                    has_parent: true,
                    trace_state: None,
                    start: head.start,
                    scope: head.scope,
                },
                attributes: self.attributes,
                links: self.links,
            }
            .start_in_trace_state();
        }
        // A device works with the parent that is left, in the same code.
        #[cfg(not(target_pointer_width = "64"))]
        let parent = parent.filter(SpanContext::is_valid);
        #[cfg(target_pointer_width = "64")]
        if let Some(parent) = &parent
            && !parent.is_valid()
        {
            // By parts: a builder that the call sees would have to lie in memory for the usual way too.
            return SpanBuilder {
                rec,
                head: Head {
                    name: head.name,
                    kind: head.kind,
                    parent: None,
                    has_parent: true,
                    trace_state: None,
                    start: head.start,
                    scope: head.scope,
                },
                attributes: self.attributes,
                links: self.links,
            }
            .start_root();
        }
        // Everything that can unwind comes before the value that has a Drop, or out of line (`start_with`):
        // otherwise LLVM builds the span in a temporary with a cleanup pad and copies all of it to the caller.
        let (trace_id, flags) = match &parent {
            Some(parent) => (parent.trace_id(), parent.flags()),
            None => rec.trace_id(),
        };
        let scope = match head.scope {
            Some(scope) => Some(scope),
            None => rec.scope(),
        };
        let SpanStart {
            sampling,
            span_id,
            limits,
            at,
        } = rec.start(
            &SamplingParameters {
                parent: parent.as_ref(),
                trace_id,
                is_random: flags.is_random(),
                name: head.name,
                kind: head.kind,
                attributes: self.attributes,
                trace_state: head.trace_state,
            },
            head.start,
        );
        let sampled = matches!(sampling.decision, SamplingDecision::RecordAndSample);
        let mut bits = meta(flags.with_sampled(sampled), head.kind);
        let [high, low] = trace_id.to_words();
        let ids = [high, low, span_id.to_word()];
        if matches!(sampling.decision, SamplingDecision::Drop) {
            if let Some(text) = head.trace_state
                && !text.is_empty()
            {
                let threshold = sampling.threshold;
                let write = write_state(threshold);
                return Span::not_recording_with(rec, bits, ids, |span| {
                    write(span, text, threshold)
                });
            }
            return Span::not_recording(rec, bits, ids);
        }
        let mut parent_word = 0;
        if let Some(parent) = &parent {
            parent_word = parent.span_id().to_word();
            if parent.is_remote() {
                bits |= META_REMOTE_PARENT;
            }
        }
        if !sampled {
            bits |= META_RECORD_ONLY;
        }
        let name = if packs(head.name, NAME_BITS) {
            head.name
        } else {
            ""
        };
        // Made where it is used: one that the call sees would have to lie in memory for both.
        let header = || {
            open(
                bits,
                [high, low],
                span_id.to_word(),
                parent_word,
                at.0,
                name,
            )
        };
        if scope.is_some()
            || head.trace_state.is_some()
            || matches!(sampling.threshold, ThresholdUpdate::Set(_))
            || !self.attributes.is_empty()
            || !self.links.is_empty()
        {
            return Span::start_with(
                rec,
                header(),
                limits,
                &Extras {
                    scope,
                    trace_state: head.trace_state,
                    threshold: sampling.threshold,
                    write_state: write_state(sampling.threshold),
                    write_items: if self.attributes.is_empty() && self.links.is_empty() {
                        Span::no_items
                    } else {
                        Span::begin_items
                    },
                    attributes: self.attributes,
                    links: self.links,
                },
            );
        }
        Span::recording(rec, header(), limits)
    }

    /// The child of the current span, which has a trace state.
    #[cold]
    #[inline(never)]
    fn start_in_trace_state<B: SpanBuf>(self) -> Span<R, B> {
        let rec = self.rec;
        rec.with_trace_state(|trace_state| {
            let head = Head {
                trace_state,
                ..self.head
            };
            SpanBuilder { head, ..self }.start_here()
        })
    }

    /// The child of nobody, out of line: with it in line, each child's ids would be chosen from two.
    #[cfg(target_pointer_width = "64")]
    #[cold]
    #[inline(never)]
    fn start_root<B: SpanBuf>(self) -> Span<R, B> {
        self.root().start_here()
    }
}

/// By pointer, chosen where the sampler is known: with one that never sets a threshold the code that edits trace
/// states (12 KiB on an M0) is not linked.
#[inline(always)]
fn write_state<R: Recorder, B: SpanBuf>(
    threshold: ThresholdUpdate,
) -> fn(&mut Span<R, B>, &str, ThresholdUpdate) {
    match threshold {
        ThresholdUpdate::Keep => Span::keep_trace_state,
        _ => Span::update_trace_state,
    }
}

/// What a span has besides its header when it starts.
pub(super) struct Extras<'b, R: Recorder, B: SpanBuf> {
    pub(super) scope: Option<&'static InstrumentationScope<'static>>,
    pub(super) trace_state: Option<&'b str>,
    pub(super) threshold: ThresholdUpdate,
    pub(super) write_state: fn(&mut Span<R, B>, &str, ThresholdUpdate),
    write_items: fn(&mut Span<R, B>, &[KeyValue<'_>], &[SpanContext]),
    attributes: &'b [KeyValue<'b>],
    links: &'b [SpanContext],
}

impl<R: Recorder, B: SpanBuf> Span<R, B> {
    /// An open span without entries.
    #[inline(always)]
    fn recording(rec: R, header: [MaybeUninit<u64>; HEADER], limits: OpenLimits) -> Self {
        Span {
            header,
            rec,
            pos: 0,
            left: limits.left,
            seen: if limits.is_careful { ALL_SEEN } else { 0 },
            dropped: MaybeUninit::uninit(),
            buf: B::new(),
        }
    }
    /// An open span with whatever it starts with.
    #[inline(never)]
    fn start_with(
        rec: R,
        header: [MaybeUninit<u64>; HEADER],
        limits: OpenLimits,
        extras: &Extras<'_, R, B>,
    ) -> Self {
        let mut span = Span::recording(rec, header, limits);
        if extras.scope.is_some()
            || extras.trace_state.is_some()
            || matches!(extras.threshold, ThresholdUpdate::Set(_))
        {
            span.begin_with(extras);
        }
        (extras.write_items)(&mut span, extras.attributes, extras.links);
        span
    }
    fn no_items(&mut self, _: &[KeyValue<'_>], _: &[SpanContext]) {}
    fn begin_items(&mut self, attributes: &[KeyValue<'_>], links: &[SpanContext]) {
        for kv in attributes {
            self.attribute(kv.key, kv.value);
        }
        for link in links {
            self.add_link(link, &[]);
        }
    }
    /// A span that its sampler has dropped: ids and flags.
    #[inline(always)]
    fn not_recording(rec: R, meta: u64, [high, low, span]: [u64; 3]) -> Self {
        Span {
            header: off(meta, [high, low], span),
            rec,
            pos: OFF,
            left: 0,
            seen: 0,
            dropped: MaybeUninit::uninit(),
            buf: B::new(),
        }
    }
    /// A span that its sampler has dropped, with the trace state that goes on from its parent, if it fits.
    #[cold]
    #[inline(never)]
    fn not_recording_with(rec: R, meta: u64, ids: [u64; 3], write: impl FnOnce(&mut Self)) -> Self {
        let mut span = Span::not_recording(rec, meta, ids);
        span.pass_on(write);
        span
    }
    /// Keeps in a span that was dropped the trace state that `write` writes.
    pub(super) fn pass_on(&mut self, write: impl FnOnce(&mut Self)) {
        self.pos = 0;
        write(self);
        // INVARIANT: no more than the buffer's words, below 2^15, so that OFF is none of them.
        self.left = u64::from(self.pos) << PASSED_ON;
        self.pos = OFF;
    }
    /// A span that records nothing and has the context of its parent, or an invalid one.
    #[inline(always)]
    pub fn off(rec: R, parent: Option<SpanContext>) -> Self {
        let (meta, ids) = off_words(parent.as_ref());
        Span::not_recording(rec, meta, ids)
    }
    /// Makes it one.
    #[cfg(not(target_pointer_width = "64"))]
    pub(super) fn set_off(&mut self, parent: Option<&SpanContext>) {
        let (meta, [high, low, span]) = off_words(parent);
        self.header = off(meta, [high, low], span);
        self.pos = OFF;
    }
    #[cold]
    fn own_trace_state(&self) -> Option<&str> {
        self.text_of(TextKind::TraceState)
    }
}

/// META word and ids of a span that records nothing.
#[inline(always)]
fn off_words(parent: Option<&SpanContext>) -> (u64, [u64; 3]) {
    let (flags, ids) = match parent {
        Some(parent) => {
            let [high, low] = parent.trace_id().to_words();
            (parent.flags(), [high, low, parent.span_id().to_word()])
        }
        None => (TraceFlags::NONE, [0; 3]),
    };
    (meta(flags, SpanKind::Internal), ids)
}
