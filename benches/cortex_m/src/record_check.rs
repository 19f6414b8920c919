//! Records of a 32-bit target come back as they were set: their layout is not the one that the host's tests see.

use core::hint::black_box;
use spanlet::testing::TestTracer;
use spanlet::{AlwaysOn, InlineBuf, KeyValue, Span, SpanContext, SpanKind, Status, Ticks, Value};

const INTEGERS: [i64; 8] = [0, -1, 32_767, 32_768, -32_768, -32_769, i64::MAX, i64::MIN];
const NAMES: [&str; 8] = [
    "a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg", "hhhhhhhh",
];
/// Longer than the 32 bits of the header's duration.
const LONG: u64 = (1 << 32) + 7;

/// Whether everything came back.
pub fn passes(parent: &SpanContext) -> bool {
    let tracer: TestTracer<AlwaysOn, 128> = TestTracer::new();
    let start = Ticks(black_box(1 << 40));
    for end in [start.0, start.0 + LONG - 8, start.0 + LONG] {
        let mut span: Span<_, InlineBuf<64>> = tracer
            .span("everything")
            .kind(SpanKind::Client)
            .parent(&parent.remote())
            .start_time(start)
            .start();
        for (name, value) in NAMES.into_iter().zip(INTEGERS) {
            span.set_attribute(name, black_box(value));
        }
        span.set_attribute("false", black_box(false))
            .set_attribute("true", black_box(true))
            .set_attribute("double", black_box(-0.1))
            .set_static("static", "kept")
            .set_attribute("copied", black_box("nine and more"))
            .set_attribute("array", &[1i64, -2][..])
            // Once more, by a value of another length.
            .set_attribute("a", black_box(i64::MAX))
            .set_attribute("", 1);
        span.add_event_at("event", Ticks(start.0 + 5), &[KeyValue::new("in it", 3)]);
        span.add_link(parent, &[]);
        span.set_error("why");
        span.end_at(Ticks(end));
        if !tracer.with_spans(|spans| {
            is_whole(
                spans.named("everything").map(|record| record.view()),
                parent,
                start,
                end,
            )
        }) {
            return false;
        }
        tracer.clear();
    }
    true
}

fn is_whole(
    span: Option<spanlet::SpanView<'_>>,
    parent: &SpanContext,
    start: Ticks,
    end: u64,
) -> bool {
    let Some(span) = span else { return false };
    let value = |key: &str| {
        span.attributes()
            .filter(|kv| kv.key == key)
            .last()
            .map(|kv| kv.value)
    };
    let integers = NAMES.into_iter().zip(INTEGERS).skip(1);
    span.name() == "everything"
        && span.kind() == SpanKind::Client
        && span.trace_id() == parent.trace_id()
        && span.parent_id() == Some(parent.span_id())
        && span.parent_is_remote()
        && (span.start(), span.end()) == (start, Ticks(end))
        && span.status() == Status::Error
        && span.status_description() == Some("why")
        && integers
            .into_iter()
            .all(|(key, n)| value(key) == Some(Value::I64(n)))
        && value("a") == Some(Value::I64(i64::MAX))
        && span.attributes().filter(|kv| kv.key == "a").count() == 1
        && value("false") == Some(Value::Bool(false))
        && value("true") == Some(Value::Bool(true))
        && value("double") == Some(Value::F64(-0.1))
        && value("static") == Some(Value::Str("kept"))
        && value("copied") == Some(Value::Str("nine and more"))
        && value("array") == Some(Value::I64Array(&[1, -2]))
        && span.dropped_attributes() == 1
        && span.events().all(|event| {
            event.name() == "event"
                && event.ticks() == Ticks(start.0 + 5)
                && event.attributes().all(|kv| kv.value == Value::I64(3))
        })
        && span.events().count() == 1
        && span
            .links()
            .all(|link| link.context().span_id() == parent.span_id())
        && span.links().count() == 1
}
