//! `db.query.summary`: operations and their targets, and nothing that differs from call to call.

use spanlet_std::db::{Dialect, QuerySummary};

#[test]
fn operations_and_targets_in_order() {
    for (sql, expected) in [
        // The examples of the semantic conventions.
        (
            "SELECT *\nFROM   wuser_table\nWHERE  username = ?",
            "SELECT wuser_table",
        ),
        (
            "INSERT INTO shipping_details (order_id, address) SELECT order_id, address FROM orders WHERE order_id = ?",
            "INSERT shipping_details SELECT orders",
        ),
        (
            "SELECT * FROM songs, artists WHERE songs.artist_id == artists.id",
            "SELECT songs artists",
        ),
        (
            "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON o.customer_id = c.customer_id)",
            "SELECT SELECT orders customers",
        ),
        (
            "SELECT * FROM \"song list\", artists",
            "SELECT \"song list\" artists",
        ),
        (
            "call some_stored_procedure(1, 'x')",
            "call some_stored_procedure",
        ),
        // More.
        ("select 1", "select"),
        (
            "SELECT a FROM public.users AS u LEFT JOIN x.y.z USING (id), t2 t",
            "SELECT public.users x.y.z t2",
        ),
        (
            "UPDATE ONLY users SET a = b, c = (SELECT max(d) FROM e) WHERE f = 1",
            "UPDATE users SELECT e",
        ),
        ("UPDATE a SET x = 1 FROM b WHERE a.id = b.id", "UPDATE a b"),
        ("DELETE FROM a USING b WHERE a.id = b.id", "DELETE a b"),
        (
            "SELECT extract(year FROM ts), substring(a FROM 2) FROM events",
            "SELECT events",
        ),
        ("SELECT a IS DISTINCT FROM b FROM c", "SELECT c"),
        ("SELECT * FROM generate_series(1, 10) g, t", "SELECT t"),
        (
            "SELECT * FROM a WHERE id IN (SELECT id FROM b, c) AND x IN (1, 2)",
            "SELECT a SELECT b c",
        ),
        (
            "SELECT a FROM b UNION ALL SELECT c FROM d",
            "SELECT b SELECT d",
        ),
        (
            "(SELECT a FROM b) UNION (SELECT c FROM d)",
            "SELECT b SELECT d",
        ),
        (
            "WITH x AS (SELECT * FROM a), y (n) AS (SELECT 1) SELECT * FROM x, y, b",
            "SELECT a SELECT SELECT b",
        ),
        (
            "WITH RECURSIVE t AS (SELECT 1 UNION SELECT n FROM t) SELECT * FROM T",
            "SELECT SELECT SELECT",
        ),
        (
            "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone",
            "DELETE a INSERT b SELECT",
        ),
        (
            "INSERT INTO t (a) VALUES (1), (2) ON CONFLICT (a) DO UPDATE SET a = 2",
            "INSERT t",
        ),
        ("INSERT OR REPLACE INTO t VALUES (1)", "INSERT t"),
        (
            "REPLACE INTO t VALUES (replace('a', 'b', 'c'))",
            "REPLACE t",
        ),
        ("SELECT * FROM t FOR UPDATE", "SELECT t"),
        (
            "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN UPDATE SET x = 1",
            "MERGE a b",
        ),
        (
            "CREATE TABLE IF NOT EXISTS orders (id INT)",
            "CREATE TABLE orders",
        ),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY i ON orders USING btree (id)",
            "CREATE INDEX i",
        ),
        (
            "CREATE OR REPLACE TEMPORARY VIEW v AS SELECT * FROM t",
            "CREATE VIEW v SELECT t",
        ),
        ("DROP TABLE a", "DROP TABLE a"),
        ("ALTER USER alice PASSWORD 'x'", "ALTER USER"),
        ("TRUNCATE TABLE a", "TRUNCATE a"),
        (
            "EXPLAIN ANALYZE SELECT * FROM t",
            "EXPLAIN ANALYZE SELECT t",
        ),
        ("BEGIN; UPDATE t SET a = 1; COMMIT", "BEGIN UPDATE t COMMIT"),
        ("SET search_path TO alice", "SET"),
        ("REVOKE ALL ON t FROM bob", "REVOKE"),
        ("SELECT * FROM $1", "SELECT"),
        ("SELECT * FROM 'artists'", "SELECT"),
        // No SQL that we know is no name to group by.
        ("SELEC 1", ""),
        ("alice bob", ""),
        ("", ""),
    ] {
        assert_eq!(
            QuerySummary::of(Dialect::PostgreSql, sql).as_str(),
            expected,
            "{sql}"
        );
    }
    let mysql = |sql| QuerySummary::of(Dialect::MySql, sql).to_string();
    assert_eq!(
        mysql("SELECT * FROM `my db`.`t` WHERE a = \"FROM b\""),
        "SELECT `my db`.`t`"
    );
    assert_eq!(
        mysql("INSERT IGNORE INTO t SET a = 1 ON DUPLICATE KEY UPDATE a = 2"),
        "INSERT t"
    );
}

#[test]
fn it_is_cut_between_words() {
    let tables: Vec<_> = (0..60).map(|i| format!("table_{i:02}")).collect();
    let sql = format!("SELECT * FROM {}", tables.join(", "));
    let summary = QuerySummary::of(Dialect::PostgreSql, &sql);
    assert!((245..=255).contains(&summary.as_str().len()));
    assert!(format!("SELECT {}", tables.join(" ")).starts_with(&format!("{summary} ")));
    // A target that does not fit ends it: what follows would stand in its place.
    let sql = format!("SELECT * FROM {}, b", "x".repeat(300));
    assert_eq!(
        QuerySummary::of(Dialect::PostgreSql, &sql).as_str(),
        "SELECT"
    );
}

#[test]
fn deep_brackets_do_no_harm() {
    let deep = format!(
        "SELECT * FROM {}SELECT * FROM a{} JOIN b",
        "(".repeat(500),
        ")".repeat(500)
    );
    assert_eq!(
        QuerySummary::of(Dialect::PostgreSql, &deep).as_str(),
        "SELECT SELECT a b"
    );
}
