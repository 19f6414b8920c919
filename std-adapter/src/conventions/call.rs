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
}

impl Call<'_> {
    /// Its span, with what samplers may want to see; a URL is put together only for one that is recorded.
    pub(crate) fn start(&self, parent: &Context, query: &Query) -> Span {
        let method = method(self.method);
        let name = if method == "_OTHER" { "HTTP" } else { method };
        let (host, _) = server(self.uri);
        let attributes = [
            KeyValue::new("http.request.method", Value::Static(method)),
            KeyValue::new("server.address", host),
        ];
        let mut span: Span = (span(name).kind(SpanKind::Client))
            .parent(parent)
            .attributes(&attributes)
            .start();
        if span.is_recording() {
            self.describe(&mut span, query);
        }
        span
    }
    fn describe(&self, span: &mut Span, query: &Query) {
        set_server(span, self.uri);
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

/// Host and port of a URL, the scheme's own port where it names none.
fn server(uri: &Uri) -> (&str, u16) {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let (host, port) = split_authority(authority);
    let is_https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
    (host, port.unwrap_or(if is_https { 443 } else { 80 }))
}

/// `server.address` and `server.port`.
pub(crate) fn set_server(span: &mut Span, uri: &Uri) {
    let (host, port) = server(uri);
    if !host.is_empty() {
        span.set_attribute("server.address", host)
            .set_attribute("server.port", port);
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
