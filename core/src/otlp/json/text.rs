//! JSON's tokens into a fixed buffer. Each function writes its token or reports that there is no room.

use super::Full;

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
    /// Lowercase hex.
    pub(super) fn hex(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let slot = self.take(bytes.len().saturating_mul(2))?;
        hex::encode_to_slice(bytes, slot).map_err(|_| Full)
    }
    /// A number without quotes.
    pub(super) fn unsigned(&mut self, mut v: u64) -> Result<(), Full> {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        // Two digits a division: the divisions are what this costs.
        for [tens, ones] in digits.as_chunks_mut::<2>().0.iter_mut().rev() {
            let [pair, ..] = (v % 100).to_le_bytes();
            (*tens, *ones) = (b'0' + pair / 10, b'0' + pair % 10);
            v /= 100;
            at -= if v == 0 && pair < 10 { 1 } else { 2 };
            if v == 0 {
                break;
            }
        }
        self.put(digits.get(at..).unwrap_or(&[]))
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
        self.put(b"\"")?;
        let mut rest = text.as_bytes();
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
