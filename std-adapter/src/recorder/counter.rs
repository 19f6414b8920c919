//! The processor's counter itself: what `quanta` has found steady, read without asking each time which clock it is.

/// Ticks since some moment. Only where `quanta::Clock` has found a counter, whose ticks these are.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: reads a register that every x86-64 has.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// As on x86-64.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn now() -> u64 {
    let ticks: u64;
    // SAFETY: reads a register that quanta has read before.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

/// Elsewhere there is none, and nobody asks.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn now() -> u64 {
    0
}
