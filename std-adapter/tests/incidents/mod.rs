//! The incidents that a waterfall must answer, as spans with exact times.
#![allow(dead_code, reason = "each test file uses some of them")]

use spanlet::{SpanId, TraceId};
use spanlet_std::trace::{AttributeValue, SpanEvent, SpanKind, SpanLink, Status, TraceSpan};

/// Builds one trace in milliseconds.
pub(crate) struct Script {
    trace: TraceId,
    next: u64,
    pub(crate) spans: Vec<TraceSpan>,
}

pub(crate) const EPOCH_NS: u64 = 1_760_000_000_000_000_000;

impl Script {
    pub(crate) fn new(trace: u8) -> Self {
        Script {
            trace: TraceId::from_bytes([trace; 16]).unwrap(),
            next: u64::from(trace) << 32,
            spans: Vec::new(),
        }
    }

    pub(crate) fn span(
        &mut self,
        parent: Option<SpanId>,
        kind: SpanKind,
        service: &str,
        name: &str,
        ms: [u64; 2],
    ) -> SpanId {
        self.next += 1;
        let id = SpanId::from_bytes(self.next.to_be_bytes()).unwrap();
        let mut span = TraceSpan::new(self.trace, id, name);
        span.parent_span_id = parent;
        span.kind = kind;
        span.service = service.to_owned();
        span.start_unix_ns = EPOCH_NS + ms[0] * 1_000_000;
        span.end_unix_ns = EPOCH_NS + ms[1] * 1_000_000;
        self.spans.push(span);
        id
    }

    pub(crate) fn server(
        &mut self,
        parent: SpanId,
        service: &str,
        name: &str,
        ms: [u64; 2],
    ) -> SpanId {
        self.span(Some(parent), SpanKind::Server, service, name, ms)
    }

    pub(crate) fn get(&mut self, id: SpanId) -> &mut TraceSpan {
        self.spans.iter_mut().find(|s| s.span_id == id).unwrap()
    }

    pub(crate) fn attribute(&mut self, id: SpanId, key: &str, value: impl Into<AttributeValue>) {
        self.get(id).attributes.push((key.to_owned(), value.into()));
    }

    pub(crate) fn event(&mut self, id: SpanId, ms: u64, name: &str, reason: &str) {
        self.get(id).events.push(SpanEvent {
            time_unix_ns: EPOCH_NS + ms * 1_000_000,
            name: name.to_owned(),
            attributes: vec![("reason".to_owned(), AttributeValue::from(reason))],
            dropped_attributes: 0,
        });
    }
}

fn root(script: &mut Script, service: &str, name: &str, end_ms: u64) -> SpanId {
    script.span(None, SpanKind::Server, service, name, [0, end_ms])
}

/// api-gateway 3200 → order 3180 → payment 2800 → fraud-check 2400, card 350 (failed); inventory 120;
/// notification 45, through a queue: a trace of its own with a link.
pub(crate) fn slow_fraud_check() -> Vec<TraceSpan> {
    let mut s = Script::new(1);
    let gateway = root(&mut s, "api-gateway", "POST /checkout", 3200);
    let order = s.server(gateway, "order-service", "POST /orders", [10, 3190]);
    s.server(order, "inventory-service", "POST /reserve", [20, 140]);
    let payment = s.server(order, "payment-service", "POST /payments", [150, 2950]);
    let fraud = s.server(payment, "fraud-check", "POST /check", [170, 2570]);
    s.event(fraud, 900, "retry", "model timeout");
    s.event(fraud, 1700, "retry", "model timeout");
    let card = s.server(payment, "card-processing", "POST /charge", [2580, 2930]);
    s.get(card).status = Status::Error;
    s.get(card).status_message = "card declined".to_owned();
    let publish = s.span(
        Some(order),
        SpanKind::Producer,
        "order-service",
        "publish order.created",
        [2960, 2965],
    );
    let producer = s.get(publish).clone();
    let mut queue = Script::new(2);
    let consumer = queue.span(
        None,
        SpanKind::Consumer,
        "notification-service",
        "process order.created",
        [2990, 3035],
    );
    queue.get(consumer).links.push(SpanLink {
        trace_id: producer.trace_id,
        span_id: producer.span_id,
        trace_state: String::new(),
        flags: 0,
        attributes: Vec::new(),
        dropped_attributes: 0,
    });
    s.spans.extend(queue.spans);
    s.spans
}

/// order 4000 → inventory 50; payment 3500 → fraud 3200; notification 100 after it, in sequence.
pub(crate) fn everything_in_sequence() -> Vec<TraceSpan> {
    let mut s = Script::new(3);
    let order = root(&mut s, "order-service", "POST /orders", 4000);
    s.server(order, "inventory-service", "GET /stock", [20, 70]);
    let payment = s.server(order, "payment-service", "POST /payments", [80, 3580]);
    s.server(payment, "fraud-service", "POST /check", [200, 3400]);
    s.server(order, "notification-service", "POST /notify", [3600, 3700]);
    s.spans
}

/// gateway 0–310 → order 12–305 → inventory 15–60 ∥ payment 15–300 → external API 20–295; insert 301–305.
pub(crate) fn external_api() -> Vec<TraceSpan> {
    let mut s = Script::new(4);
    let gateway = root(&mut s, "api-gateway", "POST /checkout", 310);
    let order = s.server(gateway, "order-service", "POST /orders", [12, 305]);
    s.server(order, "inventory-service", "GET /stock", [15, 60]);
    let payment = s.server(order, "payment-service", "POST /payments", [15, 300]);
    let api = s.span(
        Some(payment),
        SpanKind::Client,
        "payment-service",
        "POST /v1/charges",
        [20, 295],
    );
    s.attribute(api, "server.address", "api.payments.example");
    let insert = s.span(
        Some(order),
        SpanKind::Client,
        "order-service",
        "INSERT orders",
        [301, 305],
    );
    s.attribute(insert, "db.system.name", "postgresql");
    s.attribute(
        insert,
        "db.query.text",
        "INSERT INTO orders VALUES ($1, $2)",
    );
    s.spans
}

/// checkout 900: payment 780 → fraud 480 → ML inference 460; external API 280 in parallel; then two calls
/// in sequence that could have been parallel.
pub(crate) fn missed_parallelism() -> Vec<TraceSpan> {
    let mut s = Script::new(5);
    let checkout = root(&mut s, "checkout", "POST /checkout", 900);
    let payment = s.server(checkout, "payment-service", "POST /payments", [10, 790]);
    let fraud = s.server(payment, "fraud-service", "POST /check", [20, 500]);
    s.span(
        Some(fraud),
        SpanKind::Internal,
        "fraud-service",
        "ML inference",
        [30, 490],
    );
    s.server(payment, "bank-api", "POST /authorize", [20, 300]);
    s.server(payment, "risk-service", "GET /limits", [510, 640]);
    s.server(payment, "loyalty-service", "GET /points", [645, 780]);
    s.spans
}

/// A gap of 4.5 s before a call whose `http.host` is an old staging endpoint.
pub(crate) fn stale_staging_host() -> Vec<TraceSpan> {
    let mut s = Script::new(6);
    let gateway = root(&mut s, "api-gateway", "POST /checkout", 5000);
    let order = s.server(gateway, "order-service", "POST /orders", [10, 4990]);
    let call = |s: &mut Script, host: &str, service: &str, name: &str, ms: [u64; 4]| {
        let client = s.span(
            Some(order),
            SpanKind::Client,
            "order-service",
            name,
            [ms[0], ms[3]],
        );
        s.attribute(client, "http.host", host);
        s.server(client, service, name, [ms[1], ms[2]]);
    };
    let prod = "inventory.prod.example";
    call(
        &mut s,
        prod,
        "inventory-service",
        "GET /stock",
        [20, 22, 118, 120],
    );
    let stale = "rates-old.staging.example:8443";
    call(
        &mut s,
        stale,
        "rates-service",
        "GET /rates",
        [130, 4630, 4690, 4700],
    );
    let prod = "payment.prod.example";
    call(
        &mut s,
        prod,
        "payment-service",
        "POST /payments",
        [4710, 4715, 4970, 4975],
    );
    s.spans
}

/// A name and what builds the spans.
pub(crate) type Incident = (&'static str, fn() -> Vec<TraceSpan>);

pub(crate) const ALL: [Incident; 5] = [
    ("1_slow_fraud_check", slow_fraud_check),
    ("2_everything_in_sequence", everything_in_sequence),
    ("3_external_api", external_api),
    ("4_missed_parallelism", missed_parallelism),
    ("5_stale_staging_host", stale_staging_host),
];
