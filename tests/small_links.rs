//! Contexts over small links: the 25-byte form, CAN frames, CoAP options and MQTT 5 properties, with hostile bytes, and
//! against software that is not ours (coap-lite, mqtt-protocol-core).
#![allow(clippy::unwrap_used, reason = "tests")]

use coap_lite::{CoapOption, Packet};
use mqtt_protocol_core::mqtt::packet::v5_0::Publish;
use mqtt_protocol_core::mqtt::packet::{
    ContentType, CorrelationData, MessageExpiryInterval, PayloadFormatIndicator,
    Properties as TheirProperties, PropertiesParse, Property, ResponseTopic,
    SubscriptionIdentifier, TopicAlias, UserProperty,
};
use proptest::prelude::*;
use spanlet::context::can::{self, CanError, CanReassembly};
use spanlet::context::coap::{self, CoapError, Options, TRACE_CONTEXT};
use spanlet::context::compact::{self, CompactError};
use spanlet::context::mqtt::{MqttError, Properties, PropertyLength, UserProperties};
use spanlet::context::propagator::{extract_w3c, inject_w3c};
use spanlet::context::{AllowedBaggage, Carrier, CarrierMut, TraceStateBuf};
use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};

fn contexts() -> impl Strategy<Value = SpanContext> {
    (any::<[u8; 16]>(), any::<[u8; 8]>(), 0u8..4).prop_filter_map("zero", |(trace, span, flags)| {
        let (trace, span) = (TraceId::from_bytes(trace)?, SpanId::from_bytes(span)?);
        Some(SpanContext::new(trace, span, TraceFlags::from_byte(flags)).remote())
    })
}
fn of(n: u8) -> SpanContext {
    let (trace, span) = (
        TraceId::from_bytes([n; 16]).unwrap(),
        SpanId::from_bytes([n; 8]).unwrap(),
    );
    SpanContext::new(trace, span, TraceFlags::SAMPLED).remote()
}

/// Bytes as the specification has them, written out.
#[test]
fn the_compact_form_is_as_specified() {
    let text = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
    let cx = spanlet::context::traceparent::parse(text).unwrap();
    let form = [
        0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47,
        0x36, 0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7, 0x03,
    ];
    assert_eq!(compact::encode(&cx), form);
    assert_eq!(compact::decode(&form), Ok(cx));
    let changed = |at: core::ops::Range<usize>, byte| {
        let mut bytes = form;
        bytes[at].fill(byte);
        compact::decode(&bytes)
    };
    // W3C flags to come are not looked at, versions to come refused.
    assert_eq!(changed(24..25, 0b0001_1111).unwrap(), cx);
    for version in 1..8 {
        let expected = Err(CompactError::UnknownVersion { version });
        assert_eq!(changed(24..25, version << 5 | 1), expected);
    }
    assert_eq!(changed(0..16, 0), Err(CompactError::ZeroTraceId));
    assert_eq!(changed(16..24, 0), Err(CompactError::ZeroSpanId));
    for len in (0..25).chain([26, 50]) {
        let bytes: Vec<u8> = form.iter().cycle().take(len).copied().collect();
        let expected = CompactError::WrongLength {
            len: u16::try_from(len).unwrap(),
        };
        assert_eq!(compact::decode(&bytes), Err(expected));
    }
}

#[test]
fn can_frames_are_as_specified() {
    let cx = of(7);
    let frames: Vec<Vec<u8>> = can::split(&cx, 0x45).map(|f| f.as_bytes().into()).collect();
    assert_eq!(
        frames[0],
        [0x14, 7, 7, 7, 7, 7, 7, 7],
        "transfer 5 of 64, segment 0"
    );
    assert_eq!(frames[2], [0x16, 7, 7, 7, 7, 7, 7, 7]);
    assert_eq!(frames[3], [0x17, 7, 7, 7, 1]);
    let mut receiver = CanReassembly::new();
    assert_eq!(
        receiver.feed(&frames[1]),
        Err(CanError::OutOfOrder { segment: 1 })
    );
    assert_eq!(receiver.feed(&[]), Err(CanError::WrongLength { len: 0 }));
    assert_eq!(receiver.feed(&frames[0]), Ok(None));
    assert_eq!(
        receiver.feed(&frames[2]),
        Err(CanError::OutOfOrder { segment: 2 })
    );
    assert_eq!(
        receiver.feed(&frames[1]),
        Err(CanError::OutOfOrder { segment: 1 }),
        "dropped with it"
    );
    for frame in &frames[..3] {
        assert_eq!(receiver.feed(frame), Ok(None));
    }
    assert_eq!(receiver.feed(&frames[3]), Ok(Some(cx)));
    for frame in &frames[..3] {
        assert_eq!(receiver.feed(frame), Ok(None));
    }
    assert_eq!(
        receiver.feed(&[0x17, 7, 7, 7, 0x21]),
        Err(CanError::Context(CompactError::UnknownVersion {
            version: 1
        }))
    );
    assert_eq!(
        receiver.feed(&[0x14; 9]),
        Err(CanError::WrongLength { len: 9 })
    );
}

proptest! {
    #[test]
    fn compact_goes_both_ways(cx in contexts()) {
        prop_assert_eq!(compact::decode(&compact::encode(&cx)), Ok(cx));
    }

    #[test]
    fn compact_reads_exactly_what_it_writes(bytes in proptest::collection::vec(any::<u8>(), 20..30)) {
        if let Ok(cx) = compact::decode(&bytes) {
            let mut again = compact::encode(&cx);
            again[24] |= bytes[24] & 0b1_1100;
            prop_assert_eq!(&again[..], &bytes[..]);
        }
    }

    /// Frames that are lost, or come twice, cost contexts and never make one up.
    #[test]
    fn can_loss_makes_no_context_up(fates in proptest::collection::vec(0usize..4, 4 * 40)) {
        let mut receiver = CanReassembly::new();
        let (mut whole, mut received) = (0, 0);
        for (n, fates) in (1u8..=40).zip(fates.chunks(4)) {
            for (frame, fate) in can::split(&of(n), n).zip(fates) {
                // One in four is lost, one in four comes twice.
                for _ in 0..[1, 0, 2, 1][*fate] {
                    if let Ok(Some(cx)) = receiver.feed(frame.as_bytes()) {
                        prop_assert_eq!(cx, of(n));
                        received += 1;
                    }
                }
            }
            whole += usize::from(fates.iter().all(|f| *f == 0 || *f == 3));
        }
        prop_assert!(received >= whole);
    }

    #[test]
    fn can_takes_any_bytes(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..10), 0..40)) {
        let mut receiver = CanReassembly::new();
        for frame in &frames {
            let _ = receiver.feed(frame);
        }
        let mut last = None;
        for frame in can::split(&of(3), 1) {
            last = receiver.feed(frame.as_bytes()).unwrap();
        }
        prop_assert_eq!(last, Some(of(3)));
    }
}

// CoAP.

/// A message of coap-lite's, with options whose numbers and lengths need every form of the header.
fn coap_messages() -> impl Strategy<Value = Packet> {
    let number = prop_oneof![
        1u16..13,
        13u16..30,
        200u16..300,
        1000u16..2000,
        64990u16..=65535
    ];
    let length = prop_oneof![0usize..13, 13usize..20, 260usize..280];
    let option = (number, length, any::<u8>()).prop_filter("ours", |(n, ..)| *n != TRACE_CONTEXT);
    (
        proptest::collection::vec(any::<u8>(), 0..9),
        proptest::collection::vec(option, 0..6),
        proptest::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(token, options, payload)| {
            let mut packet = Packet::new();
            packet.set_token(token);
            for (number, length, byte) in options {
                packet.add_option(CoapOption::from(number), vec![byte; length]);
            }
            packet.payload = payload;
            packet
        })
}
/// Number and value of each option, and the payload.
type Parts = (Vec<(u16, Vec<u8>)>, Vec<u8>);
fn their_parts(packet: &Packet) -> Parts {
    let options = packet.options().flat_map(|(number, values)| {
        values
            .iter()
            .map(|v| (*number, v.clone()))
            .collect::<Vec<_>>()
    });
    (options.collect(), packet.payload.clone())
}
fn our_parts(message: &[u8]) -> Result<Parts, CoapError> {
    let mut options = Options::new(&message[coap::options_offset(message)?..]);
    let mut parts = Vec::new();
    for option in &mut options {
        let (number, value) = option?;
        parts.push((number, value.to_vec()));
    }
    Ok((parts, options.payload().unwrap_or(&[]).to_vec()))
}

#[test]
fn the_option_number_says_what_is_meant() {
    assert!((65000..=65535).contains(&TRACE_CONTEXT), "experimental");
    assert_eq!(TRACE_CONTEXT & 1, 0, "elective");
    assert_eq!(TRACE_CONTEXT & 2, 0, "safe to forward");
    assert_eq!(TRACE_CONTEXT & 0x1e, 0x1c, "not in the cache key");
}

#[test]
fn coap_refuses_by_name_and_leaves_the_message_alone() {
    let cx = of(1);
    let bad: [(&[u8], CoapError); 9] = [
        (&[], CoapError::BadHeader),
        (&[0x40, 1, 0], CoapError::BadHeader),
        (&[0x80, 1, 0, 0], CoapError::BadHeader),
        (
            &[0x49, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            CoapError::BadHeader,
        ),
        (&[0x42, 1, 0, 0, 1], CoapError::BadHeader),
        (&[0x40, 1, 0, 0, 0xff], CoapError::NoPayload),
        (
            &[0x40, 1, 0, 0, 0x10, 0xf0],
            CoapError::BadOption { offset: 1 },
        ),
        (
            &[0x40, 1, 0, 0, 0x05, 1],
            CoapError::BadOption { offset: 0 },
        ),
        // 269, and the largest delta on top: a number above 65535.
        (
            &[0x40, 1, 0, 0, 0xe0, 0, 0, 0xe0, 0xfe, 0xf2],
            CoapError::BadOption { offset: 3 },
        ),
    ];
    for (message, error) in bad {
        assert_eq!(
            coap::extract(message, TRACE_CONTEXT),
            Err(error),
            "{message:?}"
        );
        let mut buffer = [0xaa; 64];
        buffer[..message.len()].copy_from_slice(message);
        let before = buffer;
        assert_eq!(
            coap::inject(&mut buffer, message.len(), TRACE_CONTEXT, &cx),
            Err(error)
        );
        assert_eq!(buffer, before);
    }
    // To the byte.
    let mut buffer = [0; 33];
    buffer[0] = 0x40;
    assert_eq!(
        coap::inject(&mut buffer[..32], 4, TRACE_CONTEXT, &cx),
        Err(CoapError::NoRoom)
    );
    assert_eq!(
        coap::inject(&mut buffer, 34, TRACE_CONTEXT, &cx),
        Err(CoapError::BadHeader)
    );
    assert_eq!(coap::inject(&mut buffer, 4, TRACE_CONTEXT, &cx), Ok(33));
    // Replaced; of several the first counts; a value that is no context is named.
    assert_eq!(coap::inject(&mut buffer, 33, TRACE_CONTEXT, &of(2)), Ok(33));
    let mut twice = buffer.to_vec();
    twice.push(0x00);
    assert_eq!(coap::extract(&twice, TRACE_CONTEXT), Ok(Some(of(2))));
    let mut short = Packet::new();
    short.add_option(CoapOption::from(TRACE_CONTEXT), vec![1; 24]);
    let mut short = short.to_bytes().unwrap();
    let expected = CoapError::Context(CompactError::WrongLength { len: 24 });
    assert_eq!(coap::extract(&short, TRACE_CONTEXT), Err(expected));
    let len = short.len();
    short.resize(100, 0);
    let expected = CoapError::BadOption { offset: 0 };
    assert_eq!(
        coap::inject(&mut short, len, TRACE_CONTEXT, &cx),
        Err(expected)
    );
}

proptest! {
    /// What we put in, coap-lite finds, with everything else as it was; and the other way round.
    #[test]
    fn coap_agrees_with_coap_lite(packet in coap_messages(), cx in contexts(), number in prop_oneof![
        3 => Just(TRACE_CONTEXT), 1 => 0u16..2000, 1 => any::<u16>()
    ]) {
        let message = packet.to_bytes_unlimited().unwrap();
        prop_assert_eq!(our_parts(&message).unwrap(), their_parts(&packet));
        prop_assume!(packet.get_option(CoapOption::from(number)).is_none());

        let mut buffer = message.clone();
        buffer.resize(message.len() + 30, 0xaa);
        let len = coap::inject(&mut buffer, message.len(), number, &cx).unwrap();
        prop_assert!(len <= message.len() + 29);
        let mut theirs = Packet::from_bytes(&buffer[..len]).unwrap();
        let value = theirs.get_first_option(CoapOption::from(number)).unwrap();
        prop_assert_eq!(&value[..], &compact::encode(&cx)[..]);
        theirs.clear_option(CoapOption::from(number));
        prop_assert_eq!(their_parts(&theirs), their_parts(&packet));
        prop_assert_eq!(theirs.get_token(), packet.get_token());
        prop_assert_eq!(coap::extract(&buffer[..len], number), Ok(Some(cx)));

        let mut with = packet.clone();
        with.add_option(CoapOption::from(number), compact::encode(&cx).to_vec());
        prop_assert_eq!(&with.to_bytes_unlimited().unwrap()[..], &buffer[..len]);
    }

    /// Any bytes: no panic, and the options are those that coap-lite finds, where both accept.
    #[test]
    fn coap_takes_hostile_bytes(
        packet in coap_messages(),
        hits in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        cut in any::<usize>(),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        is_noise in any::<bool>(),
    ) {
        let mut message = if is_noise { noise } else { packet.to_bytes_unlimited().unwrap() };
        for (at, byte) in hits {
            let len = message.len().max(1);
            if let Some(b) = message.get_mut(at % len) {
                *b = byte;
            }
        }
        if cut % 2 == 0 {
            message.truncate(cut / 2 % (message.len() + 1));
        }
        let ours = our_parts(&message);
        let is_version_1 = message.first().is_some_and(|b| b >> 6 == 1);
        match (&ours, Packet::from_bytes(&message)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, &their_parts(&theirs)),
            // A payload marker without payload, and other versions, pass there.
            (Err(CoapError::NoPayload), Ok(_)) => {}
            (Err(CoapError::BadHeader), Ok(_)) => prop_assert!(!is_version_1),
            (Err(e), Ok(_)) => prop_assert!(false, "we refuse what coap-lite takes: {}", e),
            // Lengths above 65535 do not fit its types; none of ours are that long.
            (Ok(_), Err(e)) => prop_assert!(false, "we take what coap-lite refuses: {:?}", e),
            (Err(_), Err(_)) => {}
        }
        let _ = coap::extract(&message, TRACE_CONTEXT);
        let len = message.len();
        message.resize(len + 30, 0);
        let before = message.clone();
        match coap::inject(&mut message, len, TRACE_CONTEXT, &of(9)) {
            Ok(new) => prop_assert_eq!(coap::extract(&message[..new], TRACE_CONTEXT), Ok(Some(of(9)))),
            Err(_) => prop_assert_eq!(message, before),
        }
    }
}

// MQTT 5.

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::from("traceparent")),
        "[a-zA-Z0-9_=,é日 -]{0,40}"
    ]
}
fn their_properties() -> impl Strategy<Value = Vec<Property>> {
    let one = (0u8..8, texts(), texts(), any::<u32>()).prop_map(|(kind, a, b, n)| match kind {
        0 => Property::MessageExpiryInterval(MessageExpiryInterval::new(n).unwrap()),
        1 => Property::ContentType(ContentType::new(a).unwrap()),
        2 => Property::ResponseTopic(ResponseTopic::new("r/t").unwrap()),
        3 => Property::CorrelationData(CorrelationData::new(b.into_bytes()).unwrap()),
        4 => Property::SubscriptionIdentifier(
            SubscriptionIdentifier::new(n % 268_435_455 + 1).unwrap(),
        ),
        5 => Property::TopicAlias(TopicAlias::new((n % 65535 + 1) as u16).unwrap()),
        6 => Property::PayloadFormatIndicator(
            PayloadFormatIndicator::parse(&[(n & 1) as u8]).unwrap().0,
        ),
        _ => Property::UserProperty(UserProperty::new(&*a, &*b).unwrap()),
    });
    proptest::collection::vec(one, 0..10)
}
fn user(properties: &[Property]) -> Vec<(String, String)> {
    let pairs = properties.iter().filter_map(|p| match p {
        Property::UserProperty(pair) => Some((pair.key().into(), pair.val().into())),
        _ => None,
    });
    pairs.collect()
}
fn ours(properties: &Properties<'_>) -> Vec<(String, String)> {
    properties
        .user()
        .map(|(n, v)| (n.into(), v.into()))
        .collect()
}
fn bytes_of(properties: &[Property]) -> Vec<u8> {
    properties
        .iter()
        .flat_map(Property::to_continuous_buffer)
        .collect()
}

/// A whole PUBLISH, made and read by them, with our properties in it.
#[test]
fn a_publish_carries_the_context_through_their_codec() {
    let cx = of(5);
    let mut state = TraceStateBuf::<64>::new();
    state.insert("rojo", "1").unwrap();
    let mut buffer = [0; 256];
    let mut carrier = UserProperties::new(&mut buffer);
    inject_w3c(&mut carrier, &cx, state.text(), AllowedBaggage::default()).unwrap();
    assert_eq!(carrier.as_bytes().len(), 71 + 5 + 10 + 6);

    let mut packet = vec![0, 1, b't'];
    packet.extend(
        PropertyLength::of(carrier.as_bytes().len())
            .unwrap()
            .as_bytes(),
    );
    packet.extend(carrier.as_bytes());
    packet.extend(b"21.5");
    let (publish, consumed) = Publish::parse(0, packet.clone().into()).unwrap();
    assert_eq!(consumed, packet.len());
    assert_eq!(publish.payload().as_slice(), b"21.5");
    let pairs = user(publish.props());
    assert_eq!(pairs[0].0, "traceparent");
    assert_eq!(pairs[1], ("tracestate".into(), "rojo=1".into()));

    // And theirs, read by us.
    let again = publish.to_continuous_buffer();
    let topic_at = 2; // fixed header of two bytes
    let (properties, payload) = Properties::split(&again[topic_at + 3..]).unwrap();
    let extracted = extract_w3c(&properties);
    assert_eq!(extracted.span_context, Some(cx));
    assert_eq!(extracted.trace_state.get("rojo"), Some("1"));
    assert!(extracted.fault.is_none());
    assert_eq!(payload, b"21.5");
}

#[test]
fn mqtt_refuses_by_name() {
    let parse = |bytes: &'static [u8]| Properties::parse(bytes).map(|p| ours(&p));
    assert_eq!(parse(&[]), Ok(vec![]));
    assert_eq!(parse(&[0x01]), Err(MqttError::Truncated { offset: 0 }));
    assert_eq!(
        parse(&[0x01, 0, 0x00]),
        Err(MqttError::UnknownProperty { offset: 2, id: 0 })
    );
    assert_eq!(
        parse(&[0x80, 0]),
        Err(MqttError::UnknownProperty {
            offset: 0,
            id: 0x80
        })
    );
    assert_eq!(
        parse(&[0x26, 0, 1, b'a', 0, 2, b'b']),
        Err(MqttError::Truncated { offset: 0 })
    );
    assert_eq!(
        parse(&[0x26, 0, 1, b'a', 0, 1, 0xff]),
        Err(MqttError::BadText { offset: 0 })
    );
    assert_eq!(
        parse(&[0x26, 0, 1, 0, 0, 0]),
        Err(MqttError::BadText { offset: 0 })
    );
    assert_eq!(
        parse(&[0x0b, 0x80, 0]),
        Err(MqttError::Truncated { offset: 0 }),
        "not the shortest form"
    );
    assert_eq!(
        parse(&[0x26, 0, 1, b'a', 0, 0]),
        Ok(vec![("a".into(), String::new())])
    );
    let split =
        |bytes: &'static [u8]| Properties::split(bytes).map(|(p, rest)| (ours(&p).len(), rest));
    assert_eq!(split(&[0, 1, 2]), Ok((0, &[1u8, 2][..])));
    for bad in [
        &[][..],
        &[1],
        &[0x80],
        &[0x80, 0x00],
        &[0xff, 0xff, 0xff, 0xff, 0x01],
    ] {
        assert_eq!(split(bad), Err(MqttError::BadLength), "{bad:?}");
    }
    assert_eq!(PropertyLength::of(268_435_456), None);
    assert_eq!(
        PropertyLength::of(268_435_455).unwrap().as_bytes(),
        [0xff, 0xff, 0xff, 0x7f]
    );

    // Room to the byte, and a field that does not fit changes nothing.
    let mut buffer = [0; 12];
    let mut carrier = UserProperties::new(&mut buffer);
    carrier.set("a", "1234").unwrap();
    assert_eq!(carrier.set("b", "1").unwrap_err().name, "b");
    carrier.set("a", "123456").unwrap();
    assert_eq!(carrier.as_bytes().len(), 12);
    assert!(carrier.set("a", "1234567").is_err());
    assert!(carrier.values("A").eq([b"123456"]));
}

proptest! {
    #[test]
    fn mqtt_agrees_with_their_codec(properties in their_properties()) {
        let bytes = bytes_of(&properties);
        let parsed = Properties::parse(&bytes).unwrap();
        prop_assert_eq!(ours(&parsed), user(&properties));
        let mut packet = PropertyLength::of(bytes.len()).unwrap().as_bytes().to_vec();
        packet.extend(&bytes);
        let (theirs, consumed) = TheirProperties::parse(&packet).unwrap();
        prop_assert_eq!(consumed, packet.len());
        prop_assert_eq!(theirs, properties);
    }

    /// Setting fields, again and again, leaves what a list of pairs would hold, and they read the same.
    #[test]
    fn mqtt_fields_are_a_map(sets in proptest::collection::vec((0usize..4, "[a-z]{0,20}"), 0..20), room in 0usize..160) {
        const NAMES: [&str; 4] = ["traceparent", "tracestate", "baggage", "b3"];
        let mut buffer = vec![0; room];
        let mut carrier = UserProperties::new(&mut buffer);
        let mut model: Vec<(String, String)> = Vec::new();
        for (name, value) in sets {
            let name = NAMES[name];
            let kept: Vec<_> = model.iter().filter(|(n, _)| n != name).cloned().collect();
            let used: usize = kept.iter().map(|(n, v)| 5 + n.len() + v.len()).sum();
            if carrier.set(name, &value).is_ok() {
                model = kept;
                model.push((name.into(), value));
            } else {
                prop_assert!(used + 5 + name.len() + value.len() > room);
            }
        }
        let mut packet = PropertyLength::of(carrier.as_bytes().len()).unwrap().as_bytes().to_vec();
        packet.extend(carrier.as_bytes());
        let (theirs, _) = TheirProperties::parse(&packet).unwrap();
        prop_assert_eq!(user(&theirs), model);
    }

    #[test]
    fn mqtt_takes_hostile_bytes(
        properties in their_properties(),
        hits in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut in any::<usize>(),
    ) {
        let mut bytes = bytes_of(&properties);
        for (at, byte) in hits {
            let len = bytes.len().max(1);
            if let Some(b) = bytes.get_mut(at % len) {
                *b = byte;
            }
        }
        if cut % 4 == 0 {
            bytes.truncate(cut / 4 % (bytes.len() + 1));
        }
        let mut packet = PropertyLength::of(bytes.len()).unwrap().as_bytes().to_vec();
        packet.extend(&bytes);
        let mine = Properties::split(&packet);
        if let Ok((mine, rest)) = &mine {
            prop_assert!(rest.is_empty());
            let _ = extract_w3c(mine);
        }
        if let Ok((theirs, _)) = TheirProperties::parse(&packet) {
            match mine {
                Ok((mine, _)) => prop_assert_eq!(ours(&mine), user(&theirs)),
                // NULs and integers that are not in their shortest form pass there; the standard forbids them.
                Err(MqttError::BadText { .. }) => {
                    let has_nul = user(&theirs).iter().any(|(n, v)| n.contains('\0') || v.contains('\0'));
                    prop_assert!(has_nul);
                }
                Err(MqttError::Truncated { offset }) => prop_assert_eq!(bytes[usize::from(offset)], 0x0b),
                Err(e) => prop_assert!(false, "we refuse what they take: {}", e),
            }
        }
    }
}
