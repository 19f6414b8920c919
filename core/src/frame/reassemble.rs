//! Contents larger than a frame, put together again.
//!
//! Input: fragments of one sender. Output: whole contents. Bound: one content of `N` bytes at a time, in
//! order; a gap, or a content that is longer, drops it and counts it.

use super::primitive::Take;
use super::{Epoch, Malformed};

/// Part of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'f> {
    kind: u8,
    id: u32,
    offset: u32,
    total: u32,
    bytes: &'f [u8],
}

impl<'f> Fragment<'f> {
    pub(super) fn take(take: &mut Take<'f>, kind: u8) -> Result<Self, Malformed> {
        Ok(Fragment {
            kind,
            id: take.varint32()?,
            offset: take.varint32()?,
            total: take.varint32()?,
            bytes: take.rest(),
        })
    }
    /// The type of the content.
    pub fn kind(&self) -> u8 {
        self.kind
    }
    /// Bytes of the whole content.
    pub fn total(&self) -> u32 {
        self.total
    }
}

/// What a fragment led to.
#[derive(Debug, PartialEq)]
pub enum Reassembled<'r> {
    /// More are needed.
    NeedMore,
    /// The content is whole: for [`Body::reassembled`](super::Body::reassembled).
    Content {
        /// Its type.
        kind: u8,
        /// Its bytes.
        bytes: &'r [u8],
    },
    /// It does not continue what came before, or is too long; it was dropped and counted.
    Dropped,
}

/// Puts the fragments of one sender together. `N`: the longest content, the sender's buffer.
#[derive(Debug)]
pub struct Reassembler<const N: usize> {
    buffer: [u8; N],
    len: usize,
    /// Epoch, type, id and total of the content under construction.
    current: Option<(Epoch, u8, u32, u32)>,
    dropped: u32,
}

impl<const N: usize> Default for Reassembler<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Reassembler<N> {
    /// Has nothing yet.
    pub const fn new() -> Self {
        Reassembler {
            buffer: [0; N],
            len: 0,
            current: None,
            dropped: 0,
        }
    }
    /// Takes the next fragment; `epoch` is its frame's.
    pub fn push(&mut self, epoch: Epoch, fragment: &Fragment<'_>) -> Reassembled<'_> {
        let Fragment {
            kind,
            id,
            offset,
            total,
            bytes,
        } = *fragment;
        let name = (epoch, kind, id, total);
        if offset == 0 {
            self.give_up();
            (self.current, self.len) = (Some(name), 0);
        } else if self.current != Some(name) || self.len != offset as usize {
            // A repetition of what is there already is no loss.
            let end = (offset as usize).saturating_add(bytes.len());
            let repeated = self.current == Some(name) && end <= self.len;
            if !repeated {
                self.give_up();
            }
            return Reassembled::Dropped;
        }
        let end = self.len + bytes.len();
        let room = (end <= total as usize).then(|| self.buffer.get_mut(self.len..end));
        let Some(Some(to)) = room else {
            self.give_up();
            return Reassembled::Dropped;
        };
        to.copy_from_slice(bytes);
        self.len = end;
        if end < total as usize {
            return Reassembled::NeedMore;
        }
        self.current = None;
        let bytes = self.buffer.get(..end).unwrap_or_default();
        Reassembled::Content { kind, bytes }
    }
    fn give_up(&mut self) {
        if self.current.take().is_some() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
    /// Contents that were begun and not finished.
    pub fn dropped_count(&self) -> u32 {
        self.dropped
    }
}
