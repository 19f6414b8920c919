//! redis with a span for each command and each pipeline, for blocking connections and, with the feature `redis-tokio`,
//! for those of an async runtime.
//!
//! Input: commands through a [`Traced`] connection. Output: what the connection answers, and a span by the conventions
//! of [`db`](super): named by the command and the database's index (`GET 0`), the command's keys and fields in
//! `db.query.text` and `?` for its values. Bound: 2 KiB of text, and one box more for each async command.
//!
//! A pipeline is one span, `PIPELINE` or `MULTI`, with the command's name behind it if all of its commands are the
//! same, and `db.operation.batch.size`. `error.type` is the server's code (`WRONGTYPE`), else what failed
//! (`ConnectionRefused`, `ConnectionDropped`, `TimedOut`) or the name of redis' kind of error (`AuthenticationFailed`).

use super::command::{self, Commands};
use super::{Capture, DbSpan, DbTarget};
use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, ConnectionLike, RedisError, RedisResult, Value,
};

/// A connection whose commands are traced.
///
/// ```no_run
/// use redis::Commands;
/// use spanlet_std::db::redis::Traced;
/// let client = redis::Client::open("redis://cache.internal/0")?;
/// let mut cache = Traced::connect(&client)?;
/// let _: () = cache.set("order:7", "by air")?;
/// # Ok::<(), redis::RedisError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Traced<C> {
    inner: C,
    target: DbTarget,
}

impl Traced<redis::Connection> {
    /// Connects, in a span `CONNECT`.
    ///
    /// # Errors
    /// As redis'.
    pub fn connect(client: &Client) -> RedisResult<Self> {
        let target = target_of(client.get_connection_info());
        let mut call = target.call().operation("CONNECT").start();
        let inner = call.run(|_| client.get_connection());
        if let Err(error) = &inner {
            fail(&mut call, error);
        }
        drop(call);
        Ok(Traced {
            inner: inner?,
            target,
        })
    }
}

/// Where a client's connections lead. `db.namespace` is the index that they begin with; `SELECT` does not change it.
///
/// ```
/// let client = redis::Client::open("redis://cache.internal:6380/2")?;
/// let target = spanlet_std::db::redis::target_of(client.get_connection_info());
/// # drop(target);
/// # Ok::<(), redis::RedisError>(())
/// ```
pub fn target_of(info: &ConnectionInfo) -> DbTarget {
    let target = DbTarget::new("redis").namespace(&info.redis_settings().db().to_string());
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            target.server(host, *port)
        }
        ConnectionAddr::Unix(path) => target.server(&path.to_string_lossy(), 0),
        _ => target,
    }
}

impl<C> Traced<C> {
    /// Traces a connection, or whatever takes commands like one: a manager, a cluster.
    pub fn new(inner: C, target: &DbTarget) -> Self {
        Traced {
            inner,
            target: target.clone(),
        }
    }
    /// Changes what is recorded of each command.
    #[must_use]
    pub fn with_target(mut self, change: impl FnOnce(DbTarget) -> DbTarget) -> Self {
        self.target = change(self.target);
        self
    }
    /// The connection alone.
    pub fn untraced(&mut self) -> &mut C {
        &mut self.inner
    }

    fn start(&self, commands: &impl Commands) -> DbSpan {
        let name = command::name(commands);
        let mut call = self
            .target
            .call()
            .operation(name.as_str())
            .batch_size(commands.commands().count())
            .start();
        if call.is_recording() {
            let text = match self.target.captures() {
                Capture::Sanitized => command::text(commands, true),
                Capture::AsWritten => command::text(commands, false),
                Capture::Omitted => return call,
            };
            call.set_attribute("db.query.text", text.as_str());
        }
        call
    }
}

impl<C: ConnectionLike> ConnectionLike for Traced<C> {
    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        let mut call = self.start(&command::Packed::new(packed));
        let answer = call.run(|_| self.inner.req_packed_command(packed));
        one(&mut call, answer)
    }
    fn req_packed_commands(
        &mut self,
        packed: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let mut call = self.start(&command::Packed::new(packed));
        let answers = call.run(|_| self.inner.req_packed_commands(packed, offset, count));
        all(&mut call, answers)
    }
    fn req_command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let mut call = self.start(cmd);
        let answer = call.run(|_| self.inner.req_command(cmd));
        one(&mut call, answer)
    }
    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
    fn supports_pipelining(&self) -> bool {
        self.inner.supports_pipelining()
    }
    fn check_connection(&mut self) -> bool {
        self.inner.check_connection()
    }
    fn is_open(&self) -> bool {
        self.inner.is_open()
    }
}

#[cfg(feature = "redis-tokio")]
mod aio {
    use super::{Traced, all, fail, one, target_of};
    use redis::aio::{ConnectionLike, MultiplexedConnection};
    use redis::{Client, Cmd, Pipeline, RedisFuture, RedisResult, Value};
    use spanlet::within;

    impl Traced<MultiplexedConnection> {
        /// Connects, in a span `CONNECT`.
        ///
        /// # Errors
        /// As redis'.
        pub async fn connect_async(client: &Client) -> RedisResult<Self> {
            let target = target_of(client.get_connection_info());
            let mut call = target.call().operation("CONNECT").start();
            let inner = within(&mut *call, client.get_multiplexed_async_connection()).await;
            if let Err(error) = &inner {
                fail(&mut call, error);
            }
            drop(call);
            Ok(Traced {
                inner: inner?,
                target,
            })
        }
    }

    impl<C: ConnectionLike + Send> ConnectionLike for Traced<C> {
        fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
            let mut call = self.start(cmd);
            Box::pin(async move {
                let answer = within(&mut *call, self.inner.req_packed_command(cmd)).await;
                one(&mut call, answer)
            })
        }
        fn req_packed_commands<'a>(
            &'a mut self,
            pipeline: &'a Pipeline,
            offset: usize,
            count: usize,
        ) -> RedisFuture<'a, Vec<Value>> {
            let mut call = self.start(pipeline);
            Box::pin(async move {
                let work = self.inner.req_packed_commands(pipeline, offset, count);
                let answers = within(&mut *call, work).await;
                all(&mut call, answers)
            })
        }
        fn get_db(&self) -> i64 {
            self.inner.get_db()
        }
    }
}

/// An error may come as an answer.
fn one(call: &mut DbSpan, answer: RedisResult<Value>) -> RedisResult<Value> {
    match &answer {
        Ok(value) => answered(call, core::slice::from_ref(value)),
        Err(error) => fail(call, error),
    }
    answer
}
fn all(call: &mut DbSpan, answers: RedisResult<Vec<Value>>) -> RedisResult<Vec<Value>> {
    match &answers {
        Ok(values) => answered(call, values),
        Err(error) => fail(call, error),
    }
    answers
}

/// The first error among the answers is the span's. Those of a transaction are in one array.
fn answered(call: &mut DbSpan, values: &[Value]) {
    let values = match values {
        [Value::Array(values)] => values,
        values => values,
    };
    for value in values {
        if let Value::ServerError(error) = value {
            let message = error.details().unwrap_or_default();
            return call.fail(Some(error.code()), "Server", &message);
        }
    }
}

#[cold]
fn fail(call: &mut DbSpan, error: &RedisError) {
    if !call.is_recording() {
        return;
    }
    let error_type = match error {
        _ if error.is_connection_refusal() => "ConnectionRefused",
        _ if error.is_timeout() => "TimedOut",
        _ if error.is_connection_dropped() => "ConnectionDropped",
        _ => return call.fail(error.code(), &format!("{:?}", error.kind()), error),
    };
    call.fail(error.code(), error_type, error);
}
