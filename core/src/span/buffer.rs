//! Where an open span keeps its entries.
//!
//! A type parameter of the span: inline words on devices and in interrupts, pooled pages on servers.

use core::mem::MaybeUninit;

/// Memory for the entries of one open span.
///
/// # Safety
/// [`words`](Self::words) and [`words_mut`](Self::words_mut) must return the same memory, a multiple of
/// four words and no more than 32,756, until [`grow`](Self::grow) or [`grow_first`](Self::grow_first)
/// replaces it; words that were written must still be there after a move of the buffer, and after a `grow`,
/// which copies the first `used` of them. After `true` the memory has `need` words or more.
pub unsafe trait SpanBuf {
    /// An empty buffer. May hold no words yet; then the first entry calls [`grow`](Self::grow).
    fn new() -> Self;
    /// The memory.
    fn words(&self) -> &[MaybeUninit<u64>];
    /// The memory, to write.
    fn words_mut(&mut self) -> &mut [MaybeUninit<u64>];
    /// The quick way of a first [`grow`](Self::grow) to `need` words, inlined wherever an entry is written. `false`:
    /// ask `grow`, nothing has changed.
    #[inline(always)]
    fn grow_first(&mut self, need: usize) -> bool {
        let _ = need;
        false
    }
    /// Replaces the memory by at least `need` words, the first `used` kept. `false`: there is no more,
    /// and nothing has changed.
    fn grow(&mut self, used: usize, need: usize) -> bool {
        let _ = (used, need);
        false
    }
}

/// `W` words inside the span: a multiple of four, 8 bytes each. An integer attribute takes 2 words, a
/// constant text 2, a copied one 2 and its bytes.
pub struct InlineBuf<const W: usize>([MaybeUninit<u64>; W]);

// SAFETY: one array, moved as a whole.
unsafe impl<const W: usize> SpanBuf for InlineBuf<W> {
    #[inline(always)]
    fn new() -> Self {
        const { assert!(W >= 4 && W.is_multiple_of(4) && W <= 0x7fff - 8) };
        InlineBuf([MaybeUninit::uninit(); W])
    }
    #[inline(always)]
    fn words(&self) -> &[MaybeUninit<u64>] {
        &self.0
    }
    #[inline(always)]
    fn words_mut(&mut self) -> &mut [MaybeUninit<u64>] {
        &mut self.0
    }
}
