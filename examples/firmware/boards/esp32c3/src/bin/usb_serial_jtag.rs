//! Spans over the part's USB serial port, the one that it is flashed through.
//!
//! Input and output: a CDC port. `esp-hal` cuts packets and ends transfers itself. Bound: while nobody reads the
//! port, spans wait in the ring, and then are counted. What the boot loader prints before is skipped by the host.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use esp_hal::timer::timg::TimerGroup;
use esp_hal::usb::usb_serial_jtag::UsbSerialJtag;
use spanlet_board_esp32c3::{TRACER, command, pause, sensor, uplink};

esp_bootloader_esp_idf::esp_app_desc!();

#[embassy_executor::task]
async fn readings(temperature: esp_hal::peripherals::TSENS<'static>) {
    sensor(temperature).await
}

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let board = esp_hal::init(esp_hal::Config::default());
    let timers = TimerGroup::new(board.TIMG0);
    esp_rtos::start(timers.timer0, board.FROM_CPU_INTR0);
    let Some(uplink) = uplink(board.RNG, board.ADC1) else {
        return;
    };
    if let Ok(task) = readings(board.TSENS) {
        spawner.spawn(task);
    }
    let (reader, writer) = UsbSerialJtag::new(board.USB_DEVICE).into_async().split();
    uplink
        .run(reader, writer, TRACER.clock(), pause, command)
        .await
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    esp_hal::system::software_reset()
}
