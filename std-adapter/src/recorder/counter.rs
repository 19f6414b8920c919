//! The processor's counter, and the processor's word whether it is steady.

/// Whether it runs at one rate in all power states, and is read in order with RDTSCP at hand.
#[cfg(target_arch = "x86_64")]
pub(crate) fn is_steady() -> bool {
    let cpu = raw_cpuid::CpuId::new();
    let is_invariant = cpu
        .get_advanced_power_mgmt_info()
        .is_some_and(|info| info.has_invariant_tsc());
    let has_rdtscp = cpu
        .get_extended_processor_and_feature_identifiers()
        .is_some_and(|info| info.has_rdtscp());
    is_invariant && has_rdtscp
}

/// The system counter is, wherever it may be read: not on iOS.
#[cfg(target_arch = "aarch64")]
pub(crate) fn is_steady() -> bool {
    cfg!(not(target_os = "ios"))
}

/// There is none.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn is_steady() -> bool {
    false
}

/// Ticks since some moment.
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
    // SAFETY: reads a register that user mode may read (see `is_steady`).
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

/// Nobody asks.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn now() -> u64 {
    0
}
