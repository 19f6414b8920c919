//! What the programs share: the tracer, who the device is, and a sensor that is read every second.
//!
//! Ids and the epoch come from the hardware's random number generator: nothing needs to be kept in flash.
#![no_std]

use embassy_nrf::{Peri, peripherals, rng, temp};
use embassy_time::{Delay, Duration, Ticker};
use spanlet::clock::EmbassyClock;
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Epoch, Hello, Link, ResourceEncoder};
use spanlet::{
    AlwaysOn, Clock, InlineBuf, RecordSource, SeededIds, Span, SpanContext, SpanKind, Tracer,
    Uplink,
};
use static_cell::StaticCell;

/// 4 KiB of ring: about a minute of this example while the link is down.
pub type DeviceTracer = Tracer<EmbassyClock, SeededIds, AlwaysOn, 4096>;
/// Room for about six attributes.
pub type DeviceSpan = Span<&'static DeviceTracer, InlineBuf<16>>;
/// Frames of at most 512 bytes with COBS, 32 different texts.
pub type DeviceUplink<S> = Uplink<'static, S, 512, 32>;

/// Whether the link has no way back.
const IS_ONE_WAY: bool = cfg!(feature = "one-way");

pub static TRACER: DeviceTracer = Tracer::new(EmbassyClock, SeededIds::unseeded(), AlwaysOn);

embassy_nrf::bind_interrupts!(struct Irqs {
    RNG => rng::InterruptHandler<peripherals::RNG>;
    TEMP => temp::InterruptHandler;
});

/// Seeds the ids and says who the device is. `None`: the random number generator is broken, or it was called before.
pub fn uplink(
    rng: Peri<'static, peripherals::RNG>,
    link: Link,
) -> Option<DeviceUplink<impl RecordSource + use<>>> {
    let (mut seed, mut epoch) = ([0; 16], [0; 8]);
    let mut rng = rng::Rng::new(rng, Irqs);
    rng.set_bias_correction(true);
    rng.blocking_fill_bytes(&mut seed);
    rng.blocking_fill_bytes(&mut epoch[..4]);
    if !TRACER.ids().seed(seed) {
        return None;
    }

    static RESOURCE: StaticCell<ResourceEncoder<64>> = StaticCell::new();
    let resource = RESOURCE.init(ResourceEncoder::new());
    if !resource.add("service.name", "nrf52840-sensor") {
        return None;
    }
    let tick_hz = TRACER.clock().rate().as_hz();
    let hello = Hello {
        device_id: device_id(),
        build_id: env!("CARGO_PKG_VERSION").as_bytes(),
        tick_hz,
        capabilities: Hello::COMMANDS,
        scope_name: env!("CARGO_PKG_NAME"),
        scope_version: env!("CARGO_PKG_VERSION"),
        scope_schema_url: "",
        resource: resource.attributes(),
    };
    let delivery = match IS_ONE_WAY {
        true => Delivery::OneWay,
        false => Delivery::Acknowledged {
            resend_after_ticks: 2 * tick_hz,
        },
    };
    let drain = Drain::new(Epoch(u64::from_le_bytes(epoch)), link, delivery);
    Uplink::new(drain, TRACER.records()?, hello).ok()
}

/// The 64 bits that Nordic wrote into the part, in hexadecimal.
fn device_id() -> &'static str {
    static TEXT: StaticCell<[u8; 16]> = StaticCell::new();
    let mut id = [0; 8];
    for (i, half) in id.chunks_exact_mut(4).enumerate() {
        let word = embassy_nrf::pac::FICR.deviceid(i).read();
        half.copy_from_slice(&word.to_be_bytes());
    }
    let text = TEXT.init([0; 16]);
    match hex::encode_to_slice(id, text) {
        Ok(()) => core::str::from_utf8(text).unwrap_or("nrf52840"),
        Err(_) => "nrf52840",
    }
}

/// A command from the cloud, as part of the trace that it came in.
pub fn command(caller: SpanContext, payload: &[u8]) {
    let mut span: DeviceSpan = (TRACER.span("command").parent(&caller))
        .kind(SpanKind::Server)
        .start();
    span.set_attribute("messaging.message.body.size", payload.len() as i64);
}

/// Reads the part's own temperature every second, twice where the first looks wrong. `reading` is shown each one.
pub async fn sensor(
    temp: Peri<'static, peripherals::TEMP>,
    mut reading: impl FnMut(SpanContext, f32),
) -> ! {
    let mut sensor = temp::Temp::new(temp, Irqs);
    let mut ticker = Ticker::every(Duration::from_secs(1));
    loop {
        let mut span: DeviceSpan = TRACER.span("read sensor").root().start();
        span.set_static("sensor", "die temperature");
        let mut celsius = convert(&mut sensor, &span).await;
        if !(-20.0..60.0).contains(&celsius) {
            span.add_event("doubtful, converting again", &[]);
            celsius = convert(&mut sensor, &span).await;
        }
        span.set_attribute("celsius", f64::from(celsius));
        reading(span.context(), celsius);
        drop(span);
        ticker.next().await;
    }
}

async fn convert(sensor: &mut temp::Temp<'_>, parent: &DeviceSpan) -> f32 {
    let _span: DeviceSpan = TRACER.span("convert").parent(parent).start();
    sensor.read().await.to_num()
}

/// How long records wait for company in a frame.
pub fn pause() -> embassy_time::Timer {
    embassy_time::Timer::after_millis(50)
}

/// What the transports tell time by.
pub const DELAY: Delay = Delay;
