//! One request and its answer, as long as its span is open.
//!
//! Input: what becomes of the answer: its head, its body's frames, an error, or nothing any more. Output: the span's
//! attributes and status, and its end. Bound: the span and a context, in place.

use super::count::Count;
use crate::Span;
use crate::conventions::{GrpcStatus, set_client_status, set_status};
use crate::propagation::Context;
use core::fmt::{self, Display};
use http::{HeaderMap, StatusCode};
use spanlet::{SpanKind, Status};

/// An open span of a server or a client.
pub(super) struct Exchange {
    span: Span,
    /// What is current while the request is worked on.
    context: Context,
    kind: SpanKind,
    grpc: Option<Grpc>,
    end: SpanEnd,
    method: &'static str,
    count: Count,
}

/// What is known of a call's outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Grpc {
    Open,
    /// The answer is none of gRPC's.
    Foreign(StatusCode),
    Known,
}

/// When the span of a request ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SpanEnd {
    /// With the response's body: when its last byte was taken, or it was dropped.
    #[default]
    Body,
    /// When the response's head is there.
    Head,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.span.context();
        f.debug_struct("Exchange")
            .field("span", &span)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    pub(super) fn new(
        span: Span,
        context: Context,
        kind: SpanKind,
        end: SpanEnd,
        count: Count,
    ) -> Self {
        Exchange {
            span,
            context,
            kind,
            grpc: None,
            end,
            method: "",
            count,
        }
    }
    pub(super) fn grpc(mut self, is_grpc: bool) -> Self {
        self.grpc = is_grpc.then_some(Grpc::Open);
        self
    }
    pub(super) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }
    pub(super) fn span(&mut self) -> &mut Span {
        &mut self.span
    }
    pub(super) fn count(&mut self) -> &mut Count {
        &mut self.count
    }
    pub(super) fn method_name(&self) -> &'static str {
        self.method
    }
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// The answer's head. Whether the span stays open for its body.
    pub(super) fn answered(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        has_body: bool,
    ) -> bool {
        // The answer to HEAD has no body, whatever it says.
        self.count.answered(status);
        let stays = has_body && self.end == SpanEnd::Body && self.method != "HEAD";
        if self.grpc.is_some() {
            // A call that fails at once has its status here, and no trailers.
            if !self.grpc_status(headers) && status != StatusCode::OK {
                self.grpc = Some(Grpc::Foreign(status));
            }
        } else if self.span.is_recording() {
            self.http_status(status);
        }
        if !stays {
            self.completed();
        }
        stays
    }

    /// Ends the span, and counts the request.
    fn end(&mut self) {
        self.count.ended(self.span.context());
        self.span.end();
    }

    fn http_status(&mut self, status: StatusCode) {
        match self.kind {
            SpanKind::Server => set_status(&mut self.span, status, 500),
            _ => set_client_status(&mut self.span, status),
        }
    }

    /// The call's status, if it is in these headers or trailers.
    fn grpc_status(&mut self, headers: &HeaderMap) -> bool {
        let Some(status) = GrpcStatus::of(headers) else {
            return false;
        };
        let message = headers
            .get("grpc-message")
            .and_then(|value| value.to_str().ok());
        self.grpc_outcome(status, message.unwrap_or_default());
        true
    }

    fn grpc_outcome(&mut self, status: GrpcStatus, message: &str) {
        self.grpc = Some(Grpc::Known);
        let is_error = match self.kind {
            SpanKind::Server => status.is_error_of_server(),
            _ => status.is_error_to_client(),
        };
        self.count.outcome(status.name(), is_error);
        if !self.span.is_recording() {
            return;
        }
        self.span
            .set_static("rpc.response.status_code", status.name());
        if is_error {
            self.span.set_static("error.type", status.name());
            if message.is_empty() {
                self.span.set_status(Status::Error);
            } else {
                self.span.set_error(&decoded(message));
            }
        }
    }

    /// Trailers of the answer's body.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.grpc == Some(Grpc::Open) {
            self.grpc_status(trailers);
        }
    }

    /// All of the answer is there.
    pub(super) fn completed(&mut self) {
        match self.grpc {
            Some(Grpc::Open) if self.end == SpanEnd::Body => {
                self.grpc_outcome(GrpcStatus::UNKNOWN, "no grpc-status came");
            }
            Some(Grpc::Foreign(status)) => {
                self.grpc_outcome(GrpcStatus::of_http(status), "");
            }
            _ => {}
        }
        self.end();
    }

    /// The answer, or its body, is an error.
    pub(super) fn failed<E>(&mut self, what: impl Display) {
        self.fail(core::any::type_name::<E>(), &what);
    }
    fn fail(&mut self, error_type: &'static str, what: &dyn Display) {
        self.count.failed(error_type);
        if self.span.is_recording() {
            self.span.set_static("error.type", error_type);
            self.span.set_error(&what.to_string());
        }
        self.end();
    }

    /// Nobody waits for the answer any more; its head has not come.
    pub(super) fn cancelled(&mut self) {
        if self.grpc.is_some() {
            self.grpc_outcome(GrpcStatus::CANCELLED, "");
        }
        self.count.failed("cancelled");
        if self.span.is_recording() {
            self.span
                .set_attribute("spanlet.cancelled", true)
                .set_static("error.type", "cancelled");
            self.span.set_error("dropped before there was an answer");
        }
        self.end();
    }
    /// The rest of the body is not wanted: a client that has seen enough, a stream that its reader left.
    pub(super) fn cut_short(&mut self) {
        if self.grpc == Some(Grpc::Open) {
            self.grpc_outcome(GrpcStatus::CANCELLED, "");
        }
        if self.kind == SpanKind::Server {
            self.span.set_attribute("spanlet.cancelled", true);
        }
        self.end();
    }
    /// What worked on it panicked.
    pub(super) fn panicked(&mut self) {
        self.count.failed("panic");
        if self.span.is_recording() {
            self.span.set_static("error.type", "panic");
            self.span.set_error("panicked");
        }
        self.end();
    }
}

/// Ends the exchange if a panic goes through.
pub(super) struct Watch<'a> {
    pub(super) exchange: &'a mut Option<Exchange>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(mut exchange) = self.exchange.take()
        {
            exchange.panicked();
        }
    }
}

/// `grpc-message`, percent-decoded; bytes that are no text are replaced. SPEC: gRPC over HTTP/2, "Status-Message".
fn decoded(message: &str) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(message.len());
    let mut rest = message.as_bytes();
    while let [first, tail @ ..] = rest {
        if let ([b'%'], [a, b, after @ ..]) = ([*first], tail)
            && let (Some(high), Some(low)) = (hex(*a), hex(*b))
        {
            bytes.push((high << 4 | low) as u8);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_decoded() {
        for (from, to) in [
            ("plain", "plain"),
            ("50%25 of %C3%A4", "50% of ä"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decoded(from), to);
        }
    }
}
