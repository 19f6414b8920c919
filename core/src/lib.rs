//! Distributed tracing that never allocates.
//!
//! The way of the data, each stage a module, in this order:
//!
//! header in → [`context`] → span → record → ring → drain → frame → (link) → decode → OTLP
//!
//! Nothing here allocates, nothing panics on input, nothing blocks the traced code. What is lost is
//! counted under a cause.
#![no_std]
#![deny(unsafe_code)]
#![warn(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation
)]

#[cfg(any(test, loom, step))]
extern crate std;

pub mod clock;
pub mod context;

mod attribute;
#[allow(unsafe_code, reason = "writes and reads the words of records")]
mod record;
#[allow(unsafe_code, reason = "hands a span's words on")]
mod recorder;
mod sampler;
#[allow(unsafe_code, reason = "hands out the words of its buffer")]
mod span;

pub mod otlp;

#[allow(unsafe_code, reason = "reads the records that it keeps")]
pub mod testing;

pub use attribute::{KeyValue, StrArray, StrArrayIter, Value};
pub use clock::{Clock, Extend32, TickRate, Ticks, UnixAnchor};
pub use context::{SpanContext, SpanId, TraceFlags, TraceId};
pub use record::{
    Attributes, EventView, Events, InstrumentationScope, LinkView, Links, LocalRecord, SpanKind,
    SpanView, Status,
};
pub use recorder::{EndedUnsampled, FinishedSpan, Recorder, SpanLimits};
pub use sampler::{
    AlwaysOff, AlwaysOn, Sampler, SamplingDecision, SamplingParameters, SamplingResult,
    ThresholdUpdate,
};
pub use span::{InlineBuf, ParentContext, Span, SpanBuf, SpanBuilder};
