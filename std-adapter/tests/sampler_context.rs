//! A sampler that decides by what travels with the request: parent, trace state, baggage.
//!
//! One process has one telemetry, so this is one test.

use spanlet::{Sampler, SamplingDecision, SamplingParameters, SamplingResult};
use spanlet_std::config::Config;
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::propagation::Context;
use spanlet_std::{Span, Telemetry, span};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

struct Nowhere;

impl SpanExporter for Nowhere {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        ExportOutcome {
            exported: batch.spans,
            attempts: 1,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}

/// What the sampler was given: is the parent remote, which trace state, whose request.
type Seen = (Option<bool>, Option<String>, Option<String>);

/// Keeps what a tenant asked to have traced.
#[derive(Clone, Default)]
struct OnRequest(Arc<Mutex<Vec<Seen>>>);

impl Sampler for OnRequest {
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        let tenant = Context::current().baggage("trace.for");
        let is_asked_for = tenant.is_some();
        self.0.lock().unwrap().push((
            parameters.parent.map(|parent| parent.is_remote()),
            parameters.trace_state.map(str::to_owned),
            tenant,
        ));
        SamplingResult::new(if is_asked_for {
            SamplingDecision::RecordAndSample
        } else {
            SamplingDecision::Drop
        })
    }
    fn describe(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
        to.write_str("OnRequest")
    }
}

#[test]
fn a_sampler_sees_parent_state_and_baggage() {
    let sampler = OnRequest::default();
    let telemetry = Telemetry::builder_with(Config::default())
        .exporter(Nowhere)
        .sampler(sampler.clone())
        .install()
        .unwrap();
    let asked = Context::extract(&[
        ("traceparent", PARENT),
        ("tracestate", "rojo=1"),
        ("baggage", "trace.for=7"),
    ]);
    asked.run(|| {
        let server: Span = span("server").start();
        assert!(server.is_recording());
        asked.with_span(&server).run(|| {
            let child: Span = span("child").start();
            assert!(child.is_recording());
        });
    });
    let usual: Span = span("usual").start();
    assert!(!usual.is_recording());
    drop(usual);

    let (state, tenant) = (Some("rojo=1".to_owned()), Some("7".to_owned()));
    let seen = [
        (Some(true), state.clone(), tenant.clone()),
        (Some(false), state, tenant),
        (None, None, None),
    ];
    assert_eq!(*sampler.0.lock().unwrap(), seen);
    let ledger = telemetry.shutdown(Duration::from_secs(10));
    assert_eq!(
        (ledger.started, ledger.exported, ledger.sampled_out),
        (3, 2, 1)
    );
}
