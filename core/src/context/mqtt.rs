//! MQTT 5 properties as carriers: user properties in and out of a packet's bytes.
//!
//! Input: the properties of a packet (PUBLISH, or any other). Output: their user properties as a [`Carrier`];
//! the other way, user properties in a buffer of the caller's, by [`CarrierMut`]. Bound: the packet, and the buffer.
//!
//! For clients that are given bytes. One that takes names and values as text gets them from a
//! [`FixedCarrier`](super::FixedCarrier) and needs nothing from here. The names are those of HTTP, in lowercase:
//! `traceparent`, `tracestate`, `baggage`.
//!
//! SPEC: MQTT 5.0, 1.5.5 "Variable Byte Integer", 1.5.7 "UTF-8 String Pair", 2.2.2 "Properties".
//!
//! ```
//! use spanlet::context::mqtt::{Properties, PropertyLength, UserProperties};
//! use spanlet::context::propagator::{extract_traceparent, inject_w3c};
//! use spanlet::context::{AllowedBaggage, TraceStateText};
//! # use spanlet::context::traceparent;
//! # let text = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
//! # let cx = traceparent::parse(text).unwrap();
//! let mut buffer = [0; 128];
//! let mut user = UserProperties::new(&mut buffer);
//! inject_w3c(&mut user, &cx, TraceStateText::default(), AllowedBaggage::default())?;
//! let mut packet = Vec::new();
//! packet.extend_from_slice(PropertyLength::of(user.as_bytes().len()).unwrap().as_bytes());
//! packet.extend_from_slice(user.as_bytes());
//! packet.extend_from_slice(b"payload");
//!
//! let (properties, payload) = Properties::split(&packet)?;
//! assert_eq!(extract_traceparent(&properties)?, Some(cx));
//! assert_eq!(payload, b"payload");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{Carrier, CarrierFull, CarrierMut};
use core::fmt;

/// The identifier of a user property.
pub const USER_PROPERTY: u8 = 0x26;
/// The largest Property Length.
const MAX_LENGTH: usize = 268_435_455;

/// Why properties were refused. `offset` counts from the first of them, 65535 standing for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MqttError {
    /// The Property Length is not a variable byte integer in its shortest form, or longer than what follows.
    BadLength,
    /// A property ends after the last byte.
    Truncated {
        /// Where it begins.
        offset: u16,
    },
    /// An identifier that the standard does not define: where the next property begins is not known.
    UnknownProperty {
        /// Where it stands.
        offset: u16,
        /// It.
        id: u8,
    },
    /// A name or value of a user property that is not UTF-8, or has a NUL.
    BadText {
        /// Where the property begins.
        offset: u16,
    },
}

impl fmt::Display for MqttError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadLength => f.write_str("MQTT properties: bad property length"),
            Self::Truncated { offset } => write!(f, "MQTT properties: cut short at {offset}"),
            Self::UnknownProperty { offset, id } => {
                write!(
                    f,
                    "MQTT properties: unknown identifier {id:#04x} at {offset}"
                )
            }
            Self::BadText { offset } => {
                write!(
                    f,
                    "MQTT properties: bad text in the user property at {offset}"
                )
            }
        }
    }
}

impl core::error::Error for MqttError {}

/// A variable byte integer of one to four bytes, and what follows it.
fn variable(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (mut value, mut shift, mut rest) = (0, 0, bytes);
    while let [byte, after @ ..] = rest
        && shift < 28
    {
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // The shortest form has no zero byte at its end.
            return (*byte != 0 || shift == 0).then_some((value, after));
        }
        (shift, rest) = (shift + 7, after);
    }
    None
}

/// A two-byte length, that many bytes, and what follows them.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// A name or a value.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// Why the first property of some bytes cannot be read.
enum Fault {
    Truncated,
    Unknown(u8),
    Text,
}

/// The first property: its name and value if it is a user property, and what follows it.
#[expect(clippy::type_complexity, reason = "local to the file")]
fn first(bytes: &[u8]) -> Result<(Option<(&str, &str)>, &[u8]), Fault> {
    let (id, rest) = bytes.split_first().ok_or(Fault::Truncated)?;
    let rest = match id {
        &USER_PROPERTY => {
            let (name, rest) = counted(rest).ok_or(Fault::Truncated)?;
            let (value, rest) = counted(rest).ok_or(Fault::Truncated)?;
            let pair = text(name).zip(text(value)).ok_or(Fault::Text)?;
            return Ok((Some(pair), rest));
        }
        // One byte, two, four.
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => rest.get(1..),
        0x13 | 0x21..=0x23 => rest.get(2..),
        0x02 | 0x11 | 0x18 | 0x27 => rest.get(4..),
        // Variable byte integer.
        0x0b => variable(rest).map(|(_, rest)| rest),
        // Text and binary data.
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
            counted(rest).map(|(_, rest)| rest)
        }
        id => return Err(Fault::Unknown(*id)),
    };
    Ok((None, rest.ok_or(Fault::Truncated)?))
}

/// The properties of a packet, checked to their end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// Of the bytes behind the Property Length. Other properties are stepped over, by their type.
    ///
    /// # Errors
    /// [`MqttError`] of the first property that cannot be read.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MqttError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = u16::try_from(bytes.len() - rest.len()).unwrap_or(u16::MAX);
            rest = match first(rest) {
                Ok((_, rest)) => rest,
                Err(Fault::Truncated) => return Err(MqttError::Truncated { offset }),
                Err(Fault::Unknown(id)) => return Err(MqttError::UnknownProperty { offset, id }),
                Err(Fault::Text) => return Err(MqttError::BadText { offset }),
            };
        }
        Ok(Properties(bytes))
    }
    /// Of bytes that begin with the Property Length, and what follows them: a PUBLISH's payload.
    ///
    /// # Errors
    /// [`MqttError`].
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), MqttError> {
        let (len, rest) = variable(bytes).ok_or(MqttError::BadLength)?;
        let (properties, rest) = rest.split_at_checked(len).ok_or(MqttError::BadLength)?;
        Ok((Self::parse(properties)?, rest))
    }
    /// Names and values of the user properties, in their order.
    pub fn user(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            while let Ok((pair, after)) = first(rest) {
                rest = after;
                if pair.is_some() {
                    return pair;
                }
            }
            None
        })
    }
}

impl Carrier for Properties<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.user()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_bytes())
    }
}

/// User properties that are written into a buffer: 5 bytes each, and name and value.
///
/// A `traceparent` takes 71.
#[derive(Debug)]
pub struct UserProperties<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> UserProperties<'b> {
    /// None, in a buffer to write to.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        UserProperties { buffer, len: 0 }
    }
    /// The properties, for a packet: the Property Length in front of them and of others is the
    /// [`PropertyLength`] of all.
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or(&[])
    }
    /// Takes properties of this name out, or only tells how long they are.
    fn remove(&mut self, name: &str, really: bool) -> usize {
        let (mut at, mut kept) = (0, 0);
        while let Some(rest) = self.buffer.get(at..self.len)
            && let Ok((Some((n, value)), _)) = first(rest)
        {
            let size = 5 + n.len() + value.len();
            if !n.eq_ignore_ascii_case(name) {
                if really && kept != at {
                    for i in 0..size {
                        if let Some(byte) = self.buffer.get(at + i).copied()
                            && let Some(to) = self.buffer.get_mut(kept + i)
                        {
                            *to = byte;
                        }
                    }
                }
                kept += size;
            }
            at += size;
        }
        let removed = self.len - kept;
        if really {
            self.len = kept;
        }
        removed
    }
}

impl CarrierMut for UserProperties<'_> {
    type Error = CarrierFull;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), CarrierFull> {
        let full = CarrierFull { name };
        let sizes = u16::try_from(name.len())
            .ok()
            .zip(u16::try_from(value.len()).ok());
        let (name_len, value_len) = sizes.ok_or(full)?;
        let size = 5 + name.len() + value.len();
        if self.len - self.remove(name, false) + size > self.buffer.len().min(MAX_LENGTH) {
            return Err(full);
        }
        self.remove(name, true);
        let parts: [&[u8]; 5] = [
            &[USER_PROPERTY],
            &name_len.to_be_bytes(),
            name.as_bytes(),
            &value_len.to_be_bytes(),
            value.as_bytes(),
        ];
        for part in parts {
            let end = self.len + part.len();
            let to = self.buffer.get_mut(self.len..end).ok_or(full)?;
            to.copy_from_slice(part);
            self.len = end;
        }
        Ok(())
    }
}

impl Carrier for UserProperties<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let pairs = Properties(self.as_bytes()).user();
        pairs
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_bytes())
    }
}

/// A Property Length as the packet has it: one to four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PropertyLength {
    bytes: [u8; 4],
    len: u8,
}

impl PropertyLength {
    /// Of `len` bytes of properties; `None` above 268,435,455.
    #[expect(clippy::cast_possible_truncation, reason = "takes seven bits")]
    pub fn of(len: usize) -> Option<Self> {
        if len > MAX_LENGTH {
            return None;
        }
        let mut length = PropertyLength {
            bytes: [0; 4],
            len: 0,
        };
        let mut rest = len;
        for byte in &mut length.bytes {
            *byte = (rest & 0x7f) as u8;
            rest >>= 7;
            length.len += 1;
            if rest == 0 {
                break;
            }
            *byte |= 0x80;
        }
        Some(length)
    }
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}
