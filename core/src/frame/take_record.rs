//! Wire bytes into a record.
//!
//! Input: a frame's records, a dictionary, scratch words. Output: a [`SpanView`] over the scratch, whose
//! texts stay in frame and dictionary where they can. Bound: one pass over the record's bytes; no count
//! on the wire is believed before its bytes were seen, except that of the scratch's length.

use super::dictionary::{Symbol, Symbols};
use super::primitive::Take;
use super::{Malformed, MalformedKind, entry_code, record_code};
use crate::SpanContext;
use crate::attribute::Value;
use crate::context::{SpanId, TraceFlags, TraceId};
use crate::record::{
    END, EntryWriter, HEADER, InstrumentationScope, KEY_BITS, MAX_WORDS, META,
    META_DURATION_UNKNOWN, META_ESCALATED, META_HAS_COUNTS, META_HAS_SCOPE, META_HAS_TEXT,
    META_RECORD_ONLY, META_REMOTE_PARENT, META_STATUS_SHIFT, NAME, OF_ITEM, PARENT, REF_BITS, Room,
    SPAN, START, SpanKind, SpanView, Status, TRACE, TextKind, meta, pack, packs, value_type,
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
    fn add(&mut self, symbol: Symbol) {
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

/// A text, or the symbol of one.
#[derive(Clone, Copy, Debug)]
pub(super) enum TextRef<'f> {
    Inline(&'f str),
    Symbol(Symbol),
}

#[inline(always)]
pub(super) fn take_text_ref<'f>(take: &mut Take<'f>) -> Result<TextRef<'f>, Malformed> {
    let number = take.varint()?;
    if number == 0 {
        return take.text().map(TextRef::Inline);
    }
    match u16::try_from(number).ok().and_then(Symbol::new) {
        Some(symbol) => Ok(TextRef::Symbol(symbol)),
        None => Err(take.error(MalformedKind::Varint)),
    }
}

/// A value on the wire.
pub(super) enum Wire<'f> {
    /// As it will be.
    Plain(Value<'f>),
    Symbol(Symbol),
    /// `count` items that follow, checked, and their bytes.
    Items {
        count: usize,
        bytes: &'f [u8],
    },
}

/// Reads the value of an entry of `code`; items of arrays are checked and left for later.
#[inline(always)]
pub(super) fn take_value<'f>(take: &mut Take<'f>, code: u8) -> Result<Wire<'f>, Malformed> {
    Ok(Wire::Plain(match code {
        entry_code::FALSE => Value::Bool(false),
        entry_code::TRUE => Value::Bool(true),
        entry_code::INT => Value::I64(take.signed()?),
        entry_code::DOUBLE => Value::F64(f64::from_bits(u64::from_le_bytes(take.array()?))),
        entry_code::DOUBLE_PACKED => Value::F64(f64::from_bits(take.varint()?.swap_bytes())),
        entry_code::SYMBOL => {
            return match take_text_ref(take)? {
                TextRef::Symbol(symbol) => Ok(Wire::Symbol(symbol)),
                TextRef::Inline(_) => Err(take.error(MalformedKind::UnknownCode)),
            };
        }
        entry_code::TEXT => Value::Str(take.text()?),
        entry_code::BYTES => Value::Bytes(take.block()?),
        entry_code::ANY => Value::Any(take.block()?),
        entry_code::BOOLS | entry_code::INTS | entry_code::DOUBLES | entry_code::TEXTS => {
            return take_items(take, code);
        }
        _ => return Err(take.error(MalformedKind::UnknownCode)),
    }))
}

#[inline(never)]
fn take_items<'f>(take: &mut Take<'f>, code: u8) -> Result<Wire<'f>, Malformed> {
    let count = take.varint()?;
    let start = *take;
    match code {
        entry_code::DOUBLES => {
            take.bytes(count.saturating_mul(8))?;
        }
        entry_code::BOOLS => {
            if take.bytes(count)?.iter().any(|byte| *byte > 1) {
                return Err(start.error(MalformedKind::UnknownCode));
            }
        }
        _ => {
            // Ends with the bytes: each item takes at least one.
            for _ in 0..count {
                match code {
                    entry_code::INTS => take.varint().map(|_| ())?,
                    _ => take.text().map(|_| ())?,
                }
            }
        }
    }
    let len = take.offset() - start.offset();
    let bytes = start.rest().get(..len).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "no more than bytes")]
    Ok(Wire::Items {
        count: count as usize,
        bytes,
    })
}

/// Scratch words that become a record. Past their end only the need is counted.
struct Scratch<'s> {
    words: &'s mut [u64],
    /// Words used or asked for.
    len: usize,
}

impl Room for Scratch<'_> {
    #[inline(always)]
    fn room(&mut self, n: usize) -> Option<*mut u64> {
        let at = self.len;
        self.len = at.saturating_add(n);
        Some(self.words.get_mut(at..self.len)?.as_mut_ptr())
    }
}

/// `sym:0x` and four digits.
struct SymbolName([u8; 10]);

impl SymbolName {
    #[cold]
    fn new(symbol: Symbol) -> Self {
        let mut name = *b"sym:0x0000";
        for (digit, shift) in name.iter_mut().skip(6).zip([12, 8, 4, 0]) {
            let nibble = (symbol.number() >> shift & 15) as u8;
            *digit = nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
        }
        SymbolName(name)
    }
    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
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
        let head = self.take_head()?;
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
        writer.entries(&mut self.take, &head)?;

        let Writer {
            missing,
            to: Scratch { words, len },
            meta,
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
        let Some(header) = record.first_chunk_mut::<HEADER>() else {
            return Err(error);
        };
        let [high, low] = head.trace;
        header[META] = meta;
        header[TRACE] = high;
        header[TRACE + 1] = low;
        header[SPAN] = head.span;
        header[PARENT] = head.parent;
        header[START] = head.start;
        header[END] = head.end;
        header[NAME] = name;
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

    #[inline(always)]
    fn take_head(&mut self) -> Result<Head<'f>, Malformed> {
        let (take, previous) = (&mut self.take, &mut self.previous);
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
struct Head<'f> {
    meta: u64,
    trace: [u64; 2],
    span: u64,
    parent: u64,
    start: u64,
    end: u64,
    name: TextRef<'f>,
    scope: Option<[TextRef<'f>; 3]>,
    /// `None`: up to an END.
    entries: Option<u8>,
}

/// Words of a scope at the end of the scratch.
const SCOPE_WORDS: usize = size_of::<InstrumentationScope<'static>>().div_ceil(8);
const _: () = assert!(align_of::<InstrumentationScope<'static>>() <= 8);

struct Writer<'s, 'd, S: Symbols + ?Sized> {
    symbols: &'s S,
    missing: Missing,
    to: Scratch<'d>,
    meta: u64,
    /// No entry was refused.
    whole: bool,
}

impl<'s, S: Symbols + ?Sized> Writer<'s, 's, S> {
    #[inline(always)]
    fn resolve<'f: 's>(&mut self, text: TextRef<'f>) -> Result<&'s str, SymbolName> {
        match text {
            TextRef::Inline(text) => Ok(text),
            TextRef::Symbol(symbol) => self.symbols.text(symbol).ok_or_else(|| {
                self.missing.add(symbol);
                SymbolName::new(symbol)
            }),
        }
    }
    fn text(&mut self, kind: TextKind, mark: u64, text: &str) {
        self.whole &= EntryWriter::text(&mut self.to, kind, mark, text);
    }
    /// The header's word for the name.
    fn name<'f: 's>(&mut self, name: TextRef<'f>) -> u64 {
        let copied = match self.resolve(name) {
            Ok(text) if packs(text, REF_BITS) => return pack(text),
            Ok(text) => Ok(text),
            Err(symbol) => Err(symbol),
        };
        self.meta |= META_HAS_TEXT;
        match copied {
            Ok(text) => self.text(TextKind::Name, 0, text),
            Err(symbol) => self.text(TextKind::Name, 0, symbol.as_str()),
        }
        pack("")
    }
    /// Puts the scope into `tail` and refers to it.
    fn scope<'f: 's>(&mut self, scope: [TextRef<'f>; 3], tail: &'s mut [u64]) {
        let [name, version, schema_url] = scope.map(|text| self.resolve(text).unwrap_or("sym:?"));
        if tail.len() < SCOPE_WORDS {
            self.whole = false;
            return;
        }
        let scope = InstrumentationScope {
            name,
            version,
            schema_url,
        };
        let at = tail.as_mut_ptr().cast::<InstrumentationScope<'s>>();
        // SAFETY: the tail is ours for 's, long enough (checked), and aligned: words are to 8 bytes.
        let scope = unsafe {
            at.write(scope);
            &*at
        };
        self.meta |= META_HAS_SCOPE;
        self.whole &= EntryWriter::scope(&mut self.to, scope);
    }
    #[inline(always)]
    fn entries<'f: 's>(&mut self, take: &mut Take<'f>, head: &Head<'f>) -> Result<(), Malformed> {
        let mut left = head.entries;
        loop {
            if let Some(left) = &mut left {
                match left.checked_sub(1) {
                    Some(less) => *left = less,
                    None => return Ok(()),
                }
            }
            let start = *take;
            let byte = take.byte()?;
            let (code, of_item) = (byte & 31, byte & entry_code::OF_ITEM != 0);
            if byte > 63 {
                return Err(start.error(MalformedKind::UnknownCode));
            }
            if code <= entry_code::ANY {
                self.attribute(take, code, if of_item { OF_ITEM } else { 0 })?;
            } else if code == entry_code::END && left.is_none() {
                return Ok(());
            } else {
                self.other(take, code, of_item, head, &start)?;
            }
        }
    }
    #[inline(always)]
    fn attribute<'f: 's>(
        &mut self,
        take: &mut Take<'f>,
        code: u8,
        mark: u64,
    ) -> Result<(), Malformed> {
        let key = take_text_ref(take)?;
        let value = take_value(take, code)?;
        let key = self.resolve(key);
        let (key, copied) = match &key {
            Ok(key) => (*key, !packs(key, KEY_BITS)),
            Err(symbol) => (symbol.as_str(), true),
        };
        let to = &mut self.to;
        let written = match value {
            Wire::Plain(value) if copied => EntryWriter::attribute_copied(to, key, mark, value),
            Wire::Plain(value) => EntryWriter::attribute(to, key, mark, value),
            Wire::Items { count, bytes } => put_items(to, key, copied, mark, code, count, bytes),
            Wire::Symbol(symbol) => match self.symbols.text(symbol) {
                Some(text) if copied => {
                    EntryWriter::attribute_copied(to, key, mark, Value::Str(text))
                }
                Some(text) => EntryWriter::attribute_ref(to, key, mark, text),
                None => {
                    let name = SymbolName::new(symbol);
                    let value = Value::Str(name.as_str());
                    self.missing.add(symbol);
                    if copied {
                        EntryWriter::attribute_copied(to, key, mark, value)
                    } else {
                        EntryWriter::attribute(to, key, mark, value)
                    }
                }
            },
        };
        self.whole &= written;
        Ok(())
    }
    #[inline(never)]
    fn other<'f: 's>(
        &mut self,
        take: &mut Take<'f>,
        code: u8,
        of_item: bool,
        head: &Head<'f>,
        start: &Take<'f>,
    ) -> Result<(), Malformed> {
        match (code, of_item) {
            (entry_code::EVENT, false) => {
                let name = take_text_ref(take)?;
                let ticks = head.start.wrapping_add(take.signed()? as u64);
                match self.resolve(name) {
                    Ok(name) if packs(name, KEY_BITS) => {
                        self.whole &= EntryWriter::event(&mut self.to, name, ticks);
                    }
                    copied => {
                        self.whole &= EntryWriter::event(&mut self.to, "", ticks);
                        match copied {
                            Ok(name) => self.text(TextKind::Name, OF_ITEM, name),
                            Err(symbol) => self.text(TextKind::Name, OF_ITEM, symbol.as_str()),
                        }
                    }
                }
            }
            (entry_code::LINK, false) => {
                let [bits, flags] = take.array()?;
                if bits & !(entry_code::LINK_REMOTE | entry_code::LINK_SAME_TRACE) != 0 {
                    return Err(start.error(MalformedKind::UnknownCode));
                }
                let trace = if bits & entry_code::LINK_SAME_TRACE != 0 {
                    TraceId::from_words(head.trace)
                } else {
                    TraceId::from_bytes(take.array()?)
                };
                let span = SpanId::from_bytes(take.array()?);
                let (Some(trace), Some(span)) = (trace, span) else {
                    return Err(start.error(MalformedKind::ZeroId));
                };
                let mut context = SpanContext::new(trace, span, TraceFlags::from_byte(flags));
                if bits & entry_code::LINK_REMOTE != 0 {
                    context = context.remote();
                }
                self.whole &= EntryWriter::link(&mut self.to, &context);
            }
            (entry_code::ITEM_COUNTS, false) => {
                let dropped = take.varint32()?;
                self.whole &= EntryWriter::item_counts(&mut self.to, dropped);
            }
            (entry_code::COUNTS, false) => {
                let counts = [
                    take.varint32()?,
                    take.varint32()?,
                    take.varint32()?,
                    take.varint32()?,
                ];
                self.meta |= META_HAS_COUNTS;
                self.whole &= EntryWriter::counts(&mut self.to, counts);
            }
            (entry_code::ITEM_NAME, false) => self.text(TextKind::Name, OF_ITEM, take.text()?),
            (entry_code::STATUS_DESCRIPTION, false) => {
                self.meta |= META_HAS_TEXT;
                self.text(TextKind::StatusDescription, 0, take.text()?);
            }
            (entry_code::TRACE_STATE, false) => {
                self.meta |= META_HAS_TEXT;
                self.text(TextKind::TraceState, 0, take.text()?);
            }
            (entry_code::TRACE_STATE, true) => {
                self.text(TextKind::TraceState, OF_ITEM, take.text()?);
            }
            _ => return Err(start.error(MalformedKind::UnknownCode)),
        }
        Ok(())
    }
}

/// Writes an array whose items `take_items` has checked.
#[inline(never)]
fn put_items(
    to: &mut Scratch<'_>,
    key: &str,
    copied: bool,
    mark: u64,
    code: u8,
    count: usize,
    bytes: &[u8],
) -> bool {
    let mut take = Take::new(bytes, 0);
    let (kind, len) = match code {
        entry_code::BOOLS => (value_type::BOOL_ARRAY, count),
        entry_code::INTS => (value_type::I64_ARRAY, count.saturating_mul(8)),
        entry_code::DOUBLES => (value_type::F64_ARRAY, count.saturating_mul(8)),
        // Lengths of 4 bytes instead of varints.
        _ => {
            let mut len = 0;
            let mut texts = take;
            while let Ok(text) = texts.text() {
                len += 4 + text.len();
            }
            (value_type::STR_ARRAY, len)
        }
    };
    let Some(words) = EntryWriter::value_words(to, key, copied, mark, kind, len) else {
        return false;
    };
    match code {
        entry_code::INTS => words.iter_mut().for_each(|word| {
            *word = take.signed().unwrap_or_default() as u64;
        }),
        entry_code::DOUBLES => words.iter_mut().for_each(|word| {
            *word = u64::from_le_bytes(take.array().unwrap_or_default());
        }),
        entry_code::BOOLS => words
            .iter_mut()
            .zip(bytes.chunks(8))
            .for_each(|(word, eight)| {
                let mut padded = [0; 8];
                padded
                    .iter_mut()
                    .zip(eight)
                    .for_each(|(to, byte)| *to = *byte);
                *word = u64::from_ne_bytes(padded);
            }),
        _ => {
            let mut packed = PackedBytes { words, at: 0 };
            while let Ok(text) = take.text() {
                #[expect(clippy::cast_possible_truncation, reason = "shorter than a frame")]
                packed.push(&(text.len() as u32).to_ne_bytes());
                packed.push(text.as_bytes());
            }
        }
    }
    true
}

/// Bytes in memory order in zeroed words.
struct PackedBytes<'w> {
    words: &'w mut [u64],
    at: usize,
}

impl PackedBytes<'_> {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(word) = self.words.get_mut(self.at / 8) {
                let mut eight = word.to_ne_bytes();
                if let Some(to) = eight.get_mut(self.at % 8) {
                    *to = *byte;
                }
                *word = u64::from_ne_bytes(eight);
            }
            self.at += 1;
        }
    }
}
