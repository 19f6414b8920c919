//! The board: an MPS2 with a Cortex-M at 25 MHz. Registers of the "Application Note AN385" (and AN386).

use core::convert::Infallible;
use core::fmt::Write;
use core::ptr::{read_volatile, write_volatile};
use spanlet::{Clock, Extend32, TickRate, Ticks};

const CORE_HZ: u32 = 25_000_000;

/// The FPGA's free-running counter: 32 bits at 25 MHz. It begins anew with every reset.
pub struct Counter(Extend32);

impl Counter {
    pub const fn new() -> Self {
        Counter(Extend32::new())
    }
}

impl Clock for Counter {
    fn now(&self) -> Ticks {
        const COUNTER: *const u32 = 0x4002_8018 as *const u32;
        // SAFETY: a counter register, always readable; reading changes nothing.
        self.0.extend(unsafe { read_volatile(COUNTER) })
    }
    fn rate(&self) -> TickRate {
        const { TickRate::hz(CORE_HZ as u64).expect("not zero") }
    }
}

/// The watchdog (CMSDK APB): after `ticks` of 40 ns it raises an NMI, after as many again it resets the board.
pub fn start_watchdog(ticks: u32) {
    // SAFETY: registers of the watchdog, which nobody else uses.
    unsafe {
        write_volatile(0x4000_8c00 as *mut u32, 0x1acc_e551);
        write_volatile(0x4000_8000 as *mut u32, ticks);
        write_volatile(0x4000_8008 as *mut u32, 0b11);
    }
}
pub fn stop_watchdog() {
    // SAFETY: as above.
    unsafe {
        write_volatile(0x4000_8c00 as *mut u32, 0x1acc_e551);
        write_volatile(0x4000_8008 as *mut u32, 0);
    }
}

/// Starts the image whose vectors are there, as a boot loader would.
pub fn jump(vectors: u32) -> ! {
    const VTOR: *mut u32 = 0xe000_ed08 as *mut u32;
    // SAFETY: an image with its vectors is at that address; nothing of this one goes on.
    unsafe {
        write_volatile(VTOR, vectors);
        cortex_m::asm::bootload(vectors as *const u32)
    }
}

/// The first UART's sender, a CMSDK APB UART.
pub struct Uart(());

impl Uart {
    const DATA: *mut u32 = 0x4000_4000 as *mut u32;
    const STATE: *const u32 = 0x4000_4004 as *const u32;

    /// 115,200 baud. To be called once.
    pub fn new() -> Self {
        // SAFETY: registers of the UART, which nobody else here uses.
        unsafe {
            write_volatile(0x4000_4010 as *mut u32, CORE_HZ / 115_200);
            write_volatile(0x4000_4008 as *mut u32, 1);
        }
        Uart(())
    }
}

impl embedded_io::ErrorType for Uart {
    type Error = Infallible;
}
impl embedded_io::Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            // SAFETY: as in `new`.
            unsafe {
                while read_volatile(Self::STATE) & 1 != 0 {}
                write_volatile(Self::DATA, u32::from(*byte));
            }
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A line for the debugger (QEMU's semihosting), with the zero that it wants behind it.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if self.len + 1 < self.bytes.len() {
                self.bytes[self.len] = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

/// Prints; what does not fit in 255 bytes is cut.
pub fn print(text: core::fmt::Arguments<'_>) {
    let mut line = Line {
        bytes: [0; 256],
        len: 0,
    };
    if line.write_fmt(text).is_ok() {
        const SYS_WRITE0: usize = 0x04;
        semihosting(SYS_WRITE0, line.bytes.as_ptr() as usize);
    }
}

/// Ends the run: QEMU's exit status says whether it went well.
pub fn exit(well: bool) -> ! {
    const SYS_EXIT: usize = 0x18;
    const APPLICATION_EXIT: usize = 0x2_0026;
    const RUN_TIME_ERROR: usize = 0x2_0023;
    semihosting(
        SYS_EXIT,
        if well {
            APPLICATION_EXIT
        } else {
            RUN_TIME_ERROR
        },
    );
    loop {}
}

fn semihosting(operation: usize, argument: usize) {
    // SAFETY: the operations above read what `argument` points to and change r0; the text is borrowed meanwhile.
    unsafe {
        core::arch::asm!("bkpt #0xab", inout("r0") operation => _, in("r1") argument, options(nostack));
    }
}
