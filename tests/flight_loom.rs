//! RUSTFLAGS="--cfg loom" cargo test -p spanlet-tests --release --test flight_loom
//! The ring that overwrites, as `ring_loom` does the others: writers evict what the reader copies, and each
//! other's records.
#![cfg(loom)]
#![allow(missing_docs, reason = "tests")]

mod explore;

use explore::{explore, id, record};
use loom::{sync::Arc, thread};
use spanlet::ring::{FlightReader, FlightRing};
use std::collections::BTreeSet;

/// What a reader got: ids by their numbers.
#[derive(Default)]
struct Got(Vec<(u32, u32)>);

impl Got {
    /// Copies one record, which must be whole and newer than the last.
    fn one<const N: usize>(&mut self, reader: &mut FlightReader<'_, N>, releases: bool) -> bool {
        let mut buffer = [0; 4];
        let Ok(taken) = reader.peek(&mut buffer) else {
            return false;
        };
        let newer = |last: &(u32, u32)| last.0 < taken.number;
        assert!(self.0.last().is_none_or(newer), "again, or out of order");
        self.0.push((taken.number, id(&buffer[..taken.words])));
        reader.advance();
        if releases {
            reader.release_before(taken.number + 1);
        }
        true
    }
    fn ids(self) -> Vec<u32> {
        self.0.into_iter().map(|(_, id)| id).collect()
    }
}

struct Model {
    name: &'static str,
    preemptions: usize,
    /// Words of each record.
    len: usize,
    /// In the ring before anybody else comes.
    before: &'static [u32],
    writers: &'static [&'static [u32]],
    /// How often the reader reads while writers run, and whether it gives back what it read.
    reads: usize,
    releases: bool,
}

impl Model {
    /// How many were read while writers ran, what in all, how many were overwritten, how many refused.
    fn outcomes<const N: usize>(&'static self) -> BTreeSet<(usize, Vec<u32>, u32, u32)> {
        explore(self.name, Some(self.preemptions), move || {
            let ring = Arc::new(FlightRing::<N>::new());
            let push = |ring: &FlightRing<N>, ids: &[u32]| {
                for id in ids {
                    let _ = ring.push_words(&record(*id, self.len));
                }
            };
            push(&ring, self.before);
            let threads: Vec<_> = (self.writers.iter())
                .map(|ids| {
                    let ring = ring.clone();
                    thread::spawn(move || push(&ring, ids))
                })
                .collect();
            let (mut got, mut reader) = (Got::default(), ring.reader().unwrap());
            for _ in 0..self.reads {
                got.one(&mut reader, self.releases);
            }
            let live = got.0.len();
            for thread in threads {
                thread.join().unwrap();
            }
            while got.one(&mut reader, self.releases) {}

            let got = got.ids();
            let all = self.before.len() + self.writers.iter().map(|ids| ids.len()).sum::<usize>();
            let (overwritten, refused) = (ring.overwritten(), ring.refused());
            assert_eq!(got.len() as u32 + overwritten + refused, all as u32);
            assert_eq!(ring.recorded() + refused, all as u32);
            for ids in self.writers.iter().chain([&self.before]) {
                let ours: Vec<_> = got.iter().filter(|id| ids.contains(id)).collect();
                assert!(ours.is_sorted(), "out of order: {got:?}");
            }
            (live, got, overwritten, refused)
        })
    }
}

/// A full ring, whose records a writer overwrites while the reader copies them; with padding.
#[test]
fn flight_overwrites_what_is_being_read() {
    static MODEL: Model = Model {
        name: "flight, overwriting",
        preemptions: 2,
        len: 2,
        before: &[1, 2],
        writers: &[&[3, 4]],
        reads: 2,
        releases: false,
    };
    let met = MODEL.outcomes::<64>();
    let (one, two) = (vec![1, 2, 3, 4], vec![1, 3, 4]);
    assert!(met.contains(&(2, one, 0, 0)), "{met:?}");
    assert!(met.contains(&(2, two, 1, 0)), "{met:?}");
    assert!(
        met.contains(&(0, vec![3, 4], 2, 0)) || met.contains(&(2, vec![3, 4], 2, 0)),
        "{met:?}"
    );
}

/// The reader gives back what it has read while a writer makes room.
#[test]
fn flight_releases_beside_a_writer() {
    static MODEL: Model = Model {
        name: "flight, releasing",
        preemptions: 2,
        len: 1,
        before: &[1, 2],
        writers: &[&[3]],
        reads: 2,
        releases: true,
    };
    let met = MODEL.outcomes::<32>();
    assert!(met.contains(&(2, vec![1, 2, 3], 0, 0)), "{met:?}");
    assert!(met.contains(&(2, vec![2, 3], 1, 0)), "{met:?}");
}

/// Two writers on a ring of two records: one's second would overwrite the other's, which may be half written.
#[test]
fn flight_two_writers() {
    static MODEL: Model = Model {
        name: "flight, two writers",
        preemptions: 2,
        len: 1,
        before: &[],
        writers: &[&[1], &[2, 3]],
        reads: 1,
        releases: false,
    };
    let met = MODEL.outcomes::<32>();
    for order in [vec![1, 2, 3], vec![2, 3, 1], vec![2, 1, 3]] {
        let is_met = met.iter().any(|(_, got, overwritten, refused)| {
            *refused == 0
                && order.ends_with(got)
                && order.len() == got.len() + *overwritten as usize
        });
        assert!(is_met, "{order:?} not tried: {met:?}");
    }
    assert!(
        met.iter().any(|m| m.3 == 1),
        "nobody met a record that was being written: {met:?}"
    );
}
