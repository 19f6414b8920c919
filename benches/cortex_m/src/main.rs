//! Instructions per operation of core on a Cortex-M, printed as `name value` lines.
//!
//! Input: QEMU under `-icount shift=8`, where SysTick counts instructions. Output: semihosting text. Bound: it
//! refuses to print under another shift. The plugin `masked.c` watches the same run for interrupts off.
//!
//! To add an operation, add a line to [`cases`].
#![no_std]
#![no_main]

mod flight_cases;
mod host;
mod meter;
mod record_check;
mod span_cases;

use core::hint::black_box;
use host::{print, quit, value};
use meter::Meter;
use spanlet::context::traceparent;
use spanlet::ring::Ring;
use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};

/// How rings reserve here.
#[cfg(not(feature = "section"))]
type Mode = spanlet::ring::DefaultReserve;
#[cfg(feature = "section")]
type Mode = spanlet::ring::CriticalSection;

static RING: Ring<1024, Mode> = Ring::with_reserve();

/// One line per operation: its name in `budgets.json` behind the machine's prefix, and the call.
fn cases(m: &Meter) {
    let trace = TraceId::from_bytes(black_box([0x5a; 16]));
    let span = SpanId::from_bytes(black_box([0xa5; 8]));
    let (Some(trace), Some(span)) = (trace, span) else {
        return quit(false);
    };

    let header = black_box(*b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let context = black_box(SpanContext::new(trace, span, TraceFlags::SAMPLED));

    m.instructions("traceparent_parse_instructions", || {
        traceparent::parse(black_box(&header))
    });
    m.instructions("traceparent_encode_instructions", || {
        traceparent::encode(black_box(&context))
    });
    m.instructions("span_context_new_instructions", || {
        SpanContext::new(
            black_box(trace),
            black_box(span),
            black_box(TraceFlags::SAMPLED),
        )
    });
}

/// The ring alone: a record of eight words in, and out.
fn ring_cases(m: &Meter) {
    let Some(mut reader) = RING.reader() else {
        return quit(false);
    };
    let record = black_box([1u64 << 32; 8]);
    m.instructions("ring_push_8_words_instructions", || {
        RING.push_words(black_box(&record))
    });
    m.instructions("ring_read_8_words_instructions", || {
        let words = reader.read().map(|record| record.words().len());
        reader.release();
        words
    });
}

/// Sizes that do not depend on the run.
fn sizes() {
    value(host::PREFIX, "span_context_bytes", size_of::<SpanContext>());
    if cfg!(feature = "m0") {
        span_cases::sizes();
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let meter = Meter::start();
    if cfg!(feature = "flight") {
        if !flight_cases::run(&meter) {
            print(format_args!("a span of the flight recorder is missing\n"));
            quit(false);
        }
        if cfg!(feature = "m0") {
            flight_cases::sizes();
        }
        quit(true);
    }
    cases(&meter);
    ring_cases(&meter);
    if !span_cases::run(&meter) {
        print(format_args!("a span is missing\n"));
        quit(false);
    }
    sizes();
    quit(true);
    loop {}
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    host::print(format_args!("panicked: {info}\n"));
    quit(false);
    loop {}
}
