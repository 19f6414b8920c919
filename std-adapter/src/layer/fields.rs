//! The fields of `tracing`, as attributes.
//!
//! Input: what a visitor is shown. Output: an open span's attributes, or a list of them kept for later. Bound: texts
//! that have to be formatted are cut at [`LONGEST`] bytes.
//!
//! | value | attribute |
//! |---|---|
//! | `i64`, and `u64`, `i128`, `u128` up to 2^63 − 1 | integer |
//! | those beyond | their decimal text |
//! | `f64`, `bool`, `&str`, `&[u8]` | as they are |
//! | `dyn Error` | its text and its sources', with `: ` between them |
//! | `%` and `?` | the text |
//!
//! What is kept for later is formatted before a span is touched: nothing of the user's runs while a span is held.

use core::fmt::{self, Write};
use core::ops::Range;
use spanlet::{KeyValue, Span, SpanBuf, Status, Value};
use std::cell::Cell;
use std::error::Error;
use tracing_core::Metadata;
use tracing_core::field::{Field, Visit};

/// Bytes of a formatted text.
const LONGEST: usize = 8 << 10;

/// What a field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Attribute,
    /// `message`: an event's name.
    Message,
    /// `error`, or whatever is a `dyn Error`: of an event an exception.
    Error,
    /// `otel.name`: the span's name.
    Name,
    /// `otel.kind`, which the start of the span has looked at.
    Kind,
    /// `otel.status_code`.
    StatusCode,
    /// `otel.status_description`, or by its old name `otel.status_message`.
    StatusDescription,
}

impl Role {
    #[inline]
    fn of(name: &str) -> Self {
        match name {
            "message" => Role::Message,
            "error" => Role::Error,
            _ => match name.strip_prefix("otel.") {
                None => Role::Attribute,
                Some("name") => Role::Name,
                Some("kind") => Role::Kind,
                Some("status_code") => Role::StatusCode,
                Some("status_description" | "status_message") => Role::StatusDescription,
                Some(_) => Role::Attribute,
            },
        }
    }
}

/// Takes fields, one at a time.
pub(super) trait Sink {
    fn put(&mut self, role: Role, key: &'static str, value: Value<'_>);
    /// The same with a value that has to be formatted.
    fn put_text(&mut self, role: Role, key: &'static str, text: &mut dyn FnMut(&mut Text<'_>));
}

/// A text being formatted: full, it is cut at a char boundary and takes no more.
pub(super) struct Text<'t> {
    to: &'t mut String,
    end: usize,
}

impl<'t> Text<'t> {
    fn behind(to: &'t mut String) -> Self {
        let end = to.len() + LONGEST;
        Text { to, end }
    }
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.end - self.to.len();
        if text.len() <= room {
            self.to.push_str(text);
            return Ok(());
        }
        let mut cut = room;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        self.to.push_str(text.get(..cut).unwrap_or_default());
        self.end = self.to.len();
        Err(fmt::Error)
    }
}

/// Shows a sink the fields of a span or an event.
pub(super) struct Visitor<'s, S: Sink>(pub(super) &'s mut S);

impl<S: Sink> Visitor<'_, S> {
    #[inline]
    fn put(&mut self, field: &Field, value: Value<'_>) {
        let key = field.name();
        self.0.put(Role::of(key), key, value);
    }
}

impl<S: Sink> Visit for Visitor<'_, S> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::F64(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::I64(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.put(field, Value::I64(value)),
            Err(_) => self.record_debug(field, &value),
        }
    }
    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.put(field, Value::I64(value)),
            Err(_) => self.record_debug(field, &value),
        }
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        match i64::try_from(value) {
            Ok(value) => self.put(field, Value::I64(value)),
            Err(_) => self.record_debug(field, &value),
        }
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Str(value));
    }
    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.put(field, Value::Bytes(value));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let role = match Role::of(field.name()) {
            Role::Attribute => Role::Error,
            role => role,
        };
        self.0.put_text(role, field.name(), &mut |to| {
            // What is full is cut.
            let mut room = write!(to, "{value}").is_ok();
            let mut source = value.source();
            // Ends even if an error is its own source: each round takes at least two bytes.
            while let Some(error) = source
                && room
            {
                room = write!(to, ": {error}").is_ok();
                source = error.source();
            }
        });
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let key = field.name();
        self.0.put_text(Role::of(key), key, &mut |to| {
            // What is full is cut.
            let _ = write!(to, "{value:?}");
        });
    }
}

thread_local! {
    static TEXT: Cell<String> = const { Cell::new(String::new()) };
    static HELD: Cell<Held> = const { Cell::new(Held::new()) };
}

/// A span takes its fields as they come.
impl<B: SpanBuf> Sink for Span<crate::Local, B> {
    #[inline]
    fn put(&mut self, role: Role, key: &'static str, value: Value<'_>) {
        if matches!(role, Role::Attribute) {
            self.set_attribute(key, value);
        } else {
            put_rare(self, role, key, value);
        }
    }
    fn put_text(&mut self, role: Role, key: &'static str, text: &mut dyn FnMut(&mut Text<'_>)) {
        // What formats may itself be traced: it then finds an empty one.
        let mut buffer = TEXT.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        text(&mut Text::behind(&mut buffer));
        self.put(role, key, Value::Str(&buffer));
        let _ = TEXT.try_with(|back| back.set(buffer));
    }
}

fn put_rare<B: SpanBuf>(
    span: &mut Span<crate::Local, B>,
    role: Role,
    key: &'static str,
    value: Value<'_>,
) {
    let text = match value {
        Value::Str(text) => text,
        Value::Static(text) => text,
        _ => "",
    };
    match role {
        Role::Attribute | Role::Message | Role::Error => {
            span.set_attribute(key, value);
        }
        Role::Kind => {}
        Role::Name if text.is_empty() => {}
        Role::Name => {
            span.update_name(text);
        }
        Role::StatusCode => {
            if text.eq_ignore_ascii_case("ok") {
                span.set_status(Status::Ok);
            } else if text.eq_ignore_ascii_case("error") {
                span.set_status(Status::Error);
            }
        }
        Role::StatusDescription => {
            span.set_error(text);
        }
    }
}

/// Fields kept for later, their texts copied. Taken from the thread and given back, so that it allocates only until it
/// has grown.
#[derive(Default)]
pub(super) struct Held {
    items: Vec<Item>,
    text: String,
}

struct Item {
    role: Role,
    key: &'static str,
    value: HeldValue,
}

/// A value; what is longer lies in the text.
enum HeldValue {
    Bool(bool),
    I64(i64),
    F64(f64),
    Str(Range<usize>),
    Bytes(Box<[u8]>),
}

impl Held {
    pub(super) const fn new() -> Self {
        Held {
            items: Vec::new(),
            text: String::new(),
        }
    }
    /// The thread's, empty.
    pub(super) fn take() -> Self {
        let mut held = HELD.try_with(Cell::take).unwrap_or_default();
        held.clear();
        held
    }
    /// Gives it back to the thread.
    pub(super) fn give_back(self) {
        let _ = HELD.try_with(|back| back.set(self));
    }
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.text.clear();
    }

    fn value<'h>(&'h self, value: &'h HeldValue) -> Value<'h> {
        match value {
            HeldValue::Bool(value) => Value::Bool(*value),
            HeldValue::I64(value) => Value::I64(*value),
            HeldValue::F64(value) => Value::F64(*value),
            HeldValue::Str(range) => Value::Str(self.text.get(range.clone()).unwrap_or_default()),
            HeldValue::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
    /// Adds what another one holds.
    pub(super) fn append(&mut self, other: &Held) {
        for item in &other.items {
            self.put(item.role, item.key, other.value(&item.value));
        }
    }
    /// All of it, for a span.
    pub(super) fn put_into<B: SpanBuf>(&self, span: &mut Span<crate::Local, B>) {
        for item in &self.items {
            span.put(item.role, item.key, self.value(&item.value));
        }
    }
    /// The text of the first of this role.
    pub(super) fn text_of(&self, role: Role) -> Option<&str> {
        let item = self.items.iter().find(|item| item.role == role)?;
        match self.value(&item.value) {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }
    /// Attributes of an event: all but its name, of an exception also without the `error` that its message says, and
    /// what the `log` crate has said of the place in the code only where it is asked for.
    pub(super) fn attributes(
        &self,
        is_exception: bool,
        location: bool,
    ) -> impl Iterator<Item = KeyValue<'_>> + Clone {
        self.items.iter().filter_map(move |item| {
            let key = match item.role {
                Role::Message => return None,
                Role::Error if is_exception && item.key == "error" => return None,
                _ => logged_key(item.key, location)?,
            };
            Some(KeyValue::new(key, self.value(&item.value)))
        })
    }
    /// What `tracing-log` has put into fields.
    pub(super) fn logged(&self, metadata: &Metadata<'_>) -> Logged<'_> {
        let target = if metadata.target() == "log" {
            let item = self.items.iter().find(|item| item.key == "log.target");
            item.and_then(|item| match self.value(&item.value) {
                Value::Str(text) => Some(text),
                _ => None,
            })
        } else {
            None
        };
        Logged { target }
    }
}

/// A record of the `log` crate, which comes as an event with its metadata in fields.
pub(super) struct Logged<'h> {
    pub(super) target: Option<&'h str>,
}

/// The attribute of a field of `tracing-log`; any other key is its own.
#[inline]
fn logged_key(key: &'static str, location: bool) -> Option<&'static str> {
    match key.strip_prefix("log.") {
        None => Some(key),
        Some("target") => None,
        Some("file") => location.then_some("code.file.path"),
        Some("line") => location.then_some("code.line.number"),
        Some("module_path") => location.then_some("code.module.name"),
        Some(_) => Some(key),
    }
}

impl Sink for Held {
    fn put(&mut self, role: Role, key: &'static str, value: Value<'_>) {
        let value = match value {
            Value::Bool(value) => HeldValue::Bool(value),
            Value::I64(value) => HeldValue::I64(value),
            Value::F64(value) => HeldValue::F64(value),
            Value::Bytes(bytes) => HeldValue::Bytes(bytes.into()),
            Value::Str(text) => {
                let from = self.text.len();
                self.text.push_str(text);
                HeldValue::Str(from..self.text.len())
            }
            // The visitor makes no others.
            _ => return,
        };
        self.items.push(Item { role, key, value });
    }
    fn put_text(&mut self, role: Role, key: &'static str, text: &mut dyn FnMut(&mut Text<'_>)) {
        let from = self.text.len();
        text(&mut Text::behind(&mut self.text));
        let value = HeldValue::Str(from..self.text.len());
        self.items.push(Item { role, key, value });
    }
}

/// Looks for one text field.
pub(super) struct Find<'f> {
    pub(super) key: &'f str,
    pub(super) found: &'f mut dyn FnMut(&str),
}

impl Visit for Find<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == self.key {
            (self.found)(value);
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == self.key {
            let mut text = String::new();
            // What is full is cut.
            let _ = write!(Text::behind(&mut text), "{value:?}");
            (self.found)(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_end_is_cut_at_a_char_boundary() {
        let mut text = String::from("before");
        let mut to = Text::behind(&mut text);
        let mut taken = Ok(());
        while taken.is_ok() {
            taken = to.write_str("äöü");
        }
        assert!(to.write_str("x").is_err(), "nothing behind what was cut");
        assert_eq!(text.len(), 6 + LONGEST);
        let mut text = String::from("b");
        assert!(write!(Text::behind(&mut text), "x{}", "ä".repeat(LONGEST)).is_err());
        assert_eq!(text.len(), 1 + LONGEST - 1);
    }

    #[test]
    fn roles_are_known_by_their_names() {
        for (name, role) in [
            ("message", Role::Message),
            ("error", Role::Error),
            ("otel.name", Role::Name),
            ("otel.kind", Role::Kind),
            ("otel.status_code", Role::StatusCode),
            ("otel.status_description", Role::StatusDescription),
            ("otel.status_message", Role::StatusDescription),
            ("otel.scope", Role::Attribute),
            ("name", Role::Attribute),
        ] {
            assert_eq!(Role::of(name), role, "{name}");
        }
    }
}
