//! The child of a fork: ids, rings, threads and connections of its own.
//!
//! Input: libc's word, in the child, that there was a fork. Output: a recording for the child, started by its first
//! span. Bound: until then nothing but a few stores, so that a child which only calls `exec` pays nothing.
//!
//! Only the thread that forked is left in the child. What the others held is as it was: locks that nobody will open,
//! a drain and senders that do not run, connections that belong to the parent. So the child leaves all of that
//! alone, for good, and begins anew with the same plan.

use super::running::Running;
use super::shared::Shared;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Once};

/// In a child that has not started a span yet: what was the parent's.
static PARENT: AtomicPtr<Shared> = AtomicPtr::new(core::ptr::null_mut());
/// Forks between the process that started the program and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" {
    // SPEC: POSIX.1-2024, pthread_atfork. Not in every target's part of the crate libc.
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> core::ffi::c_int;
}

/// Has forks noticed from now on.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = on_child(in_child) {
            eprintln!("spanlet: forks go unnoticed, children must not record spans: {error}");
        }
    });
}

/// Has `handler` called in each child of a fork, where it may call what signal handlers may.
pub(crate) fn on_child(handler: unsafe extern "C" fn()) -> std::io::Result<()> {
    // SAFETY: both handlers of this crate store to statics and to thread-locals without destructors, or set
    // a signal's action; they outlive the process.
    match unsafe { pthread_atfork(None, None, Some(handler)) } {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(error)),
    }
}

/// Runs in the child, where only calls are allowed that are allowed in signal handlers.
unsafe extern "C" fn in_child() {
    // ORDERING: the child has one thread.
    FORKS.store(count().wrapping_add(1), Ordering::Relaxed);
    super::thread::forget();
    let parent = super::shared::uninstall();
    // A child that forks before its first span: what was its parent's.
    if !parent.is_null() {
        PARENT.store(parent, Ordering::Release);
    }
}

/// Changes with a fork.
pub(crate) fn count() -> u32 {
    // ORDERING: changes while there is one thread.
    FORKS.load(Ordering::Relaxed)
}

/// Starts recording in the child of a fork, if this is one that has not: called where nothing is installed.
pub(crate) fn revive() -> Option<&'static Shared> {
    // ORDERING: who sees it and comes too late finds null below.
    if PARENT.load(Ordering::Relaxed).is_null() {
        return None;
    }
    super::suppress(revive_from_parent)
}

#[cold]
fn revive_from_parent() -> Option<&'static Shared> {
    // ORDERING: whoever takes it out is alone with it; pairs with Release in `in_child`.
    let parent = PARENT.swap(core::ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: null, or installed once in the parent, and never freed. Of it only what never changes is read.
    let parent = unsafe { parent.as_ref() }?;
    if parent.is_closed() {
        return None;
    }
    let exporters = parent.plan.exporters_again()?;
    // Ids that are repeatable must be others than the parent's.
    let seeds = u64::from(std::process::id()) << 32;
    let shared = Shared::new(parent.plan.clone(), seeds).install()?;
    match Running::start(shared, exporters) {
        Ok(running) => {
            let _ = shared.revived.set(Arc::new(running));
            Some(shared)
        }
        Err(_) => {
            // No thread could be started: nobody would read the rings.
            shared.close();
            None
        }
    }
}
