//! Read-modify-write of one word, from tasks, threads and interrupts: compare-and-swap where the target
//! has it, a critical section of a few instructions where it has none (thumbv6m, riscv32imc), and in tests that run as
//! such a target does (`--cfg no_cas`).

#[cfg(all(target_has_atomic = "32", not(no_cas)))]
mod backend {
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

    /// Replaces the word by what `step` makes of it, unless that is `None`. `Ok` and `Err` hold the old
    /// word. `step` may run again if somebody else was faster.
    #[inline]
    pub(crate) fn update(
        word: &AtomicU32,
        step: impl FnMut(u32) -> Option<u32>,
    ) -> Result<u32, u32> {
        // ORDERING: the word is all there is; nothing is published through it.
        word.fetch_update(Relaxed, Relaxed, step)
    }
    /// Adds one, wrapping; the old word.
    #[inline(always)]
    pub(crate) fn next(word: &AtomicU32) -> u32 {
        // ORDERING: as in `update`.
        word.fetch_add(1, Relaxed)
    }
}

#[cfg(any(not(target_has_atomic = "32"), no_cas))]
mod backend {
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

    #[inline]
    pub(crate) fn update(
        word: &AtomicU32,
        mut step: impl FnMut(u32) -> Option<u32>,
    ) -> Result<u32, u32> {
        loop {
            // ORDERING: the critical section orders; nothing is published through the word.
            let old = word.load(Relaxed);
            // `step` is done before interrupts go off: opaque, or it would be moved behind.
            let Some(new) = step(old).map(core::hint::black_box) else {
                return Err(old);
            };
            let is_ours = critical_section::with(|_| {
                let is_ours = word.load(Relaxed) == old;
                if is_ours {
                    word.store(new, Relaxed);
                }
                is_ours
            });
            if is_ours {
                return Ok(old);
            }
        }
    }
    #[inline]
    pub(crate) fn next(word: &AtomicU32) -> u32 {
        critical_section::with(|_| {
            // ORDERING: as in `update`.
            let old = word.load(Relaxed);
            word.store(old.wrapping_add(1), Relaxed);
            old
        })
    }
}

pub(crate) use backend::{next, update};
