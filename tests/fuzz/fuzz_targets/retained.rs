//! Retained memory with anything in it: a boot ends, what it makes of the boot before can be read to its end and
//! sent, and the new boot works.
//!
//! Input: a byte of flags, then edits of a memory that a boot has left: offset (two bytes), length (one), bytes.
//! With flag 1 the check words are made right again, so that mutation gets past them; flag 2 resets without power.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Body, Epoch, FixedSymbols, Frame, Link};
use spanlet::testing::ManualClock;
use spanlet::{
    AlwaysOn, Attributes, Boot, BuildId, DeviceIds, FlightRecorder, FlightTracer, InlineBuf,
    InstrumentationScope, KeyValue, LocalRecord, RecordSource, ResetReason, Retention, Span, Value,
};
use std::sync::OnceLock;

const N: usize = 1024;
const K: usize = 4;
const LEN: usize = size_of::<Recorder>();
/// Where the table of open spans begins; the words of tail, head and the rest before those of the records.
const OPEN: usize = 204;
const RING: usize = LEN - N - 48;
const BUILD: BuildId = BuildId(1);

type Recorder = FlightRecorder<N, K>;
type Tracer = FlightTracer<ManualClock, DeviceIds, AlwaysOn, N, K>;
type DeviceSpan<'a> = Span<&'static Tracer, InlineBuf<48>>;

#[repr(C, align(8))]
#[derive(Clone)]
struct Image([u8; LEN]);

/// The program's read-only memory: texts, and a scope that refers to them.
struct Texts {
    memory: &'static [u8],
    text: &'static str,
    scope: &'static InstrumentationScope<'static>,
}

fn texts() -> &'static Texts {
    static TEXTS: OnceLock<Texts> = OnceLock::new();
    TEXTS.get_or_init(|| {
        type Scope = InstrumentationScope<'static>;
        let memory: &'static mut [u64; 64] = Box::leak(Box::new([0; 64]));
        let at = memory.as_mut_ptr();
        let text = "handler, some more text, and what a text of \u{e9} says";
        // SAFETY: both parts fit into the memory, which is aligned and nobody else's; from here on it is only read.
        unsafe {
            at.cast::<u8>()
                .copy_from_nonoverlapping(text.as_ptr(), text.len());
            let text = core::slice::from_raw_parts(at.cast::<u8>(), text.len());
            let text = core::str::from_utf8(text).expect("as it was");
            let scope = at.add(32).cast::<Scope>();
            scope.write(InstrumentationScope::new(&text[..7]).with_version(&text[9..13]));
            Texts {
                memory: core::slice::from_raw_parts(at.cast(), 512),
                text,
                scope: &*scope,
            }
        }
    })
}

/// Boots from an image, and hands tracer and memory to `look`.
fn with_boot(image: &Image, epoch: u64, look: impl FnOnce(&'static Tracer, &Recorder)) {
    let memory = Box::into_raw(Box::new(image.clone()));
    // SAFETY: as large, aligned, and any bit pattern is a recorder; freed below, when nobody refers to it.
    let recorder: &'static Recorder = unsafe { &*memory.cast() };
    let tracer = Tracer::new(
        ManualClock::new(),
        DeviceIds::new(7, u32::try_from(epoch).expect("small")),
        AlwaysOn,
        recorder,
    );
    let tracer = Box::into_raw(Box::new(tracer));
    // SAFETY: freed below.
    look(unsafe { &*tracer }, recorder);
    // SAFETY: both from `into_raw`; the spans and readers of `look` are gone or forgotten.
    unsafe {
        drop(Box::from_raw(tracer));
        drop(Box::from_raw(memory));
    }
}

fn boot(epoch: u64, reason: ResetReason) -> Boot {
    Boot {
        build: BUILD,
        epoch: Epoch(epoch),
        reason,
        texts: texts().memory,
    }
}

/// What a boot leaves: records with all that they can hold, short ones, one of them read, and open spans.
fn left() -> &'static Image {
    static LEFT: OnceLock<Image> = OnceLock::new();
    LEFT.get_or_init(|| {
        let mut left = Image([0; LEN]);
        with_boot(&Image([0; LEN]), 1, |tracer, recorder| {
            let Texts { text, scope, .. } = texts();
            tracer.attach(&boot(1, ResetReason::PowerOn));
            drop::<DeviceSpan<'_>>(tracer.span(&text[..7]).start());
            let mut scratch = [0; 64];
            let mut records = tracer.records(&mut scratch).expect("nobody else reads");
            assert!(records.peek().is_some());
            records.advance();
            drop(records);
            let mut span: DeviceSpan<'_> = tracer.span(&text[..7]).scope(scope).start();
            let context = span.context();
            span.set_static(&text[9..13], &text[14..18])
                .set_static("elsewhere", "elsewhere")
                .set_attribute(&text[9..13], "copied text")
                .set_attribute(&text[9..13], &[1i64, 2][..])
                .set_attribute_copied("copied", &["a", "bc"][..])
                .set_attribute(&text[9..12], true)
                .add_event(&text[..7], &[KeyValue::new(&text[9..13], 2.5)])
                .add_link(&context, &[])
                .set_error("because");
            drop(span);
            for n in 0..3 {
                let mut span: DeviceSpan<'_> = tracer.span(&text[..7]).start();
                span.set_attribute(&text[9..13], n);
            }
            let open: [DeviceSpan<'_>; 2] =
                std::array::from_fn(|_| tracer.span(&text[14..18]).start());
            tracer.resetting(ResetReason::Watchdog);
            // SAFETY: plain words, which nobody writes now.
            unsafe {
                let from = core::ptr::from_ref(recorder).cast::<u8>();
                core::ptr::copy_nonoverlapping(from, left.0.as_mut_ptr(), LEN);
            }
            core::mem::forget(open);
        });
        // What follows knows where everything stands and how it is summed up: so it must change nothing.
        let mut sealed = left.clone();
        assert!(seal(&mut sealed.0) >= 7, "records and open spans");
        assert!(
            sealed.0 == left.0,
            "the layout has changed: seal() is to follow"
        );
        left
    })
}

/// Makes the check words right of whatever looks like a record or an open span; how many did.
fn seal(image: &mut [u8; LEN]) -> u32 {
    let word = |image: &[u8; LEN], at: usize| {
        u32::from_ne_bytes(image[at..at + 4].try_into().expect("four bytes"))
    };
    let mut sealed = 0;
    for slot in 0..K {
        let at = OPEN + 56 * slot;
        if word(image, at) > 2 {
            let sum = (at + 4..at + 56).step_by(4);
            let sum = sum.fold(check_of(0), |sum, at| add(sum, word(image, at)));
            let state = if sum < 3 { sum + 3 } else { sum };
            image[at..at + 4].copy_from_slice(&state.to_ne_bytes());
            sealed += 1;
        }
    }
    let (mut at, head) = (word(image, RING), word(image, RING + 4));
    let place = |position: u32| LEN - N + position as usize % (N / 8) * 8;
    // At most as many as the ring has words.
    for _ in 0..N / 8 {
        let header = word(image, place(at));
        let words = header & 0x7fff;
        let is_header = header >> 15 & 0x7fff == !words & 0x7fff && header >> 30 != 0;
        let to_end = (N / 8) as u32 - at % (N / 8) as u32;
        if at == head || !is_header || words == 0 || words > to_end {
            break;
        }
        if header >> 30 != 3 && words > 1 {
            let first = place(at);
            let mut sum = add(check_of(at), word(image, first + 4));
            sum = add(sum, words);
            sum = add(sum, word(image, first + 12));
            for half in (first + 16..first + 8 * words as usize).step_by(4) {
                sum = add(sum, word(image, half));
            }
            image[first + 8..first + 12].copy_from_slice(&sum.to_ne_bytes());
            sealed += 1;
        }
        at = at.wrapping_add(words);
    }
    sealed
}
fn check_of(place: u32) -> u32 {
    place ^ 0x5bd1_e995
}
fn add(sum: u32, word: u32) -> u32 {
    (sum.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b1)
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, mut edits)) = data.split_first() else {
        return;
    };
    let mut image = left().clone();
    while let [low, high, len, rest @ ..] = edits {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % LEN;
        let len = usize::from(*len).min(rest.len()).min(LEN - at);
        image.0[at..at + len].copy_from_slice(&rest[..len]);
        edits = &rest[len..];
    }
    let is_forged = flags & 1 != 0;
    if is_forged {
        seal(&mut image.0);
    }
    let reason = [ResetReason::Software, ResetReason::PowerOn][usize::from(flags >> 1 & 1)];
    with_boot(&image, 2, |tracer, _| {
        let recovery = tracer.attach(&boot(2, reason)).expect("attached once");
        let mut scratch = [0; 256];
        if let Some(mut records) = recovery.records(&mut scratch) {
            assert!(recovery.retention == Retention::Kept);
            let clock = records.clock();
            let mut count = 0;
            while let Some((_, record)) = records.peek() {
                read(&record);
                records.advance();
                count += 1;
                assert!(count <= N, "more records than words");
            }
            assert_eq!(records.counters().open(), 0);
            records.rewind();
            send(&mut records, &clock);
        }
        let text = &texts().text[..7];
        drop::<DeviceSpan<'_>>(tracer.span(text).start());
        let mut scratch = [0; 64];
        let mut records = tracer.records(&mut scratch).expect("nobody else reads");
        let (sequence, record) = records.peek().expect("the new boot's span");
        if is_forged {
            // Numbers half way round, with right check words, mislead the counts: no damage does that, but 1 in 2^32.
            return;
        }
        assert_eq!((sequence, record.name()), (0, text));
        records.advance();
        assert!(records.peek().is_none());
        let counters = records.counters();
        assert_eq!(
            (counters.started, counters.recorded, counters.open()),
            (1, 1, 0)
        );
        assert_eq!(counters.overwritten, 0);
    });
});

/// Whatever was made readable can be sent, and a host can read it.
fn send(records: &mut impl RecordSource, clock: &impl spanlet::Clock) {
    let mut drain: Drain<512, 0> = Drain::new(Epoch(1), Link::datagrams(400), Delivery::OneWay);
    let symbols: FixedSymbols<1, 1> = FixedSymbols::new();
    let mut words = [0; 512];
    let mut frames = 0;
    while let Some(frame) = drain.next_frame(records, clock) {
        if let Body::Records(batch) = Frame::parse(frame).expect("a frame").body() {
            let mut decoded = batch.records();
            while let Some(record) = decoded.decode_next(&symbols, &mut words) {
                std::hint::black_box(record.expect("a record").span.name());
            }
        }
        frames += 1;
        assert!(frames <= N, "it does not end");
    }
}

/// Reads every byte.
fn read(record: &LocalRecord<'_>) {
    let span = record.view();
    let mut sum = 0u64;
    let mut text = |text: &str| {
        assert!(std::str::from_utf8(text.as_bytes()).is_ok());
        sum += text.bytes().map(u64::from).sum::<u64>();
    };
    text(span.name());
    text(span.status_description().unwrap_or_default());
    text(span.trace_state().unwrap_or_default());
    if let Some(scope) = span.scope() {
        for part in [scope.name, scope.version, scope.schema_url] {
            text(part);
        }
    }
    attributes(span.attributes(), &mut text);
    for event in span.events() {
        text(event.name());
        attributes(event.attributes(), &mut text);
    }
    for link in span.links() {
        text(link.trace_state().unwrap_or_default());
        attributes(link.attributes(), &mut text);
    }
    assert!(span.end() >= span.start());
    std::hint::black_box((sum, span.trace_id(), span.parent_id()));
}

fn attributes(attributes: Attributes<'_>, text: &mut impl FnMut(&str)) {
    for kv in attributes {
        text(kv.key);
        match kv.value {
            Value::Str(value) => text(value),
            Value::StrArray(texts) => texts.iter().for_each(&mut *text),
            Value::Bytes(bytes) | Value::Any(bytes) => {
                std::hint::black_box(bytes.to_vec());
            }
            Value::BoolArray(items) => assert!(items.iter().filter(|v| **v).count() <= items.len()),
            Value::I64Array(items) => {
                std::hint::black_box(items.to_vec());
            }
            Value::F64Array(items) => {
                std::hint::black_box(items.to_vec());
            }
            _ => {}
        }
    }
}
