//! What comes in from outside this process.
//!
//! Devices: bytes of a link → [`LinkReceiver`] (frames) → session of device and boot (texts, duplicates, losses,
//! time) → [`DeviceSpan`] → sinks and exporters of the [`Gateway`]. [`FrameReceiver`] does this for TCP,
//! [`Gateway::connect`] for bridges that listen themselves.
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
pub use down::CommandError;
pub use frames::{BindError, FrameReceiver};
pub use gateway::{Gateway, GatewayBuilder};
pub use ledger::{DestinationLedger, DeviceLedger, GatewayLedger, IntakeLedger};
pub use link::{LinkReceiver, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES};

#[cfg(feature = "otlp-receiver")]
pub mod otlp_http;

#[cfg(feature = "otlp-receiver")]
pub mod proto;
