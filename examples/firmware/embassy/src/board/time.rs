//! Embassy's time: the FPGA's free-running counter, with TIMER 0 as the alarm.
//!
//! Nothing is counted up by an interrupt: a machine that is late, as QEMU is on a busy host, would lose ticks.

use super::{CORE_HZ, Registers};
use core::cell::{Cell, RefCell};
use core::task::Waker;
use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

const TICKS_PER_US: u32 = CORE_HZ / 1_000_000;
const COUNTER: Registers = Registers(0x4002_8018);
const ALARM: Registers = Registers(0x4000_0000);
/// Far more often than the counter goes round, which is every 171 s.
const LONGEST_US: u64 = 60_000_000;

struct Time {
    /// Rounds so far, and the last reading.
    last: Mutex<Cell<(u32, u32)>>,
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static TIME: Time = Time {
    last: Mutex::new(Cell::new((0, 0))),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Time {
    fn now_with(&self, cs: CriticalSection<'_>) -> u64 {
        let count = COUNTER.read_register(0);
        let (mut rounds, last) = self.last.borrow(cs).get();
        if count < last {
            rounds += 1;
        }
        self.last.borrow(cs).set((rounds, count));
        (u64::from(rounds) << 32 | u64::from(count)) / u64::from(TICKS_PER_US)
    }
    /// `false` if `at` has passed already.
    fn set_alarm(&self, cs: CriticalSection<'_>, at: u64) -> bool {
        ALARM.write(0x00, 0);
        let now = self.now_with(cs);
        if at <= now {
            return false;
        }
        let ticks = (at - now).min(LONGEST_US) as u32 * TICKS_PER_US;
        ALARM.write(0x08, ticks);
        ALARM.write(0x04, ticks);
        ALARM.write(0x00, 0b1001);
        true
    }
    /// Wakes what is due, and sets the alarm for the next.
    fn dispatch(&self, cs: CriticalSection<'_>, queue: &mut Queue) {
        let mut at = queue.next_expiration(self.now_with(cs));
        while !self.set_alarm(cs, at) {
            at = queue.next_expiration(self.now_with(cs));
        }
    }
}

impl Driver for Time {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.now_with(cs))
    }
    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let mut queue = self.queue.borrow_ref_mut(cs);
            if queue.schedule_wake(at, waker) {
                self.dispatch(cs, &mut queue);
            }
        });
    }
}

/// Starts looking at the counter, so that no round is missed.
pub(super) fn init() {
    critical_section::with(|cs| TIME.set_alarm(cs, u64::MAX));
}

/// The alarm's interrupt.
pub(super) fn alarm() {
    critical_section::with(|cs| {
        ALARM.write(0x00, 0);
        ALARM.write(0x0c, 1);
        TIME.dispatch(cs, &mut TIME.queue.borrow_ref_mut(cs));
    });
}
