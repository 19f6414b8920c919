//! Records that wait for the drain: rings of variable-length records in fixed memory.
//!
//! Input: records of 64-bit words, from any context that may record a span. Output: the same records,
//! borrowed in place, in order. Bound: the ring's size; what does not fit is refused and counted, by
//! cause, and nobody waits.
//!
//! A record is 1 to [`header::MAX_WORDS`] words. The numerically low half of its first word is the ring's
//! ([`header`]); all else is the record's own. Records never straddle the end of the memory, so a reader
//! borrows them as one slice, 8-byte aligned.
//!
//! | type | writers | atomics | for |
//! |---|---|---|---|
//! | [`Ring`] | any number, interrupts too | one compare-and-swap, or a critical section of a handful of instructions | a device's `static`; WASM |
//! | [`SpscRing`] | one | load and store | one per thread on a server |
//! | [`FlightRing`] | any number, interrupts too | a critical section of 20 instructions | what a reset keeps: overwrites the oldest |
//!
//! Read in this order: [`header`] (what one word says), [`reserve`] (who is next), `storage` (raw memory),
//! `mpsc` ([`Ring`]: who owns which words when), `spsc` ([`SpscRing`]), `flight` ([`FlightRing`]) with
//! `flight_recover` over `words` and `kept`. `sync` is what loom and the simulators replace.

pub mod header;

#[doc(hidden)]
pub mod sync;

pub mod reserve;

#[allow(unsafe_code, reason = "raw memory behind positions")]
mod storage;

#[allow(
    unsafe_code,
    reason = "one-line calls into `storage`, each citing the invariants on top of the file"
)]
mod mpsc;

#[allow(
    unsafe_code,
    reason = "memory shared by the two ends; apart from `storage` for the sake of the hot path"
)]
mod spsc;

#[allow(unsafe_code, reason = "word-sized atomics over raw memory")]
mod words;

pub(crate) mod kept;

#[allow(
    unsafe_code,
    reason = "reads records that may be uninitialised in part"
)]
pub(crate) mod flight;
#[cfg(not(loom))]
mod flight_recover;

pub use flight::{FlightReader, FlightRing, ReadError, Taken};
pub use mpsc::{Reader, Record, Ring};
pub use reserve::{CriticalSection, DefaultReserve, Reserve};
pub use spsc::{CapacityError, Consumer, Producer, SpscControl, SpscRing};

#[cfg(target_has_atomic = "ptr")]
pub use reserve::NativeCas;

use core::fmt;

/// Why a record was not taken. Each is also counted by the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// No room: the reader has not released enough.
    Full,
    /// More words than the ring takes in one record, or none.
    TooLarge,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full => "ring full: the reader has not released enough",
            PushError::TooLarge => "record empty or longer than the ring takes",
        })
    }
}

impl core::error::Error for PushError {}

/// The longest record in a memory of `capacity` words: half of it, so that it fits an empty ring wherever
/// the head stands, and at most `limit`.
const fn max_words(capacity: usize, limit: usize) -> usize {
    if capacity / 2 < limit {
        capacity / 2
    } else {
        limit
    }
}
