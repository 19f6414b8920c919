//! Fields, events, special fields, status.

use crate::fixture::*;
use spanlet_std::layer::TracingLayer;
use std::error::Error;
use std::fmt;
use tracing::{debug, error, info, info_span, warn};

#[derive(Debug)]
struct Declined(std::num::ParseIntError);
impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("card declined")
    }
}
impl Error for Declined {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
fn declined() -> Declined {
    Declined("x".parse::<i32>().unwrap_err())
}

#[test]
fn fields_keep_their_types() {
    const T: &str = "fields_keep_their_types";
    let spans = record(T, || {
        let _parent = info_span!(target: T, "parent").entered();
        // Once as a child, whose fields go into the span as they come; once as a root, whose fields wait.
        for parent in [tracing::Span::current().id(), None] {
            let text = String::from("copied");
            let span = info_span!(
                target: T,
                parent: parent.clone(),
                "span",
                i = -7_i64,
                small = 7_u8,
                u = u64::MAX,
                fits = i64::MAX as u64,
                wide = i128::MIN,
                narrow = 5_u128,
                f = 0.5,
                b = true,
                s = text.as_str(),
                debug = ?Some(1),
                display = %text,
                bytes = &b"\x00\xff"[..],
                error = &declined() as &(dyn Error + 'static),
                later = tracing::field::Empty,
                empty = tracing::field::Empty,
            );
            span.record("later", 1)
                .record("i", 8)
                .record("no such field", 1);
            span.in_scope(|| ());
            span.record("later", "again");
        }
    });
    for span in spans.iter().filter(|span| span.name == "span") {
        let mut attributes = texts(&span.attributes);
        attributes.sort();
        assert_eq!(
            attributes,
            [
                "b=true",
                "bytes=[0, 255]",
                "debug=\"Some(1)\"",
                "display=\"copied\"",
                "error=\"card declined: invalid digit found in string\"",
                "f=0.5",
                "fits=9223372036854775807",
                "i=8",
                "later=\"again\"",
                "narrow=5",
                "s=\"copied\"",
                "small=7",
                "u=\"18446744073709551615\"",
                "wide=\"-170141183460469231731687303715884105728\"",
            ]
        );
    }
    assert_eq!(spans.len(), 3);
}

#[test]
fn events_become_events_of_their_span() {
    const T: &str = "events_become_events_of_their_span";
    let spans = record(T, || {
        let a = info_span!(target: T, "a");
        let b = info_span!(target: T, "b");
        let _a = a.enter();
        info!(target: "elsewhere", attempt = 2, cached = false, "retry of {}", "charge");
        debug!(target: T, parent: &b, "for b");
        warn!(target: T, parent: None, "for nobody");
        info!(target: T, only = "fields");
    });
    let a = named(&spans, "a");
    assert_eq!(a.events.len(), 2);
    assert_eq!(a.events[0].name, "retry of charge");
    assert_eq!(
        texts(&a.events[0].attributes),
        [
            "level=\"INFO\"",
            "target=\"elsewhere\"",
            "attempt=2",
            "cached=false"
        ]
    );
    assert!(a.events[1].name.starts_with("event "), "{:?}", a.events[1]);
    let time = a.start_time_unix_nano..=a.end_time_unix_nano;
    assert!(a.events.iter().all(|e| time.contains(&e.time_unix_nano)));
    assert_eq!(named(&spans, "b").events[0].name, "for b");
    assert_eq!(spans.len(), 2);
}

#[test]
fn errors_become_exceptions_and_the_status() {
    const T: &str = "errors_become_exceptions_and_the_status";
    let spans = record(T, || {
        info_span!(target: T, "message").in_scope(|| error!(target: T, code = 3, "no stock"));
        info_span!(target: T, "error").in_scope(|| error!(target: T, error = %declined()));
        info_span!(target: T, "source").in_scope(|| {
            let error = declined();
            error!(target: T, cause = &error as &(dyn Error + 'static), "charge failed");
        });
        info_span!(target: T, "warned").in_scope(|| warn!(target: T, error = "slow"));
        let ok = info_span!(target: T, "ok", otel.status_code = "OK");
        ok.in_scope(|| error!(target: T, "too late"));
        instrumented_with_error().unwrap_err();
    });
    let of = |name| {
        let span = named(&spans, name);
        let event = &span.events[0];
        (status(span), event.name.clone(), texts(&event.attributes))
    };
    let (status, name, attributes) = of("message");
    assert_eq!(
        (status, name.as_str()),
        ((2, "no stock".into()), "no stock")
    );
    assert_eq!(attributes[2..], ["code=3"]);
    let (status, name, attributes) = of("error");
    assert_eq!(
        (status, name.as_str()),
        ((2, "card declined".into()), "exception")
    );
    assert_eq!(attributes[2..], ["exception.message=\"card declined\""]);
    let (status, name, attributes) = of("source");
    let chain = "card declined: invalid digit found in string";
    assert_eq!(
        (status, name.as_str()),
        ((2, chain.into()), "charge failed")
    );
    assert_eq!(
        attributes[2..],
        [
            format!("exception.message={chain:?}"),
            format!("cause={chain:?}")
        ]
    );
    let (status, name, _) = of("warned");
    assert_eq!((status.0, name.as_str()), (0, "exception"));
    assert_eq!(of("ok").0, (1, String::new()));
    let (status, name, _) = of("instrumented_with_error");
    assert_eq!(
        (status, name.as_str()),
        ((2, "card declined".into()), "exception")
    );
}

#[tracing::instrument(target = "errors_become_exceptions_and_the_status", err)]
fn instrumented_with_error() -> Result<(), Declined> {
    Err(declined())
}

#[test]
fn special_fields_say_name_kind_and_status() {
    const T: &str = "special_fields_say_name_kind_and_status";
    let spans = record(T, || {
        let name = "GET /orders/{id}";
        let kinds = ["Server", "CLIENT", "producer", "consumer", "nonsense"];
        for kind in kinds {
            info_span!(target: T, "kind", otel.kind = kind, otel.name = kind).in_scope(|| ());
        }
        info_span!(target: T, "kind", otel.kind = ?"server", otel.name = %"as text");
        let span = info_span!(
            target: T,
            "s",
            otel.name = name,
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        let _in = span.enter();
        span.record("otel.status_code", "Error");
        span.record("otel.status_description", "gone");
        info_span!(target: T, "child", otel.name = "", otel.status_message = "old name");
    });
    let kind = |name| named(&spans, name).kind;
    assert_eq!(
        [
            "Server", "CLIENT", "producer", "consumer", "nonsense", "as text"
        ]
        .map(kind),
        [2, 3, 4, 5, 1, 1]
    );
    let span = named(&spans, "GET /orders/{id}");
    assert_eq!(status(span), (2, "gone".into()));
    assert!(span.attributes.is_empty());
    assert_eq!(status(named(&spans, "child")), (2, "old name".into()));
}

#[test]
fn options_say_where_how_long_and_what_else() {
    const T: &str = "options_say_where_how_long_and_what_else";
    let layer = TracingLayer::new()
        .with_location(true)
        .with_busy_times(true)
        .with_errors_as_status(false)
        .with_events_outside(true)
        .with_end_at_close(true);
    let spans = recorded_by(layer, T, || {
        let span = info_span!(target: T, "span");
        std::thread::sleep(std::time::Duration::from_millis(3));
        span.in_scope(|| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            error!(target: T, "only an event");
        });
        info!(target: T, answer = 42, "outside");
    });
    let span = named(&spans, "span");
    assert_eq!(status(span).0, 0);
    let attributes = texts(&span.attributes);
    assert_eq!(attributes[0], format!("code.file.path={:?}", file!()));
    assert!(attributes[1].starts_with("code.line.number="));
    assert_eq!(
        attributes[2],
        format!("code.module.name={:?}", module_path!())
    );
    let nanos = |key: &str| -> u64 {
        let text = attributes.iter().find_map(|a| a.strip_prefix(key));
        text.unwrap().parse().unwrap()
    };
    let (busy, idle) = (nanos("busy_ns="), nanos("idle_ns="));
    assert!(busy >= 2_000_000 && idle >= 3_000_000, "{busy} {idle}");
    let length = span.end_time_unix_nano - span.start_time_unix_nano;
    assert!(
        (busy + idle).abs_diff(length) < 1_000_000,
        "{busy} + {idle} of {length}"
    );
    assert!(texts(&span.events[0].attributes).contains(&attributes[0]));
    let outside = named(&spans, "outside");
    assert_eq!(outside.parent_span_id, b"");
    assert!(texts(&outside.events[0].attributes).contains(&"answer=42".to_owned()));
}

#[test]
fn records_of_the_log_crate_keep_their_target() {
    const T: &str = "records_of_the_log_crate_keep_their_target";
    let spans = recorded_by(TracingLayer::new().with_location(true), T, || {
        let _in = info_span!(target: T, "span").entered();
        // As `tracing-log` makes them.
        info!(
            target: "log",
            {
                "log.target" = "some::crate",
                "log.module_path" = "some::crate::module",
                "log.file" = "src/lib.rs",
                "log.line" = 7
            },
            "logged"
        );
    });
    assert_eq!(
        texts(&spans[0].events[0].attributes),
        [
            "level=\"INFO\"",
            "target=\"some::crate\"",
            "code.module.name=\"some::crate::module\"",
            "code.file.path=\"src/lib.rs\"",
            "code.line.number=7"
        ]
    );
}
