//! Percent-encoding of baggage values, decoded as it is read.
//!
//! Input: a baggage value, ASCII. Output: its characters. Bound: no buffer; at most four decoded bytes
//! are looked at to tell a character.

use core::fmt::{self, Write};

/// A value whose `%XX` are decoded while it is read; bytes that are no UTF-8 come out as U+FFFD.
///
/// An iterator of characters, `Display`, comparable with `str`. A `%` without two hex digits after it
/// stands for itself. SPEC: W3C Baggage, 3.3.1.3 "value". The replacement is that of
/// `String::from_utf8_lossy`: one U+FFFD for each maximal part that could have begun a character.
///
/// ```
/// use spanlet::context::Baggage;
/// let baggage = Baggage::parse([&b"name=Am%C3%A9lie%FF"[..]]);
/// let name = baggage.get("name").unwrap().value();
/// assert_eq!(name, "Amélie\u{fffd}");
/// assert_eq!(name.to_string().len(), 10);
/// let mut buffer = [0; 16];
/// assert_eq!(name.decode_into(&mut buffer), Some("Amélie\u{fffd}"));
/// ```
#[derive(Clone, Copy)]
pub struct PercentDecoded<'a> {
    rest: &'a [u8],
}

impl<'a> PercentDecoded<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        PercentDecoded {
            rest: text.as_bytes(),
        }
    }

    /// The decoded text in a buffer; `None` if it does not fit, and nothing is to be read from the
    /// buffer then. Three bytes per byte of the header are always enough.
    pub fn decode_into(self, buffer: &mut [u8]) -> Option<&str> {
        let mut len = 0;
        for c in self {
            let room = buffer.get_mut(len..len + c.len_utf8())?;
            len += c.encode_utf8(room).len();
        }
        core::str::from_utf8(buffer.get(..len)?).ok()
    }

    /// The next decoded byte and what follows it.
    fn byte(rest: &'a [u8]) -> Option<(u8, &'a [u8])> {
        if let [b'%', high, low, rest @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            return Some((high << 4 | low, rest));
        }
        rest.split_first().map(|(byte, rest)| (*byte, rest))
    }
}

/// A hex digit in either case.
fn digit(byte: u8) -> Option<u8> {
    super::hex_text::digit(byte.to_ascii_lowercase())
}

impl Iterator for PercentDecoded<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let (first, after) = Self::byte(self.rest)?;
        if first.is_ascii() {
            self.rest = after;
            return Some(char::from(first));
        }
        let mut ahead = [0; 4];
        let mut len = 0;
        let mut rest = self.rest;
        for place in &mut ahead {
            let Some((byte, after)) = Self::byte(rest) else {
                break;
            };
            (*place, rest) = (byte, after);
            len += 1;
        }
        let mut chunks = ahead.get(..len)?.utf8_chunks();
        let chunk = chunks.next()?;
        let (c, taken) = match chunk.valid().chars().next() {
            Some(c) => (c, c.len_utf8()),
            None => (char::REPLACEMENT_CHARACTER, chunk.invalid().len()),
        };
        for _ in 0..taken {
            self.rest = Self::byte(self.rest)?.1;
        }
        Some(c)
    }
}

impl core::iter::FusedIterator for PercentDecoded<'_> {}

impl fmt::Display for PercentDecoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clone().try_for_each(|c| f.write_char(c))
    }
}

impl fmt::Debug for PercentDecoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in *self {
            c.escape_debug().try_for_each(|c| f.write_char(c))?;
        }
        f.write_char('"')
    }
}

impl PartialEq<str> for PercentDecoded<'_> {
    fn eq(&self, other: &str) -> bool {
        (*self).eq(other.chars())
    }
}

impl PartialEq<&str> for PercentDecoded<'_> {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for PercentDecoded<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        for c in *self {
            defmt::write!(f, "{=char}", c);
        }
    }
}

/// Whether a byte may stand in a value as it is.
///
/// SPEC: W3C Baggage, 3.3.1 `baggage-octet`.
pub(super) const fn is_octet(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'+' | b'-'..=b':' | b'<'..=b'[' | b']'..=b'~')
}

/// Writes a value with everything encoded that must be, `%` among it.
pub(super) fn encode(value: &str, out: &mut impl Write) -> fmt::Result {
    for byte in value.bytes() {
        if is_octet(byte) && byte != b'%' {
            out.write_char(char::from(byte))?;
        } else {
            let upper =
                |nibble: u8| char::from(nibble + if nibble < 10 { b'0' } else { b'A' - 10 });
            out.write_char('%')?;
            out.write_char(upper(byte >> 4))?;
            out.write_char(upper(byte & 0x0f))?;
        }
    }
    Ok(())
}
