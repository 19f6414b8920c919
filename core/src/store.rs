//! Rings that hold spans and nothing else, so that what comes out can be read as records.
//!
//! Input: [`FinishedSpan`]s, which only an ending span can make. Output: [`LocalRecord`]s. Bound: the
//! ring's.

use crate::record::LocalRecord;
use crate::recorder::FinishedSpan;
use crate::ring::{
    CapacityError, Consumer, DefaultReserve, Producer, PushError, Reader, Reserve, Ring,
    SpscControl,
};
use core::mem::MaybeUninit;

/// Makes both ends of a single-producer ring of spans over memory of a power of two of words.
///
/// # Errors
/// If the length does not suit; see [`SpscControl::split`].
///
/// ```
/// use core::mem::MaybeUninit;
/// use spanlet::{ring::SpscControl, spsc_spans};
/// let mut control = SpscControl::new();
/// let mut memory = [MaybeUninit::uninit(); 1024];
/// let (producer, consumer) = spsc_spans(&mut control, &mut memory)?;
/// // A recorder pushes what its spans hand to `Recorder::record`; the drain reads.
/// assert!(consumer.read().is_none());
/// # assert_eq!(producer.full(), 0);
/// # Ok::<(), spanlet::ring::CapacityError>(())
/// ```
pub fn spsc_spans<'r>(
    control: &'r mut SpscControl,
    words: &'r mut [MaybeUninit<u64>],
) -> Result<(SpanProducer<'r>, SpanConsumer<'r>), CapacityError> {
    let (producer, consumer) = control.split(words)?;
    Ok((SpanProducer(producer), SpanConsumer(consumer)))
}

/// The writing end of a ring of spans: one thread's.
pub struct SpanProducer<'r>(Producer<'r>);

impl SpanProducer<'_> {
    /// Copies a span in. Never blocks.
    ///
    /// # Errors
    /// As [`Producer::push_words`]; counted by the ring.
    #[inline(always)]
    pub fn push(&self, span: FinishedSpan<'_>) -> Result<(), PushError> {
        let (header, entries, len) = span.parts();
        // SAFETY: a finished span's header and the `len` first of its entries are initialised.
        unsafe { self.0.push_parts(header, entries, len) }
    }
    /// Copies a span in, if the ring has room as far as it knows without looking at the reader's progress: the usual
    /// case, apart from the rare ones. `false`: nothing has happened, and [`push`](Self::push) must be asked.
    #[inline(always)]
    pub fn push_at_once(&self, span: FinishedSpan<'_>) -> bool {
        let (header, entries, len) = span.parts();
        // SAFETY: a finished span's header and the `len` first of its entries are initialised; its entries are whole
        // groups of four words, no more than hold `len`.
        unsafe { self.0.push_parts_at_once(header, entries, len) }
    }
    /// Refuses and counts a span if the ring is full, as [`push`](Self::push) does, in fewer instructions: for a recorder
    /// whose full ring must not cost more than one with room. `false`: `push` must be asked.
    #[inline(always)]
    pub fn refuse_if_full(&self, span: FinishedSpan<'_>) -> bool {
        let (header, entries, _) = span.parts();
        self.0.refuse_if_full(header.len() + entries.len())
    }
    /// Has `call` called when a quarter of the ring waits to be read, as [`Producer::on_filling`].
    pub fn on_filling(&mut self, call: fn()) {
        self.0.on_filling(call);
    }
    /// Spans refused for lack of room since the start, modulo 2^32.
    pub fn full(&self) -> u32 {
        self.0.full()
    }
}

/// The reading end of a ring of spans.
pub struct SpanConsumer<'r>(Consumer<'r>);

impl<'r> SpanConsumer<'r> {
    /// Control and memory back, once the producer is gone and everything was read.
    ///
    /// # Errors
    /// The consumer itself, unless [`is_finished`](Self::is_finished).
    pub fn reclaim(self) -> Result<(&'r mut SpscControl, &'r mut [MaybeUninit<u64>]), Self> {
        self.0.reclaim().map_err(SpanConsumer)
    }
    /// The next span. It stays in the ring until [`release`](Self::release).
    #[inline]
    pub fn read(&self) -> Option<LocalRecord<'_>> {
        // SAFETY: only finished spans of this process were pushed.
        self.0
            .read()
            .and_then(|words| unsafe { LocalRecord::new(words) })
    }
    /// Puts the span read last back, to be read again.
    pub fn unread(&mut self) {
        self.0.unread();
    }
    /// Gives what was read back to the producer.
    #[inline]
    pub fn release(&mut self) {
        self.0.release();
    }
    /// Spans refused for lack of room since the start, modulo 2^32.
    pub fn full(&self) -> u32 {
        self.0.full()
    }
    /// Spans refused for their length since the start, modulo 2^32.
    pub fn too_large(&self) -> u32 {
        self.0.too_large()
    }
    /// Whether the producer is gone and everything was read.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

/// A ring of `N` bytes for the spans of tasks and interrupts: a [`Ring`] that takes nothing else.
///
/// ```
/// use spanlet::SpanRing;
/// static SPANS: SpanRing<4096> = SpanRing::new();
/// // A recorder pushes what its spans hand to `Recorder::record`; one drain at a time reads.
/// let reader = SPANS.reader().expect("nobody else reads");
/// assert!(SPANS.reader().is_none());
/// assert!(reader.read().is_none());
/// ```
pub struct SpanRing<const N: usize, M = DefaultReserve>(Ring<N, M>);

impl<const N: usize, M: Reserve> SpanRing<N, M> {
    /// Empty. All zeros, so a `static` lies in `.bss`.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        SpanRing(Ring::with_reserve())
    }
    /// Copies a span in. Never blocks; safe in interrupts.
    ///
    /// # Errors
    /// As [`Ring::push_words`]; counted by the ring.
    #[inline]
    pub fn push(&self, span: FinishedSpan<'_>) -> Result<(), PushError> {
        let (header, entries) = span.exact_parts();
        // SAFETY: a finished span's header and entries are initialised.
        unsafe { self.0.push_parts(header, entries) }
    }
    /// The reading end, if nobody has it.
    pub fn reader(&self) -> Option<SpanReader<'_, N, M>> {
        self.0.reader().map(SpanReader)
    }
    /// Spans refused for lack of room since the start, modulo 2^32.
    pub fn full(&self) -> u32 {
        self.0.full()
    }
    /// Spans refused for their length since the start, modulo 2^32.
    pub fn too_large(&self) -> u32 {
        self.0.too_large()
    }
}

#[cfg(not(loom))]
impl<const N: usize, M: Reserve> Default for SpanRing<N, M> {
    fn default() -> Self {
        Self::new()
    }
}

/// The reading end of a [`SpanRing`].
pub struct SpanReader<'a, const N: usize, M: Reserve = DefaultReserve>(Reader<'a, N, M>);

impl<const N: usize, M: Reserve> SpanReader<'_, N, M> {
    /// The next span, with its sequence number. It stays in the ring until it is released.
    pub fn read(&self) -> Option<(u32, LocalRecord<'_>)> {
        let record = self.0.read()?;
        // SAFETY: only finished spans of this process were pushed.
        let local = unsafe { LocalRecord::new(record.words()) }?;
        Some((record.sequence(), local))
    }
    /// The next span, without stepping over it.
    pub fn peek(&self) -> Option<(u32, LocalRecord<'_>)> {
        let record = self.0.peek_record()?;
        // SAFETY: only finished spans of this process were pushed.
        let local = unsafe { LocalRecord::new(record.words()) }?;
        Some((record.sequence(), local))
    }
    /// Gives everything read so far back to the writers.
    pub fn release(&mut self) {
        self.0.release();
    }
    /// Gives back what was read up to and with this sequence number; returns how many that were.
    pub fn release_through(&mut self, sequence: u32) -> u32 {
        self.0.release_through(sequence)
    }
    /// Starts again with the oldest span that is not released.
    pub fn rewind(&mut self) {
        self.0.rewind();
    }
    /// The sequence number of the next span to be read.
    pub fn sequence(&self) -> u32 {
        self.0.sequence()
    }
    /// Spans committed since the start, modulo 2^32.
    pub fn committed(&self) -> u32 {
        self.0.committed()
    }
}
