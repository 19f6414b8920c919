//! A real PostgreSQL and a real Redis, for the gate's section `databases`: it starts them and says where they are.

use crate::recorded::{CLIENT, ERROR, named, root, status, text, trace_of};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use redis::AsyncCommands;
use spanlet::{Instrument, within};
use spanlet_std::Span;
use spanlet_std::db::redis as traced_redis;
use spanlet_std::db::sqlx::{Traced, TracedPool};
use sqlx::{Connection, Executor, Postgres, Row, Statement};
use std::future::Future;

fn address(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} must be set: run tests/gate.sh databases"))
}

/// Runs `work` in a trace of its own, whose spans come back.
async fn trace(work: impl Future<Output = ()>) -> Vec<OtlpSpan> {
    let mut root = root();
    within(&mut root, work).await;
    tokio::task::spawn_blocking(|| trace_of(root))
        .await
        .unwrap()
}

async fn postgres() -> TracedPool<Postgres> {
    TracedPool::new(
        sqlx::PgPool::connect(&address("SPANLET_TEST_POSTGRES"))
            .await
            .expect("PostgreSQL answers"),
    )
}

/// Name, rows, error code of the calls.
fn calls(spans: &[OtlpSpan]) -> Vec<(&str, Option<String>, Option<String>)> {
    let rows = |span| text(span, "db.response.returned_rows");
    spans[1..]
        .iter()
        .map(|span| {
            (
                &*span.name,
                rows(span),
                text(span, "db.response.status_code"),
            )
        })
        .collect()
}
fn call<'s>(
    name: &'s str,
    rows: &str,
    code: Option<&str>,
) -> (&'s str, Option<String>, Option<String>) {
    (
        name,
        (!rows.is_empty()).then(|| rows.to_owned()),
        code.map(str::to_owned),
    )
}

#[tokio::test]
#[ignore = "needs a PostgreSQL: tests/gate.sh databases"]
async fn postgres_queries_have_names_rows_and_codes() {
    let pool = postgres().await;
    sqlx::query("CREATE TABLE orders (id INT PRIMARY KEY, note TEXT NOT NULL)")
        .execute(&pool)
        .await
        .unwrap();
    let spans = trace(async {
        let insert =
            "INSERT INTO orders (id, note) SELECT n, 'zqsecret' FROM generate_series(1, 10) n";
        assert_eq!(
            sqlx::query(insert)
                .execute(&pool)
                .await
                .unwrap()
                .rows_affected(),
            10
        );
        let rows = sqlx::query("SELECT id FROM orders WHERE id < $1")
            .bind(4)
            .fetch_all(&pool)
            .await
            .unwrap();
        assert_eq!(rows.len(), 3);
        let one = sqlx::query("SELECT note FROM orders WHERE id = 1")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(one.get::<String, _>(0), "zqsecret");
        let none = sqlx::query("SELECT 1 FROM orders WHERE id = 77")
            .fetch_one(&pool)
            .await;
        assert!(matches!(none, Err(sqlx::Error::RowNotFound)));
        // Two rows of a stream are taken, then it is dropped.
        {
            let mut rows = sqlx::query("SELECT id FROM orders").fetch(&pool);
            for _ in 0..2 {
                std::future::poll_fn(|cx| rows.as_mut().poll_next(cx))
                    .await
                    .unwrap()
                    .unwrap();
            }
        }
        // Errors.
        sqlx::query("SELEC 'zqsecret'")
            .execute(&pool)
            .await
            .unwrap_err();
        sqlx::query("INSERT INTO orders VALUES (1, 'zqsecret')")
            .execute(&pool)
            .await
            .unwrap_err();
        sqlx::query("SELECT * FROM nothing")
            .fetch_optional(&pool)
            .await
            .unwrap_err();
        sqlx::query("SELECT 'zqsecret'::int FROM orders")
            .fetch_all(&pool)
            .await
            .unwrap_err();
    })
    .await;
    assert!(!format!("{spans:?}").contains("zqsecret"));
    assert_eq!(
        calls(&spans),
        [
            call("INSERT orders SELECT", "0", None),
            call("SELECT orders", "3", None),
            call("SELECT orders", "1", None),
            call("SELECT orders", "0", None),
            call("SELECT orders", "2", None),
            call("postgres", "0", Some("42601")),
            call("INSERT orders", "0", Some("23505")),
            call("SELECT nothing", "", Some("42P01")),
            call("SELECT orders", "0", Some("22P02")),
        ]
    );
    for span in &spans[1..] {
        assert_eq!(span.kind, CLIENT);
        assert_eq!(span.parent_span_id, spans[0].span_id);
        assert_eq!(text(span, "db.system.name").as_deref(), Some("postgresql"));
        assert_eq!(text(span, "db.namespace").as_deref(), Some("postgres"));
        assert_eq!(text(span, "server.address").as_deref(), Some("127.0.0.1"));
        let code = text(span, "db.response.status_code");
        assert_eq!(status(span) == ERROR, code.is_some(), "{}", span.name);
        assert_eq!(text(span, "error.type"), code);
    }
    let unique = named(&spans, "INSERT orders");
    assert_eq!(
        text(unique, "db.query.text").as_deref(),
        Some("INSERT INTO orders VALUES (?, ?)")
    );
    let message = unique.status.clone().unwrap().message;
    assert_eq!(message, "duplicate key value violates unique constraint ?");
}

#[tokio::test]
#[ignore = "needs a PostgreSQL: tests/gate.sh databases"]
async fn postgres_transactions_and_connections_are_traced() {
    let pool = postgres().await;
    sqlx::query("CREATE TABLE stock (id INT PRIMARY KEY)")
        .execute(&pool)
        .await
        .unwrap();
    let spans = trace(async {
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("INSERT INTO stock VALUES (1)")
            .execute(&mut transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("DELETE FROM stock")
            .execute(&mut transaction)
            .await
            .unwrap();
        transaction.rollback().await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        let row = sqlx::query("SELECT count(*) FROM stock")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(row.get::<i64, _>(0), 1, "the second was rolled back");
        let statement = (&mut connection)
            .prepare("SELECT id FROM stock WHERE id = $1")
            .await
            .unwrap();
        statement
            .query()
            .bind(1)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        drop(statement);
        let mut alone = sqlx::PgConnection::connect(&address("SPANLET_TEST_POSTGRES"))
            .await
            .unwrap();
        // Several statements at once, through the simple protocol.
        let traced = Traced::new(&mut alone, pool.target());
        sqlx::raw_sql("SELECT 1; SELECT id FROM stock; SELECT 'zqsecret'")
            .execute(traced)
            .await
            .unwrap();
    })
    .await;
    assert!(!format!("{spans:?}").contains("zqsecret"));
    let names: Vec<_> = spans[1..].iter().map(|span| &*span.name).collect();
    assert_eq!(
        names,
        [
            "BEGIN postgres",
            "INSERT stock",
            "COMMIT postgres",
            "BEGIN postgres",
            "DELETE stock",
            "ROLLBACK postgres",
            "SELECT stock",
            "PREPARE postgres",
            "SELECT stock",
            "SELECT SELECT stock SELECT",
        ]
    );
    let all = spans.last().unwrap();
    assert_eq!(text(all, "db.response.returned_rows").as_deref(), Some("3"));
    assert!(spans.iter().all(|span| status(span) != ERROR));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a PostgreSQL: tests/gate.sh databases"]
async fn postgres_queries_are_children_of_their_tasks() {
    let pool = postgres().await;
    let root = root();
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let (pool, task): (_, Span) = (
                pool.clone(),
                spanlet_std::span("task").parent(&root).start(),
            );
            let id = task.context().span_id().to_bytes().to_vec();
            let work = async move {
                for _ in 0..3 {
                    sqlx::query("SELECT pg_sleep(0.01), $1")
                        .bind(i)
                        .execute(&pool)
                        .await
                        .unwrap();
                }
            };
            (id, tokio::spawn(work.in_span(task)))
        })
        .collect();
    let mut ids = Vec::new();
    for (id, task) in tasks {
        task.await.unwrap();
        ids.push(id);
    }
    let spans = tokio::task::spawn_blocking(|| trace_of(root))
        .await
        .unwrap();
    assert_eq!(spans.len(), 1 + 16 * 4);
    for id in ids {
        let queries: Vec<_> = spans
            .iter()
            .filter(|span| span.parent_span_id == id)
            .collect();
        assert_eq!(queries.len(), 3);
        assert!(
            queries
                .iter()
                .all(|query| query.end_time_unix_nano - query.start_time_unix_nano >= 9_000_000)
        );
    }
}

#[tokio::test]
#[ignore = "needs a Redis: tests/gate.sh databases"]
async fn redis_commands_have_keys_and_codes() {
    let client = redis::Client::open(address("SPANLET_TEST_REDIS")).unwrap();
    let blocking = client.clone();
    let spans = trace(async {
        let mut cache = traced_redis::Traced::connect_async(&client)
            .await
            .expect("Redis answers");
        let _: () = cache.set("order:7", "zqsecret").await.unwrap();
        let value: String = cache.get("order:7").await.unwrap();
        assert_eq!(value, "zqsecret");
        assert!(
            cache
                .lpush::<_, _, i64>("order:7", "zqsecret")
                .await
                .is_err()
        );
        assert!(
            redis::cmd("EVAL")
                .arg("syntax 'zqsecret'")
                .arg(0)
                .exec_async(&mut cache)
                .await
                .is_err()
        );
        let pipe = |atomic: bool| {
            let mut pipe = redis::pipe();
            if atomic {
                pipe.atomic();
            }
            pipe.set("a", "zqsecret").ignore().incr("b", 1).clone()
        };
        let (_,): (i64,) = pipe(false).query_async(&mut cache).await.unwrap();
        let (_,): (i64,) = pipe(true).query_async(&mut cache).await.unwrap();
    })
    .await;
    assert!(!format!("{spans:?}").contains("zqsecret"));
    let seen: Vec<_> = spans[1..]
        .iter()
        .map(|span| (&*span.name, text(span, "error.type")))
        .collect();
    let call = |name, error: Option<&str>| (name, error.map(str::to_owned));
    assert_eq!(
        seen,
        [
            call("CONNECT 0", None),
            call("SET 0", None),
            call("GET 0", None),
            call("LPUSH 0", Some("WRONGTYPE")),
            call("EVAL 0", Some("ERR")),
            call("PIPELINE 0", None),
            call("MULTI 0", None),
        ]
    );
    assert!(
        spans[1..]
            .iter()
            .all(|span| span.parent_span_id == spans[0].span_id)
    );
    let text_of = |name| text(named(&spans, name), "db.query.text").unwrap();
    assert_eq!(text_of("SET 0"), "SET order:7 ?");
    assert_eq!(text_of("MULTI 0"), "SET a ?; INCRBY b ?");

    // The same over a blocking connection.
    let spans = tokio::task::spawn_blocking(move || {
        use redis::Commands;
        let mut root = root();
        root.run(|_| {
            let mut cache = traced_redis::Traced::connect(&blocking).unwrap();
            let _: () = cache.set("order:8", "zqsecret").unwrap();
            let _: (i64,) = redis::pipe()
                .atomic()
                .set("a", 1)
                .ignore()
                .incr("a", 1)
                .query(&mut cache)
                .unwrap();
            assert!(cache.hget::<_, _, i64>("order:8", "field").is_err());
        });
        trace_of(root)
    })
    .await
    .unwrap();
    let seen: Vec<_> = spans[1..]
        .iter()
        .map(|span| (&*span.name, text(span, "error.type")))
        .collect();
    let wrong = call("HGET 0", Some("WRONGTYPE"));
    assert_eq!(
        seen,
        [
            call("CONNECT 0", None),
            call("SET 0", None),
            call("MULTI 0", None),
            wrong
        ]
    );
}

/// A server that goes away and one that was never there.
#[tokio::test]
#[ignore = "needs a Redis: tests/gate.sh databases"]
async fn servers_that_are_not_there_are_told_apart() {
    let gone = redis::Client::open("redis://127.0.0.1:1/").unwrap();
    let client = redis::Client::open(address("SPANLET_TEST_REDIS")).unwrap();
    let spans = trace(async {
        assert!(traced_redis::Traced::connect_async(&gone).await.is_err());
        let refused = sqlx::PgConnection::connect("postgres://shop@127.0.0.1:1/shop").await;
        assert!(matches!(refused, Err(sqlx::Error::Io(_))));
        let mut cache = traced_redis::Traced::connect_async(&client).await.unwrap();
        // The server closes the connection behind its answer.
        let _: Result<(), _> = redis::cmd("QUIT").query_async(&mut cache).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(cache.get::<_, Option<String>>("a").await.is_err());
    })
    .await;
    let refused = &spans[1];
    assert_eq!(
        (&*refused.name, text(refused, "error.type").as_deref()),
        ("CONNECT 0", Some("ConnectionRefused"))
    );
    let dropped = named(&spans, "GET 0");
    assert_eq!(
        text(dropped, "error.type").as_deref(),
        Some("ConnectionDropped")
    );
}
