//! Carriers of what servers and clients hold their header fields in.
//!
//! Input and output: fields of HTTP requests and of messages in queues. Bound: the carrier's own; only what
//! is set is copied.

use http::header::{HeaderName, HeaderValue};
use spanlet::context::{Carrier, CarrierMut};

/// Fields of the `http` crate to read: of hyper, axum, tonic, reqwest, ureq.
///
/// ```
/// use spanlet::context::Carrier;
/// use spanlet_std::propagation::HttpFields;
/// let mut map = http::HeaderMap::new();
/// map.append("tracestate", http::HeaderValue::from_static("a=1"));
/// map.append("tracestate", http::HeaderValue::from_static("b=2"));
/// assert!(HttpFields(&map).values("TraceState").eq([b"a=1", b"b=2"]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HttpFields<'a>(pub &'a http::HeaderMap);

impl Carrier for HttpFields<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.get_all(name).into_iter().map(HeaderValue::as_bytes)
    }
}

/// Fields of the `http` crate to write.
///
/// ```
/// use spanlet::context::CarrierMut;
/// use spanlet_std::propagation::HttpFieldsMut;
/// let mut map = http::HeaderMap::new();
/// HttpFieldsMut(&mut map).set("tracestate", "a=1")?;
/// assert_eq!(map["tracestate"], "a=1");
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug)]
pub struct HttpFieldsMut<'a>(pub &'a mut http::HeaderMap);

impl CarrierMut for HttpFieldsMut<'_> {
    type Error = http::Error;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), http::Error> {
        let name = match name {
            "traceparent" => const { HeaderName::from_static("traceparent") },
            "tracestate" => const { HeaderName::from_static("tracestate") },
            "baggage" => const { HeaderName::from_static("baggage") },
            other => HeaderName::from_bytes(other.as_bytes())?,
        };
        self.0.try_insert(name, HeaderValue::from_str(value)?)?;
        Ok(())
    }
}

/// Fields of a `tiny_http` request to read.
///
/// ```
/// use spanlet::context::Carrier;
/// use spanlet_std::propagation::TinyHttpFields;
/// let headers = ["Baggage: a=1", "Host: x"].map(|line| line.parse::<tiny_http::Header>().unwrap());
/// assert!(TinyHttpFields(&headers).values("baggage").eq([b"a=1"]));
/// ```
#[cfg(feature = "tiny-http")]
#[derive(Clone, Copy, Debug)]
pub struct TinyHttpFields<'a>(pub &'a [tiny_http::Header]);

#[cfg(feature = "tiny-http")]
impl Carrier for TinyHttpFields<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |header| header.field.as_str().as_str().eq_ignore_ascii_case(name))
            .map(|header| header.value.as_bytes())
    }
}

/// A list of `tiny_http` fields to write.
///
/// ```
/// use spanlet::context::CarrierMut;
/// use spanlet_std::propagation::TinyHttpFieldsMut;
/// let mut headers = Vec::new();
/// TinyHttpFieldsMut(&mut headers).set("tracestate", "a=1").unwrap();
/// assert_eq!(headers[0].to_string(), "tracestate: a=1");
/// ```
#[cfg(feature = "tiny-http")]
#[derive(Debug)]
pub struct TinyHttpFieldsMut<'a>(pub &'a mut Vec<tiny_http::Header>);

#[cfg(feature = "tiny-http")]
impl CarrierMut for TinyHttpFieldsMut<'_> {
    /// Of no use: the name or the value is no ASCII.
    type Error = NotAsciiError;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), NotAsciiError> {
        let header = tiny_http::Header::from_bytes(name, value).map_err(|()| NotAsciiError)?;
        self.0.retain(|old| old.field != header.field);
        self.0.push(header);
        Ok(())
    }
}

/// The name or value of a field is not ASCII.
#[cfg(feature = "tiny-http")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAsciiError;

#[cfg(feature = "tiny-http")]
impl core::fmt::Display for NotAsciiError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a field's name or value is not ASCII")
    }
}

#[cfg(feature = "tiny-http")]
impl core::error::Error for NotAsciiError {}

/// Fields of a message in a queue (Kafka headers, AMQP or MQTT 5 properties as text), in order.
///
/// ```
/// use spanlet_std::propagation::{Context, MessageFields};
/// use spanlet::ParentContext;
/// let fields: MessageFields = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
///     .into_iter()
///     .collect();
/// // The consumer links to the producer's span; it is not its child.
/// let producer = Context::extract(&fields).span_context();
/// let mut span: spanlet_std::Span = spanlet_std::span("process order.created").root().start();
/// span.add_link(&producer.unwrap(), &[]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct MessageFields(Vec<(String, String)>);

impl MessageFields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }
    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for MessageFields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let fields = fields.into_iter().map(|(n, v)| (n.into(), v.into()));
        MessageFields(fields.collect())
    }
}

impl Carrier for MessageFields {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.as_slice().values(name)
    }
}

impl CarrierMut for MessageFields {
    type Error = core::convert::Infallible;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), Self::Error> {
        super::PairsMut(&mut self.0).set(name, value)
    }
}
