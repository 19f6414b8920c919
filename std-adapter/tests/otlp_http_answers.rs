//! What the OTLP/HTTP exporter makes of answers: partial success, odd receivers, and what is no answer.

mod collector;

use collector::{Collector, FakeTimer, SPANS, Step, answer, batch, export, protobuf, say, text};
use core::time::Duration;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use proptest::prelude::*;
use prost::Message;
use spanlet_std::export::{ExportError, ExportOutcome, SpanExporter};
use std::io::Write;

fn partial(rejected_spans: i64, error_message: &str) -> Vec<u8> {
    let partial_success = Some(ExportTracePartialSuccess {
        rejected_spans,
        error_message: error_message.to_owned(),
    });
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

#[test]
fn an_answer_that_breaks_off_after_200_is_indeterminate_and_final() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
    let (outcome, waits, requests) = export(vec![Step::SayAndClose(cut), say(200)]);
    assert_eq!(
        (outcome.indeterminate, outcome.attempts, requests),
        (SPANS, 1, 1)
    );
    assert!(waits.is_empty() && outcome.retry_in.is_none());
    // A refusal stands although its text got lost.
    let cut = b"HTTP/1.1 503 X\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
    let (outcome, _, _) = export(vec![Step::SayAndClose(cut), say(200)]);
    assert_eq!((outcome.exported, outcome.attempts), (SPANS, 2));
}

#[test]
fn a_huge_answer_is_not_read_and_not_tried_again() {
    let over = vec![b' '; (4 << 20) + 1];
    let (outcome, waits, _) = export(vec![Step::SayAndClose(answer(200, &[], &over)), say(200)]);
    assert_eq!(
        (outcome.indeterminate, outcome.attempts, waits.len()),
        (SPANS, 1, 0)
    );
    assert!(text(&outcome).contains("more than 4194304 bytes"));
    let (outcome, waits, _) = export(vec![Step::SayAndClose(answer(503, &[], &over)), say(200)]);
    assert_eq!(
        (outcome.failed, outcome.attempts, waits.len()),
        (SPANS, 1, 0)
    );

    // A small answer that unpacks to a huge one.
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&over).unwrap();
    let packed = packer.finish().unwrap();
    let bomb = Step::Say(answer(200, &[("Content-Encoding", "gzip")], &packed));
    let (outcome, _, _) = export(vec![bomb]);
    assert!(
        matches!(outcome.error, Some(ExportError::ResponseTooLarge { .. })),
        "{outcome:?}"
    );

    let under = "x".repeat(4 << 20);
    let (outcome, _, _) = export(vec![Step::Say(answer(400, &[], under.as_bytes()))]);
    assert_eq!(outcome.failed, SPANS);
    assert!(text(&outcome).len() < 2000);
}

#[test]
fn partial_success_is_counted_and_never_tried_again() {
    for (rejected, counted) in [(1, 1), (5, 5), (6, 5), (i64::MAX, 5)] {
        let (outcome, waits, requests) =
            export(vec![protobuf(&partial(rejected, "bad\nid")), say(200)]);
        assert_eq!(
            (outcome.rejected, outcome.exported),
            (counted, SPANS - counted)
        );
        assert_eq!((outcome.attempts, requests, waits.len()), (1, 1, 0));
        assert!(text(&outcome).ends_with(&format!("rejected {counted} spans: \"bad id\"")));
        assert_eq!(outcome.retry_in, None);
    }
}

#[test]
fn partial_success_without_rejects_is_success() {
    for rejected in [0, -3] {
        let (outcome, _, _) = export(vec![protobuf(&partial(rejected, "deprecated"))]);
        assert_eq!((outcome.exported, &outcome.error), (SPANS, &None));
        assert!(outcome.warning.unwrap().ends_with("says: \"deprecated\""));
    }
    // Set but empty, as the Collector and Tempo send it.
    let (outcome, _, _) = export(vec![protobuf(b"\x0a\x00")]);
    let expected = ExportOutcome {
        exported: SPANS,
        attempts: 1,
        ..ExportOutcome::default()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn odd_receivers_are_understood() {
    let json = [("Content-Type", "application/json")];
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&partial(0, "")).unwrap();
    let packed = packer.finish().unwrap();
    for taken in [
        answer(200, &[], b""),
        answer(201, &[], b""),
        answer(202, &[], b"{}"),
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        answer(200, &[], b"\x0a\x00"),
        answer(200, &json, br#"{"partialSuccess":{}}"#),
        answer(200, &[("Content-Type", "text/plain")], b"{}\n"),
        answer(200, &[("Content-Encoding", "gzip")], &packed),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\x0a\x00\r\n0\r\n\r\n".to_vec(),
    ] {
        let (outcome, _, _) = export(vec![Step::SayAndClose(taken.clone())]);
        let shown = String::from_utf8_lossy(&taken);
        assert_eq!(
            (outcome.exported, outcome.attempts, outcome.error),
            (SPANS, 1, None),
            "{shown}"
        );
    }
    let body = br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"m"}}"#;
    let (outcome, _, _) = export(vec![Step::Say(answer(200, &json, body))]);
    assert_eq!((outcome.rejected, outcome.exported), (2, 3));
    // Without a length, the body ends with the connection.
    let closing = b"HTTP/1.1 200 OK\r\n\r\n\x0a\x02\x08\x01".to_vec();
    let (outcome, _, _) = export(vec![Step::SayAndClose(closing)]);
    assert_eq!((outcome.rejected, outcome.exported), (1, 4));
}

#[test]
fn what_is_no_otlp_answer_is_indeterminate() {
    let html = Step::Say(answer(
        200,
        &[("Content-Type", "text/html")],
        b"<!DOCTYPE html><p>hello",
    ));
    let (outcome, _, _) = export(vec![html]);
    assert_eq!((outcome.indeterminate, outcome.attempts), (SPANS, 1));
    assert!(
        text(&outcome).contains("text/html of 23 bytes, starts with \"<!DOCTYPE"),
        "{outcome:?}"
    );

    let (outcome, _, _) = export(vec![protobuf(b"\xff\xff\xff")]);
    assert_eq!(outcome.indeterminate, SPANS);

    // A gRPC port greets with HTTP/2 settings.
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0".to_vec();
    let (outcome, waits, _) = export(vec![Step::SayAndClose(settings)]);
    assert_eq!(
        (outcome.indeterminate, outcome.attempts, waits.len()),
        (SPANS, 1, 0)
    );
    assert!(
        text(&outcome).contains("4317 is the gRPC port"),
        "{outcome:?}"
    );
}

#[test]
fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = answer(status, &[("Location", "http://elsewhere/")], b"");
        let (outcome, _, requests) = export(vec![Step::Say(elsewhere), say(200)]);
        assert_eq!(
            (outcome.failed, outcome.attempts, requests),
            (SPANS, 1, 1),
            "{outcome:?}"
        );
        assert!(text(&outcome).contains("points to \"http://elsewhere/\""));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_is_answered_every_span_is_counted_once(
        status in prop_oneof![Just(String::new()), "HTTP/1.1 [0-9]{3} X\r\n", ".{0,20}"],
        head in prop_oneof![
            Just("\r\n".to_owned()),
            "Content-Length: [0-9]{1,2}\r\n\r\n",
            "Retry-After: .{0,10}\r\nContent-Encoding: gzip\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n",
        ],
        body: Vec<u8>,
    ) {
        let bytes = [status.as_bytes(), head.as_bytes(), &body].concat();
        let script = (0..30).map(|_| Step::SayAndClose(bytes.clone())).collect();
        let collector = Collector::play(script);
        let builder = collector.builder().timer(FakeTimer::new());
        let outcome = builder.build().unwrap().export(batch(), Duration::MAX);
        prop_assert_eq!(outcome.spans(), SPANS);
        prop_assert!(outcome.attempts >= 1);
        // Bytes that reached no verdict must not count as taken.
        if outcome.exported > 0 {
            prop_assert!(status.starts_with("HTTP/1.1 2"), "{:?}", outcome);
        }
    }
}
