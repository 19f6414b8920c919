//! A record as wire bytes.
//!
//! Input: a [`LocalRecord`], the device's dictionary, what the frame's previous record was. Output: bytes
//! in the frame's buffer. Bound: one pass over the record; what does not fit leaves the buffer "full" and
//! the caller takes everything back.

use super::dictionary::{Dictionary, Symbol};
use super::primitive::{Put, varint_len};
use super::{entry_code, record_code};
use crate::record::{
    InstrumentationScope, LocalRecord, META, META_DURATION_UNKNOWN, META_ESCALATED,
    META_KIND_SHIFT, META_RECORD_ONLY, META_STATUS_SHIFT, PARENT, RawEntry, SPAN, SpanView,
    TAG_COUNTS, TAG_EVENT, TAG_F64, TAG_FALSE, TAG_I64, TAG_ITEM_COUNTS, TAG_LINK, TAG_REF,
    TAG_SMALL, TAG_STR, TAG_TEXT, TAG_TRUE, TAG_VALUE, TRACE, Text, TextKind, value_type,
};

/// New texts that one frame announces at most; more go inline.
const PENDING: usize = 24;

/// The symbols that the frame under construction announces.
#[derive(Debug)]
pub(super) struct Pending {
    len: usize,
    /// What their announcements take.
    pub(super) bytes: usize,
    /// The first `len` are there.
    symbols: [Option<Symbol>; PENDING],
}

impl Pending {
    pub(super) const fn new() -> Self {
        Pending {
            len: 0,
            bytes: 0,
            symbols: [None; PENDING],
        }
    }
    pub(super) fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.symbols.iter().map_while(|symbol| *symbol)
    }
    pub(super) fn len(&self) -> usize {
        self.len
    }
    /// Takes a text up. `false`: there is no room.
    pub(super) fn add<const N: usize>(
        &mut self,
        symbol: Symbol,
        dictionary: &Dictionary<N>,
    ) -> bool {
        let Some(slot) = self.symbols.get_mut(self.len) else {
            return false;
        };
        *slot = Some(symbol);
        self.len += 1;
        self.bytes += announcement_len(symbol, dictionary.text(symbol));
        true
    }
    /// Takes back all but the first `len`.
    #[inline(never)]
    pub(super) fn withdraw<const N: usize>(&mut self, len: usize, dictionary: &mut Dictionary<N>) {
        self.clear(len, |pending, symbol| {
            pending.bytes -= announcement_len(symbol, dictionary.text(symbol));
            dictionary.withdraw(symbol);
        });
    }
    /// Forgets all but the first `len`, each shown before it goes.
    pub(super) fn clear(&mut self, len: usize, mut each: impl FnMut(&mut Self, Symbol)) {
        while self.len > len {
            self.len -= 1;
            if let Some(symbol) = self.symbols.get_mut(self.len).and_then(Option::take) {
                each(self, symbol);
            }
        }
    }
}

pub(super) fn announcement_len(symbol: Symbol, text: &str) -> usize {
    varint_len(symbol.number().into()) + varint_len(text.len() as u64) + text.len()
}

/// What a record is written relative to: the one before it in its frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Previous {
    trace: [u64; 2],
    parent: u64,
    parent_is_remote: bool,
    end: u64,
    flags: u8,
    scope: Option<*const ()>,
}

impl Previous {
    /// Before a frame's first record.
    pub(super) const NONE: Self = Previous {
        trace: [0; 2],
        parent: 0,
        parent_is_remote: false,
        end: 0,
        flags: record_code::FIRST_FLAGS,
        scope: None,
    };

    /// The record is the previous one from now on.
    pub(super) fn set(&mut self, record: &LocalRecord<'_>) {
        let span = record.view();
        self.trace = [span.word(TRACE), span.word(TRACE + 1)];
        self.parent = span.word(PARENT);
        self.parent_is_remote = span.parent_is_remote();
        self.end = span.end().0;
        self.flags = span.flags().to_byte();
        if let Some(scope) = span.scope() {
            self.scope = Some(core::ptr::from_ref(scope).cast());
        }
    }
}

// The address of a scope is compared, never followed.
// SAFETY: `Previous` owns nothing behind the pointer and reads nothing through it.
unsafe impl Send for Previous {}
// SAFETY: as above.
unsafe impl Sync for Previous {}

/// Texts on their way out.
struct Texts<'d, const N: usize> {
    dictionary: &'d mut Dictionary<N>,
    pending: &'d mut Pending,
}

impl<const N: usize> Texts<'_, N> {
    /// The symbol of a text that the record refers to, if it is or can be announced.
    ///
    /// # Safety
    /// `text` must be static.
    unsafe fn symbol(&mut self, text: &str) -> Option<Symbol> {
        // SAFETY: the caller's promise.
        let text: &'static str = unsafe { &*core::ptr::from_ref(text) };
        let symbol = self.dictionary.symbol(text)?;
        if self.dictionary.needs_announcement(symbol) && !self.pending.add(symbol, self.dictionary)
        {
            self.dictionary.withdraw(symbol);
            return None;
        }
        Some(symbol)
    }
    /// Writes a name or key: its symbol, or 0 and the text.
    ///
    /// # Safety
    /// If `by_ref` the text must be static.
    unsafe fn put(&mut self, put: &mut Put<'_>, text: Text<'_>) {
        let symbol = if text.by_ref {
            // SAFETY: the caller's promise.
            unsafe { self.symbol(text.text) }
        } else {
            None
        };
        match symbol {
            Some(symbol) => put.varint32(symbol.number().into()),
            None => {
                put.byte(0);
                put.block(text.text.as_bytes());
            }
        }
    }
}

/// Writes `record`, relative to the previous one.
pub(super) fn put_record<const N: usize>(
    put: &mut Put<'_>,
    record: &LocalRecord<'_>,
    previous: &Previous,
    dictionary: &mut Dictionary<N>,
    pending: &mut Pending,
) {
    let span = record.view();
    let mut texts = Texts {
        dictionary,
        pending,
    };
    let head = put.len();
    let entries = put_head(put, &span, previous, &mut texts);
    let mut count = 0u32;
    for entry in span.raw_entries() {
        // SAFETY: a `LocalRecord` refers to nothing but statics.
        count += unsafe { put_entry(put, entry, &span, &mut texts) } as u32;
    }
    match u8::try_from(count) {
        Ok(few) if few < record_code::ENTRIES_OPEN => {
            put.patch(head + 1, entries | few << record_code::ENTRIES_SHIFT);
        }
        _ => {
            let open = record_code::ENTRIES_OPEN << record_code::ENTRIES_SHIFT;
            put.patch(head + 1, entries | open);
            put.byte(entry_code::END);
        }
    }
}

/// Writes all before the entries; returns the second byte, still without their number.
#[inline(never)]
fn put_head<const N: usize>(
    put: &mut Put<'_>,
    span: &SpanView<'_>,
    previous: &Previous,
    texts: &mut Texts<'_, N>,
) -> u8 {
    let (high, low) = (span.word(TRACE), span.word(TRACE + 1));
    let (id, parent) = (span.word(SPAN), span.word(PARENT));
    let remote = span.parent_is_remote();
    let flags = span.flags().to_byte();
    let scope = span.scope();

    let mut more = 0;
    for (bit, code) in [
        (META_RECORD_ONLY, record_code::RECORD_ONLY),
        (META_ESCALATED, record_code::ESCALATED),
        (META_DURATION_UNKNOWN, record_code::DURATION_UNKNOWN),
    ] {
        if span.has(bit) {
            more |= code;
        }
    }
    let scope_at = scope.map(|scope| core::ptr::from_ref(scope).cast());
    if scope_at.is_some() {
        more |= if scope_at == previous.scope {
            record_code::SCOPE_SAME
        } else {
            record_code::SCOPE_NEW
        };
    }

    // Kind and status lie as on the wire.
    const { assert!(META_STATUS_SHIFT - META_KIND_SHIFT == record_code::STATUS_SHIFT) };
    #[expect(clippy::cast_possible_truncation, reason = "five bits")]
    let mut first = (span.word(META) >> META_KIND_SHIFT) as u8 & 0x1f;
    // Word by word: of arrays it would be a call.
    let [previous_high, previous_low] = previous.trace;
    let new_trace = high != previous_high || low != previous_low;
    let span_is_parent = id == previous.parent;
    if new_trace {
        first |= record_code::NEW_TRACE;
    }
    if span_is_parent {
        first |= record_code::SPAN_IS_PARENT;
    }
    if more != 0 {
        first |= record_code::MORE;
    }
    let mut second = match parent {
        0 => record_code::PARENT_NONE,
        p if p == previous.parent && remote == previous.parent_is_remote => {
            record_code::PARENT_SAME
        }
        _ if remote => record_code::PARENT_REMOTE,
        _ => record_code::PARENT_LOCAL,
    };
    if flags != previous.flags {
        second |= record_code::NEW_FLAGS;
    }

    put.bytes(&[first, second]);
    if more != 0 {
        put.byte(more);
    }
    if new_trace {
        put.bytes(span.bytes(TRACE, 16));
    }
    if !span_is_parent {
        put.bytes(span.bytes(SPAN, 8));
    }
    if matches!(
        second & record_code::PARENT_MASK,
        record_code::PARENT_LOCAL | record_code::PARENT_REMOTE
    ) {
        put.bytes(span.bytes(PARENT, 8));
    }
    if flags != previous.flags {
        put.byte(flags);
    }
    // Records come in the order of their ends: those lie close together.
    let end = span.end().0;
    put.signed(end.wrapping_sub(previous.end) as i64);
    put.varint(end.wrapping_sub(span.start().0));
    // SAFETY: a `LocalRecord` refers to nothing but statics.
    unsafe { texts.put(put, span.name_text()) };
    if more & record_code::SCOPE_NEW != 0
        && let Some(InstrumentationScope {
            name,
            version,
            schema_url,
        }) = scope
    {
        for text in [name, version, schema_url] {
            // SAFETY: the scope of a `LocalRecord` is a static with static texts.
            unsafe { texts.put(put, Text { text, by_ref: true }) };
        }
    }
    second
}

/// Writes one entry, if it has a form of its own.
///
/// From the record's words to the wire's bytes directly: through `Value`s it would take the code twice.
///
/// # Safety
/// What the entry refers to must be static.
#[inline(never)]
unsafe fn put_entry<const N: usize>(
    put: &mut Put<'_>,
    entry: RawEntry<'_>,
    span: &SpanView<'_>,
    texts: &mut Texts<'_, N>,
) -> bool {
    let mark = if entry.is_of_item() {
        entry_code::OF_ITEM
    } else {
        0
    };
    let tag = entry.tag();
    // Where the value is, and its bytes.
    let (mut at, mut len) = (1, 8);
    let mut code = match tag {
        TAG_FALSE => entry_code::FALSE,
        TAG_TRUE => entry_code::TRUE,
        TAG_SMALL | TAG_I64 => entry_code::INT,
        TAG_F64 => entry_code::DOUBLE,
        TAG_STR => {
            (at, len) = (2, entry.text_bytes().len());
            entry_code::TEXT
        }
        TAG_REF => entry_code::SYMBOL,
        TAG_VALUE => {
            let word = entry.word(1);
            #[expect(clippy::cast_possible_truncation, reason = "fields of a word")]
            let (n, kind) = (word as u32 as usize, (word >> 32) as u8);
            (at, len) = (2 + entry.copied_key().len().div_ceil(8), n);
            value_code(kind)
        }
        TAG_EVENT => entry_code::EVENT,
        _ => return put_other(put, entry, span, mark),
    };
    let mut symbol = None;
    if code == entry_code::FALSE && tag == TAG_VALUE {
        code = (entry.word(at) & 1) as u8;
    } else if code == entry_code::DOUBLE && entry.word(at) & 0xffff == 0 {
        code = entry_code::DOUBLE_PACKED;
    } else if code == entry_code::SYMBOL {
        // SAFETY: the caller's promise.
        symbol = unsafe { texts.symbol(entry.reference()) };
        if symbol.is_none() {
            code = entry_code::TEXT;
        }
    }
    put.byte(code | mark);
    match tag {
        TAG_VALUE if at != 2 => {
            put.byte(0);
            put.block(entry.copied_key());
        }
        // SAFETY: the caller's promise.
        _ => unsafe { texts.put(put, by_ref(entry.head_text())) },
    }
    match (symbol, tag) {
        (Some(symbol), _) => put.varint32(symbol.number().into()),
        (_, TAG_REF) => put.block(entry.reference().as_bytes()),
        (_, TAG_SMALL) => put.signed(entry.small()),
        (_, TAG_EVENT) => put.signed(entry.word(1).wrapping_sub(span.start().0) as i64),
        _ => put_value(put, code, entry, at, len),
    }
    true
}

fn by_ref(text: &str) -> Text<'_> {
    Text { text, by_ref: true }
}

/// The code of a [`TAG_VALUE`] entry.
fn value_code(kind: u8) -> u8 {
    match kind {
        value_type::I64 => entry_code::INT,
        value_type::F64 => entry_code::DOUBLE,
        value_type::STR => entry_code::TEXT,
        value_type::BOOL_ARRAY => entry_code::BOOLS,
        value_type::I64_ARRAY => entry_code::INTS,
        value_type::F64_ARRAY => entry_code::DOUBLES,
        value_type::STR_ARRAY => entry_code::TEXTS,
        value_type::ANY => entry_code::ANY,
        value_type::BOOL => entry_code::FALSE,
        _ => entry_code::BYTES,
    }
}

/// Writes what follows the key of a value of `len` bytes that begins in word `at`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a record is shorter than 2^18 bytes"
)]
fn put_value(put: &mut Put<'_>, code: u8, entry: RawEntry<'_>, at: usize, len: usize) {
    let end = at + len / 8;
    match code {
        entry_code::FALSE | entry_code::TRUE => {}
        entry_code::DOUBLE_PACKED => put.varint(entry.word(at).swap_bytes()),
        entry_code::INT | entry_code::INTS => {
            if code == entry_code::INTS {
                put.varint32(len as u32 / 8);
            }
            (at..end).for_each(|n| put.signed(entry.word(n) as i64));
        }
        entry_code::DOUBLE | entry_code::DOUBLES => {
            if code == entry_code::DOUBLES {
                put.varint32(len as u32 / 8);
            }
            (at..end).for_each(|n| put.bytes(&entry.word(n).to_le_bytes()));
        }
        entry_code::TEXTS => {
            let mut rest = entry.bytes(at, len);
            let mut count = 0;
            while next_text(&mut rest).is_some() {
                count += 1;
            }
            put.varint32(count);
            rest = entry.bytes(at, len);
            while let Some(text) = next_text(&mut rest) {
                put.block(text);
            }
        }
        // Also booleans: their count is that of their bytes.
        _ => put.block(entry.bytes(at, len)),
    }
}
/// The next text of a packed array.
fn next_text<'a>(packed: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = packed.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(u32::from_ne_bytes(*len) as usize)?;
    *packed = rest;
    Some(text)
}
/// Writes an entry that is neither an attribute nor an event.
fn put_other(put: &mut Put<'_>, entry: RawEntry<'_>, span: &SpanView<'_>, mark: u8) -> bool {
    match entry.tag() {
        TAG_LINK => put_link(put, entry, span),
        TAG_TEXT => return put_text(put, entry, mark),
        TAG_COUNTS => {
            put.byte(entry_code::COUNTS);
            entry
                .counts()
                .into_iter()
                .for_each(|count| put.varint32(count));
        }
        #[expect(clippy::cast_possible_truncation, reason = "32 bits")]
        TAG_ITEM_COUNTS => {
            put.byte(entry_code::ITEM_COUNTS);
            put.varint32(entry.word(0) as u32);
        }
        // In the head.
        _ => return false,
    }
    true
}

fn put_text(put: &mut Put<'_>, entry: RawEntry<'_>, mark: u8) -> bool {
    let code = match (TextKind::from_bits(entry.word(0) >> 48 & 0x7ff), mark) {
        (Some(TextKind::StatusDescription), 0) => entry_code::STATUS_DESCRIPTION,
        (Some(TextKind::TraceState), _) => entry_code::TRACE_STATE | mark,
        (Some(TextKind::Name), entry_code::OF_ITEM) => entry_code::ITEM_NAME,
        // In the head; and a text that no item has.
        _ => return false,
    };
    put.byte(code);
    put.block(entry.text_bytes());
    true
}

fn put_link(put: &mut Put<'_>, entry: RawEntry<'_>, span: &SpanView<'_>) {
    let trace = [entry.word(1), entry.word(2)];
    let own = span.trace_id().to_words();
    let same_trace = trace[0] == own[0] && trace[1] == own[1];
    let head = entry.word(0);
    let mut bits = 0;
    if head & 0x100 != 0 {
        bits |= entry_code::LINK_REMOTE;
    }
    if same_trace {
        bits |= entry_code::LINK_SAME_TRACE;
    }
    #[expect(clippy::cast_possible_truncation, reason = "takes the byte")]
    put.bytes(&[entry_code::LINK, bits, head as u8]);
    put.bytes(
        entry
            .bytes(1, 24)
            .get(if same_trace { 16 } else { 0 }..)
            .unwrap_or_default(),
    );
}

/// Doubles whose low two bytes are zero (every `f32`, most decimals that sensors make) are shorter packed.
pub(super) fn double_code(bits: u64) -> u8 {
    if bits & 0xffff == 0 {
        entry_code::DOUBLE_PACKED
    } else {
        entry_code::DOUBLE
    }
}
