//! How this process propagates: formats, and the baggage that may leave.
//!
//! Set once, by [`TelemetryBuilder::install`](crate::TelemetryBuilder::install), also where the environment
//! disables recording. Until then: W3C Trace Context and Baggage in, Trace Context out, and no baggage.

use super::Context;
use spanlet::ParentContext;
use spanlet::context::{Carrier, CarrierMut, Propagators};
use std::sync::OnceLock;

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// What is set for the process.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) propagators: Propagators,
    /// Keys of the baggage members that may leave.
    pub(crate) allowed: Vec<&'static str>,
}

const USUAL: &Settings = &Settings {
    propagators: Propagators::W3C,
    allowed: Vec::new(),
};

/// Sets it, the first time.
pub(crate) fn set(settings: Settings) {
    // A second telemetry is refused before it comes here; one that is disabled may come twice.
    let _first = SETTINGS.set(settings);
}

fn settings() -> &'static Settings {
    SETTINGS.get().unwrap_or(USUAL)
}

/// What came with a request, by the process's formats: `OTEL_PROPAGATORS`, or what
/// [`propagators`](crate::TelemetryBuilder::propagators) set; W3C before, and without, a telemetry. Never fails.
///
/// ```
/// use spanlet::ParentContext;
/// use spanlet_std::propagation;
/// let headers = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
/// assert!(propagation::extract(&headers).span_context().unwrap().is_sampled());
/// ```
pub fn extract<C: Carrier + ?Sized>(carrier: &C) -> Context {
    Context::extract_with(settings().propagators, carrier)
}

/// Sets the fields of a message that goes out on behalf of the [current](Context::current) request: `span`, the
/// client's or producer's own, as its parent; its trace state; and of the request's baggage the members that
/// [`forward_baggage`](crate::TelemetryBuilder::forward_baggage) allows, none if it was not called.
///
/// Where no telemetry is installed `span` has no context; then that of the caller goes on, as it came.
///
/// # Errors
/// The carrier's, at the first field that it refuses. `traceparent` is set first.
///
/// ```
/// use spanlet::SpanKind;
/// use spanlet_std::propagation::{self, MessageFields};
/// use spanlet_std::{Span, span};
///
/// # let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// # let incoming = [("traceparent", parent), ("tracestate", "rojo=1")];
/// let outgoing = propagation::extract(&incoming).run(|| {
///     let call: Span = span("POST /payments").kind(SpanKind::Client).start();
///     let mut outgoing = MessageFields::new();
///     propagation::inject(&call, &mut outgoing).map(|()| outgoing)
/// })?;
/// assert!(outgoing.get("traceparent").unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
/// assert_eq!(outgoing.get("tracestate"), Some("rojo=1"));
/// # Ok::<(), core::convert::Infallible>(())
/// ```
pub fn inject<C: CarrierMut + ?Sized>(
    span: &(impl ParentContext + ?Sized),
    carrier: &mut C,
) -> Result<(), C::Error> {
    let settings = settings();
    Context::current().inject_with(settings.propagators, span, &settings.allowed, carrier)
}

/// The same for the span and the request of `context`.
#[cfg(any(feature = "tower", feature = "reqwest"))]
pub(crate) fn inject_from<C: CarrierMut + ?Sized>(
    context: &Context,
    carrier: &mut C,
) -> Result<(), C::Error> {
    let settings = settings();
    context.inject_with(settings.propagators, context, &settings.allowed, carrier)
}
