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
    #[allow(unused_variables, reason = "with some features")]
    let Some((next_hop, rest)) = output.split_first_chunk_mut::<TRACEPARENT_LEN>() else {
        return;
    };
    #[cfg(feature = "flight")]
    let mut scratch = [0; 64];
    #[cfg(feature = "flight")]
    if let Some(recovery) = TRACER.attach(&spanlet::Boot {
        build: spanlet::BuildId::of(&input[..4]),
        epoch: Epoch(u64::from(*first)),
        reason: spanlet::ResetReason::Watchdog,
        // SAFETY: the linker's read-only section.
        texts: unsafe { spanlet::linker_section!(__srodata, __erodata) },
    }) && let Some(epoch) = recovery.previous_epoch()
        && let Some(mut records) = recovery.records(&mut scratch)
    {
        let clock = records.clock();
        let mut drain: Drain<256, 0> = Drain::new(epoch, Link::stream(), Delivery::OneWay);
        let _ = drain.drain(&mut records, &mut Uart, &clock, 8);
    }
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
    #[cfg(feature = "text")]
    span.set_attribute("copied", if *second == 0 { "cold" } else { "warmer" });
    #[cfg(feature = "event")]
    span.add_event(
        "with",
        &[spanlet::KeyValue::new("third", i64::from(*second))],
    );
    traceparent::encode_into(&span.context(), next_hop);
    #[cfg(feature = "baggage")]
    {
        let mut baggage = spanlet::context::BaggageBuf::<64>::new();
        if baggage
            .set("tenant.id", if *second == 0 { "lyon 7" } else { "graz" })
            .is_ok()
        {
            let _ = core::hint::black_box(baggage.encode_allowed(&["tenant.id"], rest));
        }
    }
    span.end();

    #[cfg(feature = "otlp")]
    if let Some(mut records) = TRACER.records()
        && let Some((_, record)) = spanlet::RecordSource::peek(&mut records)
    {
        use spanlet::otlp::{OtlpEncoder, Resource};
        use spanlet::{Clock, InstrumentationScope, UnixAnchor};
        let anchor = UnixAnchor::new(
            TRACER.clock().now(),
            u64::from(*second),
            TRACER.clock().rate(),
        );
        let scope = InstrumentationScope::new("firmware");
        if let Ok(mut request) = OtlpEncoder::new(rest, &Resource::default(), &scope, anchor) {
            let _ = request.push(&record);
            core::hint::black_box(request.finish());
        }
    }

    let delivery = if cfg!(feature = "acknowledged") {
        Delivery::Acknowledged {
            resend_after_ticks: 1_000_000,
        }
    } else {
        Delivery::OneWay
    };
    let mut drain: Drain<256, 16> = Drain::new(Epoch(u64::from(*first)), Link::stream(), delivery);
    #[cfg(feature = "hello")]
    {
        use spanlet::frame::{Hello, Message, ResourceEncoder};
        let mut resource = ResourceEncoder::<64>::new();
        if resource.add("service.name", "firmware") {
            let _ = drain.message(&Message::Hello(Hello {
                device_id: "board",
                build_id: &input[..4],
                tick_hz: 1_000_000,
                capabilities: 0,
                scope_name: "firmware",
                scope_version: "",
                scope_schema_url: "",
                resource: resource.attributes(),
            }));
        }
    }
    #[cfg(not(feature = "flight"))]
    let records = TRACER.records();
    #[cfg(feature = "flight")]
    let records = TRACER.records(&mut scratch);
    if let Some(mut records) = records {
        #[cfg(feature = "acknowledged")]
        {
            use spanlet::Clock;
            use spanlet::frame::{Frame, Progress, StreamDecoder};
            let mut decoder: StreamDecoder<64> = StreamDecoder::new();
            let mut downlink = &input[64..];
            if let Progress::Frame(bytes) = decoder.feed(&mut downlink)
                && let Ok(frame) = Frame::parse(bytes)
            {
                core::hint::black_box(drain.handle_frame(
                    &mut records,
                    &frame,
                    TRACER.clock().now(),
                ));
            }
        }
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
