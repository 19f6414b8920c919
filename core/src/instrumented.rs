//! Futures inside spans, and the current context around a piece of work.
//!
//! The current context belongs to the recorder: per thread on servers, per core on devices. It is set
//! while the future is polled and put back after each poll, so that tasks that take turns never see each
//! other's, and an executor in an interrupt leaves that of the task it preempts alone. A task of such an
//! executor that sets none of its own sees that of the preempted task, unless the executor is
//! [hooked](crate::boundary::TaskTrace).
//!
//! On devices what is current is ids and flags, not trace state, which has no bound that a device could set aside: a
//! child of the current context starts without, and [`SpanBuilder::parent`](crate::SpanBuilder::parent) with the
//! span itself, dropped by its sampler or not, or with what was extracted, hands it on. A recorder that
//! [keeps it](crate::Recorder::KEEPS_TRACE_STATE), as a server's does, hands it on to every child.

use crate::context::SpanContext;
use crate::recorder::Recorder;
use crate::span::{ParentContext, Span, SpanBuf};
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A future that runs inside a span: the span is current during each poll, and while the future is
/// dropped; it ends when the future completes or is dropped.
///
/// Made by [`Instrument::in_span`].
#[must_use = "futures do nothing unless polled"]
pub struct Instrumented<F, R: Recorder, B: SpanBuf>(Inside<F, Span<R, B>>);

impl<F, R: Recorder, B: SpanBuf> Instrumented<F, R, B> {
    /// The span, to set attributes from outside.
    pub fn span_mut(self: Pin<&mut Self>) -> &mut Span<R, B> {
        // SAFETY: the span is not pinned structurally: only the future is.
        unsafe { &mut self.get_unchecked_mut().0.around }
    }
}

impl<F: Future, R: Recorder, B: SpanBuf> Future for Instrumented<F, R, B> {
    type Output = F::Output;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the one field is pinned structurally: it is never moved out, and has no Drop but its own.
        let inside = unsafe { Pin::new_unchecked(&mut self.get_unchecked_mut().0) };
        inside.poll_then(cx, Span::end)
    }
}

/// What a piece of work can be done inside of: it is set up before, and put back afterwards, also on unwinding.
///
/// ```
/// use spanlet::{Around, Inside};
/// /// Shows a lamp's light while work is done.
/// struct Lamp<'a>(&'a core::cell::Cell<bool>);
/// impl Around for Lamp<'_> {
///     fn around<T>(&self, work: impl FnOnce() -> T) -> T {
///         self.0.set(true);
///         let out = work();
///         self.0.set(false);
///         out
///     }
/// }
/// let on = core::cell::Cell::new(false);
/// let work = Inside::new(async { on.get() }, Lamp(&on));
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(core::pin::pin!(work).poll(&mut cx) == std::task::Poll::Ready(true));
/// # assert!(!on.get());
/// ```
pub trait Around {
    /// Does the work inside.
    fn around<T>(&self, work: impl FnOnce() -> T) -> T;
}
impl<R: Recorder, B: SpanBuf> Around for Span<R, B> {
    #[inline]
    fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        self.note_trace_state();
        in_context(self.recorder(), &self.context(), work)
    }
}
impl<A: Around> Around for &mut A {
    #[inline]
    fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        A::around(self, work)
    }
}

/// A future each of whose polls is done inside of something, and so is its drop.
#[must_use = "futures do nothing unless polled"]
pub struct Inside<F, S: Around> {
    // Dropped in `drop`, inside the surroundings; what drops a span then ends it.
    future: ManuallyDrop<F>,
    around: S,
}

impl<F, S: Around> Inside<F, S> {
    /// The future inside of what is `around` it.
    pub fn new(future: F, around: S) -> Self {
        let future = ManuallyDrop::new(future);
        Inside { future, around }
    }
}

impl<F: Future, S: Around> Future for Inside<F, S> {
    type Output = F::Output;
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_then(cx, |_| ())
    }
}

impl<F: Future, S: Around> Inside<F, S> {
    #[inline]
    fn poll_then(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        done: impl FnOnce(&mut S),
    ) -> Poll<F::Output> {
        // SAFETY: `future` is pinned structurally: it is never moved out, `drop` drops it in place, and this
        // type is Unpin only if the future is.
        let (future, around) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut *this.future), &mut this.around)
        };
        let poll = around.around(|| future.poll(cx));
        if poll.is_ready() {
            done(around);
        }
        poll
    }
}

impl<F, S: Around> Drop for Inside<F, S> {
    fn drop(&mut self) {
        if !core::mem::needs_drop::<F>() {
            return;
        }
        let Inside { future, around } = self;
        // SAFETY: once, and nothing uses the future afterwards; it stays where it is pinned.
        around.around(|| unsafe { ManuallyDrop::drop(future) });
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
        Instrumented(Inside::new(self, span))
    }
}
impl<F: Future> Instrument for F {}

impl<R: Recorder, B: SpanBuf> Span<R, B> {
    /// Runs `work` with this span as the current one: spans started inside, by whoever, are its children.
    /// The context from before is put back afterwards, also when `work` unwinds.
    #[inline]
    pub fn run<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.note_trace_state();
        let (context, recorder) = (self.context(), self.recorder());
        in_context(recorder, &context, || work(self))
    }
    /// Tells the recorder the trace state of this span, which is about to become the current one.
    #[inline(always)]
    fn note_trace_state(&self) {
        if R::KEEPS_TRACE_STATE
            && let Some(text) = self.trace_state()
            && self.context().is_valid()
        {
            self.recorder().note_trace_state(text);
        }
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
    Inside::new(future, span).await
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
