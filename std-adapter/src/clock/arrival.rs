//! When bytes came in.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How far apart the two readings of an [`Arrival`] should be, and how often that is tried.
const APART: Duration = Duration::from_micros(20);
const TRIES: u32 = 4;

/// When bytes came in: on the clock that never steps, and on the one that tells the time.
///
/// ```
/// use spanlet_std::receiver::Arrival;
/// let arrival = Arrival::now();
/// assert!(arrival.unix_ns > 1_700_000_000_000_000_000);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Monotonic.
    pub at: Instant,
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
}

impl Arrival {
    /// The present. Three clock readings, more if something came between them.
    #[must_use]
    pub fn now() -> Self {
        let mut best: Option<(Duration, Self)> = None;
        for _ in 0..TRIES {
            let before = Instant::now();
            let unix = SystemTime::now().duration_since(UNIX_EPOCH);
            let apart = before.elapsed();
            let unix_ns = u64::try_from(unix.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
            let arrival = Arrival {
                at: before + apart / 2,
                unix_ns,
            };
            if best.is_none_or(|(least, _)| apart < least) {
                best = Some((apart, arrival));
            }
            if apart < APART {
                break;
            }
        }
        match best {
            Some((_, arrival)) => arrival,
            None => Arrival {
                at: Instant::now(),
                unix_ns: 0,
            },
        }
    }
    /// That much earlier.
    pub(crate) fn earlier(self, by: Duration) -> Self {
        let unix = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Arrival {
            at: self.at.checked_sub(by).unwrap_or(self.at),
            unix_ns: self.unix_ns.saturating_sub(unix),
        }
    }
}
