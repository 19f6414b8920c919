//! What a handler notes before the reset: a panic, a fault, a watchdog that barks.
//!
//! Input: one note by whoever comes first. Output: after the reset, the note. Bound: a few words, in retained
//! memory; nothing is formatted.

use super::boot::ResetReason;
use crate::clock::Ticks;
use crate::record::{Exception, ReadOnlyTexts, pack};
use crate::ring::kept::Check;
use crate::ring::sync::{
    AtomicU32,
    Ordering::{Relaxed, Release},
};

/// Kind, ticks, file, message, line and its presence bits, pc and lr.
const WORDS: usize = 6;

/// Which of the words mean something.
const HAS_TICKS: u64 = 1 << 32;
const HAS_FAULT: u64 = 1 << 33;

/// Retained memory for a note.
#[repr(C)]
pub(super) struct Mark {
    check: AtomicU32,
    /// Of which boot, by its generation.
    generation: AtomicU32,
    words: [[AtomicU32; 2]; WORDS],
}

/// A note of what ended the boot before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crash {
    /// What happened.
    pub reason: ResetReason,
    /// When, in ticks of the boot that ended.
    pub at: Option<Ticks>,
    /// The source file and line of a panic.
    pub location: Option<(&'static str, u32)>,
    /// A panic's message, if it is constant text.
    pub message: Option<&'static str>,
    /// A fault's program counter and link register.
    pub fault: Option<(u32, u32)>,
}

/// A note before it is written.
#[derive(Clone, Copy, Default)]
pub(super) struct Note {
    pub(super) reason: u8,
    pub(super) at: Option<Ticks>,
    pub(super) location: Option<(&'static str, u32)>,
    pub(super) message: Option<&'static str>,
    pub(super) fault: Option<(u32, u32)>,
}

impl Mark {
    pub(super) const fn new() -> Self {
        Mark {
            check: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            words: [const { [const { AtomicU32::new(0) }; 2] }; WORDS],
        }
    }
    pub(super) fn clear(&self) {
        self.check.store(0, Release);
    }
    /// Writes the note, unless there is one of this boot: what came first is the cause.
    pub(super) fn set(&self, generation: u32, note: &Note) {
        if self.words_of(generation).is_some() {
            return;
        }
        self.clear();
        let mut bits = u64::from(note.location.map_or(0, |(_, line)| line));
        bits |= note.at.map_or(0, |_| HAS_TICKS) | note.fault.map_or(0, |_| HAS_FAULT);
        let text = |text: Option<&'static str>| text.map_or(0, pack);
        let (pc, lr) = note.fault.unwrap_or_default();
        let words = [
            note.reason.into(),
            note.at.unwrap_or_default().0,
            text(note.location.map(|(file, _)| file)),
            text(note.message),
            bits,
            u64::from(pc) | u64::from(lr) << 32,
        ];
        self.generation.store(generation, Relaxed);
        for (to, word) in self.words.iter().zip(words) {
            let [low, high] = to;
            #[expect(clippy::cast_possible_truncation, reason = "takes the halves")]
            low.store(word as u32, Relaxed);
            high.store((word >> 32) as u32, Relaxed);
        }
        // ORDERING: after all that it sums up, for a reset.
        self.check.store(check_of(generation, &words), Release);
    }
    fn words_of(&self, generation: u32) -> Option<[u64; WORDS]> {
        let mut words = [0; WORDS];
        for (to, word) in words.iter_mut().zip(&self.words) {
            let [low, high] = word;
            *to = u64::from(low.load(Relaxed)) | u64::from(high.load(Relaxed)) << 32;
        }
        let is_right = self.generation.load(Relaxed) == generation
            && self.check.load(Relaxed) == check_of(generation, &words);
        is_right.then_some(words)
    }
    /// The note of that boot.
    pub(super) fn get(&self, generation: u32, texts: ReadOnlyTexts) -> Option<Crash> {
        let [reason, at, file, message, bits, fault] = self.words_of(generation)?;
        let text = |word: u64| texts.packed(word).filter(|text| !text.is_empty());
        #[expect(clippy::cast_possible_truncation, reason = "takes the parts")]
        Some(Crash {
            reason: ResetReason::from_code(reason as u8),
            at: (bits & HAS_TICKS != 0).then_some(Ticks(at)),
            location: text(file).map(|file| (file, bits as u32)),
            message: text(message),
            fault: (bits & HAS_FAULT != 0).then_some((fault as u32, (fault >> 32) as u32)),
        })
    }
}

/// Never zero.
fn check_of(generation: u32, words: &[u64; WORDS]) -> u32 {
    let mut check = Check::new(generation);
    for word in words {
        check.add_word(*word);
    }
    check.word().max(1)
}

impl Crash {
    /// What a span that was open has to say of it, if it was caught.
    pub(super) fn exception(&self) -> Option<Exception<'static>> {
        let is_caught = matches!(self.reason, ResetReason::Panic | ResetReason::Fault);
        is_caught.then(|| Exception {
            kind: self.reason.as_str(),
            ticks: self.at.map(|at| at.0),
            message: self.message,
            file: self.location,
            pc: self.fault.map(|(pc, _)| pc),
        })
    }
}
