//! How often a device has booted, without wearing out its flash.

use super::GOLDEN;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Boots of a power-up that need no persisted count.
const RANGE_BITS: u32 = 8;

/// A count of boots in RAM that a reset keeps and power loss does not, over a persisted count of power-ups.
///
/// [`DeviceIds`](super::DeviceIds) and [`Epoch`](crate::frame::Epoch) need a number that no boot before has had. To
/// write flash at every reset wears it out where a watchdog bites often; so resets are counted here, and only a
/// power-up, or every 256th reset in a row, takes a number from what is persisted. The count is 256 times that
/// number and more: of the 24 bits that reach an id they leave 65,536 power-ups.
///
/// A check word tells a kept count from what power loss leaves; RAM that happens to look like one has odds of one
/// in 2^32, and RAM in which a bit has flipped takes a new number. A reset in the middle of counting takes one too.
///
/// Eight bytes of RAM. It is to lie in memory that the startup code leaves alone:
///
/// ```
/// use spanlet::frame::Epoch;
/// use spanlet::{BootCounter, DeviceIds};
/// static IDS: DeviceIds = DeviceIds::unset();
/// // On a device with cortex-m-rt: #[unsafe(link_section = ".uninit.boots")]
/// static BOOTS: BootCounter = BootCounter::new();
/// # fn count_in_flash() -> u32 { 7 }
/// # let device_id = 42;
///
/// // Once, at boot, before the first span. `count_in_flash` persists its number before it returns it.
/// let boot = BOOTS.boot(|| count_in_flash());
/// IDS.set(device_id, boot);
/// let epoch = Epoch(boot.into());
/// # assert_eq!(epoch, Epoch(7 << 8));
/// ```
///
/// A part without anything persisted can put entropy in the number's place, even a few bits of ADC noise: ids then
/// repeat only where a power-up draws what an earlier one drew, one in 65,536 for 16 bits. With
/// neither, ids cannot be unique over power loss, whatever is computed; see [`DeviceIds`](super::DeviceIds).
#[derive(Debug, Default)]
pub struct BootCounter {
    pub(super) count: AtomicU32,
    pub(super) check: AtomicU32,
}

impl BootCounter {
    /// Nothing counted. Where the memory is retained, this is what it never holds.
    pub const fn new() -> Self {
        BootCounter {
            count: AtomicU32::new(0),
            check: AtomicU32::new(0),
        }
    }
    /// The number of this boot. `power_up` gives a number that it gave to no boot before; it is asked only where the
    /// memory kept no count, or the count of this power-up is used up. To be called once a boot.
    pub fn boot(&self, power_up: impl FnOnce() -> u32) -> u32 {
        // ORDERING: one context at boot; across a reset the memory keeps what was stored last.
        let count = self.count.load(Relaxed);
        let is_kept = self.check.load(Relaxed) == check_of(count);
        let next = count.wrapping_add(1);
        let is_used_up = next & ((1 << RANGE_BITS) - 1) == 0;
        let boot = if is_kept && !is_used_up {
            next
        } else {
            power_up() << RANGE_BITS
        };
        self.count.store(boot, Relaxed);
        self.check.store(check_of(boot), Relaxed);
        boot
    }
}

/// Changes in many bits with each bit of the count, and is not zero for zero.
fn check_of(count: u32) -> u32 {
    let word = (u64::from(count) ^ GOLDEN).wrapping_mul(GOLDEN);
    #[expect(clippy::cast_possible_truncation, reason = "folds the halves")]
    {
        (word >> 32) as u32 ^ word as u32
    }
}
