//! One run that is always the same, under QEMU's virtual time: a command from within, then the end.

use crate::{TRACER, board};
use cortex_m_semihosting::{debug, hprintln};
use embassy_time::Timer;
use spanlet::frame::{Epoch, FrameEncoder, Link, Message, TraceCommand};
use spanlet::{SpanContext, SpanId, Ticks, TraceFlags, TraceId};

pub async fn run() {
    Timer::after_millis(105).await;
    // What the gateway sends for a caller in the cloud.
    let trace_id = TraceId::from_bytes(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736u128.to_be_bytes());
    let span_id = SpanId::from_bytes(0x00f0_67aa_0ba9_02b7u64.to_be_bytes());
    let (trace_id, span_id) = trace_id.zip(span_id).expect("not zero");
    let caller = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED);
    for payload in [&[40][..], &[101]] {
        let mut encoder: FrameEncoder<192, 0> = FrameEncoder::new(Epoch(1), Link::stream());
        let fits = encoder.message(&Message::TraceCommand(TraceCommand::new(&caller, payload)));
        let frame = encoder.frame(Ticks(0)).expect("it was queued");
        assert!(fits && board::RECEIVED.try_write(frame) == Ok(frame.len()));
    }
    Timer::after_millis(90).await;
    let counters = TRACER.counters();
    hprintln!(
        "{} spans started, {} found the ring full",
        counters.started,
        counters.ring_full
    );
    debug::exit(debug::EXIT_SUCCESS);
}
