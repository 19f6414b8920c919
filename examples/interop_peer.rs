//! A peer for tests against tracing software that is not ours: everything that a span can hold, and
//! context in and out over HTTP.
//!
//! ```text
//! interop_peer spans         records one span of each sort
//! interop_peer burst COUNT   records spans as fast as it can
//! interop_peer call URL      GETs it, in the trace that TRACEPARENT, TRACESTATE and BAGGAGE name
//! interop_peer serve         answers with what it got, until its input ends
//! ```
//!
//! Exports to where `OTEL_EXPORTER_OTLP_ENDPOINT` says. Prints lines of JSON: what it did, then the ledger.

use serde_json::{Value as Json, json};
use spanlet::context::traceparent;
use spanlet::{
    InstrumentationScope, KeyValue, ParentContext, Recorder, SpanContext, SpanKind, Status, Value,
};
use spanlet_std::propagation::{Context, HttpFieldsMut, MessageFields, TinyHttpFields};
use spanlet_std::{Local, Span, Telemetry, span};
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What of the baggage may leave this process.
const FORWARDED: &[&str] = &["tenant.id", "user.name"];
/// The scope of a library in this program; the program's own has neither version nor schema.
static LIBRARY: InstrumentationScope = InstrumentationScope::new("interop.library")
    .with_version("4.5.6")
    .with_schema_url("https://opentelemetry.io/schemas/1.37.0");
/// OTLP's AnyValue `{"n": 7, "s": ["x", true]}`: what no attribute type of ours expresses.
const MAP: &[u8] =
    b"\x32\x1b\x0a\x07\x0a\x01n\x12\x02\x18\x07\x0a\x10\x0a\x01s\x12\x0b\x2a\x09\x0a\x03\x0a\x01x\x0a\x02\x10\x01";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let telemetry = Telemetry::builder()
        .scope(InstrumentationScope::new("interop_peer"))
        .resource_attribute("set.in.code", "größer als 3")
        .install()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["spans"] => spans()?,
        ["burst", count] => burst(count.parse()?),
        ["call", url] => call(url)?,
        ["serve"] => serve()?,
        _ => return Err("usage: interop_peer spans | burst COUNT | call URL | serve".into()),
    }
    let ledger = telemetry.shutdown(Duration::from_secs(20));
    let (missing, errors) = (ledger.missing(), telemetry.last_errors());
    println!(
        "{}",
        json!({"ledger": ledger, "missing": missing, "errors": errors})
    );
    Ok(())
}

/// A span's ids, as the other side should see them. Ends it.
fn report(mut span: Span, parent: Option<SpanContext>, more: Json) {
    let context = span.context();
    span.end();
    println!(
        "{}",
        json!({
            "trace_id": context.trace_id().to_string(),
            "span_id": context.span_id().to_string(),
            "parent_id": parent.map(|parent| parent.span_id().to_string()),
            "more": more,
        })
    );
}

fn spans() -> Result<(), Box<dyn Error>> {
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
        .set_attribute("f64.nan", f64::NAN)
        .set_attribute("f64.minus.zero", -0.0)
        .set_attribute("f64.tiny", f64::from_bits(1))
        .set_attribute("bytes", &b"\x00\xff\x80"[..])
        .set_attribute("bools", &[true, false][..])
        .set_attribute("ints", &[i64::MIN, 0, i64::MAX][..])
        .set_attribute("doubles", &[0.5, f64::NEG_INFINITY][..])
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

fn burst(count: u64) {
    for i in 0..count {
        let mut span: Span = span("burst").start();
        span.set_attribute("i", i as i64)
            .set_static("static", "text");
    }
}

fn call(url: &str) -> Result<(), Box<dyn Error>> {
    let of_environment =
        |name: &'static str| Some((name, std::env::var(name.to_uppercase()).ok()?));
    let came: MessageFields = ["traceparent", "tracestate", "baggage"]
        .into_iter()
        .filter_map(of_environment)
        .collect();
    let context = Context::extract(&came);
    let mut client: Span = span("GET").kind(SpanKind::Client).parent(&context).start();
    client.set_attribute("url.full", url);
    let mut request = ureq::http::Request::get(url).body(())?;
    context.inject(
        &client,
        FORWARDED,
        &mut HttpFieldsMut(request.headers_mut()),
    )?;
    let answered = ureq::run(request).and_then(|mut response| response.body_mut().read_to_string());
    if let Err(error) = &answered {
        client.record_error(error);
    }
    report(client, context.span_context(), json!(answered?));
    Ok(())
}

fn serve() -> Result<(), Box<dyn Error>> {
    let server = tiny_http::Server::http("127.0.0.1:0").map_err(|error| error as Box<dyn Error>)?;
    println!("{}", json!({ "listens": server.server_addr().to_string() }));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            server.unblock();
        });
        for request in server.incoming_requests() {
            let mut context = Context::extract(&TinyHttpFields(request.headers()));
            let served: Span = span("serve")
                .kind(SpanKind::Server)
                .parent(&context)
                .start();
            let baggage: serde_json::Map<_, _> = context
                .baggage_mut()
                .iter()
                .map(|entry| (entry.key().to_owned(), entry.value().to_string().into()))
                .collect();
            let answer = json!({
                "trace_id": served.context().trace_id().to_string(),
                "span_id": served.context().span_id().to_string(),
                "is_recording": served.is_recording(),
                "trace_state": context.trace_state().unwrap_or_default(),
                "baggage": baggage,
                "fault": context.fault().map(ToString::to_string),
            });
            // A caller that went away is its own affair.
            let _ = request.respond(tiny_http::Response::from_string(answer.to_string()));
        }
    });
    Ok(())
}

fn unix_nanos() -> Result<u64, Box<dyn Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_nanos())?)
}
