//! redis: commands and pipelines against a server that answers from a script.

use crate::recorded::{CLIENT, ERROR, named, root, status, text, trace_of};
use redis::{AsyncCommands, Client, Commands, RedisResult};
use spanlet::Instrument;
use spanlet_std::db::Capture;
use spanlet_std::db::redis::Traced;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// Reads a command: an array of bulk strings.
fn command(from: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = || {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|&n| n > 0)?;
        Some(line.trim_end()[1..].parse::<usize>().unwrap())
    };
    let count = line()?;
    (0..count)
        .map(|_| {
            let mut len = String::new();
            from.read_line(&mut len).ok()?;
            let mut bytes = vec![0; len.trim_end()[1..].parse::<usize>().unwrap() + 2];
            from.read_exact(&mut bytes).ok()?;
            bytes.truncate(bytes.len() - 2);
            Some(String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect()
}

fn answer(command: &[String]) -> &'static str {
    match (
        command[0].to_ascii_uppercase().as_str(),
        command.get(1).map(String::as_str),
    ) {
        ("GET", Some("list")) => {
            "-WRONGTYPE Operation against a key holding the wrong kind of value 'zqsecret'\r\n"
        }
        ("GET", _) => "$1\r\nv\r\n",
        ("INCR" | "INCRBY", _) => ":1\r\n",
        _ => "+OK\r\n",
    }
}

fn serve(stream: TcpStream) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let (mut to, mut queued) = (stream, None::<Vec<&'static str>>);
    while let Some(command) = command(&mut from) {
        let answer = match (command[0].as_str(), &mut queued) {
            ("QUIT_NOW", _) => return,
            ("MULTI", _) => {
                queued = Some(Vec::new());
                "+OK\r\n".to_owned()
            }
            ("EXEC", Some(answers)) => {
                let all = format!("*{}\r\n{}", answers.len(), answers.concat());
                queued = None;
                all
            }
            (_, Some(answers)) => {
                answers.push(self::answer(&command));
                "+QUEUED\r\n".to_owned()
            }
            _ => self::answer(&command).to_owned(),
        };
        if to.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A client of a server that lives as long as the test's process, in database 2.
fn client() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(|| serve(stream));
        }
    });
    Client::open(format!("redis://{address}/2")).unwrap()
}

/// Texts of the calls of a trace, by name.
fn texts(spans: &[opentelemetry_proto::tonic::trace::v1::Span]) -> Vec<(&str, String)> {
    let calls = spans
        .iter()
        .filter(|span| !["test", "CONNECT 2"].contains(&&*span.name));
    calls
        .map(|span| (&*span.name, text(span, "db.query.text").unwrap()))
        .collect()
}

#[test]
fn commands_keep_their_keys_and_lose_their_values() {
    let client = client();
    let mut root = root();
    root.run(|_| {
        let mut cache = Traced::connect(&client).unwrap();
        let _: () = cache.set("order:7", "zqsecret").unwrap();
        let _: () = cache
            .hset_multiple("h", &[("a", "zqsecret"), ("b", "zqsecret")])
            .unwrap();
        let _: () = cache
            .mset(&[("k1", "zqsecret"), ("k2", "zqsecret")])
            .unwrap();
        let _: () = redis::cmd("AUTH")
            .arg("zqsecret")
            .query(&mut cache)
            .unwrap();
        let _: () = redis::cmd("JSON.SET")
            .arg("zqsecret")
            .query(&mut cache)
            .unwrap();
        let _: () = redis::cmd("ZQ SECRET").arg(7).query(&mut cache).unwrap();
        let _: () = redis::cmd("EVAL")
            .arg("return 'zqsecret'")
            .arg(0)
            .query(&mut cache)
            .unwrap();
        let _: () = redis::cmd("DEL")
            .arg(&["a", "b c", "d;e"])
            .query(&mut cache)
            .unwrap();
        let _: () = redis::cmd("get")
            .arg(b"\xff\xfe")
            .query(&mut cache)
            .unwrap();
    });
    let id = root.context().span_id().to_bytes().to_vec();
    let spans = trace_of(root);
    assert!(!format!("{spans:?}").contains("zqsecret"));
    let expected = [
        ("SET 2", "SET order:7 ?"),
        ("HMSET 2", "HMSET h a ? b ?"),
        ("MSET 2", "MSET k1 ? k2 ?"),
        ("AUTH 2", "AUTH ?"),
        ("JSON.SET 2", "JSON.SET ?"),
        ("_OTHER 2", "_OTHER ?"),
        ("EVAL 2", "EVAL ? ?"),
        ("DEL 2", "DEL a ? ?"),
        ("get 2", "get ?"),
    ];
    assert_eq!(
        texts(&spans),
        expected.map(|(name, text)| (name, text.to_owned()))
    );
    for call in &spans[1..] {
        assert_eq!((call.kind, status(call)), (CLIENT, 0));
        assert_eq!(call.parent_span_id, id);
        assert_eq!(text(call, "db.system.name").as_deref(), Some("redis"));
        assert_eq!(text(call, "db.namespace").as_deref(), Some("2"));
        assert_eq!(text(call, "server.address").as_deref(), Some("127.0.0.1"));
        assert!(text(call, "server.port").is_some());
    }
}

#[test]
fn a_pipeline_is_one_span() {
    let client = client();
    let mut root = root();
    root.run(|_| {
        let mut cache = Traced::connect(&client).unwrap();
        let _: (String, i64) = redis::pipe()
            .get("a")
            .incr("b", 7)
            .query(&mut cache)
            .unwrap();
        let _: (String, String) = redis::pipe().get("a").get("b").query(&mut cache).unwrap();
        let _: () = redis::pipe()
            .atomic()
            .set("a", "zqsecret")
            .incr("b", 1)
            .ignore()
            .query(&mut cache)
            .unwrap();
        let _: (String,) = redis::pipe().get("a").query(&mut cache).unwrap();
        let failed: RedisResult<(String,)> = redis::pipe().atomic().get("list").query(&mut cache);
        assert!(failed.is_err());
    });
    let spans = trace_of(root);
    assert!(!format!("{spans:?}").contains("zqsecret"));
    let expected = [
        ("PIPELINE 2", "GET a; INCRBY b ?"),
        ("PIPELINE GET 2", "GET a; GET b"),
        ("MULTI 2", "SET a ?; INCRBY b ?"),
        ("GET 2", "GET a"),
        ("MULTI GET 2", "GET list"),
    ];
    assert_eq!(
        texts(&spans),
        expected.map(|(name, text)| (name, text.to_owned()))
    );
    let size = |name| text(named(&spans, name), "db.operation.batch.size");
    assert_eq!(size("MULTI 2").as_deref(), Some("2"));
    assert_eq!(size("GET 2"), None);
    let failed = named(&spans, "MULTI GET 2");
    assert_eq!(
        (status(failed), text(failed, "error.type").as_deref()),
        (ERROR, Some("WRONGTYPE"))
    );
}

#[test]
fn errors_have_the_servers_code_or_what_failed() {
    let client = client();
    let gone = Client::open("redis://127.0.0.1:1/2").unwrap();
    let mut root = root();
    root.run(|_| {
        let mut cache = Traced::connect(&client).unwrap();
        assert!(cache.get::<_, String>("list").is_err());
        assert!(redis::cmd("QUIT_NOW").exec(&mut cache).is_err());
        assert!(Traced::connect(&gone).is_err());
    });
    let spans = trace_of(root);
    let wrong = named(&spans, "GET 2");
    assert_eq!(
        text(wrong, "db.response.status_code").as_deref(),
        Some("WRONGTYPE")
    );
    assert_eq!(text(wrong, "error.type").as_deref(), Some("WRONGTYPE"));
    let message = wrong.status.clone().unwrap().message;
    assert_eq!(
        message,
        "Operation against a key holding the wrong kind of value ?"
    );
    let dropped = named(&spans, "QUIT_NOW 2");
    assert_eq!(
        (status(dropped), text(dropped, "error.type").as_deref()),
        (ERROR, Some("ConnectionDropped"))
    );
    let refused = spans
        .iter()
        .find(|span| status(span) == ERROR && span.name == "CONNECT 2")
        .unwrap();
    assert_eq!(
        text(refused, "error.type").as_deref(),
        Some("ConnectionRefused")
    );
    assert_eq!(text(refused, "server.port").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn async_commands_are_children_of_their_tasks() {
    let client = client();
    let root = root();
    let cache = Traced::connect_async(&client).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|i| {
            let mut cache = cache.clone();
            let task: spanlet_std::Span = spanlet_std::span("task").parent(&root).start();
            let id = task.context().span_id().to_bytes().to_vec();
            let work = async move {
                let _: String = cache.get(format!("key:{i}")).await.unwrap();
                tokio::task::yield_now().await;
                let _: (String, i64) = redis::pipe()
                    .get("a")
                    .incr("b", 1)
                    .query_async(&mut cache)
                    .await
                    .unwrap();
                assert!(cache.get::<_, String>("list").await.is_err());
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
    for (i, id) in ids.iter().enumerate() {
        let children: Vec<_> = spans
            .iter()
            .filter(|span| span.parent_span_id == *id)
            .collect();
        let names: Vec<_> = children.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["GET 2", "PIPELINE 2", "GET 2"]);
        assert_eq!(
            text(children[0], "db.query.text"),
            Some(format!("GET key:{i}"))
        );
        assert_eq!(
            text(children[2], "error.type").as_deref(),
            Some("WRONGTYPE")
        );
    }
}

#[test]
fn a_long_list_of_keys_is_cut() {
    let client = client();
    let mut root = root();
    root.run(|_| {
        let mut cache = Traced::connect(&client).unwrap();
        let keys: Vec<_> = (0..1000).map(|i| format!("key:{i}")).collect();
        let _: () = redis::cmd("DEL").arg(&keys).query(&mut cache).unwrap();
        let mut pipe = redis::pipe();
        for key in &keys {
            pipe.get(key);
        }
        let _: Vec<String> = pipe.query(&mut cache).unwrap();
        let mut omits = cache.with_target(|target| target.capture(Capture::Omitted));
        let _: () = omits.set("omitted", 1).unwrap();
    });
    let spans = trace_of(root);
    let del = text(named(&spans, "DEL 2"), "db.query.text").unwrap();
    assert!(
        del.starts_with("DEL key:0 key:1 ") && del.ends_with("key:63 ..."),
        "{del}"
    );
    let pipeline = named(&spans, "PIPELINE GET 2");
    assert_eq!(
        text(pipeline, "db.operation.batch.size").as_deref(),
        Some("1000")
    );
    let gets = text(pipeline, "db.query.text").unwrap();
    assert!(gets.len() <= 2048 && gets.ends_with("..."), "{gets}");
    assert_eq!(text(named(&spans, "SET 2"), "db.query.text"), None);
}
