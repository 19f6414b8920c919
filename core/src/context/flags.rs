//! The flag byte of a `traceparent`.

/// W3C trace flags. Only the bits that the specification defines are kept; others are cleared.
///
/// SPEC: Trace Context Level 2, 3.2.2.5 "trace-flags".
///
/// ```
/// use spanlet::TraceFlags;
/// let f = TraceFlags::from_byte(0xff);
/// assert!(f.is_sampled() && f.is_random());
/// assert_eq!(f.to_byte(), 0x03);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// No flag set.
    pub const NONE: Self = TraceFlags(0);
    /// The caller may have recorded the trace.
    pub const SAMPLED: Self = TraceFlags(0x01);
    /// The right-most 7 bytes of the trace id are random.
    pub const RANDOM: Self = TraceFlags(0x02);

    /// Keeps the known bits of a received byte.
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        TraceFlags(byte & 0x03)
    }
    /// The byte as it is sent.
    #[inline(always)]
    pub const fn to_byte(self) -> u8 {
        self.0
    }
    /// Whether [`SAMPLED`](Self::SAMPLED) is set.
    #[inline(always)]
    pub const fn is_sampled(self) -> bool {
        self.0 & 0x01 != 0
    }
    /// Whether [`RANDOM`](Self::RANDOM) is set.
    #[inline(always)]
    pub const fn is_random(self) -> bool {
        self.0 & 0x02 != 0
    }
    /// The flags with SAMPLED set or cleared.
    #[inline(always)]
    #[must_use]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        TraceFlags(self.0 & !0x01 | sampled as u8)
    }
    /// The flags of both.
    #[inline(always)]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        TraceFlags(self.0 | other.0)
    }
}

impl core::fmt::Debug for TraceFlags {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}
