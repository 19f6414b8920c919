//! rusqlite with a span for each statement that runs.
//!
//! Input: calls of a [`Connection`], its [`Transaction`]s and [`Statement`]s. Output: what rusqlite returns, and a span
//! by the conventions of [`db`](super): `db.namespace` is the file's path. Bound: blocking, as rusqlite is; a prepared
//! statement keeps the text that is recorded for it.
//!
//! Whatever has no method here is reached through the connection's `Deref`, and runs without a span: pragmas, blobs,
//! savepoints. `error.type` is SQLite's extended result code (`2067`: a unique constraint), or the name of rusqlite's
//! error where SQLite had no part in it: `InvalidParameterCount`, `FromSqlConversionFailure`, …

use super::{DbSpan, DbTarget, PreparedQuery};
use core::ops::{Deref, DerefMut};
use rusqlite::{DropBehavior, Error, Params, Result, Row, TransactionBehavior};

/// A connection whose statements are traced.
///
/// ```
/// use spanlet_std::db::rusqlite::Connection;
/// let db = Connection::new(rusqlite::Connection::open_in_memory()?);
/// db.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")?;
/// db.execute("INSERT INTO orders (note) VALUES (?1)", ["by air"])?;
/// let note: String = db.query_row("SELECT note FROM orders WHERE id = 1", [], |row| row.get(0))?;
/// assert_eq!(note, "by air");
/// # Ok::<(), rusqlite::Error>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    inner: rusqlite::Connection,
    target: DbTarget,
}

impl Connection {
    /// Traces an open connection. `db.namespace` is its path; a database in memory has none.
    pub fn new(inner: rusqlite::Connection) -> Self {
        let target = DbTarget::new("sqlite");
        let target = match inner.path() {
            Some(path) if !path.is_empty() => target.namespace(path),
            _ => target,
        };
        Connection { inner, target }
    }
    /// Changes what is recorded of each call.
    ///
    /// ```
    /// # use spanlet_std::db::{Capture, rusqlite::Connection};
    /// let db = Connection::new(rusqlite::Connection::open_in_memory()?)
    ///     .with_target(|target| target.namespace("cache").capture(Capture::Omitted));
    /// # Ok::<(), rusqlite::Error>(())
    /// ```
    #[must_use]
    pub fn with_target(mut self, change: impl FnOnce(DbTarget) -> DbTarget) -> Self {
        self.target = change(self.target);
        self
    }
    /// The connection alone.
    pub fn into_inner(self) -> rusqlite::Connection {
        self.inner
    }

    /// Begins a transaction, with a span `BEGIN`. Its end has one too: `COMMIT` or `ROLLBACK`.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn transaction(&mut self) -> Result<Transaction<'_>> {
        self.transaction_with_behavior(TransactionBehavior::Deferred)
    }
    /// As [`transaction`](Self::transaction), with this behaviour.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn transaction_with_behavior(
        &mut self,
        behavior: TransactionBehavior,
    ) -> Result<Transaction<'_>> {
        let Connection { inner, target } = self;
        let mut call = target.call().operation("BEGIN").start();
        let inner = call.run(|_| inner.transaction_with_behavior(behavior));
        let inner = Some(recorded(&mut call, inner)?);
        Ok(Transaction { inner, target })
    }

    fn raw(&self) -> &rusqlite::Connection {
        &self.inner
    }
    fn target(&self) -> &DbTarget {
        &self.target
    }
}

impl Deref for Connection {
    type Target = rusqlite::Connection;
    fn deref(&self) -> &rusqlite::Connection {
        &self.inner
    }
}
impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut rusqlite::Connection {
        &mut self.inner
    }
}

/// A transaction whose statements are traced. Dropped, it rolls back, in a span too.
///
/// ```
/// # use spanlet_std::db::rusqlite::Connection;
/// # let mut db = Connection::new(rusqlite::Connection::open_in_memory()?);
/// # db.execute_batch("CREATE TABLE orders (id INTEGER)")?;
/// let transaction = db.transaction()?;
/// transaction.execute("INSERT INTO orders VALUES (?)", [1])?;
/// transaction.commit()?;
/// # Ok::<(), rusqlite::Error>(())
/// ```
#[derive(Debug)]
pub struct Transaction<'c> {
    /// Until it ends.
    inner: Option<rusqlite::Transaction<'c>>,
    target: &'c DbTarget,
}

impl<'c> Transaction<'c> {
    /// Makes the changes last.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn commit(mut self) -> Result<()> {
        self.end("COMMIT", rusqlite::Transaction::commit)
    }
    /// Takes the changes back.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn rollback(mut self) -> Result<()> {
        self.end("ROLLBACK", rusqlite::Transaction::rollback)
    }

    fn end(
        &mut self,
        operation: &str,
        end: impl FnOnce(rusqlite::Transaction<'c>) -> Result<()>,
    ) -> Result<()> {
        let Some(inner) = self.inner.take() else {
            return Ok(());
        };
        let mut call = self.target.call().operation(operation).start();
        let ended = call.run(|_| end(inner));
        recorded(&mut call, ended)
    }
    fn raw(&self) -> &rusqlite::Connection {
        // INVARIANT: taken only by `end`, of which nothing is left to call.
        self.inner.as_ref().expect("an open transaction")
    }
    fn target(&self) -> &DbTarget {
        self.target
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let operation = match &self.inner {
            Some(inner) if inner.drop_behavior() == DropBehavior::Commit => "COMMIT",
            _ => "ROLLBACK",
        };
        // Nobody is left to tell; the span has the error.
        let _ = self.end(operation, rusqlite::Transaction::finish);
    }
}

impl<'c> Deref for Transaction<'c> {
    type Target = rusqlite::Connection;
    fn deref(&self) -> &rusqlite::Connection {
        self.raw()
    }
}

macro_rules! queries {
    ($($of:ty)*) => {$(
        impl $of {
            /// Runs a statement that returns no rows; how many rows it changed.
            ///
            /// # Errors
            /// As rusqlite's.
            pub fn execute<P: Params>(&self, sql: &str, params: P) -> Result<usize> {
                let mut call = self.target().call().query(sql).start();
                let done = call.run(|_| self.raw().execute(sql, params));
                recorded(&mut call, done)
            }
            /// Runs any number of statements, in one span.
            ///
            /// # Errors
            /// As rusqlite's.
            pub fn execute_batch(&self, sql: &str) -> Result<()> {
                let mut call = self.target().call().query(sql).start();
                let done = call.run(|_| self.raw().execute_batch(sql));
                recorded(&mut call, done)
            }
            /// Runs a query, and `map` on its first row.
            ///
            /// # Errors
            /// As rusqlite's. That there is no row is no error of the span.
            pub fn query_row<T, P: Params>(
                &self,
                sql: &str,
                params: P,
                map: impl FnOnce(&Row<'_>) -> Result<T>,
            ) -> Result<T> {
                let mut call = self.target().call().query(sql).start();
                let row = call.run(|_| self.raw().query_row(sql, params, map));
                one_row(&mut call, row)
            }
            /// As [`query_row`](Self::query_row), for a query that must not return more than one row.
            ///
            /// # Errors
            /// As rusqlite's. That there is no row is no error of the span.
            pub fn query_one<T, P: Params>(
                &self,
                sql: &str,
                params: P,
                map: impl FnOnce(&Row<'_>) -> Result<T>,
            ) -> Result<T> {
                let mut call = self.target().call().query(sql).start();
                let row = call.run(|_| self.raw().query_one(sql, params, map));
                one_row(&mut call, row)
            }
            /// Prepares a statement. That makes no span, unless it fails; each execution makes one.
            ///
            /// # Errors
            /// As rusqlite's.
            pub fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
                let target = self.target();
                match self.raw().prepare(sql) {
                    Ok(inner) => Ok(Statement { inner, query: target.prepare(sql), target }),
                    Err(error) => recorded(&mut target.call().query(sql).start(), Err(error)),
                }
            }
            /// Runs `work` in a span of `sql`: for what has no method here, such as rusqlite's cached statements.
            ///
            /// ```
            /// # use spanlet_std::db::rusqlite::Connection;
            /// # let db = Connection::new(rusqlite::Connection::open_in_memory()?);
            /// let sql = "SELECT 1";
            /// let one: i64 = db.traced(sql, |raw| raw.prepare(sql)?.query_row([], |row| row.get(0)))?;
            /// # assert_eq!(one, 1);
            /// # Ok::<(), rusqlite::Error>(())
            /// ```
            ///
            /// # Errors
            /// Those of `work`.
            pub fn traced<T>(&self, sql: &str, work: impl FnOnce(&rusqlite::Connection) -> Result<T>) -> Result<T> {
                let mut call = self.target().call().query(sql).start();
                let done = call.run(|_| work(self.raw()));
                recorded(&mut call, done)
            }
        }
    )*};
}
queries! { Connection Transaction<'_> }

/// A statement that makes a span each time it runs.
///
/// ```
/// # use spanlet_std::db::rusqlite::Connection;
/// # let db = Connection::new(rusqlite::Connection::open_in_memory()?);
/// # db.execute_batch("CREATE TABLE orders (id INTEGER)")?;
/// let mut insert = db.prepare("INSERT INTO orders VALUES (?)")?;
/// for id in 0..3 {
///     insert.execute([id])?;
/// }
/// let mut all = db.prepare("SELECT id FROM orders")?;
/// let ids: Vec<i64> = all.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
/// assert_eq!(ids, [0, 1, 2]);
/// # Ok::<(), rusqlite::Error>(())
/// ```
pub struct Statement<'c> {
    inner: rusqlite::Statement<'c>,
    query: PreparedQuery,
    target: &'c DbTarget,
}

impl<'c> Statement<'c> {
    fn run<T>(
        &mut self,
        work: impl FnOnce(&mut rusqlite::Statement<'c>) -> Result<T>,
    ) -> (DbSpan, Result<T>) {
        let mut call = self.target.call().prepared(&self.query).start();
        let done = call.run(|_| work(&mut self.inner));
        (call, done)
    }
    /// Runs it; how many rows it changed.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn execute<P: Params>(&mut self, params: P) -> Result<usize> {
        let (mut call, done) = self.run(|statement| statement.execute(params));
        recorded(&mut call, done)
    }
    /// Runs it; the id of the row that it inserted.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn insert<P: Params>(&mut self, params: P) -> Result<i64> {
        let (mut call, done) = self.run(|statement| statement.insert(params));
        recorded(&mut call, done)
    }
    /// Whether it returns a row.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn exists<P: Params>(&mut self, params: P) -> Result<bool> {
        let (mut call, done) = self.run(|statement| statement.exists(params));
        recorded(&mut call, done)
    }
    /// Runs it, and `map` on its first row.
    ///
    /// # Errors
    /// As rusqlite's. That there is no row is no error of the span.
    pub fn query_row<T, P: Params>(
        &mut self,
        params: P,
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let (mut call, row) = self.run(|statement| statement.query_row(params, map));
        one_row(&mut call, row)
    }
    /// Runs it, and `map` on each row, in a span that ends with the iterator.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn query_map<T, P, F>(&mut self, params: P, map: F) -> Result<MappedRows<'_, F>>
    where
        P: Params,
        F: FnMut(&Row<'_>) -> Result<T>,
    {
        Ok(MappedRows {
            rows: self.query(params)?,
            map,
        })
    }
    /// Runs it, in a span that ends with its last row, or when the rows are dropped.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn query<P: Params>(&mut self, params: P) -> Result<Rows<'_>> {
        let mut call = self.target.call().prepared(&self.query).start();
        let inner = call.run(|_| self.inner.query(params));
        let inner = recorded(&mut call, inner)?;
        Ok(Rows {
            inner,
            call,
            count: 0,
        })
    }
}

impl<'c> Deref for Statement<'c> {
    type Target = rusqlite::Statement<'c>;
    fn deref(&self) -> &rusqlite::Statement<'c> {
        &self.inner
    }
}
impl<'c> DerefMut for Statement<'c> {
    fn deref_mut(&mut self) -> &mut rusqlite::Statement<'c> {
        &mut self.inner
    }
}

/// The rows of a query, and its span: it ends with the last row, an error, or when this is dropped.
#[must_use = "rows are read as they are asked for"]
pub struct Rows<'s> {
    inner: rusqlite::Rows<'s>,
    call: DbSpan,
    count: usize,
}

impl<'s> Rows<'s> {
    /// The next row, if there is one.
    ///
    /// # Errors
    /// As rusqlite's.
    #[expect(
        clippy::should_implement_trait,
        reason = "rows borrow, as rusqlite's do"
    )]
    pub fn next(&mut self) -> Result<Option<&Row<'s>>> {
        let Rows { inner, call, count } = self;
        let row = call.run(|_| inner.next());
        match &row {
            Ok(Some(_)) => *count += 1,
            Ok(None) => end(call, *count),
            Err(error) => {
                fail(call, error);
                end(call, *count);
            }
        }
        row
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        end(&mut self.call, self.count);
    }
}

/// What [`Statement::query_map`] returns: an iterator over what it makes of the rows.
#[must_use = "rows are read as they are asked for"]
pub struct MappedRows<'s, F> {
    rows: Rows<'s>,
    map: F,
}

impl<T, F: FnMut(&Row<'_>) -> Result<T>> Iterator for MappedRows<'_, F> {
    type Item = Result<T>;
    fn next(&mut self) -> Option<Result<T>> {
        match self.rows.next() {
            Ok(row) => Some((self.map)(row?)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Ends a call that returned rows; a second time does nothing.
fn end(call: &mut DbSpan, rows: usize) {
    call.returned_rows(rows);
    call.end();
}

fn recorded<T>(call: &mut DbSpan, result: Result<T>) -> Result<T> {
    if let Err(error) = &result {
        fail(call, error);
    }
    result
}

fn one_row<T>(call: &mut DbSpan, result: Result<T>) -> Result<T> {
    match &result {
        Ok(_) => call.returned_rows(1),
        Err(Error::QueryReturnedNoRows) => call.returned_rows(0),
        Err(error) => fail(call, error),
    }
    result
}

#[cold]
fn fail(call: &mut DbSpan, error: &Error) {
    if !call.is_recording() {
        return;
    }
    // SQLite's own is the error, or the source of one that tells the SQL too.
    let source = core::error::Error::source(error).and_then(|source| source.downcast_ref());
    if let Some(sqlite) = error.sqlite_error().or(source) {
        let code = sqlite.extended_code.to_string();
        if let Error::SqliteFailure(_, Some(message)) = error {
            return call.fail(Some(&code), &code, message);
        }
        let message = error.to_string();
        // `{message} in {sql} at offset {n}`
        let message = message.split(" in ").next().unwrap_or_default();
        return call.fail(Some(&code), &code, &message);
    }
    let error_type = match error {
        Error::FromSqlConversionFailure(..) => "FromSqlConversionFailure",
        Error::IntegralValueOutOfRange(..) => "IntegralValueOutOfRange",
        Error::Utf8Error(..) => "Utf8Error",
        Error::NulError(..) => "NulError",
        Error::InvalidParameterName(..) => "InvalidParameterName",
        Error::ExecuteReturnedResults => "ExecuteReturnedResults",
        Error::QueryReturnedNoRows => "QueryReturnedNoRows",
        Error::QueryReturnedMoreThanOneRow => "QueryReturnedMoreThanOneRow",
        Error::InvalidColumnIndex(..) => "InvalidColumnIndex",
        Error::InvalidColumnName(..) => "InvalidColumnName",
        Error::InvalidColumnType(..) => "InvalidColumnType",
        Error::StatementChangedRows(..) => "StatementChangedRows",
        Error::ToSqlConversionFailure(..) => "ToSqlConversionFailure",
        Error::InvalidQuery => "InvalidQuery",
        Error::MultipleStatement => "MultipleStatement",
        Error::InvalidParameterCount(..) => "InvalidParameterCount",
        _ => "_OTHER",
    };
    call.fail(None, error_type, error);
}
