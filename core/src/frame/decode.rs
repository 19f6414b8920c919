//! Frames into their parts.
//!
//! Input: the bytes of one frame, from [`StreamDecoder`](super::StreamDecoder) or a datagram. Output:
//! borrowed parts. Bound: one pass for the CRC, then constant; records are decoded one by one when asked
//! for.

use super::crc::crc32;
use super::dictionary::{Learned, Symbol, Symbols};
use super::primitive::Take;
use super::reassemble::Fragment;
use super::session::Message;
use super::take_record::Records;
use super::{
    CHANNEL, CRC_LEN, DeviceCounters, Epoch, Malformed, MalformedKind, TAG_LEN, WIRE_VERSION,
    content_type, envelope_flag, presence,
};
use crate::clock::Ticks;

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FrameError {
    /// Fewer bytes than the smallest frame has.
    TooShort {
        /// How many.
        len: usize,
    },
    /// For somebody else on the same link.
    OtherChannel {
        /// Whose.
        channel: u8,
    },
    /// Damaged on the link.
    Crc {
        /// What the bytes give.
        computed: u32,
        /// What the frame says.
        found: u32,
    },
    /// A wire version that this crate does not speak.
    Version {
        /// Which.
        version: u8,
    },
    /// Undamaged, and not as the wire prescribes.
    Malformed(Malformed),
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            FrameError::TooShort { len } => write!(f, "{len} bytes are too few for a frame"),
            FrameError::OtherChannel { channel } => {
                write!(f, "frame of channel {channel:#04x}, not {CHANNEL:#04x}")
            }
            FrameError::Crc { computed, found } => write!(
                f,
                "CRC is {computed:#010x}, the frame says {found:#010x}: damaged on the link"
            ),
            FrameError::Version { version } => write!(
                f,
                "wire version {version}; this receiver speaks version {WIRE_VERSION}"
            ),
            FrameError::Malformed(m) => write!(f, "malformed frame: {m}"),
        }
    }
}
impl core::error::Error for FrameError {}
impl From<Malformed> for FrameError {
    fn from(m: Malformed) -> Self {
        FrameError::Malformed(m)
    }
}

/// One frame, checked and taken apart.
#[derive(Clone, Debug)]
pub struct Frame<'f> {
    epoch: Epoch,
    sent_at: Ticks,
    key_id: Option<u32>,
    covered: &'f [u8],
    tag: &'f [u8],
    body: Body<'f>,
}

/// What a frame carries.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Body<'f> {
    /// Records, counters, announcements.
    Records(RecordBatch<'f>),
    /// A session message.
    Message(Message<'f>),
    /// Part of a content, for a [`Reassembler`](super::Reassembler).
    Fragment(Fragment<'f>),
}

impl<'f> Frame<'f> {
    /// Checks and takes apart one frame, without COBS and delimiter.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong and where. Nothing of a frame with a wrong CRC is looked at but
    /// its channel.
    pub fn parse(bytes: &'f [u8]) -> Result<Self, FrameError> {
        let len = bytes.len();
        let Some((checked, crc)) = bytes.split_last_chunk::<CRC_LEN>() else {
            return Err(FrameError::TooShort { len });
        };
        let &[channel, version, flags, ref rest @ ..] = checked else {
            return Err(FrameError::TooShort { len });
        };
        if channel != CHANNEL {
            return Err(FrameError::OtherChannel { channel });
        }
        let (computed, found) = (crc32(checked), u32::from_le_bytes(*crc));
        if computed != found {
            return Err(FrameError::Crc { computed, found });
        }
        if version >> 4 != WIRE_VERSION {
            return Err(FrameError::Version {
                version: version >> 4,
            });
        }
        if flags & !envelope_flag::ALL != 0 {
            let kind = MalformedKind::UnknownCode;
            return Err(Malformed { kind, offset: 2 }.into());
        }
        let mut rest = rest;
        let mut tag = &[][..];
        if flags & envelope_flag::AUTHENTICATED != 0 {
            (rest, tag) = rest
                .split_last_chunk::<TAG_LEN>()
                .map(|(rest, tag)| (rest, &tag[..]))
                .ok_or(FrameError::TooShort { len })?;
        }
        let covered = checked.get(..3 + rest.len()).unwrap_or_default();
        let mut take = Take::new(rest, 3);
        let key_id = match flags & envelope_flag::AUTHENTICATED {
            0 => None,
            _ => Some(take.varint32()?),
        };
        let epoch = Epoch(take.varint()?);
        let sent_at = Ticks(take.varint()?);
        let kind = version & 15;
        let body = if flags & envelope_flag::FRAGMENT != 0 {
            Body::Fragment(Fragment::take(&mut take, kind)?)
        } else {
            Body::of_content(kind, take)?
        };
        Ok(Frame {
            epoch,
            sent_at,
            key_id,
            covered,
            tag,
            body,
        })
    }
    /// The sender's boot; in frames downwards the boot that is meant.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
    /// When it was sent, in the sender's ticks; for frames downwards 0.
    pub fn sent_at(&self) -> Ticks {
        self.sent_at
    }
    /// What it carries.
    pub fn body(&self) -> &Body<'f> {
        &self.body
    }
    /// The message that it carries, if it carries one.
    pub fn message(&self) -> Option<&Message<'f>> {
        match &self.body {
            Body::Message(message) => Some(message),
            _ => None,
        }
    }
    /// For an authenticated frame: the key, the bytes that are covered, the tag. Checking it is the
    /// receiver's; the CRC says nothing about who sent the frame.
    pub fn authentication(&self) -> Option<(u32, &'f [u8], &'f [u8])> {
        self.key_id.map(|id| (id, self.covered, self.tag))
    }
}

impl<'f> Body<'f> {
    /// Takes apart a content that was reassembled from fragments; `kind` is theirs.
    ///
    /// # Errors
    /// As [`Frame::parse`], with offsets in the content.
    pub fn reassembled(kind: u8, content: &'f [u8]) -> Result<Self, FrameError> {
        Ok(Self::of_content(kind, Take::new(content, 0))?)
    }
    fn of_content(kind: u8, mut take: Take<'f>) -> Result<Self, Malformed> {
        match kind {
            content_type::RECORDS => RecordBatch::take(&mut take).map(Body::Records),
            content_type::MESSAGE => Message::decode(take.rest(), take.offset()).map(Body::Message),
            _ => Err(Malformed {
                kind: MalformedKind::UnknownCode,
                offset: 1,
            }),
        }
    }
}

/// The content of a frame of records.
#[derive(Clone, Debug)]
pub struct RecordBatch<'f> {
    first: u32,
    count: u32,
    oldest: Option<u32>,
    counters: Option<DeviceCounters>,
    records: Take<'f>,
    announcements: Take<'f>,
}

impl<'f> RecordBatch<'f> {
    fn take(take: &mut Take<'f>) -> Result<Self, Malformed> {
        let bits = take.varint32()?;
        if bits & !presence::ALL != 0 {
            return Err(take.error(MalformedKind::UnknownCode));
        }
        let (first, count) = (take.varint32()?, take.varint32()?);
        let oldest = if bits & presence::KEPT != 0 {
            Some(first.wrapping_sub(take.varint32()?))
        } else {
            None
        };
        let mut fields = [0; 9];
        for (i, field) in fields.iter_mut().enumerate() {
            if bits & presence::PENDING << i != 0 {
                *field = take.varint32()?;
            }
        }
        let [
            pending,
            open,
            sampled_out,
            ring_full,
            too_large,
            overwritten,
            unsendable,
            lost_at_reset,
            escalated_incomplete,
        ] = fields;
        let recorded = first.wrapping_add(count).wrapping_add(pending);
        let counters = (bits & presence::COUNTERS != 0).then(|| DeviceCounters {
            started: recorded
                .wrapping_add(open)
                .wrapping_add(sampled_out)
                .wrapping_add(ring_full)
                .wrapping_add(too_large),
            recorded,
            sampled_out,
            ring_full,
            too_large,
            overwritten,
            unsendable,
            lost_at_reset,
            escalated_incomplete,
        });
        let records = if bits & presence::DICTIONARY != 0 {
            let len = take.varint()?;
            let at = take.offset();
            Take::new(take.bytes(len)?, at)
        } else {
            core::mem::replace(take, Take::new(&[], 0))
        };
        // The shortest record has 2 head bytes, 2 times and a name.
        if count as usize > records.rest().len() / 5 {
            return Err(records.error(MalformedKind::Truncated));
        }
        let batch = RecordBatch {
            first,
            count,
            oldest,
            counters,
            records,
            announcements: *take,
        };
        // Checked here, so that `announcements` cannot fail later.
        let mut announcements = batch.announcements;
        while !announcements.is_empty() {
            take_announcement(&mut announcements)?;
        }
        Ok(batch)
    }
    /// Sequence of the first record; without records, of the next.
    pub fn first(&self) -> u32 {
        self.first
    }
    /// Records in the frame.
    pub fn count(&self) -> u32 {
        self.count
    }
    /// Of a sender that keeps records until they are acknowledged: the first that was not, when the frame was
    /// made. None before it comes again. `None`: the sender keeps none.
    pub fn oldest(&self) -> Option<u32> {
        self.oldest
    }
    /// The device's counters when the frame was made; a frame may lack them.
    pub fn counters(&self) -> Option<&DeviceCounters> {
        self.counters.as_ref()
    }
    /// The texts that the frame announces.
    pub fn announcements(&self) -> Announcements<'f> {
        Announcements(self.announcements)
    }
    /// Teaches `symbols` what the frame announces: before its records are decoded. Returns how many
    /// texts were new, and the first that was not learnt.
    pub fn learn(&self, symbols: &mut (impl Symbols + ?Sized)) -> (u32, Option<(Symbol, Learned)>) {
        let (mut new, mut failed) = (0, None);
        for (symbol, text) in self.announcements() {
            match symbols.learn(symbol, text) {
                Learned::New => new += 1,
                Learned::Known => {}
                other => failed = failed.or(Some((symbol, other))),
            }
        }
        (new, failed)
    }
    /// The records, to be decoded one by one.
    pub fn records(&self) -> Records<'f> {
        Records::new(self.records, self.first, self.count)
    }
}

fn take_announcement<'f>(take: &mut Take<'f>) -> Result<(Symbol, &'f str), Malformed> {
    let number = take.varint()?;
    let symbol = u16::try_from(number).ok().and_then(Symbol::new);
    let symbol = symbol.ok_or(take.error(MalformedKind::Varint))?;
    Ok((symbol, take.text()?))
}

/// Iterator over the announcements of a frame.
#[derive(Clone, Debug)]
pub struct Announcements<'f>(Take<'f>);

impl<'f> Iterator for Announcements<'f> {
    type Item = (Symbol, &'f str);
    fn next(&mut self) -> Option<(Symbol, &'f str)> {
        if self.0.is_empty() {
            return None;
        }
        take_announcement(&mut self.0).ok()
    }
}
