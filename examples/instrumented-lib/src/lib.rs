//! A driver for a made-up sensor, instrumented against spanlet's facade.
//!
//! Input: raw frames of the sensor, five bytes with a checksum. Output: readings, and spans for whoever
//! installs a tracer. It names no tracer and no buffer; built with `SPANLET_FILTER=off` it is the driver alone.
#![no_std]

#[cfg(feature = "trace")]
use spanlet::{instrument, span};

/// Bytes of a frame: humidity and temperature in tenths, big-endian, and their sum.
pub const FRAME_LEN: usize = 5;

/// One reading, in tenths of a percent and of a degree Celsius.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Relative humidity, 0..=1000.
    pub humidity: u16,
    /// Temperature.
    pub celsius: i16,
}

/// Why a frame gives no reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadingError {
    /// The bytes were damaged on the wire.
    Checksum {
        /// What the bytes add up to.
        computed: u8,
        /// What the frame says.
        found: u8,
    },
    /// No air is that wet.
    Humidity(u16),
}

impl core::fmt::Display for ReadingError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            ReadingError::Checksum { computed, found } => {
                write!(
                    f,
                    "the bytes add up to {computed:#04x}, the frame says {found:#04x}"
                )
            }
            ReadingError::Humidity(tenths) => write!(f, "{tenths} tenths of a percent humidity"),
        }
    }
}
impl core::error::Error for ReadingError {}

/// Checks a frame and takes it apart.
///
/// Span `sensor.parse`; an error is recorded.
///
/// # Errors
/// [`ReadingError`]: a wrong checksum, or a humidity above 100 %.
#[cfg_attr(
    feature = "trace",
    instrument(name = "sensor.parse", err, skip_all, fields("sensor.kind" = "AM2302"))
)]
pub fn parse(frame: &[u8; FRAME_LEN]) -> Result<Reading, ReadingError> {
    let [h1, h0, t1, t0, found] = *frame;
    let computed = h1.wrapping_add(h0).wrapping_add(t1).wrapping_add(t0);
    if computed != found {
        return Err(ReadingError::Checksum { computed, found });
    }
    let humidity = u16::from_be_bytes([h1, h0]);
    if humidity > 1000 {
        return Err(ReadingError::Humidity(humidity));
    }
    let magnitude = i16::from_be_bytes([t1 & 0x7f, t0]);
    let celsius = if t1 & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    };
    Ok(Reading { humidity, celsius })
}

/// The mean of those frames that give a reading; `None` if none does.
///
/// Span `sensor.mean` with an event for each frame that was left out.
pub fn mean(frames: &[[u8; FRAME_LEN]]) -> Option<Reading> {
    #[cfg(feature = "trace")]
    let mut span = span!(kind: Internal, "sensor.mean", frames = frames.len() as i64);
    let (mut humidity, mut celsius, mut n) = (0u32, 0i32, 0u16);
    for frame in frames {
        let Ok(reading) = parse(frame) else {
            #[cfg(feature = "trace")]
            span.add_event("frame left out", &[]);
            continue;
        };
        humidity += u32::from(reading.humidity);
        celsius += i32::from(reading.celsius);
        n = n.saturating_add(1);
    }
    #[cfg(feature = "trace")]
    span.set_attribute("readings", i64::from(n));
    let reading = Reading {
        humidity: u16::try_from(humidity.checked_div(u32::from(n))?).ok()?,
        celsius: i16::try_from(celsius.checked_div(i32::from(n))?).ok()?,
    };
    Some(reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_frames_are_left_out_of_the_mean() {
        let frames = [
            [2, 0x8a, 0, 0xd7, 0x63],
            [2, 0x8a, 0, 0xd7, 0],
            [2, 0x8c, 0x80, 0x09, 0x17],
        ];
        let reading = |humidity, celsius| Reading { humidity, celsius };
        assert_eq!(parse(&frames[0]), Ok(reading(650, 215)));
        assert_eq!(
            parse(&frames[1]),
            Err(ReadingError::Checksum {
                computed: 0x63,
                found: 0
            })
        );
        assert_eq!(mean(&frames), Some(reading(651, 103)));
        assert_eq!(mean(&[]), None);
    }
}
