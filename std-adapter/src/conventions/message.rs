//! Methods, versions, captured headers.

use http::header::{AsHeaderName, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use spanlet::{Recorder, Span, SpanBuf, Status, Value};

/// The method as a span has it: one of those that RFC 9110, PATCH and QUERY define, or `_OTHER`.
pub(crate) fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 10] = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY",
    ];
    let known = KNOWN.iter().find(|known| **known == method.as_str());
    known.copied().unwrap_or("_OTHER")
}

/// `network.protocol.version`.
pub(crate) fn protocol_version(version: Version) -> Option<&'static str> {
    Some(match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => return None,
    })
}

/// Status and `error.type` of an answer's status code, of which those from `error_from` on are errors.
pub(crate) fn set_status<R: Recorder, B: SpanBuf>(
    span: &mut Span<R, B>,
    status: StatusCode,
    error_from: u16,
) {
    span.set_attribute("http.response.status_code", status.as_u16());
    if status.as_u16() >= error_from {
        span.set_attribute("error.type", status.as_str())
            .set_status(Status::Error);
    }
}

/// The same of an answer to a client, to whom 4xx is an error too.
pub(crate) fn set_client_status<R: Recorder, B: SpanBuf>(
    span: &mut Span<R, B>,
    status: StatusCode,
) {
    set_status(span, status, 400);
}

/// Headers that are to be attributes, with the attributes' names.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderNames(Vec<(HeaderName, String)>);

impl HeaderNames {
    /// Adds headers; a name that cannot be one is left out, since no message can have it.
    pub(crate) fn add<'n>(&mut self, prefix: &str, names: impl IntoIterator<Item = &'n str>) {
        let names = names.into_iter().filter_map(|name| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let key = format!("{prefix}{name}");
            Some((name, key))
        });
        self.0.extend(names);
    }
    /// Sets the attributes of those that are there: a list of texts each.
    pub(crate) fn set<R: Recorder, B: SpanBuf>(&self, span: &mut Span<R, B>, headers: &HeaderMap) {
        for (name, key) in &self.0 {
            let values: Vec<&str> = texts(headers, name).collect();
            if !values.is_empty() {
                span.set_attribute_copied(key, Value::from(&values[..]));
            }
        }
    }
}

/// The values of a header that are text.
fn texts(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value: &HeaderValue| value.to_str().ok())
}
