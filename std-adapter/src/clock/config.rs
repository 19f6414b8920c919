//! What is known beforehand of devices' clocks and links.

use core::num::NonZeroU32;
use std::time::Duration;

/// Bits that a byte takes on a serial line: start, eight, stop.
const BITS_A_BYTE: u64 = 10;

/// What may be assumed of devices' clocks and their links. Stated error bounds hold as long as this does.
///
/// ```
/// use spanlet_std::receiver::{ClockConfig, Gateway};
/// use std::time::Duration;
/// // Sensors on a UART at 9,600 baud that cannot be asked for their time.
/// let config = ClockConfig::default()
///     .with_max_link_delay(Duration::from_millis(50))
///     .with_baud(9600);
/// # let _ = Gateway::builder().clock(config);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockConfig {
    pub(crate) max_rate_error_ppb: i64,
    pub(crate) max_rate_change_ppb_a_second: i64,
    pub(crate) max_link_delay: Option<Duration>,
    pub(crate) baud: Option<NonZeroU32>,
}

impl Default for ClockConfig {
    /// Ticks within 25,000 ppm of their rate (an RC oscillator that is off by 2 %), a rate that changes by at most
    /// 2 ppm a second, and nothing known of the link.
    fn default() -> Self {
        ClockConfig {
            max_rate_error_ppb: 25_000_000,
            max_rate_change_ppb_a_second: 2_000,
            max_link_delay: None,
            baud: None,
        }
    }
}

impl ClockConfig {
    /// How far a device's ticks may be off the rate that it states, in parts per million (at most 500,000).
    #[must_use]
    pub fn with_max_rate_error_ppm(mut self, ppm: u32) -> Self {
        self.max_rate_error_ppb = i64::from(ppm.min(500_000)) * 1000;
        self
    }
    /// How fast that may change, in parts per 10^9 and second (at most 1,000,000). A crystal changes by 1 ppm a
    /// second where it warms up quickly, an RC oscillator by 100.
    #[must_use]
    pub fn with_max_rate_change_ppb_a_second(mut self, ppb: u32) -> Self {
        self.max_rate_change_ppb_a_second = i64::from(ppb.min(1_000_000));
        self
    }
    /// The longest that bytes may be under way: from the device's stamping a frame to its arrival here, with all
    /// queues in between, less the time on the wire that [`with_baud`](Self::with_baud) accounts for. It bounds
    /// the error of devices that answer no pings. A delay that was longer after all makes the bound wrong.
    #[must_use]
    pub fn with_max_link_delay(mut self, delay: Duration) -> Self {
        self.max_link_delay = Some(delay);
        self
    }
    /// The speed of serial links in bits a second both ways, ten to a byte; 0 for none. Times are then reckoned
    /// from a frame's first byte instead of its last. Only for links that are never faster: bytes that come
    /// through USB or an emulator's socket may be.
    #[must_use]
    pub fn with_baud(mut self, bits_a_second: u32) -> Self {
        self.baud = NonZeroU32::new(bits_a_second);
        self
    }
    /// How long so many bytes take on the wire.
    pub(crate) fn serialisation(&self, bytes: usize) -> Duration {
        let Some(baud) = self.baud else {
            return Duration::ZERO;
        };
        let bits = (bytes as u64).saturating_mul(BITS_A_BYTE);
        Duration::from_nanos(bits.saturating_mul(1_000_000_000) / u64::from(baud.get()))
    }
}
