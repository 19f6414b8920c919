//! A fan that follows a temperature: traced across tasks, interrupts, the cloud and back.
//!
//! Input: a sensor (made up), commands of the cloud. Output: spans and answers on the first UART, the log on the
//! second, requests to the cloud on the third. Bound: a ring of 4 KiB; no heap.
#![no_std]
#![no_main]

mod board;
mod logger;
mod modem;

#[cfg(feature = "golden")]
mod golden;

use board::{Adc, Uart};
use embassy_executor::Spawner;
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, channel::Channel};
use embassy_time::{Duration, TICK_HZ, Ticker, Timer, with_timeout};
use panic_semihosting as _;
use spanlet::clock::EmbassyClock;
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Epoch, Hello, Link, ResourceEncoder};
use spanlet::{
    AlwaysOn, DeviceIds, InlineBuf, LogIds, SpanContext, SpanKind, Tracer, Uplink, within,
};

type DeviceTracer = Tracer<EmbassyClock, DeviceIds, AlwaysOn, 4096>;
/// Room for eight entries: about six attributes.
type Span = spanlet::Span<&'static DeviceTracer, InlineBuf<16>>;

static TRACER: DeviceTracer = Tracer::new(EmbassyClock, DeviceIds::unset(), AlwaysOn);

/// What the cloud wants of the fan, and the span in which it wants it.
static COMMANDS: Channel<CriticalSectionRawMutex, (SpanContext, u8), 4> = Channel::new();

/// Reads the temperature fifty times a second, and reports every tenth reading to the cloud.
#[embassy_executor::task]
async fn sensor(mut adc: Adc) {
    let mut ticker = Ticker::every(Duration::from_millis(20));
    for n in 0u32.. {
        let mut span: Span = TRACER.span("read sensor").root().start();
        within(&mut span, async {
            // The interrupt at its end records a span too.
            let celsius_tenths = adc.convert().await;
            if n % 10 == 0 {
                report(celsius_tenths).await;
            }
        })
        .await;
        span.set_attribute("reading", i64::from(n));
        span.end();
        ticker.next().await;
    }
}

/// The device calls the cloud: the request carries the context of its span.
async fn report(celsius_tenths: u32) {
    let mut span: Span = TRACER.span("POST").kind(SpanKind::Client).start();
    span.set_static("http.request.method", "POST")
        .set_static("url.path", "/readings");
    let context = span.context();
    let request = modem::post(&context, "/readings", celsius_tenths);
    let answer = within(&mut span, with_timeout(Duration::from_millis(50), request)).await;
    match answer {
        Ok(status) => {
            span.set_attribute("http.response.status_code", i64::from(status));
        }
        Err(_) => {
            span.set_error("no answer in time");
            defmt::warn!("the cloud does not answer {}", LogIds::of(context));
        }
    }
}

/// The cloud calls the device: the fan's spans belong to the trace of whoever wants it to turn.
#[embassy_executor::task]
async fn actuator() {
    loop {
        let (caller, percent) = COMMANDS.receive().await;
        let mut span: Span = TRACER
            .span("set fan")
            .parent(&caller)
            .kind(SpanKind::Server)
            .start();
        span.set_attribute("fan.percent", i64::from(percent));
        within(&mut span, async {
            defmt::info!("fan to {} % {}", percent, LogIds::current(&TRACER));
            let _ramp: Span = TRACER.span("ramp up").start();
            Timer::after_millis(3).await;
        })
        .await;
    }
}

/// Hands a command to the actuator. The payload is one byte, the fan's per cent.
fn command(caller: SpanContext, payload: &[u8]) {
    let problem = match *payload {
        [percent @ 0..=100] => match COMMANDS.try_send((caller, percent)) {
            Ok(()) => return,
            Err(_) => "too many commands at once",
        },
        _ => "not a percentage",
    };
    let mut span: Span = TRACER.span("set fan").parent(&caller).start();
    span.set_error(problem);
}

/// Sends what was recorded, and takes what the gateway sends.
#[embassy_executor::task]
async fn uplink(uart: Uart, boot: u32) {
    let mut resource: ResourceEncoder<64> = ResourceEncoder::new();
    assert!(resource.add("service.name", "fan"));
    let hello = Hello {
        device_id: "fan-0001",
        build_id: env!("CARGO_PKG_VERSION").as_bytes(),
        tick_hz: TICK_HZ,
        capabilities: Hello::COMMANDS,
        scope_name: env!("CARGO_PKG_NAME"),
        scope_version: env!("CARGO_PKG_VERSION"),
        scope_schema_url: "",
        resource: resource.attributes(),
    };
    let delivery = Delivery::Acknowledged {
        resend_after_ticks: TICK_HZ / 4,
    };
    let drain = Drain::new(Epoch(boot.into()), Link::stream(), delivery);
    let records = TRACER.records().expect("nobody else drains");
    let uplink: Uplink<_, 512, 32> = Uplink::new(drain, records, hello).expect("the hello fits");
    let (reader, writer) = uart.split();
    let pause = || Timer::after_millis(20);
    uplink
        .run(reader, writer, TRACER.clock(), pause, command)
        .await
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let (adc, uart) = board::init();
    let boot = board::count_boots();
    TRACER.ids().set(0x0000_5eb5_0000_0002, boot);
    defmt::info!("boot {}", boot);
    spawner.spawn(uplink(uart, boot).expect("spawned once"));
    spawner.spawn(actuator().expect("spawned once"));
    spawner.spawn(sensor(adc).expect("spawned once"));
    #[cfg(feature = "golden")]
    golden::run().await;
}
