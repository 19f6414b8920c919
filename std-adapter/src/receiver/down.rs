//! The way down a link: answers of the receiver, commands of the application.
//!
//! Input: frames. Output: bytes, to a writer at once or kept until they are taken. Bound: [`KEPT_BYTES`].

use super::gateway::lock;
use core::fmt;
use std::io::{self, Write};
use std::sync::Mutex;

/// Commands that wait for whoever takes them; more are refused.
const KEPT_BYTES: usize = 16 << 10;

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
    /// The payload is longer than [`MAX_PAYLOAD_BYTES`](super::MAX_PAYLOAD_BYTES).
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
#[derive(Default)]
pub(super) struct Down(Mutex<State>);

#[derive(Default)]
struct State {
    kept: Vec<u8>,
    writer: Option<Box<dyn Write + Send>>,
}

impl Down {
    /// From now on frames go to this writer.
    pub(super) fn set_writer(&self, writer: Box<dyn Write + Send>) {
        lock(&self.0).writer = Some(writer);
    }
    /// Sends a frame at once, or keeps it.
    pub(super) fn send(&self, frame: &[u8]) -> Result<(), CommandError> {
        let mut state = lock(&self.0);
        if let Some(writer) = &mut state.writer {
            return (writer.write_all(frame).and_then(|()| writer.flush()))
                .map_err(CommandError::Link);
        }
        if state.kept.len() + frame.len() > KEPT_BYTES {
            return Err(CommandError::Busy);
        }
        state.kept.extend_from_slice(frame);
        Ok(())
    }
    /// What was kept.
    pub(super) fn take(&self) -> Vec<u8> {
        core::mem::take(&mut lock(&self.0).kept)
    }
}
