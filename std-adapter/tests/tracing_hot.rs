//! The layer under a global subscriber: what it allocates, and what is traced while it is being traced.
//!
//! One process has one global subscriber and one allocator, so this is one test.
#![allow(clippy::unwrap_used, reason = "tests")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::hint::black_box;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use spanlet_std::Telemetry;
use spanlet_std::config::Config;
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::layer::{SpanExt, TracingLayer};
use spanlet_std::propagation::Context;
use std::alloc::System;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::{error, info, info_span};
use tracing_subscriber::layer::SubscriberExt;

thread_local! {
    /// How often this thread reached the allocator.
    static REACHED: Cell<u64> = const { Cell::new(0) };
}
struct Counting;
fn reached() {
    // The thread-local is gone while its thread ends.
    let _ = REACHED.try_with(|count| count.set(count.get() + 1));
}
// SAFETY: each call goes to `System` with the caller's own arguments; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Times that each of these reaches the allocator once everything is warm.
fn allocations(mut operation: impl FnMut()) -> f64 {
    const TIMES: u32 = 200;
    for _ in 0..TIMES {
        operation();
    }
    let before = REACHED.get();
    for _ in 0..TIMES {
        operation();
    }
    (REACHED.get() - before) as f64 / f64::from(TIMES)
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<opentelemetry_proto::tonic::trace::v1::Span>>>);
impl SpanExporter for Memory {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        let request = ExportTraceServiceRequest::decode(batch.body).unwrap();
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans);
        self.0
            .lock()
            .unwrap()
            .extend(scopes.flat_map(|scope| scope.spans));
        ExportOutcome {
            exported: batch.spans,
            attempts: 1,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}

#[test]
fn a_global_subscriber() {
    let memory = Memory::default();
    let telemetry = Telemetry::builder_with(Config::default())
        .exporter(memory.clone())
        .install()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(TracingLayer::new());
    tracing::subscriber::set_global_default(subscriber).unwrap();

    nothing_allocates();
    assert!(telemetry.flush(Duration::from_secs(30)));
    memory.0.lock().unwrap().clear();
    a_value_that_is_traced_while_it_is_formatted_disturbs_nobody();
    assert!(telemetry.flush(Duration::from_secs(30)));
    check_values(&memory.0.lock().unwrap());
    let ledger = telemetry.shutdown(Duration::from_secs(5));
    assert_eq!((ledger.missing(), ledger.open), (0, 0), "{ledger:?}");
}

fn nothing_allocates() {
    let remote = |flags: &str| {
        let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        Context::extract(&[("traceparent", text.as_str())])
    };
    let (sampled, unsampled) = (remote("01"), remote("00"));
    // What it costs with the registry alone is the registry's: the layer adds nothing to it.
    for (context, what) in [(&sampled, "sampled"), (&unsampled, "unsampled")] {
        let parent = info_span!("parent");
        parent.set_parent(context).unwrap();
        let mut guilty = Vec::new();
        let mut check = |name: &str, operation: &mut dyn FnMut()| {
            let times = allocations(operation);
            if times != 0.0 {
                guilty.push(format!("{what} {name}: {times}"));
            }
        };
        check("span", &mut || {
            info_span!(parent: &parent, "child").in_scope(|| black_box(()));
        });
        check("contextual span", &mut || {
            parent.in_scope(|| info_span!("child").in_scope(|| black_box(())));
        });
        check("four fields", &mut || {
            let user = black_box("user-48151623");
            info_span!(parent: &parent, "child", method = "GET", status = 200, hit = true, user)
                .in_scope(|| black_box(()));
        });
        check("formatted field", &mut || {
            let user = black_box("user-48151623");
            info_span!(parent: &parent, "child", user = %user, n = ?black_box(7));
        });
        check("event", &mut || {
            info_span!(parent: &parent, "child")
                .in_scope(|| info!(attempt = 2, of = %"three", "retry {}", black_box(2)));
        });
        check("error event", &mut || {
            info_span!(parent: &parent, "child").in_scope(|| error!("failed"));
        });
        check("record", &mut || {
            let span = info_span!(parent: &parent, "child", late = tracing::field::Empty);
            span.record("late", black_box(1));
        });
        check("link", &mut || {
            info_span!(parent: &parent, "child").follows_from(&parent);
        });
        check("special fields", &mut || {
            info_span!(parent: &parent, "child", otel.kind = "server", otel.name = "GET /");
        });
        assert_eq!(guilty, [""; 0]);
    }
    assert_eq!(
        allocations(|| drop(info_span!(parent: None, "root", a = 1, b = %"text"))),
        0.0
    );
    let with_remote = || {
        let root = info_span!(parent: None, "root", a = 1);
        root.set_parent(&sampled).unwrap();
    };
    assert_eq!(allocations(with_remote), 0.0);
}

struct Traced;
impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!(by = ?"the value", "formatted");
        let _span = info_span!("inner", n = ?1);
        f.write_str("traced")
    }
}

fn a_value_that_is_traced_while_it_is_formatted_disturbs_nobody() {
    let span = info_span!("span", a = ?Traced, b = ?"b", c = tracing::field::Empty);
    let _in = span.enter();
    span.record("c", tracing::field::debug(Traced));
    info!(x = ?"x", y = ?Traced, z = ?"z", "event");
    info_span!("child", a = ?Traced, b = ?"b");
}

fn check_values(spans: &[opentelemetry_proto::tonic::trace::v1::Span]) {
    let find = |name: &str| spans.iter().find(|s| s.name == name).unwrap();
    let text = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        use opentelemetry_proto::tonic::common::v1::any_value::Value;
        let text = |kv: &opentelemetry_proto::tonic::common::v1::KeyValue| match kv
            .value
            .clone()
            .unwrap()
            .value
            .unwrap()
        {
            Value::StringValue(text) => format!("{}={text}", kv.key),
            other => panic!("{other:?}"),
        };
        attributes.iter().map(text).collect::<Vec<_>>()
    };
    let span = find("span");
    assert_eq!(text(&span.attributes), ["a=traced", "b=\"b\"", "c=traced"]);
    let names: Vec<_> = span.events.iter().map(|e| e.name.as_str()).collect();
    // What the field of the span itself said came before it was entered, and belongs to nobody.
    assert_eq!(names, ["formatted", "formatted", "event", "formatted"]);
    assert_eq!(
        text(&span.events[2].attributes)[2..],
        ["x=\"x\"", "y=traced", "z=\"z\""]
    );
    assert_eq!(text(&find("child").attributes), ["a=traced", "b=\"b\""]);
    assert_eq!(spans.iter().filter(|s| s.name == "inner").count(), 4);
}
