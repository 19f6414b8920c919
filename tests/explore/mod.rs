//! What the tests under loom share: every execution of a model, and records that tell whether they are torn.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Mutex;

/// Runs `f` until loom has no more to try; returns every outcome met.
pub(crate) fn explore<T: Ord + Debug + Send + 'static>(
    name: &str,
    preemptions: Option<usize>,
    f: impl Fn() -> T + Sync + Send + 'static,
) -> BTreeSet<T> {
    let met = std::sync::Arc::new(Mutex::new((0u32, BTreeSet::new())));
    let seen = met.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let outcome = f();
        let mut seen = seen.lock().unwrap();
        seen.0 += 1;
        seen.1.insert(outcome);
    });
    let (runs, outcomes) = std::mem::take(&mut *met.lock().unwrap());
    println!("{name}: {runs} executions, {} outcomes", outcomes.len());
    outcomes
}

/// A record of `len` words whose every word tells its id.
pub(crate) fn record(id: u32, len: usize) -> Vec<u64> {
    vec![u64::from(id) << 32 | 0xabcd; len]
}

/// The id, if all words agree.
pub(crate) fn id(words: &[u64]) -> u32 {
    let id = (words[0] >> 32) as u32;
    assert_eq!(words[1..], record(id, words.len())[1..], "torn");
    id
}
