//! Memory that a reset may keep: words of 64 bits, touched by nothing but 32-bit atomics.
//!
//! So there is nothing to argue about who may touch what when, whatever the memory holds at boot: any bit
//! pattern is a value, and the worst that a damaged position can do is to name another word.

#[cfg(not(loom))]
use super::sync::AtomicU32;
#[cfg(not(loom))]
use core::cell::UnsafeCell;

/// `N` bytes, a power of two and at least 32.
#[cfg(not(loom))]
#[repr(C, align(8))]
pub(super) struct Words<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: the only accesses are those of `half`, and they are atomic.
#[cfg(not(loom))]
unsafe impl<const N: usize> Sync for Words<N> {}

#[cfg(not(loom))]
impl<const N: usize> Words<N> {
    pub(super) const fn new() -> Self {
        Words(UnsafeCell::new([0; N]))
    }
    #[inline(always)]
    fn half(&self, position: u32, half: usize) -> &AtomicU32 {
        let word = position as usize & (N / 8 - 1);
        // SAFETY: N is a power of two, so the masked word and each of its halves lie inside the array, which
        // is aligned to 8; this type makes no other access than atomic ones of 32 bits.
        unsafe { AtomicU32::from_ptr(self.0.get().cast::<u32>().add(2 * word + half)) }
    }
    /// The numerically low half of the word at a position, whose high bits do not count.
    #[inline(always)]
    pub(super) fn low(&self, position: u32) -> &AtomicU32 {
        self.half(position, 0)
    }
    /// The other half.
    #[inline(always)]
    pub(super) fn high(&self, position: u32) -> &AtomicU32 {
        self.half(position, 1)
    }
    /// Low and high halves of the `len` words from a position on, or up to the end of the memory.
    #[inline(always)]
    pub(super) fn from(&self, position: u32, len: usize) -> core::slice::Iter<'_, [AtomicU32; 2]> {
        let word = position as usize & (N / 8 - 1);
        let len = len.min(N / 8 - word);
        let first = core::ptr::from_ref(self.half(position, 0)).cast();
        // SAFETY: so many words from this one on lie inside the array; accesses are atomic, as in `half`.
        unsafe { core::slice::from_raw_parts(first, len) }.iter()
    }
}

/// Has a value or an address worked out here and not later: else LLVM moves what only a critical section
/// needs into the critical section.
#[cfg(all(any(target_arch = "arm", target_arch = "riscv32"), target_os = "none"))]
#[inline(always)]
pub(super) fn settle<T: Copy>(value: T) -> T {
    const { assert!(size_of::<T>() == 4) };
    // SAFETY: a word that goes into a register and comes out of it unchanged, with its provenance.
    unsafe {
        let mut word: *const () = core::mem::transmute_copy(&value);
        core::arch::asm!("/* {0} */", inout(reg) word, options(nomem, nostack, preserves_flags));
        core::mem::transmute_copy(&word)
    }
}
/// Nothing to do where no critical section is counted in instructions.
#[cfg(not(all(any(target_arch = "arm", target_arch = "riscv32"), target_os = "none")))]
#[inline(always)]
pub(super) fn settle<T: Copy>(value: T) -> T {
    value
}

#[cfg(loom)]
pub(super) use model::Words;

#[cfg(loom)]
mod model {
    use super::super::sync::AtomicU32;
    use std::vec::Vec;

    pub(crate) struct Words<const N: usize>(Vec<[AtomicU32; 2]>);

    impl<const N: usize> Words<N> {
        pub(crate) fn new() -> Self {
            let word = |_| [AtomicU32::new(0), AtomicU32::new(0)];
            Words((0..N / 8).map(word).collect())
        }
        pub(crate) fn low(&self, position: u32) -> &AtomicU32 {
            &self.0[position as usize & (N / 8 - 1)][0]
        }
        pub(crate) fn high(&self, position: u32) -> &AtomicU32 {
            &self.0[position as usize & (N / 8 - 1)][1]
        }
        pub(crate) fn from(
            &self,
            position: u32,
            len: usize,
        ) -> core::slice::Iter<'_, [AtomicU32; 2]> {
            let word = position as usize & (N / 8 - 1);
            self.0[word..(word + len).min(N / 8)].iter()
        }
    }
}
