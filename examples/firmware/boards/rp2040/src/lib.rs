//! What the programs share: one tracer for both cores, who the device is, and the two cores' work.
//!
//! Core 0 reads a sensor and has the link; core 1 regulates. A reading goes from core to core with the context
//! of its span, so that one trace shows both. One ring takes the spans of both: where a part has no
//! compare-and-swap, a record's place is reserved in a critical section, and `embassy-rp`'s holds a hardware
//! spinlock, which keeps the other core out as well. It is the only thing for which one core waits for the other.
#![no_std]

use embassy_rp::adc::{Adc, Async, Channel, Config, InterruptHandler};
use embassy_rp::clocks::RoscRng;
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::multicore::{self, current_core};
use embassy_rp::{Peri, bind_interrupts, peripherals};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel;
use embassy_time::{Delay, Duration, Ticker, Timer};
use spanlet::clock::EmbassyClock;
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Epoch, Hello, Link, ResourceEncoder};
use spanlet::id_generator::device_id;
use spanlet::ring::DefaultReserve;
use spanlet::{
    AlwaysOn, Clock, CoreId, DeviceIds, InlineBuf, RecordSource, Span, SpanContext, SpanKind,
    Tracer, Uplink,
};
use static_cell::StaticCell;

/// Tells the cores apart, so that each has a current context of its own.
pub struct Sio;
impl CoreId for Sio {
    fn core_id() -> usize {
        match current_core() {
            multicore::CoreId::Core0 => 0,
            multicore::CoreId::Core1 => 1,
        }
    }
}

/// 8 KiB of ring for two cores.
pub type DeviceTracer = Tracer<EmbassyClock, DeviceIds, AlwaysOn, 8192, DefaultReserve, Sio, 2>;
/// Room for about six attributes.
pub type DeviceSpan = Span<&'static DeviceTracer, InlineBuf<16>>;
/// Frames of at most 512 bytes with COBS, 32 different texts.
pub type DeviceUplink<S> = Uplink<'static, S, 512, 32>;

/// Whether a link that could have a way back is used without.
pub const IS_ONE_WAY: bool = cfg!(feature = "one-way");

pub static TRACER: DeviceTracer = Tracer::with_reserve(EmbassyClock, DeviceIds::unset(), AlwaysOn);

/// Readings on their way to core 1, each with the span that they belong to.
static READINGS: channel::Channel<CriticalSectionRawMutex, (SpanContext, u16), 4> =
    channel::Channel::new();

bind_interrupts!(struct Irqs {
    ADC_IRQ_FIFO => InterruptHandler;
});

/// Sets the ids and says who the device is. `None`: the flash has no id, or it was called before.
pub fn uplink(
    flash: Peri<'static, peripherals::FLASH>,
    delivery: Delivery,
) -> Option<DeviceUplink<impl RecordSource + use<>>> {
    let mut id = [0; 8];
    let mut flash = Flash::<_, Blocking, { 2048 * 1024 }>::new_blocking(flash);
    if flash.blocking_unique_id(&mut id).is_err() {
        return None;
    }
    // The part has no random number generator that could be called one, and this example counts no boots in
    // flash: the ring oscillator makes it unlikely that two boots get the same ids.
    let mut oscillator = RoscRng;
    TRACER.ids().set(device_id(&id), oscillator.next_u32());
    let epoch = Epoch(u64::from(oscillator.next_u32()));

    static RESOURCE: StaticCell<ResourceEncoder<64>> = StaticCell::new();
    static TEXT: StaticCell<[u8; 16]> = StaticCell::new();
    let resource = RESOURCE.init(ResourceEncoder::new());
    if !resource.add("service.name", "rp2040-regulator") {
        return None;
    }
    let text = TEXT.init([0; 16]);
    let is_text = hex::encode_to_slice(id, text).is_ok();
    let hello = Hello {
        device_id: (core::str::from_utf8(text).ok())
            .filter(|_| is_text)
            .unwrap_or("rp2040"),
        build_id: env!("CARGO_PKG_VERSION").as_bytes(),
        tick_hz: TRACER.clock().rate().as_hz(),
        capabilities: 0,
        scope_name: env!("CARGO_PKG_NAME"),
        scope_version: env!("CARGO_PKG_VERSION"),
        scope_schema_url: "",
        resource: resource.attributes(),
    };
    let drain = Drain::new(epoch, Link::stream(), delivery);
    Uplink::new(drain, TRACER.records()?, hello).ok()
}

/// A command from the cloud, as part of the trace that it came in.
pub fn command(caller: SpanContext, payload: &[u8]) {
    let mut span: DeviceSpan = (TRACER.span("command").parent(&caller))
        .kind(SpanKind::Server)
        .start();
    span.set_attribute("messaging.message.body.size", payload.len() as i64);
}

/// Core 0: reads the part's own temperature every second and hands it to core 1.
pub async fn sensor(
    adc: Peri<'static, peripherals::ADC>,
    temperature: Peri<'static, peripherals::ADC_TEMP_SENSOR>,
) -> ! {
    let mut adc: Adc<'_, Async> = Adc::new(adc, Irqs, Config::default());
    let mut channel = Channel::new_temp_sensor(temperature);
    let mut ticker = Ticker::every(Duration::from_secs(1));
    loop {
        let mut span: DeviceSpan = (TRACER.span("read sensor").root())
            .kind(SpanKind::Producer)
            .start();
        match adc.read(&mut channel).await {
            Ok(raw) => {
                span.set_attribute("adc.raw", i64::from(raw));
                READINGS.send((span.context(), raw)).await;
            }
            Err(_) => {
                span.set_error("conversion failed");
            }
        }
        drop(span);
        ticker.next().await;
    }
}

/// Core 1: takes readings and regulates, each in the trace of its reading.
pub async fn regulator() -> ! {
    loop {
        let (reading, raw) = READINGS.receive().await;
        let mut span: DeviceSpan = (TRACER.span("regulate").parent(&reading))
            .kind(SpanKind::Consumer)
            .start();
        span.set_attribute("core", Sio::core_id() as i64);
        // 27 °C are 0.706 V, a degree is 1.721 mV: data sheet, 4.9.5.
        let microvolts = i64::from(raw) * 3_300_000 / 4096;
        span.set_attribute(
            "millicelsius",
            27_000 - (microvolts - 706_000) * 1000 / 1721,
        );
        let _settle: DeviceSpan = TRACER.span("settle").parent(&span).start();
        Timer::after_millis(5).await;
    }
}

/// How long records wait for company in a frame.
pub fn pause() -> Timer {
    Timer::after_millis(50)
}

/// What the transports tell time by.
pub const DELAY: Delay = Delay;
