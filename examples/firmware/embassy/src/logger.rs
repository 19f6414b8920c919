//! defmt over the second UART.
//!
//! A line is written with interrupts off, as long as the UART takes: log where that may be, or use `defmt-rtt`.

use crate::board::LOG_UART;
use core::cell::{Cell, RefCell};
use critical_section::{CriticalSection, Mutex, RestoreState};
use embassy_time::Instant;

defmt::timestamp!("{=u64:us}", Instant::now().as_micros());

#[defmt::global_logger]
struct Logger;

static ENCODER: Mutex<RefCell<defmt::Encoder>> = Mutex::new(RefCell::new(defmt::Encoder::new()));
static RESTORE: Mutex<Cell<RestoreState>> = Mutex::new(Cell::new(RestoreState::invalid()));

// SAFETY: between `acquire` and `release` interrupts are off, on a single core.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        // SAFETY: defmt calls `release` for each `acquire`.
        let (restore, cs) = unsafe { (critical_section::acquire(), CriticalSection::new()) };
        RESTORE.borrow(cs).set(restore);
        with_encoder(|encoder| encoder.start_frame(|bytes| LOG_UART.write_blocking(bytes)));
    }
    unsafe fn flush() {}
    unsafe fn release() {
        with_encoder(|encoder| encoder.end_frame(|bytes| LOG_UART.write_blocking(bytes)));
        // SAFETY: undoes `acquire`.
        unsafe {
            let restore = RESTORE.borrow(CriticalSection::new()).get();
            critical_section::release(restore);
        }
    }
    unsafe fn write(bytes: &[u8]) {
        with_encoder(|encoder| encoder.write(bytes, |bytes| LOG_UART.write_blocking(bytes)));
    }
}

fn with_encoder(work: impl FnOnce(&mut defmt::Encoder)) {
    critical_section::with(|cs| work(&mut ENCODER.borrow_ref_mut(cs)));
}
