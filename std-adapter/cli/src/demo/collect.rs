//! What the demo receives: OTLP from the services, frames from the device.
//!
//! Input: requests and connections on loopback. Output: spans to look at, and the same requests for a collector.
//! Bound: one run's spans.

use super::DemoError;
use super::services::shop::Failure;
use prost::Message;
use spanlet_std::export::{Batch, OtlpHttpExporter, SpanExporter};
use spanlet_std::receiver::otlp_http::{Answer, OtlpHttpReceiver};
use spanlet_std::receiver::proto::ExportTraceServiceRequest;
use spanlet_std::receiver::{FrameReceiver, Gateway, GatewayLedger};
use spanlet_std::trace::TraceSpan;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time for all that goes to a collector.
const BUDGET: Duration = Duration::from_secs(10);

/// The collecting end: what a gateway and a collector would be.
pub(crate) struct Collector {
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    // Before the receiver that it sends to.
    gateway: FrameReceiver,
    receiver: OtlpHttpReceiver,
}

impl Collector {
    /// Listens on free ports of loopback.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let to = requests.clone();
        let receiver = OtlpHttpReceiver::bind("127.0.0.1:0", move |request| {
            lock(&to).push(request);
            Answer::Accept
        })?;
        // What devices send goes the same way as all else.
        let exporter = OtlpHttpExporter::builder().endpoint(&receiver.endpoint())?;
        let gateway = Gateway::builder().exporter(exporter.build()?);
        Ok(Collector {
            requests,
            gateway: gateway.bind("127.0.0.1:0")?,
            receiver,
        })
    }
    /// Where services send their spans.
    pub(crate) fn endpoint(&self) -> String {
        self.receiver.endpoint()
    }
    /// Where devices send their frames.
    pub(crate) fn frame_address(&self) -> String {
        self.gateway.local_addr().to_string()
    }
    /// Waits for what devices have sent to arrive; what became of it.
    pub(crate) fn finish(&self) -> GatewayLedger {
        self.gateway.shutdown(BUDGET)
    }
    /// Every span that arrived, as often as it did.
    pub(crate) fn spans(&self) -> Vec<TraceSpan> {
        let requests = lock(&self.requests);
        requests
            .iter()
            .flat_map(|request| request.trace_spans())
            .collect()
    }
    /// Sends all requests on; says how many spans went where.
    pub(crate) fn forward(&self, uplink: &Uplink) -> Result<String, DemoError> {
        let failed = |cause| DemoError::Uplink {
            url: uplink.url.clone(),
            cause,
        };
        let mut exported = 0;
        for request in lock(&self.requests).iter() {
            let body = request.encode_to_vec();
            let spans = request.spans().count() as u64;
            let outcome = uplink.exporter.export(Batch { body: &body, spans }, BUDGET);
            exported += outcome.exported;
            if let Some(error) = outcome.error.filter(|_| outcome.exported < spans) {
                return Err(failed(Box::new(error)));
            }
        }
        Ok(format!("{}: {exported} spans", uplink.url))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A collector to send on to.
pub(crate) struct Uplink {
    url: String,
    exporter: OtlpHttpExporter,
}

/// The collector at `url`; without a path it is the one that OTLP has.
pub(crate) fn uplink(url: &str) -> Result<Uplink, DemoError> {
    let failed = |cause| DemoError::Uplink {
        url: url.to_owned(),
        cause,
    };
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let url = match authority.split_once('/') {
        None => format!("{url}/v1/traces"),
        Some((_, "")) => format!("{url}v1/traces"),
        Some(_) => url.to_owned(),
    };
    let builder = OtlpHttpExporter::builder();
    let builder = builder
        .endpoint(&url)
        .map_err(|cause| failed(Box::new(cause)))?;
    let exporter = builder.build().map_err(|cause| failed(Box::new(cause)))?;
    Ok(Uplink { url, exporter })
}
