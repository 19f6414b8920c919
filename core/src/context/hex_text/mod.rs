//! The fixed-offset hex of a `traceparent`, both ways.
//!
//! Input: exactly 55 bytes, or the words of a context. Output: [`Fields`], or the 55 bytes. Bound: no
//! loop depends on the input, and every path reads and writes the 55 bytes and nothing else.
//!
//! One interface, three kernels: SSE2 and NEON where the target's *baseline* has them (no run-time
//! detection, so no atomics and no second path in flash), else machine words. All accept the same
//! language; which byte was wrong is found by the caller, off the fast path.
//!
//! This module depends on `core` alone, so that the bench can include it and measure each kernel.

#[allow(
    dead_code,
    reason = "the fallback, and where there are vectors the partner of their tests and benches"
)]
pub(crate) mod scalar;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[allow(
    unsafe_code,
    reason = "vector loads and stores at offsets that are asserted at compile time"
)]
pub(crate) mod sse2;

#[cfg(all(
    target_arch = "aarch64",
    target_feature = "neon",
    target_endian = "little"
))]
#[allow(
    unsafe_code,
    reason = "vector loads and stores at offsets that are asserted at compile time"
)]
pub(crate) mod neon;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[allow(
    unused_imports,
    reason = "a bench includes this file for one kernel at a time"
)]
pub(crate) use sse2 as kernel;

#[cfg(all(
    target_arch = "aarch64",
    target_feature = "neon",
    target_endian = "little"
))]
#[allow(
    unused_imports,
    reason = "a bench includes this file for one kernel at a time"
)]
pub(crate) use neon as kernel;

#[cfg(not(any(
    all(target_arch = "x86_64", target_feature = "sse2"),
    all(
        target_arch = "aarch64",
        target_feature = "neon",
        target_endian = "little"
    )
)))]
#[allow(
    unused_imports,
    reason = "a bench includes this file for one kernel at a time"
)]
pub(crate) use scalar as kernel;

/// Length of a version 00 `traceparent`.
pub(crate) const LEN: usize = 55;
/// Where the 32 digits of the trace id start.
pub(crate) const TRACE: usize = 3;
/// Where the 16 digits of the parent id start.
pub(crate) const SPAN: usize = 36;
/// Where the two digits of the flags start.
pub(crate) const FLAGS: usize = 53;

/// What the 55 bytes hold. Zero ids and versions are not judged here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fields {
    pub(crate) version: u8,
    /// In memory order, as `TraceId` keeps it.
    pub(crate) trace: [u64; 2],
    /// In memory order, as `SpanId` keeps it.
    pub(crate) span: u64,
    pub(crate) flags: u8,
}

/// The value of one lowercase hex digit.
///
/// SPEC: Trace Context Level 2, 3.2.2 `HEXDIGLC`.
#[inline(always)]
pub(crate) const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Two digits as a byte; above 255 if one is no lowercase hex digit.
#[allow(
    dead_code,
    reason = "the vector kernels' way to the four digits outside the ids"
)]
#[inline(always)]
pub(crate) fn byte(high: u8, low: u8) -> u32 {
    digit_or_bad(high) << 4 | digit_or_bad(low)
}

/// 0 to 15, or a value with bit 8 set that survives a shift by four and an `or`.
#[allow(dead_code, reason = "as `byte`")]
#[inline(always)]
fn digit_or_bad(byte: u8) -> u32 {
    match digit(byte) {
        Some(value) => u32::from(value),
        None => 0x100,
    }
}
