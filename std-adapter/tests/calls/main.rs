//! Calls to databases, caches and queues: what their spans say, and what they do not.
//!
//! One process has one telemetry: the modules share it, and each looks at its own traces.

mod recorded;

mod carriers;
mod messages;
mod query_summary;
mod query_text;
#[cfg(feature = "redis-tokio")]
mod redis_calls;
#[cfg(feature = "rusqlite")]
mod rusqlite_calls;
#[cfg(all(feature = "sqlx", feature = "redis-tokio"))]
mod servers;
#[cfg(feature = "sqlx")]
mod sqlx_calls;
