//! What a boot makes of retained memory that a reset did not leave as it was: faded, flipped, foreign, random.
//! And the ring against a naive one, and the boot before through drain, frames and a host's ledger.
#![cfg(not(any(loom, step)))]
#![allow(missing_docs, reason = "tests")]

mod flight;

use flight::{BUILD, Board, DeviceSpan, Image, K, N, Recorder, TEXTS, boot_before, drain, text};
use proptest::prelude::*;
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{
    Body, Epoch, FixedSymbols, Frame, Link, Progress, SequenceTracker, StreamDecoder,
};
use spanlet::ring::{FlightRing, PushError, ReadError};
use spanlet::{
    Boot, BuildId, DeviceIds, FlightRecorder, FlightTracer, InlineBuf, InstrumentationScope,
    KeyValue, RecordSource, ResetReason, Retention, Span, SpanContext, Status, Value,
};
use std::collections::{BTreeMap, VecDeque};

/// What the boot that ended had recorded, and what a boot finds of it if nothing is damaged.
struct Crashed {
    image: Box<Image>,
    /// Ids of the ended spans, by their number.
    ended: Vec<spanlet::SpanId>,
    clean: Spans,
}
type Spans = BTreeMap<u32, (spanlet::SpanId, flight::Seen)>;

/// Six ended spans, of which the ring holds some, and two open ones.
fn crashed() -> Crashed {
    let board = Board::power_up(&Image::BLANK, false);
    board.attach(1);
    let root: DeviceSpan = board.tracer.span(text("sampled")).start();
    let mut ended = Vec::new();
    for n in 0..6 {
        let mut span: DeviceSpan = board.tracer.span(text("handler")).parent(&root).start();
        span.set_attribute(text("n"), n);
        ended.push(span.context().span_id());
    }
    let child: DeviceSpan = board.tracer.span(text("long")).parent(&root).start();
    let image = Image::of(board.recorder);
    core::mem::forget((root, child));
    let board = Board::power_up(&image, false);
    let outcome = boot_before(&board.attach(2), 1);
    assert_eq!(outcome.closed, 2);
    Crashed {
        image,
        ended,
        clean: outcome.spans,
    }
}

impl Crashed {
    /// Whether this is what happened: one of the ended spans whole, or an open one, closed perhaps with doubt
    /// about the memory.
    fn has(&self, (id, seen): &(spanlet::SpanId, flight::Seen)) -> bool {
        if let Some(n) = seen.n {
            return self.ended.get(n as usize) == Some(id)
                && (seen.name.as_str(), seen.status) == ("handler", Status::Unset)
                && seen.attributes.len() == 1;
        }
        let mut seen = seen.clone();
        seen.attributes.remove("reset.retention");
        self.clean
            .values()
            .any(|known| *known == (*id, seen.clone()))
    }
}

/// Boots from an image. Whatever it holds: nothing is invented, and the new boot works.
fn boot(recorder: &'static Recorder, image: &Image) -> (Retention, Spans) {
    let board = Board::reset(recorder, image, false);
    let recovery = board.attach(2);
    let mut scratch = [0; 128];
    let mut spans = BTreeMap::new();
    if let Some(mut records) = recovery.records(&mut scratch) {
        spans = drain(&mut records);
        let counters = records.counters();
        assert_eq!(counters.open(), 0, "{counters:?}");
        if recovery.is_verified() {
            let gone = counters.overwritten + counters.lost_at_reset;
            assert_eq!(spans.len() as u32 + gone, counters.recorded, "{counters:?}");
        }
    }
    let mut span: DeviceSpan = board.tracer.span(text("boot")).start();
    span.set_attribute(text("n"), 1);
    drop(span);
    let mut records = board
        .tracer
        .records(&mut scratch)
        .expect("nobody else reads");
    let now = drain(&mut records);
    assert_eq!(now.len(), 1);
    assert_eq!(records.counters().recorded, 1);
    (recovery.retention, spans)
}

/// Every single bit: at most a record or two are lost, or the memory is refused; no span changes.
#[test]
fn each_flipped_bit() {
    let crashed = crashed();
    let board = Board::power_up(&Image::BLANK, false);
    let (mut refused, mut lost, mut kept) = (0, 0, 0);
    for bit in 0..crashed.image.0.len() * 8 {
        let mut flipped = crashed.image.clone();
        flipped.0[bit / 8] ^= 1 << (bit % 8);
        let (retention, spans) = boot(board.recorder, &flipped);
        if retention != Retention::Kept {
            refused += 1;
            continue;
        }
        kept += 1;
        lost += crashed.clean.len().saturating_sub(spans.len());
        for seen in spans.values() {
            assert!(crashed.has(seen), "bit {bit}: {seen:?}");
        }
        // One record, or two: what leads to all of them is not in the ring's own words.
        let is_in_words = bit / 8 >= size_of::<Recorder>() - N;
        assert!(
            !is_in_words || spans.len() + 2 >= crashed.clean.len(),
            "bit {bit}: {} left",
            spans.len()
        );
    }
    println!("{kept} kept, {lost} records lost in them, {refused} refused");
    assert!(lost > 0 && refused > 0 && kept > 5 * refused);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Many bits, bytes, or the whole: nothing that was not recorded comes out.
    #[test]
    fn random_damage(flips in prop::collection::vec((0..size_of::<Recorder>(), any::<u8>()), 1..40)) {
        thread_local! {
            static WORLD: (Crashed, &'static Recorder) =
                (crashed(), Board::power_up(&Image::BLANK, false).recorder);
        }
        WORLD.with(|(crashed, recorder)| {
            let mut damaged = crashed.image.clone();
            for (at, byte) in &flips {
                damaged.0[*at] ^= byte;
            }
            let (_, spans) = boot(recorder, &damaged);
            for seen in spans.values() {
                prop_assert!(crashed.has(seen), "{:?}", seen);
            }
            Ok(())
        })?;
    }

    /// Anything at all behind a right header: no panic, no span.
    #[test]
    fn random_memory(seed in any::<u64>(), from in 32..600usize) {
        thread_local! {
            static WORLD: (Box<Image>, &'static Recorder) =
                (crashed().image, Board::power_up(&Image::BLANK, false).recorder);
        }
        WORLD.with(|(image, recorder)| {
            let (mut random, mut state) = (image.clone(), seed | 1);
            for byte in random.0.iter_mut().skip(from) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            }
            let (_, spans) = boot(recorder, &random);
            prop_assert!(spans.len() <= K, "{spans:?}");
            Ok(())
        })?;
    }

    /// The ring against a `VecDeque`.
    #[test]
    fn ring_is_a_queue_that_drops_the_oldest(ops in prop::collection::vec((0..8u8, 0..20usize), 0..200)) {
        ring_against_model(&ops)?;
    }
}

fn ring_against_model(ops: &[(u8, usize)]) -> Result<(), TestCaseError> {
    const WORDS: usize = 32;
    let ring = FlightRing::<{ WORDS * 8 }>::new();
    let mut reader = ring.reader().unwrap();
    // Number (of padding: none) and words of the slots that are there.
    let mut model: VecDeque<(Option<u32>, usize)> = VecDeque::new();
    let (mut head, mut used, mut next, mut cursor, mut large) = (0usize, 0usize, 0u32, 0u32, 0);
    let (mut read_count, mut read_number) = (0u32, 0u32);
    let mut buffer = [0; WORDS];
    for (op, len) in ops {
        match op {
            0..=4 => {
                let words: Vec<u64> = (0..*len as u64)
                    .map(|i| u64::from(next) << 32 | i)
                    .collect();
                let got = ring.push_words(&words);
                if *len == 0 || *len > FlightRing::<{ WORDS * 8 }>::MAX_WORDS {
                    prop_assert_eq!(got, Err(PushError::TooLarge));
                    large += 1;
                    continue;
                }
                prop_assert_eq!(got, Ok(()));
                let (to_end, slot) = (WORDS - head % WORDS, len + 1);
                let padding = if slot > to_end { to_end } else { 0 };
                while used + padding + slot > WORDS {
                    used -= model.pop_front().unwrap().1;
                }
                if padding != 0 {
                    model.push_back((None, padding));
                }
                model.push_back((Some(next), slot));
                (used, head, next) = (used + padding + slot, head + padding + slot, next + 1);
            }
            5 | 6 => {
                let expected = model
                    .iter()
                    .find(|r| r.0.is_some_and(|n| n >= cursor))
                    .copied();
                match (reader.peek(&mut buffer), expected) {
                    (Ok(taken), Some((Some(number), slot))) => {
                        prop_assert_eq!((taken.number, taken.words), (number, slot - 1));
                        prop_assert_eq!(buffer[0] >> 32, u64::from(number));
                        for (i, word) in buffer.iter().enumerate().take(slot - 1).skip(1) {
                            prop_assert_eq!(*word, u64::from(number) << 32 | i as u64);
                        }
                        reader.advance();
                        cursor = number + 1;
                        if number >= read_number {
                            (read_count, read_number) = (read_count + 1, number + 1);
                        }
                        if *op == 6 {
                            reader.release_before(number + 1);
                            while let Some(at) =
                                model.iter().position(|r| r.0.is_some_and(|n| n <= number))
                            {
                                used -= model.drain(..=at).map(|r| r.1).sum::<usize>();
                            }
                        }
                    }
                    (Err(ReadError::Empty), None) => {}
                    (got, want) => prop_assert!(false, "{got:?} instead of {want:?}"),
                }
            }
            _ => {
                reader.rewind();
                cursor = 0;
            }
        }
        let oldest = model.iter().find_map(|r| r.0).unwrap_or(next);
        prop_assert_eq!(ring.overwritten(), oldest.max(read_number) - read_count);
        prop_assert_eq!(
            (ring.recorded(), ring.too_large(), ring.refused()),
            (next, large, 0)
        );
    }
    Ok(())
}

#[test]
fn threads_at_full_speed() {
    let ring = FlightRing::<1024>::new();
    let (writers, each) = (3u64, 20_000u64);
    let (mut read, mut last) = (0u32, [0u64; 3]);
    let mut buffer = [0; 16];
    std::thread::scope(|scope| {
        let work = |w: u64| {
            let ring = &ring;
            move || {
                for i in 1..=each {
                    let len = 2 + (i as usize * 7 + w as usize) % 9;
                    let _ = ring.push_words(&vec![w << 62 | i << 32 | 0xabcd; len]);
                }
            }
        };
        let all: Vec<_> = (0..writers).map(|w| scope.spawn(work(w))).collect();
        let mut reader = ring.reader().unwrap();
        let mut number = None;
        let mut take = |reader: &mut spanlet::ring::FlightReader<'_, 1024>| {
            while let Ok(taken) = reader.peek(&mut buffer) {
                let words = &buffer[..taken.words];
                assert!(
                    words[1..]
                        .iter()
                        .all(|w| *w == words[0] >> 32 << 32 | 0xabcd),
                    "torn"
                );
                let (w, i) = ((words[0] >> 62) as usize, words[0] << 2 >> 34);
                assert!(i > last[w], "out of order");
                last[w] = i;
                assert!(number.is_none_or(|n| n < taken.number));
                number = Some(taken.number);
                reader.advance();
                reader.release_before(taken.number + 1);
                read += 1;
            }
        };
        while all.iter().any(|t| !t.is_finished()) {
            take(&mut reader);
        }
        take(&mut reader);
    });
    let all = (writers * each) as u32;
    assert_eq!(read + ring.overwritten() + ring.refused(), all);
    assert!(read > 0);
}

#[test]
fn strangers_are_refused_by_name() {
    let image = crashed().image;
    let other = BuildId(7);
    let board = Board::power_up(&image, false);
    let recovery = board.attach_as(2, other);
    assert_eq!(recovery.retention, Retention::OtherBuild(BUILD));
    assert_eq!(recovery.previous_epoch(), None);
    assert_eq!(board.tracer.counters().started, 0);

    let garbage = Image([0xa5; size_of::<Recorder>()]);
    assert_eq!(
        Board::power_up(&garbage, false).attach(2).retention,
        Retention::Nothing
    );
    assert_eq!(
        Board::power_up(&Image::BLANK, false).attach(2).retention,
        Retention::Nothing
    );
    let mut layout = image.clone();
    layout.0[4] ^= 1;
    assert_eq!(
        Board::power_up(&layout, false).attach(2).retention,
        Retention::OtherLayout
    );
}

/// A reference is followed only into the range of the program's texts, whatever else says that it is right.
#[test]
fn texts_elsewhere_are_shown_as_symbols() {
    static OWN: &str = "inside|sensor|made up|\u{e9}";
    static MEMORY: FlightRecorder<4096, 2> = FlightRecorder::new();
    type Tracer =
        FlightTracer<spanlet::testing::ManualClock, DeviceIds, spanlet::AlwaysOn, 4096, 2>;
    static FIRST: Tracer = Tracer::new(
        spanlet::testing::ManualClock::new(),
        DeviceIds::new(1, 1),
        spanlet::AlwaysOn,
        &MEMORY,
    );
    static SECOND: Tracer = Tracer::new(
        spanlet::testing::ManualClock::new(),
        DeviceIds::new(1, 2),
        spanlet::AlwaysOn,
        &MEMORY,
    );
    static SCOPE: InstrumentationScope<'static> = InstrumentationScope::new("elsewhere too");
    let boot = |epoch| Boot {
        build: BUILD,
        epoch: Epoch(epoch),
        reason: ResetReason::External,
        texts: OWN.as_bytes(),
    };
    FIRST.attach(&boot(1)).unwrap();
    {
        let mut span: Span<_, InlineBuf<64>> = FIRST.span(&OWN[..6]).scope(&SCOPE).start();
        span.set_static(&OWN[7..13], &OWN[14..21])
            .set_static("elsewhere", &OWN[14..21])
            .set_static(&OWN[7..12], "elsewhere")
            .set_attribute(&OWN[8..13], &[1i64, 2][..])
            .set_attribute_copied("copied", &["a", "bc"][..])
            .set_attribute(&OWN[9..13], &[true, false][..])
            .set_attribute(&OWN[10..13], 2.5)
            .add_event("elsewhere", &[KeyValue::new(&OWN[7..13], "text")])
            .add_event(&OWN[..6], &[])
            .update_name("renamed");
        let context: SpanContext = span.context();
        span.add_link(&context, &[]);
        span.set_error("because");
    }
    let open: Span<_, InlineBuf<8>> = FIRST.span("elsewhere").start();
    core::mem::forget(open);

    let recovery = SECOND.attach(&boot(2)).unwrap();
    let mut scratch = [0; 256];
    let mut records = recovery.records(&mut scratch).unwrap();
    let (_, record) = records.peek().unwrap();
    let view = record.view();
    assert_eq!((view.name(), view.status()), ("renamed", Status::Error));
    assert_eq!(view.status_description(), Some("because"));
    assert_eq!(view.scope(), None);
    assert_eq!(view.truncated_values(), 1, "the scope");
    let attributes: Vec<(String, String)> = view
        .attributes()
        .map(|kv| (kv.key.to_owned(), format!("{:?}", kv.value)))
        .collect();
    let keys: Vec<&str> = attributes.iter().map(|(key, _)| key.as_str()).collect();
    let symbol = format!("sym:{:#010x}", "elsewhere".as_ptr().addr());
    assert!(keys[1].starts_with("sym:0x"), "{keys:?} {symbol}");
    assert_eq!(attributes[0], ("sensor".into(), "Str(\"made up\")".into()));
    assert!(attributes[2].1.contains("sym:0x"), "{attributes:?}");
    assert_eq!(attributes[3].1, "I64Array([1, 2])");
    assert_eq!(attributes[4].0, "copied");
    assert_eq!(attributes[5].1, "BoolArray([true, false])");
    assert_eq!(attributes[6].1, "F64(2.5)");
    let events: Vec<_> = view.events().collect();
    assert!(events[0].name().starts_with("sym:0x"));
    assert_eq!(
        events[0]
            .attributes()
            .map(|kv| kv.value)
            .collect::<Vec<_>>(),
        [Value::Str("text")]
    );
    assert_eq!(events[1].name(), "inside");
    assert_eq!(view.links().count(), 1);
    records.advance();
    let (_, record) = records.peek().unwrap();
    assert!(record.name().starts_with("sym:0x"), "{record:?}");
    assert_eq!(record.status_description(), Some("reset"));
    let reason = record
        .attributes()
        .find(|kv| kv.key == "reset.reason")
        .map(|kv| kv.value);
    assert_eq!(reason, Some(Value::Str("external")));
    assert!(record.is_duration_unknown());
}

/// From the ring of the boot before to a host's ledger, by frames, behind those that the boot itself had sent.
#[test]
fn the_host_balances_the_ledger_over_the_reset() {
    let board = Board::power_up(&Image::BLANK, false);
    board.attach(1);
    let mut bytes = Vec::new();
    let mut send = |source: &mut dyn FnMut(&mut Vec<u8>)| source(&mut bytes);
    let open: DeviceSpan = board.tracer.span(text("sampled")).start();
    let mut scratch = [0; 64];
    {
        let mut link: Drain<512, 16> = Drain::new(Epoch(1), Link::stream(), Delivery::OneWay);
        for n in 0..4 {
            let mut span: DeviceSpan = board.tracer.span(text("handler")).start();
            span.set_attribute(text("n"), n);
            drop(span);
            let mut records = board.tracer.records(&mut scratch).unwrap();
            send(&mut |to| {
                link.drain(&mut records, to, board.tracer.clock(), 9)
                    .unwrap();
            });
        }
    }
    for n in 0..9 {
        let mut span: DeviceSpan = board.tracer.span(text("long")).start();
        span.set_attribute(text("n"), n);
    }
    let image = Image::of(board.recorder);
    core::mem::forget(open);

    let board = Board::power_up(&image, false);
    let recovery = board.attach(2);
    let mut scratch = [0; 128];
    let mut records = recovery.records(&mut scratch).unwrap();
    let clock = records.clock();
    let mut link: Drain<512, 0> = Drain::new(Epoch(1), Link::stream(), Delivery::OneWay);
    send(&mut |to| {
        link.drain(&mut records, to, &clock, 99).unwrap();
    });

    let (mut tracker, mut symbols) = (SequenceTracker::new(), FixedSymbols::<16, 256>::new());
    let mut decoder = StreamDecoder::<1024>::new();
    let (mut rest, mut names) = (&bytes[..], Vec::new());
    while let Progress::Frame(frame) = decoder.feed(&mut rest) {
        let frame = Frame::parse(frame).unwrap();
        assert_eq!(frame.epoch(), Epoch(1));
        let Body::Records(batch) = frame.body() else {
            panic!("only records")
        };
        batch.learn(&mut symbols);
        tracker.batch(batch);
        let (mut records, mut words) = (batch.records(), [0; 128]);
        while let Some(record) = records.decode_next(&symbols, &mut words) {
            let record = record.unwrap();
            if tracker.accept(record.sequence) {
                names.push(record.span.name().to_owned());
            }
        }
    }
    let ledger = tracker.ledger();
    assert!(ledger.is_balanced(), "{ledger:?}");
    assert_eq!(
        (
            ledger.started,
            ledger.open,
            ledger.link_lost,
            ledger.pending
        ),
        (14, 0, 0, 0),
        "{ledger:?}"
    );
    assert!(ledger.overwritten > 0);
    assert_eq!(
        names.last().map(String::as_str),
        Some("sampled"),
        "the open one"
    );
    assert_eq!(names.iter().filter(|n| *n == "handler").count(), 4);
    assert!(TEXTS.contains("handler") && N == 512);
}
