//! Bytes that spans take on the wire, dictionary and envelope included. Prints what it measured.
#![allow(missing_docs, clippy::cast_possible_truncation, reason = "tests")]

use spanlet::frame::{DeviceCounters, Epoch, FrameEncoder, Link, Push};
use spanlet::testing::TestTracer;
use spanlet::{InlineBuf, SpanContext, SpanId, Ticks, TraceFlags, TraceId};

/// Traces of a root and `children` children, each with two integer attributes, ids as random as real
/// ones, sent in frames of at most `mtu` bytes before COBS; bytes a span.
fn bytes_per_span(children: u64, mtu: usize) -> f64 {
    let tracer: TestTracer<_, 8192> = TestTracer::new();
    let mut encoder: FrameEncoder<2048, 64> =
        FrameEncoder::new(Epoch(300), Link::stream().with_mtu(mtu));
    let (mut sequence, mut bytes, mut seed) = (0u32, 0usize, 1u64);
    let mut random = move || {
        seed = seed
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (seed ^ seed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd) | 1
    };
    tracer.clock().set(Ticks(3_600_000_000));
    let counters = |n| DeviceCounters {
        started: n + 2,
        recorded: n,
        ..DeviceCounters::default()
    };
    let mut out = |encoder: &mut FrameEncoder<2048, 64>, n| {
        encoder.finish(&counters(n));
        while let Some(frame) = encoder.frame(Ticks(3_600_000_000 + u64::from(n) * 700)) {
            bytes += frame.len();
        }
    };
    for _ in 0..2000 {
        let trace = (u128::from(random()) << 64 | u128::from(random())).to_be_bytes();
        let (Some(trace), Some(far)) = (TraceId::from_bytes(trace), SpanId::from_word(random()))
        else {
            unreachable!("never zero");
        };
        let far = SpanContext::new(trace, far, TraceFlags::SAMPLED).remote();
        let mut root = tracer.span("root").parent(&far).start::<InlineBuf<16>>();
        for i in 0..children {
            let mut child = tracer.span("child").parent(&root).start::<InlineBuf<16>>();
            tracer.clock().advance(300 + i);
            child
                .set_attribute("attempt", i as i64)
                .set_attribute("size", 1500);
        }
        tracer.clock().advance(900);
        root.set_attribute("status", 200).set_attribute("size", 70);
        drop(root);
        tracer.with_spans(|spans| {
            for record in spans {
                loop {
                    match encoder.push(sequence, &record) {
                        Push::Taken => break,
                        Push::Full => out(&mut encoder, sequence),
                        Push::TooLarge => unreachable!(),
                    }
                }
                sequence += 1;
            }
        });
        tracer.clear();
    }
    out(&mut encoder, sequence);
    bytes as f64 / f64::from(sequence)
}

#[test]
fn bytes_per_span_on_the_wire() {
    for (children, mtu, limit) in [
        (0, 1400, 50.0),
        (0, 200, 60.0),
        (3, 1400, 31.0),
        (3, 200, 40.0),
    ] {
        let bytes = bytes_per_span(children, mtu);
        println!("root and {children} children, MTU {mtu}: {bytes:.1} bytes a span");
        assert!(bytes < limit, "{bytes} bytes a span");
    }
}
