//! `SpscRing`: one producer, one consumer, loads and stores only, so it needs no compare-and-swap and no
//! critical section anywhere. A push of a span is a compare, a copy and a store.
//!
//! INVARIANTS (positions count words; `tail <= head <= tail + capacity` as distances of wrapping counters)
//! 1. `tail..head` is a chain of whole records and paddings, none across the end of the memory, each
//!    behind its header. It is the consumer's. Everything else is the producer's.
//! 2. Only the producer stores the head, with Release, after the words before it; only the consumer stores
//!    the tail, with Release, when no slice of the words before it is alive.
//! 3. `limit - head` words from the head on are the producer's and contiguous. It is at most
//!    [`SpscControl::MAX_WORDS`] or half the memory, so that one compare tells "full", "wraps" and "too
//!    large" from a plain push.
//! 4. There is one producer and one consumer: `split` borrows the ring exclusively for both.
//! 5. Each `push` is `Ok`, and read once, or is counted in `full` or `too_large`.
//!
//! Longer than the other files: both ends rest on these five sentences, and a reader should see all three at
//! once.

use super::header::{Header, MAX_WORDS, State};
use super::sync::{
    AtomicU32, AtomicUsize, Line,
    Ordering::{Acquire, Relaxed, Release},
    const_fn,
};
use super::{PushError, max_words};
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Words that the fast path copies without a loop: the header that every span's record has.
const FIXED: usize = if cfg!(target_pointer_width = "64") {
    8
} else {
    7
};
/// The fast path copies this many words at a time.
const GROUP: usize = 4;

/// How far ahead [`Producer::push`] asks for cache lines, in words: 1 KiB, about seven records.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 128;

/// What the producer writes.
#[derive(Default)]
struct Writer {
    head: AtomicUsize,
    full: AtomicU32,
    too_large: AtomicU32,
    gone: AtomicU32,
}

/// The shared positions and counters of a ring whose memory is the caller's.
///
/// For memory whose size is known at run time only; [`SpscRing`] has both in one.
///
/// ```
/// use core::mem::MaybeUninit;
/// use spanlet::ring::SpscControl;
/// let mut control = SpscControl::new();
/// let mut memory = [MaybeUninit::uninit(); 64];
/// let (producer, mut consumer) = control.split(&mut memory)?;
/// producer.push_words(&[7 << 32, 1, 2])?;
/// drop(producer);
/// assert_eq!(consumer.read().expect("one record")[1..], [1, 2]);
/// consumer.release();
/// // The producer is gone and nothing is unread: control and memory are free for the next thread.
/// let (control, memory) = consumer.reclaim().ok().expect("finished");
/// let (producer, consumer) = control.split(memory)?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[repr(C)]
#[derive(Default)]
pub struct SpscControl {
    writer: Line<Writer>,
    tail: Line<AtomicUsize>,
    #[cfg(loom)]
    cells: std::vec::Vec<loom::cell::UnsafeCell<()>>,
}

impl SpscControl {
    /// The longest record in any memory, in words; in a memory of fewer than twice as many, half the memory.
    pub const MAX_WORDS: usize = MAX_WORDS / GROUP * GROUP;

    const_fn! {
        /// Of an empty ring.
        #[must_use]
        pub fn new() -> Self {
            SpscControl {
                writer: Line(Writer {
                    head: AtomicUsize::new(0),
                    full: AtomicU32::new(0),
                    too_large: AtomicU32::new(0),
                    gone: AtomicU32::new(0),
                }),
                tail: Line(AtomicUsize::new(0)),
                #[cfg(loom)]
                cells: std::vec::Vec::new(),
            }
        }
    }

    /// The two ends of an empty ring over `words`. Whatever an earlier split has left unread is forgotten
    /// (`Consumer::reclaim` is there to prevent that); the counters go on.
    ///
    /// # Errors
    /// [`CapacityError`] unless `words` has a power of two of words, 16 to 2^27.
    pub fn split<'r>(
        &'r mut self,
        words: &'r mut [MaybeUninit<u64>],
    ) -> Result<(Producer<'r>, Consumer<'r>), CapacityError> {
        let capacity = words.len();
        if !capacity.is_power_of_two() || !(2 * FIXED..=1 << 27).contains(&capacity) {
            return Err(CapacityError { words: capacity });
        }
        // ORDERING: `&mut self`: nobody else is there.
        self.writer.0.head.store(0, Relaxed);
        self.writer.0.gone.store(0, Relaxed);
        self.tail.0.store(0, Relaxed);
        #[cfg(loom)]
        {
            self.cells = (0..capacity)
                .map(|_| loom::cell::UnsafeCell::new(()))
                .collect();
        }
        let control = NonNull::from(self);
        let (words, mask) = (words.as_mut_ptr().cast::<u64>(), capacity - 1);
        let window = max_words(capacity, Self::MAX_WORDS);
        let producer = Producer {
            words,
            mask,
            head: Cell::new(0),
            limit: Cell::new(window),
            on_filling: None,
            control,
            ring: PhantomData,
        };
        let consumer = Consumer {
            words,
            mask,
            tail: 0,
            cursor: Cell::new(0),
            last: Cell::new(0),
            head: Cell::new(0),
            count: Cell::new(0),
            control,
            ring: PhantomData,
        };
        Ok((producer, consumer))
    }

    #[cfg(not(loom))]
    #[inline(always)]
    fn touch_write(&self, _at: usize, _len: usize) {
        super::sync::point();
    }
    #[cfg(not(loom))]
    #[inline(always)]
    fn touch_read(&self, _at: usize, _len: usize) {
        super::sync::point();
    }
    #[cfg(loom)]
    fn touch_write(&self, at: usize, len: usize) {
        self.cells
            .iter()
            .skip(at)
            .take(len)
            .for_each(|c| c.with_mut(|_| ()));
    }
    #[cfg(loom)]
    fn touch_read(&self, at: usize, len: usize) {
        self.cells
            .iter()
            .skip(at)
            .take(len)
            .for_each(|c| c.with(|_| ()));
    }
}

/// A memory that cannot be a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapacityError {
    /// Its length in 64-bit words.
    pub words: usize,
}

impl fmt::Display for CapacityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ring memory of {} words: must be a power of two, 16 to 2^27",
            self.words
        )
    }
}

impl core::error::Error for CapacityError {}

#[repr(C, align(8))]
struct Bytes<const N: usize>(UnsafeCell<[MaybeUninit<u8>; N]>);

/// A ring of `N` bytes, a power of two from 128 to 2^30, for one producer and one consumer.
///
/// Cost of a push on x86-64: 74 instructions for 8 words, 110 for 17.
///
/// ```
/// use spanlet::ring::SpscRing;
/// let mut ring = SpscRing::<4096>::new();
/// let (producer, mut consumer) = ring.split();
/// producer.push_words(&[7 << 32, 1, 2, 3])?;
/// let words = consumer.read().expect("one record");
/// assert_eq!((words[0] >> 32, &words[1..]), (7, &[1, 2, 3][..]));
/// consumer.release();
/// # Ok::<(), spanlet::ring::PushError>(())
/// ```
#[repr(C)]
pub struct SpscRing<const N: usize> {
    control: SpscControl,
    bytes: Bytes<N>,
}

// SAFETY: a shared reference to the ring gives access to nothing.
unsafe impl<const N: usize> Sync for SpscRing<N> {}

impl<const N: usize> Default for SpscRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> SpscRing<N> {
    const_fn! {
        /// An empty ring. In a `static` it lies in `.bss`.
        #[must_use]
        pub fn new() -> Self {
            const {
                assert!(
                    N.is_power_of_two() && N >= 128 && N <= 1 << 30,
                    "N must be a power of two, 128 bytes to 1 GiB"
                );
            };
            SpscRing {
                control: SpscControl::new(),
                bytes: Bytes(UnsafeCell::new([MaybeUninit::uninit(); N])),
            }
        }
    }

    /// The two ends of the ring, empty, as [`SpscControl::split`].
    pub fn split(&mut self) -> (Producer<'_>, Consumer<'_>) {
        let words = self
            .bytes
            .0
            .get_mut()
            .as_mut_ptr()
            .cast::<MaybeUninit<u64>>();
        // SAFETY: align(8), N / 8 words of it, exclusively borrowed, and uninitialised is allowed.
        let words = unsafe { core::slice::from_raw_parts_mut(words, N / 8) };
        match self.control.split(words) {
            Ok(ends) => ends,
            Err(_) => unreachable!("the capacity is checked at compile time"),
        }
    }
}

/// The writing end. Dropped, it tells the consumer that no more will come.
pub struct Producer<'r> {
    words: *mut u64,
    mask: usize,
    head: Cell<usize>,
    limit: Cell<usize>,
    on_filling: Option<fn()>,
    control: NonNull<SpscControl>,
    ring: PhantomData<&'r SpscControl>,
}

// SAFETY: (4) an end may move to another thread; its cells keep it from being used by two.
unsafe impl Send for Producer<'_> {}

impl Producer<'_> {
    /// Has `call` called, in the middle of a push, when a quarter of the ring or more waits to be read: early
    /// enough to wake the reader before the ring is full.
    ///
    /// The ring looks about twice a lap, where it has to look for room anyway; a push that need not costs
    /// nothing more.
    ///
    /// ```
    /// use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
    /// static CALLS: AtomicU32 = AtomicU32::new(0);
    /// let mut ring = spanlet::ring::SpscRing::<1024>::new();
    /// let (mut producer, _consumer) = ring.split();
    /// producer.on_filling(|| drop(CALLS.fetch_add(1, Relaxed)));
    /// while producer.push_words(&[0; 8]).is_ok() {}
    /// assert!(CALLS.load(Relaxed) >= 1);
    /// ```
    pub fn on_filling(&mut self, call: fn()) {
        self.on_filling = Some(call);
    }

    /// Copies the first `len` of `words` in, as one record.
    ///
    /// The low half of the first word becomes the record's header. Never blocks. Fast when `len` is at
    /// least 8 and `words` has room for `len` rounded up to a multiple of 4: then it
    /// copies whole groups of 4 words (what lies behind `len` stays unseen).
    ///
    /// # Errors
    /// [`PushError::Full`] when there is no room, [`PushError::TooLarge`] when `len` is more than half the
    /// ring, [`SpscControl::MAX_WORDS`] or `words.len()`, or 0. Both are counted.
    ///
    /// # Safety
    /// The first `len` of `words` must be initialised but for the low half of the first.
    #[inline(always)]
    pub unsafe fn push(&self, words: &[MaybeUninit<u64>], len: usize) -> Result<(), PushError> {
        let Some((first, rest)) = words.split_first_chunk::<FIXED>() else {
            return self.push_slow(words, len);
        };
        let Some(behind) = len.checked_sub(FIXED) else {
            return self.push_slow(words, len);
        };
        let Some(rest) = rest.get(..behind.wrapping_add(GROUP - 1) & !(GROUP - 1)) else {
            return self.push_slow(words, len);
        };
        // SAFETY: the caller's promise.
        unsafe { self.push_parts(first, rest, behind) }
    }

    /// As [`Producer::push`] for a record in two parts: 8 words, and the first `len` of `rest`, which is
    /// `len` rounded up to a multiple of 4 words long.
    ///
    /// # Errors
    /// As [`Producer::push`]; also [`PushError::TooLarge`] if `rest` has another length.
    ///
    /// # Safety
    /// `first`, but for the low half of its first word, and `len` of `rest` must be initialised.
    #[inline(always)]
    pub unsafe fn push_parts(
        &self,
        first: &[MaybeUninit<u64>; FIXED],
        rest: &[MaybeUninit<u64>],
        len: usize,
    ) -> Result<(), PushError> {
        let groups = rest.len();
        if groups != len.wrapping_add(GROUP - 1) & !(GROUP - 1) {
            return Err(self.refuse(PushError::TooLarge));
        }
        // Differences, not sums: head and limit wrap.
        if self.limit.get().wrapping_sub(self.head.get()) < FIXED + groups {
            // SAFETY: the caller's promise.
            return unsafe { self.push_parts_after_refill(first, rest, len) };
        }
        // SAFETY: the caller's promise, and FIXED + `groups` words are ours.
        unsafe { self.copy_parts(first, rest, len) };
        Ok(())
    }

    /// As [`Producer::push_parts`] where that needs no look at the consumer's progress; else `false`, nothing is
    /// counted, and `push_parts` must be asked.
    ///
    /// # Safety
    /// As [`Producer::push_parts`], and `rest` must be `len` rounded up to a multiple of 4 words long.
    #[inline(always)]
    pub(crate) unsafe fn push_parts_at_once(
        &self,
        first: &[MaybeUninit<u64>; FIXED],
        rest: &[MaybeUninit<u64>],
        len: usize,
    ) -> bool {
        // Differences, not sums: head and limit wrap.
        if self.limit.get().wrapping_sub(self.head.get()) < FIXED + rest.len() {
            return false;
        }
        // SAFETY: the caller's promise, and FIXED + `rest.len()` words are ours.
        unsafe { self.copy_parts(first, rest, len) };
        true
    }

    /// Counts a record of this many words, rounded up as `push_parts` does, as refused, if there is no room for it: what
    /// `push_parts` would do, in a few instructions, for rings that stay full. `false`: it must be asked.
    #[inline(always)]
    pub(crate) fn refuse_if_full(&self, words: usize) -> bool {
        // ORDERING: nothing is written into what the consumer gave back: that is for `refill`.
        let tail = self.control().tail.0.load(Relaxed);
        if self.mask + 1 - self.head.get().wrapping_sub(tail) >= words {
            return false;
        }
        self.refuse(PushError::Full);
        true
    }

    /// All of the rare way is a call at the end, so that nothing has to be saved for the usual one.
    #[cold]
    #[inline(never)]
    unsafe fn push_parts_after_refill(
        &self,
        first: &[MaybeUninit<u64>; FIXED],
        rest: &[MaybeUninit<u64>],
        len: usize,
    ) -> Result<(), PushError> {
        self.refill(FIXED + rest.len())?;
        // SAFETY: the caller's promise, and there is room now.
        unsafe { self.copy_parts(first, rest, len) };
        Ok(())
    }

    /// # Safety
    /// As [`Producer::push_parts`], and (3) must hold for FIXED words and as many as `rest` has.
    #[inline(always)]
    unsafe fn copy_parts(
        &self,
        first: &[MaybeUninit<u64>; FIXED],
        rest: &[MaybeUninit<u64>],
        len: usize,
    ) {
        let groups = rest.len();
        self.prefetch::<0>();
        let at = self.head.get() & self.mask;
        self.control().touch_write(at, FIXED + groups);
        // SAFETY: (3) FIXED + `groups` words from here are ours and contiguous; the sources have as many.
        unsafe {
            let to = self.words.add(at).cast::<MaybeUninit<u64>>();
            write_first(to.cast(), first.as_ptr(), FIXED + len);
            // Volatile reads keep LLVM from making a call of `memcpy` of the loop, and from vectorising
            // it: a 16-byte load over two fresh 8-byte stores cannot be forwarded and waits for both.
            for i in 1..FIXED {
                to.add(i).write(first.as_ptr().add(i).read_volatile());
            }
            if groups != 0 {
                self.prefetch::<1>();
                self.prefetch::<2>();
                let (to, from, mut i) = (to.add(FIXED), rest.as_ptr(), 0);
                while i < groups {
                    for k in i..i + GROUP {
                        to.add(k).write(from.add(k).read_volatile());
                    }
                    i += GROUP;
                }
            }
        }
        self.commit(FIXED + len);
    }

    /// As [`Producer::push`] for all of a slice that is initialised.
    ///
    /// # Errors
    /// As [`Producer::push`].
    #[inline]
    pub fn push_words(&self, words: &[u64]) -> Result<(), PushError> {
        // SAFETY: same layout, and all of it initialised. (The ring only reads it.)
        let words: &[MaybeUninit<u64>] =
            unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), words.len()) };
        // SAFETY: as above.
        unsafe { self.push(words, words.len()) }
    }

    /// Any length and any source, word by word. `words` must be initialised as for `push`.
    #[cold]
    #[inline(never)]
    fn push_slow(&self, words: &[MaybeUninit<u64>], len: usize) -> Result<(), PushError> {
        if len == 0 || len > words.len() {
            return Err(self.refuse(PushError::TooLarge));
        }
        if self.limit.get().wrapping_sub(self.head.get()) < len {
            self.refill(len)?;
        }
        let at = self.head.get() & self.mask;
        self.control().touch_write(at, len);
        // SAFETY: (3) `len` words from here are ours and contiguous; the source has as many.
        unsafe {
            let to = self.words.add(at).cast::<MaybeUninit<u64>>();
            write_first(to.cast(), words.as_ptr(), len);
            for (i, word) in words.iter().enumerate().take(len).skip(1) {
                to.add(i).write(*word);
            }
        }
        self.commit(len);
        Ok(())
    }

    #[inline(always)]
    fn commit(&self, len: usize) {
        let head = self.head.get().wrapping_add(len);
        self.head.set(head);
        // ORDERING: publishes the words; pairs with Acquire in `Consumer::read`.
        self.control().writer.0.head.store(head, Release);
    }

    /// Asks for the lines a few records ahead to be ours before the stores reach them. A consumer on
    /// another core leaves them shared; a span's own stores fill the store queue, so without this only
    /// two spans' worth of ownership requests are under way at a time (30 ns a span against 52).
    ///
    /// A line for each 8 words that are written: all lines get asked for, whatever the records' lengths.
    #[inline(always)]
    fn prefetch<const LINE: usize>(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            let at = self.head.get().wrapping_add(AHEAD + LINE * 8) & self.mask;
            // SAFETY: a masked index; a prefetch neither reads nor writes, and is no operation where the
            // processor has none.
            unsafe {
                core::arch::asm!("prefetchw [{}]", in(reg) self.words.add(at), options(nostack, preserves_flags, readonly));
            }
        }
    }

    /// Makes room for `n` words at the head, stepping over the end of the memory if need be. Once per lap
    /// and once per window of the consumer's progress.
    #[cold]
    #[inline(never)]
    fn refill(&self, n: usize) -> Result<(), PushError> {
        let capacity = self.mask + 1;
        let window = max_words(capacity, SpscControl::MAX_WORDS);
        if n > window {
            return Err(self.refuse(PushError::TooLarge));
        }
        // ORDERING: the words behind the tail are ours again; pairs with Release in `Consumer::release`.
        let tail = self.control().tail.0.load(Acquire);
        let mut head = self.head.get();
        let to_end = capacity - (head & self.mask);
        let mut free = capacity - head.wrapping_sub(tail);
        if let Some(call) = self.on_filling
            && free <= capacity / 4 * 3
        {
            call();
        }
        let padding = if to_end < n { to_end } else { 0 };
        if free < padding + n {
            return Err(self.refuse(PushError::Full));
        }
        if padding > 0 {
            let at = head & self.mask;
            self.control().touch_write(at, 1);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "below n, at most MAX_WORDS"
            )]
            let header = Header::of(State::Skip, padding as u32).word();
            // SAFETY: (1) free > 0: the word at the head is ours.
            unsafe { self.words.add(at).write(header.into()) };
            head = head.wrapping_add(padding);
            free -= padding;
            self.head.set(head); // the next commit publishes it
        }
        let contiguous = capacity - (head & self.mask);
        self.limit
            .set(head.wrapping_add(free.min(contiguous).min(window)));
        Ok(())
    }

    #[cold]
    fn refuse(&self, cause: PushError) -> PushError {
        let writer = &self.control().writer.0;
        let counter = match cause {
            PushError::Full => &writer.full,
            PushError::TooLarge => &writer.too_large,
        };
        // ORDERING: (4) nobody else writes it.
        counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
        cause
    }

    #[inline(always)]
    fn control(&self) -> &SpscControl {
        // SAFETY: (4) it outlives `'r`, and is only shared until both ends are gone.
        unsafe { self.control.as_ref() }
    }

    /// Records refused for lack of room since the start, modulo 2^32.
    #[must_use]
    pub fn full(&self) -> u32 {
        self.control().writer.0.full.load(Relaxed)
    }

    /// Records refused for their length since the start, modulo 2^32.
    #[must_use]
    pub fn too_large(&self) -> u32 {
        self.control().writer.0.too_large.load(Relaxed)
    }
}

impl Drop for Producer<'_> {
    fn drop(&mut self) {
        // ORDERING: all that was committed comes before it, and it is our last access; pairs with Acquire
        // in `Consumer::is_finished`.
        self.control().writer.0.gone.store(1, Release);
    }
}

/// Writes the first word: the header, and the source's high half.
///
/// # Safety
/// `to` must be ours to write, `from` readable; `len` at most [`MAX_WORDS`].
#[inline(always)]
unsafe fn write_first(to: *mut u32, from: *const MaybeUninit<u64>, len: usize) {
    let low = if cfg!(target_endian = "big") { 1 } else { 0 };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most MAX_WORDS: the limit saw to it"
    )]
    let header = Header::of(State::Committed, len as u32).word();
    // SAFETY: the two halves of one word.
    unsafe {
        let high = from.cast::<MaybeUninit<u32>>().add(1 - low).read_volatile();
        to.cast::<MaybeUninit<u32>>().add(1 - low).write(high);
        to.add(low).write(header);
    }
}

/// The reading end.
pub struct Consumer<'r> {
    words: *mut u64,
    mask: usize,
    tail: usize,
    cursor: Cell<usize>,
    /// Where the record read last begins; the cursor, if none was read since the last release.
    last: Cell<usize>,
    /// The head when last looked at.
    head: Cell<usize>,
    count: Cell<u32>,
    control: NonNull<SpscControl>,
    ring: PhantomData<&'r SpscControl>,
}

// SAFETY: (4) an end may move to another thread; its cells keep it from being used by two.
unsafe impl Send for Consumer<'_> {}

impl<'r> Consumer<'r> {
    /// The next record, if there is one. Its space stays taken until [`release`](Consumer::release).
    #[inline]
    pub fn read(&self) -> Option<&[u64]> {
        // Twice at most: padding reaches to the end of the memory, and the beginning has none.
        for _ in 0..2 {
            let cursor = self.cursor.get();
            if cursor == self.head.get() {
                // ORDERING: takes the words over; pairs with Release in `Producer::commit`.
                self.head.set(self.control().writer.0.head.load(Acquire));
                if cursor == self.head.get() {
                    return None;
                }
            }
            let at = cursor & self.mask;
            self.control().touch_read(at, 1);
            // SAFETY: (1) cursor < head: an initialised word, the first of a record or of padding.
            let first = unsafe { self.words.add(at).read() };
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the low half is the header"
            )]
            let header = Header::parse(first as u32)?;
            self.cursor.set(cursor.wrapping_add(header.len()));
            if header.state() == State::Committed {
                self.last.set(cursor);
                self.count.set(self.count.get().wrapping_add(1));
                self.control().touch_read(at, header.len());
                // SAFETY: (1) one record, whole and contiguous; the borrow of `self` keeps `release` away.
                return Some(unsafe {
                    core::slice::from_raw_parts(self.words.add(at), header.len())
                });
            }
        }
        None
    }

    /// Puts the record read last back, to be read again; does nothing a second time, or after a release.
    pub fn unread(&mut self) {
        if self.cursor.get() != self.last.get() {
            self.cursor.set(self.last.get());
            self.count.set(self.count.get().wrapping_sub(1));
        }
    }

    /// Gives the space of everything read so far back to the producer. One store.
    #[inline]
    pub fn release(&mut self) {
        self.tail = self.cursor.get();
        self.last.set(self.tail);
        // ORDERING: gives the words back; pairs with Acquire in `Producer::refill`.
        self.control().tail.0.store(self.tail, Release);
    }

    /// Records read since the split, modulo 2^32.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count.get()
    }

    /// Records refused for lack of room since the start, modulo 2^32.
    #[must_use]
    pub fn full(&self) -> u32 {
        self.control().writer.0.full.load(Relaxed)
    }

    /// Records refused for their length since the start, modulo 2^32.
    #[must_use]
    pub fn too_large(&self) -> u32 {
        self.control().writer.0.too_large.load(Relaxed)
    }

    /// Whether the producer is gone and everything it wrote has been read.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let writer = &self.control().writer.0;
        // ORDERING: with it, all that the producer ever did; pairs with Release in `Producer::drop`. The
        // head must be looked at afterwards.
        writer.gone.load(Acquire) != 0 && writer.head.load(Relaxed) == self.cursor.get()
    }

    /// Control and memory back, to be split again or freed, once the producer is gone and all is read.
    ///
    /// # Errors
    /// The consumer itself, unless [`is_finished`](Consumer::is_finished).
    pub fn reclaim(self) -> Result<(&'r mut SpscControl, &'r mut [MaybeUninit<u64>]), Self> {
        if !self.is_finished() {
            return Err(self);
        }
        let (words, len, mut control) = (self.words.cast(), self.mask + 1, self.control);
        // SAFETY: (4) both were exclusively borrowed for 'r by `split`; the producer has made its last
        // access (`is_finished`) and `self` is consumed.
        unsafe {
            Ok((
                control.as_mut(),
                core::slice::from_raw_parts_mut(words, len),
            ))
        }
    }

    #[inline(always)]
    fn control(&self) -> &SpscControl {
        // SAFETY: (4) it outlives `'r`, and is only shared until both ends are gone.
        unsafe { self.control.as_ref() }
    }
}

#[cfg(all(test, not(any(loom, step))))]
mod tests;
