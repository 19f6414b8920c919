//! Talks to the host by semihosting, without a critical section: `cortex-m-semihosting` prints with interrupts
//! off, which would drown the stretches that `masked.c` looks for.

use core::fmt::Write;

/// The machine's part of each name.
pub const PREFIX: &str = if cfg!(feature = "m0") { "m0." } else { "m4." };

/// One line of text, with the zero that semihosting wants behind it.
struct Line {
    bytes: [u8; 160],
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

fn call(operation: usize, argument: usize) {
    // SAFETY: a semihosting call reads what `argument` says and changes r0; the caller keeps that memory alive.
    unsafe {
        core::arch::asm!("bkpt #0xab", inout("r0") operation => _, in("r1") argument, options(nostack));
    }
}

/// Prints; what does not fit in 159 bytes is cut.
pub fn print(text: core::fmt::Arguments<'_>) {
    let mut line = Line {
        bytes: [0; 160],
        len: 0,
    };
    if line.write_fmt(text).is_ok() {
        const SYS_WRITE0: usize = 0x04;
        call(SYS_WRITE0, line.bytes.as_ptr() as usize);
    }
}

/// Prints a measured value under `prefix` + `name`.
pub fn value(prefix: &str, name: &str, value: usize) {
    print(format_args!("{prefix}{name} {value}\n"));
}

/// Ends the run; the emulator's exit status says whether it went well.
pub fn quit(well: bool) {
    const SYS_EXIT: usize = 0x18;
    const APPLICATION_EXIT: usize = 0x2_0026;
    const RUN_TIME_ERROR: usize = 0x2_0023;
    call(
        SYS_EXIT,
        if well {
            APPLICATION_EXIT
        } else {
            RUN_TIME_ERROR
        },
    );
}
