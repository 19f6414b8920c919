//! Atomics and the critical section: the real ones, loom's (`--cfg loom`), or a single-core simulator
//! that runs a hook at every access (`--cfg step`), which is where a test raises an interrupt.

pub use backend::*;

/// Declares a function that is `const` wherever the atomics can be made at compile time (not in loom).
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident() -> $out:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$meta])*
        $vis const fn $name() -> $out $body
        #[cfg(loom)]
        $(#[$meta])*
        $vis fn $name() -> $out $body
    };
}
pub(super) use const_fn;

/// Keeps what one side writes off the cache lines of the other. Two lines, because x86 fetches pairs;
/// nothing on the small cores, which have no lines to share and no RAM to spare.
#[cfg_attr(target_pointer_width = "64", repr(align(128)))]
#[derive(Default)]
pub(super) struct Line<T>(pub(super) T);

#[cfg(not(any(loom, step)))]
mod backend {
    pub use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

    /// The system's one critical section. No field: only loom needs a place for a mutex.
    #[derive(Default)]
    pub struct Lock;
    impl Lock {
        /// The section, not entered.
        #[must_use]
        pub const fn new() -> Self {
            Lock
        }
        /// Runs `f` with interrupts (and other cores) held off.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce() -> R) -> R {
            critical_section::with(|_| f())
        }
    }

    /// A place between two plain stores, for the simulator.
    #[inline(always)]
    pub(crate) fn point() {}
}

#[cfg(loom)]
#[allow(missing_docs, reason = "as the real ones")]
mod backend {
    pub use loom::sync::atomic::Ordering;

    macro_rules! gated {
        ($name:ident, $int:ty) => {
            /// loom 0.7 remembers only the last access of an atomic, so a writer's own load before its
            /// store hides an earlier load by somebody else and their other order is never tried. The
            /// gate is read-modify-write, which depends on every earlier access; Relaxed, it orders
            /// nothing in the memory model.
            pub struct $name {
                gate: loom::sync::atomic::AtomicU32,
                value: loom::sync::atomic::$name,
            }
            impl $name {
                pub fn new(v: $int) -> Self {
                    let gate = loom::sync::atomic::AtomicU32::new(0);
                    let value = loom::sync::atomic::$name::new(v);
                    $name { gate, value }
                }
                fn pass(&self) {
                    self.gate.fetch_or(0, Ordering::Relaxed);
                }
                pub fn load(&self, order: Ordering) -> $int {
                    self.pass();
                    self.value.load(order)
                }
                pub fn store(&self, v: $int, order: Ordering) {
                    self.pass();
                    self.value.store(v, order);
                }
                pub fn fetch_add(&self, v: $int, order: Ordering) -> $int {
                    self.pass();
                    self.value.fetch_add(v, order)
                }
                pub fn compare_exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    self.pass();
                    self.value.compare_exchange(current, new, success, failure)
                }
            }
            impl Default for $name {
                fn default() -> Self {
                    Self::new(0)
                }
            }
        };
    }
    gated!(AtomicU32, u32);
    gated!(AtomicUsize, usize);

    impl AtomicU32 {
        /// Fails the model unless every earlier store happened before.
        #[allow(unsafe_code, reason = "loom checks it")]
        pub(crate) fn assert_ours(&self) {
            // SAFETY: loom panics if the access is not exclusive; that is the purpose.
            unsafe { self.value.unsync_load() };
        }
    }

    #[derive(Default)]
    pub struct Lock(loom::sync::Mutex<()>);
    impl Lock {
        pub fn new() -> Self {
            Self::default()
        }
        pub fn with<R>(&self, f: impl FnOnce() -> R) -> R {
            let _guard = self.0.lock();
            f()
        }
    }
}

#[cfg(step)]
#[allow(missing_docs, reason = "as the real ones")]
mod backend {
    //! Single core: `Lock` masks interrupts, so a pending one is taken when the section ends.
    pub use core::sync::atomic::Ordering;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    std::thread_local! {
        static MASKED: Cell<u32> = const { Cell::new(0) };
        static HOOK: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
        static STORED: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
    }
    /// `hook` runs after every store, in critical sections too, on this thread: where a reset may come.
    pub fn set_store_hook(hook: Option<Rc<dyn Fn()>>) {
        STORED.with(|h| *h.borrow_mut() = hook);
    }
    fn stored() {
        let hook = STORED.with(|h| h.borrow().clone());
        if let Some(hook) = hook {
            hook();
        }
    }
    /// `hook` runs at every boundary at which an interrupt can be taken, on this thread.
    pub fn set_hook(hook: Option<Rc<dyn Fn()>>) {
        HOOK.with(|h| *h.borrow_mut() = hook);
    }
    /// A boundary.
    pub fn point() {
        if MASKED.get() != 0 {
            return;
        }
        let hook = HOOK.with(|h| h.borrow().clone());
        if let Some(hook) = hook {
            hook();
        }
    }

    macro_rules! stepped {
        ($name:ident, $int:ty) => {
            #[repr(transparent)]
            #[derive(Default)]
            pub struct $name(core::sync::atomic::$name);
            impl $name {
                pub const fn new(v: $int) -> Self {
                    Self(core::sync::atomic::$name::new(v))
                }
                /// # Safety
                /// As the real one's.
                #[allow(unsafe_code, reason = "stands in for the real one")]
                pub unsafe fn from_ptr<'a>(p: *mut $int) -> &'a Self {
                    // SAFETY: repr(transparent) over the type that the caller's promise is about.
                    unsafe { &*p.cast::<Self>() }
                }
                pub fn load(&self, order: Ordering) -> $int {
                    point();
                    self.0.load(order)
                }
                pub fn store(&self, v: $int, order: Ordering) {
                    point();
                    self.0.store(v, order);
                    stored();
                }
                pub fn fetch_add(&self, v: $int, order: Ordering) -> $int {
                    point();
                    let old = self.0.fetch_add(v, order);
                    stored();
                    old
                }
                pub fn compare_exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    point();
                    let result = self.0.compare_exchange(current, new, success, failure);
                    stored();
                    result
                }
            }
        };
    }
    stepped!(AtomicU32, u32);
    stepped!(AtomicUsize, usize);

    #[derive(Default)]
    pub struct Lock;
    impl Lock {
        pub const fn new() -> Self {
            Lock
        }
        pub fn with<R>(&self, f: impl FnOnce() -> R) -> R {
            point();
            MASKED.set(MASKED.get() + 1);
            let r = f();
            MASKED.set(MASKED.get() - 1);
            point();
            r
        }
    }
}
