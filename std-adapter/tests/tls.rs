//! TLS: whom the exporter trusts, what it shows of itself, and what it says when that fails.

mod certificates;

use certificates::{Identity, file, identity, server_config};
use core::time::Duration;
use rustls::{ServerConnection, StreamOwned};
use spanlet_std::config::Config;
use spanlet_std::export::{
    Batch, ConnectReason, ExportError, ExporterError, OtlpHttpBuilder, OtlpHttpExporter,
    SpanExporter,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

const BATCH: Batch<'static> = Batch {
    body: b"body",
    spans: 3,
};

/// An https collector that takes everything, from clients that show `client` if that is given.
fn serve(server: &Identity, client: Option<&Identity>) -> String {
    let config = Arc::new(server_config(server, client));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let stream = StreamOwned::new(connection, stream.unwrap());
            // Clients that distrust us break off; that is their test's concern.
            let _ = answer(BufReader::new(stream));
        }
    });
    format!("https://localhost:{port}/v1/traces")
}

fn answer(mut stream: BufReader<impl Read + Write>) -> std::io::Result<()> {
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    stream.read_exact(&mut [0; 4])?;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.get_mut().write_all(answer)?;
    stream.get_mut().flush()
}

fn to(url: &str) -> OtlpHttpBuilder {
    let short = Some(Duration::from_secs(5));
    OtlpHttpExporter::builder()
        .endpoint(url)
        .unwrap()
        .timeout(short)
}

#[test]
fn a_certificate_file_makes_a_collector_trusted() {
    let server = identity();
    let url = serve(&server, None);
    let ca = file("trusted.pem", &server.cert.pem());
    let exporter = to(&url).certificate(ca.clone()).build().unwrap();
    let outcome = exporter.export(BATCH, Duration::MAX);
    assert_eq!(outcome.exported, 3, "{outcome:?}");

    // The same through the environment.
    let (config, warnings) = Config::from_lookup(|name| match name {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => Some(url.clone()),
        "OTEL_EXPORTER_OTLP_CERTIFICATE" => Some(ca.display().to_string()),
        _ => None,
    });
    assert!(warnings.is_empty());
    let exporter = OtlpHttpBuilder::from(config.otlp).build().unwrap();
    assert_eq!(exporter.export(BATCH, Duration::MAX).exported, 3);
}

#[test]
fn an_unknown_collector_is_refused_at_once() {
    let url = serve(&identity(), None);
    let other = file("other.pem", &identity().cert.pem());
    for builder in [to(&url), to(&url).certificate(other)] {
        let outcome = builder.build().unwrap().export(BATCH, Duration::MAX);
        assert_eq!((outcome.failed, outcome.attempts), (3, 1), "{outcome:?}");
        let error = outcome.error.unwrap();
        let tls = matches!(
            &error,
            ExportError::Connect {
                reason: ConnectReason::Tls(_),
                ..
            }
        );
        assert!(tls && !error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("OTEL_EXPORTER_OTLP_CERTIFICATE"));
    }
}

#[test]
fn a_client_certificate_is_shown() {
    let (server, client) = (identity(), identity());
    let url = serve(&server, Some(&client));
    let ca = file("mutual.pem", &server.cert.pem());
    let chain = file("client.pem", &client.cert.pem());
    let key = file("client.key", &client.signing_key.serialize_pem());
    let with = to(&url)
        .certificate(ca.clone())
        .client_certificate(chain, key);
    let outcome = with.build().unwrap().export(BATCH, Duration::MAX);
    assert_eq!(outcome.exported, 3, "{outcome:?}");

    let without = to(&url)
        .certificate(ca)
        .timeout(Some(Duration::from_secs(1)));
    let outcome = without.build().unwrap().export(BATCH, Duration::MAX);
    assert_eq!((outcome.exported, outcome.spans()), (0, 3), "{outcome:?}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let url = "https://localhost:1/v1/traces";
    let error = to(url)
        .certificate("/no/such/file.pem")
        .build()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot read /no/such/file.pem: "),
        "{error}"
    );
    let nothing = file("nothing.pem", "no certificate here\n");
    let error = to(url).certificate(nothing.clone()).build().unwrap_err();
    assert!(
        matches!(&error, ExporterError::Pem { path, .. } if *path == nothing),
        "{error}"
    );
    let chain = file("chain.pem", &identity().cert.pem());
    let error = to(url)
        .client_certificate(chain, nothing)
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("nothing.pem"), "{error}");
}
