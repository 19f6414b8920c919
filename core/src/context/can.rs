//! A [compact](super::compact) context over classic CAN, in four frames.
//!
//! Input and output: the data of frames. Bound: 8 bytes a frame. One direction, without flow control, which
//! 25 bytes do not need; where the bus speaks ISO 15765-2 already, let that carry them.
//!
//! ```text
//! byte 0       bits 0–1: segment, 0 to 3
//!              bits 2–7: transfer, counted up by the sender, modulo 64
//! bytes 1–7    bytes 7 × segment and on of the compact form; of segment 3 the last four, so 5 bytes in all
//! ```
//!
//! The four frames go out in order under an identifier of their own per sender, ahead of the frames that they belong
//! to. CAN delivers the frames of one identifier in order or not at all: a segment that does not continue what was
//! there drops it, and a new segment 0 starts afresh. A lost segment so costs one context, and never makes a wrong one
//! unless 64 transfers in a row lose just those segments that put two together.

use super::SpanContext;
use super::compact::{self, COMPACT_LEN, CompactError};
use core::fmt;

/// Frames of a transfer.
pub const SEGMENTS: u8 = 4;
const PAYLOAD: usize = 7;

/// The data of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanData {
    bytes: [u8; 8],
    len: u8,
}

impl CanData {
    /// The bytes: 8, or 5 of the last segment.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

/// The four frames of a context; `transfer` is counted up with each (modulo 64).
///
/// ```
/// use spanlet::context::can::{CanReassembly, split};
/// # use spanlet::context::traceparent;
/// # let text = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// # let cx = traceparent::parse(text).unwrap();
/// let mut receiver = CanReassembly::new();
/// let mut received = None;
/// for frame in split(&cx, 5) {
///     received = receiver.feed(frame.as_bytes())?;
/// }
/// assert_eq!(received, Some(cx));
/// # Ok::<(), spanlet::context::can::CanError>(())
/// ```
pub fn split(context: &SpanContext, transfer: u8) -> impl Iterator<Item = CanData> {
    let form = compact::encode(context);
    (0..SEGMENTS).map(move |segment| {
        let mut data = CanData {
            bytes: [transfer << 2 | segment, 0, 0, 0, 0, 0, 0, 0],
            len: 1,
        };
        let part = form.iter().skip(usize::from(segment) * PAYLOAD);
        for (to, from) in data.bytes.iter_mut().skip(1).zip(part) {
            *to = *from;
            data.len += 1;
        }
        data
    })
}

/// Why a frame was refused. What had come of its transfer is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CanError {
    /// Not 8 bytes, or 5 of the last segment.
    WrongLength {
        /// How many; 255 if more.
        len: u8,
    },
    /// Not the segment that comes next, or of another transfer.
    OutOfOrder {
        /// The segment.
        segment: u8,
    },
    /// All four came, and are no context.
    Context(CompactError),
}

impl fmt::Display for CanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { len } => write!(f, "context over CAN: a frame of {len} bytes"),
            Self::OutOfOrder { segment } => {
                write!(f, "context over CAN: segment {segment} continues nothing")
            }
            Self::Context(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CanError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Context(error) => Some(error),
            _ => None,
        }
    }
}

/// Puts the frames of one identifier together again. 28 bytes.
#[derive(Clone, Debug, Default)]
pub struct CanReassembly {
    form: [u8; COMPACT_LEN],
    /// Segment and transfer of the frame that comes next, as its byte 0 has them.
    next: Option<u8>,
}

impl CanReassembly {
    /// With nothing received.
    pub const fn new() -> Self {
        CanReassembly {
            form: [0; COMPACT_LEN],
            next: None,
        }
    }
    /// Takes a frame; the context, marked remote, with the last of four.
    ///
    /// # Errors
    /// [`CanError`]; the next segment 0 starts afresh.
    pub fn feed(&mut self, frame: &[u8]) -> Result<Option<SpanContext>, CanError> {
        let expected = self.next.take();
        let wrong_length = CanError::WrongLength {
            len: u8::try_from(frame.len()).unwrap_or(u8::MAX),
        };
        let [head, part @ ..] = frame else {
            return Err(wrong_length);
        };
        let segment = head & (SEGMENTS - 1);
        if segment != 0 && expected != Some(*head) {
            return Err(CanError::OutOfOrder { segment });
        }
        let to = self.form.chunks_mut(PAYLOAD).nth(usize::from(segment));
        match to {
            Some(to) if to.len() == part.len() => to.copy_from_slice(part),
            _ => return Err(wrong_length),
        }
        if segment + 1 < SEGMENTS {
            self.next = Some(head + 1);
            return Ok(None);
        }
        compact::decode(&self.form)
            .map(Some)
            .map_err(CanError::Context)
    }
}
