//! What a request is counted by.
//!
//! Input: a request, as whoever served it knows it. Output: a metric and the values of its labels. Bound: six labels;
//! HTTP methods that nobody has heard of count as `_OTHER`.

/// What a request was. Texts are compared, and copied only into a new label set; give nothing here that grows with the
/// number of users: the route and not the path, the operation and not the statement.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Served over HTTP.
    HttpServer {
        /// As it came; unknown ones count as `_OTHER`.
        method: &'a str,
        /// `http` or `https`.
        scheme: &'a str,
        /// The pattern that matched, `/orders/{id}`; none without a match.
        route: Option<&'a str>,
        /// The status that was sent, if any was.
        status: Option<u16>,
        /// What went wrong, as the span's `error.type`.
        error_type: Option<&'a str>,
    },
    /// Made over HTTP.
    HttpClient {
        /// As it was sent; unknown ones count as `_OTHER`.
        method: &'a str,
        /// The host it went to.
        server_address: &'a str,
        /// And its port.
        server_port: Option<u16>,
        /// The status that came, if any did.
        status: Option<u16>,
        /// What went wrong.
        error_type: Option<&'a str>,
    },
    /// Served as a remote procedure call.
    RpcServer {
        /// `grpc`.
        system: &'a str,
        /// Service and method, `shop.Orders/Place`.
        method: &'a str,
        /// The status by its name, `OK`, `NOT_FOUND`.
        status: Option<&'a str>,
        /// What went wrong.
        error_type: Option<&'a str>,
    },
    /// Made as a remote procedure call.
    RpcClient {
        /// `grpc`.
        system: &'a str,
        /// Service and method.
        method: &'a str,
        /// The status by its name.
        status: Option<&'a str>,
        /// What went wrong.
        error_type: Option<&'a str>,
        /// The host it went to.
        server_address: &'a str,
        /// And its port.
        server_port: Option<u16>,
    },
    /// Made of a database.
    DbClient {
        /// `postgresql`, `redis`, …
        system: &'a str,
        /// `SELECT`, `HGET`, …
        operation: Option<&'a str>,
        /// The table.
        collection: Option<&'a str>,
        /// What went wrong.
        error_type: Option<&'a str>,
    },
}

/// A histogram's family.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    /// Upper bounds in seconds, as they are written, and in nanoseconds.
    pub(super) bounds: &'static [(&'static str, u64)],
}

/// Labels of a metric at most.
pub(super) const LABELS: usize = 6;

const MS: u64 = 1_000_000;
/// SPEC: semantic conventions, "ExplicitBucketBoundaries" of HTTP and RPC.
const REQUEST_BOUNDS: &[(&str, u64)] = &[
    ("0.005", 5 * MS),
    ("0.01", 10 * MS),
    ("0.025", 25 * MS),
    ("0.05", 50 * MS),
    ("0.075", 75 * MS),
    ("0.1", 100 * MS),
    ("0.25", 250 * MS),
    ("0.5", 500 * MS),
    ("0.75", 750 * MS),
    ("1.0", 1000 * MS),
    ("2.5", 2500 * MS),
    ("5.0", 5000 * MS),
    ("7.5", 7500 * MS),
    ("10.0", 10_000 * MS),
];
/// The same of databases.
const DB_BOUNDS: &[(&str, u64)] = &[
    ("0.001", MS),
    ("0.005", 5 * MS),
    ("0.01", 10 * MS),
    ("0.05", 50 * MS),
    ("0.1", 100 * MS),
    ("0.5", 500 * MS),
    ("1.0", 1000 * MS),
    ("5.0", 5000 * MS),
    ("10.0", 10_000 * MS),
];
/// Buckets of a histogram at most, that without a bound included.
pub(super) const BUCKETS: usize = 15;

/// In the order in which they are written.
pub(super) static METRICS: [Metric; 5] = [
    Metric {
        name: "db_client_operation_duration_seconds",
        help: "Duration of database client operations.",
        labels: &[
            "db_system_name",
            "db_operation_name",
            "db_collection_name",
            "error_type",
        ],
        bounds: DB_BOUNDS,
    },
    Metric {
        name: "http_client_request_duration_seconds",
        help: "Duration of HTTP client requests.",
        labels: &[
            "http_request_method",
            "server_address",
            "server_port",
            "http_response_status_code",
            "error_type",
        ],
        bounds: REQUEST_BOUNDS,
    },
    Metric {
        name: "http_server_request_duration_seconds",
        help: "Duration of HTTP server requests.",
        labels: &[
            "http_request_method",
            "url_scheme",
            "http_route",
            "http_response_status_code",
            "error_type",
        ],
        bounds: REQUEST_BOUNDS,
    },
    Metric {
        name: "rpc_client_call_duration_seconds",
        help: "Duration of outgoing remote procedure calls.",
        labels: &[
            "rpc_system_name",
            "rpc_method",
            "rpc_response_status_code",
            "error_type",
            "server_address",
            "server_port",
        ],
        bounds: REQUEST_BOUNDS,
    },
    Metric {
        name: "rpc_server_call_duration_seconds",
        help: "Duration of incoming remote procedure calls.",
        labels: &[
            "rpc_system_name",
            "rpc_method",
            "rpc_response_status_code",
            "error_type",
        ],
        bounds: REQUEST_BOUNDS,
    },
];

/// A number as text, without an allocation.
#[derive(Default)]
struct Digits([u8; 5]);

impl Digits {
    fn write(&mut self, number: Option<u16>) -> &str {
        let Some(mut number) = number else { return "" };
        let mut from = self.0.len();
        for digit in self.0.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            from -= 1;
            if number == 0 {
                break;
            }
        }
        let digits = self.0.get(from..).unwrap_or_default();
        core::str::from_utf8(digits).unwrap_or_default()
    }
}

/// SPEC: semantic conventions, `http.request.method`.
fn known_method(method: &str) -> &str {
    match method {
        "GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH" | "CONNECT" | "TRACE"
        | "QUERY" => method,
        _ => "_OTHER",
    }
}

impl Request<'_> {
    /// The number of its metric, and the values of that one's labels in their order; an empty one is no label.
    pub(super) fn with_labels<T>(&self, run: impl FnOnce(usize, [&str; LABELS]) -> T) -> T {
        let (mut first, mut second) = (Digits::default(), Digits::default());
        match *self {
            Request::DbClient {
                system,
                operation,
                collection,
                error_type,
            } => {
                let [operation, collection, error] =
                    [operation, collection, error_type].map(Option::unwrap_or_default);
                run(0, [system, operation, collection, error, "", ""])
            }
            Request::HttpClient {
                method,
                server_address,
                server_port,
                status,
                error_type,
            } => {
                let (port, status) = (first.write(server_port), second.write(status));
                let error = error_type.unwrap_or_default();
                let method = known_method(method);
                run(1, [method, server_address, port, status, error, ""])
            }
            Request::HttpServer {
                method,
                scheme,
                route,
                status,
                error_type,
            } => {
                let [route, error] = [route, error_type].map(Option::unwrap_or_default);
                let (method, status) = (known_method(method), first.write(status));
                run(2, [method, scheme, route, status, error, ""])
            }
            Request::RpcClient {
                system,
                method,
                status,
                error_type,
                server_address,
                server_port,
            } => {
                let [status, error] = [status, error_type].map(Option::unwrap_or_default);
                let port = first.write(server_port);
                run(3, [system, method, status, error, server_address, port])
            }
            Request::RpcServer {
                system,
                method,
                status,
                error_type,
            } => {
                let [status, error] = [status, error_type].map(Option::unwrap_or_default);
                run(4, [system, method, status, error, "", ""])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_digits() {
        for number in [0, 7, 10, 200, 404, 65_535] {
            assert_eq!(Digits::default().write(Some(number)), number.to_string());
        }
        assert_eq!(Digits::default().write(None), "");
    }

    #[test]
    fn no_metric_has_more_labels_or_buckets_than_there_is_room_for() {
        for metric in &METRICS {
            assert!(metric.labels.len() <= LABELS && metric.bounds.len() < BUCKETS);
            for (text, nanos) in metric.bounds {
                assert_eq!(text.parse::<f64>().unwrap(), *nanos as f64 / 1e9);
            }
        }
        assert!(METRICS.is_sorted_by_key(|metric| metric.name));
    }
}
