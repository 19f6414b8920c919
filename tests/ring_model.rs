//! Both rings against a `VecDeque`: what is refused, in what order what comes out, what is counted.
//! Then threads at full speed.
#![cfg(not(any(loom, step)))]
#![allow(missing_docs, reason = "tests")]
use core::mem::MaybeUninit;
use proptest::prelude::*;
use spanlet::ring::header::{self, Header, State};
use spanlet::ring::{CriticalSection, NativeCas, PushError, Reserve, Ring, SpscControl, SpscRing};
use std::collections::VecDeque;

const N: usize = 256;
const CAPACITY: usize = N / 8;

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Read,
    Release,
    ReleaseThrough(u32),
    Rewind,
    HandOn,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..20usize).prop_map(Op::Push),
        5 => Just(Op::Read),
        2 => Just(Op::Release),
        1 => (0..6u32).prop_map(Op::ReleaseThrough),
        1 => Just(Op::Rewind),
        1 => Just(Op::HandOn),
    ];
    prop::collection::vec(op, 0..200)
}

/// A record whose every word tells its number and place, and whose payload looks like headers: what the
/// reader leaves behind must never be taken for one.
fn record(id: u32, len: usize) -> Vec<u64> {
    let word = |i: usize| {
        let states = [State::Committed, State::Skip, State::Reserved];
        let header = Header::new(states[i % 3], 1 + i % 5).unwrap();
        (u64::from(id) << 32) + ((i as u64) << 48) + u64::from(header.word())
    };
    (0..len).map(word).collect()
}

/// What a record looks like when it comes out: the low half of word 0 is the ring's.
fn comes_out(got: &[u64], id: u32, len: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), len);
    prop_assert_eq!(got.as_ptr() as usize % 8, 0);
    prop_assert_eq!(got[0] >> 32, u64::from(id));
    let header = Header::parse(got[0] as u32);
    prop_assert_eq!(header, Header::new(State::Committed, len));
    prop_assert_eq!(&got[1..], &record(id, len)[1..]);
    Ok(())
}

/// One record in the model: its number, its length, and the words it and the padding before it take.
type Entry = (u32, usize, usize);

fn shared_ring<M: Reserve>(ops: &[Op]) -> Result<(), TestCaseError> {
    let ring = Ring::<N, M>::with_reserve();
    let mut reader = ring.reader().unwrap();
    prop_assert!(ring.reader().is_none());
    let mut model: VecDeque<Entry> = VecDeque::new();
    let (mut head, mut used, mut ahead) = (0usize, 0usize, 0usize);
    let (mut full, mut large, mut released) = (0, 0, 0u32);
    for (id, op) in ops.iter().enumerate() {
        let id = id as u32;
        match *op {
            Op::Push(len) => {
                let to_end = CAPACITY - head % CAPACITY;
                let size = if len > to_end { to_end + len } else { len };
                let words = record(id, len);
                let got = if len < 2 || id.is_multiple_of(2) {
                    ring.push_words(&words)
                } else {
                    let words: Vec<_> = words.into_iter().map(MaybeUninit::new).collect();
                    let (first, rest) = words.split_at(1 + id as usize % (len - 1));
                    // SAFETY: all of it is initialised.
                    unsafe { ring.push_parts(first, rest) }
                };
                if len == 0 || len > CAPACITY / 2 {
                    prop_assert_eq!(got, Err(PushError::TooLarge));
                    large += 1;
                } else if used + size > CAPACITY {
                    prop_assert_eq!(got, Err(PushError::Full));
                    full += 1;
                } else {
                    prop_assert_eq!(got, Ok(()));
                    model.push_back((id, len, size));
                    used += size;
                    head += size;
                }
            }
            Op::Read => match (reader.read(), model.get(ahead)) {
                (Some(got), Some((id, len, _))) => {
                    comes_out(got.words(), *id, *len)?;
                    prop_assert_eq!(got.sequence(), released + ahead as u32);
                    ahead += 1;
                }
                (None, None) => prop_assert!(!reader.is_waiting()),
                (got, want) => prop_assert!(false, "{got:?} instead of {want:?}"),
            },
            Op::Release | Op::ReleaseThrough(_) => {
                let count = if let Op::ReleaseThrough(k) = *op {
                    // k = 0 acknowledges what is released already, or wraps to long ago.
                    let count = if k as usize > ahead { 0 } else { k };
                    prop_assert_eq!(
                        reader.release_through((released + k).wrapping_sub(1)),
                        count
                    );
                    count
                } else {
                    reader.release();
                    ahead as u32
                };
                for (_, _, size) in model.drain(..count as usize) {
                    used -= size;
                }
                ahead -= count as usize;
                released += count;
            }
            Op::Rewind => {
                reader.rewind();
                ahead = 0;
            }
            Op::HandOn => {
                drop(reader);
                reader = ring.reader().unwrap();
                ahead = 0;
            }
        }
        prop_assert_eq!(reader.unreleased() as usize, ahead);
        prop_assert_eq!((reader.sequence(), ring.released()), (released, released));
        prop_assert_eq!(reader.committed(), released + model.len() as u32);
        prop_assert_eq!((ring.full(), ring.too_large()), (full, large));
    }
    Ok(())
}

/// `room`: words that the source's buffer has beyond the record.
fn spsc(ops: &[Op], room: usize) -> Result<(), TestCaseError> {
    let mut ring = SpscRing::<N>::new();
    let (producer, mut consumer) = ring.split();
    let mut model: VecDeque<Entry> = VecDeque::new();
    let (mut head, mut used, mut ahead) = (0usize, 0usize, 0usize);
    let (mut full, mut large, mut count) = (0, 0, 0);
    for (id, op) in ops.iter().enumerate() {
        let id = id as u32;
        match *op {
            Op::Push(len) => {
                let words = record(id, len + room);
                let words: Vec<_> = words.into_iter().map(MaybeUninit::new).collect();
                // Whole groups of four go in at once where the source allows it.
                let groups = len.next_multiple_of(4);
                let fast = len >= 8 && groups <= words.len();
                let need = if fast { groups } else { len };
                let to_end = CAPACITY - head % CAPACITY;
                let padding = if need > to_end { to_end } else { 0 };
                // SAFETY: all of it is initialised.
                let got = unsafe {
                    match words.split_first_chunk() {
                        Some((first, rest)) if fast && id.is_multiple_of(2) => {
                            producer.push_parts(first, &rest[..groups - 8], len - 8)
                        }
                        _ => producer.push(&words, len),
                    }
                };
                if len == 0 || len > CAPACITY / 2 {
                    prop_assert_eq!(got, Err(PushError::TooLarge));
                    large += 1;
                } else if used + padding + need > CAPACITY {
                    prop_assert_eq!(got, Err(PushError::Full));
                    full += 1;
                } else {
                    prop_assert_eq!(got, Ok(()));
                    model.push_back((id, len, padding + len));
                    used += padding + len;
                    head += padding + len;
                }
            }
            Op::Read => match (consumer.read(), model.get(ahead)) {
                (Some(got), Some((id, len, _))) => {
                    comes_out(got, *id, *len)?;
                    ahead += 1;
                    count += 1;
                }
                (None, None) => {}
                (got, want) => prop_assert!(false, "{got:?} instead of {want:?}"),
            },
            _ => {
                consumer.release();
                for (_, _, size) in model.drain(..ahead) {
                    used -= size;
                }
                ahead = 0;
            }
        }
        prop_assert_eq!((producer.full(), producer.too_large()), (full, large));
        prop_assert_eq!((consumer.full(), consumer.too_large()), (full, large));
        prop_assert_eq!(consumer.count(), count);
        prop_assert!(!consumer.is_finished());
    }
    drop(producer);
    prop_assert_eq!(consumer.is_finished(), ahead == model.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn ring_with_compare_and_swap(ops in ops()) {
        shared_ring::<NativeCas>(&ops)?;
    }
    #[test]
    fn ring_with_critical_section(ops in ops()) {
        shared_ring::<CriticalSection>(&ops)?;
    }
    #[test]
    fn spsc_ring(ops in ops(), room in 0..4usize) {
        spsc(&ops, room)?;
    }
}

#[test]
fn longest_records() {
    static RING: Ring<{ 1 << 20 }> = Ring::new();
    assert_eq!(Ring::<{ 1 << 20 }>::MAX_WORDS, header::MAX_WORDS);
    assert_eq!(Ring::<64>::MAX_WORDS, 4);
    let words = vec![9 << 32; header::MAX_WORDS + 1];
    assert_eq!(RING.push_words(&words), Err(PushError::TooLarge));
    for _ in 0..4 {
        RING.push_words(&words[1..]).unwrap();
    }
    // Four fill it but for four words; a fifth would need padding as well.
    assert_eq!(RING.push_words(&words[..5]), Err(PushError::Full));
    let mut reader = RING.reader().unwrap();
    while let Some(record) = reader.read() {
        assert_eq!(record.words().len(), header::MAX_WORDS);
    }
    reader.release();
    assert_eq!((RING.released(), RING.full(), RING.too_large()), (4, 1, 1));

    let mut ring = Box::new(SpscRing::<{ 1 << 20 }>::new());
    let (producer, consumer) = ring.split();
    let most = SpscControl::MAX_WORDS;
    assert_eq!(
        producer.push_words(&words[..most + 1]),
        Err(PushError::TooLarge)
    );
    for _ in 0..4 {
        producer.push_words(&words[..most]).unwrap();
    }
    assert_eq!(producer.push_words(&words[..most]), Err(PushError::Full));
    for _ in 0..4 {
        assert_eq!(consumer.read().unwrap().len(), most);
    }
    assert!(consumer.read().is_none());
}

#[test]
fn spsc_parts_must_fit_their_length() {
    let mut ring = SpscRing::<256>::new();
    let (producer, consumer) = ring.split();
    let words = [MaybeUninit::new(9 << 32); 8];
    for len in [0, 3, 4] {
        // SAFETY: all of it is initialised.
        let got = unsafe { producer.push_parts(&words, &words, len) };
        assert_eq!(
            got,
            Err(PushError::TooLarge),
            "{len} of 8 are not whole groups of 4"
        );
    }
    // SAFETY: as above.
    unsafe { producer.push_parts(&words, &words, 5) }.unwrap();
    assert_eq!(
        (consumer.read().unwrap().len(), consumer.too_large()),
        (13, 3)
    );
}

#[test]
fn spsc_over_borrowed_memory_is_reclaimed() {
    for words in [0, 8, 15, 17, 48] {
        let mut memory = vec![MaybeUninit::uninit(); words];
        let error = SpscControl::new().split(&mut memory).err().unwrap();
        assert_eq!(error.words, words);
        assert!(error.to_string().contains(&words.to_string()));
    }
    let mut control = SpscControl::new();
    let mut memory = vec![MaybeUninit::uninit(); 16];
    let (producer, consumer) = control.split(&mut memory).unwrap();
    producer.push_words(&record(1, 8)).unwrap();
    assert_eq!(producer.push_words(&record(1, 9)), Err(PushError::TooLarge));
    drop(producer);
    assert!(!consumer.is_finished());
    let consumer = consumer.reclaim().err().expect("something is unread");
    assert_eq!(consumer.read().unwrap().len(), 8);
    let (control, memory) = consumer.reclaim().ok().expect("finished");
    assert_eq!(memory.len(), 16);
    let (producer, consumer) = control.split(memory).unwrap();
    assert!(consumer.read().is_none() && !consumer.is_finished());
    assert_eq!(
        (producer.too_large(), consumer.count()),
        (1, 0),
        "refusals add up over splits"
    );
}

const EACH: u32 = 200_000;

fn length(i: u32) -> usize {
    1 + (i % 41) as usize
}

/// A record of writer `w`: number and length in every word, so that a mixture of two shows.
fn numbered(w: u32, i: u32, buffer: &mut [u64]) -> &[u64] {
    let words = &mut buffer[..length(i)];
    words.fill(u64::from(w) << 63 | u64::from(i) << 32 | u64::from(i));
    words
}

/// Checks a record, and that its writer's numbers only go up.
fn check(words: &[u64], next: &mut [u32; 2]) {
    let (w, i) = (
        (words[0] >> 63) as usize,
        (words[0] >> 32) as u32 & 0x7fff_ffff,
    );
    assert_eq!(words.len(), length(i));
    assert!(
        words[1..]
            .iter()
            .all(|word| *word == (w as u64) << 63 | u64::from(i) << 32 | u64::from(i))
    );
    assert!(i >= next[w], "{i} after {}", next[w]);
    next[w] = i + 1;
}

/// Offers each record until it is taken; returns how often one was refused. Gives up when the reader has
/// (it panicked, say): a test that fails should not hang.
fn all_in(mut push: impl FnMut(u32) -> bool) -> u32 {
    let mut refused = 0;
    for i in 0..EACH {
        let mut since = None;
        while !push(i) {
            refused += 1;
            let since = since.get_or_insert_with(std::time::Instant::now);
            assert!(since.elapsed().as_secs() < 10, "nobody reads");
            std::thread::yield_now();
        }
    }
    refused
}

fn threads<M: Reserve>(ring: &Ring<4096, M>) {
    let (mut next, mut read) = ([0u32; 2], 0u32);
    let refused: u32 = std::thread::scope(|scope| {
        let writers: [_; 2] = core::array::from_fn(|w| {
            scope.spawn(move || {
                let mut buffer = [0; 64];
                all_in(|i| ring.push_words(numbered(w as u32, i, &mut buffer)).is_ok())
            })
        });
        let mut reader = ring.reader().unwrap();
        let mut drain = || {
            while let Some(record) = reader.read() {
                assert_eq!(record.sequence(), read);
                check(record.words(), &mut next);
                read += 1;
                // Now and then several at once.
                if read % 3 == 0 {
                    reader.release();
                }
            }
            reader.release();
        };
        while writers.iter().any(|w| !w.is_finished()) {
            drain();
            std::thread::yield_now();
        }
        drain();
        writers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert_eq!((read, ring.released()), (2 * EACH, 2 * EACH));
    assert_eq!(ring.full(), refused);
    assert_eq!(ring.too_large(), 0);
}

#[test]
fn threads_with_compare_and_swap() {
    static RING: Ring<4096> = Ring::new();
    threads(&RING);
}

#[test]
fn threads_with_critical_section() {
    static RING: Ring<4096, CriticalSection> = Ring::with_reserve();
    threads(&RING);
}

#[test]
fn spsc_threads() {
    let mut ring = SpscRing::<4096>::new();
    let (producer, mut consumer) = ring.split();
    let (mut next, mut read) = ([0; 2], 0);
    let refused: u32 = std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut buffer = [0; 64];
            all_in(|i| producer.push_words(numbered(0, i, &mut buffer)).is_ok())
        });
        while !consumer.is_finished() {
            while let Some(words) = consumer.read() {
                check(words, &mut next);
                read += 1;
                if read % 3 == 0 {
                    consumer.release();
                }
            }
            consumer.release();
            std::thread::yield_now();
        }
        writer.join().unwrap()
    });
    assert_eq!((read, consumer.count()), (EACH, EACH));
    assert_eq!(consumer.full(), refused);
}
