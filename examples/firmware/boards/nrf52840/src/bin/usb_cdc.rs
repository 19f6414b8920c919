//! Spans over the part's own USB, as a serial port of the host.
//!
//! Input and output: a CDC port; whoever opens it gets frames. Bound: one packet on its way, for 100 ms; while
//! nobody has the port open, spans wait in the ring, and then are counted.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_futures::join::join3;
use embassy_nrf::usb::vbus_detect::{self, HardwareVbusDetect};
use embassy_nrf::{bind_interrupts, peripherals, usb};
use embassy_usb::class::cdc_acm::{BufferedReceiver, CdcAcmClass, Sender, State};
use embassy_usb::driver::EndpointError;
use embassy_usb::{Builder, Config};
use spanlet::frame::Link;
use spanlet_board_nrf52840::{DELAY, TRACER, command, pause, sensor, uplink};
use spanlet_transports::{PacketSink, PacketWriter};
use static_cell::StaticCell;

bind_interrupts!(struct Irqs {
    USBD => usb::InterruptHandler<peripherals::USBD>;
    CLOCK_POWER => vbus_detect::InterruptHandler;
});

type Driver = usb::Driver<'static, HardwareVbusDetect>;

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

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    // USB needs the crystal.
    let mut config = embassy_nrf::config::Config::default();
    config.hfclk_source = embassy_nrf::config::HfclkSource::ExternalXtal;
    let board = embassy_nrf::init(config);
    let Some(uplink) = uplink(board.RNG, Link::stream()) else {
        return;
    };

    static DESCRIPTORS: StaticCell<[u8; 128]> = StaticCell::new();
    static BOS: StaticCell<[u8; 16]> = StaticCell::new();
    static CONTROL: StaticCell<[u8; 64]> = StaticCell::new();
    static STATE: StaticCell<State<'_>> = StaticCell::new();
    static DOWN: StaticCell<[u8; PACKET]> = StaticCell::new();
    let driver = Driver::new(board.USBD, Irqs, HardwareVbusDetect::new(Irqs));
    // A product has a vendor id of its own; pid.codes lends this one to tests.
    let mut config = Config::new(0x1209, 0x0001);
    config.product = Some("spanlet nRF52840");
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
        sensor(board.TEMP, |_, _| {}),
    )
    .await;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
