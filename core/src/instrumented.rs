//! Futures inside spans, and the current context around a piece of work.
//!
//! The current context belongs to the recorder: per thread on servers, per executor on devices. It is set
//! while the future is polled and put back after each poll, so that tasks that take turns never see each
//! other's.

use crate::context::SpanContext;
use crate::recorder::Recorder;
use crate::span::{Span, SpanBuf};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A future that runs inside a span: the span is current during each poll, and ends when the future
/// completes or is dropped.
///
/// Made by [`Instrument::in_span`].
#[must_use = "futures do nothing unless polled"]
pub struct Instrumented<F, R: Recorder, B: SpanBuf> {
    // Declared first, dropped first: a future that is given up ends inside its span.
    future: F,
    span: Span<R, B>,
}

impl<F, R: Recorder, B: SpanBuf> Instrumented<F, R, B> {
    /// The span, to set attributes from outside.
    pub fn span_mut(self: Pin<&mut Self>) -> &mut Span<R, B> {
        // SAFETY: the span is not pinned structurally: only `future` is.
        unsafe { &mut self.get_unchecked_mut().span }
    }
}

impl<F: Future, R: Recorder, B: SpanBuf> Future for Instrumented<F, R, B> {
    type Output = F::Output;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned structurally: it is never moved out, and this type is Unpin only if
        // the future is (no Drop of ours touches it).
        let (future, span) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.span)
        };
        let (context, recorder) = (span.context(), span.recorder());
        let poll = in_context(recorder, &context, || future.poll(cx));
        if poll.is_ready() {
            span.end();
        }
        poll
    }
}

/// Runs futures in spans.
///
/// ```
/// # use spanlet::testing::TestTracer;
/// use spanlet::{InlineBuf, Instrument, Span};
/// # let tracer: TestTracer = TestTracer::new();
/// # let tracer = &tracer;
/// let span: Span<_, InlineBuf<32>> = tracer.span("fetch").start();
/// let work = async {
///     // A span started here is a child of "fetch".
///     let _inner: Span<_, InlineBuf<32>> = tracer.span("parse").start();
/// };
/// # let mut work = core::pin::pin!(
/// work.in_span(span)
/// # );
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(work.as_mut().poll(&mut cx).is_ready());
/// # tracer.with_spans(|spans| {
/// #     let fetch = spans.named("fetch").unwrap();
/// #     assert_eq!(spans.named("parse").unwrap().parent_id(), Some(fetch.span_id()));
/// # });
/// ```
pub trait Instrument: Sized {
    /// Runs the future in `span`.
    fn in_span<R: Recorder, B: SpanBuf>(self, span: Span<R, B>) -> Instrumented<Self, R, B> {
        Instrumented { future: self, span }
    }
}
impl<F: Future> Instrument for F {}

impl<R: Recorder, B: SpanBuf> Span<R, B> {
    /// Runs `work` with this span as the current one: spans started inside, by whoever, are its children.
    /// The context from before is put back afterwards, also when `work` unwinds.
    #[inline]
    pub fn run<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let (context, recorder) = (self.context(), self.recorder());
        in_context(recorder, &context, || work(self))
    }
}

/// Runs `work` with `context` as the current one, or as it is if there is none: a span without a tracer
/// is nobody's parent.
#[inline]
fn in_context<R: Recorder, T>(recorder: R, context: &SpanContext, work: impl FnOnce() -> T) -> T {
    if context.is_valid() {
        recorder.with_current(context, work)
    } else {
        work()
    }
}

/// Runs a future inside a span that the caller keeps, so that it can record the outcome.
///
/// ```
/// # use spanlet::testing::TestTracer;
/// use spanlet::{InlineBuf, ResultExt, Span, within};
/// # let tracer: TestTracer = TestTracer::new();
/// # let tracer = &tracer;
/// # let work = async {
/// let mut span: Span<_, InlineBuf<32>> = tracer.span("parse").start();
/// let parsed = within(&mut span, async { "x".parse::<i32>() }).await;
/// let parsed = parsed.record_err(&mut span);
/// # assert!(parsed.is_err());
/// # };
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(core::pin::pin!(work).poll(&mut cx).is_ready());
/// # tracer.with_spans(|s| assert_eq!(s.named("parse").unwrap().status(), spanlet::Status::Error));
/// ```
pub async fn within<F: Future, R: Recorder, B: SpanBuf>(
    span: &mut Span<R, B>,
    future: F,
) -> F::Output {
    let context = span.context();
    let recorder = span.recorder();
    let mut future = core::pin::pin!(future);
    core::future::poll_fn(|cx| in_context(recorder, &context, || future.as_mut().poll(cx))).await
}

/// Records the error of a `Result` on its way through `?`.
///
/// ```
/// # use spanlet::testing::TestTracer;
/// use spanlet::{InlineBuf, ResultExt, Span};
/// # fn main() {
/// # let tracer: TestTracer = TestTracer::new();
/// # let tracer = &tracer;
/// fn parse<R: spanlet::Recorder>(span: &mut Span<R, InlineBuf<32>>) -> Result<i32, std::num::ParseIntError> {
///     Ok("x".parse::<i32>().record_err(span)? + 1)
/// }
/// # let mut span: Span<_, InlineBuf<32>> = tracer.span("parse").start();
/// # assert!(parse(&mut span).is_err());
/// # drop(span);
/// # tracer.with_spans(|s| assert_eq!(s.named("parse").unwrap().status(), spanlet::Status::Error));
/// # }
/// ```
pub trait ResultExt: Sized {
    /// Records the error, if it is one, as [`Span::record_error`] does, and hands the result on.
    fn record_err<R: Recorder, B: SpanBuf>(self, span: &mut Span<R, B>) -> Self;
}
impl<T, E: core::error::Error> ResultExt for Result<T, E> {
    #[inline]
    fn record_err<R: Recorder, B: SpanBuf>(self, span: &mut Span<R, B>) -> Self {
        if let Err(error) = &self {
            span.record_error(error);
        }
        self
    }
}
