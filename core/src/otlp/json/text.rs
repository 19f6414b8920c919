//! JSON's tokens into a fixed buffer. Each function writes its token or reports that there is no room.

use super::{Full, copy_short};
use crate::context::hex_text::{self, kernel::encode_fields};

/// The buffer and how far it is written.
pub(super) struct Json<'a> {
    buf: &'a mut [u8],
    pos: usize,
}

impl<'a> Json<'a> {
    pub(super) fn new(buf: &'a mut [u8], pos: usize) -> Self {
        Json { buf, pos }
    }
    pub(super) fn pos(&self) -> usize {
        self.pos
    }
    /// Takes back what was written after `pos`.
    pub(super) fn rewind(&mut self, pos: usize) {
        self.pos = self.pos.min(pos);
    }
    pub(super) fn slice(&self, from: usize, to: usize) -> Option<&[u8]> {
        self.buf.get(from..to)
    }
    fn take(&mut self, n: usize) -> Result<&mut [u8], Full> {
        let end = self.pos.checked_add(n).ok_or(Full)?;
        let slot = self.buf.get_mut(self.pos..end).ok_or(Full)?;
        self.pos = end;
        Ok(slot)
    }
    #[inline(always)]
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.take(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
    /// As [`put`](Self::put), for what is a few bytes and how many is not known here.
    #[inline(always)]
    pub(super) fn put_short(&mut self, bytes: &[u8]) -> Result<(), Full> {
        copy_short(self.take(bytes.len())?, bytes);
        Ok(())
    }
    /// Lowercase hex.
    pub(super) fn hex(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let slot = self.take(bytes.len().saturating_mul(2))?;
        hex::encode_to_slice(bytes, slot).map_err(|_| Full)
    }
    /// A number without quotes.
    #[expect(clippy::cast_possible_truncation, reason = "below 10^8")]
    pub(super) fn unsigned(&mut self, v: u64) -> Result<(), Full> {
        const E8: u64 = 100_000_000;
        if v < E8 {
            return self.up_to_eight(v as u32);
        }
        let (high, low) = (v / E8, (v % E8) as u32);
        if high < E8 {
            self.up_to_eight(high as u32)?;
        } else {
            self.up_to_eight((high / E8) as u32)?;
            self.put(&eight_digits((high % E8) as u32))?;
        }
        self.put(&eight_digits(low))
    }
    /// A number below 10^8 without leading zeros.
    fn up_to_eight(&mut self, v: u32) -> Result<(), Full> {
        let digits = eight_digits(v);
        // The first digit that is no zero, or the last.
        let values = u64::from_le_bytes(digits) ^ ZEROS;
        let zeros = (values.trailing_zeros() / 8).min(7) as usize;
        self.put_short(digits.get(zeros..).unwrap_or(&[]))
    }
    /// A number without quotes.
    pub(super) fn signed(&mut self, v: i64) -> Result<(), Full> {
        if v < 0 {
            self.put(b"-")?;
        }
        self.unsigned(v.unsigned_abs())
    }
    /// The shortest number that reads back as `v`, or a string for what is no number.
    pub(super) fn double(&mut self, v: f64) -> Result<(), Full> {
        if v.is_nan() {
            return self.put(br#""NaN""#);
        }
        if v.is_infinite() {
            return self.put(if v > 0.0 {
                br#""Infinity""#
            } else {
                br#""-Infinity""#
            });
        }
        use core::fmt::Write;
        write!(self, "{v:?}").map_err(|_| Full)
    }
    /// A string in quotes.
    pub(super) fn string(&mut self, text: &str) -> Result<(), Full> {
        let bytes = text.as_bytes();
        if has_special(bytes) {
            return self.escaped(bytes);
        }
        let slot = self.take(bytes.len().saturating_add(2))?;
        if let [open, inside @ .., close] = slot {
            (*open, *close) = (b'"', b'"');
            copy_short(inside, bytes);
        }
        Ok(())
    }
    /// `head`, the text as it is, `tail`; or `false` and nothing, if the text is not ASCII that stands for itself.
    #[inline(always)]
    pub(super) fn plain(&mut self, head: &[u8], text: &[u8], tail: &[u8]) -> Result<bool, Full> {
        if !is_plain(text) {
            return Ok(false);
        }
        let slot = self.take(head.len() + text.len().saturating_add(tail.len()))?;
        if let Some((to, rest)) = slot.split_at_mut_checked(head.len()) {
            to.copy_from_slice(head);
            if let Some((to, rest)) = rest.split_at_mut_checked(text.len()) {
                copy_short(to, text);
                rest.copy_from_slice(tail);
            }
        }
        Ok(true)
    }
    /// Lowercase hex in quotes; that of ids by vectors where there are some.
    #[inline(always)]
    pub(super) fn quoted_hex(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let mut digits = [0; hex_text::LEN];
        let text = if let Ok(id) = <&[u8; 16]>::try_from(bytes) {
            let [a, b, ..] = id.as_chunks().0 else {
                return Err(Full);
            };
            let words = [u64::from_ne_bytes(*a), u64::from_ne_bytes(*b)];
            encode_fields(words, 0, 0, &mut digits);
            digits.get(hex_text::TRACE..hex_text::TRACE + 32)
        } else if let Ok(id) = <[u8; 8]>::try_from(bytes) {
            encode_fields([0; 2], u64::from_ne_bytes(id), 0, &mut digits);
            digits.get(hex_text::SPAN..hex_text::SPAN + 16)
        } else {
            None
        };
        let Some(text) = text else {
            self.put(b"\"")?;
            self.hex(bytes)?;
            return self.put(b"\"");
        };
        if let [open, inside @ .., close] = self.take(text.len() + 2)? {
            (*open, *close) = (b'"', b'"');
            copy_short(inside, text);
        }
        Ok(())
    }
    #[cold]
    fn escaped(&mut self, mut rest: &[u8]) -> Result<(), Full> {
        self.put(b"\"")?;
        while let Some(n) = rest.iter().position(|b| is_special(*b)) {
            let Some((plain, [special, after @ ..])) = rest.split_at_checked(n) else {
                break;
            };
            self.put(plain)?;
            self.escape(*special)?;
            rest = after;
        }
        self.put(rest)?;
        self.put(b"\"")
    }
    #[cold]
    fn escape(&mut self, byte: u8) -> Result<(), Full> {
        match byte {
            b'"' => self.put(br#"\""#),
            b'\\' => self.put(br"\\"),
            b'\n' => self.put(br"\n"),
            b'\r' => self.put(br"\r"),
            b'\t' => self.put(br"\t"),
            control => {
                self.put(br"\u00")?;
                self.hex(&[control])
            }
        }
    }
    /// Standard base64 with padding, in quotes.
    pub(super) fn base64(&mut self, bytes: &[u8]) -> Result<(), Full> {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        self.put(b"\"")?;
        for three in bytes.chunks(3) {
            let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            let mut four = [b'='; 4];
            for (i, to) in four.iter_mut().take(three.len() + 1).enumerate() {
                let digit = DIGITS.get((bits >> (18 - 6 * i) & 63) as usize);
                *to = digit.copied().unwrap_or(b'=');
            }
            self.put(&four)?;
        }
        self.put(b"\"")
    }
}

impl core::fmt::Write for Json<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.put(text.as_bytes()).map_err(|_| core::fmt::Error)
    }
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether bytes are ASCII without what needs an escape, eight at a time; the last eight overlap.
#[inline(always)]
fn is_plain(bytes: &[u8]) -> bool {
    const fn odd_in(word: [u8; 8]) -> u64 {
        special_in(word) | u64::from_ne_bytes(word) & u64::from_ne_bytes([0x80; 8])
    }
    match (bytes.last_chunk(), bytes.first_chunk(), bytes.last_chunk()) {
        (Some(last), ..) => {
            let words = bytes.as_chunks().0.iter().chain([last]);
            words.fold(0, |found, word| found | odd_in(*word)) == 0
        }
        (None, Some([a, b, c, d]), Some([e, f, g, h])) => {
            odd_in([*a, *b, *c, *d, *e, *f, *g, *h]) == 0
        }
        _ => !bytes.iter().any(|b| is_special(*b) || *b >= 0x80),
    }
}
/// Whether a text needs escapes, eight bytes at a time; the last eight overlap.
fn has_special(bytes: &[u8]) -> bool {
    match bytes.last_chunk() {
        Some(last) => {
            let words = bytes.as_chunks().0.iter().chain([last]);
            words.fold(0, |found, word| found | special_in(*word)) != 0
        }
        None => bytes.iter().any(|b| is_special(*b)),
    }
}
/// Not zero if one of eight bytes [`is_special`].
#[inline(always)]
const fn special_in(word: [u8; 8]) -> u64 {
    /// Not zero if a byte of `word` is below `limit`, which is at most 0x80: only then does the lowest
    /// such byte borrow into a top bit that was clear.
    const fn below(word: u64, limit: u8) -> u64 {
        word.wrapping_sub(each(limit)) & !word & each(0x80)
    }
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let word = u64::from_ne_bytes(word);
    below(word, 0x20) | below(word ^ each(b'"'), 1) | below(word ^ each(b'\\'), 1)
}

const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);

/// A number below 10^8 with leading zeros: halves, pairs and digits side by side in one word, for three
/// multiplications instead of seven divisions.
#[inline(always)]
const fn eight_digits(v: u32) -> [u8; 8] {
    let halves = (v / 10_000) as u64 | ((v % 10_000) as u64) << 32;
    // n / 100 is n * 10486 >> 20 below 10^4, and n / 10 is n * 103 >> 10 below 100.
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (halves - hundreds * 100) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | (pairs - tens * 10) << 8;
    (digits | ZEROS).to_le_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]
    use super::*;
    use std::string::ToString;

    #[test]
    fn numbers_are_as_the_standard_library_writes_them() {
        let check = |v: u64| {
            let mut buf = [0; 20];
            let mut out = Json::new(&mut buf, 0);
            out.unsigned(v).unwrap();
            let len = out.pos();
            assert_eq!(buf[..len], *v.to_string().as_bytes());
        };
        for half in 0..10_000 {
            check(half);
            check(half * 10_000 + 1);
        }
        for power in 0..20 {
            let v = 10u64.pow(power);
            [v - 1, v, v + 1].into_iter().for_each(check);
        }
        check(u64::MAX);
    }

    #[test]
    fn finds_what_needs_an_escape_at_every_place() {
        for byte in 0..=u8::MAX {
            for len in 1..20 {
                for at in 0..len {
                    for rest in [b'a', 0x7f, 0xff, b'!', b'#', b' ', b'[', b']'] {
                        let mut text = [rest; 20];
                        text[at] = byte;
                        assert_eq!(has_special(&text[..len]), is_special(byte));
                        let plain = rest < 0x80 || len == 1;
                        let is_plain_byte = !is_special(byte) && byte < 0x80;
                        assert_eq!(is_plain(&text[..len]), plain && is_plain_byte);
                    }
                }
            }
        }
    }
}
