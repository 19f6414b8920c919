//! Delimiting on byte streams: COBS, a zero byte behind every frame.
//!
//! Input: frames, or bytes as they come. Output: the other. Bound: one pass over the bytes; the receiver
//! keeps at most one frame of `N` bytes, and skips (and counts) what is longer.
//!
//! A receiver that joins late or has read garbage is in step again behind the next zero.

use crate::record::move_down;

/// The byte that ends a frame and occurs nowhere in it.
pub const DELIMITER: u8 = 0;

/// Bytes that COBS adds to `len`, without the delimiter.
pub const fn cobs_overhead(len: usize) -> usize {
    1 + len / 254
}

/// Encodes `buffer[from..to]` so that it starts at `buffer[out]` and ends with the delimiter; returns the
/// end. `None`, and the buffer spoilt, if the ranges do not fit: `out + cobs_overhead(to - from) <= from` is
/// needed, so that the writing never overtakes the reading, and `buffer[to]`.
pub(crate) fn cobs_in_place(
    buffer: &mut [u8],
    out: usize,
    from: usize,
    to: usize,
) -> Option<usize> {
    // The overhead, but for the division.
    let room = from.checked_sub(out)?;
    if room * 254 <= to.checked_sub(from)? {
        return None;
    }
    let (mut out, mut from) = (out, from);
    loop {
        let left = buffer.get(from..to)?;
        let most = left.get(..254).unwrap_or(left);
        let zero = most.iter().position(|byte| *byte == DELIMITER);
        let run = zero.unwrap_or(most.len());
        #[expect(clippy::cast_possible_truncation, reason = "at most 255")]
        {
            *buffer.get_mut(out)? = run as u8 + 1;
        }
        move_down(buffer, from..from + run, out + 1);
        out += run + 1;
        from += run + zero.is_some() as usize;
        // A zero at the very end has an empty run behind it.
        if from == to && zero.is_none() {
            *buffer.get_mut(out)? = DELIMITER;
            return Some(out + 1);
        }
    }
}

/// Decodes COBS in place, without the delimiter; the length of the result. `None`: this is not COBS.
fn uncobs_in_place(bytes: &mut [u8]) -> Option<usize> {
    let (mut from, mut to) = (0, 0);
    while from < bytes.len() {
        let code = *bytes.get(from)? as usize;
        let end = from + code;
        if code == 0 || end > bytes.len() {
            return None;
        }
        move_down(bytes, from + 1..end, to);
        to += code - 1;
        from = end;
        if code != 0xff && from != bytes.len() {
            *bytes.get_mut(to)? = 0;
            to += 1;
        }
    }
    Some(to)
}

/// What [`StreamDecoder::feed`] found.
#[derive(Debug, PartialEq)]
pub enum Progress<'d> {
    /// All input was taken and no frame is complete yet.
    NeedMore,
    /// The bytes of a frame, for [`Frame::parse`](super::Frame::parse), which checks them.
    Frame(&'d [u8]),
}

/// Cuts frames out of a byte stream. `N` is the longest frame that it takes, in encoded bytes.
///
/// Never fails: what cannot be a frame is counted and skipped.
///
/// ```
/// use spanlet::frame::{Progress, StreamDecoder};
/// let mut decoder: StreamDecoder<64> = StreamDecoder::new();
/// let mut input = &[3, 1, 2, 0, 2, 7][..];
/// assert_eq!(decoder.feed(&mut input), Progress::Frame(&[1, 2]));
/// assert_eq!(decoder.feed(&mut input), Progress::NeedMore);
/// let mut input = &[0][..];
/// assert_eq!(decoder.feed(&mut input), Progress::Frame(&[7]));
/// ```
#[derive(Debug)]
pub struct StreamDecoder<const N: usize> {
    buffer: [u8; N],
    len: usize,
    /// The frame that comes in is longer than the buffer, and is being skipped.
    skipping: bool,
    oversized: u32,
    undecodable: u32,
    skipped_bytes: u64,
}

impl<const N: usize> Default for StreamDecoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> StreamDecoder<N> {
    /// A decoder at the start of a frame.
    pub const fn new() -> Self {
        StreamDecoder {
            buffer: [0; N],
            len: 0,
            skipping: false,
            oversized: 0,
            undecodable: 0,
            skipped_bytes: 0,
        }
    }
    /// Takes bytes from `input` up to the end of the next frame, and moves `input` past them. To be called
    /// until it needs more. Cost: one pass over the bytes and a copy.
    pub fn feed(&mut self, input: &mut &[u8]) -> Progress<'_> {
        while !input.is_empty() {
            let end = input.iter().position(|byte| *byte == DELIMITER);
            let (part, rest) = match end {
                Some(end) => (
                    input.get(..end).unwrap_or_default(),
                    input.get(end + 1..).unwrap_or_default(),
                ),
                None => (*input, &[][..]),
            };
            *input = rest;
            self.keep(part);
            if end.is_none() {
                continue;
            }
            let (len, skipping) = (self.len, self.skipping);
            (self.len, self.skipping) = (0, false);
            if skipping {
                self.oversized = self.oversized.saturating_add(1);
                continue;
            }
            if len == 0 {
                continue;
            }
            match uncobs_in_place(self.buffer.get_mut(..len).unwrap_or_default()) {
                Some(n) => return Progress::Frame(self.buffer.get(..n).unwrap_or_default()),
                None => {
                    self.undecodable = self.undecodable.saturating_add(1);
                    self.skipped_bytes += len as u64;
                }
            }
        }
        Progress::NeedMore
    }
    fn keep(&mut self, part: &[u8]) {
        if !self.skipping {
            match self.buffer.get_mut(self.len..self.len + part.len()) {
                Some(to) => {
                    to.copy_from_slice(part);
                    self.len += part.len();
                    return;
                }
                None => {
                    self.skipping = true;
                    self.skipped_bytes += self.len as u64;
                }
            }
        }
        self.skipped_bytes += part.len() as u64;
    }
    /// Frames that were longer than `N`.
    pub fn oversized_count(&self) -> u32 {
        self.oversized
    }
    /// Frames that were not COBS.
    pub fn undecodable_count(&self) -> u32 {
        self.undecodable
    }
    /// Bytes of all these.
    pub fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::cast_possible_truncation,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        reason = "tests"
    )]
    use super::*;
    use std::vec::Vec;

    #[test]
    fn round_trips_all_run_lengths() {
        for len in 0..1100 {
            for zero_every in [1, 2, 7, 253, 254, 255, 256, 2000] {
                let data: Vec<u8> = (0..len)
                    .map(|i| {
                        if i % zero_every == zero_every - 1 {
                            0
                        } else {
                            (i % 255) as u8 + 1
                        }
                    })
                    .collect();
                let from = cobs_overhead(len);
                let mut buffer = std::vec![0xee; from + len + 1];
                buffer[from..from + len].copy_from_slice(&data);
                let end = cobs_in_place(&mut buffer, 0, from, from + len).unwrap();
                assert!(buffer[..end - 1].iter().all(|b| *b != 0));
                assert_eq!(buffer[end - 1], 0);
                let mut decoder: StreamDecoder<1200> = StreamDecoder::new();
                let mut input = &buffer[..end];
                assert_eq!(
                    decoder.feed(&mut input),
                    Progress::Frame(&data),
                    "{len} {zero_every}"
                );
                assert!(input.is_empty());
            }
        }
    }

    #[test]
    fn skips_and_counts_what_is_too_long_or_no_cobs() {
        let mut decoder: StreamDecoder<8> = StreamDecoder::new();
        let mut input = &[9, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 5, 1, 0, 2, 7, 0][..];
        assert_eq!(decoder.feed(&mut input), Progress::Frame(&[7]));
        assert_eq!(
            (decoder.oversized_count(), decoder.undecodable_count()),
            (1, 1)
        );
        assert_eq!(decoder.skipped_bytes(), 11);
    }
}
