//! Any bytes in any pieces: the stream decoder ends, takes every byte once, and finds the same frames as
//! in one piece.
//!
//! Input: the first byte is the length of the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanlet::frame::{Progress, StreamDecoder};

fuzz_target!(|data: &[u8]| {
    let Some((piece, data)) = data.split_first() else {
        return;
    };
    let whole = frames(data, data.len().max(1));
    let pieces = frames(data, usize::from(*piece).max(1));
    assert_eq!(whole, pieces);
});

/// Frames, and the counts of what was skipped.
fn frames(data: &[u8], piece: usize) -> (Vec<Vec<u8>>, [u32; 2]) {
    let (mut decoder, mut found) = (StreamDecoder::<64>::new(), Vec::new());
    for mut piece in data.chunks(piece) {
        while let Progress::Frame(frame) = decoder.feed(&mut piece) {
            assert!(frame.len() < 64);
            found.push(frame.to_vec());
        }
        assert!(piece.is_empty());
    }
    (
        found,
        [decoder.oversized_count(), decoder.undecodable_count()],
    )
}
