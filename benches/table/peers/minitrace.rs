//! minitrace's `Span`: thread-safe, named by its parent, properties are texts.

use crate::case::*;
use crate::inputs::*;
use core::hint::black_box;
use minitrace::collector::{Config, Reporter, SpanRecord};
use minitrace::prelude::*;

const NAME: &str = "minitrace 0.6";

struct Nowhere;

impl Reporter for Nowhere {
    fn report(&mut self, spans: &[SpanRecord]) {
        black_box(spans);
    }
}

fn context(_: bool) -> SpanContext {
    SpanContext::random()
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
        minitrace::flush();
    })
}

fn four(root: &Span) {
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
    minitrace::set_reporter(Nowhere, Config::default());
    cases.push(children(CHILD, true, child));
    cases.push(children(FOUR, true, four));

    cases.push(Case::new(ROOT, NAME, SPANS, |m| {
        m.start();
        for _ in 0..SPANS {
            black_box(&Span::root("root", SpanContext::random()));
        }
        m.stop();
        minitrace::flush();
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
                Event::add_to_parent("retry", &span, || []);
                black_box(&span);
            }
            black_box(&root);
        }
        m.stop();
        minitrace::flush();
    }));
    cases.push(Case::new(PARSE, "minitrace 0.6 (lax)", SPANS, |m| {
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
