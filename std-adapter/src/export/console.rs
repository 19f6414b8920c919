//! Spans for eyes: a line each, or each batch's traces as waterfalls, on standard output.
//!
//! Stage: export, for development. Input: [`Batch`]. Output: text. Bound: one batch in memory. Everything that came
//! with a span is escaped: nothing in it reaches the terminal as a command.

use super::retry::lock;
use super::{Batch, ExportError, ExportOutcome, ShutdownReport, SpanExporter};
use crate::trace::{
    HumanDuration, SpanKind, Status, TraceSpan, TraceTree, Waterfall, escape_for_terminal,
};
use core::fmt;
use core::time::Duration;
use std::io::{self, Write};
use std::sync::Mutex;

/// Writes spans as text, to standard output unless told otherwise.
///
/// Not for production, and no format for programs: [`write_json_lines`](crate::trace::write_json_lines) is.
///
/// ```
/// use spanlet_std::export::ConsoleExporter;
/// use spanlet_std::trace::Waterfall;
///
/// let lines = ConsoleExporter::new();
/// let pictures = ConsoleExporter::new().waterfall(Waterfall::new(100)).writer(std::io::stderr());
/// # let _ = (lines, pictures);
/// ```
pub struct ConsoleExporter {
    waterfall: Option<Waterfall>,
    out: Mutex<Box<dyn Write + Send>>,
}

impl Default for ConsoleExporter {
    fn default() -> Self {
        ConsoleExporter::new()
    }
}

impl ConsoleExporter {
    /// A line for each span, on standard output: end, service, name, kind, duration, status, ids, attributes.
    #[must_use]
    pub fn new() -> Self {
        ConsoleExporter {
            waterfall: None,
            out: Mutex::new(Box::new(io::stdout())),
        }
    }
    /// Draws the traces of each batch instead. A trace that ends in several batches is drawn in parts.
    #[must_use]
    pub fn waterfall(mut self, waterfall: Waterfall) -> Self {
        self.waterfall = Some(waterfall);
        self
    }
    /// Writes elsewhere.
    #[must_use]
    pub fn writer(mut self, out: impl Write + Send + 'static) -> Self {
        self.out = Mutex::new(Box::new(out));
        self
    }

    fn write(&self, batch: Batch<'_>) -> Result<(), String> {
        let spans = TraceSpan::from_otlp_request(batch.body).map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        match &self.waterfall {
            None => spans
                .iter()
                .try_for_each(|span| writeln!(text, "{}", Line(span))),
            Some(waterfall) => TraceTree::build(&spans).iter().try_for_each(|tree| {
                waterfall.write(tree, &mut text)?;
                writeln!(text)
            }),
        }
        .map_err(|error| error.to_string())?;
        // In one piece, so that batches of several senders do not mix.
        let mut out = lock(&self.out);
        out.write_all(&text)
            .and_then(|()| out.flush())
            .map_err(|error| error.to_string())
    }
}

impl fmt::Debug for ConsoleExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleExporter")
            .field("waterfall", &self.waterfall)
            .finish_non_exhaustive()
    }
}

impl SpanExporter for ConsoleExporter {
    fn export(&self, batch: Batch<'_>, _budget: Duration) -> ExportOutcome {
        let mut outcome = ExportOutcome {
            attempts: 1,
            ..ExportOutcome::default()
        };
        match self.write(batch) {
            Ok(()) => outcome.exported = batch.spans,
            Err(detail) => {
                outcome.failed = batch.spans;
                outcome.error = Some(ExportError::Exporter {
                    exporter: "console".to_owned(),
                    detail,
                });
            }
        }
        outcome
    }
    fn shutdown(&self, _timeout: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}

/// A span in one line.
struct Line<'a>(&'a TraceSpan);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.0;
        let text = |text: &str| escape_for_terminal(text);
        let kind = match span.kind {
            SpanKind::Internal => "internal",
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
        };
        write!(
            f,
            "{} {} \"{}\" {kind} {}",
            Rfc3339(span.end_unix_ns),
            text(&span.service),
            text(&span.name),
            HumanDuration(span.duration_ns()),
        )?;
        match span.status {
            Status::Unset => {}
            Status::Ok => f.write_str(" ok")?,
            Status::Error => write!(f, " error=\"{}\"", text(&span.status_message))?,
        }
        write!(f, " trace_id={} span_id={}", span.trace_id, span.span_id)?;
        if let Some(parent) = span.parent_span_id {
            write!(f, " parent_id={parent}")?;
        }
        for (key, value) in &span.attributes {
            write!(f, " {}={}", text(key), text(&value.to_string()))?;
        }
        for event in &span.events {
            let after = event.time_unix_ns.saturating_sub(span.start_unix_ns);
            write!(f, " [+{} {}", HumanDuration(after), text(&event.name))?;
            for (key, value) in &event.attributes {
                write!(f, " {}={}", text(key), text(&value.to_string()))?;
            }
            f.write_str("]")?;
        }
        for link in &span.links {
            write!(f, " link={}/{}", link.trace_id, link.span_id)?;
        }
        let dropped = [
            (span.dropped_attributes, "attributes"),
            (span.dropped_events, "events"),
            (span.dropped_links, "links"),
        ];
        for (count, what) in dropped.iter().filter(|(count, _)| *count != 0) {
            write!(f, " dropped_{what}={count}")?;
        }
        Ok(())
    }
}

/// A time in Unix nanoseconds as `2026-11-21T18:00:00.123456Z`.
struct Rfc3339(u64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Years from March on, in eras of 400 years, so that the leap day comes last.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month_from_march) = (day - (153 * month + 2) / 5 + 1, month);
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = era * 400 + year + u64::from(month <= 2);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            second / 3600,
            second / 60 % 60,
            second % 60,
            nanos / 1000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |seconds: u64| Rfc3339(seconds * 1_000_000_000 + 123_456_789).to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00.123456Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.123456Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.123456Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00.123456Z");
        assert_eq!(at(1_709_164_800), "2024-02-29T00:00:00.123456Z");
        // Every day of two centuries, against the library that reads dates of HTTP.
        for day in 0..73_000 {
            let time = std::time::UNIX_EPOCH + Duration::from_secs(day * 86_400);
            let http = httpdate::HttpDate::from(time).to_string();
            let ours = at(day * 86_400);
            assert_eq!(ours[0..4], http[12..16], "{http}");
            assert_eq!(ours[8..10], http[5..7], "{http}");
            let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
            let month = months.find(&http[8..11]).unwrap() / 3 + 1;
            assert_eq!(ours[5..7], format!("{month:02}"), "{http}");
        }
    }
}
