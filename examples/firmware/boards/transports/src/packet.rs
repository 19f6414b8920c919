//! USB CDC: a byte stream made of packets.
//!
//! Input: frames. Output: packets for a bulk endpoint. Bound: one packet on its way, for a stated time.

use core::fmt;
use embassy_futures::select::{Either, select};
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{Error, ErrorKind, ErrorType, Write};

/// The sending half of a CDC class, to be implemented for `embassy_usb::class::cdc_acm::Sender`.
pub trait PacketSink {
    /// Why a packet did not go.
    type Error: fmt::Debug;
    /// Bytes of a full packet: 64 at full speed.
    fn max_packet_len(&self) -> usize;
    /// Whether a program on the host has the port open (DTR).
    fn is_open(&self) -> bool;
    /// Sends one packet. A future that is dropped may have sent it.
    fn write_packet(&mut self, packet: &[u8]) -> impl Future<Output = Result<(), Self::Error>>;
}

/// Why nothing went out. The drain sends what it keeps again with its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError<E> {
    /// Nobody has the port open.
    Closed,
    /// The host did not take a packet in time. A closed port often shows so, as hosts stop to ask.
    TimedOut,
    /// The endpoint says this.
    Endpoint(E),
}

impl<E: fmt::Debug> fmt::Display for PacketError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PacketError::Closed => f.write_str("no program has the port open"),
            PacketError::TimedOut => f.write_str("the host did not take a packet in time"),
            PacketError::Endpoint(error) => write!(f, "endpoint: {error:?}"),
        }
    }
}
impl<E: fmt::Debug> core::error::Error for PacketError<E> {}
impl<E: fmt::Debug> Error for PacketError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            PacketError::Closed => ErrorKind::NotConnected,
            PacketError::TimedOut => ErrorKind::TimedOut,
            PacketError::Endpoint(_) => ErrorKind::Other,
        }
    }
}

/// Cuts writes into packets.
///
/// A host hands a transfer on when a packet is shorter than the longest, so a flush behind a full packet sends an
/// empty one: without it the last frame waits in the host's driver for the next. A frame that was cut off by an
/// error is ended by a zero byte before anything else, so that it takes no other with it.
#[derive(Debug)]
pub struct PacketWriter<S, D> {
    sink: S,
    delay: D,
    timeout_ms: u32,
    is_last_full: bool,
    is_cut: bool,
}

impl<S: PacketSink, D: DelayNs> PacketWriter<S, D> {
    /// Of a CDC sender and a timer (`embassy_time::Delay`). A packet that the host does not take within
    /// `timeout_ms` is an error; 100 is plenty for a host that listens.
    pub const fn new(sink: S, delay: D, timeout_ms: u32) -> Self {
        PacketWriter {
            sink,
            delay,
            timeout_ms,
            is_last_full: false,
            // Whoever opened the port may have come in the middle of a frame.
            is_cut: true,
        }
    }
    async fn send(&mut self, packet: &[u8]) -> Result<(), PacketError<S::Error>> {
        let sent = if self.sink.is_open() {
            let limit = self.delay.delay_ms(self.timeout_ms);
            match select(self.sink.write_packet(packet), limit).await {
                Either::First(Ok(())) => Ok(()),
                Either::First(Err(error)) => Err(PacketError::Endpoint(error)),
                Either::Second(()) => Err(PacketError::TimedOut),
            }
        } else {
            Err(PacketError::Closed)
        };
        self.is_cut = sent.is_err();
        sent
    }
}

impl<S: PacketSink, D> ErrorType for PacketWriter<S, D> {
    type Error = PacketError<S::Error>;
}
impl<S: PacketSink, D: DelayNs> Write for PacketWriter<S, D> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        if self.is_cut {
            self.send(&[0]).await?;
        }
        let max = self.sink.max_packet_len().max(1);
        let packet = bytes.get(..max).unwrap_or(bytes);
        self.send(packet).await?;
        self.is_last_full = packet.len() == max;
        Ok(packet.len())
    }
    async fn flush(&mut self) -> Result<(), Self::Error> {
        if self.is_last_full {
            self.send(&[]).await?;
            self.is_last_full = false;
        }
        Ok(())
    }
}
