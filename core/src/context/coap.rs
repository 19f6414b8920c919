//! CoAP: a [compact](super::compact) context as an option of a message.
//!
//! Input: a message as it came. Output: its context; the other way, a message in a buffer of the caller's with the option
//! put where it belongs. Bound: the message, and the buffer: the option takes 29 bytes at most.
//!
//! # The option
//! No number is registered for trace context, so [`TRACE_CONTEXT`] is one of those for experiments (65000 to
//! 65535); every function takes the number, for networks that have agreed on another. Its bits say how those that do
//! not know it treat it (SPEC: RFC 7252, 5.4.1, 5.4.2, 5.4.6):
//!
//! | bits | value | hence |
//! |---|---|---|
//! | 0 Critical | 0, elective | a server that does not know it leaves it out and answers: no request fails for tracing |
//! | 1 UnSafe | 0, safe to forward | a proxy that does not know it hands it on, so the trace goes through; one that does puts its own span in |
//! | 2–4 NoCacheKey | 111 | it is no part of a cache's key: else every request would be one of its own |
//!
//! Its value is the compact form, 25 bytes. It may come once: of several the first counts, the others are treated as
//! an option that is not known, which is to say left out (5.4.5).
//!
//! Messages are those of UDP and DTLS (RFC 7252). Over TCP (RFC 8323) the header differs and the options do not:
//! [`Options`] reads them, and [`inject_options`] writes, from where they begin.

use super::SpanContext;
use super::compact::{self, COMPACT_LEN, CompactError};
use core::fmt;

/// The option's number: elective, safe to forward, not in the cache key.
pub const TRACE_CONTEXT: u16 = 65020;

const PAYLOAD_MARKER: u8 = 0xff;

/// Why a message was refused, or its option. `offset` counts from where the options begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CoapError {
    /// Shorter than its header and token, of another version, or with a token length above 8.
    BadHeader,
    /// An option that ends after the message, has a reserved delta or length, or a number above 65535.
    BadOption {
        /// Where it begins; 65535 if further.
        offset: u16,
    },
    /// A payload marker with no payload behind it.
    NoPayload,
    /// The option is there and not a context.
    Context(CompactError),
    /// The buffer has no room for the option.
    NoRoom,
}

impl fmt::Display for CoapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHeader => f.write_str("CoAP: bad header"),
            Self::BadOption { offset } => write!(f, "CoAP: bad option at {offset}"),
            Self::NoPayload => f.write_str("CoAP: a payload marker and no payload"),
            Self::Context(error) => error.fmt(f),
            Self::NoRoom => f.write_str("CoAP: no room for the option"),
        }
    }
}

impl core::error::Error for CoapError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Context(error) => Some(error),
            _ => None,
        }
    }
}

/// Where the options of a message begin: behind header and token.
///
/// # Errors
/// [`CoapError::BadHeader`].
pub fn options_offset(message: &[u8]) -> Result<usize, CoapError> {
    let [first, _, _, _, rest @ ..] = message else {
        return Err(CoapError::BadHeader);
    };
    let token = usize::from(first & 0x0f);
    if first >> 6 != 1 || token > 8 || rest.len() < token {
        return Err(CoapError::BadHeader);
    }
    Ok(4 + token)
}

/// A nibble of an option's first byte with the bytes that it asks for, and what follows them.
fn extended(nibble: u8, rest: &[u8]) -> Option<(u32, &[u8])> {
    match (nibble, rest) {
        (0..=12, rest) => Some((u32::from(nibble), rest)),
        (13, [a, rest @ ..]) => Some((u32::from(*a) + 13, rest)),
        (14, [a, b, rest @ ..]) => Some((u32::from(u16::from_be_bytes([*a, *b])) + 269, rest)),
        _ => None,
    }
}

/// The options of a message, in order.
///
/// Ends at the payload or the end of the message; after an error there is no more.
///
/// ```
/// use spanlet::context::coap::Options;
/// // Uri-Path "a", Content-Format 0, payload "x".
/// let mut options = Options::new(&[0xb1, b'a', 0x10, 0xff, b'x']);
/// assert_eq!(options.next(), Some(Ok((11, &b"a"[..]))));
/// assert_eq!(options.next(), Some(Ok((12, &b""[..]))));
/// assert_eq!(options.next(), None);
/// assert_eq!(options.payload(), Some(&b"x"[..]));
/// ```
#[derive(Clone, Debug)]
pub struct Options<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
    number: u16,
}

impl<'a> Options<'a> {
    /// Of the bytes behind header and token, payload included.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Options {
            bytes,
            rest: bytes,
            number: 0,
        }
    }
    /// What follows the last option, once all were read.
    pub fn payload(&self) -> Option<&'a [u8]> {
        match self.rest {
            [PAYLOAD_MARKER, payload @ ..] => Some(payload),
            _ => None,
        }
    }
    /// Bytes read so far.
    fn offset(&self) -> usize {
        self.bytes.len() - self.rest.len()
    }
    fn option(&self) -> Option<(u16, &'a [u8], &'a [u8])> {
        let (head, rest) = self.rest.split_first()?;
        let (delta, rest) = extended(head >> 4, rest)?;
        let (len, rest) = extended(head & 0x0f, rest)?;
        let number = u16::try_from(u32::from(self.number) + delta).ok()?;
        let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        Some((number, value, rest))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), CoapError>;
    fn next(&mut self) -> Option<Self::Item> {
        match self.rest {
            [] | [PAYLOAD_MARKER, _, ..] => None,
            [PAYLOAD_MARKER] => {
                self.rest = &[];
                Some(Err(CoapError::NoPayload))
            }
            _ => Some(match self.option() {
                Some((number, value, rest)) => {
                    (self.number, self.rest) = (number, rest);
                    Ok((number, value))
                }
                None => {
                    let offset = u16::try_from(self.offset()).unwrap_or(u16::MAX);
                    self.rest = &[];
                    Err(CoapError::BadOption { offset })
                }
            }),
        }
    }
}

/// The context that a message carries in option `number`, marked remote.
///
/// # Errors
/// [`CoapError`] where the message or the option is malformed. `Ok(None)` if there is none. Either way, start a
/// new trace; to refuse a message is not tracing's business.
///
/// ```
/// use spanlet::context::coap::{TRACE_CONTEXT, extract, inject};
/// # use spanlet::context::traceparent;
/// # let text = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// # let cx = traceparent::parse(text).unwrap();
/// // GET coap://…/a, in a buffer with room behind it.
/// let mut buffer = [0; 64];
/// buffer[..6].copy_from_slice(&[0x40, 0x01, 0, 7, 0xb1, b'a']);
/// assert_eq!(extract(&buffer[..6], TRACE_CONTEXT), Ok(None));
/// let len = inject(&mut buffer, 6, TRACE_CONTEXT, &cx)?;
/// assert_eq!(len, 6 + 29);
/// assert_eq!(extract(&buffer[..len], TRACE_CONTEXT), Ok(Some(cx)));
/// # Ok::<(), spanlet::context::coap::CoapError>(())
/// ```
pub fn extract(message: &[u8], number: u16) -> Result<Option<SpanContext>, CoapError> {
    let at = options_offset(message)?;
    for option in Options::new(message.get(at..).unwrap_or(&[])) {
        let (n, value) = option?;
        if n == number {
            return compact::decode(value).map(Some).map_err(CoapError::Context);
        }
        if n > number {
            break;
        }
    }
    Ok(None)
}

/// Puts the context into the first `len` bytes of `message` as option `number`, and returns how many bytes it has
/// then. An option of that number and of 25 bytes that is there already is replaced.
///
/// # Errors
/// [`CoapError`]; the message is then as it was.
pub fn inject(
    message: &mut [u8],
    len: usize,
    number: u16,
    context: &SpanContext,
) -> Result<usize, CoapError> {
    let at = options_offset(message.get(..len).ok_or(CoapError::BadHeader)?)?;
    let options = message.get_mut(at..).ok_or(CoapError::BadHeader)?;
    Ok(at + inject_options(options, len - at, number, context)?)
}

/// A first byte and what extends it, for a delta and a length.
struct Head {
    bytes: [u8; 5],
    len: usize,
}
impl Head {
    fn of(delta: u16, length: u16) -> Self {
        let mut head = Head {
            bytes: [0; 5],
            len: 1,
        };
        let delta = head.extend(delta);
        let length = head.extend(length);
        let [first, ..] = &mut head.bytes;
        *first = delta << 4 | length;
        head
    }
    /// Writes what a nibble does not hold, and returns the nibble.
    fn extend(&mut self, value: u16) -> u8 {
        let (nibble, rest, n) = match value {
            #[expect(clippy::cast_possible_truncation, reason = "below 13")]
            0..=12 => return value as u8,
            13..=268 => (13, (value - 13) << 8, 1),
            _ => (14, value - 269, 2),
        };
        for byte in rest.to_be_bytes().into_iter().take(n) {
            if let Some(to) = self.bytes.get_mut(self.len) {
                *to = byte;
            }
            self.len += 1;
        }
        nibble
    }
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// As [`inject`], from where the options begin.
///
/// # Errors
/// As [`inject`].
pub fn inject_options(
    bytes: &mut [u8],
    len: usize,
    number: u16,
    context: &SpanContext,
) -> Result<usize, CoapError> {
    let value = compact::encode(context);
    let mut options = Options::new(bytes.get(..len).ok_or(CoapError::NoRoom)?);
    // Where the option goes, and after which number.
    let (mut at, mut before) = (0, 0);
    // The option behind it: where its value begins, and what its head is then.
    let mut behind = (0, None);
    loop {
        let start = options.offset();
        match options.next() {
            None => {
                if behind.1.is_none() {
                    (at, behind.0) = (start, start);
                }
                break;
            }
            Some(option) => {
                let (n, found) = option?;
                let value_at = options.offset() - found.len();
                if n == number {
                    let mut place = bytes.get_mut(value_at..value_at + found.len());
                    let Some(place) = place.take_if(|p| p.len() == COMPACT_LEN) else {
                        let offset = u16::try_from(start).unwrap_or(u16::MAX);
                        return Err(CoapError::BadOption { offset });
                    };
                    place.copy_from_slice(&value);
                    return Ok(len);
                }
                if n < number {
                    before = n;
                } else if behind.1.is_none() {
                    let length = u16::try_from(found.len())
                        .map_err(|_| CoapError::BadOption { offset: 0 })?;
                    at = start;
                    behind = (value_at, Some(Head::of(n - number, length)));
                }
            }
        }
    }
    let head = Head::of(number - before, COMPACT_LEN as u16);
    let none: &[u8] = &[];
    let parts = [
        head.as_bytes(),
        &value,
        behind.1.as_ref().map_or(none, Head::as_bytes),
    ];
    let written: usize = parts.iter().map(|p| p.len()).sum();
    // What stays behind `at + written` comes from `behind.0`, which is never further.
    let by = (at + written).saturating_sub(behind.0);
    if len + by > bytes.len() {
        return Err(CoapError::NoRoom);
    }
    for i in (behind.0..len).rev() {
        if let Some(byte) = bytes.get(i).copied()
            && let Some(to) = bytes.get_mut(i + by)
        {
            *to = byte;
        }
    }
    for (to, from) in bytes.iter_mut().skip(at).zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    Ok(len + by)
}
