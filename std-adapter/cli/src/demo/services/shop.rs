//! What the checkout's services share: a server, and its spans by the conventions.
//!
//! Input: HTTP requests. Output: each one as a [`Request`] with its context. Bound: a service handles one
//! request at a time. It ends when its standard input does.
//!
//! SPEC: semantic conventions, "HTTP spans".

use super::plan::Plan;
use spanlet::{KeyValue, SpanKind, Status, Value};
use spanlet_std::propagation::{Context, TinyHttpFields};
use spanlet_std::{Span, Telemetry, span};
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A service: server, client and telemetry of this process.
pub(crate) struct Shop {
    pub(crate) plan: Plan,
    telemetry: Option<Telemetry>,
    server: Arc<tiny_http::Server>,
    pub(crate) agent: ureq::Agent,
    stopping: Arc<AtomicBool>,
}

impl Shop {
    /// A service that records spans. Prints where it listens, then that it is ready.
    pub(crate) fn open(name: &str) -> Result<Self, Failure> {
        let mut shop = Shop::untraced()?;
        let telemetry = Telemetry::builder()
            .service_name(name)
            .resource_attribute("service.namespace", "checkout-demo")
            .id_seed(shop.plan.dice(name));
        shop.telemetry = Some(telemetry.install()?);
        Ok(shop)
    }
    /// A service of somebody else's, which sends no spans.
    pub(crate) fn untraced() -> Result<Self, Failure> {
        let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:0".into());
        let server = Arc::new(tiny_http::Server::http(address)?);
        say(format_args!("listening {}", server.server_addr()));
        let stopping = Arc::<AtomicBool>::default();
        let (stop, wake) = (stopping.clone(), server.clone());
        std::thread::spawn(move || {
            // Ends when whoever started the service lets go of it, in whatever way.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            stop.store(true, Ordering::Release);
            wake.unblock();
        });
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .proxy(None);
        Ok(Shop {
            plan: Plan::from_env()?,
            telemetry: None,
            server,
            agent: config.build().into(),
            stopping,
        })
    }
    /// Whether the service is to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
    /// Handles requests until the end, then sends what is left and prints the ledger. `handle` returns the status.
    pub(crate) fn serve(
        self,
        mut handle: impl FnMut(&Shop, &mut Request) -> Result<u16, Failure>,
    ) -> Result<(), Failure> {
        say(format_args!("ready"));
        while !self.is_stopping() {
            let Ok(http) = self.server.recv() else {
                continue;
            };
            let context = Context::extract(&TinyHttpFields(http.headers()));
            let mut request = Request {
                http,
                context,
                answer: String::new(),
            };
            let status = handle(&self, &mut request).unwrap_or_else(|failure| {
                eprintln!("{}: {failure}", request.http.url());
                500
            });
            let response = tiny_http::Response::from_string(request.answer);
            request.http.respond(response.with_status_code(status))?;
        }
        self.close();
        Ok(())
    }
    /// Sends what is left and prints the ledger.
    pub(crate) fn close(self) {
        if let Some(telemetry) = self.telemetry {
            let ledger = telemetry.shutdown(Duration::from_secs(5));
            for error in telemetry.last_errors() {
                eprintln!("{error}");
            }
            say(format_args!(
                "ledger {}",
                serde_json::to_string(&ledger).unwrap_or_default()
            ));
        }
    }
    /// Takes as long as the plan says.
    pub(crate) fn work(&self, step: &str) {
        std::thread::sleep(self.plan.length(step));
    }
    /// The same, with an event on the span for each time that the plan has it tried again.
    pub(crate) fn try_work(&self, span: &mut Span, step: &str) {
        let retries = self.plan.retries(step);
        let turn = self.plan.length(step) / u32::try_from(retries.size_hint().0 + 1).unwrap_or(1);
        for (reason, attempt) in retries.zip(1..) {
            std::thread::sleep(turn);
            span.add_event(
                "retry",
                &[
                    KeyValue::new("reason", reason),
                    KeyValue::new("attempt", attempt),
                ],
            );
        }
        std::thread::sleep(turn);
    }
}

/// A request that is being served.
pub(crate) struct Request {
    http: tiny_http::Request,
    pub(crate) context: Context,
    /// The body of the answer.
    pub(crate) answer: String,
}

impl Request {
    pub(crate) fn is_post(&self) -> bool {
        *self.http.method() == tiny_http::Method::Post
    }
    pub(crate) fn path(&self) -> &str {
        self.http.url()
    }
    pub(crate) fn body(&mut self) -> String {
        let mut body = String::new();
        let _ = self
            .http
            .as_reader()
            .take(1 << 20)
            .read_to_string(&mut body);
        body
    }
    /// The server's span, a child of the caller's. `route` is method and path pattern: few different names.
    pub(crate) fn span(&self, route: &'static str) -> Span {
        let (method, pattern) = route.split_once(' ').unwrap_or_default();
        span(route)
            .kind(SpanKind::Server)
            .parent(&self.context)
            .attributes(&[
                KeyValue::new("http.request.method", Value::Static(method)),
                KeyValue::new("http.route", Value::Static(pattern)),
                KeyValue::new("url.path", self.path()),
                KeyValue::new("url.scheme", Value::Static("http")),
            ])
            .start()
    }
    /// Ends the server's span with a status.
    pub(crate) fn end(&self, mut span: Span, status: u16) -> u16 {
        span.set_attribute("http.response.status_code", i64::from(status));
        if let Some(tenant) = self.context.baggage("tenant.id") {
            span.set_attribute("tenant.id", tenant.as_str());
        }
        if status >= 500 {
            span.set_status(Status::Error)
                .set_attribute("error.type", status.to_string().as_str());
        }
        status
    }
}

/// What a service reports as its failure.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) &'static str);
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
impl std::error::Error for Refused {}

/// A line for whoever started the service; gone, it needs none.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
