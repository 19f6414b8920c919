//! An encoded request with everything that a span can have.
#![allow(unreachable_pub, reason = "a part of several test binaries")]

use spanlet::otlp::{OtlpEncoder, Resource};
use spanlet::testing::TestTracer;
use spanlet::{
    InlineBuf, InstrumentationScope, KeyValue, Span, SpanKind, Status, StrArray, TickRate, Ticks,
    UnixAnchor, Value,
};

/// The bytes, and how many spans they hold.
pub fn request() -> (Vec<u8>, u64) {
    let tracer: TestTracer = TestTracer::new();
    {
        let mut checkout: Span<_, InlineBuf<256>> =
            tracer.span("checkout").kind(SpanKind::Server).start();
        checkout.set_status(Status::Ok);
        let mut charge: Span<_, InlineBuf<512>> = tracer
            .span("charge")
            .kind(SpanKind::Client)
            .parent(&checkout)
            .start();
        charge
            .set_attribute("text", "a")
            .set_attribute("whole", -3)
            .set_attribute("real", 1.5)
            .set_attribute("yes", true)
            .set_attribute("bytes", Value::Bytes(&[0, 255]))
            .set_attribute("wholes", Value::I64Array(&[1, 2]))
            .set_attribute("texts", Value::StrArray(StrArray::new(&["x", "y"])));
        charge.add_event("retry", &[KeyValue::new("attempt", 2)]);
        charge.add_link(&checkout.context(), &[KeyValue::new("why", "because")]);
        charge.set_error("declined");
        drop(charge);
        let _internal: Span<_, InlineBuf<64>> = tracer.span("plain").start();
    }
    let attributes = [
        KeyValue::new("service.name", "shop"),
        KeyValue::new("host.name", "h1"),
    ];
    let resource = Resource::new(&attributes).with_schema_url("https://schema/resource");
    let scope = InstrumentationScope::new("shop-lib")
        .with_version("2")
        .with_schema_url("https://schema/scope");
    let anchor = UnixAnchor::new(Ticks(0), 1_700_000_000_000_000_000, TickRate::MICROSECONDS);
    let mut buf = vec![0; 1 << 16];
    let mut encoder = OtlpEncoder::new(&mut buf, &resource, &scope, anchor).unwrap();
    tracer.with_spans(|spans| {
        for span in spans {
            encoder.push(&span.view()).unwrap();
        }
    });
    let count = u64::from(encoder.spans());
    assert_eq!(count, 3);
    (encoder.finish().to_vec(), count)
}
