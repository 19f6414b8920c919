//! The spans that a thread is in, and what was current before each.
//!
//! Input: enters and exits, which need not nest. Output: the current context follows the span entered last; events
//! find the span that they belong to. Bound: the spans that a thread is in at once.

use crate::propagation::ambient::{self, Back};
use core::num::NonZeroU64;
use spanlet::SpanContext;
use std::cell::RefCell;

struct Entered {
    /// Which layer of the process.
    layer: u64,
    id: NonZeroU64,
    before: Back,
}

thread_local! {
    static ENTERED: RefCell<Vec<Entered>> = const { RefCell::new(Vec::new()) };
}

/// Makes a span the current one.
#[inline]
pub(super) fn enter(layer: u64, id: NonZeroU64, context: &SpanContext) {
    // A thread whose locals are gone has no current span.
    let _ = ENTERED.try_with(|entered| {
        let before = ambient::enter(context);
        entered.borrow_mut().push(Entered { layer, id, before });
    });
}

/// Makes current what was so before the span was entered, unless another one was since: then it is what that one
/// puts back. `false` if the thread is not in it.
#[inline]
pub(super) fn exit(layer: u64, id: NonZeroU64) -> bool {
    ENTERED
        .try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let is_it = |e: &Entered| e.id == id && e.layer == layer;
            if entered.last().is_some_and(is_it) {
                drop(entered.pop());
                return true;
            }
            let Some(at) = entered.iter().rposition(is_it) else {
                return false;
            };
            let out = entered.remove(at);
            if let Some(next) = entered.get_mut(at) {
                next.before.reach_back(out.before);
            }
            true
        })
        .unwrap_or(false)
}

/// The span of this layer that the thread entered last.
#[inline]
pub(super) fn innermost(layer: u64) -> Option<NonZeroU64> {
    ENTERED
        .try_with(|entered| {
            let entered = entered.borrow();
            let innermost = entered.iter().rfind(|e| e.layer == layer)?;
            Some(innermost.id)
        })
        .ok()
        .flatten()
}
