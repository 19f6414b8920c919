//! What spans of `tracing` can do besides: take a remote parent, tell their context.
//!
//! Input: a `tracing::Span`. Output: answers of the layer that records it. The way goes through the subscriber, whatever
//! filters and reloadable layers lie between: the span is told that it follows itself, which means nothing to anybody
//! else, and the question and its answer lie in the thread.

use super::{Parent, Slot, Stage, context_in, trace_state_of, wait};
use core::fmt;
use core::num::NonZeroU64;
use spanlet::{ParentContext, SpanContext};
use std::cell::Cell;

/// What only spans recorded by a [`TracingLayer`](super::TracingLayer) can do.
///
/// ```
/// use spanlet_std::layer::SpanExt;
/// use spanlet_std::propagation::{Context, MessageFields};
///
/// # let headers = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
/// let request = tracing::info_span!("POST /orders", otel.kind = "server");
/// // Continue the caller's trace, before the span is first entered.
/// let caller = Context::extract(&headers);
/// if let Err(error) = request.set_parent(&caller) {
///     tracing::debug!("{error}");
/// }
/// // Its own context, where a client cannot see it for itself.
/// let mut outgoing = MessageFields::new();
/// if let Some(span) = request.context() {
///     caller.inject(&span, &[], &mut outgoing)?;
/// }
/// # assert!(outgoing.get("traceparent").is_none(), "without a layer");
/// # Ok::<(), core::convert::Infallible>(())
/// ```
pub trait SpanExt {
    /// Makes the span a child of `parent`, usually what [came with a request](crate::propagation::Context), with its
    /// trace state. Without a context in it the span becomes the root of a trace.
    ///
    /// # Errors
    /// If the span is not recorded by a layer of ours, or has started: it has a parent already, was entered, asked for
    /// its context or made a parent. Nothing has changed then.
    fn set_parent(&self, parent: &(impl ParentContext + ?Sized)) -> Result<(), SetParentError>;
    /// Ids, flags and trace state of the span, which starts with that if it has not. `None` if no layer of ours knows
    /// it.
    fn context(&self) -> Option<RecordedContext>;
}

/// The context of a span of `tracing`: a parent, and what a client sends.
#[derive(Clone, Debug)]
pub struct RecordedContext {
    context: SpanContext,
    trace_state: Option<String>,
}

impl RecordedContext {
    /// Ids and flags.
    pub fn ids(&self) -> SpanContext {
        self.context
    }
}

impl ParentContext for RecordedContext {
    fn span_context(&self) -> Option<SpanContext> {
        Some(self.context)
    }
    fn trace_state(&self) -> Option<&str> {
        self.trace_state.as_deref()
    }
}

/// Why a span of `tracing` could not be given a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetParentError {
    /// No layer of ours records it: there is none, or a filter hides the span, or no telemetry is installed.
    NotRecorded,
    /// It has started.
    AlreadyStarted,
}

impl fmt::Display for SetParentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetParentError::NotRecorded => {
                "the span is not recorded: add a TracingLayer, install Telemetry, and see that no filter hides it"
            }
            SetParentError::AlreadyStarted => {
                "the span has started: create it with `parent: None`, and set its parent before it is entered"
            }
        })
    }
}
impl std::error::Error for SetParentError {}

enum Question {
    SetParent(Option<RecordedContext>),
    Context,
}
enum Answer {
    SetParent(Result<(), SetParentError>),
    Context(RecordedContext),
}

thread_local! {
    static QUESTION: Cell<Option<Question>> = const { Cell::new(None) };
    static ANSWER: Cell<Option<Answer>> = const { Cell::new(None) };
}

fn ask(span: &tracing::Span, question: Question) -> Option<Answer> {
    span.with_subscriber(|(id, dispatch)| {
        QUESTION.try_with(|asked| asked.set(Some(question))).ok()?;
        dispatch.record_follows_from(id, id);
        let _ = QUESTION.try_with(Cell::take);
        ANSWER.try_with(Cell::take).ok().flatten()
    })
    .flatten()
}

/// Answers what the thread has asked of this span, if it has.
#[cold]
pub(super) fn answer(slot: &Slot, id: NonZeroU64) {
    let answer = match QUESTION.try_with(Cell::take).ok().flatten() {
        None => return,
        Some(Question::SetParent(parent)) => Answer::SetParent(set_parent(slot, id, parent)),
        Some(Question::Context) => match context_in(slot, id) {
            None => return,
            Some(context) => Answer::Context(RecordedContext {
                context,
                trace_state: trace_state_of(slot, id),
            }),
        },
    };
    let _ = ANSWER.try_with(|to| to.set(Some(answer)));
}

fn set_parent(
    slot: &Slot,
    id: NonZeroU64,
    parent: Option<RecordedContext>,
) -> Result<(), SetParentError> {
    let mut turn = wait(slot, id).ok_or(SetParentError::NotRecorded)?;
    if !matches!(turn.stage, Stage::Waiting(_)) {
        return Err(SetParentError::AlreadyStarted);
    }
    match &parent {
        Some(parent) => turn.begin(&slot.public, &Parent::Of(parent)),
        None => turn.begin(&slot.public, &Parent::Nobody),
    }
    Ok(())
}

impl SpanExt for tracing::Span {
    fn set_parent(&self, parent: &(impl ParentContext + ?Sized)) -> Result<(), SetParentError> {
        let parent = parent.span_context().map(|context| RecordedContext {
            context,
            trace_state: parent.trace_state().map(Into::into),
        });
        match ask(self, Question::SetParent(parent)) {
            Some(Answer::SetParent(result)) => result,
            _ => Err(SetParentError::NotRecorded),
        }
    }
    fn context(&self) -> Option<RecordedContext> {
        match ask(self, Question::Context) {
            Some(Answer::Context(context)) => Some(context),
            _ => None,
        }
    }
}
