//! A UART whose transmitter is fed by DMA.
//!
//! Input: frames. Output: transfers. Bound: one transfer at a time, straight from the drain's buffer.

use embedded_io_async::{Error, ErrorType, Write};

/// A transmitter, to be implemented for the HAL's (`embassy_rp::uart::UartTx<'_, Async>`).
pub trait DmaSender {
    /// Why a transfer failed.
    type Error: Error;
    /// Sends all of `bytes`; done when the DMA has taken the last one. The CPU sleeps meanwhile, or runs other tasks.
    fn send(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), Self::Error>>;
    /// Done when the last byte has left the wire.
    fn idle(&mut self) -> impl Future<Output = Result<(), Self::Error>>;
}

/// Cuts writes into transfers of at most `MAX` bytes: what the DMA counts to (255 on an nRF52832, 4,095 on most ESP32, 65,535 on an nRF52840 or
/// STM32), or less if something else shares the UART between two transfers.
#[derive(Debug)]
pub struct DmaWriter<T, const MAX: usize>(T);

impl<T: DmaSender, const MAX: usize> DmaWriter<T, MAX> {
    /// Of a transmitter.
    pub const fn new(sender: T) -> Self {
        const { assert!(MAX != 0, "a transfer has at least a byte") }
        DmaWriter(sender)
    }
}

impl<T: DmaSender, const MAX: usize> ErrorType for DmaWriter<T, MAX> {
    type Error = T::Error;
}
impl<T: DmaSender, const MAX: usize> Write for DmaWriter<T, MAX> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        let part = bytes.get(..MAX).unwrap_or(bytes);
        self.0.send(part).await?;
        Ok(part.len())
    }
    async fn flush(&mut self) -> Result<(), T::Error> {
        self.0.idle().await
    }
}
