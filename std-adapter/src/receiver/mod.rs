//! What comes in from outside this process.
//!
//! Devices: bytes of a link → [`LinkReceiver`] (frames) → session of device and boot (texts, duplicates, losses,
//! time) → [`DeviceSpan`] → sinks and exporters of the [`Gateway`]. [`FrameReceiver`] does this for TCP,
//! [`Gateway::connect`] for bridges that listen themselves.
//! Records are told from duplicates by device, epoch and sequence for as long as the gateway runs, over all links of a
//! device. One that was restarted gets again what it had taken and whose acknowledgement was lost, at most what the
//! device keeps; what was acknowledged before shows in its ledger as acknowledged elsewhere.
//! Services: the OTLP receiver, for tests and demonstrations.

mod symbols;

mod device;
mod session;

mod otlp_batch;

mod down;
mod gateway;

mod fragments;
mod link;

mod connect;
mod frames;

mod ledger;

pub use crate::clock::{Arrival, ClockConfig, ClockError};
pub use connect::Connector;
pub use device::{DeviceInfo, DeviceSpan};
pub use down::{CommandError, MAX_PAYLOAD_BYTES};
pub use frames::{BindError, FrameReceiver};
pub use gateway::{Gateway, GatewayBuilder};
pub use ledger::{DestinationLedger, DeviceLedger, GatewayLedger, IntakeLedger};
pub use link::{LinkReceiver, MAX_FRAME_BYTES};

#[cfg(feature = "otlp-receiver")]
pub mod otlp_http;

#[cfg(feature = "otlp-receiver")]
pub mod proto;
