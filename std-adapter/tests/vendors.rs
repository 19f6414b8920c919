//! Every block of RECIPES.md, run against a fake of the vendor: path, headers, format, and TLS with the vendor's name.

mod certificates;
mod collector;
#[path = "collector/grpc.rs"]
mod grpc_collector;
mod spans;

use certificates::{file, server_config};
use core::time::Duration;
use grpc_collector::GrpcCollector;
use rcgen::generate_simple_self_signed;
use rustls::{ServerConnection, StreamOwned};
use spanlet_std::config::{Config, OtlpProtocol, TracesExporter};
use spanlet_std::export::{Batch, SpanExporter, ZipkinExporter, otlp_exporter};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

type Settings = Vec<(String, String)>;

/// The blocks under a heading, as pairs of variable and value.
fn recipes(heading: &str) -> Vec<Settings> {
    let text = include_str!("../RECIPES.md");
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<_> = section
        .split("```sh\n")
        .skip(1)
        .map(|block| {
            let (block, _) = block.split_once("```").unwrap();
            let pair = |line: &str| {
                let (name, value) = line.split_once('=').unwrap();
                (name.to_owned(), value.to_owned())
            };
            block.lines().map(pair).collect()
        })
        .collect();
    assert!(!blocks.is_empty(), "{heading}");
    blocks
}

/// The configuration of a recipe whose host is replaced by this machine's at `port`, and which trusts `ca`.
fn config(settings: &Settings, host: &str, port: u16, ca: &str) -> Config {
    let (config, warnings) = Config::from_lookup(|name| {
        if name == "OTEL_EXPORTER_OTLP_CERTIFICATE" {
            return Some(ca.to_owned());
        }
        let (_, value) = settings.iter().find(|(known, _)| known == name)?;
        let here = format!("localhost:{port}");
        let with_port = value.replace(&format!("{host}:443"), &here);
        Some(with_port.replace(host, &here))
    });
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(
        config
            .otlp
            .endpoint
            .to_string()
            .starts_with("https://localhost:")
    );
    assert_eq!(config.resource.service_name(), Some("checkout"));
    config
}

fn export(config: Config) {
    let (request, spans) = spans::request();
    let exporter = otlp_exporter(config.otlp).unwrap();
    let body = &request;
    let outcome = exporter.export(Batch { body, spans }, Duration::from_secs(20));
    assert_eq!(outcome.exported, spans, "{outcome:?}");
}

/// A request as its head's lines, and its body.
type Seen = (Vec<String>, Vec<u8>);

/// An https server with a certificate of its own; its port, the certificate's file, and what it gets.
fn https(name: &str) -> (u16, String, Receiver<Seen>) {
    let identity = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = file(&format!("{name}.pem"), &identity.cert.pem());
    let config = Arc::new(server_config(&identity, None));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (report, seen) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream.unwrap()));
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let length = lines.iter().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            let mut body = vec![0; length.unwrap()];
            stream.read_exact(&mut body).unwrap();
            assert_eq!(stream.get_ref().conn.server_name(), Some("localhost"));
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
            stream.get_mut().flush().unwrap();
            let _ = report.send((lines, body));
        }
    });
    (port, ca.display().to_string(), seen)
}

/// Has a recipe's batch sent to a fake over HTTP and checks the head, names in any case.
fn check_http(settings: &Settings, host: &str, line: &str, headers: &[&str]) {
    let (port, ca, seen) = https(host);
    export(config(settings, host, port, &ca));
    let (lines, body) = seen.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(lines[0], format!("POST {line} HTTP/1.1"));
    for header in headers
        .iter()
        .chain(&["content-type: application/x-protobuf"])
    {
        let (name, value) = header.split_once(": ").unwrap();
        let found = lines.iter().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        });
        assert_eq!(found, Some(value), "{name}");
    }
    assert!(!body.is_empty());
}

#[test]
fn honeycomb() {
    let host = "api.honeycomb.io";
    let recipes = recipes("Honeycomb");
    let [grpc, http] = &recipes[..] else {
        panic!("{recipes:?}")
    };
    let identity = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = file("honeycomb-grpc.pem", &identity.cert.pem());
    let collector = GrpcCollector::play_on(vec![], Some(server_config(&identity, None)));
    let port = collector.address.port();
    let config = config(grpc, host, port, &ca.display().to_string());
    assert_eq!(config.otlp.protocol, OtlpProtocol::Grpc);
    export(config);
    let request = collector.await_request();
    assert_eq!(request.header("x-honeycomb-team"), Some("YOUR_API_KEY"));
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert_eq!(request.path, path);

    let headers = ["x-honeycomb-team: YOUR_API_KEY", "content-encoding: gzip"];
    check_http(http, host, "/v1/traces", &headers);
}

#[test]
fn datadog() {
    for settings in recipes("Datadog") {
        let headers = [
            "dd-protocol: otlp",
            "dd-api-key: YOUR_API_KEY",
            "content-encoding: gzip",
        ];
        check_http(&settings, "otlp.datadoghq.com", "/v1/traces", &headers);
    }
}

#[test]
fn grafana_cloud() {
    for settings in recipes("Grafana Cloud") {
        let host = "otlp-gateway-prod-eu-west-2.grafana.net";
        let headers = ["authorization: Basic MTIzNDU2OmdsY190b2tlbg=="];
        check_http(&settings, host, "/otlp/v1/traces", &headers);
    }
}

#[test]
fn this_machine() {
    for settings in recipes("On this machine") {
        let (config, warnings) = Config::from_lookup(|name| {
            let (_, value) = settings.iter().find(|(known, _)| known == name)?;
            Some(value.clone())
        });
        assert!(warnings.is_empty(), "{warnings:?}");
        let exporters = [TracesExporter::Zipkin, TracesExporter::Console];
        assert_eq!(config.exporters, exporters);
        let default = ZipkinExporter::builder().build().unwrap();
        assert_eq!(config.zipkin.endpoint.to_string(), default.endpoint());
    }
}
