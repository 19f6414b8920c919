//! Log lines with the ids of the span that they belong to.
//!
//! One process has one telemetry and one logger, so this is one test.
#![allow(clippy::unwrap_used, reason = "tests")]

use log::kv::{Key, VisitSource};
use serde_json::Value;
use spanlet::{Recorder, SpanContext};
use spanlet_std::config::Config;
use spanlet_std::layer::TracingLayer;
use spanlet_std::logs::{IdFormat, IdNames, JsonFormat, TracedLogger, WithIds};
use spanlet_std::{Local, Telemetry};
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing::{error, info, info_span, warn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, registry};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
impl Lines {
    fn take(&self) -> Vec<String> {
        let bytes = core::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(Into::into).collect()
    }
}

struct Never;
impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

#[test]
fn every_line_leads_to_its_trace() {
    let telemetry = Telemetry::builder_with(Config::default());
    let telemetry = telemetry.install().unwrap();
    json();
    other_formats();
    log_crate();
    // Nobody listens for its spans.
    telemetry.shutdown(core::time::Duration::ZERO);
}

fn ids(context: &SpanContext) -> [String; 2] {
    [
        context.trace_id().to_string(),
        context.span_id().to_string(),
    ]
}

fn json() {
    let lines = Lines::default();
    let layer = tracing_subscriber::fmt::layer()
        .event_format(JsonFormat::new().with_service("check\"out"))
        .with_writer(lines.clone());
    let subscriber = registry().with(TracingLayer::new()).with(layer);
    let mut context = None;
    tracing::subscriber::with_default(subscriber, || {
        info!("outside");
        let span = info_span!("charge");
        span.in_scope(|| {
            context = Local.current();
            warn!(
                attempt = 2,
                message_id = "a\nb",
                seconds = 0.25,
                nan = f64::NAN,
                cached = false,
                large = u64::MAX,
                larger = u128::MAX,
                bytes = &b"\x00\xff"[..],
                debug = ?Some("x"),
                error = &fmt::Error as &(dyn std::error::Error + 'static),
                "card \"{}\" declined",
                4111
            );
            info!(only = "a field");
            error!("{}", Never);
        });
        // A span of spanlet's own.
        let mut own: spanlet_std::Span = spanlet_std::span("own").start();
        own.run(|own| {
            info!("own");
            assert_eq!(Local.current(), Some(own.context()));
        });
    });
    let lines = lines.take();
    // One line could not be formatted, which is the formatting layer's to report.
    let parsed: Vec<Value> = lines
        .iter()
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect();
    let [trace_id, span_id] = ids(&context.unwrap());
    let of = |n: usize, key: &str| {
        parsed[n]
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    assert_eq!(of(0, "message").as_deref(), Some("outside"));
    assert!(parsed[0].get("trace_id").is_none() && parsed[0].get("fields").is_none());

    // All of a line, in its order.
    let timestamp = of(1, "timestamp").unwrap();
    assert_eq!(
        lines[1],
        format!(
            "{{\"timestamp\":\"{timestamp}\",\"level\":\"WARN\",\"target\":\"tracing_logs\",\
             \"message\":\"card \\\"4111\\\" declined\",\"service\":\"check\\\"out\",\
             \"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\",\"trace_flags\":\"03\",\
             \"fields\":{{\"attempt\":2,\"message_id\":\"a\\nb\",\"seconds\":0.25,\"nan\":\"NaN\",\
             \"cached\":false,\"large\":18446744073709551615,\
             \"larger\":\"340282366920938463463374607431768211455\",\"bytes\":\"00ff\",\
             \"debug\":\"Some(\\\"x\\\")\",\
             \"error\":\"an error occurred when formatting an argument\"}}}}"
        )
    );
    assert_eq!((timestamp.len(), &timestamp[26..]), (27, "Z"));
    assert_eq!(parsed[2]["fields"]["only"], "a field");
    assert!(parsed[2].get("message").is_none());
    let own = parsed.iter().find(|line| line["message"] == "own").unwrap();
    assert_ne!(own["trace_id"].as_str().unwrap(), trace_id);
}

fn other_formats() {
    let (compact, datadog) = (Lines::default(), Lines::default());
    let names = IdNames {
        format: IdFormat::Decimal,
        ..IdNames::DATADOG
    };
    let subscriber = registry()
        .with(TracingLayer::new())
        .with(
            tracing_subscriber::fmt::layer()
                .event_format(WithIds::new(format().compact().without_time()))
                .with_writer(compact.clone()),
        )
        .with(
            tracing_subscriber::fmt::layer()
                .event_format(JsonFormat::new().with_id_names(names))
                .with_writer(datadog.clone())
                .boxed(),
        );
    let mut context = None;
    tracing::subscriber::with_default(subscriber, || {
        info!("outside");
        info_span!("charge").in_scope(|| {
            context = Local.current();
            info!(attempt = 2, "inside");
        });
    });
    let context = context.unwrap();
    let [trace_id, span_id] = ids(&context);
    let lines = compact.take();
    assert!(lines[0].ends_with("outside"), "{lines:?}");
    let ids = format!(" trace_id={trace_id} span_id={span_id} trace_flags=03");
    assert!(
        lines[1].ends_with(&ids) && lines[1].contains("inside"),
        "{lines:?}"
    );
    let line: Value = serde_json::from_str(&datadog.take()[1]).unwrap();
    let low = u64::from_str_radix(&trace_id[16..], 16).unwrap();
    assert_eq!(line["dd.trace_id"], low.to_string());
    assert!(line.get("trace_flags").is_none());
}

fn log_crate() {
    /// Writes key-values down.
    #[derive(Clone, Default)]
    struct KeyValues(Arc<Mutex<Vec<String>>>);
    impl log::Log for KeyValues {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            struct Visit(String);
            impl<'kvs> VisitSource<'kvs> for Visit {
                fn visit_pair(
                    &mut self,
                    key: Key<'kvs>,
                    value: log::kv::Value<'kvs>,
                ) -> Result<(), log::kv::Error> {
                    self.0.push_str(&format!(" {key}={value}"));
                    Ok(())
                }
            }
            let mut line = Visit(record.args().to_string());
            let source = record.key_values();
            source.visit(&mut line).unwrap();
            let got = source
                .get(Key::from_str("span_id"))
                .map(|id| id.to_string());
            line.0.push_str(&format!(" ({}, {got:?})", source.count()));
            self.0.lock().unwrap().push(line.0);
        }
        fn flush(&self) {}
    }
    let lines = KeyValues::default();
    let logger = TracedLogger::new(lines.clone());
    log::set_boxed_logger(Box::new(logger)).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    log::info!("outside");
    let mut span: spanlet_std::Span = spanlet_std::span("own").start();
    let [trace_id, span_id] = ids(&span.context());
    span.run(|_| {
        let key_values: &dyn log::kv::Source = &("attempt", 2);
        let args = format_args!("inside");
        let mut record = log::Record::builder();
        let record = record
            .level(log::Level::Info)
            .args(args)
            .key_values(key_values);
        log::logger().log(&record.build());
    });
    assert_eq!(
        *lines.0.lock().unwrap(),
        [
            "outside (0, None)".to_owned(),
            format!(
                "inside attempt=2 trace_id={trace_id} span_id={span_id} trace_flags=03 (4, Some({span_id:?}))"
            ),
        ]
    );
}
