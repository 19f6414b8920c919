//! The drain thread: rings → OTLP → queue.
//!
//! Input: the rings of all threads. Output: encoded batches in the queue. Bound: one batch in the making.
//! It sleeps while nothing happens, and looks the more often the more there is.

use super::clock::WallClock;
use super::shared::{RingMemory, Shared, ThreadRing};
use crate::export::queue::{Encoded, Queue};
use crate::resource::Resource;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use spanlet::InstrumentationScope;
use spanlet::otlp::{self, OtlpEncoder, OtlpFull};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a batch: about 6,000 spans with four attributes.
const BATCH_BYTES: usize = 1 << 20;
/// How long the drain sleeps while spans keep coming, and when none do.
const BUSY: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_millis(50);
/// Spans read before their room is given back.
const RELEASE_EVERY: u32 = 32;

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
        self.changed.notify_all();
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
        self.changed.notify_all();
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
    fn pause(&self, sleep: Duration) -> (u64, bool) {
        let state = self.state();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, sleep, |s| s.flush_wanted == s.flush_done && !s.stop)
            .unwrap_or_else(PoisonError::into_inner);
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
            let mut sleep = BUSY;
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
                sleep = if got { BUSY } else { (sleep * 2).min(IDLE) };
                let (wanted, stop) = self.control.pause(sleep.min(left.unwrap_or(sleep)));
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
        self.rings.append(&mut self.shared.take_new());
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

    /// Frees the rings of threads that are gone, and adds up what rings refused.
    fn reap(&mut self) {
        let mut kept = Vec::with_capacity(self.rings.len());
        for mut ring in self.rings.drain(..) {
            // Asked first: what a thread's last spans were refused for is then counted too.
            let is_finished = ring.consumer.is_finished();
            ring.count_refused(&self.control);
            if is_finished {
                match RingMemory::free(ring) {
                    Ok(()) => continue,
                    Err(back) => kept.push(back),
                }
            } else {
                kept.push(ring);
            }
        }
        self.rings = kept;
    }
}

impl ThreadRing {
    fn count_refused(&mut self, control: &Control) {
        let (full, too_large) = (self.consumer.full(), self.consumer.too_large());
        let (new_full, new_large) = (
            full.wrapping_sub(self.full_seen),
            too_large.wrapping_sub(self.too_large_seen),
        );
        (self.full_seen, self.too_large_seen) = (full, too_large);
        // ORDERING: counts.
        control.ring_full.fetch_add(u64::from(new_full), Relaxed);
        control
            .ring_too_large
            .fetch_add(u64::from(new_large), Relaxed);
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
