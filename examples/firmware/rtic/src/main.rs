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
    use spanlet::frame::{Epoch, Identity, Link};
    use spanlet::{
        AlwaysOn, Clock, DeviceIds, InlineBuf, SpanContext, TickRate, Ticks, Tracer, Uplink, within,
    };

    // Milliseconds. Where a part has a timer to spare, RTIC's monotonic for it counts microseconds, without interrupts.
    systick_monotonic!(Mono, 1_000);
    const TICK_HZ: u64 = 1_000;

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
    /// Room for twelve entries: four attributes, and why it failed.
    type Span = spanlet::Span<&'static DeviceTracer, InlineBuf<24>>;

    static TRACER: DeviceTracer = Tracer::new(MonoClock, DeviceIds::unset(), AlwaysOn);

    static IDENTITY: Identity<128> = Identity::new("pump")
        .with_firmware_version(env!("CARGO_PKG_VERSION"))
        .with_build_id(env!("CARGO_PKG_VERSION").as_bytes());
    const _: () = assert!(IDENTITY.fits());

    /// A product counts its boots in flash.
    const BOOT: u32 = 1;

    #[shared]
    struct Shared {}

    #[local]
    struct Local {
        done: Done,
    }

    /// What was begun so far.
    #[derive(Clone, Copy, Default)]
    pub struct Done {
        samples: u32,
        evaluations: u32,
        stops: u32,
    }

    /// From here on the pump shakes too much.
    const TOO_MUCH: u32 = 66;

    #[init]
    fn init(context: init::Context) -> (Shared, Local) {
        TRACER.ids().set(0x0000_5eb5_0000_0003, BOOT);
        Mono::start(context.core.SYST, board::CORE_HZ);
        board::start_timer();
        (
            Shared {},
            Local {
                done: Done::default(),
            },
        )
    }

    /// The timer's interrupt, fifty times a second.
    #[task(binds = TIMER_0A, priority = 3, local = [done])]
    fn sample(context: sample::Context) {
        let mut span: Span = TRACER.span("sample").root().start();
        board::clear_timer();
        let Done {
            samples,
            evaluations,
            stops,
        } = *context.local.done;
        let vibration = 30 + samples * 7 % 41;
        span.set_attribute("sample", i64::from(samples))
            .set_attribute("vibration", i64::from(vibration))
            .set_attribute("evaluations", i64::from(evaluations))
            .set_attribute("stops", i64::from(stops));
        let is_evaluated = evaluate::spawn(span.context(), vibration).is_ok();
        if !is_evaluated {
            span.set_error("the evaluation before is not done");
        }
        *context.local.done = Done {
            samples: samples + 1,
            evaluations: evaluations + u32::from(is_evaluated),
            stops: stops + u32::from(is_evaluated && vibration >= TOO_MUCH),
        };
    }

    /// What the sample means: in its trace, in less of a hurry.
    #[task(priority = 1)]
    async fn evaluate(_: evaluate::Context, sampled: SpanContext, vibration: u32) {
        let mut span: Span = TRACER.span("evaluate").parent(&sampled).start();
        let context = span.context();
        within(&mut span, async {
            Mono::delay(2.millis()).await;
            // A task of a higher priority: it runs before this line is done.
            if vibration >= TOO_MUCH && stop_pump::spawn(context).is_err() {
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
        let hello = IDENTITY.hello("pump-0001", TRACER.clock().rate());
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
