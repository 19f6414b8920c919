//! Forks, signals, threads' ends, and exporters that are traced themselves.
//!
//! One process has one telemetry: the fork's test uses this process, those of signals start this program again.
#![cfg(unix)]

use core::time::Duration;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use spanlet_std::config::{BatchConfig, Config};
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::{Span, Telemetry, span, suppress};
use std::cell::RefCell;
use std::collections::HashSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Appends a line for each span to a file: process, name, span id. Traced itself.
struct File(PathBuf);

impl SpanExporter for File {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        let own: Span = span("exporter's own").start();
        let _library = spanlet::span!("exporter's client");
        assert!(!own.is_recording());
        let request = ExportTraceServiceRequest::decode(batch.body).expect("valid protobuf");
        let mut lines = String::new();
        for resource in request.resource_spans {
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                let id = hex::encode(span.span_id);
                lines += &format!("{} {} {id}\n", std::process::id(), span.name);
            }
        }
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.0)
            .expect("a file");
        file.write_all(lines.as_bytes()).expect("room");
        ExportOutcome {
            exported: batch.spans,
            attempts: 1,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}

/// A file of this test's own.
fn file_for(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("spanlet-{test}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}
fn lines(path: &Path) -> Vec<(u32, String, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| {
            let (process, rest) = line.split_once(' ').expect("a process");
            let (name, id) = rest.rsplit_once(' ').expect("an id");
            (process.parse().expect("a number"), name.into(), id.into())
        })
        .collect()
}
fn record(name: &'static str, spans: u32) {
    for i in 0..spans {
        let mut span: Span = span(name).start();
        span.set_attribute("i", i);
    }
}

/// Runs `child` in a fork; returns its exit status, and waits for it.
fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the child runs no more than `child`, which allocates (libc's fork sees to it that it can) and uses no
    // lock that another thread may have held; it leaves without unwinding into the test.
    match unsafe { libc::fork() } {
        0 => {
            let done = catch_unwind(AssertUnwindSafe(child));
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(done.is_err().into()) }
        }
        pid => {
            assert!(pid > 0, "forked");
            let mut status = -1;
            // SAFETY: a child of ours.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            status
        }
    }
}

struct Nowhere;

impl SpanExporter for Nowhere {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        ExportOutcome {
            exported: batch.spans,
            attempts: 1,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}

const LONG: Duration = Duration::from_secs(30);

thread_local! {
    static KEPT: RefCell<Option<Span>> = const { RefCell::new(None) };
}

#[test]
fn children_of_a_fork_record_for_themselves() {
    let path = file_for("fork");
    let file = path.clone();
    let telemetry = Telemetry::builder_with(Config::default())
        .id_seed(7)
        .batch(BatchConfig {
            // Nothing goes out before it is asked for.
            schedule_delay: Duration::from_secs(3600),
            ..BatchConfig::default()
        })
        .exporter_with(move || Ok(Box::new(File(file.clone()))))
        .install()
        .unwrap();
    record("before", 100);

    // Others record and flush meanwhile, and hold whatever locks there are.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::spawn(|| record("meanwhile", 10))
                        .join()
                        .unwrap();
                    telemetry.flush(LONG);
                }
            });
        }
        for _ in 0..10 {
            let status = fork(|| {
                record("child", 100);
                let ledger = telemetry.shutdown(LONG);
                assert_eq!((ledger.started, ledger.exported), (100, 100), "{ledger}");
                assert_eq!((ledger.missing(), ledger.open), (0, 0), "{ledger}");
            });
            assert_eq!(status, 0, "the child's assertions hold");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });

    // A child that records nothing has nothing to wait for.
    assert_eq!(fork(|| assert!(telemetry.flush(LONG))), 0);
    assert_eq!(fork(|| assert_eq!(telemetry.shutdown(LONG).started, 0)), 0);
    // One that forks before its first span; one that forks after it; one that installs its own.
    let grandchild = || {
        let status = fork(|| {
            record("grandchild", 100);
            assert_eq!(telemetry.shutdown(LONG).exported, 100);
        });
        assert_eq!(status, 0);
    };
    assert_eq!(fork(grandchild), 0);
    let status = fork(|| {
        record("child", 100);
        grandchild();
        assert_eq!(telemetry.shutdown(LONG).exported, 100);
    });
    assert_eq!(status, 0);
    let status = fork(|| {
        let own = Telemetry::builder_with(Config::default()).exporter(Nowhere);
        let own = own.install().expect("the parent's is not this process's");
        record("elsewhere", 100);
        // That exporter cannot be made again.
        let off = fork(|| {
            let span: Span = span("off").start();
            assert!(!span.is_recording());
        });
        assert_eq!(off, 0);
        assert_eq!(own.shutdown(LONG).exported, 100);
    });
    assert_eq!(status, 0);

    record("after", 100);
    let ledger = suppressed_and_last_spans(&telemetry);
    assert_eq!((ledger.missing(), ledger.lost()), (0, 0), "{ledger}");

    let lines = lines(&path);
    let _ = std::fs::remove_file(&path);
    let of = |name: &str| lines.iter().filter(|line| line.1 == name).count();
    let counts = [
        "before",
        "after",
        "child",
        "grandchild",
        "exporter's own",
        "exporter's client",
    ]
    .map(of);
    assert_eq!(counts, [100, 100, 1100, 200, 0, 0]);
    assert_eq!(
        (
            of("open"),
            of("in suppressed code"),
            of("of a thread-local")
        ),
        (1, 0, 1)
    );
    // Each arrived once, by the process that recorded it, with an id of its own.
    let ids: HashSet<_> = lines.iter().map(|line| &line.2).collect();
    assert_eq!(ids.len(), lines.len());
    let here = |line: &&(u32, String, String)| line.0 == std::process::id();
    assert_eq!(lines.iter().filter(here).count() as u64, ledger.exported);
}

/// On this process's telemetry: code that must not be traced, and a span that ends in a thread-local's destructor.
fn suppressed_and_last_spans(telemetry: &Telemetry) -> spanlet_std::Ledger {
    let mut open: Span = span("open").start();
    open.run(|_| {
        suppress(|| {
            suppress(|| record("in suppressed code", 1));
            let inside: Span = span("in suppressed code").start();
            assert!(!inside.is_recording());
        });
        let child: Span = span("after").start();
        assert!(child.is_recording(), "and it is over");
        core::mem::forget(child);
    });
    // What was open goes on, and ends where it ends.
    suppress(move || {
        open.set_attribute("late", true);
        drop(open);
    });
    std::thread::spawn(|| {
        let first: Span = span("of a thread-local").start();
        // Registered after the recorder's part of the thread, and so dropped before it.
        KEPT.set(Some(first));
    })
    .join()
    .unwrap();
    assert!(telemetry.flush(LONG));
    let ledger = telemetry.ledger();
    // The one that was forgotten.
    assert_eq!((ledger.open, ledger.thread_gone), (1, 0), "{ledger}");
    ledger
}

#[cfg(feature = "signal")]
mod signals {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    /// Answers after an hour.
    struct Hanging;

    impl SpanExporter for Hanging {
        fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
            std::thread::sleep(Duration::from_secs(3600));
            Nowhere.export(batch, Duration::ZERO)
        }
        fn shutdown(&self, _: Duration) -> ShutdownReport {
            ShutdownReport::default()
        }
    }

    const WHAT: &str = "SPANLET_TEST_SIGNALLED";

    /// The program that gets the signals; a test that passes at once unless it is started as that.
    #[test]
    fn signalled_program() {
        let Ok(what) = std::env::var(WHAT) else {
            return;
        };
        let builder = Telemetry::builder_with(Config::default());
        let (builder, limit) = match what.strip_prefix("file:") {
            Some(path) => (builder.exporter(File(path.into())), LONG),
            None if what == "hanging" => (builder.exporter(Hanging), Duration::from_millis(300)),
            None => (builder.exporter(Hanging), Duration::from_secs(3600)),
        };
        let telemetry = builder.install().unwrap();
        telemetry.flush_on_signals(limit).unwrap();
        record("ended", 100);
        let _open: Span = span("open").start();
        // A child's signal is its own affair.
        let status = fork(|| {
            // SAFETY: a signal to this process.
            unsafe { libc::raise(libc::SIGTERM) };
        });
        assert_eq!(status, libc::SIGTERM);
        std::io::stdout().write_all(b"\nready\n").unwrap();
        std::thread::sleep(Duration::from_secs(3600));
    }

    fn program(what: &str) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "signals::signalled_program", "--nocapture"])
            .env(WHAT, what)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "{:?}", child.try_wait());
        child
    }
    fn send(child: &Child, signal: i32) {
        // SAFETY: to a child that is not waited for yet.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
    }

    #[test]
    fn sigterm_and_sigint_flush_and_then_end_the_process() {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let path = file_for(&format!("signal-{signal}"));
            let mut child = program(&format!("file:{}", path.display()));
            send(&child, signal);
            assert_eq!(child.wait().unwrap().signal(), Some(signal));
            let ended = lines(&path);
            let _ = std::fs::remove_file(&path);
            assert_eq!(ended.len(), 100, "all that had ended, and not the open one");
            assert!(ended.iter().all(|line| line.0 == child.id()));
        }
    }

    #[test]
    fn the_flush_ends_at_its_limit_or_by_a_second_signal() {
        let from = Instant::now();
        let mut child = program("hanging");
        send(&child, libc::SIGTERM);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));

        let mut child = program("hanging for an hour");
        send(&child, libc::SIGTERM);
        while child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(100));
            send(&child, libc::SIGINT);
        }
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGINT));
        assert!(
            from.elapsed() < Duration::from_secs(600),
            "nobody waited an hour"
        );
    }
}
