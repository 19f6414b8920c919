//! The server's side: a request comes in, a span is opened in its trace, the answer goes out.

use super::body::TracedBody;
use super::count::{Count, Metrics};
use super::exchange::{Exchange, SpanEnd, Watch};
use super::head::{HttpRoute, RequestHead};
use crate::conventions::{
    self, HeaderNames, Query, Text, method, method_of, protocol_version, split_authority,
};
use crate::propagation::{self, Context, HttpFields, InContext, WithContext};
use crate::{Span, span};
use core::fmt;
use core::net::IpAddr;
use core::pin::Pin;
use core::task::{Poll, ready};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use spanlet::{KeyValue, SpanKind, Value};
use std::borrow::Cow;
use std::sync::Arc;
use tower_layer::Layer;
use tower_service::Service;

/// A span of kind SERVER for each request of a service: of hyper, axum, tonic.
///
/// The parent is what the request's headers say, by the formats of the process. Name and attributes follow the
/// conventions for HTTP, or for gRPC where the content type says so. Status is Error for 5xx, for the gRPC codes that
/// are the server's fault, for an error or a panic of the service, and where it is dropped before it has answered.
///
/// Inside of the service the span is [current](Context::current), and so is the request's baggage. The span ends with
/// the response's body.
///
/// A clone of the layer shares its settings. For a request that is not sampled nothing is allocated, and no
/// attribute is looked for but those that a sampler sees.
///
/// ```
/// use spanlet_std::tower::TraceServerLayer;
/// let layer = TraceServerLayer::new()
///     .skip_paths(["/healthz"])
///     .redact_query(["token"])
///     .capture_request_headers(["x-request-id"]);
/// ```
#[derive(Clone, Default)]
#[must_use = "a layer traces nothing until a service is built with it"]
pub struct TraceServerLayer(Arc<Options>);

type Route = dyn Fn(&RequestHead<'_>) -> Option<HttpRoute> + Send + Sync;
type Filter = dyn Fn(&RequestHead<'_>) -> bool + Send + Sync;
type Address = dyn Fn(&RequestHead<'_>) -> Option<IpAddr> + Send + Sync;

#[derive(Clone, Default)]
pub(super) struct Options {
    route: Option<Arc<Route>>,
    filter: Option<Arc<Filter>>,
    skipped: Vec<Cow<'static, str>>,
    client_address: Option<Arc<Address>>,
    query: Query,
    request_headers: HeaderNames,
    response_headers: HeaderNames,
    trusts_proxy: bool,
    is_https: bool,
    end: SpanEnd,
    pub(super) metrics: Metrics,
}

impl fmt::Debug for TraceServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceServerLayer").finish_non_exhaustive()
    }
}

impl TraceServerLayer {
    /// With the usual settings.
    pub fn new() -> Self {
        Self::default()
    }
    pub(super) fn with(mut self, set: impl FnOnce(&mut Options)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }
    /// Names spans by the route that `route` finds. Without it: an extension [`HttpRoute`] of the request or the
    /// response, else axum's `MatchedPath` (feature `axum`), else the span is named by the method alone.
    ///
    /// ```
    /// use spanlet_std::tower::{HttpRoute, TraceServerLayer};
    /// let layer = TraceServerLayer::new().route(|head| {
    ///     head.uri.path().starts_with("/files/").then(|| HttpRoute::new("/files/{*path}"))
    /// });
    /// ```
    pub fn route(
        self,
        route: impl Fn(&RequestHead<'_>) -> Option<HttpRoute> + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.route = Some(Arc::new(route)))
    }
    /// Makes spans only of requests for which `filter` is true. The others are served in their caller's context.
    pub fn filter(self, filter: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|options| options.filter = Some(Arc::new(filter)))
    }
    /// Makes no spans of requests for exactly these paths: health checks, metrics.
    pub fn skip_paths<P: Into<Cow<'static, str>>>(
        self,
        paths: impl IntoIterator<Item = P>,
    ) -> Self {
        self.with(|options| options.skipped.extend(paths.into_iter().map(Into::into)))
    }
    /// Finds `client.address`: from whatever extension the server puts the peer's address in.
    ///
    /// ```
    /// use spanlet_std::tower::TraceServerLayer;
    /// use std::net::SocketAddr;
    /// struct Peer(SocketAddr); // axum: `axum::extract::ConnectInfo<SocketAddr>`
    /// let layer = TraceServerLayer::new()
    ///     .client_address(|head| Some(head.extensions.get::<Peer>()?.0.ip()));
    /// ```
    pub fn client_address(
        self,
        address: impl Fn(&RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.client_address = Some(Arc::new(address)))
    }
    /// Believes `Forwarded` and `X-Forwarded-For`, `-Proto` and `-Host`, which anybody can write: for services that
    /// can be reached through a proxy only.
    pub fn trust_proxy(self) -> Self {
        self.with(|options| options.trusts_proxy = true)
    }
    /// Says that the connection is encrypted, where it cannot be told from the request: `url.scheme` is `https`.
    pub fn https(self) -> Self {
        self.with(|options| options.is_https = true)
    }
    /// Replaces the values of these keys in `url.query`, besides those of pre-signed URLs (`Signature`, `sig`,
    /// `AWSAccessKeyId`, `X-Goog-Signature`).
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
    /// Ends the span when the response's head is there, and not with its body: for streams that last.
    pub fn end_at_head(self) -> Self {
        self.with(|options| options.end = SpanEnd::Head)
    }
}

impl Options {
    fn is_traced(&self, head: &RequestHead<'_>) -> bool {
        !self.skipped.iter().any(|path| path == head.uri.path())
            && self.filter.as_ref().is_none_or(|filter| filter(head))
    }
    fn route<'h>(&self, head: &RequestHead<'h>) -> Option<Cow<'h, str>> {
        if let Some(route) = &self.route {
            return route(head).map(|route| Cow::Owned(route.as_str().to_owned()));
        }
        if let Some(route) = head.extensions.get::<HttpRoute>() {
            return Some(Cow::Borrowed(route.as_str()));
        }
        matched_path(head.extensions).map(Cow::Borrowed)
    }
    fn scheme<'h>(&self, head: &RequestHead<'h>) -> &'h str {
        let forwarded = self.trusts_proxy.then(|| {
            let proto = head.header("x-forwarded-proto").and_then(first);
            forwarded(head, "proto").or(proto)
        });
        let own = if self.is_https { "https" } else { "http" };
        forwarded.flatten().or(head.uri.scheme_str()).unwrap_or(own)
    }
    fn authority<'h>(&self, head: &RequestHead<'h>) -> Option<&'h str> {
        let forwarded = self.trusts_proxy.then(|| {
            let host = head.header("x-forwarded-host").and_then(first);
            forwarded(head, "host").or(host)
        });
        let own = head.uri.authority().map(http::uri::Authority::as_str);
        forwarded.flatten().or(own).or_else(|| head.header("host"))
    }

    /// A request's span, with what samplers may want to see.
    fn start(&self, head: &RequestHead<'_>, context: &Context) -> Exchange {
        let is_grpc = head.is_grpc();
        let path = head.uri.path();
        let method = method(head.method);
        let route = if is_grpc { None } else { self.route(head) };
        let mut attributes = Attributes::new();
        if is_grpc {
            attributes.add("rpc.system.name", Value::Static("grpc"));
            attributes.add("rpc.method", Value::Str(method_of(path)));
        } else {
            attributes.add("http.request.method", Value::Static(method));
            attributes.add("url.path", Value::Str(path));
            attributes.add("url.scheme", Value::Str(self.scheme(head)));
            if let Some(route) = &route {
                attributes.add("http.route", Value::Str(route));
            }
        }
        if let Some((host, port)) = self.authority(head).map(split_authority)
            && !host.is_empty()
        {
            attributes.add("server.address", Value::Str(host));
            if let Some(port) = port {
                attributes.add("server.port", Value::I64(i64::from(port)));
            }
        }
        let name = match (is_grpc, method) {
            (true, _) => "gRPC",
            (false, "_OTHER") => "HTTP",
            (false, method) => method,
        };
        let mut span: Span = (span(name).kind(SpanKind::Server))
            .parent(context)
            .attributes(attributes.as_slice())
            .start();
        if span.is_recording() {
            if is_grpc {
                span.update_name(method_of(path));
            } else if let Some(route) = &route {
                conventions::set_route(&mut span, method, route);
            }
            self.describe(&mut span, head, is_grpc);
        }
        let count = if is_grpc {
            Count::rpc_server(&self.metrics, method_of(path))
        } else {
            Count::http_server(&self.metrics, method, self.scheme(head), route.as_deref())
        };
        let ours = context.with_span(&span);
        Exchange::new(span, ours, SpanKind::Server, self.end, count)
            .grpc(is_grpc)
            .method(method)
    }

    /// What only a span that is recorded needs.
    #[cold]
    fn describe(&self, span: &mut Span, head: &RequestHead<'_>, is_grpc: bool) {
        if !is_grpc {
            if method(head.method) == "_OTHER" {
                span.set_attribute("http.request.method_original", head.method.as_str());
            }
            if let Some(query) = head.uri.query() {
                span.set_attribute("url.query", &*self.query.redact(query));
            }
            if let Some(agent) = head.header("user-agent") {
                span.set_attribute("user_agent.original", agent);
            }
            if let Some(version) = protocol_version(head.version) {
                span.set_static("network.protocol.version", version);
            }
        }
        if let Some(address) = self.forwarded_for(head) {
            span.set_attribute("client.address", address);
        } else if let Some(address) = self.client_address.as_ref().and_then(|find| find(head)) {
            let mut text = Text::<48>::new();
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{address}"));
            span.set_attribute("client.address", text.as_str());
        }
        self.request_headers.set(span, head.headers);
    }
    fn forwarded_for<'h>(&self, head: &RequestHead<'h>) -> Option<&'h str> {
        if !self.trusts_proxy {
            return None;
        }
        let address = forwarded(head, "for").map(|node| split_authority(node).0);
        address.or_else(|| head.header("x-forwarded-for").and_then(first))
    }
}

/// The attributes that a span starts with.
struct Attributes<'a>([KeyValue<'a>; 6], usize);

impl<'a> Attributes<'a> {
    fn new() -> Self {
        Attributes([KeyValue::new("", false); 6], 0)
    }
    fn add(&mut self, key: &'static str, value: Value<'a>) {
        if let Some(to) = self.0.get_mut(self.1) {
            *to = KeyValue { key, value };
            self.1 += 1;
        }
    }
    fn as_slice(&self) -> &[KeyValue<'a>] {
        self.0.get(..self.1).unwrap_or_default()
    }
}

/// The first of a list, which is the client's side.
fn first(list: &str) -> Option<&str> {
    let first = list.split(',').next()?.trim();
    (!first.is_empty()).then_some(first)
}

/// A parameter of the first element of `Forwarded`. SPEC: RFC 7239.
fn forwarded<'h>(head: &RequestHead<'h>, name: &str) -> Option<&'h str> {
    let element = first(head.header("forwarded")?)?;
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(feature = "axum")]
fn matched_path(extensions: &http::Extensions) -> Option<&str> {
    let path = extensions.get::<axum::extract::MatchedPath>()?;
    Some(path.as_str())
}
#[cfg(not(feature = "axum"))]
fn matched_path(_: &http::Extensions) -> Option<&str> {
    None
}

impl<S> Layer<S> for TraceServerLayer {
    type Service = TraceServer<S>;
    fn layer(&self, inner: S) -> TraceServer<S> {
        TraceServer {
            inner,
            options: self.0.clone(),
        }
    }
}

/// A service whose requests are traced; made by [`TraceServerLayer`].
#[derive(Clone)]
pub struct TraceServer<S> {
    inner: S,
    options: Arc<Options>,
}

impl<S: fmt::Debug> fmt::Debug for TraceServer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceServer")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for TraceServer<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut core::task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ServerFuture<S::Future> {
        let context = propagation::extract(&HttpFields(request.headers()));
        let head = RequestHead::of(&request);
        let mut exchange = None;
        let inside = if self.options.is_traced(&head) {
            let open = exchange.insert(self.options.start(&head, &context));
            open.context().clone()
        } else {
            context
        };
        let inner = {
            let _watch = Watch {
                exchange: &mut exchange,
            };
            inside.run(|| self.inner.call(request))
        };
        ServerFuture {
            inner: inner.with_context(inside),
            state: State {
                exchange,
                options: self.options.clone(),
            },
        }
    }
}

pin_project! {
    /// The answer of a [`TraceServer`].
    pub struct ServerFuture<F> {
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

impl<F, R, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
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
                    exchange.failed::<E>("the service failed");
                }
                Err(error)
            }
        })
    }
}

impl Options {
    fn answered<R: Body>(
        &self,
        mut exchange: Option<Exchange>,
        response: Response<R>,
    ) -> Response<TracedBody<R>> {
        if let Some(open) = &mut exchange {
            if let Some(route) = response.extensions().get::<HttpRoute>() {
                open.count().route(route.as_str());
            }
            if open.span().is_recording() {
                let method = open.method_name();
                self.describe_answer(open.span(), method, &response);
            }
            let has_body = !response.body().is_end_stream();
            if !open.answered(response.status(), response.headers(), has_body) {
                exchange = None;
            }
        }
        response.map(|body| TracedBody::new(body, exchange))
    }
    fn describe_answer<R>(&self, span: &mut Span, method: &str, response: &Response<R>) {
        if let Some(HttpRoute(route)) = response.extensions().get() {
            span.set_attribute("http.route", &**route);
            conventions::set_route(span, method, route);
        }
        self.response_headers.set(span, response.headers());
    }
}
