//! Streams: the traits of `embedded-io` 0.7 and `embedded-io-async` 0.7.

use super::{Traced, function, run};
use crate::recorder::Recorder;
use embedded_io::{Error, ErrorKind, ErrorType, ReadExactError, ReadReady, WriteReady};

impl<D: ErrorType, R> ErrorType for Traced<D, R> {
    type Error = D::Error;
}

/// Asked without a span: nothing is transferred.
impl<D: ReadReady, R> ReadReady for Traced<D, R> {
    fn read_ready(&mut self) -> Result<bool, D::Error> {
        self.inner.read_ready()
    }
}
/// Asked without a span: nothing is transferred.
impl<D: WriteReady, R> WriteReady for Traced<D, R> {
    fn write_ready(&mut self) -> Result<bool, D::Error> {
        self.inner.write_ready()
    }
}

fn io_error(error: &impl Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "not_found",
        ErrorKind::PermissionDenied => "permission_denied",
        ErrorKind::ConnectionRefused => "connection_refused",
        ErrorKind::ConnectionReset => "connection_reset",
        ErrorKind::ConnectionAborted => "connection_aborted",
        ErrorKind::NotConnected => "not_connected",
        ErrorKind::AddrInUse => "addr_in_use",
        ErrorKind::AddrNotAvailable => "addr_not_available",
        ErrorKind::BrokenPipe => "broken_pipe",
        ErrorKind::AlreadyExists => "already_exists",
        ErrorKind::InvalidInput => "invalid_input",
        ErrorKind::InvalidData => "invalid_data",
        ErrorKind::TimedOut => "timed_out",
        ErrorKind::Interrupted => "interrupted",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::OutOfMemory => "out_of_memory",
        ErrorKind::WriteZero => "write_zero",
        _ => "_OTHER",
    }
}
fn exact_error<E: Error>(error: &ReadExactError<E>) -> &'static str {
    match error {
        ReadExactError::UnexpectedEof => "unexpected_eof",
        ReadExactError::Other(error) => io_error(error),
    }
}

/// The traits of one of the two crates.
macro_rules! traced_streams {
    ($kind:ident $io:ident) => {
        impl<D: $io::Read, R: Recorder> $io::Read for Traced<D, R> {
            function!($kind read(&mut self, bytes: &mut [u8]) -> Result<usize, D::Error> {
                let (mut call, stream) = self.call("io read");
                let result = run!($kind call, stream.read(bytes));
                call.count("io.bytes_read", *result.as_ref().unwrap_or(&0));
                call.finish(result.as_ref().err().map(io_error));
                result
            });
            function!($kind read_exact(
                &mut self,
                bytes: &mut [u8],
            ) -> Result<(), ReadExactError<D::Error>> {
                let (mut call, stream) = self.call("io read_exact");
                let len = bytes.len();
                let result = run!($kind call, stream.read_exact(bytes));
                call.count("io.bytes_read", if result.is_ok() { len } else { 0 });
                call.finish(result.as_ref().err().map(exact_error));
                result
            });
        }
        impl<D: $io::Write, R: Recorder> $io::Write for Traced<D, R> {
            function!($kind write(&mut self, bytes: &[u8]) -> Result<usize, D::Error> {
                let (mut call, stream) = self.call("io write");
                let result = run!($kind call, stream.write(bytes));
                call.count("io.bytes_written", *result.as_ref().unwrap_or(&0));
                call.finish(result.as_ref().err().map(io_error));
                result
            });
            function!($kind write_all(&mut self, bytes: &[u8]) -> Result<(), D::Error> {
                let (mut call, stream) = self.call("io write_all");
                let result = run!($kind call, stream.write_all(bytes));
                call.count("io.bytes_written", if result.is_ok() { bytes.len() } else { 0 });
                call.finish(result.as_ref().err().map(io_error));
                result
            });
            function!($kind flush(&mut self) -> Result<(), D::Error> {
                let (mut call, stream) = self.call("io flush");
                let result = run!($kind call, stream.flush());
                call.finish(result.as_ref().err().map(io_error));
                result
            });
        }
    };
}

traced_streams!(sync embedded_io);
#[cfg(feature = "async")]
traced_streams!(async embedded_io_async);
