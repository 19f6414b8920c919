//! sqlx with a span for each query, for any of its databases.
//!
//! Input: queries run on a [`TracedPool`], a [`TracedTransaction`], or any executor in a [`Traced`]. Output: what sqlx
//! returns, and a span by the conventions of [`db`](super), which is current while the driver works, and ends with the
//! last row or when the stream of rows is dropped. Bound: one box more per query than sqlx makes.
//!
//! The span begins when the executor is called, as a child of the span that is current there, so it covers the wait for
//! a connection of the pool. `error.type` is the database's code where it gave one (SQLSTATE, `23505`; SQLite's extended
//! result code), else the name of sqlx's error (`PoolTimedOut`, `Protocol`), or of the kind of an I/O error
//! (`ConnectionRefused`). `RowNotFound` is not recorded as an error.

use super::{DbCall, DbSpan, DbTarget};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use futures_core::Stream;
use futures_core::stream::BoxStream;
use spanlet::within;
use sqlx::{
    ConnectOptions, Connection, Database, Describe, Either, Error, Execute, Executor, Pool,
    Transaction, pool::PoolConnection,
};

type BoxFuture<'e, T> = Pin<Box<dyn Future<Output = T> + Send + 'e>>;
/// What a statement with several results brings.
type Step<DB> = Either<<DB as Database>::QueryResult, <DB as Database>::Row>;

/// Where a pool's connections lead, from its options: system, host, port and database.
///
/// `db.namespace` is the database that the connections were opened with.
fn target_of<DB: Database>(pool: &Pool<DB>) -> DbTarget {
    let (system, port) = match DB::NAME {
        "PostgreSQL" => ("postgresql", 5432),
        "MySQL" => ("mysql", 3306),
        "SQLite" => ("sqlite", 0),
        // sqlx panics on the options of drivers that do not say.
        _ => return DbTarget::new("other_sql"),
    };
    let url = pool.connect_options().to_url_lossy();
    let mut target = DbTarget::new(system);
    if let Some(host) = url.host_str().filter(|host| !host.is_empty()) {
        let host = unescaped(host);
        // A socket in the file system has a port in the URL, but only for its name.
        let port = if host.starts_with('/') {
            0
        } else {
            url.port().unwrap_or(port)
        };
        target = target.server(&host, port);
    }
    match url.path().trim_start_matches('/') {
        "" => target,
        database => target.namespace(&unescaped(database)),
    }
}

/// A part of a URL without its percent signs.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        match part.get(..2).map(|digits| hex::decode(digits)) {
            Some(Ok(byte)) => {
                bytes.extend_from_slice(&byte);
                bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
            }
            _ => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A pool whose queries are traced. `&TracedPool` is an executor.
///
/// ```no_run
/// use spanlet_std::db::sqlx::TracedPool;
/// # async fn f() -> Result<(), sqlx::Error> {
/// let pool = TracedPool::new(sqlx::PgPool::connect("postgres://db.internal/shop").await?);
/// let orders = sqlx::query("SELECT * FROM orders WHERE kind = $1").bind("web").fetch_all(&pool).await?;
/// let mut transaction = pool.begin().await?;
/// sqlx::query("DELETE FROM orders").execute(&mut transaction).await?;
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TracedPool<DB: Database> {
    pool: Pool<DB>,
    target: DbTarget,
}

impl<DB: Database> Clone for TracedPool<DB> {
    fn clone(&self) -> Self {
        TracedPool {
            pool: self.pool.clone(),
            target: self.target.clone(),
        }
    }
}

impl<DB: Database> TracedPool<DB> {
    /// Traces a pool; where it leads is read from its options.
    pub fn new(pool: Pool<DB>) -> Self {
        let target = target_of(&pool);
        TracedPool { pool, target }
    }
    /// Traces a pool of which it is known where it leads: of a driver that [`new`](Self::new) does not know.
    pub fn with(pool: Pool<DB>, target: DbTarget) -> Self {
        TracedPool { pool, target }
    }
    /// Changes what is recorded of each call.
    #[must_use]
    pub fn with_target(mut self, change: impl FnOnce(DbTarget) -> DbTarget) -> Self {
        self.target = change(self.target);
        self
    }
    /// Where the pool leads: to trace other executors of the same database with [`Traced::new`].
    pub fn target(&self) -> &DbTarget {
        &self.target
    }
    /// The pool alone: for migrations, and to close it.
    pub fn untraced(&self) -> &Pool<DB> {
        &self.pool
    }
    /// Takes a connection of the pool, without a span.
    ///
    /// # Errors
    /// As sqlx's.
    pub async fn acquire(&self) -> Result<TracedConnection<DB>, Error> {
        Ok(TracedConnection {
            inner: self.pool.acquire().await?,
            target: self.target.clone(),
        })
    }
    /// Begins a transaction, in a span `BEGIN`, which covers the wait for a connection.
    ///
    /// # Errors
    /// As sqlx's.
    pub async fn begin(&self) -> Result<TracedTransaction<'static, DB>, Error> {
        let begun = traced(self.target.call().operation("BEGIN"), self.pool.begin()).await?;
        Ok(TracedTransaction {
            inner: begun,
            target: self.target.clone(),
        })
    }
}

/// A connection of a pool whose queries are traced. `&mut TracedConnection` is an executor.
#[derive(Debug)]
pub struct TracedConnection<DB: Database> {
    inner: PoolConnection<DB>,
    target: DbTarget,
}

impl<DB: Database> TracedConnection<DB> {
    /// The connection alone.
    pub fn untraced(&mut self) -> &mut DB::Connection {
        &mut self.inner
    }
    /// Begins a transaction, in a span `BEGIN`.
    ///
    /// # Errors
    /// As sqlx's.
    pub async fn begin(&mut self) -> Result<TracedTransaction<'_, DB>, Error> {
        let begun = traced(self.target.call().operation("BEGIN"), self.inner.begin()).await?;
        Ok(TracedTransaction {
            inner: begun,
            target: self.target.clone(),
        })
    }
}

/// A transaction whose queries are traced. `&mut TracedTransaction` is an executor.
///
/// Dropped without an end, it rolls back when its connection is next used, as sqlx has it, and without a span.
#[derive(Debug)]
pub struct TracedTransaction<'t, DB: Database> {
    inner: Transaction<'t, DB>,
    target: DbTarget,
}

impl<'t, DB: Database> TracedTransaction<'t, DB> {
    /// The connection alone.
    pub fn untraced(&mut self) -> &mut DB::Connection {
        &mut self.inner
    }
    /// Makes the changes last, in a span `COMMIT`.
    ///
    /// # Errors
    /// As sqlx's.
    pub async fn commit(self) -> Result<(), Error> {
        traced(self.target.call().operation("COMMIT"), self.inner.commit()).await
    }
    /// Takes the changes back, in a span `ROLLBACK`.
    ///
    /// # Errors
    /// As sqlx's.
    pub async fn rollback(self) -> Result<(), Error> {
        traced(
            self.target.call().operation("ROLLBACK"),
            self.inner.rollback(),
        )
        .await
    }
}

/// Any executor of sqlx, traced: a connection, a listener, a pool behind a reference.
///
/// ```no_run
/// use spanlet_std::db::{DbTarget, sqlx::Traced};
/// use sqlx::Connection;
/// # async fn f() -> Result<(), sqlx::Error> {
/// let target = DbTarget::new("postgresql").namespace("shop").server("db.internal", 5432);
/// let mut connection = sqlx::PgConnection::connect("postgres://db.internal/shop").await?;
/// sqlx::query("SELECT 1").execute(Traced::new(&mut connection, &target)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Traced<'t, E> {
    executor: E,
    target: &'t DbTarget,
}

impl<'t, E> Traced<'t, E> {
    /// Traces one query on this executor.
    pub fn new(executor: E, target: &'t DbTarget) -> Self {
        Traced { executor, target }
    }
}

/// Runs a call of the driver in a span.
async fn traced<T>(
    call: DbCall<'_>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut span = call.start();
    let done = within(&mut *span, work).await;
    if let Err(error) = &done {
        fail(&mut span, error);
    }
    done
}

impl<'c, E: Executor<'c>> Executor<'c> for Traced<'_, E> {
    type Database = E::Database;

    fn fetch_many<'e, 'q: 'e, Q>(self, query: Q) -> BoxStream<'e, Result<Step<E::Database>, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E::Database>,
    {
        let mut call = self.target.call().query(query.sql()).start();
        let inner = call.run(|_| self.executor.fetch_many(query));
        Box::pin(Rows::<E::Database> {
            inner: Some(inner),
            call,
            count: 0,
        })
    }

    fn fetch_optional<'e, 'q: 'e, Q>(
        self,
        query: Q,
    ) -> BoxFuture<'e, Result<Option<<E::Database as Database>::Row>, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E::Database>,
    {
        let mut call = self.target.call().query(query.sql()).start();
        let inner = call.run(|_| self.executor.fetch_optional(query));
        Box::pin(async move {
            let row = within(&mut *call, inner).await;
            match &row {
                Ok(row) => call.returned_rows(usize::from(row.is_some())),
                Err(error) => fail(&mut call, error),
            }
            row
        })
    }

    fn prepare_with<'e, 'q: 'e>(
        self,
        sql: &'q str,
        parameters: &'e [<E::Database as Database>::TypeInfo],
    ) -> BoxFuture<'e, Result<<E::Database as Database>::Statement<'q>, Error>>
    where
        'c: 'e,
    {
        let mut call = self.target.call().operation("PREPARE").start();
        let inner = call.run(|_| self.executor.prepare_with(sql, parameters));
        Box::pin(async move {
            let statement = within(&mut *call, inner).await;
            if let Err(error) = &statement {
                fail(&mut call, error);
            }
            statement
        })
    }

    fn describe<'e, 'q: 'e>(
        self,
        sql: &'q str,
    ) -> BoxFuture<'e, Result<Describe<E::Database>, Error>>
    where
        'c: 'e,
    {
        self.executor.describe(sql)
    }
}

macro_rules! executor {
    ($(impl [$($generics:tt)*] for $of:ty, $this:ident => $inner:expr;)*) => {$(
        impl<'c, $($generics)*> Executor<'c> for $of
        where
            for<'a> &'a mut DB::Connection: Executor<'a, Database = DB>,
        {
            type Database = DB;

            fn fetch_many<'e, 'q: 'e, Q>(self, query: Q) -> BoxStream<'e, Result<Step<DB>, Error>>
            where
                'c: 'e,
                Q: 'q + Execute<'q, DB>,
            {
                let $this = self;
                Traced::new($inner, &$this.target).fetch_many(query)
            }
            fn fetch_optional<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<Option<DB::Row>, Error>>
            where
                'c: 'e,
                Q: 'q + Execute<'q, DB>,
            {
                let $this = self;
                Traced::new($inner, &$this.target).fetch_optional(query)
            }
            fn prepare_with<'e, 'q: 'e>(
                self,
                sql: &'q str,
                parameters: &'e [DB::TypeInfo],
            ) -> BoxFuture<'e, Result<DB::Statement<'q>, Error>>
            where
                'c: 'e,
            {
                let $this = self;
                Traced::new($inner, &$this.target).prepare_with(sql, parameters)
            }
            fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, Result<Describe<DB>, Error>>
            where
                'c: 'e,
            {
                let $this = self;
                Traced::new($inner, &$this.target).describe(sql)
            }
        }
    )*};
}
executor! {
    impl [DB: Database] for &'c TracedPool<DB>, this => &this.pool;
    impl [DB: Database] for &'c mut TracedConnection<DB>, this => &mut *this.inner;
    impl ['t, DB: Database] for &'c mut TracedTransaction<'t, DB>, this => &mut *this.inner;
}

/// The results of a query and its span, which ends with them.
struct Rows<'e, DB: Database> {
    /// Until its end.
    inner: Option<BoxStream<'e, Result<Step<DB>, Error>>>,
    call: DbSpan,
    count: usize,
}

impl<DB: Database> Rows<'_, DB> {
    fn end(&mut self) {
        if let Some(inner) = self.inner.take() {
            // What the driver does to give a connection back belongs to the call.
            self.call.run(|_| drop(inner));
            self.call.returned_rows(self.count);
            self.call.end();
        }
    }
}

impl<DB: Database> Stream for Rows<'_, DB> {
    type Item = Result<Step<DB>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Rows { inner, call, count } = &mut *self;
        let Some(stream) = inner else {
            return Poll::Ready(None);
        };
        let step = call.run(|_| stream.as_mut().poll_next(cx));
        match &step {
            Poll::Ready(Some(Ok(Either::Right(_)))) => *count += 1,
            Poll::Ready(Some(Ok(Either::Left(_)))) | Poll::Pending => {}
            Poll::Ready(Some(Err(error))) => {
                fail(call, error);
                self.end();
            }
            Poll::Ready(None) => self.end(),
        }
        step
    }
}

impl<DB: Database> Drop for Rows<'_, DB> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cold]
fn fail(call: &mut DbSpan, error: &Error) {
    if !call.is_recording() {
        return;
    }
    let error_type = match error {
        Error::RowNotFound => return,
        Error::Database(database) => {
            return call.fail(database.code().as_deref(), "Database", &database.message());
        }
        Error::Io(io) => return call.fail(None, &format!("{:?}", io.kind()), io),
        Error::Configuration(_) => "Configuration",
        Error::InvalidArgument(_) => "InvalidArgument",
        Error::Tls(_) => "Tls",
        Error::Protocol(_) => "Protocol",
        Error::TypeNotFound { .. } => "TypeNotFound",
        Error::ColumnIndexOutOfBounds { .. } => "ColumnIndexOutOfBounds",
        Error::ColumnNotFound(_) => "ColumnNotFound",
        Error::ColumnDecode { .. } => "ColumnDecode",
        Error::Encode(_) => "Encode",
        Error::Decode(_) => "Decode",
        Error::PoolTimedOut => "PoolTimedOut",
        Error::PoolClosed => "PoolClosed",
        Error::WorkerCrashed => "WorkerCrashed",
        Error::BeginFailed => "BeginFailed",
        _ => "_OTHER",
    };
    call.fail(None, error_type, error);
}
