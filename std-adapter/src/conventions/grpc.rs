//! gRPC: the method of a path, the status of headers or trailers.

use http::HeaderMap;

/// `package.Service/Method` of a request's path, or `_OTHER` for one of no gRPC form.
pub(crate) fn method_of(path: &str) -> &str {
    let method = path.strip_prefix('/').unwrap_or_default();
    match method.split_once('/') {
        Some((service, name)) if !service.is_empty() && !name.is_empty() && !name.contains('/') => {
            method
        }
        _ => "_OTHER",
    }
}

/// A code of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrpcStatus(u8);

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl GrpcStatus {
    pub(crate) const CANCELLED: Self = GrpcStatus(1);
    pub(crate) const UNKNOWN: Self = GrpcStatus(2);

    /// Of headers or trailers; one that is no code counts as UNKNOWN.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("grpc-status")?.to_str().ok();
        let code = text.and_then(|text| text.parse::<u8>().ok());
        Some(match code {
            Some(code) if usize::from(code) < NAMES.len() => GrpcStatus(code),
            _ => Self::UNKNOWN,
        })
    }
    /// Of an answer that does not come from a gRPC server. SPEC: gRPC, "HTTP to gRPC Status Code Mapping".
    pub(crate) fn of_http(status: http::StatusCode) -> Self {
        GrpcStatus(match status.as_u16() {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        })
    }
    pub(crate) fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }
    /// Whether it is an error of the server: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and
    /// DATA_LOSS; the others are the caller's affair.
    pub(crate) fn is_error_of_server(self) -> bool {
        matches!(self.0, 2 | 4 | 12 | 13 | 14 | 15)
    }
    /// Whether it is an error to a client: all but OK.
    pub(crate) fn is_error_to_client(self) -> bool {
        self.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_methods() {
        assert_eq!(method_of("/shop.v1.Orders/Get"), "shop.v1.Orders/Get");
        for other in ["/", "", "/a", "/a/", "//b", "/a/b/c", "a/b"] {
            assert_eq!(method_of(other), "_OTHER", "{other}");
        }
    }

    #[test]
    fn codes_have_names() {
        let of = |code: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", http::HeaderValue::from_static(code));
            GrpcStatus::of(&headers).unwrap()
        };
        assert_eq!(of("0").name(), "OK");
        assert_eq!(of("16").name(), "UNAUTHENTICATED");
        for unknown in ["17", "-1", "", "x", "256"] {
            assert_eq!(of(unknown), GrpcStatus::UNKNOWN);
        }
        assert_eq!(GrpcStatus::of(&HeaderMap::new()), None);
        assert_eq!(GrpcStatus::CANCELLED.name(), "CANCELLED");
        let errors: Vec<_> = (0..17).map(GrpcStatus).collect();
        let of_server = errors.iter().filter(|s| s.is_error_of_server());
        assert_eq!(of_server.count(), 6);
        assert_eq!(errors.iter().filter(|s| s.is_error_to_client()).count(), 16);
        for (status, name) in [
            (404, "UNIMPLEMENTED"),
            (503, "UNAVAILABLE"),
            (418, "UNKNOWN"),
        ] {
            let status = http::StatusCode::from_u16(status).unwrap();
            assert_eq!(GrpcStatus::of_http(status).name(), name);
        }
    }
}
