//! Names and values of the semantic conventions for HTTP and gRPC, as the layers of servers and clients set them.
//!
//! Input: the head of a request or a response. Output: attributes. Bound: a few words a request; nothing is copied
//! but a URL with something in it that must not be recorded.
//!
//! SPEC: OpenTelemetry Semantic Conventions, "HTTP spans" (stable), "gRPC" (release candidate).

mod call;
#[cfg(feature = "tower")]
mod grpc;
mod message;
mod text;
mod url;

pub(crate) use call::{Call, Server, set_route};
#[cfg(feature = "tower")]
pub(crate) use grpc::{GrpcStatus, method_of};
#[cfg(feature = "tower")]
pub(crate) use message::set_status;
pub(crate) use message::{HeaderNames, method, protocol_version, set_client_status};
pub(crate) use text::Text;
pub(crate) use url::{Query, Url, split_authority};
