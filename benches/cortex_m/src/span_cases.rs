//! Spans of the device's tracer: what they cost in thread mode, through ring and drain, and when they are lost.
//!
//! Every place of core that may turn interrupts off is passed at least once: `masked.c` sees how long.

use crate::Mode;
use crate::host::value;
use crate::meter::Meter;
use crate::record_check;
use core::convert::Infallible;
use core::hint::black_box;
use cortex_m::peripheral::SYST;
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Epoch, Link};
use spanlet::{
    AlwaysOn, Clock, DeviceIds, Escalation, Extend32, InlineBuf, RecordSource, Sampler,
    SamplingDecision, SamplingParameters, SamplingResult, Span, TickRate, Ticks, Tracer,
    set_global_tracer, span,
};

/// SysTick as a 32-bit counter that counts up: its 24 bits in the upper ones.
pub struct Counter(Extend32);

impl Counter {
    pub const fn new() -> Self {
        Counter(Extend32::new())
    }
}

impl Clock for Counter {
    #[inline]
    fn now(&self) -> Ticks {
        self.0.extend(!SYST::get_current() << 8)
    }
    fn rate(&self) -> TickRate {
        TickRate::NANOSECONDS
    }
}

/// Drops spans whose name begins with "d", records only those that begin with "r", samples the rest.
struct ByName;

impl Sampler for ByName {
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        SamplingResult::new(match parameters.name.as_bytes().first() {
            Some(b'd') => SamplingDecision::Drop,
            Some(b'r') => SamplingDecision::RecordOnly,
            _ => SamplingDecision::RecordAndSample,
        })
    }
    fn describe(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        out.write_str("ByName")
    }
}

type DeviceTracer<S, const N: usize> = Tracer<Counter, DeviceIds, S, N, Mode>;
type DeviceDrain = Drain<256, 16>;
/// Room for two integer attributes and the counts of what was dropped.
type SmallSpan<S, const N: usize> = Span<&'static DeviceTracer<S, N>, InlineBuf<8>>;

static TRACER: DeviceTracer<AlwaysOn, 4096> =
    Tracer::with_reserve(Counter(Extend32::new()), DeviceIds::unset(), AlwaysOn);
static ESCALATION: Escalation<4> = Escalation::new();
static CHOOSY: DeviceTracer<ByName, 1024> =
    Tracer::with_reserve(Counter(Extend32::new()), DeviceIds::unset(), ByName)
        .with_escalation(&ESCALATION);

/// A link that takes everything.
struct Nowhere;
impl embedded_io::ErrorType for Nowhere {
    type Error = Infallible;
}
impl embedded_io::Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(black_box(bytes).len())
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Runs the cases; `false` if a span went anywhere but where it should.
pub fn run(m: &Meter) -> bool {
    let device = black_box(1);
    TRACER.ids().set(device, 1);
    let parent = {
        let root: SmallSpan<_, _> = TRACER.span("boot").start();
        black_box(root.context())
    };
    m.instructions("span_2_int_attrs_instructions", || {
        let mut span: SmallSpan<_, _> = TRACER.span("read sensor").parent(&parent).start();
        span.set_attribute("first", black_box(1i64));
        span.set_attribute("second", black_box(2i64));
    });
    m.instructions("root_span_instructions", || {
        let span: SmallSpan<_, _> = TRACER.span("read sensor").start();
        black_box(&span);
    });
    let drained = drain(m);
    record_check::passes(&parent) & lose(&parent) & drained
}

/// The drain, and what a span costs it once its texts are known.
fn drain(m: &Meter) -> bool {
    let Some(mut records) = TRACER.records() else {
        return false;
    };
    let mut drain: DeviceDrain = Drain::new(Epoch(1), Link::stream(), Delivery::OneWay);
    let mut pass = || drain.drain(&mut records, &mut Nowhere, TRACER.clock(), u32::MAX);
    let first = pass().is_ok_and(|done| done.frames != 0);
    let mut span: SmallSpan<_, _> = TRACER.span("read sensor").start();
    span.set_attribute("first", black_box(1i64))
        .set_attribute("second", black_box(2i64));
    drop(span);
    let mut second = None;
    m.instructions("drain_1_span_instructions", || second = pass().ok());
    // Several at once, of a trace each: two frames.
    for n in 0..4 {
        let mut span: SmallSpan<_, _> = TRACER.span("read sensor").start();
        span.set_attribute("first", black_box(n))
            .set_attribute("second", black_box(2i64));
    }
    let mut third = None;
    m.instructions("drain_4_spans_instructions", || third = pass().ok());
    first
        && second.is_some_and(|done| done.frames == 1)
        && third.is_some_and(|done| done.frames == 2)
        && records.counters().open() == 0
}

/// Full ring, dropped and escalated spans, the facade: their counts are the rest of what turns interrupts off.
///
/// Also says how many spans with two integer attributes the ring holds.
fn lose(parent: &spanlet::SpanContext) -> bool {
    let mut held = 0;
    while TRACER.counters().ring_full == 0 && held < 1000 {
        let mut span: SmallSpan<_, _> = TRACER.span("read sensor").parent(parent).start();
        span.set_attribute("first", black_box(1i64))
            .set_attribute("second", black_box(2i64));
        held += 1;
    }
    if cfg!(feature = "m0") {
        value("ram.", "ring_4k_spans", held - 1);
    }
    for name in ["dropped", "recorded", "recorded and failed"] {
        let mut span: SmallSpan<_, _> = CHOOSY.span(name).parent(parent).start();
        if name.ends_with("failed") {
            span.set_error("unplugged");
        }
    }
    let installed = set_global_tracer(&CHOOSY).is_ok();
    drop(span!("through the facade", n = black_box(1i64)));
    let choosy = CHOOSY.counters();
    installed && choosy.sampled_out == 2 && choosy.started == 4
}

/// Bytes of RAM: an open span with room for two integer attributes; a tracer with a ring of 4 KiB and its drain.
pub fn sizes() {
    value(
        "ram.",
        "open_span_bytes",
        size_of::<SmallSpan<AlwaysOn, 4096>>(),
    );
    value(
        "ram.",
        "static_total_bytes",
        size_of_val(&TRACER) + size_of::<DeviceDrain>(),
    );
}
