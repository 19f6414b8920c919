//! The board: an MPS2 with a Cortex-M at 25 MHz. Registers of the "Application Note AN385" (and AN386, AN500).
//!
//! What a HAL gives on other boards: a buffered UART, a converter that ends with an interrupt, a time driver.

mod time;

use crate::{Span, TRACER, modem};
use core::cell::Cell;
use core::convert::Infallible;
use core::fmt;
use core::future::poll_fn;
use core::mem::MaybeUninit;
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Poll;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use critical_section::Mutex;
use embassy_sync::{
    blocking_mutex::raw::CriticalSectionRawMutex, pipe::Pipe, signal::Signal,
    waitqueue::AtomicWaker,
};
use spanlet::{Recorder, SpanContext};

const CORE_HZ: u32 = 25_000_000;

/// Frames from and to the gateway.
const UPLINK_UART: Registers = Registers(0x4000_4000);
/// The log.
pub const LOG_UART: Registers = Registers(0x4000_5000);
/// The way to the cloud.
pub const MODEM_UART: Registers = Registers(0x4000_6000);
/// TIMER 1, which plays the converter.
const CONVERTER: Registers = Registers(0x4000_1000);

mod interrupt {
    pub const UPLINK_RECEIVED: u16 = 0;
    pub const UPLINK_SENT: u16 = 1;
    pub const MODEM_RECEIVED: u16 = 4;
    pub const TIME: u16 = 8;
    pub const CONVERTED: u16 = 9;
}

/// Without the crate of a certain part all interrupts of devices come here, with their numbers.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    match u16::try_from(number) {
        // Cleared first, emptied second: a byte that comes in between raises the interrupt again.
        Ok(interrupt::UPLINK_RECEIVED) => {
            UPLINK_UART.clear_received();
            while let Some(byte) = UPLINK_UART.read() {
                if RECEIVED.try_write(&[byte]).is_err() {
                    // The frame is damaged; the gateway sends it again, or the next.
                    OVERRUNS.store(OVERRUNS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
            }
        }
        Ok(interrupt::UPLINK_SENT) => {
            UPLINK_UART.clear_sent();
            SENT.wake();
        }
        Ok(interrupt::MODEM_RECEIVED) => {
            MODEM_UART.clear_received();
            while let Some(byte) = MODEM_UART.read() {
                modem::received(byte);
            }
        }
        Ok(interrupt::TIME) => time::alarm(),
        Ok(interrupt::CONVERTED) => converted(),
        _ => {}
    }
}

#[derive(Clone, Copy)]
struct Irq(u16);
// SAFETY: the numbers of `interrupt`, which the board has.
unsafe impl cortex_m::interrupt::InterruptNumber for Irq {
    fn number(self) -> u16 {
        self.0
    }
}

/// Sets up clocks, UARTs and interrupts. To be called once.
pub fn init() -> (Adc, Uart) {
    const RECEIVE: u32 = 0b1011;
    const SEND: u32 = 0b0001;
    const SENT_INTERRUPT: u32 = 0b0100;
    UPLINK_UART.start(RECEIVE | SENT_INTERRUPT);
    LOG_UART.start(SEND);
    MODEM_UART.start(RECEIVE);
    time::init();
    for number in [
        interrupt::UPLINK_RECEIVED,
        interrupt::UPLINK_SENT,
        interrupt::MODEM_RECEIVED,
        interrupt::TIME,
        interrupt::CONVERTED,
    ] {
        // SAFETY: `DefaultHandler` is there; nothing relies on the interrupt being off.
        unsafe { NVIC::unmask(Irq(number)) };
    }
    (Adc(()), Uart(()))
}

/// Counts boots in RAM that a reset leaves as it is. After power loss it begins anew: a product counts in flash.
pub fn count_boots() -> u32 {
    const MAGIC: u32 = 0xb007_5eb5;
    #[unsafe(link_section = ".uninit.boots")]
    static mut BOOTS: MaybeUninit<[u32; 2]> = MaybeUninit::uninit();
    let boots = (&raw mut BOOTS).cast::<[u32; 2]>();
    // SAFETY: nobody else has the name; every bit pattern is two words, and volatile reads take what is there.
    unsafe {
        let count = match read_volatile(boots) {
            [MAGIC, count] => count.wrapping_add(1),
            _ => 1,
        };
        write_volatile(boots, [MAGIC, count]);
        count
    }
}

/// A converter that takes a millisecond.
pub struct Adc(());

static CONVERTED: Signal<CriticalSectionRawMutex, u32> = Signal::new();
/// Whose conversion runs: handed to the interrupt, which has no context of its own.
static CONVERTING: Mutex<Cell<Option<SpanContext>>> = Mutex::new(Cell::new(None));

impl Adc {
    /// The temperature in tenths of a degree.
    pub async fn convert(&mut self) -> u32 {
        critical_section::with(|cs| CONVERTING.borrow(cs).set((&TRACER).current()));
        CONVERTED.reset();
        CONVERTER.write(0x08, CORE_HZ / 1000);
        CONVERTER.write(0x04, CORE_HZ / 1000);
        CONVERTER.write(0x00, 0b1001);
        CONVERTED.wait().await
    }
}

/// The interrupt at the end of a conversion.
fn converted() {
    CONVERTER.write(0x00, 0);
    CONVERTER.write(0x0c, 1);
    let parent = critical_section::with(|cs| CONVERTING.borrow(cs).take());
    let mut span: Span = TRACER.span("conversion done").parent(&parent).start();
    let celsius_tenths = 215 + TRACER.counters().started % 7;
    span.set_attribute("celsius_tenths", i64::from(celsius_tenths));
    CONVERTED.signal(celsius_tenths);
}

/// A CMSDK UART or timer.
#[derive(Clone, Copy)]
pub struct Registers(usize);

impl Registers {
    fn read_register(self, offset: usize) -> u32 {
        // SAFETY: a register of the board; reading has no effect on memory.
        unsafe { read_volatile((self.0 + offset) as *const u32) }
    }
    fn write(self, offset: usize, value: u32) {
        // SAFETY: as above, and no device here writes to memory.
        unsafe { write_volatile((self.0 + offset) as *mut u32, value) }
    }
    fn start(self, control: u32) {
        self.write(0x10, CORE_HZ / 115_200);
        self.write(0x08, control);
    }
    fn read(self) -> Option<u8> {
        (self.read_register(0x04) & 2 != 0).then(|| self.read_register(0) as u8)
    }
    fn is_full(self) -> bool {
        self.read_register(0x04) & 1 != 0
    }
    fn clear_received(self) {
        self.write(0x0c, 0b10);
    }
    fn clear_sent(self) {
        self.write(0x0c, 0b01);
    }
    /// Waits for the line.
    pub fn write_blocking(self, bytes: &[u8]) {
        for byte in bytes {
            while self.is_full() {}
            self.write(0, u32::from(*byte));
        }
    }
}

impl fmt::Write for Registers {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_blocking(text.as_bytes());
        Ok(())
    }
}

/// What the uplink's UART has received, for whoever has the reader.
pub static RECEIVED: Pipe<CriticalSectionRawMutex, 256> = Pipe::new();
/// Bytes that found no room there.
static OVERRUNS: AtomicU32 = AtomicU32::new(0);
static SENT: AtomicWaker = AtomicWaker::new();

/// The uplink's UART.
pub struct Uart(());

impl Uart {
    pub fn split(self) -> (impl embedded_io_async::Read, impl embedded_io_async::Write) {
        (&RECEIVED, self)
    }
}

impl embedded_io_async::ErrorType for Uart {
    type Error = Infallible;
}
impl embedded_io_async::Write for Uart {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|cx| {
            SENT.register(cx.waker());
            let mut written = 0;
            for byte in bytes {
                if UPLINK_UART.is_full() {
                    break;
                }
                UPLINK_UART.write(0, u32::from(*byte));
                written += 1;
            }
            match written {
                0 if !bytes.is_empty() => Poll::Pending,
                written => Poll::Ready(Ok(written)),
            }
        })
        .await
    }
    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
