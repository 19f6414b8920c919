//! Counts instructions with SysTick.
//!
//! Under `-icount shift=8` an instruction takes 256 ns of the guest's time. That is more than two SysTick ticks on
//! both machines, so ticks convert to instructions without loss. [`Meter::start`] proves it on 1000 nops.

use crate::host::{PREFIX, print, quit, value};
use core::hint::black_box;
use cortex_m::peripheral::{SYST, syst::SystClkSource};

const SHIFT: u32 = 8;
/// What QEMU clocks SysTick with, picoseconds a tick: 25 MHz, 16 MHz.
const TICK_PS: u64 = if cfg!(feature = "m0") { 62_500 } else { 40_000 };

core::arch::global_asm!(
    ".thumb",
    ".globl calibrate_nops, calibrate_masked",
    ".thumb_func",
    "calibrate_nops: .rept 1000",
    "nop",
    ".endr",
    "bx lr",
    // 20 instructions with interrupts off, cpsie included: the plugin must report exactly this at this address.
    ".thumb_func",
    "calibrate_masked: cpsid i",
    ".rept 19",
    "nop",
    ".endr",
    "cpsie i",
    "bx lr",
);
unsafe extern "C" {
    safe fn calibrate_nops();
    safe fn calibrate_masked();
}

/// SysTick, running, with the cost of an empty measurement taken off.
pub struct Meter {
    empty: u32,
}

impl Meter {
    /// Starts SysTick and checks that instructions are counted exactly; quits where they are not.
    pub fn start() -> Self {
        // SAFETY: `main` calls this once and nothing else here touches SysTick.
        let mut p = unsafe { cortex_m::Peripherals::steal() };
        p.SYST.set_clock_source(SystClkSource::Core);
        p.SYST.set_reload(0x00ff_ffff);
        p.SYST.clear_current();
        p.SYST.enable_counter();
        calibrate_masked();
        let empty = ticks(|| ());
        let nops = ticks(|| calibrate_nops());
        let meter = Meter { empty };
        // bl and bx are two more.
        let counted = meter.to_instructions(nops);
        if counted != 1002 {
            print(format_args!(
                "1000 nops counted as {counted}: run under -icount shift={SHIFT}\n"
            ));
            quit(false);
        }
        meter
    }

    /// Prints what one call takes. The result is kept from being optimised away, and dropped outside the measurement.
    pub fn instructions<R>(&self, name: &str, operation: impl FnOnce() -> R) {
        let mut result = None;
        let ticks = ticks(|| result = Some(black_box(operation())));
        black_box(&result);
        value(PREFIX, name, self.to_instructions(ticks) as usize);
    }

    fn to_instructions(&self, ticks: u32) -> u32 {
        let of =
            |ticks: u32| ((u64::from(ticks) * TICK_PS + (500 << SHIFT)) / (1000 << SHIFT)) as u32;
        of(ticks) - of(self.empty)
    }
}

#[inline(never)]
fn now() -> u32 {
    SYST::get_current()
}

fn ticks(operation: impl FnOnce()) -> u32 {
    let from = now();
    operation();
    // The conversion waits: LLVM would put its division inside the next measurement.
    black_box(from.wrapping_sub(now()) & 0x00ff_ffff)
}
