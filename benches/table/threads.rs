//! Work on the other core: readers, and a second thread that records.

use crate::case::{Case, Row, Target};
use crate::meter::{self, Meter, Mode};
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::sync::mpsc::channel;

/// Runs `work` on the other core each time the returned function is called, which waits for it.
pub(crate) fn elsewhere(mut work: impl FnMut() + Send + 'static) -> impl Fn() {
    let (go, wanted) = channel::<()>();
    let (done, ack) = channel();
    std::thread::spawn(move || {
        meter::pin(meter::ELSEWHERE);
        for () in wanted {
            work();
            if done.send(()).is_err() {
                return;
            }
        }
    });
    move || {
        go.send(())
            .expect("the thread lives as long as its channel");
        ack.recv().expect("it answers");
    }
}

/// Two threads start a chunk together, each with what `make` gave it; the mean of their times.
pub(crate) fn together<F>(
    row: Row,
    name: &str,
    ops: usize,
    targets: &[Target],
    make: fn(is_second: bool) -> F,
) -> Case
where
    F: FnMut(&mut Meter) + 'static,
{
    fn timed(run: &mut impl FnMut(&mut Meter)) -> (f64, u64) {
        let mut m = Meter::new(Mode::Time);
        run(&mut m);
        (m.ns, m.allocs)
    }
    /// Spins until both are here, so that neither is timed while it wakes up.
    fn meet(gate: &AtomicU64) {
        let round = gate.fetch_add(1, Ordering::SeqCst) / 2;
        while gate.load(Ordering::SeqCst) < round * 2 + 2 {
            core::hint::spin_loop();
        }
    }
    let gate = Arc::new(AtomicU64::new(0));
    let far_gate = gate.clone();
    let (done, peer) = channel();
    let (go, wanted) = channel::<()>();
    std::thread::spawn(move || {
        meter::pin(meter::ELSEWHERE);
        let mut run = make(true);
        for () in wanted {
            meet(&far_gate);
            if done.send(timed(&mut run)).is_err() {
                return;
            }
        }
    });
    let mut run = make(false);
    let both = move |m: &mut Meter| {
        go.send(())
            .expect("the thread lives as long as its channel");
        meet(&gate);
        let (ns, allocs) = timed(&mut run);
        let (far_ns, far_allocs) = peer.recv().expect("it answers");
        m.ns += (ns + far_ns) / 2.0;
        m.allocs += (allocs + far_allocs) / 2;
    };
    Case::new(row, name, ops, both).must(targets).not_counted()
}
