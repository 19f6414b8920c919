//! Baggage that a process keeps and changes, and the only way out of it.
//!
//! Input: keys and values of the application, or received [`Baggage`]. Output: a header value of the
//! members that an allow-list names. Bound: `N` bytes of encoded text, and the limits of [`baggage`].
//!
//! [`baggage`]: super::baggage

use core::fmt::{self, Write};

use heapless::String;

use super::baggage::{
    Baggage, BaggageEntry, MAX_BYTES, MAX_MEMBERS, check_properties, is_token, members,
};
use super::percent;

/// Why a member was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BaggageError {
    /// The key is empty or no RFC 7230 token.
    BadKey,
    /// The properties are not `key` or `key=value`, separated by `;`.
    BadProperties,
    /// The buffer has no room, or 64 members already.
    Full,
}

impl fmt::Display for BaggageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadKey => "baggage: the key is no token",
            Self::BadProperties => "baggage: malformed properties",
            Self::Full => "baggage: no room",
        })
    }
}

impl core::error::Error for BaggageError {}

/// Baggage of its own: `N` bytes of encoded text, 8192 to hold all that the specification asks for.
///
/// Each key is there once. Members keep the order in which they were first set.
///
/// ```
/// use spanlet::context::BaggageBuf;
/// let mut baggage = BaggageBuf::<128>::new();
/// baggage.set("user", "Amélie 100%").unwrap();
/// baggage.set("debug", "1").unwrap();
/// assert_eq!(baggage.get("user").unwrap().value(), "Amélie 100%");
/// let mut out = [0; 128];
/// let text = baggage.encode_allowed(&["user"], &mut out).as_str();
/// assert_eq!(text, "user=Am%C3%A9lie%20100%25");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BaggageBuf<const N: usize> {
    text: String<N>,
}

impl<const N: usize> BaggageBuf<N> {
    /// No members.
    pub const fn new() -> Self {
        BaggageBuf {
            text: String::new(),
        }
    }

    /// Sets a value, in the place of the old one if there is one. Encodes what must be encoded.
    ///
    /// Builds the new text beside the old one: `N` bytes of stack.
    ///
    /// # Errors
    /// [`BaggageError`]; the baggage is then as it was.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), BaggageError> {
        self.set_with_properties(key, value, "")
    }

    /// As [`set`](Self::set), with properties in the header's own form, values encoded: `a=1;b`.
    ///
    /// # Errors
    /// [`BaggageError`]; the baggage is then as it was.
    ///
    /// ```
    /// use spanlet::context::BaggageBuf;
    /// let mut baggage = BaggageBuf::<64>::new();
    /// baggage.set_with_properties("k", "v", "ttl=1; internal").unwrap();
    /// assert_eq!(baggage.get("k").unwrap().properties().count(), 2);
    /// assert!(baggage.set_with_properties("k", "v", "a b").is_err());
    /// ```
    pub fn set_with_properties(
        &mut self,
        key: &str,
        value: &str,
        properties: &str,
    ) -> Result<(), BaggageError> {
        if key.is_empty() || !key.bytes().all(is_token) {
            return Err(BaggageError::BadKey);
        }
        if properties.contains(',') {
            return Err(BaggageError::BadProperties);
        }
        check_properties(properties).ok_or(BaggageError::BadProperties)?;
        self.put(key, |out| {
            out.write_str(key)?;
            out.write_char('=')?;
            percent::encode(value, out)?;
            super::baggage::properties(properties).try_for_each(|property| property.write(out))
        })
    }

    fn put(
        &mut self,
        key: &str,
        write: impl Fn(&mut String<N>) -> fmt::Result,
    ) -> Result<(), BaggageError> {
        let mut text = String::new();
        let mut count = 0;
        let mut is_new = true;
        let mut separate = |text: &mut String<N>| {
            count += 1;
            if count > MAX_MEMBERS {
                return Err(fmt::Error);
            }
            if count > 1 {
                text.write_char(',')?;
            }
            Ok(())
        };
        self.iter()
            .try_for_each(|entry| {
                separate(&mut text)?;
                if entry.key == key {
                    is_new = false;
                    write(&mut text)
                } else {
                    entry.write(&mut text)
                }
            })
            .map_err(|_| BaggageError::Full)?;
        if is_new {
            separate(&mut text)
                .and_then(|()| write(&mut text))
                .map_err(|_| BaggageError::Full)?;
        }
        if text.len() > MAX_BYTES {
            return Err(BaggageError::Full);
        }
        self.text = text;
        Ok(())
    }

    /// The member with this key.
    pub fn get(&self, key: &str) -> Option<BaggageEntry<'_>> {
        self.iter().find(|entry| entry.key == key)
    }

    /// Removes a member; whether it was there.
    ///
    /// ```
    /// use spanlet::context::BaggageBuf;
    /// let mut baggage = BaggageBuf::<64>::new();
    /// baggage.set("k", "v").unwrap();
    /// assert!(baggage.remove("k") && !baggage.remove("k") && baggage.is_empty());
    /// ```
    pub fn remove(&mut self, key: &str) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        let mut text = String::new();
        for entry in self.iter().filter(|entry| entry.key != key) {
            let comma = if text.is_empty() { "" } else { "," };
            // Cannot be full: what is written was in a text of this size.
            let _full = text.write_str(comma).and_then(|()| entry.write(&mut text));
        }
        self.text = text;
        true
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = BaggageEntry<'_>> {
        members(self.text.as_bytes()).filter_map(BaggageEntry::parse)
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Adds received baggage, later keys over earlier ones; returns how many members did not fit.
    ///
    /// ```
    /// use spanlet::context::{Baggage, BaggageBuf};
    /// let mut baggage = BaggageBuf::<12>::new();
    /// let received = Baggage::parse([&b"a=1, a=2 ,b=3, toolong=1"[..]]);
    /// assert_eq!(baggage.copy_from(&received), 1);
    /// assert_eq!(baggage.get("a").unwrap().value(), "2");
    /// ```
    pub fn copy_from(&mut self, baggage: &Baggage<'_>) -> usize {
        baggage
            .iter()
            .filter(|entry| self.put(entry.key, |out| entry.write(out)).is_err())
            .count()
    }

    /// A header value of the members whose keys are in `allowed`, written into `out`.
    pub fn encode_allowed<'o>(&self, allowed: &[&str], out: &'o mut [u8]) -> AllowedBaggage<'o> {
        encode_allowed(self.iter(), allowed, out)
    }
}

impl<const N: usize> fmt::Debug for BaggageBuf<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.text.as_str(), f)
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for BaggageBuf<N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.text.as_str());
    }
}

/// A header value that went through an allow-list: the only form of baggage that
/// [`inject_w3c`](super::propagator::inject_w3c) takes. The default is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AllowedBaggage<'o> {
    text: &'o str,
    dropped: usize,
}

impl<'o> AllowedBaggage<'o> {
    /// The header value; empty if there is nothing to send.
    pub const fn as_str(self) -> &'o str {
        self.text
    }
    /// How many allowed members did not fit.
    pub const fn dropped(self) -> usize {
        self.dropped
    }
}

/// Writes into a slice, and can go back to where it was.
struct SliceWriter<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl Write for SliceWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.out.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

pub(super) fn encode_allowed<'e, 'o>(
    entries: impl Iterator<Item = BaggageEntry<'e>>,
    allowed: &[&str],
    out: &'o mut [u8],
) -> AllowedBaggage<'o> {
    let (out, _) = out
        .split_at_mut_checked(out.len().min(MAX_BYTES))
        .unwrap_or_default();
    let mut writer = SliceWriter { out, len: 0 };
    let mut dropped = 0;
    for entry in entries.filter(|entry| allowed.contains(&entry.key)) {
        let before = writer.len;
        let comma = if before == 0 { "" } else { "," };
        let written = writer
            .write_str(comma)
            .and_then(|()| entry.write(&mut writer));
        if written.is_err() {
            writer.len = before;
            dropped += 1;
        }
    }
    let SliceWriter { out, len } = writer;
    let text = core::str::from_utf8(out.get(..len).unwrap_or_default()).unwrap_or_default();
    AllowedBaggage { text, dropped }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_full_buffer_stays_as_it_was() {
        let mut buf = BaggageBuf::<8>::new();
        buf.set("a", "1").unwrap();
        assert_eq!(buf.set("b", "%%"), Err(BaggageError::Full));
        assert_eq!(buf.set("a", "1234567"), Err(BaggageError::Full));
        assert_eq!(buf.set("", "1"), Err(BaggageError::BadKey));
        assert_eq!(buf.get("a").unwrap().value(), "1");
        buf.set("b", "2").unwrap();
        let mut out = [0; 5];
        let allowed = buf.encode_allowed(&["a", "b"], &mut out);
        assert_eq!((allowed.as_str(), allowed.dropped()), ("a=1", 1));
        let mut out = [0; 8];
        assert_eq!(buf.encode_allowed(&[], &mut out).as_str(), "");
    }
}
