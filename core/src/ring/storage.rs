//! The bytes of a [`Ring`](super::Ring): raw memory, addressed by position.
//!
//! Positions count 64-bit words and run freely; their low bits are the offset, so every access is in
//! bounds whatever the position. What is left to argue is who may touch which word when: the ring owns
//! that argument (invariants in `mpsc.rs`), each call repeats its part of it. Low halves of words, where
//! headers stand, are also accessed as `AtomicU32`; everything else is plain.

#[cfg(not(loom))]
use super::sync::{AtomicU32, Ordering};
#[cfg(not(loom))]
use core::{cell::UnsafeCell, mem::MaybeUninit};

/// Where in a word its numerically low half lies, in halves.
#[cfg(not(loom))]
const LOW: usize = if cfg!(target_endian = "big") { 1 } else { 0 };

/// `N` bytes, a power of two and at least 16, all zero at first so that a `static` lies in `.bss`.
#[cfg(not(loom))]
#[repr(C, align(8))]
pub(super) struct Memory<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: every access needs the promises below, and those are about all threads.
#[cfg(not(loom))]
unsafe impl<const N: usize> Sync for Memory<N> {}

#[cfg(not(loom))]
impl<const N: usize> Memory<N> {
    pub(super) const fn new() -> Self {
        Memory(UnsafeCell::new([0; N]))
    }

    #[inline(always)]
    fn word(&self, pos: usize) -> *mut u64 {
        // SAFETY: N is a power of two, so the masked offset is below N / 8 words: inside the array.
        unsafe { self.0.get().cast::<u64>().add(pos & (N / 8 - 1)) }
    }

    #[inline(always)]
    fn low_half(&self, pos: usize) -> *mut u32 {
        // SAFETY: one of the two halves of a word inside the array.
        unsafe { self.word(pos).cast::<u32>().add(LOW) }
    }

    /// The header word at `pos`.
    ///
    /// # Safety
    /// `pos` must be a record boundary of the current lap: only headers, no payload, are accessed there
    /// until the reader clears it.
    #[inline(always)]
    pub(super) unsafe fn header(&self, pos: usize, order: Ordering) -> u32 {
        // SAFETY: aligned and in bounds (align(8), `low_half`); by the caller's promise no plain access
        // to these four bytes is concurrent with this one.
        unsafe { AtomicU32::from_ptr(self.low_half(pos)) }.load(order)
    }

    /// Stores a header word.
    ///
    /// # Safety
    /// As [`Memory::header`], and the caller must own the record that begins at `pos`.
    #[inline(always)]
    pub(super) unsafe fn set_header(&self, pos: usize, word: u32, order: Ordering) {
        // SAFETY: as for `header`.
        unsafe { AtomicU32::from_ptr(self.low_half(pos)) }.store(word, order);
    }

    /// Copies a record in, all but the low half of its first word.
    ///
    /// Word by word, reading volatile, so that LLVM makes no call of `memcpy` of it: for the length of a
    /// span the loop is faster on a Cortex-M, and on a host a 16-byte load over the 8-byte stores that
    /// filled the source would stall.
    ///
    /// # Safety
    /// `pos..pos + words.len()` must be one reserved record, not across the end of the memory, and the
    /// caller its one writer.
    #[inline(always)]
    pub(super) unsafe fn copy_in(&self, pos: usize, words: &[MaybeUninit<u64>]) {
        // SAFETY: the record lies inside the memory and is the caller's alone: the reader released these
        // words before `reserve` gave them to us, and it looks at nothing but the header, the low half
        // of the first word, which is not written here. The source has as many words.
        unsafe {
            let high = self.word(pos).cast::<MaybeUninit<u32>>().add(1 - LOW);
            high.write(
                words
                    .as_ptr()
                    .cast::<MaybeUninit<u32>>()
                    .add(1 - LOW)
                    .read_volatile(),
            );
        }
        let rest = words.get(1..).unwrap_or(&[]);
        #[cfg(not(any(step, target_pointer_width = "64")))]
        if let Some(six) = rest.first_chunk::<6>()
            && rest.len() == 6
        {
            // The header of every span, in a few load and store multiples.
            // SAFETY: as above.
            unsafe {
                let to = self.word(pos.wrapping_add(1)).cast();
                core::ptr::copy_nonoverlapping::<[MaybeUninit<u64>; 6]>(six, to, 1);
            }
            return;
        }
        // SAFETY: as above.
        unsafe { self.copy_words(pos.wrapping_add(1), rest) };
    }

    /// Copies what follows of a record.
    ///
    /// # Safety
    /// As [`Memory::copy_in`], for a part of the record without its first word.
    #[inline(always)]
    pub(super) unsafe fn copy_words(&self, pos: usize, words: &[MaybeUninit<u64>]) {
        let (mut to, mut from) = (self.word(pos).cast::<MaybeUninit<u64>>(), words.as_ptr());
        // Two running pointers: fewest instructions a word, 4 on a Cortex-M4 and 8 on an M0.
        let end = from.wrapping_add(words.len());
        while from != end {
            super::sync::point();
            // SAFETY: the caller's promise; the source has as many words.
            unsafe { to.write(from.read_volatile()) };
            (to, from) = (to.wrapping_add(1), from.wrapping_add(1));
        }
    }

    /// A committed record.
    ///
    /// # Safety
    /// The record at `pos` must be committed and unreleased, `len` its length, the caller the one reader.
    #[inline(always)]
    pub(super) unsafe fn record(&self, pos: usize, len: usize) -> &[u64] {
        // SAFETY: records do not straddle the end, so `len` words lie inside the memory; the writer
        // initialised them and gave them up with its commit, and no writer gets them before the release.
        unsafe { core::slice::from_raw_parts(self.word(pos), len) }
    }

    /// Clears `len` words as far as a header could be seen in them: their low halves.
    ///
    /// # Safety
    /// As [`Memory::record`] (or the header word of padding), with no slice of it alive.
    #[inline(always)]
    pub(super) unsafe fn clear(&self, pos: usize, len: usize) {
        let mut at = self.low_half(pos);
        for _ in 0..len {
            super::sync::point();
            // SAFETY: in bounds as in `record`; the reader owns the record until it moves the tail.
            unsafe { at.write(0) };
            at = at.wrapping_add(2);
        }
    }
}

/// Has a value worked out here and not later: else LLVM moves the arithmetic that only the critical
/// section needs into the critical section.
#[cfg(all(any(target_arch = "arm", target_arch = "riscv32"), target_os = "none"))]
#[inline(always)]
pub(super) fn settle(mut value: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags));
    }
    value
}
/// Nothing to do where no critical section is counted in instructions.
#[cfg(not(all(any(target_arch = "arm", target_arch = "riscv32"), target_os = "none")))]
#[inline(always)]
pub(super) fn settle(value: usize) -> usize {
    value
}

#[cfg(loom)]
pub(super) use model::Memory;

#[cfg(loom)]
mod model {
    //! Headers live in loom's atomics, words in a plain buffer beside one tracked cell each: a touch of
    //! the cell tells loom of a plain access, and it complains of any that nothing orders.
    use super::super::sync::{AtomicU32, Ordering};
    use core::{cell::UnsafeCell, mem::MaybeUninit};
    use std::boxed::Box;
    use std::vec::Vec;

    pub(crate) struct Memory<const N: usize> {
        headers: Vec<AtomicU32>,
        cells: Vec<loom::cell::UnsafeCell<()>>,
        words: Box<[UnsafeCell<u64>]>,
    }
    // SAFETY: loom runs one thread at a time, and `cells` reports what would be a race.
    unsafe impl<const N: usize> Sync for Memory<N> {}
    // SAFETY: as above.
    unsafe impl<const N: usize> Send for Memory<N> {}

    impl<const N: usize> Memory<N> {
        pub(crate) fn new() -> Self {
            Memory {
                headers: (0..N / 8).map(|_| AtomicU32::new(0)).collect(),
                cells: (0..N / 8)
                    .map(|_| loom::cell::UnsafeCell::new(()))
                    .collect(),
                words: (0..N / 8).map(|_| UnsafeCell::new(0)).collect(),
            }
        }
        fn at(pos: usize) -> usize {
            pos & (N / 8 - 1)
        }
        fn write(&self, i: usize, change: impl FnOnce(&mut u64)) {
            // SAFETY: one thread at a time, and no reference outlives this call; slices of `record` over
            // these words would be a race that the cells report.
            change(unsafe { &mut *self.words[i].get() });
        }
        pub(crate) unsafe fn header(&self, pos: usize, order: Ordering) -> u32 {
            self.headers[Self::at(pos)].load(order)
        }
        pub(crate) unsafe fn set_header(&self, pos: usize, word: u32, order: Ordering) {
            let i = Self::at(pos);
            self.write(i, |w| *w = *w >> 32 << 32 | u64::from(word));
            self.headers[i].store(word, order);
        }
        pub(crate) unsafe fn copy_in(&self, pos: usize, words: &[MaybeUninit<u64>]) {
            let (first, rest) = words.split_first().unwrap();
            let i = Self::at(pos);
            self.cells[i].with_mut(|_| ());
            // SAFETY: `push` promises initialised words.
            self.write(i, |w| *w = unsafe { first.assume_init() });
            // SAFETY: the caller's promise.
            unsafe { self.copy_words(pos + 1, rest) };
        }
        pub(crate) unsafe fn copy_words(&self, pos: usize, words: &[MaybeUninit<u64>]) {
            for (k, word) in words.iter().enumerate() {
                let i = Self::at(pos + k);
                self.cells[i].with_mut(|_| ());
                self.headers[i].assert_ours();
                // SAFETY: `push` promises initialised words.
                self.write(i, |w| *w = unsafe { word.assume_init() });
            }
        }
        pub(crate) unsafe fn record(&self, pos: usize, len: usize) -> &[u64] {
            let i = Self::at(pos);
            self.cells[i..i + len].iter().for_each(|c| c.with(|_| ()));
            // SAFETY: in bounds by the slice index above; races are loom's to find.
            unsafe { core::slice::from_raw_parts(self.words[i..i + len].as_ptr().cast(), len) }
        }
        pub(crate) unsafe fn clear(&self, pos: usize, len: usize) {
            for i in (0..len).map(|k| Self::at(pos + k)) {
                self.cells[i].with_mut(|_| ());
                self.headers[i].assert_ours();
                // A plain store; the model needs some value here, and Relaxed orders nothing.
                self.headers[i].store(0, Ordering::Relaxed);
            }
        }
    }
}
