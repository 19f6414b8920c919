//! Two cores as two threads: which core runs, a clock that both see, and a critical section as the RP2040's: a spinlock
//! that its owner enters again.
//!
//! `--cfg no_cas` builds spanlet as it is on a Cortex-M0+, where the critical section does all that compare-and-swap does
//! elsewhere: the ring's reservation, the counters, the ids, the facade.

use core::cell::Cell;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::*};
use spanlet::{Clock, CoreId, TickRate, Ticks};

/// Not a core of the two: whoever looks at what they have done.
const OUTSIDE: u8 = 2;
thread_local!(static CORE: Cell<u8> = const { Cell::new(OUTSIDE) });

thread_local!(static RANDOM: Cell<u32> = const { Cell::new(1) });
/// Lets the other core go ahead, once in `n` times: so that the two meet wherever they can, however few processors
/// there are.
pub fn give_way(n: u32) {
    let x = RANDOM
        .get()
        .wrapping_mul(1_664_525)
        .wrapping_add(1_013_904_223);
    RANDOM.set(x);
    if (x >> 8).is_multiple_of(n) {
        std::thread::yield_now();
    }
}

/// Runs `core` as each of two cores, at once.
pub fn on_two_cores(core: impl Fn(u8) + Sync) {
    let start = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for id in 0..2 {
            let (core, start) = (&core, &start);
            scope.spawn(move || {
                CORE.set(id);
                RANDOM.set(id.into());
                start.wait();
                core(id);
            });
        }
    });
}

/// As `SIO.CPUID`.
pub struct Cpu;
impl CoreId for Cpu {
    fn core_id() -> usize {
        CORE.get().into()
    }
}

/// As the RP2040's timer: one for both cores.
pub struct SharedTimer(AtomicU64);
impl SharedTimer {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        SharedTimer(AtomicU64::new(0))
    }
}
impl Clock for SharedTimer {
    fn now(&self) -> Ticks {
        Ticks(self.0.fetch_add(1, Relaxed))
    }
    fn rate(&self) -> TickRate {
        TickRate::MICROSECONDS
    }
}

/// The core that is inside, plus one.
static OWNER: AtomicU8 = AtomicU8::new(0);
/// How often a core found the other one inside.
pub static COLLISIONS: AtomicU64 = AtomicU64::new(0);
const NESTED: u8 = 2;

struct Spinlock;
critical_section::set_impl!(Spinlock);
// SAFETY: one core at a time is inside: OWNER goes from 0 to a core by compare-and-swap, and back by that core. Acquire
// and Release order what it did inside for the next.
unsafe impl critical_section::Impl for Spinlock {
    unsafe fn acquire() -> u8 {
        let me = CORE.get() + 1;
        if OWNER.load(Relaxed) == me {
            return NESTED;
        }
        let mut has_waited = false;
        while OWNER
            .compare_exchange_weak(0, me, Acquire, Relaxed)
            .is_err()
        {
            if OWNER.load(Relaxed) != 0 && !core::mem::replace(&mut has_waited, true) {
                COLLISIONS.fetch_add(1, Relaxed);
            }
            // The other "core" may have been descheduled inside.
            std::thread::yield_now();
        }
        give_way(64);
        0
    }
    unsafe fn release(restore: u8) {
        if restore != NESTED {
            OWNER.store(0, Release);
        }
    }
}
