//! Hex by NEON, which every aarch64 with floating point has.

use core::arch::aarch64::{
    uint8x8_t, uint8x8x2_t, uint8x16_t, uint8x16x2_t, vaddq_u8, vand_u8, vandq_u8, vcombine_u8,
    vcreate_u8, vdup_n_u8, vdupq_n_u8, vget_high_u8, vget_lane_u64, vget_low_u8, vgetq_lane_u64,
    vld1q_u8, vld2_u8, vld2q_u8, vmaxvq_u8, vminq_u8, vorr_u8, vorrq_u8, vqaddq_u8, vqsubq_u8,
    vqtbl1q_u8, vreinterpret_u64_u8, vreinterpretq_u64_u8, vshl_n_u8, vshlq_n_u8, vshr_n_u8,
    vshrq_n_u8, vst2_u8, vst2q_u8, vsubq_u8,
};

use super::{FLAGS, Fields, LEN, SPAN, TRACE};

const _: () = assert!(TRACE + 32 <= LEN && SPAN + 16 <= LEN && FLAGS + 2 == LEN);

/// 16 digits to their values; anything else to 16 and more.
#[inline(always)]
fn values(text: uint8x16_t) -> uint8x16_t {
    // SAFETY: the module is compiled only where the baseline has NEON; no memory is touched.
    unsafe {
        // Digits to 0xf6..=0xff, by saturation to 0xf0..=0xf9, then to 0..=9; the rest ends at 16 or more.
        let top = vqsubq_u8(vaddq_u8(text, vdupq_n_u8(0xff - b'9')), vdupq_n_u8(6));
        let digit = vsubq_u8(top, vdupq_n_u8(0xf0));
        // 'a'..='f' to 10..=15; the rest saturates away from there.
        let letter = vqaddq_u8(vsubq_u8(text, vdupq_n_u8(b'a')), vdupq_n_u8(10));
        vminq_u8(digit, letter)
    }
}

/// `None` if a byte is neither the digit nor the dash that belongs there.
#[inline(always)]
pub(crate) fn decode_fields(text: &[u8; LEN]) -> Option<Fields> {
    let base = text.as_ptr();
    // SAFETY: the loads read 32 bytes from TRACE and 16 from SPAN, all within the 55 borrowed for the
    // whole call (asserted above); they split even from odd bytes and need no alignment.
    let (trace, span) = unsafe { (vld2q_u8(base.add(TRACE)), vld2_u8(base.add(SPAN))) };
    // SAFETY: as in `values`.
    let (bad, trace, span) = unsafe {
        let (high, low) = (values(trace.0), values(trace.1));
        let both = values(vcombine_u8(span.0, span.1));
        let bad = vmaxvq_u8(vorrq_u8(vorrq_u8(high, low), both));
        let trace = vreinterpretq_u64_u8(vorrq_u8(vshlq_n_u8(high, 4), low));
        let span = vorr_u8(vshl_n_u8(vget_low_u8(both), 4), vget_high_u8(both));
        (
            bad,
            [vgetq_lane_u64(trace, 0), vgetq_lane_u64(trace, 1)],
            vget_lane_u64(vreinterpret_u64_u8(span), 0),
        )
    };
    let [v0, v1, dash_0, .., dash_2, f0, f1] = text;
    let [.., dash_1] = text.first_chunk::<SPAN>()?;
    let version = super::byte(*v0, *v1);
    let flags = super::byte(*f0, *f1);
    let dashes = (*dash_0 ^ b'-') | (*dash_1 ^ b'-') | (*dash_2 ^ b'-');
    if bad > 15 || dashes != 0 {
        return None;
    }
    Some(Fields {
        version: u8::try_from(version).ok()?,
        trace,
        span,
        flags: u8::try_from(flags).ok()?,
    })
}

/// Version 00 with the given words; `flags` below 16.
#[inline(always)]
pub(crate) fn encode_fields(trace: [u64; 2], span: u64, flags: u8, out: &mut [u8; LEN]) {
    let [t0, t1] = trace;
    let base = out.as_mut_ptr();
    // SAFETY: the stores write 32 bytes from TRACE and 16 from SPAN, all within the 55 that `out` lends
    // exclusively to this call (asserted above). The table load reads the 16 bytes of a static string.
    unsafe {
        let table = vld1q_u8(b"0123456789abcdef".as_ptr());
        let bytes = vcombine_u8(vcreate_u8(t0), vcreate_u8(t1));
        let high = vqtbl1q_u8(table, vshrq_n_u8(bytes, 4));
        let low = vqtbl1q_u8(table, vandq_u8(bytes, vdupq_n_u8(0x0f)));
        vst2q_u8(base.add(TRACE), uint8x16x2_t(high, low));
        let bytes: uint8x8_t = vcreate_u8(span);
        let both = vcombine_u8(vshr_n_u8(bytes, 4), vand_u8(bytes, vdup_n_u8(0x0f)));
        let both = vqtbl1q_u8(table, both);
        vst2_u8(
            base.add(SPAN),
            uint8x8x2_t(vget_low_u8(both), vget_high_u8(both)),
        );
    }
    let [v0, v1, dash_0, .., dash_2, f0, f1] = out;
    (*v0, *v1, *dash_0) = (b'0', b'0', b'-');
    (*dash_2, *f0, *f1) = (b'-', b'0', b'0' + (flags & 0x0f));
    if let Some([.., dash_1]) = out.first_chunk_mut::<SPAN>() {
        *dash_1 = b'-';
    }
}
