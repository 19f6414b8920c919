//! What the demo receives.

use spanlet::{SpanId, TraceId};
use spanlet_std::receiver::otlp_http::{Answer, OtlpHttpReceiver};
use spanlet_std::receiver::proto::{self, ExportTraceServiceRequest};
use spanlet_std::trace::*;
use std::sync::{Arc, Mutex};

pub(crate) struct Collected {
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    receiver: OtlpHttpReceiver,
    frames: std::net::TcpListener,
}

impl Collected {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let to = requests.clone();
        let receiver = OtlpHttpReceiver::bind("127.0.0.1:0", move |request| {
            to.lock().unwrap().push(request);
            Answer::Accept
        })?;
        let frames = std::net::TcpListener::bind("127.0.0.1:0")?;
        Ok(Collected {
            requests,
            receiver,
            frames,
        })
    }
    pub(crate) fn endpoint(&self) -> String {
        self.receiver.endpoint()
    }
    pub(crate) fn frame_address(&self) -> String {
        self.frames.local_addr().unwrap().to_string()
    }
    pub(crate) fn spans(&self) -> Vec<TraceSpan> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .flat_map(|r| r.spans().filter_map(|(resource, _, s)| span(resource, s)))
            .collect()
    }
}

fn attributes(from: &[proto::KeyValue]) -> Attributes {
    from.iter()
        .map(|kv| {
            (
                kv.key.clone(),
                kv.value.as_ref().map_or(AttributeValue::Empty, value),
            )
        })
        .collect()
}
fn value(v: &proto::AnyValue) -> AttributeValue {
    match &v.value {
        Some(proto::Value::String(s)) => AttributeValue::String(s.clone()),
        Some(proto::Value::Bool(b)) => AttributeValue::Bool(*b),
        Some(proto::Value::Int(b)) => AttributeValue::I64(*b),
        Some(proto::Value::Double(b)) => AttributeValue::F64(*b),
        Some(proto::Value::Array(a)) => AttributeValue::Array(a.values.iter().map(value).collect()),
        _ => AttributeValue::Empty,
    }
}
fn span(resource: Option<&proto::Resource>, s: &proto::Span) -> Option<TraceSpan> {
    let trace = TraceId::from_bytes(s.trace_id.as_slice().try_into().ok()?)?;
    let id = SpanId::from_bytes(s.span_id.as_slice().try_into().ok()?)?;
    let mut t = TraceSpan::new(trace, id, s.name.clone());
    t.parent_span_id = s
        .parent_span_id
        .as_slice()
        .try_into()
        .ok()
        .and_then(SpanId::from_bytes);
    t.kind = match s.kind {
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Internal,
    };
    t.status = match s.status.as_ref().map_or(0, |s| s.code) {
        1 => Status::Ok,
        2 => Status::Error,
        _ => Status::Unset,
    };
    t.status_message = s
        .status
        .as_ref()
        .map(|s| s.message.clone())
        .unwrap_or_default();
    t.start_unix_ns = s.start_time_unix_nano;
    t.end_unix_ns = s.end_time_unix_nano;
    t.attributes = attributes(&s.attributes);
    t.events = s
        .events
        .iter()
        .map(|e| SpanEvent {
            time_unix_ns: e.time_unix_nano,
            name: e.name.clone(),
            attributes: attributes(&e.attributes),
            dropped_attributes: 0,
        })
        .collect();
    t.links = s
        .links
        .iter()
        .filter_map(|l| {
            Some(SpanLink {
                trace_id: TraceId::from_bytes(l.trace_id.as_slice().try_into().ok()?)?,
                span_id: SpanId::from_bytes(l.span_id.as_slice().try_into().ok()?)?,
                trace_state: l.trace_state.clone(),
                flags: l.flags,
                attributes: attributes(&l.attributes),
                dropped_attributes: 0,
            })
        })
        .collect();
    t.trace_state = s.trace_state.clone();
    t.flags = s.flags;
    let resource = resource
        .map(|r| attributes(&r.attributes))
        .unwrap_or_default();
    t.service = attribute(&resource, &["service.name"])
        .map(|(_, v)| v.to_string())
        .unwrap_or_default();
    t.resource = Arc::new(resource);
    Some(t)
}
