//! The ids that tie a log line to its span.
//!
//! Input: the current context. Output: text, or with the feature `defmt` the ids as 24 bytes that the host makes text
//! of. Bound: constant.

use crate::context::SpanContext;
use crate::recorder::Recorder;
use core::fmt;

/// Prints `trace_id=… span_id=…` of a span, to stand at the end of a log line; nothing if there is no span.
///
/// SPEC: OpenTelemetry, "Trace Context in non-OTLP Log Formats".
///
/// ```
/// use spanlet::{InlineBuf, LogIds, Span};
/// # let tracer: spanlet::testing::TestTracer = spanlet::testing::TestTracer::new();
/// # let tracer = &tracer;
/// let mut span: Span<_, InlineBuf<20>> = tracer.span("move valve").start();
/// let line = span.run(|_| format!("valve stuck {}", LogIds::current(tracer)));
/// let (trace_id, span_id) = (span.context().trace_id(), span.context().span_id());
/// assert_eq!(line, format!("valve stuck trace_id={trace_id} span_id={span_id}"));
/// // With defmt: defmt::warn!("valve stuck {}", LogIds::current(&TRACER));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIds(Option<SpanContext>);

impl LogIds {
    /// Of the span that runs now.
    #[inline]
    pub fn current(recorder: impl Recorder) -> Self {
        LogIds(recorder.current())
    }
    /// Of this one.
    #[inline]
    pub fn of(context: SpanContext) -> Self {
        LogIds(context.is_valid().then_some(context))
    }
}

impl fmt::Display for LogIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(context) => write!(
                f,
                "trace_id={} span_id={}",
                context.trace_id(),
                context.span_id()
            ),
            None => Ok(()),
        }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for LogIds {
    fn format(&self, f: defmt::Formatter<'_>) {
        if let Some(context) = self.0 {
            let (trace_id, span_id) = (context.trace_id(), context.span_id());
            defmt::write!(f, "trace_id={} span_id={}", trace_id, span_id);
        }
    }
}
