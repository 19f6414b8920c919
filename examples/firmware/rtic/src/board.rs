//! The board: a Stellaris LM3S6965 at 12.5 MHz, as after its reset. Registers of its data sheet.

use core::convert::Infallible;
use core::ptr::{read_volatile, write_volatile};

pub const CORE_HZ: u32 = 12_500_000;

fn write(register: usize, value: u32) {
    // SAFETY: registers of the part; none of these devices writes to memory.
    unsafe { write_volatile(register as *mut u32, value) }
}

/// TIMER 0: an interrupt every 20 ms.
pub fn start_timer() {
    const TIMER: usize = 0x4003_0000;
    write(0x400f_e104, 1 << 16 | 1); // clocks of TIMER 0 and UART 0
    write(TIMER + 0x04, 2); // periodic
    write(TIMER + 0x28, CORE_HZ / 50 - 1);
    write(TIMER + 0x18, 1);
    write(TIMER + 0x0c, 1);
}

/// To be called by its interrupt.
pub fn clear_timer() {
    write(0x4003_0024, 1);
}

/// A pin of GPIO A.
pub fn stop_pump() {
    write(0x4000_4004, 0);
}

/// The first UART's sender, a PL011.
pub struct Uart(());

impl Uart {
    const DATA: usize = 0x4000_c000;
    const FLAGS: usize = 0x4000_c018;

    /// 115,200 baud, 8 bits, with FIFO. To be called once.
    pub fn new() -> Self {
        write(0x4000_c024, CORE_HZ / (16 * 115_200));
        write(0x4000_c028, 50);
        write(0x4000_c02c, 0x70);
        write(0x4000_c030, 0x101);
        Uart(())
    }
}

impl embedded_io::ErrorType for Uart {
    type Error = Infallible;
}
impl embedded_io::Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            // SAFETY: a register that is always readable.
            while unsafe { read_volatile(Self::FLAGS as *const u32) } & 0x20 != 0 {}
            write(Self::DATA, u32::from(*byte));
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Ends the run when so many spans were started and all have ended.
#[cfg(feature = "golden")]
pub fn end_after(counters: &spanlet::frame::DeviceCounters, spans: u32) {
    use cortex_m_semihosting::{debug, hprintln};
    if counters.started >= spans {
        hprintln!(
            "{} spans started, {} found the ring full",
            counters.started,
            counters.ring_full
        );
        debug::exit(debug::EXIT_SUCCESS);
    }
}
