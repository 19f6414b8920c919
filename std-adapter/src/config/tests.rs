//! Each variable: set, empty, bad; and which of two goes first.

use super::*;
use core::time::Duration;

fn read(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
    let (config, warnings) = Config::from_lookup(|name| {
        let found = pairs.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    let warnings = warnings.iter().map(ToString::to_string).collect();
    (config, warnings)
}

fn clean(pairs: &[(&str, &str)]) -> Config {
    let (config, warnings) = read(pairs);
    assert_eq!(warnings, [""; 0]);
    config
}

/// Reads one bad value: it leaves all defaults and one warning that names it.
fn refused(variable: &str, value: &str) -> String {
    let (config, warnings) = read(&[(variable, value)]);
    assert_eq!(config, Config::default(), "{variable}={value}");
    assert_eq!(warnings.len(), 1, "{variable}={value}: {warnings:?}");
    let shown = format!("{variable}=\"{}\": ", value.escape_debug());
    assert!(warnings[0].starts_with(&shown), "{warnings:?}");
    warnings[0].clone()
}

const ALL: &[&str] = &[
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_PROPAGATORS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_TRACES_EXPORTER",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT",
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT",
];

#[test]
fn empty_and_blank_are_unset() {
    assert_eq!(clean(&[]), Config::default());
    for empty in ["", "  "] {
        let pairs: Vec<_> = ALL.iter().map(|name| (*name, empty)).collect();
        assert_eq!(clean(&pairs), Config::default());
    }
}

#[test]
fn every_variable_is_looked_up() {
    let asked = core::cell::RefCell::new(Vec::new());
    // A sampler that takes an argument, so that the argument is looked up too.
    let _ = Config::from_lookup(|name| {
        asked.borrow_mut().push(name.to_owned());
        (name == "OTEL_TRACES_SAMPLER").then(|| "traceidratio".to_owned())
    });
    let mut asked = asked.into_inner();
    asked.sort();
    asked.dedup();
    let mut all: Vec<_> = ALL.to_vec();
    all.sort_unstable();
    assert_eq!(asked, all);
}

#[test]
fn nothing_makes_it_panic() {
    let values = [
        "\u{0}",
        "=",
        ",",
        "%",
        "a=%C3%28",
        "-1",
        "1e999",
        "∞",
        "http://",
        "https://[",
        "none,none",
    ];
    for value in values {
        let pairs: Vec<_> = ALL.iter().map(|name| (*name, value)).collect();
        let _ = read(&pairs);
    }
}

#[test]
fn disabled_only_by_true() {
    for value in ["true", "TRUE", " True "] {
        assert!(clean(&[("OTEL_SDK_DISABLED", value)]).disabled);
    }
    assert!(!clean(&[("OTEL_SDK_DISABLED", "False")]).disabled);
    for value in ["1", "yes", "tru"] {
        refused("OTEL_SDK_DISABLED", value);
    }
}

#[test]
fn service_name_goes_before_the_resource_attribute() {
    let attributes = (
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=a,k%20ey=v%C3%A9%2C%3D,",
    );
    let config = clean(&[attributes]);
    assert_eq!(config.resource.service_name(), Some("a"));
    assert_eq!(config.resource.get("k ey"), Some("vé,="));
    let config = clean(&[attributes, ("OTEL_SERVICE_NAME", "b")]);
    assert_eq!(config.resource.service_name(), Some("b"));
    assert_eq!(config.resource.attributes.len(), 2);
}

#[test]
fn a_bad_resource_attribute_spoils_the_list() {
    for (list, word) in [
        ("a=1,b", "entry 2 has no \"=\""),
        ("a=1,b=c=d", "entry 2 has a second"),
        ("=1", "entry 1 has no key"),
        ("a=%zz", "entry 1 is not percent"),
        ("a=%2", "entry 1 is not percent"),
        ("a=1,b=%FF", "entry 2 is not percent"),
    ] {
        assert!(
            refused("OTEL_RESOURCE_ATTRIBUTES", list).contains(word),
            "{list}"
        );
    }
}

#[test]
fn propagators_and_exporters_are_lists_without_repeats() {
    use Propagator::{B3, B3Multi, Baggage, Jaeger, OtTrace, TraceContext};
    let config = clean(&[
        (
            "OTEL_PROPAGATORS",
            "b3, baggage,b3,b3multi,tracecontext,ottrace,jaeger",
        ),
        ("OTEL_TRACES_EXPORTER", "console,otlp,zipkin"),
    ]);
    let propagators = [B3, Baggage, B3Multi, TraceContext, OtTrace, Jaeger];
    assert_eq!(config.propagators, propagators);
    let exporters = [
        TracesExporter::Console,
        TracesExporter::Otlp,
        TracesExporter::Zipkin,
    ];
    assert_eq!(config.exporters, exporters);

    let config = clean(&[
        ("OTEL_PROPAGATORS", "none"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]);
    assert!(config.propagators.is_empty() && config.exporters.is_empty());

    let (config, warnings) = read(&[("OTEL_PROPAGATORS", "b3,xray,none,x")]);
    assert_eq!(config.propagators, [B3]);
    assert_eq!(warnings.len(), 3);
    let (config, warnings) = read(&[("OTEL_TRACES_EXPORTER", "logging")]);
    assert_eq!(config.exporters, [TracesExporter::Otlp]);
    assert_eq!(warnings.len(), 2);
}

#[test]
fn samplers() {
    let sampler = |name: &str, arg: &str| {
        clean(&[
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", arg),
        ])
        .sampler
    };
    for (prefix, parent_based) in [("", false), ("parentbased_", true)] {
        for (name, root) in [
            ("always_on", RootSampler::AlwaysOn),
            ("always_off", RootSampler::AlwaysOff),
            ("traceidratio", RootSampler::TraceIdRatio(0.25)),
        ] {
            let read = sampler(&format!("{prefix}{name}"), "0.25");
            assert_eq!(read, SamplerConfig { parent_based, root });
        }
    }
    assert_eq!(
        sampler("traceidratio", "").root,
        RootSampler::TraceIdRatio(1.0)
    );
    // Without a sampler the argument is not looked at.
    assert_eq!(
        clean(&[("OTEL_TRACES_SAMPLER_ARG", "x")]),
        Config::default()
    );
    for bad in ["x", "-0.1", "1.1", "NaN", "inf"] {
        let (config, warnings) = read(&[
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", bad),
        ]);
        assert_eq!(config.sampler.root, RootSampler::TraceIdRatio(1.0));
        assert!(warnings[0].starts_with("OTEL_TRACES_SAMPLER_ARG=") && warnings.len() == 1);
    }
    for bad in ["jaeger_remote", "xray", "parentbased_", "Always_On"] {
        refused("OTEL_TRACES_SAMPLER", bad);
    }
}

#[test]
fn batching() {
    let config = clean(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
    ]);
    let expected = BatchConfig {
        schedule_delay: Duration::ZERO,
        export_timeout: None,
        max_queue_size: 100,
        max_export_batch_size: 100,
    };
    assert_eq!(config.batch, expected);
    let (config, warnings) = read(&[
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1001"),
    ]);
    assert_eq!(config.batch.max_export_batch_size, 512);
    assert_eq!(warnings.len(), 1);
    for bad in ["-1", "+5", "1.5", "1s", "99999999999999999999"] {
        refused("OTEL_BSP_SCHEDULE_DELAY", bad);
        refused("OTEL_BSP_EXPORT_TIMEOUT", bad);
    }
    for bad in ["0", "-1", "4294967296"] {
        refused("OTEL_BSP_MAX_QUEUE_SIZE", bad);
        refused("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", bad);
    }
}

#[test]
fn limits() {
    let limits = clean(&[
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "10"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "20"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "1"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "2"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "3"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "0"),
    ])
    .limits;
    let expected = LimitsConfig {
        attribute_count: 10,
        attribute_value_length: Some(20),
        event_count: 1,
        link_count: 2,
        event_attribute_count: 3,
        link_attribute_count: 0,
    };
    assert_eq!(limits, expected);
    let limits = clean(&[
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "10"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "11"),
    ])
    .limits;
    assert_eq!(limits.attribute_count, 11);
    for name in ALL.iter().filter(|name| name.ends_with("_LIMIT")) {
        refused(name, "-1");
    }
}

#[test]
fn endpoints() {
    const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let shown = |pairs: &[(&str, &str)]| clean(pairs).otlp.endpoint.to_string();
    assert_eq!(shown(&[]), "http://localhost:4318/v1/traces");
    for (base, full) in [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/mine", "https://c/mine/v1/traces"),
        ("HTTP://[::1]:1/mine//", "http://[::1]:1/mine/v1/traces"),
    ] {
        assert_eq!(shown(&[(GENERAL, base)]), full);
    }
    for (exact, full) in [
        ("http://c:4318", "http://c:4318/"),
        ("https://c/v1/traces/", "https://c/v1/traces/"),
        ("http://c/v1/traces?key=secret", "http://c/v1/traces"),
    ] {
        assert_eq!(shown(&[(TRACES, exact), (GENERAL, "http://other")]), full);
    }
    let with_query = Endpoint::base("http://c/mine?key=1").unwrap();
    assert_eq!(
        with_query.uri().to_string(),
        "http://c/mine/v1/traces?key=1"
    );
    assert!(!format!("{with_query:?}").contains("key"));

    for bad in [
        "localhost:4318",
        "grpc://c",
        "http://",
        "http:///x",
        "http://c:x",
        "http://c:99999",
        "http://a b",
    ] {
        refused(GENERAL, bad);
        refused(TRACES, bad);
    }
    let (config, warnings) = read(&[(TRACES, "nonsense"), (GENERAL, "http://c")]);
    assert_eq!(config.otlp.endpoint.to_string(), "http://c/v1/traces");
    assert_eq!(warnings.len(), 1);
    let (config, warnings) = read(&[(GENERAL, "http://me:secret@c")]);
    assert_eq!(config, Config::default());
    assert!(!warnings[0].contains("secret") && warnings[0].contains("HEADERS"));
}

#[test]
fn headers() {
    const GENERAL: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    let list = "Authorization=Basic%20YTpi==, x-tenant = a%2Cb,,";
    let headers = clean(&[(GENERAL, list)]).otlp.headers;
    assert_eq!(headers.get("authorization"), Some("Basic YTpi=="));
    assert_eq!(headers.get("X-Tenant"), Some("a,b"));
    assert_eq!(headers.len(), 2);
    assert_eq!(format!("{headers:?}"), "[\"authorization\", \"x-tenant\"]");

    let both = clean(&[
        (GENERAL, "a=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
    ]);
    assert_eq!(both.otlp.headers.get("a"), None);
    assert_eq!(both.otlp.headers.get("b"), Some("2"));

    let list = "a=1,token,bad name=2,c=%0d%0asecret,Content-Encoding=identity,d=%q";
    let (config, warnings) = read(&[(GENERAL, list)]);
    assert_eq!(config.otlp.headers.len(), 1);
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    for (warning, entry) in warnings.iter().zip(2..) {
        let start = format!("{GENERAL}: entry {entry} ");
        assert!(warning.starts_with(&start), "{warning}");
        assert!(!warning.contains("secret"));
    }
}

#[test]
fn other_otlp_options_prefer_the_traces_variable() {
    let otlp = clean(&[
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/chain"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
    ])
    .otlp;
    assert_eq!(otlp.timeout, Some(Duration::from_millis(500)));
    assert_eq!(otlp.compression, Compression::Gzip);
    assert_eq!(otlp.certificate, Some("/ca".into()));
    assert_eq!(otlp.client, Some(("/chain".into(), "/key".into())));
    assert!(otlp.insecure);

    let otlp = clean(&[
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/ca2"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "false"),
    ])
    .otlp;
    assert_eq!(otlp.timeout, None);
    assert_eq!(otlp.compression, Compression::None);
    assert_eq!(otlp.certificate, Some("/ca2".into()));
    assert!(!otlp.insecure);

    refused("OTEL_EXPORTER_OTLP_TIMEOUT", "10s");
    refused("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd");
    refused("OTEL_EXPORTER_OTLP_PROTOCOL", "http/xml");
    refused("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp");
    refused("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key");
    refused("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/chain");
}

#[test]
fn protocols_and_their_endpoints() {
    const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let otlp = |pairs: &[(&str, &str)]| {
        let otlp = clean(pairs).otlp;
        (otlp.protocol, otlp.endpoint.to_string())
    };
    let (http, grpc) = ("http://localhost:4318/v1/traces", "http://localhost:4317/");
    for (name, protocol, endpoint) in [
        ("http/protobuf", OtlpProtocol::HttpProtobuf, http),
        ("http/json", OtlpProtocol::HttpJson, http),
        ("grpc", OtlpProtocol::Grpc, grpc),
    ] {
        assert_eq!(otlp(&[(PROTOCOL, name)]), (protocol, endpoint.to_owned()));
    }
    let both = [
        (PROTOCOL, "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ];
    assert_eq!(otlp(&both).0, OtlpProtocol::HttpJson);
    // By gRPC no path is added, and a scheme is not needed.
    for (url, insecure, shown) in [
        ("http://c:4317", "false", "http://c:4317/"),
        ("https://c:4317", "true", "https://c:4317/"),
        ("c:4317", "false", "https://c:4317/"),
        ("c:4317", "true", "http://c:4317/"),
    ] {
        for variable in [GENERAL, TRACES] {
            let pairs = [
                (PROTOCOL, "grpc"),
                (variable, url),
                ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
            ];
            assert_eq!(otlp(&pairs).1, shown, "{url} {insecure}");
        }
    }
}

#[test]
fn zipkin() {
    let zipkin = clean(&[
        (
            "OTEL_EXPORTER_ZIPKIN_ENDPOINT",
            "http://z:9411/api/v2/spans",
        ),
        ("OTEL_EXPORTER_ZIPKIN_TIMEOUT", "0"),
    ])
    .zipkin;
    assert_eq!(zipkin.endpoint.to_string(), "http://z:9411/api/v2/spans");
    assert_eq!(zipkin.timeout, None);
    let default = clean(&[]).zipkin;
    assert_eq!(
        default.endpoint.to_string(),
        "http://localhost:9411/api/v2/spans"
    );
    assert_eq!(default.timeout, Some(Duration::from_secs(10)));
    refused("OTEL_EXPORTER_ZIPKIN_ENDPOINT", "z:9411");
    refused("OTEL_EXPORTER_ZIPKIN_TIMEOUT", "10s");
}
