//! rusqlite: a span for each statement that runs, with its rows and its errors.

use crate::recorded::{CLIENT, ERROR, named, root, status, text, trace_of};
use rusqlite::Error;
use spanlet_std::db::rusqlite::Connection;
use spanlet_std::db::{Capture, DbTarget};

fn shop() -> Connection {
    let db = Connection::new(rusqlite::Connection::open_in_memory().unwrap())
        .with_target(|target| target.namespace("shop"));
    // Outside of any trace of a test.
    db.untraced_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT UNIQUE)");
    db
}

trait Untraced {
    fn untraced_batch(&self, sql: &str);
}
impl Untraced for Connection {
    fn untraced_batch(&self, sql: &str) {
        rusqlite::Connection::execute_batch(self, sql).unwrap();
    }
}

#[test]
fn statements_have_names_texts_and_rows() {
    let db = shop();
    let mut root = root();
    root.run(|_| {
        assert_eq!(
            db.execute("INSERT INTO orders (note) VALUES (?1), ('zqsecret')", ["a"]),
            Ok(2)
        );
        let note: String = db
            .query_row("SELECT note FROM orders WHERE id = 2", [], |row| row.get(0))
            .unwrap();
        assert_eq!(note, "zqsecret");
        let gone = db.query_row("SELECT 1 FROM orders WHERE id = 77", [], |_| Ok(()));
        assert_eq!(gone, Err(Error::QueryReturnedNoRows));

        let mut update = db
            .prepare("UPDATE orders SET note = ?2 WHERE id = ?1")
            .unwrap();
        for id in 1..=2 {
            assert_eq!(update.execute((id, format!("note {id}"))), Ok(1));
        }
        let mut all = db
            .prepare("SELECT id, note FROM orders ORDER BY id")
            .unwrap();
        let notes: Vec<String> = all
            .query_map([], |row| row.get(1))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(notes, ["note 1", "note 2"]);
        // One row is taken; the span ends when the rows are dropped.
        let mut rows = all.query([]).unwrap();
        assert!(rows.next().unwrap().is_some());
        drop(rows);
        let one: i64 = db
            .traced("SELECT 1 -- cached", |raw| {
                raw.query_row("SELECT 1", [], |row| row.get(0))
            })
            .unwrap();
        assert_eq!(one, 1);
    });
    let id = root.context().span_id().to_bytes().to_vec();
    let spans = trace_of(root);
    let calls: Vec<_> = spans.iter().filter(|span| span.name != "test").collect();
    for call in &calls {
        assert_eq!((call.kind, status(call)), (CLIENT, 0), "{}", call.name);
        assert_eq!(call.parent_span_id, id);
        assert_eq!(text(call, "db.system.name").as_deref(), Some("sqlite"));
        assert_eq!(text(call, "db.namespace").as_deref(), Some("shop"));
        assert_eq!(text(call, "db.query.summary").as_ref(), Some(&call.name));
        assert_eq!(
            text(call, "db.operation.name"),
            None,
            "is not taken from the text"
        );
        assert!(!format!("{call:?}").contains("zqsecret"));
    }
    let seen: Vec<_> = calls
        .iter()
        .map(|call| {
            (
                &*call.name,
                text(call, "db.query.text").unwrap(),
                text(call, "db.response.returned_rows"),
            )
        })
        .collect();
    let row =
        |name, text: &str, rows: Option<&str>| (name, text.to_owned(), rows.map(str::to_owned));
    let all = "SELECT id, note FROM orders ORDER BY id";
    assert_eq!(
        seen,
        [
            row(
                "INSERT orders",
                "INSERT INTO orders (note) VALUES (?1), (?)",
                None
            ),
            row(
                "SELECT orders",
                "SELECT note FROM orders WHERE id = ?",
                Some("1")
            ),
            row(
                "SELECT orders",
                "SELECT ? FROM orders WHERE id = ?",
                Some("0")
            ),
            row(
                "UPDATE orders",
                "UPDATE orders SET note = ?2 WHERE id = ?1",
                None
            ),
            row(
                "UPDATE orders",
                "UPDATE orders SET note = ?2 WHERE id = ?1",
                None
            ),
            row("SELECT orders", all, Some("2")),
            row("SELECT orders", all, Some("1")),
            row("SELECT", "SELECT ?", None),
        ]
    );
}

#[test]
fn errors_have_the_databases_code_and_no_values() {
    let db = shop();
    let mut root = root();
    root.run(|_| {
        db.execute("INSERT INTO orders (note) VALUES ('zqsecret')", [])
            .unwrap();
        db.execute("INSERT INTO orders (note) VALUES ('zqsecret')", [])
            .unwrap_err();
        db.execute("UPDATE orders SET note = 'zqsecret' 'zqsecret'", [])
            .unwrap_err();
        assert!(db.prepare("SELECT * FROM nothing").is_err());
        db.query_row("SELECT note FROM orders", [], |row| row.get::<_, i64>(0))
            .unwrap_err();
        db.execute("INSERT INTO orders (note) VALUES (?)", [1, 2])
            .unwrap_err();
    });
    let spans = trace_of(root);
    assert!(!format!("{spans:?}").contains("zqsecret"));
    let errors: Vec<_> = spans
        .iter()
        .filter(|span| status(span) == ERROR)
        .map(|span| {
            let code = text(span, "db.response.status_code");
            (
                text(span, "error.type").unwrap(),
                code,
                span.status.clone().unwrap().message,
            )
        })
        .collect();
    let codes: Vec<_> = errors
        .iter()
        .map(|(error, code, _)| (error.as_str(), code.as_deref()))
        .collect();
    assert_eq!(
        codes,
        [
            ("2067", Some("2067")),
            ("1", Some("1")),
            ("1", Some("1")),
            ("InvalidColumnType", None),
            ("InvalidParameterCount", None),
        ]
    );
    assert_eq!(errors[0].2, "UNIQUE constraint failed: orders.note");
}

#[test]
fn transactions_begin_and_end_in_spans() {
    let mut db = shop();
    let mut root = root();
    root.run(|_| {
        let transaction = db.transaction().unwrap();
        transaction
            .execute("INSERT INTO orders (note) VALUES ('a')", [])
            .unwrap();
        transaction.commit().unwrap();
        let transaction = db.transaction().unwrap();
        transaction.execute("DELETE FROM orders", []).unwrap();
        drop(transaction);
        db.transaction().unwrap().rollback().unwrap();
    });
    let left: i64 =
        rusqlite::Connection::query_row(&db, "SELECT count(*) FROM orders", [], |row| row.get(0))
            .unwrap();
    assert_eq!(left, 1, "the second was rolled back");
    let spans = trace_of(root);
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(
        names,
        [
            "test",
            "BEGIN shop",
            "INSERT orders",
            "COMMIT shop",
            "BEGIN shop",
            "DELETE orders",
            "ROLLBACK shop",
            "BEGIN shop",
            "ROLLBACK shop",
        ]
    );
    assert_eq!(
        text(named(&spans, "COMMIT shop"), "db.operation.name").as_deref(),
        Some("COMMIT")
    );
}

#[test]
fn what_is_recorded_of_a_text_is_a_choice() {
    let sql = "SELECT 'zqsecret'";
    for (capture, expected) in [(Capture::AsWritten, Some(sql)), (Capture::Omitted, None)] {
        let db = Connection::new(rusqlite::Connection::open_in_memory().unwrap())
            .with_target(|target| target.capture(capture));
        let mut root = root();
        root.run(|_| {
            db.query_row(sql, [], |_| Ok(())).unwrap();
            db.prepare(sql).unwrap().query_row([], |_| Ok(())).unwrap();
        });
        let spans = trace_of(root);
        for call in &spans[1..] {
            assert_eq!(text(call, "db.query.text").as_deref(), expected);
            assert_eq!(call.name, "SELECT");
        }
    }
}

#[test]
fn a_driver_without_a_wrapper_has_the_same_spans() {
    let mut root = root();
    root.run(|_| {
        let mongo = DbTarget::new("mongodb")
            .namespace("crm")
            .server("m.internal", 27017);
        let mut find = mongo
            .call()
            .operation("find")
            .collection("people")
            .batch_size(1)
            .start();
        find.returned_rows(3);
        find.end();
        let mut batch = mongo.call().operation("BATCH insert").batch_size(2).start();
        batch.fail(None, "timeout", &"after 30 s for 'zqsecret'");
        batch.end();
        DbTarget::new("clickhouse")
            .server("ch.internal", 9000)
            .call()
            .start()
            .end();
        DbTarget::new("db2").call().start().end();
    });
    let spans = trace_of(root);
    let find = named(&spans, "find people");
    assert_eq!(text(find, "db.collection.name").as_deref(), Some("people"));
    assert_eq!(text(find, "server.port").as_deref(), Some("27017"));
    assert_eq!(
        text(find, "db.operation.batch.size"),
        None,
        "one is no batch"
    );
    assert_eq!(
        text(find, "db.response.returned_rows").as_deref(),
        Some("3")
    );
    let batch = named(&spans, "BATCH insert crm");
    assert_eq!(text(batch, "db.operation.batch.size").as_deref(), Some("2"));
    assert_eq!(text(batch, "error.type").as_deref(), Some("timeout"));
    assert_eq!(batch.status.clone().unwrap().message, "after ? s for ?");
    named(&spans, "ch.internal:9000");
    named(&spans, "db2");
}
