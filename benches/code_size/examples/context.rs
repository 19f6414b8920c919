//! WASM: from 24 bytes of ids to a context and back, in the module's own memory.
#![no_std]

use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};

static mut BUFFER: [u8; 64] = [0; 64];

/// Where the host writes the ids (16 + 8 bytes) and reads the answer.
#[unsafe(no_mangle)]
pub extern "C" fn buffer() -> *mut u8 {
    (&raw mut BUFFER).cast()
}

/// 1 when the ids at the buffer make a context, which is written behind them; else 0.
#[unsafe(no_mangle)]
pub extern "C" fn context(flags: u8) -> u32 {
    // SAFETY: the module has one thread, and the host is not running while it is.
    let buffer = unsafe { &mut *(&raw mut BUFFER) };
    let (Some(trace), Some((_, rest))) = (buffer.first_chunk(), buffer.split_first_chunk::<16>())
    else {
        return 0;
    };
    let Some(span) = rest.first_chunk() else {
        return 0;
    };
    let (Some(trace), Some(span)) = (TraceId::from_bytes(*trace), SpanId::from_bytes(*span)) else {
        return 0;
    };
    let context = SpanContext::new(trace, span, TraceFlags::from_byte(flags));
    buffer[24..40].copy_from_slice(&context.trace_id().to_bytes());
    buffer[40..48].copy_from_slice(&context.span_id().to_bytes());
    buffer[48] = context.flags().to_byte();
    1
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
