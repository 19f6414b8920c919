//! The span of a client's request.

use super::{Query, Text, Url, method, protocol_version, split_authority};
use crate::propagation::Context;
use crate::{Span, span};
use core::fmt::Write;
use http::{Method, Uri, Version};
use spanlet::{KeyValue, SpanKind, Value};

/// The head of a request that is about to be sent.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) server: Server<'a>,
}

/// Whom a request is sent to; no host where that is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
}

impl<'a> Server<'a> {
    /// Host and port of a URL, the scheme's own port where it names none.
    pub(crate) fn of(uri: &'a Uri) -> Self {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let (host, port) = split_authority(authority);
        let is_https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        Server { host, port }
    }
    /// With the two attributes that are known of a call before it is sent.
    pub(crate) fn start(
        self,
        name: &'static str,
        parent: &Context,
        [first, second]: [KeyValue<'_>; 2],
    ) -> Span {
        let Server { host, port } = self;
        let attributes = [
            first,
            second,
            KeyValue::new("server.address", host),
            KeyValue::new("server.port", port),
        ];
        let known = if host.is_empty() { 2 } else { 4 };
        (span(name).kind(SpanKind::Client))
            .parent(parent)
            .attributes(attributes.get(..known).unwrap_or_default())
            .start()
    }
}

impl Call<'_> {
    /// Its span, with what samplers may want to see; a URL is put together only for one that is recorded.
    pub(crate) fn start(&self, parent: &Context, query: &Query) -> Span {
        let method = method(self.method);
        let name = if method == "_OTHER" { "HTTP" } else { method };
        let known = [
            KeyValue::new("http.request.method", Value::Static(method)),
            KeyValue::new("url.scheme", self.uri.scheme_str().unwrap_or("http")),
        ];
        let mut span = self.server.start(name, parent, known);
        if span.is_recording() {
            self.describe(&mut span, query);
        }
        span
    }
    fn describe(&self, span: &mut Span, query: &Query) {
        let mut url = Text::<256>::new();
        // Cannot fail: what does not fit goes to the heap.
        let _ = write!(url, "{}", Url(self.uri, query));
        span.set_attribute("url.full", url.as_str());
        if method(self.method) == "_OTHER" {
            span.set_attribute("http.request.method_original", self.method.as_str());
        }
        if let Some(version) = protocol_version(self.version) {
            span.set_static("network.protocol.version", version);
        }
    }
}

/// Names the span by its route: `GET /orders/{id}`.
pub(crate) fn set_route(span: &mut Span, method: &str, route: &str) {
    let method = if method == "_OTHER" { "HTTP" } else { method };
    let mut name = Text::<128>::new();
    for part in [method, " ", route] {
        name.push_str(part);
    }
    span.update_name(name.as_str());
}
