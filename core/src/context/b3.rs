//! B3: what Zipkin's tracers send, in one header or in several.
//!
//! Input: the value of `b3`, or those of the `x-b3-*` headers. Output: [`B3`], with ids or without, and
//! the sampling state that the caller decided on. Bound: 68 bytes a header.
//!
//! ```text
//! b3: {trace id, 16 or 32 digits}-{span id, 16}-{0 | 1 | d}-{parent span id, 16}
//! b3: {0 | 1 | d}
//! ```
//!
//! SPEC: openzipkin/b3-propagation. Digits are lowercase. Trace ids of 64 bits become the low half of
//! 128. State and parent may be missing; a decision may come alone. B3 knows no RANDOM flag, so a
//! context from it has none, and it carries no `tracestate`.

use core::fmt;

use heapless::String;

use super::hex_text::digit;
use super::{SpanContext, SpanId, TraceFlags, TraceId, trim_ows};

/// The longest single header.
pub const B3_MAX_LEN: usize = 68;

/// What the caller decided about sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum B3Sampling {
    /// Nothing: the receiver decides.
    #[default]
    Defer,
    /// `0`: do not record.
    Deny,
    /// `1`: record.
    Accept,
    /// `d`: record, whatever samplers and limits say.
    Debug,
}

impl B3Sampling {
    /// The decision; `None` if it is left to the receiver.
    ///
    /// ```
    /// use spanlet::context::B3Sampling;
    /// assert_eq!(B3Sampling::Debug.is_sampled(), Some(true));
    /// assert_eq!(B3Sampling::Defer.is_sampled(), None);
    /// ```
    pub const fn is_sampled(self) -> Option<bool> {
        match self {
            Self::Defer => None,
            Self::Deny => Some(false),
            Self::Accept | Self::Debug => Some(true),
        }
    }

    /// What a context of ours says.
    ///
    /// ```
    /// use spanlet::TraceFlags;
    /// use spanlet::context::B3Sampling;
    /// assert_eq!(B3Sampling::from_flags(TraceFlags::NONE), B3Sampling::Deny);
    /// ```
    pub const fn from_flags(flags: TraceFlags) -> Self {
        if flags.is_sampled() {
            Self::Accept
        } else {
            Self::Deny
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'0' => Some(Self::Deny),
            b'1' => Some(Self::Accept),
            b'd' => Some(Self::Debug),
            _ => None,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Defer => "",
            Self::Deny => "0",
            Self::Accept => "1",
            Self::Debug => "d",
        }
    }
}

/// What B3 headers said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct B3 {
    /// The caller's span, marked remote, SAMPLED on [`Accept`](B3Sampling::Accept) and
    /// [`Debug`](B3Sampling::Debug); `None` where only a decision came.
    pub context: Option<SpanContext>,
    /// The caller's parent, where it was sent.
    pub parent_span_id: Option<SpanId>,
    /// The decision.
    pub sampling: B3Sampling,
}

/// Why B3 headers were refused. Offsets count within the named element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum B3Error {
    /// An id that is not 16 (trace id: or 32) lowercase hex digits, or is all zero.
    BadTraceId,
    /// As above.
    BadSpanId,
    /// As above.
    BadParentSpanId,
    /// Neither `0`, `1` nor `d`.
    BadSampling,
    /// One id without the other.
    MissingId,
    /// Something after the parent span id.
    TrailingText,
}

impl fmt::Display for B3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadTraceId => "b3: the trace id is not 16 or 32 lowercase hex digits, or zero",
            Self::BadSpanId => "b3: the span id is not 16 lowercase hex digits, or zero",
            Self::BadParentSpanId => "b3: the parent id is not 16 lowercase hex digits, or zero",
            Self::BadSampling => "b3: the sampling state is not 0, 1 or d",
            Self::MissingId => "b3: trace id or span id is missing",
            Self::TrailingText => "b3: text after the parent span id",
        })
    }
}

impl core::error::Error for B3Error {}

/// Exactly `2 * N` lowercase digits.
fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, odd) = text.as_chunks::<2>();
    if pairs.len() != N || !odd.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for ([high, low], byte) in pairs.iter().zip(&mut bytes) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn trace_id(text: &[u8]) -> Result<TraceId, B3Error> {
    let bytes = decode::<16>(text).or_else(|| {
        let low = decode::<8>(text)?;
        let mut bytes = [0; 16];
        *bytes.last_chunk_mut()? = low;
        Some(bytes)
    });
    bytes
        .and_then(TraceId::from_bytes)
        .ok_or(B3Error::BadTraceId)
}

fn span_id(text: &[u8]) -> Option<SpanId> {
    decode(text).and_then(SpanId::from_bytes)
}

impl B3 {
    fn new(trace_id: TraceId, span_id: SpanId, sampling: B3Sampling) -> Self {
        let flags = TraceFlags::NONE.with_sampled(sampling.is_sampled().unwrap_or(false));
        B3 {
            context: Some(SpanContext::new(trace_id, span_id, flags).remote()),
            parent_span_id: None,
            sampling,
        }
    }

    /// Reads the single header.
    ///
    /// # Errors
    /// The first element that is wrong; the caller then starts a new trace.
    ///
    /// ```
    /// use spanlet::context::{B3, B3Error, B3Sampling};
    /// let b3 = B3::parse_single(b"a3ce929d0e0e4736-00f067aa0ba902b7-d").unwrap();
    /// let context = b3.context.unwrap();
    /// assert_eq!(context.trace_id().to_string(), "0000000000000000a3ce929d0e0e4736");
    /// assert!(context.is_sampled() && b3.sampling == B3Sampling::Debug);
    ///
    /// let deny = B3::parse_single(b"0").unwrap();
    /// assert_eq!((deny.context, deny.sampling), (None, B3Sampling::Deny));
    /// assert_eq!(B3::parse_single(b"true"), Err(B3Error::MissingId));
    /// ```
    pub fn parse_single(value: &[u8]) -> Result<Self, B3Error> {
        let value = trim_ows(value);
        if let [byte] = value {
            return Ok(B3 {
                sampling: B3Sampling::from_byte(*byte).ok_or(B3Error::BadSampling)?,
                ..B3::default()
            });
        }
        let mut parts = value.split(|byte| *byte == b'-');
        let (Some(trace), Some(span)) = (parts.next(), parts.next()) else {
            return Err(B3Error::MissingId);
        };
        let trace_id = trace_id(trace)?;
        let span_id = self::span_id(span).ok_or(B3Error::BadSpanId)?;
        let mut sampling = B3Sampling::Defer;
        let mut parent_span_id = None;
        let mut third = parts.next();
        if let Some([byte]) = third {
            sampling = B3Sampling::from_byte(*byte).ok_or(B3Error::BadSampling)?;
            third = parts.next();
        } else if third.is_some_and(|part| part.len() != 16) {
            return Err(B3Error::BadSampling);
        }
        if let Some(parent) = third {
            parent_span_id = Some(self::span_id(parent).ok_or(B3Error::BadParentSpanId)?);
        }
        if parts.next().is_some() {
            return Err(B3Error::TrailingText);
        }
        Ok(B3 {
            parent_span_id,
            ..B3::new(trace_id, span_id, sampling)
        })
    }

    /// Reads the several headers.
    ///
    /// `x-b3-flags: 1` means debug and stands above `x-b3-sampled`; other flags are passed over. The
    /// `true` and `false` of early tracers are taken for `1` and `0`.
    ///
    /// # Errors
    /// The first element that is wrong; the caller then starts a new trace.
    ///
    /// ```
    /// use spanlet::context::{B3, B3Headers, B3Sampling};
    /// let b3 = B3::parse_multi(B3Headers {
    ///     trace_id: Some(b"4bf92f3577b34da6a3ce929d0e0e4736"),
    ///     span_id: Some(b"00f067aa0ba902b7"),
    ///     sampled: Some(b"0"),
    ///     ..B3Headers::default()
    /// });
    /// assert_eq!(b3.unwrap().sampling, B3Sampling::Deny);
    /// ```
    pub fn parse_multi(headers: B3Headers<'_>) -> Result<Self, B3Error> {
        let sampling = match (headers.flags.map(trim_ows), headers.sampled.map(trim_ows)) {
            (Some(b"1"), _) => B3Sampling::Debug,
            (_, None) => B3Sampling::Defer,
            (_, Some(b"1" | b"true")) => B3Sampling::Accept,
            (_, Some(b"0" | b"false")) => B3Sampling::Deny,
            _ => return Err(B3Error::BadSampling),
        };
        let (trace, span) = match (headers.trace_id, headers.span_id) {
            (Some(trace), Some(span)) => (trim_ows(trace), trim_ows(span)),
            (None, None) => {
                return Ok(B3 {
                    sampling,
                    ..B3::default()
                });
            }
            _ => return Err(B3Error::MissingId),
        };
        let trace_id = trace_id(trace)?;
        let span_id = self::span_id(span).ok_or(B3Error::BadSpanId)?;
        let parent_span_id = match headers.parent_span_id.map(trim_ows) {
            None => None,
            Some(parent) => Some(self::span_id(parent).ok_or(B3Error::BadParentSpanId)?),
        };
        Ok(B3 {
            parent_span_id,
            ..B3::new(trace_id, span_id, sampling)
        })
    }

    /// The single header; empty if there is neither context nor decision.
    ///
    /// ```
    /// use spanlet::context::B3;
    /// let text = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-0000000000000001";
    /// assert_eq!(B3::parse_single(text.as_bytes()).unwrap().encode_single().as_str(), text);
    /// ```
    pub fn encode_single(&self) -> B3Text {
        let mut text = String::new();
        // Cannot be full: the capacity is the length of the longest form.
        let _full = self.write_single(&mut text);
        B3Text(text)
    }

    fn write_single(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let Some(context) = &self.context else {
            return out.write_str(self.sampling.text());
        };
        write!(out, "{}-{}", context.trace_id(), context.span_id())?;
        if self.sampling != B3Sampling::Defer {
            write!(out, "-{}", self.sampling.text())?;
        }
        match self.parent_span_id {
            Some(parent) => write!(out, "-{parent}"),
            None => Ok(()),
        }
    }
}

impl From<&SpanContext> for B3 {
    /// To be sent: the sampling state is what the flags say.
    fn from(context: &SpanContext) -> Self {
        B3 {
            context: Some(*context),
            parent_span_id: None,
            sampling: B3Sampling::from_flags(context.flags()),
        }
    }
}

/// A single header's text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct B3Text(String<B3_MAX_LEN>);

impl B3Text {
    /// The header value.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The values of the several headers, as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct B3Headers<'a> {
    /// `x-b3-traceid`
    pub trace_id: Option<&'a [u8]>,
    /// `x-b3-spanid`
    pub span_id: Option<&'a [u8]>,
    /// `x-b3-parentspanid`
    pub parent_span_id: Option<&'a [u8]>,
    /// `x-b3-sampled`
    pub sampled: Option<&'a [u8]>,
    /// `x-b3-flags`
    pub flags: Option<&'a [u8]>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn single_header_goes_both_ways() {
        for text in [
            "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d-05e3ac9a4f6e3b90",
            "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-05e3ac9a4f6e3b90",
            "0",
            "1",
            "d",
        ] {
            let b3 = B3::parse_single(text.as_bytes()).unwrap();
            assert_eq!(b3.encode_single().as_str(), text);
        }
    }

    #[test]
    fn errors_name_the_element() {
        use B3Error::*;
        for (text, error) in [
            ("", MissingId),
            ("2", BadSampling),
            ("4bf92f3577b34da6", MissingId),
            ("4BF92F3577b34da6-00f067aa0ba902b7", BadTraceId),
            ("0000000000000000-00f067aa0ba902b7", BadTraceId),
            ("4bf92f3577b34da600-00f067aa0ba902b7", BadTraceId),
            ("4bf92f3577b34da6-f067aa0ba902b7", BadSpanId),
            ("4bf92f3577b34da6-+0f067aa0ba902b7", BadSpanId),
            ("4bf92f3577b34da6-00f067aa0ba902b7-", BadSampling),
            ("4bf92f3577b34da6-00f067aa0ba902b7-2", BadSampling),
            ("4bf92f3577b34da6-00f067aa0ba902b7-1-2", BadParentSpanId),
            (
                "4bf92f3577b34da6-00f067aa0ba902b7-1-00f067aa0ba902b7-1",
                TrailingText,
            ),
        ] {
            let got = B3::parse_single(text.as_bytes()).unwrap_err();
            assert_eq!(got, error, "{text}");
        }
    }

    #[test]
    fn several_headers() {
        let ids = B3Headers {
            trace_id: Some(b" a3ce929d0e0e4736"),
            span_id: Some(b"00f067aa0ba902b7\t"),
            ..B3Headers::default()
        };
        for (sampled, flags, sampling) in [
            (None, None, B3Sampling::Defer),
            (Some(&b"1"[..]), None, B3Sampling::Accept),
            (Some(b"true"), None, B3Sampling::Accept),
            (Some(b"false"), Some(&b"0"[..]), B3Sampling::Deny),
            (Some(b"0"), Some(b"1"), B3Sampling::Debug),
        ] {
            let b3 = B3::parse_multi(B3Headers {
                sampled,
                flags,
                ..ids
            })
            .unwrap();
            assert_eq!(b3.sampling, sampling);
            assert_eq!(
                b3.context.unwrap().is_sampled(),
                sampling.is_sampled() == Some(true)
            );
        }
        let half = B3Headers {
            trace_id: None,
            ..ids
        };
        assert_eq!(B3::parse_multi(half), Err(B3Error::MissingId));
        let bad = B3Headers {
            sampled: Some(b"yes"),
            ..ids
        };
        assert_eq!(B3::parse_multi(bad), Err(B3Error::BadSampling));
    }
}
