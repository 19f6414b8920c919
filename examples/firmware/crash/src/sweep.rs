//! A reset after every instruction of a span's end, and anywhere.
//!
//! Under `-icount shift=8` an instruction takes 256 ns, 6.4 ticks of the watchdog. Six ticks more with each boot
//! are less than an instruction: none is left out.

use crate::{DeviceRecovery, DeviceSpan, PLAN, RANDOM, TRACER, board, fail, print, step};
use core::hint::black_box;
use core::sync::atomic::Ordering::Relaxed;
use cortex_m::peripheral::SCB;
use spanlet::frame::Epoch;
use spanlet::{RecordSource, Retention, Status, Value};

const LESS_THAN_AN_INSTRUCTION: u32 = 6;
const RANDOM_INSTANTS: u32 = 100;

/// What a boot of either part may leave, by name and number.
struct Found {
    closed: u32,
    ended: u32,
    lost: u32,
}

/// Checks the boot before: nothing torn, nothing invented, everything counted.
fn check(recovery: &DeviceRecovery) -> Found {
    if recovery.retention != Retention::Kept || !recovery.is_verified() {
        fail("the memory is damaged");
    }
    let mut scratch = [0; 192];
    let Some(mut records) = recovery.records(&mut scratch) else {
        fail("no records");
    };
    let mut found = Found {
        closed: 0,
        ended: 0,
        lost: 0,
    };
    let (mut come, mut last) = (0, None);
    while let Some((sequence, record)) = records.peek() {
        if last.is_some_and(|last| sequence <= last) {
            fail("out of order");
        }
        last = Some(sequence);
        let mut numbers = record
            .attributes()
            .filter_map(|kv| match (kv.key, kv.value) {
                ("first" | "second", Value::I64(n)) => Some(n),
                _ => None,
            });
        let numbers = [numbers.next(), numbers.next(), numbers.next()];
        match (record.name(), record.status_description()) {
            ("swept", None) => {
                if numbers != [Some(1), Some(2), None] || record.status() != Status::Unset {
                    fail("torn");
                }
                found.ended += 1;
            }
            ("swept", Some("reset")) => {
                if numbers != [None; 3] || record.status() != Status::Error {
                    fail("torn, and closed");
                }
                found.closed += 1;
            }
            ("mission", None | Some("reset")) | ("read sensor", None | Some("reset")) => {}
            _ => {
                print(format_args!("{record:?}\n"));
                fail("invented");
            }
        }
        if record.end() < record.start() {
            fail("ends before it starts");
        }
        come += 1;
        records.advance();
    }
    let counters = records.counters();
    let (mut read, mut slack) = (0, 0);
    if recovery.previous_epoch() == Some(Epoch(PLAN.read_epoch.load(Relaxed).into())) {
        read = PLAN.read.load(Relaxed);
        slack = PLAN.is_reading.load(Relaxed);
    }
    let sum = come + read + counters.overwritten + counters.lost_at_reset;
    if counters.open() != 0 || sum.abs_diff(counters.recorded) > slack {
        print(format_args!(
            "{come} came, {read} had been read: {counters:?}\n"
        ));
        fail("the ledger does not balance");
    }
    found.lost = counters.lost_at_reset;
    found
}

fn swept(parent: &DeviceSpan) {
    let mut span: DeviceSpan = TRACER.span("swept").parent(parent).start();
    span.set_attribute("first", black_box(1i64))
        .set_attribute("second", black_box(2i64));
    span.end();
}

/// One boot of the sweep over the end of one span.
pub fn every_instruction(recovery: &DeviceRecovery) -> ! {
    let rounds = PLAN.rounds.load(Relaxed);
    if rounds > 0 {
        let found = check(recovery);
        if found.lost != 0 || found.ended + found.closed != 1 {
            fail("the span is there twice, or not at all");
        }
        for (count, n) in [(&PLAN.ended, found.ended), (&PLAN.closed, found.closed)] {
            count.store(count.load(Relaxed) + n, Relaxed);
        }
    }
    PLAN.rounds.store(rounds + 1, Relaxed);
    let mission: DeviceSpan = TRACER.span("mission").start();
    drop::<DeviceSpan>(TRACER.span("read sensor").parent(&mission).start());
    let mut span: DeviceSpan = TRACER.span("swept").parent(&mission).start();
    span.set_attribute("first", black_box(1i64))
        .set_attribute("second", black_box(2i64));
    let ticks = PLAN.ticks.load(Relaxed) + LESS_THAN_AN_INSTRUCTION;
    PLAN.ticks.store(ticks, Relaxed);
    board::start_watchdog(ticks);
    span.end();
    // Came to its end: the sweep is over.
    board::stop_watchdog();
    let [closed, ended] = [&PLAN.closed, &PLAN.ended].map(|count| count.load(Relaxed));
    if closed == 0 || ended == 0 {
        fail("the sweep was blind");
    }
    print(format_args!(
        "reset after every instruction of a span's end: nothing torn, nothing invented, every ledger balanced\n"
    ));
    print(format_args!(
        "# {rounds} resets: {closed} times open, {ended} times ended\n"
    ));
    PLAN.rounds.store(0, Relaxed);
    PLAN.ticks.store(0x1234_5678, Relaxed);
    step(RANDOM);
    SCB::sys_reset()
}

/// Before a boot does anything: when it is to be reset.
pub fn arm_anywhere() {
    // xorshift; not zero.
    let mut seed = PLAN.ticks.load(Relaxed);
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    PLAN.ticks.store(seed, Relaxed);
    // Of a boot with its recovery and its check and some hundred spans.
    board::start_watchdog(1 + seed % 1_500_000);
}

/// One boot of those that are reset anywhere.
pub fn anywhere(recovery: &DeviceRecovery) -> ! {
    let rounds = PLAN.rounds.load(Relaxed);
    // The first boot of this part finds the sweep's last one.
    let found = check(recovery);
    if found.closed > 1 || found.lost > 1 {
        fail("more than was open");
    }
    if rounds == RANDOM_INSTANTS {
        board::stop_watchdog();
        print(format_args!(
            "reset at {RANDOM_INSTANTS} instants anywhere: nothing torn, nothing invented, every ledger balanced\n"
        ));
        board::exit(true);
    }
    PLAN.rounds.store(rounds + 1, Relaxed);
    PLAN.is_reading.store(0, Relaxed);
    PLAN.read.store(0, Relaxed);
    PLAN.read_epoch.store(PLAN.boots.load(Relaxed), Relaxed);
    let mut scratch = [0; 64];
    loop {
        let mission: DeviceSpan = TRACER.span("mission").start();
        drop::<DeviceSpan>(TRACER.span("read sensor").parent(&mission).start());
        for _ in 0..3 {
            swept(&mission);
        }
        drop(mission);
        let Some(mut records) = TRACER.records(&mut scratch) else {
            fail("somebody else reads");
        };
        PLAN.is_reading.store(1, Relaxed);
        if let Some((sequence, _)) = records.peek() {
            records.advance();
            records.release_before(sequence + 1);
            PLAN.read.store(PLAN.read.load(Relaxed) + 1, Relaxed);
        }
        PLAN.is_reading.store(0, Relaxed);
    }
}
