use super::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message;
use spanlet::testing::TestTracer;
use spanlet::{InlineBuf, InstrumentationScope, Span, TickRate, Ticks, UnixAnchor};

fn text(resource: &Resource, key: &str) -> Option<String> {
    resource.get(key).map(ToString::to_string)
}

#[test]
fn the_updating_resource_wins_and_the_schema_of_the_one_that_has_one() {
    let schema = |url: &str| Resource::empty().with_schema_url(url);
    let old = schema("a").with("k", "old").with("only.old", 1);
    let updating = Resource::empty().with("k", "").with("only.new", true);
    let merged = old.clone().merge(updating).unwrap();
    assert_eq!(
        text(&merged, "k").as_deref(),
        Some(""),
        "an empty value counts"
    );
    assert_eq!(text(&merged, "only.old").as_deref(), Some("1"));
    assert_eq!(text(&merged, "only.new").as_deref(), Some("true"));
    assert_eq!(merged.schema_url(), "a");

    for (old, updating, merged) in [
        ("", "", ""),
        ("", "b", "b"),
        ("b", "", "b"),
        ("b", "b", "b"),
    ] {
        let both = schema(old).merge(schema(updating)).unwrap();
        assert_eq!(both.schema_url(), merged);
    }
    let conflict = old.merge(schema("b").with("k", "new")).unwrap_err();
    assert_eq!(text(&conflict.merged, "k").as_deref(), Some("new"));
    assert_eq!(conflict.merged.schema_url(), "");
    assert_eq!(conflict.schema_urls, ["a", "b"]);
    assert!(conflict.to_string().contains("schema a"));

    let nothing = Resource::empty().merge(Resource::empty()).unwrap();
    assert_eq!(nothing, Resource::empty());
    assert_eq!(nothing.iter().count(), 0);
    assert_eq!(Resource::empty().with("", "x"), Resource::empty());
}

#[test]
fn code_goes_before_the_environment_before_detectors() {
    let mut environment = ResourceConfig::default();
    environment.set("b", "environment");
    environment.set("c", "environment");
    environment.set("telemetry.sdk.name", "opentelemetry");
    let detected = ["a", "b", "c"]
        .iter()
        .fold(Resource::empty(), |to, key| to.with(key, "detected"));
    let resource = of_process(detected, &environment, Resource::empty().with("c", "code"));
    for (key, from) in [("a", "detected"), ("b", "environment"), ("c", "code")] {
        assert_eq!(text(&resource, key).as_deref(), Some(from));
    }
    // Ours, whatever anybody says.
    assert_eq!(
        text(&resource, "telemetry.sdk.name").as_deref(),
        Some("spanlet")
    );
    assert_eq!(
        text(&resource, "telemetry.sdk.language").as_deref(),
        Some("rust")
    );
}

#[test]
fn a_service_without_a_name_is_named_after_its_program() {
    let unnamed = of_process(
        Resource::empty(),
        &ResourceConfig::default(),
        Resource::empty(),
    );
    let program = std::env::current_exe().unwrap();
    let program = program.file_name().unwrap().to_str().unwrap();
    let expected = format!("unknown_service:{program}");
    assert_eq!(text(&unnamed, "service.name"), Some(expected));
    let named = Resource::empty().with("service.name", "shop");
    let named = of_process(Resource::empty(), &ResourceConfig::default(), named);
    assert_eq!(text(&named, "service.name").as_deref(), Some("shop"));
}

#[test]
fn every_type_that_can_be_sent_is_sent() {
    let list = |values: &[AttributeValue]| AttributeValue::Array(values.to_vec());
    let resource = Resource::empty()
        .with("text", "ü")
        .with("bool", true)
        .with("integer", -1)
        .with("double", 0.5)
        .with("bytes", AttributeValue::Bytes(vec![0, 255]))
        .with("texts", list(&["a".into(), "b".into()]))
        .with("integers", list(&[1.into(), 2.into()]))
        .with("doubles", list(&[1.5.into()]))
        .with("bools", list(&[true.into()]))
        .with("none", list(&[]))
        .with("mixed", list(&[1.into(), "a".into()]))
        .with("map", AttributeValue::Map(vec![]))
        .with_schema_url("schema");
    let tracer: TestTracer = TestTracer::new();
    drop::<Span<_, InlineBuf<8>>>(tracer.span("s").start());
    let mut buffer = [0; 1024];
    let encoded = resource.with_otlp(|resource| {
        let scope = InstrumentationScope::new("s");
        let anchor = UnixAnchor::new(Ticks(0), 0, TickRate::NANOSECONDS);
        let mut request = otlp::OtlpEncoder::new(&mut buffer, resource, &scope, anchor).unwrap();
        tracer.with_spans(|spans| request.push(&spans.named("s").unwrap().view()).unwrap());
        request.finish().to_vec()
    });
    let request = ExportTraceServiceRequest::decode(&*encoded).unwrap();
    let [spans] = &request.resource_spans[..] else {
        panic!("{request:?}")
    };
    assert_eq!(spans.schema_url, "schema");
    let sent = spans.resource.as_ref().unwrap();
    assert_eq!(
        sent.dropped_attributes_count, 2,
        "the mixed list and the map"
    );
    assert_eq!(sent.attributes.len(), 10);
    let value = |key: &str| {
        let found = sent.attributes.iter().find(|kv| kv.key == key);
        found.and_then(|kv| kv.value.clone()?.value)
    };
    let lengths = ["texts", "integers", "doubles", "bools", "none"].map(|key| match value(key) {
        Some(Any::ArrayValue(list)) => list.values.len(),
        other => panic!("{key}: {other:?}"),
    });
    assert_eq!(lengths, [2, 2, 1, 1, 0]);
    assert_eq!(value("text"), Some(Any::StringValue("ü".into())));
    assert_eq!(value("bool"), Some(Any::BoolValue(true)));
    assert_eq!(value("integer"), Some(Any::IntValue(-1)));
    assert_eq!(value("double"), Some(Any::DoubleValue(0.5)));
    assert_eq!(value("bytes"), Some(Any::BytesValue(vec![0, 255])));
}
