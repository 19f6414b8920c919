//! Wire bytes into entries.
//!
//! Input: the bytes behind a record's head, a dictionary. Output: entries in the record's words. Bound: one
//! pass over the bytes; no count on the wire is believed before its bytes were seen.

use super::dictionary::{Symbol, Symbols};
use super::primitive::Take;
use super::take_record::{Head, Missing};
use super::{Malformed, MalformedKind, entry_code};
use crate::SpanContext;
use crate::attribute::Value;
use crate::context::{SpanId, TraceFlags, TraceId};
use crate::record::{
    EntryWriter, InstrumentationScope, KEY_BITS, META_HAS_COUNTS, META_HAS_SCOPE, META_HAS_TEXT,
    NAME_BITS, OF_ITEM, Room, TextKind, packs, value_type,
};

/// A text, or the symbol of one.
#[derive(Clone, Copy, Debug)]
pub(super) enum TextRef<'f> {
    Inline(&'f str),
    Symbol(Symbol),
}

/// Takes length and text, as [`Take::text`]; short for ASCII.
#[inline(always)]
fn take_text<'f>(take: &mut Take<'f>) -> Result<&'f str, Malformed> {
    let start = *take;
    let bytes = take.block()?;
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { core::str::from_utf8_unchecked(bytes) });
    }
    core::str::from_utf8(bytes).map_err(|_| start.error(MalformedKind::Utf8))
}

#[inline(always)]
pub(super) fn take_text_ref<'f>(take: &mut Take<'f>) -> Result<TextRef<'f>, Malformed> {
    let number = take.varint()?;
    if number == 0 {
        return take_text(take).map(TextRef::Inline);
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
        entry_code::TEXT => Value::Str(take_text(take)?),
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
pub(super) struct Scratch<'s> {
    pub(super) words: &'s mut [u64],
    /// Words used or asked for.
    pub(super) len: usize,
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

/// Words of a scope at the end of the scratch.
pub(super) const SCOPE_WORDS: usize = size_of::<InstrumentationScope<'static>>().div_ceil(8);
const _: () = assert!(align_of::<InstrumentationScope<'static>>() <= 8);

/// The entries of one record on their way into the scratch.
pub(super) struct Writer<'s, 'd, S: Symbols + ?Sized> {
    pub(super) symbols: &'s S,
    pub(super) missing: Missing,
    pub(super) to: Scratch<'d>,
    pub(super) meta: u64,
    /// No entry was refused.
    pub(super) whole: bool,
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
    /// The header's name.
    pub(super) fn name<'f: 's>(&mut self, name: TextRef<'f>) -> &'s str {
        let copied = match self.resolve(name) {
            Ok(text) if packs(text, NAME_BITS) => return text,
            Ok(text) => Ok(text),
            Err(symbol) => Err(symbol),
        };
        self.meta |= META_HAS_TEXT;
        match copied {
            Ok(text) => self.text(TextKind::Name, 0, text),
            Err(symbol) => self.text(TextKind::Name, 0, symbol.as_str()),
        }
        ""
    }
    /// Puts an end that the header cannot say behind the entries.
    #[cold]
    pub(super) fn end_apart(&mut self, end: u64) {
        self.whole &= EntryWriter::end(&mut self.to, end);
    }
    /// Puts the scope into `tail` and refers to it.
    pub(super) fn scope<'f: 's>(&mut self, scope: [TextRef<'f>; 3], tail: &'s mut [u64]) {
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
    /// Writes the entries behind `head`; returns where they end.
    ///
    /// What is rare happens out of line and gets the cursor by value: one whose address is taken would
    /// live in memory instead of registers.
    #[inline(always)]
    pub(super) fn entries<'f: 's>(
        &mut self,
        mut take: Take<'f>,
        head: &Head<'f>,
    ) -> Result<Take<'f>, Malformed> {
        let mut left = head.entries;
        loop {
            if let Some(left) = &mut left {
                match left.checked_sub(1) {
                    Some(less) => *left = less,
                    None => return Ok(take),
                }
            }
            let start = take;
            let byte = take.byte()?;
            let (code, of_item) = (byte & 31, byte & entry_code::OF_ITEM != 0);
            if byte > 63 {
                return Err(start.error(MalformedKind::UnknownCode));
            }
            if code <= entry_code::ANY {
                let mark = if of_item { OF_ITEM } else { 0 };
                if !self.attribute(&mut take, code, mark)? {
                    let mut again = start;
                    again.byte()?;
                    take = self.any_attribute(again, code, mark)?;
                }
            } else if code == entry_code::END && left.is_none() {
                return Ok(take);
            } else {
                take = self.other(take, code, of_item, (head.trace, head.start), start)?;
            }
        }
    }
    /// Writes an attribute of a simple type whose texts are known and can be referred to: nearly all,
    /// with one dispatch. `false`: it is none, and nothing happened but that the cursor moved.
    #[inline(always)]
    fn attribute<'f: 's>(
        &mut self,
        take: &mut Take<'f>,
        code: u8,
        mark: u64,
    ) -> Result<bool, Malformed> {
        let key = match take_text_ref(take)? {
            TextRef::Inline(text) => Some(text),
            TextRef::Symbol(symbol) => self.symbols.text(symbol),
        };
        let Some(key) = key.filter(|key| packs(key, KEY_BITS)) else {
            return Ok(false);
        };
        let to = &mut self.to;
        let written = match code {
            entry_code::INT => EntryWriter::attribute(to, key, mark, Value::I64(take.signed()?)),
            entry_code::FALSE => EntryWriter::attribute(to, key, mark, Value::Bool(false)),
            entry_code::TRUE => EntryWriter::attribute(to, key, mark, Value::Bool(true)),
            entry_code::DOUBLE_PACKED => {
                let v = f64::from_bits(take.varint()?.swap_bytes());
                EntryWriter::attribute(to, key, mark, Value::F64(v))
            }
            entry_code::TEXT => EntryWriter::attribute(to, key, mark, Value::Str(take_text(take)?)),
            entry_code::SYMBOL => match take_text_ref(take)? {
                TextRef::Symbol(symbol) => match self.symbols.text(symbol) {
                    Some(text) => EntryWriter::attribute_ref(to, key, mark, text),
                    None => return Ok(false),
                },
                TextRef::Inline(_) => return Ok(false),
            },
            _ => return Ok(false),
        };
        self.whole &= written;
        Ok(true)
    }
    /// Writes any attribute, `take` being behind its code.
    #[inline(never)]
    fn any_attribute<'f: 's>(
        &mut self,
        mut take: Take<'f>,
        code: u8,
        mark: u64,
    ) -> Result<Take<'f>, Malformed> {
        let key = take_text_ref(&mut take)?;
        let value = take_value(&mut take, code)?;
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
        Ok(take)
    }
    #[inline(never)]
    fn other<'f: 's>(
        &mut self,
        mut take: Take<'f>,
        code: u8,
        of_item: bool,
        (trace, start_ticks): ([u64; 2], u64),
        start: Take<'f>,
    ) -> Result<Take<'f>, Malformed> {
        match (code, of_item) {
            (entry_code::EVENT, false) => {
                let name = take_text_ref(&mut take)?;
                let ticks = start_ticks.wrapping_add(take.signed()? as u64);
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
                    TraceId::from_words(trace)
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
            (entry_code::ITEM_NAME, false) => {
                self.text(TextKind::Name, OF_ITEM, take_text(&mut take)?)
            }
            (entry_code::STATUS_DESCRIPTION, false) => {
                self.meta |= META_HAS_TEXT;
                self.text(TextKind::StatusDescription, 0, take_text(&mut take)?);
            }
            (entry_code::TRACE_STATE, false) => {
                self.meta |= META_HAS_TEXT;
                self.text(TextKind::TraceState, 0, take_text(&mut take)?);
            }
            (entry_code::TRACE_STATE, true) => {
                self.text(TextKind::TraceState, OF_ITEM, take_text(&mut take)?);
            }
            _ => return Err(start.error(MalformedKind::UnknownCode)),
        }
        Ok(take)
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
