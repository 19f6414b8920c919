//! `FlightRing`: many writers, one reader, overwrites the oldest; readable after a reset.
//!
//! A record takes one word more than it has: `header | number`, then its words, the low half of the first of
//! which is the record's check word. Making room and taking it are critical sections of their own, each of
//! which evicts one record or places one, so that interrupts are off for a constant time however many short
//! records a long one evicts. A record that is still being written cannot make room: then the *newest* is
//! refused and counted.
//!
//! The reader copies a record into memory of its own, and then makes sure, in a critical section, that the
//! tail has not passed it meanwhile: what was overwritten while it was copied is never handed out.
//!
//! One file, as the invariants hold over writer, reader and eviction together; recovery is `flight_recover.rs`.
//!
//! INVARIANTS (positions count words, numbers count records, both modulo 2^32)
//! 1. `tail <= head <= tail + N / 8` as distances.
//! 2. `tail..head` is a chain of whole slots, none across the end of the memory, *after every single store*,
//!    in critical sections too: a slot's header and number stand before the head moves over it, and the tail
//!    moves before anything behind it is overwritten.
//! 3. Head, tail and the next number change only in the critical section; `next` right after the head.
//! 4. A slot goes from Reserved to Committed once, by its writer, as its last store to it. Reserved is never
//!    evicted, so nobody else writes there until then.
//! 5. Numbers follow each other along the chain. A record whose check word is right was written here whole,
//!    as this number at this position.
//! 6. Each push is `Ok`, and read once or overwritten, or counted in `refused` or `too_large`.

use super::header::{Header, MAX_WORDS, State};
use super::kept::{Check, Kept};
use super::sync::{
    AtomicU32, Lock,
    Ordering::{Acquire, Relaxed, Release},
    const_fn,
};
use super::words::{Words, settle};
use super::{PushError, max_words};
use core::mem::MaybeUninit;

/// Turns that one push tries before it counts itself as refused. Each one that fails means that another
/// writer's push has gone ahead meanwhile.
const ATTEMPTS: u32 = 64;

/// A ring of `N` bytes, a power of two from 32 to 2^30, for records of 64-bit words; 8 bytes of each are the
/// ring's. When it is full, the oldest record goes.
///
/// Any number of writers push through `&self`, from tasks, threads and interrupts that preempt each other;
/// one [`FlightReader`] copies records out. Needs the binary's `critical-section` provider.
///
/// The memory of a [`FlightRecorder`](crate::FlightRecorder), which a reset may keep.
///
/// ```
/// use spanlet::ring::FlightRing;
/// static RING: FlightRing<64> = FlightRing::new();
///
/// // The low half of the first word is the ring's; the rest comes out as it went in.
/// for n in 0..4 {
///     RING.push_words(&[n << 32, n])?; // three words each, of eight
/// }
/// let mut reader = RING.reader().expect("nobody else reads");
/// let mut buffer = [0; 4];
/// let record = reader.peek(&mut buffer).expect("a record");
/// assert_eq!((record.number, record.words), (2, 2), "0 and 1 made room");
/// assert_eq!((buffer[0] >> 32, buffer[1]), (2, 2));
/// reader.advance();
/// assert_eq!(RING.overwritten(), 2);
/// # Ok::<(), spanlet::ring::PushError>(())
/// ```
#[repr(C)]
pub struct FlightRing<const N: usize> {
    pub(super) tail: AtomicU32,
    pub(super) head: AtomicU32,
    /// The number of the next record.
    pub(super) next: AtomicU32,
    pub(super) has_reader: AtomicU32,
    pub(crate) refused: Kept,
    pub(crate) too_large: Kept,
    /// Records read for the first time, and one past the number of the last of them: what lies between and
    /// was not read was overwritten.
    pub(crate) read_count: Kept,
    pub(crate) read_number: Kept,
    lock: Lock,
    pub(super) words: Words<N>,
}

impl<const N: usize> Default for FlightRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> FlightRing<N> {
    /// The longest record, in words: with the ring's own word half the ring.
    pub const MAX_WORDS: usize = max_words(N / 8, MAX_WORDS) - 1;

    #[expect(clippy::cast_possible_truncation, reason = "N is at most 2^30")]
    pub(super) const CAPACITY: u32 = (N / 8) as u32;

    const_fn! {
        /// An empty ring. All zeros, so a `static` lies in `.bss`.
        #[must_use]
        pub fn new() -> Self {
            const {
                assert!(
                    N.is_power_of_two() && N >= 32 && N <= 1 << 30,
                    "N must be a power of two, 32 bytes to 1 GiB"
                );
            };
            FlightRing {
                tail: AtomicU32::new(0),
                head: AtomicU32::new(0),
                next: AtomicU32::new(0),
                has_reader: AtomicU32::new(0),
                refused: Kept::new(),
                too_large: Kept::new(),
                read_count: Kept::new(),
                read_number: Kept::new(),
                lock: Lock::new(),
                words: Words::new(),
            }
        }
    }

    /// Copies one record in, for which the oldest make room. Never blocks.
    ///
    /// # Errors
    /// [`PushError::Full`] when what would have to make room is still being written (or 64 other pushes got in
    /// between), [`PushError::TooLarge`] for more than [`FlightRing::MAX_WORDS`] words, or none. Both counted.
    pub fn push_words(&self, words: &[u64]) -> Result<(), PushError> {
        // SAFETY: same layout, and all of it initialised. (The ring only reads it.)
        let words = unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), words.len()) };
        // SAFETY: as above.
        unsafe { self.push_parts(words, &[], || ()) }
    }

    /// As [`push_words`](Self::push_words) for a record in two parts, the first of which is not empty.
    ///
    /// `settle_with` is called once: when all of the record stands and nothing but the commit is left, or
    /// before the refusal is counted.
    ///
    /// # Errors
    /// As `push_words`.
    ///
    /// # Safety
    /// Both parts must be initialised but for the low half of the first word.
    #[inline]
    pub(crate) unsafe fn push_parts(
        &self,
        first: &[MaybeUninit<u64>],
        rest: &[MaybeUninit<u64>],
        settle_with: impl FnOnce(),
    ) -> Result<(), PushError> {
        let len = if first.is_empty() {
            0
        } else {
            first.len() + rest.len()
        };
        // Wrapping: one compare refuses the empty record as well.
        if len.wrapping_sub(1) >= Self::MAX_WORDS {
            settle_with();
            return Err(self.refuse(PushError::TooLarge));
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_WORDS")]
        let slot_words = len as u32 + 1;
        let Some((start, number)) = self.place(slot_words) else {
            settle_with();
            return Err(self.refuse(PushError::Full));
        };
        let mut check = Self::check_of(start, number, slot_words);
        // No record straddles the end, so its words lie side by side.
        let mut slots = self.words.from(start.wrapping_add(1), len);
        if let (Some([sum, to]), [word, behind @ ..]) = (slots.next(), first) {
            // SAFETY: the high half is initialised by the caller's promise.
            let [_, high] = unsafe { halves(word) };
            // SAFETY: as above.
            let high = unsafe { high.assume_init() };
            check.add(high);
            to.store(high, Relaxed);
            // SAFETY: initialised, by the caller's promise.
            unsafe {
                copy(behind, &mut slots, &mut check);
                copy(rest, &mut slots, &mut check);
            }
            // ORDERING: (5) after all that it sums up, for a reset.
            sum.store(check.word(), Release);
        }
        settle_with();
        // ORDERING: publishes the record; pairs with Acquire in `peek` and `evict`.
        self.words
            .low(start)
            .store(Header::of(State::Committed, slot_words).word(), Release);
        Ok(())
    }

    /// The beginning of a record's check word.
    #[inline(always)]
    pub(super) fn check_of(start: u32, number: u32, slot_words: u32) -> Check {
        let mut check = Check::new(start);
        check.add(number);
        check.add(slot_words);
        check
    }

    /// Where a slot of so many words is ours, and its number; `None` if it cannot be had.
    ///
    /// Plans with interrupts on; each critical section is a compare and a few stores.
    #[inline(always)]
    fn place(&self, slot_words: u32) -> Option<(u32, u32)> {
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            // The tail first: a tail newer than the head would make the ring look over-full.
            let tail = self.tail.load(Acquire);
            // ORDERING: the number before the head, so that they belong together if the number has not changed:
            // on another core, who changes both does so in the opposite order.
            let number = self.next.load(Acquire);
            let head = self.head.load(Acquire);
            let to_end = Self::CAPACITY - (head & (Self::CAPACITY - 1));
            let start = if slot_words <= to_end {
                head
            } else {
                head.wrapping_add(to_end)
            };
            let end = start.wrapping_add(slot_words);
            if end.wrapping_sub(tail) > Self::CAPACITY {
                // Not an attempt: whoever it was, somebody has moved the tail on.
                if !self.evict(tail, head) {
                    return None;
                }
                continue;
            }
            let (gap, at) = (settle(self.words.low(head)), settle(self.words.low(start)));
            let numbered = settle(self.words.high(start));
            let padding = settle(Header::of(State::Skip, to_end).word());
            let header = settle(Header::of(State::Reserved, slot_words).word());
            let (end, after) = (settle(end), settle(number.wrapping_add(1)));
            let is_placed = self.lock.with(|| {
                let is_ours = self.next.load(Relaxed) == number;
                if is_ours {
                    // Padding, or what is overwritten at once.
                    gap.store(padding, Relaxed);
                    at.store(header, Relaxed);
                    numbered.store(number, Relaxed);
                    // ORDERING: (2) after header and number, for a reset and for Acquire in `peek`.
                    self.head.store(end, Release);
                    // ORDERING: (3) after the head, for a reset, and for Acquire above.
                    self.next.store(after, Release);
                }
                is_ours
            });
            if is_placed {
                return Some((start, number));
            }
            attempts += 1;
        }
        None
    }

    /// Moves the tail past the oldest slot unless somebody else has; `false` if that is being written.
    #[inline(always)]
    fn evict(&self, tail: u32, head: u32) -> bool {
        // Means something only if the tail has not moved, which the critical section finds out.
        // ORDERING: the loser's stores come before ours; pairs with Release in `push_parts`.
        let oldest = Header::parse(self.words.low(tail).load(Acquire));
        if oldest.is_some_and(|oldest| oldest.state() == State::Reserved) {
            return self.has_moved_on(tail);
        }
        let next = settle(Self::behind(tail, oldest, head));
        self.move_tail(tail, next);
        true
    }

    /// Whether the slot at the tail, which was being written, is committed or gone by now.
    #[cold]
    #[inline(never)]
    fn has_moved_on(&self, tail: u32) -> bool {
        self.lock.with(|| {
            self.tail.load(Relaxed) != tail
                || Header::parse(self.words.low(tail).load(Relaxed))
                    .is_none_or(|oldest| oldest.state() != State::Reserved)
        })
    }

    /// Where the slot behind this one is. Behind one that cannot be read, in memory that was damaged, is the
    /// end: better to lose all than to lose one's way.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "15 bits")]
    pub(super) fn behind(at: u32, header: Option<Header>, head: u32) -> u32 {
        let left = head.wrapping_sub(at);
        match header {
            Some(header) if header.len() as u32 <= left => at.wrapping_add(header.len() as u32),
            _ => head,
        }
    }

    #[inline(always)]
    fn move_tail(&self, from: u32, to: u32) {
        self.lock.with(|| {
            if self.tail.load(Relaxed) == from {
                // ORDERING: (2) before anything behind it is overwritten, for a reset; for Acquire in `place`.
                self.tail.store(to, Release);
            }
        });
    }

    #[cold]
    #[inline(never)]
    fn refuse(&self, cause: PushError) -> PushError {
        let counter = match cause {
            PushError::Full => &self.refused,
            PushError::TooLarge => &self.too_large,
        };
        counter.add(&self.lock, 1);
        cause
    }

    /// Records refused because what would have to make room was being written, modulo 2^32.
    #[must_use]
    pub fn refused(&self) -> u32 {
        self.refused.get()
    }
    /// Records refused for their length, modulo 2^32.
    #[must_use]
    pub fn too_large(&self) -> u32 {
        self.too_large.get()
    }
    /// Records taken in, modulo 2^32: the number of the next one.
    #[must_use]
    pub fn recorded(&self) -> u32 {
        self.next.load(Relaxed)
    }
    /// Records that were overwritten (or damaged) before the reader came, modulo 2^32.
    #[must_use]
    pub fn overwritten(&self) -> u32 {
        self.overwritten_since(0, 0)
    }
    /// Of the records from number `first` on, where `read` had been read for the first time before it.
    pub(crate) fn overwritten_since(&self, first: u32, read: u32) -> u32 {
        let from = later(self.read_number.get(), first);
        let gone = later(from, self.oldest_number()).wrapping_sub(first);
        gone.wrapping_sub(self.read_count.get().wrapping_sub(read))
    }
    /// The number of the oldest record that is there, or of the next.
    fn oldest_number(&self) -> u32 {
        let (mut at, head) = (self.tail.load(Acquire), self.head.load(Acquire));
        // Bounded by the ring: each turn but the last passes padding.
        for _ in 0..Self::CAPACITY {
            let header = Header::parse(self.words.low(at).load(Acquire));
            if at == head || header.is_none() {
                break;
            }
            if header.is_some_and(|header| header.state() != State::Skip) {
                let number = self.words.high(at).load(Relaxed);
                // Passed meanwhile, it may be anything.
                if !is_before(at, self.tail.load(Acquire)) {
                    return number;
                }
                break;
            }
            at = Self::behind(at, header, head);
        }
        if at == head {
            self.next.load(Relaxed)
        } else {
            self.read_number.get()
        }
    }

    /// The reading end, if nobody has it. Dropped, it can be taken again, anywhere; what was read and not
    /// released is read again.
    pub fn reader(&self) -> Option<FlightReader<'_, N>> {
        let is_free = self.lock.with(|| {
            // ORDERING: takes the last reader's state over; pairs with Release in `FlightReader::drop`.
            let is_free = self.has_reader.load(Acquire) == 0;
            if is_free {
                self.has_reader.store(1, Relaxed);
            }
            is_free
        });
        is_free.then(|| FlightReader {
            ring: self,
            cursor: self.tail.load(Acquire),
            seen: None,
        })
    }
    pub(crate) const fn lock(&self) -> &Lock {
        &self.lock
    }
}

/// The low and the high half of a word; each may be uninitialised.
///
/// # Safety
/// None; unsafe for the sake of whoever takes the halves for initialised.
#[inline(always)]
unsafe fn halves(word: &MaybeUninit<u64>) -> [MaybeUninit<u32>; 2] {
    // SAFETY: the same eight bytes; volatile, so that LLVM makes no call of `memcpy` of many.
    let [a, b] = unsafe {
        core::ptr::from_ref(word)
            .cast::<[MaybeUninit<u32>; 2]>()
            .read_volatile()
    };
    if cfg!(target_endian = "big") {
        [b, a]
    } else {
        [a, b]
    }
}

/// Copies words of a record, and sums them up.
///
/// # Safety
/// `words` must be initialised.
#[inline(always)]
unsafe fn copy<'a>(
    words: &[MaybeUninit<u64>],
    slots: &mut impl Iterator<Item = &'a [AtomicU32; 2]>,
    check: &mut Check,
) {
    for (word, [low_slot, high_slot]) in words.iter().zip(slots) {
        // SAFETY: the caller's promise.
        let [low, high] = unsafe { halves(word).map(|half| half.assume_init()) };
        check.add(low);
        low_slot.store(low, Relaxed);
        check.add(high);
        high_slot.store(high, Relaxed);
    }
}

/// Whether `a` comes before `b`: of positions, or of numbers.
#[inline(always)]
pub(crate) const fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) >> 31 != 0
}
#[inline(always)]
pub(crate) const fn later(a: u32, b: u32) -> u32 {
    if is_before(a, b) { b } else { a }
}

/// A record that was copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number among all records of the ring, modulo 2^32.
    pub number: u32,
    /// Its words.
    pub words: usize,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// There is none, or the next is still being written.
    Empty,
    /// The next record is longer than the buffer. [`FlightReader::advance`] passes it by.
    BufferTooSmall(Taken),
}

impl core::fmt::Display for ReadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            ReadError::Empty => f.write_str("no record"),
            ReadError::BufferTooSmall(taken) => {
                write!(
                    f,
                    "the next record has {} words, more than the buffer",
                    taken.words
                )
            }
        }
    }
}
impl core::error::Error for ReadError {}

/// The one reading end of a [`FlightRing`].
///
/// A cursor runs ahead of what is given back: [`advance`](Self::advance) moves it over the record that
/// [`peek`](Self::peek) copied, [`release_before`](Self::release_before) gives records back, oldest first,
/// and [`rewind`](Self::rewind) reads again what is still there. Writers give back what they need themselves.
pub struct FlightReader<'a, const N: usize> {
    ring: &'a FlightRing<N>,
    cursor: u32,
    /// What `peek` gave, and where the next slot is.
    seen: Option<(Taken, u32)>,
}

impl<const N: usize> FlightReader<'_, N> {
    /// Copies the next record into `buffer`, without stepping over it. The low half of its first word is the
    /// ring's.
    ///
    /// Cost: as the record's words; again from the start for each time that it is overtaken.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn peek(&mut self, buffer: &mut [u64]) -> Result<Taken, ReadError> {
        self.seen = None;
        let ring = self.ring;
        // Each turn passes a slot or has been overtaken by a writer.
        loop {
            let tail = ring.tail.load(Acquire);
            // ORDERING: makes headers and numbers visible; pairs with Release in `place`.
            let head = ring.head.load(Acquire);
            if is_before(self.cursor, tail) {
                self.cursor = tail;
            }
            let at = self.cursor;
            // The head was loaded after the tail and may not be before it.
            if at == head || is_before(head, at) {
                return Err(ReadError::Empty);
            }
            // ORDERING: makes the record visible; pairs with Release in `push_parts`.
            let header = Header::parse(ring.words.low(at).load(Acquire));
            // From here on the slot may be overwritten: what was read counts only if the tail has not passed.
            let behind = FlightRing::<N>::behind(at, header, head);
            let state = header.map(Header::state);
            if state == Some(State::Reserved) {
                if self.is_overtaken(at) {
                    continue;
                }
                return Err(ReadError::Empty);
            }
            let number = ring.words.high(at).load(Relaxed);
            let slot_words = behind.wrapping_sub(at);
            let taken = Taken {
                number,
                words: slot_words as usize - 1,
            };
            let is_right = state == Some(State::Committed)
                && match buffer.get_mut(..taken.words) {
                    Some(room) => self.copy_out(at, number, slot_words, room),
                    None => true,
                };
            if self.is_overtaken(at) {
                continue;
            }
            if !is_right {
                // Padding, or damaged: the gap in the numbers counts it.
                self.cursor = behind;
                continue;
            }
            self.seen = Some((taken, behind));
            return if taken.words <= buffer.len() {
                Ok(taken)
            } else {
                Err(ReadError::BufferTooSmall(taken))
            };
        }
    }

    /// Copies the record at `at`; `false` if its check word is wrong.
    #[inline(always)]
    fn copy_out(&self, at: u32, number: u32, slot_words: u32, room: &mut [u64]) -> bool {
        let words = &self.ring.words;
        let mut check = FlightRing::<N>::check_of(at, number, slot_words);
        let mut expected = None;
        let mut at = at;
        for to in room.iter_mut() {
            at = at.wrapping_add(1);
            let (low, high) = (words.low(at).load(Relaxed), words.high(at).load(Relaxed));
            if expected.is_none() {
                expected = Some(low);
            } else {
                check.add(low);
            }
            check.add(high);
            *to = u64::from(high) << 32 | u64::from(low);
        }
        expected == Some(check.word())
    }

    /// The lock also orders the copy: had a writer evicted the record before this section, the tail has
    /// moved; if it evicts after, its stores come after our loads, which cannot have seen them.
    fn is_overtaken(&self, at: u32) -> bool {
        let ring = self.ring;
        is_before(at, ring.lock.with(|| ring.tail.load(Relaxed)))
    }

    /// Steps over what [`peek`](Self::peek) gave, and counts it as read unless it was before.
    pub fn advance(&mut self) {
        if let Some((taken, _)) = self.seen {
            let after = taken.number.wrapping_add(1);
            let ring = self.ring;
            if is_before(ring.read_number.get(), after) {
                let count = ring.read_count.get().wrapping_add(1);
                // In this order, so that whatever a reset leaves of it tells whether both count
                // (`FlightRing::reads_left`).
                ring.read_count.set_value(count);
                ring.read_number.set_value(after);
                ring.read_count.set_inverse(count);
                ring.read_number.set_inverse(after);
            }
        }
        self.pass();
    }
    /// Steps over what [`peek`](Self::peek) gave, and counts nothing.
    pub(crate) fn pass(&mut self) {
        if let Some((_, behind)) = self.seen.take() {
            self.cursor = behind;
        }
    }
    /// One past the furthest record that was ever stepped over and counted.
    pub(crate) fn read_before(&self) -> u32 {
        self.ring.read_number.get()
    }
    /// Whether `peek` has to be called before the next [`advance`](Self::advance).
    pub(crate) fn seen(&self) -> Option<Taken> {
        self.seen.map(|(taken, _)| taken)
    }

    /// Gives back what was read, up to the record before number `next`. One critical section a record.
    pub fn release_before(&mut self, next: u32) {
        let ring = self.ring;
        // Bounded: each turn moves the tail on, towards the cursor.
        loop {
            let tail = ring.tail.load(Acquire);
            if !is_before(tail, self.cursor) {
                return;
            }
            let header = Header::parse(ring.words.low(tail).load(Acquire));
            let is_record = header.is_some_and(|header| header.state() != State::Skip);
            let number = ring.words.high(tail).load(Relaxed);
            if is_record && !is_before(number, next) {
                if ring.tail.load(Acquire) == tail {
                    return;
                }
                // A writer has made room meanwhile, and this was some other word.
                continue;
            }
            let behind = settle(FlightRing::<N>::behind(tail, header, self.cursor));
            ring.move_tail(tail, behind);
        }
    }

    /// Starts again with the oldest record that is there.
    pub fn rewind(&mut self) {
        self.seen = None;
        self.cursor = self.ring.tail.load(Acquire);
    }

    /// Counts the whole records from the cursor on that `is` wants, by their numbers. Walks the ring: for a
    /// ledger, not for a hot path.
    pub(crate) fn count(&self, is: impl Fn(u32) -> bool) -> u32 {
        let ring = self.ring;
        let (tail, head) = (ring.tail.load(Acquire), ring.head.load(Acquire));
        let mut at = later(tail, self.cursor);
        let mut count = 0;
        while is_before(at, head) {
            let header = Header::parse(ring.words.low(at).load(Acquire));
            let is_record = header.is_some_and(|header| header.state() != State::Skip);
            count += u32::from(is_record && is(ring.words.high(at).load(Relaxed)));
            at = FlightRing::<N>::behind(at, header, head);
        }
        count
    }
}

impl<const N: usize> Drop for FlightReader<'_, N> {
    fn drop(&mut self) {
        // ORDERING: hands the counts on to the next reader; pairs with Acquire in `FlightRing::reader`.
        self.ring.has_reader.store(0, Release);
    }
}
