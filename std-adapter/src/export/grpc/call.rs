//! One unary call: the request out, the answer in, against a deadline and a cut.

use super::super::ExporterError;
use super::super::delivery::{Attempt, Transport};
use super::super::error::{ConnectReason, ExportError, tame};
use super::super::retry::lock;
use super::answer::{Answer, explain};
use core::convert::Infallible;
use core::future::Future;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use tonic::codegen::{Body as HttpBody, Bytes, Service};
use tonic::transport::{Channel, Endpoint};

/// SPEC: opentelemetry-proto, collector/trace/v1/trace_service.proto.
const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// How much of a request is handed to the connection at once: what is known to be out is known to so much.
const PIECE: usize = 16 << 10;

/// A collector, its connection and the runtime that drives it.
#[derive(Debug)]
pub(super) struct GrpcTarget {
    /// Taken out when it is dropped.
    runtime: Option<Runtime>,
    channel: Channel,
    shown: String,
    headers: HeaderMap,
    response_limit: usize,
    cut: Cut,
}

impl GrpcTarget {
    pub(super) fn new(
        endpoint: &Endpoint,
        shown: String,
        headers: HeaderMap,
        response_limit: usize,
    ) -> Result<Self, ExporterError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ExporterError::Runtime)?;
        let channel = {
            let _guard = runtime.enter();
            endpoint.connect_lazy()
        };
        Ok(GrpcTarget {
            runtime: Some(runtime),
            channel,
            shown,
            headers,
            response_limit,
            cut: Cut::default(),
        })
    }

    async fn call(
        &self,
        body: Bytes,
        sent: Arc<AtomicUsize>,
        time_left: Option<Duration>,
        allowed: Duration,
    ) -> Attempt {
        let length = body.len();
        let exchange = pin!(self.exchange(body, &sent, time_left, allowed));
        let deadline = pin!(async {
            match time_left {
                Some(left) => tokio::time::sleep(left).await,
                None => core::future::pending().await,
            }
        });
        let ended = Race {
            exchange,
            deadline,
            cut: &self.cut,
        }
        .await;
        // ORDERING: one thread.
        let sent_whole = sent.load(Relaxed) >= length;
        let sent_any = sent.load(Relaxed) > 0;
        let endpoint = self.shown.clone();
        let error = match ended {
            Ended::Answer(attempt) => return attempt,
            Ended::TimedOut if !sent_any => ExportError::Connect {
                endpoint,
                reason: ConnectReason::TimedOut,
            },
            Ended::TimedOut => ExportError::TimedOut {
                endpoint,
                sent_whole,
                allowed,
            },
            Ended::Cut => ExportError::Disconnected {
                endpoint,
                sent_whole,
                detail: "cut by a shutdown".to_owned(),
            },
        };
        Attempt::Failed {
            error,
            retry_after: None,
        }
    }

    async fn exchange(
        &self,
        body: Bytes,
        sent: &Arc<AtomicUsize>,
        time_left: Option<Duration>,
        allowed: Duration,
    ) -> Attempt {
        // Nobody drove the connection since the last call: let it notice that the other side has closed it.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let length = body.len();
        let mut request = Request::new(Body::new(Pieces {
            rest: body,
            sent: sent.clone(),
        }));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from_static(PATH);
        request.headers_mut().clone_from(&self.headers);
        if let Some(left) = time_left {
            request
                .headers_mut()
                .insert("grpc-timeout", grpc_timeout(left));
        }
        let mut channel = self.channel.clone();
        let response = async {
            core::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
            channel.call(request).await
        };
        let failed = |error: &(dyn core::error::Error + 'static)| {
            // ORDERING: one thread.
            let sent = sent.load(Relaxed);
            Attempt::Failed {
                error: explain(&self.shown, error, sent > 0, sent >= length, allowed),
                retry_after: None,
            }
        };
        let response = match response.await {
            Ok(response) => response,
            Err(error) => return failed(&error),
        };
        let (head, mut body) = response.into_parts();
        let mut answer = Answer::new(&self.shown, head.status.as_u16(), head.headers);
        while let Some(frame) = core::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => {
                        answer.body.extend_from_slice(&data);
                        if answer.body.len() > self.response_limit {
                            return answer.too_large(self.response_limit);
                        }
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            answer.trailers = Some(trailers);
                        }
                    }
                },
                Err(status) => return answer.broken_off(&status),
            }
        }
        answer.read(self.response_limit)
    }
}

impl Transport for GrpcTarget {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn attempt(
        &self,
        body: &[u8],
        time_left: Option<Duration>,
        allowed: Duration,
        _unix_now: &dyn Fn() -> SystemTime,
    ) -> Attempt {
        let Some(runtime) = &self.runtime else {
            return Attempt::Failed {
                error: ExportError::ShutDown { last: None },
                retry_after: None,
            };
        };
        let sent = Arc::<AtomicUsize>::default();
        let call = self.call(Bytes::copy_from_slice(body), sent, time_left, allowed);
        if tokio::runtime::Handle::try_current().is_err() {
            return runtime.block_on(call);
        }
        // A thread of someone's runtime may not block on another one; a thread of ours may.
        std::thread::scope(|scope| {
            let spawned = std::thread::Builder::new()
                .name("spanlet-grpc".into())
                .spawn_scoped(scope, || runtime.block_on(call));
            match spawned.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(attempt)) => attempt,
                other => Attempt::Failed {
                    error: ExportError::BadRequest {
                        endpoint: self.shown.clone(),
                        detail: match other {
                            Err(error) => tame(&error.to_string()),
                            _ => "the thread for it panicked".to_owned(),
                        },
                    },
                    retry_after: None,
                },
            }
        })
    }

    fn cut(&self) {
        self.cut.raise();
    }
}

impl Drop for GrpcTarget {
    fn drop(&mut self) {
        // Its threads may sit in a name resolution, and this thread may be one of another runtime: no waiting.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// SPEC: gRPC over HTTP/2, "Timeout": at most eight digits and a unit.
fn grpc_timeout(left: Duration) -> HeaderValue {
    let text = match left.as_millis() {
        ms @ 0..=99_999_999 => format!("{ms}m"),
        _ => format!("{}S", left.as_secs().min(99_999_999)),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("99999999S"))
}

/// The request on its way out, which knows how much of itself is gone.
struct Pieces {
    rest: Bytes,
    sent: Arc<AtomicUsize>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let n = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(n);
        // ORDERING: one thread.
        self.sent.fetch_add(n, Relaxed);
        Poll::Ready(Some(Ok(http_body::Frame::data(piece))))
    }
    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }
    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// Raised once, by a shutdown; ends calls.
#[derive(Debug, Default)]
struct Cut {
    raised: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Cut {
    fn raise(&self) {
        // ORDERING: a waiter looks at it under the lock that is taken next.
        self.raised.store(true, Relaxed);
        lock(&self.waiting).drain(..).for_each(Waker::wake);
    }
    fn poll(&self, cx: &Context<'_>) -> bool {
        let mut waiting = lock(&self.waiting);
        // ORDERING: see `raise`.
        if self.raised.load(Relaxed) {
            return true;
        }
        waiting.retain(|waker| !waker.will_wake(cx.waker()));
        waiting.push(cx.waker().clone());
        false
    }
}

enum Ended {
    Answer(Attempt),
    TimedOut,
    Cut,
}

/// Whichever comes first.
struct Race<'a, E, D> {
    exchange: Pin<&'a mut E>,
    deadline: Pin<&'a mut D>,
    cut: &'a Cut,
}

impl<E: Future<Output = Attempt>, D: Future<Output = ()>> Future for Race<'_, E, D> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        if let Poll::Ready(attempt) = self.exchange.as_mut().poll(cx) {
            return Poll::Ready(Ended::Answer(attempt));
        }
        if self.cut.poll(cx) {
            return Poll::Ready(Ended::Cut);
        }
        self.deadline.as_mut().poll(cx).map(|()| Ended::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_at_most_eight_digits() {
        let text = |d| grpc_timeout(d).to_str().unwrap().to_owned();
        assert_eq!(text(Duration::from_millis(1500)), "1500m");
        assert_eq!(text(Duration::ZERO), "0m");
        assert_eq!(text(Duration::from_secs(100_000)), "100000S");
        assert_eq!(text(Duration::MAX), "99999999S");
    }
}
