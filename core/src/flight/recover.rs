//! A boot: what the one before has left, its open spans closed, its ledger balanced.
//!
//! Input: retained memory of any content. Output: a [`Recovery`], and memory in which a new boot has begun.
//! Bound: as the ring's walk (`ring/flight_recover.rs`), three times, and one record for each open span.
//!
//! One store begins the new boot; a reset before it finds the last one again, and does all of this again.

use super::boot::{Boot, BuildId, ResetReason};
use super::crash::Crash;
use super::recorder::{Base, FlightRecorder, HeaderState};
use super::records::PreviousRecords;
use crate::clock::TickRate;
use crate::frame::{DeviceCounters, Epoch};
use crate::record::{
    Closing, Header, META, META_CLOSED_BY_RESET, META_DURATION_UNKNOWN, META_ESCALATED,
    META_RECORD_ONLY, META_STATUS_SHIFT, ReadOnlyTexts, SPAN, START, Status, with_end,
};
use crate::recorder::Recorder;
use crate::ring::flight::{is_before, later};
use crate::span::{Span, SpanBuf};
use core::mem::MaybeUninit;

/// More spans than can be open: a count beyond it is damage.
const MOST_OPEN: u32 = 0xffff;

/// What retained memory held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Retention {
    /// Nothing of ours: power was off, or this is the first boot.
    Nothing,
    /// Spans of this layout written by another program, whose addresses mean nothing here. Refused.
    OtherBuild(BuildId),
    /// Spans of another layout or size. Refused.
    OtherLayout,
    /// Spans of this program, but what leads to them is damaged. Refused.
    Corrupt,
    /// Spans of this program.
    Kept,
}

/// What a boot found of the one before.
pub struct Recovery<const N: usize, const K: usize> {
    /// What the memory held. Of all but [`Retention::Kept`] nothing else is known.
    pub retention: Retention,
    /// What ended the boot before: what was noted, else what this boot was told.
    pub reason: ResetReason,
    /// The note.
    pub crash: Option<Crash>,
    /// Records that are whole, those of [`closed`](Self::closed) included.
    pub intact: u32,
    /// Spans that were open, closed now with status Error.
    pub closed: u32,
    /// Records that were being written.
    pub half_written: u32,
    /// Stretches of memory that made no sense.
    pub damaged: u32,
    /// Records of an earlier boot that were never drained and are gone now.
    pub abandoned: u32,
    /// Counts of the boot before were damaged: its ledger balances, but its start is a guess.
    pub is_ledger_doubtful: bool,
    pub(super) previous: Option<Previous>,
    pub(super) recorder: &'static FlightRecorder<N, K>,
    pub(super) texts: ReadOnlyTexts,
    pub(super) rate: TickRate,
    boot_reason: ResetReason,
}

/// The boot before, as far as its records' reader needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Previous {
    pub(super) epoch: Epoch,
    /// Numbers of its first record, and of the first that is not its.
    pub(super) first: u32,
    pub(super) end: u32,
    /// One past the last that it had read.
    pub(super) read: u32,
    /// Records that it had not read, and that are there.
    pub(super) unread: u32,
    pub(super) counters: DeviceCounters,
}

impl<const N: usize, const K: usize> Recovery<N, K> {
    /// The epoch of the boot before, if its memory was kept.
    pub fn previous_epoch(&self) -> Option<Epoch> {
        self.previous.map(|previous| previous.epoch)
    }
    /// Whether there is no doubt that the memory is as the boot before has left it. Else the spans that were
    /// closed say `reset.retention = "unverified"`.
    pub fn is_verified(&self) -> bool {
        self.retention == Retention::Kept
            && self.boot_reason.keeps_memory()
            && self.damaged == 0
            && !self.is_ledger_doubtful
    }
    /// The boot before, to be drained under its epoch before the present one: what it recorded, then the
    /// spans that were open. Records are made readable in `scratch`, half of which has to hold the longest of
    /// them: 8 words, a span's buffer, and some for texts; what does not fit is dropped and counted.
    ///
    /// `None` if there is nothing of it, or somebody reads already.
    pub fn records<'a>(&self, scratch: &'a mut [u64]) -> Option<PreviousRecords<'a, N, K>> {
        PreviousRecords::new(self, scratch)
    }
    /// Sets attributes on a span, that of the boot as a rule: `reset.reason`, and what was lost.
    pub fn describe<R: Recorder, B: SpanBuf>(&self, span: &mut Span<R, B>) {
        span.set_static("reset.reason", self.reason.as_str());
        span.set_static(
            "reset.retention",
            match self.retention {
                Retention::Nothing => "nothing",
                Retention::OtherBuild(_) => "other_build",
                Retention::OtherLayout => "other_layout",
                Retention::Corrupt => "corrupt",
                Retention::Kept if self.is_verified() => "verified",
                Retention::Kept => "unverified",
            },
        );
        if let Some(crash) = &self.crash {
            if let Some((file, line)) = crash.location {
                span.set_static("code.file.path", file);
                span.set_attribute("code.line.number", line);
            }
            if let Some((pc, _)) = crash.fault {
                span.set_attribute("fault.pc", pc);
            }
        }
        for (key, count) in [
            ("reset.spans.closed", self.closed),
            ("reset.records.half_written", self.half_written),
            ("reset.memory.damaged", self.damaged),
            ("reset.records.abandoned", self.abandoned),
        ] {
            if count != 0 {
                span.set_attribute(key, count);
            }
        }
    }
    pub(super) fn closing(&self) -> Closing<'static> {
        Closing {
            reason: self.reason.as_str(),
            exception: self.crash.as_ref().and_then(Crash::exception),
            is_doubtful: !self.is_verified(),
        }
    }

    fn refused(
        recorder: &'static FlightRecorder<N, K>,
        boot: &Boot,
        rate: TickRate,
        retention: Retention,
    ) -> Self {
        Recovery {
            retention,
            reason: boot.reason,
            crash: None,
            intact: 0,
            closed: 0,
            half_written: 0,
            damaged: 0,
            abandoned: 0,
            is_ledger_doubtful: false,
            previous: None,
            recorder,
            texts: ReadOnlyTexts(boot.texts),
            rate,
            boot_reason: boot.reason,
        }
    }

    /// Recovers what there is and begins the boot. `keeps_failed`: spans that were recorded only are kept if
    /// they fail, and a reset is a failure.
    pub(super) fn of(
        recorder: &'static FlightRecorder<N, K>,
        boot: &Boot,
        rate: TickRate,
        keeps_failed: bool,
    ) -> Self {
        // What the static was initialised with is not what it holds.
        let recorder = core::hint::black_box(recorder);
        let base = recorder.base();
        let retention = match recorder.header(boot.build) {
            HeaderState::Nothing => Retention::Nothing,
            HeaderState::OtherBuild(build) => Retention::OtherBuild(build),
            HeaderState::OtherLayout => Retention::OtherLayout,
            HeaderState::Ours if base.is_none() || !recorder.ring.is_sound() => Retention::Corrupt,
            HeaderState::Ours => Retention::Kept,
        };
        let mut recovery = Self::refused(recorder, boot, rate, retention);
        match base {
            Some(base) if retention == Retention::Kept => {
                recovery.keep(&base, keeps_failed);
                recorder.open.clear();
                recorder.begin(base.generation.wrapping_add(1), boot.epoch);
            }
            _ => recorder.format(boot.build, boot.epoch),
        }
        recovery
    }

    fn keep(&mut self, base: &Base, keeps_failed: bool) {
        let recorder = self.recorder;
        let ring = &recorder.ring;
        self.crash = recorder.mark.get(base.generation, self.texts);
        if let Some(crash) = &self.crash {
            self.reason = crash.reason;
        }
        let counts = [
            (&recorder.started, 1),
            (&recorder.sampled_out, 1),
            (&recorder.unsendable, 1),
            // Added many at a time.
            (&recorder.escalated_incomplete, 1023),
            (&ring.refused, 1),
            (&ring.too_large, 1),
        ];
        for (count, step) in counts {
            self.is_ledger_doubtful |= count.intact(step).is_none();
            count.set(count.get());
        }
        recorder.open.repair();
        if !keeps_failed {
            for (slot, _) in recorder.open.left() {
                if slot.is_record_only() {
                    slot.ending();
                    recorder.sampled_out.add(recorder.lock(), 1);
                    slot.free();
                }
            }
        }

        // A span whose record was whole, though not committed, is not open any more.
        #[expect(clippy::cast_possible_truncation, reason = "3")]
        ring.uncommitted(SPAN as u32, |span| {
            if let Some(slot) = recorder.open.find(span) {
                slot.free();
            }
        });

        // What the boot had read, then what there is.
        let reads = ring.reads_left();
        self.is_ledger_doubtful |= reads.is_none();
        let read = later(base.first, reads.map_or(base.first, |(_, number)| number));
        let survey = ring.survey(base.first, read);
        ring.resume(&survey, base.first);
        self.half_written = survey.half_written;
        self.damaged = survey.damaged;
        self.abandoned = survey.before;
        let next = ring.recorded();

        // Records and open spans: each span that was started and is not counted elsewhere.
        let numbered = next.wrapping_sub(base.first);
        let counted = recorder.counters(base);
        let elsewhere = counted
            .sampled_out
            .wrapping_add(counted.ring_full)
            .wrapping_add(counted.too_large);
        let open = u32::try_from(recorder.open.left().count()).unwrap_or(u32::MAX);
        let mut unnumbered = counted
            .started
            .wrapping_sub(elsewhere)
            .wrapping_sub(numbered);
        if self.is_ledger_doubtful || unnumbered > MOST_OPEN {
            self.is_ledger_doubtful = true;
            unnumbered = open.saturating_sub(survey.half_written);
        }
        let recorded = numbered.wrapping_add(unnumbered);

        // Open spans go where records were half written, whose numbers and room are there already.
        let mut filled = 0;
        let crash = self.crash;
        {
            let mut left = recorder.open.left();
            ring.repair(base.first, |ring, half| {
                let Some((slot, span)) = left.next() else {
                    return false;
                };
                ring.fill(half, &closed(span, crash.as_ref()), || slot.ending());
                slot.free();
                filled += 1;
                true
            });
        }

        // What left the ring before: read, or overwritten. Of a damaged beginning nobody knows; it is lost.
        let oldest = match survey.oldest {
            Some(oldest) => oldest,
            None if survey.damaged == 0 => next,
            None => read,
        };
        let in_range = |number: u32| number.wrapping_sub(base.first) <= numbered;
        self.is_ledger_doubtful |= !in_range(oldest) || !in_range(read);
        let oldest = if in_range(oldest) { oldest } else { base.first };
        let read = if in_range(read) { read } else { base.first };
        let read_count = reads.map_or(read.wrapping_sub(base.first), |(count, _)| {
            count.wrapping_sub(base.read_count)
        });
        let gone = later(oldest, read).wrapping_sub(base.first);
        let mut overwritten = gone.saturating_sub(read_count);
        // What is there and comes before the next to be read has been read.
        let read_and_there = if is_before(oldest, read) {
            read.wrapping_sub(oldest)
        } else {
            0
        };
        self.is_ledger_doubtful |= read_count > gone || read_and_there > read_count;

        // The other open spans come behind all records.
        let mut added = 0;
        for (slot, span) in recorder.open.left() {
            if added == unnumbered {
                break;
            }
            let record = closed(span, crash.as_ref()).map(MaybeUninit::new);
            // SAFETY: all of it is initialised. It fits: nothing else is being written.
            if unsafe { ring.push_parts(&record, &[], || slot.ending()) }.is_ok() {
                added += 1;
            }
            slot.free();
        }
        self.closed = filled + added;
        let after = ring.survey(base.first, read);
        self.intact = after.whole;
        overwritten += (survey.unread + filled + added).saturating_sub(after.unread);
        let whole = survey.whole + filled + added;
        let accounted = oldest.wrapping_sub(base.first).wrapping_add(whole);
        // Fewer only after damage that the check words do not cover.
        let recorded = recorded.max(accounted);
        self.is_ledger_doubtful |= recorded != numbered.wrapping_add(unnumbered);

        // The next boot's counts go on from here.
        ring.read_count
            .set(base.read_count.wrapping_add(read_count));
        ring.read_number.set(read);
        self.previous = Some(Previous {
            epoch: Epoch(base.epoch),
            first: base.first,
            end: ring.recorded(),
            read,
            unread: after.unread,
            counters: DeviceCounters {
                started: recorded.wrapping_add(elsewhere),
                recorded,
                overwritten,
                lost_at_reset: recorded - accounted,
                ..counted
            },
        });
    }
}

/// The record of an open span: failed, and ended when the crash was noted, if that is known.
fn closed(span: Header, crash: Option<&Crash>) -> Header {
    let start = span[START];
    let mut meta = span[META] & !(3 << META_STATUS_SHIFT);
    meta |= u64::from(Status::Error.to_wire()) << META_STATUS_SHIFT | META_CLOSED_BY_RESET;
    if meta & META_RECORD_ONLY != 0 {
        meta |= META_ESCALATED;
    }
    let at = crash.and_then(|crash| crash.at).filter(|at| at.0 >= start);
    let mut record = match at.and_then(|at| with_end(&span, at.0)) {
        Some(record) => record,
        // The clock began anew, or the span was open for longer than its header can say.
        None => {
            meta |= META_DURATION_UNKNOWN;
            with_end(&span, start).unwrap_or(span)
        }
    };
    record[META] = meta;
    record
}
