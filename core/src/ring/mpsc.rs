//! `Ring`: many writers (tasks, nested interrupts, threads), one reader, drops the newest when full.
//!
//! A writer reserves with one compare-and-swap of the head, copies with interrupts on, and commits by
//! storing the header. The reader borrows records in place, as many as it likes, and gives them back
//! oldest first. It never looks at the head: a header of zero means "nothing here yet", be it that
//! nobody came or that the writer has not finished.
//!
//! INVARIANTS (positions count words; `tail <= head <= tail + N / 8` as distances of wrapping counters)
//! 1. `tail..head` is a chain of whole records, none across the end of the memory, each owned by the one
//!    writer whose compare-and-swap moved the head over it, until that writer stores its header.
//! 2. The low halves of all words outside `tail..head` are zero, and of the word at which each
//!    unfinished record or padding in `tail..head` begins. So a header is read as zero until it is stored.
//! 3. A record's header is stored once, by its writer, with Release, as the writer's last access to it and
//!    to the padding before it. From then on both are the reader's, which clears what could be taken for
//!    a header (all low halves; of padding the one word) before it moves the tail past them, with Release.
//!    A writer loads the tail with Acquire before it reserves.
//! 4. Only the one reader moves the tail, and no record or padding comes out before those reserved
//!    earlier. Nobody moves the head but by the compare-and-swap.
//! 5. Each `push` is `Ok`, and read once, or is counted in `full` or `too_large`.
//!
//! The head needs no ordering of its own. A writer that has seen tail T sees a head of at least T:
//! whoever moved the head over a record did so before storing its header, which the reader loaded before
//! storing T. So `head - tail` never underflows, and bytes between `head` and `tail + N / 8` are cleared.
//!
//! A head may come round to the same value between a writer's load and its compare-and-swap (ABA) only
//! after 2^32 words where `usize` has 32 bits: 32 GiB of records, recorded while one push was preempted;
//! at a record of 64 bytes per microsecond that is nine minutes inside one push. With 64 bits it is never.

use super::header::{Header, MAX_WORDS, State};
use super::reserve::{DefaultReserve, Reserve};
use super::storage::Memory;
use super::sync::{
    AtomicU32, AtomicUsize, Line, Lock,
    Ordering::{Acquire, Relaxed, Release},
    const_fn,
};
use super::{PushError, max_words};
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Compare-and-swaps that one push tries before it counts itself as refused. Each one that fails means
/// that another writer's push has gone ahead meanwhile.
const ATTEMPTS: u32 = 64;

/// What writers write. Apart from the tail, so that a reader's progress costs them one line, not two.
#[derive(Default)]
struct Writers {
    head: AtomicUsize,
    full: AtomicU32,
    too_large: AtomicU32,
}

/// What the reader writes.
#[derive(Default)]
struct Progress {
    tail: AtomicUsize,
    released: AtomicU32,
    has_reader: AtomicU32,
}

/// A ring of `N` bytes, a power of two from 16 to 2^30, for records of 64-bit words.
///
/// Any number of writers push through `&self`, from tasks, threads and interrupts that preempt each
/// other; one [`Reader`] takes the records out in the order of reservation. All zeros at first, so that
/// a `static` costs no flash.
///
/// Cost of a push: one compare-and-swap and one store per word; 90 instructions for 6 words on a Cortex-M4,
/// 140 on an M0 (QEMU, opt-level "s"). Where `M` is [`CriticalSection`](super::CriticalSection), interrupts
/// are off for 5 and 6 of them, the one that ends it included; else never. The drain pays for clearing:
/// taking the reader, reading and releasing those 6 words is 119 and 152.
///
/// ```
/// use spanlet::ring::Ring;
/// static RING: Ring<4096> = Ring::new();
///
/// // The low half of the first word is the ring's; the rest comes out as it went in.
/// RING.push_words(&[7 << 32, 1, 2, 3])?;
///
/// let mut reader = RING.reader().expect("nobody else reads");
/// let record = reader.read().expect("one record");
/// assert_eq!(record.words()[0] >> 32, 7);
/// assert_eq!(record.words()[1..], [1, 2, 3]);
/// assert_eq!(record.sequence(), 0);
/// reader.release();
/// # Ok::<(), spanlet::ring::PushError>(())
/// ```
#[repr(C)]
pub struct Ring<const N: usize, M = DefaultReserve> {
    writers: Line<Writers>,
    progress: Line<Progress>,
    lock: Lock,
    memory: Memory<N>,
    reserve: PhantomData<fn() -> M>,
}

impl<const N: usize> Ring<N, DefaultReserve> {
    const_fn! {
        /// An empty ring that reserves in the way that suits the target.
        #[must_use]
        pub fn new() -> Self {
            Self::with_reserve()
        }
    }
}

impl<const N: usize, M: Reserve> Default for Ring<N, M> {
    fn default() -> Self {
        Self::with_reserve()
    }
}

impl<const N: usize, M: Reserve> Ring<N, M> {
    /// The longest record, in words, its first one included: half the ring, so that it fits an empty
    /// ring wherever the head stands, and at most [`MAX_WORDS`].
    pub const MAX_WORDS: usize = max_words(N / 8, MAX_WORDS);

    const CAPACITY: usize = N / 8;

    const_fn! {
        /// An empty ring that reserves in the way that its type names:
        /// `static RING: Ring<1024, CriticalSection> = Ring::with_reserve();`
        #[must_use]
        pub fn with_reserve() -> Self {
            const {
                assert!(
                    N.is_power_of_two() && N >= 16 && N <= 1 << 30,
                    "N must be a power of two, 16 bytes to 1 GiB"
                );
            };
            Ring {
                writers: Line(Writers {
                    head: AtomicUsize::new(0),
                    full: AtomicU32::new(0),
                    too_large: AtomicU32::new(0),
                }),
                progress: Line(Progress {
                    tail: AtomicUsize::new(0),
                    released: AtomicU32::new(0),
                    has_reader: AtomicU32::new(0),
                }),
                lock: Lock::new(),
                memory: Memory::new(),
                reserve: PhantomData,
            }
        }
    }

    /// Copies one record in: reserve, copy, commit, without a call of anyone else's code in between.
    ///
    /// The low half of the first word becomes the record's header, whatever it was. Never blocks.
    ///
    /// # Errors
    /// [`PushError::Full`] when the record does not fit before what is unreleased (or 64 other pushes got
    /// in between), [`PushError::TooLarge`] when it has more than [`Ring::MAX_WORDS`] words, or none. Both
    /// are counted.
    ///
    /// # Safety
    /// All of `words` must be initialised but for the low half of the first.
    #[inline]
    pub unsafe fn push(&self, words: &[MaybeUninit<u64>]) -> Result<(), PushError> {
        // SAFETY: the caller's promise.
        unsafe { self.push_parts(words, &[]) }
    }

    /// As [`Ring::push`] for a record in two parts, the first of which is not empty.
    ///
    /// # Errors
    /// As [`Ring::push`].
    ///
    /// # Safety
    /// As [`Ring::push`], for both parts.
    #[inline]
    pub unsafe fn push_parts(
        &self,
        first: &[MaybeUninit<u64>],
        rest: &[MaybeUninit<u64>],
    ) -> Result<(), PushError> {
        let len = if first.is_empty() {
            0
        } else {
            first.len() + rest.len()
        };
        // Wrapping: one compare refuses the empty record as well.
        if len.wrapping_sub(1) >= Self::MAX_WORDS {
            return Err(self.refuse(PushError::TooLarge));
        }
        let Some(start) = self.reserve(len) else {
            return Err(self.refuse(PushError::Full));
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most MAX_WORDS, checked above"
        )]
        let header = Header::of(State::Committed, len as u32);
        // SAFETY: (1) reserved just now, of this length, by us; (3) the header has yet to be stored.
        unsafe {
            self.memory.copy_in(start, first);
            self.memory
                .copy_words(start.wrapping_add(first.len()), rest);
        }
        // SAFETY: (1, 3) our record's own header.
        // ORDERING: publishes the record; pairs with Acquire in `Reader::peek`.
        unsafe { self.memory.set_header(start, header.word(), Release) };
        Ok(())
    }

    /// As [`Ring::push`] for words that are all initialised.
    ///
    /// # Errors
    /// As [`Ring::push`].
    #[inline]
    pub fn push_words(&self, words: &[u64]) -> Result<(), PushError> {
        // SAFETY: same layout, and all of it initialised. (The ring only reads it.)
        let words = unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), words.len()) };
        // SAFETY: as above.
        unsafe { self.push(words) }
    }

    /// Where `len` words are ours, or `None` when there is no room.
    #[inline(always)]
    fn reserve(&self, len: usize) -> Option<usize> {
        for _ in 0..ATTEMPTS {
            // The tail first: a tail newer than the head would make the ring look over-full.
            // ORDERING: the words behind the tail are cleared and ours to write; pairs with Release in
            // `Reader::release_records`.
            let tail = self.progress.0.tail.load(Acquire);
            // ORDERING: any value not older than the tail will do, and the compare-and-swap rejects all
            // but the newest.
            let head = self.writers.0.head.load(Relaxed);
            let to_end = Self::CAPACITY - (head & (Self::CAPACITY - 1));
            let start = if len <= to_end {
                head
            } else {
                head.wrapping_add(to_end)
            };
            let end = start.wrapping_add(len);
            if end.wrapping_sub(tail) > Self::CAPACITY {
                // ORDERING: an unchanged tail was still this when the head was loaded: truly full.
                if self.progress.0.tail.load(Relaxed) == tail {
                    return None;
                }
            } else if M::advance(&self.lock, &self.writers.0.head, head, end) {
                if start != head {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "below len, at most MAX_WORDS"
                    )]
                    let padding = Header::of(State::Skip, to_end as u32).word();
                    // SAFETY: (1) head..end is ours, and padding begins at head.
                    // ORDERING: none. The reader clears it only with the record behind it, whose commit
                    // comes after this store.
                    unsafe { self.memory.set_header(head, padding, Relaxed) };
                }
                return Some(start);
            }
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn refuse(&self, cause: PushError) -> PushError {
        let counter = match cause {
            PushError::Full => &self.writers.0.full,
            PushError::TooLarge => &self.writers.0.too_large,
        };
        M::count(&self.lock, counter);
        cause
    }

    /// Records refused for lack of room since the start, modulo 2^32.
    #[must_use]
    pub fn full(&self) -> u32 {
        self.writers.0.full.load(Relaxed)
    }

    /// Records refused for their length since the start, modulo 2^32.
    #[must_use]
    pub fn too_large(&self) -> u32 {
        self.writers.0.too_large.load(Relaxed)
    }

    /// Records committed, read and released since the start, modulo 2^32: the sequence number of the
    /// oldest record still in the ring. ([`Reader::committed`] adds those in the ring.)
    #[must_use]
    pub fn released(&self) -> u32 {
        self.progress.0.released.load(Relaxed)
    }

    /// The reading end, if nobody has it. Dropped, it can be taken again, anywhere; what was read but not
    /// released is read again.
    pub fn reader(&self) -> Option<Reader<'_, N, M>> {
        M::take(&self.lock, &self.progress.0.has_reader).then(|| {
            // ORDERING: (4) the last reader's stores are ours since `take`.
            let tail = self.progress.0.tail.load(Relaxed);
            Reader {
                ring: self,
                tail,
                released: self.progress.0.released.load(Relaxed),
                cursor: Cell::new(tail),
                ahead: Cell::new(0),
            }
        })
    }
}

/// The one reading end of a [`Ring`].
///
/// A cursor runs ahead of the space given back: [`read`](Reader::read) moves it over one record,
/// [`release`](Reader::release) and [`release_through`](Reader::release_through) give records back, oldest
/// first, [`rewind`](Reader::rewind) reads the unreleased ones again. Records are numbered from 0, modulo
/// 2^32, in the order of reservation; every number belongs to a record that was committed.
pub struct Reader<'a, const N: usize, M: Reserve = DefaultReserve> {
    ring: &'a Ring<N, M>,
    tail: usize,
    released: u32,
    cursor: Cell<usize>,
    /// Records between tail and cursor.
    ahead: Cell<u32>,
}

impl<const N: usize, M: Reserve> Reader<'_, N, M> {
    /// The record at the cursor, if it is committed, and steps over it.
    ///
    /// Constant time. `None`: there is no more, or the next is still being written
    /// ([`is_waiting`](Reader::is_waiting)), with others perhaps complete behind it.
    #[inline]
    pub fn read(&self) -> Option<Record<'_>> {
        let record = self.peek_record()?;
        self.cursor
            .set(self.cursor.get().wrapping_add(record.words.len()));
        self.ahead.set(self.ahead.get().wrapping_add(1));
        Some(record)
    }

    /// The record that [`read`](Reader::read) gives next, without stepping over it.
    #[inline]
    pub fn peek_record(&self) -> Option<Record<'_>> {
        let header = self.peek()?;
        let at = self.cursor.get();
        Some(Record {
            // SAFETY: (3) committed and unreleased, and we are the one reader; the borrow of `self` keeps
            // `release` away for as long as the slice lives.
            words: unsafe { self.ring.memory.record(at, header.len()) },
            sequence: self.released.wrapping_add(self.ahead.get()),
        })
    }

    /// The committed header at the cursor, behind padding if there is some.
    #[inline(always)]
    fn peek(&self) -> Option<Header> {
        // Twice at most: padding reaches to the end of the memory, and the beginning has none.
        for _ in 0..2 {
            let at = self.cursor.get();
            if at.wrapping_sub(self.tail) >= Ring::<N, M>::CAPACITY {
                return None; // all of the ring is read and unreleased
            }
            // SAFETY: (1, 2) a record boundary in tail..=head, and less than a lap from the tail: what
            // is stored here is this lap's header, or nothing yet.
            // ORDERING: takes the record over; pairs with Release in `Ring::push`.
            let header = Header::parse(unsafe { self.ring.memory.header(at, Acquire) })?;
            match header.state() {
                State::Committed => return Some(header),
                State::Skip => self.cursor.set(at.wrapping_add(header.len())),
                State::Reserved => return None,
            }
        }
        None
    }

    /// Gives back everything read so far. One store for the tail, one per word.
    #[inline]
    pub fn release(&mut self) {
        self.release_records(self.ahead.get());
    }

    /// Gives back the records up to and with number `sequence` (a cumulative acknowledgement), and tells
    /// how many. A number that is not among those read and unreleased releases nothing.
    pub fn release_through(&mut self, sequence: u32) -> u32 {
        let count = sequence.wrapping_sub(self.released).wrapping_add(1);
        if count > self.ahead.get() {
            return 0;
        }
        self.release_records(count);
        count
    }

    /// `count` is at most `ahead`.
    fn release_records(&mut self, count: u32) {
        let mut tail = self.tail;
        let mut left = count;
        while left > 0 {
            // SAFETY: (3) between tail and cursor: a boundary of what we have read.
            // ORDERING: taken over when it was read.
            let Some(header) = Header::parse(unsafe { self.ring.memory.header(tail, Relaxed) })
            else {
                break; // somebody else has written into the ring's memory
            };
            let used = match header.state() {
                State::Committed => {
                    left -= 1;
                    header.len()
                }
                // Behind the header of padding nothing was written.
                _ => 1,
            };
            // SAFETY: (3) ours, read, and `&mut self` proves that no slice of it is alive.
            unsafe { self.ring.memory.clear(tail, used) };
            tail = tail.wrapping_add(header.len());
        }
        self.tail = tail;
        self.ahead.set(self.ahead.get() - count);
        self.released = self.released.wrapping_add(count);
        // ORDERING: for an observer's statistics, and for the next reader through `has_reader`.
        self.ring.progress.0.released.store(self.released, Relaxed);
        // ORDERING: gives the cleared words back to the writers; pairs with Acquire in `Ring::reserve`.
        self.ring.progress.0.tail.store(tail, Release);
    }

    /// Puts the cursor back to the oldest unreleased record, so that [`read`](Reader::read) gives it again.
    pub fn rewind(&mut self) {
        self.cursor.set(self.tail);
        self.ahead.set(0);
    }

    /// The number of the oldest unreleased record, whether it is there already or not.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.released
    }

    /// Records read and not released.
    #[must_use]
    pub fn unreleased(&self) -> u32 {
        self.ahead.get()
    }

    /// Records committed since the start, modulo 2^32, up to the first that is still being written. Walks
    /// the ring from the cursor on: for a ledger, not for a hot path.
    #[must_use]
    pub fn committed(&self) -> u32 {
        let (cursor, ahead) = (self.cursor.get(), self.ahead.get());
        // Ends: `peek` goes no further than a lap from the tail.
        while self.read().is_some() {}
        let committed = self.released.wrapping_add(self.ahead.get());
        self.cursor.set(cursor);
        self.ahead.set(ahead);
        committed
    }

    /// Whether a writer has reserved the record at the cursor and not finished, so that `read` waits, with
    /// others perhaps complete behind it.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        // The head first: a record reserved after that does not count.
        // ORDERING: a hint; it may be a moment old.
        let head = self.ring.writers.0.head.load(Relaxed);
        self.peek().is_none()
            && self.cursor.get().wrapping_sub(self.tail) < head.wrapping_sub(self.tail)
    }
}

impl<const N: usize, M: Reserve> Drop for Reader<'_, N, M> {
    fn drop(&mut self) {
        // ORDERING: hands tail and cleared words on to the next reader; pairs with Acquire in `Reserve::take`.
        self.ring.progress.0.has_reader.store(0, Release);
    }
}

/// One record, borrowed in place.
#[derive(Clone, Copy, Debug)]
pub struct Record<'r> {
    words: &'r [u64],
    sequence: u32,
}

impl<'r> Record<'r> {
    /// Its words. The low half of the first is the ring's header.
    #[inline]
    #[must_use]
    pub fn words(&self) -> &'r [u64] {
        self.words
    }

    /// Its number among all records of the ring, modulo 2^32.
    #[inline]
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.sequence
    }
}

#[cfg(all(test, not(any(loom, step))))]
mod tests;
