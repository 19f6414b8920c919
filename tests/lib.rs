//! spanlet's tests across packages. What must not compile stands here, as doc tests that must fail, each
//! beside one that differs in the one thing and passes.
//!
//! [`faults`] and [`proxy`] are a link that goes wrong by a seed, for tests of this and other packages.
#![deny(unsafe_code)]

pub mod faults;
pub mod proxy;

/// A ring's size is a power of two.
///
/// ```
/// static RING: spanlet::ring::Ring<1024> = spanlet::ring::Ring::new();
/// # assert_eq!(RING.full(), 0);
/// ```
/// ```compile_fail,E0080
/// static RING: spanlet::ring::Ring<1000> = spanlet::ring::Ring::new();
/// # assert_eq!(RING.full(), 0);
/// ```
#[doc(hidden)]
pub struct RingSize;

/// A span's inline buffer is whole groups of four words.
///
/// ```
/// use spanlet::{InlineBuf, SpanBuf};
/// let _ = InlineBuf::<20>::new();
/// ```
/// ```compile_fail,E0080
/// use spanlet::{InlineBuf, SpanBuf};
/// let _ = InlineBuf::<21>::new();
/// ```
#[doc(hidden)]
pub struct SpanBuffer;

/// A span of a thread-local recorder moves to another thread; one of a recorder for one thread does not.
///
/// ```
/// fn sent<T: Send>(_: T) {}
/// # let tracer: spanlet::testing::TestTracer = spanlet::testing::TestTracer::new();
/// sent(spanlet::span!("global"));
/// ```
/// ```compile_fail,E0277
/// fn sent<T: Send>(_: T) {}
/// # let tracer: spanlet::testing::TestTracer = spanlet::testing::TestTracer::new();
/// sent(tracer.span("local").start::<spanlet::InlineBuf<32>>());
/// ```
#[doc(hidden)]
pub struct SpansThatMove;

/// Attribute keys are constant; data goes into values (or through `set_attribute_copied`, on purpose).
///
/// ```
/// let mut span = spanlet::span!("s");
/// let key = String::from("user");
/// span.set_attribute_copied(&key, 1);
/// ```
/// ```compile_fail,E0597
/// let mut span = spanlet::span!("s");
/// let key = String::from("user");
/// span.set_attribute(&key, 1);
/// ```
#[doc(hidden)]
pub struct Keys;

/// Baggage leaves only through an allow-list.
///
/// ```
/// use spanlet::context::{Baggage, FixedCarrier, TraceStateText, propagator::inject_w3c};
/// # let cx = spanlet::context::traceparent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
/// let baggage = Baggage::parse([&b"userId=7,secret=x"[..]]);
/// let mut out = [0; 64];
/// let mut headers = FixedCarrier::<4, 256>::new();
/// let allowed = baggage.encode_allowed(&["userId"], &mut out);
/// inject_w3c(&mut headers, &cx, TraceStateText::default(), allowed)?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
/// ```compile_fail,E0308
/// use spanlet::context::{Baggage, FixedCarrier, TraceStateText, propagator::inject_w3c};
/// # let cx = spanlet::context::traceparent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
/// let baggage = Baggage::parse([&b"userId=7,secret=x"[..]]);
/// let mut out = [0; 64];
/// let mut headers = FixedCarrier::<4, 256>::new();
/// let allowed = "userId=7,secret=x";
/// inject_w3c(&mut headers, &cx, TraceStateText::default(), allowed)?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[doc(hidden)]
pub struct BaggageOnTheWayOut;

/// An id is valid or is not there.
///
/// ```
/// let id: Option<spanlet::SpanId> = spanlet::SpanId::from_bytes([0; 8]);
/// # assert!(id.is_none());
/// ```
/// ```compile_fail,E0308
/// let id: spanlet::SpanId = spanlet::SpanId::from_bytes([0; 8]);
/// # assert!(id.is_none());
/// ```
#[doc(hidden)]
pub struct Ids;
