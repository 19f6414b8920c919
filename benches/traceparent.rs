//! `traceparent` parse and encode: nanoseconds, and instructions under callgrind.
//!
//! `cargo bench -p spanlet-benches --bench traceparent` prints medians of 41 rounds;
//! `valgrind --tool=callgrind --toggle-collect='case_*' BENCH OPS` counts (`benches/README.md`).
//! The kernels are included as source, so that the scalar one is measured on hosts that do not use it.

use core::hint::black_box;
use std::time::Instant;

use spanlet::context::traceparent;
use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};

#[path = "../core/src/context/hex_text/mod.rs"]
#[allow(
    dead_code,
    unsafe_code,
    reason = "the core's own source, of which the bench calls the kernels"
)]
mod hex_text;

const ROUNDS: usize = 41;

fn contexts() -> Vec<SpanContext> {
    (1..=64_u8)
        .map(|n| {
            let trace =
                TraceId::from_bytes(core::array::from_fn(|i| n.wrapping_mul(i as u8 * 7 + 3)));
            let span =
                SpanId::from_bytes(core::array::from_fn(|i| n.wrapping_mul(i as u8 * 11 + 5)));
            SpanContext::new(trace.unwrap(), span.unwrap(), TraceFlags::from_byte(n))
        })
        .collect()
}

#[unsafe(no_mangle)]
#[inline(never)]
fn case_parse(texts: &[[u8; 55]]) {
    for text in texts {
        black_box(&traceparent::parse(black_box(&text[..])));
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn case_parse_scalar(texts: &[[u8; 55]]) {
    for text in texts {
        black_box(&hex_text::scalar::decode_fields(black_box(text)));
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn case_encode(contexts: &[SpanContext]) {
    let mut out = [0; 55];
    for cx in contexts {
        traceparent::encode_into(black_box(cx), black_box(&mut out));
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn case_encode_return(contexts: &[SpanContext]) {
    for cx in contexts {
        black_box(&traceparent::encode(black_box(cx)));
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn case_encode_scalar(contexts: &[SpanContext]) {
    let mut out = [0; 55];
    for cx in contexts {
        let cx = black_box(cx);
        hex_text::scalar::encode_fields(
            cx.trace_id().to_words(),
            cx.span_id().to_word(),
            cx.flags().to_byte(),
            black_box(&mut out),
        );
    }
}

fn main() {
    let contexts = contexts();
    let texts: Vec<[u8; 55]> = contexts.iter().map(traceparent::encode).collect();
    let cases: [(&str, &dyn Fn()); 5] = [
        ("parse", &|| case_parse(&texts)),
        ("parse, scalar kernel", &|| case_parse_scalar(&texts)),
        ("encode_into", &|| case_encode(&contexts)),
        ("encode", &|| case_encode_return(&contexts)),
        ("encode, scalar kernel", &|| case_encode_scalar(&contexts)),
    ];
    // Under callgrind one pass over the 64 inputs is enough.
    if std::env::args().any(|arg| arg == "once") {
        cases.iter().for_each(|(_, run)| run());
        return;
    }
    let passes = 2_000;
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        for ((_, run), times) in cases.iter().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..passes {
                run();
            }
            times.push(start.elapsed().as_nanos() as f64 / (passes * texts.len()) as f64);
        }
    }
    for ((name, _), times) in cases.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!(
            "{name:<24} {:6.2} ns  (min {:.2})",
            times[ROUNDS / 2],
            times[0]
        );
    }
}
