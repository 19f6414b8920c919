//! I2C and SPI: the traits of `embedded-hal` 1.0 and `embedded-hal-async` 1.0.

use super::{Call, Traced, function, run};
use crate::recorder::Recorder;
use embedded_hal::i2c::{self, NoAcknowledgeSource};
use embedded_hal::spi;

impl<D: i2c::ErrorType, R> i2c::ErrorType for Traced<D, R> {
    type Error = D::Error;
}
impl<D: spi::ErrorType, R> spi::ErrorType for Traced<D, R> {
    type Error = D::Error;
}

fn i2c_error(error: &impl i2c::Error) -> &'static str {
    use i2c::ErrorKind::{ArbitrationLoss, Bus, NoAcknowledge, Overrun};
    match error.kind() {
        Bus => "bus",
        ArbitrationLoss => "arbitration_loss",
        NoAcknowledge(NoAcknowledgeSource::Address) => "no_acknowledge_address",
        NoAcknowledge(NoAcknowledgeSource::Data) => "no_acknowledge_data",
        NoAcknowledge(NoAcknowledgeSource::Unknown) => "no_acknowledge",
        Overrun => "overrun",
        _ => "_OTHER",
    }
}
fn spi_error(error: &impl spi::Error) -> &'static str {
    use spi::ErrorKind::{ChipSelectFault, FrameFormat, ModeFault, Overrun};
    match error.kind() {
        Overrun => "overrun",
        ModeFault => "mode_fault",
        FrameFormat => "frame_format",
        ChipSelectFault => "chip_select_fault",
        _ => "_OTHER",
    }
}

impl<R: Recorder> Call<R> {
    fn i2c(&mut self, address: impl Into<u16>, written: usize, read: usize) {
        self.span
            .set_attribute("i2c.address", i64::from(address.into()));
        self.count("i2c.bytes_written", written);
        self.count("i2c.bytes_read", read);
    }
    fn i2c_operations(&mut self, address: impl Into<u16>, operations: &[i2c::Operation<'_>]) {
        let (mut written, mut read) = (0, 0);
        for operation in operations {
            match operation {
                i2c::Operation::Read(bytes) => read += bytes.len(),
                i2c::Operation::Write(bytes) => written += bytes.len(),
            }
        }
        self.i2c(address, written, read);
        self.count("i2c.operations", operations.len());
    }
    fn spi<W>(&mut self, written: usize, read: usize) {
        self.count("spi.bytes_written", written * size_of::<W>());
        self.count("spi.bytes_read", read * size_of::<W>());
    }
    fn spi_operations<W: Copy>(&mut self, operations: &[spi::Operation<'_, W>]) {
        use spi::Operation::{DelayNs, Read, Transfer, TransferInPlace, Write};
        let (mut written, mut read) = (0, 0);
        for operation in operations {
            let (w, r) = match operation {
                Read(words) => (0, words.len()),
                Write(words) => (words.len(), 0),
                Transfer(to, from) => (from.len(), to.len()),
                TransferInPlace(words) => (words.len(), words.len()),
                DelayNs(_) => (0, 0),
            };
            written += w;
            read += r;
        }
        self.spi::<W>(written, read);
        self.count("spi.operations", operations.len());
    }
}

/// The traits of one of the two crates.
macro_rules! traced_buses {
    ($kind:ident $hal:ident) => {
        impl<A, D, R> $hal::i2c::I2c<A> for Traced<D, R>
        where
            A: i2c::AddressMode + Copy + Into<u16>,
            D: $hal::i2c::I2c<A>,
            R: Recorder,
        {
            function!($kind read(&mut self, address: A, read: &mut [u8]) -> Result<(), D::Error> {
                let (mut call, device) = self.call("i2c read");
                call.i2c(address, 0, read.len());
                let result = run!($kind call, device.read(address, read));
                call.finish(result.as_ref().err().map(i2c_error));
                result
            });
            function!($kind write(&mut self, address: A, write: &[u8]) -> Result<(), D::Error> {
                let (mut call, device) = self.call("i2c write");
                call.i2c(address, write.len(), 0);
                let result = run!($kind call, device.write(address, write));
                call.finish(result.as_ref().err().map(i2c_error));
                result
            });
            function!($kind write_read(
                &mut self,
                address: A,
                write: &[u8],
                read: &mut [u8],
            ) -> Result<(), D::Error> {
                let (mut call, device) = self.call("i2c write_read");
                call.i2c(address, write.len(), read.len());
                let result = run!($kind call, device.write_read(address, write, read));
                call.finish(result.as_ref().err().map(i2c_error));
                result
            });
            function!($kind transaction(
                &mut self,
                address: A,
                operations: &mut [i2c::Operation<'_>],
            ) -> Result<(), D::Error> {
                let (mut call, device) = self.call("i2c transaction");
                call.i2c_operations(address, operations);
                let result = run!($kind call, device.transaction(address, operations));
                call.finish(result.as_ref().err().map(i2c_error));
                result
            });
        }

        impl<W: Copy + 'static, D: $hal::spi::SpiDevice<W>, R: Recorder> $hal::spi::SpiDevice<W>
            for Traced<D, R>
        {
            function!($kind transaction(
                &mut self,
                operations: &mut [spi::Operation<'_, W>],
            ) -> Result<(), D::Error> {
                let (mut call, device) = self.call("spi transaction");
                call.spi_operations(operations);
                let result = run!($kind call, device.transaction(operations));
                call.finish(result.as_ref().err().map(spi_error));
                result
            });
            traced_spi!($kind);
        }

        impl<W: Copy + 'static, D: $hal::spi::SpiBus<W>, R: Recorder> $hal::spi::SpiBus<W>
            for Traced<D, R>
        {
            function!($kind flush(&mut self) -> Result<(), D::Error> {
                let (mut call, device) = self.call("spi flush");
                let result = run!($kind call, device.flush());
                call.finish(result.as_ref().err().map(spi_error));
                result
            });
            traced_spi!($kind);
        }
    };
}

/// What SPI devices and SPI buses have in common.
macro_rules! traced_spi {
    ($kind:ident) => {
        function!($kind read(&mut self, words: &mut [W]) -> Result<(), D::Error> {
            let (mut call, device) = self.call("spi read");
            call.spi::<W>(0, words.len());
            let result = run!($kind call, device.read(words));
            call.finish(result.as_ref().err().map(spi_error));
            result
        });
        function!($kind write(&mut self, words: &[W]) -> Result<(), D::Error> {
            let (mut call, device) = self.call("spi write");
            call.spi::<W>(words.len(), 0);
            let result = run!($kind call, device.write(words));
            call.finish(result.as_ref().err().map(spi_error));
            result
        });
        function!($kind transfer(&mut self, read: &mut [W], write: &[W]) -> Result<(), D::Error> {
            let (mut call, device) = self.call("spi transfer");
            call.spi::<W>(write.len(), read.len());
            let result = run!($kind call, device.transfer(read, write));
            call.finish(result.as_ref().err().map(spi_error));
            result
        });
        function!($kind transfer_in_place(&mut self, words: &mut [W]) -> Result<(), D::Error> {
            let (mut call, device) = self.call("spi transfer_in_place");
            call.spi::<W>(words.len(), words.len());
            let result = run!($kind call, device.transfer_in_place(words));
            call.finish(result.as_ref().err().map(spi_error));
            result
        });
    };
}

traced_buses!(sync embedded_hal);
#[cfg(feature = "embedded-hal-async")]
traced_buses!(async embedded_hal_async);
