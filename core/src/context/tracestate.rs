//! `tracestate`: what other tracing systems want passed along.
//!
//! Input: any number of header values, as they came. Output: [`TraceState`], borrowed from them, or a
//! [`TraceStateError`] that names value, offset and cause; to keep or change it, [`TraceStateBuf`].
//! Bound: 32 members; time grows with the length of the input, and with 32² key comparisons at most.
//!
//! ```abnf
//! list        = list-member 0*31( OWS "," OWS list-member )
//! list-member = key "=" value / OWS
//! key         = ( lcalpha / DIGIT ) 0*255( lcalpha / DIGIT / "_" / "-" / "*" / "/" / "@" )
//! value       = 0*255( %x20 / nblk-chr ) nblk-chr
//! nblk-chr    = %x21-2B / %x2D-3C / %x3E-7E
//! ```
//!
//! SPEC: Trace Context Level 2, 3.3 "Tracestate Header" (keys as in Level 2: `foo@@bar` is legal).
//!
//! **One bad member discards the whole list**, as do 33 members: a list that was cut somewhere else is
//! not ours to mend, and 3.3.1 allows it. The trace itself goes on (3.3: "failure to parse tracestate
//! MUST NOT affect the parsing of traceparent").
//!
//! **A repeated key does not discard the list.** Uniqueness is the sender's duty (3.5), a receiver may
//! drop the repeats, and the W3C suite expects the list to be inherited. The left-most, most recent
//! member stays; later ones with its key are skipped.

use core::fmt;

use heapless::{String, Vec};

use super::trim_ows;

/// Members in a list, at most.
pub const MAX_MEMBERS: usize = 32;
/// Characters in a key, and in a value, at most.
pub const MAX_PART_LEN: usize = 256;
/// Members longer than this go first when a list must be cut.
const LARGE_MEMBER: usize = 128;

/// What is wrong with a `tracestate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TraceStateErrorKind {
    /// A key is empty, starts with neither a lowercase letter nor a digit, or has another character
    /// than those and `_`, `-`, `*`, `/`, `@`.
    BadKey,
    /// A value has a character outside of printable ASCII, a `,` or a `=`.
    BadValue,
    /// A member without `=`.
    MissingEquals,
    /// A value of no characters, or of spaces only.
    EmptyValue,
    /// A key of more than 256 characters.
    KeyTooLong,
    /// A value of more than 256 characters.
    ValueTooLong,
    /// More than 32 members.
    TooManyMembers,
    /// The member alone is longer than the buffer.
    DoesNotFit,
    /// The randomness `rv` of the `ot` member is set and must stay as it is.
    RandomnessIsSet,
}

/// Why a `tracestate` was refused, and where.
///
/// ```
/// use spanlet::context::tracestate::{TraceState, TraceStateErrorKind};
/// let error = TraceState::parse([&b"rojo=1"[..], b"foo=1, Bar=2"]).unwrap_err();
/// assert_eq!((error.value, error.offset), (1, 7));
/// assert_eq!(error.kind, TraceStateErrorKind::BadKey);
/// assert_eq!(error.to_string(), "tracestate: bad key at offset 7 of value 1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TraceStateError {
    /// The cause.
    pub kind: TraceStateErrorKind,
    /// Which header value, counted from 0.
    pub value: usize,
    /// Where in that value, in bytes from 0.
    pub offset: usize,
}

impl TraceStateError {
    pub(super) const fn new(kind: TraceStateErrorKind, offset: usize) -> Self {
        TraceStateError {
            kind,
            value: 0,
            offset,
        }
    }
}

impl fmt::Display for TraceStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use TraceStateErrorKind::*;
        let what = match self.kind {
            BadKey => "bad key",
            BadValue => "bad character in a value",
            MissingEquals => "no '='",
            EmptyValue => "empty value",
            KeyTooLong => "key longer than 256 characters",
            ValueTooLong => "value longer than 256 characters",
            TooManyMembers => "more than 32 members",
            DoesNotFit => "member longer than the buffer",
            RandomnessIsSet => "rv is set already",
        };
        let (offset, value) = (self.offset, self.value);
        write!(f, "tracestate: {what} at offset {offset} of value {value}")
    }
}

impl core::error::Error for TraceStateError {}

/// A checked list, borrowed from the header values that it came in.
///
/// Takes 32 references and a flag: 520 bytes on a 64-bit host, 264 on a 32-bit one.
///
/// ```
/// use spanlet::context::TraceState;
/// let state = TraceState::parse([&b"rojo=1, ,congo=t61"[..], b"", b"rojo=old"]).unwrap();
/// let members: Vec<_> = state.iter().collect();
/// assert_eq!(members, [("rojo", "1"), ("congo", "t61")]);
/// assert_eq!(state.get("congo"), Some("t61"));
/// ```
#[derive(Clone, Default)]
pub struct TraceState<'a> {
    /// INVARIANT: each holds at least one member, and all members are well formed. So 32 are enough.
    values: Vec<&'a str, MAX_MEMBERS>,
    has_repeats: bool,
}

impl<'a> TraceState<'a> {
    /// Checks the values of all `tracestate` headers, in the order in which they came.
    ///
    /// # Errors
    /// The first fault; the caller then goes on without a `tracestate`.
    pub fn parse<I>(values: I) -> Result<Self, TraceStateError>
    where
        I: IntoIterator<Item = &'a [u8]>,
    {
        let mut state = Self::default();
        let mut keys = Vec::<&[u8], MAX_MEMBERS>::new();
        for (index, value) in values.into_iter().enumerate() {
            let known = keys.len();
            for member in value.split(|byte| *byte == b',').map(trim_ows) {
                if member.is_empty() {
                    continue;
                }
                let locate = |error: TraceStateError| TraceStateError {
                    value: index,
                    offset: error.offset + offset_in(value, member),
                    ..error
                };
                let key = check_member(member).map_err(locate)?;
                state.has_repeats |= keys.contains(&key);
                keys.push(key).map_err(|_| {
                    locate(TraceStateError::new(TraceStateErrorKind::TooManyMembers, 0))
                })?;
            }
            if keys.len() > known
                && let Ok(text) = core::str::from_utf8(value)
            {
                // Cannot be full: each value pushed has brought a member of its own.
                let _full = state.values.push(text);
            }
        }
        Ok(state)
    }

    /// The members as `(key, value)`, most recent first, repeated keys skipped.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + '_ {
        self.all()
            .enumerate()
            .filter(|(n, (key, _))| {
                !self.has_repeats || self.all().take(*n).all(|(earlier, _)| earlier != *key)
            })
            .map(|(_, member)| member)
    }

    fn all(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + '_ {
        self.values.iter().flat_map(|value| members(value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.all().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl fmt::Debug for TraceState<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for TraceState<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        for (key, value) in self.iter() {
            defmt::write!(f, "{=str}={=str},", key, value);
        }
    }
}

/// How far `part` starts into `whole`, of which it is a slice.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr())
}

/// The members of a checked text.
fn members(text: &str) -> impl Iterator<Item = (&str, &str)> + Clone {
    text.split(',')
        .filter_map(|member| member.trim_matches([' ', '\t']).split_once('='))
}

/// The key of a member that has no whitespace around it.
fn check_member(member: &[u8]) -> Result<&[u8], TraceStateError> {
    use TraceStateErrorKind::*;
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
        return Err(TraceStateError::new(MissingEquals, member.len()));
    };
    let (key, value) = member.split_at_checked(equals).unwrap_or((member, &[]));
    check_key(key)?;
    let value = value.get(1..).unwrap_or_default();
    check_value(value).map_err(|error| TraceStateError {
        offset: error.offset + equals + 1,
        ..error
    })?;
    Ok(key)
}

fn check_key(key: &[u8]) -> Result<(), TraceStateError> {
    use TraceStateErrorKind::*;
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !key.first().is_some_and(alphanumeric) {
        return Err(TraceStateError::new(BadKey, 0));
    }
    let bad = |byte: &u8| !alphanumeric(byte) && !b"_-*/@".contains(byte);
    if let Some(offset) = key.iter().position(bad) {
        return Err(TraceStateError::new(BadKey, offset));
    }
    if key.len() > MAX_PART_LEN {
        return Err(TraceStateError::new(KeyTooLong, MAX_PART_LEN));
    }
    Ok(())
}

fn check_value(value: &[u8]) -> Result<(), TraceStateError> {
    use TraceStateErrorKind::*;
    let bad = |byte: &u8| !matches!(byte, b' '..=b'~') || matches!(byte, b',' | b'=');
    if let Some(offset) = value.iter().position(bad) {
        return Err(TraceStateError::new(BadValue, offset));
    }
    match value.last() {
        None => Err(TraceStateError::new(EmptyValue, 0)),
        Some(b' ') => Err(TraceStateError::new(BadValue, value.len() - 1)),
        Some(_) if value.len() > MAX_PART_LEN => {
            Err(TraceStateError::new(ValueTooLong, MAX_PART_LEN))
        }
        Some(_) => Ok(()),
    }
}

/// A list of its own: `N` bytes of text, 512 unless said otherwise (what 3.3.1.5 asks to propagate).
///
/// Always canonical: no whitespace, no empty members, no repeated keys, at most 32 members. What does
/// not fit is dropped whole: members above 128 characters first, then from the right (3.3.1.5).
///
/// ```
/// use spanlet::context::{TraceState, TraceStateBuf};
/// let mut state: TraceStateBuf = (&TraceState::parse([&b"congo=1 , rojo=2"[..]]).unwrap()).into();
/// state.insert("rojo", "3").unwrap();
/// assert_eq!(state.as_str(), "rojo=3,congo=1");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TraceStateBuf<const N: usize = 512> {
    text: String<N>,
}

impl<const N: usize> TraceStateBuf<N> {
    /// No members.
    pub const fn new() -> Self {
        TraceStateBuf {
            text: String::new(),
        }
    }

    /// The list as it is sent; empty if there is nothing to send.
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// The same, in a type that says that it is well formed, for
    /// [`inject_w3c`](super::propagator::inject_w3c).
    pub fn text(&self) -> TraceStateText<'_> {
        TraceStateText(self.text.as_str())
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The members as `(key, value)`, most recent first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        members(self.text.as_str())
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// Sets a member and moves it to the front; returns how many others had to go for it.
    ///
    /// Builds the new list beside the old one: `N` bytes of stack.
    ///
    /// # Errors
    /// A key or value outside of the grammar, or a member that does not fit alone. The list is then as
    /// it was.
    ///
    /// ```
    /// use spanlet::context::TraceStateBuf;
    /// let mut state = TraceStateBuf::<12>::new();
    /// assert_eq!(state.insert("a", "1"), Ok(0));
    /// assert_eq!(state.insert("b", "2"), Ok(0));
    /// assert_eq!(state.insert("long", "345"), Ok(1));
    /// assert_eq!(state.as_str(), "long=345,b=2");
    /// assert!(state.insert("BAD", "1").is_err());
    /// ```
    pub fn insert(&mut self, key: &str, value: &str) -> Result<usize, TraceStateError> {
        check_key(key.as_bytes())?;
        check_value(value.as_bytes())?;
        if member_len((key, value)) > N {
            return Err(TraceStateError::new(TraceStateErrorKind::DoesNotFit, N));
        }
        let others = self.iter().filter(|(k, _)| *k != key);
        let (text, dropped) = fill(core::iter::once((key, value)).chain(others), 1);
        self.text = text;
        Ok(dropped)
    }

    /// Removes a member; whether it was there.
    ///
    /// ```
    /// use spanlet::context::TraceStateBuf;
    /// let mut state = TraceStateBuf::<512>::new();
    /// state.insert("a", "1").unwrap();
    /// assert!(state.remove("a") && !state.remove("a"));
    /// ```
    pub fn remove(&mut self, key: &str) -> bool {
        let found = self.get(key).is_some();
        if found {
            (self.text, _) = fill(self.iter().filter(|(k, _)| *k != key), 0);
        }
        found
    }

    /// Takes over a received list; returns how many members did not fit.
    ///
    /// ```
    /// use spanlet::context::{TraceState, TraceStateBuf};
    /// let received = TraceState::parse([&b"a=1,b=2,c=3"[..]]).unwrap();
    /// let mut state = TraceStateBuf::<8>::new();
    /// assert_eq!(state.copy_from(&received), 1);
    /// assert_eq!(state.as_str(), "a=1,b=2");
    /// ```
    pub fn copy_from(&mut self, state: &TraceState<'_>) -> usize {
        let dropped;
        (self.text, dropped) = fill(state.iter(), 0);
        dropped
    }
}

fn member_len((key, value): (&str, &str)) -> usize {
    key.len() + 1 + value.len()
}

/// The members that fit, and how many did not. The first `pinned` stay whatever happens.
fn fill<'m, const N: usize>(
    members: impl Iterator<Item = (&'m str, &'m str)> + Clone,
    pinned: usize,
) -> (String<N>, usize) {
    let mut dropped = members.clone().skip(MAX_MEMBERS).count();
    let members = members.take(MAX_MEMBERS);
    // Zero marks a member that goes.
    let mut lens = Vec::<usize, MAX_MEMBERS>::new();
    for member in members.clone() {
        // Cannot be full: as many members are taken as it holds.
        let _full = lens.push(member_len(member));
    }
    let mut total = lens.iter().sum::<usize>() + lens.len().saturating_sub(1);
    for at_least in [LARGE_MEMBER + 1, 1] {
        for len in lens.iter_mut().skip(pinned).rev() {
            if total > N && *len >= at_least {
                total = total.saturating_sub(*len + 1);
                *len = 0;
                dropped += 1;
            }
        }
    }
    let mut text = String::new();
    for ((key, value), len) in members.zip(&lens) {
        if *len == 0 {
            continue;
        }
        let comma = if text.is_empty() { "" } else { "," };
        for part in [comma, key, "=", value] {
            // Cannot be full: `total` counts these bytes and is at most N.
            let _full = text.push_str(part);
        }
    }
    (text, dropped)
}

impl<const N: usize> From<&TraceState<'_>> for TraceStateBuf<N> {
    /// As [`copy_from`](TraceStateBuf::copy_from), where nobody asks what was dropped.
    fn from(state: &TraceState<'_>) -> Self {
        let mut buf = Self::new();
        buf.copy_from(state);
        buf
    }
}

impl<const N: usize> fmt::Debug for TraceStateBuf<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Display for TraceStateBuf<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text of a well-formed list, as [`TraceStateBuf::text`] gives it. The default is empty.
///
/// ```
/// use spanlet::context::TraceStateBuf;
/// let mut state = TraceStateBuf::<64>::new();
/// state.insert("rojo", "1").unwrap();
/// assert_eq!(state.text().as_str(), "rojo=1");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TraceStateText<'a>(&'a str);

impl<'a> TraceStateText<'a> {
    /// The list as it is sent; empty if there is nothing to send.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
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
    use std::format;
    use std::string::String as StdString;
    use std::vec::Vec as StdVec;

    fn kind(value: &str) -> Option<TraceStateErrorKind> {
        TraceState::parse([value.as_bytes()]).err().map(|e| e.kind)
    }

    #[test]
    fn grammar() {
        use TraceStateErrorKind::*;
        let long = "z".repeat(257);
        for (value, expected) in [
            ("", None),
            (" , \t,", None),
            ("foo@@bar=1", None),
            ("@foo=1", Some(BadKey)),
            ("1a-_*/@=1", None),
            ("foo =1", Some(BadKey)),
            ("foo.bar=1", Some(BadKey)),
            ("=1", Some(BadKey)),
            ("foo", Some(MissingEquals)),
            ("foo=", Some(EmptyValue)),
            ("foo=  ", Some(EmptyValue)),
            ("foo=  1", None),
            ("foo=1=2", Some(BadValue)),
            ("foo=\u{7f}", Some(BadValue)),
            ("foo=é", Some(BadValue)),
            ("foo=a\tb", Some(BadValue)),
            (&format!("{long}=1"), Some(KeyTooLong)),
            (&format!("{}=1", &long[1..]), None),
            (&format!("a={long}"), Some(ValueTooLong)),
            (&format!("a={}", &long[1..]), None),
        ] {
            assert_eq!(kind(value), expected, "{value:?}");
        }
        let state = TraceState::parse([&b"foo=  1 \t"[..]]).unwrap();
        assert_eq!(state.get("foo"), Some("  1"));
    }

    #[test]
    fn member_limit_counts_over_all_values() {
        let text: StdVec<StdString> = (0..33).map(|n| format!("k{n}={n}")).collect();
        let values = || text.iter().map(|member| member.as_bytes());
        assert_eq!(
            TraceState::parse(values().take(32)).unwrap().iter().count(),
            32
        );
        let error = TraceState::parse(values()).unwrap_err();
        assert_eq!(
            (error.kind, error.value),
            (TraceStateErrorKind::TooManyMembers, 32)
        );
        // Values without members take no room.
        let padded = [&b" ,"[..]; 40].into_iter().chain([&b"a=1"[..]]);
        assert_eq!(TraceState::parse(padded).unwrap().get("a"), Some("1"));
    }

    #[test]
    fn large_members_go_first() {
        let large = "x".repeat(140);
        let text = format!("a=1,b={large},c=3,d={large},e=5");
        let state = TraceState::parse([text.as_bytes()]).unwrap();
        let mut buf = TraceStateBuf::<180>::new();
        assert_eq!(buf.copy_from(&state), 1);
        assert_eq!(buf.as_str(), format!("a=1,b={large},c=3,e=5"));
        let mut buf = TraceStateBuf::<9>::new();
        assert_eq!(buf.copy_from(&state), 3);
        assert_eq!(buf.as_str(), "a=1,c=3");
    }

    #[test]
    fn insert_keeps_32_members() {
        let mut buf = TraceStateBuf::<512>::new();
        for n in 0..32 {
            assert_eq!(buf.insert(&format!("k{n}"), "v"), Ok(0));
        }
        assert_eq!(buf.insert("new", "v"), Ok(1));
        assert_eq!(buf.iter().count(), 32);
        assert_eq!((buf.get("k0"), buf.get("k1")), (None, Some("v")));
        assert_eq!(buf.insert("k1", "w"), Ok(0));
        assert_eq!(buf.iter().next(), Some(("k1", "w")));
    }
}
