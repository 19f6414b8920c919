//! Both cores record into one tracer, either drains: nothing torn, nothing lost without a count, no parent of the other
//! core's, no id twice.

use spanlet::ring::{CriticalSection, DefaultReserve, NativeCas, Reserve};
use spanlet::{
    AlwaysOn, DeviceIds, InlineBuf, RecordSource, Recorder, Span, SpanId, Tracer, Value,
};
use spanlet_dual_core::{COLLISIONS, Cpu, SharedTimer, give_way, on_two_cores};
use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

/// Pairs of spans that each core records.
const ROUNDS: i64 = 10_000;
type DualTracer<M> = Tracer<SharedTimer, DeviceIds, AlwaysOn, 2048, M, Cpu, 2>;
type Buf = InlineBuf<12>;

/// The cores are two threads of one test at a time.
fn cores() -> MutexGuard<'static, ()> {
    static CORES: Mutex<()> = Mutex::new(());
    CORES
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn record<M: Reserve + 'static>(tracer: &'static DualTracer<M>, core: u8, round: i64) {
    let mut outer: Span<_, Buf> = tracer.span("outer").start();
    outer
        .set_attribute("core", i64::from(core))
        .set_attribute("round", round);
    give_way(4);
    outer.run(|_| {
        give_way(4);
        let mut inner: Span<_, Buf> = tracer.span("inner").start();
        inner
            .set_attribute("core", i64::from(core))
            .set_attribute("round", round);
    });
}

/// What was read so far.
#[derive(Default)]
struct Read {
    ids: HashSet<SpanId>,
    next_sequence: u32,
    /// Of each core: the round, and of its `inner` the parent.
    last: [(i64, Option<SpanId>); 2],
    pairs: u32,
}
impl Read {
    fn all(&mut self, records: &mut impl RecordSource) {
        while let Some((sequence, span)) = records.peek() {
            assert_eq!(sequence, self.next_sequence);
            let number = |key| match span.attributes().find(|kv| kv.key == key) {
                Some(kv) => match kv.value {
                    Value::I64(n) => n,
                    other => panic!("{other:?}"),
                },
                None => panic!("no {key} in {}", span.name()),
            };
            let (core, round) = (number("core") as usize, number("round"));
            assert_eq!(span.attributes().count(), 2);
            assert!(span.start() < span.end());
            assert!(self.ids.insert(span.span_id()), "an id twice");
            let last = &mut self.last[core];
            match span.name() {
                "inner" => {
                    assert!(round > last.0 || last.0 == 0, "in the order of its core");
                    assert!(span.parent_id().is_some());
                    *last = (round, span.parent_id());
                }
                "outer" => {
                    assert_eq!(span.parent_id(), None);
                    if last.0 == round && last.1.is_some() {
                        assert_eq!(last.1, Some(span.span_id()), "the other core's parent");
                        self.pairs += 1;
                    }
                    *last = (round, None);
                }
                other => panic!("{other}"),
            }
            records.advance();
            records.release_before(sequence.wrapping_add(1));
            self.next_sequence += 1;
        }
    }
}

/// How far a core is; past everything once it is done, or has panicked, so that the other does not wait.
struct Progress(AtomicI64);
struct Done<'a>(&'a Progress);
impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.0.store(i64::MAX, Relaxed);
    }
}

/// Core 0 and core 1 record; `drains` also reads, now and then.
fn both_record<M: Reserve + 'static>(tracer: &'static DualTracer<M>, drains: u8) {
    let _cores = cores();
    let read = Mutex::new(Read::default());
    let collisions = COLLISIONS.load(Relaxed);
    let progress = [const { Progress(AtomicI64::new(0)) }; 2];
    on_two_cores(|core| {
        let [mine, other] = if core == 0 { [0, 1] } else { [1, 0] }.map(|c| &progress[c]);
        let _done = Done(mine);
        let mut drain = (core == drains).then(|| (tracer.records().unwrap(), read.lock().unwrap()));
        for round in 1..=ROUNDS {
            // Side by side, so that they meet.
            mine.0.store(round, Relaxed);
            while other.0.load(Relaxed) < round - 4 {
                std::thread::yield_now();
            }
            record(tracer, core, round);
            if let Some((records, read)) = &mut drain
                && round % 3 == 0
            {
                read.all(records);
            }
        }
    });
    // What is left, read on the main thread, which is no core: nothing of the ring is a core's.
    let mut read = read.into_inner().unwrap();
    let mut records = tracer.records().unwrap();
    read.all(&mut records);
    let counters = records.counters();
    assert_eq!(counters.started, 4 * ROUNDS as u32);
    assert_eq!(counters.recorded, read.next_sequence);
    assert_eq!(counters.started, counters.recorded + counters.ring_full);
    assert_eq!((counters.too_large, counters.sampled_out), (0, 0));
    assert!(read.pairs > 1000, "{} pairs to look at", read.pairs);
    let collisions = COLLISIONS.load(Relaxed) - collisions;
    println!(
        "{}: {} recorded, {} ring full, {} pairs, {} collisions",
        core::any::type_name::<M>(),
        counters.recorded,
        counters.ring_full,
        read.pairs,
        collisions
    );
    if core::any::TypeId::of::<M>() == core::any::TypeId::of::<CriticalSection>() {
        assert!(
            collisions > 100,
            "they met {collisions} times at the spinlock"
        );
    }
}

macro_rules! both_ways {
    ($($name:ident: $reserve:ty, $drains:literal;)*) => {$(
        #[test]
        fn $name() {
            static TRACER: DualTracer<$reserve> =
                Tracer::with_reserve(SharedTimer::new(), DeviceIds::new(1, 1), AlwaysOn);
            both_record(&TRACER, $drains);
        }
    )*};
}
both_ways! {
    spinlock_reserve_drained_by_the_first: CriticalSection, 0;
    spinlock_reserve_drained_by_the_second: CriticalSection, 1;
    native_reserve_drained_by_the_second: NativeCas, 1;
    default_reserve_drained_by_the_first: DefaultReserve, 0;
}

/// Whoever comes first installs the global tracer, drains, and only one does.
#[test]
fn what_there_is_one_of_goes_to_one_core() {
    static TRACER: DualTracer<DefaultReserve> =
        Tracer::with_reserve(SharedTimer::new(), DeviceIds::new(1, 2), AlwaysOn);
    let _cores = cores();
    let installed = AtomicU32::new(0);
    on_two_cores(|_| {
        installed.fetch_add(
            u32::from(spanlet::set_global_tracer(&TRACER).is_ok()),
            Relaxed,
        );
    });
    assert_eq!(installed.into_inner(), 1);
    let (inside, taken) = (AtomicU32::new(0), AtomicU32::new(0));
    on_two_cores(|_| {
        for _ in 0..20_000 {
            if let Some(records) = TRACER.records() {
                assert_eq!(inside.fetch_add(1, Relaxed), 0, "two readers");
                taken.fetch_add(1, Relaxed);
                inside.fetch_sub(1, Relaxed);
                drop(records);
            }
        }
    });
    assert!(taken.into_inner() > 0);
}

/// Current on one core is nothing to the other, and neither is taking it away.
#[test]
fn a_context_stays_on_its_core() {
    static TRACER: DualTracer<DefaultReserve> =
        Tracer::with_reserve(SharedTimer::new(), DeviceIds::new(1, 3), AlwaysOn);
    let _cores = cores();
    let step = std::sync::Barrier::new(2);
    // Looked at when both are done: a core that panicked would leave the other waiting.
    let seen = Mutex::new(Vec::new());
    on_two_cores(|core| {
        let mut span: Span<_, Buf> = TRACER.span("s").start();
        let id = span.context().span_id();
        let current = || TRACER.current().map(|cx| cx.span_id());
        let see = |what, is: bool| seen.lock().unwrap().push((what, is));
        if core == 0 {
            span.run(|_| {
                step.wait();
                step.wait();
                see("still its own", current() == Some(id));
            });
        } else {
            step.wait();
            see("none of the other", current().is_none());
            let detached = TRACER.detach();
            span.run(|_| see("its own", current() == Some(id)));
            TRACER.attach(detached);
            step.wait();
        }
        see("none afterwards", current().is_none());
    });
    let seen = seen.into_inner().unwrap();
    assert!(
        seen.len() == 5 && seen.iter().all(|(_, is)| *is),
        "{seen:?}"
    );
}

/// Without a moment between: counts and ids are made by read-modify-write, and none is lost or made twice.
#[test]
fn no_count_is_lost() {
    static TRACER: DualTracer<DefaultReserve> =
        Tracer::with_reserve(SharedTimer::new(), DeviceIds::new(1, 4), AlwaysOn);
    const EACH: u32 = 400_000;
    // Long enough for two processors to be at it together.
    const COUNTS: u32 = 4_000_000;
    let _cores = cores();
    let ids = Mutex::new(HashSet::new());
    on_two_cores(|_| {
        (0..COUNTS).for_each(|_| (&TRACER).started(false));
        let mine: Vec<SpanId> = (0..EACH).map(|_| (&TRACER).span_id()).collect();
        ids.lock().unwrap().extend(mine);
    });
    let counters = TRACER.counters();
    assert_eq!(
        (counters.started, counters.sampled_out),
        (2 * COUNTS, 2 * COUNTS)
    );
    assert_eq!(ids.into_inner().unwrap().len(), 2 * EACH as usize);
}

/// Built for a core without compare-and-swap, the tests above went through the spinlock.
#[test]
fn this_build_is_the_one_it_claims_to_be() {
    let default = core::any::type_name::<DefaultReserve>();
    let expected = if cfg!(no_cas) {
        "CriticalSection"
    } else {
        "NativeCas"
    };
    assert!(default.ends_with(expected), "{default}");
}
