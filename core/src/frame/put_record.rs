//! A record as wire bytes.
//!
//! Input: a [`LocalRecord`], the device's dictionary, what the frame's previous record was. Output: bytes
//! in the frame's buffer. Bound: one pass over the record; what does not fit leaves the buffer "full" and
//! the caller takes everything back.

use super::dictionary::{Dictionary, Symbol};
use super::primitive::{Put, varint_len};
use super::{entry_code, record_code};
use crate::SpanContext;
use crate::attribute::Value;
use crate::record::{
    Entry, InstrumentationScope, LocalRecord, META_DURATION_UNKNOWN, META_ESCALATED,
    META_RECORD_ONLY, SpanView, Text, TextKind,
};

/// New texts that one frame announces at most; more go inline.
const PENDING: usize = 24;

/// The symbols that the frame under construction announces.
#[derive(Debug)]
pub(super) struct Pending {
    symbols: heapless::Vec<Symbol, PENDING>,
    /// What their announcements take.
    pub(super) bytes: usize,
}

impl Pending {
    pub(super) const fn new() -> Self {
        Pending {
            symbols: heapless::Vec::new(),
            bytes: 0,
        }
    }
    pub(super) fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }
    pub(super) fn len(&self) -> usize {
        self.symbols.len()
    }
    /// Takes a text up. `false`: there is no room.
    pub(super) fn add<const N: usize>(
        &mut self,
        symbol: Symbol,
        dictionary: &Dictionary<N>,
    ) -> bool {
        let taken = self.symbols.push(symbol).is_ok();
        if taken {
            self.bytes += announcement_len(symbol, dictionary.text(symbol));
        }
        taken
    }
    /// Takes back all but the first `len`.
    pub(super) fn withdraw<const N: usize>(&mut self, len: usize, dictionary: &mut Dictionary<N>) {
        while self.symbols.len() > len
            && let Some(symbol) = self.symbols.pop()
        {
            self.bytes -= announcement_len(symbol, dictionary.text(symbol));
            dictionary.withdraw(symbol);
        }
    }
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.bytes = 0;
    }
}

pub(super) fn announcement_len(symbol: Symbol, text: &str) -> usize {
    varint_len(symbol.number() as u64) + varint_len(text.len() as u64) + text.len()
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
            Some(symbol) => put.varint(symbol.number() as u64),
            None => {
                put.byte(0);
                put.block(text.text.as_bytes());
            }
        }
    }
}

/// Writes `record` and makes it the previous one.
pub(super) fn put_record<const N: usize>(
    put: &mut Put<'_>,
    record: &LocalRecord<'_>,
    previous: &mut Previous,
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
    for entry in span.entries() {
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
fn put_head<const N: usize>(
    put: &mut Put<'_>,
    span: &SpanView<'_>,
    previous: &mut Previous,
    texts: &mut Texts<'_, N>,
) -> u8 {
    let trace = span.trace_id().to_words();
    let id = span.span_id().to_word();
    let parent = span.parent_id().map_or(0, |id| id.to_word());
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
        previous.scope = scope_at;
    }

    let mut first = span.kind().to_wire() | span.status().to_wire() << record_code::STATUS_SHIFT;
    let new_trace = trace != previous.trace;
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
        put.bytes(&span.trace_id().to_bytes());
    }
    if !span_is_parent {
        put.bytes(&span.span_id().to_bytes());
    }
    if matches!(
        second & record_code::PARENT_MASK,
        record_code::PARENT_LOCAL | record_code::PARENT_REMOTE
    ) {
        put.bytes(&parent.to_ne_bytes());
    }
    if flags != previous.flags {
        put.byte(flags);
    }
    // Records come in the order of their ends: those lie close together.
    put.signed(span.end().0.wrapping_sub(previous.end) as i64);
    put.varint(span.end().0.wrapping_sub(span.start().0));
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
    *previous = Previous {
        trace,
        parent,
        parent_is_remote: remote,
        end: span.end().0,
        flags,
        scope: previous.scope,
    };
    second
}

/// Writes one entry, if it has a form of its own.
///
/// # Safety
/// What the entry refers to must be static.
unsafe fn put_entry<const N: usize>(
    put: &mut Put<'_>,
    entry: Entry<'_>,
    span: &SpanView<'_>,
    texts: &mut Texts<'_, N>,
) -> bool {
    match entry {
        Entry::Attribute {
            of_item,
            key,
            value,
            value_by_ref,
        } => {
            let of_item = if of_item { entry_code::OF_ITEM } else { 0 };
            let symbol = match value {
                // SAFETY: the caller's promise.
                Value::Str(text) if value_by_ref => unsafe { texts.symbol(text) },
                _ => None,
            };
            let code = match symbol {
                Some(_) => entry_code::SYMBOL,
                None => value_code(&value),
            };
            put.byte(code | of_item);
            // SAFETY: the caller's promise.
            unsafe { texts.put(put, key) };
            match symbol {
                Some(symbol) => put.varint(symbol.number() as u64),
                None => put_value(put, &value),
            }
        }
        Entry::Event { name, ticks } => {
            put.byte(entry_code::EVENT);
            // SAFETY: the caller's promise.
            unsafe { texts.put(put, name) };
            put.signed(ticks.0.wrapping_sub(span.start().0) as i64);
        }
        Entry::Link(context) => put_link(put, &context, span),
        Entry::Text(TextKind::StatusDescription, text) => {
            put.byte(entry_code::STATUS_DESCRIPTION);
            put.block(text.as_bytes());
        }
        Entry::Text(TextKind::TraceState, text) => {
            put.byte(entry_code::TRACE_STATE);
            put.block(text.as_bytes());
        }
        Entry::ItemText(TextKind::TraceState, text) => {
            put.byte(entry_code::TRACE_STATE | entry_code::OF_ITEM);
            put.block(text.as_bytes());
        }
        Entry::ItemText(TextKind::Name, text) => {
            put.byte(entry_code::ITEM_NAME);
            put.block(text.as_bytes());
        }
        Entry::Counts(counts) => {
            put.byte(entry_code::COUNTS);
            for count in counts {
                put.varint(count as u64);
            }
        }
        Entry::ItemCounts(dropped) => {
            put.byte(entry_code::ITEM_COUNTS);
            put.varint(dropped as u64);
        }
        // In the head; and a text that no item has.
        Entry::Scope(_)
        | Entry::End(_)
        | Entry::Text(TextKind::Name, _)
        | Entry::ItemText(TextKind::StatusDescription, _) => return false,
    }
    true
}

fn put_link(put: &mut Put<'_>, context: &SpanContext, span: &SpanView<'_>) {
    let same_trace = context.trace_id() == span.trace_id();
    let mut bits = 0;
    if context.is_remote() {
        bits |= entry_code::LINK_REMOTE;
    }
    if same_trace {
        bits |= entry_code::LINK_SAME_TRACE;
    }
    put.bytes(&[entry_code::LINK, bits, context.flags().to_byte()]);
    if !same_trace {
        put.bytes(&context.trace_id().to_bytes());
    }
    put.bytes(&context.span_id().to_bytes());
}

/// Doubles whose low two bytes are zero (every `f32`, most decimals that sensors make) are shorter packed.
fn is_packed(value: f64) -> bool {
    value.to_bits() & 0xffff == 0
}

/// The code of a value; what follows it is [`put_value`]'s.
pub(super) fn value_code(value: &Value<'_>) -> u8 {
    match value {
        Value::Bool(false) => entry_code::FALSE,
        Value::Bool(true) => entry_code::TRUE,
        Value::I64(_) => entry_code::INT,
        Value::F64(v) if is_packed(*v) => entry_code::DOUBLE_PACKED,
        Value::F64(_) => entry_code::DOUBLE,
        Value::Str(_) | Value::Static(_) => entry_code::TEXT,
        Value::Bytes(_) => entry_code::BYTES,
        Value::BoolArray(_) => entry_code::BOOLS,
        Value::I64Array(_) => entry_code::INTS,
        Value::F64Array(_) => entry_code::DOUBLES,
        Value::StrArray(_) => entry_code::TEXTS,
        Value::Any(_) => entry_code::ANY,
    }
}

pub(super) fn put_value(put: &mut Put<'_>, value: &Value<'_>) {
    match value {
        Value::Bool(_) => {}
        Value::I64(v) => put.signed(*v),
        Value::F64(v) if is_packed(*v) => put.varint(v.to_bits().swap_bytes()),
        Value::F64(v) => put.bytes(&v.to_bits().to_le_bytes()),
        Value::Str(text) => put.block(text.as_bytes()),
        Value::Static(text) => put.block(text.as_bytes()),
        Value::Bytes(bytes) | Value::Any(bytes) => put.block(bytes),
        Value::BoolArray(items) => {
            put.varint(items.len() as u64);
            items.iter().for_each(|item| put.byte(*item as u8));
        }
        Value::I64Array(items) => {
            put.varint(items.len() as u64);
            items.iter().for_each(|item| put.signed(*item));
        }
        Value::F64Array(items) => {
            put.varint(items.len() as u64);
            for item in *items {
                put.bytes(&item.to_bits().to_le_bytes());
            }
        }
        Value::StrArray(texts) => {
            put.varint(texts.iter().count() as u64);
            texts.iter().for_each(|text| put.block(text.as_bytes()));
        }
    }
}
