//! Traced boundaries: where a firmware leaves its own code, a span without a line at the call.
//!
//! [`Traced`] wraps a bus, device or stream and implements the traits that it implements, so that a
//! driver takes it in place of what is inside; [`TaskTrace`] watches the tasks of `embassy-executor`. Input: calls.
//! Output: a span for each. Bound: 16 words of entries a span; nothing is allocated, nothing is added to the
//! bytes on the wire.
//!
//! # Names
//! OpenTelemetry's semantic conventions have no words for buses. What they have is used (`hw.name`,
//! `error.type`, the status); the rest is under `i2c.`, `spi.`, `io.`, `task.` and `executor.`:
//!
//! | trait, feature | spans, kind Client | attributes |
//! |---|---|---|
//! | `I2c`, `embedded-hal`, `-async` | `i2c read`, `i2c write`, `i2c write_read`, `i2c transaction` | `i2c.address`, `i2c.bytes_written`, `i2c.bytes_read`, `i2c.operations` (of a transaction) |
//! | `SpiDevice`, `SpiBus`, `embedded-hal`, `-async` | `spi read`, `spi write`, `spi transfer`, `spi transfer_in_place`, `spi transaction`, `spi flush` | `spi.bytes_written`, `spi.bytes_read`, `spi.operations` (of a transaction) |
//! | `Read`, `Write` of `embedded-io`; of `-async`: `async` | `io read`, `io read_exact`, `io write`, `io write_all`, `io flush` | `io.bytes_read`, `io.bytes_written` |
//! | `embassy-executor`'s `trace` | `task poll`, kind Internal | `task.id`, `task.name`, `executor.id` |
//!
//! - `hw.name`: what [`Traced::named`] was given.
//! - A failure sets status Error and `error.type`: the error's kind in snake case (`arbitration_loss`,
//!   `no_acknowledge_address`, `timed_out`), `_OTHER` for those without one.
//! - A future that is dropped before it is done leaves `error.type` = `cancelled` and the status as it was:
//!   whoever gave up knows whether that was a failure.
//! - Bytes are those asked for on a bus (which transfers all or fails), those that went on a stream; none on a
//!   stream that failed. An address is that of the call, without the read bit.
//!
//! A span is a child of the current context, goes through the recorder's sampler, and is current while the
//! device works, so that a traced bus inside a traced device shows as its child.

#[cfg(feature = "embedded-hal")]
mod bus;
mod stream;
mod tasks;

pub use tasks::{TaskNamesFullError, TaskTrace};

use crate::attribute::Value;
use crate::record::{SpanKind, Status};
use crate::recorder::Recorder;
use crate::span::{InlineBuf, Span, SpanBuilder};

/// A bus, device or stream whose operations are spans.
///
/// `R` is where the spans go: a `&'static` [`Tracer`](crate::Tracer), or [`Global`](crate::Global) in a library. The
/// traits that it implements are in [the table](self#names); others are reached through [`inner_mut`](Self::inner_mut).
/// Do not wrap the stream that spans are drained into: each frame would make more spans.
///
/// Cost: a span with three integer attributes, and one change of the current context.
///
/// ```
/// use embedded_io::Write;
/// use spanlet::{boundary::Traced, testing::TestTracer};
/// # let tracer: TestTracer = TestTracer::new();
/// # let tracer = &tracer;
/// let mut buffer = [0; 8];
/// let mut uart = Traced::new(&mut buffer[..], tracer).named("modem");
/// uart.write_all(b"AT\r\n")?;
/// assert_eq!(uart.into_inner().len(), 4);
/// # tracer.with_spans(|s| {
/// #     let span = s.named("io write_all").unwrap();
/// #     assert!(span.attributes().any(|kv| kv.key == "io.bytes_written"));
/// # });
/// # Ok::<(), embedded_io::SliceWriteError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Traced<D, R> {
    inner: D,
    recorder: R,
    name: &'static str,
}

impl<D, R> Traced<D, R> {
    /// Wraps `inner`.
    pub const fn new(inner: D, recorder: R) -> Self {
        Traced {
            inner,
            recorder,
            name: "",
        }
    }
    /// Sets what its spans carry as `hw.name`: the part or the port, such as `"bme280"`. 16 bytes a span.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }
    /// What is inside.
    pub const fn inner(&self) -> &D {
        &self.inner
    }
    /// What is inside; what is done with it is not traced.
    pub const fn inner_mut(&mut self) -> &mut D {
        &mut self.inner
    }
    /// What was inside.
    pub fn into_inner(self) -> D {
        self.inner
    }
}

impl<D, R: Recorder> Traced<D, R> {
    /// An operation that begins, and what it is done with.
    #[inline]
    fn call(&mut self, operation: &'static str) -> (Call<R>, &mut D) {
        let mut span: CallSpan<R> = SpanBuilder::new(self.recorder, operation)
            .kind(SpanKind::Client)
            .start();
        if !self.name.is_empty() {
            span.set_static("hw.name", self.name);
        }
        (
            Call {
                span,
                is_done: false,
            },
            &mut self.inner,
        )
    }
}

/// Six attributes at most, each of two words, and the counts of what was dropped.
type CallSpan<R> = Span<R, InlineBuf<16>>;

/// An operation under way.
struct Call<R: Recorder> {
    span: CallSpan<R>,
    is_done: bool,
}

impl<R: Recorder> Call<R> {
    /// An attribute that counts, if there is anything to count.
    #[inline]
    fn count(&mut self, key: &'static str, n: usize) {
        if n > 0 {
            self.span
                .set_attribute(key, i64::try_from(n).unwrap_or(i64::MAX));
        }
    }
    /// It is done, or failed in this way.
    #[inline]
    fn finish(&mut self, error: Option<&'static str>) {
        self.is_done = true;
        if let Some(kind) = error {
            self.failed(kind);
        }
        self.span.end();
    }
    #[cold]
    fn failed(&mut self, kind: &'static str) {
        self.span
            .set_attribute("error.type", Value::Static(kind))
            .set_status(Status::Error);
    }
}

impl<R: Recorder> Drop for Call<R> {
    fn drop(&mut self) {
        if !self.is_done && self.span.is_recording() && !self.span.recorder().is_unwinding() {
            self.span.set_static("error.type", "cancelled");
        }
    }
}

/// Runs an operation in its call's span: `(sync …)` or `(async …)`.
macro_rules! run {
    (sync $call:ident, $operation:expr) => {
        $call.span.run(|_| $operation)
    };
    (async $call:ident, $operation:expr) => {
        $crate::instrumented::within(&mut $call.span, $operation).await
    };
}
/// A function that is one, or async.
macro_rules! function {
    (sync $($rest:tt)*) => { #[inline] fn $($rest)* };
    (async $($rest:tt)*) => { #[inline] async fn $($rest)* };
}
use {function, run};
