//! The OTLP/gRPC exporter against a scripted collector: what is sent, what is tried again and when, what every
//! span is counted as, and that no runtime around it matters.

mod certificates;
mod collector;
#[path = "collector/grpc.rs"]
mod grpc_collector;

use certificates::{file, identity, server_config};
use collector::{BODY, FakeTimer, SPANS, batch, outlast, text};
use core::time::Duration;
use grpc_collector::{GrpcCollector, GrpcStep, framed, retry_info};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use spanlet_std::config::Compression;
use spanlet_std::export::{
    Batch, ConnectReason, ExportError, ExportOutcome, OtlpGrpcBuilder, OtlpGrpcExporter,
    RetryPolicy, SpanExporter,
};
use std::io::Read;
use std::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn to(collector: &GrpcCollector) -> OtlpGrpcBuilder {
    OtlpGrpcExporter::builder()
        .endpoint(&collector.url())
        .unwrap()
}

/// Plays a script to one export with default settings and pauses that pass at once.
fn export(script: Vec<GrpcStep>) -> (ExportOutcome, Vec<Duration>, usize) {
    let collector = GrpcCollector::play(script);
    let timer = FakeTimer::new();
    let exporter = to(&collector).timer(timer.clone()).build().unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!(outcome.spans(), SPANS, "{outcome:?}");
    (outcome, timer.waits(), collector.requests().len())
}

fn status(code: u8) -> GrpcStep {
    GrpcStep::Status(code, "no way", Vec::new())
}

#[test]
fn the_request_is_what_the_protocol_asks_for() {
    let collector = GrpcCollector::play(vec![]);
    let exporter = to(&collector).header("X-Tenant", "a b").unwrap();
    let exporter = exporter.header("grpc-encoding", "zstd").unwrap();
    let exporter = exporter.build().unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    let expected = ExportOutcome {
        exported: SPANS,
        attempts: 1,
        ..ExportOutcome::default()
    };
    assert_eq!(outcome, expected);
    let request = collector.await_request();
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert_eq!(request.path, path);
    assert_eq!(request.body, framed(BODY));
    assert_eq!(request.header("content-type"), Some("application/grpc"));
    assert_eq!(request.header("te"), Some("trailers"));
    assert_eq!(request.header("x-tenant"), Some("a b"));
    let agent = concat!(
        "OTel-OTLP-Exporter-Rust-spanlet/",
        env!("CARGO_PKG_VERSION")
    );
    assert!(request.header("user-agent").unwrap().starts_with(agent));
    let timeout = request.header("grpc-timeout").unwrap();
    let ms: u32 = timeout.strip_suffix('m').unwrap().parse().unwrap();
    assert!(ms <= 10_000, "{timeout}");
    assert_eq!(request.header("grpc-encoding"), None);
    assert_eq!(request.header("content-encoding"), None);
}

#[test]
fn gzip_is_said_and_done() {
    let collector = GrpcCollector::play(vec![]);
    let exporter = to(&collector).compression(Compression::Gzip);
    let exporter = exporter.build().unwrap();
    // The second batch uses the buffers of the first; the third is more than a piece and a window.
    let noise: Vec<u8> = core::iter::repeat_with(|| fastrand::u8(..))
        .take(300_000)
        .collect();
    for body in [&[7_u8; 100_000][..], b"small", &noise] {
        let outcome = exporter.export(Batch { body, spans: 1 }, Duration::MAX);
        assert_eq!(outcome.exported, 1, "{outcome:?}");
        let request = collector.await_request();
        assert_eq!(request.header("grpc-encoding"), Some("gzip"));
        let (prefix, packed) = request.body.split_first_chunk::<5>().unwrap();
        assert_eq!(prefix[0], 1);
        let length = u32::from_be_bytes(prefix[1..].try_into().unwrap());
        assert_eq!(length as usize, packed.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(packed)
            .read_to_end(&mut unpacked)
            .unwrap();
        assert!(unpacked == body);
        assert_eq!(request.connection, 0, "one connection for all");
    }
}

#[test]
fn statuses_are_tried_again_as_the_protocol_says() {
    for code in 1..=16 {
        for step in [status(code), GrpcStep::TrailersOnly(code)] {
            let (outcome, waits, requests) = export(vec![step]);
            if [1, 4, 10, 11, 14, 15].contains(&code) {
                let got = (outcome.exported, outcome.attempts, requests, waits.len());
                assert_eq!(got, (SPANS, 2, 2, 1), "{code}");
            } else {
                let got = (outcome.failed, outcome.attempts, requests, waits.len());
                assert_eq!(got, (SPANS, 1, 1, 0), "{code}");
                assert_eq!(outcome.retry_in, None);
            }
        }
    }
    let (outcome, _, _) = export(vec![status(16)]);
    assert!(text(&outcome).contains("answered UNAUTHENTICATED \"no way\": credentials"));
}

#[test]
fn a_retry_info_is_a_floor_and_makes_exhaustion_pass() {
    for code in [8, 14] {
        let busy = GrpcStep::Status(code, "busy", retry_info(3));
        let (outcome, waits, _) = export(vec![busy]);
        assert_eq!((outcome.exported, outcome.attempts), (SPANS, 2), "{code}");
        assert!(
            waits[0] >= 3 * SECOND && waits[0] <= 4 * SECOND,
            "{waits:?}"
        );
    }
    // Longer than the timeout: later batches are held back, and it may be offered again.
    let busy = GrpcStep::Status(8, "quota", retry_info(60));
    let (outcome, waits, requests) = export(vec![busy]);
    assert_eq!((outcome.failed, requests, waits.len()), (SPANS, 1, 0));
    assert!(outcome.retry_in.unwrap() >= 60 * SECOND);
}

#[test]
fn a_longer_outage_ends_with_the_timeout_and_may_be_offered_again() {
    let (outcome, waits, requests) = export((0..50).map(|_| status(14)).collect());
    assert!(waits.iter().sum::<Duration>() < 10 * SECOND);
    assert_eq!(outcome.failed, SPANS);
    assert_eq!(
        (outcome.attempts as usize, waits.len() + 1),
        (requests, requests)
    );
    assert!(requests > 3 && outcome.retry_in.is_some());
}

#[test]
fn a_collector_that_is_down_for_minutes_loses_nothing() {
    let collector = GrpcCollector::play((0..150).map(|_| status(14)).collect());
    let timer = FakeTimer::new();
    let exporter = to(&collector).timer(timer.clone()).build().unwrap();
    let (took, outcome) = outlast(&exporter, &timer, batch());
    assert!(took > 180 * SECOND, "{took:?}");
    assert_eq!(outcome.exported, SPANS);
}

#[test]
fn partial_success_is_counted_and_never_tried_again() {
    let partial = |rejected_spans, error_message: &str| {
        let partial_success = Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: error_message.to_owned(),
        });
        GrpcStep::Message(ExportTraceServiceResponse { partial_success }.encode_to_vec())
    };
    let (outcome, waits, requests) = export(vec![partial(2, "bad id")]);
    assert_eq!((outcome.rejected, outcome.exported), (2, SPANS - 2));
    assert_eq!((waits.len(), requests, outcome.retry_in), (0, 1, None));
    assert!(text(&outcome).ends_with("rejected 2 spans: \"bad id\""));
    let (outcome, _, _) = export(vec![partial(0, "deprecated")]);
    assert_eq!((outcome.exported, &outcome.error), (SPANS, &None));
    assert!(outcome.warning.unwrap().contains("deprecated"));
    // Set but empty; no message at all; compressed although not asked for.
    let mut packer = flate2::read::GzEncoder::new(&b"\x0a\x02\x08\x01"[..], Default::default());
    let mut packed = Vec::new();
    packer.read_to_end(&mut packed).unwrap();
    let mut packed = framed(&packed);
    packed[0] = 1;
    for (step, rejected) in [
        (partial(0, ""), 0),
        (GrpcStep::Raw(Vec::new()), 0),
        (GrpcStep::Raw(packed), 1),
    ] {
        let (outcome, _, _) = export(vec![step]);
        assert_eq!((outcome.rejected, outcome.attempts), (rejected, 1));
        assert_eq!(outcome.exported, SPANS - rejected, "{outcome:?}");
    }
}

#[test]
fn what_is_no_grpc_answer_is_told_apart() {
    // A proxy's statuses go by the rules of HTTP.
    let http = |status, body: &str| GrpcStep::Http(status, "text/plain", body.as_bytes().to_vec());
    let (outcome, _, _) = export(vec![http(503, "starting"), http(502, "")]);
    assert_eq!((outcome.exported, outcome.attempts), (SPANS, 3));
    let (outcome, _, _) = export(vec![http(404, "no such path")]);
    assert_eq!((outcome.failed, outcome.attempts), (SPANS, 1));
    assert!(text(&outcome).contains("answered 404 \"no such path\""));
    for step in [
        http(200, "hello"),
        GrpcStep::Raw(b"\x00\x00\x00".to_vec()),
        GrpcStep::Raw(b"\x00\x00\x00\x00\x09x".to_vec()),
        GrpcStep::Raw(b"\x07\x00\x00\x00\x01x".to_vec()),
        GrpcStep::Raw(framed(b"\xff\xff\xff")),
    ] {
        let (outcome, _, requests) = export(vec![step]);
        assert_eq!((outcome.indeterminate, requests), (SPANS, 1), "{outcome:?}");
        let unreadable = matches!(outcome.error, Some(ExportError::UnreadableAnswer { .. }));
        assert!(unreadable, "{outcome:?}");
    }
    // An HTTP/1.1 server.
    let old = collector::Collector::play(vec![collector::say(200), collector::say(200)]);
    let exporter = OtlpGrpcExporter::builder()
        .endpoint(&format!("http://{}", old.address))
        .unwrap()
        .timeout(Some(SECOND / 2));
    let outcome = exporter.build().unwrap().export(batch(), Duration::MAX);
    assert_eq!(
        (outcome.exported, outcome.spans()),
        (0, SPANS),
        "{outcome:?}"
    );
}

#[test]
fn a_huge_answer_is_not_read_and_not_tried_again() {
    let (outcome, waits, _) = export(vec![GrpcStep::Message(vec![0; (4 << 20) + 1])]);
    assert_eq!((outcome.indeterminate, waits.len()), (SPANS, 0));
    let huge = matches!(outcome.error, Some(ExportError::ResponseTooLarge { .. }));
    assert!(huge, "{outcome:?}");
}

#[test]
fn requests_over_the_limit_are_not_sent() {
    let collector = GrpcCollector::play(vec![]);
    let exporter = to(&collector)
        .request_limit(BODY.len() - 1)
        .build()
        .unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!((outcome.too_large, outcome.attempts), (SPANS, 0));
    let exporter = to(&collector).request_limit(BODY.len()).build().unwrap();
    assert_eq!(exporter.export(batch(), Duration::MAX).exported, SPANS);
}

#[test]
fn a_lost_connection_is_tried_again_and_lost_answers_are_indeterminate() {
    let (outcome, waits, _) = export(vec![GrpcStep::Close]);
    assert_eq!(
        (outcome.exported, outcome.attempts),
        (SPANS, 2),
        "{outcome:?}"
    );
    assert_eq!(waits.len(), 1);
    let (outcome, _, _) = export(vec![GrpcStep::Close, status(3)]);
    assert_eq!((outcome.indeterminate, outcome.attempts), (SPANS, 2));
}

#[test]
fn a_connection_closed_between_batches_costs_nothing() {
    let collector = GrpcCollector::play(vec![GrpcStep::Message(vec![]), GrpcStep::Close]);
    let exporter = to(&collector).timer(FakeTimer::new()).build().unwrap();
    for _ in 0..3 {
        let outcome = exporter.export(batch(), Duration::MAX);
        assert_eq!(outcome.exported, SPANS, "{outcome:?}");
    }
}

#[test]
fn nothing_listening_and_no_such_host_say_what_to_do() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let timer = FakeTimer::new();
    let exporter = OtlpGrpcExporter::builder()
        .endpoint(&format!("http://{address}"))
        .unwrap();
    let exporter = exporter.timer(timer.clone()).build().unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!((outcome.failed, outcome.indeterminate), (SPANS, 0));
    assert!(outcome.attempts > 3 && outcome.retry_in.is_some());
    assert!(
        text(&outcome).contains("refused the connection"),
        "{outcome:?}"
    );

    let exporter = OtlpGrpcExporter::builder()
        .endpoint("http://collector.invalid:4317")
        .unwrap();
    let exporter = exporter.timeout(Some(2 * SECOND)).build().unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!(outcome.failed, SPANS, "{outcome:?}");
    // Where nobody answers for names, the time runs out.
    let reason = matches!(
        outcome.error,
        Some(ExportError::Connect {
            reason: ConnectReason::HostNotFound | ConnectReason::TimedOut,
            ..
        })
    );
    assert!(reason, "{outcome:?}");
}

#[test]
fn a_slow_collector_costs_the_timeout_and_no_more() {
    let collector = GrpcCollector::play(vec![GrpcStep::Hang]);
    let allowed = Duration::from_millis(300);
    let exporter = to(&collector).timeout(Some(allowed)).build().unwrap();
    let begun = Instant::now();
    let outcome = exporter.export(batch(), Duration::MAX);
    let took = begun.elapsed();
    assert!(took >= allowed && took < allowed + 10 * SECOND, "{took:?}");
    assert_eq!((outcome.indeterminate, outcome.attempts), (SPANS, 1));
    assert!(text(&outcome).contains("did not answer in the 300 ms allowed"));
}

#[test]
fn a_shutdown_cuts_a_call_and_ends_a_backoff() {
    let minute = RetryPolicy {
        initial: 60 * SECOND,
        max: 60 * SECOND,
        ..RetryPolicy::default()
    };
    for (step, indeterminate) in [(GrpcStep::Hang, SPANS), (status(14), 0)] {
        let collector = GrpcCollector::play(vec![step]);
        let exporter = to(&collector).retry(minute).timeout(None).build().unwrap();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| exporter.export(batch(), Duration::MAX));
            collector.await_request();
            let begun = Instant::now();
            let report = exporter.shutdown(SECOND / 4);
            assert!(begun.elapsed() < 20 * SECOND);
            assert_eq!(report.unfinished, 0);
            assert_eq!(
                (report.indeterminate, report.failed),
                (indeterminate, SPANS - indeterminate)
            );
            let outcome = call.join().unwrap();
            assert_eq!(outcome.indeterminate, indeterminate, "{outcome:?}");
        });
        let outcome = exporter.export(batch(), Duration::MAX);
        assert_eq!(outcome.error, Some(ExportError::ShutDown { last: None }));
    }
}

#[test]
fn runtimes_around_it_do_not_matter() {
    let collector = GrpcCollector::play(vec![]);
    let run = || {
        let exporter = to(&collector).build().unwrap();
        assert_eq!(exporter.export(batch(), Duration::MAX).exported, SPANS);
        assert_eq!(exporter.shutdown(SECOND), Default::default());
        // Dropped here, inside of whatever there is.
    };
    run();
    let current = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    current.block_on(async { run() });
    let multi = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    multi.block_on(async { run() });
    multi.block_on(async { tokio::spawn(async { 1 }).await.unwrap() });
    let exporter = &to(&collector).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(exporter.export(batch(), Duration::MAX).exported, SPANS);
                }
            });
        }
    });
}

#[test]
fn tls_trusts_a_file_refuses_others_and_shows_a_client_certificate() {
    let (server, client) = (identity(), identity());
    let ca = file("grpc-ca.pem", &server.cert.pem());
    let at = |collector: &GrpcCollector| {
        let url = format!("https://localhost:{}", collector.address.port());
        let builder = OtlpGrpcExporter::builder().endpoint(&url).unwrap();
        builder.timeout(Some(5 * SECOND))
    };
    let collector = GrpcCollector::play_on(vec![], Some(server_config(&server, None)));
    let exporter = at(&collector).certificate(ca.clone()).build().unwrap();
    let outcome = exporter.export(batch(), Duration::MAX);
    assert_eq!(outcome.exported, SPANS, "{outcome:?}");

    let other = file("grpc-other.pem", &identity().cert.pem());
    for builder in [at(&collector), at(&collector).certificate(other)] {
        let outcome = builder.build().unwrap().export(batch(), Duration::MAX);
        assert_eq!(
            (outcome.failed, outcome.attempts),
            (SPANS, 1),
            "{outcome:?}"
        );
        let error = outcome.error.unwrap();
        let tls = matches!(
            &error,
            ExportError::Connect {
                reason: ConnectReason::Tls(_),
                ..
            }
        );
        assert!(tls && !error.is_retryable(), "{error:?}");
    }

    let config = server_config(&server, Some(&client));
    let collector = GrpcCollector::play_on(vec![], Some(config));
    let chain = file("grpc-client.pem", &client.cert.pem());
    let key = file("grpc-client.key", &client.signing_key.serialize_pem());
    let with = at(&collector).certificate(ca.clone());
    let with = with.client_certificate(chain, key).build().unwrap();
    let outcome = with.export(batch(), Duration::MAX);
    assert_eq!(outcome.exported, SPANS, "{outcome:?}");
    let without = at(&collector).certificate(ca).timeout(Some(SECOND));
    let outcome = without.build().unwrap().export(batch(), Duration::MAX);
    assert_eq!(
        (outcome.exported, outcome.spans()),
        (0, SPANS),
        "{outcome:?}"
    );

    let nothing = file("grpc-nothing.pem", "no certificate here\n");
    let error = at(&collector).certificate(nothing).build().unwrap_err();
    assert!(error.to_string().contains("grpc-nothing.pem"), "{error}");
}
