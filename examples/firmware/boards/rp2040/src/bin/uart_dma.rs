//! Spans of both cores over one wire: UART 0 on pin 1 (GPIO 0), 460,800 baud, fed by DMA.
//!
//! Input: none; a second wire is not needed. Output: frames, one way. Bound: what the line takes, about 1,000
//! spans a second; what is lost on it the gateway counts.
#![no_std]
#![no_main]

use embassy_executor::{Executor, Spawner};
use embassy_futures::join::join;
use embassy_rp::multicore::{Stack, spawn_core1};
use embassy_rp::uart::{self, Async, UartTx};
use embassy_rp::{bind_interrupts, dma, peripherals};
use spanlet::RecordSource;
use spanlet::drain::Delivery;
use spanlet_board_rp2040::{DeviceUplink, TRACER, pause, regulator, sensor, uplink};
use spanlet_transports::{DmaSender, DmaWriter};
use static_cell::StaticCell;

bind_interrupts!(struct Irqs {
    DMA_IRQ_0 => dma::InterruptHandler<peripherals::DMA_CH0>;
});

struct Uart(UartTx<'static, Async>);
impl DmaSender for Uart {
    type Error = uart::Error;
    async fn send(&mut self, bytes: &[u8]) -> Result<(), uart::Error> {
        self.0.write(bytes).await
    }
    async fn idle(&mut self) -> Result<(), uart::Error> {
        // The last bytes leave the FIFO by themselves; nobody switches the line over behind them.
        Ok(())
    }
}

/// Sends what there is, then lets records gather.
async fn send(mut uplink: DeviceUplink<impl RecordSource>, mut link: DmaWriter<Uart, 4096>) -> ! {
    loop {
        // It cannot fail; if it did, the host would see the gap.
        let _ = uplink.send_async(&mut link, TRACER.clock(), 4).await;
        pause().await;
    }
}

#[embassy_executor::task]
async fn core_1() {
    regulator().await
}

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    static STACK: StaticCell<Stack<4096>> = StaticCell::new();
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let board = embassy_rp::init(Default::default());
    let Some(uplink) = uplink(board.FLASH, Delivery::OneWay) else {
        return;
    };
    spawn_core1(board.CORE1, STACK.init(Stack::new()), || {
        EXECUTOR.init(Executor::new()).run(|spawner| {
            if let Ok(task) = core_1() {
                spawner.spawn(task);
            }
        })
    });
    let mut config = uart::Config::default();
    config.baudrate = 460_800;
    let uart = UartTx::new(board.UART0, board.PIN_0, board.DMA_CH0, Irqs, config);
    join(
        send(uplink, DmaWriter::new(Uart(uart))),
        sensor(board.ADC, board.ADC_TEMP_SENSOR),
    )
    .await;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
