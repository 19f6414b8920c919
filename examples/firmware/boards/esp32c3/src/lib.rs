//! What the programs share: the tracer, who the device is, and a sensor that is read every second.
//!
//! Ids and the epoch come from the true random number generator, which needs the ADC's noise while the radio is
//! off. The part has no compare-and-swap: a record's place is reserved with interrupts off, for about 20 instructions.
#![no_std]

use embassy_time::{Duration, Ticker, Timer};
use esp_hal::efuse;
use esp_hal::peripherals::{ADC1, RNG, TSENS};
use esp_hal::rng::{Trng, TrngSource};
use esp_hal::tsens::{Config, TemperatureSensor};
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

/// Seeds the ids and says who the device is. `None`: the random number generator is broken, or it was called before.
pub fn uplink(
    rng: RNG<'static>,
    adc: ADC1<'static>,
) -> Option<DeviceUplink<impl RecordSource + use<>>> {
    let (mut seed, mut epoch) = ([0; 16], [0; 8]);
    let source = TrngSource::new(rng, adc);
    let trng = Trng::try_new().ok()?;
    trng.read(&mut seed);
    trng.read(&mut epoch[..4]);
    drop(trng);
    drop(source);
    if !TRACER.ids().seed(seed) {
        return None;
    }

    static RESOURCE: StaticCell<ResourceEncoder<64>> = StaticCell::new();
    static TEXT: StaticCell<[u8; 12]> = StaticCell::new();
    let resource = RESOURCE.init(ResourceEncoder::new());
    if !resource.add("service.name", "esp32c3-sensor") {
        return None;
    }
    let text = TEXT.init([0; 12]);
    let is_text = hex::encode_to_slice(efuse::base_mac_address().as_bytes(), text).is_ok();
    let tick_hz = TRACER.clock().rate().as_hz();
    let hello = Hello {
        device_id: (core::str::from_utf8(text).ok())
            .filter(|_| is_text)
            .unwrap_or("esp32c3"),
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
    let drain = Drain::new(Epoch(u64::from_le_bytes(epoch)), Link::stream(), delivery);
    Uplink::new(drain, TRACER.records()?, hello).ok()
}

/// A command from the cloud, as part of the trace that it came in.
pub fn command(caller: SpanContext, payload: &[u8]) {
    let mut span: DeviceSpan = (TRACER.span("command").parent(&caller))
        .kind(SpanKind::Server)
        .start();
    span.set_attribute("messaging.message.body.size", payload.len() as i64);
}

/// Reads the part's own temperature every second.
pub async fn sensor(temperature: TSENS<'static>) -> ! {
    let sensor = TemperatureSensor::new(temperature, Config::default());
    let mut ticker = Ticker::every(Duration::from_secs(1));
    loop {
        let mut span: DeviceSpan = TRACER.span("read sensor").root().start();
        span.set_static("sensor", "die temperature");
        match &sensor {
            Ok(sensor) => {
                {
                    let _span: DeviceSpan = TRACER.span("settle").parent(&span).start();
                    Timer::after_micros(200).await;
                }
                let celsius = sensor.get_temperature().to_celsius();
                span.set_attribute("celsius", f64::from(celsius));
            }
            Err(_) => {
                span.set_error("no sensor");
            }
        }
        drop(span);
        ticker.next().await;
    }
}

/// How long records wait for company in a frame.
pub fn pause() -> Timer {
    Timer::after_millis(50)
}
