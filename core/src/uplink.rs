//! A device's end of its link: what goes up and what comes down, in one value.
//!
//! Input: a [`Drain`], its records, and bytes from the host. Output: frames for the link; commands for the
//! application. Bound: one frame each way. The hello, its repetition, heartbeats, acknowledgements and clock pings
//! are seen to here; no input and no output of its own, except in [`run`](Uplink::run), which is the whole of a task.
//! Half of the file is its tests.

use crate::clock::{Clock, Ticks};
use crate::context::SpanContext;
use crate::drain::{Delivery, Drain, DrainError, Drained, RecordSource};
use crate::frame::{Body, ClockPong, Frame, Hello, Message, Progress, StreamDecoder};

/// Seconds between heartbeats.
const HEARTBEAT_SECONDS: u64 = 5;
/// Without a way back nobody can ask for the hello: it goes with every so many heartbeats.
const HELLO_HEARTBEATS: u32 = 4;

/// The hello does not fit a frame of the drain's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct HelloTooLargeError;

impl core::fmt::Display for HelloTooLargeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the hello does not fit the drain's buffer; enlarge it, or say less")
    }
}
impl core::error::Error for HelloTooLargeError {}

/// What a link's lower layers have lost; see [`Uplink::link_errors`]. The counts stop at their ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LinkErrors {
    /// Frames from the host that were damaged, longer than `DOWN`, or of another version.
    pub damaged: u32,
    /// Frames from the host that were meant for an earlier boot.
    pub other_epoch: u32,
    /// [`Uplink::run`]: reads that failed.
    pub reads: u32,
    /// [`Uplink::run`]: writes that failed.
    pub writes: u32,
}

/// A device's end of its link. `S` is where the records are; `BUFFER` and `SYMBOLS` are the [`Drain`]'s; frames from
/// the host have at most `DOWN` bytes, a command's payload about 48 less.
///
/// RAM: the drain, `DOWN` bytes and about 150.
///
/// ```
/// use spanlet::drain::{Delivery, Drain};
/// use spanlet::frame::{Epoch, Hello, Link, ResourceAttributes};
/// use spanlet::testing::ManualClock;
/// use spanlet::{AlwaysOn, Clock, DeviceIds, InlineBuf, Span, SpanKind, Tracer, Uplink};
///
/// static TRACER: Tracer<ManualClock, DeviceIds, AlwaysOn, 4096> =
///     Tracer::new(ManualClock::new(), DeviceIds::new(1, 1), AlwaysOn);
/// let hello = Hello {
///     device_id: "thermostat-17",
///     build_id: b"1.2.0",
///     tick_hz: TRACER.clock().rate().as_hz(),
///     capabilities: Hello::COMMANDS,
///     scope_name: "thermostat",
///     scope_version: "1.2.0",
///     scope_schema_url: "",
///     resource: ResourceAttributes::default(),
/// };
/// let delivery = Delivery::Acknowledged { resend_after_ticks: TRACER.clock().rate().as_hz() };
/// let drain = Drain::<512, 64>::new(Epoch(1), Link::stream(), delivery);
/// let mut uplink: Uplink<_, 512, 64> =
///     Uplink::new(drain, TRACER.records().expect("nobody else drains"), hello)?;
/// # let mut memory = [0u8; 512];
/// # let mut uart: &mut [u8] = &mut memory;
/// # let received: &[u8] = &[];
/// // In the idle loop, or in a task of its own:
/// uplink.receive(received, TRACER.clock().now(), |caller, payload| {
///     let mut span: Span<_, InlineBuf<20>> =
///         TRACER.span("actuate").parent(&caller).kind(SpanKind::Server).start();
///     span.set_attribute("messaging.message.body.size", payload.len() as i64);
/// });
/// let sent = uplink.send(&mut uart, TRACER.clock(), 4).expect("the link took it");
/// assert_eq!(sent.frames, 2, "the hello, and the counters");
/// # Ok::<(), spanlet::HelloTooLargeError>(())
/// ```
#[derive(Debug)]
pub struct Uplink<'h, S, const BUFFER: usize, const SYMBOLS: usize, const DOWN: usize = 128> {
    drain: Drain<BUFFER, SYMBOLS>,
    records: S,
    hello: Hello<'h>,
    is_hello_due: bool,
    pong: Option<ClockPong>,
    down: StreamDecoder<DOWN>,
    heartbeat_ticks: u64,
    heartbeats: u32,
    last_heartbeat: Option<Ticks>,
    errors: LinkErrors,
}

impl<'h, S: RecordSource, const BUFFER: usize, const SYMBOLS: usize, const DOWN: usize>
    Uplink<'h, S, BUFFER, SYMBOLS, DOWN>
{
    /// An uplink whose first frame is `hello`. With acknowledged delivery, which has a way down, it adds
    /// [`ACKNOWLEDGED`](Hello::ACKNOWLEDGED) and [`CLOCK`](Hello::CLOCK) to the capabilities.
    ///
    /// # Errors
    /// If the hello does not fit the drain's buffer.
    pub fn new(
        mut drain: Drain<BUFFER, SYMBOLS>,
        records: S,
        mut hello: Hello<'h>,
    ) -> Result<Self, HelloTooLargeError> {
        if matches!(drain.delivery(), Delivery::Acknowledged { .. }) {
            hello.capabilities |= Hello::ACKNOWLEDGED | Hello::CLOCK;
        }
        if !drain.message(&Message::Hello(hello)) {
            return Err(HelloTooLargeError);
        }
        Ok(Uplink {
            drain,
            records,
            heartbeat_ticks: hello.tick_hz.saturating_mul(HEARTBEAT_SECONDS),
            hello,
            is_hello_due: false,
            pong: None,
            down: StreamDecoder::new(),
            heartbeats: 0,
            last_heartbeat: None,
            errors: LinkErrors::default(),
        })
    }
    /// Sets the ticks between heartbeats, instead of 5 seconds. A heartbeat is a frame that goes even without records:
    /// the host then knows the counters, and the clock's drift.
    #[must_use]
    pub fn with_heartbeat_ticks(mut self, ticks: u64) -> Self {
        self.heartbeat_ticks = ticks;
        self
    }
    /// Sends a frame with the next call even if there are no records: before a device sleeps, or ends.
    pub fn heartbeat(&mut self) {
        self.drain.heartbeat();
    }
    /// What the lower layers have lost.
    pub fn link_errors(&self) -> LinkErrors {
        LinkErrors {
            damaged: (self.errors.damaged)
                .saturating_add(self.down.oversized_count())
                .saturating_add(self.down.undecodable_count()),
            ..self.errors
        }
    }
    /// The records, for their counters.
    pub fn records(&mut self) -> &mut S {
        &mut self.records
    }

    /// Takes bytes from the host, any number of frames or parts of one, that were read at `received_at`. Each command
    /// is given to `command`: the caller's span, and the application's bytes. What is not for this boot is counted
    /// and dropped.
    ///
    /// Cost: one pass over the bytes; it waits for nothing.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        received_at: Ticks,
        mut command: impl FnMut(SpanContext, &[u8]),
    ) {
        let mut input = bytes;
        while let Progress::Frame(bytes) = self.down.feed(&mut input) {
            let Ok(frame) = Frame::parse(bytes) else {
                self.errors.damaged = self.errors.damaged.saturating_add(1);
                continue;
            };
            let Body::Message(message) = frame.body() else {
                self.errors.damaged = self.errors.damaged.saturating_add(1);
                continue;
            };
            if let Message::SendHello = message {
                self.is_hello_due = true;
            } else if frame.epoch() != self.drain.encoder().epoch() {
                self.errors.other_epoch = self.errors.other_epoch.saturating_add(1);
            } else if let Message::TraceCommand(sent) = message {
                match sent.context() {
                    Some(caller) => command(caller, sent.payload),
                    None => self.errors.damaged = self.errors.damaged.saturating_add(1),
                }
            } else if let Some(pong) = self.drain.handle(&mut self.records, message, received_at) {
                // The newest is the best to know.
                self.pong = Some(pong);
            }
        }
    }

    /// Queues what must go before records. Whether there is more of it.
    fn prepare(&mut self, now: Ticks) -> bool {
        let is_due = |last: Ticks| now.0.saturating_sub(last.0) >= self.heartbeat_ticks;
        if self.last_heartbeat.is_none_or(is_due) {
            self.drain.heartbeat();
            let is_unasked = matches!(self.drain.delivery(), Delivery::OneWay);
            if is_unasked && self.heartbeats % HELLO_HEARTBEATS == HELLO_HEARTBEATS - 1 {
                self.is_hello_due = true;
            }
            self.heartbeats = self.heartbeats.wrapping_add(1);
            self.last_heartbeat = Some(now);
        }
        if self.is_hello_due && self.drain.message(&Message::Hello(self.hello)) {
            self.is_hello_due = false;
        } else if let Some(pong) = self.pong
            && self.drain.message(&Message::ClockPong(pong))
        {
            self.pong = None;
        }
        self.is_hello_due || self.pong.is_some()
    }

    /// The next frame, stamped with the time; `None` when there is nothing to send. For datagrams, as
    /// [`Drain::next_frame`] says; a failure is reported by [`failed`](Self::failed).
    pub fn next_frame(&mut self, clock: &impl Clock) -> Option<&[u8]> {
        self.prepare(clock.now());
        self.drain.next_frame(&mut self.records, clock)
    }
    /// The frame that [`next_frame`](Self::next_frame) gave did not go out. Returns whether its records come again.
    pub fn failed(&mut self) -> bool {
        // It may have been the hello.
        self.is_hello_due = true;
        self.drain.failed(&mut self.records)
    }
}

/// The two loops, which differ in `.await` alone.
macro_rules! send_with {
    ($self:ident, $link:ident, $clock:ident, $max:ident, $drain:ident, $($await:tt)*) => {{
        let mut done = Drained::default();
        loop {
            let has_more = $self.prepare($clock.now());
            let left = $max - done.frames;
            let part = $self.drain.$drain(&mut $self.records, $link, $clock, left)$($await)*;
            let part = match part {
                Ok(part) => part,
                Err(error) => {
                    $self.is_hello_due = true;
                    return Err(DrainError { frames: error.frames + done.frames, ..error });
                }
            };
            done.frames += part.frames;
            done.bytes += part.bytes;
            done.is_limited = part.is_limited;
            if part.is_limited || !has_more {
                return Ok(done);
            }
        }
    }};
}

impl<S: RecordSource, const BUFFER: usize, const SYMBOLS: usize, const DOWN: usize>
    Uplink<'_, S, BUFFER, SYMBOLS, DOWN>
{
    /// Writes what there is to send: at most `max_frames` frames of at most `BUFFER` bytes.
    ///
    /// # Errors
    /// As [`Drain::drain`]: the next call goes on, with the same records if they are kept.
    pub fn send<W: embedded_io::Write>(
        &mut self,
        link: &mut W,
        clock: &impl Clock,
        max_frames: u32,
    ) -> Result<Drained, DrainError<W::Error>> {
        send_with!(self, link, clock, max_frames, drain,)
    }
}

#[cfg(feature = "async")]
impl<S: RecordSource, const BUFFER: usize, const SYMBOLS: usize, const DOWN: usize>
    Uplink<'_, S, BUFFER, SYMBOLS, DOWN>
{
    /// As [`send`](Self::send), waiting for the link by `await`.
    ///
    /// # Errors
    /// As `send`.
    pub async fn send_async<W: embedded_io_async::Write>(
        &mut self,
        link: &mut W,
        clock: &impl Clock,
        max_frames: u32,
    ) -> Result<Drained, DrainError<W::Error>> {
        send_with!(self, link, clock, max_frames, drain_async, .await)
    }

    /// The whole of an uplink task: sends what there is, then reads until something comes or the future of `pause`
    /// is done, and again, for ever. `pause` decides how long records wait, and how many go into a frame:
    /// `|| Timer::after_millis(50)`.
    ///
    /// A read that is given up must lose nothing, as with `embassy`'s buffered UARTs and USB CDC, and
    /// with pipes. Errors of the link are counted ([`link_errors`](Self::link_errors)) and followed by a pause.
    pub async fn run<R, W, P>(
        mut self,
        mut reader: R,
        mut writer: W,
        clock: &impl Clock,
        mut pause: impl FnMut() -> P,
        mut command: impl FnMut(SpanContext, &[u8]),
    ) -> !
    where
        R: embedded_io_async::Read,
        W: embedded_io_async::Write,
        P: Future<Output = ()>,
    {
        /// Between two looks for what has come in.
        const MAX_FRAMES: u32 = 4;
        let mut bytes = [0; 64];
        loop {
            let sent = self.send_async(&mut writer, clock, MAX_FRAMES).await;
            if sent.is_err() {
                self.errors.writes = self.errors.writes.saturating_add(1);
                pause().await;
            }
            match first_of(reader.read(&mut bytes), pause()).await {
                None => {}
                Some(Ok(n @ 1..)) => {
                    let bytes = bytes.get(..n).unwrap_or_default();
                    self.receive(bytes, clock.now(), &mut command);
                }
                Some(_) => {
                    self.errors.reads = self.errors.reads.saturating_add(1);
                    pause().await;
                }
            }
        }
    }
}

/// What `work` gives, or `None` if `limit` is done before; the other is dropped.
#[cfg(feature = "async")]
async fn first_of<F: Future>(work: F, limit: impl Future<Output = ()>) -> Option<F::Output> {
    let (mut work, mut limit) = (core::pin::pin!(work), core::pin::pin!(limit));
    core::future::poll_fn(|cx| match work.as_mut().poll(cx) {
        core::task::Poll::Ready(output) => core::task::Poll::Ready(Some(output)),
        core::task::Poll::Pending => limit.as_mut().poll(cx).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::frame::{
        Ack, ClockPing, Epoch, FrameEncoder, Link, RecordBatch, ResourceAttributes, TraceCommand,
    };
    use crate::testing::ManualClock;
    use crate::{AlwaysOn, DeviceIds, InlineBuf, Span, SpanId, TraceFlags, TraceId, Tracer};
    use std::boxed::Box;
    use std::string::{String, ToString};
    use std::vec::Vec;
    use std::{format, vec};

    type TestTracer = Tracer<ManualClock, DeviceIds, AlwaysOn, 4096>;
    const EPOCH: Epoch = Epoch(9);
    const RESEND: Delivery = Delivery::Acknowledged {
        resend_after_ticks: 1000,
    };

    fn tracer() -> &'static TestTracer {
        Box::leak(Box::new(Tracer::new(
            ManualClock::new(),
            DeviceIds::new(1, 1),
            AlwaysOn,
        )))
    }
    fn hello(device_id: &str) -> Hello<'_> {
        Hello {
            device_id,
            build_id: b"1",
            tick_hz: 1_000_000_000,
            capabilities: Hello::COMMANDS,
            scope_name: "",
            scope_version: "",
            scope_schema_url: "",
            resource: ResourceAttributes::default(),
        }
    }
    fn uplink(
        tracer: &'static TestTracer,
        delivery: Delivery,
    ) -> Uplink<'static, impl RecordSource, 256, 16> {
        let drain = Drain::new(EPOCH, Link::stream(), delivery);
        Uplink::new(drain, tracer.records().unwrap(), hello("t")).unwrap()
    }
    fn down(epoch: Epoch, message: &Message<'_>) -> Vec<u8> {
        let mut encoder: FrameEncoder<256, 0> = FrameEncoder::new(epoch, Link::stream());
        assert!(encoder.message(message));
        encoder.frame(Ticks(0)).unwrap().to_vec()
    }
    /// What was sent: a word a frame.
    fn said(bytes: &[u8]) -> Vec<String> {
        let (mut decoder, mut input) = (StreamDecoder::<512>::new(), bytes);
        let mut said = vec![];
        let records = |batch: &RecordBatch<'_>| format!("{}+{}", batch.first(), batch.count());
        while let Progress::Frame(frame) = decoder.feed(&mut input) {
            said.push(match Frame::parse(frame).unwrap().body() {
                Body::Records(batch) => records(batch),
                Body::Message(Message::Hello(h)) => format!("hello {:b}", h.capabilities),
                Body::Message(Message::ClockPong(p)) => format!("pong {}", p.id),
                other => format!("{other:?}"),
            });
        }
        said
    }
    fn sent<S: RecordSource>(
        uplink: &mut Uplink<'_, S, 256, 16>,
        tracer: &TestTracer,
        max: u32,
    ) -> Vec<String> {
        let mut memory = [0; 4096];
        let mut link = &mut memory[..];
        let done = uplink.send(&mut link, tracer.clock(), max).unwrap();
        let left = link.len();
        assert_eq!(done.bytes, 4096 - left);
        said(&memory[..done.bytes])
    }
    fn record(tracer: &'static TestTracer) {
        drop(tracer.span("work").start::<InlineBuf<8>>());
    }

    #[test]
    fn speaks_for_the_device() {
        let tracer = tracer();
        let mut uplink = uplink(tracer, RESEND);
        record(tracer);
        assert_eq!(sent(&mut uplink, tracer, 9), ["hello 111", "0+1"]);
        assert_eq!(sent(&mut uplink, tracer, 9), [""; 0]);

        let (ping, ask) = (
            Message::ClockPing(ClockPing {
                id: 7,
                host_unix_nanos: 1,
            }),
            Message::SendHello,
        );
        let mut bytes = down(EPOCH, &ping);
        bytes.extend(down(Epoch(1), &ask));
        record(tracer);
        // In pieces, as a UART gives them.
        for piece in bytes.chunks(5) {
            uplink.receive(piece, tracer.clock().now(), |_, _| panic!("no command"));
        }
        assert_eq!(sent(&mut uplink, tracer, 9), ["hello 111", "1+1", "pong 7"]);

        uplink.receive(
            &down(EPOCH, &Message::Ack(Ack { next: 2 })),
            Ticks(0),
            |_, _| {},
        );
        tracer.clock().advance(2000);
        assert_eq!(sent(&mut uplink, tracer, 9), [""; 0], "nothing again");
        assert_eq!(uplink.link_errors(), LinkErrors::default());
    }

    #[test]
    fn a_limit_delays_and_loses_nothing() {
        let tracer = tracer();
        let mut uplink = uplink(tracer, RESEND);
        uplink.receive(&down(EPOCH, &Message::SendHello), Ticks(0), |_, _| {});
        record(tracer);
        let turns: Vec<_> = (0..4).flat_map(|_| sent(&mut uplink, tracer, 1)).collect();
        assert_eq!(turns, ["hello 111", "hello 111", "0+1"]);
    }

    #[test]
    fn commands_of_this_boot_reach_the_application() {
        let tracer = tracer();
        let mut uplink = uplink(tracer, RESEND);
        let caller = SpanContext::new(
            TraceId::from_bytes([1; 16]).unwrap(),
            SpanId::from_bytes([2; 8]).unwrap(),
            TraceFlags::SAMPLED,
        );
        let command = Message::TraceCommand(TraceCommand::new(&caller, b"open"));
        let mut bytes = down(EPOCH, &command);
        bytes.extend(down(Epoch(8), &command));
        let mut damaged = down(EPOCH, &command);
        damaged[20] ^= 4;
        bytes.extend(damaged);
        bytes.extend([9, 9, 9, 9, 0]);
        bytes.extend([1; 200]);
        bytes.push(0);
        bytes.extend(down(EPOCH, &command));
        let mut got = vec![];
        uplink.receive(&bytes, Ticks(0), |context, payload| {
            got.push((context, payload.to_vec()));
        });
        let wanted = (caller.remote(), b"open".to_vec());
        assert_eq!(got, [wanted.clone(), wanted]);
        let errors = uplink.link_errors();
        assert_eq!((errors.damaged, errors.other_epoch), (3, 1));
    }

    #[test]
    fn one_way_the_hello_comes_again_by_itself() {
        let tracer = tracer();
        let mut uplink = uplink(tracer, Delivery::OneWay).with_heartbeat_ticks(100);
        let mut hellos = vec![];
        for turn in 0..9 {
            let said = sent(&mut uplink, tracer, 9);
            assert_eq!(said.last().unwrap(), "0+0", "a heartbeat each");
            if said[0].starts_with("hello") {
                hellos.push((turn, said[0].to_string()));
            }
            tracer.clock().advance(100);
        }
        let hello = "hello 100".to_string();
        assert_eq!(hellos, [(0, hello.clone()), (3, hello.clone()), (7, hello)]);
    }

    #[test]
    fn what_a_link_refuses_is_sent_again() {
        let tracer = tracer();
        let mut uplink = uplink(tracer, RESEND);
        record(tracer);
        let mut none: &mut [u8] = &mut [];
        assert!(uplink.send(&mut none, tracer.clock(), 9).is_err());
        assert_eq!(sent(&mut uplink, tracer, 9), ["hello 111", "0+1"]);
    }

    #[test]
    fn a_hello_that_never_fits_is_refused_at_once() {
        let drain: Drain<192, 0> = Drain::new(EPOCH, Link::stream(), RESEND);
        let name = "n".repeat(200);
        let uplink: Result<Uplink<'_, _, 192, 0>, _> =
            Uplink::new(drain, tracer().records().unwrap(), hello(&name));
        assert_eq!(uplink.err(), Some(HelloTooLargeError));
    }

    #[test]
    fn spans_of_a_command_are_the_callers() {
        let tracer = tracer();
        let mut uplink = uplink(tracer, RESEND);
        let caller = SpanContext::new(
            TraceId::from_bytes([1; 16]).unwrap(),
            SpanId::from_bytes([2; 8]).unwrap(),
            TraceFlags::SAMPLED,
        );
        let command = Message::TraceCommand(TraceCommand::new(&caller, b""));
        uplink.receive(&down(EPOCH, &command), Ticks(0), |caller, _| {
            let span: Span<_, InlineBuf<8>> = tracer.span("actuate").parent(&caller).start();
            assert_eq!(span.context().trace_id(), caller.trace_id());
        });
        let (_, record) = uplink.records().peek().unwrap();
        assert_eq!(record.parent_id(), Some(caller.span_id()));
    }

    /// A link whose reader and writer fail when told to.
    #[cfg(feature = "async")]
    mod endless {
        use super::*;
        use core::cell::RefCell;
        use core::pin::pin;
        use core::task::{Context, Waker};
        use std::collections::VecDeque;

        #[derive(Default)]
        struct Wire {
            /// What reads give; an empty one is the end, and without any they wait.
            reads: VecDeque<Result<Vec<u8>, ()>>,
            written: Vec<u8>,
            failures: u32,
            pauses: u32,
        }
        struct End<'w>(&'w RefCell<Wire>);
        impl embedded_io_async::ErrorType for End<'_> {
            type Error = embedded_io_async::ErrorKind;
        }
        impl embedded_io_async::Read for End<'_> {
            async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
                let next = self.0.borrow_mut().reads.pop_front();
                match next {
                    Some(Ok(bytes)) => {
                        buf[..bytes.len()].copy_from_slice(&bytes);
                        Ok(bytes.len())
                    }
                    Some(Err(())) => Err(embedded_io_async::ErrorKind::Other),
                    None => core::future::pending().await,
                }
            }
        }
        impl embedded_io_async::Write for End<'_> {
            async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
                let mut wire = self.0.borrow_mut();
                if let Some(left) = wire.failures.checked_sub(1) {
                    wire.failures = left;
                    return Err(embedded_io_async::ErrorKind::TimedOut);
                }
                wire.written.extend(buf);
                Ok(buf.len())
            }
            async fn flush(&mut self) -> Result<(), Self::Error> {
                Ok(())
            }
        }

        #[test]
        fn the_task_goes_on_after_errors_and_pauses_so_that_others_run() {
            let tracer = tracer();
            record(tracer);
            let command = TraceCommand::new(
                &SpanContext::new(
                    TraceId::from_bytes([1; 16]).unwrap(),
                    SpanId::from_bytes([2; 8]).unwrap(),
                    TraceFlags::SAMPLED,
                ),
                b"on",
            );
            let frame = down(EPOCH, &Message::TraceCommand(command));
            let (first, second) = frame.split_at(20);
            let wire = RefCell::new(Wire {
                reads: [Err(()), Ok(first.to_vec()), Ok(vec![]), Ok(second.to_vec())].into(),
                failures: 1,
                ..Wire::default()
            });
            let commands = RefCell::new(vec![]);
            // Each pause lasts one poll.
            let pause = || {
                wire.borrow_mut().pauses += 1;
                let mut polled = false;
                core::future::poll_fn(move |_| match core::mem::replace(&mut polled, true) {
                    true => core::task::Poll::Ready(()),
                    false => core::task::Poll::Pending,
                })
            };
            let mut task = pin!(uplink(tracer, RESEND).run(
                End(&wire),
                End(&wire),
                tracer.clock(),
                pause,
                |_, payload| commands.borrow_mut().push(payload.to_vec()),
            ));
            let mut polls = 0;
            while commands.borrow().is_empty() && polls < 20 {
                assert!(
                    task.as_mut()
                        .poll(&mut Context::from_waker(Waker::noop()))
                        .is_pending()
                );
                polls += 1;
            }
            assert_eq!(*commands.borrow(), [b"on".to_vec()]);
            // One failed write, one failed read, one end: a poll each at least, so that nobody starves.
            assert!(polls > 3, "{polls}");
            assert_eq!(said(&wire.borrow().written), ["hello 111", "0+1"]);
        }
    }
}
