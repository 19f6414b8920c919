//! The drain thread: rings → OTLP → queue.
//!
//! Input: the rings of all threads. Output: encoded batches in the queue. Bound: one batch in the making.
//! It looks ten times a second, and at once when a ring fills up: then the thread that notices wakes it.

use super::clock::WallClock;
use super::rings::ThreadRing;
use super::shared::Shared;
use crate::export::queue::{Encoded, Queue};
use crate::resource::Resource;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Relaxed},
};
use spanlet::InstrumentationScope;
use spanlet::otlp::{self, OtlpEncoder, OtlpFull};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Bytes of a batch: about 6,000 spans with four attributes.
const BATCH_BYTES: usize = 1 << 20;
/// How long the drain sleeps unless it is woken. Rings that fill up wake it, and so this need not be short.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Spans read before their room is given back.
const RELEASE_EVERY: u32 = 32;

/// Wakes the drain. No lock; a system call only where the drain sleeps, and one for each time that it looks at the
/// rings, however many threads call.
#[derive(Default)]
pub(crate) struct Alarm {
    /// Somebody has woken the drain since it looked last.
    rung: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Alarm {
    fn ring(&self) {
        // ORDERING: of two wakers one is enough; what comes before it is seen by the drain, pairs with `sleep`.
        if self.rung.load(Relaxed) || self.rung.swap(true, AcqRel) {
            return;
        }
        // None: the drain is not there yet, and looks first.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
    /// Sleeps until somebody rings, or for this long.
    fn sleep(&self, longest: Duration) {
        let until = Instant::now() + longest;
        // ORDERING: what a waker did before it rang is seen when the rings are looked at next.
        while !self.rung.swap(false, AcqRel) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }
}

/// Has the drain look at the rings now.
#[cold]
pub(crate) fn wake() {
    if let Some(shared) = super::shared::installed() {
        shared.alarm.ring();
    }
}

/// What the drain shares with whoever flushes and shuts down.
#[derive(Default)]
pub(crate) struct Control {
    state: Mutex<ControlState>,
    changed: Condvar,
    /// Spans taken out of rings; of them, those that no request takes.
    pub(crate) taken: AtomicU64,
    pub(crate) batch_too_large: AtomicU64,
    /// What the rings refused.
    pub(crate) ring_full: AtomicU64,
    pub(crate) ring_too_large: AtomicU64,
    /// Spans in the batch that is being made.
    pub(crate) in_batch: AtomicU64,
}

#[derive(Default)]
struct ControlState {
    flush_wanted: u64,
    flush_done: u64,
    stop: bool,
    stopped: bool,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, ControlState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Has everything that is in the rings now encoded and queued. `false` if time ran out.
    pub(crate) fn flush(&self, until: Instant) -> bool {
        let mut state = self.state();
        state.flush_wanted += 1;
        let wanted = state.flush_wanted;
        wake();
        while state.flush_done < wanted && !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
    /// Has the drain take what there is and end. `false` if time ran out.
    pub(crate) fn stop(&self, until: Instant) -> bool {
        let mut state = self.state();
        state.stop = true;
        wake();
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
    /// Sleeps; returns at once when a flush or the end is asked for.
    fn pause(&self, alarm: &Alarm, longest: Duration) -> (u64, bool) {
        let is_asked = {
            let state = self.state();
            state.flush_wanted != state.flush_done || state.stop
        };
        if !is_asked {
            alarm.sleep(longest);
        }
        let state = self.state();
        (state.flush_wanted, state.stop)
    }
    fn flushed(&self, upto: u64, stopped: bool) {
        let mut state = self.state();
        state.flush_done = upto;
        state.stopped |= stopped;
        self.changed.notify_all();
    }
}

pub(crate) struct Drain {
    pub(crate) shared: &'static Shared,
    pub(crate) control: Arc<Control>,
    pub(crate) queues: Vec<Arc<Queue>>,
    pub(crate) clock: WallClock,
    pub(crate) resource: Resource,
    pub(crate) scope: InstrumentationScope<'static>,
    pub(crate) max_batch_spans: u32,
    pub(crate) schedule_delay: Duration,
    pub(crate) rings: Vec<ThreadRing>,
}

impl Drain {
    /// Runs until it is stopped.
    pub(crate) fn run(mut self) {
        super::suppress_this_thread();
        // There is one drain for each `Shared`.
        let _ = self.shared.alarm.thread.set(std::thread::current());
        let resource = core::mem::take(&mut self.resource);
        resource.with_otlp(|resource| self.run_for(resource));
    }

    fn run_for(mut self, resource: &otlp::Resource<'_>) {
        let mut buf = vec![0; BATCH_BYTES];
        let mut going = true;
        let mut from = 0;
        while going {
            // One batch a turn: until it is full, or its time has come, or somebody asks for it.
            let anchor = self.clock.anchor();
            let scope = self.scope;
            let Ok(mut batch) = OtlpEncoder::new(&mut buf, resource, &scope, anchor) else {
                // A resource of a megabyte: nothing can be sent. The rings fill up, and count it.
                self.shared.close();
                self.control.flushed(u64::MAX, true);
                return;
            };
            let mut since: Option<Instant> = None;
            let mut asked = None;
            let mut batch_is_full;
            loop {
                let before = batch.spans();
                batch_is_full = self.collect(&mut batch, &mut from);
                let got = batch.spans() != before;
                if got && since.is_none() {
                    since = Some(Instant::now());
                }
                // Asked before this look at the rings: what was recorded before is in.
                if batch_is_full || asked.is_some() {
                    break;
                }
                let due = since.map(|since| since + self.schedule_delay);
                let left = due.map(|due| due.saturating_duration_since(Instant::now()));
                if left.is_some_and(|left| left.is_zero()) {
                    break;
                }
                let longest = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
                let (wanted, stop) = self.control.pause(&self.shared.alarm, longest);
                let done = self.control.state().flush_done;
                if stop || wanted != done {
                    asked = Some((wanted, stop));
                }
            }
            let spans = u64::from(batch.spans());
            let full = spans >= u64::from(self.max_batch_spans) || batch_is_full;
            if spans > 0 {
                let body: Arc<[u8]> = batch.finish().into();
                for queue in &self.queues {
                    queue.push(Encoded {
                        body: body.clone(),
                        spans,
                        owner: None,
                    });
                }
            }
            // ORDERING: a count that a ledger reads.
            self.control.in_batch.store(0, Relaxed);
            // A full batch may have left spans in the rings: the next one answers.
            if let (Some((wanted, stop)), false) = (asked, full) {
                if stop {
                    self.shared.close();
                }
                self.control.flushed(wanted, stop);
                going = !stop;
            }
        }
    }

    /// Reads all rings once, into the batch. `true` when the batch is full.
    fn collect(&mut self, batch: &mut OtlpEncoder<'_>, from: &mut usize) -> bool {
        self.rings.append(&mut self.shared.rings.take_new());
        let mut full = false;
        let count = self.rings.len();
        // Begin where the last full batch stopped, so that a busy thread starves nobody.
        for step in 0..count {
            let i = (*from + step) % count;
            let ring = &mut self.rings[i];
            full = drain_ring(ring, batch, self.max_batch_spans, &self.control);
            if full {
                *from = i;
                break;
            }
        }
        self.reap();
        full
    }

    /// Takes back the rings and counts of threads that are gone, and adds up what rings refused.
    fn reap(&mut self) {
        let control = &self.control;
        let finished = self.rings.extract_if(.., |ring| {
            // Asked first: what a thread's last spans were refused for is then counted too.
            let is_finished = ring.consumer.is_finished();
            control.count_refused(ring.refused());
            is_finished
        });
        let (mut freed, mut back) = (false, Vec::new());
        for ring in finished {
            freed = true;
            back.extend(self.shared.rings.reclaim(ring).err());
        }
        self.rings.append(&mut back);
        if freed {
            self.shared.forget_gone();
        }
    }
}

impl Control {
    fn count_refused(&self, (full, too_large): (i32, i32)) {
        // ORDERING: counts. A larger ring takes one off again for the span that made it grow.
        self.ring_full
            .fetch_add(i64::from(full).cast_unsigned(), Relaxed);
        self.ring_too_large
            .fetch_add(i64::from(too_large).cast_unsigned(), Relaxed);
    }
}

/// Moves the spans of one ring into the batch. `true` when the batch is full.
fn drain_ring(
    ring: &mut ThreadRing,
    batch: &mut OtlpEncoder<'_>,
    max_spans: u32,
    control: &Control,
) -> bool {
    let mut unreleased = 0;
    let mut full = false;
    loop {
        if batch.spans() >= max_spans {
            full = true;
            break;
        }
        let Some(span) = ring.consumer.read() else {
            break;
        };
        match batch.push(&span.view()) {
            Ok(()) => {
                control.in_batch.fetch_add(1, Relaxed);
            }
            Err(OtlpFull::Batch) => {
                ring.consumer.unread();
                full = true;
                break;
            }
            Err(_) => {
                control.batch_too_large.fetch_add(1, Relaxed);
            }
        }
        control.taken.fetch_add(1, Relaxed);
        unreleased += 1;
        if unreleased == RELEASE_EVERY {
            ring.consumer.release();
            unreleased = 0;
        }
    }
    ring.consumer.release();
    full
}
