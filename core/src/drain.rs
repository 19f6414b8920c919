//! From the ring to the link.
//!
//! Input: a [`RecordSource`]. Output: frames, written to an `embedded_io::Write` (with the feature
//! `async` also to an `embedded_io_async::Write`), or handed out one by one for datagrams. Bound: one call
//! writes at most the frames that it was allowed; nothing here waits but the writer.

use crate::clock::{Clock, Ticks};
use crate::frame::{ClockPong, DeviceCounters, Epoch, FrameEncoder, Link, Message, Push};
use crate::record::LocalRecord;

/// Where the drain takes records from: the reading end of a ring, or of several.
///
/// Records are numbered modulo 2^32 in the order in which they come; a number that is left out counts as
/// lost unless one of the counters explains it.
pub trait RecordSource {
    /// The next record and its sequence, without taking it.
    fn peek(&mut self) -> Option<(u32, LocalRecord<'_>)>;
    /// Steps over the record that [`peek`](Self::peek) gave. A source that cannot keep records frees it.
    fn advance(&mut self);
    /// The records before `next` have been delivered and are not needed again.
    fn release_before(&mut self, next: u32);
    /// Goes back to the first record that was not released. `false`: this source does not keep records,
    /// and nothing changed.
    fn rewind(&mut self) -> bool;
    /// The counters. Of `unsendable` the drain keeps count itself and adds to it.
    fn counters(&mut self) -> DeviceCounters;
}

/// When a record counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// When it has been written. For links without a way back.
    OneWay,
    /// When the host has acknowledged it. Until then it stays in the source; without an acknowledgement
    /// for that long, all that was not acknowledged is sent again.
    Acknowledged {
        /// In ticks of the clock.
        resend_after_ticks: u64,
    },
}

/// What a call of [`Drain::drain`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Drained {
    /// Frames written.
    pub frames: u32,
    /// Bytes written.
    pub bytes: usize,
    /// Whether the allowance ended it, and more may be waiting.
    pub is_limited: bool,
}

/// The link did not take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainError<E> {
    /// What the writer said.
    pub cause: E,
    /// Frames that went before.
    pub frames: u32,
    /// Whether the records of the frame come again; else they are lost, and the host sees the gap.
    pub will_resend: bool,
}

impl<E: core::fmt::Display> core::fmt::Display for DrainError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let then = if self.will_resend {
            "its records will be sent again"
        } else {
            "its records are lost"
        };
        write!(
            f,
            "link failed after {} frames ({then}): {}",
            self.frames, self.cause
        )
    }
}
impl<E: core::error::Error + 'static> core::error::Error for DrainError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Takes records from a source into frames and onto a link. `BUFFER` and `SYMBOLS` are the
/// [`FrameEncoder`]'s.
///
/// To be called from one task or the idle loop, not from an interrupt.
///
/// ```
/// use spanlet::drain::{Delivery, Drain};
/// use spanlet::frame::{Epoch, Link};
/// use spanlet::testing::ManualClock;
/// use spanlet::{AlwaysOn, DeviceIds, InlineBuf, Span, Tracer};
///
/// static TRACER: Tracer<ManualClock, DeviceIds, AlwaysOn, 4096> =
///     Tracer::new(ManualClock::new(), DeviceIds::new(1, 1), AlwaysOn);
/// drop::<Span<_, InlineBuf<20>>>(TRACER.span("read sensor").start());
///
/// let mut records = TRACER.records().expect("nobody else drains");
/// let mut drain = Drain::<256, 32>::new(Epoch(1), Link::stream(), Delivery::OneWay);
/// # let mut memory = [0u8; 512];
/// # let mut uart: &mut [u8] = &mut memory;
/// // In the idle loop: four frames at most, then back to work.
/// let done = drain.drain(&mut records, &mut uart, TRACER.clock(), 4).expect("the link took it");
/// assert_eq!(done.frames, 1);
/// ```
#[derive(Debug)]
pub struct Drain<const BUFFER: usize, const SYMBOLS: usize> {
    encoder: FrameEncoder<BUFFER, SYMBOLS>,
    delivery: Delivery,
    /// One past the last record that was put into a frame.
    next: u32,
    /// One past the last acknowledged.
    acknowledged: u32,
    /// When the last acknowledgement came, or the first record after it went.
    waiting_since: Ticks,
    /// One past the furthest record that was ever looked at; `next` goes back for what is sent again.
    furthest: u32,
    /// A record between `acknowledged` and `next` that no frame takes, and that is not counted yet.
    skipped: Option<u32>,
    unsendable: u32,
    heartbeat: bool,
}

impl<const BUFFER: usize, const SYMBOLS: usize> Drain<BUFFER, SYMBOLS> {
    /// A drain that has sent nothing. Its first frame is a [`heartbeat`](Self::heartbeat) if there are no
    /// records.
    pub const fn new(epoch: Epoch, link: Link, delivery: Delivery) -> Self {
        Drain {
            encoder: FrameEncoder::new(epoch, link),
            delivery,
            next: 0,
            acknowledged: 0,
            waiting_since: Ticks(0),
            furthest: 0,
            skipped: None,
            unsendable: 0,
            heartbeat: true,
        }
    }
    /// The encoder, to look at.
    pub const fn encoder(&self) -> &FrameEncoder<BUFFER, SYMBOLS> {
        &self.encoder
    }
    /// When a record counts as delivered.
    pub const fn delivery(&self) -> Delivery {
        self.delivery
    }
    /// Sends a frame with the next call even if there are no records: counters, and a text in turn. To be
    /// called every few seconds, so that the host sees what the last frame before a silence lost.
    pub fn heartbeat(&mut self) {
        self.heartbeat = true;
    }
    /// Queues a message (a hello, an answer) as the next frame. `false`: other frames must go first.
    #[must_use = "a message that was not taken is not sent"]
    pub fn message(&mut self, message: &Message<'_>) -> bool {
        self.encoder.message(message)
    }
    /// Handles a message from the host, and returns what to answer it with
    /// ([`message`](Self::message) sends it). Hellos and commands are the caller's.
    pub fn handle(
        &mut self,
        source: &mut impl RecordSource,
        message: &Message<'_>,
        received_at: Ticks,
    ) -> Option<ClockPong> {
        match message {
            Message::Ack(ack) => {
                // Between the last acknowledged and the last sent, else it is old or of another epoch.
                let ahead = ack.next.wrapping_sub(self.acknowledged);
                if ahead <= self.next.wrapping_sub(self.acknowledged) && ahead != 0 {
                    self.acknowledged = ack.next;
                    self.waiting_since = received_at;
                    if matches!(self.delivery, Delivery::Acknowledged { .. }) {
                        if self.skipped == Some(ack.next) && ack.next != self.next {
                            self.give_up(ack.next);
                        }
                        source.release_before(self.acknowledged);
                    }
                }
            }
            Message::SendDictionary => self.encoder.announce_again(),
            Message::ClockPing(ping) => {
                return Some(ClockPong {
                    id: ping.id,
                    host_unix_nanos: ping.host_unix_nanos,
                    received_at_ticks: received_at.0,
                });
            }
            _ => {}
        }
        None
    }

    /// The next frame, stamped with the time; `None` when the source is empty. For datagrams: send it and
    /// report a failure with [`failed`](Self::failed). In one-way mode records count as delivered when
    /// the call after gives the next frame or none.
    ///
    /// Bound: reads one frame's worth of records.
    pub fn next_frame(
        &mut self,
        source: &mut impl RecordSource,
        clock: &impl Clock,
    ) -> Option<&[u8]> {
        if !self.encoder.has_frame() {
            self.fill(source, clock);
        }
        self.encoder.frame(clock.now())
    }

    /// Fills a frame from the source.
    fn fill(&mut self, source: &mut impl RecordSource, clock: &impl Clock) {
        match self.delivery {
            Delivery::OneWay => {
                source.release_before(self.next);
                self.acknowledged = self.next;
            }
            Delivery::Acknowledged { resend_after_ticks } => {
                let now = clock.now();
                if self.acknowledged == self.next {
                    self.waiting_since = now;
                } else if now.0.saturating_sub(self.waiting_since.0) >= resend_after_ticks {
                    self.waiting_since = now;
                    self.resend(source);
                }
            }
        }
        let mut is_full = false;
        while let Some((sequence, record)) = source.peek() {
            let mut is_unsendable = false;
            match self.encoder.push(sequence, &record) {
                Push::Taken => {}
                Push::Full => {
                    is_full = true;
                    break;
                }
                Push::TooLarge => is_unsendable = true,
            }
            source.advance();
            self.next = sequence.wrapping_add(1);
            let is_first_time = sequence.wrapping_sub(self.furthest) < 1 << 31;
            if is_first_time {
                self.furthest = self.next;
            }
            match self.delivery {
                _ if !is_unsendable => {}
                Delivery::OneWay if is_first_time => self.count_unsendable(),
                Delivery::OneWay => {}
                Delivery::Acknowledged { .. } if sequence == self.acknowledged => {
                    self.give_up(sequence);
                    source.release_before(self.acknowledged);
                }
                // Counted when all before it has arrived: so the host can tell it from what is to come.
                Delivery::Acknowledged { .. } => self.skipped = self.skipped.or(Some(sequence)),
            }
        }
        if is_full || self.heartbeat || self.encoder.record_count() != 0 {
            let mut counters = source.counters();
            counters.unsendable = counters.unsendable.wrapping_add(self.unsendable);
            self.encoder.finish_at(Some(self.next), &counters);
            self.heartbeat = false;
        }
    }
    fn count_unsendable(&mut self) {
        self.unsendable = self.unsendable.wrapping_add(1);
        // So that the host hears of it even if nothing follows.
        self.heartbeat = true;
    }
    /// Counts the first record that is not acknowledged as unsendable, and takes it for acknowledged.
    fn give_up(&mut self, sequence: u32) {
        self.count_unsendable();
        self.acknowledged = sequence.wrapping_add(1);
        self.skipped = None;
    }
    fn resend(&mut self, source: &mut impl RecordSource) -> bool {
        let again = source.rewind();
        if again {
            self.next = self.acknowledged;
            self.skipped = None;
            // Whoever lost the records may have lost the texts.
            self.encoder.announce_again();
        }
        again
    }
    /// The frame that [`next_frame`](Self::next_frame) gave did not go out. Returns whether its records come again.
    pub fn failed(&mut self, source: &mut impl RecordSource) -> bool {
        self.encoder.abandon();
        self.heartbeat = true;
        self.resend(source)
    }
}

/// The two loops, which differ in `.await` alone.
macro_rules! drain_with {
    ($link:ident, $self:ident, $source:ident, $clock:ident, $max:ident, $($await:tt)*) => {{
        let mut done = Drained::default();
        loop {
            if done.frames == $max {
                done.is_limited = true;
                break;
            }
            let Some(frame) = $self.next_frame($source, $clock) else {
                break;
            };
            let bytes = frame.len();
            if let Err(cause) = $link.write_all(frame)$($await)* {
                let will_resend = $self.failed($source);
                return Err(DrainError { cause, frames: done.frames, will_resend });
            }
            done.frames += 1;
            done.bytes += bytes;
        }
        if done.frames != 0
            && let Err(cause) = $link.flush()$($await)*
        {
            let will_resend = $self.failed($source);
            return Err(DrainError { cause, frames: done.frames, will_resend });
        }
        if $self.delivery == Delivery::OneWay && !$self.encoder.has_frame() {
            $source.release_before($self.next);
            $self.acknowledged = $self.next;
        }
        Ok(done)
    }};
}

impl<const BUFFER: usize, const SYMBOLS: usize> Drain<BUFFER, SYMBOLS> {
    /// Writes what the source has, in at most `max_frames` frames of at most `BUFFER` bytes, one
    /// `write_all` each, and flushes once.
    ///
    /// # Errors
    /// [`DrainError`] when the writer fails: what was read and not released is read again by the next
    /// call if the source keeps records.
    pub fn drain<W: embedded_io::Write>(
        &mut self,
        source: &mut impl RecordSource,
        link: &mut W,
        clock: &impl Clock,
        max_frames: u32,
    ) -> Result<Drained, DrainError<W::Error>> {
        drain_with!(link, self, source, clock, max_frames,)
    }
}

#[cfg(feature = "async")]
impl<const BUFFER: usize, const SYMBOLS: usize> Drain<BUFFER, SYMBOLS> {
    /// As [`drain`](Self::drain), waiting for the link by `await`. Dropping the future in between may send
    /// a frame in part; call [`failed`](Self::failed) then.
    ///
    /// # Errors
    /// As `drain`.
    pub async fn drain_async<W: embedded_io_async::Write>(
        &mut self,
        source: &mut impl RecordSource,
        link: &mut W,
        clock: &impl Clock,
        max_frames: u32,
    ) -> Result<Drained, DrainError<W::Error>> {
        drain_with!(link, self, source, clock, max_frames, .await)
    }
}
