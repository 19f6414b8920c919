//! A shelf with a scale: an item is taken off, and the customer's checkout begins.
//!
//! Firmware: it uses the core alone, has no heap and no standard library, and sees the world through its
//! `board`: a timer, and byte streams. Its span starts the trace that the cloud's services go on with; its
//! own spans leave as frames.

use super::board::{self, Uart};
use embedded_io::{Read, Write};
use spanlet::context::propagator::inject_w3c;
use spanlet::context::{BaggageBuf, FixedCarrier, TraceStateBuf};
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Epoch, Identity, Link, Message};
use spanlet::{
    AlwaysOn, Clock, DeviceIds, InlineBuf, KeyValue, Span, SpanContext, SpanKind, Tracer,
};

type Buf = InlineBuf<48>;

static TRACER: Tracer<board::Timer, DeviceIds, AlwaysOn, 4096> =
    Tracer::new(board::Timer, DeviceIds::unset(), AlwaysOn);

/// One reading. `boot` is the count of boots, kept in flash. Returns the span that began the trace.
pub(crate) fn run(
    boot: u32,
    frames: &mut Uart,
    cloud: &mut Uart,
) -> Result<SpanContext, &'static str> {
    TRACER
        .ids()
        .set(spanlet::id_generator::device_id(b"shelf-0042"), boot);
    let mut drain = Drain::<512, 16>::new(Epoch(boot.into()), Link::stream(), Delivery::OneWay);
    let mut records = TRACER.records().ok_or("somebody else drains")?;
    hello(&mut drain)?;
    drain
        .drain(&mut records, frames, TRACER.clock(), 8)
        .map_err(|_| "no link to the gateway")?;

    let mut reading: Span<_, Buf> = TRACER.span("shelf reading").start();
    let context = reading.context();
    board::sleep_ms(3); // the scale settles
    reading
        .set_attribute("sensor.weight_g", 412.5)
        .set_static("sensor.name", "scale-1");
    reading.add_event("item.taken", &[KeyValue::new("item.sku", "4006381333931")]);

    let mut call: Span<_, Buf> = TRACER
        .span("POST /checkout")
        .kind(SpanKind::Client)
        .parent(&reading)
        .start();
    call.set_static("http.request.method", "POST")
        .set_static("server.address", "api-gateway.shop.internal");
    match checkout(&call.context(), cloud) {
        Ok(status) => {
            call.set_attribute("http.response.status_code", i64::from(status));
        }
        Err(error) => {
            call.set_error(error);
        }
    }
    call.end();
    reading.end();
    drain.heartbeat(); // the last counters, even if nothing follows
    drain
        .drain(&mut records, frames, TRACER.clock(), 64)
        .map_err(|_| "no link to the gateway")?;
    Ok(context)
}

/// Who the device is: put together by the compiler.
static IDENTITY: Identity<192> = Identity::new("shelf-sensor")
    .with_manufacturer("spanlet")
    .with_model("shelf-scale-1")
    .with_firmware_version("1.4.2")
    .with_build_id(b"1.4.2")
    .with_scope("shelf", "1.4.2");
const _: () = assert!(IDENTITY.fits());

fn hello(drain: &mut Drain<512, 16>) -> Result<(), &'static str> {
    let hello = IDENTITY.hello("shelf-0042", TRACER.clock().rate());
    (drain.message(&Message::Hello(hello)))
        .then_some(())
        .ok_or("the hello does not fit")
}

/// The request, by hand; the status of its answer.
fn checkout(context: &SpanContext, cloud: &mut Uart) -> Result<u16, &'static str> {
    let mut state = TraceStateBuf::<32>::new();
    let mut baggage = BaggageBuf::<64>::new();
    let filled = state.insert("shelf", "42").is_ok()
        && baggage.set("tenant.id", "lyon 7").is_ok()
        && baggage.set("checkout.channel", "shelf").is_ok();
    let (mut fields, mut buffer) = (FixedCarrier::<3, 80>::new(), [0; 64]);
    let allowed = baggage.encode_allowed(&["tenant.id", "checkout.channel"], &mut buffer);
    inject_w3c(&mut fields, context, state.text(), allowed).map_err(|_| "a header is too long")?;
    let mut send = |text: &str| {
        cloud
            .write_all(text.as_bytes())
            .map_err(|_| "no link to the cloud")
    };
    send(
        "POST /checkout HTTP/1.1\r\nhost: api-gateway\r\nconnection: close\r\ncontent-length: 0\r\n",
    )?;
    for (name, value) in fields.iter() {
        [name, ": ", value, "\r\n"]
            .into_iter()
            .try_for_each(&mut send)?;
    }
    send("\r\n")?;
    cloud.flush().map_err(|_| "no link to the cloud")?;
    let mut answer = [0; 12]; // HTTP/1.1 200
    cloud
        .read_exact(&mut answer)
        .map_err(|_| "no answer from the cloud")?;
    let status = answer
        .get(9..)
        .and_then(|text| core::str::from_utf8(text).ok()?.parse().ok());
    status
        .filter(|_| filled)
        .ok_or("an answer that is not HTTP")
}
