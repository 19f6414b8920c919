//! `span!` and `#[instrument]` through the global tracer, as a library uses them.
//!
//! One process, one global tracer: all of it is one test.

use spanlet::testing::TestTracer;
use spanlet::{Instrument, ResultExt, SpanKind, Status, instrument, set_global_tracer, span};

mod library {
    use super::*;

    #[instrument(kind = Client, fields("db.system" = "sqlite"))]
    pub fn query(text: &str, limit: u32, _opaque: &std::cell::Cell<u8>) -> usize {
        span!("inner");
        text.len() + limit as usize
    }

    #[instrument(err, skip(text), span = s)]
    pub fn parse(text: &str) -> Result<i32, std::num::ParseIntError> {
        s.set_attribute("len", text.len() as i64);
        let n: i32 = text.parse()?;
        Ok(n)
    }

    #[instrument(err, name = "fetch page", skip_all)]
    pub async fn fetch(page: u32) -> Result<u32, std::num::ParseIntError> {
        let mut s = span!("inside", page = page);
        "x".parse::<u32>().record_err(&mut s)
    }

    #[instrument]
    pub async fn plain(n: i64) -> i64 {
        n + 1
    }

    #[instrument(err)]
    pub fn names_of_ours(
        span: u32,
        result: &str,
        error: u8,
    ) -> Result<impl Iterator<Item = u32>, std::num::ParseIntError> {
        let n = result.parse::<u32>()?;
        Ok([span, n, error.into()].into_iter())
    }

    #[instrument(level = Trace)]
    pub fn borrows<'a>(list: &'a mut Vec<u8>, _tail: &[u8]) -> &'a mut u8 {
        list.push(1);
        list.last_mut().unwrap()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(out) = future.as_mut().poll(&mut cx) {
            return out;
        }
    }
}

#[test]
fn a_library_is_traced_once_a_binary_installs_a_tracer() {
    // Before: off, and everything works.
    assert_eq!(library::query("select", 1, &Default::default()), 7);
    assert!(library::parse("x").is_err());
    assert!(!span!("nothing").context().is_valid());

    let tracer: &'static TestTracer = Box::leak(Box::new(TestTracer::new()));
    install(tracer);

    assert_eq!(library::query("select", 1, &Default::default()), 7);
    assert_eq!(library::parse("12"), Ok(12));
    assert!(library::parse("x").is_err());
    assert!(block_on(library::fetch(3)).is_err());
    assert_eq!(block_on(library::plain(1)), 2);
    assert_eq!(library::names_of_ours(1, "2", 3).unwrap().sum::<u32>(), 6);
    assert_eq!(*library::borrows(&mut vec![], &[]), 1);
    block_on(async { library::plain(5).await }.in_span(span!("outer")));
    spanlet::filter::set_max_level(Some(spanlet::filter::Level::Info));
    library::borrows(&mut vec![], &[]);
    let outer = span!("kept");
    let refused = span!(parent: &outer, level: Debug, "refused");
    assert!(!refused.is_recording());
    assert_eq!(
        refused.context(),
        outer.context(),
        "a refused span hands its parent on"
    );
    drop(refused);
    drop(outer);

    tracer.with_spans(|spans| {
        let query = spans.named("query").unwrap();
        assert_eq!(query.kind(), SpanKind::Client);
        let attributes: Vec<_> = query
            .attributes()
            .map(|kv| format!("{}={:?}", kv.key, kv.value))
            .collect();
        assert_eq!(
            attributes,
            [
                "db.system=Str(\"sqlite\")",
                "text=Str(\"select\")",
                "limit=I64(1)"
            ]
        );
        let scope = query.scope().unwrap();
        assert_eq!(
            (scope.name, scope.version),
            ("spanlet-tests", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(
            spans.named("inner").unwrap().parent_id(),
            Some(query.span_id())
        );

        let parses: Vec<_> = spans.filter(|s| s.name() == "parse").collect();
        assert_eq!(parses.len(), 2);
        assert_eq!(parses[0].status(), Status::Unset);
        assert_eq!(parses[1].status(), Status::Error);
        assert_eq!(parses[1].events().next().unwrap().name(), "exception");
        assert!(parses[0].attributes().map(|kv| kv.key).eq(["len"]));

        let fetch = spans.named("fetch page").unwrap();
        assert_eq!(fetch.status(), Status::Error);
        assert_eq!(fetch.attributes().count(), 0);
        assert_eq!(
            spans.named("inside").unwrap().parent_id(),
            Some(fetch.span_id())
        );

        let plains: Vec<_> = spans.filter(|s| s.name() == "plain").collect();
        assert_eq!(
            plains[1].parent_id(),
            Some(spans.named("outer").unwrap().span_id())
        );
        assert_eq!(spans.filter(|s| s.name() == "borrows").count(), 1);
        assert!(spans.named("refused").is_none());
    });
}

fn install(tracer: &'static TestTracer) {
    /// Lets a one-threaded tracer be a global one.
    #[derive(Clone, Copy)]
    struct OneThread(&'static TestTracer);
    // SAFETY: this test has one thread.
    unsafe impl Sync for OneThread {}
    impl spanlet::Recorder for &OneThread {
        fn now(self) -> spanlet::Ticks {
            self.0.now()
        }
        fn span_id(self) -> spanlet::SpanId {
            self.0.span_id()
        }
        fn trace_id(self) -> (spanlet::TraceId, spanlet::TraceFlags) {
            self.0.trace_id()
        }
        fn sample(self, p: &spanlet::SamplingParameters<'_>) -> spanlet::SamplingResult {
            spanlet::Recorder::sample(self.0, p)
        }
        fn record(self, span: spanlet::FinishedSpan<'_>) {
            self.0.record(span);
        }
        fn started(self, recording: bool) {
            self.0.started(recording);
        }
        fn current(self) -> Option<spanlet::SpanContext> {
            self.0.current()
        }
        fn with_current<T>(self, cx: &spanlet::SpanContext, run: impl FnOnce() -> T) -> T {
            self.0.with_current(cx, run)
        }
    }
    let leaked: &'static OneThread = Box::leak(Box::new(OneThread(tracer)));
    set_global_tracer(leaked).unwrap();
    assert!(set_global_tracer(leaked).is_err());
}
