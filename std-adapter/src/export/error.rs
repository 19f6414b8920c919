//! Why spans did not arrive, in words that tell the user what to do.
//!
//! Stage: export. Input: what went wrong with an attempt. Output: [`ExportError`]. Bound: texts from a
//! collector are cut to [`MAX_REMOTE_TEXT`] characters and carry no control characters.

use core::fmt;
use core::time::Duration;

/// Longest text taken over from a collector's answer, in characters.
pub const MAX_REMOTE_TEXT: usize = 300;

/// Why a batch, or part of it, is not known to have arrived.
///
/// `Display` names the collector and what to try; it never shows credentials of the endpoint or
/// header values.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportError {
    /// No connection came about, so nothing was sent.
    Connect {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// What the network said.
        reason: ConnectReason,
    },
    /// The connection ended before an answer.
    Disconnected {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// Whether the whole request may have reached the collector.
        sent_whole: bool,
        /// What the network said.
        detail: String,
    },
    /// The time allowed for the batch was used up while waiting for the collector.
    TimedOut {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// Whether the whole request may have reached the collector.
        sent_whole: bool,
        /// The time that was allowed.
        allowed: Duration,
    },
    /// The collector answered with an error status.
    Status {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The collector's own words, if it had any.
        message: String,
    },
    /// The collector answered with a redirect, which a POST of telemetry does not follow.
    Redirected {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// Where to, if said.
        location: String,
    },
    /// The collector asked for a pause (`Retry-After`) that is longer than the time allowed.
    Throttled {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// How much longer the collector wants to be left alone.
        wait: Duration,
    },
    /// The request is larger than the limit, before or after compression.
    RequestTooLarge {
        /// Size of the request; as JSON, at least this.
        bytes: usize,
        /// Largest size allowed.
        limit: usize,
        /// Whether `bytes` is the size after compression.
        compressed: bool,
    },
    /// The answer is larger than the limit and was not read to its end.
    ResponseTooLarge {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// The HTTP status that the answer began with.
        status: u16,
        /// Largest size allowed.
        limit: usize,
    },
    /// The answer is not one that an OTLP receiver gives, or broke off inside.
    UnreadableAnswer {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// The HTTP status, or 0 where not even HTTP was spoken.
        status: u16,
        /// What was wrong with it.
        detail: String,
    },
    /// The collector took the request and refused some of its spans.
    Rejected {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// How many spans it refused.
        spans: u64,
        /// The collector's own words, if it had any.
        message: String,
    },
    /// A request could not be made of the configuration (a fault of ours or a bad proxy setting).
    BadRequest {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// What was wrong with it.
        detail: String,
    },
    /// A gRPC collector answered with an error status.
    GrpcStatus {
        /// The collector's address as shown to the user.
        endpoint: String,
        /// The gRPC status code.
        code: u8,
        /// The collector's own words, if it had any.
        message: String,
        /// Whether it said when to try again (`RetryInfo`).
        says_when: bool,
    },
    /// An exporter that is not of this crate, or writes elsewhere than to a collector, failed.
    Exporter {
        /// Which one.
        exporter: String,
        /// What it said.
        detail: String,
    },
    /// An exporter panicked. It is asked again for the next batch.
    Panicked {
        /// What it panicked with.
        message: String,
    },
    /// An exporter reported another number of spans than it was given.
    Miscounted {
        /// How many it was given.
        given: u64,
        /// How many it reported.
        reported: u64,
    },
    /// The batch counts spans but has no bytes.
    EmptyBody,
    /// The exporter was shut down before the batch was taken.
    ShutDown {
        /// What the last attempt came to, if there was one.
        last: Option<Box<ExportError>>,
    },
}

/// Why no connection came about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectReason {
    /// Nothing listens at the address.
    Refused,
    /// The host name does not resolve.
    HostNotFound,
    /// The time allowed was used up before a connection stood.
    TimedOut,
    /// The TLS handshake failed; trying again would not help.
    Tls(String),
    /// Anything else.
    Other(String),
}

impl ExportError {
    /// Whether the collector may have taken spans although this error stands.
    ///
    /// Such spans are counted as `indeterminate`.
    #[must_use]
    pub fn maybe_taken(&self) -> bool {
        match self {
            ExportError::Disconnected { sent_whole, .. }
            | ExportError::TimedOut { sent_whole, .. } => *sent_whole,
            ExportError::ResponseTooLarge { status, .. }
            | ExportError::UnreadableAnswer { status, .. } => *status == 0 || *status / 100 == 2,
            _ => false,
        }
    }

    /// Whether the same batch may be offered again later: the fault is one that passes.
    ///
    /// SPEC: opentelemetry-proto, OTLP/HTTP "Retryable Response Codes", "All Other Responses",
    /// "OTLP/HTTP Connection".
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            ExportError::Connect { reason, .. } => !matches!(reason, ConnectReason::Tls(_)),
            ExportError::Disconnected { .. }
            | ExportError::TimedOut { .. }
            | ExportError::Throttled { .. } => true,
            ExportError::Status { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            // SPEC: opentelemetry-proto, OTLP/gRPC "Failures": CANCELLED, DEADLINE_EXCEEDED, ABORTED,
            // OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS; RESOURCE_EXHAUSTED if the server says when.
            ExportError::GrpcStatus {
                code, says_when, ..
            } => matches!(code, 1 | 4 | 10 | 11 | 14 | 15) || (*code == 8 && *says_when),
            _ => false,
        }
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Connect { endpoint, reason } => match reason {
                ConnectReason::Refused => write!(
                    f,
                    "collector at {endpoint} refused the connection: is it running, and is the port right? \
                     (OTLP/HTTP is 4318, gRPC 4317, Zipkin 9411; set OTEL_EXPORTER_OTLP_ENDPOINT or _ZIPKIN_ENDPOINT)"
                ),
                ConnectReason::HostNotFound => write!(
                    f,
                    "the host name of the collector at {endpoint} does not resolve: check OTEL_EXPORTER_OTLP_ENDPOINT and DNS"
                ),
                ConnectReason::TimedOut => write!(
                    f,
                    "no connection to the collector at {endpoint} in the time allowed: is it reachable from here (firewall, proxy)?"
                ),
                ConnectReason::Tls(detail) => write!(
                    f,
                    "TLS with the collector at {endpoint} failed ({detail}): set OTEL_EXPORTER_OTLP_CERTIFICATE to the \
                     certificate of its issuer, OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY if it asks for one, \
                     or use http:// if it speaks no TLS"
                ),
                ConnectReason::Other(detail) => {
                    write!(f, "no connection to the collector at {endpoint}: {detail}")
                }
            },
            ExportError::Disconnected {
                endpoint,
                sent_whole,
                detail,
            } => write!(
                f,
                "collector at {endpoint} closed the connection without an answer ({detail}); {}",
                taken_or_not(*sent_whole)
            ),
            ExportError::TimedOut {
                endpoint,
                sent_whole,
                allowed,
            } => write!(
                f,
                "collector at {endpoint} did not answer in the {} ms allowed; {}; if it is only slow, raise OTEL_EXPORTER_OTLP_TIMEOUT",
                allowed.as_millis(),
                taken_or_not(*sent_whole)
            ),
            ExportError::Status {
                endpoint,
                status,
                message,
            } => {
                write!(f, "collector at {endpoint} answered {status}")?;
                if !message.is_empty() {
                    write!(f, " \"{message}\"")?;
                }
                if let Some(hint) = status_hint(*status) {
                    write!(f, ": {hint}")?;
                }
                Ok(())
            }
            ExportError::Redirected {
                endpoint,
                status,
                location,
            } => write!(
                f,
                "collector at {endpoint} answered {status} and points to \"{location}\": set the endpoint to the final address"
            ),
            ExportError::Throttled { endpoint, wait } => write!(
                f,
                "collector at {endpoint} asked to be left alone for another {} ms, longer than the time allowed: it is overloaded",
                wait.as_millis()
            ),
            ExportError::RequestTooLarge {
                bytes,
                limit,
                compressed,
            } => write!(
                f,
                "a request of {bytes} bytes{} is over the limit of {limit}: lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                if *compressed {
                    " after compression"
                } else {
                    ""
                }
            ),
            ExportError::ResponseTooLarge {
                endpoint,
                status,
                limit,
            } => write!(
                f,
                "collector at {endpoint} answered {status} with more than {limit} bytes: is this an OTLP receiver?"
            ),
            ExportError::UnreadableAnswer {
                endpoint,
                status: 0,
                detail,
            } => write!(
                f,
                "what listens at {endpoint} does not speak the protocol ({detail}): 4317 is the gRPC port, OTLP/HTTP is 4318 \
                 (OTEL_EXPORTER_OTLP_PROTOCOL); an https receiver needs https:// in the endpoint"
            ),
            ExportError::UnreadableAnswer {
                endpoint,
                status,
                detail,
            } => write!(
                f,
                "collector at {endpoint} answered {status} with a body that is no OTLP answer ({detail}): is the path right (v1/traces)?"
            ),
            ExportError::Rejected {
                endpoint,
                spans,
                message,
            } => {
                write!(f, "collector at {endpoint} rejected {spans} spans")?;
                if message.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": \"{message}\"")
                }
            }
            ExportError::BadRequest { endpoint, detail } => {
                write!(f, "no request to {endpoint} could be made: {detail}")
            }
            ExportError::GrpcStatus {
                endpoint,
                code,
                message,
                ..
            } => {
                write!(f, "collector at {endpoint} answered {}", grpc_name(*code))?;
                if !message.is_empty() {
                    write!(f, " \"{message}\"")?;
                }
                if let Some(hint) = grpc_hint(*code) {
                    write!(f, ": {hint}")?;
                }
                Ok(())
            }
            ExportError::Exporter { exporter, detail } => {
                write!(f, "the exporter {exporter} failed: {detail}")
            }
            ExportError::Panicked { message } => {
                write!(f, "the exporter panicked: {message}")
            }
            ExportError::Miscounted { given, reported } => write!(
                f,
                "the exporter was given {given} spans and reported on {reported}: a fault of that exporter"
            ),
            ExportError::EmptyBody => f.write_str("the batch counts spans but has no bytes"),
            ExportError::ShutDown { last } => {
                f.write_str("the exporter was shut down before the collector took the spans")?;
                match last {
                    Some(last) => write!(f, "; the last attempt: {last}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl core::error::Error for ExportError {}

fn taken_or_not(sent_whole: bool) -> &'static str {
    if sent_whole {
        "it may have taken the spans"
    } else {
        "it had not received the request"
    }
}

fn status_hint(status: u16) -> Option<&'static str> {
    Some(match status {
        400 => "it could not read the request; this is a fault to report",
        401 | 403 => "credentials are missing or wrong (OTEL_EXPORTER_OTLP_HEADERS)",
        404 | 405 => "nothing takes traces at that path (is v1/traces missing or doubled?)",
        413 => "the request is too large for it (lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE)",
        415 => "it does not take protobuf, or not gzip (OTEL_EXPORTER_OTLP_COMPRESSION=none)",
        429 => "it is overloaded or a quota is used up",
        502 | 504 => "a proxy could not reach it",
        503 => "it is overloaded or starting",
        _ => return None,
    })
}

/// SPEC: gRPC, "Status codes and their use in gRPC".
fn grpc_name(code: u8) -> &'static str {
    match code {
        0 => "OK",
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}

fn grpc_hint(code: u8) -> Option<&'static str> {
    Some(match code {
        3 => "it could not read the request; this is a fault to report",
        7 | 16 => "credentials are missing or wrong (OTEL_EXPORTER_OTLP_HEADERS)",
        8 => "it is overloaded, a quota is used up, or the request is too large for it",
        12 => "it takes no traces by gRPC (or no gzip: OTEL_EXPORTER_OTLP_COMPRESSION=none)",
        14 => "it is overloaded or starting",
        _ => return None,
    })
}

/// Makes a text from outside fit for a log line: one line, no control characters, bounded.
pub(crate) fn tame(text: &str) -> String {
    let mut tamed = String::new();
    for (count, c) in text.trim().chars().enumerate() {
        if count == MAX_REMOTE_TEXT {
            tamed.push('…');
            break;
        }
        tamed.push(if c.is_control() { ' ' } else { c });
    }
    tamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_text_is_bounded_and_tame() {
        assert_eq!(tame(" a\nb\u{1b}[31m "), "a b [31m");
        let long = tame(&"é".repeat(1000));
        assert_eq!(long.chars().count(), MAX_REMOTE_TEXT + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn grpc_codes_are_retryable_as_the_protocol_says() {
        let retryable = |says_when| -> Vec<u8> {
            let of = |code| ExportError::GrpcStatus {
                endpoint: String::new(),
                code,
                message: String::new(),
                says_when,
            };
            (0..=17).filter(|&code| of(code).is_retryable()).collect()
        };
        assert_eq!(retryable(false), [1, 4, 10, 11, 14, 15]);
        assert_eq!(retryable(true), [1, 4, 8, 10, 11, 14, 15]);
    }

    #[test]
    fn only_four_statuses_are_retryable() {
        let retryable: Vec<u16> = (100..600)
            .filter(|&status| {
                let (endpoint, message) = (String::new(), String::new());
                ExportError::Status {
                    endpoint,
                    status,
                    message,
                }
                .is_retryable()
            })
            .collect();
        assert_eq!(retryable, [429, 502, 503, 504]);
    }
}
