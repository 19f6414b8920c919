//! Trace and span ids: valid by construction, kept as machine words in memory order.

use core::fmt;
use core::num::NonZeroU64;

/// A 128-bit trace id, never all zero.
///
/// Kept as two words that hold the 16 bytes in memory order, so that recording copies words.
/// `Display` and `Debug` write 32 lowercase hex digits.
///
/// SPEC: Trace Context Level 2, 3.2.2.3 "trace-id".
///
/// ```
/// use spanlet::TraceId;
/// assert!(TraceId::from_bytes([0; 16]).is_none());
/// let id = TraceId::from_bytes(*b"0123456789abcdef").unwrap();
/// assert_eq!(id.to_string(), "30313233343536373839616263646566");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct TraceId([u64; 2]);

impl TraceId {
    /// Stands in where an id is known to be valid and the type system cannot know it.
    pub(crate) const INVALID: Self = TraceId([0; 2]);

    /// `None` for all zeros.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self::from_words([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }
    /// From two words that hold the bytes in memory order; `None` for zero.
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Option<Self> {
        let [a, b] = words;
        if a | b == 0 {
            None
        } else {
            Some(TraceId(words))
        }
    }
    /// The 16 bytes, most significant first.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; 16] {
        let [x, y] = self.0;
        let [a, b, c, d, e, f, g, h] = x.to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = y.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
    /// Two words that hold the bytes in memory order.
    #[inline(always)]
    pub const fn to_words(self) -> [u64; 2] {
        self.0
    }
    /// The low 64 bits as a number: bytes 8 to 15, most significant first.
    #[inline(always)]
    pub const fn low64(self) -> u64 {
        let [_, low] = self.0;
        u64::from_be_bytes(low.to_ne_bytes())
    }
}

/// A 64-bit span id, never zero. `Option<SpanId>` takes no more room than `SpanId`.
///
/// `Display` and `Debug` write 16 lowercase hex digits.
///
/// SPEC: Trace Context Level 2, 3.2.2.4 "parent-id".
///
/// ```
/// use spanlet::SpanId;
/// assert!(SpanId::from_bytes([0; 8]).is_none());
/// let id = SpanId::from_bytes([0, 1, 2, 3, 4, 5, 6, 0xff]).unwrap();
/// assert_eq!(id.to_string(), "00010203040506ff");
/// assert_eq!(size_of::<Option<SpanId>>(), 8);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// As [`TraceId::INVALID`]; the largest id, since zero has no form.
    pub(crate) const INVALID: Self = SpanId(NonZeroU64::MAX);

    /// `None` for all zeros.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        Self::from_word(u64::from_ne_bytes(bytes))
    }
    /// From a word that holds the bytes in memory order; `None` for zero.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Option<Self> {
        match NonZeroU64::new(word) {
            Some(word) => Some(SpanId(word)),
            None => None,
        }
    }
    /// The 8 bytes, most significant first.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_ne_bytes()
    }
    /// The word that holds the bytes in memory order.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.0.get()
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let mut text = [0; 32];
    let text = text.get_mut(..bytes.len() * 2).ok_or(fmt::Error)?;
    hex::encode_to_slice(bytes, text).map_err(|_| fmt::Error)?;
    f.pad(core::str::from_utf8(text).map_err(|_| fmt::Error)?)
}

macro_rules! hex_text {
    ($id:ty) => {
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.to_bytes())
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.to_bytes())
            }
        }
    };
}
hex_text!(TraceId);
hex_text!(SpanId);

#[cfg(feature = "defmt")]
impl defmt::Format for TraceId {
    fn format(&self, f: defmt::Formatter<'_>) {
        let [high, low] = self.0.map(|word| u64::from_be_bytes(word.to_ne_bytes()));
        defmt::write!(f, "{=u64:016x}{=u64:016x}", high, low);
    }
}
#[cfg(feature = "defmt")]
impl defmt::Format for SpanId {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=u64:016x}", u64::from_be_bytes(self.to_bytes()));
    }
}
