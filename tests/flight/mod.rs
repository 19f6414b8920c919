//! A device that may lose power at any moment, and what its next boot must make of what is left.
#![allow(dead_code, reason = "each test uses its part")]

use core::mem::MaybeUninit;
use spanlet::frame::{DeviceCounters, Epoch};
use spanlet::testing::ManualClock;
use spanlet::{
    Boot, BuildId, DeviceIds, Escalation, FlightRecorder, FlightTracer, InlineBuf, RecordSource,
    Recovery, ResetReason, Sampler, SamplingDecision, SamplingParameters, SamplingResult, Span,
    SpanId, Status, Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// 64 words: five records or so.
pub(crate) const N: usize = 512;
pub(crate) const K: usize = 3;
pub(crate) const BUILD: BuildId = BuildId(0xb111_d001_0002_0003);

pub(crate) type Recorder = FlightRecorder<N, K>;
pub(crate) type Tracer = FlightTracer<ManualClock, DeviceIds, ByName, N, K>;
pub(crate) type DeviceSpan = Span<&'static Tracer, InlineBuf<8>>;

/// Drops spans whose name begins with "d", records only those that begin with "r", samples the rest.
#[derive(Clone, Copy)]
pub(crate) struct ByName;

impl Sampler for ByName {
    fn should_sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        SamplingResult::new(match parameters.name.as_bytes().first() {
            Some(b'd') => SamplingDecision::Drop,
            Some(b'r') => SamplingDecision::RecordOnly,
            _ => SamplingDecision::RecordAndSample,
        })
    }
    fn describe(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        out.write_str("ByName")
    }
}

/// All texts of the program that the "linker" knows of.
pub(crate) static TEXTS: &str = "sampled|dropped|recorded only|handler|n|boot|long";

/// The text from `TEXTS`, so that its address is in the range.
pub(crate) fn text(wanted: &str) -> &'static str {
    let at = TEXTS.find(wanted).expect("one of the texts");
    &TEXTS[at..at + wanted.len()]
}

/// The memory as a reset leaves it.
#[derive(Clone, PartialEq)]
#[repr(align(8))]
pub(crate) struct Image(pub(crate) [u8; size_of::<Recorder>()]);

impl Image {
    pub(crate) const BLANK: Image = Image([0; size_of::<Recorder>()]);

    pub(crate) fn of(recorder: &Recorder) -> Box<Self> {
        let mut image = Box::new(Self::BLANK);
        // SAFETY: plain words of that size, on one thread.
        unsafe {
            let from = core::ptr::from_ref(recorder).cast::<u8>();
            core::ptr::copy_nonoverlapping(from, image.0.as_mut_ptr(), image.0.len());
        }
        image
    }
}

/// One board: memory that stays where it is, and the tracer of the present boot.
pub(crate) struct Board {
    pub(crate) recorder: &'static Recorder,
    pub(crate) tracer: &'static Tracer,
}

impl Board {
    /// Powers up with `image` in the memory.
    pub(crate) fn power_up(image: &Image, keeps_failed: bool) -> Self {
        let memory: &'static mut MaybeUninit<Recorder> = Box::leak(Box::new(MaybeUninit::uninit()));
        // SAFETY: any bit pattern is a recorder.
        let recorder = unsafe {
            let to = memory.as_mut_ptr().cast::<u8>();
            core::ptr::copy_nonoverlapping(image.0.as_ptr(), to, image.0.len());
            &*memory.as_ptr()
        };
        Self::reset(recorder, image, keeps_failed)
    }
    /// Resets, with `image` in the memory.
    pub(crate) fn reset(recorder: &'static Recorder, image: &Image, keeps_failed: bool) -> Self {
        // SAFETY: whatever the recorder holds is in atomics; nobody else looks at it.
        unsafe {
            let to = core::ptr::from_ref(recorder).cast_mut().cast::<u8>();
            core::ptr::copy_nonoverlapping(image.0.as_ptr(), to, image.0.len());
        }
        let mut tracer = Tracer::new(ManualClock::new(), DeviceIds::unset(), ByName, recorder);
        if keeps_failed {
            tracer = tracer.with_escalation::<16>(Box::leak(Box::new(Escalation::new())));
        }
        let tracer: &'static Tracer = Box::leak(Box::new(tracer));
        Board { recorder, tracer }
    }
    pub(crate) fn attach(&self, epoch: u64) -> Recovery<N, K> {
        self.attach_as(epoch, BUILD)
    }
    pub(crate) fn attach_as(&self, epoch: u64, build: BuildId) -> Recovery<N, K> {
        self.tracer.ids().set(77, u32::try_from(epoch).unwrap());
        let boot = Boot {
            build,
            epoch: Epoch(epoch),
            reason: ResetReason::Watchdog,
            texts: TEXTS.as_bytes(),
        };
        self.tracer.attach(&boot).expect("attached once")
    }
}

/// A record as the host sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) n: Option<i64>,
    pub(crate) status: Status,
    pub(crate) description: Option<String>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) is_duration_unknown: bool,
    pub(crate) is_escalated: bool,
}

impl Seen {
    pub(crate) fn is_closed_by_reset(&self) -> bool {
        self.description.as_deref() == Some("reset")
    }
}

/// Everything that a source has, by sequence.
pub(crate) fn drain(source: &mut impl RecordSource) -> BTreeMap<u32, (SpanId, Seen)> {
    let mut got = BTreeMap::new();
    let mut last = None;
    while let Some((sequence, record)) = source.peek() {
        assert!(
            last.is_none_or(|last| last < sequence),
            "out of order: {last:?}, {sequence}: {record:?}"
        );
        last = Some(sequence);
        let view = record.view();
        let attributes: BTreeMap<String, String> = view
            .attributes()
            .map(|kv| (kv.key.to_owned(), format!("{:?}", kv.value)))
            .collect();
        let n = view.attributes().find_map(|kv| match kv.value {
            Value::I64(n) if kv.key == "n" => Some(n),
            _ => None,
        });
        let seen = Seen {
            name: view.name().to_owned(),
            n,
            status: view.status(),
            description: view.status_description().map(str::to_owned),
            attributes,
            start: view.start().0,
            end: view.end().0,
            is_duration_unknown: view.is_duration_unknown(),
            is_escalated: view.is_escalated(),
        };
        let id = view.span_id();
        got.insert(sequence, (id, seen));
        source.advance();
    }
    got
}

/// What happened on the device, as somebody saw who survived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    /// Spans by id: their number in the story, and how far they got.
    pub(crate) spans: BTreeMap<u64, (i64, Life)>,
    /// Calls of `start` and `end` that have begun and not returned.
    pub(crate) in_flight: u32,
    pub(crate) started: u32,
    /// Sequences that were handed to the link.
    pub(crate) delivered: BTreeSet<u32>,
    /// Starts that found no slot.
    pub(crate) without_slot: u32,
    /// Whether the reader was at work.
    pub(crate) is_reading: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Life {
    /// `start` has returned.
    /// With a slot in the table, without, or without need of one.
    Open(Slot),
    Ending(Slot),
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Slot {
    Has,
    FoundNone,
    NeedsNone,
}

/// What a boot made of it.
pub(crate) struct Outcome {
    pub(crate) spans: BTreeMap<u32, (SpanId, Seen)>,
    pub(crate) counters: DeviceCounters,
    pub(crate) closed: u32,
    pub(crate) half_written: u32,
}

/// Drains the boot before, and checks what must hold whatever happened.
pub(crate) fn boot_before(recovery: &Recovery<N, K>, epoch: u64) -> Outcome {
    assert_eq!(recovery.previous_epoch(), Some(Epoch(epoch)));
    let mut scratch = [0; 128];
    let mut records = recovery.records(&mut scratch).expect("nobody else reads");
    let spans = drain(&mut records);
    let counters = records.counters();
    let ids: BTreeSet<u64> = spans.values().map(|(id, _)| id.to_word()).collect();
    assert_eq!(ids.len(), spans.len(), "a span twice: {spans:?}");
    assert_eq!(counters.open(), 0, "{counters:?}");
    assert!(spans.keys().all(|sequence| *sequence < counters.recorded));
    Outcome {
        spans,
        counters,
        closed: recovery.closed,
        half_written: recovery.half_written,
    }
}

impl Story {
    /// Whether the outcome tells this story and no other, and loses nothing that it does not count.
    pub(crate) fn check(&self, outcome: &Outcome) {
        let Outcome {
            spans, counters, ..
        } = outcome;
        for (id, seen) in spans.values() {
            let (n, life) = match self.spans.get(&id.to_word()) {
                Some(known) => *known,
                // Its `start` had not returned.
                None => (-1, Life::Open(Slot::Has)),
            };
            assert!(n >= 0 || self.in_flight > 0, "invented {seen:?}");
            if seen.is_closed_by_reset() {
                assert_eq!(seen.status, Status::Error);
                assert_ne!(life, Life::Ended, "closed though it had ended: {seen:?}");
                assert!(seen.attributes.contains_key("reset.reason"));
            } else {
                assert_eq!(seen.n, Some(n), "torn or invented: {seen:?}");
                assert!(!matches!(life, Life::Open(_)), "{seen:?}");
            }
            assert!(TEXTS.contains(&seen.name), "{seen:?}");
        }
        // The ledger: each number has come, now or before, or is counted.
        let now: BTreeSet<u32> = spans.keys().copied().collect();
        let come = self.delivered.union(&now).count();
        let gone = counters.overwritten + counters.lost_at_reset + counters.unsendable;
        let sum = come as u32 + gone;
        let slack = u32::from(self.is_reading);
        assert!(
            (counters.recorded..=counters.recorded + slack).contains(&sum),
            "{come} came, {gone} gone: {counters:?} {self:?}"
        );
        // Counted at the beginning of a `start`, which may not have returned.
        let started = self.started..=self.started + self.in_flight;
        assert!(started.contains(&counters.started), "{counters:?} {self:?}");
        // Open spans: those without a slot, and those in between, may be lost; no others.
        let without = [Life::Open(Slot::FoundNone), Life::Ending(Slot::FoundNone)];
        let without = self
            .spans
            .values()
            .filter(|(_, life)| without.contains(life));
        let most = without.count() as u32 + self.in_flight;
        assert!(counters.lost_at_reset <= most, "{counters:?} {self:?}");
        for (id, (_, life)) in &self.spans {
            if *life == Life::Open(Slot::Has) {
                let is_there = spans.values().any(|(there, _)| there.to_word() == *id);
                assert!(is_there, "{id} was open: {self:?}");
            }
        }
    }
}
