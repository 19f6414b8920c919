//! What one chunk of a case took: nanoseconds, allocations, or instructions under callgrind.
//!
//! Input: `start` and `stop` around the operations. Output: sums. Only the calling thread's allocations and, under
//! callgrind, its instructions count.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

/// What a run is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Times and counts allocations.
    Time,
    /// Has callgrind collect between `start` and `stop`.
    Count,
}

/// Sums over the timed parts of a chunk.
pub(crate) struct Meter {
    mode: Mode,
    from: Instant,
    allocs_before: u64,
    /// Nanoseconds.
    pub(crate) ns: f64,
    /// Allocations of this thread.
    pub(crate) allocs: u64,
}

impl Meter {
    pub(crate) fn new(mode: Mode) -> Self {
        Meter {
            mode,
            from: Instant::now(),
            allocs_before: 0,
            ns: 0.0,
            allocs: 0,
        }
    }
    #[inline(never)]
    pub(crate) fn start(&mut self) {
        self.allocs_before = ALLOCS.get();
        match self.mode {
            Mode::Time => self.from = Instant::now(),
            Mode::Count => client_request(TOGGLE_COLLECT, 0),
        }
    }
    #[inline(never)]
    pub(crate) fn stop(&mut self) {
        match self.mode {
            Mode::Time => self.ns += self.from.elapsed().as_nanos() as f64,
            Mode::Count => client_request(TOGGLE_COLLECT, 0),
        }
        self.allocs += ALLOCS.get() - self.allocs_before;
    }
}

const TOOL: u64 = (b'C' as u64) << 24 | (b'T' as u64) << 16;
const ZERO_STATS: u64 = TOOL + 1;
const TOGGLE_COLLECT: u64 = TOOL + 2;
const DUMP_STATS_AT: u64 = TOOL + 3;

/// A request to callgrind; outside of valgrind it does nothing.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn client_request(code: u64, argument: u64) {
    let args: [u64; 6] = [code, argument, 0, 0, 0, 0];
    // SAFETY: rotations by 128 bits in all and an exchange with itself change nothing; valgrind, which knows the
    // sequence, reads the six words that rax points to and writes rdx.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") args.as_ptr(), inout("rdx") 0u64 => _, options(nostack)
        );
    }
}
#[cfg(not(target_arch = "x86_64"))]
fn client_request(_: u64, _: u64) {}

/// Forgets what callgrind has collected.
pub(crate) fn zero() {
    client_request(ZERO_STATS, 0);
}
/// Has callgrind write what it has collected, under this name.
pub(crate) fn dump(name: &str) {
    let name = std::ffi::CString::new(name).expect("case names have no NUL");
    client_request(DUMP_STATS_AT, name.as_ptr() as u64);
}

thread_local! {
    static ALLOCS: Cell<u64> = const { Cell::new(0) };
}

fn allocated() {
    // Const and without a destructor: there as long as the thread is.
    ALLOCS.set(ALLOCS.get() + 1);
}

/// The system's allocator, counted.
pub(crate) struct Counting;

// SAFETY: each call goes to `System` with the caller's own arguments; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocated();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        allocated();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The core that measures, and the core of everybody else.
pub(crate) const HERE: usize = 1;
/// See [`HERE`].
pub(crate) const ELSEWHERE: usize = 0;

/// Keeps this thread on a core.
pub(crate) fn pin(cpu: usize) {
    pin_task(0, cpu);
}

/// Keeps the threads of this process whose name begins with `name` on a core.
pub(crate) fn pin_named(name: &str, cpu: usize) {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return;
    };
    for task in tasks.flatten() {
        let named = std::fs::read_to_string(task.path().join("comm"))
            .is_ok_and(|comm| comm.starts_with(name));
        let id = task.file_name().to_str().and_then(|id| id.parse().ok());
        if let (true, Some(id)) = (named, id) {
            pin_task(id, cpu);
        }
    }
}

#[cfg(target_os = "linux")]
fn pin_task(id: libc::pid_t, cpu: usize) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: a zeroed set is an empty set, and the call reads it only.
    unsafe {
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        libc::CPU_SET(cpu.min(cpus - 1), &mut set);
        libc::sched_setaffinity(id, size_of::<libc::cpu_set_t>(), &set);
    }
}
#[cfg(not(target_os = "linux"))]
fn pin_task(_: i32, _: usize) {}
