//! The tracer of the firmware programs: volatile time, ids of a device, all spans, a ring of 4 KiB.

// The critical section's provider: linked only if it is named.
use cortex_m as _;

use core::sync::atomic::AtomicU32;
use spanlet::{AlwaysOn, Clock, DeviceIds, Extend32, InlineBuf, Span, TickRate, Ticks, Tracer};

/// A counter as a board has one: 32 bits, from a register.
pub struct Counter {
    register: AtomicU32,
    wide: Extend32,
}

impl Clock for Counter {
    fn now(&self) -> Ticks {
        let register = self.register.as_ptr().cast_const();
        // SAFETY: the atomic's own memory, which nobody writes.
        self.wide.extend(unsafe { register.read_volatile() })
    }
    fn rate(&self) -> TickRate {
        TickRate::MICROSECONDS
    }
}

/// Bytes of the ring.
pub const RING: usize = 4096;

/// Room for two integer attributes and an event.
pub type DeviceSpan = Span<&'static Tracer<Counter, DeviceIds, AlwaysOn, RING>, InlineBuf<12>>;

/// Not seeded: what that costs is the board's.
pub static TRACER: Tracer<Counter, DeviceIds, AlwaysOn, RING> = Tracer::new(
    Counter {
        register: AtomicU32::new(0),
        wide: Extend32::new(),
    },
    DeviceIds::unset(),
    AlwaysOn,
);
