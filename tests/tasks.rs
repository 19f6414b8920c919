//! Whose work is it: the current context and the task hooks with tasks that take turns, executors that preempt
//! each other (embassy's own, polled by hand from the middle of a poll), and interrupt handlers.
#![allow(clippy::unwrap_used, reason = "tests")]

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use embassy_executor::raw::Executor;
use spanlet::boundary::TaskTrace;
use spanlet::testing::ManualClock;
use spanlet::{
    AlwaysOn, DeviceIds, InlineBuf, Instrument, RecordSource, Recorder, Span, SpanContext, SpanId,
    TraceId, Tracer, Value, within,
};
use std::sync::{Mutex, MutexGuard};

type Buf = InlineBuf<12>;
type DeviceTracer = Tracer<ManualClock, DeviceIds, AlwaysOn, 16384>;
static TRACER: DeviceTracer = Tracer::new(ManualClock::new(), DeviceIds::new(1, 1), AlwaysOn);
/// Polls of 100 ticks are slow.
static TASKS: TaskTrace<&DeviceTracer, 2> = TaskTrace::new(&TRACER, 100);
spanlet::embassy_trace!(TASKS);

/// Executors are polled by the tests.
#[unsafe(export_name = "__pender")]
extern "Rust" fn pender(_: *mut ()) {}

/// A record: name, span id, parent, times, attributes.
#[derive(Debug, Clone)]
struct Seen {
    name: String,
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    from: u64,
    to: u64,
    attributes: Vec<(String, String)>,
}

/// The tracer is one core's: one test at a time.
fn one_core() -> MutexGuard<'static, ()> {
    static CORE: Mutex<()> = Mutex::new(());
    let core = CORE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    seen();
    core
}
fn seen() -> Vec<Seen> {
    let mut records = TRACER.records().unwrap();
    let mut all = Vec::new();
    while let Some((sequence, span)) = records.peek() {
        all.push(Seen {
            name: span.name().into(),
            trace: span.trace_id(),
            id: span.span_id(),
            parent: span.parent_id(),
            from: span.start().0,
            to: span.end().0,
            attributes: span
                .attributes()
                .map(|kv| match kv.value {
                    Value::I64(n) => (kv.key.into(), n.to_string()),
                    Value::Static(text) | Value::Str(text) => (kv.key.into(), text.into()),
                    other => panic!("{other:?}"),
                })
                .collect(),
        });
        records.advance();
        records.release_before(sequence.wrapping_add(1));
    }
    assert_eq!(records.counters().ring_full, 0);
    all
}
#[track_caller]
fn named<'a>(all: &'a [Seen], name: &str) -> &'a Seen {
    let mut found = all.iter().filter(|s| s.name == name);
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {all:#?}"));
    assert!(found.next().is_none(), "{name} twice");
    one
}

fn span(name: &'static str) -> Span<&'static DeviceTracer, Buf> {
    TRACER.span(name).start()
}
fn point(name: &'static str) {
    drop(span(name));
}
/// Pending once.
async fn turn() {
    let mut is_second = false;
    core::future::poll_fn(move |cx| {
        cx.waker().wake_by_ref();
        if core::mem::replace(&mut is_second, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
fn poll(future: Pin<&mut impl Future<Output = ()>>) -> bool {
    future
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

#[test]
fn tasks_that_take_turns_keep_their_own_context() {
    let _core = one_core();
    async fn task(points: [&'static str; 3]) {
        for name in points {
            point(name);
            turn().await;
        }
    }
    let mut a = pin!(task(["a1", "a2", "a3"]).in_span(span("a")));
    let mut b = pin!(
        async {
            task(["b1", "b2", "b3"]).in_span(span("inner")).await;
            point("b4");
        }
        .in_span(span("b"))
    );
    let mut plain = pin!(task(["p1", "p2", "p3"]));
    for _ in 0..3 {
        assert!(!poll(a.as_mut()) && !poll(b.as_mut()) && !poll(plain.as_mut()));
        assert_eq!(TRACER.current(), None);
    }
    assert!(poll(a.as_mut()) && poll(b.as_mut()) && poll(plain.as_mut()));
    let all = seen();
    let (a, b, inner) = (
        named(&all, "a").id,
        named(&all, "b").id,
        named(&all, "inner").id,
    );
    for n in 1..=3 {
        assert_eq!(named(&all, &format!("a{n}")).parent, Some(a));
        assert_eq!(named(&all, &format!("b{n}")).parent, Some(inner));
        assert_eq!(named(&all, &format!("p{n}")).parent, None);
    }
    assert_eq!(named(&all, "inner").parent, Some(b));
    assert_eq!(named(&all, "b4").parent, Some(b));
}

/// What a handler sees, with its three ways to choose.
#[test]
fn an_interrupt_handler_chooses_its_parent() {
    let _core = one_core();
    let cause = SpanContext::new(
        TraceId::from_bytes([1; 16]).unwrap(),
        SpanId::from_bytes([2; 8]).unwrap(),
        spanlet::TraceFlags::SAMPLED,
    );
    let interrupt = || {
        point("of whom it interrupted");
        TRACER.detached(|| {
            point("of nobody");
            span("handler").run(|_| point("of the handler"));
        });
        drop::<Span<_, Buf>>(TRACER.span("of its cause").parent(&cause).start());
        drop::<Span<_, Buf>>(TRACER.span("a root").root().start());
    };
    span("task").run(|_| {
        interrupt();
        point("after");
    });
    let all = seen();
    let task = named(&all, "task");
    assert_eq!(named(&all, "of whom it interrupted").parent, Some(task.id));
    assert_eq!(named(&all, "of nobody").parent, None);
    let handler = named(&all, "handler");
    assert_eq!(handler.parent, None);
    assert_eq!(named(&all, "of the handler").parent, Some(handler.id));
    assert_eq!(named(&all, "of its cause").parent, Some(cause.span_id()));
    assert_eq!(named(&all, "of its cause").trace, cause.trace_id());
    assert_eq!(named(&all, "a root").parent, None);
    assert_eq!(named(&all, "after").parent, Some(task.id));
}

/// A panic in the middle puts everything back.
#[test]
fn unwinding_puts_the_context_back() {
    let _core = one_core();
    let mut outer = span("outer");
    let id = outer.context().span_id();
    outer.run(|_| {
        let panicked = std::panic::catch_unwind(|| {
            TRACER.detached(|| span("inner").run(|_| std::panic::resume_unwind(Box::new(()))));
        });
        assert!(panicked.is_err());
        assert_eq!(TRACER.current().map(|cx| cx.span_id()), Some(id));
    });
    assert_eq!(TRACER.current(), None);
}

/// What a future holds is dropped in its span, done or given up.
#[test]
fn a_dropped_future_is_dropped_in_its_span() {
    let _core = one_core();
    struct AtDrop(&'static str);
    impl Drop for AtDrop {
        fn drop(&mut self) {
            point(self.0);
        }
    }
    async fn hold(at_drop: &'static str, forever: bool) {
        let _held = AtDrop(at_drop);
        if forever {
            core::future::pending::<()>().await;
        }
    }
    span("elsewhere").run(|_| {
        let mut given_up = Box::pin(hold("in given up", true).in_span(span("given up")));
        assert!(!poll(given_up.as_mut()));
        drop(given_up);
        drop(hold("never", true).in_span(span("never polled")));
        let mut done = Box::pin(hold("in done", false).in_span(span("done")));
        assert!(poll(done.as_mut()));
        let mut borrowed = span("borrowed");
        let mut inside = Box::pin(within(&mut borrowed, hold("in borrowed", true)));
        assert!(
            inside
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        drop(inside);
        point("elsewhere still");
    });
    let all = seen();
    for (inner, outer) in [
        ("in given up", "given up"),
        ("in done", "done"),
        ("in borrowed", "borrowed"),
        ("elsewhere still", "elsewhere"),
    ] {
        assert_eq!(
            named(&all, inner).parent,
            Some(named(&all, outer).id),
            "{inner}"
        );
    }
    assert!(all.iter().all(|s| s.name != "never"));
    // Ended by the drop, after what was inside.
    let at = |name| all.iter().position(|s| s.name == name).unwrap();
    assert!(at("in given up") < at("given up"));
}

fn executor() -> &'static Executor {
    Box::leak(Box::new(Executor::new(core::ptr::null_mut())))
}
/// As an interrupt polls its executor: in the middle of whatever runs.
fn run(executor: &'static Executor) {
    // SAFETY: no test polls an executor from one of its own tasks.
    unsafe { executor.poll() };
}

#[embassy_executor::task]
async fn low(high: &'static Executor) {
    async {
        point("low before");
        assert!(TASKS.current_task().is_some());
        let me = TASKS.current_task();
        TRACER.clock().advance(60);
        run(high); // an interrupt
        assert_eq!(TASKS.current_task(), me);
        point("low after");
    }
    .in_span(span("low"))
    .await;
}
#[embassy_executor::task]
async fn high_plain() {
    point("high plain");
    TRACER.clock().advance(70);
}
#[embassy_executor::task]
async fn high_in_span(higher: &'static Executor) {
    async {
        point("high in span");
        TRACER.clock().advance(100);
        run(higher);
        point("high after");
    }
    .in_span(span("high"))
    .await;
}
#[embassy_executor::task]
async fn higher() {
    point("higher plain");
    TRACER.clock().advance(1000);
}

/// Three levels: contexts are those of the own task, a task without one starts roots, and each poll is slow or
/// not by its own time.
#[test]
fn executors_that_preempt_each_other_keep_the_right_task() {
    let _core = one_core();
    let too_deep = TASKS.too_deep();
    let [thread, interrupt, urgent] = [executor(), executor(), executor()];
    let spawn = |on: &'static Executor, token: embassy_executor::SpawnToken<_>| {
        let id = token.id();
        on.spawner().spawn(token);
        id
    };
    let low_id = {
        let token = low(interrupt).unwrap();
        let id = token.id();
        thread.spawner().spawn(token);
        id
    };
    let plain_id = {
        let token = high_plain().unwrap();
        let id = token.id();
        interrupt.spawner().spawn(token);
        id
    };
    let high_id = {
        let token = high_in_span(urgent).unwrap();
        let id = token.id();
        interrupt.spawner().spawn(token);
        id
    };
    let higher_id = spawn(urgent, higher().unwrap());
    TASKS.name(high_id, "high").unwrap();
    TASKS.name(high_id, "high, renamed").unwrap();
    TASKS.name(higher_id, "higher").unwrap();
    assert!(TASKS.name(plain_id, "one too many").is_err());

    span("main").run(|_| {
        assert_eq!(TASKS.current_task(), None);
        run(thread);
        point("main after");
    });
    assert_eq!(TASKS.current_task(), None);

    let all = seen();
    let of = |name: &str| named(&all, name).parent;
    let id = |name: &str| Some(named(&all, name).id);
    assert_eq!(of("low"), None, "not the span around the executor");
    assert_eq!((of("low before"), of("low after")), (id("low"), id("low")));
    assert_eq!(of("high plain"), None, "not the preempted task's");
    assert_eq!(of("high"), None);
    assert_eq!(
        (of("high in span"), of("high after")),
        (id("high"), id("high"))
    );
    assert_eq!(of("higher plain"), None);
    assert_eq!(of("main after"), id("main"));

    // 60 + 70 + 100 + 1000 ticks went by in the poll of `low`, 60 of them its own.
    let polls: Vec<_> = all.iter().filter(|s| s.name == "task poll").collect();
    assert_eq!(polls.len(), 2, "{polls:#?}");
    let [of_higher, of_high] = polls[..] else {
        unreachable!()
    };
    let text = |n: u32| n.to_string();
    let attribute = |s: &Seen, key: &str| {
        s.attributes
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.clone())
    };
    assert_eq!(attribute(of_higher, "task.id"), Some(text(higher_id)));
    assert_eq!(attribute(of_higher, "task.name").as_deref(), Some("higher"));
    #[expect(clippy::cast_possible_truncation, reason = "as embassy does")]
    let executor_id = urgent.id() as u32;
    assert_eq!(attribute(of_higher, "executor.id"), Some(text(executor_id)));
    assert_eq!(of_higher.to - of_higher.from, 1000);
    assert_eq!(attribute(of_high, "task.id"), Some(text(high_id)));
    assert_eq!(
        attribute(of_high, "task.name").as_deref(),
        Some("high, renamed")
    );
    assert_eq!(
        of_high.to - of_high.from,
        1100,
        "from begin to end, whoever came in between"
    );
    assert_eq!((of_high.parent, of_higher.parent), (None, None));
    assert_ne!(low_id, plain_id);
    assert_eq!(TASKS.too_deep(), too_deep);
}

#[embassy_executor::task(pool_size = 6)]
async fn nested(rest: &'static [&'static Executor], depth: usize) {
    point(["d0", "d1", "d2", "d3", "d4", "d5"][depth]);
    TRACER.clock().advance(200);
    async {
        if let [next, rest @ ..] = rest {
            next.spawner().spawn(nested(rest, depth + 1).unwrap());
            run(next);
        }
    }
    .in_span(span(["s0", "s1", "s2", "s3", "s4", "s5"][depth]))
    .await;
}

/// Deeper than there is room for: counted, not watched, and everything below is as before.
#[test]
fn executors_beyond_the_fourth_are_counted() {
    let _core = one_core();
    let before = TASKS.too_deep();
    let executors: &'static [&'static Executor] =
        Box::leak(Box::new(core::array::from_fn::<_, 6, _>(|_| executor())));
    executors[0]
        .spawner()
        .spawn(nested(&executors[1..], 0).unwrap());
    run(executors[0]);
    assert_eq!(TASKS.too_deep().wrapping_sub(before), 2);
    assert_eq!((TASKS.current_task(), TRACER.current()), (None, None));
    let all = seen();
    for watched in ["d0", "d1", "d2", "d3"] {
        assert_eq!(named(&all, watched).parent, None, "{watched}");
    }
    // Their contexts are still their own once they have set them; before that, those of whom they preempted.
    assert_eq!(named(&all, "d4").parent, Some(named(&all, "s3").id));
    assert_eq!(named(&all, "d5").parent, Some(named(&all, "s4").id));
    // The fourth level keeps its own poll: 200 of its own, the rest of those that were not watched.
    let polls = all.iter().filter(|s| s.name == "task poll").count();
    assert_eq!(polls, 4);
    point("after");
    assert_eq!(named(&seen(), "after").parent, None);
}
