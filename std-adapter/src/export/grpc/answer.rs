//! What a gRPC collector answered, and what it means that it did not.
//!
//! Input: status, headers, at most the response limit of body, trailers. Output: [`Attempt`].

use super::super::attempt::read_limited;
use super::super::delivery::Attempt;
use super::super::error::{ConnectReason, ExportError, tame};
use super::super::response::{Fields, PartialSuccess, error_text, glimpse, parse_trace_response};
use core::error::Error;
use core::time::Duration;
use flate2::read::MultiGzDecoder;
use std::io;
use tonic::codegen::http::HeaderMap;

/// An answer as far as it has come.
pub(super) struct Answer<'a> {
    endpoint: &'a str,
    status: u16,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(endpoint: &'a str, status: u16, headers: HeaderMap) -> Self {
        Answer {
            endpoint,
            status,
            headers,
            body: Vec::new(),
            trailers: None,
        }
    }

    /// What a complete answer says.
    pub(super) fn read(self, limit: usize) -> Attempt {
        // A server that has nothing to say but the status says it in the headers.
        let status = (self.trailers.as_ref())
            .and_then(tonic::Status::from_header_map)
            .or_else(|| tonic::Status::from_header_map(&self.headers));
        let Some(status) = status else {
            return self.without_status();
        };
        if status.code() != tonic::Code::Ok {
            let retry_after = retry_delay(status.details());
            return Attempt::Failed {
                error: ExportError::GrpcStatus {
                    endpoint: self.endpoint.to_owned(),
                    code: u8::try_from(status.code() as i32).unwrap_or(2),
                    message: tame(status.message()),
                    says_when: retry_after.is_some(),
                },
                retry_after,
            };
        }
        match self.message(limit) {
            Ok(Some(message)) => match parse_trace_response(&message) {
                Ok(partial) => Attempt::Taken(partial),
                Err(error) => {
                    let kind = self.content_type();
                    self.unreadable(format!("{error}; {}", glimpse(kind.as_deref(), &message)))
                }
            },
            // The status says that it took all; receivers differ.
            Ok(None) => Attempt::Taken(PartialSuccess::default()),
            Err(Message::TooLarge) => self.too_large(limit),
            Err(Message::Broken(detail)) => self.unreadable(detail.to_owned()),
        }
    }

    /// The message, decompressed. SPEC: gRPC over HTTP/2, "Length-Prefixed-Message".
    fn message(&self, limit: usize) -> Result<Option<Vec<u8>>, Message> {
        let Some((prefix, rest)) = self.body.split_first_chunk::<5>() else {
            return match self.body.is_empty() {
                true => Ok(None),
                false => Err(Message::Broken("its message ends inside of its head")),
            };
        };
        let [compressed, length @ ..] = *prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let message = rest
            .get(..length)
            .ok_or(Message::Broken("its message breaks off"))?;
        match compressed {
            0 => Ok(Some(message.to_vec())),
            // Not asked for, yet some receivers answer as they were spoken to.
            1 => match read_limited(MultiGzDecoder::new(message), limit) {
                Ok(Some(message)) => Ok(Some(message)),
                Ok(None) => Err(Message::TooLarge),
                Err(_) => Err(Message::Broken(
                    "its message is compressed, and not by gzip",
                )),
            },
            _ => Err(Message::Broken("its message begins with no gRPC head")),
        }
    }

    fn content_type(&self) -> Option<String> {
        let value = self.headers.get("content-type")?.to_str().ok()?;
        Some(value.to_owned())
    }

    /// A proxy in between, or nothing that speaks gRPC.
    fn without_status(self) -> Attempt {
        let kind = self.content_type();
        if self.status == 200 {
            let detail = format!(
                "it has no gRPC status; {}",
                glimpse(kind.as_deref(), &self.body)
            );
            return self.unreadable(detail);
        }
        Attempt::Failed {
            error: ExportError::Status {
                endpoint: self.endpoint.to_owned(),
                status: self.status,
                message: error_text(kind.as_deref(), &self.body),
            },
            retry_after: None,
        }
    }

    fn unreadable(&self, detail: String) -> Attempt {
        Attempt::Failed {
            error: ExportError::UnreadableAnswer {
                endpoint: self.endpoint.to_owned(),
                status: self.status,
                detail,
            },
            retry_after: None,
        }
    }

    pub(super) fn too_large(&self, limit: usize) -> Attempt {
        Attempt::Failed {
            error: ExportError::ResponseTooLarge {
                endpoint: self.endpoint.to_owned(),
                status: self.status,
                limit,
            },
            retry_after: None,
        }
    }

    /// The connection or stream ended inside of the answer.
    pub(super) fn broken_off(&self, error: &(dyn Error + 'static)) -> Attempt {
        Attempt::Failed {
            error: ExportError::Disconnected {
                endpoint: self.endpoint.to_owned(),
                sent_whole: true,
                detail: with_causes(error),
            },
            retry_after: None,
        }
    }
}

enum Message {
    TooLarge,
    Broken(&'static str),
}

/// The delay of a `google.rpc.RetryInfo` among the details of an encoded `google.rpc.Status`.
///
/// SPEC: opentelemetry-proto, "OTLP/gRPC Throttling".
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let mut status = Fields::new(details);
    while let Ok(Some((number, value))) = status.next() {
        if number != 3 {
            continue;
        }
        let (mut is_retry_info, mut info) = (false, None);
        let mut any = Fields::new(value.bytes().ok()?);
        while let Ok(Some((number, value))) = any.next() {
            match number {
                1 => is_retry_info = value.text().ok()?.ends_with("/google.rpc.RetryInfo"),
                2 => info = value.bytes().ok(),
                _ => {}
            }
        }
        let Some(info) = info.filter(|_| is_retry_info) else {
            continue;
        };
        let mut delay = Duration::ZERO;
        let mut info = Fields::new(info);
        while let Ok(Some((number, value))) = info.next() {
            if number != 1 {
                continue;
            }
            let mut duration = Fields::new(value.bytes().ok()?);
            while let Ok(Some((number, value))) = duration.next() {
                let n = value.varint().ok()?.cast_signed().max(0).unsigned_abs();
                delay = delay.saturating_add(match number {
                    1 => Duration::from_secs(n),
                    2 => Duration::from_nanos(n),
                    _ => Duration::ZERO,
                });
            }
        }
        return Some(delay);
    }
    None
}

/// Why no answer came.
pub(super) fn explain(
    endpoint: &str,
    error: &(dyn Error + 'static),
    sent_any: bool,
    sent_whole: bool,
    allowed: Duration,
) -> ExportError {
    let endpoint = endpoint.to_owned();
    let detail = with_causes(error);
    let causes = || core::iter::successors(Some(error), |error| (*error).source());
    // tonic's channel keeps the time that `grpc-timeout` says, too.
    let timed_out = causes().any(|cause| cause.is::<tonic::TimeoutExpired>());
    if sent_any && timed_out {
        return ExportError::TimedOut {
            endpoint,
            sent_whole,
            allowed,
        };
    }
    if sent_any {
        return ExportError::Disconnected {
            endpoint,
            sent_whole,
            detail,
        };
    }
    let io = causes().find_map(|cause| cause.downcast_ref::<io::Error>());
    // What a connector reports as text only.
    let says = |text: &str| causes().any(|cause| cause.to_string().contains(text));
    let reason = match io.map(io::Error::kind) {
        _ if timed_out => ConnectReason::TimedOut,
        _ if says("dns error") => ConnectReason::HostNotFound,
        Some(io::ErrorKind::ConnectionRefused) => ConnectReason::Refused,
        Some(io::ErrorKind::TimedOut) => ConnectReason::TimedOut,
        // rustls reports its own inside of `InvalidData`; without ALPN the other side speaks no HTTP/2.
        Some(io::ErrorKind::InvalidData) => ConnectReason::Tls(detail),
        _ if says("HTTP/2 was not negotiated") => ConnectReason::Tls(detail),
        _ => ConnectReason::Other(detail),
    };
    ExportError::Connect { endpoint, reason }
}

/// An error with what caused it, as one text.
pub(super) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in core::iter::successors(error.source(), |error| (*error).source()) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    tame(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, u8::try_from(body.len()).unwrap()];
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_retry_delay_is_found_among_details() {
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let info = field(1, &[1 << 3, 7, 2 << 3, 5]);
        let retry = [field(1, url), field(2, &info)].concat();
        let other = [
            field(1, b"type.googleapis.com/google.rpc.Help"),
            field(2, b"x"),
        ]
        .concat();
        let status = [
            vec![1 << 3, 14],
            field(2, b"busy"),
            field(3, &other),
            field(3, &retry),
        ];
        assert_eq!(retry_delay(&status.concat()), Some(Duration::new(7, 5)));
        // Present and empty: at once, as far as the backoff allows.
        let at_once = [field(1, url), field(2, b"")].concat();
        assert_eq!(retry_delay(&field(3, &at_once)), Some(Duration::ZERO));
        assert_eq!(retry_delay(&field(3, &other)), None);
        for broken in [&b"\xff\xff"[..], b"\x1a\x05a", b""] {
            assert_eq!(retry_delay(broken), None);
        }
    }
}
