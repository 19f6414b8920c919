//! Bytes of one link → frames → batches of records for the right boot of the right device.
//!
//! Input: bytes or datagrams, with their arrival. Output: what the boots deliver; bytes to answer with.
//! Bound: one frame of [`MAX_FRAME_BYTES`], the contents that [`fragments`](super::fragments) puts together, and
//! what is held until the device has said who it is. No input and no output of its own: whoever reads the link feeds it.

use super::device::{DeviceInfo, DeviceSpan};
use super::down::{CommandError, Down};
use super::fragments::Fragments;
use super::gateway::{Shared, lock};
use super::ledger::IntakeLedger;
use super::session::{Restarted, Session, Source};
use crate::clock::Arrival;
use spanlet::frame::{
    Ack, Body, Epoch, Frame, FrameEncoder, FrameError, Hello, Link, Message, Progress, Reassembled,
    RecordBatch, ResourceAttributes, StreamDecoder, TraceCommand,
};
use spanlet::{SpanContext, Ticks};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest frame, and the longest content of several frames, that is taken.
pub const MAX_FRAME_BYTES: usize = 64 << 10;
/// Boots that a link may carry at a time.
const BINDINGS: usize = 16;
/// How often a device is asked who it is, and for texts that are missing.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// What COBS and its delimiter add to a frame, at least.
const STREAM_BYTES: usize = 2;
/// Largest message downwards.
const MESSAGE_BYTES: usize = 256;
/// The longest payload of a command. Devices may take less: by default about 80 bytes.
pub const MAX_PAYLOAD_BYTES: usize = 192;

/// The receiving end of one link; see [`Gateway::link`](super::Gateway::link).
///
/// Dropping it says that nothing more will come.
pub struct LinkReceiver {
    decoder: Box<StreamDecoder<MAX_FRAME_BYTES>>,
    fragments: Fragments,
    inner: Inner,
}

struct Inner {
    shared: Arc<Shared>,
    name: String,
    bindings: Vec<Binding>,
    held: Vec<Held>,
    held_bytes: usize,
    /// What to send down.
    replies: Vec<u8>,
    has_replied: bool,
    down: Arc<Down>,
    asked: Option<Instant>,
    counts: IntakeLedger,
    /// What the decoders had counted when it was added up last.
    seen: (u64, u64),
}

/// A boot on this link.
struct Binding {
    epoch: Epoch,
    session: Arc<Mutex<Session>>,
    capabilities: u32,
    /// Records have come that are not acknowledged yet.
    to_acknowledge: bool,
    pinged: Option<Instant>,
    /// When it was asked for its texts.
    texts_asked: Option<Instant>,
}

/// A content that came before its device said who it is.
struct Held {
    epoch: Epoch,
    sent_at: Ticks,
    arrival: Arrival,
    /// The type of a reassembled content; a frame has none.
    kind: Option<u8>,
    bytes: Vec<u8>,
}

impl LinkReceiver {
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Self {
        LinkReceiver {
            decoder: Box::default(),
            fragments: Fragments::default(),
            inner: Inner {
                shared,
                name: name.to_owned(),
                bindings: Vec::new(),
                held: Vec::new(),
                held_bytes: 0,
                replies: Vec::new(),
                has_replied: false,
                down: Arc::default(),
                asked: None,
                counts: IntakeLedger::default(),
                seen: (0, 0),
            },
        }
    }
    /// Takes bytes of a stream, any number of frames or parts of one. Never fails: what is no frame is
    /// counted.
    pub fn feed(&mut self, bytes: &[u8], arrival: Arrival) {
        let mut input = bytes;
        while let Progress::Frame(frame) = self.decoder.feed(&mut input) {
            // What is behind it came after it.
            let arrival = self
                .inner
                .begun(arrival, frame.len() + STREAM_BYTES + input.len());
            self.inner.frame(frame, arrival, &mut self.fragments);
        }
        self.settle(bytes.len());
    }
    /// Takes one datagram.
    pub fn datagram(&mut self, bytes: &[u8], arrival: Arrival) {
        let arrival = self.inner.begun(arrival, bytes.len());
        self.inner.frame(bytes, arrival, &mut self.fragments);
        self.settle(bytes.len());
    }
    fn settle(&mut self, bytes: usize) {
        let garbage =
            u64::from(self.decoder.oversized_count()) + u64::from(self.decoder.undecodable_count());
        let incomplete = self.fragments.dropped_count();
        let inner = &mut self.inner;
        inner.counts.bytes += bytes as u64;
        inner.counts.garbage += garbage - inner.seen.0;
        inner.counts.incomplete_fragments += incomplete - inner.seen.1;
        inner.seen = (garbage, incomplete);
        inner.acknowledge();
        inner.add_up();
    }
    /// What is due by time: asks devices who they are and what time they have. To be called every now and
    /// then, also while nothing comes.
    pub fn poll(&mut self, now: Arrival) {
        self.inner.ask(now);
    }
    /// Bytes to send to the device, if any; they are taken. A link without a way back drops them.
    pub fn take_replies(&mut self) -> Option<Vec<u8>> {
        let mut replies = core::mem::take(&mut self.inner.replies);
        replies.append(&mut self.inner.down.take());
        (!replies.is_empty()).then_some(replies)
    }
    /// Sends to the device by this writer, instead of handing out bytes with [`take_replies`](Self::take_replies):
    /// commands at once, from the thread that gives them; answers with [`flush`](Self::flush).
    pub fn set_writer(&mut self, writer: impl std::io::Write + Send + 'static) {
        self.inner.down.set_writer(Box::new(writer));
    }
    /// Sends the answers by the writer.
    ///
    /// # Errors
    /// The writer's, or that there is none and too much waits.
    pub fn flush(&mut self) -> Result<(), CommandError> {
        let replies = core::mem::take(&mut self.inner.replies);
        match replies.is_empty() {
            true => Ok(()),
            false => self.inner.down.send(&replies),
        }
    }
}

impl Drop for LinkReceiver {
    fn drop(&mut self) {
        self.inner.give_up();
        self.inner.add_up();
    }
}

impl core::fmt::Debug for LinkReceiver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LinkReceiver")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}

/// A frame with a command. The delimiter in front ends whatever the device has read before.
pub(super) fn command_frame(
    epoch: Epoch,
    caller: &SpanContext,
    payload: &[u8],
) -> Result<Vec<u8>, CommandError> {
    let command = Message::TraceCommand(TraceCommand::new(caller, payload));
    let mut frame = vec![0];
    if payload.len() > MAX_PAYLOAD_BYTES || !put_message(&mut frame, epoch, &command) {
        return Err(CommandError::TooLarge);
    }
    Ok(frame)
}

fn put_message(to: &mut Vec<u8>, epoch: Epoch, message: &Message<'_>) -> bool {
    let mut encoder: FrameEncoder<MESSAGE_BYTES, 0> = FrameEncoder::new(epoch, Link::stream());
    if encoder.message(message)
        && let Some(frame) = encoder.frame(Ticks(0))
    {
        to.extend_from_slice(frame);
        return true;
    }
    false
}

impl Inner {
    /// When the first of so many bytes was on the wire, on a link of known speed.
    fn begun(&self, arrival: Arrival, bytes: usize) -> Arrival {
        arrival.earlier(self.shared.settings.clock.serialisation(bytes))
    }
    fn frame(&mut self, bytes: &[u8], arrival: Arrival, fragments: &mut Fragments) {
        let frame = match Frame::parse(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.count(error),
        };
        self.counts.frames += 1;
        let (epoch, sent_at) = (frame.epoch(), frame.sent_at());
        match frame.body() {
            Body::Records(batch) => {
                self.records(epoch, sent_at, arrival, batch, Source::Frame(bytes));
            }
            Body::Message(message) => self.message(epoch, sent_at, arrival, message),
            Body::Fragment(fragment) => {
                let Reassembled::Content { kind, bytes } = fragments.push(epoch, fragment) else {
                    return;
                };
                match Body::reassembled(kind, bytes) {
                    Ok(Body::Records(batch)) => {
                        let source = Source::Content(kind, bytes);
                        self.records(epoch, sent_at, arrival, &batch, source);
                    }
                    Ok(Body::Message(message)) => self.message(epoch, sent_at, arrival, &message),
                    Ok(_) => self.counts.malformed += 1,
                    Err(error) => self.count(error),
                }
            }
            _ => self.counts.malformed += 1,
        }
    }
    fn count(&mut self, error: FrameError) {
        let count = match error {
            FrameError::TooShort { .. } => &mut self.counts.garbage,
            FrameError::OtherChannel { .. } => &mut self.counts.other_channel,
            FrameError::Crc { .. } => &mut self.counts.damaged,
            FrameError::Version { .. } => &mut self.counts.other_version,
            _ => &mut self.counts.malformed,
        };
        *count += 1;
    }
    fn binding(&mut self, epoch: Epoch) -> Option<&mut Binding> {
        let at = self.bindings.iter().position(|b| b.epoch == epoch)?;
        if lock(&self.bindings.get(at)?.session).is_retired {
            self.bindings.remove(at);
            return None;
        }
        self.bindings.get_mut(at)
    }
    fn records(
        &mut self,
        epoch: Epoch,
        sent_at: Ticks,
        arrival: Arrival,
        batch: &RecordBatch<'_>,
        source: Source<'_>,
    ) {
        let shared = self.shared.clone();
        let Some(binding) = self.binding(epoch) else {
            return self.hold(epoch, sent_at, arrival, source);
        };
        for _ in 0..2 {
            let mut session = lock(&binding.session);
            let fates = session.fates.clone();
            let mut out =
                |open: &mut Option<_>, span: &DeviceSpan<'_>| shared.deliver(&fates, open, span);
            match session.take(batch, source, sent_at, arrival, &mut out) {
                Ok(()) => {
                    binding.to_acknowledge = true;
                    return;
                }
                Err(Restarted) => {
                    let down = session.down.clone();
                    drop(session);
                    binding.session = shared.restart(&binding.session);
                    lock(&binding.session).down = down;
                }
            }
        }
        // It announces two texts for one symbol in one frame.
        self.counts.malformed += 1;
    }
    fn hold(&mut self, epoch: Epoch, sent_at: Ticks, arrival: Arrival, source: Source<'_>) {
        let (kind, bytes) = match source {
            Source::Frame(bytes) => (None, bytes),
            Source::Content(kind, bytes) => (Some(kind), bytes),
        };
        self.held_bytes += bytes.len();
        self.held.push(Held {
            epoch,
            sent_at,
            arrival,
            kind,
            bytes: bytes.to_vec(),
        });
        while self.held_bytes > self.shared.settings.hold_bytes && !self.held.is_empty() {
            self.held_bytes -= self.held.remove(0).bytes.len();
            self.counts.unidentified += 1;
        }
        self.ask(arrival);
    }
    fn message(&mut self, epoch: Epoch, sent_at: Ticks, arrival: Arrival, message: &Message<'_>) {
        match message {
            Message::Hello(hello) => {
                let with_id = self.shared.settings.export_device_id;
                match DeviceInfo::new(hello, epoch, with_id) {
                    Some(info) => self.bind(info, arrival),
                    None => self.counts.malformed += 1,
                }
                self.ask(arrival);
            }
            Message::ClockPong(pong) => {
                let shared = self.shared.clone();
                if let Some(binding) = self.binding(epoch) {
                    let mut session = lock(&binding.session);
                    let fates = session.fates.clone();
                    session.pong(pong, sent_at, arrival, &mut |open, span| {
                        shared.deliver(&fates, open, span);
                    });
                }
            }
            // The others go down.
            _ => self.counts.malformed += 1,
        }
    }
    /// Frames of this boot are this device's from now on, and those that were held.
    fn bind(&mut self, info: DeviceInfo, arrival: Arrival) {
        let (epoch, capabilities) = (info.epoch, info.capabilities);
        let session = self.shared.session(info, arrival);
        let pinged = self.bindings.iter().find(|b| b.epoch == epoch);
        let pinged = pinged.and_then(|b| b.pinged);
        self.bindings.retain(|b| b.epoch != epoch);
        let held: Vec<Held> = self.held.extract_if(.., |h| h.epoch == epoch).collect();
        self.held_bytes -= held.iter().map(|h| h.bytes.len()).sum::<usize>();
        let Some(session) = session else {
            self.counts.too_many_devices += 1 + held.len() as u64;
            return;
        };
        lock(&session).down = Arc::downgrade(&self.down);
        if self.bindings.len() >= BINDINGS {
            self.bindings.remove(0);
        }
        self.bindings.push(Binding {
            epoch,
            session,
            capabilities,
            to_acknowledge: false,
            pinged,
            texts_asked: None,
        });
        for held in held {
            let body = match held.kind {
                None => Frame::parse(&held.bytes).map(|frame| frame.body().clone()),
                Some(kind) => Body::reassembled(kind, &held.bytes),
            };
            let source = match held.kind {
                None => Source::Frame(&held.bytes),
                Some(kind) => Source::Content(kind, &held.bytes),
            };
            // It was a batch when it was held.
            if let Ok(Body::Records(batch)) = body {
                self.records(epoch, held.sent_at, held.arrival, &batch, source);
            }
        }
    }
    fn reply(&mut self, epoch: Epoch, message: &Message<'_>) {
        if !self.has_replied {
            // Ends whatever the device has read before.
            self.replies.push(0);
            self.has_replied = true;
        }
        put_message(&mut self.replies, epoch, message);
    }
    fn acknowledge(&mut self) {
        let mut acks = Vec::new();
        for binding in &mut self.bindings {
            if core::mem::take(&mut binding.to_acknowledge)
                && binding.capabilities & Hello::ACKNOWLEDGED != 0
            {
                let next = lock(&binding.session).next_missing();
                acks.push((binding.epoch, Ack { next }));
            }
        }
        for (epoch, ack) in acks {
            self.reply(epoch, &Message::Ack(ack));
        }
    }
    fn ask(&mut self, now: Arrival) {
        let is_due = |last: Option<Instant>, period| {
            last.is_none_or(|last| now.at.saturating_duration_since(last) >= period)
        };
        if let Some(held) = self.held.last()
            && is_due(self.asked, ASK_EVERY)
        {
            self.asked = Some(now.at);
            self.reply(held.epoch, &Message::SendHello);
        }
        let period = self.shared.settings.ping_every;
        let mut pings = Vec::new();
        for binding in &mut self.bindings {
            if binding.capabilities & Hello::CLOCK != 0 {
                let ping = lock(&binding.session).ping(now, &mut binding.pinged, period);
                pings.extend(ping.map(|ping| (binding.epoch, ping)));
            }
        }
        let mut lacking = Vec::new();
        for binding in &mut self.bindings {
            // Whoever has a way back hears it; the others announce in turn.
            if binding.capabilities != 0
                && is_due(binding.texts_asked, ASK_EVERY)
                && lock(&binding.session).lacks_texts()
            {
                binding.texts_asked = Some(now.at);
                lacking.push(binding.epoch);
            }
        }
        for epoch in lacking {
            self.reply(epoch, &Message::SendDictionary);
        }
        for (epoch, ping) in pings {
            self.reply(epoch, &Message::ClockPing(ping));
        }
    }
    /// Nothing more will come: what is held is an unknown device's, or lost.
    fn give_up(&mut self) {
        let rate = self.shared.settings.assumed_rate;
        while let Some(held) = self.held.first() {
            let (epoch, held_since) = (held.epoch, held.arrival);
            let device_id = format!("unidentified at {}", self.name);
            let hello = rate.map(|rate| Hello {
                device_id: &device_id,
                build_id: b"",
                tick_hz: rate.as_hz(),
                capabilities: 0,
                scope_name: "",
                scope_version: "",
                scope_schema_url: "",
                resource: ResourceAttributes::default(),
            });
            match hello.and_then(|hello| DeviceInfo::new(&hello, epoch, false)) {
                Some(info) => self.bind(info, held_since),
                None => {
                    self.counts.unidentified += self.held.len() as u64;
                    self.held.clear();
                }
            }
        }
        self.held_bytes = 0;
    }
    fn add_up(&mut self) {
        let counts = core::mem::take(&mut self.counts);
        let mut intake = lock(&self.shared.intake);
        intake.bytes += counts.bytes;
        intake.frames += counts.frames;
        intake.damaged += counts.damaged;
        intake.garbage += counts.garbage;
        intake.other_channel += counts.other_channel;
        intake.other_version += counts.other_version;
        intake.malformed += counts.malformed;
        intake.incomplete_fragments += counts.incomplete_fragments;
        intake.unidentified += counts.unidentified;
        intake.too_many_devices += counts.too_many_devices;
    }
}
