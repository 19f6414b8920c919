//! Spans of a tracer whose ring survives a reset: what they cost, and every place that turns interrupts off.

use crate::host::value;
use crate::meter::Meter;
use crate::span_cases::Counter;
use core::hint::black_box;
use spanlet::frame::Epoch;
use spanlet::{
    AlwaysOn, Boot, BuildId, DeviceIds, FlightRecorder, FlightTracer, InlineBuf, RecordSource,
    ResetReason, Retention, Span,
};

type DeviceTracer = FlightTracer<Counter, DeviceIds, AlwaysOn, 1024, 4>;
type SmallSpan = Span<&'static DeviceTracer, InlineBuf<8>>;

static RECORDER: FlightRecorder<1024, 4> = FlightRecorder::new();
static TRACER: DeviceTracer =
    FlightTracer::new(Counter::new(), DeviceIds::unset(), AlwaysOn, &RECORDER);

/// Runs the cases; `false` if a span went anywhere but where it should.
pub fn run(m: &Meter) -> bool {
    TRACER.ids().set(black_box(1), 1);
    let boot = Boot {
        build: BuildId(black_box(7)),
        epoch: Epoch(1),
        reason: ResetReason::PowerOn,
        texts: &[],
    };
    let mut recovery = None;
    m.instructions("flight_format_instructions", || {
        recovery = TRACER.attach(&boot);
    });
    if recovery.is_none_or(|recovery| recovery.retention != Retention::Nothing) {
        return false;
    }
    let parent = {
        let root: SmallSpan = TRACER.span("boot").start();
        black_box(root.context())
    };
    let span = || {
        let mut span: SmallSpan = TRACER.span("read sensor").parent(&parent).start();
        span.set_attribute("first", black_box(1i64))
            .set_attribute("second", black_box(2i64));
    };
    m.instructions("flight_span_instructions", span);
    // Round, so that each makes room.
    for _ in 0..20 {
        span();
    }
    m.instructions("flight_span_overwriting_instructions", span);
    // Reading, releasing, a full table, and counts.
    let open: [SmallSpan; 5] = core::array::from_fn(|_| TRACER.span("open").start());
    drop(open);
    let mut scratch = [0; 32];
    let Some(mut records) = TRACER.records(&mut scratch) else {
        return false;
    };
    let mut count = 0;
    while let Some((sequence, _)) = records.peek() {
        records.advance();
        records.release_before(sequence);
        count += 1;
    }
    let counters = records.counters();
    counters.open() == 0
        && counters.recorded == counters.overwritten + count
        && TRACER.recorder().open_table().overflowed() == 1
}

/// Bytes of RAM: retained beside the ring, and for each open span.
pub fn sizes() {
    let (four, three) = (
        size_of::<FlightRecorder<1024, 4>>(),
        size_of::<FlightRecorder<1024, 3>>(),
    );
    value("ram.", "flight_open_span_bytes", four - three);
    value(
        "ram.",
        "flight_static_bytes",
        size_of::<FlightRecorder<1024, 0>>() - 1024,
    );
}
