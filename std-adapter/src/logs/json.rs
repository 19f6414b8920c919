//! A JSON line for each event of `tracing`, with the ids of the span that it happened in.
//!
//! Input: an event, and the thread's current context. Output: one line. Bound: nothing is kept; what does not fit into
//! the writer's memory is its own.

use super::IdNames;
use super::timestamp::Timestamp;
use super::value::{Fields, Object, Pass};
use crate::recorder::Local;
use core::fmt;
use spanlet::Recorder;
use std::time::SystemTime;
use tracing_core::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats an event as one line of JSON, for `tracing_subscriber::fmt`'s layer.
///
/// ```
/// use spanlet_std::layer::TracingLayer;
/// use spanlet_std::logs::JsonFormat;
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let lines = tracing_subscriber::fmt::layer().event_format(JsonFormat::new().with_service("checkout"));
/// // The layer that records comes first: what it makes current is what the line shows.
/// let subscriber = tracing_subscriber::registry().with(TracingLayer::new()).with(lines);
/// # drop(subscriber);
/// ```
///
/// A line, here on several:
///
/// ```json
/// {"timestamp":"2026-11-21T19:04:05.678901Z","level":"WARN","target":"checkout::payment",
///  "message":"card declined","service":"checkout","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",
///  "span_id":"00f067aa0ba902b7","trace_flags":"01","fields":{"attempt":2}}
/// ```
///
/// Outside of all spans the ids are left out, and without fields `fields`. Numbers that no JSON number holds (NaN,
/// infinities, beyond 64 bits) are texts, and so is what is recorded with `%` and `?`; bytes are hexadecimal.
#[derive(Clone, Debug, Default)]
pub struct JsonFormat {
    service: Option<String>,
    names: IdNames,
}

impl JsonFormat {
    /// Without a service, and with OpenTelemetry's [names](IdNames::OTEL).
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets `service`, usually the name given to [`Telemetry`](crate::Telemetry).
    #[must_use]
    pub fn with_service(mut self, service: &str) -> Self {
        self.service = Some(service.into());
        self
    }
    /// Sets what the ids are called.
    #[must_use]
    pub fn with_id_names(mut self, names: IdNames) -> Self {
        self.names = names;
        self
    }

    fn put(&self, writer: &mut Writer<'_>, at: SystemTime, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = Object::open(writer)?;
        line.text("timestamp", Timestamp(at))?;
        line.text("level", metadata.level().as_str())?;
        line.text("target", metadata.target())?;
        let mut message = Fields {
            to: &mut line,
            pass: Pass::Message,
            result: Ok(()),
            count: 0,
        };
        event.record(&mut message);
        message.result?;
        let has_fields = metadata.fields().len() > message.count;
        if let Some(service) = &self.service {
            line.text("service", service)?;
        }
        if let Some(context) = Local.current().filter(|context| context.is_valid()) {
            self.names.each(&context, |name, id| line.text(name, id))?;
        }
        if has_fields {
            let mut fields = Object::open(line.key("fields")?)?;
            let mut rest = Fields {
                to: &mut fields,
                pass: Pass::Rest,
                result: Ok(()),
                count: 0,
            };
            event.record(&mut rest);
            rest.result?;
            fields.close()?;
        }
        line.close()
    }
}

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        self.put(&mut writer, SystemTime::now(), event)?;
        writeln!(writer)
    }
}
