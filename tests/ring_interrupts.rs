//! RUSTFLAGS="--cfg step" cargo test -p spanlet-tests --release --test ring_interrupts
//! A single core. The main program runs one access at a time; at every boundary at which interrupts are
//! on, a handler is run to its end, which may itself be interrupted. All placements of two handlers, and
//! of three on a shorter program, at every alignment of the ring: a writer is preempted between reserve
//! and commit at every step.
#![cfg(step)]
#![allow(missing_docs, reason = "tests")]
use spanlet::ring::sync::{point, set_hook};
use spanlet::ring::{
    Consumer, CriticalSection, FlightRing, NativeCas, Producer, Reserve, Ring, SpscRing,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    /// A record of so many words.
    Push(usize),
    /// Reads at most so many records, releasing each.
    Read(usize),
    /// Reads at most so many, then releases all but the last, as an acknowledgement would.
    ReadAhead(usize),
}
use Act::*;

/// What both rings do, for one driver.
trait Subject: 'static {
    fn new() -> Self;
    fn write(&self, words: &[u64]) -> bool;
    fn read(&self, act: Act) -> Vec<Vec<u64>>;
    fn refused(&self) -> u32;
    /// Records that newer ones overwrote before they were read.
    fn overwritten(&self) -> u32 {
        0
    }
    fn is_waiting(&self) -> Option<bool>;
}

fn copy(words: &[u64]) -> Vec<u64> {
    let word = |w: &u64| {
        point();
        *w
    };
    words.iter().map(word).collect()
}

impl<const N: usize, M: Reserve + 'static> Subject for Ring<N, M> {
    fn new() -> Self {
        Ring::with_reserve()
    }
    fn write(&self, words: &[u64]) -> bool {
        self.push_words(words).is_ok()
    }
    fn read(&self, act: Act) -> Vec<Vec<u64>> {
        let Some(mut reader) = self.reader() else {
            return Vec::new();
        };
        let mut got = Vec::new();
        match act {
            Push(_) => unreachable!(),
            Read(most) => {
                for _ in 0..most {
                    let Some(record) = reader.read() else { break };
                    assert_eq!(record.sequence(), self.released());
                    got.push(copy(record.words()));
                    reader.release();
                }
            }
            ReadAhead(most) => {
                let mut records = Vec::new();
                while records.len() < most {
                    let Some(record) = reader.read() else { break };
                    records.push(record);
                }
                records.pop();
                got.extend(records.iter().map(|r| copy(r.words())));
                if let Some(last) = records.last().map(|r| r.sequence()) {
                    assert_eq!(reader.release_through(last) as usize, got.len());
                }
            }
        }
        got
    }
    fn refused(&self) -> u32 {
        assert_eq!(self.too_large(), 0);
        self.full()
    }
    fn is_waiting(&self) -> Option<bool> {
        Some(self.reader()?.is_waiting())
    }
}

impl<const N: usize> Subject for FlightRing<N> {
    fn new() -> Self {
        FlightRing::new()
    }
    fn write(&self, words: &[u64]) -> bool {
        self.push_words(words).is_ok()
    }
    fn read(&self, act: Act) -> Vec<Vec<u64>> {
        let (Read(most) | ReadAhead(most)) = act else {
            unreachable!()
        };
        let Some(mut reader) = self.reader() else {
            return Vec::new();
        };
        let (mut got, mut buffer, mut next) = (Vec::new(), [0; 8], None);
        while got.len() < most {
            let Ok(taken) = reader.peek(&mut buffer) else {
                break;
            };
            got.push(copy(&buffer[..taken.words]));
            reader.advance();
            next = Some(taken.number + 1);
            if act == Read(most) {
                reader.release_before(taken.number + 1);
            }
        }
        if let Some(next) = next {
            reader.release_before(next);
        }
        got
    }
    fn refused(&self) -> u32 {
        assert_eq!(self.too_large(), 0);
        FlightRing::refused(self)
    }
    fn overwritten(&self) -> u32 {
        FlightRing::overwritten(self)
    }
    fn is_waiting(&self) -> Option<bool> {
        None
    }
}

/// The two ends; a handler that finds one in use leaves it alone, as one that shares it would have to.
struct Spsc {
    producer: RefCell<Producer<'static>>,
    consumer: RefCell<Consumer<'static>>,
    kept_out: Cell<u32>,
}

impl Subject for Spsc {
    fn new() -> Self {
        let (producer, consumer) = Box::leak(Box::new(SpscRing::<128>::new())).split();
        Spsc {
            producer: producer.into(),
            consumer: consumer.into(),
            kept_out: Cell::new(0),
        }
    }
    fn write(&self, words: &[u64]) -> bool {
        let Ok(producer) = self.producer.try_borrow_mut() else {
            self.kept_out.set(self.kept_out.get() + 1);
            return false;
        };
        producer.push_words(words).is_ok()
    }
    fn read(&self, act: Act) -> Vec<Vec<u64>> {
        let (Read(most) | ReadAhead(most)) = act else {
            unreachable!()
        };
        let Ok(mut consumer) = self.consumer.try_borrow_mut() else {
            return Vec::new();
        };
        let mut got = Vec::new();
        while got.len() < most {
            let Some(words) = consumer.read() else { break };
            got.push(copy(words));
            if act == Read(most) {
                consumer.release();
            }
        }
        consumer.release();
        got
    }
    fn refused(&self) -> u32 {
        let consumer = self.consumer.borrow();
        assert_eq!(consumer.too_large(), 0);
        consumer.full() + self.kept_out.get()
    }
    fn is_waiting(&self) -> Option<bool> {
        None
    }
}

/// A record that was committed: id, length, when its push began and ended.
type Written = (u32, usize, u32, u32);

struct World<S> {
    subject: S,
    now: Cell<u32>,
    next_id: Cell<u32>,
    written: RefCell<Vec<Written>>,
    refused: Cell<u32>,
    waited: Cell<u32>,
    read: RefCell<Vec<Vec<u64>>>,
}

fn record(id: u32, len: usize) -> Vec<u64> {
    (0..len as u64)
        .map(|i| u64::from(id) << 32 | i << 8 | u64::from(id))
        .collect()
}

impl<S: Subject> World<S> {
    fn act(&self, act: Act) {
        let Push(len) = act else {
            if self.subject.is_waiting() == Some(true) {
                self.waited.set(self.waited.get() + 1);
            }
            let got = self.subject.read(act);
            self.read.borrow_mut().extend(got);
            return;
        };
        let id = self.next_id.replace(self.next_id.get() + 1);
        let begun = self.now.get();
        if self.subject.write(&record(id, len)) {
            self.written
                .borrow_mut()
                .push((id, len, begun, self.now.get()));
        } else {
            self.refused.set(self.refused.get() + 1);
        }
    }

    /// `whole_order`: only one context has read, so that `read` is in the order of the ring.
    fn check(&self, whole_order: bool) {
        assert_ne!(
            self.subject.is_waiting(),
            Some(true),
            "everyone has finished"
        );
        self.read
            .borrow_mut()
            .extend(self.subject.read(Read(usize::MAX)));
        let (read, written) = (self.read.borrow(), self.written.borrow());
        assert_eq!(
            self.refused.get(),
            self.subject.refused(),
            "refusals are counted"
        );
        assert_eq!(
            written.len(),
            read.len() + self.subject.overwritten() as usize,
            "each commit is read once, or overwritten"
        );
        let mut last: Option<Written> = None;
        let mut seen = std::collections::HashSet::new();
        for words in read.iter() {
            let id = (words[0] >> 32) as u32;
            assert_eq!(words[1..], record(id, words.len())[1..], "torn");
            assert!(seen.insert(id), "doubled {id}");
            let this = *written.iter().find(|w| w.0 == id).expect("never committed");
            assert_eq!(this.1, words.len());
            if let (Some(last), true) = (last, whole_order) {
                assert!(
                    this.3 >= last.2,
                    "{last:?} was begun after {this:?} had ended"
                );
            }
            last = Some(this);
        }
    }
}

#[derive(Default)]
struct Tally {
    runs: u64,
    refused: u64,
    waited: u64,
}

/// Runs `main` with `handlers[i]` taken at boundary `at[i]`. Returns how many boundaries there were.
fn run<S: Subject>(
    tally: &mut Tally,
    turn: u32,
    main: &[Act],
    handlers: &[&[Act]],
    at: &[u32],
) -> u32 {
    set_hook(None);
    let world = Rc::new(World {
        subject: S::new(),
        now: Cell::new(0),
        next_id: Cell::new(1),
        written: RefCell::default(),
        refused: Cell::new(0),
        waited: Cell::new(0),
        read: RefCell::default(),
    });
    // Turn the ring by so many words.
    for _ in 0..turn {
        assert!(world.subject.write(&[0]));
        world.subject.read(Read(1));
    }
    let reads = |h: &[Act]| h.iter().any(|a| !matches!(a, Push(_)));
    let handlers_read = handlers.iter().any(|h| reads(h));
    let hooked = Rc::downgrade(&world);
    let handlers: Vec<_> = handlers
        .iter()
        .map(|h| h.to_vec())
        .zip(at.to_vec())
        .collect();
    set_hook(Some(Rc::new(move || {
        let Some(world) = hooked.upgrade() else {
            return;
        };
        let now = world.now.replace(world.now.get() + 1);
        for (handler, _) in handlers.iter().filter(|(_, at)| *at == now) {
            handler.iter().for_each(|act| world.act(*act));
        }
    })));
    main.iter().for_each(|act| world.act(*act));
    let boundaries = world.now.get();
    set_hook(None);
    world.check(!handlers_read);
    tally.runs += 1;
    tally.refused += u64::from(world.refused.get());
    tally.waited += u64::from(world.waited.get());
    boundaries
}

fn pairs<S: Subject>(turns: u32, main: &[Act], kinds: &[[&[Act]; 2]]) -> Tally {
    let mut tally = Tally::default();
    for turn in 0..turns {
        for kind in kinds {
            let (mut first, mut end) = (0, u32::MAX);
            while first <= end {
                let mut second = first;
                end = u32::MAX;
                while second <= end {
                    end = run::<S>(&mut tally, turn, main, kind, &[first, second]);
                    second += 1;
                }
                first += 1;
            }
        }
    }
    tally
}

fn triples<S: Subject>(turns: u32, main: &[Act], kind: [&[Act]; 3]) -> Tally {
    let mut tally = Tally::default();
    let end = run::<S>(&mut tally, 0, main, &kind, &[0, 0, 0]) + 1;
    for a in 0..end {
        for b in a..end {
            for c in b..end {
                run::<S>(&mut tally, a % turns, main, &kind, &[a, b, c]);
            }
        }
    }
    tally
}

/// Says what was tried, and fails if the interesting things did not happen.
fn tell(name: &str, tally: &Tally, least_runs: u64) {
    println!(
        "{name}: {} runs, {} refusals, {} waits",
        tally.runs, tally.refused, tally.waited
    );
    assert!(
        tally.runs >= least_runs,
        "{name}: only {} placements",
        tally.runs
    );
    assert!(tally.refused > 0, "{name}: the ring was never full");
}

const WRITER: &[Act] = &[Push(3)];
const WRITERS: &[Act] = &[Push(1), Push(2)];
const READER: &[Act] = &[Read(2)];
const AHEAD: &[Act] = &[ReadAhead(3)];

fn two<M: Reserve + 'static>(name: &str) {
    let main = [Push(2), Push(1), Push(4), Read(1), Push(3), ReadAhead(3)];
    let kinds = [
        [WRITER, WRITER],
        [WRITER, READER],
        [READER, WRITER],
        [WRITERS, AHEAD],
        [WRITERS, WRITERS],
    ];
    let tally = pairs::<Ring<64, M>>(8, &main, &kinds);
    tell(name, &tally, 50_000);
    assert!(tally.waited > 0, "no reader met an unfinished writer");
}

fn three<M: Reserve + 'static>(name: &str) {
    let tally = triples::<Ring<32, M>>(
        4,
        &[Push(2), Push(1), Read(2)],
        [&[Push(2)], READER, &[Push(1)]],
    );
    tell(name, &tally, 10_000);
    assert!(tally.waited > 0, "no reader met an unfinished writer");
}

#[test]
fn ring_with_compare_and_swap() {
    two::<NativeCas>("compare-and-swap, two handlers");
    three::<NativeCas>("compare-and-swap, three handlers");
}

#[test]
fn ring_with_critical_section() {
    two::<CriticalSection>("critical section, two handlers");
    three::<CriticalSection>("critical section, three handlers");
}

#[test]
fn spsc_ring() {
    let main = [Push(7), Push(3), Push(8), Read(1), Push(5), Read(2)];
    let kinds = [
        [READER, READER],
        [READER, WRITER],
        [WRITER, READER],
        [AHEAD, READER],
    ];
    tell(
        "spsc, two handlers",
        &pairs::<Spsc>(16, &main, &kinds),
        10_000,
    );
}

/// The words of a record go one slot further than in `Ring`, and the oldest make room.
#[test]
fn flight_ring() {
    let main = [
        Push(2),
        Push(1),
        Push(3),
        Read(1),
        Push(3),
        ReadAhead(3),
        Push(2),
    ];
    let kinds = [
        [WRITER, WRITER],
        [WRITER, READER],
        [READER, WRITER],
        [WRITERS, AHEAD],
        [WRITERS, WRITERS],
    ];
    let tally = pairs::<FlightRing<64>>(4, &main, &kinds);
    tell("flight, two handlers", &tally, 50_000);
    let tally = triples::<FlightRing<64>>(
        8,
        &[Push(2), Push(1), Push(3), Read(2)],
        [&[Push(2)], READER, &[Push(3)]],
    );
    tell("flight, three handlers", &tally, 10_000);
}
