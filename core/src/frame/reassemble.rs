//! Contents larger than a frame, put together again.
//!
//! Input: fragments of one sender, in any order, some perhaps twice. Output: whole contents. Bound: one content of
//! `N` bytes at a time with up to 7 gaps; one that the next content overtakes, or that is longer, is
//! dropped and counted.

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
    /// The number of the content among those of its sender.
    pub fn id(&self) -> u32 {
        self.id
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
    /// A repetition, late, or of a content that is too long: it was dropped.
    Dropped,
}

/// Stretches of a content that have arrived, at most.
const STRETCHES: usize = 8;
/// A content that is so few behind the newest is late; one that is further behind is of a sender that counts
/// anew.
const LATE: u32 = 16;

/// What fragments of one content have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Name {
    epoch: Epoch,
    kind: u8,
    id: u32,
    total: u32,
}

/// Puts the fragments of one sender together. `N`: the longest content, the sender's buffer.
#[derive(Debug)]
pub struct Reassembler<const N: usize> {
    buffer: [u8; N],
    /// Start and end of what has arrived; no two touch.
    have: heapless::Vec<(u32, u32), STRETCHES>,
    /// The content under construction, or that was last.
    name: Option<Name>,
    is_open: bool,
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
            have: heapless::Vec::new(),
            name: None,
            is_open: false,
            dropped: 0,
        }
    }
    /// Takes the next fragment; `epoch` is its frame's. Cost: a copy of its bytes.
    pub fn push(&mut self, epoch: Epoch, fragment: &Fragment<'_>) -> Reassembled<'_> {
        let name = Name {
            epoch,
            kind: fragment.kind,
            id: fragment.id,
            total: fragment.total,
        };
        if self.name == Some(name) {
            if !self.is_open {
                return Reassembled::Dropped;
            }
        } else {
            if let Some(newest) = self.name.filter(|newest| newest.epoch == epoch)
                && newest.id.wrapping_sub(name.id).wrapping_sub(1) < LATE
            {
                return Reassembled::Dropped;
            }
            self.give_up();
            (self.name, self.is_open) = (Some(name), true);
            self.have.clear();
        }
        let (bytes, start) = (fragment.bytes, fragment.offset as usize);
        let (end, total) = (start.saturating_add(bytes.len()), fragment.total as usize);
        let room = (end <= total && total <= N && start < end)
            .then(|| self.buffer.get_mut(start..end))
            .flatten();
        let Some(room) = room else {
            self.give_up();
            return Reassembled::Dropped;
        };
        let (Ok(mut from), Ok(mut to)) = (u32::try_from(start), u32::try_from(end)) else {
            return Reassembled::Dropped;
        };
        // What touches it becomes part of it. No two others touch, so one pass finds all.
        let touches = |&(s, e): &(u32, u32)| s <= to && from <= e;
        let (mut low, mut high) = (from, to);
        for (s, e) in self.have.iter().filter(|stretch| touches(stretch)) {
            (low, high) = (low.min(*s), high.max(*e));
        }
        self.have.retain(|stretch| !touches(stretch));
        (from, to) = (low, high);
        if self.have.push((from, to)).is_err() {
            // The sender may send it again; here it was not.
            return Reassembled::Dropped;
        }
        room.copy_from_slice(bytes);
        if (from, to) != (0, fragment.total) {
            return Reassembled::NeedMore;
        }
        self.is_open = false;
        let bytes = self.buffer.get(..total).unwrap_or_default();
        Reassembled::Content {
            kind: name.kind,
            bytes,
        }
    }
    fn give_up(&mut self) {
        if core::mem::take(&mut self.is_open) {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
    /// Whether a content is under construction.
    pub fn is_open(&self) -> bool {
        self.is_open
    }
    /// Contents that were begun and will not be finished.
    pub fn dropped_count(&self) -> u32 {
        self.dropped
    }
}
