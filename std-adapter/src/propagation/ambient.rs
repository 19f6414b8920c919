//! What is current on a thread: a span's context, and what came with its request.
//!
//! Input: what work is to be done inside of. Output: the parent of spans that name none, and the [`Context`] of
//! requests that go out. Bound: a span's context, and a reference where there is trace state or baggage. While
//! neither is there nothing is counted or allocated: each change costs a look at one byte more.
//!
//! INVARIANT: the trace state that is carried is that of the current span.

use super::Context;
use super::carried::Carried;
use core::cell::Cell;
use spanlet::SpanContext;
use std::sync::Arc;

thread_local! {
    static CURRENT: Cell<Option<SpanContext>> = const { Cell::new(None) };
    /// What there is besides, in one byte without a destructor: reading it is one load.
    static WHAT: Cell<u8> = const { Cell::new(0) };
    static CARRIED: Cell<Option<Arc<Carried>>> = const { Cell::new(None) };
    /// For the span that is about to become current.
    static NOTED: Cell<Option<Arc<Carried>>> = const { Cell::new(None) };
    /// Made last for a span, kept because the next one will need the same: root spans of one sampler.
    static LAST: Cell<Option<Arc<Carried>>> = const { Cell::new(None) };
}

/// Bits of `WHAT`: something is carried; it has a trace state; something is noted.
const IS_CARRIED: u8 = 1;
const HAS_STATE: u8 = 2;
const IS_NOTED: u8 = 4;

/// The current span's context.
#[inline(always)]
pub(crate) fn current() -> Option<SpanContext> {
    CURRENT.get()
}

/// Whether the current span has a trace state.
#[inline(always)]
pub(crate) fn has_trace_state() -> bool {
    WHAT.get() & HAS_STATE != 0
}

/// What is carried now.
pub(super) fn carried() -> Option<Arc<Carried>> {
    if WHAT.get() & IS_CARRIED == 0 {
        return None;
    }
    peek(&CARRIED)
}

/// Runs `run` with the current span's trace state.
pub(crate) fn with_trace_state<T>(run: impl FnOnce(Option<&str>) -> T) -> T {
    let carried = carried();
    run(carried.as_deref().and_then(Carried::trace_state))
}

/// Takes note of the trace state of the span that the next [`enter`] makes current.
#[cold]
pub(crate) fn note_trace_state(text: &str) {
    let carried = carried();
    let noted = with_state(carried.as_ref(), text);
    if NOTED.try_with(|to| to.set(noted)).is_ok() {
        WHAT.set(WHAT.get() | IS_NOTED);
    }
}

/// What was current before, put back by the drop.
#[must_use = "puts back what was current when it is dropped"]
pub(crate) struct Back {
    before: Option<SpanContext>,
    /// Where it was changed: what was carried.
    carried: Option<Option<Arc<Carried>>>,
}

impl Drop for Back {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.before);
        if let Some(carried) = self.carried.take() {
            drop(carry(carried));
        }
    }
}

impl Back {
    /// Puts back what was there before `earlier`, which came right before this and goes without putting anything
    /// back.
    #[cfg(feature = "tracing")]
    pub(crate) fn reach_back(&mut self, earlier: Back) {
        let mut earlier = core::mem::ManuallyDrop::new(earlier);
        self.before = earlier.before;
        if let Some(carried) = earlier.carried.take() {
            self.carried = Some(carried);
        }
    }
}

/// Makes a span the current one.
#[inline]
pub(crate) fn enter(context: &SpanContext) -> Back {
    let before = CURRENT.replace(Some(*context));
    let carried = if WHAT.get() == 0 {
        None
    } else {
        change(before.as_ref(), context)
    };
    Back { before, carried }
}

/// Makes all of a context current.
#[inline]
pub(super) fn attach(context: &Context) -> Back {
    let before = CURRENT.replace(context.span_context);
    let carried = if WHAT.get() == 0 && context.carried.is_none() {
        None
    } else {
        Some(carry(context.carried.clone()))
    };
    Back { before, carried }
}

/// Carries what goes with the span that became current; returns what was carried, if that is something else.
#[cold]
fn change(before: Option<&SpanContext>, context: &SpanContext) -> Option<Option<Arc<Carried>>> {
    let what = WHAT.get();
    if what & IS_NOTED != 0 {
        WHAT.set(what & !IS_NOTED);
        return Some(carry(NOTED.try_with(Cell::take).unwrap_or_default()));
    }
    if !context.is_valid() {
        // Nobody's work: nothing of the request that was interrupted.
        return Some(carry(None));
    }
    let same = before.is_some_and(|before| before.trace_id() == context.trace_id());
    if same || what & HAS_STATE == 0 {
        return None;
    }
    Some(carry(with_state(carried().as_ref(), "")))
}

/// Carries `next`; returns what was carried.
fn carry(next: Option<Arc<Carried>>) -> Option<Arc<Carried>> {
    let bits = match next.as_deref() {
        None => 0,
        Some(carried) if carried.trace_state().is_none() => IS_CARRIED,
        Some(_) => IS_CARRIED | HAS_STATE,
    };
    // Where the thread's locals are gone nothing is carried any more.
    let Ok(before) = CARRIED.try_with(|carried| carried.replace(next)) else {
        WHAT.set(0);
        return None;
    };
    WHAT.set(WHAT.get() & IS_NOTED | bits);
    before
}

/// `carried` with this trace state in place of its own. Allocates only for a text that is neither that one's nor
/// that of the last call.
pub(super) fn with_state(carried: Option<&Arc<Carried>>, text: &str) -> Option<Arc<Carried>> {
    if let Some(carried) = carried
        && carried.trace_state().unwrap_or_default() == text
    {
        return Some(carried.clone());
    }
    let baggage = carried.and_then(|carried| carried.baggage.as_ref());
    if text.is_empty() && baggage.is_none() {
        return None;
    }
    if let Some(last) = peek(&LAST)
        && last.is(text, baggage)
    {
        return Some(last);
    }
    let made = Arc::new(Carried::of_text(text, baggage.cloned()));
    if made.is_empty() {
        return None;
    }
    let _ = LAST.try_with(|last| last.set(Some(made.clone())));
    Some(made)
}

fn peek(cell: &'static std::thread::LocalKey<Cell<Option<Arc<Carried>>>>) -> Option<Arc<Carried>> {
    cell.try_with(|cell| {
        let arc = cell.take();
        let copy = arc.clone();
        cell.set(arc);
        copy
    })
    .unwrap_or_default()
}
