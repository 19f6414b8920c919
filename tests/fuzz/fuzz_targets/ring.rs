//! A ring against a queue: whatever the order of pushes, reads and releases, every record comes out once, whole
//! and in order, and every refusal is counted.
//!
//! Input: a byte an operation. Below 0xc0 pushes so many words (1 to 48), below 0xe0 reads up to so many records,
//! from there on releases what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanlet::ring::{PushError, Ring};
use std::collections::VecDeque;

fuzz_target!(|operations: &[u8]| {
    let ring: Ring<256> = Ring::new();
    let mut reader = ring.reader().expect("nobody else reads");
    let (mut queue, mut unreleased) = (VecDeque::new(), 0usize);
    let (mut full, mut too_large) = (0u32, 0u32);
    for (i, &operation) in operations.iter().enumerate() {
        match operation {
            0..0xc0 => {
                let words: Vec<u64> = (0..=u64::from(operation) % 48)
                    .map(|w| ((i as u64) << 32) | (w << 48))
                    .collect();
                match ring.push_words(&words) {
                    Ok(()) => queue.push_back(words),
                    Err(PushError::Full) => {
                        full += 1;
                        assert!(
                            !queue.is_empty() || unreleased > 0,
                            "an empty ring is not full"
                        );
                    }
                    Err(PushError::TooLarge) => {
                        too_large += 1;
                        assert!(words.len() > Ring::<256>::MAX_WORDS);
                    }
                }
            }
            0xc0..0xe0 => {
                for _ in 0..=operation - 0xc0 {
                    let Some(record) = reader.read() else {
                        assert!(queue.is_empty(), "a record is missing");
                        break;
                    };
                    let expected: Vec<u64> =
                        queue.pop_front().expect("a record that nobody pushed");
                    assert_eq!(record.words().len(), expected.len());
                    // The low half of the first word is the ring's.
                    assert_eq!(record.words()[0] >> 32, expected[0] >> 32);
                    assert_eq!(record.words()[1..], expected[1..]);
                    unreleased += 1;
                }
            }
            _ => {
                reader.release();
                unreleased = 0;
            }
        }
        assert_eq!((ring.full(), ring.too_large()), (full, too_large));
    }
});
