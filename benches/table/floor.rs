//! Hand-written floors: the least that a span can cost which has ids, two times and its entries in a ring.
//!
//! They run in the same process and the same rounds as everybody else.

use crate::case::*;
use crate::clocks::{BenchClock, Counting, StdClock, Tsc};
use crate::inputs::*;
use crate::meter;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};

/// Slots of a ring: two chunks.
const SLOTS: usize = 2 * SPANS;

/// A record of `W` words in a ring that nobody reads.
struct Floor<C, const W: usize> {
    clock: C,
    slots: Box<[[u64; W]]>,
    head: AtomicU64,
    ids: u64,
    trace: [u64; 2],
    parent: u64,
}

impl<C: BenchClock, const W: usize> Floor<C, W> {
    fn new(clock: C) -> Self {
        Floor {
            clock,
            slots: vec![[0; W]; SLOTS].into_boxed_slice(),
            head: AtomicU64::new(0),
            ids: 0x9e37_79b9_7f4a_7c15,
            trace: black_box([1, 2]),
            parent: black_box(3),
        }
    }
    #[inline(always)]
    fn id(&mut self) -> u64 {
        self.ids = self.ids.wrapping_add(0x2d35_8dcc_aa6c_78a5);
        let product =
            u128::from(self.ids).wrapping_mul(u128::from(self.ids ^ 0x8bb8_4b93_962e_acc9));
        product as u64 ^ (product >> 64) as u64
    }
    #[inline(always)]
    fn slot(&mut self) -> (&mut [u64; W], u64) {
        let head = self.head.load(Ordering::Relaxed);
        (&mut self.slots[head as usize & (SLOTS - 1)], head)
    }
    #[inline(always)]
    fn child(&mut self) {
        let id = self.id();
        let start = self.clock.now().0;
        black_box(&id);
        let end = self.clock.now().0;
        let (trace, parent) = (self.trace, self.parent);
        self.put(trace, parent, id, start, end);
    }
    #[inline(always)]
    fn root(&mut self) {
        let (trace, id) = ([self.id(), self.id()], self.id());
        let start = self.clock.now().0;
        black_box(&id);
        let end = self.clock.now().0;
        self.put(trace, 0, id, start, end);
    }
    #[inline(always)]
    fn put(&mut self, trace: [u64; 2], parent: u64, id: u64, start: u64, end: u64) {
        let (slot, head) = self.slot();
        slot[0] = trace[0];
        slot[1] = trace[1];
        slot[2] = id;
        slot[3] = parent;
        slot[4] = start;
        slot[5] = end;
        slot[6] = "child".as_ptr() as u64;
        slot[7] = 5 | 1 << 32;
        self.head.store(head + 1, Ordering::Release);
    }
}

impl<C: BenchClock> Floor<C, 16> {
    /// A span whose entries `fill` writes.
    #[inline(always)]
    fn span(&mut self, fill: impl FnOnce(&mut [u64; 16], &C)) {
        let id = self.id();
        let start = self.clock.now().0;
        let (trace, parent) = (self.trace, self.parent);
        let head = self.head.load(Ordering::Relaxed);
        let slot = &mut self.slots[head as usize & (SLOTS - 1)];
        slot[0] = trace[0];
        slot[1] = trace[1];
        slot[2] = id;
        slot[3] = parent;
        slot[4] = start;
        slot[6] = "child".as_ptr() as u64;
        slot[7] = 5;
        fill(slot, &self.clock);
        black_box(&mut *slot);
        slot[5] = self.clock.now().0;
        self.head.store(head + 1, Ordering::Release);
    }
}

/// Constant text, integer, bool, copied text of at most 16 bytes.
#[inline(always)]
fn put_four(slot: &mut [u64; 16]) {
    let text = text().as_bytes();
    slot[8] = 1 | 1 << 16 | 3 << 32;
    slot[9] = STATIC_TEXT.as_ptr() as u64;
    slot[10] = 2 | 2 << 16;
    slot[11] = int() as u64;
    slot[12] = 3 | 3 << 16 | u64::from(boolean()) << 32;
    slot[13] = 4 | 4 << 16 | (text.len() as u64) << 32;
    let len = text.len().min(16);
    // SAFETY: the two last words are 16 bytes.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), slot.as_mut_ptr().add(14).cast(), len);
    }
}

pub(crate) fn register(cases: &mut Vec<Case>) {
    child(cases, CHILD, Tsc);
    child(cases, CHILD_STD_CLOCK, StdClock::new());
    child(cases, CHILD_NO_CLOCK, Counting::default());
    four(cases, FOUR, Tsc);
    four(cases, FOUR_STD_CLOCK, StdClock::new());
    four(cases, FOUR_NO_CLOCK, Counting::default());

    let mut floor = Floor::<_, 8>::new(Tsc);
    cases.push(Case::new(ROOT, FLOOR, SPANS, move |m| {
        m.start();
        for _ in 0..SPANS {
            floor.root();
        }
        m.stop();
    }));

    let mut floor = Floor::<_, 16>::new(Tsc);
    cases.push(Case::new(TRACE, FLOOR, TRACES, move |m| {
        m.start();
        for _ in 0..TRACES {
            floor.span(|_, _| ());
            for _ in 0..10 {
                floor.span(|slot, clock| {
                    slot[8] = 1;
                    slot[9] = STATIC_TEXT.as_ptr() as u64;
                    slot[10] = 2;
                    slot[11] = int() as u64;
                    slot[12] = "retry".as_ptr() as u64;
                    slot[13] = clock.now().0;
                });
            }
        }
        m.stop();
    }));

    // What is left of a span that nobody wants: a look at the parent's flags, and an id to hand on.
    for row in [UNSAMPLED, UNSAMPLED_FOUR] {
        let mut floor = Floor::<_, 8>::new(Tsc);
        let flags = black_box(0u8);
        cases.push(Case::new(row, FLOOR, SPANS, move |m| {
            m.start();
            for _ in 0..SPANS {
                let id = floor.id();
                if black_box(flags) & 1 != 0 {
                    floor.child();
                }
                black_box(id);
            }
            m.stop();
        }));
    }
    far(cases);
}

/// The floor of a library's span: a load and a compare.
pub(crate) fn register_no_tracer(cases: &mut Vec<Case>) {
    static TRACER: AtomicU64 = AtomicU64::new(0);
    cases.push(Case::new(NO_TRACER, FLOOR, SPANS, |m| {
        m.start();
        for _ in 0..SPANS {
            black_box(TRACER.load(Ordering::Acquire) != 0);
        }
        m.stop();
    }));
}

fn child(cases: &mut Vec<Case>, row: Row, clock: impl BenchClock + 'static) {
    let mut floor = Floor::<_, 8>::new(clock);
    cases.push(Case::new(row, FLOOR, SPANS, move |m| {
        m.start();
        for _ in 0..SPANS {
            floor.child();
        }
        m.stop();
    }));
}

fn four(cases: &mut Vec<Case>, row: Row, clock: impl BenchClock + 'static) {
    let mut floor = Floor::<_, 16>::new(clock);
    cases.push(Case::new(row, FLOOR, SPANS, move |m| {
        m.start();
        for _ in 0..SPANS {
            floor.span(|slot, _| put_four(slot));
        }
        m.stop();
    }));
}

/// The floor's stores into memory that the other core has just read: what any ring pays.
fn far(cases: &mut Vec<Case>) {
    const RECORD: usize = 17;
    let memory: &'static [AtomicU64] = Vec::leak((0..16384).map(|_| AtomicU64::new(0)).collect());
    let read = crate::threads::elsewhere(move || {
        let sum = memory
            .iter()
            .map(|word| word.load(Ordering::Acquire))
            .fold(0, u64::wrapping_add);
        black_box(sum);
    });
    let run = move |m: &mut meter::Meter| {
        m.start();
        for record in memory.chunks_exact(RECORD).take(SPANS) {
            let start = Tsc.now().0;
            black_box(record);
            let end = Tsc.now().0;
            for (i, word) in record.iter().enumerate() {
                word.store(start ^ end ^ i as u64, Ordering::Relaxed);
            }
        }
        m.stop();
        read();
    };
    cases.push(Case::new(FOUR_FAR, FLOOR, SPANS, run).not_counted());
}
