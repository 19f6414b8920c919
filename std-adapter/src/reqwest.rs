//! A middleware for reqwest's client: a span per request, and its context in the request's headers.
//!
//! Input: requests of a `ClientWithMiddleware`. Output: CLIENT spans, from the request to the head of its answer, as
//! reqwest's middleware sees it. Bound: nothing beyond the request's own.

use crate::conventions::{self, Call, HeaderNames, Query, Server};
use crate::propagation::{self, Context, HttpFieldsMut, WithContext};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use http::{Extensions, Uri};
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next};
use spanlet::Status;
use std::sync::Arc;

/// Traces the requests of reqwest's client.
///
/// The span is a child of the [current](Context::current) one and goes out as the parent, by the formats of the
/// process. It ends when the answer's head is there; status is Error for 4xx, 5xx and where there is no answer. Added
/// after a retrying middleware, each attempt is a span, with `http.request.resend_count`. Redirects are followed by
/// reqwest inside of the span.
///
/// ```
/// use spanlet_std::reqwest::TraceMiddleware;
/// let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
///     .with(TraceMiddleware::new())
///     .build();
/// ```
#[derive(Clone, Debug, Default)]
pub struct TraceMiddleware {
    query: Query,
    request_headers: HeaderNames,
    response_headers: HeaderNames,
}

/// The template of a URL's path, as an extension of the request: its span is named by it, and has `url.template`.
///
/// ```
/// use spanlet_std::reqwest::{TraceMiddleware, UrlTemplate};
/// # fn get(client: &reqwest_middleware::ClientWithMiddleware) -> reqwest_middleware::RequestBuilder {
/// client.get("http://shop.test/orders/17").with_extension(UrlTemplate("/orders/{id}"))
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlTemplate(pub &'static str);

/// Attempts so far, kept in the extensions that all attempts share.
#[derive(Clone, Default)]
struct Attempts(Arc<AtomicU32>);

impl TraceMiddleware {
    /// With the usual settings.
    pub fn new() -> Self {
        Self::default()
    }
    /// Replaces the values of these keys in `url.full`, besides those of pre-signed URLs (`Signature`, `sig`,
    /// `AWSAccessKeyId`, `X-Goog-Signature`). User names and passwords are always replaced.
    #[must_use]
    pub fn redact_query<'k>(mut self, keys: impl IntoIterator<Item = &'k str>) -> Self {
        self.query
            .secrets
            .extend(keys.into_iter().map(str::to_owned));
        self
    }
    /// Records these headers as `http.request.header.NAME`. None are by default: they may hold secrets.
    #[must_use]
    pub fn capture_request_headers<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.request_headers.add("http.request.header.", names);
        self
    }
    /// Records these headers as `http.response.header.NAME`.
    #[must_use]
    pub fn capture_response_headers<'n>(
        mut self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        self.response_headers.add("http.response.header.", names);
        self
    }
}

#[async_trait::async_trait]
impl Middleware for TraceMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        // reqwest's URLs are those of another crate; whatever is one is a `Uri` too.
        let uri: Uri = request.url().as_str().parse().unwrap_or_default();
        let current = Context::current();
        let mut span = Call {
            method: request.method(),
            uri: &uri,
            version: request.version(),
            server: Server::of(&uri),
        }
        .start(&current, &self.query);
        let attempts = extensions.get_or_insert_default::<Attempts>();
        // ORDERING: a count.
        let resends = attempts.0.fetch_add(1, Relaxed);
        if span.is_recording() {
            if resends > 0 {
                span.set_attribute("http.request.resend_count", resends);
            }
            if let Some(UrlTemplate(template)) = extensions.get() {
                span.set_static("url.template", template);
                conventions::set_route(&mut span, conventions::method(request.method()), template);
            }
            self.request_headers.set(&mut span, request.headers());
        }
        let inside = current.with_span(&span);
        // A header map that is full takes no more; then the request goes out as it is.
        let _ = propagation::inject_from(&inside, &mut HttpFieldsMut(request.headers_mut()));
        let mut unanswered = Unanswered(Some(span));
        let answer = next.run(request, extensions).with_context(inside).await;
        if let Some(mut span) = unanswered.0.take()
            && span.is_recording()
        {
            match &answer {
                Ok(response) => {
                    conventions::set_client_status(&mut span, response.status());
                    self.response_headers.set(&mut span, response.headers());
                }
                Err(error) => {
                    let kind = match error {
                        reqwest_middleware::Error::Middleware(_) => "middleware",
                        reqwest_middleware::Error::Reqwest(error) => kind_of(error),
                    };
                    span.set_static("error.type", kind);
                    span.set_error(&error.to_string());
                }
            }
        }
        answer
    }
}

/// A span whose request may be dropped before there is an answer.
struct Unanswered(Option<crate::Span>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(span) = &mut self.0
            && span.is_recording()
            && !std::thread::panicking()
        {
            span.set_attribute("spanlet.cancelled", true)
                .set_static("error.type", "cancelled");
            span.set_status(Status::Error);
        }
    }
}

fn kind_of(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else if error.is_redirect() {
        "redirect"
    } else {
        "reqwest::Error"
    }
}
