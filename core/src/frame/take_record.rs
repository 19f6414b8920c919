//! Wire bytes into a record.
//!
//! Input: a frame's records, a dictionary, scratch words. Output: a [`SpanView`] over the scratch, whose
//! texts stay in frame and dictionary where they can. Bound: one pass over the record's bytes; no count
//! on the wire is believed before its bytes were seen, except that of the scratch's length.

use super::dictionary::{Symbol, Symbols};
use super::primitive::Take;
use super::take_entries::{SCOPE_WORDS, Scratch, TextRef, Writer, take_text_ref};
use super::{Malformed, MalformedKind, record_code};
use crate::context::{TraceFlags, TraceId};
use crate::record::{
    HEADER, MAX_WORDS, META_DURATION_UNKNOWN, META_ESCALATED, META_RECORD_ONLY, META_REMOTE_PARENT,
    META_STATUS_SHIFT, SpanKind, SpanView, Status, close, meta, open,
};

/// Why a record could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RecordError {
    /// The bytes do not follow the wire. The frame's remaining records cannot be found and count as
    /// corrupt.
    Malformed(Malformed),
    /// The scratch is too small; the records behind this one are not affected.
    Scratch {
        /// The record.
        sequence: u32,
        /// Words that it needs. More than 32,767 are never enough.
        needed: usize,
    },
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            RecordError::Malformed(m) => write!(f, "malformed record: {m}"),
            RecordError::Scratch { sequence, needed } => {
                write!(f, "record {sequence} needs {needed} words of scratch")
            }
        }
    }
}
impl core::error::Error for RecordError {}
impl From<Malformed> for RecordError {
    fn from(m: Malformed) -> Self {
        RecordError::Malformed(m)
    }
}

/// Symbols that a record uses and the dictionary lacks; at most 8 are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    symbols: heapless::Vec<Symbol, 8>,
    count: u32,
}

impl Missing {
    /// Whether all were known.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// How many places of the record are affected.
    pub fn count(&self) -> u32 {
        self.count
    }
    /// The first of the symbols, each once.
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }
    #[cold]
    pub(super) fn add(&mut self, symbol: Symbol) {
        self.count += 1;
        if !self.symbols.contains(&symbol) {
            // Beyond 8 the count tells.
            let _ = self.symbols.push(symbol);
        }
    }
}

/// A record that was decoded.
#[derive(Clone, Debug)]
pub struct Decoded<'s> {
    /// Its number within its epoch.
    pub sequence: u32,
    /// The span. A text whose symbol is not known reads `sym:0x…`.
    pub span: SpanView<'s>,
    /// What is not known yet. To mend it, keep the frame, and decode it again when the dictionary has
    /// learnt more: decoding changes nothing.
    pub missing: Missing,
}

/// The records of a frame, in order.
///
/// ```
/// use spanlet::frame::{Body, FixedSymbols, Frame, FrameError};
/// fn show(bytes: &[u8], symbols: &mut FixedSymbols<64, 1024>) -> Result<(), FrameError> {
///     let frame = Frame::parse(bytes)?;
///     if let Body::Records(batch) = frame.body() {
///         batch.learn(symbols);
///         let (mut records, mut scratch) = (batch.records(), [0; 512]);
///         while let Some(record) = records.decode_next(symbols, &mut scratch) {
///             match record {
///                 Ok(record) => drop(record.span.name()),
///                 Err(error) => drop(error),
///             }
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Records<'f> {
    take: Take<'f>,
    sequence: u32,
    left: u32,
    is_broken: bool,
    previous: Previous<'f>,
}

/// What a record is written relative to.
#[derive(Clone, Copy, Debug)]
struct Previous<'f> {
    trace: [u64; 2],
    parent: u64,
    parent_is_remote: bool,
    end: u64,
    flags: u8,
    scope: Option<[TextRef<'f>; 3]>,
}

impl<'f> Records<'f> {
    pub(super) fn new(take: Take<'f>, first: u32, count: u32) -> Self {
        Records {
            take,
            sequence: first,
            left: count,
            is_broken: false,
            previous: Previous {
                trace: [0; 2],
                parent: 0,
                parent_is_remote: false,
                end: 0,
                flags: record_code::FIRST_FLAGS,
                scope: None,
            },
        }
    }
    /// Records that were not decoded yet. After [`RecordError::Malformed`]: that never will be, the
    /// malformed one not among them.
    pub fn left(&self) -> u32 {
        self.left
    }
    /// The sequence of the next record.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }
    /// Decodes the next record into `scratch`; `None` after the last, and after a malformed one.
    ///
    /// 512 words hold nearly all records, 32,767 all. Cost: see `host.frame_decode_span_instructions`.
    ///
    /// # Errors
    /// [`RecordError`]; a scratch that is too small costs only this record.
    pub fn decode_next<'s, S: Symbols + ?Sized>(
        &mut self,
        symbols: &'s S,
        scratch: &'s mut [u64],
    ) -> Option<Result<Decoded<'s>, RecordError>>
    where
        'f: 's,
    {
        if self.left == 0 || self.is_broken {
            return None;
        }
        let sequence = self.sequence;
        let decoded = self.decode(symbols, scratch, sequence);
        self.sequence = sequence.wrapping_add(1);
        self.left -= 1;
        if self.left == 0 && !self.take.is_empty() && decoded.is_ok() {
            return Some(Err(self.take.error(MalformedKind::TrailingBytes).into()));
        }
        // What follows cannot be found; `left` tells how much it was.
        self.is_broken = matches!(decoded, Err(RecordError::Malformed(_)));
        Some(decoded)
    }

    fn decode<'s, S: Symbols + ?Sized>(
        &mut self,
        symbols: &'s S,
        scratch: &'s mut [u64],
        sequence: u32,
    ) -> Result<Decoded<'s>, RecordError>
    where
        'f: 's,
    {
        // A cursor of its own: that of `self` would live in memory.
        let mut take = self.take;
        let head = self.previous.take_head(&mut take)?;
        let scratch = match scratch.len() {
            len if len > MAX_WORDS => scratch.get_mut(..MAX_WORDS).unwrap_or_default(),
            _ => scratch,
        };
        // The scope of a record is referred to by address: it takes the end of the scratch.
        let scope_words = if head.scope.is_some() { SCOPE_WORDS } else { 0 };
        let (words, tail) = scratch.split_at_mut(scratch.len().saturating_sub(scope_words));
        let mut writer = Writer {
            symbols,
            missing: Missing::default(),
            to: Scratch { words, len: HEADER },
            meta: head.meta,
            whole: true,
        };
        let name = writer.name(head.name);
        if let Some(scope) = head.scope {
            writer.scope(scope, tail);
        }
        self.take = writer.entries(take, &head)?;
        let mut header = open(
            writer.meta,
            head.trace,
            head.span,
            head.parent,
            head.start,
            name,
        );
        if !close(&mut header, head.start, head.end) {
            writer.end_apart(head.end);
        }

        let Writer {
            missing,
            to: Scratch { words, len },
            whole,
            ..
        } = writer;
        let words: &'s mut [u64] = words;
        let error = RecordError::Scratch {
            sequence,
            needed: len + scope_words,
        };
        let Some(record) = words.get_mut(..len).filter(|_| whole) else {
            return Err(error);
        };
        let Some(to) = record.first_chunk_mut::<HEADER>() else {
            return Err(error);
        };
        // SAFETY: `open` wrote all but the end, `close` that.
        *to = header.map(|word| unsafe { word.assume_init() });
        // SAFETY: the header was written above and every entry by `EntryWriter` or like it, each wholly
        // (`whole`: none was refused), from the header to `len`. What they refer to are texts of the
        // frame ('f, which outlives 's), of the dictionary (borrowed for 's) and the scope at the end of
        // the scratch (borrowed for 's, and not part of `words`).
        let span = unsafe { SpanView::new(record) };
        let span = span.ok_or(error)?;
        Ok(Decoded {
            sequence,
            span,
            missing,
        })
    }
}

impl<'f> Previous<'f> {
    /// Takes the head of the record behind this one, which becomes it.
    #[inline(always)]
    fn take_head(&mut self, take: &mut Take<'f>) -> Result<Head<'f>, Malformed> {
        let previous = self;
        let start = *take;
        let [first, second] = take.array()?;
        let more = if first & record_code::MORE != 0 {
            take.byte()?
        } else {
            0
        };
        let kind = first & 7;
        let status = first >> record_code::STATUS_SHIFT & 3;
        if kind > 4 || status > 2 || more & !record_code::MORE_ALL != 0 {
            return Err(start.error(MalformedKind::UnknownCode));
        }
        if first & record_code::NEW_TRACE != 0 {
            let id = TraceId::from_bytes(take.array()?);
            previous.trace = id.ok_or(start.error(MalformedKind::ZeroId))?.to_words();
        }
        let span = if first & record_code::SPAN_IS_PARENT != 0 {
            previous.parent
        } else {
            u64::from_ne_bytes(take.array()?)
        };
        match second & record_code::PARENT_MASK {
            record_code::PARENT_NONE => {
                (previous.parent, previous.parent_is_remote) = (0, false);
            }
            record_code::PARENT_SAME => {
                if previous.parent == 0 {
                    return Err(start.error(MalformedKind::ZeroId));
                }
            }
            mode => {
                previous.parent = u64::from_ne_bytes(take.array()?);
                previous.parent_is_remote = mode == record_code::PARENT_REMOTE;
                if previous.parent == 0 {
                    return Err(start.error(MalformedKind::ZeroId));
                }
            }
        }
        let [high, low] = previous.trace;
        if span == 0 || high | low == 0 {
            return Err(start.error(MalformedKind::ZeroId));
        }
        if second & record_code::NEW_FLAGS != 0 {
            previous.flags = take.byte()?;
        }
        let end = previous.end.wrapping_add(take.signed()? as u64);
        previous.end = end;
        let duration = take.varint()?;
        let name = take_text_ref(take)?;
        let scope = if more & (record_code::SCOPE_NEW | record_code::SCOPE_SAME) == 0 {
            None
        } else {
            if more & record_code::SCOPE_NEW != 0 {
                previous.scope = Some([
                    take_text_ref(take)?,
                    take_text_ref(take)?,
                    take_text_ref(take)?,
                ]);
            }
            Some(previous.scope.ok_or(start.error(MalformedKind::ZeroId))?)
        };

        let flags = TraceFlags::from_byte(previous.flags);
        let mut bits = meta(flags, SpanKind::from_wire(kind))
            | (Status::from_wire(status).to_wire() as u64) << META_STATUS_SHIFT;
        if previous.parent_is_remote {
            bits |= META_REMOTE_PARENT;
        }
        if more
            & (record_code::RECORD_ONLY | record_code::ESCALATED | record_code::DURATION_UNKNOWN)
            != 0
        {
            for (code, bit) in [
                (record_code::RECORD_ONLY, META_RECORD_ONLY),
                (record_code::ESCALATED, META_ESCALATED),
                (record_code::DURATION_UNKNOWN, META_DURATION_UNKNOWN),
            ] {
                if more & code != 0 {
                    bits |= bit;
                }
            }
        }
        let entries = second >> record_code::ENTRIES_SHIFT;
        Ok(Head {
            meta: bits,
            trace: previous.trace,
            span,
            parent: previous.parent,
            start: end.wrapping_sub(duration),
            end,
            name,
            scope,
            entries: (entries != record_code::ENTRIES_OPEN).then_some(entries),
        })
    }
}

/// A record's head, resolved.
pub(super) struct Head<'f> {
    meta: u64,
    pub(super) trace: [u64; 2],
    span: u64,
    parent: u64,
    pub(super) start: u64,
    end: u64,
    name: TextRef<'f>,
    scope: Option<[TextRef<'f>; 3]>,
    /// `None`: up to an END.
    pub(super) entries: Option<u8>,
}
