//! Trace context alone: a header in, the header of the next hop out.
#![no_std]
#![no_main]

#[cfg(feature = "with")]
fn work(input: &[u8; spanlet_code_size::LEN], output: &mut [u8; spanlet_code_size::LEN]) {
    use spanlet::context::traceparent;
    use spanlet::{SpanContext, SpanId};
    let Some((header, rest)) = input.split_first_chunk::<{ traceparent::TRACEPARENT_LEN }>() else {
        return;
    };
    let Ok(parent) = traceparent::parse(header) else {
        return;
    };
    let Some(span) = rest
        .first_chunk()
        .and_then(|bytes| SpanId::from_bytes(*bytes))
    else {
        return;
    };
    let next = SpanContext::new(parent.trace_id(), span, parent.flags());
    if let Some(out) = output.first_chunk_mut() {
        traceparent::encode_into(&next, out);
    }
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
