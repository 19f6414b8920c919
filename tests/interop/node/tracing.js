// OpenTelemetry for a program that knows nothing of it: `node --require ./tracing.js program.js`.
const { registerInstrumentations } = require("@opentelemetry/instrumentation");
const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const { detectResources, envDetector } = require("@opentelemetry/resources");
const { BatchSpanProcessor, NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");

// Where to, how often and as whom is in OTEL_*; the propagators are the default ones, trace context and baggage.
const processor = new BatchSpanProcessor(new OTLPTraceExporter());
const resource = detectResources({ detectors: [envDetector] });
new NodeTracerProvider({ resource, spanProcessors: [processor] }).register();
registerInstrumentations({ instrumentations: [new HttpInstrumentation()] });
