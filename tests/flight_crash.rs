//! RUSTFLAGS="--cfg step" cargo test -p spanlet-tests --release --test flight_crash
//! Power fails after every single store: in critical sections, in an interrupt that came at any boundary,
//! in the drain, and inside the recovery from the last time. What the next boot makes of the memory must be
//! what happened, and its ledger must balance to the span.
#![cfg(step)]
#![allow(missing_docs, reason = "tests")]

mod flight;

use flight::{
    Board, DeviceSpan, Image, Life, Recorder, Slot, Story, Tracer, boot_before, drain, text,
};
use spanlet::ring::sync::{set_hook, set_store_hook};
use spanlet::{Boot, RecordSource, Retention, Status};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// Opens span `slot`.
    Start(usize, &'static str),
    /// Sets its number and ends it.
    End(usize),
    /// The same with status Error.
    Fail(usize),
    /// Reads so many records; releases all but the last.
    Read(usize),
}
use Act::*;

struct Device {
    tracer: &'static Tracer,
    story: RefCell<Story>,
    open: RefCell<Vec<Option<DeviceSpan>>>,
    keeps_failed: bool,
    next: Cell<i64>,
    boundary: Cell<u32>,
    stores: Cell<u32>,
    interrupt_at: u32,
    /// Of all stores, those whose images are kept: every so many, from here.
    every: u32,
    from: u32,
    images: RefCell<Vec<(Box<Image>, Story)>>,
}

impl Device {
    fn act(&self, act: Act) {
        match act {
            Start(slot, name) => {
                self.story.borrow_mut().in_flight += 1;
                let mut span: DeviceSpan = self.tracer.span(text(name)).start();
                let n = self.next.replace(self.next.get() + 1);
                span.set_attribute(text("n"), n);
                let overflowed = self.tracer.recorder().open_table().overflowed();
                let mut story = self.story.borrow_mut();
                story.in_flight -= 1;
                story.started += 1;
                let kept = if !span.is_recording() {
                    Slot::NeedsNone
                } else if overflowed != story.without_slot {
                    Slot::FoundNone
                } else if name.starts_with('r') && !self.keeps_failed {
                    // Found by the reset, it is sampled out.
                    Slot::NeedsNone
                } else {
                    Slot::Has
                };
                story.without_slot += u32::from(overflowed != story.without_slot);
                let id = span.context().span_id().to_word();
                story.spans.insert(id, (n, Life::Open(kept)));
                drop(story);
                let mut open = self.open.borrow_mut();
                let slots = open.len().max(slot + 1);
                open.resize_with(slots, || None);
                assert!(open[slot].is_none());
                open[slot] = Some(span);
            }
            End(slot) | Fail(slot) => {
                let mut span = self.open.borrow_mut()[slot].take().expect("open");
                let id = span.context().span_id().to_word();
                let live = |life: fn(Slot) -> Life| {
                    if let Some((_, to)) = self.story.borrow_mut().spans.get_mut(&id)
                        && let Life::Open(slot) | Life::Ending(slot) = *to
                    {
                        *to = life(slot);
                    }
                };
                if matches!(act, Fail(_)) {
                    span.set_status(Status::Error);
                }
                live(Life::Ending);
                self.story.borrow_mut().in_flight += 1;
                span.end();
                self.story.borrow_mut().in_flight -= 1;
                live(|_| Life::Ended);
            }
            Read(most) => {
                let mut scratch = [0; 64];
                let Some(mut records) = self.tracer.records(&mut scratch) else {
                    return;
                };
                self.story.borrow_mut().is_reading = true;
                let mut last = None;
                for _ in 0..most {
                    let Some(sequence) = records.peek().map(|(sequence, _)| sequence) else {
                        break;
                    };
                    self.story.borrow_mut().delivered.insert(sequence);
                    records.advance();
                    last = Some(sequence);
                }
                if let Some(last) = last {
                    records.release_before(last);
                }
                self.story.borrow_mut().is_reading = false;
            }
        }
    }
}

type Images = Vec<(Box<Image>, Story)>;

/// Runs `main` with `handler` at a boundary; images after stores, and how many boundaries there were.
fn run(
    main: &[Act],
    handler: &'static [Act],
    interrupt_at: u32,
    keeps_failed: bool,
    (every, from): (u32, u32),
) -> (Images, u32) {
    set_hook(None);
    set_store_hook(None);
    thread_local! {
        static RECORDER: &'static Recorder = Box::leak(Box::new(Recorder::new()));
    }
    let board = Board::reset(RECORDER.with(|r| *r), &Image::BLANK, keeps_failed);
    assert_eq!(board.attach(1).retention, Retention::Nothing);
    let device = Rc::new(Device {
        tracer: board.tracer,
        story: RefCell::default(),
        open: RefCell::default(),
        keeps_failed,
        next: Cell::new(0),
        boundary: Cell::new(0),
        stores: Cell::new(0),
        interrupt_at,
        every,
        from: from % every,
        images: RefCell::default(),
    });
    let hooked = Rc::downgrade(&device);
    set_hook(Some(Rc::new(move || {
        let Some(device) = hooked.upgrade() else {
            return;
        };
        if device.boundary.replace(device.boundary.get() + 1) == device.interrupt_at {
            handler.iter().for_each(|act| device.act(*act));
        }
    })));
    let hooked = Rc::downgrade(&device);
    let recorder = board.recorder;
    set_store_hook(Some(Rc::new(move || {
        let Some(device) = hooked.upgrade() else {
            return;
        };
        if device.stores.replace(device.stores.get() + 1) % device.every == device.from {
            let story = device.story.borrow().clone();
            device
                .images
                .borrow_mut()
                .push((Image::of(recorder), story));
        }
    })));
    main.iter().for_each(|act| device.act(*act));
    set_hook(None);
    set_store_hook(None);
    let left = device.open.take();
    left.into_iter().flatten().for_each(core::mem::forget);
    let images = device.images.take();
    (images, device.boundary.get())
}

#[derive(Default)]
struct Tally {
    resets: u64,
    again: u64,
    closed: u64,
    half_written: u64,
    overwritten: u64,
    lost: u64,
    delivered_again: u64,
}

/// Boots from an image; checks; `deep` also after every store of the recovery.
fn recover(tally: &mut Tally, image: &Image, story: &Story, keeps_failed: bool, deep: bool) {
    thread_local! {
        static NEXT: &'static Recorder = Box::leak(Box::new(Recorder::new()));
        static LAST: &'static Recorder = Box::leak(Box::new(Recorder::new()));
    }
    let board = Board::reset(NEXT.with(|r| *r), image, keeps_failed);
    let seconds = Rc::new(RefCell::new(Vec::new()));
    if deep {
        let (into, recorder) = (seconds.clone(), board.recorder);
        set_store_hook(Some(Rc::new(move || {
            into.borrow_mut().push(Image::of(recorder))
        })));
    }
    let recovery = board.attach(2);
    set_store_hook(None);
    assert_eq!(recovery.retention, Retention::Kept);
    assert!(recovery.is_verified(), "a plain memory is never damaged");
    let outcome = boot_before(&recovery, 1);
    story.check(&outcome);
    tally.resets += 1;
    tally.closed += u64::from(outcome.closed);
    tally.half_written += u64::from(outcome.half_written);
    tally.overwritten += u64::from(outcome.counters.overwritten);
    tally.lost += u64::from(outcome.counters.lost_at_reset);
    let again = outcome.spans.keys().filter(|s| story.delivered.contains(s));
    tally.delivered_again += again.count() as u64;
    still_works(&board, 0);

    // The last image is the one in which the new boot has begun.
    let seconds = seconds.take();
    let before_last = seconds.len().saturating_sub(1);
    for second in seconds.iter().take(before_last) {
        let board = Board::reset(LAST.with(|r| *r), second, keeps_failed);
        let recovery = board.attach(3);
        assert!(recovery.is_verified());
        if recovery.previous_epoch() == Some(spanlet::frame::Epoch(2)) {
            // The boot had begun.
            continue;
        }
        let second = boot_before(&recovery, 1);
        // A reset between two steps of the recovery may change the name of one loss.
        let in_recovery = Story {
            in_flight: story.in_flight + 1,
            ..story.clone()
        };
        in_recovery.check(&second);
        let ids = |o: &flight::Outcome| {
            let mut ids: Vec<_> = o.spans.values().map(|(id, _)| id.to_word()).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(&second), ids(&outcome), "another story the second time");
        tally.again += 1;
    }
}

/// The new boot records and reads as if nothing had been.
fn still_works(board: &Board, before: u32) {
    for _ in 0..9 {
        let mut span: DeviceSpan = board.tracer.span(text("boot")).start();
        span.set_attribute(text("n"), 1);
    }
    let mut scratch = [0; 64];
    let mut records = board
        .tracer
        .records(&mut scratch)
        .expect("nobody else reads");
    let got = drain(&mut records);
    assert!(got.values().all(|(_, seen)| seen.name == "boot"));
    assert_eq!(got.keys().last(), Some(&(before + 8)));
    let counters = records.counters();
    assert_eq!(counters.started, before + 9);
    assert_eq!(counters.open(), 0);
    assert_eq!(got.len() as u32 + counters.overwritten, counters.recorded);
}

const MAIN: &[Act] = &[
    Start(0, "sampled"),
    Start(1, "sampled"),
    End(1),
    Start(1, "dropped"),
    End(1),
    Start(1, "recorded only"),
    Start(2, "recorded only"),
    Fail(2),
    Read(1),
    Start(2, "long"),
    Start(3, "sampled"),
    Start(4, "sampled"),
    End(3),
    End(2),
    Read(2),
    Start(2, "sampled"),
    End(4),
    End(1),
    End(2),
    Read(3),
    End(0),
    // More than the ring holds.
    Start(0, "sampled"),
    Start(1, "long"),
    End(1),
    Start(1, "long"),
    End(1),
    Start(1, "sampled"),
    Start(2, "recorded only"),
    Fail(1),
    Start(1, "sampled"),
    End(1),
    Start(1, "sampled"),
    End(1),
    End(2),
    Start(1, "sampled"),
    End(1),
    Read(1),
    End(0),
];

fn tell(name: &str, tally: &Tally, least: u64) {
    println!(
        "{name}: {} resets, {} more in recovery; {} open spans closed, {} half written, {} overwritten, \
         {} lost, {} delivered again",
        tally.resets,
        tally.again,
        tally.closed,
        tally.half_written,
        tally.overwritten,
        tally.lost,
        tally.delivered_again
    );
    assert!(
        tally.resets >= least,
        "{name}: only {} resets",
        tally.resets
    );
    assert!(tally.closed > 0 && tally.half_written > 0 && tally.overwritten > 0 && tally.lost > 0);
}

#[test]
fn after_every_store() {
    let mut tally = Tally::default();
    for keeps_failed in [false, true] {
        let (images, _) = run(MAIN, &[], u32::MAX, keeps_failed, (1, 0));
        for (i, (image, story)) in images.iter().enumerate() {
            recover(&mut tally, image, story, keeps_failed, i % 5 == 0);
        }
    }
    assert!(tally.again > 5_000, "{}", tally.again);
    tell("after every store", &tally, 1_000);
}

#[test]
fn after_every_store_of_an_interrupt_anywhere() {
    let mut tally = Tally::default();
    for (handler, keeps_failed) in [
        (&[Start(7, "handler"), End(7)][..], true),
        (
            &[Start(7, "handler"), Start(8, "handler"), End(8)][..],
            false,
        ),
        (&[Read(2)][..], true),
    ] {
        let (mut at, mut boundaries) = (0, 1);
        while at < boundaries {
            let handler: &'static [Act] = Box::leak(handler.to_vec().into_boxed_slice());
            let (images, seen) = run(MAIN, handler, at, keeps_failed, (19, at * 7));
            boundaries = seen;
            for (image, story) in &images {
                recover(&mut tally, image, story, keeps_failed, false);
            }
            at += 1;
        }
    }
    tell("in an interrupt at every boundary", &tally, 50_000);
}

/// Boot after boot: each drains the last one's, or does not come to it.
#[test]
fn boot_after_boot() {
    let board = Board::power_up(&Image::BLANK, false);
    board.attach(1);
    let mut image = Image::of(board.recorder);
    for epoch in 2..40u64 {
        let board = Board::reset(board.recorder, &image, false);
        let recovery = board.attach(epoch);
        assert_eq!(recovery.retention, Retention::Kept);
        let before: DeviceSpan = board.tracer.span(text("boot")).start();
        // What is not drained in one boot is gone in the next, and said to be.
        let is_drained = epoch % 3 == 0;
        let was_drained = (epoch - 1) % 3 == 0;
        let left_over = if epoch < 4 || was_drained { 0 } else { 2 };
        assert_eq!(recovery.abandoned, left_over, "{epoch}");
        if is_drained {
            let mut scratch = [0; 128];
            let mut records = recovery.records(&mut scratch).expect("nobody else reads");
            let spans = drain(&mut records);
            assert_eq!(spans.len(), 2, "{epoch}");
            assert_eq!(records.counters().started, 2);
            records.release_before(u32::MAX >> 1);
        }
        let mut span: DeviceSpan = board.tracer.span(text("sampled")).start();
        span.end();
        core::mem::forget(before);
        image = Image::of(board.recorder);
    }
}

/// A tracer that was never attached records nothing, and does not touch the memory.
#[test]
fn detached() {
    let board = Board::power_up(&Image([0xa5; size_of::<Recorder>()]), false);
    let span: DeviceSpan = board.tracer.span(text("sampled")).start();
    assert!(!span.is_recording());
    drop(span);
    assert!(*Image::of(board.recorder) == Image([0xa5; size_of::<Recorder>()]));
    board.attach(1);
    let again = Boot {
        build: flight::BUILD,
        epoch: spanlet::frame::Epoch(2),
        reason: spanlet::ResetReason::Software,
        texts: &[],
    };
    assert!(board.tracer.attach(&again).is_none());
}
