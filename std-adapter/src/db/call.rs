//! The span of a call to a database: what every wrapper here makes, and what one for another driver would.
//!
//! Input: where a connection leads ([`DbTarget`]), what is asked ([`DbCall`]), how it went. Output: a CLIENT span by
//! the semantic conventions. Bound: nothing is allocated on the way; the query's text is looked at only if the span is
//! recorded.

use super::text::{QueryText, Text, text_and_summary};
use super::tokens::Dialect;
use crate::recorder::{Span, span};
use core::fmt::{self, Write};
use core::ops::{Deref, DerefMut};
use spanlet::{KeyValue, ParentContext, SpanContext, SpanKind, Value};
use std::sync::Arc;

/// What of a query's text is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capture {
    /// The text without its literals, see [`QueryText`]; of an error's message, what is not in quotes and no number.
    #[default]
    Sanitized,
    /// The first 2048 bytes of the text as they are, and of an error's message. For queries that are known to hold
    /// nothing but constants.
    AsWritten,
    /// No text, and no message.
    Omitted,
}

/// Where calls go: what is the same for every call of a connection or a pool. A pointer; clones are cheap.
///
/// ```
/// use spanlet_std::db::DbTarget;
/// let shop = DbTarget::new("postgresql").namespace("shop").server("db.internal", 5432);
/// let mut call = shop.call().query("SELECT * FROM orders WHERE id = 7").start();
/// let rows = call.run(|_| 1 /* the driver's work */);
/// call.returned_rows(rows);
/// call.end();
/// ```
#[derive(Clone, Debug)]
pub struct DbTarget(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    system: &'static str,
    dialect: Dialect,
    namespace: Option<String>,
    address: Option<String>,
    port: Option<u16>,
    capture: Capture,
}

impl DbTarget {
    /// A database of this `db.system.name`: `postgresql`, `mysql`, `sqlite`, `redis`, …
    pub fn new(system: &'static str) -> Self {
        DbTarget(Arc::new(Inner {
            system,
            dialect: Dialect::of_system(system),
            namespace: None,
            address: None,
            port: None,
            capture: Capture::default(),
        }))
    }
    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
    /// Sets `db.namespace`: the database, the file, the index, as the connection was opened with.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        self.with(|inner| inner.namespace = Some(namespace.to_owned()))
    }
    /// Sets `server.address` and `server.port`. Port 0 is none: of a socket in the file system.
    #[must_use]
    pub fn server(self, address: &str, port: u16) -> Self {
        self.with(|inner| {
            inner.address = Some(address.to_owned());
            inner.port = (port != 0).then_some(port);
        })
    }
    /// Sets the dialect, where the system's name does not tell it.
    #[must_use]
    pub fn dialect(self, dialect: Dialect) -> Self {
        self.with(|inner| inner.dialect = dialect)
    }
    /// Sets what of a query's text is recorded.
    #[must_use]
    pub fn capture(self, capture: Capture) -> Self {
        self.with(|inner| inner.capture = capture)
    }
    /// What of a query's text is recorded.
    pub fn captures(&self) -> Capture {
        self.0.capture
    }
    /// The text of a statement that is executed more than once.
    pub fn prepare(&self, sql: &str) -> PreparedQuery {
        let (text, summary) = text_and_summary(self.0.dialect, sql);
        let text = match self.0.capture {
            Capture::Sanitized => text.as_str(),
            Capture::AsWritten => QueryText::cut(sql),
            Capture::Omitted => "",
        };
        PreparedQuery {
            text: text.into(),
            summary: summary.as_str().into(),
        }
    }
    /// A call, to be told what it asks.
    pub fn call(&self) -> DbCall<'_> {
        DbCall {
            target: self,
            query: Query::None,
            operation: None,
            collection: None,
            batch_size: 0,
            parent: None,
        }
    }
}

/// The text of a prepared statement, ready to be recorded with each of its executions.
///
/// Allocates once, for the text and the summary.
///
/// ```
/// use spanlet_std::db::DbTarget;
/// let shop = DbTarget::new("sqlite");
/// let by_id = shop.prepare("SELECT * FROM orders WHERE id = ? AND kind = 'web'");
/// let call = shop.call().prepared(&by_id).start();
/// # drop(call);
/// ```
#[derive(Clone, Debug)]
pub struct PreparedQuery {
    /// Empty if it is not to be recorded.
    text: Box<str>,
    summary: Box<str>,
}

#[derive(Clone, Copy)]
enum Query<'a> {
    None,
    Sql(&'a str),
    Prepared(&'a PreparedQuery),
}

/// A call about to be made.
///
/// ```
/// use spanlet_std::db::DbTarget;
/// // A driver that knows what it does without SQL: the span's name is `find people`.
/// let people = DbTarget::new("mongodb").namespace("crm");
/// let call = people.call().operation("find").collection("people").start();
/// # drop(call);
/// ```
#[derive(Clone, Copy)]
#[must_use = "a call has no span until `start`"]
pub struct DbCall<'a> {
    target: &'a DbTarget,
    query: Query<'a>,
    operation: Option<&'a str>,
    collection: Option<&'a str>,
    batch_size: usize,
    parent: Option<&'a SpanContext>,
}

impl<'a> DbCall<'a> {
    /// Sets the SQL: `db.query.text` and `db.query.summary`, which names the span.
    ///
    /// SPEC: `db.operation.name` and `db.collection.name` "SHOULD NOT be extracted from `db.query.text`".
    pub fn query(mut self, sql: &'a str) -> Self {
        self.query = Query::Sql(sql);
        self
    }
    /// As [`query`](Self::query), for a statement whose text was looked at when it was prepared.
    pub fn prepared(mut self, query: &'a PreparedQuery) -> Self {
        self.query = Query::Prepared(query);
        self
    }
    /// Sets `db.operation.name`, where the driver's interface names one: `HMSET`, `COMMIT`. Few different ones.
    pub fn operation(mut self, name: &'a str) -> Self {
        self.operation = Some(name);
        self
    }
    /// Sets `db.collection.name`, where the driver's interface takes one. Few different ones.
    pub fn collection(mut self, name: &'a str) -> Self {
        self.collection = Some(name);
        self
    }
    /// Sets `db.operation.batch.size`. One is no batch.
    pub fn batch_size(mut self, operations: usize) -> Self {
        self.batch_size = operations;
        self
    }
    /// Makes the span a child of this one, instead of the current one.
    pub fn parent(mut self, parent: &'a SpanContext) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Starts the span.
    ///
    /// The sampler sees the database's system, namespace and server; the query's text is cut into words only after the
    /// sampler has kept the span.
    pub fn start(self) -> DbSpan {
        let inner = &*self.target.0;
        let mut attributes = [KeyValue::new("db.system.name", Value::Static(inner.system)); 4];
        let mut len = 1;
        let mut add = |key, value: Option<Value<'a>>| {
            if let (Some(value), Some(to)) = (value, attributes.get_mut(len)) {
                *to = KeyValue::new(key, value);
                len += 1;
            }
        };
        add("db.namespace", inner.namespace.as_deref().map(Value::from));
        add("server.address", inner.address.as_deref().map(Value::from));
        add("server.port", inner.port.map(Value::from));
        let builder = span(inner.system)
            .kind(SpanKind::Client)
            .attributes(attributes.get(..len).unwrap_or_default());
        let span: Span = match self.parent {
            Some(parent) => builder.parent(parent).start(),
            None => builder.start(),
        };
        let mut span = DbSpan {
            span,
            capture: inner.capture,
        };
        if span.is_recording() {
            self.describe(&mut span);
        }
        span
    }

    fn describe(&self, span: &mut DbSpan) {
        if let Some(operation) = self.operation {
            span.set_attribute("db.operation.name", operation);
        }
        if let Some(collection) = self.collection {
            span.set_attribute("db.collection.name", collection);
        }
        if self.batch_size > 1 {
            span.set_attribute("db.operation.batch.size", count(self.batch_size));
        }
        let is_named = match self.query {
            Query::None => false,
            Query::Sql(sql) => {
                let (text, summary) = text_and_summary(self.target.0.dialect, sql);
                span.set_query_text(sql, |_| text);
                summarize(span, summary.as_str())
            }
            Query::Prepared(query) => {
                if !query.text.is_empty() {
                    span.set_attribute("db.query.text", &*query.text);
                }
                summarize(span, &query.summary)
            }
        };
        if !is_named {
            self.name(span);
        }
    }

    /// SPEC: `{operation} {target}`, the target a collection, else the namespace, else the server.
    fn name(&self, span: &mut DbSpan) {
        let inner = &*self.target.0;
        let mut name = Text::<255>::new();
        let mut port = Text::<8>::new();
        if let Some(number) = inner.port {
            // Five digits at most.
            let _ = write!(port, ":{number}");
        }
        let target = match (self.collection, &inner.namespace, &inner.address) {
            (Some(collection), ..) => [collection, ""],
            (None, Some(namespace), _) => [namespace.as_str(), ""],
            (None, None, Some(address)) => [address.as_str(), port.as_str()],
            (None, None, None) => ["", ""],
        };
        let operation = self.operation.unwrap_or_default();
        let space = if operation.is_empty() || target[0].is_empty() {
            ""
        } else {
            " "
        };
        if !name.push(&[operation, space, target[0], target[1]]) {
            name.push(&[operation]);
        }
        if !name.is_empty() {
            span.update_name(name.as_str());
        }
    }
}

/// The span of a call: an open [`Span`] that knows how a call to a database may end.
pub struct DbSpan {
    span: Span,
    capture: Capture,
}

impl DbSpan {
    /// Sets `db.query.text`, from `sanitize` or as it is, as the target's [`Capture`] wants it. For languages other
    /// than SQL.
    pub fn set_query_text(&mut self, text: &str, sanitize: impl FnOnce(&str) -> QueryText) {
        if !self.is_recording() {
            return;
        }
        match self.capture {
            Capture::Omitted => {}
            Capture::AsWritten => {
                self.span
                    .set_attribute("db.query.text", QueryText::cut(text));
            }
            Capture::Sanitized => {
                let text = sanitize(text);
                self.span.set_attribute("db.query.text", text.as_str());
            }
        }
    }
    /// Sets `db.response.returned_rows`.
    pub fn returned_rows(&mut self, rows: usize) {
        self.span
            .set_attribute("db.response.returned_rows", count(rows));
    }
    /// The call has failed: `status_code` is the database's own for it, if it gave one, and `error.type` then; else
    /// `error_type` is, one of a few. The message becomes the status' description, by the target's [`Capture`].
    ///
    /// ```
    /// let mut call = spanlet_std::db::DbTarget::new("postgresql").call().query("SELEC 1").start();
    /// call.fail(Some("42601"), "database", &"syntax error at or near \"SELEC\"");
    /// ```
    pub fn fail(
        &mut self,
        status_code: Option<&str>,
        error_type: &str,
        message: &dyn fmt::Display,
    ) {
        if !self.is_recording() {
            return;
        }
        if let Some(code) = status_code {
            self.span.set_attribute("db.response.status_code", code);
        }
        self.span
            .set_attribute("error.type", status_code.unwrap_or(error_type));
        let mut text = Text::<256>::new();
        // A message that is too long is cut.
        let _ = write!(text, "{message}");
        match self.capture {
            Capture::Omitted => self.span.set_status(spanlet::Status::Error),
            Capture::AsWritten => self.span.set_error(text.as_str()),
            // Of the dialects the one that takes the most for literals.
            Capture::Sanitized => self
                .span
                .set_error(QueryText::sanitize(Dialect::MySql, text.as_str()).as_str()),
        };
    }
}

impl Deref for DbSpan {
    type Target = Span;
    fn deref(&self) -> &Span {
        &self.span
    }
}
impl DerefMut for DbSpan {
    fn deref_mut(&mut self) -> &mut Span {
        &mut self.span
    }
}
impl ParentContext for DbSpan {
    fn span_context(&self) -> Option<SpanContext> {
        self.span.span_context()
    }
    fn trace_state(&self) -> Option<&str> {
        self.span.trace_state()
    }
}

/// Whether there is a summary, which then names the span.
fn summarize(span: &mut DbSpan, summary: &str) -> bool {
    if summary.is_empty() {
        return false;
    }
    span.set_attribute("db.query.summary", summary)
        .update_name(summary);
    true
}

fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}
