//! Small copies into words without `memcpy`: for the 3–40 bytes of a key or a value the call costs more
//! than the copy, and overlapping or wide stores would defeat store forwarding when the ring copies the
//! words a moment later.

/// Words that `len` bytes take.
#[inline(always)]
pub(crate) const fn words_of(len: usize) -> usize {
    len.div_ceil(8)
}

/// Copies `from` to the start of `to`, as far as there is room: without the `memcpy` that a small program may not
/// have otherwise (600 bytes on an M0), for the few bytes that spanlet copies at once.
#[inline(never)]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    #[cfg(target_pointer_width = "64")]
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
    #[cfg(not(target_pointer_width = "64"))]
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: a reference may be read. Volatile, or LLVM calls `memcpy` here.
        *to = unsafe { core::ptr::from_ref(from).read_volatile() };
    }
}

/// Moves `items[from]` down to `to`, as `copy_within` does, but with nothing in it that panics: a range that
/// does not lie within `items` moves nothing.
///
/// Needs `to <= from.start`.
#[inline(always)]
pub(crate) fn move_down<T: Copy>(items: &mut [T], from: core::ops::Range<usize>, to: usize) {
    debug_assert!(to <= from.start);
    let cells = core::cell::Cell::from_mut(items).as_slice_of_cells();
    if let (Some(target), Some(source)) = (cells.get(to..), cells.get(from)) {
        for (target, item) in target.iter().zip(source) {
            target.set(item.get());
        }
    }
}

/// Writes `bytes` as whole words in memory order, the last one padded with zeros.
///
/// Out of line: about 60 instructions that every call of `set_attribute` would otherwise carry.
///
/// # Safety
/// `dst` must be valid for writes of `words_of(bytes.len())` words.
#[inline(never)]
pub(crate) unsafe fn put_words(dst: *mut u64, bytes: &[u8]) {
    let (mut out, mut at, mut left) = (dst, bytes.as_ptr(), bytes.len());
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && left > 8 && left <= 16 {
        // The usual length of a copied text, without a loop: two words that overlap in the source.
        // SAFETY: at least 8 bytes to read, `left` in all; two words to write.
        unsafe {
            out.write(at.cast::<u64>().read_unaligned());
            let last = at.add(left - 8).cast::<u64>().read_unaligned();
            out.add(1).write(last >> ((16 - left) * 8));
        }
        return;
    }
    while left >= 8 {
        // SAFETY: eight bytes are left to read and a word for them to write.
        unsafe {
            // Volatile: or LLVM makes a vector loop with an alias check of it.
            out.write_volatile(at.cast::<u64>().read_unaligned());
            (out, at) = (out.add(1), at.add(8));
        }
        left -= 8;
    }
    if left != 0 {
        let mut word = [0; 8];
        // SAFETY: `left` bytes, fewer than 8, are left to read, and one word to write.
        unsafe {
            if cfg!(target_arch = "x86_64") || cfg!(target_arch = "aarch64") {
                out.write(short(at, left));
            } else {
                // Without unaligned loads the bytewise way is the short one.
                for (to, i) in word.iter_mut().zip(0..left) {
                    *to = at.add(i).read();
                }
                out.write(u64::from_ne_bytes(word));
            }
        }
    }
}

/// Reads `n` (1–7) bytes into the low end of a little-endian word, the rest zero.
///
/// # Safety
/// `p` must be readable for `n` bytes.
#[inline(always)]
unsafe fn short(p: *const u8, n: usize) -> u64 {
    // SAFETY: every read is inside `p..p + n`: two words that overlap, or first, middle and last byte.
    let word = unsafe {
        if n >= 4 {
            let low = p.cast::<u32>().read_unaligned() as u64;
            let high = p.add(n - 4).cast::<u32>().read_unaligned() as u64;
            low | high << ((n - 4) * 8)
        } else {
            let (a, b, c) = (p.read(), p.add(n >> 1).read(), p.add(n - 1).read());
            a as u64 | (b as u64) << ((n >> 1) * 8) | (c as u64) << ((n - 1) * 8)
        }
    };
    if cfg!(target_endian = "big") {
        word.swap_bytes()
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn pads_and_keeps_every_length() {
        let source: [u8; 41] = core::array::from_fn(|i| i as u8 + 1);
        for from in 0..8 {
            for len in 0..source.len() - from {
                let mut words = [u64::MAX; 6];
                // SAFETY: 6 words hold 41 bytes.
                unsafe { put_words(words.as_mut_ptr(), &source[from..from + len]) };
                let bytes: std::vec::Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
                assert_eq!(bytes[..len], source[from..from + len]);
                assert!(bytes[len..words_of(len) * 8].iter().all(|b| *b == 0));
                assert!(bytes[words_of(len) * 8..].iter().all(|b| *b == 0xff));
            }
        }
    }
}
