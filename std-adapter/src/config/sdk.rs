//! What is recorded, how it is batched and where it goes: `OTEL_PROPAGATORS`, `OTEL_TRACES_*`,
//! `OTEL_BSP_*` and the limits.
//!
//! SPEC: OpenTelemetry Environment Variable Specification.

use super::env::Env;
use core::time::Duration;

/// An entry of `OTEL_PROPAGATORS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Propagator {
    /// `tracecontext`: W3C traceparent and tracestate.
    TraceContext,
    /// `baggage`: W3C baggage.
    Baggage,
    /// `b3`: B3 in a single header.
    B3,
    /// `b3multi`: B3 in several headers.
    B3Multi,
    /// `jaeger`: Jaeger's `uber-trace-id`.
    Jaeger,
    /// `ottrace`: the headers of OpenTracing's basic tracers.
    OtTrace,
}

impl Propagator {
    pub(super) fn read(env: &mut Env<'_>) -> Vec<Self> {
        env.list("OTEL_PROPAGATORS", |name| match name {
            "tracecontext" => Ok(Propagator::TraceContext),
            "baggage" => Ok(Propagator::Baggage),
            "b3" => Ok(Propagator::B3),
            "b3multi" => Ok(Propagator::B3Multi),
            "jaeger" => Ok(Propagator::Jaeger),
            "ottrace" => Ok(Propagator::OtTrace),
            "none" => Err("stands alone or not at all".to_owned()),
            "xray" => Err("is not supported".to_owned()),
            _ => Err(
                "is no propagator (tracecontext, baggage, b3, b3multi, jaeger, ottrace, none)"
                    .to_owned(),
            ),
        })
        .unwrap_or_else(|| super::Config::default().propagators)
    }
}

/// An entry of `OTEL_TRACES_EXPORTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TracesExporter {
    /// `otlp`.
    Otlp,
    /// `zipkin`.
    Zipkin,
    /// `console`.
    Console,
}

impl TracesExporter {
    pub(super) fn read(env: &mut Env<'_>) -> Vec<Self> {
        env.list("OTEL_TRACES_EXPORTER", |name| match name {
            "otlp" => Ok(TracesExporter::Otlp),
            "zipkin" => Ok(TracesExporter::Zipkin),
            "console" => Ok(TracesExporter::Console),
            "none" => Err("stands alone or not at all".to_owned()),
            "logging" => Err("is deprecated (use console)".to_owned()),
            _ => Err("is no exporter (otlp, zipkin, console, none)".to_owned()),
        })
        .unwrap_or_else(|| super::Config::default().exporters)
    }
}

/// `OTEL_TRACES_SAMPLER` with its argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerConfig {
    /// Whether the parent's decision counts where there is a parent.
    pub parent_based: bool,
    /// What decides where there is none, or `parent_based` is off.
    pub root: RootSampler,
}

/// What decides about a root span.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RootSampler {
    /// Keep all.
    AlwaysOn,
    /// Keep none.
    AlwaysOff,
    /// Keep this share, in `0.0..=1.0`, by trace id.
    TraceIdRatio(f64),
}

impl Default for SamplerConfig {
    /// `parentbased_always_on`.
    fn default() -> Self {
        SamplerConfig {
            parent_based: true,
            root: RootSampler::AlwaysOn,
        }
    }
}

impl SamplerConfig {
    pub(super) fn read(env: &mut Env<'_>) -> Self {
        // SPEC: the argument counts only where the sampler is set.
        let Some(setting) = env.get("OTEL_TRACES_SAMPLER") else {
            return SamplerConfig::default();
        };
        let name = setting.value.as_str();
        let (parent_based, root_name) = match name.strip_prefix("parentbased_") {
            Some(root_name) => (true, root_name),
            None => (false, name),
        };
        let root = match root_name {
            "always_on" => RootSampler::AlwaysOn,
            "always_off" => RootSampler::AlwaysOff,
            "traceidratio" => RootSampler::TraceIdRatio(Self::read_ratio(env)),
            _ => {
                env.warn(
                    &setting,
                    "is no sampler that is supported (always_on, always_off, traceidratio, each also with \
                     parentbased_ before it); parentbased_always_on stands",
                );
                return SamplerConfig::default();
            }
        };
        SamplerConfig { parent_based, root }
    }

    fn read_ratio(env: &mut Env<'_>) -> f64 {
        let Some(setting) = env.get("OTEL_TRACES_SAMPLER_ARG") else {
            return 1.0;
        };
        match setting.value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                env.warn(&setting, "is not a number from 0 to 1; 1 stands");
                1.0
            }
        }
    }
}

/// `OTEL_BSP_*`.
///
/// INVARIANT of what is read: `1 <= max_export_batch_size <= max_queue_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// `OTEL_BSP_SCHEDULE_DELAY`: pause between two exports, 5 s by default.
    pub schedule_delay: Duration,
    /// `OTEL_BSP_EXPORT_TIMEOUT`: longest export, 30 s by default; `None` is without limit.
    pub export_timeout: Option<Duration>,
    /// `OTEL_BSP_MAX_QUEUE_SIZE`: spans. 131,072 where it is not set, and never more than 64 MiB.
    ///
    /// The specification's 2,048 are objects of a kilobyte and more in most SDKs. Here a span waits encoded, in about
    /// 170 bytes: the default takes 22 MB at the worst, when a collector is down, and holds a burst, or a minute
    /// of 2,000 spans a second, that the specification's would lose.
    pub max_queue_size: u32,
    /// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`: spans. 4,096 where neither it nor the queue's size is set, 512 where only that
    /// is, and never more than 1 MiB.
    ///
    /// The specification's 512 would make a request of every 90 KB, and the requests, not the spans, would be most
    /// of what tracing costs.
    pub max_export_batch_size: u32,
}

impl Default for BatchConfig {
    fn default() -> Self {
        BatchConfig {
            schedule_delay: Duration::from_millis(5000),
            export_timeout: Some(Duration::from_millis(30_000)),
            max_queue_size: 131_072,
            max_export_batch_size: 4096,
        }
    }
}

impl BatchConfig {
    pub(super) fn read(env: &mut Env<'_>) -> Self {
        const BATCH: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
        let default = BatchConfig::default();
        let (max_queue_size, fallback) = match env.integer("OTEL_BSP_MAX_QUEUE_SIZE", 1) {
            // SPEC: a queue of the specification's sizes goes out in batches of its default.
            Some(spans) => (spans, spans.min(512)),
            None => (default.max_queue_size, default.max_export_batch_size),
        };
        let max_export_batch_size = match env.integer(BATCH, 1) {
            Some(size) if size > max_queue_size => {
                if let Some(setting) = env.get(BATCH) {
                    env.warn(
                        &setting,
                        format!(
                            "is over OTEL_BSP_MAX_QUEUE_SIZE ({max_queue_size}); {fallback} stands"
                        ),
                    );
                }
                fallback
            }
            Some(size) => size,
            None => fallback,
        };
        BatchConfig {
            schedule_delay: env
                .duration("OTEL_BSP_SCHEDULE_DELAY")
                .unwrap_or(default.schedule_delay),
            export_timeout: env
                .timeout("OTEL_BSP_EXPORT_TIMEOUT")
                .unwrap_or(default.export_timeout),
            max_queue_size,
            max_export_batch_size,
        }
    }
}

/// Limits of a span, 128 each by default. A limit for spans goes before the general one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`, else `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub attribute_count: u32,
    /// `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT`, else `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`; `None`
    /// (default) is without limit.
    pub attribute_value_length: Option<u32>,
    /// `OTEL_SPAN_EVENT_COUNT_LIMIT`.
    pub event_count: u32,
    /// `OTEL_SPAN_LINK_COUNT_LIMIT`.
    pub link_count: u32,
    /// `OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT`: attributes of one event.
    pub event_attribute_count: u32,
    /// `OTEL_LINK_ATTRIBUTE_COUNT_LIMIT`: attributes of one link.
    pub link_attribute_count: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig {
            attribute_count: 128,
            attribute_value_length: None,
            event_count: 128,
            link_count: 128,
            event_attribute_count: 128,
            link_attribute_count: 128,
        }
    }
}

impl LimitsConfig {
    pub(super) fn read(env: &mut Env<'_>) -> Self {
        let mut first = |variables: &[&'static str]| {
            let read: Vec<_> = variables.iter().map(|name| env.integer(name, 0)).collect();
            read.into_iter().flatten().next()
        };
        LimitsConfig {
            attribute_count: first(&[
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
                "OTEL_ATTRIBUTE_COUNT_LIMIT",
            ])
            .unwrap_or(128),
            attribute_value_length: first(&[
                "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            ]),
            event_count: first(&["OTEL_SPAN_EVENT_COUNT_LIMIT"]).unwrap_or(128),
            link_count: first(&["OTEL_SPAN_LINK_COUNT_LIMIT"]).unwrap_or(128),
            event_attribute_count: first(&["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"]).unwrap_or(128),
            link_attribute_count: first(&["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"]).unwrap_or(128),
        }
    }
}
