//! From the ring to the link.
//!
//! Input: a [`RecordSource`]. Output: frames, written to an `embedded_io::Write` (with the feature
//! `async` also to an `embedded_io_async::Write`), or handed out one by one for datagrams. Bound: one call
//! writes at most the frames that it was allowed; nothing here waits but the writer.
//!
//! A lost link is not flooded: at most [`MAX_UNACKNOWLEDGED`] records are under way, and what nobody
//! acknowledges is sent again after growing pauses ([`Delivery::Acknowledged`]).

use crate::clock::{Clock, Ticks};
use crate::frame::{
    ClockPong, DeviceCounters, Epoch, Frame, FrameEncoder, Link, MAX_UNACKNOWLEDGED, Message, Push,
};
use crate::record::LocalRecord;

/// Doublings of the pause before what is not acknowledged is sent again.
const MAX_DOUBLINGS: u8 = 6;

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
    /// The counters. Of `unsendable` the drain keeps count itself and adds to it, unless the source does.
    fn counters(&mut self) -> DeviceCounters;
    /// Counts a record that no frame takes, in its own counters, which outlive the drain. `false`: it does not.
    fn count_unsendable(&mut self) -> bool {
        false
    }
}

/// When a record counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// When it has been written. For links without a way back.
    OneWay,
    /// When the host has acknowledged it. Until then it stays in the source, which must be one that keeps
    /// records; one that finds no room there is refused and counted.
    ///
    /// What was not acknowledged is sent again, all of it, when for this long nothing new was. While the
    /// host says nothing at all the pause doubles each time, up to 64 times its length; any
    /// acknowledgement, and be it one that a [`heartbeat`](Drain::heartbeat) brought about, makes it short again.
    Acknowledged {
        /// In ticks of the clock. Longer than a frame and its acknowledgement take, with what the link has
        /// queued before them.
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
#[repr(C)]
pub struct Drain<const BUFFER: usize, const SYMBOLS: usize> {
    delivery: Delivery,
    /// One past the last record that was put into a frame.
    next: u32,
    /// One past the last acknowledged.
    acknowledged: u32,
    /// When the last acknowledgement came, or the first record after it went.
    waiting_since: Ticks,
    /// One past the furthest record that was ever looked at; `next` goes back for what is sent again.
    furthest: u32,
    /// First and one past the last of the first numbers between `acknowledged` and `next` that no frame
    /// carries.
    hole: Option<(u32, u32)>,
    /// How often was sent again since the host said something.
    resends: u8,
    /// Numbers passed over, without those that were never sent. A hole that has not been passed yet makes it less
    /// than it will be, modulo 2^32.
    let_go: u32,
    /// The most that this has been: records that were sent, and gone before they could be sent again.
    gone_unacknowledged: u32,
    /// Inside a frame that is being written, or was when its future was dropped.
    is_writing: bool,
    unsendable: u32,
    heartbeat: bool,
    /// Last, for its length.
    encoder: FrameEncoder<BUFFER, SYMBOLS>,
}

impl<const BUFFER: usize, const SYMBOLS: usize> Drain<BUFFER, SYMBOLS> {
    /// A drain that has sent nothing. Its first frame is a [`heartbeat`](Self::heartbeat) if there are no
    /// records.
    pub const fn new(epoch: Epoch, link: Link, delivery: Delivery) -> Self {
        Drain {
            encoder: FrameEncoder::with(epoch, link, true),
            delivery,
            next: 0,
            acknowledged: 0,
            waiting_since: Ticks(0),
            furthest: 0,
            hole: None,
            let_go: 0,
            gone_unacknowledged: 0,
            resends: 0,
            is_writing: false,
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
        // A frame that was cut short is given up by the next call that writes, and this with it.
        !self.is_writing && self.encoder.message(message)
    }
    /// Handles a frame from the host as [`handle`](Self::handle) does its message. One that is meant for
    /// another boot is passed over: its acknowledgements are not about this boot's records.
    pub fn handle_frame(
        &mut self,
        source: &mut impl RecordSource,
        frame: &Frame<'_>,
        received_at: Ticks,
    ) -> Option<ClockPong> {
        match frame.message() {
            Some(message) if frame.epoch() == self.encoder.epoch() => {
                self.handle(source, message, received_at)
            }
            _ => None,
        }
    }
    /// Handles a message from the host, from a frame of this epoch, and returns what to answer it with
    /// ([`message`](Self::message) sends it). Hellos and commands are the caller's.
    pub fn handle(
        &mut self,
        source: &mut impl RecordSource,
        message: &Message<'_>,
        received_at: Ticks,
    ) -> Option<ClockPong> {
        match message {
            Message::Ack(ack) => self.acknowledge(source, ack.next, received_at),
            Message::SendDictionary => {
                self.encoder.announce_again();
                self.heartbeat = true;
            }
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
    fn acknowledge(&mut self, source: &mut impl RecordSource, next: u32, at: Ticks) {
        // Between the last acknowledged and the last sent, else it is old.
        let mut ahead = next.wrapping_sub(self.acknowledged);
        if self.delivery == Delivery::OneWay
            || ahead > self.furthest.wrapping_sub(self.acknowledged)
        {
            return;
        }
        // The host hears this device.
        self.resends = 0;
        if ahead == 0 {
            return;
        }
        if let Some((start, end)) = self.hole
            && start.wrapping_sub(self.acknowledged) <= ahead
        {
            // The host cannot know that nothing comes there before it is told.
            let passed = end.wrapping_sub(self.acknowledged).max(ahead);
            self.let_go = self.let_go.wrapping_add(passed - ahead);
            ahead = passed;
            self.hole = None;
            self.heartbeat = true;
        }
        // What was about to be sent again, and has arrived after all.
        while self.next.wrapping_sub(self.acknowledged) < ahead
            && let Some((sequence, _)) = source.peek()
            && sequence.wrapping_sub(self.acknowledged) < ahead
        {
            source.advance();
            self.next = sequence.wrapping_add(1);
        }
        self.acknowledged = self.acknowledged.wrapping_add(ahead);
        if self.next.wrapping_sub(self.acknowledged) > 1 << 31 {
            self.next = self.acknowledged;
        }
        self.waiting_since = at;
        source.release_before(self.acknowledged);
    }

    /// The next frame, stamped with the time; `None` when the source is empty. For datagrams: send it and
    /// report a failure with [`failed`](Self::failed). In one-way mode records count as delivered when
    /// the call after gives the next frame or none.
    ///
    /// Bound: does not wait. Takes one frame's worth of records, at most `BUFFER` bytes of them, and moves each
    /// byte three times (encode, CRC, COBS); records too large for any frame are passed over besides.
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
    #[inline(never)]
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
                } else if now.0.saturating_sub(self.waiting_since.0)
                    >= doubled(resend_after_ticks, self.resends)
                {
                    self.waiting_since = now;
                    self.resends = (self.resends + 1).min(MAX_DOUBLINGS);
                    self.resend(source);
                }
            }
        }
        let oldest = |drain: &Self| match drain.delivery {
            Delivery::OneWay => None,
            Delivery::Acknowledged { .. } => Some(drain.acknowledged),
        };
        let mut is_full = false;
        while let Some((sequence, record)) = source.peek() {
            if oldest(self).is_some_and(|o| sequence.wrapping_sub(o) >= MAX_UNACKNOWLEDGED) {
                if self.acknowledged != self.next {
                    break;
                }
                // Nothing is under way: it is a gap that is so wide.
                self.pass_over(source, sequence);
                self.next = sequence;
                self.reach(sequence);
                continue;
            }
            let mut carried = sequence;
            match self.encoder.push(sequence, &record) {
                Push::Taken => {}
                Push::Full => {
                    is_full = true;
                    break;
                }
                Push::TooLarge => carried = sequence.wrapping_add(1),
            }
            source.advance();
            if self.next != carried {
                self.pass_over(source, carried);
            }
            self.next = sequence.wrapping_add(1);
            if self.reach(sequence) {
                self.furthest = self.next;
                if carried == self.next {
                    self.let_go = self.let_go.wrapping_sub(1);
                    if !source.count_unsendable() {
                        self.unsendable = self.unsendable.wrapping_add(1);
                    }
                    // So that the host hears of it even if nothing follows.
                    self.heartbeat = true;
                }
            }
        }
        if is_full || self.heartbeat || self.encoder.record_count() != 0 {
            let mut counters = source.counters();
            counters.unsendable = counters.unsendable.wrapping_add(self.unsendable);
            if oldest(self).is_some() {
                if self.let_go.wrapping_sub(self.gone_unacknowledged) < 1 << 31 {
                    self.gone_unacknowledged = self.let_go;
                }
                counters.overwritten = counters.overwritten.wrapping_add(self.gone_unacknowledged);
            }
            self.encoder.finish_at(self.next, oldest(self), &counters);
            self.heartbeat = false;
        }
    }
    /// Whether nothing from `sequence` on has been looked at before; what lies between was never sent.
    fn reach(&mut self, sequence: u32) -> bool {
        let ahead = sequence.wrapping_sub(self.furthest);
        let is_new = ahead < 1 << 31;
        if is_new {
            self.furthest = sequence;
            self.let_go = self.let_go.wrapping_sub(ahead);
        }
        is_new
    }
    /// No frame carries the numbers from `next` to before `end`: they count as acknowledged when all
    /// before them is.
    fn pass_over(&mut self, source: &mut impl RecordSource, end: u32) {
        if self.acknowledged == self.next {
            self.let_go = self.let_go.wrapping_add(end.wrapping_sub(self.next));
            self.acknowledged = end;
            source.release_before(end);
        } else {
            match &mut self.hole {
                None => self.hole = Some((self.next, end)),
                Some((_, to)) if *to == self.next => *to = end,
                // Found again when all before it has been acknowledged and it is sent again.
                Some(_) => {}
            }
        }
    }
    fn resend(&mut self, source: &mut impl RecordSource) -> bool {
        let again = source.rewind();
        if again {
            self.next = self.acknowledged;
            self.hole = None;
            // Whoever lost the records may have lost the texts.
            self.encoder.announce_again();
        } else {
            self.acknowledged = self.next;
        }
        again
    }
    /// The frame that [`next_frame`](Self::next_frame) gave did not go out. Returns whether its records come again.
    pub fn failed(&mut self, source: &mut impl RecordSource) -> bool {
        self.encoder.abandon();
        self.is_writing = false;
        self.heartbeat = true;
        self.resend(source)
    }
}

/// `ticks` doubled so many times, or for ever. (By additions: a checked 64-bit product takes half a kilobyte on an M0.)
fn doubled(mut ticks: u64, times: u8) -> u64 {
    for _ in 0..times {
        ticks = ticks.saturating_add(ticks);
    }
    ticks
}

/// The two loops, which differ in `.await` alone.
macro_rules! drain_with {
    ($link:ident, $self:ident, $source:ident, $clock:ident, $max:ident, $($await:tt)*) => {{
        let mut done = Drained::default();
        if $self.is_writing {
            $self.failed($source);
        }
        let cause = 'failed: {
            loop {
                if done.frames == $max {
                    done.is_limited = true;
                    break;
                }
                $self.is_writing = true;
                let Some(frame) = $self.next_frame($source, $clock) else {
                    $self.is_writing = false;
                    break;
                };
                let bytes = frame.len();
                if let Err(cause) = $link.write_all(frame)$($await)* {
                    break 'failed cause;
                }
                $self.is_writing = false;
                done.frames += 1;
                done.bytes += bytes;
            }
            if done.frames != 0
                && let Err(cause) = $link.flush()$($await)*
            {
                break 'failed cause;
            }
            if $self.delivery == Delivery::OneWay && !$self.encoder.has_frame() {
                $source.release_before($self.next);
                $self.acknowledged = $self.next;
            }
            return Ok(done);
        };
        let will_resend = $self.failed($source);
        Err(DrainError { cause, frames: done.frames, will_resend })
    }};
}

impl<const BUFFER: usize, const SYMBOLS: usize> Drain<BUFFER, SYMBOLS> {
    /// Writes what the source has, in at most `max_frames` frames, one `write_all` each, and flushes once. On a
    /// byte stream one delimiter goes in front after a failure and at the very beginning.
    ///
    /// Bound: blocks for as long as the writer takes for `max_frames` times the link's MTU (at most `BUFFER`
    /// bytes), each with the 6 bytes or 1 in 254 that COBS adds, and one byte: with a blocking UART of
    /// 115,200 baud and an MTU of 128, 12 ms a frame. What the source keeps while this runs is what it takes
    /// in the meantime; traced code never waits for it.
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
    /// As [`drain`](Self::drain), waiting for the link by `await`: between two of them it takes what
    /// [`next_frame`](Self::next_frame) takes.
    ///
    /// The future may be dropped (a `select` with a timeout). If that leaves a frame half written, the next
    /// call ends it with a delimiter; its records come again, or are lost on the link if the source does not
    /// keep them. A message that was on its way is lost.
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
