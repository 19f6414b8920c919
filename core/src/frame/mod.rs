//! Frames: records on their way from a device to a host, and messages both ways.
//!
//! Input: records from a ring, messages. Output: bytes for a link, and on its other side
//! [`SpanView`](crate::SpanView)s. Bound: one frame in a fixed buffer on each side.
//!
//! `WIRE.md` specifies every byte. A frame is an *envelope*, stamped at each transmission (channel,
//! version, epoch, time of sending, CRC-32), around a *content* that stays the same (first record
//! sequence, count, cumulative counters, records, announcements of texts). On byte streams COBS delimits
//! frames ([`StreamDecoder`]); in datagrams a frame needs nothing.
//!
//! The stages, in order: [`FrameEncoder`] with its [`Dictionary`] → link → [`StreamDecoder`] →
//! [`Frame`] → [`SequenceTracker`] (what is new, what is missing) → [`Records`] → `SpanView`.

mod crc;
mod primitive;

mod dictionary;
mod session;

mod identity;

#[allow(unsafe_code, reason = "takes the texts of local records as static")]
mod put_record;

mod encode;

mod decode;
mod delimit;

#[allow(
    unsafe_code,
    reason = "puts scopes behind records; texts of checked bytes"
)]
mod take_entries;
#[allow(unsafe_code, reason = "vouches for the records that it writes")]
mod take_record;

mod reassemble;
mod tracker;

pub use decode::{Announcements, Body, Frame, FrameError, RecordBatch};
pub use delimit::{DELIMITER, Progress, StreamDecoder, cobs_overhead};
pub use dictionary::{Dictionary, FixedSymbols, Learned, Symbol, Symbols};
pub use encode::{FrameEncoder, Link, Push};
pub use identity::{HexId, Identity, gnu_build_id};
pub use reassemble::{Fragment, Reassembled, Reassembler};
pub use session::{
    Ack, ClockPing, ClockPong, Hello, Message, ResourceAttributes, ResourceEncoder, TraceCommand,
};
pub use take_record::{Decoded, Missing, RecordError, Records};
pub use tracker::{LinkLedger, SequenceTracker};

/// The version of the wire that this crate speaks.
pub const WIRE_VERSION: u8 = 0;

/// The channel byte of spanlet's frames, for links that carry other things too.
pub const CHANNEL: u8 = 0x54;

/// Records that a sender which keeps them sends beyond the first that was not acknowledged: the window of
/// an acknowledged link. A receiver remembers the arrival of more.
pub const MAX_UNACKNOWLEDGED: u32 = 512;

/// A boot of a device. Together with the device's id and a record's sequence it names a record for good.
///
/// A boot counter kept in flash or retained memory makes the shortest frames (1–2 bytes) and orders
/// boots; a random number works as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Epoch(pub u64);

/// What a device counts since its epoch began, each modulo 2^32.
///
/// Sent whole with every frame, in few bytes, so that a lost frame loses no count.
/// `started = open + sampled_out + ring_full + too_large + recorded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeviceCounters {
    /// Spans started, sampled or not.
    pub started: u32,
    /// Records committed to the ring, that is sequence numbers given out.
    pub recorded: u32,
    /// Spans that their sampler dropped, or that were recorded only and not escalated.
    pub sampled_out: u32,
    /// Records that found the ring full.
    pub ring_full: u32,
    /// Records too large for the ring.
    pub too_large: u32,
    /// Committed records that newer ones overwrote before they were sent; of a sender that keeps them, before they
    /// were acknowledged.
    pub overwritten: u32,
    /// Committed records too large for a frame of this link.
    pub unsendable: u32,
    /// Records and open spans that a reset destroyed.
    pub lost_at_reset: u32,
    /// Ancestors and children of escalated spans that were gone already; a note, not a cause of loss.
    pub escalated_incomplete: u32,
}

impl DeviceCounters {
    /// Spans that are open, or between their end and their commit.
    pub const fn open(&self) -> u32 {
        self.started
            .wrapping_sub(self.recorded)
            .wrapping_sub(self.sampled_out)
            .wrapping_sub(self.ring_full)
            .wrapping_sub(self.too_large)
    }
}

/// Bits of a content's first varint: what follows.
mod presence {
    /// Length of the records; the announcements fill the rest.
    pub(super) const DICTIONARY: u32 = 1 << 0;
    /// Counters; those whose bit is not set are 0.
    pub(super) const COUNTERS: u32 = 1 << 1;
    /// How far before the first record the oldest is that the sender still has.
    pub(super) const KEPT: u32 = 1 << 2;
    /// Records that wait. This bit and the eight behind it say which of the counters are not 0: pending, open,
    /// sampled out, ring full, too large, overwritten, unsendable, lost at a reset, escalated incomplete.
    pub(super) const PENDING: u32 = 1 << 3;
    pub(super) const ALL: u32 = (1 << 12) - 1;
}

/// Types of content: the low half of the envelope's second byte.
mod content_type {
    pub(super) const RECORDS: u8 = 0;
    pub(super) const MESSAGE: u8 = 1;
}

/// Bits of the envelope's third byte.
mod envelope_flag {
    /// A key id follows, and a tag of [`TAG_LEN`](super::TAG_LEN) bytes stands before the CRC.
    pub(super) const AUTHENTICATED: u8 = 1 << 0;
    /// The content is part of a larger one.
    pub(super) const FRAGMENT: u8 = 1 << 1;
    pub(super) const ALL: u8 = 3;
}

/// Bytes of an authentication tag.
const TAG_LEN: usize = 16;
/// Bytes of the CRC.
const CRC_LEN: usize = 4;

/// How records are written; shared by both sides.
mod record_code {
    // First head byte; the kind is in bits 0–2, the status in bits 3–4.
    pub(super) const STATUS_SHIFT: u32 = 3;
    pub(super) const NEW_TRACE: u8 = 1 << 5;
    pub(super) const SPAN_IS_PARENT: u8 = 1 << 6;
    pub(super) const MORE: u8 = 1 << 7;
    // Second head byte; the number of entries is in bits 3–7.
    pub(super) const PARENT_NONE: u8 = 0;
    pub(super) const PARENT_SAME: u8 = 1;
    pub(super) const PARENT_LOCAL: u8 = 2;
    pub(super) const PARENT_REMOTE: u8 = 3;
    pub(super) const PARENT_MASK: u8 = 3;
    pub(super) const NEW_FLAGS: u8 = 1 << 2;
    pub(super) const ENTRIES_SHIFT: u32 = 3;
    /// Too many for the bits: an END entry ends them.
    pub(super) const ENTRIES_OPEN: u8 = 31;
    // Third head byte, with MORE.
    pub(super) const RECORD_ONLY: u8 = 1 << 0;
    pub(super) const ESCALATED: u8 = 1 << 1;
    pub(super) const DURATION_UNKNOWN: u8 = 1 << 2;
    pub(super) const SCOPE_SAME: u8 = 1 << 3;
    pub(super) const SCOPE_NEW: u8 = 1 << 4;
    pub(super) const MORE_ALL: u8 = 31;
    /// The W3C flags that a frame's first record is compared with: sampled.
    pub(super) const FIRST_FLAGS: u8 = 1;
}

/// Codes of entries: bits 0–4 of an entry's first byte; bit 5 is [`OF_ITEM`](entry_code::OF_ITEM).
mod entry_code {
    pub(super) const FALSE: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const INT: u8 = 2;
    pub(super) const DOUBLE: u8 = 3;
    /// The bits with their bytes reversed, as a varint: short for few significant digits.
    pub(super) const DOUBLE_PACKED: u8 = 4;
    pub(super) const SYMBOL: u8 = 5;
    pub(super) const TEXT: u8 = 6;
    pub(super) const BYTES: u8 = 7;
    pub(super) const BOOLS: u8 = 8;
    pub(super) const INTS: u8 = 9;
    pub(super) const DOUBLES: u8 = 10;
    pub(super) const TEXTS: u8 = 11;
    pub(super) const ANY: u8 = 12;
    pub(super) const EVENT: u8 = 13;
    pub(super) const LINK: u8 = 14;
    pub(super) const ITEM_COUNTS: u8 = 15;
    pub(super) const COUNTS: u8 = 16;
    /// An event's name that is not constant.
    pub(super) const ITEM_NAME: u8 = 17;
    pub(super) const STATUS_DESCRIPTION: u8 = 18;
    pub(super) const TRACE_STATE: u8 = 19;
    pub(super) const END: u8 = 31;
    /// The entry belongs to the last event or link.
    pub(super) const OF_ITEM: u8 = 1 << 5;

    // A link's first byte.
    pub(super) const LINK_REMOTE: u8 = 1 << 0;
    pub(super) const LINK_SAME_TRACE: u8 = 1 << 1;
}

/// What is wrong with bytes whose CRC was right, and where: a sender that does not follow the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Malformed {
    /// What.
    pub kind: MalformedKind,
    /// Offset from the frame's first byte (of a reassembled content: from the content's).
    pub offset: usize,
}

/// See [`Malformed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MalformedKind {
    /// The bytes end inside an item.
    Truncated,
    /// A number does not fit its type.
    Varint,
    /// A text is not UTF-8.
    Utf8,
    /// A code or bit that this version does not have.
    UnknownCode,
    /// An id is zero, or refers to a previous one that is not there.
    ZeroId,
    /// Bytes are left over.
    TrailingBytes,
    /// A session message does not deserialise.
    Message,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let what = match self.kind {
            MalformedKind::Truncated => "ends inside an item",
            MalformedKind::Varint => "a number is too large for its field",
            MalformedKind::Utf8 => "a text is not UTF-8",
            MalformedKind::UnknownCode => "a code that this wire version does not have",
            MalformedKind::ZeroId => "an id is zero or refers to none",
            MalformedKind::TrailingBytes => "bytes are left over",
            MalformedKind::Message => "a session message is not of its form",
        };
        write!(f, "{what}, at byte {}", self.offset)
    }
}
impl core::error::Error for Malformed {}
