//! Hex without vectors: as many digits at a time as a machine word holds.
//!
//! Compact first (this is what firmware and WASM carry): one loop body for both ids, no table.

use super::{Fields, LEN};
use word::{BYTES, Word, pack, spread};

/// WASM has 64-bit arithmetic whatever its pointers are.
#[cfg(any(target_pointer_width = "64", target_arch = "wasm32"))]
mod word {
    pub(super) type Word = u64;
    pub(super) const BYTES: usize = 8;

    /// The low byte of each 16-bit lane, side by side.
    #[inline(always)]
    pub(super) const fn pack(lanes: Word) -> [u8; 4] {
        let pairs = (lanes | lanes >> 8) & 0x0000_ffff_0000_ffff;
        let [a, b, _, _, c, d, _, _] = pairs.to_le_bytes();
        [a, b, c, d]
    }
    /// Each byte into the low half of a 16-bit lane.
    #[inline(always)]
    pub(super) const fn spread(bytes: [u8; 4]) -> Word {
        let x = u32::from_le_bytes(bytes) as u64;
        let x = (x | x << 16) & 0x0000_ffff_0000_ffff;
        (x | x << 8) & 0x00ff_00ff_00ff_00ff
    }
}

#[cfg(not(any(target_pointer_width = "64", target_arch = "wasm32")))]
mod word {
    pub(super) type Word = u32;
    pub(super) const BYTES: usize = 4;

    /// The low byte of each 16-bit lane, side by side.
    #[inline(always)]
    pub(super) const fn pack(lanes: Word) -> [u8; 2] {
        let [a, _, b, _] = lanes.to_le_bytes();
        [a, b]
    }
    /// Each byte into the low half of a 16-bit lane.
    #[inline(always)]
    pub(super) const fn spread(bytes: [u8; 2]) -> Word {
        let [a, b] = bytes;
        u32::from_le_bytes([a, 0, b, 0])
    }
}

const HALF: usize = BYTES / 2;

/// `byte` in every byte of a word.
const fn each(byte: u8) -> Word {
    Word::from_le_bytes([byte; BYTES])
}

/// Hex digits to their values; the second word has a top bit clear for each byte that is no digit.
///
/// No sum crosses a byte: the top bits are masked off first, and 0x7f + 0x50 < 0x100.
#[inline(always)]
const fn nibbles(text: Word) -> (Word, Word) {
    let low7 = text & each(0x7f);
    let from_0 = low7 + each(0x80 - b'0');
    let past_9 = low7 + each(0x7f - b'9');
    let from_a = low7 + each(0x80 - b'a');
    let past_f = low7 + each(0x7f - b'f');
    let ok = ((from_0 & !past_9) | (from_a & !past_f)) & !text;
    // Letters have bit 6 and a low nibble one too small for their place after '9'.
    let letter = text >> 6 & each(0x01);
    ((text & each(0x0f)) + letter * 9, ok)
}

/// `text` to half as many bytes; clears top bits of `ok` where a byte is no digit.
#[inline(always)]
fn decode<const DIGITS: usize, const N: usize>(
    text: &[u8; DIGITS],
    out: &mut [u8; N],
    ok: &mut Word,
) {
    let words = text.as_chunks::<BYTES>().0;
    for (text, out) in words.iter().zip(out.as_chunks_mut::<HALF>().0) {
        let (values, good) = nibbles(Word::from_le_bytes(*text));
        *ok &= good;
        *out = pack((values << 4 | values >> 8) & lanes());
    }
}

/// The low byte of every 16-bit lane.
const fn lanes() -> Word {
    Word::MAX / 0xffff * 0xff
}

/// `None` if a byte is neither the digit nor the dash that belongs there.
#[inline]
pub(crate) fn decode_fields(text: &[u8; LEN]) -> Option<Fields> {
    let [v0, v1, dash_0, rest @ ..] = text;
    let (trace_text, rest) = rest.split_first_chunk::<32>()?;
    let [dash_1, rest @ ..] = rest else {
        return None;
    };
    let (span_text, rest) = rest.split_first_chunk::<16>()?;
    let [dash_2, f0, f1] = rest else {
        return None;
    };

    let mut ok = each(0x80);
    let mut trace = [0; 16];
    let mut span = [0; 8];
    decode(trace_text, &mut trace, &mut ok);
    decode(span_text, &mut span, &mut ok);
    let version = super::byte(*v0, *v1);
    let flags = super::byte(*f0, *f1);

    let dashes = (*dash_0 ^ b'-') | (*dash_1 ^ b'-') | (*dash_2 ^ b'-');
    if ok & each(0x80) != each(0x80) || dashes != 0 {
        return None;
    }
    let (trace, _) = trace.as_chunks::<8>();
    let [high, low] = trace else { return None };
    Some(Fields {
        version: u8::try_from(version).ok()?,
        trace: [u64::from_ne_bytes(*high), u64::from_ne_bytes(*low)],
        span: u64::from_ne_bytes(span),
        flags: u8::try_from(flags).ok()?,
    })
}

/// Bytes to twice as many digits.
#[inline(always)]
fn encode<const N: usize, const DIGITS: usize>(bytes: &[u8; N], out: &mut [u8; DIGITS]) {
    let halves = bytes.as_chunks::<HALF>().0;
    for (bytes, out) in halves.iter().zip(out.as_chunks_mut::<BYTES>().0) {
        let lanes = spread(*bytes);
        let values = (lanes >> 4 | lanes << 8) & each(0x0f);
        // 10 and up carry into bit 4, and then need 39 more to reach 'a'.
        let letter = (values + each(6)) >> 4 & each(0x01);
        *out = (values + each(b'0') + letter * 39).to_le_bytes();
    }
}

/// Version 00 with the given words; `flags` below 16.
#[inline]
pub(crate) fn encode_fields(trace: [u64; 2], span: u64, flags: u8, out: &mut [u8; LEN]) {
    let [v0, v1, dash_0, rest @ ..] = out;
    (*v0, *v1, *dash_0) = (b'0', b'0', b'-');
    let Some((trace_text, [dash_1, rest @ ..])) = rest.split_first_chunk_mut::<32>() else {
        return;
    };
    *dash_1 = b'-';
    let [high, low] = trace;
    let [a, b, c, d, e, f, g, h] = high.to_ne_bytes();
    let [i, j, k, l, m, n, o, p] = low.to_ne_bytes();
    encode(
        &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p],
        trace_text,
    );
    let Some((span_text, [dash_2, f0, f1])) = rest.split_first_chunk_mut::<16>() else {
        return;
    };
    encode(&span.to_ne_bytes(), span_text);
    (*dash_2, *f0, *f1) = (b'-', b'0', b'0' + (flags & 0x0f));
}
