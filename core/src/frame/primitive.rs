//! Primitive encodings of the wire: postcard's, by hand.
//!
//! Input: integers, bytes, texts. Output: bytes in a fixed buffer, and back. Bound: the buffer; a writer
//! that is full stays full, a reader never goes past the end.

use super::{Malformed, MalformedKind};
use crate::record::copy;

/// Bytes of the longest varint of a `u64`.
pub(crate) const VARINT_MAX: usize = 10;

/// Bytes that `value` takes as a varint.
#[inline(never)]
pub(crate) const fn varint_len(mut value: u64) -> usize {
    // By shifts: a count of leading zeros and a division by seven are long on small cores.
    let mut len = 1;
    while value > 0x7f {
        value >>= 7;
        len += 1;
    }
    len
}

/// A signed number with small absolute values as a small unsigned one.
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Writes into a fixed buffer. Past its end nothing is written and `is_full` says so.
pub(crate) struct Put<'b> {
    buffer: &'b mut [u8],
    len: usize,
    full: bool,
}

impl<'b> Put<'b> {
    pub(crate) fn new(buffer: &'b mut [u8]) -> Self {
        Put {
            buffer,
            len: 0,
            full: false,
        }
    }
    /// Bytes written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
    /// Whether something did not fit.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }
    #[inline(never)]
    pub(crate) fn byte(&mut self, byte: u8) {
        match self.buffer.get_mut(self.len) {
            Some(to) if !self.full => {
                *to = byte;
                self.len += 1;
            }
            _ => self.full = true,
        }
    }
    #[inline(never)]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let room = self.buffer.get_mut(self.len..).unwrap_or_default();
        match room.get_mut(..bytes.len()) {
            Some(to) if !self.full => {
                copy(to, bytes);
                self.len += bytes.len();
            }
            _ => self.full = true,
        }
    }
    /// Changes a byte that was written.
    pub(crate) fn patch(&mut self, at: usize, byte: u8) {
        if let Some(to) = self.buffer.get_mut(at) {
            *to = byte;
        }
    }
    #[inline(never)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seven bits; 32 bits are left"
    )]
    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >> 32 != 0 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.varint32(value as u32);
    }
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
    pub(crate) fn varint32(&mut self, mut value: u32) {
        while value > 0x7f {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }
    pub(crate) fn signed(&mut self, value: i64) {
        self.varint(zigzag(value));
    }
    /// Length and bytes.
    #[inline(never)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "longer ones fit into no buffer"
    )]
    pub(crate) fn block(&mut self, bytes: &[u8]) {
        self.varint32(bytes.len() as u32);
        self.bytes(bytes);
    }
}

/// Reads a slice from front to back. Errors carry the offset from the slice's start, plus `base`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take<'f> {
    rest: &'f [u8],
    /// Offset in the frame of the end of `rest`, so that an error can say where it is.
    end: usize,
}

impl<'f> Take<'f> {
    /// `base` is the offset of `bytes` in what errors are to speak of.
    pub(crate) fn new(bytes: &'f [u8], base: usize) -> Self {
        Take {
            rest: bytes,
            end: base + bytes.len(),
        }
    }
    /// Where the next byte is.
    pub(crate) fn offset(&self) -> usize {
        self.end - self.rest.len()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
    pub(crate) fn rest(&self) -> &'f [u8] {
        self.rest
    }
    #[cold]
    pub(crate) fn error(&self, kind: MalformedKind) -> Malformed {
        Malformed {
            kind,
            offset: self.offset(),
        }
    }
    #[inline(always)]
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                Ok(*byte)
            }
            None => Err(self.error(MalformedKind::Truncated)),
        }
    }
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.rest.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => Err(self.error(MalformedKind::Truncated)),
        }
    }
    #[inline]
    pub(crate) fn bytes(&mut self, len: u64) -> Result<&'f [u8], Malformed> {
        let split = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len));
        match split {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.error(MalformedKind::Truncated)),
        }
    }
    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        if let [byte, rest @ ..] = self.rest
            && *byte < 0x80
        {
            self.rest = rest;
            return Ok(*byte as u64);
        }
        let (value, len) = long_varint(self.rest);
        match self.rest.get(len..) {
            Some(rest) if len != 0 => {
                self.rest = rest;
                Ok(value)
            }
            _ => Err(self.varint_error()),
        }
    }
    /// Why there is no varint: what is there ends before it does, or its tenth byte says too much.
    #[cold]
    fn varint_error(&self) -> Malformed {
        let (kind, len) = match self.rest.len() {
            len if len < VARINT_MAX => (MalformedKind::Truncated, len),
            _ => (MalformedKind::Varint, VARINT_MAX),
        };
        Malformed {
            kind,
            offset: self.offset() + len,
        }
    }
    /// A varint that must fit into `u32`.
    pub(crate) fn varint32(&mut self) -> Result<u32, Malformed> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| self.error(MalformedKind::Varint))
    }
    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }
    /// Length and bytes.
    pub(crate) fn block(&mut self) -> Result<&'f [u8], Malformed> {
        let len = self.varint()?;
        self.bytes(len)
    }
    /// Length and text.
    pub(crate) fn text(&mut self) -> Result<&'f str, Malformed> {
        let at = self.offset();
        core::str::from_utf8(self.block()?).map_err(|_| Malformed {
            kind: MalformedKind::Utf8,
            offset: at,
        })
    }
}

/// The varint that `bytes` start with, and how long it is: 0 if they start with none. Both in registers,
/// which a `Result` would not be.
#[inline(never)]
fn long_varint(bytes: &[u8]) -> (u64, usize) {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(VARINT_MAX).enumerate() {
        // The tenth byte holds the top bit and nothing else.
        if i == VARINT_MAX - 1 && *byte > 1 {
            break;
        }
        value |= ((byte & 0x7f) as u64) << (7 * i);
        if *byte < 0x80 {
            return (value, i + 1);
        }
    }
    (0, 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn agrees_with_postcard() {
        let mut value = 1u64;
        for i in 0..200u32 {
            value = value.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (i % 64);
            let (mut ours, mut theirs) = ([0; 16], [0; 16]);
            let mut put = Put::new(&mut ours);
            put.varint(value);
            let n = put.len();
            assert_eq!(n, varint_len(value));
            let expected = postcard::to_slice(&value, &mut theirs).unwrap();
            assert_eq!(ours[..n], *expected);
            assert_eq!(Take::new(&ours[..n], 0).varint().unwrap(), value);
            let mut put = Put::new(&mut ours);
            put.signed(value as i64);
            let n = put.len();
            let expected = postcard::to_slice(&(value as i64), &mut theirs).unwrap();
            assert_eq!(ours[..n], *expected);
            assert_eq!(Take::new(&ours[..n], 0).signed().unwrap(), value as i64);
        }
    }

    #[test]
    fn refuses_what_is_too_long_or_cut() {
        assert!(Take::new(&[0xff; 11], 0).varint().is_err());
        let e = Take::new(&[0x80, 0x80], 5).varint().unwrap_err();
        assert_eq!((e.kind, e.offset), (MalformedKind::Truncated, 7));
        let e = Take::new(&[0x80; 10], 5).varint().unwrap_err();
        assert_eq!((e.kind, e.offset), (MalformedKind::Varint, 15));
        assert!(Take::new(&[3, b'a'], 0).text().is_err());
        assert!(Take::new(&[1, 0xff], 0).text().is_err());
    }
}
