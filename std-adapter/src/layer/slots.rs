//! Where open spans are kept: a table that any thread finds a span in by its id, without a lock.
//!
//! Input: ids of the subscriber's, and what to keep for each. Output: that, to one thread at a time. Bound: a slot
//! for each span open at the same time, never given back before the table goes; finding one is a walk through
//! those that share a head, one or two of them up to a thousand open spans.
//!
//! Nobody waits for a turn: who finds a span in another thread's hands leaves the work with that thread
//! ([`Slot::hand_over`]), which does it before it lets go. Only who needs an answer waits ([`Slot::wait`]), and as
//! nothing of the user's runs during a turn but a sampler, that is for a few hundred instructions.
//!
//! Nothing here trusts the subscriber: ids that live twice, spans used while they close or after lead to a span that is
//! lost or to work that is dropped, not to two threads in one slot.

use core::cell::UnsafeCell;
use core::num::NonZeroU64;
use core::ops::{Deref, DerefMut};
use core::ptr::{null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::OnceLock;

/// Chains of slots: a power of two.
const HEADS: usize = 1024;

/// Work left for whoever has the turn.
pub(super) type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A place for a slot, taken once.
type Link<P, T> = OnceLock<Box<Slot<P, T>>>;

struct Waiting<T> {
    job: Job<T>,
    next: *mut Waiting<T>,
}

/// Nobody has the turn.
fn free<T>() -> *mut Waiting<T> {
    null_mut()
}
/// Somebody has the turn, and nothing is left for them. No node's address: nodes are aligned.
fn held<T>() -> *mut Waiting<T> {
    without_provenance_mut(1)
}
/// The slot is empty, or somebody fills it.
fn shut<T>() -> *mut Waiting<T> {
    without_provenance_mut(2)
}

/// A span's place. `P` is for all to see, `T` for whoever has the turn.
#[repr(align(64))]
pub(super) struct Slot<P, T> {
    /// Whose it is; 0 while it is empty.
    id: AtomicU64,
    /// [`free`], [`held`], [`shut`], or held with work left: a list, the latest first.
    ///
    /// INVARIANT: whoever moved it from free to held, or `id` from 0 to theirs while it is shut, is alone with `kept`
    /// until they move it on.
    turn: AtomicPtr<Waiting<T>>,
    pub(super) public: P,
    kept: UnsafeCell<T>,
    next: Link<P, T>,
}

// SAFETY: `kept` is touched only by whoever has the turn, one thread at a time (INVARIANT at `turn`), so it is sent
// between threads and never shared; jobs are `Send`.
unsafe impl<P: Sync, T: Send> Sync for Slot<P, T> {}
// SAFETY: the nodes that `turn` may point to are boxes of `Send` jobs, owned by the slot.
unsafe impl<P: Send, T: Send> Send for Slot<P, T> {}

/// The slots of a layer's open spans.
pub(super) struct Table<P, T> {
    heads: Box<[Link<P, T>]>,
}

impl<P: Default, T: Default> Table<P, T> {
    pub(super) fn new() -> Self {
        Table {
            heads: (0..HEADS).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The registry's ids have the place in their low bits, the thread's number from bit 38 on and a count of reuse
    /// above: the place and the thread choose, so that a place used again is a slot used again.
    #[inline(always)]
    fn head(&self, id: u64) -> Option<&Link<P, T>> {
        let thread = (id >> 38) & 0x1fff;
        #[expect(clippy::cast_possible_truncation, reason = "takes the low bits")]
        let at = id.wrapping_add(thread.wrapping_mul(97)) as usize;
        self.heads.get(at % HEADS)
    }

    /// The slot of a span, if it has one.
    #[inline]
    pub(super) fn find(&self, id: NonZeroU64) -> Option<&Slot<P, T>> {
        let mut slot = self.head(id.get())?.get()?;
        loop {
            // ORDERING: who asks has the id from whoever claimed the slot, and so sees it.
            if slot.id.load(Ordering::Relaxed) == id.get() {
                return Some(slot);
            }
            slot = slot.next.get()?;
        }
    }

    /// Takes an empty slot for `id`, a new one if need be, and fills it.
    #[inline]
    pub(super) fn claim(&self, id: NonZeroU64, fill: impl FnOnce(&P, &mut T)) {
        let Some(mut place) = self.head(id.get()) else {
            return;
        };
        while let Some(slot) = place.get() {
            // ORDERING: Acquire pairs with Release in `Turn::empty`: what was kept there is gone.
            if slot.id.load(Ordering::Relaxed) == 0
                && slot
                    .id
                    .compare_exchange(0, id.get(), Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                let filling = Filling(slot);
                // SAFETY: `id` was 0, so the slot was shut, and the compare-exchange made it ours alone.
                fill(&slot.public, unsafe { &mut *slot.kept.get() });
                core::mem::forget(filling);
                // ORDERING: publishes what was filled in; pairs with Acquire in `turn`.
                slot.turn.store(free(), Ordering::Release);
                return;
            }
            place = &slot.next;
        }
        append(place, id, fill);
    }
}

/// A new slot at the end of a chain.
#[cold]
#[inline(never)]
fn append<P: Default, T: Default>(
    mut place: &Link<P, T>,
    id: NonZeroU64,
    fill: impl FnOnce(&P, &mut T),
) {
    let mut slot = Box::new(Slot {
        id: AtomicU64::new(id.get()),
        turn: AtomicPtr::new(free()),
        public: P::default(),
        kept: UnsafeCell::new(T::default()),
        next: OnceLock::new(),
    });
    fill(&slot.public, slot.kept.get_mut());
    while let Err(back) = place.set(slot) {
        slot = back;
        if let Some(other) = place.get() {
            place = &other.next;
        }
    }
}

/// Empties a slot again if what was to fill it unwinds.
struct Filling<'s, P, T>(&'s Slot<P, T>);

impl<P, T> Drop for Filling<'_, P, T> {
    fn drop(&mut self) {
        // ORDERING: as in `Turn::empty`.
        self.0.id.store(0, Ordering::Release);
    }
}

impl<P, T> Slot<P, T> {
    /// The turn, if nobody has it and the slot is still that span's.
    #[inline]
    pub(super) fn turn(&self, id: NonZeroU64) -> Option<Turn<'_, P, T>> {
        // ORDERING: sees what the last turn left; pairs with Release in `Turn::drop` and `Table::claim`.
        self.turn
            .compare_exchange(free(), held(), Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let turn = Turn(self);
        // Fixed while the turn is ours: to empty the slot one needs it.
        (self.id.load(Ordering::Relaxed) == id.get()).then_some(turn)
    }

    /// The turn, after whoever has it. `None` if the slot is no longer that span's.
    pub(super) fn wait(&self, id: NonZeroU64) -> Option<Turn<'_, P, T>> {
        loop {
            if let Some(turn) = self.turn(id) {
                return Some(turn);
            }
            if self.id.load(Ordering::Relaxed) != id.get() {
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// Has `job` done: now, or by whoever has the turn before they let go. Dropped if the slot is shut.
    ///
    /// Allocates; for those that [`turn`](Self::turn) was refused to.
    #[cold]
    pub(super) fn hand_over(&self, id: NonZeroU64, job: Job<T>) {
        let node = Box::into_raw(Box::new(Waiting {
            job,
            next: null_mut(),
        }));
        loop {
            // ORDERING: which one it is; what a turn left is acquired in `turn`.
            let state = self.turn.load(Ordering::Relaxed);
            if state == shut() || self.id.load(Ordering::Relaxed) != id.get() {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(node) });
                return;
            }
            if state == free() {
                if let Some(mut turn) = self.turn(id) {
                    // SAFETY: as above.
                    let node = unsafe { Box::from_raw(node) };
                    (node.job)(&mut turn);
                    return;
                }
                continue;
            }
            let next = if state == held() { null_mut() } else { state };
            // SAFETY: ours until the exchange below gives it away.
            unsafe { (*node).next = next };
            // ORDERING: publishes the node; pairs with Acquire in `Turn::catch_up`.
            if self
                .turn
                .compare_exchange(state, node, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }
}

/// What is kept in a slot, for as long as nobody else gets at it.
pub(super) struct Turn<'s, P, T>(&'s Slot<P, T>);

impl<P, T> Turn<'_, P, T> {
    /// Does what was left meanwhile, in the order in which it came.
    #[cold]
    fn catch_up(&mut self) {
        // ORDERING: Acquire sees the nodes, Release hands on what the turn did to those that look at the list's place.
        let mut list = self.0.turn.swap(held(), Ordering::AcqRel);
        let mut in_order = null_mut();
        while list != free() && list != held() && list != shut() {
            // SAFETY: a node that `hand_over` gave away; the swap made the list ours.
            let next = core::mem::replace(unsafe { &mut (*list).next }, in_order);
            in_order = list;
            list = next;
        }
        while !in_order.is_null() {
            // SAFETY: as above; each node is taken once.
            let node = unsafe { Box::from_raw(in_order) };
            in_order = node.next;
            (node.job)(self);
        }
    }

    /// Does what was left, has `last` make the slot as good as new, and gives it up.
    #[inline]
    pub(super) fn empty(mut self, last: impl FnOnce(&P, &mut T)) {
        // ORDERING: as in `drop`.
        if self.0.turn.load(Ordering::Relaxed) != held() {
            self.catch_up();
        }
        last(&self.0.public, &mut self);
        while self
            .0
            .turn
            .compare_exchange(held(), shut(), Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            // Too late for a span that has ended; by the jobs' own checks they do nothing to it.
            self.catch_up();
        }
        // ORDERING: gives up `kept`; pairs with Acquire in `Table::claim`.
        self.0.id.store(0, Ordering::Release);
        core::mem::forget(self);
    }
}

impl<P, T> Deref for Turn<'_, P, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the turn is ours (INVARIANT at `Slot::turn`), and `&self` keeps others of this thread from writing.
        unsafe { &*self.0.kept.get() }
    }
}
impl<P, T> DerefMut for Turn<'_, P, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the turn is ours, and `&mut self` keeps others of this thread away.
        unsafe { &mut *self.0.kept.get() }
    }
}

impl<P, T> Drop for Turn<'_, P, T> {
    #[inline]
    fn drop(&mut self) {
        // ORDERING: hands on what the turn did; pairs with Acquire in `turn`.
        while self
            .0
            .turn
            .compare_exchange(held(), free(), Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            self.catch_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;
    use std::sync::Arc;

    fn id(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).unwrap()
    }
    type Texts = Table<AtomicUsize, Vec<u64>>;

    #[test]
    fn a_slot_is_found_until_it_is_emptied_and_then_used_again() {
        let table = Texts::new();
        for n in 1..=5000 {
            table.claim(id(n), |public, kept| {
                public.store(n as usize, Ordering::Relaxed);
                kept.push(n);
            });
        }
        let place: *const _ = table.find(id(7)).unwrap();
        for n in 1..=5000 {
            let slot = table.find(id(n)).unwrap();
            assert_eq!(slot.public.load(Ordering::Relaxed), n as usize);
            let turn = slot.turn(id(n)).unwrap();
            assert_eq!(*turn, [n]);
            turn.empty(|_, kept| kept.clear());
            assert!(table.find(id(n)).is_none());
        }
        // The same place in the registry, used again.
        let again = 7 | 1 << 51;
        table.claim(id(again), |_, kept| assert!(kept.is_empty()));
        assert_eq!(table.find(id(again)).unwrap() as *const _, place);
    }

    #[test]
    fn work_is_left_with_whoever_has_the_turn_and_done_in_order() {
        let table = Texts::new();
        table.claim(id(1), |_, _| ());
        let slot = table.find(id(1)).unwrap();
        let mut turn = slot.turn(id(1)).unwrap();
        assert!(slot.turn(id(1)).is_none());
        slot.hand_over(id(1), Box::new(|kept| kept.push(2)));
        slot.hand_over(id(1), Box::new(|kept| kept.push(3)));
        turn.push(1);
        drop(turn);
        assert_eq!(*slot.turn(id(1)).unwrap(), [1, 2, 3]);
        // Nobody is there: done at once.
        slot.hand_over(id(1), Box::new(|kept| kept.push(4)));
        let turn = slot.turn(id(1)).unwrap();
        slot.hand_over(id(1), Box::new(|kept| kept.push(5)));
        turn.empty(|_, kept| assert_eq!(*kept, [1, 2, 3, 4, 5]));
        // Nobody's any more.
        slot.hand_over(id(1), Box::new(|_| panic!("the slot is empty")));
        assert!(slot.turn(id(1)).is_none() && slot.wait(id(1)).is_none());
    }

    #[test]
    fn what_unwinds_leaves_the_slot_usable() {
        let table = Texts::new();
        table.claim(id(1), |_, _| ());
        let unwound = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            let _turn = table.find(id(1)).unwrap().turn(id(1)).unwrap();
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(unwound.is_err());
        let turn = table.find(id(1)).unwrap().turn(id(1)).unwrap();
        turn.empty(|_, _| ());
        let unwound = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            table.claim(id(1), |_, _| std::panic::resume_unwind(Box::new(())));
        }));
        assert!(unwound.is_err() && table.find(id(1)).is_none());
        table.claim(id(1), |_, _| ());
        assert!(table.find(id(1)).unwrap().turn(id(1)).is_some());
    }

    /// Threads that add to each other's slots, and empty and claim them all the while: nothing that was promised to
    /// be done is lost, and no two are in one slot.
    #[test]
    fn threads_that_share_slots_lose_nothing() {
        const ROUNDS: u64 = 300;
        const ADDED: usize = 50;
        let table = Arc::new(Table::<AtomicUsize, Vec<usize>>::new());
        for round in 0..ROUNDS {
            // All in one chain.
            let ids: Vec<_> = (1..=4)
                .map(|n| id(n * HEADS as u64 + (round << 51)))
                .collect();
            for &id in &ids {
                table.claim(id, |_, _| ());
            }
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let (table, ids) = (&table, &ids);
                    scope.spawn(move || {
                        for n in 0..ADDED {
                            for &id in ids {
                                let slot = table.find(id).unwrap();
                                match slot.turn(id) {
                                    Some(mut turn) => turn.push(thread * ADDED + n),
                                    None => slot.hand_over(
                                        id,
                                        Box::new(move |kept| kept.push(thread * ADDED + n)),
                                    ),
                                }
                            }
                        }
                    });
                }
            });
            for &id in &ids {
                let turn = table.find(id).unwrap().wait(id).unwrap();
                turn.empty(|_, kept| {
                    for thread in 0..3 {
                        // Each thread's in its order.
                        let own = kept.iter().filter(|&&n| n / ADDED == thread);
                        assert!(own.copied().eq(thread * ADDED..(thread + 1) * ADDED));
                    }
                    kept.clear();
                });
            }
        }
    }
}
