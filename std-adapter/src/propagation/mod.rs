//! Context between processes: what a request brought, current for as long as it is served, and its way on.
//!
//! Input: the fields of an incoming message, through a [`Carrier`]. Output: a [`Context`], the parent of
//! the server's span; the other way, the fields of every message that goes out. Bound: a `tracestate` of
//! 512 bytes and baggage of 8192, as the specifications have it.
//!
//! ```
//! use spanlet::SpanKind;
//! use spanlet_std::propagation::{self, MessageFields};
//! use spanlet_std::{Span, span};
//!
//! # let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
//! # let incoming = [("traceparent", parent), ("tracestate", "rojo=1"), ("baggage", "tenant.id=7,card=4111")];
//! let context = propagation::extract(&incoming);
//! let mut server: Span = span("POST /orders").kind(SpanKind::Server).parent(&context).start();
//! # let outgoing =
//! context.with_span(&server).run(|| {
//!     // A call of ours, anywhere in the code that serves the request: its own span goes out as the parent.
//!     let client: Span = span("POST /payments").kind(SpanKind::Client).start();
//!     let mut outgoing = MessageFields::new();
//!     propagation::inject(&client, &mut outgoing)?;
//!     # Ok::<_, core::convert::Infallible>(outgoing)
//! })?;
//! # assert_eq!(outgoing.get("tracestate"), Some("rojo=1"));
//! # assert_eq!(outgoing.get("baggage"), None);
//! # Ok::<(), core::convert::Infallible>(())
//! ```
//!
//! What is current is found on the thread, and follows a future that was given it: [`WithContext`], or the layers
//! for servers. Of the baggage only what
//! [`forward_baggage`](crate::TelemetryBuilder::forward_baggage) names leaves the process.

pub(crate) mod ambient;
mod carried;
mod carriers;
mod fields;
#[cfg(feature = "tonic")]
mod metadata;
mod process;

pub use carriers::{
    CommandEnvironment, Environment, MapFields, MapFieldsMut, NullablePairs, NullablePairsMut,
    PairsMut, ReadWith, WriteWith,
};
pub use fields::{HttpFields, HttpFieldsMut, MessageFields};
#[cfg(feature = "tiny-http")]
pub use fields::{NotAsciiError, TinyHttpFields, TinyHttpFieldsMut};
#[cfg(feature = "tonic")]
pub use metadata::{MetadataFields, MetadataFieldsMut};
#[cfg(any(feature = "tower", feature = "reqwest"))]
pub(crate) use process::inject_from;
pub(crate) use process::{Settings, set};
pub use process::{extract, inject};

use carried::{BAGGAGE_BYTES, Baggage, Carried};
use spanlet::context::{
    AllowedBaggage, BaggageBuf, Carrier, CarrierMut, ExtractError, Extracted, Propagator,
    Propagators, TraceState, TraceStateBuf, TraceStateText,
};
use spanlet::{Around, Inside, ParentContext, SpanContext};
use std::sync::Arc;

/// What came with a request: the caller's span, its `tracestate`, its baggage.
///
/// The parent of the span that serves the request (it is a [`ParentContext`]). Without a usable
/// `traceparent` that span becomes a root; what was wrong is told by [`fault`](Self::fault) and costs the
/// request nothing else.
///
/// Allocates only where there is trace state or baggage, once; a clone shares it.
#[derive(Clone, Debug, Default)]
pub struct Context {
    span_context: Option<SpanContext>,
    /// INVARIANT: where there is one it is not empty, unless it was borrowed to be changed.
    carried: Option<Arc<Carried>>,
    fault: Option<ExtractError>,
}

impl Context {
    /// Of a request that brought nothing: the root of a new trace.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is current on this thread: the current span, its trace state, and the baggage of the request that is
    /// served. To be handed to another thread or task.
    ///
    /// ```
    /// use spanlet_std::propagation::{Context, WithContext};
    /// let mut context = Context::new();
    /// context.baggage_mut().set("tenant.id", "7").unwrap();
    /// context.run(|| {
    ///     let here = Context::current();
    ///     let there = std::thread::spawn(move || here.run(|| Context::current().baggage("tenant.id")));
    ///     assert_eq!(there.join().unwrap().as_deref(), Some("7"));
    ///     // tokio::spawn(work().with_context(Context::current()));
    /// });
    /// ```
    pub fn current() -> Self {
        Context {
            span_context: ambient::current().filter(SpanContext::is_valid),
            carried: ambient::carried(),
            fault: None,
        }
    }

    /// Does `work` with this as the current context: spans started inside are children of its span, and calls of
    /// [`inject`] pass on what it carries. What was current before is put back afterwards, also when
    /// `work` unwinds. Costs two stores of a span's context.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _back = ambient::attach(self);
        work()
    }

    /// The same request's context with `span` in place of the caller's: for whatever is done inside of the span.
    /// A span without a context leaves it as it is.
    ///
    /// ```
    /// use spanlet::{ParentContext, SpanContext, SpanId, TraceFlags, TraceId};
    /// use spanlet_std::propagation::Context;
    /// let caller = Context::extract(&[("baggage", "tenant.id=7")]);
    /// # let (trace, span) = (TraceId::from_bytes([1; 16]).unwrap(), SpanId::from_bytes([2; 8]).unwrap());
    /// let span = SpanContext::new(trace, span, TraceFlags::SAMPLED);
    /// let ours = caller.with_span(&span);
    /// assert_eq!(ours.span_context(), Some(span));
    /// assert_eq!(ours.baggage("tenant.id").as_deref(), Some("7"));
    /// ```
    #[must_use]
    pub fn with_span(&self, span: &(impl ParentContext + ?Sized)) -> Self {
        let Some(context) = span.span_context().filter(SpanContext::is_valid) else {
            return self.clone();
        };
        let carried = match span.trace_state() {
            Some(text) => ambient::with_state(self.carried.as_ref(), text),
            None if self.is_of_trace(&context) => self.carried.clone(),
            None if self.carried.is_none() => None,
            None => ambient::with_state(self.carried.as_ref(), ""),
        };
        Context {
            span_context: Some(context),
            carried,
            fault: None,
        }
    }

    /// From the fields of a message, by W3C Trace Context and Baggage. Never fails. [`extract`](extract()) goes by
    /// what is set for the process.
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
        Context {
            span_context: extracted.span_context,
            carried: carried_of(&extracted),
            fault: extracted.fault,
        }
    }

    /// The part of the headers that was left out, and why. For logs: the rest is good to use.
    pub fn fault(&self) -> Option<&ExtractError> {
        self.fault.as_ref()
    }

    /// The `tracestate` that came, to add the member of this system before a span is started. Allocates if there
    /// was none, and copies what is shared with another context.
    pub fn trace_state_mut(&mut self) -> &mut TraceStateBuf {
        &mut self.carried_mut().trace_state
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
        let baggage = self.carried.as_ref()?.baggage.as_ref()?;
        Some(baggage.get(key)?.value().to_string())
    }

    /// All of the baggage, to read and to change. Allocates its 8 KiB if there was none, and copies what is shared
    /// with another context.
    ///
    /// ```
    /// use spanlet_std::propagation::Context;
    /// let mut context = Context::new();
    /// context.baggage_mut().set("tenant.id", "7").unwrap();
    /// assert_eq!(context.baggage("tenant.id").as_deref(), Some("7"));
    /// ```
    pub fn baggage_mut(&mut self) -> &mut BaggageBuf<BAGGAGE_BYTES> {
        Arc::make_mut(self.carried_mut().baggage.get_or_insert_default())
    }

    fn carried_mut(&mut self) -> &mut Carried {
        Arc::make_mut(self.carried.get_or_insert_default())
    }

    /// Sets the fields of a message that goes out: `span`, the client's or producer's own, as its parent;
    /// the trace state of that span; and of the baggage the members whose keys are in `allowed`, because
    /// it reaches everything downstream, third parties included. [`inject`](inject()) does the same for the
    /// current request by what is set for the process.
    ///
    /// A span that is not recorded may keep no trace state: then the one that came goes on with its trace. One
    /// without a context, as without a telemetry, leaves the caller's to go on.
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
        let carried = self.carried.as_deref();
        match carried.and_then(|carried| carried.baggage.as_deref()) {
            Some(baggage) if !allowed.is_empty() => {
                let mut buffer = [0; BAGGAGE_BYTES];
                let allowed = baggage.encode_allowed(allowed, &mut buffer);
                self.inject_allowed(propagators, span, allowed, carrier)
            }
            _ => self.inject_allowed(propagators, span, AllowedBaggage::default(), carrier),
        }
    }

    fn inject_allowed<C: CarrierMut + ?Sized>(
        &self,
        propagators: Propagators,
        span: &(impl ParentContext + ?Sized),
        baggage: AllowedBaggage<'_>,
        carrier: &mut C,
    ) -> Result<(), C::Error> {
        let of_span = span.span_context().filter(SpanContext::is_valid);
        let Some(context) = of_span.or(self.span_context) else {
            // No span, no trace: the application's own pairs go on all the same.
            if propagators.contains(Propagator::Baggage) && !baggage.as_str().is_empty() {
                carrier.set("baggage", baggage.as_str())?;
            }
            return Ok(());
        };
        let ours = self.carried.as_deref().map(|carried| &carried.trace_state);
        let own: TraceStateBuf;
        let trace_state = match (span.trace_state(), ours) {
            (Some(text), Some(ours)) if ours.as_str() == text => ours.text(),
            (Some(text), _) => {
                own = TraceState::parse([text.as_bytes()])
                    .map(|state| (&state).into())
                    .unwrap_or_default();
                own.text()
            }
            (None, Some(ours)) if self.is_of_trace(&context) => ours.text(),
            (None, _) => TraceStateText::default(),
        };
        propagators.inject(carrier, &context, trace_state, baggage)
    }

    fn is_of_trace(&self, context: &SpanContext) -> bool {
        self.span_context
            .is_some_and(|ours| ours.trace_id() == context.trace_id())
    }
}

/// What is to be kept of a message's fields.
fn carried_of(extracted: &Extracted<'_>) -> Option<Arc<Carried>> {
    if extracted.trace_state.is_empty() && extracted.baggage.is_empty() {
        return None;
    }
    let baggage = (!extracted.baggage.is_empty()).then(|| {
        let mut baggage = Arc::<Baggage>::default();
        // What does not fit is over the limit that the specification sets.
        Arc::make_mut(&mut baggage).copy_from(&extracted.baggage);
        baggage
    });
    let trace_state = (&extracted.trace_state).into();
    Some(Arc::new(Carried {
        trace_state,
        baggage,
    }))
}

impl ParentContext for Context {
    fn span_context(&self) -> Option<SpanContext> {
        self.span_context
    }
    fn trace_state(&self) -> Option<&str> {
        self.carried.as_deref()?.trace_state()
    }
}

impl Around for Context {
    #[inline]
    fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        self.run(work)
    }
}

/// Futures that keep a context across `await`: a task of its own does not inherit what is current where it is
/// spawned.
pub trait WithContext: Future + Sized {
    /// The future with `context` as the current one during each poll, and while it is dropped.
    ///
    /// ```
    /// use spanlet_std::propagation::{Context, WithContext};
    /// async fn tenant() -> Option<String> {
    ///     Context::current().baggage("tenant.id")
    /// }
    /// let mut context = Context::new();
    /// context.baggage_mut().set("tenant.id", "7").unwrap();
    /// let work = tenant().with_context(context);
    /// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert_eq!(core::pin::pin!(work).poll(&mut cx), std::task::Poll::Ready(Some("7".to_owned())));
    /// ```
    fn with_context(self, context: Context) -> InContext<Self> {
        Inside::new(self, context)
    }
}
impl<F: Future> WithContext for F {}

/// A future that runs in a [`Context`]; made by [`WithContext::with_context`].
pub type InContext<F> = Inside<F, Context>;
