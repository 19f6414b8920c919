//! BLE: values of a characteristic, notified one by one.
//!
//! Input: frames. Output: notifications. Bound: one on its way.
//!
//! Two ways, by what the connection's MTU leaves for a value (MTU − 3):
//! - **A stream** ([`NotifyWriter`], with `Link::stream()`): frames in pieces, as with the Nordic UART Service. Works
//!   from the 20 bytes of an MTU that nobody negotiated, and pays for a frame's envelope once. A notification that
//!   the stack drops costs the frame that it was part of.
//! - **Datagrams** (`Link::datagrams(n)`): a notification is a frame, and a record that is larger comes in several.
//!   For a gateway that hands notifications on one by one, as MQTT bridges do; from about 100 bytes up. No writer is needed:
//!
//! ```ignore
//! while let Some(frame) = uplink.next_frame(&clock) {
//!     if characteristic.notify(&connection, frame).await.is_err() {
//!         uplink.failed();
//!         break;
//!     }
//! }
//! ```

use embedded_io_async::{Error, ErrorType, Write};

/// A characteristic that notifies, to be implemented for the BLE stack's.
pub trait Notify {
    /// Why a value did not go.
    type Error: Error;
    /// Bytes of the longest value: the connection's present MTU − 3. It may grow while connected.
    fn max_value_len(&self) -> usize;
    /// Hands a value to the stack, and waits while its buffers are full.
    fn notify(&mut self, value: &[u8]) -> impl Future<Output = Result<(), Self::Error>>;
}

/// Cuts writes into values.
#[derive(Debug)]
pub struct NotifyWriter<N> {
    characteristic: N,
    is_cut: bool,
}

impl<N: Notify> NotifyWriter<N> {
    /// Of a characteristic with a subscriber. To be made anew for each connection: it begins with a zero byte,
    /// which ends what the last connection may have left unfinished.
    pub const fn new(characteristic: N) -> Self {
        NotifyWriter {
            characteristic,
            is_cut: true,
        }
    }
    async fn send(&mut self, value: &[u8]) -> Result<(), N::Error> {
        let sent = self.characteristic.notify(value).await;
        self.is_cut = sent.is_err();
        sent
    }
}

impl<N: Notify> ErrorType for NotifyWriter<N> {
    type Error = N::Error;
}
impl<N: Notify> Write for NotifyWriter<N> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, N::Error> {
        if self.is_cut {
            self.send(&[0]).await?;
        }
        let max = self.characteristic.max_value_len().max(1);
        let value = bytes.get(..max).unwrap_or(bytes);
        self.send(value).await?;
        Ok(value.len())
    }
    async fn flush(&mut self) -> Result<(), N::Error> {
        Ok(())
    }
}
