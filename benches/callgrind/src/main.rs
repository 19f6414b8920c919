//! Runs one operation a number of times; callgrind counts the instructions of the whole process.
//!
//! Input: `CASE TIMES`; without arguments the names of the cases are printed. `measure.sh` runs each case with two
//! numbers of times, and the difference is what the repetitions took: the start of the process cancels out.
//!
//! To add an operation, add a line to `cases!`.

use spanlet::context::traceparent;
use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};
use std::hint::black_box;

const HEADER: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: [u8; 16] = [0x5a; 16];
const SPAN: [u8; 8] = [0xa5; 8];

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
    "host.parse_instructions": traceparent::parse(black_box(HEADER)),
    "host.encode_instructions":
        let context = traceparent::parse(HEADER).unwrap();
        traceparent::encode(black_box(&context)),
    "host.span_context_instructions":
        let (trace, span) = (TraceId::from_bytes(TRACE).unwrap(), SpanId::from_bytes(SPAN).unwrap());
        SpanContext::new(black_box(trace), black_box(span), black_box(TraceFlags::SAMPLED)),
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
