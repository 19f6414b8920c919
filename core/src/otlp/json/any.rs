//! AnyValues as JSON: typed ones, and those that came as opaque protobuf bytes.

use super::text::Json;
use super::{Full, list};
use crate::attribute::Value;

/// How deep opaque values may nest: what bounds the stack.
const DEPTH: u32 = 16;

/// `{"stringValue":…}` and its kin.
pub(super) fn value(out: &mut Json<'_>, value: &Value<'_>) -> Result<(), Full> {
    match *value {
        Value::Str(text) | Value::Static(text) => string(out, text),
        Value::I64(v) => int(out, v),
        Value::Bool(v) => bool(out, v),
        Value::F64(v) => double(out, v),
        Value::Bytes(bytes) => self::bytes(out, bytes),
        Value::BoolArray(items) => array(out, items.iter(), |out, v| bool(out, *v)),
        Value::I64Array(items) => array(out, items.iter(), |out, v| int(out, *v)),
        Value::F64Array(items) => array(out, items.iter(), |out, v| double(out, *v)),
        Value::StrArray(texts) => array(out, texts.iter(), string),
        Value::Any(raw) => any(out, raw),
    }
}

/// An encoded AnyValue; its bytes, where it is none.
pub(super) fn any(out: &mut Json<'_>, raw: &[u8]) -> Result<(), Full> {
    let at = out.pos();
    match opaque(out, raw, DEPTH) {
        Err(Stop::Malformed) => {
            out.rewind(at);
            bytes(out, raw)
        }
        Err(Stop::Full) => Err(Full),
        Ok(()) => Ok(()),
    }
}

fn string(out: &mut Json<'_>, text: &str) -> Result<(), Full> {
    out.put(br#"{"stringValue":"#)?;
    out.string(text)?;
    out.put(b"}")
}
fn int(out: &mut Json<'_>, v: i64) -> Result<(), Full> {
    out.put(br#"{"intValue":""#)?;
    out.signed(v)?;
    out.put(br#""}"#)
}
fn bool(out: &mut Json<'_>, v: bool) -> Result<(), Full> {
    if v {
        out.put(br#"{"boolValue":true}"#)
    } else {
        out.put(br#"{"boolValue":false}"#)
    }
}
fn double(out: &mut Json<'_>, v: f64) -> Result<(), Full> {
    out.put(br#"{"doubleValue":"#)?;
    out.double(v)?;
    out.put(b"}")
}
fn bytes(out: &mut Json<'_>, bytes: &[u8]) -> Result<(), Full> {
    out.put(br#"{"bytesValue":"#)?;
    out.base64(bytes)?;
    out.put(b"}")
}
fn array<'b, T>(
    out: &mut Json<'b>,
    items: impl Iterator<Item = T>,
    write: impl FnMut(&mut Json<'b>, T) -> Result<(), Full>,
) -> Result<(), Full> {
    out.put(br#"{"arrayValue":{"values":["#)?;
    list(out, items, write)?;
    out.put(b"]}}")
}

enum Stop {
    Full,
    Malformed,
}
impl From<Full> for Stop {
    fn from(_: Full) -> Self {
        Stop::Full
    }
}

/// A protobuf field: its number and what it holds.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut v = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        v |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(v);
        }
    }
    None
}
/// The next field; `None` where the bytes are no field.
pub(super) fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let head = varint(bytes)?;
    let field = match head & 7 {
        0 => Field::Varint(varint(bytes)?),
        1 => {
            let (v, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Field::Fixed64(*v)
        }
        2 => {
            let len = usize::try_from(varint(bytes)?).ok()?;
            let (v, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            Field::Bytes(v)
        }
        5 => {
            let (v, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Field::Fixed32(*v)
        }
        _ => return None,
    };
    Some((head >> 3, field))
}

/// An AnyValue message. Of several values the last counts; fields of no known number are passed over.
fn opaque(out: &mut Json<'_>, mut raw: &[u8], depth: u32) -> Result<(), Stop> {
    let depth = depth.checked_sub(1).ok_or(Stop::Malformed)?;
    let at = out.pos();
    out.put(b"{}")?;
    while !raw.is_empty() {
        let (number, field) = field(&mut raw).ok_or(Stop::Malformed)?;
        if (1..=7).contains(&number) {
            out.rewind(at);
        }
        match (number, field) {
            (1, Field::Bytes(text)) => {
                string(
                    out,
                    core::str::from_utf8(text).map_err(|_| Stop::Malformed)?,
                )?;
            }
            (2, Field::Varint(v)) => bool(out, v != 0)?,
            (3, Field::Varint(v)) => int(out, v as i64)?,
            (4, Field::Fixed64(v)) => double(out, f64::from_le_bytes(v))?,
            (5, Field::Bytes(items)) => {
                out.put(br#"{"arrayValue":{"values":["#)?;
                each(out, items, |out, item| opaque(out, item, depth))?;
                out.put(b"]}}")?;
            }
            (6, Field::Bytes(items)) => {
                out.put(br#"{"kvlistValue":{"values":["#)?;
                each(out, items, |out, item| pair(out, item, depth))?;
                out.put(b"]}}")?;
            }
            (7, Field::Bytes(v)) => bytes(out, v)?,
            (1..=7, _) => return Err(Stop::Malformed),
            _ => {}
        }
    }
    Ok(())
}

/// The messages of a repeated field 1, with commas between them.
fn each<'b>(
    out: &mut Json<'b>,
    mut raw: &[u8],
    mut write: impl FnMut(&mut Json<'b>, &[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut is_first = true;
    while !raw.is_empty() {
        if let (1, Field::Bytes(item)) = field(&mut raw).ok_or(Stop::Malformed)? {
            if !is_first {
                out.put(b",")?;
            }
            is_first = false;
            write(out, item)?;
        }
    }
    Ok(())
}

/// A KeyValue message.
fn pair(out: &mut Json<'_>, mut raw: &[u8], depth: u32) -> Result<(), Stop> {
    let (mut key, mut value): (&[u8], Option<&[u8]>) = (&[], None);
    while !raw.is_empty() {
        match field(&mut raw).ok_or(Stop::Malformed)? {
            (1, Field::Bytes(bytes)) => key = bytes,
            (2, Field::Bytes(bytes)) => value = Some(bytes),
            _ => {}
        }
    }
    out.put(br#"{"key":"#)?;
    out.string(core::str::from_utf8(key).map_err(|_| Stop::Malformed)?)?;
    if let Some(value) = value {
        out.put(br#","value":"#)?;
        opaque(out, value, depth)?;
    }
    out.put(b"}")?;
    Ok(())
}
