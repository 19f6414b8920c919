//! All that a reset keeps, in one static.

use super::boot::{BuildId, ResetReason};
use super::crash::{Mark, Note};
use super::open_table::OpenTable;
use crate::clock::Ticks;
use crate::frame::{DeviceCounters, Epoch};
use crate::record::{Header, SPAN};
use crate::recorder::FinishedSpan;
use crate::ring::FlightRing;
use crate::ring::kept::{Check, Kept};
use crate::ring::sync::{
    AtomicU32, Lock,
    Ordering::{Relaxed, Release},
};

/// "SPLT".
const MAGIC: u32 = 0x5350_4c54;
/// Of this layout. Another number whenever a retained word changes its meaning.
const VERSION: u32 = 1;

/// The retained memory of a [`FlightTracer`](crate::FlightTracer): a ring of `N` bytes that overwrites the
/// oldest spans, the [`OpenTable`] of up to `K` open ones, counters, and room for a note of a crash.
///
/// For a `static` in memory that a reset does not clear. Any bit pattern is a value of it; what it holds is
/// believed only as far as magic, layout, build id and check words say so. About 300 bytes + `N` + 56 `K`.
///
/// ```
/// use spanlet::FlightRecorder;
/// // On a device with cortex-m-rt: #[unsafe(link_section = ".uninit.spans")]
/// static SPANS: FlightRecorder<4096> = FlightRecorder::new();
/// assert!(size_of_val(&SPANS) < 4096 + 8 * 56 + 320);
/// ```
#[repr(C, align(8))]
pub struct FlightRecorder<const N: usize, const K: usize = 8> {
    magic: AtomicU32,
    layout: AtomicU32,
    build: [AtomicU32; 2],
    /// Boots since it was formatted; the base in use is the one of this number, modulo 2.
    pub(super) generation: AtomicU32,
    bases: [RetainedBase; 2],
    pub(super) started: Kept,
    pub(super) sampled_out: Kept,
    pub(super) unsendable: Kept,
    pub(super) escalated_incomplete: Kept,
    pub(super) mark: Mark,
    pub(super) open: OpenTable<K>,
    pub(super) ring: FlightRing<N>,
}

/// Where the counts stood when a boot began. What the boot counted is the difference: nothing has to be
/// cleared, so no reset finds it half cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Base {
    pub(super) generation: u32,
    pub(super) epoch: u64,
    /// The number of its first record.
    pub(super) first: u32,
    pub(super) read_count: u32,
    pub(super) started: u32,
    pub(super) sampled_out: u32,
    pub(super) refused: u32,
    pub(super) too_large: u32,
    pub(super) unsendable: u32,
    pub(super) escalated_incomplete: u32,
}

impl Base {
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves")]
    fn words(&self) -> [u32; BASE_WORDS] {
        [
            self.generation,
            self.epoch as u32,
            (self.epoch >> 32) as u32,
            self.first,
            self.read_count,
            self.started,
            self.sampled_out,
            self.refused,
            self.too_large,
            self.unsendable,
            self.escalated_incomplete,
        ]
    }
    fn of(words: [u32; BASE_WORDS]) -> Self {
        let [
            generation,
            low,
            high,
            first,
            read_count,
            started,
            sampled_out,
            ..,
        ] = words;
        let [.., refused, too_large, unsendable, escalated_incomplete] = words;
        Base {
            generation,
            epoch: u64::from(low) | u64::from(high) << 32,
            first,
            read_count,
            started,
            sampled_out,
            refused,
            too_large,
            unsendable,
            escalated_incomplete,
        }
    }
}

const BASE_WORDS: usize = 11;

#[repr(C)]
struct RetainedBase {
    check: AtomicU32,
    words: [AtomicU32; BASE_WORDS],
}

impl RetainedBase {
    const fn new() -> Self {
        RetainedBase {
            check: AtomicU32::new(0),
            words: [const { AtomicU32::new(0) }; BASE_WORDS],
        }
    }
    fn set(&self, base: &Base) {
        let words = base.words();
        for (to, word) in self.words.iter().zip(words) {
            to.store(word, Relaxed);
        }
        // ORDERING: after all that it sums up, for a reset.
        self.check.store(check_of(&words), Release);
    }
    fn words(&self) -> [u32; BASE_WORDS] {
        let mut words = [0; BASE_WORDS];
        for (to, word) in words.iter_mut().zip(&self.words) {
            *to = word.load(Relaxed);
        }
        words
    }
    fn get(&self) -> Option<Base> {
        let words = self.words();
        (self.check.load(Relaxed) == check_of(&words)).then(|| Base::of(words))
    }
}

fn check_of(words: &[u32; BASE_WORDS]) -> u32 {
    let mut check = Check::new(1);
    words.iter().for_each(|word| check.add(*word));
    check.word()
}

/// What stands in the header of retained memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderState {
    Nothing,
    OtherLayout,
    OtherBuild(BuildId),
    Ours,
}

impl<const N: usize, const K: usize> FlightRecorder<N, K> {
    #[expect(clippy::cast_possible_truncation, reason = "below 2^16")]
    const LAYOUT: u32 = VERSION << 24 | N.trailing_zeros() << 16 | K as u32;

    /// Holds nothing. All zeros.
    pub const fn new() -> Self {
        const { assert!(K < 1 << 16, "more open spans than a layout can say") };
        FlightRecorder {
            magic: AtomicU32::new(0),
            layout: AtomicU32::new(0),
            build: [const { AtomicU32::new(0) }; 2],
            generation: AtomicU32::new(0),
            bases: [const { RetainedBase::new() }; 2],
            started: Kept::new(),
            sampled_out: Kept::new(),
            unsendable: Kept::new(),
            escalated_incomplete: Kept::new(),
            mark: Mark::new(),
            open: OpenTable::new(),
            ring: FlightRing::new(),
        }
    }
    /// The spans that are open.
    pub const fn open_table(&self) -> &OpenTable<K> {
        &self.open
    }

    /// Notes a panic, for a panic handler, which then resets: the place, the message if it is constant text,
    /// and the time if there is a clock to ask. What is noted first stays.
    ///
    /// About 150 instructions; nothing is formatted.
    ///
    /// ```ignore
    /// #[panic_handler]
    /// fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    ///     SPANS.panicked(info, Some(CLOCK.now()));
    ///     cortex_m::peripheral::SCB::sys_reset()
    /// }
    /// ```
    pub fn panicked(&self, info: &core::panic::PanicInfo<'_>, at: Option<Ticks>) {
        self.set_mark(&Note {
            reason: ResetReason::Panic.to_code(),
            at,
            location: info.location().map(|at| (static_file(at), at.line())),
            message: info.message().as_str(),
            fault: None,
        });
    }
    /// Notes a fault, for a fault handler, which then resets: where the core was.
    ///
    /// ```ignore
    /// #[cortex_m_rt::exception]
    /// unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    ///     SPANS.faulted(frame.pc(), frame.lr(), None);
    ///     cortex_m::peripheral::SCB::sys_reset()
    /// }
    /// ```
    pub fn faulted(&self, pc: u32, lr: u32, at: Option<Ticks>) {
        self.set_mark(&Note {
            reason: ResetReason::Fault.to_code(),
            at,
            fault: Some((pc, lr)),
            ..Note::default()
        });
    }
    /// Notes why a reset comes, and when: for a watchdog's early warning, or a shutdown of the program's own.
    pub fn resetting(&self, reason: ResetReason, at: Option<Ticks>) {
        self.set_mark(&Note {
            reason: reason.to_code(),
            at,
            ..Note::default()
        });
    }
    fn set_mark(&self, note: &Note) {
        self.mark.set(self.generation.load(Relaxed), note);
    }

    pub(super) fn header(&self, build: BuildId) -> HeaderState {
        let [low, high] = &self.build;
        let found = u64::from(low.load(Relaxed)) | u64::from(high.load(Relaxed)) << 32;
        if self.magic.load(Relaxed) != MAGIC {
            HeaderState::Nothing
        } else if self.layout.load(Relaxed) != Self::LAYOUT {
            HeaderState::OtherLayout
        } else if found != build.0 {
            HeaderState::OtherBuild(BuildId(found))
        } else {
            HeaderState::Ours
        }
    }
    /// The magic goes first and comes back last: in between there is nothing.
    pub(super) fn format(&self, build: BuildId, epoch: Epoch) {
        self.magic.store(0, Release);
        self.ring.format();
        self.open.format();
        self.mark.clear();
        for count in [
            &self.started,
            &self.sampled_out,
            &self.unsendable,
            &self.escalated_incomplete,
        ] {
            count.set(0);
        }
        #[expect(clippy::cast_possible_truncation, reason = "takes the halves")]
        for (to, half) in self
            .build
            .iter()
            .zip([build.0 as u32, (build.0 >> 32) as u32])
        {
            to.store(half, Release);
        }
        self.layout.store(Self::LAYOUT, Release);
        self.begin(0, epoch);
        self.magic.store(MAGIC, Release);
    }
    /// Begins a boot: what was counted before is the last one's.
    pub(super) fn begin(&self, generation: u32, epoch: Epoch) {
        let ring = &self.ring;
        self.retained_base(generation).set(&Base {
            generation,
            epoch: epoch.0,
            first: ring.recorded(),
            read_count: ring.read_count.get(),
            started: self.started.get(),
            sampled_out: self.sampled_out.get(),
            refused: ring.refused(),
            too_large: ring.too_large(),
            unsendable: self.unsendable.get(),
            escalated_incomplete: self.escalated_incomplete.get(),
        });
        // ORDERING: one store ends the last boot, after all that belongs to it, for a reset.
        self.generation.store(generation, Release);
    }
    fn retained_base(&self, generation: u32) -> &RetainedBase {
        let [even, odd] = &self.bases;
        if generation & 1 == 0 { even } else { odd }
    }
    /// The present boot's base, unless it is damaged.
    pub(super) fn base(&self) -> Option<Base> {
        let generation = self.generation.load(Relaxed);
        let base = self.retained_base(generation).get()?;
        (base.generation == generation).then_some(base)
    }

    pub(super) fn lock(&self) -> &Lock {
        self.ring.lock()
    }
    /// Counts a start.
    #[inline]
    pub(super) fn start(&self, recording: bool) {
        self.started.add(self.lock(), 1);
        if !recording {
            self.sampled_out.add(self.lock(), 1);
        }
    }
    #[inline]
    pub(super) fn opened(&self, span: &Header) {
        self.open.add(self.lock(), span);
    }
    /// Takes the record of an ended span.
    #[inline]
    pub(super) fn record(&self, span: FinishedSpan<'_>) {
        let (header, entries, len) = span.parts();
        let entries = entries.get(..len).unwrap_or(&[]);
        let slot = self.open.find(span.header()[SPAN]);
        let ending = || {
            if let Some(slot) = &slot {
                slot.ending();
            }
        };
        // SAFETY: a finished span's header and the `len` first of its entries are initialised.
        // Refusals are counted by the ring.
        let _ = unsafe { self.ring.push_parts(header, entries, ending) };
        if let Some(slot) = &slot {
            slot.free();
        }
    }
    /// Counts a span that was recorded only and is not kept.
    pub(super) fn sample_out(&self, span: u64) {
        let slot = self.open.find(span);
        if let Some(slot) = &slot {
            slot.ending();
        }
        self.sampled_out.add(self.lock(), 1);
        if let Some(slot) = &slot {
            slot.free();
        }
    }

    /// What the present boot has counted so far, `recorded` and `overwritten` as of now.
    pub(super) fn counters(&self, base: &Base) -> DeviceCounters {
        let ring = &self.ring;
        // Losses first: a span in between shows as open.
        let ring_full = ring.refused().wrapping_sub(base.refused);
        let too_large = ring.too_large().wrapping_sub(base.too_large);
        let sampled_out = self.sampled_out.get().wrapping_sub(base.sampled_out);
        let recorded = ring.recorded().wrapping_sub(base.first);
        let escalated = self.escalated_incomplete.get();
        DeviceCounters {
            started: self.started.get().wrapping_sub(base.started),
            recorded,
            sampled_out,
            ring_full,
            too_large,
            overwritten: ring.overwritten_since(base.first, base.read_count),
            unsendable: self.unsendable.get().wrapping_sub(base.unsendable),
            lost_at_reset: 0,
            escalated_incomplete: escalated.wrapping_sub(base.escalated_incomplete),
        }
    }
}

impl<const N: usize, const K: usize> Default for FlightRecorder<N, K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The file of a place in the program: `Location` borrows it for as long as the panic lives, but the compiler
/// makes places of constants. What is noted is an address, which is looked at again before it is followed.
fn static_file(at: &core::panic::Location<'_>) -> &'static str {
    // SAFETY: see above; `mark` stores address and length and reads neither.
    unsafe { &*core::ptr::from_ref(at.file()) }
}
