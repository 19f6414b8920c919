//! The record: one span as 64-bit words, native endian, for this process and this boot.
//!
//! Input: the setters of an open span, or the frame decoder. Output: words that the ring carries and
//! that a [`SpanView`] reads. Bound: 32,767 words; what does not fit is dropped whole and counted.
//!
//! A header, then entries. References are addresses of texts that outlive the record: of statics in
//! records that spans write, of the decoder's dictionary in records that it rebuilds. Where they stand
//! depends on the target's pointers: `wide` has 48 bits for an address, `narrow` 32 and so shorter records.
//!
//! | word | content |
//! |---|---|
//! | 0 [`META`] | 0–31 the ring's · 32–39 W3C flags · 40–42 kind · 43–44 status · 45–52 `META_*` bits · 53–63 narrow: length of the name |
//! | 1–2 [`TRACE`] | trace id, bytes in memory order |
//! | 3 [`SPAN`] / 4 [`PARENT`] | span id, parent span id (0 = root) |
//! | 5 [`START`] | ticks |
//! | wide 6, 7 | end in ticks; the name: 0–47 address, 48–63 length |
//! | narrow 6 | 0–31 duration in ticks, 32–63 address of the name |
//!
//! An entry starts with a head word: an address of the key or of an event's name and its length (wide 0–47
//! and 48–58, narrow 0–31 and 32–42), 59 [`OF_ITEM`], 60–63 the tag. Then, by tag:
//!
//! | tag | more words |
//! |---|---|
//! | 0 false, 1 true | none |
//! | 2 i64, 3 f64 | 1: the value |
//! | 4 text by reference | 1: address and length (wide 48 and 16 bits, narrow 32 each) |
//! | 5 text | 1: length; then its bytes, zero-padded to words |
//! | 6 event | 1: ticks |
//! | 7 value | 1: 0–31 length of the payload in bytes, 32–39 its type, 48–63 length of an inline key (0: the key is the head's); the key, then the payload, each padded |
//! | 8 link | 3: trace id, span id; the head's bits 0–7 are its flags, bit 8 "remote" |
//! | 9 scope | none; the address is that of an `InstrumentationScope` |
//! | 10 text of the span or item | 1: length; its bytes, padded; bits 48–58 of the head say which |
//! | 11 counts | wide 2: dropped attributes, events (32 bits each); dropped links, cut values · narrow 1: the first two; the others are in the head |
//! | 12 item counts | none; bits 0–31 of the head: attributes dropped from the last event or link |
//! | 13 small integer | narrow only: none; bits 43–58 of the head |
//! | 14 end | narrow only: 1: ticks, where the duration needs more than 32 bits |
//!
//! 48 bits hold any address of 48-bit hardware (sign-extended when read). An address or length that does not
//! fit makes the entry "dropped", never wrong.

mod bytes;
mod entries;
mod raw;
#[cfg(not(loom))]
mod retained;
mod view;
mod write;

#[cfg(not(target_pointer_width = "64"))]
#[path = "narrow.rs"]
mod layout;
#[cfg(target_pointer_width = "64")]
#[path = "wide.rs"]
mod layout;

pub(crate) use bytes::{copy, move_down};
pub(crate) use entries::{Entry, Text, Visit};
#[cfg(not(loom))]
pub(crate) use layout::NAME;
pub(crate) use layout::{HEADER, NAME_BITS, REF_BITS, RESERVED, close, off, open, pack};
pub(crate) use raw::{RawEntries, RawEntry};
#[cfg(not(loom))]
pub(crate) use retained::{Closing, Exception, ReadOnlyTexts, rebuild, whole, with_end};
pub use view::{Attributes, EventView, Events, LinkView, Links, LocalRecord, SpanView};
pub(crate) use write::{END_WORDS, EVENT_WORDS, EntryWriter, LINK_WORDS, NEVER, Room};
#[cfg(not(target_pointer_width = "64"))]
pub(crate) use {entries::packed_text, layout::put_name};

use crate::context::TraceFlags;

/// What a span is in its trace. SPEC: Trace API, "SpanKind".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SpanKind {
    /// Work inside one component.
    #[default]
    Internal,
    /// Handles a request from elsewhere.
    Server,
    /// Makes a request and waits for its answer.
    Client,
    /// Puts a message into a queue.
    Producer,
    /// Takes a message out of a queue.
    Consumer,
}

impl SpanKind {
    /// The number in records and on the wire (0–4); OTLP's is one more.
    #[inline(always)]
    pub const fn to_wire(self) -> u8 {
        match self {
            SpanKind::Internal => 0,
            SpanKind::Server => 1,
            SpanKind::Client => 2,
            SpanKind::Producer => 3,
            SpanKind::Consumer => 4,
        }
    }
    /// The kind of a number; anything unknown is internal.
    #[inline(always)]
    pub const fn from_wire(byte: u8) -> Self {
        match byte {
            1 => SpanKind::Server,
            2 => SpanKind::Client,
            3 => SpanKind::Producer,
            4 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        }
    }
}

/// Whether a span's work succeeded. SPEC: Trace API, "Set Status".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset,
    /// Declared a success by the application; final.
    Ok,
    /// Failed.
    Error,
}

impl Status {
    /// The number in records, on the wire and in OTLP (0–2).
    #[inline(always)]
    pub const fn to_wire(self) -> u8 {
        match self {
            Status::Unset => 0,
            Status::Ok => 1,
            Status::Error => 2,
        }
    }
    /// The status of a number; anything unknown is unset.
    #[inline(always)]
    pub const fn from_wire(byte: u8) -> Self {
        match byte {
            1 => Status::Ok,
            2 => Status::Error,
            _ => Status::Unset,
        }
    }
}

/// Who made a span: a library or a part of an application. SPEC: OpenTelemetry common,
/// "InstrumentationScope".
///
/// Recorded as a reference, so it lives in a `static`.
///
/// ```
/// use spanlet::InstrumentationScope;
/// static SCOPE: InstrumentationScope = InstrumentationScope::new("my-lib").with_version("1.2.0");
/// assert_eq!(SCOPE.name, "my-lib");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstrumentationScope<'a> {
    /// Name of the library or module.
    pub name: &'a str,
    /// Its version, or empty.
    pub version: &'a str,
    /// The semantic conventions' schema that its spans follow, or empty.
    pub schema_url: &'a str,
}

impl<'a> InstrumentationScope<'a> {
    /// A scope without version and schema.
    pub const fn new(name: &'a str) -> Self {
        InstrumentationScope {
            name,
            version: "",
            schema_url: "",
        }
    }
    /// The same with a version.
    #[must_use]
    pub const fn with_version(mut self, version: &'a str) -> Self {
        self.version = version;
        self
    }
    /// The same with a schema URL.
    #[must_use]
    pub const fn with_schema_url(mut self, url: &'a str) -> Self {
        self.schema_url = url;
        self
    }
}

pub(crate) const META: usize = 0;
pub(crate) const TRACE: usize = 1;
pub(crate) const SPAN: usize = 3;
pub(crate) const PARENT: usize = 4;
pub(crate) const START: usize = 5;
/// Words of the longest record: what the ring's length field holds.
pub(crate) const MAX_WORDS: usize = 0x7fff;

/// The header of a record, as an open span keeps it.
pub(crate) type Header = [u64; HEADER];

/// The parent was in another process.
pub(crate) const META_REMOTE_PARENT: u64 = 1 << 45;
/// Recorded, but not sampled: kept only if it is escalated.
pub(crate) const META_RECORD_ONLY: u64 = 1 << 46;
/// A text of the span follows among the entries (name, status description, trace state).
pub(crate) const META_HAS_TEXT: u64 = 1 << 47;
/// A counts entry follows.
pub(crate) const META_HAS_COUNTS: u64 = 1 << 48;
/// Was unsampled, and kept because of an error or its length.
pub(crate) const META_ESCALATED: u64 = 1 << 49;
/// The clock stood still while the span was open: its length is unknown, not zero.
pub(crate) const META_DURATION_UNKNOWN: u64 = 1 << 50;
/// A scope entry follows: the scope is not the tracer's own.
pub(crate) const META_HAS_SCOPE: u64 = 1 << 51;
/// Was open when a reset came, and closed at the next boot. Only in a retained ring: a bit of the W3C flags that
/// no other record has.
pub(crate) const META_CLOSED_BY_RESET: u64 = 1 << 39;

/// The end follows as an entry: it does not fit into the header.
pub(crate) const META_END_APART: u64 = 1 << 52;

pub(crate) const META_FLAGS_SHIFT: u32 = 32;
pub(crate) const META_KIND_SHIFT: u32 = 40;
pub(crate) const META_STATUS_SHIFT: u32 = 43;

pub(crate) const TAG_SHIFT: u32 = 60;
pub(crate) const TAG_FALSE: u64 = 0;
pub(crate) const TAG_TRUE: u64 = 1;
pub(crate) const TAG_I64: u64 = 2;
pub(crate) const TAG_F64: u64 = 3;
pub(crate) const TAG_REF: u64 = 4;
pub(crate) const TAG_STR: u64 = 5;
pub(crate) const TAG_EVENT: u64 = 6;
pub(crate) const TAG_VALUE: u64 = 7;
pub(crate) const TAG_LINK: u64 = 8;
pub(crate) const TAG_SCOPE: u64 = 9;
pub(crate) const TAG_TEXT: u64 = 10;
pub(crate) const TAG_COUNTS: u64 = 11;
pub(crate) const TAG_ITEM_COUNTS: u64 = 12;
pub(crate) const TAG_SMALL: u64 = 13;
pub(crate) const TAG_END: u64 = 14;

/// The entry belongs to the last event or link, not to the span.
pub(crate) const OF_ITEM: u64 = 1 << 59;

/// Which text of the span or item a [`TAG_TEXT`] entry is: bits 48–58 of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextKind {
    /// The span's name, instead of the header's; with [`OF_ITEM`], the event's.
    Name,
    StatusDescription,
    /// The span's trace state; with [`OF_ITEM`], the link's.
    TraceState,
}

impl TextKind {
    #[inline(always)]
    pub(crate) const fn to_bits(self) -> u64 {
        match self {
            TextKind::Name => 1,
            TextKind::StatusDescription => 2,
            TextKind::TraceState => 3,
        }
    }
    #[inline(always)]
    pub(crate) const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            1 => Some(TextKind::Name),
            2 => Some(TextKind::StatusDescription),
            3 => Some(TextKind::TraceState),
            _ => None,
        }
    }
}

/// The type byte of a [`TAG_VALUE`] entry.
pub(crate) mod value_type {
    pub(crate) const BOOL: u8 = 0;
    pub(crate) const I64: u8 = 1;
    pub(crate) const F64: u8 = 2;
    pub(crate) const STR: u8 = 3;
    pub(crate) const BYTES: u8 = 4;
    pub(crate) const BOOL_ARRAY: u8 = 5;
    pub(crate) const I64_ARRAY: u8 = 6;
    pub(crate) const F64_ARRAY: u8 = 7;
    pub(crate) const STR_ARRAY: u8 = 8;
    pub(crate) const ANY: u8 = 9;
}

/// Bits of a key's length in a head word.
pub(crate) const KEY_BITS: u32 = 11;

/// Whether a reference with `len_bits` for the length can say `text`.
#[inline(always)]
pub(crate) fn packs(text: &str, len_bits: u32) -> bool {
    text.len() as u64 >> len_bits == 0 && layout::address_fits(text.as_ptr().expose_provenance())
}

/// The META word's part that is known when a span starts.
#[inline(always)]
pub(crate) const fn meta(flags: TraceFlags, kind: SpanKind) -> u64 {
    (flags.to_byte() as u64) << META_FLAGS_SHIFT | (kind.to_wire() as u64) << META_KIND_SHIFT
}
