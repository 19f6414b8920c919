//! Ids from a device's identity, its boots and a counter: no entropy at all.

use super::seeded::{Count, Key};
use super::{GOLDEN, IdGenerator, mix, span_id_of, trace_id_of};
use crate::context::{SpanId, TraceFlags, TraceId};

/// Bits of the boot count that reach an id; the rest of the word counts.
const BOOT_BITS: u32 = 24;
const COUNT_BITS: u32 = 64 - BOOT_BITS;

/// Ids for a part without entropy: unique because device id, boot count and counter are, together.
///
/// A trace id is a bijection of 64 bits of device id, 24 bits of boot count and 40 bits of counter. So no
/// two trace ids are the same across devices with different ids, 16.7 million boots of each and 10^12 ids
/// (traces and spans) of each boot. The span ids of one device do not repeat within these limits either;
/// those of different devices meet by chance only, which matters only within one trace.
///
/// The ids look random and sampling by them is even, but they are not RANDOM: all of them follow from a
/// number printed on the part.
///
/// **The boot count is the user's to keep**: incremented and persisted (flash, EEPROM, a backup register,
/// a `.noinit` word that survives resets) *before* the first id of a boot is made. What is left without
/// one:
/// - RAM that survives resets but not power loss: ids repeat after power loss. Some entropy, even of a
///   few bits, in place of the count makes that unlikely, no more.
/// - Neither: every boot makes the ids of the boot before. Traces of different boots then merge at the
///   backend. A host that sees each boot (a gateway with a session handshake) may hand out the count.
///
/// For tasks, threads and interrupts at once, as [`SeededIds`](super::SeededIds). Costs two 64-bit
/// products for a span, six for a trace.
///
/// ```
/// use spanlet::id_generator::device_id;
/// use spanlet::{DeviceIds, IdGenerator};
/// static IDS: DeviceIds = DeviceIds::unset();
/// # let (uid, boots) = ([1u8; 12], 17);
/// IDS.set(device_id(&uid), boots); // the 96-bit id of an STM32, the count from flash
/// let (trace, flags) = IDS.trace_id();
/// assert!(!flags.is_random());
/// # let _ = trace;
/// ```
#[derive(Debug)]
pub struct DeviceIds {
    /// [`spread`] of the device id, and the boot count in the place that it has in the words.
    key: Key,
    count: Count,
}

/// A bijection of the device id: worked out once, not for every span. Zero for zero, so that unset ids lie in
/// `.bss`.
pub(super) const fn spread(device_id: u64) -> u64 {
    mix(device_id ^ GOLDEN) ^ mix(GOLDEN)
}

impl DeviceIds {
    /// For a `static`, to be [`set`](Self::set) at boot. Until then the ids are those of device 0, boot 0.
    pub const fn unset() -> Self {
        Self::new(0, 0)
    }
    /// Ids of boot `boot_count` (modulo 2^24) of a device.
    pub const fn new(device_id: u64, boot_count: u32) -> Self {
        DeviceIds {
            key: Key::new([spread(device_id), (boot_count as u64) << COUNT_BITS]),
            count: Count::new(),
        }
    }
    /// Sets device and boot count (modulo 2^24), at boot before spans are recorded.
    pub fn set(&self, device_id: u64, boot_count: u32) {
        let boot = (boot_count as u64) << COUNT_BITS;
        self.key.set([spread(device_id), boot]);
    }
    /// The device id, spread, and boot count and counter in one word.
    #[inline(always)]
    fn next(&self) -> (u64, u64) {
        let [device, boot] = self.key.words();
        (device, boot | self.count.next() & (u64::MAX >> BOOT_BITS))
    }
}

impl IdGenerator for DeviceIds {
    #[inline]
    fn span_id(&self) -> SpanId {
        let (device, word) = self.next();
        span_id_of(mix(word ^ device))
    }
    #[inline]
    fn trace_id(&self) -> (TraceId, TraceFlags) {
        let (device, word) = self.next();
        // INVARIANT: each line can be undone knowing the other word, so the pair is a bijection.
        let low = mix(word.wrapping_add(device));
        let high = device ^ mix(low.wrapping_add(GOLDEN));
        let low = low.wrapping_add(mix(high));
        (trace_id_of(high, low), TraceFlags::NONE)
    }
}

/// 64 bits of a longer device id (a 96-bit unique id, a MAC address with a part number). Of `n` devices
/// two get the same with a probability of about n² / 2^65: one in 37 million for a million devices.
///
/// ```
/// use spanlet::id_generator::device_id;
/// assert_ne!(device_id(b"A1-0001"), device_id(b"A1-0002"));
/// ```
pub const fn device_id(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64 ^ GOLDEN);
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        hash = mix(hash ^ *byte as u64).wrapping_add(GOLDEN);
        rest = after;
    }
    hash
}
