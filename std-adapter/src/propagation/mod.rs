//! Context between processes: what a request brought, owned for as long as it is served, and its way on.
//!
//! Input: the fields of an incoming message, through a [`Carrier`]. Output: a [`Context`], the parent of
//! the server's span; the other way, the fields of every message that goes out. Bound: a `tracestate` of
//! 512 bytes and baggage of 8192, as the specifications have it.
//!
//! ```
//! use spanlet::SpanKind;
//! use spanlet_std::propagation::{Context, MessageFields};
//! use spanlet_std::{Span, span};
//!
//! # let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
//! # let incoming = [("traceparent", parent), ("tracestate", "rojo=1"), ("baggage", "tenant.id=7,card=4111")];
//! let context = Context::extract(&incoming);
//! let server: Span = span("POST /orders").kind(SpanKind::Server).parent(&context).start();
//!
//! // A call of ours: its own span goes out as the parent, and of the baggage what we allow.
//! let client: Span = span("POST /payments").kind(SpanKind::Client).parent(&server).start();
//! let mut outgoing = MessageFields::new();
//! context.inject(&client, &["tenant.id"], &mut outgoing)?;
//! assert_eq!(outgoing.get("baggage"), Some("tenant.id=7"));
//! # Ok::<(), core::convert::Infallible>(())
//! ```

mod carriers;
mod fields;

pub use carriers::{
    CommandEnvironment, Environment, MapFields, MapFieldsMut, NullablePairs, NullablePairsMut,
    PairsMut, ReadWith, WriteWith,
};
pub use fields::{HttpFields, HttpFieldsMut, MessageFields};
#[cfg(feature = "tiny-http")]
pub use fields::{NotAsciiError, TinyHttpFields, TinyHttpFieldsMut};

use spanlet::context::{
    AllowedBaggage, BaggageBuf, Carrier, CarrierMut, ExtractError, Propagators, TraceState,
    TraceStateBuf, TraceStateText,
};
use spanlet::{ParentContext, SpanContext};

/// Bytes of baggage that a process keeps and sends on. SPEC: W3C Baggage, 3.3.2.
const BAGGAGE_BYTES: usize = 8192;

/// What came with a request, owned: the caller's span, its `tracestate`, its baggage.
///
/// The parent of the span that serves the request (it is a [`ParentContext`]). Without a usable
/// `traceparent` that span becomes a root; what was wrong is told by [`fault`](Self::fault) and costs the
/// request nothing else.
///
/// About 560 bytes. Allocates only where there is baggage: 8 KiB, once.
#[derive(Clone, Debug, Default)]
pub struct Context {
    span_context: Option<SpanContext>,
    trace_state: TraceStateBuf,
    baggage: Option<Box<BaggageBuf<BAGGAGE_BYTES>>>,
    fault: Option<ExtractError>,
}

impl Context {
    /// Of a request that brought nothing: the root of a new trace.
    pub fn new() -> Self {
        Self::default()
    }

    /// From the fields of a message, by W3C Trace Context and Baggage. Never fails.
    pub fn extract<C: Carrier + ?Sized>(carrier: &C) -> Self {
        Self::extract_with(Propagators::W3C, carrier)
    }

    /// As [`extract`](Self::extract), by other formats.
    ///
    /// ```
    /// use spanlet::ParentContext;
    /// use spanlet::context::{Propagator, Propagators};
    /// use spanlet_std::propagation::Context;
    /// let b3 = Propagators::NONE.with(Propagator::B3);
    /// let context = Context::extract_with(b3, &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")]);
    /// assert!(context.span_context().unwrap().is_sampled());
    /// ```
    pub fn extract_with<C: Carrier + ?Sized>(propagators: Propagators, carrier: &C) -> Self {
        let extracted = propagators.extract(carrier);
        let baggage = (!extracted.baggage.is_empty()).then(|| {
            let mut baggage = Box::new(BaggageBuf::new());
            // What does not fit is over the limit that the specification sets.
            baggage.copy_from(&extracted.baggage);
            baggage
        });
        Context {
            span_context: extracted.span_context,
            trace_state: (&extracted.trace_state).into(),
            baggage,
            fault: extracted.fault,
        }
    }

    /// The part of the headers that was left out, and why. For logs: the rest is good to use.
    pub fn fault(&self) -> Option<&ExtractError> {
        self.fault.as_ref()
    }

    /// The `tracestate` that came, to add the member of this system before a span is started.
    pub fn trace_state_mut(&mut self) -> &mut TraceStateBuf {
        &mut self.trace_state
    }

    /// A member of the baggage, decoded. It came from outside: check it before it decides anything.
    ///
    /// ```
    /// use spanlet_std::propagation::Context;
    /// let context = Context::extract(&[("baggage", "tenant.id=Bl%C3%BCte")]);
    /// assert_eq!(context.baggage("tenant.id").as_deref(), Some("Blüte"));
    /// assert_eq!(context.baggage("card"), None);
    /// ```
    pub fn baggage(&self, key: &str) -> Option<String> {
        Some(self.baggage.as_ref()?.get(key)?.value().to_string())
    }

    /// All of the baggage, to read and to change. Allocates its 8 KiB if there was none.
    ///
    /// ```
    /// use spanlet_std::propagation::Context;
    /// let mut context = Context::new();
    /// context.baggage_mut().set("tenant.id", "7").unwrap();
    /// assert_eq!(context.baggage("tenant.id").as_deref(), Some("7"));
    /// ```
    pub fn baggage_mut(&mut self) -> &mut BaggageBuf<BAGGAGE_BYTES> {
        self.baggage.get_or_insert_default()
    }

    /// Sets the fields of a message that goes out: `span`, the client's or producer's own, as its parent;
    /// the trace state of that span; and of the baggage the members whose keys are in `allowed`, because
    /// it reaches everything downstream, third parties included.
    ///
    /// A span that is not recorded keeps no trace state: then the one that came goes on with its trace.
    ///
    /// # Errors
    /// The carrier's. `traceparent` is set first.
    pub fn inject<C: CarrierMut + ?Sized>(
        &self,
        span: &(impl ParentContext + ?Sized),
        allowed: &[&str],
        carrier: &mut C,
    ) -> Result<(), C::Error> {
        self.inject_with(Propagators::W3C, span, allowed, carrier)
    }

    /// As [`inject`](Self::inject), in other formats.
    ///
    /// # Errors
    /// The carrier's, at the first field that it refuses.
    pub fn inject_with<C: CarrierMut + ?Sized>(
        &self,
        propagators: Propagators,
        span: &(impl ParentContext + ?Sized),
        allowed: &[&str],
        carrier: &mut C,
    ) -> Result<(), C::Error> {
        let mut buffer = [0; BAGGAGE_BYTES];
        let baggage = match &self.baggage {
            Some(baggage) => baggage.encode_allowed(allowed, &mut buffer),
            None => AllowedBaggage::default(),
        };
        let Some(context) = span.span_context().filter(SpanContext::is_valid) else {
            // No span, no trace: the application's own pairs go on all the same.
            if !baggage.as_str().is_empty() {
                carrier.set("baggage", baggage.as_str())?;
            }
            return Ok(());
        };
        let own: TraceStateBuf;
        let trace_state = match span.trace_state() {
            Some(text) => {
                own = TraceState::parse([text.as_bytes()])
                    .map(|state| (&state).into())
                    .unwrap_or_default();
                own.text()
            }
            None if self.is_of_trace(&context) => self.trace_state.text(),
            None => TraceStateText::default(),
        };
        propagators.inject(carrier, &context, trace_state, baggage)
    }

    fn is_of_trace(&self, context: &SpanContext) -> bool {
        self.span_context
            .is_some_and(|ours| ours.trace_id() == context.trace_id())
    }
}

impl ParentContext for Context {
    fn span_context(&self) -> Option<SpanContext> {
        self.span_context
    }
    fn trace_state(&self) -> Option<&str> {
        (!self.trace_state.is_empty()).then(|| self.trace_state.as_str())
    }
}
