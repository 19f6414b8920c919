//! Faults of a link, by a seed: what goes in comes out harmed.
//!
//! Input: bytes of a stream, or datagrams. Output: the same with what [`Faults`] prescribes done to them, and a count
//! of each harm ([`Harm`]). No time and no sockets: tests under virtual time hand bytes through, [`proxy`](crate::proxy)
//! does it over TCP. Bound: one frame that has not ended, and one that is held back.

use core::fmt;
use core::str::FromStr;

/// One in a million.
const MILLION: u32 = 1_000_000;

/// How often each harm is done, of a million frames (of bytes for `corrupt`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes that get another value.
    pub corrupt: u32,
    /// Frames that go missing.
    pub drop: u32,
    /// Frames that come twice.
    pub duplicate: u32,
    /// Frames that come behind the next.
    pub reorder: u32,
    /// Frames that lose one of their ends.
    pub truncate: u32,
    /// Frames that random bytes come before.
    pub garbage: u32,
}

impl Faults {
    /// None.
    pub const NONE: Self = Faults {
        corrupt: 0,
        drop: 0,
        duplicate: 0,
        reorder: 0,
        truncate: 0,
        garbage: 0,
    };

    /// Sets the rate of the harm that `name` names. `false`: there is none.
    pub fn set(&mut self, name: &str, per_million: u32) -> bool {
        let rate = match name {
            "corrupt" => &mut self.corrupt,
            "drop" => &mut self.drop,
            "duplicate" => &mut self.duplicate,
            "reorder" => &mut self.reorder,
            "truncate" => &mut self.truncate,
            "garbage" => &mut self.garbage,
            _ => return false,
        };
        *rate = per_million;
        true
    }
}

/// A rate as people write it: `1%`, `0.5%`, or so many in a million.
///
/// ```
/// use spanlet_tests::faults::PerMillion;
/// assert_eq!("1%".parse(), Ok(PerMillion(10_000)));
/// assert_eq!("250".parse(), Ok(PerMillion(250)));
/// assert!("101%".parse::<PerMillion>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMillion(pub u32);

impl FromStr for PerMillion {
    type Err = RateError;
    fn from_str(text: &str) -> Result<Self, RateError> {
        let n = match text.strip_suffix('%') {
            Some(percent) => percent.parse().map(|p: f64| p * 10_000.0).ok(),
            None => text.parse().map(|n: u32| f64::from(n)).ok(),
        };
        match n {
            Some(n) if (0.0..=f64::from(MILLION)).contains(&n) => Ok(PerMillion(n.round() as u32)),
            _ => Err(RateError),
        }
    }
}

/// No rate between 0 and 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateError;

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate is `1%`, or a number of a million")
    }
}
impl core::error::Error for RateError {}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// Frames that came, harmed or not. Lone delimiters are none.
    pub frames: u32,
    /// Bytes that came.
    pub bytes: u64,
    /// Bytes that were lost while the link was cut.
    pub cut_bytes: u64,
    /// Bytes with another value.
    pub corrupted_bytes: u64,
    /// Frames with such bytes.
    pub corrupted: u32,
    /// Frames that were left out.
    pub dropped: u32,
    /// Frames that went twice.
    pub duplicated: u32,
    /// Frames that went behind the next.
    pub reordered: u32,
    /// Frames without one of their ends.
    pub truncated: u32,
    /// Stretches of random bytes.
    pub garbage: u32,
}

impl Harm {
    /// Frames that did not come out as they went in, and stretches of garbage.
    pub fn total(&self) -> u32 {
        self.corrupted
            + self.dropped
            + self.duplicated
            + self.reordered
            + self.truncated
            + self.garbage
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "frames={} bytes={} cut_bytes={} corrupted_bytes={} corrupted={} dropped={} duplicated={} \
             reordered={} truncated={} garbage={}",
            self.frames,
            self.bytes,
            self.cut_bytes,
            self.corrupted_bytes,
            self.corrupted,
            self.dropped,
            self.duplicated,
            self.reordered,
            self.truncated,
            self.garbage
        )
    }
}

/// One direction of a link.
///
/// ```
/// use spanlet_tests::faults::{Faults, FaultyLink};
/// let mut link = FaultyLink::new(7, Faults { duplicate: 1_000_000, ..Faults::NONE });
/// let mut out = Vec::new();
/// link.pass(&[3, 1, 2], &mut out);
/// assert!(out.is_empty(), "the frame has not ended");
/// link.pass(&[0, 9], &mut out);
/// assert_eq!(out, [3, 1, 2, 0, 3, 1, 2, 0]);
/// assert_eq!(link.harm().duplicated, 1);
/// ```
#[derive(Clone, Debug)]
pub struct FaultyLink {
    faults: Faults,
    is_cut: bool,
    random: fastrand::Rng,
    /// A frame that has not ended.
    begun: Vec<u8>,
    /// Held back, to go behind the next.
    late: Option<Vec<u8>>,
    harm: Harm,
}

impl FaultyLink {
    /// The same seed and the same input give the same output.
    pub fn new(seed: u64, faults: Faults) -> Self {
        FaultyLink {
            faults,
            is_cut: false,
            random: fastrand::Rng::with_seed(seed),
            begun: Vec::new(),
            late: None,
            harm: Harm::default(),
        }
    }
    /// From now on these.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }
    /// Those of now.
    pub fn faults(&self) -> Faults {
        self.faults
    }
    /// While it is cut, all that comes is lost; of the frame under way what has gone has gone.
    pub fn cut(&mut self, is_cut: bool, out: &mut Vec<u8>) {
        if is_cut && !self.is_cut {
            out.append(&mut self.begun);
        }
        self.is_cut = is_cut;
    }
    /// What was done so far.
    pub fn harm(&self) -> Harm {
        self.harm
    }
    /// Bytes of a stream. Frames go when they have ended.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.harm.bytes += bytes.len() as u64;
        if self.is_cut {
            self.harm.cut_bytes += bytes.len() as u64;
            return;
        }
        for part in bytes.split_inclusive(|byte| *byte == 0) {
            self.begun.extend_from_slice(part);
            if part.last() == Some(&0) {
                let frame = core::mem::take(&mut self.begun);
                self.frame(frame, &mut |bytes| out.extend_from_slice(bytes));
            }
        }
    }
    /// One datagram. What garbage there is comes as a datagram of its own.
    pub fn datagram(&mut self, bytes: &[u8], out: &mut Vec<Vec<u8>>) {
        self.harm.bytes += bytes.len() as u64;
        if self.is_cut {
            self.harm.cut_bytes += bytes.len() as u64;
            return;
        }
        self.frame(bytes.to_vec(), &mut |bytes| out.push(bytes.to_vec()));
    }

    fn is_hit(&mut self, per_million: u32) -> bool {
        per_million != 0 && self.random.u32(..MILLION) < per_million
    }
    fn frame(&mut self, mut frame: Vec<u8>, out: &mut dyn FnMut(&[u8])) {
        let faults = self.faults;
        if frame.len() <= 1 {
            return out(&frame);
        }
        self.harm.frames += 1;
        if self.is_hit(faults.garbage) {
            self.harm.garbage += 1;
            let n = self.random.usize(1..300);
            out(&core::iter::repeat_with(|| self.random.u8(..))
                .take(n)
                .collect::<Vec<_>>());
        }
        if self.is_hit(faults.drop) {
            self.harm.dropped += 1;
            return;
        }
        let twice = self.is_hit(faults.duplicate);
        self.harm.duplicated += u32::from(twice);
        if self.is_hit(faults.truncate) {
            self.harm.truncated += 1;
            let at = self.random.usize(1..frame.len());
            if self.random.bool() {
                frame.truncate(at);
            } else {
                frame.drain(..at);
            }
        }
        if self.is_hit(faults.reorder) {
            self.harm.reordered += 1;
            if let Some(other) = self.late.replace(frame) {
                out(&other);
            }
            return;
        }
        for _ in 0..=u32::from(twice) {
            let copy = self.corrupted(&frame);
            out(&copy);
        }
        if let Some(other) = self.late.take() {
            let other = self.corrupted(&other);
            out(&other);
        }
    }
    fn corrupted(&mut self, frame: &[u8]) -> Vec<u8> {
        let (mut frame, before) = (frame.to_vec(), self.harm.corrupted_bytes);
        for byte in &mut frame {
            if self.is_hit(self.faults.corrupt) {
                *byte ^= self.random.u8(1..);
                self.harm.corrupted_bytes += 1;
            }
        }
        self.harm.corrupted += u32::from(self.harm.corrupted_bytes != before);
        frame
    }
}
