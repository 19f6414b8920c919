//! A pump that is listened to: a timer's interrupt samples, a task evaluates, an urgent task stops the pump.
//!
//! Input: vibrations (made up). Output: frames on the first UART, one way. Bound: a ring of 4 KiB; no heap. Tasks
//! preempt each other and record into one ring.
#![no_std]
#![no_main]

mod board;

use panic_semihosting as _;

#[rtic::app(device = lm3s6965, dispatchers = [SSI0, I2C0])]
mod app {
    use crate::board::{self, Uart};
    use rtic_monotonics::systick::prelude::*;
    use spanlet::drain::{Delivery, Drain};
    use spanlet::frame::{Epoch, Hello, Link, ResourceEncoder};
    use spanlet::{
        AlwaysOn, Clock, DeviceIds, InlineBuf, SpanContext, TickRate, Ticks, Tracer, Uplink, within,
    };

    // Where a part has a timer to spare, RTIC's monotonic for it is finer and costs fewer interrupts.
    systick_monotonic!(Mono, 10_000);
    const TICK_HZ: u64 = 10_000;

    /// RTIC's time for spans.
    pub struct MonoClock;
    impl Clock for MonoClock {
        fn now(&self) -> Ticks {
            Ticks(Mono::now().as_ticks())
        }
        fn rate(&self) -> TickRate {
            const { TickRate::hz(TICK_HZ).expect("not zero") }
        }
    }

    type DeviceTracer = Tracer<MonoClock, DeviceIds, AlwaysOn, 4096>;
    /// Room for eight entries: about six attributes.
    type Span = spanlet::Span<&'static DeviceTracer, InlineBuf<16>>;

    static TRACER: DeviceTracer = Tracer::new(MonoClock, DeviceIds::unset(), AlwaysOn);

    /// A product counts its boots in flash.
    const BOOT: u32 = 1;

    #[shared]
    struct Shared {}

    #[local]
    struct Local {
        samples: u32,
    }

    #[init]
    fn init(context: init::Context) -> (Shared, Local) {
        TRACER.ids().set(0x0000_5eb5_0000_0003, BOOT);
        Mono::start(context.core.SYST, board::CORE_HZ);
        board::start_timer();
        (Shared {}, Local { samples: 0 })
    }

    /// The timer's interrupt, fifty times a second.
    #[task(binds = TIMER_0A, priority = 3, local = [samples])]
    fn sample(context: sample::Context) {
        let mut span: Span = TRACER.span("sample").root().start();
        board::clear_timer();
        let vibration = 30 + *context.local.samples * 7 % 41;
        span.set_attribute("vibration", i64::from(vibration));
        *context.local.samples += 1;
        if evaluate::spawn(span.context(), vibration).is_err() {
            span.set_error("the evaluation before is not done");
        }
    }

    /// What the sample means: in its trace, in less of a hurry.
    #[task(priority = 1)]
    async fn evaluate(_: evaluate::Context, sampled: SpanContext, vibration: u32) {
        let mut span: Span = TRACER.span("evaluate").parent(&sampled).start();
        let context = span.context();
        within(&mut span, async {
            Mono::delay(2.millis()).await;
            // A task of a higher priority: it runs before this line is done.
            if vibration > 65 && stop_pump::spawn(context).is_err() {
                board::stop_pump();
            }
        })
        .await;
    }

    #[task(priority = 2)]
    async fn stop_pump(_: stop_pump::Context, cause: SpanContext) {
        let _span: Span = TRACER.span("stop pump").parent(&cause).start();
        board::stop_pump();
    }

    /// Whenever nothing else is to be done: sends what was recorded.
    #[idle]
    fn idle(_: idle::Context) -> ! {
        let mut resource: ResourceEncoder<64> = ResourceEncoder::new();
        assert!(resource.add("service.name", "pump"));
        let hello = Hello {
            device_id: "pump-0001",
            build_id: env!("CARGO_PKG_VERSION").as_bytes(),
            tick_hz: TICK_HZ,
            capabilities: 0,
            scope_name: env!("CARGO_PKG_NAME"),
            scope_version: env!("CARGO_PKG_VERSION"),
            scope_schema_url: "",
            resource: resource.attributes(),
        };
        let drain = Drain::new(Epoch(BOOT.into()), Link::stream(), Delivery::OneWay);
        let records = TRACER.records().expect("nobody else drains");
        let uplink: Result<Uplink<_, 512, 32>, _> = Uplink::new(drain, records, hello);
        let mut uplink = uplink
            .expect("the hello fits")
            .with_heartbeat_ticks(TICK_HZ / 2);
        let mut uart = Uart::new();
        loop {
            let Ok(_) = uplink.send(&mut uart, TRACER.clock(), 4);
            #[cfg(feature = "golden")]
            board::end_after(&TRACER.counters(), 30);
            cortex_m::asm::wfi();
        }
    }
}
