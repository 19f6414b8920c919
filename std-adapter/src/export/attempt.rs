//! One request to the collector and what came of it.
//!
//! Stage: inside an export, between two waits. Input: the bytes as they go on the wire and the time
//! left. Output: [`Attempt`]. Bound: reads at most the response limit plus one byte.

use super::delivery::{Attempt, Transport};
use super::error::{ConnectReason, ExportError, tame};
use super::response::{PartialSuccess, error_text, glimpse, parse_success};
use super::retry::parse_retry_after;
use core::time::Duration;
use flate2::read::MultiGzDecoder;
use std::io::{self, Read};
use std::time::SystemTime;
use ureq::http::{self, HeaderMap, header};
use ureq::{Agent, SendBody};

/// What all requests to one collector have in common.
#[derive(Debug)]
pub(super) struct HttpTarget {
    pub(super) agent: Agent,
    pub(super) uri: http::Uri,
    /// The endpoint without credentials, for messages.
    pub(super) shown: String,
    /// Every header but the content's length.
    pub(super) headers: HeaderMap,
    pub(super) response_limit: usize,
    /// Whether what a 2xx answer says is of OTLP; if not, the status says it all.
    pub(super) answers_otlp: bool,
}

impl Transport for HttpTarget {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn attempt(
        &self,
        body: &[u8],
        time_left: Option<Duration>,
        allowed: Duration,
        unix_now: &dyn Fn() -> SystemTime,
    ) -> Attempt {
        let mut sending = Sending { rest: body };
        let response = self.request(&mut sending, body.len(), time_left);
        let sent_whole = sending.rest.is_empty();
        let sent_any = sending.rest.len() < body.len();
        match response {
            Ok(response) => self.read_answer(response, unix_now),
            Err(error) => Attempt::Failed {
                error: self.explain(&error, sent_any, sent_whole, allowed),
                retry_after: None,
            },
        }
    }

    fn cut(&self) {
        self.agent.clone().shutdown();
    }
}

impl HttpTarget {
    fn request(
        &self,
        sending: &mut Sending<'_>,
        length: usize,
        time_left: Option<Duration>,
    ) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let mut request =
            http::Request::post(self.uri.clone()).body(SendBody::from_reader(sending))?;
        request.headers_mut().clone_from(&self.headers);
        // With the length given, the body goes out as it is rather than in chunks.
        request
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(time_left)
            .build();
        self.agent.run(request)
    }

    fn read_answer(
        &self,
        mut response: http::Response<ureq::Body>,
        unix_now: &dyn Fn() -> SystemTime,
    ) -> Attempt {
        let status = response.status().as_u16();
        let text = |name: header::HeaderName| -> Option<String> {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let content_type = text(header::CONTENT_TYPE);
        let retry_after =
            text(header::RETRY_AFTER).and_then(|value| parse_retry_after(&value, unix_now()));
        let gzipped = text(header::CONTENT_ENCODING)
            .is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip"));
        let location = text(header::LOCATION);

        let body =
            read_limited(response.body_mut().as_reader(), self.response_limit).and_then(|body| {
                match body {
                    // Not asked for, yet some receivers answer as they were spoken to.
                    Some(body) if gzipped => {
                        read_limited(MultiGzDecoder::new(&*body), self.response_limit)
                    }
                    body => Ok(body),
                }
            });
        let endpoint = self.shown.clone();
        let content_type = content_type.as_deref();
        let error = match (status, body) {
            (_, Ok(None)) => ExportError::ResponseTooLarge {
                endpoint,
                status,
                limit: self.response_limit,
            },
            (200..=299, _) if !self.answers_otlp => {
                return Attempt::Taken(PartialSuccess::default());
            }
            (200..=299, Ok(Some(body))) => match parse_success(content_type, &body) {
                Ok(partial) => return Attempt::Taken(partial),
                Err(error) => ExportError::UnreadableAnswer {
                    endpoint,
                    status,
                    detail: format!("{error}; {}", glimpse(content_type, &body)),
                },
            },
            (200..=299, Err(error)) => ExportError::UnreadableAnswer {
                endpoint,
                status,
                detail: format!("it broke off: {}", tame(&error.to_string())),
            },
            (300..=399, _) => ExportError::Redirected {
                endpoint,
                status,
                location: tame(&location.unwrap_or_default()),
            },
            // The status stands even where the text that explains it got lost.
            (_, body) => ExportError::Status {
                endpoint,
                status,
                message: body
                    .ok()
                    .flatten()
                    .map(|body| error_text(content_type, &body))
                    .unwrap_or_default(),
            },
        };
        Attempt::Failed { error, retry_after }
    }

    fn explain(
        &self,
        error: &ureq::Error,
        sent_any: bool,
        sent_whole: bool,
        allowed: Duration,
    ) -> ExportError {
        let endpoint = self.shown.clone();
        let detail = tame(&error.to_string());
        let connect = |reason| ExportError::Connect {
            endpoint: endpoint.clone(),
            reason,
        };
        match error {
            ureq::Error::HostNotFound => connect(ConnectReason::HostNotFound),
            ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => {
                connect(ConnectReason::Other(detail))
            }
            ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                connect(ConnectReason::TimedOut)
            }
            ureq::Error::Timeout(_) if !sent_any => connect(ConnectReason::TimedOut),
            ureq::Error::Timeout(_) => ExportError::TimedOut {
                endpoint,
                sent_whole,
                allowed,
            },
            ureq::Error::Tls(_) => connect(ConnectReason::Tls(detail)),
            #[cfg(feature = "tls")]
            ureq::Error::Rustls(_) | ureq::Error::Pem(_) => connect(ConnectReason::Tls(detail)),
            // A server that wants a client certificate may say so only after the request has left.
            ureq::Error::Io(io) if is_tls(io) && (!sent_whole || detail.contains("alert")) => {
                connect(ConnectReason::Tls(detail))
            }
            ureq::Error::Io(io) if !sent_any => connect(match io.kind() {
                io::ErrorKind::ConnectionRefused => ConnectReason::Refused,
                io::ErrorKind::TimedOut => ConnectReason::TimedOut,
                _ => ConnectReason::Other(detail),
            }),
            ureq::Error::Io(_) => ExportError::Disconnected {
                endpoint,
                sent_whole,
                detail,
            },
            ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) if sent_whole => {
                ExportError::UnreadableAnswer {
                    endpoint,
                    status: 0,
                    detail,
                }
            }
            _ => ExportError::BadRequest { endpoint, detail },
        }
    }
}

/// Whether an I/O error carries a TLS failure: rustls reports its own inside of `InvalidData`.
fn is_tls(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData && error.get_ref().is_some()
}

/// The body on its way out, which knows how much of itself is gone: a request that never left whole
/// cannot have been taken.
struct Sending<'a> {
    rest: &'a [u8],
}

impl Read for Sending<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.rest.read(into)
    }
}

/// Reads to the end; `None` if that is more than `limit` bytes away.
pub(super) fn read_limited(from: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    let within = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(within).read_to_end(&mut body)?;
    Ok((body.len() <= limit).then_some(body))
}
