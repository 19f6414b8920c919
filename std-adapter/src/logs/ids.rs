//! What the ids are called in a line, and how they are written.

use core::fmt;
use spanlet::SpanContext;

/// How ids are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IdFormat {
    /// 32 and 16 hexadecimal digits.
    #[default]
    Hex,
    /// Decimal numbers of the span id and of the trace id's last 64 bits, as older Datadog agents want them.
    Decimal,
}

/// What the ids are called in a line.
///
/// ```
/// use spanlet_std::logs::IdNames;
/// // What Datadog looks for.
/// let names = IdNames::DATADOG;
/// assert_eq!(names.span_id, "dd.span_id");
/// let own = IdNames { trace_id: "traceId", span_id: "spanId", trace_flags: None, ..IdNames::OTEL };
/// assert_eq!(own.trace_id, "traceId");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdNames {
    /// Of the trace's id.
    pub trace_id: &'static str,
    /// Of the span's.
    pub span_id: &'static str,
    /// Of the W3C flags, two hexadecimal digits: `01` for a sampled span, whose trace can be looked up. `None` leaves
    /// them out.
    pub trace_flags: Option<&'static str>,
    /// How the ids are written.
    pub format: IdFormat,
}

impl IdNames {
    /// `trace_id`, `span_id`, `trace_flags`.
    pub const OTEL: Self = IdNames {
        trace_id: "trace_id",
        span_id: "span_id",
        trace_flags: Some("trace_flags"),
        format: IdFormat::Hex,
    };
    /// `dd.trace_id`, `dd.span_id`, in hex, which agents take since 128-bit trace ids came; see [`IdFormat::Decimal`].
    pub const DATADOG: Self = IdNames {
        trace_id: "dd.trace_id",
        span_id: "dd.span_id",
        trace_flags: None,
        format: IdFormat::Hex,
    };

    /// Calls back for each name and its value.
    #[inline]
    pub(super) fn each<E>(
        &self,
        context: &SpanContext,
        mut put: impl FnMut(&'static str, Id) -> Result<(), E>,
    ) -> Result<(), E> {
        let [trace, span] = match self.format {
            IdFormat::Hex => [
                Id::Hex(u128::from_be_bytes(context.trace_id().to_bytes()), 32),
                Id::Hex(
                    u128::from(u64::from_be_bytes(context.span_id().to_bytes())),
                    16,
                ),
            ],
            IdFormat::Decimal => {
                let bytes = context.trace_id().to_bytes();
                let low = bytes.last_chunk::<8>().copied().unwrap_or_default();
                [
                    Id::Decimal(u64::from_be_bytes(low)),
                    Id::Decimal(u64::from_be_bytes(context.span_id().to_bytes())),
                ]
            }
        };
        put(self.trace_id, trace)?;
        put(self.span_id, span)?;
        match self.trace_flags {
            Some(name) => put(name, Id::Hex(context.flags().to_byte().into(), 2)),
            None => Ok(()),
        }
    }
}

impl Default for IdNames {
    fn default() -> Self {
        Self::OTEL
    }
}

/// An id as it is written.
#[derive(Clone, Copy)]
pub(super) enum Id {
    /// A number, and its digits.
    Hex(u128, usize),
    Decimal(u64),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Id::Hex(number, digits) => write!(f, "{number:0digits$x}"),
            Id::Decimal(number) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanlet::{SpanId, TraceFlags, TraceId};

    #[test]
    fn ids_are_written_as_each_backend_wants_them() {
        let trace = TraceId::from_bytes(*b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01\0").unwrap();
        let span = SpanId::from_bytes(*b"\x80\0\0\0\0\0\0\0").unwrap();
        let context = SpanContext::new(trace, span, TraceFlags::SAMPLED);
        let text = |names: &IdNames| {
            let mut text = String::new();
            let put = |name, id| {
                text.push_str(&format!("{name}={id} "));
                Ok::<_, ()>(())
            };
            names.each(&context, put).unwrap();
            text
        };
        assert_eq!(
            text(&IdNames::OTEL),
            "trace_id=00000000000000010000000000000100 span_id=8000000000000000 trace_flags=01 "
        );
        let decimal = IdNames {
            format: IdFormat::Decimal,
            ..IdNames::DATADOG
        };
        assert_eq!(
            text(&decimal),
            "dd.trace_id=256 dd.span_id=9223372036854775808 "
        );
    }
}
