//! tonic's metadata as a carrier, where a call is traced by hand. The layers of
//! [`tower`](crate::tower) need none of it: to them metadata is the header fields of HTTP/2.

use super::HttpFieldsMut;
use spanlet::context::{Carrier, CarrierMut};
use tonic::metadata::MetadataMap;

/// Metadata of a call to read.
///
/// ```
/// use spanlet::ParentContext;
/// use spanlet_std::propagation::{self, MetadataFields};
/// # let mut request = tonic::Request::new(());
/// # let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// # request.metadata_mut().insert("traceparent", parent.parse().unwrap());
/// let context = propagation::extract(&MetadataFields(request.metadata()));
/// assert!(context.span_context().is_some());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MetadataFields<'a>(pub &'a MetadataMap);

impl Carrier for MetadataFields<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let values = self.0.as_ref().get_all(name).into_iter();
        values.map(http::HeaderValue::as_bytes)
    }
}

/// Metadata of a call to write.
///
/// ```
/// use spanlet_std::propagation::{self, MetadataFieldsMut};
/// let mut request = tonic::Request::new(());
/// let span: spanlet_std::Span = spanlet_std::span("shop.v1.Orders/Get").start();
/// propagation::inject(&span, &mut MetadataFieldsMut(request.metadata_mut()))?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug)]
pub struct MetadataFieldsMut<'a>(pub &'a mut MetadataMap);

impl CarrierMut for MetadataFieldsMut<'_> {
    type Error = http::Error;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), http::Error> {
        HttpFieldsMut(self.0.as_mut()).set(name, value)
    }
}
