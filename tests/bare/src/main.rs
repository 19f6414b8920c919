//! Links core for a machine with nothing on it: no std, no allocator, one core.
//!
//! Input: volatile words, so that nothing is computed in advance. Output: volatile words, so that nothing
//! is left out. It is linked and looked into, never run.
#![no_std]
#![no_main]
#![allow(
    unsafe_code,
    reason = "an entry point, a panic handler and volatile memory"
)]

use core::hint::black_box;
use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};

struct SingleCore;
critical_section::set_impl!(SingleCore);

// SAFETY: the program is never run; the symbols only have to be there.
unsafe impl critical_section::Impl for SingleCore {
    unsafe fn acquire() -> critical_section::RawRestoreState {}
    unsafe fn release(_: critical_section::RawRestoreState) {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The entry point.
// SAFETY: no other symbol of this name is linked.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    loop {
        bare_program();
    }
}

/// Every stage of the data's way, once.
#[unsafe(no_mangle)]
#[inline(never)]
fn bare_program() {
    let trace = TraceId::from_bytes(black_box([1; 16]));
    let span = SpanId::from_bytes(black_box([2; 8]));
    if let Ok(context) = spanlet::context::traceparent::parse(black_box(&[b'0'; 55])) {
        black_box(spanlet::context::traceparent::encode(&context));
    }
    if let (Some(trace), Some(span)) = (trace, span) {
        black_box(SpanContext::new(trace, span, TraceFlags::SAMPLED).remote());
    }
}
