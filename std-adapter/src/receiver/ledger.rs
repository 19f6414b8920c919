//! What became of every span of every device.
//!
//! The equation, per device and destination, at any moment at which nothing moves:
//! `started = exported + open + pending + every named cause`. Its three parts are counted apart from each
//! other (by the device, by the sequence tracker, by the exporters), so a test that checks it checks something.

use core::fmt;
use spanlet::frame::LinkLedger;

/// What became of the spans that were handed to one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestinationLedger {
    /// In a batch or the queue.
    pub buffered: u64,
    /// Taken by the collector.
    pub exported: u64,
    /// Refused by the collector one by one.
    pub rejected: u64,
    /// The collector's answer was lost: it may have them.
    pub indeterminate: u64,
    /// Never taken by the collector.
    pub failed: u64,
    /// Too large for a request.
    pub too_large: u64,
    /// Found the queue full.
    pub queue_full: u64,
}

impl DestinationLedger {
    /// All of them.
    #[must_use]
    pub fn spans(&self) -> u64 {
        self.buffered + self.exported + self.rejected + self.indeterminate + self.lost()
    }
    /// Those that will not arrive.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.failed + self.too_large + self.queue_full
    }
    fn add(&mut self, other: &Self) {
        self.buffered += other.buffered;
        self.exported += other.exported;
        self.rejected += other.rejected;
        self.indeterminate += other.indeterminate;
        self.failed += other.failed;
        self.too_large += other.too_large;
        self.queue_full += other.queue_full;
    }
}

/// What became of the spans of one device, over all its epochs that this gateway has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceLedger {
    /// Its name, from its hello.
    pub device_id: String,
    /// Device and link: what was started there, and what of it arrived here.
    pub link: LinkLedger,
    /// Arrived, and waiting for texts that were not announced yet.
    pub unresolved: u64,
    /// Arrived, and handed to sinks and destinations.
    pub delivered: u64,
    /// A note on `delivered`: so many went out with `sym:0x…` in place of texts that never came.
    pub delivered_with_placeholders: u64,
    /// Per exporter, in the order in which they were added.
    pub destinations: Vec<DestinationLedger>,
    /// Epochs seen.
    pub epochs: u64,
}

impl DeviceLedger {
    /// Spans that arrived at their destination: of the first exporter, or without one at the sinks.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.destinations
            .first()
            .map_or(self.delivered, |d| d.exported)
    }
    /// Spans that no line accounts for: zero, or negative for spans counted twice. Of the worst destination.
    #[must_use]
    pub fn missing(&self) -> i64 {
        let link = &self.link;
        let before = link.open
            + link.pending
            + link.sampled_out
            + link.ring_full
            + link.too_large
            + link.overwritten
            + link.unsendable
            + link.lost_at_reset
            + link.link_lost
            + link.acknowledged_elsewhere
            + link.corrupt
            + self.unresolved;
        let missing = |there: u64| link.started.wrapping_sub(before + there).cast_signed();
        let of_destinations = self.destinations.iter().map(|d| missing(d.spans()));
        of_destinations
            .chain([missing(self.delivered)])
            .max_by_key(|n| n.unsigned_abs())
            .unwrap_or(0)
    }
    pub(crate) fn add_link(&mut self, link: &LinkLedger) {
        let to = &mut self.link;
        to.started += link.started;
        to.open += link.open;
        to.pending += link.pending;
        to.sampled_out += link.sampled_out;
        to.ring_full += link.ring_full;
        to.too_large += link.too_large;
        to.overwritten += link.overwritten;
        to.unsendable += link.unsendable;
        to.lost_at_reset += link.lost_at_reset;
        to.link_lost += link.link_lost;
        to.acknowledged_elsewhere += link.acknowledged_elsewhere;
        to.corrupt += link.corrupt;
        to.received += link.received;
        to.duplicate += link.duplicate;
        to.escalated_incomplete += link.escalated_incomplete;
    }
    fn add(&mut self, other: &Self) {
        self.add_link(&other.link);
        self.unresolved += other.unresolved;
        self.delivered += other.delivered;
        self.delivered_with_placeholders += other.delivered_with_placeholders;
        self.epochs += other.epochs;
        for (i, from) in other.destinations.iter().enumerate() {
            match self.destinations.get_mut(i) {
                Some(to) => to.add(from),
                None => self.destinations.push(*from),
            }
        }
    }
}

/// What came in on all links together, whoever it was from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeLedger {
    /// Bytes.
    pub bytes: u64,
    /// Frames that could be read.
    pub frames: u64,
    /// Frames with a wrong CRC: damaged on the link. Their records show as lost on the link.
    pub damaged: u64,
    /// Bytes between delimiters that are not COBS, are too short or longer than a frame may be.
    pub garbage: u64,
    /// Frames of other users of the link.
    pub other_channel: u64,
    /// Frames of another wire version.
    pub other_version: u64,
    /// Undamaged frames that do not follow the wire.
    pub malformed: u64,
    /// Contents of several frames of which one did not come.
    pub incomplete_fragments: u64,
    /// Frames dropped because their device never said who it is. Their records show as lost on the link if it
    /// does so later.
    pub unidentified: u64,
    /// Frames dropped because there are too many devices already.
    pub too_many_devices: u64,
    /// Announcements that found no room.
    pub texts_refused: u64,
    /// Connections taken.
    pub connections: u64,
    /// Connections refused because there were too many.
    pub connections_refused: u64,
    /// Attempts to connect to a bridge that failed.
    pub connects_failed: u64,
}

/// All devices, and what came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayLedger {
    /// Per device, by name.
    pub devices: Vec<DeviceLedger>,
    /// Frames and bytes.
    pub intake: IntakeLedger,
}

impl GatewayLedger {
    /// The sum over all devices.
    #[must_use]
    pub fn total(&self) -> DeviceLedger {
        let mut total = DeviceLedger::default();
        self.devices.iter().for_each(|device| total.add(device));
        total
    }
    /// Whether [`DeviceLedger::missing`] is 0 for each device.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.devices.iter().all(|device| device.missing() == 0)
    }
}

impl fmt::Display for DeviceLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = &self.link;
        write!(f, "{} started = {} exported", link.started, self.exported())?;
        let none = DestinationLedger::default();
        let to = self.destinations.first().unwrap_or(&none);
        for (n, cause) in [
            (link.open, "open"),
            (link.pending, "pending on the device"),
            (to.buffered, "buffered"),
            (link.sampled_out, "sampled out"),
            (link.ring_full, "ring full"),
            (link.too_large, "too large for the ring"),
            (link.overwritten, "overwritten"),
            (link.unsendable, "too large for a frame"),
            (link.lost_at_reset, "lost at reset"),
            (link.link_lost, "lost on the link"),
            (link.acknowledged_elsewhere, "acknowledged elsewhere"),
            (link.corrupt, "corrupt"),
            (self.unresolved, "waiting for texts"),
            (to.too_large, "too large for a request"),
            (to.queue_full, "queue full"),
            (to.rejected, "rejected"),
            (to.indeterminate, "indeterminate"),
            (to.failed, "failed"),
        ] {
            if n != 0 {
                write!(f, " + {n} {cause}")?;
            }
        }
        if self.missing() != 0 {
            write!(f, " + {} MISSING", self.missing())?;
        }
        for (n, note) in [
            (link.duplicate, "duplicates dropped"),
            (self.delivered_with_placeholders, "with missing texts"),
            (link.escalated_incomplete, "escalated incomplete"),
        ] {
            if n != 0 {
                write!(f, "; {n} {note}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for IntakeLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames in {} bytes", self.frames, self.bytes)?;
        for (n, what) in [
            (self.damaged, "damaged"),
            (self.garbage, "stretches of garbage"),
            (self.other_channel, "of other channels"),
            (self.other_version, "of another wire version"),
            (self.malformed, "malformed"),
            (self.incomplete_fragments, "incomplete contents"),
            (self.unidentified, "without a hello"),
            (self.too_many_devices, "of too many devices"),
            (self.texts_refused, "texts refused"),
            (self.connections_refused, "connections refused"),
            (self.connects_failed, "attempts to connect failed"),
        ] {
            if n != 0 {
                write!(f, ", {n} {what}")?;
            }
        }
        Ok(())
    }
}
