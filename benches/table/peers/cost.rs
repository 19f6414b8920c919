//! The peers' exporters, with the settings at which they lose nothing: queues and batches as large as ours.

use crate::cost::{Contender, TRACE};
use crate::inputs::*;
use core::hint::black_box;
use opentelemetry::KeyValue;
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider,
};

/// As ours.
const QUEUE: usize = 131_072;
const BATCH: usize = 4096;

struct Sdk {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The SDK with its batch processor and its OTLP/HTTP exporter, in protobuf.
pub(crate) fn opentelemetry(url: &str) -> Box<dyn Contender> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(url)
        .build()
        .expect("a URL");
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(config)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(Resource::builder().with_service_name("bench").build())
        .build();
    let tracer = provider.tracer("bench");
    Box::new(Sdk { provider, tracer })
}

impl Contender for Sdk {
    fn trace(&mut self) {
        let tracer = &self.tracer;
        let root = tracer.start_with_context("root", &opentelemetry::Context::new());
        let cx = opentelemetry::Context::new().with_span(root);
        for _ in 1..TRACE {
            let attributes = [
                KeyValue::new("http.method", STATIC_TEXT),
                KeyValue::new("http.status", int()),
                KeyValue::new("cache.hit", boolean()),
                KeyValue::new("user.id", text().to_owned()),
            ];
            let builder = tracer.span_builder("child").with_attributes(attributes);
            black_box(&builder.start_with_context(tracer, &cx));
        }
    }
    fn finish(self: Box<Self>) {
        if let Err(error) = self.provider.shutdown() {
            eprintln!("{error}");
        }
    }
}

struct Fastrace;

/// fastrace with its reporter for OTLP/HTTP.
pub(crate) fn fastrace(url: &str) -> Box<dyn Contender> {
    let exporter = {
        use opentelemetry_otlp_32::WithExportConfig;
        opentelemetry_otlp_32::SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp_32::Protocol::HttpBinary)
            .with_endpoint(url)
            .build()
            .expect("a URL")
    };
    let reporter = fastrace_opentelemetry::OpenTelemetryReporter::new(
        exporter,
        std::borrow::Cow::Owned(opentelemetry_sdk_32::Resource::builder().build()),
        Default::default(),
    );
    ::fastrace::set_reporter(reporter, ::fastrace::collector::Config::default());
    Box::new(Fastrace)
}

impl Contender for Fastrace {
    fn trace(&mut self) {
        let root = ::fastrace::Span::root("root", ::fastrace::prelude::SpanContext::random());
        for _ in 1..TRACE {
            super::fastrace::four(&root);
        }
    }
    fn finish(self: Box<Self>) {
        ::fastrace::flush();
    }
}
