//! Spans that survive a reset.
//!
//! Input: spans of tasks and interrupts, what a handler notes before a reset, retained memory of any content.
//! Output: the present boot's records, and before them those of the boot that ended, the spans that were open
//! then closed as errors. Bound: the ring, which overwrites the oldest; `K` open spans.
//!
//! | part | does |
//! |---|---|
//! | [`FlightRecorder`] | the retained static: ring, open spans, counters, note of a crash |
//! | [`OpenTable`] | ids, name and start of open spans |
//! | [`Boot`], [`Crash`] | what a boot and a dying program say |
//! | [`Recovery`] | what a boot finds; its ledger |
//! | [`FlightTracer`] | a [`Tracer`](crate::Tracer) over it |
//! | [`FlightRecords`], [`PreviousRecords`] | what the drain reads: this boot, the boot before |
//!
//! What is believed of retained memory: that the boot before wrote it, if magic, layout and build id say so;
//! that a record or an open span is whole, if its check word says so; that a reference is a text, if it lies
//! in the range of the program's read-only texts and is UTF-8. What is not believed is counted, refused by
//! name, or shown as `sym:0x…`. Memory that fades (power on, brown-out) may be believed wrongly only as far
//! as a 32-bit check word is; spans of such a boot say `reset.retention = "unverified"`.
//!
//! The equation holds over the reset: `started = recorded + sampled_out + ring_full + too_large` for the boot
//! that ended, and each of its records is delivered, `overwritten`, or `lost_at_reset`: half written, damaged,
//! or open without a slot in the table.

mod boot;
mod crash;
mod open_table;

#[allow(unsafe_code, reason = "pushes the words of finished spans")]
mod recorder;
#[allow(unsafe_code, reason = "pushes the words of spans that it closes")]
mod recover;

#[allow(unsafe_code, reason = "trusts records that it has checked")]
mod records;
mod tracer;

pub use boot::{Boot, BuildId, ResetReason};
pub use crash::Crash;
pub use open_table::OpenTable;
pub use recorder::FlightRecorder;
pub use records::{FlightRecords, LastTick, PreviousRecords};
pub use recover::{Recovery, Retention};
pub use tracer::FlightTracer;
