//! JSON, written as it comes: members of an object, texts escaped.
//!
//! SPEC: RFC 8259, 7.

use core::fmt::{self, Write};
use std::error::Error;
use tracing_core::field::{Field, Visit};

/// Writes a text between quotes, escaped, however it is formatted.
pub(super) fn put_text(to: &mut dyn Write, text: impl fmt::Display) -> fmt::Result {
    to.write_char('"')?;
    write!(Escaped(to), "{text}")?;
    to.write_char('"')
}

/// Escapes what goes through it.
struct Escaped<'w>(&'w mut dyn Write);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(must_be_escaped) {
            // What has to be escaped is ASCII: it starts and ends at char boundaries.
            let (plain, tail) = rest.split_at(at);
            self.0.write_str(plain)?;
            let byte = tail.as_bytes().first().copied().unwrap_or_default();
            match byte {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                other => write!(self.0, "\\u{other:04x}")?,
            }
            rest = tail.get(1..).unwrap_or_default();
        }
        self.0.write_str(rest)
    }
}

fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f
}

/// An object under way.
pub(super) struct Object<'w> {
    to: &'w mut dyn Write,
    is_empty: bool,
}

impl<'w> Object<'w> {
    pub(super) fn open(to: &'w mut dyn Write) -> Result<Self, fmt::Error> {
        to.write_char('{')?;
        Ok(Object { to, is_empty: true })
    }
    /// Begins a member; its value comes next.
    pub(super) fn key(&mut self, key: &str) -> Result<&mut dyn Write, fmt::Error> {
        if !self.is_empty {
            self.to.write_char(',')?;
        }
        self.is_empty = false;
        put_text(self.to, key)?;
        self.to.write_char(':')?;
        Ok(self.to)
    }
    pub(super) fn text(&mut self, key: &str, value: impl fmt::Display) -> fmt::Result {
        put_text(self.key(key)?, value)
    }
    pub(super) fn close(self) -> fmt::Result {
        self.to.write_char('}')
    }
}

/// Writes the fields of an event: `message` into `message`, the rest as members of `fields`, which is opened by the
/// first of them.
pub(super) struct Fields<'f, 'w> {
    pub(super) to: &'f mut Object<'w>,
    /// Which of the two this pass is for.
    pub(super) pass: Pass,
    pub(super) result: fmt::Result,
    pub(super) count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Message,
    Rest,
}

impl Fields<'_, '_> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut dyn Write) -> fmt::Result) {
        let is_message = field.name() == "message";
        if self.result.is_err() || is_message != (self.pass == Pass::Message) {
            return;
        }
        self.count += 1;
        self.result = self.to.key(field.name()).and_then(value);
    }
    fn put_number(&mut self, field: &Field, value: impl fmt::Display, is_exact: bool) {
        self.put(field, |to| {
            if is_exact {
                write!(to, "{value}")
            } else {
                put_text(to, value)
            }
        });
    }
}

impl Visit for Fields<'_, '_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has neither infinities nor NaN.
        self.put_number(field, value, value.is_finite());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_number(field, value, true);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_number(field, value, true);
    }
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put_number(field, value, i64::try_from(value).is_ok());
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put_number(field, value, u64::try_from(value).is_ok());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_number(field, value, true);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |to| put_text(to, value));
    }
    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.put(field, |to| put_text(to, hex::encode(value)));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, |to| put_text(to, Chain(value)));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |to| put_text(to, format_args!("{value:?}")));
    }
}

/// An error and its sources, of which there is an end.
struct Chain<'e>(&'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        for _ in 0..16 {
            let Some(error) = source else { break };
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_a_parser_reads_them() {
        let all: String = (0..0x250)
            .filter_map(char::from_u32)
            .chain(['\u{2028}', '🦀'])
            .collect();
        let mut json = String::new();
        put_text(&mut json, &all).unwrap();
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), all);
        assert!(json.contains("\\n\\u000b\\u000c\\r") && !json.contains('\n'));
    }
}
