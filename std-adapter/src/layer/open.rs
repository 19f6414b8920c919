//! An open span of the layer: what all threads may read of it, and the rest.
//!
//! Input: how it is to start. Output: its context, and the span itself to whoever has the turn. Bound: the span's
//! buffer, and the fields that a span without a parent is created with until it starts.

use super::callsite::Callsite;
use super::fields::{Held, Role};
use crate::recorder::{Local, Span};
use core::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use spanlet::{
    KeyValue, ParentContext, Recorder, SpanContext, SpanId, SpanKind, Ticks, TraceFlags, TraceId,
    Value,
};
use std::cell::Cell;
use tracing_core::{Level, Metadata};

/// The flags' byte, and above it:
const STARTED: u64 = 1 << 8;
const RECORDING: u64 = 1 << 9;
const HAS_TRACE_STATE: u64 = 1 << 10;

/// What every thread may read and count.
#[derive(Default)]
pub(super) struct Public {
    /// 0 until the span has started.
    state: AtomicU64,
    trace: [AtomicU64; 2],
    span: AtomicU64,
    /// When it was left last; 0: never.
    left: AtomicU64,
    times: Times,
}

impl Public {
    /// For a span that has not started.
    pub(super) fn reset(&self) {
        // ORDERING: of this and what follows: the slot is handed on by its turn, and the id by the subscriber.
        self.state.store(0, Relaxed);
        self.left.store(0, Relaxed);
    }
    pub(super) fn publish(&self, span: &Span) {
        let context = span.context();
        let [high, low] = context.trace_id().to_words();
        self.trace[0].store(high, Relaxed);
        self.trace[1].store(low, Relaxed);
        self.span.store(context.span_id().to_word(), Relaxed);
        let mut state = STARTED | u64::from(context.flags().to_byte());
        if span.is_recording() {
            state |= RECORDING;
        }
        if span.trace_state().is_some() {
            state |= HAS_TRACE_STATE;
        }
        // ORDERING: publishes the ids; pairs with Acquire in `context`.
        self.state.store(state, Release);
    }
    /// The context, if the span has started.
    #[inline]
    pub(super) fn context(&self) -> Option<SpanContext> {
        // ORDERING: pairs with Release in `publish`.
        let state = self.state.load(Acquire);
        if state & STARTED == 0 {
            return None;
        }
        let trace = [self.trace[0].load(Relaxed), self.trace[1].load(Relaxed)];
        Some(SpanContext::new(
            TraceId::from_words(trace)?,
            SpanId::from_word(self.span.load(Relaxed))?,
            #[expect(clippy::cast_possible_truncation, reason = "takes the byte")]
            TraceFlags::from_byte(state as u8),
        ))
    }
    /// Whether there is anything to visit fields for. A span that has not started may yet be sampled.
    #[inline]
    pub(super) fn may_record(&self) -> bool {
        let state = self.state.load(Relaxed);
        state & RECORDING != 0 || state & STARTED == 0
    }
    pub(super) fn has_trace_state(&self) -> bool {
        self.state.load(Relaxed) & HAS_TRACE_STATE != 0
    }
    #[inline]
    pub(super) fn leave(&self, at: Ticks) {
        // ORDERING: read at the close, which the subscriber orders behind all else.
        self.left.store(at.0, Relaxed);
    }
    /// When it was left last.
    pub(super) fn left(&self) -> Option<Ticks> {
        match self.left.load(Relaxed) {
            0 => None,
            at => Some(Ticks(at)),
        }
    }
    pub(super) fn times(&self) -> &Times {
        &self.times
    }
}

/// How long a span was busy, in ticks: some thread was in it, or none.
#[derive(Default)]
pub(super) struct Times {
    inside: AtomicU64,
    since: AtomicU64,
    busy: AtomicU64,
    idle: AtomicU64,
}

impl Times {
    pub(super) fn reset(&self, now: Ticks) {
        // ORDERING: of this and what follows: counts.
        self.inside.store(0, Relaxed);
        self.since.store(now.0, Relaxed);
        self.busy.store(0, Relaxed);
        self.idle.store(0, Relaxed);
    }
    pub(super) fn enter(&self, now: Ticks) {
        if self.inside.fetch_add(1, Relaxed) == 0 {
            self.add(&self.idle, now);
        }
    }
    pub(super) fn exit(&self, now: Ticks) {
        if self.inside.fetch_sub(1, Relaxed) == 1 {
            self.add(&self.busy, now);
        }
    }
    fn add(&self, to: &AtomicU64, now: Ticks) {
        let since = self.since.swap(now.0, Relaxed);
        to.fetch_add(now.0.saturating_sub(since), Relaxed);
    }
    /// Sets them as attributes.
    pub(super) fn put_into(&self, span: &mut Span) {
        let nanos = |ticks: &AtomicU64| {
            i64::try_from(Local.nanos_of(ticks.load(Relaxed))).unwrap_or(i64::MAX)
        };
        self.add(&self.idle, Local.now());
        span.set_attribute("busy_ns", nanos(&self.busy))
            .set_attribute("idle_ns", nanos(&self.idle));
    }
}

/// What whoever has the turn gets.
#[derive(Default)]
pub(super) struct Open {
    pub(super) stage: Stage,
    /// The fields of a span that has not started.
    pub(super) held: Held,
}

#[derive(Default)]
pub(super) enum Stage {
    /// Nobody's, or of a span that has ended.
    #[default]
    Empty,
    /// Without a parent so far.
    Waiting(Start),
    Started(Span),
}

/// How a span starts.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub(super) callsite: &'static Callsite,
    pub(super) kind: SpanKind,
    pub(super) at: Option<Ticks>,
    /// Whether it says where in the code it is.
    pub(super) location: bool,
}

/// Whose child a span becomes.
pub(super) enum Parent<'p> {
    /// That of the thread's current context.
    Current,
    Of(&'p dyn ParentContext),
    Nobody,
}

impl Start {
    /// Starts it: the sampler decides, and only then is there anything to record.
    #[inline]
    pub(super) fn start(&self, parent: &Parent<'_>) -> Span {
        let Callsite {
            metadata, scope, ..
        } = self.callsite;
        let mut builder = Local.span(metadata.name()).kind(self.kind).scope(scope);
        if let Some(at) = self.at {
            builder = builder.start_time(at);
        }
        let mut span: Span = match *parent {
            Parent::Current => builder.start(),
            Parent::Of(parent) => builder.parent(parent).start(),
            Parent::Nobody => builder.root().start(),
        };
        if self.location && span.is_recording() {
            for kv in location(metadata).iter().flatten() {
                span.set_attribute(kv.key, kv.value);
            }
        }
        span
    }
}

/// Where in the code.
pub(super) fn location(metadata: &'static Metadata<'static>) -> [Option<KeyValue<'static>>; 3] {
    let text =
        |key, text: Option<&'static str>| text.map(|text| KeyValue::new(key, Value::Static(text)));
    [
        text("code.file.path", metadata.file()),
        metadata
            .line()
            .map(|line| KeyValue::new("code.line.number", line)),
        text("code.module.name", metadata.module_path()),
    ]
}

thread_local! {
    /// Whether a sampler runs on this thread while a span is held for it.
    static STARTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a wait for a turn might be one for ourselves: a sampler that is itself traced.
pub(super) fn is_starting() -> bool {
    STARTING.get()
}

impl Open {
    pub(super) fn span(&mut self) -> Option<&mut Span> {
        match &mut self.stage {
            Stage::Started(span) => Some(span),
            _ => None,
        }
    }

    /// Starts a span that waits, with the fields that were held for it. Any other stays as it is.
    pub(super) fn begin(&mut self, public: &Public, parent: &Parent<'_>) {
        let Stage::Waiting(start) = self.stage else {
            return;
        };
        struct Back;
        impl Drop for Back {
            fn drop(&mut self) {
                STARTING.set(false);
            }
        }
        self.stage = Stage::Empty;
        let back = Back;
        STARTING.set(true);
        let mut span = start.start(parent);
        drop(back);
        self.held.put_into(&mut span);
        self.held.clear();
        public.publish(&span);
        self.stage = Stage::Started(span);
    }
}

/// An event, ready to be added to whatever span.
pub(super) struct Happened {
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) at: Ticks,
    pub(super) held: Held,
    pub(super) location: bool,
    /// Whether one of level ERROR says that the span failed.
    pub(super) fails: bool,
}

impl Happened {
    /// Its message, or what stands for it.
    pub(super) fn name(&self) -> &str {
        let message = self.held.text_of(Role::Message);
        message.unwrap_or_else(|| match self.held.text_of(Role::Error) {
            Some(_) => "exception",
            None => self.metadata.name(),
        })
    }

    pub(super) fn add_to(&self, span: &mut Span) {
        let held = &self.held;
        let error = held.text_of(Role::Error);
        let message = held.text_of(Role::Message);
        // What came through the `log` crate has its place in fields.
        let logged = held.logged(self.metadata);
        let target = match logged.target {
            Some(target) => Value::Str(target),
            None => Value::Static(self.metadata.target()),
        };
        let location = if self.location && logged.target.is_none() {
            location(self.metadata)
        } else {
            [None; 3]
        };
        let [file, line, module] = location;
        let own = [
            Some(KeyValue::new(
                "level",
                Value::Static(self.metadata.level().as_str()),
            )),
            Some(KeyValue::new("target", target)),
            error.map(|text| KeyValue::new("exception.message", text)),
            file,
            line,
            module,
        ];
        let is_exception = error.is_some() && message.is_none();
        let fields = held.attributes(is_exception, self.location);
        span.add_event_copied_at(
            self.name(),
            self.at,
            own.iter().flatten().copied().chain(fields),
        );
        if self.fails && *self.metadata.level() == Level::ERROR {
            span.set_error(error.or(message).unwrap_or_default());
        }
    }
}
