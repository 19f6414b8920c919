//! An encoded request, protobuf → JSON, without an object in between.
//!
//! Input: the bytes of an `ExportTraceServiceRequest`, as [`OtlpEncoder`](super::super::OtlpEncoder) or anyone else
//! writes them. Output: its JSON. Bound: the caller's buffer; nothing else is kept, and the stack by the
//! schema's depth.
//!
//! Who sends one batch to several destinations encodes it once, and turns it into JSON where that is asked for.
//! The messages are tables here, walked by one function.

use super::Full;
use super::any::{Field, any, field};
use super::text::Json;
use core::fmt;

/// Why there is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TranscodeError {
    /// The buffer is too small; four times the request, and 64 bytes, is nearly always enough.
    Full,
    /// The bytes are no such request.
    Malformed {
        /// Where in them, in bytes from the start, a field or text cannot be read.
        offset: usize,
    },
}

impl fmt::Display for TranscodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TranscodeError::Full => f.write_str("the buffer for the JSON is too small"),
            TranscodeError::Malformed { offset } => {
                write!(f, "the request cannot be read at byte {offset}")
            }
        }
    }
}
impl core::error::Error for TranscodeError {}

/// Writes an encoded `ExportTraceServiceRequest` as OTLP/JSON to the start of `to`; returns its length.
///
/// Fields that OTLP has no name for are left out. A value that is no valid `AnyValue`, or is nested more than 16
/// deep, becomes a `bytesValue` of its bytes. Of a field that comes twice and may come once, the last counts.
///
/// Cost: one pass, no allocation, about 3,500 instructions for a span with four attributes, one and a half times those
/// of [`OtlpJsonEncoder`](super::OtlpJsonEncoder). A message whose repeated fields take turns is read once for each field
/// that it may have.
///
/// # Errors
/// If `to` is too small, or the bytes are no such request; `to` then holds the beginning of an answer.
///
/// ```
/// use spanlet::otlp::{TranscodeError, transcode_json};
/// // resource_spans { scope_spans { spans { name: "work" kind: SERVER } } }
/// let request = b"\x0a\x0c\x12\x0a\x12\x08\x2a\x04work\x30\x02";
/// let mut json = [0; 100];
/// let len = transcode_json(request, &mut json)?;
/// assert_eq!(
///     core::str::from_utf8(&json[..len]).unwrap(),
///     r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"work","kind":2}]}]}]}"#
/// );
/// let cut = transcode_json(&request[..9], &mut json).unwrap_err();
/// assert_eq!(cut, TranscodeError::Malformed { offset: 0 });
/// # Ok::<(), TranscodeError>(())
/// ```
pub fn transcode_json(request: &[u8], to: &mut [u8]) -> Result<usize, TranscodeError> {
    let mut out = Json::new(to, 0);
    match message(&mut out, request, REQUEST) {
        Ok(()) => Ok(out.pos()),
        Err(Stop::Full) => Err(TranscodeError::Full),
        Err(Stop::At(place)) => Err(TranscodeError::Malformed {
            offset: place.wrapping_sub(request.as_ptr().addr()),
        }),
    }
}

/// Why a message is not written; where it cannot be read, as an address inside of the request.
enum Stop {
    Full,
    At(usize),
}
impl From<Full> for Stop {
    fn from(_: Full) -> Self {
        Stop::Full
    }
}
#[cold]
fn at(bytes: &[u8]) -> Stop {
    Stop::At(bytes.as_ptr().addr())
}

/// A field: what stands in front of its value, and how the value is written.
#[derive(Clone, Copy)]
struct Known {
    head: &'static [u8],
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// No field of this number.
    None,
    /// Bytes of an id.
    Hex,
    Text,
    /// A varint of at most 32 bits, enums included.
    Number,
    /// Four bytes, as a number.
    Fixed32,
    /// Eight bytes, as a number in quotes.
    Fixed64,
    Message(&'static [Known]),
    /// Repeated: messages, and `KeyValue`s.
    List(&'static [Known]),
    Pairs,
}

impl Kind {
    #[inline(always)]
    const fn is_list(self) -> bool {
        matches!(self, Kind::List(_) | Kind::Pairs)
    }
}

const NONE: Known = Known {
    head: b"",
    kind: Kind::None,
};
const fn known(head: &'static [u8], kind: Kind) -> Known {
    Known { head, kind }
}

// SPEC: opentelemetry-proto, collector/trace/v1, trace/v1, common/v1, resource/v1. A field stands at its number
// less one.
const REQUEST: &[Known] = &[known(br#""resourceSpans":["#, Kind::List(RESOURCE_SPANS))];
const RESOURCE_SPANS: &[Known] = &[
    known(br#""resource":"#, Kind::Message(RESOURCE)),
    known(br#""scopeSpans":["#, Kind::List(SCOPE_SPANS)),
    known(br#""schemaUrl":"#, Kind::Text),
];
const RESOURCE: &[Known] = &[ATTRIBUTES, DROPPED_ATTRIBUTES];
const SCOPE_SPANS: &[Known] = &[
    known(br#""scope":"#, Kind::Message(SCOPE)),
    known(br#""spans":["#, Kind::List(SPAN)),
    known(br#""schemaUrl":"#, Kind::Text),
];
const SCOPE: &[Known] = &[
    NAME,
    known(br#""version":"#, Kind::Text),
    ATTRIBUTES,
    DROPPED_ATTRIBUTES,
];
const SPAN: &[Known] = &[
    TRACE_ID,
    SPAN_ID,
    TRACE_STATE,
    known(br#""parentSpanId":"#, Kind::Hex),
    NAME,
    known(br#""kind":"#, Kind::Number),
    known(br#""startTimeUnixNano":"#, Kind::Fixed64),
    known(br#""endTimeUnixNano":"#, Kind::Fixed64),
    ATTRIBUTES,
    DROPPED_ATTRIBUTES,
    known(br#""events":["#, Kind::List(EVENT)),
    known(br#""droppedEventsCount":"#, Kind::Number),
    known(br#""links":["#, Kind::List(LINK)),
    known(br#""droppedLinksCount":"#, Kind::Number),
    known(br#""status":"#, Kind::Message(STATUS)),
    FLAGS,
];
const EVENT: &[Known] = &[
    known(br#""timeUnixNano":"#, Kind::Fixed64),
    NAME,
    ATTRIBUTES,
    DROPPED_ATTRIBUTES,
];
const LINK: &[Known] = &[
    TRACE_ID,
    SPAN_ID,
    TRACE_STATE,
    ATTRIBUTES,
    DROPPED_ATTRIBUTES,
    FLAGS,
];
const STATUS: &[Known] = &[
    NONE,
    known(br#""message":"#, Kind::Text),
    known(br#""code":"#, Kind::Number),
];
const TRACE_ID: Known = known(br#""traceId":"#, Kind::Hex);
const SPAN_ID: Known = known(br#""spanId":"#, Kind::Hex);
const TRACE_STATE: Known = known(br#""traceState":"#, Kind::Text);
const NAME: Known = known(br#""name":"#, Kind::Text);
const ATTRIBUTES: Known = known(br#""attributes":["#, Kind::Pairs);
const DROPPED_ATTRIBUTES: Known = known(br#""droppedAttributesCount":"#, Kind::Number);
const FLAGS: Known = known(br#""flags":"#, Kind::Fixed32);

/// The next field. Nearly always its tag is one byte, as is its length or number: the rest is out of line.
#[inline(always)]
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    if let [tag, second, body @ ..] = *rest
        && *tag < 0x80
    {
        let number = u64::from(*tag >> 3);
        if *tag & 7 == 2 && *second < 0x80 {
            let (value, after) = body.split_at_checked(usize::from(*second))?;
            *rest = after;
            return Some((number, Field::Bytes(value)));
        }
        if *tag & 7 == 0 && *second < 0x80 {
            *rest = body;
            return Some((number, Field::Varint(u64::from(*second))));
        }
        if *tag & 7 == 1 {
            let (value, after) = rest.get(1..)?.split_first_chunk()?;
            *rest = after;
            return Some((number, Field::Fixed64(*value)));
        }
    }
    field(rest)
}

#[inline(always)]
fn find(fields: &'static [Known], number: u64) -> Option<&'static Known> {
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    fields.get(at)
}

fn message(out: &mut Json<'_>, raw: &[u8], fields: &'static [Known]) -> Result<(), Stop> {
    let from = out.pos();
    if !as_it_comes(out, raw, fields)? {
        out.rewind(from);
        field_by_field(out, raw, fields)?;
    }
    Ok(())
}

/// Writes fields in the order in which they come. `false` if one comes again after another: its values would
/// not stand together.
fn as_it_comes(out: &mut Json<'_>, raw: &[u8], fields: &'static [Known]) -> Result<bool, Stop> {
    out.put(b"{")?;
    let mut rest = raw;
    let mut seen = 0u32;
    // The number of the list that is open, or zero.
    let mut open = 0;
    while !rest.is_empty() {
        let start = rest;
        let (number, value) = next(&mut rest).ok_or_else(|| at(start))?;
        let Some(known) = find(fields, number) else {
            continue;
        };
        if open == number {
            out.put(b",")?;
        } else if let Kind::None = known.kind {
            continue;
        } else {
            if open != 0 {
                out.put(b"]")?;
                open = 0;
            }
            if seen & (1 << number) != 0 {
                return Ok(false);
            }
            if seen != 0 {
                out.put(b",")?;
            }
            seen |= 1 << number;
            out.put_short(known.head)?;
            if known.kind.is_list() {
                open = number;
            }
        }
        write(out, known.kind, value, start)?;
    }
    if open != 0 {
        out.put(b"]")?;
    }
    out.put(b"}")?;
    Ok(true)
}

/// Writes the fields in the order of their numbers, and reads the message once for each.
#[cold]
fn field_by_field(out: &mut Json<'_>, raw: &[u8], fields: &'static [Known]) -> Result<(), Stop> {
    out.put(b"{")?;
    let mut is_first = true;
    for (known, number) in fields.iter().zip(1..) {
        let (mut rest, mut last, mut any_yet) = (raw, None, false);
        while !rest.is_empty() {
            let start = rest;
            let (found, value) = field(&mut rest).ok_or_else(|| at(start))?;
            if found != number {
                continue;
            }
            if !known.kind.is_list() {
                last = Some((value, start));
                continue;
            }
            if any_yet {
                out.put(b",")?;
            } else {
                separate(out, &mut is_first)?;
                out.put(known.head)?;
                any_yet = true;
            }
            write(out, known.kind, value, start)?;
        }
        if any_yet {
            out.put(b"]")?;
        }
        if let (Some((value, start)), false) = (last, matches!(known.kind, Kind::None)) {
            separate(out, &mut is_first)?;
            out.put(known.head)?;
            write(out, known.kind, value, start)?;
        }
    }
    out.put(b"}")?;
    Ok(())
}

fn separate(out: &mut Json<'_>, is_first: &mut bool) -> Result<(), Full> {
    if core::mem::take(is_first) {
        return Ok(());
    }
    out.put(b",")
}

/// One value, or one item of a list. `start` is where its field starts.
#[inline(always)]
fn write(out: &mut Json<'_>, kind: Kind, value: Field<'_>, start: &[u8]) -> Result<(), Stop> {
    match (kind, value) {
        (Kind::Pairs, Field::Bytes(raw)) => pair(out, raw),
        (Kind::Text, Field::Bytes(raw)) => string(out, raw),
        (Kind::Hex, Field::Bytes(raw)) => Ok(out.quoted_hex(raw)?),
        // A varint of a 32-bit field is cut to 32 bits, as protobuf says.
        #[expect(clippy::cast_possible_truncation, reason = "what protobuf asks for")]
        (Kind::Number, Field::Varint(v)) => Ok(out.unsigned(u64::from(v as u32))?),
        (Kind::Fixed32, Field::Fixed32(v)) => Ok(out.unsigned(u32::from_le_bytes(v).into())?),
        (Kind::Fixed64, Field::Fixed64(v)) => {
            out.put(b"\"")?;
            out.unsigned(u64::from_le_bytes(v))?;
            Ok(out.put(b"\"")?)
        }
        (Kind::Message(fields) | Kind::List(fields), Field::Bytes(raw)) => {
            message(out, raw, fields)
        }
        _ => Err(at(start)),
    }
}

/// A text in quotes.
#[inline(always)]
fn string(out: &mut Json<'_>, raw: &[u8]) -> Result<(), Stop> {
    if out.plain(b"\"", raw, b"\"")? {
        return Ok(());
    }
    unusual(out, raw)
}
#[cold]
fn unusual(out: &mut Json<'_>, raw: &[u8]) -> Result<(), Stop> {
    let text = core::str::from_utf8(raw).map_err(|_| at(raw))?;
    Ok(out.string(text)?)
}

/// An `AnyValue`: the usual ones at a glance.
#[inline(always)]
fn any_value(out: &mut Json<'_>, raw: &[u8]) -> Result<(), Full> {
    let small = match *raw {
        [0x0a, len, ref text @ ..] if len < 0x80 && usize::from(len) == text.len() => {
            if out.plain(br#"{"stringValue":""#, text, br#""}"#)? {
                return Ok(());
            }
            None
        }
        [0x10, 0] => return out.put(br#"{"boolValue":false}"#),
        [0x10, 1] => return out.put(br#"{"boolValue":true}"#),
        [0x18, a] if a < 0x80 => Some(u64::from(a)),
        [0x18, a, b] if a >= 0x80 && b < 0x80 => Some(u64::from(a & 0x7f) | u64::from(b) << 7),
        _ => None,
    };
    let Some(number) = small else {
        return any(out, raw);
    };
    out.put(br#"{"intValue":""#)?;
    out.unsigned(number)?;
    out.put(br#""}"#)
}

/// A `KeyValue` whose value may be anything.
#[inline]
fn pair(out: &mut Json<'_>, raw: &[u8]) -> Result<(), Stop> {
    let (mut key, mut value) = (&[][..], None);
    let mut rest = raw;
    while !rest.is_empty() {
        let start = rest;
        match next(&mut rest).ok_or_else(|| at(start))? {
            (1, Field::Bytes(bytes)) => key = bytes,
            (2, Field::Bytes(bytes)) => value = Some(bytes),
            (1 | 2, _) => return Err(at(start)),
            _ => {}
        }
    }
    if !out.plain(br#"{"key":""#, key, b"\"")? {
        out.put(br#"{"key":"#)?;
        unusual(out, key)?;
    }
    if let Some(value) = value {
        out.put(br#","value":"#)?;
        any_value(out, value)?;
    }
    out.put(b"}")?;
    Ok(())
}
