//! spanlet's spans in the shapes that users get.
//!
//! - core: inline buffer, an explicit recorder over a single-producer ring;
//! - std: `spanlet_std::Span`, the thread's recorder, pooled pages, drained and encoded by the drain thread;
//! - global: what libraries use, through `dyn` to the thread's recorder.

use crate::case::{Target::*, *};
use crate::clocks::{BenchClock, Counting, StdClock, Tsc};
use crate::inputs::*;
use crate::meter::{self, Meter};
use crate::recorder::{RING_WORDS, Recording, drain, parent, recording};
use crate::threads::{elsewhere, together};
use core::hint::black_box;
use core::time::Duration;
use spanlet::{
    GLOBAL_SPAN_WORDS, Global, InlineBuf, Recorder, Span, SpanBuf, SpanBuilder, SpanContext,
    TraceFlags,
};
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::{Local, PooledBuf, Telemetry};
use std::sync::Arc;

/// 256 bytes of entries in the span.
pub(crate) type Inline = InlineBuf<32>;
/// What libraries use.
const GLOBAL: &str = "spanlet, library facade";
type GlobalBuf = InlineBuf<GLOBAL_SPAN_WORDS>;

#[inline(always)]
pub(crate) fn child<R: Recorder, B: SpanBuf>(rec: R, parent: &SpanContext) {
    let span: Span<R, B> = SpanBuilder::new(rec, "child").parent(parent).start();
    black_box(&span);
}
#[inline(always)]
fn root<R: Recorder, B: SpanBuf>(rec: R) {
    let span: Span<R, B> = SpanBuilder::new(rec, "root").root().start();
    black_box(&span);
}
/// A root to make children of.
#[inline(always)]
pub(crate) fn root_of<R: Recorder, B: SpanBuf>(rec: R) -> Span<R, B> {
    SpanBuilder::new(rec, "root").root().start()
}
#[inline(always)]
pub(crate) fn four<R: Recorder, B: SpanBuf>(rec: R, parent: &SpanContext) {
    let mut span: Span<R, B> = SpanBuilder::new(rec, "child").parent(parent).start();
    span.set_static("http.method", STATIC_TEXT);
    span.set_attribute("http.status", int());
    span.set_attribute("cache.hit", boolean());
    span.set_attribute("user.id", text());
    black_box(&mut span);
}
#[inline(always)]
fn trace<R: Recorder, B: SpanBuf>(rec: R) {
    let root: Span<R, B> = SpanBuilder::new(rec, "root").root().start();
    for _ in 0..10 {
        let mut span: Span<R, B> = SpanBuilder::new(rec, "child").parent(&root).start();
        span.set_static("http.method", STATIC_TEXT)
            .set_attribute("http.status", int());
        span.add_event("retry", &[]);
        black_box(&mut span);
    }
    black_box(&root);
}

/// A chunk: `ops` operations, then what they recorded is read.
fn chunk(m: &mut Meter, ops: usize, mut op: impl FnMut(), drained: impl FnOnce()) {
    m.start();
    for _ in 0..ops {
        op();
    }
    m.stop();
    drained();
}

/// A case over an explicit recorder.
fn core<C: BenchClock + 'static>(
    row: Row,
    name: &str,
    (ops, spans): (usize, usize),
    clock: C,
    op: impl Fn(&'static Recording<C>) + 'static,
) -> Case {
    let (rec, mut reader) = recording(clock, RING_WORDS);
    Case::new(row, name, ops, move |m| {
        chunk(m, ops, || op(rec), || drain(&mut reader, spans));
    })
}

pub(crate) fn register(cases: &mut Vec<Case>) {
    const ONE: (usize, usize) = (SPANS, SPANS);
    const CORE: &str = "spanlet, inline buffer";
    let cx = parent(TraceFlags::SAMPLED);
    let off = parent(TraceFlags::NONE);
    let quick = [TimesFloor(1.05), NoAlloc];
    let with_four = [TimesFloor(1.10), NoAlloc];
    let child_bare = [Ns(6.0), Instructions(110.0), NoAlloc];
    let four_bare = [Ns(11.0), Instructions(240.0), NoAlloc];
    let mut add = |case: Case, targets: &[Target]| cases.push(case.must(targets));

    add(
        core(CHILD, CORE, ONE, Tsc, move |r| child::<_, Inline>(r, &cx)),
        &quick,
    );
    add(
        core(CHILD_STD_CLOCK, CORE, ONE, StdClock::new(), move |r| {
            child::<_, Inline>(r, &cx)
        }),
        &quick,
    );
    add(
        core(CHILD_NO_CLOCK, CORE, ONE, Counting::default(), move |r| {
            child::<_, Inline>(r, &cx)
        }),
        &child_bare,
    );
    add(core(ROOT, CORE, ONE, Tsc, root::<_, Inline>), &with_four);
    add(
        core(FOUR, CORE, ONE, Tsc, move |r| four::<_, Inline>(r, &cx)),
        &with_four,
    );
    add(
        core(FOUR_STD_CLOCK, CORE, ONE, StdClock::new(), move |r| {
            four::<_, Inline>(r, &cx)
        }),
        &with_four,
    );
    add(
        core(FOUR_NO_CLOCK, CORE, ONE, Counting::default(), move |r| {
            four::<_, Inline>(r, &cx)
        }),
        &four_bare,
    );
    add(
        core(TRACE, CORE, (TRACES, TRACES * 11), Tsc, trace::<_, Inline>),
        &[Ns(340.0), NoAlloc],
    );
    add(
        core(UNSAMPLED, CORE, (SPANS, 0), Tsc, move |r| {
            child::<_, Inline>(r, &off)
        }),
        &[Ns(2.0), NoAlloc],
    );
    add(
        core(UNSAMPLED_FOUR, CORE, (SPANS, 0), Tsc, move |r| {
            four::<_, Inline>(r, &off)
        }),
        &[Ns(3.0), NoAlloc],
    );

    let (rec, mut reader) = recording(Tsc, RING_WORDS);
    let read = elsewhere(move || drain(&mut reader, SPANS));
    let far = Case::new(FOUR_FAR, CORE, SPANS, move |m| {
        chunk(m, SPANS, || four::<_, Inline>(rec, &cx), &read);
    });
    add(far.not_counted(), &[TimesFloor(1.25), NoAlloc]);

    // One thread in the same set-up, the other idle: what two threads are compared with.
    let alone = together(TWO_THREADS, FLOOR, SPANS, &[], |is_second| {
        let (rec, mut reader) = recording(Tsc, RING_WORDS);
        let cx = parent(TraceFlags::SAMPLED);
        move |m: &mut Meter| {
            if !is_second {
                chunk(
                    m,
                    SPANS,
                    || four::<_, Inline>(rec, &cx),
                    || drain(&mut reader, SPANS),
                );
                // The mean counts the idle thread as 0.
                m.ns *= 2.0;
            }
        }
    });
    add(alone, &[]);
    let both = together(
        TWO_THREADS,
        CORE,
        SPANS,
        &[TimesFloor(1.10), NoAlloc],
        |_| {
            let (rec, mut reader) = recording(Tsc, RING_WORDS);
            let cx = parent(TraceFlags::SAMPLED);
            move |m: &mut Meter| {
                chunk(
                    m,
                    SPANS,
                    || four::<_, Inline>(rec, &cx),
                    || drain(&mut reader, SPANS),
                );
            }
        },
    );
    cases.push(both);
}

/// An exporter that takes everything and does nothing.
/// Takes everything.
pub(crate) struct Nowhere;

impl SpanExporter for Nowhere {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        ExportOutcome {
            exported: batch.spans,
            attempts: 1,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}

/// spanlet_std's spans, and a library's, with everything running: drain thread, encoder, an exporter that does
/// nothing. Call after what needs no tracer.
pub(crate) fn register_std(cases: &mut Vec<Case>) {
    const STD: &str = "spanlet-std";
    const STD_INLINE: &str = "spanlet-std, inline buffer";
    let telemetry = Telemetry::builder_with(Default::default())
        .exporter(Nowhere)
        .install()
        .expect("the only one");
    let running = Running(Arc::new(telemetry));
    let mut add =
        |row: Row, name: &str, op: fn(&Running, Row, &str) -> Case, targets: &[Target]| {
            cases.push(op(&running, row, name).must(targets));
        };
    let (quick, with_four) = ([TimesFloor(1.05), NoAlloc], [TimesFloor(1.10), NoAlloc]);

    add(
        CHILD,
        STD,
        |t, r, n| t.case(r, n, |cx| child::<Local, PooledBuf>(Local, cx)),
        &quick,
    );
    add(
        ROOT,
        STD,
        |t, r, n| t.case(r, n, |_| root::<Local, PooledBuf>(Local)),
        &with_four,
    );
    add(
        FOUR,
        STD,
        |t, r, n| t.case(r, n, |cx| four::<Local, PooledBuf>(Local, cx)),
        &with_four,
    );
    add(
        FOUR,
        STD_INLINE,
        |t, r, n| t.case(r, n, |cx| four::<Local, Inline>(Local, cx)),
        &with_four,
    );
    add(
        TRACE,
        STD,
        |t, r, n| t.of(TRACES, r, n, |_| trace::<Local, PooledBuf>(Local)),
        &[Ns(340.0), NoAlloc],
    );
    add(
        UNSAMPLED,
        STD,
        |t, r, n| t.off(r, n, |cx| child::<Local, PooledBuf>(Local, cx)),
        &[Ns(2.0), NoAlloc],
    );
    add(
        UNSAMPLED_FOUR,
        STD,
        |t, r, n| t.off(r, n, |cx| four::<Local, PooledBuf>(Local, cx)),
        &[Ns(3.0), NoAlloc],
    );
    add(
        FOUR_FAR,
        STD,
        |t, r, n| t.far(r, n, |cx| four::<Local, PooledBuf>(Local, cx)),
        &[TimesFloor(1.25), NoAlloc],
    );

    add(
        CHILD,
        GLOBAL,
        |t, r, n| t.case(r, n, |cx| child::<Global, GlobalBuf>(Global, cx)),
        &[NoAlloc],
    );
    add(
        FOUR,
        GLOBAL,
        |t, r, n| t.case(r, n, |cx| four::<Global, GlobalBuf>(Global, cx)),
        &[NoAlloc],
    );
    add(
        UNSAMPLED,
        GLOBAL,
        |t, r, n| t.off(r, n, |cx| child::<Global, GlobalBuf>(Global, cx)),
        &[NoAlloc],
    );
}

/// A library's span before a binary has installed a tracer.
pub(crate) fn register_no_tracer(cases: &mut Vec<Case>) {
    let cx = parent(TraceFlags::SAMPLED);
    let case = Case::new(NO_TRACER, GLOBAL, SPANS, move |m| {
        chunk(m, SPANS, || child::<Global, GlobalBuf>(Global, &cx), || ());
    });
    cases.push(case.must(&[Ns(2.0), NoAlloc]));
}

/// The telemetry of the process.
struct Running(Arc<Telemetry>);

impl Running {
    fn case(&self, row: Row, name: &str, op: impl Fn(&SpanContext) + 'static) -> Case {
        self.of(SPANS, row, name, op)
    }
    fn of(&self, ops: usize, row: Row, name: &str, op: impl Fn(&SpanContext) + 'static) -> Case {
        self.chunks(ops, row, name, parent(TraceFlags::SAMPLED), meter::HERE, op)
    }
    fn off(&self, row: Row, name: &str, op: impl Fn(&SpanContext) + 'static) -> Case {
        self.chunks(SPANS, row, name, parent(TraceFlags::NONE), meter::HERE, op)
    }
    fn far(&self, row: Row, name: &str, op: impl Fn(&SpanContext) + 'static) -> Case {
        self.chunks(
            SPANS,
            row,
            name,
            parent(TraceFlags::SAMPLED),
            meter::ELSEWHERE,
            op,
        )
        .not_counted()
    }
    /// The drain thread works between the chunks, on the core that is asked for.
    fn chunks(
        &self,
        ops: usize,
        row: Row,
        name: &str,
        cx: SpanContext,
        drain_on: usize,
        op: impl Fn(&SpanContext) + 'static,
    ) -> Case {
        let telemetry = self.0.clone();
        Case::new(row, name, ops, move |m| {
            meter::pin_named("spanlet-drain", drain_on);
            chunk(
                m,
                ops,
                || op(&cx),
                || {
                    assert!(telemetry.flush(Duration::from_secs(30)), "flushed in time");
                    let ledger = telemetry.ledger();
                    assert_eq!(
                        ledger.ring_full + ledger.queue_full,
                        0,
                        "nothing may be lost in a measured chunk"
                    );
                },
            );
        })
    }
}
