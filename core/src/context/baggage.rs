//! `baggage`: the application's own key-value pairs, carried along a request.
//!
//! Input: any number of header values, as they came. Output: [`Baggage`], borrowed from them; to keep
//! or change it, [`BaggageBuf`](super::BaggageBuf); on the way out, [`AllowedBaggage`]. Bound: 64 members and 8192 bytes
//! over all headers, whole members only.
//!
//! ```abnf
//! baggage-string = list-member 0*179( OWS "," OWS list-member )
//! list-member    = key OWS "=" OWS value *( OWS ";" OWS property )
//! property       = key OWS "=" OWS value / key OWS
//! key            = token                              ; RFC 7230, 3.2.6
//! value          = *baggage-octet                     ; percent-encoded UTF-8, "=" is legal
//! ```
//!
//! SPEC: W3C Baggage, 3.3 "Header Content".
//!
//! **Malformed members are skipped and counted** ([`Baggage::dropped`]); the others stay (3.5 allows to
//! remove what is not in the format). So are members past the limits, in the order in which they came.
//! Empty members and empty properties are passed over in silence. Keys are never percent-decoded.
//!
//! **Nothing leaves a process by accident.** Baggage may hold what its senders would not tell third
//! parties (W3C Baggage, 4 "Security Considerations"): a header value can only be made through
//! `encode_allowed` with a list of keys.

use core::fmt::{self, Write};

use heapless::Vec;

use super::baggage_buf::{AllowedBaggage, encode_allowed};

use super::percent::{self, PercentDecoded};
use super::trim_ows;

/// Members, at most.
pub const MAX_MEMBERS: usize = 64;
/// Bytes over all members and the commas between them, at most.
pub const MAX_BYTES: usize = 8192;

/// What may still be taken within the limits.
struct Room {
    members: usize,
    bytes: usize,
}

impl Room {
    /// The first member comes without a comma.
    const ALL: Room = Room {
        members: MAX_MEMBERS,
        bytes: MAX_BYTES + 1,
    };

    fn take(&mut self, len: usize) -> bool {
        let fits = self.members > 0 && len < self.bytes;
        if fits {
            self.members -= 1;
            self.bytes -= len + 1;
        }
        fits
    }
}

/// Received baggage, borrowed from the header values that it came in.
///
/// Takes 64 references: about 1 KiB on a 64-bit host, half of that on a 32-bit one.
///
/// ```
/// use spanlet::context::Baggage;
/// let baggage = Baggage::parse([&b"userId=alice ; internal, broken, q=a=b"[..]]);
/// assert_eq!(baggage.get("userId").unwrap().value(), "alice");
/// assert_eq!(baggage.get("q").unwrap().value(), "a=b");
/// assert_eq!((baggage.iter().count(), baggage.dropped()), (2, 1));
/// ```
#[derive(Clone, Default)]
pub struct Baggage<'a> {
    /// INVARIANT: each holds at least one member within the limits. So 64 are enough.
    values: Vec<&'a [u8], MAX_MEMBERS>,
    dropped: usize,
}

impl<'a> Baggage<'a> {
    /// Reads the values of all `baggage` headers, in the order in which they came. Never fails: what is
    /// malformed or past the limits is left out and counted.
    pub fn parse<I>(values: I) -> Self
    where
        I: IntoIterator<Item = &'a [u8]>,
    {
        let mut baggage = Self::default();
        let mut room = Room::ALL;
        for value in values {
            let mut taken = false;
            for member in members(value) {
                if BaggageEntry::parse(member).is_some() && room.take(member.len()) {
                    taken = true;
                } else {
                    baggage.dropped += 1;
                }
            }
            if taken {
                // Cannot be full: each value pushed has taken one of the 64 members.
                let _full = baggage.values.push(value);
            }
        }
        baggage
    }

    /// The members in order. Keys may repeat.
    pub fn iter(&self) -> impl Iterator<Item = BaggageEntry<'a>> + '_ {
        let mut room = Room::ALL;
        self.values
            .iter()
            .flat_map(|value| members(value))
            .filter_map(move |member| {
                BaggageEntry::parse(member).filter(|_| room.take(member.len()))
            })
    }

    /// The last member with this key, which is compared as it is.
    pub fn get(&self, key: &str) -> Option<BaggageEntry<'a>> {
        self.iter().filter(|entry| entry.key == key).last()
    }

    /// How many members were malformed or past the limits.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A header value of the members whose keys are in `allowed`, written into `out`.
    ///
    /// ```
    /// use spanlet::context::Baggage;
    /// let baggage = Baggage::parse([&b"tenant=7, password=secret"[..]]);
    /// let mut out = [0; 64];
    /// let allowed = baggage.encode_allowed(&["tenant"], &mut out);
    /// assert_eq!((allowed.as_str(), allowed.dropped()), ("tenant=7", 0));
    /// ```
    pub fn encode_allowed<'o>(&self, allowed: &[&str], out: &'o mut [u8]) -> AllowedBaggage<'o> {
        encode_allowed(self.iter(), allowed, out)
    }
}

impl fmt::Debug for Baggage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.iter().map(|entry| (entry.key, entry.value()));
        f.debug_map().entries(entries).finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Baggage<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        for entry in self.iter() {
            defmt::write!(f, "{},", entry);
        }
    }
}

/// The members of a value that are not empty, without the whitespace around them.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim_ows)
        .filter(|member| !member.is_empty())
}

/// One member.
///
/// ```
/// use spanlet::context::Baggage;
/// let baggage = Baggage::parse([&b"key = v%20w ; p1 = x%3By ; p2"[..]]);
/// let entry = baggage.get("key").unwrap();
/// assert_eq!((entry.raw_value(), entry.value().to_string()), ("v%20w", "v w".to_string()));
/// let mut properties = entry.properties();
/// let first = properties.next().unwrap();
/// assert_eq!((first.key(), first.value().unwrap().to_string()), ("p1", "x;y".to_string()));
/// assert!(properties.next().unwrap().value().is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BaggageEntry<'a> {
    pub(super) key: &'a str,
    value: &'a str,
    properties: &'a str,
}

impl<'a> BaggageEntry<'a> {
    pub(super) fn parse(member: &'a [u8]) -> Option<Self> {
        let semicolon = member.iter().position(|byte| *byte == b';');
        let (pair, properties) = member.split_at_checked(semicolon.unwrap_or(member.len()))?;
        let (key, value) = key_and_value(pair)?;
        let properties = core::str::from_utf8(properties).ok()?;
        check_properties(properties)?;
        Some(BaggageEntry {
            key,
            value: value?,
            properties,
        })
    }

    /// The key, as it was sent.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The value, decoded.
    pub fn value(&self) -> PercentDecoded<'a> {
        PercentDecoded::new(self.value)
    }

    /// The value, as it was sent.
    pub fn raw_value(&self) -> &'a str {
        self.value
    }

    /// What the sender said about the value, in order.
    pub fn properties(&self) -> impl Iterator<Item = BaggageProperty<'a>> + use<'a> {
        properties(self.properties)
    }

    /// The member as it is sent on: without whitespace, values untouched.
    pub(super) fn write(&self, out: &mut impl Write) -> fmt::Result {
        out.write_str(self.key)?;
        out.write_char('=')?;
        out.write_str(self.value)?;
        self.properties()
            .try_for_each(|property| property.write(out))
    }
}

impl fmt::Debug for BaggageEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for BaggageEntry<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}={}", self.key, self.value());
    }
}

/// A key, or a key and a value, that a sender attached to a member.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BaggageProperty<'a> {
    key: &'a str,
    value: Option<&'a str>,
}

impl<'a> BaggageProperty<'a> {
    /// The key, as it was sent: it is never decoded.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The value, decoded; `None` if there is no `=`.
    pub fn value(&self) -> Option<PercentDecoded<'a>> {
        self.value.map(PercentDecoded::new)
    }

    pub(super) fn write(&self, out: &mut impl Write) -> fmt::Result {
        out.write_char(';')?;
        out.write_str(self.key)?;
        let Some(value) = self.value else {
            return Ok(());
        };
        out.write_char('=')?;
        out.write_str(value)
    }
}

impl fmt::Debug for BaggageProperty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for BaggageProperty<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.key);
    }
}

/// A trimmed token, and what follows the first `=`, if one does.
fn key_and_value(pair: &[u8]) -> Option<(&str, Option<&str>)> {
    let equals = pair.iter().position(|byte| *byte == b'=');
    let (key, value) = pair.split_at_checked(equals.unwrap_or(pair.len()))?;
    let key = trim_ows(key);
    if key.is_empty() || !key.iter().all(|byte| is_token(*byte)) {
        return None;
    }
    let value = match value {
        [] => None,
        [_equals, value @ ..] => {
            let value = trim_ows(value);
            if !value.iter().all(|byte| percent::is_octet(*byte)) {
                return None;
            }
            Some(core::str::from_utf8(value).ok()?)
        }
    };
    Some((core::str::from_utf8(key).ok()?, value))
}

/// SPEC: RFC 7230, 3.2.6 `tchar`.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

fn pieces(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes()
        .split(|byte| *byte == b';')
        .map(trim_ows)
        .filter(|piece| !piece.is_empty())
}

pub(super) fn check_properties(text: &str) -> Option<()> {
    pieces(text).try_for_each(|piece| key_and_value(piece).map(|_| ()))
}

/// Of a text that `check_properties` has passed.
pub(super) fn properties(text: &str) -> impl Iterator<Item = BaggageProperty<'_>> {
    pieces(text)
        .filter_map(key_and_value)
        .map(|(key, value)| BaggageProperty { key, value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::string::ToString;
    use std::{format, vec::Vec as StdVec};

    #[test]
    fn malformed_members_are_skipped_and_counted() {
        for text in [
            "a", "=1", "a b=1", "a=1 2", "a=\"1\"", "a=1;b c", "a=1;=2", "a=\\", "é=1", "a=é",
            "a=1;b=é",
        ] {
            let text = format!("x=0,{text},y=2");
            let baggage = Baggage::parse([text.as_bytes()]);
            let keys: StdVec<_> = baggage.iter().map(|entry| entry.key()).collect();
            assert_eq!(
                (keys, baggage.dropped()),
                (["x", "y"].to_vec(), 1),
                "{text}"
            );
        }
        let baggage = Baggage::parse([&b" , ,a=,b=1;;p ;"[..], b"\xff\xfe"]);
        assert_eq!((baggage.iter().count(), baggage.dropped()), (2, 1));
        assert_eq!(baggage.get("a").unwrap().raw_value(), "");
    }

    #[test]
    fn limits_hold_over_all_values_and_whole_members() {
        let many: StdVec<_> = (0..70).map(|n| format!("k{n}=v")).collect();
        let baggage = Baggage::parse(many.iter().map(|value| value.as_bytes()));
        assert_eq!((baggage.iter().count(), baggage.dropped()), (64, 6));

        let exact = format!("a={},b={}", "x".repeat(4094), "y".repeat(4093));
        assert_eq!(exact.len(), 8192);
        assert_eq!(Baggage::parse([exact.as_bytes()]).dropped(), 0);
        let over = format!("{exact}z");
        let baggage = Baggage::parse([over.as_bytes(), b"c=1"]);
        let keys: StdVec<_> = baggage.iter().map(|entry| entry.key()).collect();
        assert_eq!((keys, baggage.dropped()), (["a", "c"].to_vec(), 1));
    }

    #[test]
    fn property_keys_are_not_decoded_and_values_are() {
        let baggage = Baggage::parse([&b"a=1;p%20q=r%20s"[..]]);
        let property = baggage.get("a").unwrap().properties().next().unwrap();
        assert_eq!(property.key(), "p%20q");
        assert_eq!(property.value().unwrap(), "r s");
    }

    #[test]
    fn decoding_replaces_as_the_standard_library_does() {
        for (text, expected) in [
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%c3%A9", "é"),
            ("%F0%9F%98%80", "😀"),
            ("%F0%9F%98", "\u{fffd}"),
            ("%F0%9F%41", "\u{fffd}A"),
            ("%C3", "\u{fffd}"),
            ("%80%80", "\u{fffd}\u{fffd}"),
            ("%ED%A0%80", "\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(PercentDecoded::new(text).to_string(), expected, "{text}");
        }
    }
}
