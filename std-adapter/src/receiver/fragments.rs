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

#[cfg(test)]
mod tests {
    use super::*;
    use spanlet::Ticks;
    use spanlet::frame::{Body, Frame, FrameEncoder, Hello, Link, Message, ResourceAttributes};

    /// A message of several datagrams.
    fn hello(encoder: &mut FrameEncoder<256, 0>, device_id: &str) -> Vec<Vec<u8>> {
        let hello = Hello {
            device_id,
            build_id: &[7; 60],
            tick_hz: 1,
            capabilities: 0,
            scope_name: "",
            scope_version: "",
            scope_schema_url: "",
            resource: ResourceAttributes::default(),
        };
        assert!(encoder.message(&Message::Hello(hello)));
        core::iter::from_fn(|| encoder.frame(Ticks(0)).map(<[u8]>::to_vec)).collect()
    }
    /// How many contents become whole.
    fn whole(fragments: &mut Fragments, frames: &[&Vec<u8>]) -> usize {
        let is_whole = |bytes: &&&Vec<u8>| {
            let frame = Frame::parse(bytes).expect("undamaged");
            let Body::Fragment(fragment) = frame.body() else {
                unreachable!("larger than a datagram")
            };
            let pushed = fragments.push(frame.epoch(), fragment);
            matches!(pushed, Reassembled::Content { .. })
        };
        frames.iter().filter(is_whole).count()
    }

    #[test]
    fn devices_and_neighbouring_contents_may_mix() {
        let mut devices: Vec<FrameEncoder<256, 0>> = (0..4)
            .map(|epoch| FrameEncoder::new(Epoch(epoch), Link::datagrams(64)))
            .collect();
        let contents: Vec<Vec<Vec<u8>>> = (devices.iter_mut())
            .flat_map(|device| [hello(device, "a"), hello(device, "b")])
            .collect();
        let n = contents[0].len();
        assert!(n > 1 && contents.iter().all(|content| content.len() == n));
        let mixed: Vec<&Vec<u8>> = (0..n)
            .flat_map(|i| contents.iter().map(move |c| &c[i]))
            .collect();
        let mut fragments = Fragments::default();
        assert_eq!(whole(&mut fragments, &mixed), contents.len());
        assert_eq!(fragments.dropped_count(), 0);
    }

    #[test]
    fn more_than_there_is_room_for_is_counted() {
        let mut fragments = Fragments::default();
        let devices = SLOTS as u64 + 3;
        for epoch in 0..devices {
            let mut device = FrameEncoder::new(Epoch(epoch), Link::datagrams(64));
            let content = hello(&mut device, "a");
            assert_eq!(whole(&mut fragments, &[&content[0]]), 0);
        }
        assert_eq!(
            (fragments.slots.len(), fragments.dropped_count()),
            (SLOTS, 3)
        );
    }
}
