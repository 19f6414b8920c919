//! The board: an MPS2 with a Cortex-M at 25 MHz. Registers of the "Application Note AN385" (and AN386, AN500).

use core::convert::Infallible;
use core::ptr::{read_volatile, write_volatile};
use cortex_m::peripheral::{SYST, syst::SystClkSource};
use spanlet::{Clock, Extend32, TickRate, Ticks};

const CORE_HZ: u32 = 25_000_000;

/// The FPGA's free-running counter: 32 bits at 25 MHz, round in 171 s.
pub struct Counter {
    wide: Extend32,
}

impl Counter {
    pub const HZ: u64 = CORE_HZ as u64;

    pub const fn new() -> Self {
        Counter {
            wide: Extend32::new(),
        }
    }
}

impl Clock for Counter {
    /// Right while somebody asks at least every 43 s.
    fn now(&self) -> Ticks {
        const COUNTER: *const u32 = 0x4002_8018 as *const u32;
        // SAFETY: a counter register, always readable; reading changes nothing.
        self.wide.extend(unsafe { read_volatile(COUNTER) })
    }
    fn rate(&self) -> TickRate {
        const { TickRate::hz(Self::HZ).expect("not zero") }
    }
}

/// The first UART's sender, a CMSDK APB UART.
pub struct Uart(());

impl Uart {
    const DATA: *mut u32 = 0x4000_4000 as *mut u32;
    const STATE: *const u32 = 0x4000_4004 as *const u32;
    const CONTROL: *mut u32 = 0x4000_4008 as *mut u32;
    const DIVIDER: *mut u32 = 0x4000_4010 as *mut u32;

    /// 115,200 baud. To be called once.
    pub fn new() -> Self {
        // SAFETY: registers of the UART, which nobody else here uses.
        unsafe {
            write_volatile(Self::DIVIDER, CORE_HZ / 115_200);
            write_volatile(Self::CONTROL, 1);
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

/// Interrupts by SysTick in a millisecond, and every millisecond until [`stop_timer`].
pub fn start_timer(timer: &mut SYST) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(CORE_HZ / 1000 - 1);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

/// To be called by the interrupt.
pub fn stop_timer() {
    // SAFETY: the thread that started the timer waits for this interrupt and leaves the timer alone.
    let mut timer = unsafe { cortex_m::Peripherals::steal().SYST };
    timer.disable_counter();
    timer.disable_interrupt();
}

/// Prints to the debugger (QEMU's semihosting). Without formatting: that may panic.
pub fn print(text: &core::ffi::CStr) {
    const SYS_WRITE0: usize = 0x04;
    semihosting(SYS_WRITE0, text.as_ptr() as usize);
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
