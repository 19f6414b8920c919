//! Runs the real demo, and checks what it shows against the spans that it writes.

use spanlet_std::receiver::otlp_http::{Answer, OtlpHttpReceiver};
use spanlet_std::trace::{AttributeValue, SpanKind, Status, TraceSpan, attribute, read_json_lines};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// A run: what it printed, and its spans.
struct Run {
    text: String,
    spans: Vec<TraceSpan>,
}

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanlet"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn run(incident: u8, seed: u64) -> Run {
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let name = format!("spanlet-demo-{process}-{thread:?}-{incident}-{seed}.jsonl");
    let file = std::env::temp_dir().join(name);
    let (incident, seed) = (incident.to_string(), seed.to_string());
    let mut arguments = vec!["--incident", &incident, "--seed", &seed, "--width", "300"];
    arguments.extend(["--json", file.to_str().expect("a path in UTF-8")]);
    let output = demo(&arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{errors}\n{text}");
    assert_eq!(errors, "", "nothing goes wrong");
    let lines = std::fs::read_to_string(&file).expect("the spans were written");
    std::fs::remove_file(&file).expect("it is there");
    let spans = read_json_lines(&lines).expect("spans");
    Run { text, spans }
}

impl Run {
    fn line(&self, beginning: &str) -> &str {
        let found = self.text.lines().find(|line| line.starts_with(beginning));
        found.unwrap_or_else(|| panic!("no line begins with {beginning}:\n{}", self.text))
    }
    fn one(&self, service: &str, name: &str, kind: SpanKind) -> &TraceSpan {
        let is_it = |s: &&TraceSpan| s.service == service && s.name == name && s.kind == kind;
        let found: Vec<&TraceSpan> = self.spans.iter().filter(is_it).collect();
        let [span] = found[..] else {
            panic!("{} times {service} {name}:\n{}", found.len(), self.text);
        };
        span
    }
    fn server(&self, service: &str, name: &str) -> &TraceSpan {
        self.one(service, name, SpanKind::Server)
    }
    /// The services on the way from a span up to its root.
    fn way_up<'a>(&'a self, span: &'a TraceSpan) -> Vec<&'a str> {
        let all = self.spans.iter();
        let of: HashMap<_, _> = all.map(|s| ((s.trace_id, s.span_id), s)).collect();
        let (mut way, mut at) = (vec![span.service.as_str()], span);
        while let Some(parent) = at.parent_span_id {
            at = of[&(at.trace_id, parent)];
            if way.last() != Some(&at.service.as_str()) {
                way.push(&at.service);
            }
            assert!(way.len() < 20, "a ring of parents");
        }
        way
    }

    /// What holds whatever the incident.
    fn check(&self) {
        let root = self.one("shelf-sensor", "shelf reading", SpanKind::Internal);
        assert_eq!(root.parent_span_id, None);
        assert!(self.line("trace ").contains(&root.trace_id.to_string()));

        let ids: HashSet<_> = self.spans.iter().map(|s| (s.trace_id, s.span_id)).collect();
        assert_eq!(ids.len(), self.spans.len(), "an id was given out twice");
        for span in &self.spans {
            assert!(span.end_unix_ns >= span.start_unix_ns, "{span:?}");
            let parent = span.parent_span_id.map(|id| (span.trace_id, id));
            assert!(
                parent.is_none_or(|parent| ids.contains(&parent)),
                "lost parent: {span:?}"
            );
        }

        // One trace from the device to the services, with what travels along.
        let order = self.server("order-service", "POST /orders");
        assert_eq!(order.trace_id, root.trace_id);
        assert_eq!(
            self.way_up(order),
            ["order-service", "api-gateway", "shelf-sensor"]
        );
        assert_eq!(order.trace_state, "shelf=42");
        assert_eq!(order.flags & 0x300, 0x300, "its parent is remote");
        let of_order = |key| attribute(&order.attributes, &[key]).map(|(_, value)| value);
        assert_eq!(of_order("tenant.id"), Some(&AttributeValue::from("lyon 7")));
        assert_eq!(
            of_order("http.response.status_code"),
            Some(&AttributeValue::I64(200))
        );
        assert_eq!(
            of_order("http.route"),
            Some(&AttributeValue::from("/orders"))
        );
        let is_device = |(key, _): &&(String, AttributeValue)| key.starts_with("device.");
        assert_eq!(
            root.resource.iter().filter(is_device).count(),
            2,
            "{:?}",
            root.resource
        );

        // Something was tried again, and something failed beside the checkout.
        let checkout = self.spans.iter().filter(|s| s.trace_id == root.trace_id);
        let retries = checkout
            .flat_map(|s| &s.events)
            .filter(|e| e.name == "retry");
        assert!(retries.count() >= 1, "{}", self.text);
        let is_lost = |s: &&TraceSpan| s.name == "SELECT stock" && s.status == Status::Error;
        let lost: Vec<&TraceSpan> = self.spans.iter().filter(is_lost).collect();
        let [lost] = lost[..] else {
            panic!("one query fails, not {}", lost.len());
        };
        assert_eq!(lost.status_message, "connection to the replica lost");
        assert!(lost.events.iter().any(|e| e.name == "exception"));
        assert_ne!(lost.trace_id, root.trace_id);

        let spans = self.spans.len();
        let expected =
            format!("Ledger: balanced: {spans} started = {spans} exported; {spans} arrived");
        assert_eq!(self.line("Ledger: "), expected);
    }
    /// The consumer is not a child of the producer, and names it.
    fn check_link(&self) {
        let producer = self.one("order-service", "send order.created", SpanKind::Producer);
        let process = ("notification-service", "process order.created");
        let consumer = self.one(process.0, process.1, SpanKind::Consumer);
        assert_eq!(consumer.parent_span_id, None);
        assert_ne!(consumer.trace_id, producer.trace_id);
        let [link] = &consumer.links[..] else {
            panic!("one link: {consumer:?}");
        };
        let linked = (link.trace_id, link.span_id);
        assert_eq!(linked, (producer.trace_id, producer.span_id));
        assert_eq!(link.trace_state, "shelf=42");
        assert!(
            self.text.contains("link notification-service"),
            "{}",
            self.text
        );
    }
    fn check_bottleneck(&self, name: &str) {
        let line = self.line("▶ Bottleneck: ");
        let expected = format!("▶ Bottleneck: {name}: ");
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
fn incident_1_names_the_fraud_check() {
    let run = run(1, 1);
    run.check();
    run.check_link();
    run.check_bottleneck("fraud-check POST /check");
    let fraud = run.server("fraud-check", "POST /check");
    let way = [
        "fraud-check",
        "payment-service",
        "order-service",
        "api-gateway",
        "shelf-sensor",
    ];
    assert_eq!(run.way_up(fraud), way);
    assert_eq!(fraud.events.iter().filter(|e| e.name == "retry").count(), 2);
    let services: HashSet<_> = run.spans.iter().map(|s| &*s.service).collect();
    assert_eq!(services.len(), 8, "{services:?}");
}

#[test]
fn incident_2_runs_in_sequence() {
    let run = run(2, 1);
    run.check();
    run.check_bottleneck("fraud-check POST /check");
    let notify = run.server("notification-service", "POST /notify");
    let pay = run.server("payment-service", "POST /payments");
    assert_eq!(run.way_up(notify)[1], "order-service");
    assert!(notify.start_unix_ns > pay.end_unix_ns);
}

#[test]
fn incident_3_waits_for_somebody_elses_service() {
    let run = run(3, 1);
    run.check();
    run.check_link();
    run.check_bottleneck("payment-service POST /charges (to api.payments.example)");
    let reserve = run.server("inventory-service", "POST /reserve");
    let pay = run.server("payment-service", "POST /payments");
    assert!(reserve.start_unix_ns < pay.end_unix_ns && pay.start_unix_ns < reserve.end_unix_ns);
    let insert = run.one("order-service", "INSERT orders", SpanKind::Client);
    let system = attribute(&insert.attributes, &["db.system.name"]);
    assert_eq!(
        system.map(|(_, v)| v),
        Some(&AttributeValue::from("postgresql"))
    );
}

#[test]
fn incident_4_has_a_model_and_calls_in_sequence() {
    let run = run(4, 1);
    run.check();
    run.check_link();
    run.check_bottleneck("fraud-check ML inference");
    let hint = run.line("Hint: ");
    assert!(hint.contains("could have been parallel"), "{hint}");
    assert!(
        hint.contains("GET /limits") && hint.contains("GET /points"),
        "{hint}"
    );
}

#[test]
fn incident_5_asks_a_host_that_should_be_gone() {
    let run = run(5, 1);
    run.check();
    run.check_link();
    run.check_bottleneck("order-service GET /rates");
    let line = run.line("▶ Bottleneck: ");
    assert!(
        line.contains("a staging host") && line.contains("a gap of"),
        "{line}"
    );
}

#[test]
fn a_seed_makes_ids_repeatable() {
    let ids = |run: &Run| -> Vec<String> {
        let id = |s: &TraceSpan| format!("{} {} {} {}", s.trace_id, s.span_id, s.service, s.name);
        let mut ids: Vec<String> = run.spans.iter().map(id).collect();
        ids.sort();
        ids
    };
    let (first, again, other) = (run(3, 7), run(3, 7), run(3, 8));
    assert_eq!(ids(&first), ids(&again));
    let ids: HashSet<_> = first.spans.iter().map(|s| s.trace_id).collect();
    assert!(other.spans.iter().all(|s| !ids.contains(&s.trace_id)));
}

#[test]
fn the_same_spans_go_to_a_collector() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let to = received.clone();
    let collector = OtlpHttpReceiver::bind("127.0.0.1:0", move |request| {
        to.lock().expect("no panic").extend(request.trace_spans());
        Answer::Accept
    });
    let collector = collector.expect("a port");
    let output = demo(&[
        "--json",
        "-",
        "--otlp",
        &format!("http://{}", collector.local_addr()),
    ]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<&str> = text
        .lines()
        .take_while(|line| line.starts_with('{'))
        .collect();
    let printed = read_json_lines(&lines.join("\n")).expect("spans");
    let received = received.lock().expect("no panic");
    assert!(printed.len() > 40, "{text}");
    assert_eq!(*received, printed);
    assert!(
        text.contains(&format!("/v1/traces: {} spans", printed.len())),
        "{text}"
    );
}

/// What ends the services when the demo is killed, whatever the platform.
#[test]
fn a_service_ends_with_its_standard_input() {
    let mut service = Command::new(env!("CARGO_BIN_EXE_spanlet"))
        .args(["demo-service", "fraud-check"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(service.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("UTF-8");
    assert!(line().starts_with("listening 127.0.0.1:"));
    assert_eq!(line(), "ready");
    drop(service.stdin.take());
    assert!(line().starts_with("ledger {"));
    assert!(service.wait().expect("it ends").success());
}

#[test]
fn errors_say_what_is_wrong() {
    for (arguments, expected) in [
        (["--incident", "6"], "1..=5"),
        (["--otlp", "localhost:1"], "localhost:1"),
        (
            ["--json", "/no/such/directory/spans"],
            "/no/such/directory/spans",
        ),
        (
            ["--otlp", "http://127.0.0.1:1"],
            "http://127.0.0.1:1/v1/traces",
        ),
    ] {
        let output = demo(&arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
}

/// The examples are the services of the demo, to the letter, and short enough to read.
#[test]
fn examples_are_the_services() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/services");
    let examples = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/checkout/services"
    );
    let names = |directory: &str| -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(here), names(examples));
    let mut services = 0;
    for name in names(here) {
        let read = |directory: &str| {
            let path = std::path::Path::new(directory).join(&name);
            std::fs::read_to_string(path).expect("a text")
        };
        let text = read(here);
        assert!(text == read(examples), "{name:?} differs from its copy");
        if text.contains("pub(crate) fn main()") && name != "board.rs" {
            services += 1;
            assert!(text.lines().count() < 60, "{name:?} is too long to read");
        }
    }
    assert_eq!(services, 10);
}
