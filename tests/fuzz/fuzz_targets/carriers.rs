//! Carriers of small links: any bytes as a CoAP message, as MQTT 5 properties, as CAN frames. What is read can be
//! written, and what is written into hostile surroundings is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanlet::context::can::CanReassembly;
use spanlet::context::mqtt::{Properties, UserProperties};
use spanlet::context::propagator::extract_w3c;
use spanlet::context::{CarrierMut, coap, compact};
use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};

fuzz_target!(|data: &[u8]| {
    let (Some(trace), Some(span)) = (TraceId::from_bytes([1; 16]), SpanId::from_bytes([2; 8]))
    else {
        return;
    };
    let cx = SpanContext::new(trace, span, TraceFlags::SAMPLED).remote();
    if let Ok(cx) = compact::decode(data) {
        assert_eq!(compact::encode(&cx)[..24], data[..24]);
    }

    let [a, b, message @ ..] = data else { return };
    let number = u16::from_be_bytes([*a, *b]);
    let before = coap::extract(message, number);
    let mut buffer = message.to_vec();
    buffer.resize(message.len() + 30, 0);
    match coap::inject(&mut buffer, message.len(), number, &cx) {
        Ok(len) => {
            assert_eq!(coap::extract(&buffer[..len], number), Ok(Some(cx)));
            // What else was there is there; behind an option that was replaced nothing was looked at.
            if let Some(before) = parts(message, number) {
                assert_eq!(parts(&buffer[..len], number), Some(before));
            }
        }
        Err(_) => {
            assert_eq!(&buffer[..message.len()], message);
            assert_eq!(coap::extract(&buffer[..message.len()], number), before);
        }
    }

    if let Ok((properties, _)) = Properties::split(data) {
        let _ = extract_w3c(&properties);
        let mut room = [0; 256];
        let mut carrier = UserProperties::new(&mut room);
        for (_, value) in properties.user() {
            let _ = carrier.set("traceparent", value);
            let _ = carrier.set("tracestate", value);
        }
        assert!(Properties::parse(carrier.as_bytes()).is_ok_and(|p| p.user().count() <= 2));
    }

    let mut receiver = CanReassembly::new();
    for frame in data.chunks(8) {
        let _ = receiver.feed(frame);
    }
});

/// The other options of a message, and its payload.
#[expect(clippy::type_complexity, reason = "local to the file")]
fn parts(message: &[u8], number: u16) -> Option<(Vec<(u16, Vec<u8>)>, Option<Vec<u8>>)> {
    let mut options = coap::Options::new(&message[coap::options_offset(message).ok()?..]);
    let mut others = Vec::new();
    for option in &mut options {
        let (n, value) = option.ok()?;
        if n != number {
            others.push((n, value.to_vec()));
        }
    }
    Some((others, options.payload().map(<[u8]>::to_vec)))
}
