//! Messages beside the records: who the device is, what time it is, what has arrived.
//!
//! Input: one [`Message`]. Output: a tag byte and its fields in postcard. Bound: one frame's content.
//! The ledger needs no message: an empty batch of records carries the counters.

use super::primitive::{Put, Take};
use super::put_record::{put_value, value_code};
use super::take_entries::{TextRef, Wire, take_text_ref, take_value};
use super::{Epoch, Malformed, MalformedKind, entry_code};
use crate::attribute::{KeyValue, Value};
use crate::clock::{TickRate, Ticks};
use crate::context::{SpanContext, SpanId, TraceFlags, TraceId};
use serde::{Deserialize, Serialize};

/// Tags of messages: bit 7 is set on the way down, to the device.
mod tag {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const CLOCK_PONG: u8 = 0x02;
    pub(super) const ACK: u8 = 0x81;
    pub(super) const CLOCK_PING: u8 = 0x82;
    pub(super) const TRACE_COMMAND: u8 = 0x83;
    pub(super) const SEND_DICTIONARY: u8 = 0x84;
    pub(super) const SEND_HELLO: u8 = 0x85;
}

/// What a device says at the start of a session, and again when asked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// Names the device among those of its operator; stable over boots.
    #[serde(borrow)]
    pub device_id: &'a str,
    /// Names the firmware image: the linker's build id or a version; at most 32 bytes by convention.
    #[serde(borrow)]
    pub build_id: &'a [u8],
    /// Ticks per second of all times in this epoch; not 0.
    pub tick_hz: u64,
    /// Bits of what the device can do: see [`Hello::ACKNOWLEDGED`] and the following.
    pub capabilities: u32,
    /// The scope of records that name none.
    #[serde(borrow)]
    pub scope_name: &'a str,
    /// Its version, or empty.
    #[serde(borrow)]
    pub scope_version: &'a str,
    /// Its schema, or empty.
    #[serde(borrow)]
    pub scope_schema_url: &'a str,
    /// The resource's attributes; [`ResourceEncoder`] makes them.
    #[serde(borrow)]
    pub resource: ResourceAttributes<'a>,
}

impl Hello<'_> {
    /// Capability: keeps records until they are acknowledged.
    pub const ACKNOWLEDGED: u32 = 1 << 0;
    /// Capability: answers clock pings.
    pub const CLOCK: u32 = 1 << 1;
    /// Capability: takes trace commands.
    pub const COMMANDS: u32 = 1 << 2;

    /// The tick rate, `None` for the 0 of a broken sender.
    pub const fn tick_rate(&self) -> Option<TickRate> {
        TickRate::hz(self.tick_hz)
    }
}

/// Acknowledges all records before `next`: cumulative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The sequence of the first record that has not arrived (modulo 2^32).
    pub next: u32,
}

/// Asks for the device's time. The exchange's offset and error follow as in NTP from the four times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPing {
    /// Returned in the answer.
    pub id: u32,
    /// The host's Unix time of sending in nanoseconds; returned in the answer.
    pub host_unix_nanos: u64,
}

/// Answers a [`ClockPing`]. When it was sent is in its frame's envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPong {
    /// The ping's.
    pub id: u32,
    /// The ping's.
    pub host_unix_nanos: u64,
    /// When the ping was read, in the device's ticks.
    pub received_at_ticks: u64,
}

/// A command of the application whose span the device is to continue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceCommand<'a> {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
    /// The application's own bytes; may be empty.
    #[serde(borrow)]
    pub payload: &'a [u8],
}

impl<'a> TraceCommand<'a> {
    /// A command within the trace of `context`.
    pub fn new(context: &SpanContext, payload: &'a [u8]) -> Self {
        TraceCommand {
            trace_id: context.trace_id().to_bytes(),
            span_id: context.span_id().to_bytes(),
            flags: context.flags().to_byte(),
            payload,
        }
    }
    /// The sender's span, remote; `None` if an id is zero.
    pub fn context(&self) -> Option<SpanContext> {
        let trace = TraceId::from_bytes(self.trace_id)?;
        let span = SpanId::from_bytes(self.span_id)?;
        Some(SpanContext::new(trace, span, TraceFlags::from_byte(self.flags)).remote())
    }
}

/// A message of either direction.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// Up: who the device is.
    Hello(Hello<'a>),
    /// Up: what time the device has.
    ClockPong(ClockPong),
    /// Down: what has arrived.
    Ack(Ack),
    /// Down: asks for the time.
    ClockPing(ClockPing),
    /// Down: a command with its trace.
    TraceCommand(TraceCommand<'a>),
    /// Down: asks to announce all texts again.
    SendDictionary,
    /// Down: asks for a hello.
    SendHello,
}

impl<'a> Message<'a> {
    /// Writes tag and fields; the length, or `None` if they do not fit.
    pub(super) fn encode(&self, to: &mut [u8]) -> Option<usize> {
        let (first, rest) = to.split_first_mut()?;
        let (tag, used) = match self {
            Message::Hello(m) => (tag::HELLO, postcard::to_slice(m, rest)),
            Message::ClockPong(m) => (tag::CLOCK_PONG, postcard::to_slice(m, rest)),
            Message::Ack(m) => (tag::ACK, postcard::to_slice(m, rest)),
            Message::ClockPing(m) => (tag::CLOCK_PING, postcard::to_slice(m, rest)),
            Message::TraceCommand(m) => (tag::TRACE_COMMAND, postcard::to_slice(m, rest)),
            Message::SendDictionary => (tag::SEND_DICTIONARY, postcard::to_slice(&(), rest)),
            Message::SendHello => (tag::SEND_HELLO, postcard::to_slice(&(), rest)),
        };
        *first = tag;
        used.ok().map(|used| used.len() + 1)
    }
    /// Reads a message that starts at `base` of its frame. Fields that a later version adds behind the
    /// known ones are passed over.
    pub(super) fn decode(bytes: &'a [u8], base: usize) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes, base);
        let tag = take.byte()?;
        let rest = take.rest();
        let message = match tag {
            tag::HELLO => postcard::from_bytes(rest).map(Message::Hello),
            tag::CLOCK_PONG => postcard::from_bytes(rest).map(Message::ClockPong),
            tag::ACK => postcard::from_bytes(rest).map(Message::Ack),
            tag::CLOCK_PING => postcard::from_bytes(rest).map(Message::ClockPing),
            tag::TRACE_COMMAND => postcard::from_bytes(rest).map(Message::TraceCommand),
            tag::SEND_DICTIONARY => Ok(Message::SendDictionary),
            tag::SEND_HELLO => Ok(Message::SendHello),
            _ => {
                return Err(Malformed {
                    kind: MalformedKind::UnknownCode,
                    offset: base,
                });
            }
        };
        message.map_err(|_| take.error(MalformedKind::Message))
    }
}

/// The attributes of a device's resource, encoded: per attribute what an attribute entry of a record is,
/// with inline key.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ResourceAttributes<'a>(&'a [u8]);

impl<'a> ResourceAttributes<'a> {
    /// Of bytes as [`ResourceEncoder`] writes them.
    pub(super) const fn encoded(bytes: &'a [u8]) -> Self {
        ResourceAttributes(bytes)
    }
    /// Calls `take` for each attribute. Arrays are not among them.
    ///
    /// # Errors
    /// [`Malformed`] with the offset within the attributes' bytes; those before it were handed out.
    pub fn for_each(&self, mut each: impl FnMut(KeyValue<'a, &'a str>)) -> Result<(), Malformed> {
        let mut take = Take::new(self.0, 0);
        while !take.is_empty() {
            let start = take;
            let code = take.byte()?;
            let TextRef::Inline(key) = take_text_ref(&mut take)? else {
                return Err(start.error(MalformedKind::UnknownCode));
            };
            match take_value(&mut take, code)? {
                Wire::Plain(value) => each(KeyValue { key, value }),
                _ => return Err(start.error(MalformedKind::UnknownCode)),
            }
        }
        Ok(())
    }
}

/// Encodes resource attributes into a fixed buffer of `N` bytes.
///
/// ```
/// use spanlet::frame::ResourceEncoder;
/// let mut resource: ResourceEncoder<64> = ResourceEncoder::new();
/// assert!(resource.add("service.name", "thermostat"));
/// assert!(resource.add("hw.revision", 3));
/// let mut seen = 0;
/// resource.attributes().for_each(|kv| seen += kv.key.len()).unwrap();
/// assert_eq!(seen, 12 + 11);
/// ```
#[derive(Debug)]
pub struct ResourceEncoder<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for ResourceEncoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> ResourceEncoder<N> {
    /// No attributes yet.
    pub const fn new() -> Self {
        ResourceEncoder {
            bytes: [0; N],
            len: 0,
        }
    }
    /// Adds one. `false`, and nothing is added, if it does not fit or is an array.
    #[must_use = "what does not fit is not sent"]
    pub fn add<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) -> bool {
        let value = value.into();
        let code = value_code(&value);
        if matches!(
            code,
            entry_code::BOOLS | entry_code::INTS | entry_code::DOUBLES | entry_code::TEXTS
        ) {
            return false;
        }
        let mut put = Put::new(self.bytes.get_mut(self.len..).unwrap_or_default());
        put.bytes(&[code, 0]);
        put.block(key.as_bytes());
        put_value(&mut put, &value);
        let fits = !put.is_full();
        if fits {
            self.len += put.len();
        }
        fits
    }
    /// What was added.
    pub fn attributes(&self) -> ResourceAttributes<'_> {
        ResourceAttributes(self.bytes.get(..self.len).unwrap_or_default())
    }
}

impl ClockPong {
    /// The device's time when the ping arrived.
    pub const fn received_at(&self) -> Ticks {
        Ticks(self.received_at_ticks)
    }
}

impl Ack {
    /// The highest sequence that is acknowledged.
    pub const fn last(&self) -> u32 {
        self.next.wrapping_sub(1)
    }
}

impl core::fmt::Display for Epoch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
