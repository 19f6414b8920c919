//! A record of the boot before, made safe to read.
//!
//! Input: words that a reset has left, whose check word was right, and the read-only texts of this program.
//! Output: a record as if a span of this boot had written it, in a buffer of the caller. Bound: one pass; what
//! finds no room is dropped whole and counted in the record.
//!
//! Nothing is taken on trust but that this build wrote it: each length is checked against the record's, each
//! text against UTF-8, each reference against the range of the texts. A reference that leads elsewhere
//! becomes the text `sym:0x…` with its address.

use super::bytes::words_of;
use super::write::SMALL_SHIFT;
use super::*;
use crate::attribute::{StrArray, Value};
use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use core::mem::MaybeUninit;

/// The memory in which the program's constant texts lie, as the linker says.
#[derive(Clone, Copy)]
pub(crate) struct ReadOnlyTexts(pub(crate) &'static [u8]);

impl ReadOnlyTexts {
    /// The part of the memory at an address.
    fn bytes(self, address: usize, len: usize) -> Option<&'static [u8]> {
        let start = address.checked_sub(self.0.as_ptr().addr())?;
        self.0.get(start..start.checked_add(len)?)
    }
    /// The text of a reference.
    pub(crate) fn text(self, address: usize, len: usize) -> Option<&'static str> {
        if len == 0 {
            return Some("");
        }
        core::str::from_utf8(self.bytes(address, len)?).ok()
    }
    /// The text of a value's word.
    pub(crate) fn packed(self, word: u64) -> Option<&'static str> {
        self.text(layout::to_address(word), layout::packed_len(word))
    }
    /// The scope at an address: all of it, and all that it refers to, lies in the range.
    fn scope(self, address: usize) -> Option<&'static InstrumentationScope<'static>> {
        type Scope = InstrumentationScope<'static>;
        let bytes = self.bytes(address, size_of::<Scope>())?;
        let at = bytes.as_ptr().cast::<Scope>();
        if !at.is_aligned() {
            return None;
        }
        let fields = [
            core::mem::offset_of!(Scope, name),
            core::mem::offset_of!(Scope, version),
            core::mem::offset_of!(Scope, schema_url),
        ];
        for offset in fields {
            let (pointer, len) = raw_text(bytes.get(offset..offset + size_of::<&str>())?)?;
            // A reference is never null, not even to nothing.
            if pointer == 0 || self.text(pointer, len).is_none() {
                return None;
            }
        }
        // SAFETY: aligned, inside memory that stays as it is for ever, and its three fields are texts there.
        Some(unsafe { &*at })
    }
}

/// Address and length of a `&str` that lies in these bytes.
fn raw_text(bytes: &[u8]) -> Option<(usize, usize)> {
    const WORD: usize = size_of::<usize>();
    let (first, second) = bytes.split_at_checked(WORD)?;
    let word = |bytes: &[u8]| Some(usize::from_ne_bytes(bytes.try_into().ok()?));
    let (first, second) = (word(first)?, word(second)?);
    // Which of the two is the address is the compiler's to say.
    let sample: &'static str = "?";
    // SAFETY: a `&str` is two words without padding.
    let [_, length_or_address] = unsafe { core::mem::transmute::<&str, [usize; 2]>(sample) };
    Some(if length_or_address == sample.len() {
        (first, second)
    } else {
        (second, first)
    })
}

/// What a span that a reset closed is told of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Closing<'a> {
    pub(crate) reason: &'static str,
    /// What was caught: its type, a message, a source file with its line.
    pub(crate) exception: Option<Exception<'a>>,
    /// The memory may have lost more than the check words can tell.
    pub(crate) is_doubtful: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exception<'a> {
    pub(crate) kind: &'static str,
    pub(crate) ticks: Option<u64>,
    pub(crate) message: Option<&'a str>,
    pub(crate) file: Option<(&'static str, u32)>,
    /// Address of the instruction.
    pub(crate) pc: Option<u32>,
}

/// Where the record is put together.
struct Out<'o> {
    words: &'o mut [u64],
    used: usize,
    /// Words at the end that are kept for what comes last.
    reserved: usize,
    dropped: Dropped,
}

/// What found no room, or could not be read.
#[derive(Clone, Copy, Default, PartialEq)]
struct Dropped {
    attributes: u32,
    events: u32,
    links: u32,
    texts: u32,
}

impl Room for Out<'_> {
    fn room(&mut self, n: usize) -> Option<*mut u64> {
        let end = self.used.checked_add(n)?;
        if end.checked_add(self.reserved)? > self.words.len() {
            return None;
        }
        let slot = self.words.get_mut(self.used..end)?.as_mut_ptr();
        self.used = end;
        Some(slot)
    }
}

fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

/// Makes a record of what a reset has left of one; its words in `out`, all of whose references are static.
/// `None`: it is none, or `out` has no room for a header.
pub(crate) fn rebuild(
    left: &[u64],
    texts: ReadOnlyTexts,
    closing: &Closing<'_>,
    out: &mut [u64],
) -> Option<usize> {
    let (header, mut rest) = left.split_first_chunk::<HEADER>()?;
    let (meta, start) = (header[META], header[START]);
    TraceId::from_words([header[TRACE], header[TRACE + 1]])?;
    SpanId::from_word(header[SPAN])?;
    let mut to = Out {
        words: out.get_mut(HEADER..)?,
        used: 0,
        reserved: RESERVED,
        dropped: Dropped::default(),
    };
    let mut bits = of_span(meta);
    let (address, len) = layout::name(header);
    let name = texts.text(address, len);
    if name.is_none() {
        let symbol = SymbolText::of(address);
        text(&mut to, &mut bits, TextKind::Name, 0, symbol.as_str());
    }
    let mut end = layout::end(header);
    // What belongs to an event or link without room goes with it.
    let mut has_item = false;
    while let Some(entry) = LeftEntry::split(&mut rest) {
        if entry.tag() == TAG_END {
            end = end.or(Some(entry.word(1)));
            continue;
        }
        let of_item = entry.head & OF_ITEM;
        if of_item == 0 || has_item {
            let was_put = entry.put(texts, &mut to, &mut bits);
            if entry.is_item() {
                has_item = was_put;
            }
        }
    }
    if !rest.is_empty() {
        // An entry that is none: what follows cannot be read.
        count(&mut to.dropped.attributes);
    }
    if meta & META_CLOSED_BY_RESET != 0 {
        closing.put(&mut to, &mut bits, start);
    }
    let Dropped {
        attributes,
        events,
        links,
        texts,
    } = to.dropped;
    to.reserved = 0;
    if to.dropped != Dropped::default()
        && EntryWriter::counts(&mut to, [attributes, events, links, texts])
    {
        bits |= META_HAS_COUNTS;
    }
    let mut head = open(
        bits,
        [header[TRACE], header[TRACE + 1]],
        header[SPAN],
        header[PARENT],
        start,
        name.unwrap_or_default(),
    );
    let end = end.unwrap_or(start).max(start);
    if !close(&mut head, start, end) && !EntryWriter::end(&mut to, end) {
        return None;
    }
    let used = to.used;
    *out.first_chunk_mut::<HEADER>()? = initialised(head);
    Some(HEADER + used)
}

/// What [`META`] says of the span itself: flags, kind, status, and bits that a record keeps as it is moved. What
/// is no kind or status is none.
#[expect(clippy::cast_possible_truncation, reason = "takes the fields")]
fn of_span(word: u64) -> u64 {
    const KEPT: u64 =
        META_REMOTE_PARENT | META_RECORD_ONLY | META_ESCALATED | META_DURATION_UNKNOWN;
    let flags = TraceFlags::from_byte((word >> META_FLAGS_SHIFT) as u8);
    let kind = SpanKind::from_wire((word >> META_KIND_SHIFT) as u8 & 7);
    let status = match word >> META_STATUS_SHIFT & 3 {
        3 => Status::Unset.to_wire().into(),
        status => status,
    };
    word & KEPT | super::meta(flags, kind) | status << META_STATUS_SHIFT
}

/// The header of a span that ended when it started.
pub(crate) fn whole(
    meta: u64,
    trace: [u64; 2],
    span: u64,
    parent: u64,
    start: u64,
    name: &str,
) -> Header {
    let name = if packs(name, NAME_BITS) { name } else { "" };
    let mut header = open(meta, trace, span, parent, start, name);
    // Nothing is as long as any header can say.
    close(&mut header, start, start);
    initialised(header)
}
/// The header with another end; `None`: it cannot say it.
pub(crate) fn with_end(header: &Header, end: u64) -> Option<Header> {
    let mut header = header.map(MaybeUninit::new);
    // SAFETY: written above.
    let start = unsafe { header[START].assume_init() };
    close(&mut header, start, end).then(|| initialised(header))
}
fn initialised(header: [MaybeUninit<u64>; HEADER]) -> Header {
    // SAFETY: `open` writes all words but that of the end, which `close` writes; both callers called both.
    header.map(|word| unsafe { word.assume_init() })
}

/// Writes a text of the span or, with [`OF_ITEM`] in `mark`, of the item.
fn text(to: &mut Out<'_>, bits: &mut u64, kind: TextKind, mark: u64, text: &str) -> bool {
    let was_put = EntryWriter::text(to, kind, mark, text);
    if !was_put {
        count(&mut to.dropped.texts);
    } else if mark == 0 {
        *bits |= META_HAS_TEXT;
    }
    was_put
}

impl Closing<'_> {
    fn put(&self, to: &mut Out<'_>, bits: &mut u64, start: u64) {
        text(to, bits, TextKind::StatusDescription, 0, "reset");
        self.attribute(to, "reset.reason", 0, Value::Static(self.reason));
        if self.is_doubtful {
            self.attribute(to, "reset.retention", 0, Value::Static("unverified"));
        }
        let Some(exception) = &self.exception else {
            return;
        };
        let at = exception.ticks.unwrap_or(start).max(start);
        if !EntryWriter::event(to, "exception", at) {
            return count(&mut to.dropped.events);
        }
        self.attribute(to, "exception.type", OF_ITEM, Value::Static(exception.kind));
        if let Some(message) = exception.message {
            self.attribute(to, "exception.message", OF_ITEM, Value::Str(message));
        }
        if let Some((file, line)) = exception.file {
            self.attribute(to, "code.file.path", OF_ITEM, Value::Static(file));
            self.attribute(to, "code.line.number", OF_ITEM, Value::I64(line.into()));
        }
        if let Some(pc) = exception.pc {
            self.attribute(to, "fault.pc", OF_ITEM, Value::I64(pc.into()));
        }
    }
    fn attribute(&self, to: &mut Out<'_>, key: &'static str, mark: u64, value: Value<'_>) {
        if !EntryWriter::attribute(to, key, mark, value) {
            count(&mut to.dropped.attributes);
        }
    }
}

/// The words of one entry, as many as it has.
struct LeftEntry<'a> {
    head: u64,
    words: &'a [u64],
}

/// What an attribute is called.
enum Key<'a> {
    Static(&'static str),
    Copied(&'a str),
    Symbol(SymbolText),
}

impl<'a> LeftEntry<'a> {
    /// Takes the first entry off; `None` at the end, and before what is no entry.
    fn split(rest: &mut &'a [u64]) -> Option<Self> {
        let head = *rest.first()?;
        let second = rest.get(1).copied();
        let len = match head >> TAG_SHIFT {
            TAG_FALSE | TAG_TRUE | TAG_SCOPE | TAG_ITEM_COUNTS => 1,
            TAG_SMALL if layout::HAS_SMALL => 1,
            TAG_I64 | TAG_F64 | TAG_REF | TAG_EVENT => 2,
            TAG_END if layout::HAS_SMALL => END_WORDS,
            TAG_COUNTS => layout::COUNTS_WORDS,
            TAG_LINK => LINK_WORDS,
            TAG_STR | TAG_TEXT => 2usize.checked_add(words_of(usize::try_from(second?).ok()?))?,
            TAG_VALUE => {
                let (len, key) = (second? & 0xffff_ffff, second? >> 48);
                let len = usize::try_from(len).ok()?;
                2usize
                    .checked_add(words_of(usize::try_from(key).ok()?))?
                    .checked_add(words_of(len))?
            }
            _ => return None,
        };
        let (words, behind) = rest.split_at_checked(len)?;
        *rest = behind;
        Some(LeftEntry { head, words })
    }
    fn tag(&self) -> u64 {
        self.head >> TAG_SHIFT
    }
    /// Whether entries may follow that belong to it.
    fn is_item(&self) -> bool {
        matches!(self.tag(), TAG_EVENT | TAG_LINK)
    }
    fn word(&self, i: usize) -> u64 {
        self.words.get(i).copied().unwrap_or(0)
    }
    /// Bytes from a word on.
    fn bytes(&self, from: usize, len: usize) -> Option<&'a [u8]> {
        let words = self.words.get(from..)?;
        if len > words.len() * 8 {
            return None;
        }
        // SAFETY: so many bytes of initialised words, borrowed as they are.
        Some(unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), len) })
    }
    fn str(&self, from: usize, len: u64) -> Option<&'a str> {
        core::str::from_utf8(self.bytes(from, usize::try_from(len).ok()?)?).ok()
    }
    /// The key or name that the head refers to.
    fn head_text(&self, texts: ReadOnlyTexts) -> Result<&'static str, SymbolText> {
        let address = layout::to_address(self.head);
        let len = self.head >> layout::KEY_SHIFT & ((1 << KEY_BITS) - 1);
        texts
            .text(address, len as usize & 0x7ff)
            .ok_or_else(|| SymbolText::of(address))
    }

    /// Writes the entry anew; `false` if it was dropped.
    fn put(&self, texts: ReadOnlyTexts, to: &mut Out<'_>, bits: &mut u64) -> bool {
        let mark = self.head & OF_ITEM;
        match self.tag() {
            TAG_EVENT => {
                let before = to.used;
                let was_put = match self.head_text(texts) {
                    Ok(name) => EntryWriter::event(to, name, self.word(1)),
                    Err(symbol) => {
                        EntryWriter::event(to, "", self.word(1))
                            && EntryWriter::text(to, TextKind::Name, OF_ITEM, symbol.as_str())
                    }
                };
                if !was_put {
                    to.used = before;
                    count(&mut to.dropped.events);
                }
                was_put
            }
            TAG_LINK => {
                let was_put = self.link().is_some_and(|link| EntryWriter::link(to, &link));
                if !was_put {
                    count(&mut to.dropped.links);
                }
                was_put
            }
            TAG_SCOPE => {
                let scope = texts.scope(layout::to_address(self.head));
                let was_put = scope.is_some_and(|scope| EntryWriter::scope(to, scope));
                if was_put {
                    *bits |= META_HAS_SCOPE;
                } else {
                    count(&mut to.dropped.texts);
                }
                was_put
            }
            TAG_TEXT => {
                let kind = TextKind::from_bits(self.head >> 48 & 0x7ff);
                match (kind, self.str(2, self.word(1))) {
                    (Some(kind), Some(content)) => text(to, bits, kind, mark, content),
                    _ => {
                        count(&mut to.dropped.texts);
                        false
                    }
                }
            }
            TAG_COUNTS => {
                let Some(words) = self.words.first_chunk() else {
                    return false;
                };
                let [attributes, events, links, values] = layout::to_counts(*words);
                let sum = &mut to.dropped;
                sum.attributes = sum.attributes.saturating_add(attributes);
                sum.events = sum.events.saturating_add(events);
                sum.links = sum.links.saturating_add(links);
                sum.texts = sum.texts.saturating_add(values);
                true
            }
            #[expect(clippy::cast_possible_truncation, reason = "the low half")]
            TAG_ITEM_COUNTS => EntryWriter::item_counts(to, self.head as u32),
            _ => {
                let was_put = self.attribute(texts, to, mark).unwrap_or(false);
                if !was_put {
                    count(&mut to.dropped.attributes);
                }
                was_put
            }
        }
    }

    fn link(&self) -> Option<SpanContext> {
        let trace = TraceId::from_words([self.word(1), self.word(2)])?;
        let span = SpanId::from_word(self.word(3))?;
        #[expect(clippy::cast_possible_truncation, reason = "takes the byte")]
        let context = SpanContext::new(trace, span, TraceFlags::from_byte(self.head as u8));
        Some(if self.head & 0x100 != 0 {
            context.remote()
        } else {
            context
        })
    }

    fn attribute(&self, texts: ReadOnlyTexts, to: &mut Out<'_>, mark: u64) -> Option<bool> {
        let symbol;
        let (key, value) = match self.tag() {
            TAG_FALSE => (self.key(texts), Value::Bool(false)),
            TAG_TRUE => (self.key(texts), Value::Bool(true)),
            TAG_I64 => (self.key(texts), Value::I64(self.word(1).cast_signed())),
            TAG_SMALL => (self.key(texts), Value::I64(self.small())),
            TAG_F64 => (self.key(texts), Value::F64(f64::from_bits(self.word(1)))),
            TAG_STR => (self.key(texts), Value::Str(self.str(2, self.word(1))?)),
            TAG_REF => {
                let value = match texts.packed(self.word(1)) {
                    Some(text) => Value::Static(text),
                    None => {
                        symbol = SymbolText::of(layout::to_address(self.word(1)));
                        Value::Str(symbol.as_str())
                    }
                };
                (self.key(texts), value)
            }
            _ => self.copied(texts)?,
        };
        Some(match key {
            Key::Static("") => false,
            Key::Static(key) => EntryWriter::attribute(to, key, mark, value),
            Key::Copied(key) => EntryWriter::attribute_copied(to, key, mark, value),
            Key::Symbol(key) => EntryWriter::attribute_copied(to, key.as_str(), mark, value),
        })
    }
    /// The integer of a [`TAG_SMALL`] entry.
    fn small(&self) -> i64 {
        (self.head >> SMALL_SHIFT) as i16 as i64
    }
    fn key(&self, texts: ReadOnlyTexts) -> Key<'a> {
        match self.head_text(texts) {
            Ok(key) => Key::Static(key),
            Err(symbol) => Key::Symbol(symbol),
        }
    }
    /// Of a [`TAG_VALUE`] entry.
    fn copied(&self, texts: ReadOnlyTexts) -> Option<(Key<'a>, Value<'a>)> {
        let second = self.word(1);
        let (len, key_len) = (usize::try_from(second & 0xffff_ffff).ok()?, second >> 48);
        let key = match key_len {
            0 => self.key(texts),
            _ => Key::Copied(self.str(2, key_len)?),
        };
        let from = 2 + words_of(usize::try_from(key_len).ok()?);
        let bytes = self.bytes(from, len)?;
        let first = self.words.get(from).copied();
        #[expect(clippy::cast_possible_truncation, reason = "takes the byte")]
        let value = match (second >> 32) as u8 {
            value_type::BOOL => Value::Bool(first? != 0),
            value_type::I64 => Value::I64(first?.cast_signed()),
            value_type::F64 => Value::F64(f64::from_bits(first?)),
            value_type::STR => Value::Str(core::str::from_utf8(bytes).ok()?),
            value_type::BYTES => Value::Bytes(bytes),
            value_type::BOOL_ARRAY => {
                if bytes.iter().any(|byte| *byte > 1) {
                    return None;
                }
                // SAFETY: each byte is 0 or 1.
                Value::BoolArray(unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), len) })
            }
            // SAFETY: so many whole words, which are `i64`s as well as `u64`s, and aligned.
            value_type::I64_ARRAY => Value::I64Array(unsafe {
                core::slice::from_raw_parts(bytes.as_ptr().cast(), len / 8)
            }),
            // SAFETY: as above, of `f64`s.
            value_type::F64_ARRAY => Value::F64Array(unsafe {
                core::slice::from_raw_parts(bytes.as_ptr().cast(), len / 8)
            }),
            value_type::STR_ARRAY => {
                let array = StrArray::packed(bytes);
                let read = array
                    .iter()
                    .fold(0, |sum: usize, text| sum + 4 + text.len());
                if read != len {
                    return None;
                }
                Value::StrArray(array)
            }
            value_type::ANY => Value::Any(bytes),
            _ => return None,
        };
        Some((key, value))
    }
}

/// `sym:0x…`, with the address of a text that cannot be resolved.
#[derive(Clone, Copy)]
pub(crate) struct SymbolText {
    bytes: [u8; 22],
    len: usize,
}

impl SymbolText {
    /// At least 8 digits.
    pub(crate) fn of(address: usize) -> Self {
        let address = address as u64;
        let digits = (16 - address.leading_zeros() as usize / 4).max(8);
        let mut bytes = *b"sym:0x0000000000000000";
        for (i, byte) in bytes.iter_mut().skip(6).take(digits).enumerate() {
            let digit = address >> (4 * (digits - 1 - i)) & 0xf;
            *byte = b"0123456789abcdef"
                .get(digit as usize & 0xf)
                .copied()
                .unwrap_or(b'?');
        }
        SymbolText {
            bytes,
            len: 6 + digits,
        }
    }
    pub(crate) fn as_str(&self) -> &str {
        self.bytes
            .get(..self.len)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or("sym:?")
    }
}
