//! `db.query.text` without what the query was asked with, and `db.query.summary`.
//!
//! Input: SQL. Output: [`QueryText`], with `?` in place of every literal, and [`QuerySummary`]. Bound: one pass over
//! the text, two buffers on the stack, 2 KiB and 255 bytes; nothing is allocated and no text makes it fail.

use super::summary::Summarizer;
use super::tokens::{Dialect, Kind, Token, Tokens};

/// Bytes of a query's text that are kept.
pub(super) const TEXT: usize = 2048;
/// Stands where a text was cut.
const CUT: &str = "...";

/// A query's text, fit to be recorded: `db.query.text`.
///
/// Literals of every form are replaced by `?`, comments left out, whitespace made single spaces, and a list of values
/// behind `IN` made `(?)`. Parameters (`?`, `$1`, `:name`) stay, and so do `NULL`, `TRUE` and `FALSE`. At most 2048
/// bytes: a longer text, or one that the dialect alone does not let read to the end, ends with `...`.
///
/// About 1 ns a byte. SPEC: semantic conventions, "Sanitization of `db.query.text`".
///
/// ```
/// use spanlet_std::db::{Dialect, QueryText};
/// let text = QueryText::sanitize(
///     Dialect::PostgreSql,
///     "SELECT * FROM orders -- of Alice\n WHERE name = 'Alice' AND id IN (1, 2, 3) AND note = $$x$$ LIMIT $1",
/// );
/// assert_eq!(text.as_str(), "SELECT * FROM orders WHERE name = ? AND id IN (?) AND note = ? LIMIT $1");
/// ```
#[derive(Clone)]
pub struct QueryText(Text<TEXT>);

impl QueryText {
    /// Of this text in this dialect.
    pub fn sanitize(dialect: Dialect, sql: &str) -> Self {
        let mut writer = Writer::new();
        for token in Tokens::new(dialect, sql) {
            if !writer.put(&token) {
                break;
            }
        }
        QueryText(writer.finish())
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
    /// So much of a text as would be kept, as it is.
    pub(super) fn cut(text: &str) -> &str {
        let mut end = text.len().min(TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default()
    }
}

/// What a query does and what it does it to: `db.query.summary`, the name of its span.
///
/// Operations and their targets in order, as they are written, at most 255 bytes of whole words. Empty if the text
/// begins with no operation that is known.
///
/// SPEC: semantic conventions, "Generating a summary of the query".
///
/// ```
/// use spanlet_std::db::{Dialect, QuerySummary};
/// let of = |sql| QuerySummary::of(Dialect::PostgreSql, sql);
/// let sql = "INSERT INTO shipping_details (id) SELECT id FROM orders WHERE id = 7";
/// assert_eq!(of(sql).as_str(), "INSERT shipping_details SELECT orders");
/// assert_eq!(of("select * from songs, artists").as_str(), "select songs artists");
/// ```
#[derive(Clone)]
pub struct QuerySummary(pub(super) Text<255>);

impl QuerySummary {
    /// Of this text in this dialect.
    pub fn of(dialect: Dialect, sql: &str) -> Self {
        let mut summarizer = Summarizer::new();
        for token in Tokens::new(dialect, sql) {
            summarizer.put(&token);
        }
        summarizer.finish()
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )*};
}
as_text! { QueryText QuerySummary }

/// Both in one pass.
pub(super) fn text_and_summary(dialect: Dialect, sql: &str) -> (QueryText, QuerySummary) {
    let (mut writer, mut summarizer) = (Writer::new(), Summarizer::new());
    let mut has_room = true;
    for token in Tokens::new(dialect, sql) {
        has_room = has_room && writer.put(&token);
        summarizer.put(&token);
        // The rest of a long text is values, more often than not.
        if !has_room {
            break;
        }
    }
    (QueryText(writer.finish()), summarizer.finish())
}

/// Text in place.
#[derive(Clone)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) fn new() -> Self {
        Text {
            bytes: [0; N],
            len: 0,
        }
    }
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Appends all of them, or nothing.
    pub(crate) fn push(&mut self, parts: &[&str]) -> bool {
        let added: usize = parts.iter().map(|part| part.len()).sum();
        if self.len + added > N {
            return false;
        }
        for part in parts {
            if let Some(to) = self.bytes.get_mut(self.len..self.len + part.len()) {
                to.copy_from_slice(part.as_bytes());
                self.len += part.len();
            }
        }
        true
    }
    /// Takes the last bytes off until so many are free; whole characters.
    fn make_room(&mut self, bytes: usize) {
        let mut len = self.len.min(N.saturating_sub(bytes));
        while !self.as_str().is_char_boundary(len) {
            len -= 1;
        }
        self.len = len;
    }
    /// Marks that something is left out.
    pub(super) fn end_cut(&mut self) {
        self.make_room(CUT.len());
        self.push(&[CUT]);
    }
    pub(crate) fn as_str(&self) -> &str {
        // Made of whole texts.
        core::str::from_utf8(self.bytes.get(..self.len).unwrap_or_default()).unwrap_or_default()
    }
}

/// What does not fit is left out, from its first character on.
impl<const N: usize> core::fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let mut end = text.len().min(N - self.len);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (kept, rest) = text.split_at(end);
        self.push(&[kept]);
        if rest.is_empty() {
            Ok(())
        } else {
            Err(core::fmt::Error)
        }
    }
}

/// Where in `IN (…)` the text is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    No,
    /// Behind `IN`.
    Expected,
    /// Behind its bracket.
    Open,
    /// Behind one value or more, of which one is written.
    Values,
    /// Behind a comma that is not written.
    Comma,
    /// Behind a sign that is not written.
    Sign,
}

struct Writer {
    text: Text<TEXT>,
    list: List,
    is_cut: bool,
}

impl Writer {
    fn new() -> Self {
        Writer {
            text: Text::new(),
            list: List::No,
            is_cut: false,
        }
    }

    /// Whether more can follow.
    fn put(&mut self, token: &Token<'_>) -> bool {
        let is_value = matches!(token.kind, Kind::Literal | Kind::Parameter);
        let is_sign = token.is("-") || token.is("+");
        match self.list {
            List::No if token.is_word("IN") => self.list = List::Expected,
            List::Expected if token.is("(") => self.list = List::Open,
            List::Open if is_value => {
                self.list = List::Values;
                return self.write(token.is_spaced, "?");
            }
            List::Open if is_sign => return true,
            List::Values if token.is(",") => {
                self.list = List::Comma;
                return true;
            }
            List::Comma | List::Sign if is_value => {
                self.list = List::Values;
                return true;
            }
            List::Comma if is_sign => {
                self.list = List::Sign;
                return true;
            }
            // Something else is in the list: what was held back is written after all.
            List::Comma => {
                self.list = List::No;
                if !self.write(false, ",") {
                    return false;
                }
            }
            List::No => {}
            _ => self.list = List::No,
        }
        match token.kind {
            Kind::Cut => {
                self.is_cut = true;
                self.text.push(&[" "]);
                false
            }
            Kind::Literal => self.write(token.is_spaced, "?"),
            _ => self.write(token.is_spaced, token.text),
        }
    }

    fn write(&mut self, is_spaced: bool, text: &str) -> bool {
        let space = if is_spaced && !self.text.is_empty() {
            " "
        } else {
            ""
        };
        let written = self.text.push(&[space, text]);
        self.is_cut |= !written;
        written
    }

    fn finish(mut self) -> Text<TEXT> {
        if self.is_cut {
            self.text.end_cut();
        }
        self.text
    }
}
