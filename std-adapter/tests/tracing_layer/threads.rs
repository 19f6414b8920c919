//! Spans that threads share, hand on, or keep open by the thousand.

use crate::fixture::*;
use spanlet_std::layer::TracingLayer;
use std::collections::HashSet;
use std::sync::Barrier;
use tracing::{Dispatch, Instrument, Span, dispatcher, info, info_span};
use tracing_subscriber::layer::SubscriberExt;

fn dispatch() -> Dispatch {
    install();
    Dispatch::new(tracing_subscriber::registry().with(TracingLayer::new()))
}

#[test]
fn a_span_goes_from_thread_to_thread() {
    const T: &str = "a_span_goes_from_thread_to_thread";
    let dispatch = dispatch();
    let span = dispatcher::with_default(
        &dispatch,
        || info_span!(target: T, "moved", by = tracing::field::Empty),
    );
    let mut span = Some(span);
    for n in 0..5 {
        let (taken, dispatch) = (span.take().unwrap(), dispatch.clone());
        let thread = std::thread::spawn(move || {
            dispatcher::with_default(&dispatch, || {
                taken.in_scope(|| {
                    info!(target: T, "thread {n}");
                    info_span!(target: T, "child");
                });
                taken.record("by", n);
                taken
            })
        });
        span = Some(thread.join().unwrap());
    }
    drop(span);
    let spans = recorded(T);
    let moved = named(&spans, "moved");
    assert_eq!(texts(&moved.attributes), ["by=4"]);
    assert_eq!(moved.events.len(), 5);
    let children = spans.iter().filter(|s| s.name == "child");
    assert!(children.clone().all(|s| s.parent_span_id == moved.span_id));
    assert_eq!(children.count(), 5);
}

#[test]
fn threads_in_one_span_lose_none_of_its_events() {
    const T: &str = "threads_in_one_span_lose_none_of_its_events";
    const ROUNDS: usize = 50;
    let dispatch = dispatch();
    for _ in 0..ROUNDS {
        let span = dispatcher::with_default(
            &dispatch,
            || info_span!(target: T, "shared", a = 0, b = 0, c = 0, d = 0),
        );
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for (thread, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
                let (span, dispatch, barrier) = (span.clone(), &dispatch, &barrier);
                scope.spawn(move || {
                    dispatcher::with_default(dispatch, || {
                        barrier.wait();
                        // All start it at once, too.
                        let _in = span.enter();
                        for n in 0..30 {
                            info!(target: T, thread, n, "event");
                            span.record(key, n);
                        }
                        span.follows_from(&info_span!(target: T, parent: None, "before"));
                    });
                });
            }
        });
    }
    let spans = recorded(T);
    let shared: Vec<_> = spans.iter().filter(|s| s.name == "shared").collect();
    assert_eq!(shared.len(), ROUNDS);
    for span in shared {
        assert_eq!(texts(&span.attributes).len(), 4);
        assert!(texts(&span.attributes).iter().all(|kv| kv.ends_with("=29")));
        assert_eq!((span.events.len(), span.links.len()), (120, 4));
        for thread in 0..4 {
            let own = span.events.iter().filter_map(|event| {
                let texts = texts(&event.attributes);
                (texts[2] == format!("thread={thread}")).then(|| texts[3].clone())
            });
            assert!(own.eq((0..30).map(|n| format!("n={n}"))), "in its order");
        }
    }
}

/// The last handle goes while another thread is in the span: that one ends it.
#[test]
fn a_span_closed_while_another_thread_is_in_it_ends_there() {
    const T: &str = "a_span_closed_while_another_thread_is_in_it_ends_there";
    let dispatch = dispatch();
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let span = dispatcher::with_default(&dispatch, || info_span!(target: T, "span"));
        let (theirs, other, entered) = (span.clone(), &dispatch, &barrier);
        scope.spawn(move || {
            dispatcher::with_default(other, || {
                let span = theirs.entered();
                entered.wait();
                entered.wait();
                info!(target: T, "still here");
                drop(span);
            });
        });
        barrier.wait();
        drop(span);
        assert!(recorded(T).is_empty());
        barrier.wait();
    });
    assert_eq!(named(&recorded(T), "span").events[0].name, "still here");
}

#[test]
fn deep_nests_and_thousands_of_open_spans() {
    const T: &str = "deep_nests_and_thousands_of_open_spans";
    const DEEP: usize = 500;
    const OPEN: usize = 10_000;
    fn nest(depth: usize) {
        if depth > 0 {
            info_span!(target: T, "nested", depth).in_scope(|| nest(depth - 1));
        }
    }
    let spans = record(T, || {
        nest(DEEP);
        let root = info_span!(target: T, "root").entered();
        let mut open: Vec<_> = (0..OPEN)
            .map(|n| info_span!(target: T, "open", n))
            .collect();
        for (n, span) in open.iter().enumerate() {
            span.in_scope(|| info!(target: T, n, "in"));
        }
        // From both ends and the middle.
        open.swap(1, OPEN / 2);
        open.rotate_left(OPEN / 3);
        drop(open);
        drop(root);
    });
    let nested: Vec<_> = spans.iter().filter(|s| s.name == "nested").collect();
    assert_eq!(nested.len(), DEEP);
    // The innermost ends first.
    assert!(
        nested
            .windows(2)
            .all(|w| w[0].parent_span_id == w[1].span_id)
    );
    let root = named(&spans, "root");
    let mut seen = HashSet::new();
    for span in spans.iter().filter(|s| s.name == "open") {
        assert_eq!(span.parent_span_id, root.span_id);
        let n = texts(&span.attributes).remove(0);
        assert_eq!(texts(&span.events[0].attributes)[2], n);
        assert!(seen.insert(n));
    }
    assert_eq!(seen.len(), OPEN);
}

/// The registry gives an id again as soon as its span is closed, here also on another thread.
#[test]
fn ids_that_are_used_again_belong_to_the_new_span() {
    const T: &str = "ids_that_are_used_again_belong_to_the_new_span";
    const SPANS: i64 = 20_000;
    let dispatch = dispatch();
    let (send, receive) = std::sync::mpsc::sync_channel::<(i64, Span)>(16);
    std::thread::scope(|scope| {
        let (dispatch, other) = (&dispatch, &dispatch);
        scope.spawn(move || {
            dispatcher::with_default(other, || {
                for (n, span) in receive {
                    span.in_scope(|| info!(target: T, n, "received"));
                    drop(span);
                }
            });
        });
        dispatcher::with_default(dispatch, || {
            for n in 0..SPANS {
                let span = info_span!(target: T, "sent", n);
                if n % 3 == 0 {
                    send.send((n, span)).unwrap();
                } else {
                    span.in_scope(|| info!(target: T, n, "kept"));
                }
            }
            drop(send);
        });
    });
    let spans = recorded(T);
    assert_eq!(spans.len() as i64, SPANS);
    for span in &spans {
        let n = texts(&span.attributes);
        assert_eq!(texts(&span.events[0].attributes)[2..], n[..]);
        assert_eq!((span.events.len(), span.parent_span_id.len()), (1, 0));
    }
}

#[test]
fn a_panic_ends_spans_as_failed() {
    const T: &str = "a_panic_ends_spans_as_failed";
    let dispatch = dispatch();
    let thread = std::thread::spawn(move || {
        dispatcher::with_default(&dispatch, || {
            let _in = info_span!(target: T, "unwound").entered();
            std::panic::resume_unwind(Box::new(()));
        })
    });
    assert!(thread.join().is_err());
    assert_eq!(
        status(named(&recorded(T), "unwound")),
        (2, "panicked".into())
    );
}

#[test]
fn spans_of_threads_that_end_are_recorded() {
    const T: &str = "spans_of_threads_that_end_are_recorded";
    thread_local!(static KEPT: std::cell::Cell<Option<Span>> = const { std::cell::Cell::new(None) });
    let dispatch = dispatch();
    std::thread::spawn(move || {
        // Closes in the thread's destructors, where the ring may be gone: recorded there or counted.
        dispatcher::with_default(&dispatch, || KEPT.set(Some(info_span!(target: T, "kept"))));
        dispatcher::with_default(&dispatch, || info_span!(target: T, "dropped here"));
    })
    .join()
    .unwrap();
    recorded_after_thread_end(T);
}

fn recorded_after_thread_end(target: &str) {
    let spans = recorded(target);
    assert!(names(&spans).contains(&"dropped here"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn futures_that_move_between_threads_keep_their_span() {
    const T: &str = "futures_that_move_between_threads_keep_their_span";
    const TASKS: usize = 100;
    let dispatch = dispatch();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            use tracing::instrument::WithSubscriber;
            let work = async move {
                let span = info_span!(target: T, "task", task);
                async move {
                    for step in 0..5 {
                        info!(target: T, task, "step {step}");
                        tokio::task::yield_now().await;
                    }
                    async { tokio::task::yield_now().await }
                        .instrument(info_span!(target: T, "child", task))
                        .await;
                }
                .instrument(span)
                .await;
            };
            tokio::spawn(work.with_subscriber(dispatch.clone()))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let spans = recorded(T);
    let of = |name, n: &str| {
        let mut all = spans.iter().filter(|s| s.name == name);
        all.find(|s| texts(&s.attributes)[0] == n).unwrap()
    };
    for task in 0..TASKS {
        let n = format!("task={task}");
        let span = of("task", &n);
        assert_eq!(span.events.len(), 5);
        assert!(span.events.iter().all(|e| texts(&e.attributes)[2] == n));
        assert_eq!(of("child", &n).parent_span_id, span.span_id);
    }
}
