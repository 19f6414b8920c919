//! The cursor: protobuf fields into a fixed buffer.
//!
//! Input: field values. Output: their bytes at the cursor. Bound: the buffer; each function here writes
//! all that it is asked for or nothing.
//!
//! The one place of the encoder with unsafe code: a function computes how many bytes its fields take,
//! checks once that they are there, and then writes unchecked. A check at every write costs about a
//! third more instructions a span.

#![expect(
    clippy::cast_possible_truncation,
    reason = "varints take the low bits on purpose, and lengths below 128 are written as one byte"
)]

use crate::attribute::{StrArray, Value};
use crate::context::SpanContext;

/// What is asked for does not fit into the rest of the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full;

/// Bytes that the varint of `v` takes.
#[inline(always)]
pub(super) const fn varint_len(v: u64) -> usize {
    // ceil(bits / 7) without a division, exact for 1..=64 bits.
    ((64 - (v | 1).leading_zeros()) as usize * 9 + 64) / 64
}

/// Bytes that a length takes.
#[inline(always)]
pub(super) const fn len_len(n: usize) -> usize {
    ((usize::BITS - (n | 1).leading_zeros()) as usize * 9 + 64) / 64
}

/// Writes the varint of `v` to the start of `to`, which must have [`varint_len`] bytes.
pub(super) fn fill_varint(to: &mut [u8], mut v: u64) {
    for byte in to {
        if v < 0x80 {
            *byte = v as u8;
            return;
        }
        *byte = v as u8 | 0x80;
        v >>= 7;
    }
}

/// Keys below this leave room for any number within one length byte.
const SHORT_KEY: usize = 0x60;

/// Field heads: number << 3 | wire type.
pub(super) mod tag {
    pub(crate) const SPAN_TRACE_STATE: u8 = 0x1a;
    pub(crate) const SPAN_ATTRIBUTE: u8 = 0x4a;
    pub(crate) const SPAN_DROPPED_ATTRIBUTES: u8 = 0x50;
    pub(crate) const SPAN_EVENT: u8 = 0x5a;
    pub(crate) const SPAN_DROPPED_EVENTS: u8 = 0x60;
    pub(crate) const SPAN_LINK: u8 = 0x6a;
    pub(crate) const SPAN_DROPPED_LINKS: u8 = 0x70;
    pub(crate) const SPAN_STATUS: u8 = 0x7a;
    pub(crate) const STATUS_MESSAGE: u8 = 0x12;
    pub(crate) const STATUS_CODE: u8 = 0x18;
    pub(crate) const EVENT_NAME: u8 = 0x12;
    pub(crate) const EVENT_ATTRIBUTE: u8 = 0x1a;
    pub(crate) const EVENT_DROPPED_ATTRIBUTES: u8 = 0x20;
    pub(crate) const LINK_TRACE_STATE: u8 = 0x1a;
    pub(crate) const LINK_ATTRIBUTE: u8 = 0x22;
    pub(crate) const LINK_DROPPED_ATTRIBUTES: u8 = 0x28;
    pub(crate) const SCOPE_SPANS_SPAN: u8 = 0x12;
}

/// The fields of a span that every span has.
pub(super) struct SpanHead<'a> {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) parent_id: Option<[u8; 8]>,
    pub(super) name: &'a str,
    /// OTLP's number.
    pub(super) kind: u8,
    pub(super) start_unix_nanos: u64,
    pub(super) end_unix_nanos: u64,
    pub(super) flags: u32,
}

/// A message whose length is not known yet: where its length goes, and how many bytes it was given.
#[derive(Clone, Copy)]
pub(super) struct Open {
    at: usize,
    reserved: usize,
}

/// The buffer and how far it is written. INVARIANT: `pos <= buf.len()`.
pub(super) struct Out<'a> {
    buf: &'a mut [u8],
    pos: usize,
}

impl<'a> Out<'a> {
    /// Writes on at `pos`; [`Full`] if the buffer ends before.
    #[inline(always)]
    pub(super) fn new(buf: &'a mut [u8], pos: usize) -> Result<Self, Full> {
        if pos > buf.len() {
            return Err(Full);
        }
        Ok(Out { buf, pos })
    }
    /// How far the buffer is written.
    #[inline(always)]
    pub(super) fn pos(&self) -> usize {
        self.pos
    }
    /// Takes back what was written after `pos`.
    #[inline(always)]
    pub(super) fn rewind(&mut self, pos: usize) {
        self.pos = self.pos.min(pos);
    }

    /// Lets a rare way write, out of line. It gets the cursor by value and returns its place: a cursor
    /// whose address is taken would live in memory instead of registers.
    #[inline(always)]
    pub(super) fn apart(
        &mut self,
        write: impl FnOnce(Out<'_>) -> Result<usize, Full>,
    ) -> Result<(), Full> {
        self.pos = write(Out {
            buf: self.buf,
            pos: self.pos,
        })?;
        Ok(())
    }

    #[inline(always)]
    fn room(&self, n: usize) -> Result<(), Full> {
        if self.buf.len() - self.pos < n {
            Err(Full)
        } else {
            Ok(())
        }
    }
    /// # Safety
    /// The caller has checked with `room` for all that it writes, this included.
    #[inline(always)]
    unsafe fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        debug_assert!(self.room(N).is_ok());
        // SAFETY: by the caller's check `N` bytes from `pos` are inside `buf`, which we borrow mutably.
        unsafe {
            let to = self.buf.as_mut_ptr().add(self.pos);
            to.cast::<[u8; N]>().write(bytes);
        }
        self.pos += N;
    }
    /// # Safety
    /// As [`put`](Self::put).
    #[inline(always)]
    unsafe fn put_bytes(&mut self, bytes: &[u8]) {
        debug_assert!(self.room(bytes.len()).is_ok());
        // SAFETY: as in `put`; `bytes` is borrowed shared, so it does not overlap `buf`.
        unsafe {
            let to = self.buf.as_mut_ptr().add(self.pos);
            copy(to, bytes.as_ptr(), bytes.len());
        }
        self.pos += bytes.len();
    }
    /// # Safety
    /// As [`put`](Self::put), for [`varint_len`] bytes.
    #[inline(always)]
    unsafe fn put_varint(&mut self, mut v: u64) {
        // SAFETY: the caller's promise: a byte per seven bits.
        unsafe {
            while v >= 0x80 {
                self.put([v as u8 | 0x80]);
                v >>= 7;
            }
            self.put([v as u8]);
        }
    }

    /// Opens a message: its tag, and room for a length of `reserved` bytes.
    #[inline(always)]
    pub(super) fn open(&mut self, tag: u8, reserved: usize) -> Result<Open, Full> {
        self.room(1 + reserved)?;
        // SAFETY: checked.
        unsafe { self.put([tag]) };
        let at = self.pos;
        self.pos += reserved;
        Ok(Open { at, reserved })
    }
    /// Closes the message: fills its length in, or moves its body by the difference first.
    #[inline(always)]
    pub(super) fn close(&mut self, open: Open) -> Result<(), Full> {
        let body = self.pos - open.at - open.reserved;
        let need = len_len(body);
        if need != open.reserved {
            shift(self.buf, open, self.pos, need)?;
        }
        let end = self.pos + need - open.reserved;
        self.pos = open.at;
        // SAFETY: `open` took at least one byte here, and `shift` has made it `need`.
        unsafe { self.put_varint(body as u64) };
        self.pos = end;
        Ok(())
    }

    /// The tag and all fields that every span has; 2 length bytes are right for nearly every span, 1
    /// for one known to be short.
    #[inline(always)]
    pub(super) fn open_span(&mut self, head: &SpanHead<'_>, reserved: usize) -> Result<Open, Full> {
        let name = head.name.len();
        // Ids 18 + 10, parent 10, name, kind 2, times 18, flags 6.
        self.room(1 + reserved + 64 + 1 + len_len(name) + name)?;
        let at = self.pos + 1;
        // SAFETY: checked for the most that these can take.
        unsafe {
            self.put([tag::SCOPE_SPANS_SPAN]);
            self.pos += reserved;
            self.put([0x0a, 16]);
            self.put(head.trace_id);
            self.put([0x12, 8]);
            self.put(head.span_id);
            if let Some(parent) = head.parent_id {
                self.put([0x22, 8]);
                self.put(parent);
            }
            if name != 0 {
                self.put([0x2a]);
                self.put_varint(name as u64);
                self.put_bytes(head.name.as_bytes());
            }
            self.put([0x30, head.kind]);
            if head.start_unix_nanos != 0 {
                self.put([0x39]);
                self.put(head.start_unix_nanos.to_le_bytes());
            }
            if head.end_unix_nanos != 0 {
                self.put([0x41]);
                self.put(head.end_unix_nanos.to_le_bytes());
            }
            self.put([0x85, 0x01]);
            self.put(head.flags.to_le_bytes());
        }
        Ok(Open { at, reserved })
    }

    /// Opens an event of a span; one length byte.
    #[inline(always)]
    pub(super) fn open_event(&mut self, unix_nanos: u64) -> Result<Open, Full> {
        self.room(2 + 9)?;
        let at = self.pos + 1;
        // SAFETY: checked.
        unsafe {
            self.put([tag::SPAN_EVENT, 0]);
            if unix_nanos != 0 {
                self.put([0x09]);
                self.put(unix_nanos.to_le_bytes());
            }
        }
        Ok(Open { at, reserved: 1 })
    }

    /// Opens a link of a span; one length byte.
    #[inline(always)]
    pub(super) fn open_link(&mut self, to: &SpanContext, flags: u32) -> Result<Open, Full> {
        self.room(2 + 18 + 10 + 5)?;
        let at = self.pos + 1;
        // SAFETY: checked.
        unsafe {
            self.put([tag::SPAN_LINK, 0]);
            self.put([0x0a, 16]);
            self.put(to.trace_id().to_bytes());
            self.put([0x12, 8]);
            self.put(to.span_id().to_bytes());
            self.put([0x35]);
            self.put(flags.to_le_bytes());
        }
        Ok(Open { at, reserved: 1 })
    }

    /// A text field, nothing if it is empty.
    #[inline(always)]
    pub(super) fn text(&mut self, tag: u8, text: &str) -> Result<(), Full> {
        let n = text.len();
        if n == 0 {
            return Ok(());
        }
        self.room((1 + len_len(n)).saturating_add(n))?;
        // SAFETY: checked.
        unsafe {
            self.put([tag]);
            self.put_varint(n as u64);
            self.put_bytes(text.as_bytes());
        }
        Ok(())
    }

    /// A number field, nothing if it is zero.
    #[inline(always)]
    pub(super) fn number(&mut self, tag: u8, v: u32) -> Result<(), Full> {
        if v == 0 {
            return Ok(());
        }
        self.room(1 + varint_len(v as u64))?;
        // SAFETY: checked.
        unsafe {
            self.put([tag]);
            self.put_varint(v as u64);
        }
        Ok(())
    }

    /// KeyValue { key = 1, value = 2: AnyValue }, every length known before the first byte.
    ///
    /// Here the attributes in which each length takes one byte, which are nearly all: one dispatch, on
    /// the type of the value.
    #[inline(always)]
    pub(super) fn attribute(&mut self, tag: u8, key: &str, value: Value<'_>) -> Result<(), Full> {
        let k = key.len();
        match value {
            // Texts are at most isize::MAX long each, so that the sum cannot overflow.
            Value::Str(text) | Value::Static(text) if k + text.len() + 6 < 0x80 => {
                let n = text.len();
                self.room(k + n + 8)?;
                // SAFETY: checked.
                unsafe {
                    self.put([tag, (k + n + 6) as u8, 0x0a, k as u8]);
                    self.put_bytes(key.as_bytes());
                    self.put([0x12, (n + 2) as u8, 0x0a, n as u8]);
                    self.put_bytes(text.as_bytes());
                }
            }
            Value::I64(v) if k < SHORT_KEY => {
                let n = varint_len(v as u64);
                self.room(k + n + 7)?;
                // SAFETY: checked.
                unsafe {
                    self.put([tag, (k + n + 5) as u8, 0x0a, k as u8]);
                    self.put_bytes(key.as_bytes());
                    self.put([0x12, (n + 1) as u8, 0x18]);
                    self.put_varint(v as u64);
                }
            }
            Value::Bool(v) if k < SHORT_KEY => {
                self.room(k + 8)?;
                // SAFETY: checked.
                unsafe {
                    self.put([tag, (k + 6) as u8, 0x0a, k as u8]);
                    self.put_bytes(key.as_bytes());
                    self.put([0x12, 2, 0x10, v as u8]);
                }
            }
            Value::F64(v) if k < SHORT_KEY => {
                self.room(k + 15)?;
                // SAFETY: checked.
                unsafe {
                    self.put([tag, (k + 13) as u8, 0x0a, k as u8]);
                    self.put_bytes(key.as_bytes());
                    self.put([0x12, 9, 0x21]);
                    self.put(v.to_bits().to_le_bytes());
                }
            }
            long => return self.apart(|out| out.any_attribute(tag, key, long)),
        }
        Ok(())
    }

    /// The same for any key and value; two passes over an array, one for its length. Returns the new
    /// `pos`.
    #[inline(never)]
    fn any_attribute(mut self, tag: u8, key: &str, value: Value<'_>) -> Result<usize, Full> {
        let array = array_len(&value);
        let of_len = |n: usize| (1 + len_len(n)).saturating_add(n);
        let val = match value {
            Value::Str(text) | Value::Static(text) => of_len(text.len()),
            Value::Bytes(bytes) => of_len(bytes.len()),
            Value::Any(bytes) => bytes.len(),
            Value::I64(v) => 1 + varint_len(v as u64),
            Value::Bool(_) => 2,
            Value::F64(_) => 9,
            _ => of_len(array),
        };
        let k = key.len();
        let body = (2 + len_len(k) + len_len(val) + k).saturating_add(val);
        self.room(body.saturating_add(1 + len_len(body)))?;
        // SAFETY: checked; each arm writes what `val` counts for it, each element what `array_len` does.
        unsafe {
            self.attribute_head(tag, body, key, val);
            match value {
                Value::Str(text) | Value::Static(text) => self.put_text(text),
                Value::Any(bytes) => self.put_bytes(bytes),
                Value::Bytes(bytes) => {
                    self.put([0x3a]);
                    self.put_varint(bytes.len() as u64);
                    self.put_bytes(bytes);
                }
                Value::Bool(v) => self.put([0x10, v as u8]),
                Value::I64(v) => {
                    self.put([0x18]);
                    self.put_varint(v as u64);
                }
                Value::F64(v) => {
                    self.put([0x21]);
                    self.put(v.to_bits().to_le_bytes());
                }
                _ => {
                    self.put([0x2a]);
                    self.put_varint(array as u64);
                    self.put_elements(&value);
                }
            }
        }
        Ok(self.pos)
    }

    /// # Safety
    /// As [`put`](Self::put), for the heads and the key.
    #[inline(always)]
    unsafe fn attribute_head(&mut self, tag: u8, body: usize, key: &str, val: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            self.put([tag]);
            self.put_varint(body as u64);
            self.put([0x0a]);
            self.put_varint(key.len() as u64);
            self.put_bytes(key.as_bytes());
            self.put([0x12]);
            self.put_varint(val as u64);
        }
    }
    /// # Safety
    /// As [`put`](Self::put), for the AnyValue's body.
    #[inline(always)]
    unsafe fn put_text(&mut self, text: &str) {
        // SAFETY: the caller's promise.
        unsafe {
            self.put([0x0a]);
            self.put_varint(text.len() as u64);
            self.put_bytes(text.as_bytes());
        }
    }
    /// # Safety
    /// As [`put`](Self::put), for [`array_len`] bytes.
    unsafe fn put_elements(&mut self, value: &Value<'_>) {
        // SAFETY: the caller's promise.
        unsafe {
            match value {
                Value::BoolArray(items) => {
                    for v in *items {
                        self.put([0x0a, 2, 0x10, *v as u8]);
                    }
                }
                Value::F64Array(items) => {
                    for v in *items {
                        self.put([0x0a, 9, 0x21]);
                        self.put(v.to_bits().to_le_bytes());
                    }
                }
                Value::I64Array(items) => {
                    for v in *items {
                        self.put([0x0a, 1 + varint_len(*v as u64) as u8, 0x18]);
                        self.put_varint(*v as u64);
                    }
                }
                Value::StrArray(texts) => {
                    for text in texts.iter() {
                        let any = 1 + len_len(text.len()) + text.len();
                        self.put([0x0a]);
                        self.put_varint(any as u64);
                        self.put_text(text);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Bytes that the elements of an array take: an AnyValue field each.
fn array_len(value: &Value<'_>) -> usize {
    match value {
        Value::BoolArray(items) => items.len().saturating_mul(4),
        Value::F64Array(items) => items.len().saturating_mul(11),
        Value::I64Array(items) => items
            .iter()
            .fold(0, |n: usize, v| n.saturating_add(3 + varint_len(*v as u64))),
        Value::StrArray(texts) => str_array_len(texts),
        _ => 0,
    }
}
fn str_array_len(texts: &StrArray<'_>) -> usize {
    texts.iter().fold(0, |n: usize, text| {
        let any = 1 + len_len(text.len()) + text.len();
        n.saturating_add(1 + len_len(any)).saturating_add(any)
    })
}

/// Moves a message's body so that its length has `need` bytes.
#[cold]
#[inline(never)]
fn shift(buf: &mut [u8], open: Open, end: usize, need: usize) -> Result<(), Full> {
    let (from, to) = (open.at + open.reserved, open.at + need);
    if from > end || end > buf.len() || buf.len() - end < need.saturating_sub(open.reserved) {
        return Err(Full);
    }
    buf.copy_within(from..end, to);
    Ok(())
}

/// Copies `from` to the start of `to`, as far as it has room: [`copy`].
#[inline(always)]
pub(super) fn copy_short(to: &mut [u8], from: &[u8]) {
    // SAFETY: both have that many bytes, and one of them is borrowed mutably, so they do not overlap.
    unsafe { copy(to.as_mut_ptr(), from.as_ptr(), from.len().min(to.len())) }
}

/// Copies `n` bytes; up to 32 of them with overlapping loads and stores, because for the texts of spans
/// the call of `memcpy` costs more than the copy.
///
/// # Safety
/// As `ptr::copy_nonoverlapping`.
#[inline(always)]
unsafe fn copy(to: *mut u8, from: *const u8, n: usize) {
    const UNALIGNED_IS_FAST: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    // SAFETY: every load and store is inside `n` bytes from the start: a pair covers 2 × its width, and
    // `n` is at least the width and at most twice.
    unsafe {
        if !UNALIGNED_IS_FAST || n > 32 {
            core::ptr::copy_nonoverlapping(from, to, n);
        } else if n >= 8 {
            if n <= 16 {
                pair::<u64>(to, from, n);
            } else {
                pair::<u128>(to, from, n);
            }
        } else if n >= 4 {
            pair::<u32>(to, from, n);
        } else if n > 0 {
            // First, middle and last byte.
            let (a, b, c) = (*from, *from.add(n >> 1), *from.add(n - 1));
            *to = a;
            *to.add(n >> 1) = b;
            *to.add(n - 1) = c;
        }
    }
}
/// # Safety
/// `n` bytes must be readable and writable, `n` being at least the size of `T`.
#[inline(always)]
unsafe fn pair<T: Copy>(to: *mut u8, from: *const u8, n: usize) {
    let last = n - size_of::<T>();
    // SAFETY: the first and the last `size_of::<T>()` of the caller's `n` bytes.
    unsafe {
        let a = from.cast::<T>().read_unaligned();
        let b = from.add(last).cast::<T>().read_unaligned();
        to.cast::<T>().write_unaligned(a);
        to.add(last).cast::<T>().write_unaligned(b);
    }
}
