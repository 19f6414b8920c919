//! One boot of one device.
//!
//! Input: batches of records, answers to pings. Output: spans, each once, and what to acknowledge. Bound: texts
//! ([`symbols`](super::symbols)), and [`Limits`] for what waits for texts; duplicates are told within 960 records.

use super::device::{DeviceInfo, DeviceSpan};
use super::down::Down;
use super::ledger::DeviceLedger;
use super::otlp_batch::OtlpBatch;
use super::symbols::SymbolTable;
use crate::clock::{Arrival, ClockMap};
use crate::export::queue::Fate;
use spanlet::Ticks;
use spanlet::frame::{
    Body, ClockPing, ClockPong, Frame, Hello, RecordBatch, RecordError, SequenceTracker, Symbols,
};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Most words that a record may have.
const MAX_SCRATCH: usize = 32_767;

/// Where spans go, with the batch that they may join.
pub(crate) type Out<'o> = &'o mut dyn FnMut(&mut Option<OtlpBatch>, &DeviceSpan<'_>);

/// Bounds on records that wait for texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) wait: Duration,
}

/// A content, kept until its texts come.
enum Kept {
    Frame(Vec<u8>),
    Content(u8, Vec<u8>),
}

struct Waiting {
    kept: Kept,
    /// Which of its records wait.
    sequences: Vec<u32>,
    since: Instant,
}

impl Waiting {
    fn bytes(&self) -> usize {
        match &self.kept {
            Kept::Frame(bytes) | Kept::Content(_, bytes) => bytes.len(),
        }
    }
    fn body(&self) -> Option<Body<'_>> {
        match &self.kept {
            Kept::Frame(bytes) => Frame::parse(bytes).ok().map(|frame| frame.body().clone()),
            Kept::Content(kind, bytes) => Body::reassembled(*kind, bytes).ok(),
        }
    }
}

/// Where a batch came from, to keep it.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Frame(&'a [u8]),
    Content(u8, &'a [u8]),
}

/// A symbol has another text than before: the device has restarted and did not say so.
pub(crate) struct Restarted;

pub(crate) struct Session {
    pub(crate) info: Arc<DeviceInfo>,
    symbols: SymbolTable,
    tracker: SequenceTracker,
    clock: ClockMap,
    /// Spans wait for the first answer to a ping.
    is_settling: bool,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    limits: Limits,
    delivered: u64,
    placeholders: u64,
    pub(crate) texts_refused: u64,
    pub(crate) batch: Option<OtlpBatch>,
    pub(crate) last_heard: Instant,
    /// The way down of the link that it was heard on last.
    pub(super) down: Weak<Down>,
    /// Replaced by another, or to be forgotten: takes nothing more.
    pub(crate) is_retired: bool,
    pub(crate) fates: Arc<[Arc<Fate>]>,
    words: Vec<u64>,
}

impl Session {
    pub(crate) fn new(
        info: Arc<DeviceInfo>,
        limits: Limits,
        clock: ClockMap,
        fates: Arc<[Arc<Fate>]>,
    ) -> Self {
        Session {
            is_settling: info.capabilities & Hello::CLOCK != 0,
            clock,
            info,
            symbols: SymbolTable::default(),
            tracker: SequenceTracker::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            limits,
            delivered: 0,
            placeholders: 0,
            texts_refused: 0,
            batch: None,
            down: Weak::new(),
            last_heard: Instant::now(),
            is_retired: false,
            fates,
            words: vec![0; 512],
        }
    }
    /// Takes a batch of records; each new span goes to `out`.
    pub(crate) fn take(
        &mut self,
        batch: &RecordBatch<'_>,
        source: Source<'_>,
        sent_at: Ticks,
        arrival: Arrival,
        out: Out<'_>,
    ) -> Result<(), Restarted> {
        let conflicts = |(symbol, text): (_, &str)| {
            let known = self.symbols.text(symbol);
            known.is_some_and(|known| known != text)
        };
        if batch.announcements().any(conflicts) {
            return Err(Restarted);
        }
        self.last_heard = arrival.at;
        self.clock.sent(sent_at, arrival);
        self.settle(arrival.at, out);
        self.tracker.batch(batch);
        let known = self.symbols.len();
        if batch.learn(&mut self.symbols).1.is_some() {
            self.texts_refused += 1;
        }
        if self.symbols.len() != known {
            self.mend(out, false);
        }
        let sequences = self.decode(batch, None, false, out);
        if !sequences.is_empty() {
            let kept = match source {
                Source::Frame(bytes) => Kept::Frame(bytes.to_vec()),
                Source::Content(kind, bytes) => Kept::Content(kind, bytes.to_vec()),
            };
            let waiting = Waiting {
                kept,
                sequences,
                since: arrival.at,
            };
            self.waiting_bytes += waiting.bytes();
            self.waiting.push(waiting);
        }
        self.expire(arrival.at, out);
        Ok(())
    }
    /// Decodes what is new, or of what waits `only`; returns the records that wait (again).
    fn decode(
        &mut self,
        batch: &RecordBatch<'_>,
        only: Option<&[u32]>,
        with_placeholders: bool,
        out: Out<'_>,
    ) -> Vec<u32> {
        let mut waits = Vec::new();
        let mut records = batch.records();
        loop {
            let before = records.clone();
            let sequence = records.sequence();
            let needed = match records.decode_next(&self.symbols, &mut self.words) {
                None => break,
                Some(Ok(record)) => {
                    let is_wanted = match only {
                        Some(only) => only.contains(&record.sequence),
                        None => self.tracker.accept(record.sequence),
                    };
                    if !is_wanted {
                        continue;
                    }
                    if only.is_none() {
                        self.clock.carried(record.span.end());
                    }
                    let whole = record.missing.is_empty();
                    if (!whole || self.is_settling) && !with_placeholders {
                        waits.push(record.sequence);
                        continue;
                    }
                    self.delivered += 1;
                    self.placeholders += u64::from(!whole);
                    let view = record.span;
                    let place = self.clock.map(view.start(), view.end());
                    let span = DeviceSpan {
                        view,
                        anchor: place.anchor,
                        clock_error: place.error,
                        sequence: record.sequence,
                        device: &self.info,
                    };
                    out(&mut self.batch, &span);
                    continue;
                }
                Some(Err(RecordError::Scratch { needed, .. })) if needed <= MAX_SCRATCH => needed,
                Some(Err(error)) => {
                    // What was not waited for before cannot be corrupt now.
                    if only.is_none() {
                        self.tracker.corrupt(sequence);
                        if matches!(error, RecordError::Malformed(_)) {
                            for i in 0..records.left() {
                                self.tracker.corrupt(sequence.wrapping_add(i + 1));
                            }
                        }
                    }
                    continue;
                }
            };
            if needed <= self.words.len() {
                // The decoder asks for more than it said before; never twice for the same.
                self.words.resize(MAX_SCRATCH + 64, 0);
            } else {
                self.words.resize(needed, 0);
            }
            records = before;
        }
        waits
    }
    /// Decodes again what waits; `all` also with placeholders.
    fn mend(&mut self, out: Out<'_>, all: bool) {
        for mut waiting in core::mem::take(&mut self.waiting) {
            self.again(&mut waiting, out, all);
            if waiting.sequences.is_empty() {
                self.waiting_bytes -= waiting.bytes();
            } else {
                self.waiting.push(waiting);
            }
        }
    }
    fn again(&mut self, waiting: &mut Waiting, out: Out<'_>, all: bool) {
        // It was a batch of records when it was kept.
        let sequences = match waiting.body() {
            Some(Body::Records(batch)) => self.decode(&batch, Some(&waiting.sequences), all, out),
            _ => Vec::new(),
        };
        waiting.sequences = sequences;
    }
    /// Lets go of what has waited too long or takes too much room, the oldest first.
    pub(crate) fn expire(&mut self, now: Instant, out: Out<'_>) {
        self.settle(now, out);
        while let Some(oldest) = self.waiting.first()
            && (self.waiting_bytes > self.limits.bytes
                || now.saturating_duration_since(oldest.since) >= self.limits.wait)
        {
            let mut oldest = self.waiting.remove(0);
            self.waiting_bytes -= oldest.bytes();
            self.again(&mut oldest, out, true);
        }
    }
    /// Lets go of all that waits: nothing more will come.
    pub(crate) fn give_up(&mut self, out: Out<'_>) {
        self.mend(out, true);
    }
    /// A ping, if one is due on this link; `last` is when the link's last one went.
    pub(crate) fn ping(
        &mut self,
        now: Arrival,
        last: &mut Option<Instant>,
        period: Duration,
    ) -> Option<ClockPing> {
        let pause = self.clock.ping_pause(period);
        if last.is_some_and(|last| now.at.saturating_duration_since(last) < pause) {
            return None;
        }
        *last = Some(now.at);
        Some(self.clock.ping(now))
    }
    /// An answer to a ping, which was sent at `sent_at`.
    pub(crate) fn pong(
        &mut self,
        pong: &ClockPong,
        sent_at: Ticks,
        arrival: Arrival,
        out: Out<'_>,
    ) {
        self.clock.answered(pong, sent_at, arrival);
        self.settle(arrival.at, out);
    }
    /// Lets go of what waited for an answer to a ping, when it has come or nobody answers.
    fn settle(&mut self, now: Instant, out: Out<'_>) {
        if self.is_settling && !self.clock.is_settling(now) {
            self.is_settling = false;
            self.mend(out, false);
        }
    }
    /// Whether records wait for texts.
    pub(crate) fn lacks_texts(&self) -> bool {
        !self.is_settling && !self.waiting.is_empty()
    }
    /// What to acknowledge.
    pub(crate) fn next_missing(&self) -> u32 {
        self.tracker.next_missing()
    }
    /// Adds this boot to the device's ledger.
    pub(crate) fn read(&self, ledger: &mut DeviceLedger) {
        ledger.add_link(&self.tracker.ledger());
        ledger.unresolved += self
            .waiting
            .iter()
            .map(|w| w.sequences.len() as u64)
            .sum::<u64>();
        ledger.delivered += self.delivered;
        ledger.delivered_with_placeholders += self.placeholders;
        ledger.epochs += 1;
    }
}
