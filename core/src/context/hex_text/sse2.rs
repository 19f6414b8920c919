//! Hex by SSE2, which every x86_64 with floating point has.

use core::arch::x86_64::{
    __m128i, _mm_add_epi8, _mm_adds_epu8, _mm_and_si128, _mm_cmpgt_epi8, _mm_loadu_si128,
    _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_packus_epi16, _mm_set_epi64x, _mm_set1_epi8,
    _mm_set1_epi16, _mm_setzero_si128, _mm_slli_epi16, _mm_srli_epi16, _mm_storeu_si128,
    _mm_sub_epi8, _mm_subs_epu8, _mm_unpackhi_epi8, _mm_unpacklo_epi8,
};

use super::{FLAGS, Fields, LEN, SPAN, TRACE};

const _: () = assert!(TRACE + 32 <= LEN && SPAN + 16 <= LEN && FLAGS + 2 == LEN);

/// 16 digits to their values; anything else to 16 and more.
#[inline(always)]
fn values(text: __m128i) -> __m128i {
    // SAFETY: the module is compiled only where the baseline has SSE2; no memory is touched.
    unsafe {
        // Digits to 0xf6..=0xff, by saturation to 0xf0..=0xf9, then to 0..=9; the rest ends at 16 or more.
        let top = _mm_add_epi8(text, _mm_set1_epi8((0xff - b'9') as i8));
        let top = _mm_subs_epu8(top, _mm_set1_epi8(6));
        let digit = _mm_sub_epi8(top, _mm_set1_epi8(0xf0_u8 as i8));
        // 'a'..='f' to 10..=15; the rest saturates away from there.
        let letter = _mm_sub_epi8(text, _mm_set1_epi8(b'a' as i8));
        let letter = _mm_adds_epu8(letter, _mm_set1_epi8(10));
        _mm_min_epu8(digit, letter)
    }
}

/// Pairs of values to the low byte of each 16-bit lane.
#[inline(always)]
fn pairs(values: __m128i) -> __m128i {
    // SAFETY: as in `values`.
    unsafe {
        let joined = _mm_or_si128(_mm_slli_epi16(values, 4), _mm_srli_epi16(values, 8));
        _mm_and_si128(joined, _mm_set1_epi16(0xff))
    }
}

/// `None` if a byte is neither the digit nor the dash that belongs there.
#[inline(always)]
pub(crate) fn decode_fields(text: &[u8; LEN]) -> Option<Fields> {
    let base = text.as_ptr();
    // SAFETY: each load reads 16 bytes that lie within the 55 borrowed for the whole call: the highest
    // ends at SPAN + 16 <= LEN (asserted above). Unaligned loads need no alignment.
    let (t0, t1, s) = unsafe {
        (
            values(_mm_loadu_si128(base.add(TRACE).cast())),
            values(_mm_loadu_si128(base.add(TRACE + 16).cast())),
            values(_mm_loadu_si128(base.add(SPAN).cast())),
        )
    };
    let [v0, v1, dash_0, .., dash_2, f0, f1] = text;
    let [.., dash_1] = text.first_chunk::<SPAN>()?;
    // The usual version costs one comparison.
    let version = if (*v0, *v1) == (b'0', b'0') {
        0
    } else {
        super::byte(*v0, *v1)
    };
    let flags = super::byte(*f0, *f1);
    let dashes = (*dash_0 ^ b'-') | (*dash_1 ^ b'-') | (*dash_2 ^ b'-');
    // SAFETY: as in `values`. The transmutes are between 16-byte values without invalid patterns.
    let (bad, trace, span) = unsafe {
        // 16 and more gets its top bit set.
        let all = _mm_or_si128(_mm_or_si128(t0, t1), s);
        let bad = _mm_movemask_epi8(_mm_adds_epu8(all, _mm_set1_epi8(0x70)));
        let trace = _mm_packus_epi16(pairs(t0), pairs(t1));
        let span = _mm_packus_epi16(pairs(s), _mm_setzero_si128());
        (
            bad,
            core::mem::transmute::<__m128i, [u64; 2]>(trace),
            core::mem::transmute::<__m128i, [u64; 2]>(span),
        )
    };
    if bad != 0 || dashes != 0 {
        return None;
    }
    let [span, _] = span;
    Some(Fields {
        version: u8::try_from(version).ok()?,
        trace,
        span,
        flags: u8::try_from(flags).ok()?,
    })
}

/// Values 0 to 15 to digits.
#[inline(always)]
fn digits(values: __m128i) -> __m128i {
    // SAFETY: as in `values`.
    unsafe {
        let letter = _mm_cmpgt_epi8(values, _mm_set1_epi8(9));
        let letter = _mm_and_si128(letter, _mm_set1_epi8((b'a' - b'0' - 10) as i8));
        _mm_add_epi8(_mm_add_epi8(values, _mm_set1_epi8(b'0' as i8)), letter)
    }
}

/// 16 bytes to the values of 32 digits.
#[inline(always)]
fn split(bytes: __m128i) -> (__m128i, __m128i) {
    // SAFETY: as in `values`.
    unsafe {
        let nibble = _mm_set1_epi8(0x0f);
        let high = _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble);
        let low = _mm_and_si128(bytes, nibble);
        (_mm_unpacklo_epi8(high, low), _mm_unpackhi_epi8(high, low))
    }
}

/// Version 00 with the given words; `flags` below 16.
#[inline(always)]
pub(crate) fn encode_fields(trace: [u64; 2], span: u64, flags: u8, out: &mut [u8; LEN]) {
    let [t0, t1] = trace;
    let base = out.as_mut_ptr();
    // SAFETY: each store writes 16 bytes within the 55 that `out` lends exclusively to this call: the
    // highest ends at SPAN + 16 <= LEN (asserted above). Unaligned stores need no alignment.
    unsafe {
        let (a, b) = split(_mm_set_epi64x(t1.cast_signed(), t0.cast_signed()));
        let (c, _) = split(_mm_set_epi64x(0, span.cast_signed()));
        _mm_storeu_si128(base.add(TRACE).cast(), digits(a));
        _mm_storeu_si128(base.add(TRACE + 16).cast(), digits(b));
        _mm_storeu_si128(base.add(SPAN).cast(), digits(c));
    }
    let [v0, v1, dash_0, .., dash_2, f0, f1] = out;
    (*v0, *v1, *dash_0) = (b'0', b'0', b'-');
    (*dash_2, *f0, *f1) = (b'-', b'0', b'0' + (flags & 0x0f));
    if let Some([.., dash_1]) = out.first_chunk_mut::<SPAN>() {
        *dash_1 = b'-';
    }
}
