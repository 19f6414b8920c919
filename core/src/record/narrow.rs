//! Header and references of a record where addresses have 32 bits: a word shorter, because the end is kept as
//! the duration and shares its word with the name's address.

use super::{Header, META, META_END_APART, PARENT, SPAN, START, TRACE, packs};
use core::mem::MaybeUninit;

/// Words of the header.
pub(crate) const HEADER: usize = 7;
/// 0–31 the duration, 32–63 the name's address. Its length is in the last bits of META.
const END_NAME: usize = 6;
/// The word that refers to the name.
#[cfg(not(loom))]
pub(crate) const NAME: usize = END_NAME;
const NAME_SHIFT: u32 = 64 - NAME_BITS;

/// Bits of the name's length.
pub(crate) const NAME_BITS: u32 = 11;
/// Bits of the length of a text by reference.
pub(crate) const REF_BITS: u32 = 32;
/// Where in a head word the length of the key stands. Bits 43–58 are free, for a small integer.
pub(super) const KEY_SHIFT: u32 = 32;
/// Integers of 16 bits are in their head.
pub(super) const HAS_SMALL: bool = true;

/// Whether a reference can say this address.
#[inline(always)]
pub(super) const fn address_fits(_: usize) -> bool {
    true
}
/// The address of a head word or reference.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub(super) const fn to_address(word: u64) -> usize {
    word as u32 as usize
}
/// The low half of a head word or reference that says this address.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "32 bits")]
pub(super) const fn of_address(address: usize) -> u64 {
    address as u32 as u64
}
/// A reference to a text.
#[inline(always)]
pub(crate) fn pack(text: &str) -> u64 {
    of_address(text.as_ptr().expose_provenance()) | (text.len() as u64) << 32
}
/// The length that [`pack`] packed.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "32 bits")]
pub(super) const fn packed_len(word: u64) -> usize {
    (word >> 32) as usize
}

/// A header without an end; the name fits into [`NAME_BITS`].
#[inline(always)]
pub(crate) fn open(
    meta: u64,
    [high, low]: [u64; 2],
    span: u64,
    parent: u64,
    start: u64,
    name: &str,
) -> [MaybeUninit<u64>; HEADER] {
    // INVARIANT: the order of the header's words.
    const { assert!(META == 0 && TRACE == 1 && SPAN == 3 && PARENT == 4 && START == 5) };
    let meta = meta | (name.len() as u64) << NAME_SHIFT;
    let end_name = of_address(name.as_ptr().expose_provenance()) << 32;
    [meta, high, low, span, parent, start, end_name].map(MaybeUninit::new)
}
/// Writes META and the name of a header whose other words are written already.
#[inline(always)]
pub(crate) fn put_name(header: &mut [MaybeUninit<u64>; HEADER], meta: u64, name: &str) {
    let (address, len) = if packs(name, NAME_BITS) {
        (name.as_ptr().expose_provenance(), name.len() as u64)
    } else {
        (0, 0)
    };
    header[META].write(meta | len << NAME_SHIFT);
    header[END_NAME].write(of_address(address) << 32);
}
/// The same for a span that records nothing: ids and flags.
#[inline(always)]
pub(crate) fn off(meta: u64, [high, low]: [u64; 2], span: u64) -> [MaybeUninit<u64>; HEADER] {
    let none = MaybeUninit::uninit();
    let word = MaybeUninit::new;
    [
        word(meta),
        word(high),
        word(low),
        word(span),
        none,
        none,
        none,
    ]
}
/// Writes the end. `false`: it does not fit (4,294 s at 1 MHz), and has to follow as an entry, which META says.
#[inline(always)]
pub(crate) fn close(header: &mut [MaybeUninit<u64>; HEADER], start: u64, end: u64) -> bool {
    // An end before the start counts as the start.
    let duration = (end.wrapping_sub(start) as i64).max(0) as u64;
    // SAFETY: `open` wrote the word.
    let word = unsafe { header[END_NAME].assume_init() };
    header[END_NAME].write(word >> 32 << 32 | duration & 0xffff_ffff);
    if duration >> 32 != 0 {
        // SAFETY: as above.
        let meta = unsafe { header[META].assume_init() };
        header[META].write(meta | META_END_APART);
        return false;
    }
    true
}
/// When the span ended; `None`: an entry says it.
#[inline(always)]
pub(super) fn end(header: &Header) -> Option<u64> {
    let end = header[START].wrapping_add(header[END_NAME] & 0xffff_ffff);
    (header[META] & META_END_APART == 0).then_some(end)
}
/// Address and length of the name.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "32 and 11 bits")]
pub(super) fn name(header: &Header) -> (usize, usize) {
    let len = header[META] >> NAME_SHIFT;
    ((header[END_NAME] >> 32) as usize, len as usize)
}

/// Words of the counts entry.
pub(crate) const COUNTS_WORDS: usize = 2;
/// Words that an open span keeps for what its end may have to add: counts, and an end that lies apart.
pub(crate) const RESERVED: usize = COUNTS_WORDS + super::END_WORDS;

/// Bits of the last two counts, which are in the head.
const HEAD_COUNT_BITS: u32 = 29;

/// The counts entry, but for its tag. The last two saturate at 2^29 − 1.
#[inline(always)]
pub(super) fn counts([a, b, c, d]: [u32; 4]) -> [u64; COUNTS_WORDS] {
    const MOST: u32 = (1 << HEAD_COUNT_BITS) - 1;
    let head = c.min(MOST) as u64 | (d.min(MOST) as u64) << HEAD_COUNT_BITS;
    [head, a as u64 | (b as u64) << 32]
}
/// Its counts.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "splits words")]
pub(super) fn to_counts([head, word]: [u64; COUNTS_WORDS]) -> [u32; 4] {
    let of_head = |shift: u32| (head >> shift) as u32 & ((1 << HEAD_COUNT_BITS) - 1);
    let (c, d) = (of_head(0), of_head(HEAD_COUNT_BITS));
    [word as u32, (word >> 32) as u32, c, d]
}
