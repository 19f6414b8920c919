//! What the checkout's services share: a server, a client, and the spans of both by the conventions.
//!
//! Input: HTTP requests. Output: each one as a [`Request`] with its context; calls that carry the context on.
//! Bound: a service handles one request at a time. It ends when its standard input does.
//!
//! SPEC: semantic conventions, "HTTP spans", "Database client spans", "Messaging spans".

use super::plan::Plan;
use spanlet::{KeyValue, ParentContext, SpanKind, Status, Value};
use spanlet_std::propagation::{Context, HttpFieldsMut, MessageFields, TinyHttpFields};
use spanlet_std::{Span, Telemetry, span};
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The baggage that may leave a service: no secrets, no personal data.
pub(crate) const ALLOWED: &[&str] = &["tenant.id", "checkout.channel"];

/// A service: server, client and telemetry of this process.
pub(crate) struct Shop {
    pub(crate) plan: Plan,
    telemetry: Option<Telemetry>,
    server: Arc<tiny_http::Server>,
    agent: ureq::Agent,
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
    /// Begins a call of another service: the client's span, with its context in the headers.
    ///
    /// `host` is whom the request is for; its address is in an environment variable, such as `FRAUD_CHECK_URL`
    /// for `fraud-check.shop.internal`, else `OUTSIDE_URL`.
    pub(crate) fn call(
        &self,
        to: (&'static str, &'static str, &str),
        parent: &Span,
        request: &Request,
    ) -> Call {
        let (name, host, path) = to;
        let service = host.split('.').next().unwrap_or_default();
        let variable = format!("{}_URL", service.to_uppercase().replace('-', "_"));
        let base = std::env::var(variable)
            .or_else(|_| std::env::var("OUTSIDE_URL"))
            .unwrap_or_default();
        let method = name.split(' ').next().unwrap_or_default();
        let address = base.trim_start_matches("http://");
        let (peer, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let span: Span = span(name)
            .kind(SpanKind::Client)
            .parent(parent)
            .attributes(&[
                KeyValue::new("http.request.method", Value::Static(method)),
                KeyValue::new("server.address", Value::Static(host)),
                KeyValue::new("url.full", format!("http://{host}{path}").as_str()),
                KeyValue::new("network.peer.address", peer),
                KeyValue::new("network.peer.port", port.parse().unwrap_or(80_i64)),
            ])
            .start();
        let mut headers = ureq::http::HeaderMap::new();
        let injected = request
            .context
            .inject(&span, ALLOWED, &mut HttpFieldsMut(&mut headers));
        Call {
            span,
            injected,
            headers,
            agent: self.agent.clone(),
            method,
            url: base + path,
        }
    }
    /// Posts to the queue service, or gets from it; no span: it is the broker's protocol.
    pub(crate) fn queue(
        &self,
        path: &str,
        message: Option<&Message>,
    ) -> Result<Option<Message>, Failure> {
        let url = std::env::var("QUEUE_URL")? + path;
        let mut response = match message {
            Some(message) => self
                .agent
                .post(&url)
                .send(serde_json::to_string(message)?)?,
            None => self.agent.get(&url).call()?,
        };
        let body = response.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&body).ok())
    }
}

/// A message of the queue: its fields carry the context, whatever carries the message.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Message {
    pub(crate) fields: MessageFields,
    pub(crate) body: String,
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

/// A call that has begun; it may be sent from another thread.
pub(crate) struct Call {
    pub(crate) span: Span,
    injected: Result<(), ureq::http::Error>,
    headers: ureq::http::HeaderMap,
    agent: ureq::Agent,
    method: &'static str,
    url: String,
}

impl Call {
    /// Sends it, waits for the answer and ends the span. Returns the status.
    pub(crate) fn send(mut self) -> Result<u16, Failure> {
        let sent = self.injected.map_err(Failure::from).and_then(|()| {
            let mut request = ureq::http::Request::builder()
                .method(self.method)
                .uri(&self.url);
            if let Some(headers) = request.headers_mut() {
                headers.extend(self.headers);
            }
            Ok(self.agent.run(request.body(())?)?.status().as_u16())
        });
        match &sent {
            Ok(status) => {
                self.span
                    .set_attribute("http.response.status_code", i64::from(*status));
                if *status >= 400 {
                    let status_text = status.to_string();
                    self.span
                        .set_status(Status::Error)
                        .set_attribute("error.type", status_text.as_str());
                }
            }
            Err(failure) => {
                self.span.record_error(failure.as_ref());
            }
        }
        sent
    }
}

/// A call of a database or cache; `statement` begins with the operation.
pub(crate) fn database(
    system: &'static str,
    statement: &'static str,
    name: &'static str,
    parent: &impl ParentContext,
) -> Span {
    let mut span: Span = span(name).kind(SpanKind::Client).parent(parent).start();
    span.set_static("db.system.name", system)
        .set_static(
            "db.operation.name",
            statement.split(' ').next().unwrap_or_default(),
        )
        .set_static("db.query.text", statement);
    span
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
