//! Spans into a ring: start, two integer attributes, an event, end; the record's length comes out.
#![no_std]
#![no_main]

#[cfg(feature = "with")]
fn work(input: &[u8; spanlet_code_size::LEN], output: &mut [u8; spanlet_code_size::LEN]) {
    use spanlet_code_size::tracer::{DeviceSpan, TRACER};
    let [first, second, ..] = *input;
    let mut span: DeviceSpan = TRACER.span("read sensor").start();
    span.set_attribute("first", i64::from(first));
    span.set_attribute("second", i64::from(second));
    span.add_event("read", &[]);
    span.end();
    if let (Some(mut reader), Some(out)) = (TRACER.records(), output.first_mut()) {
        use spanlet::RecordSource;
        *out = u8::from(reader.peek().is_some());
        reader.advance();
        reader.release_before(u32::from(first));
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
