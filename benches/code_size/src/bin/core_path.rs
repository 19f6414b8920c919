//! The whole way on a device: a header in, a span of its trace, the ring, the drain, frames out, the next
//! hop's header out.
#![no_std]
#![no_main]

#[cfg(feature = "with")]
fn work(input: &[u8; spanlet_code_size::LEN], output: &mut [u8; spanlet_code_size::LEN]) {
    use spanlet::SpanKind;
    use spanlet::context::traceparent::{self, TRACEPARENT_LEN};
    use spanlet::drain::{Delivery, Drain};
    use spanlet::frame::{Epoch, Link};
    use spanlet_code_size::tracer::{DeviceSpan, TRACER, Uart};

    let Some((header, [first, second, ..])) = input.split_first_chunk::<TRACEPARENT_LEN>() else {
        return;
    };
    let Some((next_hop, _)) = output.split_first_chunk_mut::<TRACEPARENT_LEN>() else {
        return;
    };
    // A bad header starts a new trace.
    let parent = traceparent::parse(header).ok();
    let mut span: DeviceSpan = TRACER
        .span("read sensor")
        .parent(&parent)
        .kind(SpanKind::Server)
        .start();
    span.set_attribute("first", i64::from(*first));
    span.set_attribute("second", i64::from(*second));
    span.add_event("read", &[]);
    traceparent::encode_into(&span.context(), next_hop);
    span.end();

    let mut drain: Drain<256, 16> =
        Drain::new(Epoch(u64::from(*first)), Link::stream(), Delivery::OneWay);
    if let Some(mut records) = TRACER.records() {
        let _ = drain.drain(&mut records, &mut Uart, TRACER.clock(), 1);
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
