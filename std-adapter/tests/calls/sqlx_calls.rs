//! sqlx without a server: where a pool leads, and what is recorded of one that cannot be reached. The rest is in
//! `servers`, with a real PostgreSQL.

use crate::recorded::{CLIENT, ERROR, named, root, status, text, trace_of};
use spanlet::within;
use spanlet_std::db::sqlx::TracedPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::time::Duration;

fn unreachable(options: PgConnectOptions) -> TracedPool<sqlx::Postgres> {
    let options = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(200))
        .connect_lazy_with(options);
    TracedPool::new(options)
}

#[tokio::test]
async fn a_pool_without_a_server_times_out_in_a_span() {
    let mut root = root();
    let options = PgConnectOptions::new()
        .host("127.0.0.1")
        .port(1)
        .username("shop")
        .password("zqsecret")
        .database("a b");
    let pool = unreachable(options);
    within(&mut root, async {
        sqlx::query("SELECT 'zqsecret' FROM orders")
            .fetch_all(&pool)
            .await
            .unwrap_err();
        sqlx::query("DELETE FROM orders WHERE id = $1")
            .bind(7)
            .execute(&pool)
            .await
            .unwrap_err();
        sqlx::query("SELECT 1")
            .fetch_optional(&pool)
            .await
            .unwrap_err();
        assert!(pool.begin().await.is_err());
        pool.untraced().close().await;
        sqlx::query("VACUUM").execute(&pool).await.unwrap_err();
    })
    .await;
    let id = root.context().span_id().to_bytes().to_vec();
    let spans = tokio::task::spawn_blocking(|| trace_of(root))
        .await
        .unwrap();
    assert!(!format!("{spans:?}").contains("zqsecret"));
    let names: Vec<_> = spans[1..].iter().map(|span| &*span.name).collect();
    assert_eq!(
        names,
        [
            "SELECT orders",
            "DELETE orders",
            "SELECT",
            "BEGIN a b",
            "VACUUM"
        ]
    );
    for call in &spans[1..] {
        assert_eq!((call.kind, status(call)), (CLIENT, ERROR));
        assert_eq!(call.parent_span_id, id);
        assert_eq!(text(call, "db.system.name").as_deref(), Some("postgresql"));
        assert_eq!(text(call, "db.namespace").as_deref(), Some("a b"));
        assert_eq!(text(call, "server.address").as_deref(), Some("127.0.0.1"));
        assert_eq!(text(call, "server.port").as_deref(), Some("1"));
        let error = text(call, "error.type").unwrap();
        let expected = if call.name == "VACUUM" {
            "PoolClosed"
        } else {
            "PoolTimedOut"
        };
        assert_eq!(error, expected);
    }
    assert_eq!(
        text(named(&spans, "SELECT orders"), "db.query.text").as_deref(),
        Some("SELECT ? FROM orders")
    );
}

#[tokio::test]
async fn a_socket_in_the_file_system_has_no_port() {
    let mut root = root();
    let pool = unreachable(
        PgConnectOptions::new()
            .socket("/tmp/no such dir")
            .username("shop"),
    );
    within(&mut root, async {
        sqlx::query("SELECT 1").execute(&pool).await.unwrap_err();
    })
    .await;
    let spans = tokio::task::spawn_blocking(|| trace_of(root))
        .await
        .unwrap();
    let call = named(&spans, "SELECT");
    assert_eq!(
        text(call, "server.address").as_deref(),
        Some("/tmp/no such dir")
    );
    assert_eq!(text(call, "server.port"), None);
    assert_eq!(text(call, "error.type").as_deref(), Some("NotFound"));
}
