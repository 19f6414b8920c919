//! Attribute values and key-value pairs, borrowed: what goes into a record and what comes out of one.

/// An attribute's value: what OpenTelemetry calls *AnyValue*, without ownership.
///
/// `From` exists for `bool`, integers up to `i64`, floats, `&str`, `&[u8]` and slices of the array
/// types, so that setters take the plain value. A `&str` is *copied* into the record; a
/// [`Value::Static`] is recorded as a reference (8 bytes, whatever its length) and should be preferred
/// for constants.
///
/// SPEC: OpenTelemetry common, "Attribute"; `null` has no form here and cannot be set.
///
/// ```
/// use spanlet::Value;
/// assert_eq!(Value::from(200), Value::I64(200));
/// assert_eq!(Value::from("x"), Value::Str("x"));
/// assert_eq!(Value::from(&[1i64, 2][..]), Value::I64Array(&[1, 2]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    I64(i64),
    /// A double; any bit pattern, NaN included.
    F64(f64),
    /// Text, copied into the record.
    Str(&'a str),
    /// Constant text, recorded as a reference.
    Static(&'static str),
    /// Raw bytes, copied.
    Bytes(&'a [u8]),
    /// Truth values.
    BoolArray(&'a [bool]),
    /// Integers.
    I64Array(&'a [i64]),
    /// Doubles.
    F64Array(&'a [f64]),
    /// Texts, copied.
    StrArray(StrArray<'a>),
    /// The protobuf bytes of an OTLP `AnyValue` (maps, mixed arrays), carried as they came.
    Any(&'a [u8]),
}

/// An array of strings: a slice when it goes in, packed bytes when it comes out of a record.
///
/// ```
/// use spanlet::{StrArray, Value};
/// let value = Value::from(&["a", "b"][..]);
/// let Value::StrArray(texts) = value else { unreachable!() };
/// assert!(texts.iter().eq(["a", "b"]));
/// ```
#[derive(Clone, Copy)]
pub struct StrArray<'a>(Repr<'a>);

#[derive(Clone, Copy)]
enum Repr<'a> {
    /// Texts, each of which counts only up to a length in bytes.
    Slice(&'a [&'a str], u32),
    /// Per text: length as u32 in memory order, then its bytes.
    Packed(&'a [u8]),
}

impl<'a> StrArray<'a> {
    /// From a slice of texts.
    pub const fn new(texts: &'a [&'a str]) -> Self {
        StrArray(Repr::Slice(texts, u32::MAX))
    }
    /// The same with each text cut at a char boundary at or before `longest` bytes.
    pub(crate) fn cut(self, longest: u32) -> Self {
        match self.0 {
            Repr::Slice(texts, _) => StrArray(Repr::Slice(texts, longest)),
            packed => StrArray(packed),
        }
    }
    pub(crate) const fn packed(bytes: &'a [u8]) -> Self {
        StrArray(Repr::Packed(bytes))
    }
    /// The texts, in order. A packed form that is cut short ends early.
    pub fn iter(&self) -> StrArrayIter<'a> {
        StrArrayIter(self.0)
    }
    /// Bytes that the packed form takes.
    pub(crate) fn packed_len(&self) -> usize {
        match self.0 {
            Repr::Packed(bytes) => bytes.len(),
            Repr::Slice(..) => self
                .iter()
                .fold(0, |n: usize, t| n.saturating_add(t.len()).saturating_add(4)),
        }
    }
}

impl core::fmt::Debug for StrArray<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
impl PartialEq for StrArray<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Iterator over the texts of a [`StrArray`].
#[derive(Clone, Debug)]
pub struct StrArrayIter<'a>(Repr<'a>);

impl core::fmt::Debug for Repr<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("StrArray")
    }
}

impl<'a> Iterator for StrArrayIter<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        match &mut self.0 {
            Repr::Slice(texts, longest) => {
                let (first, rest) = texts.split_first()?;
                *texts = rest;
                Some(cut(first, *longest))
            }
            Repr::Packed(bytes) => {
                let (len, rest) = bytes.split_first_chunk::<4>()?;
                let (text, rest) = rest.split_at_checked(u32::from_ne_bytes(*len) as usize)?;
                *bytes = rest;
                core::str::from_utf8(text).ok()
            }
        }
    }
}

/// The longest start of `text` of at most `longest` bytes that ends at a char boundary.
pub(crate) fn cut(text: &str, longest: u32) -> &str {
    let mut end = (longest as usize).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

macro_rules! from {
    ($($from:ty => |$v:ident| $to:expr;)*) => {$(
        impl<'a> From<$from> for Value<'a> {
            #[inline(always)]
            fn from($v: $from) -> Self {
                $to
            }
        }
    )*};
}
from! {
    bool => |v| Value::Bool(v);
    i64 => |v| Value::I64(v);
    i32 => |v| Value::I64(v as i64);
    i16 => |v| Value::I64(v as i64);
    i8 => |v| Value::I64(v as i64);
    u32 => |v| Value::I64(v as i64);
    u16 => |v| Value::I64(v as i64);
    u8 => |v| Value::I64(v as i64);
    f64 => |v| Value::F64(v);
    f32 => |v| Value::F64(v as f64);
    &'a str => |v| Value::Str(v);
    &'a [u8] => |v| Value::Bytes(v);
    &'a [bool] => |v| Value::BoolArray(v);
    &'a [i64] => |v| Value::I64Array(v);
    &'a [f64] => |v| Value::F64Array(v);
    &'a [&'a str] => |v| Value::StrArray(StrArray::new(v));
}

/// A key and its value. Keys are names: constant text, not data.
///
/// ```
/// use spanlet::KeyValue;
/// let kv = KeyValue::new("http.response.status_code", 200);
/// assert_eq!(kv.key, "http.response.status_code");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyValue<'a, K = &'static str> {
    /// The attribute's name; not empty.
    pub key: K,
    /// Its value.
    pub value: Value<'a>,
}

impl<'a, K> KeyValue<'a, K> {
    /// A pair.
    #[inline(always)]
    pub fn new(key: K, value: impl Into<Value<'a>>) -> Self {
        KeyValue {
            key,
            value: value.into(),
        }
    }
}
