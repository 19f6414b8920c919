//! Hex without vectors: as many digits at a time as a machine word holds.
//!
//! Compact first (this is what firmware and WASM carry): one loop body for both ids, no table.

use super::{Fields, LEN};
use word::{BYTES, Word, pack, spread};

/// The width of pointers decides, in WASM too: 64-bit constants there cost up to ten bytes each.
#[cfg(target_pointer_width = "64")]
mod word {
    pub(super) type Word = u64;
    pub(super) const BYTES: usize = 8;

    /// The low byte of each 16-bit lane, side by side.
    #[inline(always)]
    pub(super) const fn pack(lanes: Word) -> [u8; 4] {
        let pairs = (lanes | lanes >> 8) & 0x0000_ffff_0000_ffff;
        let [a, b, c, d, ..] = (pairs | pairs >> 16).to_le_bytes();
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

#[cfg(not(target_pointer_width = "64"))]
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

/// 16 digits to the 8 bytes of a word in memory order; clears `ok` if one is no digit.
///
/// Out of line: inlined and unrolled three times it would triple the code.
#[inline(never)]
fn decode(text: &[u8; 16], ok: &mut Word) -> u64 {
    let mut bytes = [0; 8];
    let words = text.as_chunks::<BYTES>().0;
    for (text, out) in words.iter().zip(bytes.as_chunks_mut::<HALF>().0) {
        let (values, good) = nibbles(Word::from_le_bytes(*text));
        *ok &= good;
        *out = pack((values << 4 | values >> 8) & (Word::MAX / 0xffff * 0xff));
    }
    u64::from_ne_bytes(bytes)
}

/// `None` if a byte is neither the digit nor the dash that belongs there.
#[inline]
pub(crate) fn decode_fields(text: &[u8; LEN]) -> Option<Fields> {
    let [v0, v1, dash_0, rest @ ..] = text;
    let (t0, rest) = rest.split_first_chunk()?;
    let (t1, rest) = rest.split_first_chunk()?;
    let (dash_1, rest) = rest.split_first()?;
    let (span, rest) = rest.split_first_chunk()?;
    let [dash_2, f0, f1] = rest else {
        return None;
    };
    let mut ends = [b'0'; 16];
    [ends[0], ends[1], ends[2], ends[3]] = [*v0, *v1, *f0, *f1];

    let mut ok = each(0x80);
    let trace = [decode(t0, &mut ok), decode(t1, &mut ok)];
    let span = decode(span, &mut ok);
    let [version, flags, ..] = decode(&ends, &mut ok).to_ne_bytes();
    let dashes = (*dash_0 ^ b'-') | (*dash_1 ^ b'-') | (*dash_2 ^ b'-');
    if ok != each(0x80) || dashes != 0 {
        return None;
    }
    Some(Fields {
        version,
        trace,
        span,
        flags,
    })
}

/// The 8 bytes of a word in memory order to 16 digits. Out of line as [`decode`] is.
#[inline(never)]
fn encode(word: u64, out: &mut [u8; 16]) {
    let bytes = word.to_ne_bytes();
    let halves = bytes.as_chunks().0;
    for (bytes, out) in halves.iter().zip(out.as_chunks_mut().0) {
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
    let Some((t0, rest)) = rest.split_first_chunk_mut() else {
        return;
    };
    let Some((t1, [dash_1, rest @ ..])) = rest.split_first_chunk_mut() else {
        return;
    };
    let Some((s, [dash_2, f0, f1])) = rest.split_first_chunk_mut() else {
        return;
    };
    (*v0, *v1, *dash_0, *dash_1, *dash_2) = (b'0', b'0', b'-', b'-', b'-');
    (*f0, *f1) = (b'0', b'0' + (flags & 0x0f));
    encode(trace[0], t0);
    encode(trace[1], t1);
    encode(span, s);
}
