//! Spans over UART 1: TX on GPIO 4, RX on GPIO 5, 460,800 baud.
//!
//! Input and output: frames both ways. Bound: what the line takes, about 1,000 spans a second; the UART's
//! FIFO of 128 bytes is refilled by interrupts.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use esp_hal::timer::timg::TimerGroup;
use esp_hal::uart::{Config, Uart};
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
    let config = Config::default().with_baudrate(460_800);
    let Ok(uart) = Uart::new(board.UART1, config) else {
        return;
    };
    let uart = uart.with_tx(board.GPIO4).with_rx(board.GPIO5);
    let (reader, writer) = uart.into_async().split();
    uplink
        .run(reader, writer, TRACER.clock(), pause, command)
        .await
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    esp_hal::system::software_reset()
}
