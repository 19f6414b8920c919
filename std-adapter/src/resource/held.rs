//! Owned attribute values as the encoder borrows them.

use crate::trace::AttributeValue;
use spanlet::Value;

/// A value, with the list that the encoder wants in one piece.
pub(super) enum Held<'a> {
    One(Value<'a>),
    Bools(Vec<bool>),
    Integers(Vec<i64>),
    Doubles(Vec<f64>),
    Texts(Vec<&'a str>),
    /// A map, a list of several types or of lists, nothing at all.
    None,
}

impl<'a> Held<'a> {
    pub(super) fn of(value: &'a AttributeValue) -> Self {
        use AttributeValue::{Array, Bool, Bytes, Empty, F64, I64, Map, String};
        match value {
            String(text) => Held::One(Value::Str(text)),
            Bool(value) => Held::One(Value::Bool(*value)),
            I64(value) => Held::One(Value::I64(*value)),
            F64(value) => Held::One(Value::F64(*value)),
            Bytes(bytes) => Held::One(Value::Bytes(bytes)),
            Array(values) => {
                let bool = |v: &_| if let Bool(v) = v { Some(*v) } else { None };
                let integer = |v: &_| if let I64(v) = v { Some(*v) } else { None };
                let double = |v: &_| if let F64(v) = v { Some(*v) } else { None };
                let text = |v: &'a _| if let String(v) = v { Some(&**v) } else { None };
                // An empty list is one of texts.
                None.or_else(|| Some(Held::Texts(values.iter().map(text).collect::<Option<_>>()?)))
                    .or_else(|| Some(Held::Bools(values.iter().map(bool).collect::<Option<_>>()?)))
                    .or_else(|| {
                        Some(Held::Integers(
                            values.iter().map(integer).collect::<Option<_>>()?,
                        ))
                    })
                    .or_else(|| {
                        Some(Held::Doubles(
                            values.iter().map(double).collect::<Option<_>>()?,
                        ))
                    })
                    .unwrap_or(Held::None)
            }
            Map(_) | Empty => Held::None,
        }
    }

    pub(super) fn value(&self) -> Option<Value<'_>> {
        Some(match self {
            Held::One(value) => *value,
            Held::Bools(values) => values[..].into(),
            Held::Integers(values) => values[..].into(),
            Held::Doubles(values) => values[..].into(),
            Held::Texts(values) => values[..].into(),
            Held::None => return None,
        })
    }
}
