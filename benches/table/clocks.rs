//! The clocks that spans are measured on: the counter, std's, and one that costs nothing.

use spanlet::Ticks;
use std::cell::Cell;
use std::time::Instant;

/// A source of ticks.
pub(crate) trait BenchClock {
    fn now(&self) -> Ticks;
}

/// The time-stamp counter itself.
#[derive(Clone, Copy)]
pub(crate) struct Tsc;

impl BenchClock for Tsc {
    #[inline(always)]
    fn now(&self) -> Ticks {
        Ticks(counter())
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: reads a register.
    unsafe { core::arch::x86_64::_rdtsc() }
}
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the floor needs a counter to read");

/// `std::time::Instant`.
#[derive(Clone, Copy)]
pub(crate) struct StdClock(Instant);

impl StdClock {
    pub(crate) fn new() -> Self {
        StdClock(Instant::now())
    }
}

impl BenchClock for StdClock {
    #[inline(always)]
    fn now(&self) -> Ticks {
        Ticks(self.0.elapsed().as_nanos() as u64)
    }
}

/// Counts how often it is asked: shows the work that the latency of a real clock hides.
#[derive(Default)]
pub(crate) struct Counting(Cell<u64>);

impl BenchClock for Counting {
    #[inline(always)]
    fn now(&self) -> Ticks {
        self.0.set(self.0.get() + 1);
        Ticks(self.0.get())
    }
}
