//! The body of an answer, which keeps its span open.

use super::exchange::{Exchange, Watch};
use core::fmt::Display;
use core::pin::Pin;
use core::task::{Context, Poll};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A response's body. The span of its request ends when the last frame was taken, or when it is dropped; each
    /// poll is done inside of the span.
    #[derive(Debug)]
    pub struct TracedBody<B> {
        #[pin]
        inner: B,
        open: Open,
    }
}

/// Apart from the body, so that its drop can tell whether the body was wanted to its end.
#[derive(Debug)]
struct Open {
    exchange: Option<Exchange>,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        if std::thread::panicking() {
            exchange.panicked();
        } else if self.left == Some(0) {
            exchange.completed();
        } else {
            exchange.cut_short();
        }
    }
}

impl<B: Body> TracedBody<B> {
    /// `exchange` of one that is still open.
    pub(super) fn new(inner: B, exchange: Option<Exchange>) -> Self {
        let left = inner.size_hint().exact();
        TracedBody {
            inner,
            open: Open { exchange, left },
        }
    }
}

impl<B: Body> Body for TracedBody<B>
where
    B::Error: Display,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(exchange) = &this.open.exchange else {
            return this.inner.poll_frame(cx);
        };
        let context = exchange.context().clone();
        let poll = {
            let _watch = Watch {
                exchange: &mut this.open.exchange,
            };
            context.run(|| this.inner.as_mut().poll_frame(cx))
        };
        let Open { exchange, left } = this.open;
        let Some(open) = exchange else {
            return poll;
        };
        let is_over = match &poll {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    open.trailers(trailers);
                }
                *left = this.inner.size_hint().exact();
                this.inner.is_end_stream()
            }
            Poll::Ready(Some(Err(error))) => {
                open.failed::<B::Error>(error);
                *exchange = None;
                return poll;
            }
        };
        if is_over {
            open.completed();
            *exchange = None;
        }
        poll
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for TracedBody<B> {
    /// A body of no request's.
    fn default() -> Self {
        let (exchange, left) = (None, None);
        TracedBody {
            inner: B::default(),
            open: Open { exchange, left },
        }
    }
}
