//! The tracer of the firmware programs: volatile time, ids of a device, all spans, a ring of 4 KiB.

// The critical section's provider: linked only if it is named.
use cortex_m as _;

use core::sync::atomic::AtomicU32;
#[cfg(not(feature = "flight"))]
use spanlet::Tracer;
use spanlet::{AlwaysOn, Clock, DeviceIds, Extend32, InlineBuf, Span, TickRate, Ticks};

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
pub type DeviceSpan = Span<&'static DeviceTracer, InlineBuf<12>>;

#[cfg(not(feature = "flight"))]
pub type DeviceTracer = Tracer<Counter, DeviceIds, AlwaysOn, RING>;
#[cfg(feature = "flight")]
pub type DeviceTracer = spanlet::FlightTracer<Counter, DeviceIds, AlwaysOn, RING>;

#[cfg(feature = "flight")]
#[unsafe(link_section = ".uninit.spans")]
static RETAINED: spanlet::FlightRecorder<RING> = spanlet::FlightRecorder::new();

/// Not seeded: what that costs is the board's.
pub static TRACER: DeviceTracer = DeviceTracer::new(
    Counter {
        register: AtomicU32::new(0),
        wide: Extend32::new(),
    },
    DeviceIds::unset(),
    AlwaysOn,
    #[cfg(feature = "flight")]
    &RETAINED,
);

/// A link as a board has one: each byte into a register.
pub struct Uart;

static REGISTER: AtomicU32 = AtomicU32::new(0);

impl embedded_io::ErrorType for Uart {
    type Error = core::convert::Infallible;
}
impl embedded_io::Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        for byte in bytes {
            // SAFETY: the atomic's own memory, which nobody reads.
            unsafe { REGISTER.as_ptr().write_volatile(u32::from(*byte)) };
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
