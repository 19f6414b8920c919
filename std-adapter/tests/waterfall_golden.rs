//! The pictures of the incidents, byte by byte. `SPANLET_BLESS=1` writes them anew.
#![allow(clippy::unwrap_used, reason = "tests")]

mod incidents;

use std::path::Path;

use spanlet_std::clock::{ATTRIBUTE_ERROR, ATTRIBUTE_ERROR_BOUND, ERROR_UNKNOWN};
use spanlet_std::trace::{
    AttributeValue, Bottleneck, CriticalPath, HintKind, TraceSpan, TraceTree, Waterfall,
};

fn draw(look: &Waterfall, spans: &[TraceSpan]) -> String {
    let mut out = Vec::new();
    for tree in TraceTree::build(spans) {
        look.write(&tree, &mut out).unwrap();
    }
    String::from_utf8(out).unwrap()
}

fn check(name: &str, picture: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("SPANLET_BLESS").is_some() {
        std::fs::write(&file, picture).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    assert_eq!(picture, expected, "{name} changed:\n{picture}");
}

#[test]
fn incidents_look_as_checked_in() {
    for (name, spans) in incidents::ALL {
        check(name, &draw(&Waterfall::new(100), &spans()));
    }
}

#[test]
fn ascii_is_ascii() {
    let picture = draw(
        &Waterfall::new(100).ascii(true),
        &incidents::slow_fraud_check(),
    );
    assert!(picture.is_ascii());
    check("1_slow_fraud_check_ascii", &picture);
}

#[test]
fn colour_adds_escapes_and_changes_nothing_else() {
    let spans = incidents::slow_fraud_check();
    let coloured = draw(&Waterfall::new(100).colour(true), &spans);
    let mut plain = String::new();
    let mut pieces = coloured.split("\x1b[");
    plain.push_str(pieces.next().unwrap());
    for piece in pieces {
        plain.push_str(piece.split_once('m').unwrap().1);
    }
    assert_ne!(coloured, plain);
    assert_eq!(plain, draw(&Waterfall::new(100), &spans));
}

#[test]
fn bottlenecks_are_named_with_their_reason() {
    let expected = [
        ("fraud-check", "POST /check", 75, Some(HintKind::Retry)),
        ("fraud-service", "POST /check", 80, None),
        ("payment-service", "POST /v1/charges", 89, None),
        (
            "fraud-service",
            "ML inference",
            51,
            Some(HintKind::Sequential),
        ),
        ("order-service", "GET /rates", 90, Some(HintKind::Host)),
    ];
    for ((incident, spans), (service, name, percent, hint)) in
        incidents::ALL.into_iter().zip(expected)
    {
        let spans = spans();
        let trees = TraceTree::build(&spans);
        assert_eq!(trees.len(), 1, "{incident}: the queue's trace is attached");
        let path = CriticalPath::of(&trees[0]).unwrap();
        let found = Bottleneck::of(&trees[0], &path).unwrap();
        let span = trees[0].nodes[found.node].span;
        let got = (span.service.as_str(), span.name.as_str(), found.percent);
        assert_eq!(got, (service, name, percent), "{incident}");
        if let Some(kind) = hint {
            assert!(
                found.hints.iter().any(|h| h.kind == kind),
                "{incident}: {found:?}"
            );
        }
    }
}

/// A device whose clock is known to 300 µs, another of which nothing is known, and a service that both call.
#[test]
fn what_starts_before_its_parent_by_another_clock_is_explained() {
    use spanlet_std::trace::SpanKind::{Client, Server};
    let mut s = incidents::Script::new(10);
    let ids = [
        s.span(None, Client, "sensor", "POST /readings", [1, 9]),
        s.span(None, Client, "meter", "POST /readings", [11, 19]),
    ];
    s.span(
        Some(ids[0]),
        Server,
        "api-gateway",
        "POST /readings",
        [1, 8],
    );
    s.span(
        Some(ids[1]),
        Server,
        "api-gateway",
        "POST /readings",
        [11, 18],
    );
    let error = |key: &str, value: AttributeValue| (key.to_owned(), value);
    let bound = error(ATTRIBUTE_ERROR_BOUND, AttributeValue::I64(300_000));
    s.spans[0].attributes.push(bound);
    let unknown = error(ATTRIBUTE_ERROR, ERROR_UNKNOWN.into());
    s.spans[1].attributes.push(unknown);
    for child in [2, 3] {
        s.spans[child].start_unix_ns -= 120_000;
    }
    let ascii = Waterfall::new(110).ascii(true);
    let picture = draw(&Waterfall::new(110), &s.spans) + &draw(&ascii, &s.spans);
    assert!(picture.contains("└ ±300 µs api-gateway"), "{picture}");
    assert!(picture.contains("└ ±? api-gateway"), "{picture}");
    let words: Vec<&str> = picture.split_whitespace().collect();
    assert!(
        words.join(" ").contains("the two may be 300 us apart"),
        "{picture}"
    );
    check("clocks", &picture);
    // Spans of one device have one clock.
    s.spans[2].service = "sensor".to_owned();
    s.spans[3].service = "meter".to_owned();
    assert!(!draw(&Waterfall::new(110), &s.spans).contains('±'));
}

/// A device that sends and sleeps, calls as pairs of client and server, retries noted by the caller.
#[test]
fn a_request_that_a_device_did_not_wait_for_is_explained_too() {
    use spanlet_std::trace::SpanKind::{Client, Internal, Server};
    let mut s = incidents::Script::new(10);
    let device = s.span(None, Internal, "sensor", "read", [0, 5]);
    let gateway = s.span(
        Some(device),
        Server,
        "api-gateway",
        "POST /readings",
        [20, 3220],
    );
    let call = s.span(
        Some(gateway),
        Client,
        "api-gateway",
        "POST /check",
        [30, 3200],
    );
    s.event(call, 900, "retry", "connection reset");
    s.span(Some(call), Server, "fraud-check", "POST /check", [40, 3190]);
    let picture = draw(&Waterfall::new(160), &s.spans);
    let last = picture.lines().last().unwrap();
    let expected = "▶ Bottleneck: fraud-check POST /check: 3.15 s of 3.2 s, 98 % of the critical path; a \"retry\" event (connection reset)";
    assert_eq!(last, expected, "{picture}");
    check("device_does_not_wait", &picture);
}

#[test]
fn calls_in_a_loop_are_told_as_a_loop() {
    let mut s = incidents::Script::new(11);
    let kind = spanlet_std::trace::SpanKind::Client;
    let root = s.span(
        None,
        spanlet_std::trace::SpanKind::Server,
        "shop",
        "GET /cart",
        [0, 1000],
    );
    for i in 0..40 {
        s.span(
            Some(root),
            kind,
            "shop",
            "SELECT item",
            [i * 20, i * 20 + 18],
        );
    }
    let picture = draw(&Waterfall::new(200).max_rows(10), &s.spans);
    let loops =
        "Hint: 40 calls of SELECT item under shop GET /cart one after the other, 720 ms together";
    assert!(picture.contains(loops), "{picture}");
}

#[test]
fn the_database_insert_is_told_when_it_is_the_slow_one() {
    let mut spans = incidents::external_api();
    let insert = spans
        .iter_mut()
        .find(|s| s.name.starts_with("INSERT"))
        .unwrap();
    insert.end_unix_ns += 900_000_000;
    let insert = insert.end_unix_ns;
    for span in spans
        .iter_mut()
        .filter(|s| s.name.starts_with("POST /orders") || s.parent_span_id.is_none())
    {
        span.end_unix_ns = insert;
    }
    let picture = draw(&Waterfall::new(200), &spans);
    let last = picture.lines().last().unwrap();
    assert!(
        last.contains("INSERT orders")
            && last.contains("a database call (postgresql): INSERT INTO"),
        "{last}"
    );
}

#[test]
fn every_line_fits_and_nothing_steers_the_terminal() {
    let mut spans = incidents::slow_fraud_check();
    spans[1].service = "注文サービス".to_owned();
    spans[1].name = "\u{1b}]0;owned\u{7} \u{9b}2J \u{202e}gnp".repeat(4);
    spans[4].name = "\r\n".repeat(100);
    spans[5].status_message = "\u{1b}[2J".to_owned();
    for width in [60, 61, 80, 100, 133, 200] {
        let picture = draw(&Waterfall::new(width), &spans);
        for line in picture.lines() {
            let columns = unicode_width::UnicodeWidthStr::width(line);
            assert!(columns <= width, "{columns} of {width}: {line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(!line.contains('\u{202e}'), "{line:?}");
        }
    }
}

#[test]
fn long_traces_are_elided_with_a_count_and_keep_the_path() {
    let mut s = incidents::Script::new(9);
    let kind = spanlet_std::trace::SpanKind::Server;
    let root = s.span(None, kind, "shop", "GET /", [0, 1000]);
    for i in 0..500 {
        s.server(root, "cache", "GET key", [i, i + 1]);
    }
    let slow = s.server(root, "slow", "GET /slow", [500, 990]);
    for i in 0..50 {
        s.server(slow, "disk", "read", [500 + i, 501 + i]);
    }
    let picture = draw(&Waterfall::new(100).max_rows(20), &s.spans);
    assert!(picture.lines().count() < 50, "{picture}");
    assert!(picture.contains("slow GET /slow"), "{picture}");
    let hidden: usize = picture
        .lines()
        .filter_map(|l| {
            l.split_once("… ")?
                .1
                .split_once(" more span")?
                .0
                .parse::<usize>()
                .ok()
        })
        .sum();
    assert_eq!(hidden, s.spans.len() - 20, "{picture}");
}

#[test]
fn broken_traces_say_what_is_broken() {
    let mut spans = incidents::everything_in_sequence();
    spans.remove(2);
    spans.push(spans[0].clone());
    let ring: [usize; 2] = [1, 3];
    let ids = ring.map(|i| spans[i].span_id);
    spans[1].parent_span_id = Some(ids[1]);
    spans[3].parent_span_id = Some(ids[0]);
    let picture = draw(&Waterfall::new(100), &spans);
    for text in [
        "parent missing: ",
        "parents in a ring: ",
        "duplicates: 1",
        "never arrived",
    ] {
        assert!(picture.contains(text), "{text} is not in\n{picture}");
    }
}
