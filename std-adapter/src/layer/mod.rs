//! Existing `tracing` code, recorded through the core: a layer for `tracing_subscriber`.
//!
//! Input: the spans and events of `tracing`. Output: spans of [`Local`], as any other of this process. Bound: the open
//! spans, in slots that are used again. Nothing here locks; once a thread and its callsites are known, and where no two
//! threads are at the same span at the same moment, nothing allocates.
//!
//! ```no_run
//! use spanlet_std::Telemetry;
//! use spanlet_std::layer::TracingLayer;
//! use tracing_subscriber::layer::SubscriberExt;
//! use tracing_subscriber::util::SubscriberInitExt;
//!
//! let telemetry = Telemetry::builder().service_name("checkout").install()?;
//! tracing_subscriber::registry().with(TracingLayer::new()).init();
//!
//! let charge = tracing::info_span!("charge card", payment.provider = "acme");
//! charge.in_scope(|| tracing::warn!(attempt = 2, "retrying"));
//! # drop(charge);
//! # telemetry.shutdown(std::time::Duration::from_secs(2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | of `tracing` | becomes |
//! |---|---|
//! | a span's name, target | name, scope |
//! | parent: contextual | the thread's current span, whether `tracing`'s or one of spanlet's own |
//! | parent: explicit, or `None` | that span; the root of a trace, or [what came with a request](SpanExt::set_parent) |
//! | enter, exit | the thread's current context follows, so spanlet's own spans, log ids and clients inside see it |
//! | fields, `record` | attributes, typed: see the table below |
//! | `follows_from` | a link |
//! | an event | an event of its span: the message as its name; `level`, `target`, fields as attributes |
//! | an event of level ERROR | also status Error, with the error or the message as description |
//! | a field `error`, or any `dyn Error`, of an event | also `exception.message`; without a message the event is an `exception` |
//! | `otel.name`, `otel.kind` | the span's name and its kind, the kind at its start only |
//! | `otel.status_code`, `otel.status_description` | the status |
//! | the last exit | the end; of a span never entered the close |
//!
//! Integers beyond 2^63 − 1 are their decimal text; what is recorded with `%` or `?` is text of up to 8 KiB; a
//! `dyn Error` is its text and that of its sources. Attributes, events and links over the span limits are counted.
//!
//! **The sampler runs first.** The fields of a span that it drops are never looked at, nor are those of its events; its
//! context still goes on to children and downstream. A span without a parent is the exception: its fields are kept
//! until it is first entered, asked for its context or made a parent, because until then it may be given a remote
//! parent ([`TracingLayer::with_late_parents`]).
//!
//! Instructions of a span that is made, entered, left and closed, what the registry does included: 2,060, with four
//! fields 2,810, with an event 3,530, unsampled 1,750 (callgrind, x86-64; tracing-opentelemetry in
//! `benches/README.md`: 6,880, 8,430 with four fields, 5,930 unsampled, and 8 to 12 allocations).
//!
//! Per-layer filters, `reload` and several layers at once work as for any layer: what a filter hides is not there, and
//! its children belong to the nearest span that is.

mod callsite;
mod fields;

mod open;
#[allow(unsafe_code, reason = "what a slot keeps is for one thread at a time")]
mod slots;

mod entered;
mod ext;

pub use ext::{RecordedContext, SetParentError, SpanExt};

use crate::propagation::ambient;
use crate::recorder::Local;
use callsite::Callsite;
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU64, Ordering};
use fields::{Find, Held, Visitor};
use open::{Happened, Open, Parent, Public, Stage, Start};
use slots::{Table, Turn};
use spanlet::{ParentContext, Recorder, SpanContext, SpanKind};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

type Slot = slots::Slot<Public, Open>;

/// Records the spans and events of `tracing`; see the [module](self).
///
/// Until a [`Telemetry`](crate::Telemetry) is installed, and without one, it does nothing.
pub struct TracingLayer {
    table: Table<Public, Open>,
    /// Tells this layer's entered spans from those of others on the same thread.
    number: u64,
    location: bool,
    times: bool,
    late_parents: bool,
    errors_as_status: bool,
    events_outside: bool,
    end_at_close: bool,
}

impl Default for TracingLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for TracingLayer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TracingLayer").finish_non_exhaustive()
    }
}

impl TracingLayer {
    /// A layer with the settings that each method below names as the default.
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        TracingLayer {
            table: Table::new(),
            // ORDERING: a number of its own, and nothing else.
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            location: false,
            times: false,
            late_parents: true,
            errors_as_status: true,
            events_outside: false,
            end_at_close: false,
        }
    }
    /// Whether spans and events say where in the code they are: `code.file.path`, `code.line.number`,
    /// `code.module.name`. Default: no; the scope names the module already.
    #[must_use]
    pub fn with_location(mut self, location: bool) -> Self {
        self.location = location;
        self
    }
    /// Whether spans say how long some thread was in them, and how long none: `busy_ns`, `idle_ns`, in nanoseconds.
    /// Costs a clock read more at each enter. Default: no.
    #[must_use]
    pub fn with_busy_times(mut self, times: bool) -> Self {
        self.times = times;
        self
    }
    /// Whether a span without a parent waits for one until it is first used, so that [`SpanExt::set_parent`] can give
    /// it a remote one. Its fields are then kept although the sampler may drop it. Without it, it starts at once as a
    /// root. Default: yes.
    #[must_use]
    pub fn with_late_parents(mut self, late_parents: bool) -> Self {
        self.late_parents = late_parents;
        self
    }
    /// Whether an event of level ERROR gives its span the status Error. Default: yes.
    #[must_use]
    pub fn with_errors_as_status(mut self, errors_as_status: bool) -> Self {
        self.errors_as_status = errors_as_status;
        self
    }
    /// Whether an event outside of all spans of `tracing` becomes a span without length, a child of the thread's
    /// current one, instead of being left out. Default: no.
    #[must_use]
    pub fn with_events_outside(mut self, events_outside: bool) -> Self {
        self.events_outside = events_outside;
        self
    }
    /// Whether a span ends when it closes, not when it was left last. It closes with its last handle, or later: with
    /// the last of its children. Default: no.
    #[must_use]
    pub fn with_end_at_close(mut self, end_at_close: bool) -> Self {
        self.end_at_close = end_at_close;
        self
    }

    /// The context of a span, which starts it if it waits.
    #[inline]
    fn context_of(&self, id: NonZeroU64) -> Option<SpanContext> {
        let slot = self.table.find(id)?;
        context_in(slot, id)
    }
}

#[inline]
fn context_in(slot: &Slot, id: NonZeroU64) -> Option<SpanContext> {
    match slot.public.context() {
        Some(context) => Some(context),
        None => begin(slot, id),
    }
    .filter(SpanContext::is_valid)
}

/// Starts a span that waits as a root.
#[cold]
fn begin(slot: &Slot, id: NonZeroU64) -> Option<SpanContext> {
    let mut turn = wait(slot, id)?;
    turn.begin(&slot.public, &Parent::Nobody);
    slot.public.context()
}

/// The turn, after whoever has it; see [`open::is_starting`].
#[inline]
fn wait(slot: &Slot, id: NonZeroU64) -> Option<Turn<'_, Public, Open>> {
    match slot.turn(id) {
        Some(turn) => Some(turn),
        None if open::is_starting() => None,
        None => slot.wait(id),
    }
}

impl<S: Subscriber> Layer<S> for TracingLayer {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if !Local.is_enabled() {
            return;
        }
        let id = id.into_non_zero_u64();
        let callsite = Callsite::of(attrs.metadata());
        let explicit;
        let parent = if let Some(parent) = attrs.parent() {
            explicit = self.parent_of(parent.into_non_zero_u64());
            match &explicit {
                Some(parent) => Parent::Of(parent),
                None => Parent::Nobody,
            }
        } else if attrs.is_root() || !Local.current().is_some_and(|cx| cx.is_valid()) {
            Parent::Nobody
        } else {
            Parent::Current
        };
        let mut start = Start {
            callsite,
            kind: if callsite.has_kind {
                kind_of(attrs)
            } else {
                SpanKind::Internal
            },
            at: None,
            location: self.location,
        };
        if self.late_parents && matches!(parent, Parent::Nobody) {
            start.at = Some(Local.now());
            self.table.claim(id, |public, open| {
                self.reset(public);
                attrs.record(&mut Visitor(&mut open.held));
                open.stage = Stage::Waiting(start);
            });
        } else {
            self.table.claim(id, |public, open| {
                self.reset(public);
                let mut span = start.start(&parent);
                if span.is_recording() {
                    attrs.record(&mut Visitor(&mut span));
                }
                public.publish(&span);
                open.stage = Stage::Started(span);
            });
        }
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        let id = id.into_non_zero_u64();
        let Some(slot) = self.table.find(id) else {
            return;
        };
        let Some(context) = context_in(slot, id) else {
            return;
        };
        if self.times {
            slot.public.times().enter(Local.now());
        }
        if slot.public.has_trace_state() {
            note_trace_state(slot, id);
        }
        entered::enter(self.number, id, &context);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        let id = id.into_non_zero_u64();
        if !entered::exit(self.number, id) {
            return;
        }
        let Some(slot) = self.table.find(id) else {
            return;
        };
        if !slot.public.may_record() {
            return;
        }
        let now = Local.now();
        slot.public.leave(now);
        if self.times {
            slot.public.times().exit(now);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let id = id.into_non_zero_u64();
        let Some(slot) = self.table.find(id) else {
            return;
        };
        if !slot.public.may_record() {
            return;
        }
        let mut held = Held::take();
        values.record(&mut Visitor(&mut held));
        match slot.turn(id) {
            Some(mut turn) => {
                add_fields(&mut turn, &held);
                drop(turn);
                held.give_back();
            }
            None => slot.hand_over(id, Box::new(move |open| add_fields(open, &held))),
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        let (id, follows) = (id.into_non_zero_u64(), follows.into_non_zero_u64());
        let Some(slot) = self.table.find(id) else {
            return;
        };
        if id == follows {
            // Nobody follows themselves: it is a question of `SpanExt`.
            return ext::answer(slot, id);
        }
        let Some(link) = self.context_of(follows) else {
            return;
        };
        if context_in(slot, id).is_none() || !slot.public.may_record() {
            return;
        }
        let add = move |open: &mut Open| {
            if let Some(span) = open.span() {
                span.add_link(&link, &[]);
            }
        };
        match slot.turn(id) {
            Some(mut turn) => add(&mut turn),
            None => slot.hand_over(id, Box::new(add)),
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let id = match event.parent() {
            Some(parent) => Some(parent.into_non_zero_u64()),
            None if event.is_contextual() => entered::innermost(self.number),
            None => None,
        };
        let found = id.and_then(|id| Some((id, self.table.find(id)?)));
        let Some((id, slot)) = found else {
            if self.events_outside {
                self.event_outside(event);
            }
            return;
        };
        if context_in(slot, id).is_none() || !slot.public.may_record() {
            return;
        }
        let happened = self.happened(event);
        match slot.turn(id) {
            Some(mut turn) => {
                if let Some(span) = turn.span() {
                    happened.add_to(span);
                }
                drop(turn);
                happened.held.give_back();
            }
            None => slot.hand_over(
                id,
                Box::new(move |open| {
                    if let Some(span) = open.span() {
                        happened.add_to(span);
                    }
                }),
            ),
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let id = id.into_non_zero_u64();
        let Some(slot) = self.table.find(id) else {
            return;
        };
        let Some(turn) = wait(slot, id) else {
            return;
        };
        turn.empty(|public, open| {
            open.begin(public, &Parent::Nobody);
            let Stage::Started(span) = &mut open.stage else {
                return;
            };
            if span.is_recording() {
                if self.times {
                    public.times().put_into(span);
                }
                match public.left() {
                    Some(at) if !self.end_at_close => {
                        if Local.is_unwinding() {
                            span.set_error("panicked");
                        }
                        span.end_at(at);
                    }
                    _ => span.end(),
                }
            }
            open.stage = Stage::Empty;
        });
    }
}

fn add_fields(open: &mut Open, held: &Held) {
    match &mut open.stage {
        Stage::Started(span) => held.put_into(span),
        Stage::Waiting(_) => open.held.append(held),
        Stage::Empty => {}
    }
}

/// What `otel.kind` says, before the span starts.
#[cold]
fn kind_of(attrs: &Attributes<'_>) -> SpanKind {
    let mut kind = SpanKind::Internal;
    attrs.record(&mut Find {
        key: "otel.kind",
        found: &mut |text| {
            let is = |name| text.eq_ignore_ascii_case(name);
            kind = match () {
                () if is("server") => SpanKind::Server,
                () if is("client") => SpanKind::Client,
                () if is("producer") => SpanKind::Producer,
                () if is("consumer") => SpanKind::Consumer,
                () => SpanKind::Internal,
            };
        },
    });
    kind
}

/// A parent that was named, with its trace state.
struct Named {
    context: SpanContext,
    trace_state: Option<String>,
}

impl ParentContext for Named {
    fn span_context(&self) -> Option<SpanContext> {
        Some(self.context)
    }
    fn trace_state(&self) -> Option<&str> {
        self.trace_state.as_deref()
    }
}

impl TracingLayer {
    fn parent_of(&self, id: NonZeroU64) -> Option<Named> {
        let slot = self.table.find(id)?;
        Some(Named {
            context: context_in(slot, id)?,
            trace_state: trace_state_of(slot, id),
        })
    }

    #[inline]
    fn reset(&self, public: &Public) {
        public.reset();
        if self.times {
            public.times().reset(Local.now());
        }
    }

    fn happened(&self, event: &Event<'_>) -> Happened {
        let at = Local.now();
        let mut held = Held::take();
        event.record(&mut Visitor(&mut held));
        Happened {
            metadata: event.metadata(),
            at,
            held,
            location: self.location,
            fails: self.errors_as_status,
        }
    }

    #[cold]
    fn event_outside(&self, event: &Event<'_>) {
        let start = Start {
            callsite: Callsite::of(event.metadata()),
            kind: SpanKind::Internal,
            at: None,
            location: self.location,
        };
        let mut span = start.start(&Parent::Current);
        if !span.is_recording() {
            return;
        }
        let happened = self.happened(event);
        span.update_name(happened.name());
        happened.add_to(&mut span);
        span.end_at(happened.at);
        happened.held.give_back();
    }
}

/// Has the trace state of a span become current with it.
#[cold]
fn note_trace_state(slot: &Slot, id: NonZeroU64) {
    if let Some(mut turn) = wait(slot, id)
        && let Some(text) = turn.span().and_then(|span| span.trace_state())
    {
        ambient::note_trace_state(text);
    }
}

/// The trace state that a span has, if any. Allocates only then.
#[inline]
fn trace_state_of(slot: &Slot, id: NonZeroU64) -> Option<String> {
    if !slot.public.has_trace_state() {
        return None;
    }
    let mut turn = wait(slot, id)?;
    turn.span()?.trace_state().map(Into::into)
}
