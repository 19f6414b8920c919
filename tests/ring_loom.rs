//! RUSTFLAGS="--cfg loom" cargo test -p spanlet-tests --release --test ring_loom
//! Both rings in every interleaving and every outcome of the memory model that loom knows. Each test also
//! says which outcomes it must have met: a model that explores nothing fails.
#![cfg(loom)]
#![allow(missing_docs, reason = "tests")]

mod explore;

use explore::{explore, id, record};
use loom::{sync::Arc, thread};
use spanlet::ring::{CriticalSection, NativeCas, Reader, Reserve, Ring, SpscControl, SpscRing};
use std::collections::BTreeSet;

fn read_one<const N: usize, M: Reserve>(reader: &mut Reader<'_, N, M>, got: &mut Vec<u32>) {
    if let Some(record) = reader.read() {
        got.push(id(record.words()));
        reader.release();
    }
}

/// Two writers and a reader on a ring of two records of two words, so that the second lap reuses words
/// that the reader is releasing. Outcome: what was read while the writers ran, what in all, how many were
/// refused.
fn two_writers<M: Reserve + 'static>(
    name: &str,
    preemptions: Option<usize>,
    pushes: [&'static [u32]; 2],
    len: usize,
    reads: usize,
) -> BTreeSet<(usize, Vec<u32>, u32)> {
    explore(name, preemptions, move || {
        let ring = Arc::new(Ring::<32, M>::with_reserve());
        let writers = pushes.map(|ids| {
            let ring = ring.clone();
            let push = move |id: &&u32| ring.push_words(&record(**id, len)).is_ok();
            thread::spawn(move || ids.iter().filter(push).count())
        });
        let mut reader = ring.reader().unwrap();
        let mut got = Vec::new();
        for _ in 0..reads {
            read_one(&mut reader, &mut got);
        }
        let live = got.len();
        let taken: usize = writers.into_iter().map(|w| w.join().unwrap()).sum();
        for _ in 0..4 {
            read_one(&mut reader, &mut got);
        }
        assert!(!reader.is_waiting());
        assert_eq!(got.len(), taken, "lost or doubled: {got:?}");
        let all: usize = pushes.iter().map(|p| p.len()).sum();
        assert_eq!(taken + ring.full() as usize, all);
        for ids in pushes {
            let ours: Vec<_> = got.iter().filter(|id| ids.contains(id)).collect();
            let order: Vec<_> = ids.iter().filter(|id| ours.contains(id)).collect();
            assert_eq!(ours, order);
        }
        (live, got, ring.full())
    })
}

fn one_each<M: Reserve + 'static>(name: &str) {
    let met = two_writers::<M>(name, Some(3), [&[1], &[2]], 2, 2);
    for live in 0..=2 {
        for order in [[1, 2], [2, 1]] {
            assert!(
                met.contains(&(live, order.to_vec(), 0)),
                "{live} {order:?} not tried"
            );
        }
    }
}

#[test]
fn ring_two_writers_one_record_each() {
    one_each::<NativeCas>("compare-and-swap, one each");
}

#[test]
fn ring_two_writers_one_record_each_in_critical_sections() {
    one_each::<CriticalSection>("critical section, one each");
}

#[test]
fn ring_laps_under_the_reader() {
    let met = two_writers::<NativeCas>("lap", Some(2), [&[1, 3], &[2]], 2, 2);
    assert!(
        met.iter().any(|m| m.2 == 0 && m.1.len() == 3),
        "a freed place was never reused"
    );
    assert!(met.iter().any(|m| m.2 == 1), "the ring was never full");
    assert!(met.contains(&(2, vec![2, 1, 3], 0)));
}

/// Words of one: each reuse puts a header where a payload or another record was.
#[test]
fn ring_headers_follow_payloads() {
    let met = explore("headers on payloads", Some(2), || {
        let ring = Arc::new(Ring::<32>::new());
        let other = ring.clone();
        ring.push_words(&record(1, 2)).unwrap();
        let writer = thread::spawn(move || {
            // Fills the ring, then wraps onto the words of record 1 with records of one word.
            let ids = [(2, 2), (3, 1), (4, 1)];
            ids.map(|(id, len)| other.push_words(&record(id, len)).is_ok())
        });
        let mut reader = ring.reader().unwrap();
        let mut got = Vec::new();
        for _ in 0..3 {
            read_one(&mut reader, &mut got);
        }
        let live = got.len();
        let taken = writer.join().unwrap();
        for _ in 0..4 {
            read_one(&mut reader, &mut got);
        }
        let mut want = vec![1];
        want.extend((2..5).zip(taken).filter(|(_, ok)| *ok).map(|(id, _)| id));
        assert_eq!(got, want);
        (live, got)
    });
    assert!(met.contains(&(3, vec![1, 2, 3, 4])), "{met:?}");
    assert!(met.contains(&(1, vec![1, 2])), "{met:?}");
}

/// A writer that wraps leaves padding, which the reader steps over and clears.
#[test]
fn ring_padding_is_handed_over() {
    let met = explore("padding", Some(2), || {
        let ring = Arc::new(Ring::<32>::new());
        {
            let mut reader = ring.reader().unwrap();
            ring.push_words(&record(1, 1)).unwrap();
            ring.push_words(&record(2, 2)).unwrap();
            let mut got = Vec::new();
            read_one(&mut reader, &mut got);
            read_one(&mut reader, &mut got);
            assert_eq!(got, [1, 2]);
        }
        // The head is one word before the end.
        let other = ring.clone();
        let writer = thread::spawn(move || {
            // Padding of one word, record 3 at 0..2, 4 at 2..3, 5 where the padding was.
            [(3, 2), (4, 1), (5, 1)].map(|(id, len)| other.push_words(&record(id, len)).is_ok())
        });
        let mut reader = ring.reader().unwrap();
        let mut got = Vec::new();
        for _ in 0..2 {
            read_one(&mut reader, &mut got);
        }
        let live = got.len();
        let taken = writer.join().unwrap();
        for _ in 0..3 {
            read_one(&mut reader, &mut got);
        }
        let want: Vec<_> = (3..6)
            .zip(taken)
            .filter(|(_, ok)| *ok)
            .map(|(id, _)| id)
            .collect();
        assert_eq!(got, want);
        (live, got)
    });
    assert!(met.contains(&(0, vec![3, 4])), "{met:?}");
    assert!(met.contains(&(2, vec![3, 4, 5])), "{met:?}");
}

#[test]
fn ring_reader_is_handed_on() {
    let met = explore("reader handed on", Some(2), || {
        let ring = Arc::new(Ring::<64>::new());
        ring.push_words(&record(1, 2)).unwrap();
        ring.push_words(&record(2, 2)).unwrap();
        let other = ring.clone();
        fn one(ring: &Ring<64>) -> Vec<u32> {
            let mut got = Vec::new();
            if let Some(mut reader) = ring.reader() {
                read_one(&mut reader, &mut got);
            }
            got
        }
        let there = thread::spawn(move || one(&other));
        let mut got = one(&ring);
        got.extend(there.join().unwrap());
        got.sort_unstable();
        assert_eq!(ring.released() as usize, got.len());
        got
    });
    assert_eq!(met, BTreeSet::from([vec![1], vec![1, 2]]));
}

/// Acknowledged reading: records stay while a writer fills the rest, and go one by one.
#[test]
fn ring_releases_behind_the_cursor() {
    let met = explore("release through", Some(2), || {
        let ring = Arc::new(Ring::<32>::new());
        ring.push_words(&record(1, 2)).unwrap();
        ring.push_words(&record(2, 2)).unwrap();
        let other = ring.clone();
        let writer = thread::spawn(move || other.push_words(&record(3, 2)).is_ok());
        let mut reader = ring.reader().unwrap();
        let (first, second) = (reader.read().unwrap(), reader.read().unwrap());
        assert_eq!((id(first.words()), id(second.words())), (1, 2));
        assert!(reader.read().is_none());
        assert_eq!(reader.release_through(0), 1);
        reader.rewind();
        assert_eq!(id(reader.read().unwrap().words()), 2);
        let live = reader.read().map(|r| id(r.words()));
        let taken = writer.join().unwrap();
        assert!(live.is_none() || taken);
        (live, taken)
    });
    let want = [(None, false), (None, true), (Some(3), true)];
    assert_eq!(met, BTreeSet::from(want));
}

/// Producer and consumer on a ring of two records of eight words, by the fast path (whole groups) or by
/// the slow one, three records, so that the third reuses words that are being released.
fn spsc(name: &str, len: usize, ids: &'static [u32]) -> BTreeSet<(usize, Vec<u32>, u32)> {
    explore(name, Some(3), move || {
        let ring = Box::into_raw(Box::new(SpscRing::<128>::new()));
        // SAFETY: ours alone; freed below, when both ends are gone.
        let (producer, mut consumer) = unsafe { &mut *ring }.split();
        let writer = thread::spawn(move || {
            let push = |id: &&u32| producer.push_words(&record(**id, len)).is_ok();
            ids.iter().filter(push).count()
        });
        let mut got = Vec::new();
        for _ in 0..2 {
            if let Some(words) = consumer.read() {
                got.push(id(words));
            }
            consumer.release();
        }
        let live = got.len();
        let taken = writer.join().unwrap();
        while let Some(words) = consumer.read() {
            got.push(id(words));
        }
        assert!(consumer.is_finished());
        assert_eq!(got.len(), taken);
        assert_eq!(taken + consumer.full() as usize, ids.len());
        assert!(got.is_sorted());
        let full = consumer.full();
        drop(consumer);
        // SAFETY: from into_raw, and both ends are dropped.
        drop(unsafe { Box::from_raw(ring) });
        (live, got, full)
    })
}

#[test]
fn spsc_laps_under_the_consumer() {
    let met = spsc("spsc, groups", 8, &[1, 2, 3]);
    assert!(met.contains(&(0, vec![1, 2], 1)), "{met:?}");
    assert!(met.contains(&(1, vec![1, 2, 3], 0)), "{met:?}");
    assert!(met.contains(&(2, vec![1, 2, 3], 0)), "{met:?}");
}

#[test]
fn spsc_wraps_with_padding() {
    // 7 + 7 words by the slow path leave 2: padding, if the third finds room.
    let met = spsc("spsc, padding", 7, &[1, 2, 3]);
    assert!(met.contains(&(0, vec![1, 2], 1)), "{met:?}");
    assert!(met.contains(&(2, vec![1, 2, 3], 0)), "{met:?}");
}

/// The consumer takes the memory back as soon as the producer is gone, and reuses it.
#[test]
fn spsc_is_reclaimed_when_the_producer_is_gone() {
    let met = explore("spsc reclaim", None, || {
        let control = Box::leak(Box::new(SpscControl::new()));
        let memory = Box::leak(vec![core::mem::MaybeUninit::uninit(); 16].into_boxed_slice());
        let (control_at, memory_at) = (&raw mut *control, &raw mut *memory);
        let (producer, mut consumer) = control.split(memory).unwrap();
        let writer = thread::spawn(move || producer.push_words(&record(1, 8)).unwrap());
        let mut live = false;
        let mut early = false;
        for _ in 0..2 {
            live |= consumer.read().is_some();
            consumer = match consumer.reclaim() {
                Ok((control, memory)) => {
                    assert!(live);
                    early = true;
                    // Tells loom of plain accesses to all of it.
                    let (producer, consumer) = control.split(memory).unwrap();
                    producer.push_words(&record(2, 8)).unwrap();
                    assert_eq!(id(consumer.read().unwrap()), 2);
                    drop(producer);
                    consumer
                }
                Err(consumer) => consumer,
            };
            if early {
                break;
            }
        }
        writer.join().unwrap();
        if !live {
            assert_eq!(id(consumer.read().unwrap()), 1);
        }
        assert!(consumer.is_finished());
        drop(consumer);
        // SAFETY: leaked above, and every borrow of them has ended.
        unsafe {
            (
                drop(Box::from_raw(control_at)),
                drop(Box::from_raw(memory_at)),
            )
        };
        (live, early)
    });
    let want = [(false, false), (true, false), (true, true)];
    assert_eq!(met, BTreeSet::from(want));
}
