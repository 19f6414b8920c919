//! What a collector answered: full success, partial success, or something unreadable.
//!
//! Stage: after an attempt. Input: the body of an answer, at most a few MiB. Output:
//! [`PartialSuccess`] or the collector's error text. Bound: the protobuf reader allocates for the
//! message text only and nests at most [`MAX_GROUP_DEPTH`] deep.
//!
//! The messages are two fields deep, so they are read here by hand rather than with a protobuf library;
//! `prost` is the oracle in the tests.

use super::error::tame;
use core::fmt;

/// How deep unknown groups may nest.
const MAX_GROUP_DEPTH: u32 = 100;

/// `ExportTracePartialSuccess`: what the collector says about the spans that it took.
///
/// All empty stands for full success, whether the field was set or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// Spans that the collector refused; negative numbers, which the specification has no meaning
    /// for, are read as they are sent.
    pub rejected_spans: i64,
    /// Why, or a warning if nothing was refused.
    pub error_message: String,
}

/// Where an answer stops being an `ExportTraceServiceResponse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// It ends inside a field.
    Truncated,
    /// A number runs over 64 bits.
    BadVarint,
    /// A field number of zero or over 32 bits, or a wire type that does not exist.
    BadTag,
    /// A known field has another wire type.
    WrongType,
    /// A text is not UTF-8.
    BadUtf8,
    /// Unknown groups are nested too deeply or do not match.
    BadGroup,
    /// The JSON cannot be read.
    BadJson,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AnswerError::Truncated => "it ends inside a field",
            AnswerError::BadVarint => "a number runs over 64 bits",
            AnswerError::BadTag => "a field's tag is not valid",
            AnswerError::WrongType => "a field has the wrong wire type",
            AnswerError::BadUtf8 => "a text is not UTF-8",
            AnswerError::BadGroup => "groups do not match",
            AnswerError::BadJson => "the JSON cannot be read",
        })
    }
}

impl core::error::Error for AnswerError {}

/// Reads a protobuf `ExportTraceServiceResponse`. Unknown fields are skipped; an empty body is full
/// success.
///
/// # Errors
/// Where the bytes are not such a message.
///
/// ```
/// use spanlet_std::export::parse_trace_response;
/// // partial_success { rejected_spans: 3, error_message: "no" }
/// let answer = parse_trace_response(b"\x0a\x06\x08\x03\x12\x02no").unwrap();
/// assert_eq!((answer.rejected_spans, answer.error_message.as_str()), (3, "no"));
/// assert!(parse_trace_response(b"<html>").is_err());
/// ```
pub fn parse_trace_response(body: &[u8]) -> Result<PartialSuccess, AnswerError> {
    let mut partial = PartialSuccess::default();
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.next()? {
        if number != 1 {
            continue;
        }
        // SPEC: protobuf encoding, "Last One Wins": a message field that comes twice is merged.
        let mut inner = Fields::new(value.bytes()?);
        while let Some((number, value)) = inner.next()? {
            match number {
                1 => partial.rejected_spans = value.varint()?.cast_signed(),
                2 => partial.error_message = value.text()?.to_owned(),
                _ => {}
            }
        }
    }
    Ok(partial)
}

/// Reads the JSON form, which some receivers send whatever they were asked in.
pub(super) fn parse_json_response(body: &[u8]) -> Result<PartialSuccess, AnswerError> {
    let answer: serde_json::Value =
        serde_json::from_slice(body).map_err(|_| AnswerError::BadJson)?;
    let object = answer.as_object().ok_or(AnswerError::BadJson)?;
    let field = |name: &str, proto_name: &str| -> Option<&serde_json::Value> {
        let partial = object
            .get("partialSuccess")
            .or_else(|| object.get("partial_success"))?;
        partial.get(name).or_else(|| partial.get(proto_name))
    };
    let rejected_spans = match field("rejectedSpans", "rejected_spans") {
        None | Some(serde_json::Value::Null) => 0,
        // SPEC: protobuf JSON mapping: a 64-bit integer is a string or a number.
        Some(serde_json::Value::String(text)) => text.parse().map_err(|_| AnswerError::BadJson)?,
        Some(number) => number.as_i64().ok_or(AnswerError::BadJson)?,
    };
    let error_message = match field("errorMessage", "error_message") {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(text) => text.as_str().ok_or(AnswerError::BadJson)?.to_owned(),
    };
    Ok(PartialSuccess {
        rejected_spans,
        error_message,
    })
}

/// Reads the body of a 2xx answer, whatever content type it claims: receivers differ.
pub(super) fn parse_success(
    content_type: Option<&str>,
    body: &[u8],
) -> Result<PartialSuccess, AnswerError> {
    let body_is_json = body.trim_ascii_start().starts_with(b"{");
    match content_type.map(media_type) {
        _ if body.is_empty() => Ok(PartialSuccess::default()),
        Some(kind) if kind.eq_ignore_ascii_case("application/json") => parse_json_response(body),
        // '{' would open an unknown group 15 in protobuf, which no receiver sends.
        _ if body_is_json => parse_json_response(body),
        _ => parse_trace_response(body),
    }
}

/// The collector's own words in the body of an error answer: `google.rpc.Status` in protobuf or JSON,
/// or plain text. Empty if there are none.
pub(super) fn error_text(content_type: Option<&str>, body: &[u8]) -> String {
    let kind = content_type.map(media_type).unwrap_or_default();
    if body.trim_ascii_start().starts_with(b"{") {
        if let Ok(status) = serde_json::from_slice::<serde_json::Value>(body) {
            for path in ["/message", "/error/message", "/error"] {
                if let Some(text) = status.pointer(path).and_then(serde_json::Value::as_str) {
                    return tame(text);
                }
            }
        }
    } else if !kind.starts_with("text/")
        && let Ok(text) = status_message(body)
    {
        return tame(text);
    }
    match core::str::from_utf8(body) {
        // Markup says nothing in one line.
        Ok(text) if !text.trim_start().starts_with('<') => tame(text),
        _ => String::new(),
    }
}

/// What to show of a body that could not be read.
pub(super) fn glimpse(content_type: Option<&str>, body: &[u8]) -> String {
    let head = body.get(..40).unwrap_or(body);
    tame(&format!(
        "{} of {} bytes, starts with \"{}\"",
        content_type.unwrap_or("no content type"),
        body.len(),
        String::from_utf8_lossy(head).escape_debug()
    ))
}

fn media_type(content_type: &str) -> &str {
    content_type
        .split_once(';')
        .map_or(content_type, |(kind, _)| kind)
        .trim()
}

/// `google.rpc.Status.message` (field 2).
fn status_message(body: &[u8]) -> Result<&str, AnswerError> {
    let mut message = "";
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.next()? {
        if number == 2 {
            message = value.text()?;
        }
    }
    Ok(message)
}

/// A protobuf field's value as it lies in the bytes.
#[derive(Clone, Copy)]
pub(super) enum FieldValue<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
    Group,
}

impl<'a> FieldValue<'a> {
    pub(super) fn varint(self) -> Result<u64, AnswerError> {
        match self {
            FieldValue::Varint(value) => Ok(value),
            _ => Err(AnswerError::WrongType),
        }
    }
    pub(super) fn bytes(self) -> Result<&'a [u8], AnswerError> {
        match self {
            FieldValue::Bytes(bytes) => Ok(bytes),
            _ => Err(AnswerError::WrongType),
        }
    }
    pub(super) fn text(self) -> Result<&'a str, AnswerError> {
        core::str::from_utf8(self.bytes()?).map_err(|_| AnswerError::BadUtf8)
    }
}

/// The fields of one message, in order.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }
    pub(super) fn next(&mut self) -> Result<Option<(u32, FieldValue<'a>)>, AnswerError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        Ok(Some((number, self.value(number, wire_type, 0)?)))
    }

    fn tag(&mut self) -> Result<(u32, u64), AnswerError> {
        let tag = u32::try_from(self.varint()?).map_err(|_| AnswerError::BadTag)?;
        match tag >> 3 {
            0 => Err(AnswerError::BadTag),
            number => Ok((number, u64::from(tag & 7))),
        }
    }

    fn value(
        &mut self,
        number: u32,
        wire_type: u64,
        depth: u32,
    ) -> Result<FieldValue<'a>, AnswerError> {
        match wire_type {
            0 => Ok(FieldValue::Varint(self.varint()?)),
            1 => self.take(8).map(|_| FieldValue::Fixed),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| AnswerError::Truncated)?;
                self.take(len).map(FieldValue::Bytes)
            }
            3 => self.skip_group(number, depth + 1),
            4 => Err(AnswerError::BadGroup),
            5 => self.take(4).map(|_| FieldValue::Fixed),
            _ => Err(AnswerError::BadTag),
        }
    }

    fn skip_group(&mut self, group: u32, depth: u32) -> Result<FieldValue<'a>, AnswerError> {
        if depth > MAX_GROUP_DEPTH {
            return Err(AnswerError::BadGroup);
        }
        loop {
            match self.tag()? {
                (number, 4) if number == group => return Ok(FieldValue::Group),
                (number, wire_type) => self.value(number, wire_type, depth)?,
            };
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], AnswerError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(AnswerError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, AnswerError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(AnswerError::Truncated)?;
            self.rest = rest;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(AnswerError::BadVarint);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(AnswerError::BadVarint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use proptest::prelude::*;
    use prost::Message;

    fn oracle(bytes: &[u8]) -> Option<PartialSuccess> {
        let partial = ExportTraceServiceResponse::decode(bytes)
            .ok()?
            .partial_success;
        let partial = partial.unwrap_or_default();
        Some(PartialSuccess {
            rejected_spans: partial.rejected_spans,
            error_message: partial.error_message,
        })
    }

    proptest! {
        #[test]
        fn reads_what_prost_writes(rejected_spans: i64, error_message: String, set: bool) {
            let partial = ExportTracePartialSuccess { rejected_spans, error_message };
            let bytes = ExportTraceServiceResponse { partial_success: set.then_some(partial) }
                .encode_to_vec();
            prop_assert_eq!(parse_trace_response(&bytes).ok(), oracle(&bytes));
        }

        #[test]
        fn agrees_with_prost_on_any_bytes(bytes in proptest::collection::vec(
            // Bytes that make tags, lengths and continuations more often than chance would.
            prop_oneof![any::<u8>(), 0_u8..32, Just(0x0a), Just(0x80), Just(0xff)], 0..40)) {
            prop_assert_eq!(parse_trace_response(&bytes).ok(), oracle(&bytes));
        }

        #[test]
        fn text_and_json_readers_take_anything(bytes: Vec<u8>, kind: Option<String>) {
            let _ = parse_success(kind.as_deref(), &bytes);
            prop_assert!(error_text(kind.as_deref(), &bytes).chars().count() <= 301);
            let _ = glimpse(kind.as_deref(), &bytes);
        }
    }

    #[test]
    fn nested_groups_are_bounded() {
        let deep = |n: usize| [vec![0x13; n], vec![0x14; n]].concat();
        assert!(parse_trace_response(&deep(50)).is_ok());
        assert_eq!(
            parse_trace_response(&deep(100_000)),
            Err(AnswerError::BadGroup)
        );
    }

    #[test]
    fn json_answers_are_read_in_every_spelling() {
        let read = |text: &str| parse_success(None, text.as_bytes());
        let found = |rejected_spans, text: &str| {
            Ok(PartialSuccess {
                rejected_spans,
                error_message: text.to_owned(),
            })
        };
        assert_eq!(read("{}"), found(0, ""));
        assert_eq!(read(" {\"partialSuccess\":{}}"), found(0, ""));
        assert_eq!(read("{\"partialSuccess\":null}"), found(0, ""));
        assert_eq!(
            read(r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"m"}}"#),
            found(2, "m")
        );
        assert_eq!(
            read(r#"{"partial_success":{"rejected_spans":7}}"#),
            found(7, "")
        );
        assert_eq!(
            read(r#"{"partialSuccess":{"rejectedSpans":"x"}}"#),
            Err(AnswerError::BadJson)
        );
        assert_eq!(
            parse_success(Some("application/json; charset=utf-8"), b"[1]"),
            Err(AnswerError::BadJson)
        );
        assert_eq!(parse_success(Some("application/json"), b""), found(0, ""));
    }

    #[test]
    fn error_texts_come_from_any_form() {
        // Status { code: 3, message: "bad span" }
        assert_eq!(
            error_text(Some("application/x-protobuf"), b"\x08\x03\x12\x08bad span"),
            "bad span"
        );
        assert_eq!(
            error_text(Some("application/json"), br#"{"code":3,"message":"bad"}"#),
            "bad"
        );
        assert_eq!(error_text(None, br#"{"error":"quota"}"#), "quota");
        assert_eq!(
            error_text(Some("text/plain"), b"no such\npath"),
            "no such path"
        );
        assert_eq!(error_text(Some("text/html"), b"<html>x</html>"), "");
        assert_eq!(error_text(None, b""), "");
    }
}
