//! The ids behind the lines of any other format.

use super::IdNames;
use crate::recorder::Local;
use core::fmt;
use spanlet::Recorder;
use std::cell::Cell;
use tracing_core::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Adds the ids of the thread's current span to the lines of another format, at their end.
///
/// ```
/// use spanlet_std::logs::WithIds;
/// use tracing_subscriber::fmt::{format, layer};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// // … INFO checkout: charged trace_id=4bf9… span_id=00f0… trace_flags=01
/// let lines = layer().event_format(WithIds::new(format().compact()));
/// # drop(tracing_subscriber::registry().with(lines));
/// ```
///
/// Without colours: whether there are any is for the writer to say, which the format inside does not see.
#[derive(Clone, Debug)]
pub struct WithIds<F> {
    format: F,
    names: IdNames,
}

impl<F> WithIds<F> {
    /// Around `format`, with OpenTelemetry's [names](IdNames::OTEL).
    pub fn new(format: F) -> Self {
        WithIds {
            format,
            names: IdNames::OTEL,
        }
    }
    /// Sets what the ids are called.
    #[must_use]
    pub fn with_id_names(mut self, names: IdNames) -> Self {
        self.names = names;
        self
    }
}

thread_local! {
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(context) = Local.current().filter(|context| context.is_valid()) else {
            return self.format.format_event(ctx, writer, event);
        };
        // What is formatted may log: it then finds an empty one.
        let mut line = LINE.try_with(Cell::take).unwrap_or_default();
        line.clear();
        let formatted = self.format.format_event(ctx, Writer::new(&mut line), event);
        let result = formatted.and_then(|()| {
            writer.write_str(line.trim_end_matches('\n'))?;
            self.names
                .each(&context, |name, id| write!(writer, " {name}={id}"))?;
            writer.write_char('\n')
        });
        let _ = LINE.try_with(|back| back.set(line));
        result
    }
}
