//! What all threads of the process share: settings, and the list of their rings.

use super::clock::HostClock;
use super::drain::Alarm;
use super::ledger::Ledger;
use super::rings::{RingSizes, Rings};
use super::running::{Plan, Running};
use super::thread::ThreadCounters;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};
use spanlet::{
    AlwaysOn, EndedUnsampled, ParentBased, Sampler, SamplingDecision, SamplingParameters,
    SamplingResult, SpanLimits, ThresholdUpdate,
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

static INSTALLED: AtomicPtr<Shared> = AtomicPtr::new(core::ptr::null_mut());
static THREAD_GONE: AtomicU64 = AtomicU64::new(0);

/// What a recording thread is told once.
pub(crate) struct Settings {
    pub(crate) clock: HostClock,
    pub(crate) limits: SpanLimits,
    pub(crate) sampler: ProcessSampler,
    /// Ticks from which on an unsampled span is kept; none without escalation.
    pub(crate) escalate_after: Option<u64>,
    /// From which each thread's ids follow; none for those of the operating system.
    pub(crate) id_seed: Option<u64>,
    pub(crate) ring_sizes: RingSizes,
}

impl Settings {
    pub(crate) fn escalate(&self, ended: &EndedUnsampled) -> bool {
        self.escalate_after
            .is_some_and(|after| ended.is_error || ended.duration_ticks >= after)
    }
}

/// Of one recording; never freed, for threads keep a reference.
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) rings: Rings,
    pub(crate) alarm: Alarm,
    /// In the child of a fork: what was started there.
    pub(crate) revived: OnceLock<Arc<Running>>,
    /// Nobody reads rings any more: threads that come now get none.
    closed: AtomicBool,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    counters: Vec<Arc<ThreadCounters>>,
    /// What threads that are gone had counted: started, sampled out, ended.
    gone: (u64, u64, u64),
    /// Seeds given out.
    seeds: u64,
}

/// The sampler of the process: the usual ones without a call.
pub(crate) enum ProcessSampler {
    /// Children follow their parent, roots are all kept.
    ParentBasedAlwaysOn,
    /// Whatever else.
    Any(Box<dyn Sampler + Send + Sync>),
}

impl ProcessSampler {
    #[inline(always)]
    pub(crate) fn sample(&self, parameters: &SamplingParameters<'_>) -> SamplingResult {
        match self {
            ProcessSampler::ParentBasedAlwaysOn => {
                if let (Some(parent), Some(_)) = (parameters.parent, parameters.trace_state)
                    && parent.is_remote()
                {
                    return with_trace_state(parameters);
                }
                let keep = parameters.parent.is_none_or(|parent| parent.is_sampled());
                SamplingResult::new(if keep {
                    SamplingDecision::RecordAndSample
                } else {
                    SamplingDecision::Drop
                })
            }
            // A copy of its own: what the call can see has to lie in memory, for all samplers.
            ProcessSampler::Any(sampler) => {
                let parent = parameters.parent.copied();
                let parameters = SamplingParameters {
                    parent: parent.as_ref(),
                    ..*parameters
                };
                let (kinds, threshold) = ask(&**sampler, &parameters);
                SamplingResult {
                    decision: match kinds & 3 {
                        0 => SamplingDecision::Drop,
                        1 => SamplingDecision::RecordOnly,
                        _ => SamplingDecision::RecordAndSample,
                    },
                    threshold: match kinds >> 2 {
                        0 => ThresholdUpdate::Keep,
                        1 => ThresholdUpdate::Set(threshold),
                        _ => ThresholdUpdate::Erase,
                    },
                }
            }
        }
    }
}

/// A `th` in the trace state has to be checked against the parent's flag.
#[cold]
fn with_trace_state(parameters: &SamplingParameters<'_>) -> SamplingResult {
    ParentBased::new(AlwaysOn).should_sample(parameters)
}

/// The answer in two words, which come back in registers: a [`SamplingResult`] would come back in memory, for
/// the sampler that is not asked too.
#[inline(never)]
fn ask(sampler: &dyn Sampler, parameters: &SamplingParameters<'_>) -> (u64, u64) {
    let result = sampler.should_sample(parameters);
    let decision = match result.decision {
        SamplingDecision::Drop => 0,
        SamplingDecision::RecordOnly => 1,
        SamplingDecision::RecordAndSample => 2,
    };
    match result.threshold {
        ThresholdUpdate::Keep => (decision, 0),
        ThresholdUpdate::Set(threshold) => (decision | 1 << 2, threshold),
        ThresholdUpdate::Erase => (decision | 2 << 2, 0),
    }
}

impl Shared {
    /// `seeds` of the threads' seeds are given out already.
    pub(crate) fn new(plan: Arc<Plan>, seeds: u64) -> Self {
        Shared {
            rings: Rings::new(plan.settings.ring_sizes),
            alarm: Alarm::default(),
            revived: OnceLock::new(),
            plan,
            closed: AtomicBool::new(false),
            threads: Mutex::new(Threads {
                seeds,
                ..Threads::default()
            }),
        }
    }
    /// Makes this the process's. `None` if there is one.
    pub(crate) fn install(self) -> Option<&'static Shared> {
        let shared = Box::into_raw(Box::new(self));
        // ORDERING: publishes what it points to; pairs with Acquire in `installed`.
        match INSTALLED.compare_exchange(
            core::ptr::null_mut(),
            shared,
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            // SAFETY: never freed once installed.
            Ok(_) => Some(unsafe { &*shared }),
            Err(_) => {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(shared) });
                None
            }
        }
    }
    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Counters for the thread that asks, and its seed where that is not the operating system's.
    pub(crate) fn register(&self) -> (Arc<ThreadCounters>, Option<[u8; 16]>) {
        let counters = Arc::<ThreadCounters>::default();
        let mut threads = self.threads();
        threads.counters.push(counters.clone());
        let seed = self.plan.settings.id_seed.map(|seed| {
            threads.seeds += 1;
            let mut bytes = [0; 16];
            let (low, high) = bytes.split_at_mut(8);
            low.copy_from_slice(&seed.to_le_bytes());
            high.copy_from_slice(&threads.seeds.to_le_bytes());
            bytes
        });
        (counters, seed)
    }
    /// The drain has ended.
    pub(crate) fn close(&self) {
        // ORDERING: a thread that misses it gets a ring that nobody reads, and that is all.
        self.closed.store(true, Ordering::Relaxed);
    }
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
    /// Adds up and forgets the counters of threads that are gone.
    pub(crate) fn forget_gone(&self) {
        self.threads().forget_gone();
    }
    /// Starts, drops by sampling and ends on all threads.
    pub(crate) fn counts(&self, ledger: &mut Ledger) -> u64 {
        let mut threads = self.threads();
        threads.forget_gone();
        let (mut started, mut sampled_out, mut ended) = threads.gone;
        for counters in &threads.counters {
            let (a, b, c) = counters.read();
            started += a;
            sampled_out += b;
            ended += c;
        }
        ledger.started = started;
        ledger.sampled_out = sampled_out;
        // ORDERING: a count.
        ledger.thread_gone = THREAD_GONE.load(Ordering::Relaxed);
        ledger.open = started.saturating_sub(sampled_out + ended + ledger.thread_gone);
        ended
    }
}

impl Threads {
    fn forget_gone(&mut self) {
        let gone = &mut self.gone;
        self.counters.retain(|counters| {
            // Only we hold it: the thread is gone, and its counts are final.
            let is_gone = Arc::strong_count(counters) == 1;
            if is_gone {
                // ORDERING: takes its last counts over; pairs with Release in the drop of its `Arc`.
                fence(Ordering::Acquire);
                let (started, sampled_out, ended) = counters.read();
                gone.0 += started;
                gone.1 += sampled_out;
                gone.2 += ended;
            }
            !is_gone
        });
    }
}

pub(crate) fn installed() -> Option<&'static Shared> {
    // ORDERING: makes what it points to visible; pairs with Release in `install`.
    let shared = INSTALLED.load(Ordering::Acquire);
    // SAFETY: null, or installed and never freed.
    unsafe { shared.as_ref() }
}

/// In the child of a fork: what was the parent's. From here on nothing is installed.
pub(crate) fn uninstall() -> *mut Shared {
    // ORDERING: the child has one thread.
    THREAD_GONE.store(0, Ordering::Relaxed);
    INSTALLED.swap(core::ptr::null_mut(), Ordering::AcqRel)
}

#[cold]
pub(crate) fn count_thread_gone() {
    // ORDERING: a count.
    THREAD_GONE.fetch_add(1, Ordering::Relaxed);
}
