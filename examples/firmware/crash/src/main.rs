//! A device that crashes in every way, and tells after each boot what it finds of the boot before.
//!
//! Input: none; what comes next is counted in retained memory. Output: lines for the debugger, frames on the
//! first UART. Bound: 4 KiB of retained memory.
//!
//! The last two parts use the watchdog's NMI, which no critical section holds off, to reset the board after
//! each single instruction of a span's end, and at a hundred instants anywhere, the recovery included.
#![no_std]
#![no_main]

mod board;
mod sweep;

use board::{Counter, Uart, print};
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Epoch, Link};
use spanlet::{
    AlwaysOn, Boot, BuildId, DeviceIds, FlightRecorder, FlightTracer, InlineBuf, RecordSource,
    Recovery, ResetReason, Retention, Span,
};

const RING: usize = 1024;
const OPEN: usize = 4;
type DeviceTracer = FlightTracer<Counter, DeviceIds, AlwaysOn, RING, OPEN>;
type DeviceSpan = Span<&'static DeviceTracer, InlineBuf<8>>;
type DeviceRecovery = Recovery<RING, OPEN>;

#[unsafe(link_section = ".retained.spans")]
static SPANS: FlightRecorder<RING, OPEN> = FlightRecorder::new();
static TRACER: DeviceTracer =
    FlightTracer::new(Counter::new(), DeviceIds::unset(), AlwaysOn, &SPANS);

/// What this program remembers over its resets. QEMU's memory is zero at first.
#[repr(C)]
struct Plan {
    step: AtomicU32,
    boots: AtomicU32,
    /// Watchdog ticks until the next reset.
    ticks: AtomicU32,
    /// Boots of the present part, and what they found: the span open, or ended.
    rounds: AtomicU32,
    closed: AtomicU32,
    ended: AtomicU32,
    /// What the boot of this epoch has read, and whether it was reading when it ended.
    read_epoch: AtomicU32,
    read: AtomicU32,
    is_reading: AtomicU32,
}
#[unsafe(link_section = ".retained.plan")]
static PLAN: Plan = Plan {
    step: AtomicU32::new(0),
    boots: AtomicU32::new(0),
    ticks: AtomicU32::new(0),
    rounds: AtomicU32::new(0),
    closed: AtomicU32::new(0),
    ended: AtomicU32::new(0),
    read_epoch: AtomicU32::new(0),
    read: AtomicU32::new(0),
    is_reading: AtomicU32::new(0),
};

const PANIC: u32 = 0;
const WATCHDOG: u32 = 1;
const FAULT: u32 = 2;
const UPDATE: u32 = 3;
const UPDATED: u32 = 4;
const ROLL_BACK: u32 = 5;
const ROLLED_BACK: u32 = 6;
const SWEEP: u32 = 7;
const RANDOM: u32 = 8;

/// Where the image of slot B begins.
const SLOT_B: u32 = 0x2_0000;

/// What a watchdog, a boot loader or an update would do here is done by the next step.
fn step(to: u32) {
    PLAN.step.store(to, Relaxed);
}

fn boot() -> DeviceRecovery {
    let boots = PLAN.boots.load(Relaxed) + 1;
    PLAN.boots.store(boots, Relaxed);
    TRACER.ids().set(0x0000_5eb5_0000_0002, boots);
    // SAFETY: cortex-m-rt's names for the begin and the end of read-only data.
    let texts = unsafe { spanlet::linker_section!(__srodata, __erodata) };
    TRACER
        .attach(&Boot {
            build: BuildId::of(texts),
            epoch: Epoch(boots.into()),
            // A product asks the register that says why it was reset; QEMU's boards have none.
            reason: match boots {
                1 => ResetReason::PowerOn,
                _ => ResetReason::Software,
            },
            texts,
        })
        .expect("attached once a boot")
}

/// Prints what the boot before has left, and sends it.
fn tell(recovery: &DeviceRecovery) {
    let retention = match recovery.retention {
        Retention::Nothing => "nothing",
        Retention::OtherBuild(_) => "spans of another build, refused",
        Retention::OtherLayout => "spans of another layout, refused",
        Retention::Corrupt => "corrupt spans, refused",
        Retention::Kept => "spans",
    };
    print(format_args!(
        "after {}: {retention}\n",
        recovery.reason.as_str()
    ));
    if let Some(crash) = &recovery.crash {
        if let Some((file, _)) = crash.location {
            print(format_args!(
                "  at {file}: {}\n",
                crash.message.unwrap_or("?")
            ));
        }
        if crash.fault.is_some() {
            print(format_args!("  at an address\n"));
        }
    }
    let mut scratch = [0; 192];
    let (Some(epoch), Some(mut records)) =
        (recovery.previous_epoch(), recovery.records(&mut scratch))
    else {
        return;
    };
    while let Some((sequence, record)) = records.peek() {
        print(format_args!("  {sequence} {}", record.name()));
        for kv in record.attributes() {
            print(format_args!(" {}={:?}", kv.key, kv.value));
        }
        if let Some(why) = record.status_description() {
            print(format_args!(" error: {why}"));
        }
        for event in record.events() {
            print(format_args!(" [{}", event.name()));
            for kv in event.attributes().filter(|kv| !is_of_this_build(kv.key)) {
                print(format_args!(" {}={:?}", kv.key, kv.value));
            }
            print(format_args!("]"));
        }
        print(format_args!(
            "{}\n",
            if record.is_duration_unknown() {
                ", of unknown length"
            } else {
                ""
            }
        ));
        records.advance();
    }
    let counters = records.counters();
    print(format_args!(
        "  {} started: {} recorded, {} overwritten, {} lost at reset\n",
        counters.started, counters.recorded, counters.overwritten, counters.lost_at_reset
    ));
    records.rewind();
    let clock = records.clock();
    let mut drain: Drain<512, 0> = Drain::new(epoch, Link::stream(), Delivery::OneWay);
    let sent = drain.drain(&mut records, &mut Uart::new(), &clock, u32::MAX);
    if sent.is_err() || counters.open() != 0 {
        fail("the drain");
    }
}

/// Another compiler gives another number.
fn is_of_this_build(key: &str) -> bool {
    matches!(key, "code.line.number" | "fault.pc")
}

fn fail(what: &str) -> ! {
    let (step, rounds) = (PLAN.step.load(Relaxed), PLAN.rounds.load(Relaxed));
    print(format_args!(
        "WRONG in step {step}, round {rounds}: {what}\n"
    ));
    board::exit(false)
}

/// Two readings, the second of which is still going on.
fn work() -> [DeviceSpan; 2] {
    let mission: DeviceSpan = TRACER.span("mission").start();
    for n in 0..2 {
        let mut reading: DeviceSpan = TRACER.span("read sensor").parent(&mission).start();
        reading.set_attribute("reading", n);
    }
    let reading: DeviceSpan = TRACER.span("convert").parent(&mission).start();
    [reading, mission]
}

#[entry]
fn main() -> ! {
    // What the static was initialised with is not what it holds.
    let plan = black_box(&PLAN);
    let now = plan.step.load(Relaxed);
    let is_slot_b = cfg!(feature = "slot-b");
    if matches!(now, UPDATED | ROLL_BACK) && !is_slot_b {
        board::jump(SLOT_B);
    }
    if now == RANDOM {
        sweep::arm_anywhere();
    }
    let recovery = boot();
    match now {
        SWEEP => sweep::every_instruction(&recovery),
        RANDOM => sweep::anywhere(&recovery),
        _ => tell(&recovery),
    }
    let _open = black_box(work());
    match now {
        PANIC => {
            step(WATCHDOG);
            panic!("the sensor is on fire");
        }
        WATCHDOG => {
            step(FAULT);
            board::start_watchdog(25_000);
            loop {
                cortex_m::asm::nop();
            }
        }
        FAULT => {
            step(UPDATE);
            // SAFETY: there is no memory at this address, which is the point.
            black_box(unsafe { core::ptr::read_volatile(0xdead_beec as *const u32) });
            fail("no fault")
        }
        UPDATE => {
            step(UPDATED);
            SCB::sys_reset()
        }
        UPDATED => {
            step(ROLL_BACK);
            SCB::sys_reset()
        }
        ROLL_BACK => {
            step(ROLLED_BACK);
            SCB::sys_reset()
        }
        ROLLED_BACK => {
            step(SWEEP);
            SCB::sys_reset()
        }
        _ => fail("no such step"),
    }
}

/// The watchdog's first time-out. In the sweeps the board is reset at once, wherever it was; else the second
/// time-out does that.
#[exception]
unsafe fn NonMaskableInt() {
    if PLAN.step.load(Relaxed) >= SWEEP {
        SCB::sys_reset();
    }
    TRACER.resetting(ResetReason::Watchdog);
    loop {
        cortex_m::asm::nop();
    }
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    TRACER.faulted(frame.pc(), frame.lr());
    SCB::sys_reset()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    TRACER.panicked(info);
    if PLAN.step.load(Relaxed) != WATCHDOG {
        // Not the panic that was planned.
        print(format_args!("{info}\n"));
        board::exit(false);
    }
    SCB::sys_reset()
}
