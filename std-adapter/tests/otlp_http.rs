//! The OTLP/HTTP exporter against a scripted collector: what is sent, what is tried again and when,
//! and what every span is counted as.

mod collector;

use collector::{
    BODY, Collector, FakeTimer, SPANS, Step, answer, batch, export, protobuf, say, text,
};
use core::time::Duration;
use spanlet_std::config::Compression;
use spanlet_std::export::{
    Batch, ConnectReason, ExportError, ExportOutcome, OtlpHttpExporter, RetryPolicy, SpanExporter,
};
use std::io::Read;
use std::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_request_is_what_the_protocol_asks_for() {
    let collector = Collector::play(vec![protobuf(b"")]);
    let exporter = collector
        .builder()
        .header("X-Tenant", "a b")
        .unwrap()
        .build()
        .unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    let expected = ExportOutcome {
        exported: SPANS,
        attempts: 1,
        ..ExportOutcome::default()
    };
    assert_eq!(outcome, expected);
    let request = collector.await_request();
    assert_eq!(request.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(request.body, BODY);
    assert_eq!(
        request.header("content-type"),
        Some("application/x-protobuf")
    );
    assert_eq!(request.header("x-tenant"), Some("a b"));
    let agent = concat!(
        "OTel-OTLP-Exporter-Rust-spanlet/",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(request.header("user-agent"), Some(agent));
    // `identity` would be answered with 400 by the Collector.
    for absent in [
        "content-encoding",
        "transfer-encoding",
        "accept-encoding",
        "expect",
    ] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
}

#[test]
fn gzip_is_said_and_done() {
    let collector = Collector::play(vec![say(200), say(200)]);
    let exporter = collector
        .builder()
        .compression(Compression::Gzip)
        .build()
        .unwrap();
    // The second batch uses the buffer of the first.
    for body in [&[7_u8; 100_000][..], b"small"] {
        let outcome = exporter.export(Batch { body, spans: 1 }, Duration::MAX);
        assert_eq!(outcome.exported, 1);
        let request = collector.await_request();
        assert_eq!(request.header("content-encoding"), Some("gzip"));
        assert!(request.body.len() < 1000);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*request.body)
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, body);
    }
}

#[test]
fn connections_are_kept_alive() {
    let refusal = Step::Say(answer(503, &[("Retry-After", "1")], b"busy"));
    let collector = Collector::play(vec![
        protobuf(b""),
        refusal,
        protobuf(b""),
        say(400),
        protobuf(b""),
    ]);
    let exporter = collector.builder().timer(FakeTimer::new()).build().unwrap();
    let exported: Vec<_> = (0..4)
        .map(|_| exporter.export(batch(), Duration::MAX).exported)
        .collect();
    assert_eq!(exported, [SPANS, SPANS, 0, SPANS]);
    let requests = collector.requests();
    assert_eq!(requests.len(), 5);
    assert!(requests.iter().all(|request| request.connection == 0));
}

#[test]
fn an_empty_batch_is_not_sent() {
    let collector = Collector::play(vec![say(200)]);
    let exporter = collector.builder().build().unwrap();
    let outcome = exporter.export(
        Batch {
            body: b"\x0a\x00",
            spans: 0,
        },
        Duration::MAX,
    );
    assert_eq!(outcome, ExportOutcome::default());
    let outcome = exporter.export(
        Batch {
            body: b"",
            spans: 2,
        },
        Duration::MAX,
    );
    assert_eq!((outcome.failed, outcome.attempts), (2, 0));
    assert_eq!(outcome.error, Some(ExportError::EmptyBody));
    assert_eq!(collector.requests().len(), 0);
}

#[test]
fn other_error_statuses_are_final() {
    for status in [
        400, 401, 403, 404, 405, 408, 409, 413, 415, 418, 500, 501, 505, 507, 599,
    ] {
        let body = b"\x08\x03\x12\x06no way"; // google.rpc.Status { code: 3, message: "no way" }
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Retry-After", "1"),
        ];
        let (outcome, waits, requests) =
            export(vec![Step::Say(answer(status, &headers, body)), say(200)]);
        assert_eq!(
            (outcome.failed, outcome.attempts, requests),
            (SPANS, 1, 1),
            "{status}"
        );
        assert!(waits.is_empty() && outcome.retry_in.is_none());
        let text = text(&outcome);
        assert!(
            text.contains(&format!("answered {status} \"no way\"")),
            "{text}"
        );
    }
}

#[test]
fn four_statuses_are_tried_again_with_backoff() {
    for status in [429, 502, 503, 504] {
        let (outcome, waits, requests) = export(vec![say(status), say(status), say(200)]);
        assert_eq!(
            (outcome.exported, outcome.attempts, requests),
            (SPANS, 3, 3),
            "{status}"
        );
        assert_eq!(outcome.error, None);
        for (wait, top_ms) in waits.iter().zip([500, 1000]) {
            let top = Duration::from_millis(top_ms);
            assert!(*wait >= top / 2 && *wait <= top, "{waits:?}");
        }
        assert_eq!(waits.len(), 2);
    }
}

#[test]
fn a_longer_outage_ends_with_the_timeout_and_may_be_offered_again() {
    let (outcome, waits, requests) = export((0..50).map(|_| say(503)).collect());
    let waited: Duration = waits.iter().sum();
    assert!(waited < 10 * SECOND && waited >= 5 * SECOND, "{waits:?}");
    assert_eq!(outcome.failed, SPANS);
    assert_eq!(outcome.attempts as usize, requests);
    assert_eq!(waits.len() + 1, requests);
    assert!(
        outcome.retry_in.is_some_and(|pause| pause >= 2 * SECOND),
        "{outcome:?}"
    );
    assert!(text(&outcome).contains("answered 503: it is overloaded"));
}

#[test]
fn the_callers_budget_is_shorter_than_the_timeout() {
    let collector = Collector::play((0..50).map(|_| say(503)).collect());
    let timer = FakeTimer::new();
    let exporter = collector.builder().timer(timer.clone()).build().unwrap();
    let outcome = exporter.export(batch(), 2 * SECOND);
    assert!(timer.waits().iter().sum::<Duration>() < 2 * SECOND);
    assert!(outcome.attempts > 1);
    let outcome = exporter.export(batch(), Duration::ZERO);
    assert_eq!((outcome.failed, outcome.attempts), (SPANS, 0));
    assert!(matches!(
        outcome.error,
        Some(ExportError::TimedOut {
            sent_whole: false,
            ..
        })
    ));
}

#[test]
fn retry_after_is_a_floor_in_both_forms() {
    let date = httpdate::fmt_http_date(FakeTimer::unix_start() + 4 * SECOND);
    for (value, least) in [("3", 3), (date.as_str(), 4)] {
        for status in [429, 503] {
            let busy = Step::Say(answer(status, &[("Retry-After", value)], b""));
            let (outcome, waits, _) = export(vec![busy, say(200)]);
            assert_eq!((outcome.exported, outcome.attempts), (SPANS, 2));
            let least = least * SECOND;
            assert!(
                waits.len() == 1 && waits[0] >= least && waits[0] <= least * 11 / 10,
                "{waits:?}"
            );
        }
    }
    for odd in ["0", "soon", "-7", "Thu, 01 Jan 1970 00:00:00 GMT"] {
        let busy = Step::Say(answer(503, &[("Retry-After", odd)], b""));
        let (outcome, waits, _) = export(vec![busy, say(200)]);
        assert_eq!(outcome.exported, SPANS);
        assert!(
            waits[0] >= SECOND / 4 && waits[0] <= SECOND / 2,
            "{odd}: {waits:?}"
        );
    }
}

#[test]
fn a_pause_longer_than_the_timeout_holds_back_later_batches() {
    let busy = Step::Say(answer(429, &[("Retry-After", "60")], b"quota"));
    let collector = Collector::play(vec![busy, say(200), say(200)]);
    let timer = FakeTimer::new();
    let exporter = collector.builder().timer(timer.clone()).build().unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!((outcome.failed, outcome.attempts), (SPANS, 1));
    assert!(outcome.retry_in.unwrap() >= 60 * SECOND);
    assert!(text(&outcome).contains("429 \"quota\""));

    timer.advance(30 * SECOND);
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!((outcome.failed, outcome.attempts), (SPANS, 0));
    assert!(matches!(outcome.error, Some(ExportError::Throttled { .. })));
    assert!(outcome.retry_in.unwrap() >= 30 * SECOND);
    assert_eq!((timer.waits().len(), collector.requests().len()), (0, 1));

    // Near enough: it waits and sends.
    timer.advance(25 * SECOND);
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!((outcome.exported, outcome.attempts), (SPANS, 1));
    assert!(timer.waits().len() == 1 && timer.waits()[0] >= 5 * SECOND);
}

#[test]
fn an_absurd_retry_after_is_capped() {
    let busy = Step::Say(answer(503, &[("Retry-After", "99999999999999999999")], b""));
    let (outcome, _, _) = export(vec![busy]);
    let pause = outcome.retry_in.unwrap();
    assert!(pause >= 300 * SECOND && pause <= 301 * SECOND, "{pause:?}");
}

#[test]
fn a_lost_connection_is_tried_again() {
    for lost in [
        Step::CloseUnread,
        Step::SayAndClose(Vec::new()),
        Step::SayAndClose(b"HTTP/1.1 200 OK\r\nContent-".to_vec()),
    ] {
        let (outcome, waits, _) = export(vec![lost, protobuf(b"")]);
        assert_eq!(
            (outcome.exported, outcome.attempts),
            (SPANS, 2),
            "{outcome:?}"
        );
        assert_eq!(waits.len(), 1);
    }
}

#[test]
fn spans_whose_answer_was_lost_are_indeterminate() {
    // The last attempt does not undo what the first may have done.
    let lost = || Step::SayAndClose(Vec::new());
    for last in [say(400), say(503), lost()] {
        let collector = Collector::play(vec![lost(), last]);
        let exporter = collector.builder().timer(FakeTimer::new()).build().unwrap();
        let outcome = exporter.export(batch(), Duration::MAX);
        assert_eq!(outcome.indeterminate, SPANS, "{outcome:?}");
        assert!(outcome.attempts >= 2);
    }
}

#[test]
fn nothing_listening_is_failed_and_says_what_to_do() {
    let collector = Collector::play(vec![]);
    let timer = FakeTimer::new();
    let exporter = collector.builder().timer(timer.clone()).build().unwrap();
    // The listener goes with its thread.
    while std::net::TcpStream::connect(collector.address).is_ok() {
        std::thread::yield_now();
    }
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!((outcome.failed, outcome.indeterminate), (SPANS, 0));
    assert!(outcome.attempts > 3 && outcome.retry_in.is_some());
    assert_eq!(timer.waits().len() + 1, outcome.attempts as usize);
    let text = text(&outcome);
    let start = format!(
        "collector at {} refused the connection: is it running",
        collector.endpoint()
    );
    assert!(text.starts_with(&start), "{text}");
    let reason = ConnectReason::Refused;
    assert_eq!(
        outcome.error,
        Some(ExportError::Connect {
            endpoint: collector.endpoint(),
            reason
        })
    );
}

#[test]
fn a_slow_collector_costs_the_timeout_and_no_more() {
    let collector = Collector::play(vec![Step::Hang]);
    let allowed = Duration::from_millis(150);
    let exporter = collector.builder().timeout(Some(allowed)).build().unwrap();
    let begun = Instant::now();
    let outcome = exporter.export(batch(), Duration::MAX);
    let took = begun.elapsed();
    assert!(took >= allowed && took < allowed + 2 * SECOND, "{took:?}");
    assert_eq!((outcome.indeterminate, outcome.attempts), (SPANS, 1));
    assert!(text(&outcome).contains("did not answer in the 150 ms allowed"));
}

#[test]
fn a_body_that_drips_costs_the_timeout_too() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
    let collector = Collector::play(vec![Step::Say(head), say(200)]);
    let allowed = Duration::from_millis(150);
    let exporter = collector.builder().timeout(Some(allowed)).build().unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!(
        (outcome.indeterminate, outcome.attempts),
        (SPANS, 1),
        "{outcome:?}"
    );
}

#[test]
fn requests_over_the_limit_are_not_sent() {
    let collector = Collector::play(vec![say(200), say(200)]);
    let noise: Vec<u8> = core::iter::repeat_with(|| fastrand::u8(..))
        .take(10_000)
        .collect();
    let batch = Batch {
        body: &noise,
        spans: SPANS,
    };
    let limited = |limit: usize, compression| {
        let builder = collector
            .builder()
            .request_limit(limit)
            .compression(compression);
        builder.build().unwrap().export(batch, Duration::MAX)
    };
    for (limit, compression, compressed) in [
        (9_999, Compression::None, false),
        (9_999, Compression::Gzip, false),
        // Noise grows when it is compressed.
        (10_000, Compression::Gzip, true),
    ] {
        let outcome = limited(limit, compression);
        assert_eq!(
            (outcome.too_large, outcome.spans(), outcome.attempts),
            (SPANS, SPANS, 0)
        );
        let told = matches!(outcome.error, Some(ExportError::RequestTooLarge { compressed: c, .. }) if c == compressed);
        assert!(told, "{outcome:?}");
        assert_eq!(outcome.retry_in, None);
    }
    assert_eq!(collector.requests().len(), 0);
    assert_eq!(limited(10_000, Compression::None).exported, SPANS);
}

/// Retries that would take minutes, with real clocks.
fn patient(collector: &Collector) -> OtlpHttpExporter {
    let minute = 60 * SECOND;
    let retry = RetryPolicy {
        initial: minute,
        max: minute,
        ..RetryPolicy::default()
    };
    collector
        .builder()
        .retry(retry)
        .timeout(None)
        .build()
        .unwrap()
}

#[test]
fn a_shutdown_ends_a_backoff_at_once() {
    let collector = Collector::play(vec![say(503), say(200)]);
    let exporter = patient(&collector);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| exporter.export(batch(), Duration::MAX));
        collector.await_request();
        let report = exporter.shutdown(30 * SECOND);
        assert_eq!(
            (report.failed, report.indeterminate, report.unfinished),
            (SPANS, 0, 0)
        );
        let outcome = call.join().unwrap();
        assert_eq!((outcome.failed, outcome.attempts), (SPANS, 1));
        let text = text(&outcome);
        assert!(
            text.contains("shut down") && text.contains("answered 503"),
            "{text}"
        );
    });
    assert!(begun.elapsed() < 20 * SECOND);
    // Afterwards nothing is sent.
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!((outcome.failed, outcome.attempts), (SPANS, 0));
    assert_eq!(outcome.error, Some(ExportError::ShutDown { last: None }));
    assert_eq!(collector.requests().len(), 0);
}

#[test]
fn a_shutdown_cuts_a_request_at_its_deadline() {
    let collector = Collector::play(vec![Step::Hang]);
    let exporter = patient(&collector);
    let deadline = Duration::from_millis(100);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| exporter.export(batch(), Duration::MAX));
        collector.await_request();
        let begun = Instant::now();
        let report = exporter.shutdown(deadline);
        let took = begun.elapsed();
        assert!(took >= deadline && took < 10 * SECOND, "{took:?}");
        assert_eq!(
            (report.failed, report.indeterminate, report.unfinished),
            (0, SPANS, 0)
        );
        let outcome = call.join().unwrap();
        assert_eq!((outcome.indeterminate, outcome.attempts), (SPANS, 1));
    });
}

#[test]
fn a_shutdown_lets_a_request_finish_within_its_deadline() {
    let collector = Collector::play(vec![protobuf(b"")]);
    let exporter = patient(&collector);
    assert_eq!(exporter.export(batch(), Duration::MAX).exported, SPANS);
    let begun = Instant::now();
    assert_eq!(exporter.shutdown(30 * SECOND), Default::default());
    assert!(
        begun.elapsed() < 10 * SECOND,
        "an idle exporter stops at once"
    );
}
