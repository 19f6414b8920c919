//! What a boot says of itself, and of how it came about.

use crate::frame::Epoch;

/// Which program this is, as far as addresses of constant texts go.
///
/// Retained memory holds addresses; they are followed only if this is the same as when they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BuildId(pub u64);

impl BuildId {
    /// A hash of bytes: of a linker's build id, of a commit's name.
    ///
    /// Of the program's read-only data it is the best there is: the same bytes at the same place are the same
    /// texts. That is two 32-bit products a byte at boot.
    ///
    /// ```
    /// use spanlet::BuildId;
    /// const BUILD: BuildId = BuildId::of(b"a1b2c3d4 release");
    /// assert_ne!(BUILD, BuildId::of(b"a1b2c3d5 release"));
    /// ```
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        // Two halves that differ: a product of 64 bits is a call on the smallest cores.
        let (mut low, mut high): (u32, u32) = (0x811c_9dc5, 0x5bd1_e995);
        let mut rest = bytes;
        while let [byte, behind @ ..] = rest {
            low = (low ^ *byte as u32).wrapping_mul(0x0100_0193);
            high = (high.rotate_left(7) ^ *byte as u32).wrapping_mul(0x9e37_79b1);
            rest = behind;
        }
        BuildId((high as u64) << 32 | low as u64)
    }
}

/// What ended a boot. The text is the attribute `reset.reason` of the spans that it closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ResetReason {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Power came: whatever the memory held may have faded.
    PowerOn,
    /// The voltage was too low, for the memory perhaps too.
    BrownOut,
    /// The reset pin.
    External,
    /// A watchdog ran out.
    Watchdog,
    /// The program asked for it.
    Software,
    /// A panic; noted by [`FlightRecorder::panicked`](crate::FlightRecorder::panicked).
    Panic,
    /// A fault; noted by [`FlightRecorder::faulted`](crate::FlightRecorder::faulted).
    Fault,
    /// The core locked up.
    Lockup,
}

impl ResetReason {
    /// Lowercase, words joined by underscores.
    pub const fn as_str(self) -> &'static str {
        match self {
            ResetReason::Unknown => "unknown",
            ResetReason::PowerOn => "power_on",
            ResetReason::BrownOut => "brown_out",
            ResetReason::External => "external",
            ResetReason::Watchdog => "watchdog",
            ResetReason::Software => "software",
            ResetReason::Panic => "panic",
            ResetReason::Fault => "fault",
            ResetReason::Lockup => "lockup",
        }
    }
    pub(super) const fn to_code(self) -> u8 {
        match self {
            ResetReason::Unknown => 0,
            ResetReason::PowerOn => 1,
            ResetReason::BrownOut => 2,
            ResetReason::External => 3,
            ResetReason::Watchdog => 4,
            ResetReason::Software => 5,
            ResetReason::Panic => 6,
            ResetReason::Fault => 7,
            ResetReason::Lockup => 8,
        }
    }
    pub(super) const fn from_code(code: u8) -> Self {
        match code {
            1 => ResetReason::PowerOn,
            2 => ResetReason::BrownOut,
            3 => ResetReason::External,
            4 => ResetReason::Watchdog,
            5 => ResetReason::Software,
            6 => ResetReason::Panic,
            7 => ResetReason::Fault,
            8 => ResetReason::Lockup,
            _ => ResetReason::Unknown,
        }
    }
    /// Whether memory keeps what it holds through such a reset.
    pub(super) const fn keeps_memory(self) -> bool {
        !matches!(
            self,
            ResetReason::Unknown | ResetReason::PowerOn | ResetReason::BrownOut
        )
    }
}

/// What [`FlightTracer::attach`](crate::FlightTracer::attach) is told.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// The program.
    pub build: BuildId,
    /// This boot's epoch; another one than the last boot's.
    pub epoch: Epoch,
    /// What the hardware says of the reset. A crash that was noted says it better.
    pub reason: ResetReason,
    /// Where the program's constant texts lie, as the linker says
    /// ([`linker_section!`](crate::linker_section)). Texts elsewhere show as `sym:0x…` after a reset.
    pub texts: &'static [u8],
}

/// The memory between two symbols of the linker script, as a `&'static [u8]`: where constant texts lie.
///
/// ```ignore
/// // cortex-m-rt's names
/// let texts = unsafe { spanlet::linker_section!(__srodata, __erodata) };
/// ```
///
/// # Safety
/// The symbols must be begin and end of memory that is initialised, readable, and never written.
#[macro_export]
macro_rules! linker_section {
    ($start:ident, $end:ident) => {{
        unsafe extern "C" {
            static $start: u8;
            static $end: u8;
        }
        let (start, end) = (&raw const $start, &raw const $end);
        core::slice::from_raw_parts(start, end.addr() - start.addr())
    }};
}
