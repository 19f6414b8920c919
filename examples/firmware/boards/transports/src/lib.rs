//! What stands between spanlet's frames and a board's peripherals, for any HAL.
//!
//! Input: the writes of a drain or an uplink. Output: what each kind of link wants to be given. Bound: no
//! buffers of their own, and no wait without a limit where a host may fall silent.
//!
//! | link | writer | what it sees to |
//! |---|---|---|
//! | RTT | [`RttWriter`], [`RttReader`] | frames go whole or wait; a debugger that left stops nobody |
//! | USB CDC | [`PacketWriter`] | packets of 64 bytes, the empty packet at the end, a port that was closed |
//! | UART with DMA | [`DmaWriter`] | transfers no longer than the DMA counts |
//! | BLE notifications | [`NotifyWriter`] | values no longer than the connection's MTU |
//!
//! A board hands its peripheral over by one small trait; `tests/transports.rs` plays the boards' and the
//! hosts' parts.
#![no_std]
#![deny(unsafe_code)]

mod dma;
mod notify;
mod packet;
mod rtt;

pub use dma::{DmaSender, DmaWriter};
pub use notify::{Notify, NotifyWriter};
pub use packet::{PacketError, PacketSink, PacketWriter};
pub use rtt::{RttDown, RttReader, RttUp, RttWriter};
