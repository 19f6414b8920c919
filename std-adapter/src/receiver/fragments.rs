//! Fragments of the devices of one link → whole contents.
//!
//! Input: fragments with their boot. Output: contents. Bound: [`SLOTS`] contents of [`MAX_FRAME_BYTES`] under
//! construction. Two neighbouring contents of a boot have a slot each, so that fragments of both may mix; the slot
//! that was used the longest ago makes room.

use super::link::MAX_FRAME_BYTES;
use spanlet::frame::{Epoch, Fragment, Reassembled, Reassembler};

/// Contents under construction at a time, of four devices that talk at once.
const SLOTS: usize = 8;

type ContentReassembler = Reassembler<MAX_FRAME_BYTES>;

struct Slot {
    epoch: Epoch,
    is_odd: bool,
    used: u64,
    content: Box<ContentReassembler>,
}

/// Takes memory with the first fragment.
#[derive(Default)]
pub(super) struct Fragments {
    slots: Vec<Slot>,
    turn: u64,
    /// Counted by slots that made room.
    dropped: u64,
}

impl Fragments {
    pub(super) fn push(&mut self, epoch: Epoch, fragment: &Fragment<'_>) -> Reassembled<'_> {
        self.turn += 1;
        let is_odd = fragment.id() % 2 == 1;
        let known = (self.slots.iter()).position(|s| s.epoch == epoch && s.is_odd == is_odd);
        let at = known.unwrap_or_else(|| {
            if self.slots.len() >= SLOTS {
                let oldest = self.slots.iter().enumerate().min_by_key(|(_, s)| s.used);
                let old = self.slots.remove(oldest.map_or(0, |(at, _)| at));
                self.dropped +=
                    u64::from(old.content.dropped_count()) + u64::from(old.content.is_open());
            }
            self.slots.push(Slot {
                epoch,
                is_odd,
                used: 0,
                content: Box::default(),
            });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[at];
        slot.used = self.turn;
        slot.content.push(epoch, fragment)
    }
    /// Contents that were begun and will not be finished.
    pub(super) fn dropped_count(&self) -> u64 {
        let now = self
            .slots
            .iter()
            .map(|s| u64::from(s.content.dropped_count()));
        self.dropped + now.sum::<u64>()
    }
}
