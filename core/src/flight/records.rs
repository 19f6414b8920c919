//! The recorder as the drain reads it: the boot before, then the present one.

use super::recorder::{Base, FlightRecorder};
use super::recover::{Previous, Recovery};
use crate::clock::{Clock, TickRate, Ticks};
use crate::drain::RecordSource;
use crate::frame::DeviceCounters;
use crate::record::{Closing, LocalRecord, ReadOnlyTexts, rebuild};
use crate::ring::flight::{FlightReader, ReadError, is_before, later};

/// The present boot's records, from [`FlightTracer::records`](crate::FlightTracer::records).
///
/// Keeps what was sent until it is released or overwritten. What was overwritten before it was read counts as
/// `overwritten`, and so does a record that was damaged in the ring.
pub struct FlightRecords<'a, const N: usize, const K: usize> {
    recorder: &'a FlightRecorder<N, K>,
    reader: FlightReader<'a, N>,
    base: Base,
    scratch: &'a mut [u64],
}

impl<'a, const N: usize, const K: usize> FlightRecords<'a, N, K> {
    pub(super) fn new(recorder: &'a FlightRecorder<N, K>, scratch: &'a mut [u64]) -> Option<Self> {
        Some(FlightRecords {
            recorder,
            base: recorder.base()?,
            reader: recorder.ring.reader()?,
            scratch,
        })
    }
    /// Copies the next record of this boot; its number and words.
    fn next(&mut self) -> Option<(u32, usize)> {
        // Ends: each turn passes a record.
        loop {
            match self.reader.peek(self.scratch) {
                // The boot before, which nobody drained.
                Ok(taken) if is_before(taken.number, self.base.first) => self.reader.pass(),
                Ok(taken) => return Some((taken.number, taken.words)),
                Err(ReadError::BufferTooSmall(taken)) => {
                    let ours = later(self.base.first, self.reader.read_before());
                    // Else it was counted when it was first met.
                    if !is_before(taken.number, ours) {
                        self.count_unsendable();
                    }
                    self.reader.advance();
                }
                Err(ReadError::Empty) => return None,
            }
        }
    }
}

impl<const N: usize, const K: usize> RecordSource for FlightRecords<'_, N, K> {
    fn peek(&mut self) -> Option<(u32, LocalRecord<'_>)> {
        let (number, words) = self.next()?;
        // SAFETY: of this boot's numbers only finished spans of this program were pushed, and the check word
        // says that this is one.
        let record = unsafe { LocalRecord::new(self.scratch.get(..words)?) }?;
        Some((number.wrapping_sub(self.base.first), record))
    }
    fn advance(&mut self) {
        self.reader.advance();
    }
    fn release_before(&mut self, next: u32) {
        self.reader
            .release_before(self.base.first.wrapping_add(next));
    }
    fn rewind(&mut self) -> bool {
        self.reader.rewind();
        true
    }
    fn counters(&mut self) -> DeviceCounters {
        self.recorder.counters(&self.base)
    }
    fn count_unsendable(&mut self) -> bool {
        self.recorder.unsendable.add(self.recorder.lock(), 1);
        true
    }
}

/// The records of the boot before, from [`Recovery::records`].
///
/// To be drained by a [`Drain`](crate::drain::Drain) of its own, with the epoch
/// [`previous_epoch`](Recovery::previous_epoch), without a dictionary (`SYMBOLS` = 0: the symbols of that
/// epoch are forgotten), and with [`clock`](Self::clock), which stands still.
pub struct PreviousRecords<'a, const N: usize, const K: usize> {
    reader: FlightReader<'a, N>,
    previous: Previous,
    texts: ReadOnlyTexts,
    closing: Closing<'static>,
    rate: TickRate,
    left: &'a mut [u64],
    rebuilt: &'a mut [u64],
    /// One past the last number that was read, by that boot or now, and how many of them now.
    read: u32,
    read_count: u32,
}

impl<'a, const N: usize, const K: usize> PreviousRecords<'a, N, K> {
    pub(super) fn new(recovery: &Recovery<N, K>, scratch: &'a mut [u64]) -> Option<Self> {
        let previous = recovery.previous?;
        let (left, rebuilt) = scratch.split_at_mut(scratch.len() / 2);
        Some(PreviousRecords {
            reader: recovery.recorder.ring.reader()?,
            previous,
            texts: recovery.texts,
            closing: recovery.closing(),
            rate: recovery.rate,
            left,
            rebuilt,
            read: previous.read,
            read_count: 0,
        })
    }
    /// The clock of that boot, as far as it is known: it stands at the last time that the ring tells.
    pub fn clock(&mut self) -> LastTick {
        let mut last = 0;
        while let Some((_, words)) = self.next() {
            // SAFETY: as in `peek`.
            let record = self
                .rebuilt
                .get(..words)
                .and_then(|w| unsafe { LocalRecord::new(w) });
            last = last.max(record.map_or(0, |record| record.end().0));
            self.reader.pass();
        }
        self.reader.rewind();
        LastTick {
            at: Ticks(last),
            rate: self.rate,
        }
    }
    /// Rebuilds the next record; its sequence and words.
    fn next(&mut self) -> Option<(u32, usize)> {
        let Previous { first, end, .. } = self.previous;
        // Ends: each turn passes a record.
        loop {
            match self.reader.peek(self.left) {
                Ok(taken) if is_before(taken.number, first) => self.reader.pass(),
                Ok(taken) if !is_before(taken.number, end) => return None,
                Ok(taken) => {
                    let words = self.left.get(..taken.words).unwrap_or(&[]);
                    let rebuilt = rebuild(words, self.texts, &self.closing, self.rebuilt);
                    if let Some(words) = rebuilt {
                        return Some((taken.number.wrapping_sub(first), words));
                    }
                    self.give_up(taken.number);
                }
                Err(ReadError::BufferTooSmall(taken)) => {
                    if !is_before(taken.number, end) {
                        return None;
                    }
                    self.give_up(taken.number);
                }
                Err(ReadError::Empty) => return None,
            }
        }
    }
    /// The record at hand cannot be made readable.
    fn give_up(&mut self, number: u32) {
        if self.saw(number) {
            self.count_unsendable();
        }
        self.reader.pass();
    }
    /// Whether it is read for the first time.
    fn saw(&mut self, number: u32) -> bool {
        let is_new = !is_before(number, self.read);
        if is_new {
            self.read = number.wrapping_add(1);
            self.read_count += 1;
        }
        is_new
    }
}

impl<const N: usize, const K: usize> RecordSource for PreviousRecords<'_, N, K> {
    fn peek(&mut self) -> Option<(u32, LocalRecord<'_>)> {
        let (sequence, words) = self.next()?;
        // SAFETY: `rebuild` wrote these words as a record whose references are static.
        let record = unsafe { LocalRecord::new(self.rebuilt.get(..words)?) }?;
        Some((sequence, record))
    }
    fn advance(&mut self) {
        if let Some(taken) = self.reader.seen() {
            self.saw(taken.number);
        }
        self.reader.pass();
    }
    fn release_before(&mut self, next: u32) {
        let next = self.previous.first.wrapping_add(next);
        // Not into the present boot.
        let next = if is_before(self.previous.end, next) {
            self.previous.end
        } else {
            next
        };
        self.reader.release_before(next);
    }
    fn rewind(&mut self) -> bool {
        self.reader.rewind();
        true
    }
    fn counters(&mut self) -> DeviceCounters {
        let (from, end) = (later(self.read, self.previous.first), self.previous.end);
        let there = self
            .reader
            .count(|number| !is_before(number, from) && is_before(number, end));
        let gone = self
            .previous
            .unread
            .wrapping_sub(self.read_count)
            .wrapping_sub(there);
        let counters = self.previous.counters;
        DeviceCounters {
            overwritten: counters.overwritten.wrapping_add(gone),
            ..counters
        }
    }
    fn count_unsendable(&mut self) -> bool {
        let counters = &mut self.previous.counters;
        counters.unsendable = counters.unsendable.wrapping_add(1);
        true
    }
}

/// A clock that stands where a boot's records end.
#[derive(Clone, Copy, Debug)]
pub struct LastTick {
    at: Ticks,
    rate: TickRate,
}

impl Clock for LastTick {
    fn now(&self) -> Ticks {
        self.at
    }
    fn rate(&self) -> TickRate {
        self.rate
    }
}
