//! `embassy-executor`'s tasks: its `trace` hooks, turned into spans of slow polls.
//!
//! Executors nest: one in an interrupt preempts a poll of another. Each core therefore has a stack of them,
//! pushed and popped by nested interrupts only, and so without read-modify-write.

use crate::atomic;
use crate::clock::Ticks;
use crate::current::{Core0, CoreId, DetachedContext, PerCore};
use crate::recorder::Recorder;
use crate::span::{InlineBuf, Span, SpanBuilder};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst, compiler_fence};
use critical_section::Mutex;

/// Executors that may preempt each other on a core: the thread's, and three in interrupts.
const DEPTH: usize = 4;

/// A word of 64 bits that only one core uses, whose interrupts put back what they find.
struct Word(AtomicU32, AtomicU32);
impl Word {
    const fn new() -> Self {
        Word(AtomicU32::new(0), AtomicU32::new(0))
    }
    fn get(&self) -> u64 {
        // ORDERING: for one core.
        u64::from(self.0.load(Relaxed)) | u64::from(self.1.load(Relaxed)) << 32
    }
    #[expect(clippy::cast_possible_truncation, reason = "splits the word")]
    fn set(&self, word: u64) {
        // ORDERING: for one core.
        self.0.store(word as u32, Relaxed);
        self.1.store((word >> 32) as u32, Relaxed);
    }
}

/// An executor that is polling.
struct Level {
    executor: AtomicU32,
    /// The task that it polls; 0 between tasks.
    task: AtomicU32,
    since: Word,
    /// When the poll of the task began.
    task_since: Word,
    /// Ticks of that poll that went to executors above.
    preempted: Word,
    /// What was current when it began.
    context: [AtomicU32; 7],
}

/// The executors of a core.
struct Levels {
    depth: AtomicU32,
    levels: [Level; DEPTH],
}

const _: () = assert!(size_of::<Levels>() == 244, "as TaskTrace says");

impl Levels {
    const fn new() -> Self {
        Levels {
            depth: AtomicU32::new(0),
            levels: [const {
                Level {
                    executor: AtomicU32::new(0),
                    task: AtomicU32::new(0),
                    since: Word::new(),
                    task_since: Word::new(),
                    preempted: Word::new(),
                    context: [const { AtomicU32::new(0) }; 7],
                }
            }; DEPTH],
        }
    }
    fn at(&self, depth: u32) -> Option<&Level> {
        self.levels.get(depth as usize)
    }
    /// The executor that polls now.
    fn top(&self) -> Option<&Level> {
        self.at(self.depth.load(Relaxed).wrapping_sub(1))
    }
}

struct Name {
    task: Cell<u32>,
    text: Cell<&'static str>,
}

/// Watches the tasks of `embassy-executor` (0.8 to 0.10, feature `trace`): a span `task poll` for each poll that
/// takes long, since no other task of that executor runs meanwhile.
///
/// [`embassy_trace!`](crate::embassy_trace) defines the hooks that the executor calls. Time that executors in
/// interrupts took from a poll does not count against it. The span is the root of a trace of its own: the task's
/// spans belong to what the task works on, its polls to nobody's request. It goes through the recorder's sampler.
///
/// Hooked, an executor's tasks also start with no current context: a task of an executor in an interrupt does
/// not take the span of the task that it preempted for its parent.
///
/// `NAMES` tasks can have names, `K` tells `CORES` cores apart as for a [`Tracer`](crate::Tracer); per core it takes
/// 244 bytes. A poll that is not slow costs two clock reads and some 20 loads and stores, a run of an executor two more
/// and some 60.
///
/// ```
/// use spanlet::testing::ManualClock;
/// use spanlet::{AlwaysOn, DeviceIds, Tracer, boundary::TaskTrace};
///
/// type DeviceTracer = Tracer<ManualClock, DeviceIds, AlwaysOn, 1024>;
/// static TRACER: DeviceTracer = Tracer::new(ManualClock::new(), DeviceIds::unset(), AlwaysOn);
/// // Polls of 2 ms, at a tick of 1 µs.
/// static TASKS: TaskTrace<&DeviceTracer> = TaskTrace::new(&TRACER, 2_000);
/// spanlet::embassy_trace!(TASKS);
///
/// // Where a task is spawned: let token = sensor()?; let id = token.id(); spawner.spawn(token);
/// # let id = 7;
/// TASKS.name(id, "sensor")?;
/// # Ok::<(), spanlet::boundary::TaskNamesFullError>(())
/// ```
pub struct TaskTrace<R, const NAMES: usize = 8, K = Core0, const CORES: usize = 1> {
    recorder: R,
    slow_ticks: u64,
    cores: PerCore<Levels, K, CORES>,
    too_deep: AtomicU32,
    names: Mutex<[Name; NAMES]>,
}

/// [`TaskTrace::name`] has no room for another task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TaskNamesFullError;

impl core::fmt::Display for TaskNamesFullError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no room for another task's name: raise NAMES of the TaskTrace")
    }
}
impl core::error::Error for TaskNamesFullError {}

impl<R, const NAMES: usize, K, const CORES: usize> TaskTrace<R, NAMES, K, CORES> {
    /// Records polls of `slow_ticks` of the recorder's clock or more; 0 records every one.
    pub const fn new(recorder: R, slow_ticks: u64) -> Self {
        TaskTrace {
            recorder,
            slow_ticks,
            cores: PerCore::new([const { Levels::new() }; CORES]),
            too_deep: AtomicU32::new(0),
            names: Mutex::new(
                [const {
                    Name {
                        task: Cell::new(0),
                        text: Cell::new(""),
                    }
                }; NAMES],
            ),
        }
    }
    /// Names a task, by the id of its spawn token; its spans carry it as `task.name`. A task that is spawned
    /// again from the same storage keeps its id.
    ///
    /// # Errors
    /// If `NAMES` other tasks have names.
    pub fn name(&self, task: u32, name: &'static str) -> Result<(), TaskNamesFullError> {
        critical_section::with(|section| {
            let names = self.names.borrow(section);
            let of = |id: u32| names.iter().find(|n| n.task.get() == id);
            let entry = of(task).or_else(|| of(0)).ok_or(TaskNamesFullError)?;
            entry.task.set(task);
            entry.text.set(name);
            Ok(())
        })
    }
    fn name_of(&self, task: u32) -> Option<&'static str> {
        critical_section::with(|section| {
            let mut names = self.names.borrow(section).iter();
            names.find(|n| n.task.get() == task).map(|n| n.text.get())
        })
    }
    /// Executors that began to poll with four others under way on their core, modulo 2^32: their polls were not
    /// watched.
    pub fn too_deep(&self) -> u32 {
        self.too_deep.load(Relaxed)
    }
}

impl<R: Recorder, const NAMES: usize, K: CoreId, const CORES: usize> TaskTrace<R, NAMES, K, CORES> {
    /// The id of the task that this core polls, in an interrupt handler of the one that was interrupted.
    pub fn current_task(&self) -> Option<u32> {
        let task = self.cores.here()?.top()?.task.load(Relaxed);
        (task != 0).then_some(task)
    }

    /// An executor begins to poll; of the hook of that name.
    pub fn poll_start(&self, executor: u32) {
        let Some(core) = self.cores.here() else {
            return;
        };
        // ORDERING: for one core: an interrupt sees the level taken before anything is written to it, and
        // gives back the ones that it takes.
        let depth = core.depth.load(Relaxed);
        core.depth.store(depth.wrapping_add(1), Relaxed);
        compiler_fence(SeqCst);
        let Some(level) = core.at(depth) else {
            atomic::next(&self.too_deep);
            return;
        };
        level.executor.store(executor, Relaxed);
        level.task.store(0, Relaxed);
        level.since.set(self.recorder.now().0);
        let context = self.recorder.detach().to_words();
        for (to, from) in level.context.iter().zip(context) {
            to.store(from, Relaxed);
        }
    }
    /// An executor has polled all that was ready; of the hook of that name.
    pub fn executor_idle(&self, _executor: u32) {
        let Some(core) = self.cores.here() else {
            return;
        };
        let depth = core.depth.load(Relaxed);
        let Some(below) = depth.checked_sub(1) else {
            return;
        };
        if let Some(level) = core.at(below) {
            let mut words = [0; 7];
            for (to, from) in words.iter_mut().zip(&level.context) {
                *to = from.load(Relaxed);
            }
            self.recorder.attach(DetachedContext::from_words(words));
            if let Some(under) = below.checked_sub(1).and_then(|d| core.at(d)) {
                let took = self.recorder.now().0.wrapping_sub(level.since.get());
                under
                    .preempted
                    .set(under.preempted.get().wrapping_add(took));
            }
        }
        // ORDERING: as in `poll_start`: given back when all is read.
        compiler_fence(SeqCst);
        core.depth.store(below, Relaxed);
    }
    /// A poll of a task begins; of the hook of that name.
    pub fn task_exec_begin(&self, _executor: u32, task: u32) {
        let Some(level) = self.cores.here().and_then(Levels::top) else {
            return;
        };
        level.preempted.set(0);
        level.task_since.set(self.recorder.now().0);
        level.task.store(task, Relaxed);
    }
    /// A poll of a task is over; of the hook of that name.
    pub fn task_exec_end(&self, _executor: u32, task: u32) {
        let Some(level) = self.cores.here().and_then(Levels::top) else {
            return;
        };
        level.task.store(0, Relaxed);
        let (since, now) = (level.task_since.get(), self.recorder.now().0);
        let own = now
            .wrapping_sub(since)
            .saturating_sub(level.preempted.get());
        if own >= self.slow_ticks {
            self.slow(level.executor.load(Relaxed), task, since, now);
        }
    }
    #[cold]
    fn slow(&self, executor: u32, task: u32, since: u64, now: u64) {
        let mut span: Span<R, InlineBuf<12>> = SpanBuilder::new(self.recorder, "task poll")
            .root()
            .start_time(Ticks(since))
            .start();
        span.set_attribute("task.id", i64::from(task))
            .set_attribute("executor.id", i64::from(executor));
        if span.is_recording()
            && let Some(name) = self.name_of(task)
        {
            span.set_static("task.name", name);
        }
        span.end_at(Ticks(now));
    }
}

/// Defines the hooks that `embassy-executor` with feature `trace` calls, once in a binary: each goes to the
/// `static` [`TaskTrace`](crate::boundary::TaskTrace) that is named.
///
/// Expands to functions with `#[unsafe(no_mangle)]`, which a crate under `forbid(unsafe_code)` must put into another.
#[macro_export]
macro_rules! embassy_trace {
    ($tasks:path) => {
        const _: () = {
            #[unsafe(no_mangle)]
            extern "Rust" fn _embassy_trace_poll_start(executor: u32) {
                $tasks.poll_start(executor);
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn _embassy_trace_executor_idle(executor: u32) {
                $tasks.executor_idle(executor);
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn _embassy_trace_task_exec_begin(executor: u32, task: u32) {
                $tasks.task_exec_begin(executor, task);
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn _embassy_trace_task_exec_end(executor: u32, task: u32) {
                $tasks.task_exec_end(executor, task);
            }
            // Nothing is made of these.
            #[unsafe(no_mangle)]
            extern "Rust" fn _embassy_trace_task_new(_executor: u32, _task: u32) {}
            #[unsafe(no_mangle)]
            extern "Rust" fn _embassy_trace_task_end(_executor: u32, _task: u32) {}
            #[unsafe(no_mangle)]
            extern "Rust" fn _embassy_trace_task_ready_begin(_executor: u32, _task: u32) {}
        };
    };
}
