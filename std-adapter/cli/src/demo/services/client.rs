//! What the checkout's services call: each other, databases, a queue; and the spans of that by the conventions.
//!
//! Input: whom to ask for what. Output: the answer; the context goes along in HTTP headers, or in the fields
//! of a message. Bound: 30 seconds a call.
//!
//! SPEC: semantic conventions, "HTTP spans", "Database client spans", "Messaging spans".

use super::shop::{Failure, Request, Shop};
use spanlet::{KeyValue, SpanKind, Status, Value};
use spanlet_std::propagation::{HttpFieldsMut, MessageFields};
use spanlet_std::{Span, span};
use ureq::http;

/// The baggage that may leave a service: no secrets, no personal data.
const ALLOWED: &[&str] = &["tenant.id", "checkout.channel"];

/// A call that has begun: its span is open, and it may be sent from another thread.
pub(crate) struct Call {
    span: Span,
    agent: ureq::Agent,
    request: Result<http::Request<()>, http::Error>,
}

/// A message of the queue: its fields carry the context, whatever carries the message.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Message {
    pub(crate) fields: MessageFields,
    pub(crate) body: String,
}

impl Shop {
    /// Calls a service, such as `GET /stock/{sku}` of `inventory-service`, and waits for its status.
    pub(crate) fn call(
        &self,
        route: &'static str,
        service: &str,
        parent: &Span,
        request: &Request,
    ) -> Result<u16, Failure> {
        self.begin(route, service, parent, request).send()
    }
    /// The same call, to be sent later or by another thread.
    ///
    /// A service that is one of ours is called by its name and found at an environment variable such as
    /// `FRAUD_CHECK_URL`; anybody else by a host name, and found at `OUTSIDE_URL` if there is no such variable.
    pub(crate) fn begin(
        &self,
        route: &'static str,
        service: &str,
        parent: &Span,
        request: &Request,
    ) -> Call {
        let (method, path) = route.split_once(' ').unwrap_or_default();
        // The only pattern here is that of the request that is being served.
        let path = if path.contains('{') {
            request.path()
        } else {
            path
        };
        let host = match service.contains('.') {
            true => service.to_owned(),
            false => format!("{service}.shop.internal"),
        };
        let name = host.split('.').next().unwrap_or_default();
        let base = std::env::var(format!("{}_URL", name.to_uppercase().replace('-', "_")))
            .or_else(|_| std::env::var("OUTSIDE_URL"))
            .unwrap_or_default();
        let peer = base.trim_start_matches("http://");
        let (address, port) = peer.rsplit_once(':').unwrap_or((peer, "80"));
        let span: Span = span(route)
            .kind(SpanKind::Client)
            .parent(parent)
            .attributes(&[
                KeyValue::new("http.request.method", Value::Static(method)),
                KeyValue::new("url.full", format!("http://{host}{path}").as_str()),
                KeyValue::new("server.address", host.as_str()),
                KeyValue::new("server.port", 80),
                KeyValue::new("network.peer.address", address),
                KeyValue::new("network.peer.port", port.parse().unwrap_or(80_i64)),
            ])
            .start();
        let mut builder = http::Request::builder().method(method).uri(base + path);
        let injected = builder.headers_mut().map_or(Ok(()), |headers| {
            let context = &request.context;
            context.inject(&span, ALLOWED, &mut HttpFieldsMut(headers))
        });
        Call {
            span,
            agent: self.agent.clone(),
            request: injected.and_then(|()| builder.body(())),
        }
    }
    /// Puts a message into the queue `order.created`: the producer's span goes along in its fields.
    pub(crate) fn publish(
        &self,
        id: &str,
        parent: &Span,
        request: &Request,
    ) -> Result<(), Failure> {
        let mut span: Span = span("send order.created")
            .kind(SpanKind::Producer)
            .parent(parent)
            .start();
        span.set_static("messaging.system", "demo_queue")
            .set_static("messaging.destination.name", "order.created")
            .set_static("messaging.operation.name", "send")
            .set_static("messaging.operation.type", "send")
            .set_attribute("messaging.message.id", id);
        self.work("order.publish");
        let mut fields = MessageFields::new();
        request.context.inject(&span, ALLOWED, &mut fields)?;
        let body = id.to_owned();
        let message = serde_json::to_string(&Message { fields, body })?;
        let url = std::env::var("QUEUE_URL")? + "/order.created";
        self.agent.post(&url).send(message)?;
        Ok(())
    }
    /// Takes a message out of the queue `order.created`, if there is one.
    pub(crate) fn take(&self) -> Result<Option<Message>, Failure> {
        let url = std::env::var("QUEUE_URL")? + "/order.created";
        let text = self.agent.get(&url).call()?.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    }
}

impl Call {
    /// Sends it, waits for the answer and ends the span. Returns the status.
    pub(crate) fn send(mut self) -> Result<u16, Failure> {
        let sent = self.request.map_err(Failure::from).and_then(|request| {
            let response = self.agent.run(request)?;
            Ok(response.status().as_u16())
        });
        match &sent {
            Ok(status) => {
                let span = &mut self.span;
                span.set_attribute("http.response.status_code", i64::from(*status));
                if *status >= 400 {
                    span.set_status(Status::Error);
                    span.set_attribute("error.type", status.to_string().as_str());
                }
            }
            Err(failure) => {
                self.span.record_error(failure.as_ref());
            }
        }
        sent
    }
}

/// The span of a query, a child of `parent`. `query` begins with the operation.
pub(crate) fn query(
    name: &'static str,
    system: &'static str,
    query: &'static str,
    parent: &Span,
) -> Span {
    let mut span: Span = span(name).kind(SpanKind::Client).parent(parent).start();
    let operation = query.split(' ').next().unwrap_or_default();
    span.set_static("db.system.name", system)
        .set_static("db.operation.name", operation)
        .set_static("db.query.text", query);
    span
}
