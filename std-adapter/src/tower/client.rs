//! The client's side: a request goes out with the context of its own span.

use super::body::TracedBody;
use super::count::{Count, Metrics};
use super::exchange::{Exchange, SpanEnd, Watch};
use super::head::{HttpRoute, RequestHead, Resends};
use crate::Span;
use crate::conventions::{self, Call, HeaderNames, Query, Server, method_of};
use crate::propagation::{self, Context, HttpFieldsMut, InContext, WithContext};
use core::fmt::{self, Display};
use core::pin::Pin;
use core::task::{Poll, ready};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use spanlet::{KeyValue, SpanKind, Value};
use std::sync::Arc;
use tower_layer::Layer;
use tower_service::Service;

/// A span of kind CLIENT for each request that a service sends: hyper's clients, tonic's channels.
///
/// The span is a child of the [current](Context::current) one and goes out as the parent, by the formats of the
/// process, with the trace's state and the baggage that
/// [`forward_baggage`](crate::TelemetryBuilder::forward_baggage) allows. Status is Error for 4xx and 5xx, for every
/// gRPC code but OK, for an error of the service, and where nobody waited for the answer. The span ends with the
/// response's body.
///
/// Inside of a retry layer each attempt is a span of its own; [`Resends`] counts them. Without a telemetry the
/// context of the request that is served goes on as it came.
///
/// ```
/// use spanlet_std::tower::TraceClientLayer;
/// use tower_layer::Layer;
/// # fn with<C>(client: C) {
/// let mut client = TraceClientLayer::new().redact_query(["token"]).layer(client);
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "a layer traces nothing until a service is built with it"]
pub struct TraceClientLayer(Arc<Options>);

type Filter = dyn Fn(&RequestHead<'_>) -> bool + Send + Sync;

#[derive(Clone, Default)]
pub(super) struct Options {
    filter: Option<Arc<Filter>>,
    server: Option<(String, u16)>,
    query: Query,
    request_headers: HeaderNames,
    response_headers: HeaderNames,
    end: SpanEnd,
    pub(super) metrics: Metrics,
}

impl fmt::Debug for TraceClientLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceClientLayer").finish_non_exhaustive()
    }
}

impl TraceClientLayer {
    /// With the usual settings.
    pub fn new() -> Self {
        Self::default()
    }
    pub(super) fn with(mut self, set: impl FnOnce(&mut Options)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }
    /// Makes spans only of requests for which `filter` is true. The others go out with the context of whoever sends
    /// them.
    pub fn filter(self, filter: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|options| options.filter = Some(Arc::new(filter)))
    }
    /// Says whom requests go to that do not name it in their URL, as those of a generated client of tonic:
    /// `server.address` and `server.port`.
    ///
    /// ```
    /// use spanlet_std::tower::TraceClientLayer;
    /// let layer = TraceClientLayer::new().server("orders.shop.internal", 50051);
    /// // let channel = Endpoint::from_static("http://orders.shop.internal:50051").connect().await?;
    /// // let client = OrdersClient::new(layer.layer(channel));
    /// ```
    pub fn server(self, host: &str, port: u16) -> Self {
        self.with(|options| options.server = Some((host.to_owned(), port)))
    }
    /// Replaces the values of these keys in `url.full`, besides those of pre-signed URLs (`Signature`, `sig`,
    /// `AWSAccessKeyId`, `X-Goog-Signature`). User names and passwords are always replaced.
    pub fn redact_query<'k>(self, keys: impl IntoIterator<Item = &'k str>) -> Self {
        let keys = keys.into_iter().map(str::to_owned);
        self.with(|options| options.query.secrets.extend(keys))
    }
    /// Records these headers as `http.request.header.NAME`. None are by default: they may hold secrets.
    pub fn capture_request_headers<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.with(|options| options.request_headers.add("http.request.header.", names))
    }
    /// Records these headers as `http.response.header.NAME`.
    pub fn capture_response_headers<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.with(|options| options.response_headers.add("http.response.header.", names))
    }
    /// Ends the span when the response's head is there, and not with its body.
    pub fn end_at_head(self) -> Self {
        self.with(|options| options.end = SpanEnd::Head)
    }
}

impl Options {
    fn start(&self, head: &RequestHead<'_>, current: &Context) -> Exchange {
        let is_grpc = head.is_grpc();
        let server = match (head.uri.authority(), &self.server) {
            (None, Some((host, port))) => Server { host, port: *port },
            _ => Server::of(head.uri),
        };
        let mut span = if is_grpc {
            start_grpc(head, server, current)
        } else {
            let call = Call {
                method: head.method,
                uri: head.uri,
                version: head.version,
                server,
            };
            call.start(current, &self.query)
        };
        if span.is_recording() {
            if !is_grpc && let Some(route) = head.extensions.get::<HttpRoute>() {
                span.set_attribute("url.template", route.as_str());
                conventions::set_route(&mut span, conventions::method(head.method), route.as_str());
            }
            if let Some(resends @ 1..) = head.extensions.get::<Resends>().map(Resends::next) {
                span.set_attribute("http.request.resend_count", resends);
            }
            self.request_headers.set(&mut span, head.headers);
        }
        let method = conventions::method(head.method);
        let count = if is_grpc {
            Count::rpc_client(&self.metrics, method_of(head.uri.path()), server)
        } else {
            Count::http_client(&self.metrics, method, server)
        };
        let ours = current.with_span(&span);
        Exchange::new(span, ours, SpanKind::Client, self.end, count)
            .grpc(is_grpc)
            .method(method)
    }
    fn answered<R: Body>(
        &self,
        mut exchange: Option<Exchange>,
        response: Response<R>,
    ) -> Response<TracedBody<R>> {
        if let Some(open) = &mut exchange {
            if open.span().is_recording() {
                self.response_headers.set(open.span(), response.headers());
            }
            let has_body = !response.body().is_end_stream();
            if !open.answered(response.status(), response.headers(), has_body) {
                exchange = None;
            }
        }
        response.map(|body| TracedBody::new(body, exchange))
    }
}

fn start_grpc(head: &RequestHead<'_>, server: Server<'_>, current: &Context) -> Span {
    let method = method_of(head.uri.path());
    let known = [
        KeyValue::new("rpc.system.name", Value::Static("grpc")),
        KeyValue::new("rpc.method", method),
    ];
    let mut span = server.start("gRPC", current, known);
    span.update_name(method);
    span
}

impl<S> Layer<S> for TraceClientLayer {
    type Service = TraceClient<S>;
    fn layer(&self, inner: S) -> TraceClient<S> {
        TraceClient {
            inner,
            options: self.0.clone(),
        }
    }
}

/// A client whose requests are traced; made by [`TraceClientLayer`].
#[derive(Clone)]
pub struct TraceClient<S> {
    inner: S,
    options: Arc<Options>,
}

impl<S: fmt::Debug> fmt::Debug for TraceClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceClient")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for TraceClient<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Display,
    R: Body,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut core::task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> ClientFuture<S::Future> {
        let current = Context::current();
        let head = RequestHead::of(&request);
        let mut exchange = None;
        let is_traced = self
            .options
            .filter
            .as_ref()
            .is_none_or(|filter| filter(&head));
        let inside = if is_traced {
            let open = exchange.insert(self.options.start(&head, &current));
            open.context().clone()
        } else {
            current
        };
        // A header map that is full takes no more; then the request goes out as it is.
        let _ = propagation::inject_from(&inside, &mut HttpFieldsMut(request.headers_mut()));
        let inner = {
            let _watch = Watch {
                exchange: &mut exchange,
            };
            inside.run(|| self.inner.call(request))
        };
        ClientFuture {
            inner: inner.with_context(inside),
            state: State {
                exchange,
                options: self.options.clone(),
            },
        }
    }
}

pin_project! {
    /// The answer to a [`TraceClient`]'s request.
    pub struct ClientFuture<F> {
        #[pin]
        inner: InContext<F>,
        state: State,
    }
}

/// Apart from the future, so that its drop can tell that nobody waited for the answer.
struct State {
    exchange: Option<Exchange>,
    options: Arc<Options>,
}

impl Drop for State {
    fn drop(&mut self) {
        match &mut self.exchange {
            Some(exchange) if std::thread::panicking() => exchange.panicked(),
            Some(exchange) => exchange.cancelled(),
            None => {}
        }
    }
}

impl<F, R, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Display,
    R: Body,
{
    type Output = Result<Response<TracedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut core::task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = {
            let _watch = Watch {
                exchange: &mut this.state.exchange,
            };
            ready!(this.inner.poll(cx))
        };
        let exchange = this.state.exchange.take();
        Poll::Ready(match answer {
            Ok(response) => Ok(this.state.options.answered(exchange, response)),
            Err(error) => {
                if let Some(mut exchange) = exchange {
                    exchange.failed::<E>(&error);
                }
                Err(error)
            }
        })
    }
}
