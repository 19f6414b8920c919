//! SIGTERM and SIGINT: what has ended is sent, then the signal takes its course.
//!
//! Input: a signal. Output: a flush, then the signal's default action: the process ends by it. Bound: the limit
//! that the program gives; a second signal cuts it short. A thread waits; nothing runs in the signal handler
//! but what `signal-hook` does there.

use super::Telemetry;
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, Ordering};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const SIGNALS: [c_int; 2] = [SIGTERM, SIGINT];

/// What the signals did before.
static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

impl Telemetry {
    /// From now on SIGTERM and SIGINT send what has ended, for at most `limit`, and then take their default action:
    /// the process ends by the signal, as its parent will see. A second signal ends it at once.
    ///
    /// Not for programs that wait for these signals themselves: they call [`shutdown`](Telemetry::shutdown) when they
    /// are done. Open spans are not sent. In the child of a fork the signals do what they did before
    /// this call, without a flush.
    ///
    /// Costs a thread that sleeps. Needs the feature `signal`.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let telemetry = spanlet_std::Telemetry::builder().service_name("checkout").install()?;
    /// telemetry.flush_on_signals(Duration::from_secs(2))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a signal cannot be watched, or the thread not be started.
    pub fn flush_on_signals(&self, limit: Duration) -> io::Result<()> {
        let Some(running) = self.running() else {
            return Ok(());
        };
        if BEFORE.get().is_none() {
            let _ = BEFORE.set(SIGNALS.map(action_of));
            super::fork::on_child(in_child)?;
        }
        let is_second = Arc::new(AtomicBool::new(false));
        for signal in SIGNALS {
            flag::register_conditional_default(signal, is_second.clone())?;
        }
        let mut signals = Signals::new(SIGNALS)?;
        // Not kept alive for a signal's sake.
        let running = Arc::downgrade(&running);
        std::thread::Builder::new()
            .name("spanlet-signal".into())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    is_second.store(true, Ordering::SeqCst);
                    if let Some(running) = running.upgrade() {
                        running.shutdown(limit);
                    }
                    // Does not return, for these two.
                    let _ = low_level::emulate_default_handler(signal);
                }
            })?;
        Ok(())
    }
}

fn action_of(signal: c_int) -> libc::sigaction {
    // SAFETY: all zeros is a sigaction, and the call writes to it only.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        libc::sigaction(signal, core::ptr::null(), &mut action);
        action
    }
}

/// The parent's handler would write into a pipe that the parent reads: a signal to the child would end the parent.
unsafe extern "C" fn in_child() {
    let Some(actions) = BEFORE.get() else { return };
    for (signal, action) in SIGNALS.iter().zip(actions) {
        // SAFETY: an action that this signal had; the call is allowed in signal handlers, and so here.
        unsafe { libc::sigaction(*signal, action, core::ptr::null_mut()) };
    }
}
