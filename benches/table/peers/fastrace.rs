//! fastrace's `Span`: thread-safe, named by its parent, properties are texts.

use crate::case::*;
use crate::inputs::*;
use core::hint::black_box;
use fastrace::collector::{Config, Reporter, SpanRecord};
use fastrace::prelude::*;

const NAME: &str = "fastrace 0.7";

struct Nowhere;

impl Reporter for Nowhere {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        black_box(spans);
    }
}

fn context(is_sampled: bool) -> SpanContext {
    SpanContext::random().sampled(is_sampled)
}

/// Children of one root, which is started and ended outside the timed part.
fn children(row: Row, is_sampled: bool, op: impl Fn(&Span) + 'static) -> Case {
    Case::new(row, NAME, SPANS, move |m| {
        let root = Span::root("root", context(is_sampled));
        m.start();
        for _ in 0..SPANS {
            op(&root);
        }
        m.stop();
        drop(root);
        fastrace::flush();
    })
}

pub(super) fn four(root: &Span) {
    let span = Span::enter_with_parent("child", root).with_properties(|| {
        [
            ("http.method", STATIC_TEXT.into()),
            ("http.status", int().to_string().into()),
            (
                "cache.hit",
                std::borrow::Cow::from(if boolean() { "true" } else { "false" }),
            ),
            ("user.id", text().to_owned().into()),
        ]
    });
    black_box(&span);
}

fn child(root: &Span) {
    black_box(&Span::enter_with_parent("child", root));
}

pub(crate) fn register(cases: &mut Vec<Case>) {
    fastrace::set_reporter(Nowhere, Config::default());
    cases.push(children(CHILD, true, child));
    cases.push(children(FOUR, true, four));
    cases.push(children(UNSAMPLED, false, child));
    cases.push(children(UNSAMPLED_FOUR, false, four));
    cases.push(Case::new(ROOT, NAME, SPANS, |m| {
        m.start();
        for _ in 0..SPANS {
            black_box(&Span::root("root", SpanContext::random()));
        }
        m.stop();
        fastrace::flush();
    }));
    cases.push(Case::new(TRACE, NAME, TRACES, |m| {
        m.start();
        for _ in 0..TRACES {
            let root = Span::root("root", SpanContext::random());
            for _ in 0..10 {
                let span = Span::enter_with_parent("child", &root).with_properties(|| {
                    [
                        ("http.method", STATIC_TEXT.into()),
                        ("http.status", std::borrow::Cow::from(int().to_string())),
                    ]
                });
                span.add_event(Event::new("retry"));
                black_box(&span);
            }
            black_box(&root);
        }
        m.stop();
        fastrace::flush();
    }));
    cases.push(Case::new(PARSE, "fastrace 0.7 (lax)", SPANS, |m| {
        m.start();
        for _ in 0..SPANS {
            black_box(&SpanContext::decode_w3c_traceparent(black_box(TRACEPARENT)));
        }
        m.stop();
    }));
    let context = SpanContext::random();
    cases.push(Case::new(ENCODE, NAME, SPANS, move |m| {
        m.start();
        for _ in 0..SPANS {
            black_box(&black_box(context).encode_w3c_traceparent());
        }
        m.stop();
    }));
}
