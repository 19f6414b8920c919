//! perfetto-recorder: scopes of one thread, without ids; nothing is exported.

use crate::case::*;
use crate::inputs::*;
use core::hint::black_box;
use perfetto_recorder::{ThreadTraceData, scope};

const NAME: &str = "perfetto-recorder 0.3 (no ids)";

pub(crate) fn register(cases: &mut Vec<Case>) {
    perfetto_recorder::start().expect("its feature `enable` is on");
    cases.push(Case::new(CHILD, NAME, SPANS, |m| {
        m.start();
        for _ in 0..SPANS {
            scope!("child");
        }
        m.stop();
        black_box(&ThreadTraceData::take_current_thread());
        perfetto_recorder::current_thread_reserve(SPANS * 8);
    }));
    cases.push(Case::new(FOUR, NAME, SPANS, |m| {
        m.start();
        for _ in 0..SPANS {
            scope!(
                "child",
                method = STATIC_TEXT,
                status = int(),
                hit = boolean(),
                user = text()
            );
        }
        m.stop();
        black_box(&ThreadTraceData::take_current_thread());
        perfetto_recorder::current_thread_reserve(SPANS * 16);
    }));
}
