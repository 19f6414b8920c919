//! Records and messages into frames.
//!
//! Input: [`LocalRecord`]s with their sequence, counters, messages. Output: frames ready for the link, one
//! or, where a content is larger than the MTU, several. Bound: everything happens in one buffer of
//! `BUFFER` bytes inside the encoder; each record is read once, each byte moved once more per frame.
//!
//! The buffer holds `… | content header | records | announcements`. Header and envelope are written in
//! front when they are known, and COBS then works in place towards the front.

use super::crc::crc32;
use super::delimit::{DELIMITER, cobs_in_place, cobs_overhead};
use super::dictionary::Dictionary;
use super::primitive::{Put, VARINT_MAX, varint_len};
use super::put_record::{Pending, Previous, announcement_len, put_record};
use super::session::Message;
use super::{
    CHANNEL, CRC_LEN, DeviceCounters, Epoch, WIRE_VERSION, content_type, envelope_flag, presence,
};
use crate::clock::Ticks;
use crate::record::{LocalRecord, move_down};

/// Channel, version and type, flags, epoch, time of sending.
const ENVELOPE_MAX: usize = 3 + 2 * VARINT_MAX;
/// Id, offset, total.
const FRAGMENT_MAX: usize = 5 + 3 + 3;
/// Presence bits, first sequence, count, what is held, nine counters, length of the records.
const CONTENT_HEADER_MAX: usize = 2 + 5 + 3 + 2 + 9 * 5 + 3;
/// CRC and delimiter.
const TRAILER: usize = CRC_LEN + 1;
/// What is kept for the time of sending: in microseconds 50 days.
const SENT_AT: usize = 6;

/// What the link between device and host is like.
///
/// ```
/// use spanlet::frame::Link;
/// let uart = Link::stream();
/// let lora = Link::datagrams(51).without_fragments();
/// # let _ = (uart, lora);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    delimited: bool,
    fragments: bool,
    mtu: usize,
}

impl Link {
    /// The smallest MTU in bytes.
    pub const MIN_MTU: usize = 48;

    /// A byte stream (UART, TCP, pipe): frames are delimited, and as long as the buffer allows.
    pub const fn stream() -> Self {
        Link {
            delimited: true,
            fragments: true,
            mtu: usize::MAX,
        }
    }
    /// Datagrams of at most `mtu` bytes (at least [`MIN_MTU`](Self::MIN_MTU)): one frame each.
    pub const fn datagrams(mtu: usize) -> Self {
        Link {
            delimited: false,
            fragments: true,
            mtu: if mtu < Self::MIN_MTU {
                Self::MIN_MTU
            } else {
                mtu
            },
        }
    }
    /// The same with frames of at most `mtu` bytes before COBS, so that the receiver's buffer may be small.
    #[must_use]
    pub const fn with_mtu(mut self, mtu: usize) -> Self {
        self.mtu = if mtu < Self::MIN_MTU {
            Self::MIN_MTU
        } else {
            mtu
        };
        self
    }
    /// The same without fragments: a record larger than a frame counts as
    /// [`unsendable`](DeviceCounters::unsendable).
    #[must_use]
    pub const fn without_fragments(mut self) -> Self {
        self.fragments = false;
        self
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a record that was not taken must be pushed again or counted"]
pub enum Push {
    /// It is in the frame.
    Taken,
    /// The frame must go out first ([`FrameEncoder::finish`]); then push the record again.
    Full,
    /// It fits into no frame of this link: count it as [`unsendable`](DeviceCounters::unsendable).
    TooLarge,
}

/// A content on its way into frames.
#[derive(Debug)]
struct Sending {
    kind: u8,
    /// The whole content in the buffer.
    start: usize,
    end: usize,
    /// What has not been sent.
    next: usize,
}

/// Builds frames in a buffer of `BUFFER` bytes, about 100 of which are for headers, with a dictionary of
/// `SYMBOLS` texts. For a host's messages downwards `SYMBOLS` is 0.
///
/// A text is announced in the frame that first uses it, and again in turn, one a frame: of `n` texts a
/// receiver that missed some has all after `n` frames that had room, `5 n` at most.
///
/// ```
/// use spanlet::frame::{DeviceCounters, Epoch, Frame, FrameEncoder, Link, Push};
/// use spanlet::testing::TestTracer;
/// use spanlet::{InlineBuf, Ticks};
/// let tracer: TestTracer = TestTracer::new();
/// tracer.span("read sensor").start::<InlineBuf<16>>().set_attribute("celsius", 21.5);
///
/// let mut encoder: FrameEncoder<256, 16> = FrameEncoder::new(Epoch(7), Link::datagrams(200));
/// tracer.with_spans(|mut spans| {
///     let record = spans.next().expect("one span");
///     assert_eq!(encoder.push(0, &record), Push::Taken);
/// });
/// encoder.finish(&DeviceCounters { started: 1, recorded: 1, ..DeviceCounters::default() });
/// let frame = encoder.frame(Ticks(5)).expect("one frame").to_vec();
/// assert!(encoder.frame(Ticks(5)).is_none());
/// assert!(Frame::parse(&frame).is_ok());
/// ```
#[derive(Debug)]
pub struct FrameEncoder<const BUFFER: usize, const SYMBOLS: usize> {
    buffer: [u8; BUFFER],
    dictionary: Dictionary<SYMBOLS>,
    link: Link,
    epoch: Epoch,
    first: u32,
    count: u32,
    /// Bytes of the records so far.
    len: usize,
    previous: Previous,
    pending: Pending,
    /// What the last content's header took: the guess for the next.
    header_len: usize,
    sending: Option<Sending>,
    /// Contents so far, to tell their fragments apart.
    contents: u32,
    /// What the last time of sending took.
    sent_at_len: usize,
    /// Frames that had no room for the text in turn.
    postponed: u8,
    is_torn: bool,
}

/// Full frames in a row after which the text in turn takes its room first.
const PATIENCE: u8 = 4;

impl<const BUFFER: usize, const SYMBOLS: usize> FrameEncoder<BUFFER, SYMBOLS> {
    /// Where records start in the buffer: behind room for everything that comes before them.
    const START: usize =
        1 + cobs_overhead(BUFFER) + ENVELOPE_MAX + FRAGMENT_MAX + CONTENT_HEADER_MAX + TRAILER;

    /// An encoder with an empty dictionary. The buffer must be at least 192 bytes and below 1 MiB.
    pub const fn new(epoch: Epoch, link: Link) -> Self {
        const {
            assert!(BUFFER >= 192, "no room for a record");
            assert!(BUFFER < 1 << 20, "lengths are 3-byte varints");
        }
        FrameEncoder {
            buffer: [0; BUFFER],
            dictionary: Dictionary::new(),
            link,
            epoch,
            first: 0,
            count: 0,
            len: 0,
            previous: Previous::NONE,
            pending: Pending::new(),
            header_len: 8,
            sending: None,
            contents: 0,
            sent_at_len: 0,
            postponed: 0,
            is_torn: false,
        }
    }
    /// On a stream the next frame has a delimiter also in front: for a link that has just been opened, or that
    /// stopped inside a frame.
    pub const fn resynchronise(&mut self) {
        self.is_torn = true;
    }
    /// The epoch that frames carry.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }
    /// The texts that have symbols.
    pub const fn dictionary(&self) -> &Dictionary<SYMBOLS> {
        &self.dictionary
    }
    /// Forgets what was announced: for a receiver that asks, and before records are sent again.
    pub fn announce_again(&mut self) {
        self.dictionary.announce_again();
    }
    /// Records in the frame that is being built.
    pub const fn record_count(&self) -> u32 {
        self.count
    }

    /// Content that fits into one frame.
    fn content_limit(&self) -> usize {
        let room = BUFFER - Self::START + CONTENT_HEADER_MAX;
        // A time of sending that has become longer than this makes a frame a fragment.
        let sent_at = (self.sent_at_len + 1).max(SENT_AT);
        let envelope = 3 + varint_len(self.epoch.0) + sent_at + CRC_LEN;
        room.min(self.link.mtu.saturating_sub(envelope))
    }

    /// Takes a record into the frame, with its texts if the receiver has not seen them.
    ///
    /// A frame holds consecutive sequences only; a jump makes it [`Push::Full`]. Also `Full` while frames
    /// are waiting to be taken, and when texts have to go ahead in a frame of their own. Nothing of a
    /// record that was not taken stays.
    ///
    /// Cost: proportional to the record, plus one look-up per name, key and constant text.
    pub fn push(&mut self, sequence: u32, record: &LocalRecord<'_>) -> Push {
        let next = self.first.wrapping_add(self.count);
        if self.sending.is_some() || self.count != 0 && sequence != next {
            return Push::Full;
        }
        if self.count == 0 && self.pending.len() == 0 && self.postponed >= PATIENCE {
            self.announce_in_turn(self.content_limit());
        }
        let (announced, mut previous) = (self.pending.len(), self.previous);
        let room = self.buffer.get_mut(Self::START + self.len..);
        let mut put = Put::new(room.unwrap_or_default());
        put_record(
            &mut put,
            record,
            &mut previous,
            &mut self.dictionary,
            &mut self.pending,
        );
        let len = self.len + put.len();
        let body = len + self.pending.bytes;
        let in_buffer = !put.is_full() && Self::START + body <= BUFFER;
        // A counter may have become a byte longer since the last frame.
        let in_frame = self.header_len + 2 + body <= self.content_limit();
        if in_buffer && (in_frame || self.count == 0 && self.link.fragments) {
            if self.count == 0 {
                self.first = sequence;
            }
            (self.len, self.previous) = (len, previous);
            self.count += 1;
            return Push::Taken;
        }
        if self.count != 0 || announced != 0 {
            self.pending.withdraw(announced, &mut self.dictionary);
            return Push::Full;
        }
        // Not even alone: the texts may go ahead, as many as fit.
        let room =
            (self.content_limit().saturating_sub(self.header_len + 2)).min(BUFFER - Self::START);
        let (mut fit, mut bytes) = (0, 0);
        for symbol in self.pending.symbols() {
            bytes += announcement_len(*symbol, self.dictionary.text(*symbol));
            if bytes > room {
                break;
            }
            fit += 1;
        }
        self.pending.withdraw(fit, &mut self.dictionary);
        if fit == 0 {
            return Push::TooLarge;
        }
        self.first = sequence;
        Push::Full
    }

    /// Ends the content: adds the counters and one text in turn. Without records and with nothing to
    /// announce it is a heartbeat. [`frame`](Self::frame) then gives the frames.
    pub fn finish(&mut self, counters: &DeviceCounters) {
        self.finish_at(self.first, None, counters);
    }
    /// As [`finish`](Self::finish); a frame without records says `next`, the sequence of the next record.
    /// A sender that keeps records says the first that was not acknowledged, the `oldest` that may
    /// still come; it is at most 2^14 behind the frame's first.
    pub fn finish_at(&mut self, next: u32, oldest: Option<u32>, counters: &DeviceCounters) {
        if self.sending.is_some() {
            return;
        }
        if self.count == 0 {
            self.first = next;
        }
        let limit = self.content_limit();
        // A frame without records has room for all that somebody asked for.
        while self.announce_in_turn(limit) && self.count == 0 {}
        let mut end = Self::START + self.len;
        for symbol in self.pending.symbols() {
            let mut put = Put::new(self.buffer.get_mut(end..).unwrap_or_default());
            put.varint(symbol.number() as u64);
            put.block(self.dictionary.text(*symbol).as_bytes());
            end += put.len();
            self.dictionary.announced(*symbol);
        }
        let mut header = [0; CONTENT_HEADER_MAX];
        let mut len = self.content_header(oldest, Some(counters), &mut header);
        if len + end - Self::START > limit && !self.link.fragments {
            // Rare: counters grew by more than was kept for them. They are cumulative, the next frame has them.
            len = self.content_header(oldest, None, &mut header);
        }
        self.header_len = len;
        let start = Self::START - len;
        if let (Some(to), Some(from)) = (self.buffer.get_mut(start..Self::START), header.get(..len))
        {
            to.copy_from_slice(from);
        }
        self.send(content_type::RECORDS, start, end);
        self.first = self.first.wrapping_add(self.count);
        (self.count, self.len) = (0, 0);
        self.previous = Previous::NONE;
        self.pending.clear();
    }

    /// Adds the text whose turn it is, if it fits: for receivers that came late or lost a frame. Whether it
    /// was one that has not been announced since somebody asked.
    fn announce_in_turn(&mut self, limit: usize) -> bool {
        let Some(symbol) = self.dictionary.in_turn() else {
            return false;
        };
        let text = self.dictionary.text(symbol);
        let body = self.len + self.pending.bytes + announcement_len(symbol, text);
        // Alone it may be larger than a frame, as it was when it was first announced.
        let alone = self.count == 0 && self.pending.len() == 0 && self.link.fragments;
        let fits = self.header_len + 3 + body <= limit || alone;
        if fits && Self::START + body <= BUFFER && self.pending.add(symbol, &self.dictionary) {
            self.postponed = 0;
            return self.dictionary.end_turn(symbol);
        }
        self.postponed = self.postponed.saturating_add(1);
        false
    }

    fn content_header(
        &self,
        oldest: Option<u32>,
        counters: Option<&DeviceCounters>,
        to: &mut [u8; CONTENT_HEADER_MAX],
    ) -> usize {
        let mut bits = 0;
        if self.pending.len() != 0 {
            bits |= presence::DICTIONARY;
        }
        if oldest.is_some() {
            bits |= presence::KEPT;
        }
        let mut fields = [(0, 0); 9];
        if let Some(c) = counters {
            bits |= presence::COUNTERS;
            let sent = self.first.wrapping_add(self.count);
            fields = [
                (presence::PENDING, c.recorded.wrapping_sub(sent)),
                (presence::OPEN, c.open()),
                (presence::SAMPLED_OUT, c.sampled_out),
                (presence::RING_FULL, c.ring_full),
                (presence::TOO_LARGE, c.too_large),
                (presence::OVERWRITTEN, c.overwritten),
                (presence::UNSENDABLE, c.unsendable),
                (presence::LOST_AT_RESET, c.lost_at_reset),
                (presence::ESCALATED_INCOMPLETE, c.escalated_incomplete),
            ];
            for (bit, value) in fields {
                if value != 0 {
                    bits |= bit;
                }
            }
        }
        let mut put = Put::new(to);
        put.varint(bits as u64);
        put.varint(self.first as u64);
        put.varint(self.count as u64);
        if let Some(oldest) = oldest {
            put.varint(self.first.wrapping_sub(oldest) as u64);
        }
        for (_, value) in fields.into_iter().filter(|(_, value)| *value != 0) {
            put.varint(value as u64);
        }
        if bits & presence::DICTIONARY != 0 {
            put.varint(self.len as u64);
        }
        put.len()
    }

    /// Puts a message into frames; [`frame`](Self::frame) then gives them. `false`: records or frames are
    /// waiting, or it is larger than the buffer (or, without fragments, than a frame).
    #[must_use = "a message that was not taken is not sent"]
    pub fn message(&mut self, message: &Message<'_>) -> bool {
        if self.sending.is_some() || self.count != 0 || self.pending.len() != 0 {
            return false;
        }
        let limit = self.content_limit();
        let room = self.buffer.get_mut(Self::START..).unwrap_or_default();
        let Some(len) = message.encode(room) else {
            return false;
        };
        if len > limit && !self.link.fragments {
            return false;
        }
        self.send(content_type::MESSAGE, Self::START, Self::START + len);
        true
    }
    fn send(&mut self, kind: u8, start: usize, end: usize) {
        self.contents = self.contents.wrapping_add(1);
        self.sending = Some(Sending {
            kind,
            start,
            end,
            next: start,
        });
    }

    /// The next frame of what [`finish`](Self::finish) or [`message`](Self::message) left, stamped with
    /// the time of sending; `None` when all are out. On a stream the delimiter is part of it.
    pub fn frame(&mut self, sent_at: Ticks) -> Option<&[u8]> {
        let sending = self.sending.as_mut()?;
        let left = sending.end - sending.next;
        let mut head = [0; ENVELOPE_MAX + FRAGMENT_MAX];
        let mut put = Put::new(&mut head);
        self.sent_at_len = varint_len(sent_at.0);
        let whole = 3 + varint_len(self.epoch.0) + self.sent_at_len + left + CRC_LEN;
        let is_fragment = sending.next != sending.start || whole > self.link.mtu;
        let flags = if is_fragment {
            envelope_flag::FRAGMENT
        } else {
            0
        };
        put.bytes(&[CHANNEL, WIRE_VERSION << 4 | sending.kind, flags]);
        put.varint(self.epoch.0);
        put.varint(sent_at.0);
        let mut chunk = left;
        if is_fragment {
            put.varint(self.contents as u64);
            put.varint((sending.next - sending.start) as u64);
            put.varint((sending.end - sending.start) as u64);
            let room = self.link.mtu.saturating_sub(put.len() + CRC_LEN);
            chunk = left.min(room.max(1));
        }
        let (from, head_len) = (sending.next, put.len());
        sending.next += chunk;
        if chunk == left {
            self.sending = None;
        }

        // The chunk moves to the front by what comes behind it, and so never touches the next one.
        let body = from - TRAILER;
        let (start, end) = (body - head_len, body + chunk + CRC_LEN);
        move_down(&mut self.buffer, from..from + chunk, body);
        self.buffer
            .get_mut(start..body)?
            .copy_from_slice(head.get(..head_len)?);
        let crc = crc32(self.buffer.get(start..end - CRC_LEN)?);
        self.buffer
            .get_mut(end - CRC_LEN..end)?
            .copy_from_slice(&crc.to_le_bytes());
        if !self.link.delimited {
            return self.buffer.get(start..end);
        }
        let mut out = start - cobs_overhead(end - start);
        let end = cobs_in_place(&mut self.buffer, out, start, end)?;
        if core::mem::take(&mut self.is_torn) {
            out -= 1;
            *self.buffer.get_mut(out)? = DELIMITER;
        }
        self.buffer.get(out..end)
    }

    /// Whether frames are waiting to be taken.
    pub const fn has_frame(&self) -> bool {
        self.sending.is_some()
    }
    /// Drops what was not sent, records and frames, before they are pushed again, and
    /// [resynchronises](Self::resynchronise).
    pub fn abandon(&mut self) {
        self.is_torn = true;
        self.pending.withdraw(0, &mut self.dictionary);
        self.sending = None;
        (self.count, self.len) = (0, 0);
        self.previous = Previous::NONE;
    }
}
