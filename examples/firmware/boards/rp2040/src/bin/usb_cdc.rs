//! Spans of both cores over the part's own USB, as a serial port of the host.
//!
//! Input and output: a CDC port; whoever opens it gets frames. Bound: one packet on its way, for 100 ms; while
//! nobody has the port open, spans wait in the ring, and then are counted.
#![no_std]
#![no_main]

use embassy_executor::{Executor, Spawner};
use embassy_futures::join::join3;
use embassy_rp::multicore::{Stack, spawn_core1};
use embassy_rp::{bind_interrupts, peripherals, usb};
use embassy_usb::class::cdc_acm::{BufferedReceiver, CdcAcmClass, Sender, State};
use embassy_usb::driver::EndpointError;
use embassy_usb::{Builder, Config};
use spanlet::Clock;
use spanlet::drain::Delivery;
use spanlet_board_rp2040::{DELAY, IS_ONE_WAY, TRACER, command, pause, regulator, sensor, uplink};
use spanlet_transports::{PacketSink, PacketWriter};
use static_cell::StaticCell;

bind_interrupts!(struct Irqs {
    USBCTRL_IRQ => usb::InterruptHandler<peripherals::USB>;
});

type Driver = usb::Driver<'static, peripherals::USB>;

const PACKET: usize = 64;

struct Cdc(Sender<'static, Driver>);
impl PacketSink for Cdc {
    type Error = EndpointError;
    fn max_packet_len(&self) -> usize {
        PACKET
    }
    fn is_open(&self) -> bool {
        self.0.dtr()
    }
    async fn write_packet(&mut self, packet: &[u8]) -> Result<(), EndpointError> {
        self.0.write_packet(packet).await
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
    let delivery = match IS_ONE_WAY {
        true => Delivery::OneWay,
        false => Delivery::Acknowledged {
            resend_after_ticks: 2 * TRACER.clock().rate().as_hz(),
        },
    };
    let Some(uplink) = uplink(board.FLASH, delivery) else {
        return;
    };
    spawn_core1(board.CORE1, STACK.init(Stack::new()), || {
        EXECUTOR.init(Executor::new()).run(|spawner| {
            if let Ok(task) = core_1() {
                spawner.spawn(task);
            }
        })
    });

    static DESCRIPTORS: StaticCell<[u8; 128]> = StaticCell::new();
    static BOS: StaticCell<[u8; 16]> = StaticCell::new();
    static CONTROL: StaticCell<[u8; 64]> = StaticCell::new();
    static STATE: StaticCell<State<'_>> = StaticCell::new();
    static DOWN: StaticCell<[u8; PACKET]> = StaticCell::new();
    let driver = Driver::new(board.USB, Irqs);
    // A product has a vendor id of its own; pid.codes lends this one to tests.
    let mut config = Config::new(0x1209, 0x0001);
    config.product = Some("spanlet RP2040");
    let mut builder = Builder::new(
        driver,
        config,
        DESCRIPTORS.init([0; 128]),
        BOS.init([0; 16]),
        &mut [],
        CONTROL.init([0; 64]),
    );
    let class = CdcAcmClass::new(&mut builder, STATE.init(State::new()), PACKET as u16);
    let mut device = builder.build();
    let (sender, receiver) = class.split();
    let writer = PacketWriter::new(Cdc(sender), DELAY, 100);
    let reader: BufferedReceiver<'_, Driver> = receiver.into_buffered(DOWN.init([0; PACKET]));

    join3(
        device.run(),
        uplink.run(reader, writer, TRACER.clock(), pause, command),
        sensor(board.ADC, board.ADC_TEMP_SENSOR),
    )
    .await;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
