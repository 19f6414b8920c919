//! Header and references of a record where addresses have up to 64 bits.

use super::{Header, META, PARENT, SPAN, START, TRACE};
use core::mem::MaybeUninit;

/// Words of the header.
pub(crate) const HEADER: usize = 8;
const END: usize = 6;
/// The word that refers to the name.
pub(crate) const NAME: usize = 7;

/// Bits of the name's length, and of the length of a text by reference.
pub(crate) const NAME_BITS: u32 = 16;
pub(crate) const REF_BITS: u32 = 16;
/// Where in a head word the length of the key stands.
pub(super) const KEY_SHIFT: u32 = 48;
/// Small integers have no form of their own.
pub(super) const HAS_SMALL: bool = false;

/// Statics of these targets always have 48-bit addresses (their kernels hand out more only to a program
/// that asks `mmap` for it); elsewhere every entry is checked, 3 instructions.
const ADDRESS_FITS: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Whether a reference can say this address.
#[inline(always)]
pub(super) fn address_fits(address: usize) -> bool {
    ADDRESS_FITS || to_address(address as u64) == address
}
/// The address of a head word or reference: 48 bits, sign-extended.
#[inline(always)]
pub(super) const fn to_address(word: u64) -> usize {
    ((word << 16) as i64 >> 16) as usize
}
/// The low bits of a head word or reference that say this address.
#[inline(always)]
pub(super) const fn of_address(address: usize) -> u64 {
    (address as u64) << 16 >> 16
}
/// A reference to a text whose length fits into [`REF_BITS`].
#[inline(always)]
pub(crate) fn pack(text: &str) -> u64 {
    of_address(text.as_ptr().expose_provenance()) | (text.len() as u64) << 48
}
/// The length that [`pack`] packed.
#[inline(always)]
pub(super) const fn packed_len(word: u64) -> usize {
    (word >> 48) as usize
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
    let [meta, high, low, span, parent, start, name] =
        [meta, high, low, span, parent, start, pack(name)].map(MaybeUninit::new);
    let end = MaybeUninit::uninit();
    [meta, high, low, span, parent, start, end, name]
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
        none,
    ]
}
/// Writes the end, the last word that [`open`] left. `false`: it does not fit, and has to follow as an entry.
/// (Always fits.)
#[inline(always)]
pub(crate) fn close(header: &mut [MaybeUninit<u64>; HEADER], start: u64, end: u64) -> bool {
    header[END].write(end.max(start));
    true
}
/// When the span ended; `None`: an entry says it.
#[inline(always)]
pub(super) fn end(header: &Header) -> Option<u64> {
    Some(header[END])
}
/// Address and length of the name.
#[inline(always)]
pub(super) fn name(header: &Header) -> (usize, usize) {
    (to_address(header[NAME]), packed_len(header[NAME]))
}

/// Words of the counts entry.
pub(crate) const COUNTS_WORDS: usize = 3;
/// Words that an open span keeps for what its end may have to add.
pub(crate) const RESERVED: usize = COUNTS_WORDS;

/// The counts entry, but for its tag.
#[inline(always)]
pub(super) fn counts([a, b, c, d]: [u32; 4]) -> [u64; COUNTS_WORDS] {
    [0, a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32]
}
/// Its counts.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "splits words")]
pub(super) fn to_counts([_, a, b]: [u64; COUNTS_WORDS]) -> [u32; 4] {
    [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
}
