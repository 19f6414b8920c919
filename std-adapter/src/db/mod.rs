//! Spans of calls to databases and caches.
//!
//! Input: the calls of a driver. Output: a CLIENT span for each, by the stable semantic conventions. Bound: 2 KiB of a
//! query's text; a query's literals and a command's values are not recorded.
//!
//! | driver | feature | wrapper |
//! |---|---|---|
//! | rusqlite | `rusqlite` | [`rusqlite::Connection`] |
//! | sqlx, any database | `sqlx` | [`sqlx::TracedPool`], [`sqlx::Traced`] |
//! | redis, blocking | `redis` | [`redis::Traced`] |
//! | redis, async | `redis-tokio` | [`redis::Traced`] |
//! | any other | | [`DbTarget::call`] around the driver's own call |
//!
//! The span's name and `db.query.summary` say what is done to what (`SELECT orders`), `db.query.text` how, without
//! literals. Where the driver tells rows, `db.response.returned_rows` has their number. An error of the database is
//! recorded as `db.response.status_code` and `error.type`; any other as `error.type`, one of those that each wrapper
//! lists. That a query which wants one row finds none is no error of the call.
//!
//! ```
//! use spanlet_std::db::DbTarget;
//! # struct Client;
//! # struct Failure { code: String }
//! # impl std::fmt::Display for Failure {
//! #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.code) }
//! # }
//! # impl Client { fn send(&self, _: &str) -> Result<Vec<u8>, Failure> { Ok(vec![]) } }
//! # let client = Client;
//! // Around a driver that has no wrapper here:
//! let target = DbTarget::new("clickhouse").namespace("events").server("ch.internal", 9000);
//! let sql = "SELECT count() FROM clicks WHERE user = 'alice'";
//! let mut call = target.call().query(sql).start();
//! match call.run(|_| client.send(sql)) {
//!     Ok(rows) => call.returned_rows(rows.len()),
//!     Err(error) => call.fail(Some(&error.code), "server", &error),
//! }
//! call.end();
//! ```

mod tokens;

mod summary;
mod text;

mod call;

#[cfg(feature = "rusqlite")]
pub mod rusqlite;

#[cfg(feature = "sqlx")]
pub mod sqlx;

#[cfg(feature = "redis")]
mod command;
#[cfg(feature = "redis")]
pub mod redis;

pub use call::{Capture, DbCall, DbSpan, DbTarget, PreparedQuery};
pub(crate) use text::Text;
pub use text::{QuerySummary, QueryText};
pub use tokens::Dialect;
