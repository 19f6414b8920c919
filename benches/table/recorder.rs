//! A recorder of the bench's own over core's parts: what an explicit tracer costs, on any clock.

use crate::clocks::BenchClock;
use spanlet::ring::SpscControl;
use spanlet::{
    AlwaysOn, FinishedSpan, IdGenerator, LocalIds, ParentBased, Recorder, Sampler,
    SamplingParameters, SamplingResult, SpanConsumer, SpanContext, SpanId, SpanProducer, Ticks,
    TraceFlags, TraceId, spsc_spans,
};
use std::cell::Cell;

/// Words of a ring: two chunks of spans with four attributes.
pub(crate) const RING_WORDS: usize = 16384;

/// One thread's recorder: every part known at compile time. Aligned so that two never share a cache line.
#[repr(align(128))]
pub(crate) struct Recording<C> {
    clock: C,
    ids: LocalIds,
    sampler: ParentBased<AlwaysOn>,
    recording: Cell<u64>,
    dropped: Cell<u64>,
    out: SpanProducer<'static>,
}

/// Recorder and reading end, kept until the process ends, over a ring of a power of two of words.
pub(crate) fn recording<C: BenchClock>(
    clock: C,
    ring_words: usize,
) -> (&'static Recording<C>, SpanConsumer<'static>) {
    let control = Box::leak(Box::new(SpscControl::new()));
    let words = Box::leak(Box::new_uninit_slice(ring_words));
    let (out, reader) = spsc_spans(control, words).expect("a power of two");
    let recorder = Box::leak(Box::new(Recording {
        clock,
        ids: LocalIds::new([7; 16]),
        sampler: ParentBased::new(AlwaysOn),
        recording: Cell::new(0),
        dropped: Cell::new(0),
        out,
    }));
    (recorder, reader)
}

impl<C: BenchClock> Recorder for &'static Recording<C> {
    #[inline(always)]
    fn now(self) -> Ticks {
        self.clock.now()
    }
    #[inline(always)]
    fn span_id(self) -> SpanId {
        self.ids.span_id()
    }
    #[inline(always)]
    fn trace_id(self) -> (TraceId, TraceFlags) {
        self.ids.trace_id()
    }
    #[inline(always)]
    fn sample(self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        self.sampler.should_sample(parameters)
    }
    #[inline(always)]
    fn record(self, span: FinishedSpan<'_>) {
        // What the ring refuses it counts, and `drain` would find it missing.
        let _ = self.out.push(span);
    }
    #[inline(always)]
    fn started(self, recording: bool) {
        let counter = if recording {
            &self.recording
        } else {
            &self.dropped
        };
        counter.set(counter.get() + 1);
    }
}

/// Reads what a chunk has recorded. Nothing may be missing: a lost span is a cheap one.
pub(crate) fn drain(reader: &mut SpanConsumer<'_>, spans: usize) {
    let mut found = 0;
    while reader.read().is_some() {
        found += 1;
    }
    reader.release();
    assert_eq!(found, spans, "nothing may be lost in a measured chunk");
}

/// The parent of children that are measured alone.
pub(crate) fn parent(flags: TraceFlags) -> SpanContext {
    let trace = TraceId::from_bytes([0x5a; 16]).expect("not zero");
    let span = SpanId::from_bytes([0xa5; 8]).expect("not zero");
    core::hint::black_box(SpanContext::new(trace, span, flags))
}
