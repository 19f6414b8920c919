//! What only the inside can set up: counters close to their end.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]
use super::*;

/// Positions run over the end of `usize`.
#[test]
fn positions_wrap() {
    for before in 0..80 {
        let mut ring = SpscRing::<256>::new();
        let (producer, mut consumer) = ring.split();
        let start = 0usize.wrapping_sub(before);
        for position in [
            &producer.head,
            &producer.limit,
            &consumer.cursor,
            &consumer.head,
        ] {
            position.set(start);
        }
        producer.control().writer.0.head.store(start, Relaxed);
        producer.control().tail.0.store(start, Relaxed);
        let mut refused = 0;
        for i in 0..20usize {
            let len = 1 + i % 9;
            let words = [(i as u64) << 32; 16];
            producer.push_words(&words[..len]).unwrap();
            for _ in 0..2 {
                refused += u32::from(producer.push_words(&words).is_err());
            }
            assert_eq!(consumer.read().unwrap().len(), len);
            while let Some(words) = consumer.read() {
                assert_eq!((words.len(), words[0] >> 32), (16, i as u64));
            }
            consumer.release();
        }
        assert!(refused >= 20, "two of them never fit beside another");
        assert_eq!(consumer.full(), refused);
        assert_eq!(consumer.count() + refused, 60);
    }
}
