//! What only the inside can set up: counters close to their end.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]
use super::*;

/// Positions run over the end of `usize`, sequence numbers over the end of `u32`.
#[test]
fn counters_wrap() {
    for before in 0..40 {
        let ring = Ring::<128>::new();
        let start = 0usize.wrapping_sub(before);
        ring.writers.0.head.store(start, Relaxed);
        ring.progress.0.tail.store(start, Relaxed);
        ring.progress.0.released.store(u32::MAX - 3, Relaxed);
        let mut reader = ring.reader().unwrap();
        for i in 0..20u32 {
            let len = 1 + i as usize % 5;
            ring.push_words(&[u64::from(i) << 32; 8][..len]).unwrap();
            ring.push_words(&[u64::from(i) << 32; 3]).unwrap();
            let _ = ring.push_words(&[1; 8]); // fits or not, according to where the head stands
            for want in [len, 3] {
                let record = reader.read().unwrap();
                assert_eq!(
                    (record.words().len(), record.words()[0] >> 32),
                    (want, i.into())
                );
                assert_eq!(
                    record.sequence(),
                    reader.sequence().wrapping_add(reader.unreleased() - 1)
                );
            }
            while reader.read().is_some() {}
            assert!(!reader.is_waiting());
            reader.release();
        }
        assert!(reader.sequence() < 100, "wrapped: {}", reader.sequence());
    }
}
