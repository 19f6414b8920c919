//! How writers of a [`Ring`](super::Ring) agree who is next: the only read-modify-write of a push.

use super::storage::settle;
use super::sync::{AtomicU32, AtomicUsize, Lock, Ordering::Relaxed};

/// A way to advance the head that several writers, interrupts among them, may use at once.
///
/// Sealed: [`NativeCas`] where the target has compare-and-swap, [`CriticalSection`] anywhere.
pub trait Reserve: sealed::Sealed {
    /// Sets `position` from `current` to `new`, or tells that it is not `current` any more.
    #[doc(hidden)]
    fn advance(lock: &Lock, position: &AtomicUsize, current: usize, new: usize) -> bool;
    /// Adds one, modulo 2^32.
    #[doc(hidden)]
    fn count(lock: &Lock, counter: &AtomicU32);
    /// Sets a flag from 0 to 1 with Acquire, or tells that it was set.
    #[doc(hidden)]
    fn take(lock: &Lock, flag: &AtomicU32) -> bool;
}

mod sealed {
    pub trait Sealed {}
}

/// The target's own compare-and-swap. Interrupts are never off; nothing else is needed to link.
#[cfg(target_has_atomic = "ptr")]
#[derive(Clone, Copy, Debug)]
pub struct NativeCas;

/// A `critical_section` of a load, a compare and a store. For targets without compare-and-swap (thumbv6m,
/// riscv32imc); needs the binary's `critical-section` provider, which where several cores record must keep all of them
/// out.
#[derive(Clone, Copy, Debug)]
pub struct CriticalSection;

/// [`NativeCas`] on this target.
#[cfg(all(target_has_atomic = "ptr", not(no_cas)))]
pub type DefaultReserve = NativeCas;
/// [`CriticalSection`] on this target, which has no compare-and-swap.
#[cfg(any(not(target_has_atomic = "ptr"), no_cas))]
pub type DefaultReserve = CriticalSection;

#[cfg(target_has_atomic = "ptr")]
impl sealed::Sealed for NativeCas {}

#[cfg(target_has_atomic = "ptr")]
impl Reserve for NativeCas {
    #[inline(always)]
    fn advance(_: &Lock, position: &AtomicUsize, current: usize, new: usize) -> bool {
        // ORDERING: none; what the reservation rests on comes from `tail` (see `Ring::reserve`).
        position
            .compare_exchange(current, new, Relaxed, Relaxed)
            .is_ok()
    }
    #[inline]
    fn count(_: &Lock, counter: &AtomicU32) {
        // ORDERING: a counter alone.
        counter.fetch_add(1, Relaxed);
    }
    #[inline]
    fn take(_: &Lock, flag: &AtomicU32) -> bool {
        use super::sync::Ordering::Acquire;
        // ORDERING: takes the last reader's state over; pairs with Release in `Reader::drop`.
        flag.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
    }
}

impl sealed::Sealed for CriticalSection {}

impl Reserve for CriticalSection {
    #[inline(always)]
    fn advance(lock: &Lock, position: &AtomicUsize, current: usize, new: usize) -> bool {
        let (current, new) = (settle(current), settle(new));
        lock.with(|| {
            // ORDERING: the section keeps other writers out; see `NativeCas::advance` for the rest.
            let ours = position.load(Relaxed) == current;
            if ours {
                position.store(new, Relaxed);
            }
            ours
        })
    }
    #[inline]
    fn count(lock: &Lock, counter: &AtomicU32) {
        // ORDERING: the section keeps other writers out.
        lock.with(|| counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed));
    }
    // Apart: a caller with few registers left would store some while interrupts are off.
    #[inline(never)]
    fn take(lock: &Lock, flag: &AtomicU32) -> bool {
        use super::sync::Ordering::Acquire;
        lock.with(|| {
            // ORDERING: takes the last reader's state over; pairs with Release in `Reader::drop`.
            let free = flag.load(Acquire) == 0;
            if free {
                flag.store(1, Relaxed);
            }
            free
        })
    }
}
