//! A sensor that is read three times, traced from thread mode and from an interrupt.
//!
//! Input: none; the readings are made up. Output: frames on the first UART, one line for the debugger. Bound:
//! a ring of 2 KiB and a frame of 512 bytes, no heap, no formatting.
#![no_std]
#![no_main]

mod board;

use board::{Counter, Uart};
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::SYST;
use cortex_m_rt::{entry, exception};
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Epoch, Hello, Link, ResourceEncoder};
use spanlet::{AlwaysOn, DeviceIds, InlineBuf, KeyValue, RecordSource, Span, Tracer, Uplink};

type DeviceTracer = Tracer<Counter, DeviceIds, AlwaysOn, 2048>;
/// Room for eight entries: about six attributes.
type DeviceSpan = Span<&'static DeviceTracer, InlineBuf<16>>;

static TRACER: DeviceTracer = Tracer::new(Counter::new(), DeviceIds::unset(), AlwaysOn);

const DEVICE_ID: u64 = 0x0000_5eb5_0000_0001;
/// A product counts its boots in flash.
const BOOT: u32 = 1;

/// What the converter gave, from the interrupt to the thread; `CONVERTING` until then.
static CONVERTED: AtomicU32 = AtomicU32::new(CONVERTING);
const CONVERTING: u32 = u32::MAX;

/// The end of a conversion. Its span is a child of whatever it interrupts.
#[exception]
fn SysTick() {
    let mut span: DeviceSpan = TRACER.span("conversion done").start();
    span.set_attribute("interrupt", 15);
    board::stop_timer();
    let celsius_tenths = 215 + TRACER.counters().started % 7;
    span.set_attribute("celsius_tenths", i64::from(celsius_tenths));
    CONVERTED.store(celsius_tenths, Ordering::Release);
}

/// Starts a conversion and waits for its interrupt.
fn convert(timer: &mut SYST) -> u32 {
    CONVERTED.store(CONVERTING, Ordering::Relaxed);
    let mut span: DeviceSpan = TRACER.span("convert").start();
    span.run(|_| {
        board::start_timer(timer);
        loop {
            match CONVERTED.load(Ordering::Acquire) {
                CONVERTING => cortex_m::asm::nop(),
                value => break value,
            }
        }
    })
}

/// Reads the sensor for the `n`th time: a trace of its own.
fn read_sensor(n: u32, timer: &mut SYST) {
    let mut span: DeviceSpan = TRACER.span("read sensor").root().start();
    span.set_attribute("reading", i64::from(n))
        .set_static("sensor", "made up");
    span.run(|span| {
        let first = convert(timer);
        if n == 1 {
            let why = [KeyValue::new("celsius_tenths", i64::from(first))];
            span.add_event("doubtful, converting again", &why);
            convert(timer);
        }
    });
    if n == 2 {
        span.set_error("sensor unplugged");
    }
}

#[entry]
fn main() -> ! {
    TRACER.ids().set(DEVICE_ID, BOOT);
    let mut resource: ResourceEncoder<64> = ResourceEncoder::new();
    let mut well = resource.add("service.name", "meter");
    let hello = Hello {
        device_id: "meter-0001",
        build_id: env!("CARGO_PKG_VERSION").as_bytes(),
        tick_hz: Counter::HZ,
        capabilities: 0,
        scope_name: env!("CARGO_PKG_NAME"),
        scope_version: env!("CARGO_PKG_VERSION"),
        scope_schema_url: "",
        resource: resource.attributes(),
    };
    let (Some(mut peripherals), Some(records)) = (cortex_m::Peripherals::take(), TRACER.records())
    else {
        board::exit(false)
    };
    let drain = Drain::new(Epoch(u64::from(BOOT)), Link::stream(), Delivery::OneWay);
    let Ok(mut uplink) = Uplink::<_, 512, 32>::new(drain, records, hello) else {
        board::exit(false)
    };
    let mut uart = Uart::new();
    for n in 0..3 {
        read_sensor(n, &mut peripherals.SYST);
        // Idle until the next reading: time to send.
        let Ok(_) = uplink.send(&mut uart, TRACER.clock(), u32::MAX);
    }
    // The last counters, for the host's ledger.
    uplink.heartbeat();
    let Ok(_) = uplink.send(&mut uart, TRACER.clock(), u32::MAX);
    let counters = uplink.records().counters();
    well &= counters.open() == 0 && counters.started == counters.recorded;
    board::print(if well {
        c"3 readings sent, no span lost\n"
    } else {
        c"spans were lost\n"
    });
    board::exit(well)
}

#[cfg(not(feature = "prove-no-panic"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    board::print(c"panicked\n");
    board::exit(false)
}

#[cfg(feature = "prove-no-panic")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn a_panic_is_left_in_the_program() -> !;
    }
    a_panic_is_left_in_the_program()
}
