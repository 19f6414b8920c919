//! What comes with a request besides ids: trace state and baggage.
//!
//! Made where a request brings one of the two, shared by all that is done for it. Bound: 512 bytes of trace state,
//! 8192 of baggage.

use spanlet::context::{BaggageBuf, TraceState, TraceStateBuf};
use std::sync::Arc;

/// Bytes of baggage that a process keeps and sends on. SPEC: W3C Baggage, 3.3.2.
pub(super) const BAGGAGE_BYTES: usize = 8192;

pub(super) type Baggage = BaggageBuf<BAGGAGE_BYTES>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    pub(super) trace_state: TraceStateBuf,
    pub(super) baggage: Option<Arc<Baggage>>,
}

impl Carried {
    /// Of a span's trace state; one that is malformed counts as empty.
    pub(super) fn of_text(text: &str, baggage: Option<Arc<Baggage>>) -> Self {
        let trace_state = TraceState::parse([text.as_bytes()])
            .map(|state| (&state).into())
            .unwrap_or_default();
        Carried {
            trace_state,
            baggage,
        }
    }
    /// The trace state, if there is one.
    pub(super) fn trace_state(&self) -> Option<&str> {
        (!self.trace_state.is_empty()).then(|| self.trace_state.as_str())
    }
    pub(super) fn is_empty(&self) -> bool {
        self.trace_state.is_empty() && self.baggage.is_none()
    }
    /// Whether it is this trace state and this very baggage.
    pub(super) fn is(&self, text: &str, baggage: Option<&Arc<Baggage>>) -> bool {
        let same_baggage = match (&self.baggage, baggage) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        };
        same_baggage && self.trace_state.as_str() == text
    }
}
