//! WASM: reads a `traceparent` and writes the one for the next hop, in the module's own memory.
#![no_std]

use spanlet::context::traceparent::{TRACEPARENT_LEN, encode_into, parse};
use spanlet::{SpanContext, SpanId};

const LEN: usize = 128;
static mut BUFFER: [u8; LEN] = [0; LEN];

/// Where the host writes the header and reads the answer: 128 bytes.
#[unsafe(no_mangle)]
pub extern "C" fn buffer() -> *mut u8 {
    (&raw mut BUFFER).cast()
}

/// Reads `len` bytes of header at the buffer and writes the header of the span `span` over them; the length
/// written, or 0 for a header that is refused.
#[unsafe(no_mangle)]
pub extern "C" fn next_hop(len: usize, span: u64) -> usize {
    // SAFETY: the module has one thread, and the host does not run while it does.
    let buffer = unsafe { &mut *(&raw mut BUFFER) };
    let Some(Ok(parent)) = buffer.get(..len).map(parse) else {
        return 0;
    };
    let Some(span) = SpanId::from_bytes(span.to_be_bytes()) else {
        return 0;
    };
    let Some(out) = buffer.first_chunk_mut::<TRACEPARENT_LEN>() else {
        return 0;
    };
    encode_into(
        &SpanContext::new(parent.trace_id(), span, parent.flags()),
        out,
    );
    TRACEPARENT_LEN
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
