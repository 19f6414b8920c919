//! The head of a request, and what applications say about it in its extensions.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use http::{Extensions, HeaderMap, Method, Request, Uri, Version};
use std::borrow::Cow;
use std::sync::Arc;

/// What filters and namers see of a request: all but its body.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The version of the protocol.
    pub version: Version,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// What layers and servers have added.
    pub extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    /// Of this request.
    pub fn of<B>(request: &'a Request<B>) -> Self {
        RequestHead {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
    /// A header's value, if it is there and text.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
    pub(crate) fn is_grpc(&self) -> bool {
        let content_type = self.headers.get(http::header::CONTENT_TYPE);
        content_type.is_some_and(|value| {
            let kind = value.as_bytes().strip_prefix(b"application/grpc");
            // Not `application/grpc-web`, which is another protocol.
            matches!(kind, Some([] | [b'+' | b';', ..]))
        })
    }
}

/// The route of a request, as an extension of the request or, set by the handler, of the response: the name of its
/// span becomes `GET /orders/{id}`, and `http.route` the route.
///
/// A path with its parameters' names, never with their values: one span name a route, not one a request. To a client
/// it is the template of the URL's path.
///
/// ```
/// use spanlet_std::tower::HttpRoute;
/// let mut request = http::Request::get("/orders/17").body(()).unwrap();
/// request.extensions_mut().insert(HttpRoute::new("/orders/{id}"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRoute(pub(super) Cow<'static, str>);

impl HttpRoute {
    /// This route.
    pub fn new(route: impl Into<Cow<'static, str>>) -> Self {
        HttpRoute(route.into())
    }
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Counts how often a request is sent, as an extension of it: a retry is a span of its own, with
/// `http.request.resend_count`.
///
/// Clones share the count, so that the copies that a retry layer makes of the request go on with it.
///
/// ```
/// use spanlet_std::tower::Resends;
/// let mut request = http::Request::get("http://shop.test/").body(()).unwrap();
/// request.extensions_mut().insert(Resends::default());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Resends(Arc<AtomicU32>);

impl Resends {
    /// How often it was sent before now.
    pub(crate) fn next(&self) -> u32 {
        // ORDERING: a count.
        self.0.fetch_add(1, Relaxed)
    }
}
