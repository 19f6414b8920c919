//! Distributed tracing that never allocates.
//!
//! The way of the data, each stage a module, in this order; read them so:
//!
//! | stage | in → out |
//! |---|---|
//! | [`clock`], [`context`] | time as ticks; header values → ids, flags, trace state, baggage |
//! | `attribute`, [`id_generator`], [`sampler`], `escalation` | what a span starts with, and whether it is kept |
//! | `record` | items → words, read through [`SpanView`] |
//! | `span` | setters → a finished record, by whatever [`Recorder`] there is |
//! | [`ring`], `store` | records wait for the drain; spans and nothing else |
//! | `tracer`, `current` | a device's clock, ids, sampler and ring in one `static` |
//! | [`flight`] | the same over memory that a reset keeps, and what a boot finds in it |
//! | `facade`, `instrumented`, `log_ids`, `macros`, [`filter`] | how libraries, futures and log lines are traced |
//! | [`boundary`] | buses, streams and executors that trace themselves |
//! | [`drain`], [`frame`], `uplink` | ring → frames → (link) → records; what comes down |
//! | [`otlp`] | records → OTLP protobuf or JSON |
//! | [`testing`] | all of it under a test's control |
//!
//! Nothing here allocates, nothing panics on input, nothing blocks the traced code. What is lost is
//! counted under a cause.
//!
//! ```
//! use spanlet::testing::ManualClock; // yours: `EmbassyClock`, or anything that counts up
//! use spanlet::{AlwaysOn, DeviceIds, InlineBuf, Span, Tracer};
//!
//! static TRACER: Tracer<ManualClock, DeviceIds, AlwaysOn, 4096> =
//!     Tracer::new(ManualClock::new(), DeviceIds::unset(), AlwaysOn);
//!
//! TRACER.ids().set(0x0001_0203_0405_0607, 1); // device id, boot count
//! let mut span: Span<_, InlineBuf<20>> = TRACER.span("read sensor").start();
//! span.set_attribute("celsius", 21.5);
//! span.end();
//! assert_eq!(TRACER.counters().started, 1);
//! ```
#![no_std]
#![deny(unsafe_code)]
#![warn(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::std_instead_of_core,
    clippy::cast_possible_truncation
)]

#[cfg(any(test, loom, step))]
extern crate std;

mod atomic;
pub mod clock;
pub mod context;

mod attribute;
mod escalation;
pub mod id_generator;
pub mod sampler;

#[allow(unsafe_code, reason = "writes and reads the words of records")]
mod record;

#[allow(unsafe_code, reason = "hands a span's words on")]
mod recorder;
#[allow(unsafe_code, reason = "hands out the words of its buffer")]
mod span;

pub mod ring;
#[allow(unsafe_code, reason = "trusts rings that take nothing but spans")]
mod store;

mod current;
mod tracer;

#[cfg(not(loom))]
pub mod flight;

#[allow(unsafe_code, reason = "writes the installed tracer once")]
mod facade;
pub mod filter;
#[allow(unsafe_code, reason = "pins the future inside")]
mod instrumented;
mod log_ids;
mod macros;

pub mod boundary;

pub mod drain;
pub mod frame;
mod uplink;

pub mod otlp;

#[allow(unsafe_code, reason = "reads the records that it keeps")]
pub mod testing;

pub use attribute::{KeyValue, StrArray, StrArrayIter, Value};
pub use clock::{Clock, Extend, Extend32, TickRate, Ticks, UnixAnchor};
pub use context::{SpanContext, SpanId, TraceFlags, TraceId};
pub use current::{Core0, CoreId, DetachedContext};
pub use drain::RecordSource;
pub use escalation::{Escalation, EscalationResult};
pub use facade::{
    AlreadyInstalledError, DynRecorder, GLOBAL_SPAN_WORDS, Global, GlobalSpan, set_global_tracer,
};
#[cfg(not(loom))]
pub use flight::{
    Boot, BuildId, FlightRecorder, FlightRecords, FlightTracer, OpenTable, Recovery, ResetReason,
    Retention,
};
pub use id_generator::{
    BootCounter, DeviceIds, Entropy, IdGenerator, LocalIds, RandomIds, SeededIds,
};
pub use instrumented::{Around, Inside, Instrument, Instrumented, ResultExt, within};
pub use log_ids::LogIds;
pub use record::{
    Attributes, EventView, Events, InstrumentationScope, LinkView, Links, LocalRecord, SpanKind,
    SpanView, Status,
};
pub use recorder::{
    EndedUnsampled, FinishedSpan, OpenLimits, Recorder, SpanEnd, SpanLimits, SpanStart,
};
pub use sampler::{
    AlwaysOff, AlwaysOn, AlwaysRecord, ConsistentRatio, ParentBased, RateLimited, RatioError,
    Sampler, SamplingDecision, SamplingParameters, SamplingResult, ThresholdUpdate, TraceIdRatio,
};
pub use span::{InlineBuf, ParentContext, Span, SpanBuf, SpanBuilder};
#[cfg(feature = "macros")]
pub use spanlet_macros::instrument;
pub use store::{SpanConsumer, SpanProducer, SpanReader, SpanRing, spsc_spans};
pub use tracer::{Tracer, TracerRecords};
pub use uplink::{HelloTooLargeError, LinkErrors, Uplink};

/// What `#[instrument]` expands to; not for use by hand.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __private {
    use crate::Value;

    /// An argument whose type may or may not have a [`Value`]: method resolution takes `AsValue` where it
    /// applies and `NoValue` one reference further where it does not.
    pub struct Argument<'a, T: ?Sized>(pub &'a T);

    pub trait AsValue<'a> {
        fn value(&self) -> Option<Value<'a>>;
    }
    impl<'a, T: Copy + Into<Value<'a>>> AsValue<'a> for &Argument<'a, T> {
        fn value(&self) -> Option<Value<'a>> {
            Some((*self.0).into())
        }
    }
    pub trait NoValue {
        fn value(&self) -> Option<Value<'static>>;
    }
    impl<T: ?Sized> NoValue for Argument<'_, T> {
        fn value(&self) -> Option<Value<'static>> {
            None
        }
    }
}

/// The code in the readme compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
