//! A future in a thread without a runtime, against a deadline and a stop.

use super::super::retry::lock;
use core::fmt;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Wake;
use std::time::Instant;

/// How long a stop waits for a call to return after it has cut it.
const CUT_GRACE: Duration = Duration::from_millis(250);

/// What is called with each poll.
pub(super) struct Around(pub(super) Box<Wrap>);
type Wrap = dyn Fn(&mut dyn FnMut()) + Send + Sync;

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Around")
    }
}

/// Runs one future at a time.
#[derive(Debug, Default)]
pub(super) struct Drive {
    pub(super) around: Option<Around>,
    signal: Arc<Signal>,
}

/// How a run ended.
pub(super) enum Ended<T> {
    Done(T),
    TimedOut,
    /// By a shutdown; `polled` says whether the future had begun.
    Stopped {
        polled: bool,
    },
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    woken: bool,
    stopped: bool,
    /// Spans of the call that is under way.
    under_way: u64,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.set(|state| state.woken = true);
    }
}

impl Signal {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }
    /// Waits while `wait` says so, until `until`.
    fn wait(&self, until: Option<Instant>, mut wait: impl FnMut(&State) -> bool) {
        let mut state = lock(&self.state);
        while wait(&state) {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return;
            }
            // Without an end: a long one at a time.
            let left = left.unwrap_or(Duration::from_secs(3600));
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drive {
    pub(super) fn is_stopped(&self) -> bool {
        lock(&self.signal.state).stopped
    }
    pub(super) fn begin(&self, spans: u64) {
        self.signal.set(|state| state.under_way = spans);
    }
    pub(super) fn end(&self) {
        self.signal.set(|state| state.under_way = 0);
    }

    /// Waits for the call under way until `until`, then cuts it. Returns the spans of a call that does not
    /// return even then.
    pub(super) fn stop(&self, until: Option<Instant>) -> u64 {
        self.signal.wait(until, |state| state.under_way != 0);
        self.signal.set(|state| state.stopped = true);
        let grace = Instant::now().checked_add(CUT_GRACE);
        self.signal.wait(grace, |state| state.under_way != 0);
        lock(&self.signal.state).under_way
    }

    pub(super) fn run<T>(
        &self,
        future: impl Future<Output = T>,
        until: Option<Instant>,
    ) -> Ended<T> {
        let waker = Waker::from(self.signal.clone());
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        let mut polled = false;
        loop {
            if self.is_stopped() {
                return Ended::Stopped { polled };
            }
            self.signal.set(|state| state.woken = false);
            let mut ready = None;
            let mut poll = || {
                polled = true;
                if ready.is_none()
                    && let Poll::Ready(value) = future.as_mut().poll(&mut context)
                {
                    ready = Some(value);
                }
            };
            match &self.around {
                Some(Around(around)) => around(&mut poll),
                None => poll(),
            }
            if let Some(value) = ready {
                return Ended::Done(value);
            }
            self.signal
                .wait(until, |state| !state.woken && !state.stopped);
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ended::TimedOut;
            }
        }
    }
}
