//! Runs one operation a number of times; callgrind counts the instructions of the whole process.
//!
//! Input: `CASE TIMES`; without arguments the names of the cases are printed. `measure.sh` runs each case with two
//! numbers of times, and the difference is what the repetitions took: the start of the process cancels out.
//!
//! To add an operation, add a line to `cases!`.

#[path = "../../table/clocks.rs"]
#[allow(dead_code, reason = "the table's, of which one clock is enough")]
mod clocks;
#[path = "../../table/recorder.rs"]
#[allow(dead_code, reason = "the table's, which also drains")]
mod recorder;

use clocks::Counting;
use recorder::{Recording, recording};
use spanlet::context::traceparent;
use spanlet::frame::{Body, DeviceCounters, Epoch, FixedSymbols, Frame, FrameEncoder, Link, Push};
use spanlet::otlp::{OtlpEncoder, Resource};
use spanlet::{
    InlineBuf, InstrumentationScope, Recorder, Span, SpanBuilder, SpanContext, SpanId, TickRate,
    Ticks, TraceFlags, TraceId, UnixAnchor,
};
use std::hint::black_box;

const HEADER: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: [u8; 16] = [0x5a; 16];
const SPAN: [u8; 8] = [0xa5; 8];

/// Room for the spans of the longest run.
const RING_WORDS: usize = 1 << 17;

fn parent(flags: TraceFlags) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(TRACE).unwrap(),
        SpanId::from_bytes(SPAN).unwrap(),
        flags,
    )
}
fn recorder() -> &'static Recording<Counting> {
    recording(Counting::default(), RING_WORDS).0
}
#[inline(always)]
fn child<R: Recorder>(recorder: R, parent: &SpanContext) -> Span<R, InlineBuf<32>> {
    SpanBuilder::new(recorder, "child").parent(parent).start()
}
/// Sets a constant text, an integer, a bool and a copied text.
#[inline(always)]
fn set_four<R: Recorder>(span: &mut Span<R, InlineBuf<32>>) {
    span.set_static("http.method", "GET");
    span.set_attribute("http.status", black_box(200));
    span.set_attribute("cache.hit", black_box(true));
    span.set_attribute("user.id", black_box("user-48151623"));
}
/// A ring with one span with four attributes.
fn one_span() -> spanlet::SpanConsumer<'static> {
    let (recorder, reader) = recording(Counting::default(), RING_WORDS);
    set_four(&mut child(recorder, &parent(TraceFlags::SAMPLED)));
    reader
}
/// A frame of sixteen such spans, after which their texts are known.
fn frame_of_spans() -> (&'static [u8], FixedSymbols<64, 2048>) {
    let (recorder, reader) = recording(Counting::default(), RING_WORDS);
    let mut encoder: FrameEncoder<4096, 32> = FrameEncoder::new(Epoch(7), Link::datagrams(4000));
    for sequence in 0..16 {
        set_four(&mut child(recorder, &parent(TraceFlags::SAMPLED)));
        assert_eq!(encoder.push(sequence, &reader.read().unwrap()), Push::Taken);
    }
    encoder.finish(&DeviceCounters::default());
    let frame: &'static [u8] = encoder.frame(Ticks(1)).unwrap().to_vec().leak();
    let mut symbols = FixedSymbols::new();
    records(&Frame::parse(frame).unwrap()).learn(&mut symbols);
    (frame, symbols)
}
fn records<'a, 'f>(frame: &'a Frame<'f>) -> &'a spanlet::frame::RecordBatch<'f> {
    match frame.body() {
        Body::Records(batch) => batch,
        other => panic!("no records: {other:?}"),
    }
}

/// A name in `budgets.json` and the operation; its result is kept from being optimised away. `setup` runs once.
macro_rules! cases {
    ($($name:literal: $(let $var:pat = $setup:expr;)* $operation:expr,)*) => {
        const NAMES: &[&str] = &[$($name),*];
        fn run(case: &str, times: u32) -> bool {
            match case {
                $($name => {
                    $(let $var = $setup;)*
                    for _ in 0..times {
                        black_box($operation);
                    }
                })*
                _ => return false,
            }
            true
        }
    };
}

cases! {
    // The loop itself, which `measure.sh` takes off every other case.
    "loop": (),
    "host.parse_instructions": traceparent::parse(black_box(HEADER)).is_ok(),
    "host.encode_instructions":
        let context = traceparent::parse(HEADER).unwrap();
        traceparent::encode(black_box(&context)),
    "host.span_context_instructions":
        let (trace, span) = (TraceId::from_bytes(TRACE).unwrap(), SpanId::from_bytes(SPAN).unwrap());
        SpanContext::new(black_box(trace), black_box(span), black_box(TraceFlags::SAMPLED)),
    // Spans: start and end, without a clock, in a ring that nobody reads.
    "host.span_instructions":
        let (recorder, parent) = (recorder(), black_box(parent(TraceFlags::SAMPLED)));
        black_box(&child(recorder, &parent)),
    "host.span_4_attrs_instructions":
        let (recorder, parent) = (recorder(), black_box(parent(TraceFlags::SAMPLED)));
        { let mut span = child(recorder, &parent); set_four(&mut span); black_box(&mut span); },
    "host.span_unsampled_instructions":
        let (recorder, parent) = (recorder(), black_box(parent(TraceFlags::NONE)));
        black_box(&child(recorder, &parent)),
    // A span with four attributes, from the ring's record to the request's bytes.
    "host.otlp_span_instructions":
        let reader = one_span();
        let record = reader.read().unwrap();
        let anchor = UnixAnchor::new(Ticks(0), 1_763_000_000_123_456_789, TickRate::MICROSECONDS);
        let mut body = vec![0; 1 << 20];
        let scope = InstrumentationScope::new("");
        let mut request = OtlpEncoder::new(&mut body, &Resource::default(), &scope, anchor).unwrap();
        request.push(black_box(&record)).unwrap(),
    // The same span, from a frame of sixteen whose texts are known.
    "host.frame_decode_span_instructions":
        let (frame, symbols) = frame_of_spans();
        let frame = Frame::parse(frame).unwrap();
        let mut scratch = [0; 512];
        let mut left = records(&frame).records();
        {
            if left.left() == 0 {
                left = records(&frame).records();
            }
            left.decode_next(&symbols, &mut scratch).unwrap().is_ok()
        },
}

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (
        arguments.next(),
        arguments.next().and_then(|n| n.parse().ok()),
    ) {
        (None, _) => {
            for name in NAMES {
                println!("{name}");
            }
            std::process::ExitCode::SUCCESS
        }
        (Some(case), Some(times)) if run(&case, times) => std::process::ExitCode::SUCCESS,
        _ => std::process::ExitCode::FAILURE,
    }
}
