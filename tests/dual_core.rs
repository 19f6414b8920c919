//! Two cores, one tracer, one ring: threads stand for the cores, and `critical-section`'s lock for the hardware
//! spinlock that a part without compare-and-swap has (an RP2040 with `embassy-rp`'s provider).
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use spanlet::drain::RecordSource;
use spanlet::ring::CriticalSection;
use spanlet::testing::ManualClock;
use spanlet::{AlwaysOn, CoreId, DeviceIds, InlineBuf, Span, SpanId, TraceId, Tracer};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

std::thread_local! {
    static CORE: Cell<usize> = const { Cell::new(9) };
}

struct Thread;
impl CoreId for Thread {
    fn core_id() -> usize {
        CORE.get()
    }
}

type DualTracer = Tracer<ManualClock, DeviceIds, AlwaysOn, 4096, CriticalSection, Thread, 2>;
type DualSpan = Span<&'static DualTracer, InlineBuf<16>>;

static TRACER: DualTracer =
    Tracer::with_reserve(ManualClock::new(), DeviceIds::new(5, 1), AlwaysOn);

const ROUNDS: u32 = 20_000;
const CHILD: [&str; 2] = ["child on core 0", "child on core 1"];
const PARENT: [&str; 2] = ["parent on core 0", "parent on core 1"];

/// Rounds begun by each core.
static BEGUN: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// A parent and a child, by the current context alone. In between both cores are inside their parent at once.
fn work(core: usize) {
    let mut parent: DualSpan = TRACER.span(PARENT[core]).root().start();
    parent.run(|_| {
        let round = BEGUN[core].fetch_add(1, SeqCst);
        while BEGUN[1 - core].load(SeqCst) <= round {
            std::thread::yield_now();
        }
        drop::<DualSpan>(TRACER.span(CHILD[core]).start());
    });
    drop(parent);
    TRACER.clock().advance(1);
}

/// What came out of the ring, in its order.
struct Seen {
    id: SpanId,
    trace: TraceId,
    parent: Option<SpanId>,
    name: String,
}

fn take(records: &mut impl RecordSource, seen: &mut Vec<Seen>) {
    while let Some((sequence, record)) = records.peek() {
        assert_eq!(sequence as usize, seen.len(), "each has its number");
        seen.push(Seen {
            id: record.span_id(),
            trace: record.trace_id(),
            parent: record.parent_id(),
            name: record.name().to_owned(),
        });
        records.advance();
        records.release_before(sequence + 1);
    }
}

#[test]
fn both_cores_record_into_one_ring() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    let start = Barrier::new(2);
    let mut records = TRACER.records().unwrap();
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            CORE.set(1);
            start.wait();
            (0..ROUNDS).for_each(|_| work(1));
            IS_DONE.store(true, SeqCst);
        });
        // Core 0 has the link too: it reads between its own spans.
        CORE.set(0);
        start.wait();
        for round in 0..ROUNDS {
            work(0);
            if round % 8 == 0 {
                take(&mut records, &mut seen);
            }
        }
        while !IS_DONE.load(SeqCst) {
            take(&mut records, &mut seen);
        }
    });
    take(&mut records, &mut seen);

    let counters = records.counters();
    assert_eq!(
        counters.started,
        4 * ROUNDS,
        "no count is lost between the cores"
    );
    assert_eq!(counters.recorded as usize, seen.len());
    assert_eq!(counters.recorded + counters.ring_full, counters.started);
    let ids: HashMap<SpanId, &Seen> = seen.iter().map(|s| (s.id, s)).collect();
    assert_eq!(ids.len(), seen.len(), "no id twice");
    let mut families = [0; 2];
    for span in &seen {
        let core = usize::from(span.name.ends_with('1'));
        if span.name == PARENT[core] {
            assert_eq!(span.parent, None);
            continue;
        }
        assert_eq!(span.name, CHILD[core]);
        let parent = span.parent.expect("the current context of its core");
        // It may have found the ring full.
        if let Some(parent) = ids.get(&parent) {
            assert_eq!(
                (parent.name.as_str(), parent.trace),
                (PARENT[core], span.trace)
            );
            families[core] += 1;
        }
    }
    assert!(families[0] > 100 && families[1] > 100, "{families:?}");
}
