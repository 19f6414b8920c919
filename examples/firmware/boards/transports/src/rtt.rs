//! RTT: a ring in the board's RAM that the debug probe reads while the board runs.
//!
//! Input: frames. Output: bytes in an up channel. Bound: the channel's buffer; a frame that finds no room waits
//! for the probe, in its task alone.

use core::convert::Infallible;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{ErrorType, Read, Write};

/// Milliseconds between two looks at a channel. Probes look every 1 to 100 ms.
const LOOK_MS: u32 = 2;
/// Looks become rarer, up to this, while nothing moves: nobody may be there.
const LOOK_MS_MAX: u32 = 64;

/// An up channel, to be implemented for `rtt_target::UpChannel`:
///
/// ```ignore
/// fn write_all_or_nothing(&mut self, bytes: &[u8]) -> bool {
///     self.0.set_mode(ChannelMode::NoBlockSkip);
///     self.0.write(bytes) == bytes.len()
/// }
/// ```
///
/// The mode is set each time, because the host may change it and some do: in `BlockIfFull` a board whose
/// probe was unplugged hangs in its next write, interrupts or not. In `NoBlockTrim` a frame loses its end, and
/// takes the next frame with it. The number that `write` returns is no use by itself: of a write that was
/// skipped, `rtt-target` 0.6 returns what fitted before the buffer's end.
pub trait RttUp {
    /// Bytes of the channel's buffer; one of them stays empty.
    fn capacity(&self) -> usize;
    /// Puts all of `bytes` into the buffer, or nothing.
    fn write_all_or_nothing(&mut self, bytes: &[u8]) -> bool;
}

/// A down channel, to be implemented for `rtt_target::DownChannel`.
pub trait RttDown {
    /// Takes what is there, without waiting.
    fn read(&mut self, bytes: &mut [u8]) -> usize;
}

/// Writes to an up channel, and waits for room with a timer, since a probe gives no interrupt. Without a probe
/// it waits for ever and costs a look each 64 ms; spans go on, and what the ring cannot hold is counted.
#[derive(Debug)]
pub struct RttWriter<C, D> {
    channel: C,
    delay: D,
}

impl<C: RttUp, D: DelayNs> RttWriter<C, D> {
    /// Of a channel and a timer (`embassy_time::Delay`).
    pub const fn new(channel: C, delay: D) -> Self {
        RttWriter { channel, delay }
    }
}

impl<C, D> ErrorType for RttWriter<C, D> {
    type Error = Infallible;
}
impl<C: RttUp, D: DelayNs> Write for RttWriter<C, D> {
    /// Takes all of `bytes` unless they are more than the channel holds.
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let room = self.channel.capacity().saturating_sub(1).max(1);
        let part = bytes.get(..room).unwrap_or(bytes);
        let mut pause_ms = LOOK_MS;
        while !self.channel.write_all_or_nothing(part) {
            self.delay.delay_ms(pause_ms).await;
            pause_ms = (pause_ms * 2).min(LOOK_MS_MAX);
        }
        Ok(part.len())
    }
    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Reads a down channel by looking at it every now and then.
#[derive(Debug)]
pub struct RttReader<C, D> {
    channel: C,
    delay: D,
}

impl<C: RttDown, D: DelayNs> RttReader<C, D> {
    /// Of a channel and a timer.
    pub const fn new(channel: C, delay: D) -> Self {
        RttReader { channel, delay }
    }
}

impl<C, D> ErrorType for RttReader<C, D> {
    type Error = Infallible;
}
impl<C: RttDown, D: DelayNs> Read for RttReader<C, D> {
    /// Given up, it has taken nothing.
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut pause_ms = LOOK_MS;
        loop {
            match self.channel.read(bytes) {
                0 => self.delay.delay_ms(pause_ms).await,
                n => return Ok(n),
            }
            pause_ms = (pause_ms * 2).min(LOOK_MS_MAX);
        }
    }
}
