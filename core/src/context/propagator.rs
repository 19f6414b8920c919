//! Propagators: the headers of a message as one context, and back.
//!
//! Input: a [`Carrier`]. Output: [`Extracted`], always: what is missing or malformed leaves its part
//! empty and is named in [`Extracted::fault`], and no request fails for it. The other way, a context,
//! a `tracestate` and allowed baggage into a [`CarrierMut`]. Bound: those of the parsers.
//!
//! The rules (SPEC: Trace Context Level 2, 3.2 to 3.4, and 4 "Processing Model"):
//! - no `traceparent`, a malformed one, or more than one: no context, so the caller starts a new trace;
//! - without a context `tracestate` is not read;
//! - a malformed `tracestate` is discarded, and the trace goes on;
//! - baggage is its own matter and is read in any case.

use core::fmt;

use super::b3::{B3, B3Error, B3Headers, B3Sampling};
use super::carrier::{Carrier, CarrierMut};
use super::jaeger::{self, JaegerError};
use super::ot_trace::{self, OtTraceError, OtTraceHeaders};
use super::{
    AllowedBaggage, Baggage, SpanContext, TraceState, TraceStateError, TraceStateText,
    TraceparentError, traceparent,
};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
const B3_SINGLE: &str = "b3";
const B3_TRACE_ID: &str = "x-b3-traceid";
const B3_SPAN_ID: &str = "x-b3-spanid";
const B3_PARENT: &str = "x-b3-parentspanid";
const B3_SAMPLED: &str = "x-b3-sampled";
const B3_FLAGS: &str = "x-b3-flags";
const JAEGER: &str = "uber-trace-id";
const OT_TRACE_ID: &str = "ot-tracer-traceid";
const OT_SPAN_ID: &str = "ot-tracer-spanid";
const OT_SAMPLED: &str = "ot-tracer-sampled";

/// Why a part of the context was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ExtractError {
    /// A header that may come once came more than once.
    Repeated {
        /// Its name.
        name: &'static str,
    },
    /// A malformed `traceparent`.
    Traceparent(TraceparentError),
    /// A malformed `tracestate`.
    TraceState(TraceStateError),
    /// Malformed B3 headers.
    B3(B3Error),
    /// A malformed `uber-trace-id`.
    Jaeger(JaegerError),
    /// Malformed `ot-tracer-*` headers.
    OtTrace(OtTraceError),
}

impl fmt::Display for ExtractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated { name } => write!(f, "more than one {name} header"),
            Self::Traceparent(error) => error.fmt(f),
            Self::TraceState(error) => error.fmt(f),
            Self::B3(error) => error.fmt(f),
            Self::Jaeger(error) => error.fmt(f),
            Self::OtTrace(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ExtractError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Repeated { .. } => None,
            Self::Traceparent(error) => Some(error),
            Self::TraceState(error) => Some(error),
            Self::B3(error) => Some(error),
            Self::Jaeger(error) => Some(error),
            Self::OtTrace(error) => Some(error),
        }
    }
}

impl From<TraceparentError> for ExtractError {
    fn from(error: TraceparentError) -> Self {
        Self::Traceparent(error)
    }
}

impl From<B3Error> for ExtractError {
    fn from(error: B3Error) -> Self {
        Self::B3(error)
    }
}

impl From<JaegerError> for ExtractError {
    fn from(error: JaegerError) -> Self {
        Self::Jaeger(error)
    }
}

impl From<OtTraceError> for ExtractError {
    fn from(error: OtTraceError) -> Self {
        Self::OtTrace(error)
    }
}

/// What a message's headers said.
#[derive(Clone, Debug, Default)]
pub struct Extracted<'a> {
    /// The caller's span, marked remote; `None` starts a new trace.
    pub span_context: Option<SpanContext>,
    /// Empty unless `span_context` came from a `traceparent`.
    pub trace_state: TraceState<'a>,
    /// The application's own pairs.
    pub baggage: Baggage<'a>,
    /// What B3 headers decided: it counts even where they brought no ids.
    pub b3_sampling: B3Sampling,
    /// The first part that was left out, and why. For logs and counters: the rest is good to use.
    pub fault: Option<ExtractError>,
}

/// The value of a header that may come once.
fn single<'a, C: Carrier + ?Sized>(
    carrier: &'a C,
    name: &'static str,
) -> Result<Option<&'a [u8]>, ExtractError> {
    let mut values = carrier.values(name);
    let value = values.next();
    match values.next() {
        Some(_) => Err(ExtractError::Repeated { name }),
        None => Ok(value),
    }
}

/// The `traceparent` alone: all that a device needs, and small.
///
/// # Errors
/// More than one header, or a malformed one. `Ok(None)` if there is none. Either way, start a new trace.
///
/// ```
/// use spanlet::context::propagator::extract_traceparent;
/// let header = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
/// assert!(extract_traceparent(&[header]).unwrap().unwrap().is_sampled());
/// assert!(extract_traceparent(&[header, header]).is_err());
/// assert_eq!(extract_traceparent(&[("host", "x")]), Ok(None));
/// ```
pub fn extract_traceparent<C: Carrier + ?Sized>(
    carrier: &C,
) -> Result<Option<SpanContext>, ExtractError> {
    match single(carrier, TRACEPARENT)? {
        None => Ok(None),
        Some(value) => Ok(Some(traceparent::parse(value)?)),
    }
}

/// `traceparent`, `tracestate` and `baggage`.
///
/// ```
/// use spanlet::context::propagator::extract_w3c;
/// let headers = [
///     ("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
///     ("tracestate", "rojo=1"),
///     ("tracestate", "congo=2"),
///     ("baggage", "tenant=7"),
/// ];
/// let extracted = extract_w3c(&headers);
/// assert!(extracted.span_context.unwrap().is_remote());
/// assert_eq!(extracted.trace_state.iter().count(), 2);
/// assert_eq!(extracted.baggage.get("tenant").unwrap().value(), "7");
/// assert!(extracted.fault.is_none());
/// ```
pub fn extract_w3c<C: Carrier + ?Sized>(carrier: &C) -> Extracted<'_> {
    // Not through the set: whoever reads W3C only carries nothing of the other formats in flash.
    let mut extracted = Extracted::default();
    extract_trace_context(carrier, &mut extracted);
    extracted.baggage = Baggage::parse(carrier.values(BAGGAGE));
    extracted
}

fn extract_trace_context<'a, C: Carrier + ?Sized>(carrier: &'a C, extracted: &mut Extracted<'a>) {
    match extract_traceparent(carrier) {
        Ok(context) => extracted.span_context = context,
        Err(error) => extracted.fault = Some(error),
    }
    if extracted.span_context.is_some() {
        match TraceState::parse(carrier.values(TRACESTATE)) {
            Ok(trace_state) => extracted.trace_state = trace_state,
            Err(error) => extracted.fault = Some(ExtractError::TraceState(error)),
        }
    }
}

/// Sets `traceparent`, and `tracestate` and `baggage` where they are not empty.
///
/// # Errors
/// The carrier's. `traceparent` is set first, so a carrier that is too small keeps what matters most.
///
/// ```
/// use spanlet::context::propagator::inject_w3c;
/// use spanlet::context::{AllowedBaggage, FixedCarrier, TraceStateBuf, traceparent};
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = traceparent::parse(text.as_bytes()).unwrap();
/// let mut state = TraceStateBuf::<64>::new();
/// state.insert("rojo", "1").unwrap();
/// let mut out = FixedCarrier::<3, 64>::new();
/// inject_w3c(&mut out, &context, state.text(), AllowedBaggage::default()).unwrap();
/// let fields: Vec<_> = out.iter().collect();
/// assert_eq!(fields, [("traceparent", text), ("tracestate", "rojo=1")]);
/// ```
pub fn inject_w3c<C: CarrierMut + ?Sized>(
    carrier: &mut C,
    context: &SpanContext,
    trace_state: TraceStateText<'_>,
    baggage: AllowedBaggage<'_>,
) -> Result<(), C::Error> {
    if context.is_valid() {
        inject_trace_context(carrier, context, trace_state)?;
    }
    inject_baggage(carrier, baggage)
}

fn inject_trace_context<C: CarrierMut + ?Sized>(
    carrier: &mut C,
    context: &SpanContext,
    trace_state: TraceStateText<'_>,
) -> Result<(), C::Error> {
    let text = traceparent::encode(context);
    // Always ASCII.
    carrier.set(TRACEPARENT, core::str::from_utf8(&text).unwrap_or_default())?;
    if trace_state.as_str().is_empty() {
        return Ok(());
    }
    carrier.set(TRACESTATE, trace_state.as_str())
}

fn inject_baggage<C: CarrierMut + ?Sized>(
    carrier: &mut C,
    baggage: AllowedBaggage<'_>,
) -> Result<(), C::Error> {
    if baggage.as_str().is_empty() {
        return Ok(());
    }
    carrier.set(BAGGAGE, baggage.as_str())
}

/// Which formats to read and write: a set, chosen at compile time or from `OTEL_PROPAGATORS`.
///
/// On the way in the first format that brings a context wins: W3C, then B3 single, B3 multi, Jaeger, OT
/// trace. On the way out all are written.
///
/// ```
/// use spanlet::context::propagator::{Propagator, Propagators};
/// const BOTH: Propagators = Propagators::W3C.with(Propagator::B3);
/// let extracted = BOTH.extract(&[("b3", "0")]);
/// assert!(extracted.span_context.is_none());
/// assert_eq!(extracted.b3_sampling.is_sampled(), Some(false));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Propagators(u8);

/// One format. The names are those of `OTEL_PROPAGATORS`.
///
/// ```
/// use spanlet::context::propagator::Propagator;
/// assert_eq!(Propagator::from_name("b3multi"), Some(Propagator::B3Multi));
/// assert_eq!(Propagator::from_name("xray"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Propagator {
    /// `tracecontext`: `traceparent` and `tracestate`.
    TraceContext,
    /// `baggage`.
    Baggage,
    /// `b3`: the single header.
    B3,
    /// `b3multi`: the several headers.
    B3Multi,
    /// `jaeger`: see [`jaeger`].
    Jaeger,
    /// `ottrace`: see [`ot_trace`].
    OtTrace,
}

impl Propagator {
    /// The headers that the format sets, and with them a request that is sent again is cleared.
    ///
    /// ```
    /// use spanlet::context::propagator::Propagator;
    /// assert_eq!(Propagator::TraceContext.fields(), ["traceparent", "tracestate"]);
    /// ```
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::TraceContext => &[TRACEPARENT, TRACESTATE],
            Self::Baggage => &[BAGGAGE],
            Self::B3 => &[B3_SINGLE],
            Self::B3Multi => &[B3_TRACE_ID, B3_SPAN_ID, B3_SAMPLED],
            Self::Jaeger => &[JAEGER],
            Self::OtTrace => &[OT_TRACE_ID, OT_SPAN_ID, OT_SAMPLED],
        }
    }

    /// From its name in `OTEL_PROPAGATORS`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "tracecontext" => Some(Self::TraceContext),
            "baggage" => Some(Self::Baggage),
            "b3" => Some(Self::B3),
            "b3multi" => Some(Self::B3Multi),
            "jaeger" => Some(Self::Jaeger),
            "ottrace" => Some(Self::OtTrace),
            _ => None,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::TraceContext => 0x01,
            Self::Baggage => 0x02,
            Self::B3 => 0x04,
            Self::B3Multi => 0x08,
            Self::Jaeger => 0x10,
            Self::OtTrace => 0x20,
        }
    }
}

impl Default for Propagators {
    /// [`W3C`](Propagators::W3C), as OpenTelemetry has it.
    fn default() -> Self {
        Self::W3C
    }
}

impl Propagators {
    /// No format: every trace starts here, and none goes on.
    pub const NONE: Self = Propagators(0);
    /// Trace context and baggage.
    pub const W3C: Self = Propagators::NONE
        .with(Propagator::TraceContext)
        .with(Propagator::Baggage);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, propagator: Propagator) -> Self {
        Propagators(self.0 | propagator.bit())
    }

    /// Whether the format is in the set.
    pub const fn contains(self, propagator: Propagator) -> bool {
        self.0 & propagator.bit() != 0
    }

    /// The headers that [`inject`](Self::inject) may set. SPEC: Context, "TextMapPropagator", "Fields".
    ///
    /// ```
    /// use spanlet::context::propagator::{Propagator, Propagators};
    /// let set = Propagators::NONE.with(Propagator::Baggage).with(Propagator::B3);
    /// assert!(set.fields().eq(["baggage", "b3"]));
    /// ```
    pub fn fields(self) -> impl Iterator<Item = &'static str> {
        [
            Propagator::TraceContext,
            Propagator::Baggage,
            Propagator::B3,
            Propagator::B3Multi,
            Propagator::Jaeger,
            Propagator::OtTrace,
        ]
        .into_iter()
        .filter(move |propagator| self.contains(*propagator))
        .flat_map(|propagator| propagator.fields().iter().copied())
    }

    /// Reads a message's headers. Never fails.
    pub fn extract<C: Carrier + ?Sized>(self, carrier: &C) -> Extracted<'_> {
        let mut extracted = Extracted::default();
        if self.contains(Propagator::TraceContext) {
            extract_trace_context(carrier, &mut extracted);
        }
        for (propagator, extract) in [
            (Propagator::B3, extract_b3 as fn(&C) -> _),
            (Propagator::B3Multi, extract_b3_multi),
            (Propagator::Jaeger, extract_jaeger),
            (Propagator::OtTrace, extract_ot_trace),
        ] {
            if !self.contains(propagator) || extracted.span_context.is_some() {
                continue;
            }
            match extract(carrier) {
                Ok(None) => {}
                Ok(Some(b3)) => {
                    extracted.span_context = b3.context;
                    if extracted.b3_sampling == B3Sampling::Defer {
                        extracted.b3_sampling = b3.sampling;
                    }
                }
                Err(error) => extracted.fault = extracted.fault.or(Some(error)),
            }
        }
        if self.contains(Propagator::Baggage) {
            extracted.baggage = Baggage::parse(carrier.values(BAGGAGE));
        }
        extracted
    }

    /// Sets the headers of every format in the set; empty ones are left out, and of a context that is
    /// [none](SpanContext::is_valid) those of the trace.
    ///
    /// # Errors
    /// The carrier's, at the first header that it refuses.
    pub fn inject<C: CarrierMut + ?Sized>(
        self,
        carrier: &mut C,
        context: &SpanContext,
        trace_state: TraceStateText<'_>,
        baggage: AllowedBaggage<'_>,
    ) -> Result<(), C::Error> {
        let is_valid = context.is_valid();
        if is_valid && self.contains(Propagator::TraceContext) {
            inject_trace_context(carrier, context, trace_state)?;
        }
        if is_valid && self.contains(Propagator::B3) {
            carrier.set(B3_SINGLE, B3::from(context).encode_single().as_str())?;
        }
        if is_valid && self.contains(Propagator::B3Multi) {
            let text = B3::from(context).encode_single();
            let mut parts = text.as_str().split('-');
            for name in [B3_TRACE_ID, B3_SPAN_ID, B3_SAMPLED] {
                carrier.set(name, parts.next().unwrap_or_default())?;
            }
        }
        if is_valid && self.contains(Propagator::Jaeger) {
            carrier.set(JAEGER, &jaeger::encode(context))?;
        }
        if is_valid && self.contains(Propagator::OtTrace) {
            let text = B3::from(context).encode_single();
            // The low half of the trace id: these tracers know no more.
            let ids = text.as_str().get(16..).unwrap_or_default();
            for (name, id) in [OT_TRACE_ID, OT_SPAN_ID].into_iter().zip(ids.split('-')) {
                carrier.set(name, id)?;
            }
            carrier.set(OT_SAMPLED, ot_trace::sampled_text(context))?;
        }
        if self.contains(Propagator::Baggage) {
            inject_baggage(carrier, baggage)?;
        }
        Ok(())
    }
}

fn extract_b3<C: Carrier + ?Sized>(carrier: &C) -> Result<Option<B3>, ExtractError> {
    match single(carrier, B3_SINGLE)? {
        None => Ok(None),
        Some(value) => Ok(Some(B3::parse_single(value)?)),
    }
}

fn extract_b3_multi<C: Carrier + ?Sized>(carrier: &C) -> Result<Option<B3>, ExtractError> {
    let headers = B3Headers {
        trace_id: single(carrier, B3_TRACE_ID)?,
        span_id: single(carrier, B3_SPAN_ID)?,
        parent_span_id: single(carrier, B3_PARENT)?,
        sampled: single(carrier, B3_SAMPLED)?,
        flags: single(carrier, B3_FLAGS)?,
    };
    if headers == B3Headers::default() {
        return Ok(None);
    }
    Ok(Some(B3::parse_multi(headers)?))
}

fn extract_jaeger<C: Carrier + ?Sized>(carrier: &C) -> Result<Option<B3>, ExtractError> {
    match single(carrier, JAEGER)? {
        None => Ok(None),
        Some(value) => Ok(Some(of_context(jaeger::parse(value)?))),
    }
}

fn extract_ot_trace<C: Carrier + ?Sized>(carrier: &C) -> Result<Option<B3>, ExtractError> {
    let headers = OtTraceHeaders {
        trace_id: single(carrier, OT_TRACE_ID)?,
        span_id: single(carrier, OT_SPAN_ID)?,
        sampled: single(carrier, OT_SAMPLED)?,
    };
    Ok(ot_trace::parse(headers)?.map(of_context))
}

/// In the form in which B3 comes: without a decision that counts where there are no ids.
fn of_context(context: SpanContext) -> B3 {
    B3 {
        context: Some(context),
        ..B3::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::context::{BaggageBuf, FixedCarrier, TraceStateBuf};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const ALL: Propagators = Propagators::W3C
        .with(Propagator::B3)
        .with(Propagator::B3Multi)
        .with(Propagator::Jaeger)
        .with(Propagator::OtTrace);

    #[test]
    fn what_is_injected_is_extracted_in_every_format() {
        let context = traceparent::parse(PARENT.as_bytes()).unwrap();
        let mut state = TraceStateBuf::<64>::new();
        state.insert("rojo", "1").unwrap();
        let mut baggage = BaggageBuf::<64>::new();
        baggage.set("tenant", "ä").unwrap();
        baggage.set("secret", "x").unwrap();
        let mut buffer = [0; 64];
        let allowed = baggage.encode_allowed(&["tenant"], &mut buffer);
        let mut out = FixedCarrier::<12, 68>::new();
        ALL.inject(&mut out, &context, state.text(), allowed)
            .unwrap();
        // What is set is what `fields` names, no more and no less.
        assert!(out.iter().map(|(name, _)| name).eq(in_order_of_injection()));
        for set in [
            Propagators::W3C,
            Propagators::NONE.with(Propagator::B3),
            Propagators::NONE.with(Propagator::B3Multi),
            Propagators::NONE.with(Propagator::Jaeger),
        ] {
            let extracted = set.extract(&out);
            assert_eq!(extracted.span_context, Some(context));
            assert_eq!(extracted.fault, None);
        }
        // Of these tracers the low half of the trace id comes back.
        let halved = Propagators::NONE.with(Propagator::OtTrace).extract(&out);
        let halved = halved.span_context.unwrap();
        assert_eq!(
            halved.trace_id().to_words(),
            [0, context.trace_id().to_words()[1]]
        );
        assert_eq!(halved.span_id(), context.span_id());
        assert_eq!(halved.flags(), context.flags());
        let extracted = extract_w3c(&out);
        assert_eq!(extracted.trace_state.get("rojo"), Some("1"));
        assert_eq!(extracted.baggage.get("tenant").unwrap().value(), "ä");
        assert!(extracted.baggage.get("secret").is_none());
    }

    /// `fields`, with the baggage last.
    fn in_order_of_injection() -> impl Iterator<Item = &'static str> {
        let others = ALL.fields().filter(|name| *name != BAGGAGE);
        others.chain([BAGGAGE])
    }

    #[test]
    fn faults_of_the_older_formats_are_named() {
        let bad = [("uber-trace-id", "1:2"), ("ot-tracer-traceid", "1")];
        let extracted = ALL.extract(&bad);
        assert!(extracted.span_context.is_none());
        assert!(matches!(extracted.fault, Some(ExtractError::Jaeger(_))));
        let ot = Propagators::NONE.with(Propagator::OtTrace).extract(&bad);
        assert!(matches!(ot.fault, Some(ExtractError::OtTrace(_))));
        assert!(Propagators::W3C.extract(&bad).fault.is_none());
    }

    #[test]
    fn a_bad_format_leaves_room_for_the_next() {
        let headers = [
            ("traceparent", "nonsense"),
            ("tracestate", "rojo=1"),
            ("b3", "4bf92f3577b34da6-00f067aa0ba902b7-d"),
        ];
        let extracted = ALL.extract(&headers);
        assert!(extracted.span_context.unwrap().is_sampled());
        assert_eq!(extracted.b3_sampling, B3Sampling::Debug);
        assert!(extracted.trace_state.is_empty());
        assert!(matches!(
            extracted.fault,
            Some(ExtractError::Traceparent(_))
        ));
        let twice = [("b3", "0"), ("B3", "0")];
        let fault = ALL.extract(&twice).fault;
        assert_eq!(fault, Some(ExtractError::Repeated { name: "b3" }));
    }
}
