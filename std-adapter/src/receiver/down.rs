//! The way down a link: answers of the receiver, commands of the application.
//!
//! Input: answers, commands. Output: frames, to a writer at once or kept until they are taken. Bound: so many
//! [`COMMANDS`].

use super::gateway::lock;
use core::fmt;
use spanlet::frame::{Epoch, FrameEncoder, Link, Message, TraceCommand};
use spanlet::{SpanContext, Ticks};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Mutex;

/// Commands that wait for whoever takes them; more are refused.
const COMMANDS: usize = 64;
/// The longest payload of a command. Devices may take less: by default about 80 bytes; so may links of datagrams.
pub const MAX_PAYLOAD_BYTES: usize = 192;
/// A payload, the envelope and the ids.
const COMMAND_BYTES: usize = 384;

/// Why a command was not sent; see [`Gateway::command`](super::Gateway::command).
#[derive(Debug)]
#[non_exhaustive]
pub enum CommandError {
    /// No device of this name was ever heard of.
    UnknownDevice,
    /// The device has no link now.
    NotConnected,
    /// The device said that it takes no commands ([`Hello::COMMANDS`](spanlet::frame::Hello::COMMANDS)).
    NotSupported,
    /// The payload is longer than [`MAX_PAYLOAD_BYTES`], or than a datagram of the link takes.
    TooLarge,
    /// Too many commands wait for the link.
    Busy,
    /// The link does not take it.
    Link(io::Error),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::UnknownDevice => f.write_str("no device of this name was heard of"),
            CommandError::NotConnected => f.write_str("the device is not connected"),
            CommandError::NotSupported => f.write_str("the device takes no commands"),
            CommandError::TooLarge => f.write_str("the payload is too large"),
            CommandError::Busy => f.write_str("too many commands wait for the device's link"),
            CommandError::Link(error) => write!(f, "the device's link failed: {error}"),
        }
    }
}

impl core::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            CommandError::Link(error) => Some(error),
            _ => None,
        }
    }
}

/// Shared by a link and whoever sends commands to its devices.
pub(super) struct Down {
    link: Link,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    commands: VecDeque<Vec<u8>>,
    writer: Option<Box<dyn Write + Send>>,
}

impl Down {
    pub(super) fn new(link: Link) -> Self {
        Down {
            link,
            state: Mutex::default(),
        }
    }
    /// From now on frames go to this writer.
    pub(super) fn set_writer(&self, writer: Box<dyn Write + Send>) {
        lock(&self.state).writer = Some(writer);
    }
    /// Sends a command at once, or keeps it.
    pub(super) fn command(
        &self,
        epoch: Epoch,
        caller: &SpanContext,
        payload: &[u8],
    ) -> Result<(), CommandError> {
        let command = Message::TraceCommand(TraceCommand::new(caller, payload));
        let mut encoder: FrameEncoder<COMMAND_BYTES, 0> = FrameEncoder::new(epoch, self.link);
        // Ends whatever the device has read before.
        encoder.resynchronise();
        if payload.len() > MAX_PAYLOAD_BYTES || !encoder.message(&command) {
            return Err(CommandError::TooLarge);
        }
        let frame = encoder.frame(Ticks(0)).unwrap_or_default();
        let mut state = lock(&self.state);
        if let Some(writer) = &mut state.writer {
            let sent = writer.write_all(frame).and_then(|()| writer.flush());
            return sent.map_err(CommandError::Link);
        }
        if state.commands.len() >= COMMANDS {
            return Err(CommandError::Busy);
        }
        state.commands.push_back(frame.to_vec());
        Ok(())
    }
    /// Sends these frames, if there is a writer.
    pub(super) fn write(&self, frames: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        let mut state = lock(&self.state);
        let Some(writer) = &mut state.writer else {
            return Ok(());
        };
        if frames.is_empty() {
            return Ok(());
        }
        while let Some(frame) = frames.pop_front() {
            writer.write_all(&frame)?;
        }
        writer.flush()
    }
    /// The first that was kept.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        lock(&self.state).commands.pop_front()
    }
    /// All that was kept.
    pub(super) fn take_all(&self) -> VecDeque<Vec<u8>> {
        core::mem::take(&mut lock(&self.state).commands)
    }
}
