//! The board that the device's firmware runs on, made of this machine: a timer, two byte streams, and its `main`.

use super::device;
use super::shop::{Failure, say};
use embedded_io::ErrorType;
use spanlet::{Clock, TickRate, Ticks};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Microseconds since the boot, as a hardware timer counts them.
pub(crate) struct Timer;

impl Clock for Timer {
    fn now(&self) -> Ticks {
        static BOOT: LazyLock<Instant> = LazyLock::new(Instant::now);
        Ticks(u64::try_from(BOOT.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
    fn rate(&self) -> TickRate {
        TickRate::MICROSECONDS
    }
}

pub(crate) fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A byte stream: here a TCP connection.
pub(crate) struct Uart(TcpStream);

impl Uart {
    fn connect(variable: &str) -> Result<Self, Failure> {
        let address =
            std::env::var(variable).map_err(|_| format!("{variable} is not set: host:port"))?;
        let stream = TcpStream::connect(address.trim_start_matches("http://"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Uart(stream))
    }
}

impl ErrorType for Uart {
    type Error = std::io::Error;
}
impl embedded_io::Read for Uart {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.0.read(buf)
    }
}
impl embedded_io::Write for Uart {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        self.0.flush()
    }
}

/// Boots once: a reading, a checkout, and its end. `DEMO_SEED` stands for the count of boots in flash.
pub(crate) fn main() -> Result<(), Failure> {
    let boot = std::env::var("DEMO_SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok())
        .unwrap_or(1);
    let mut frames = Uart::connect("FRAME_GATEWAY")?;
    let mut cloud = Uart::connect("API_GATEWAY_URL")?;
    let context = device::run(u32::try_from(boot % (1 << 24))?, &mut frames, &mut cloud)?;
    say(format_args!("trace {}", context.trace_id()));
    Ok(())
}
