//! Whole processes whose telemetry is set up by the environment: every `OTEL_*` variable arrives where it counts,
//! and whatever the collector does, under whatever runtime, the shutdown returns and the ledger balances.
//!
//! One process has one telemetry, so each case is a process of its own: this binary, running [`child`] alone.

mod collector;
#[path = "collector/grpc.rs"]
mod grpc_collector;

use collector::{Collector, Request, Step, answer, say};
use core::time::Duration;
use grpc_collector::{GrpcCollector, GrpcStep};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use prost::Message;
use spanlet::KeyValue;
use spanlet_std::{Ledger, Span, Telemetry, span};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Which runtime the child ends under, how many spans it records, and how long its shutdown may take.
const RUNTIME: &str = "SPANLET_TEST_RUNTIME";
const COUNT: &str = "SPANLET_TEST_SPANS";
const TIMEOUT_MS: &str = "SPANLET_TEST_TIMEOUT_MS";
/// How long the child stays after recording, before the shutdown.
const STAY_MS: &str = "SPANLET_TEST_STAY_MS";

/// The process under test; nothing without its variables.
#[test]
fn child() {
    let Ok(runtime) = std::env::var(RUNTIME) else {
        return;
    };
    match runtime.as_str() {
        "none" => work(),
        "current_thread" => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async { work() }),
        _ => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(async { tokio::spawn(async { work() }).await.unwrap() }),
    }
}

/// Records, ends, reports.
fn work() {
    let number = |name: &str| -> u64 {
        let text = std::env::var(name).unwrap_or_default();
        text.parse().unwrap_or(0)
    };
    let telemetry = Telemetry::builder().install().expect("it can be installed");
    for _ in 0..number(COUNT) {
        record();
    }
    std::thread::sleep(Duration::from_millis(number(STAY_MS)));
    let timeout = Duration::from_millis(number(TIMEOUT_MS).max(1));
    let begun = Instant::now();
    let ledger = telemetry.shutdown(timeout);
    let result = serde_json::json!({
        "ledger": ledger,
        "ledgers": telemetry.ledgers(),
        "took_ms": u64::try_from(begun.elapsed().as_millis()).unwrap(),
        "errors": telemetry.last_errors(),
    });
    println!("\nRESULT {result}");
    // Dropped here, in the runtime.
}

/// A span with three of everything.
fn record() {
    let other: Span = span("other").start();
    let mut span: Span = span("work").start();
    for key in ["a", "b", "c"] {
        span.set_attribute(key, "0123456789");
        let attributes = [
            KeyValue::new("k", 1),
            KeyValue::new("l", 2),
            KeyValue::new("m", 3),
        ];
        span.add_event(key, &attributes);
        span.add_link(&other.context(), &attributes);
    }
}

/// What a child reports.
struct Report {
    ledger: Ledger,
    ledgers: Vec<Ledger>,
    took: Duration,
    errors: Vec<String>,
    stdout: String,
    stderr: String,
}

fn start(runtime: &str, spans: u64, env: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
        .env(RUNTIME, runtime)
        .env(COUNT, spans.to_string())
        .env(TIMEOUT_MS, "20000")
        .envs(env.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(child: Child) -> Report {
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let line = stdout.lines().find_map(|line| line.strip_prefix("RESULT "));
    let line = line.unwrap_or_else(|| panic!("no result:\n{stdout}\n{stderr}"));
    let result: serde_json::Value = serde_json::from_str(line).unwrap();
    let read = |name: &str| result[name].clone();
    let report = Report {
        ledger: serde_json::from_value(read("ledger")).unwrap(),
        ledgers: serde_json::from_value(read("ledgers")).unwrap(),
        took: Duration::from_millis(result["took_ms"].as_u64().unwrap()),
        errors: serde_json::from_value(read("errors")).unwrap(),
        stdout,
        stderr,
    };
    for ledger in report.ledgers.iter().chain([&report.ledger]) {
        assert_eq!(ledger.missing(), 0, "{ledger}");
    }
    report
}

fn run(spans: u64, env: &[(&str, &str)]) -> Report {
    finish(start("none", spans, env))
}

/// Runs a child against a collector that takes everything.
fn run_with_collector(spans: u64, env: &[(&str, &str)]) -> (Report, Vec<Request>) {
    let collector = Collector::play((0..50).map(|_| say(200)).collect());
    let url = format!("http://{}", collector.address);
    let mut all = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str())];
    all.extend_from_slice(env);
    let report = run(spans, &all);
    (report, collector.requests())
}

fn request_of(body: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(body).unwrap()
}

fn spans_of(requests: &[Request]) -> Vec<OtlpSpan> {
    let requests = requests.iter().map(|request| request_of(&request.body));
    let by_resource = requests.flat_map(|request| request.resource_spans);
    let by_scope = by_resource.flat_map(|group| group.scope_spans);
    by_scope.flat_map(|group| group.spans).collect()
}

#[test]
fn shutdowns_return_and_ledgers_balance_whatever_the_collector_does() {
    let runtimes = ["none", "current_thread", "multi_thread"];
    // Held until the end: the collectors that hang, and the port at which nothing listens.
    for mood in ["up", "down", "busy", "hang", "partial"] {
        let partial = b"\x0a\x02\x08\x01";
        // Where it is taken, it is over long before.
        let timeout = match mood {
            "up" | "partial" => Duration::from_secs(20),
            _ => Duration::from_millis(1500),
        };
        let mut children = Vec::new();
        for protocol in ["http/protobuf", "http/json", "grpc"] {
            for runtime in runtimes {
                let (mut http, mut grpc) = (None, None);
                let address = if mood == "down" {
                    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                    closed.local_addr().unwrap()
                } else if protocol == "grpc" {
                    let step = || match mood {
                        "up" => GrpcStep::Message(Vec::new()),
                        "busy" => GrpcStep::Status(14, "busy", Vec::new()),
                        "partial" => GrpcStep::Message(partial.to_vec()),
                        _ => GrpcStep::Hang,
                    };
                    let script = (0..20).map(|_| step()).collect();
                    grpc.insert(GrpcCollector::play(script)).address
                } else {
                    let step = || match mood {
                        "up" => say(200),
                        "busy" => say(503),
                        "partial" => collector::protobuf(partial),
                        _ => Step::Hang,
                    };
                    let script = (0..20).map(|_| step()).collect();
                    http.insert(Collector::play(script)).address
                };
                let url = format!("http://{address}");
                let child = start(
                    runtime,
                    20,
                    &[
                        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
                        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                        (TIMEOUT_MS, &timeout.as_millis().to_string()),
                    ],
                );
                children.push((format!("{mood} {protocol} {runtime}"), child, http, grpc));
            }
        }
        for (case, child, http, grpc) in children {
            let report = finish(child);
            let ledger = report.ledger;
            let text = format!("{case}: {ledger}; {:?} {:?}", report.took, report.errors);
            assert!(report.took < timeout + Duration::from_secs(10), "{text}");
            let kept = (ledger.open, ledger.buffered, ledger.started);
            assert_eq!(kept, (0, 0, 40), "{text}");
            match mood {
                "up" => assert_eq!(ledger.exported, 40, "{text}"),
                "partial" => assert_eq!((ledger.exported, ledger.rejected), (39, 1), "{text}"),
                // On a slow machine it may not have got there.
                "hang" => {
                    let lost = ledger.indeterminate + ledger.failed;
                    assert_eq!((ledger.exported, lost), (0, 40), "{text}");
                }
                _ => assert_eq!(ledger.failed, 40, "{text}"),
            }
            assert_eq!(report.errors.is_empty(), mood == "up", "{text}");
            drop((http, grpc));
        }
    }
}

#[test]
fn disabled_records_nothing() {
    let (report, requests) = run_with_collector(3, &[("OTEL_SDK_DISABLED", "true")]);
    assert_eq!((report.ledger.started, requests.len()), (0, 0));
}

#[test]
fn resource_scope_and_headers_come_from_the_environment() {
    let (report, requests) = run_with_collector(
        1,
        &[
            ("OTEL_SERVICE_NAME", "checkout"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=other,team=pay%2Cments",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "X-Tenant=a%20b"),
        ],
    );
    assert_eq!(report.ledger.exported, 2);
    let request = &requests[0];
    assert_eq!(request.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(request.header("x-tenant"), Some("a b"));
    let agent = request.header("user-agent").unwrap();
    assert!(
        agent.starts_with("OTel-OTLP-Exporter-Rust-spanlet/"),
        "{agent}"
    );
    let resource = request_of(&request.body).resource_spans[0].resource.clone();
    let attribute = |key: &str| {
        let attributes = &resource.as_ref().unwrap().attributes;
        let found = attributes.iter().find(|kv| kv.key == key)?;
        match found.value.as_ref()?.value.as_ref()? {
            any_value::Value::StringValue(text) => Some(text.clone()),
            _ => None,
        }
    };
    assert_eq!(attribute("service.name").as_deref(), Some("checkout"));
    assert_eq!(attribute("team").as_deref(), Some("pay,ments"));
    assert_eq!(attribute("telemetry.sdk.name").as_deref(), Some("spanlet"));
}

#[test]
fn the_traces_variables_go_before_the_general_ones() {
    let collector = Collector::play(vec![say(200)]);
    let url = format!("http://{}/mine?key=1", collector.address);
    let report = run(
        1,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        ],
    );
    assert_eq!(report.ledger.exported, 2, "{:?}", report.errors);
    let request = collector.await_request();
    assert_eq!(request.line, "POST /mine?key=1 HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(
        (request.header("a"), request.header("b")),
        (None, Some("2"))
    );
}

#[test]
fn grpc_takes_an_endpoint_without_a_scheme_where_insecure_says_so() {
    let collector = GrpcCollector::play(vec![]);
    let address = collector.address.to_string();
    let env = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=t"),
    ];
    let report = run(1, &env);
    assert_eq!(report.ledger.exported, 2, "{:?}", report.errors);
    let request = collector.await_request();
    assert_eq!(request.header("grpc-encoding"), Some("gzip"));
    assert_eq!(request.header("x-tenant"), Some("t"));
    // Without it the same address is asked for TLS, which it does not speak.
    let secure = [env[0], env[1], (TIMEOUT_MS, "2000")];
    let report = run(1, &secure);
    assert_eq!(report.ledger.failed, 2, "{}", report.ledger);
}

#[test]
fn samplers_decide() {
    let off = ("OTEL_TRACES_SAMPLER", "always_off");
    let (report, requests) = run_with_collector(5, &[off]);
    assert_eq!((report.ledger.sampled_out, requests.len()), (10, 0));
    let ratio = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
    ];
    let (report, _) = run_with_collector(500, &ratio);
    let kept = report.ledger.exported;
    assert!((100..400).contains(&kept), "{}", report.ledger);
}

#[test]
fn every_limit_cuts_what_it_names() {
    let (_, requests) = run_with_collector(
        1,
        &[
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "1"),
            ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4"),
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "1"),
            ("OTEL_SPAN_LINK_COUNT_LIMIT", "2"),
            ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "1"),
            ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "2"),
        ],
    );
    let spans = spans_of(&requests);
    let span = spans.iter().find(|span| span.name == "work").unwrap();
    let own: Vec<_> = span
        .attributes
        .iter()
        .filter(|kv| kv.key.len() == 1)
        .collect();
    assert_eq!((own.len(), span.dropped_attributes_count), (2, 1));
    let text = own[0].value.clone().unwrap().value.unwrap();
    assert_eq!(text, any_value::Value::StringValue("0123".into()));
    assert_eq!((span.events.len(), span.dropped_events_count), (1, 2));
    assert_eq!((span.links.len(), span.dropped_links_count), (2, 1));
    let event = &span.events[0];
    assert_eq!(
        (event.attributes.len(), event.dropped_attributes_count),
        (1, 2)
    );
    let link = &span.links[0];
    assert_eq!(
        (link.attributes.len(), link.dropped_attributes_count),
        (2, 1)
    );
    let general = [
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "1"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
    ];
    let (_, requests) = run_with_collector(1, &general);
    let spans = spans_of(&requests);
    let span = spans.iter().find(|span| span.name == "work").unwrap();
    let own: Vec<_> = span
        .attributes
        .iter()
        .filter(|kv| kv.key.len() == 1)
        .collect();
    assert_eq!((own.len(), span.dropped_attributes_count), (1, 2));
    let text = own[0].value.clone().unwrap().value.unwrap();
    assert_eq!(text, any_value::Value::StringValue("012".into()));
}

#[test]
fn batches_queue_and_delay_are_as_asked() {
    let size = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3")];
    let (report, requests) = run_with_collector(5, &size);
    assert_eq!(report.ledger.exported, 10);
    let sizes: Vec<_> = requests
        .iter()
        .map(|request| spans_of(std::slice::from_ref(request)).len())
        .collect();
    assert!(
        sizes.iter().all(|n| *n <= 3) && requests.len() >= 4,
        "{sizes:?}"
    );

    // A short delay: the batch is there before the shutdown asks for it.
    let collector = Collector::play(vec![say(200)]);
    let url = format!("http://{}", collector.address);
    let child = start(
        "none",
        1,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
            (STAY_MS, "30000"),
        ],
    );
    let mut child = child;
    assert!(!spans_of(&[collector.await_request()]).is_empty());
    assert!(child.try_wait().unwrap().is_none(), "it had not shut down");
    child.kill().unwrap();
    child.wait().unwrap();

    // A queue of four, and a collector that hangs.
    let collector = Collector::play(vec![Step::Hang]);
    let url = format!("http://{}", collector.address);
    let report = run(
        20,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
            (TIMEOUT_MS, "1000"),
        ],
    );
    let lost = report.ledger.queue_full;
    assert!((30..=38).contains(&lost), "{}", report.ledger);

    // The export timeout ends what OTLP's own would not.
    let collector = Collector::play(vec![Step::Hang]);
    let url = format!("http://{}", collector.address);
    let report = run(
        1,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "300"),
        ],
    );
    assert_eq!(report.ledger.indeterminate, 2, "{}", report.ledger);
    assert!(
        report.errors[0].contains("300 ms allowed"),
        "{:?}",
        report.errors
    );
    let collector = Collector::play(vec![Step::Hang]);
    let url = format!("http://{}", collector.address);
    let report = run(
        1,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
        ],
    );
    assert!(
        report.errors[0].contains("250 ms allowed"),
        "{:?}",
        report.errors
    );
}

#[test]
fn several_exporters_get_all_spans_and_count_their_own() {
    let (otlp, zipkin) = (
        Collector::play(vec![say(200)]),
        Collector::play(vec![Step::Say(answer(400, &[], b"no"))]),
    );
    let otlp_url = format!("http://{}", otlp.address);
    let zipkin_url = format!("http://{}/api/v2/spans", zipkin.address);
    let report = run(
        2,
        &[
            ("OTEL_TRACES_EXPORTER", "otlp,console,zipkin"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &otlp_url),
            ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", &zipkin_url),
            ("OTEL_EXPORTER_ZIPKIN_TIMEOUT", "5000"),
        ],
    );
    assert_eq!(spans_of(&otlp.requests()).len(), 4);
    let spans: serde_json::Value = serde_json::from_slice(&zipkin.await_request().body).unwrap();
    assert_eq!(spans.as_array().unwrap().len(), 4);
    assert_eq!(report.stdout.matches("\"work\" internal").count(), 2);
    let counts: Vec<_> = (report.ledgers.iter())
        .map(|ledger| (ledger.exported, ledger.failed))
        .collect();
    assert_eq!(counts, [(4, 0), (4, 0), (0, 4)]);
    assert_eq!(report.errors.len(), 1, "{:?}", report.errors);
}

#[test]
fn none_sends_nothing_and_a_bad_value_is_said() {
    let (report, requests) = run_with_collector(2, &[("OTEL_TRACES_EXPORTER", "none")]);
    assert_eq!((report.ledger.started, requests.len()), (4, 0));
    let (report, requests) = run_with_collector(1, &[("OTEL_BSP_MAX_QUEUE_SIZE", "many")]);
    assert!(
        report.stderr.contains("OTEL_BSP_MAX_QUEUE_SIZE=\"many\""),
        "{}",
        report.stderr
    );
    assert_eq!(spans_of(&requests).len(), 2);
}
