//! Spans over RTT, beside `defmt`'s log on the same probe: no pins, no driver.
//!
//! Input: a debug probe. Output: up channel 0 `defmt`, up channel 1 frames; down channel 1 acknowledgements,
//! pings and commands. Bound: 2 KiB for frames; without a probe spans wait in the ring, and then are counted.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_futures::join::join;
use embassy_nrf as _;
use rtt_target::{ChannelMode, DownChannel, UpChannel};
use spanlet::frame::Link;
use spanlet_board_nrf52840::{DELAY, TRACER, command, pause, sensor, uplink};
use spanlet_transports::{RttDown, RttReader, RttUp, RttWriter};

const UP_BYTES: usize = 2048;

struct Up(UpChannel);
impl RttUp for Up {
    fn capacity(&self) -> usize {
        UP_BYTES
    }
    fn write_all_or_nothing(&mut self, bytes: &[u8]) -> bool {
        // The host may have changed it.
        self.0.set_mode(ChannelMode::NoBlockSkip);
        self.0.write(bytes) == bytes.len()
    }
}

struct Down(DownChannel);
impl RttDown for Down {
    fn read(&mut self, bytes: &mut [u8]) -> usize {
        self.0.read(bytes)
    }
}

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    // OpenOCD serves up and down channel of one number at one port: frames have number 1 both ways.
    let channels = rtt_target::rtt_init! {
        up: {
            0: { size: 1024, name: "defmt" }
            1: { size: UP_BYTES, mode: ChannelMode::NoBlockSkip, name: "spanlet" }
        }
        down: {
            0: { size: 16, name: "Terminal" }
            1: { size: 512, name: "spanlet" }
        }
    };
    rtt_target::set_defmt_channel(channels.up.0);

    let board = embassy_nrf::init(Default::default());
    let Some(uplink) = uplink(board.RNG, Link::stream()) else {
        return;
    };
    let writer = RttWriter::new(Up(channels.up.1), DELAY);
    let reader = RttReader::new(Down(channels.down.1), DELAY);
    join(
        uplink.run(reader, writer, TRACER.clock(), pause, command),
        sensor(board.TEMP, |context, celsius| {
            let (trace, span) = (context.trace_id(), context.span_id());
            defmt::info!("{} °C trace_id={} span_id={}", celsius, trace, span);
        }),
    )
    .await;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
