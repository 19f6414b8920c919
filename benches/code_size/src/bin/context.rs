//! Trace context alone: ids from bytes, a context, and its ids back.
#![no_std]
#![no_main]

#[cfg(feature = "with")]
fn work(input: &[u8; spanlet_code_size::LEN], output: &mut [u8; spanlet_code_size::LEN]) {
    use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};
    let (Some(trace), Some(span)) = (input.first_chunk(), input.last_chunk()) else {
        return;
    };
    let (Some(trace), Some(span)) = (TraceId::from_bytes(*trace), SpanId::from_bytes(*span)) else {
        return;
    };
    let context = SpanContext::new(trace, span, TraceFlags::from_byte(input[16]));
    output[..16].copy_from_slice(&context.trace_id().to_bytes());
    output[16..24].copy_from_slice(&context.span_id().to_bytes());
    output[24] = context.flags().to_byte();
}
#[cfg(not(feature = "with"))]
use spanlet_code_size::nothing as work;

#[cortex_m_rt::entry]
fn main() -> ! {
    spanlet_code_size::run(work)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
