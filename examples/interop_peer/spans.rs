//! One span of each sort: attribute types, events, links, statuses, kinds, times, limits, parents.

use crate::report;
use serde_json::json;
use spanlet::context::traceparent;
use spanlet::{InstrumentationScope, KeyValue, ParentContext, Recorder, SpanKind, Status, Value};
use spanlet_std::propagation::Context;
use spanlet_std::{Local, Span, span};
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The scope of a library in this program; the program's own has neither version nor schema.
static LIBRARY: InstrumentationScope = InstrumentationScope::new("interop.library")
    .with_version("4.5.6")
    .with_schema_url("https://opentelemetry.io/schemas/1.37.0");
/// OTLP's AnyValue `{"n": 7, "s": ["x", true]}`: what no attribute type of ours expresses.
const MAP: &[u8] =
    b"\x32\x1b\x0a\x07\x0a\x01n\x12\x02\x18\x07\x0a\x10\x0a\x01s\x12\x0b\x2a\x09\x0a\x03\x0a\x01x\x0a\x02\x10\x01";

pub(crate) fn spans(finite: bool) -> Result<(), Box<dyn Error>> {
    let began = Local.now();
    let began_at = unix_nanos()?;
    let remote = Context::extract(&[
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
        ),
        ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
    ]);

    let mut root: Span = span("values").root().start();
    let parent = Some(root.context());
    root.set_static("static", "constant")
        .set_attribute("copied", format!("made at {}", "run time").as_str())
        .set_attribute("empty", "")
        .set_attribute("unicode", "größer 🚀 \u{0} \"quoted\"\n")
        .set_attribute_copied("schlüssel.größe", 1)
        .set_attribute("true", true)
        .set_attribute("false", false)
        .set_attribute("i64.min", i64::MIN)
        .set_attribute("i64.max", i64::MAX)
        .set_attribute("f64.nan", if finite { 0.1 } else { f64::NAN })
        .set_attribute("f64.minus.zero", -0.0)
        .set_attribute("f64.tiny", f64::from_bits(1))
        .set_attribute("bytes", &b"\x00\xff\x80"[..])
        .set_attribute("bools", &[true, false][..])
        .set_attribute("ints", &[i64::MIN, 0, i64::MAX][..])
        .set_attribute(
            "doubles",
            &[0.5, if finite { 1e300 } else { f64::NEG_INFINITY }][..],
        )
        .set_attribute("texts", &["a", "", "🚀"][..])
        .set_attribute("no.texts", &[] as &[&str])
        .set_attribute("map", Value::Any(MAP))
        .set_attribute("set.twice", "first")
        .set_attribute("set.twice", 2);

    for (name, kind) in [
        ("kind internal", SpanKind::Internal),
        ("kind server", SpanKind::Server),
        ("kind client", SpanKind::Client),
        ("kind producer", SpanKind::Producer),
        ("kind consumer", SpanKind::Consumer),
    ] {
        let span: Span = span(name).kind(kind).parent(&root).start();
        report(span, parent, json!(null));
    }

    let mut events: Span = span("events").parent(&root).start();
    events
        .add_event("plain", &[])
        .add_event_at("earlier", began, &[])
        .add_event(
            "with 🚀",
            &[KeyValue::new("n", -1), KeyValue::new("s", "é")],
        );
    report(events, parent, json!({ "earlier": began_at }));

    let other: Span = span("linked to").root().start();
    let unsampled = traceparent::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")?;
    let mut links: Span = span("links").parent(&root).start();
    links
        .add_link(&other.context(), &[])
        .add_link(&unsampled, &[KeyValue::new("why", "not sampled")])
        .add_link_with_state(
            &remote.span_context().ok_or("no remote context")?,
            remote.trace_state(),
            &[KeyValue::new("ok", true)],
        );
    report(links, parent, json!(null));
    report(other, None, json!(null));

    let mut ok: Span = span("status ok").parent(&root).start();
    // Ok is final.
    ok.set_status(Status::Ok).set_error("too late");
    report(ok, parent, json!(null));
    let mut failed: Span = span("status error").parent(&root).start();
    failed.set_error("zu groß");
    report(failed, parent, json!(null));
    let mut recorded: Span = span("error recorded").parent(&root).start();
    if let Err(error) = "x".parse::<i32>() {
        recorded.record_error(&error);
    }
    report(recorded, parent, json!(null));

    let mut renamed: Span = span("old name").parent(&root).start();
    renamed.update_name(&format!("renamed {}", 1));
    report(renamed, parent, json!(null));
    let scoped: Span = span("of a library").scope(&LIBRARY).parent(&root).start();
    report(scoped, parent, json!(null));

    let mut timed: Span = span("timed").start_time(began).parent(&root).start();
    std::thread::sleep(Duration::from_millis(30));
    let ended = Local.now();
    let ended_at = unix_nanos()?;
    std::thread::sleep(Duration::from_millis(30));
    timed.end_at(ended);
    report(timed, parent, json!({"start": began_at, "end": ended_at}));

    // Past the limits that the environment sets.
    let mut full: Span = span("over the limits").parent(&root).start();
    for i in 0..30 {
        full.set_attribute_copied(&format!("key.{i}"), i);
    }
    let pairs = ["a", "b", "c", "d", "e"].map(|key| KeyValue::new(key, 1));
    for _ in 0..10 {
        full.add_event("event", &pairs).add_link(&unsampled, &pairs);
    }
    report(full, parent, json!(null));
    let mut cut: Span = span("cut values").parent(&root).start();
    cut.set_attribute("long", "ü".repeat(100).as_str())
        .set_attribute("list", &["x".repeat(100).as_str(), "short"][..]);
    report(cut, parent, json!(null));

    let server: Span = span("remote parent").parent(&remote).start();
    let inside: Span = span("inside it").parent(&server).start();
    report(inside, Some(server.context()), json!(null));
    report(server, remote.span_context(), json!(null));
    // Not recorded, so not reported either; the ledger has it.
    drop::<Span>(span("unsampled").parent(&unsampled).start());
    report(root, None, json!(null));
    Ok(())
}

fn unix_nanos() -> Result<u64, Box<dyn Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_nanos())?)
}
