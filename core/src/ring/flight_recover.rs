//! What a reset left in a [`FlightRing`], found out and put in order.
//!
//! Input: memory that may hold anything. Output: a chain in which each record's check word is right, and what
//! else there was, counted. Bound: one look at each word, and for each word of a damaged stretch one at a
//! record that might begin there: at worst `(N / 16)²` words.
//!
//! Nothing moves: what cannot be believed is passed by from then on. So another reset in here only means
//! doing it again.

use super::flight::{FlightRing, is_before, later};
use super::header::{Header, MAX_WORDS, State};
use super::sync::Ordering::{Relaxed, Release};

/// A slot that the chain led to, or a record found behind a damaged stretch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Left {
    /// A record whose check word is right; `committed` or just before that.
    Whole { slot: Slot, committed: bool },
    /// Reserved, and not written to its end.
    Half(Slot),
    /// Padding, or passed by before.
    Skip,
    /// Words that make no sense. A stretch may come in several pieces; `is_new` for the first of them.
    Damaged { slot: Slot, is_new: bool },
}

/// Where a slot is. The number of a damaged stretch means nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slot {
    at: u32,
    pub(crate) words: u32,
    pub(crate) number: u32,
}

/// What there is, without the records before the first number asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Survey {
    /// Records whose check word is right.
    pub(crate) whole: u32,
    /// Of these, those that were never read.
    pub(crate) unread: u32,
    /// Reserved and never finished, with room for `FILL_WORDS`.
    pub(crate) half_written: u32,
    /// Stretches of words that make no sense.
    pub(crate) damaged: u32,
    /// Records before the first number asked for.
    pub(crate) before: u32,
    /// The number of the first record, if the chain begins with one.
    pub(crate) oldest: Option<u32>,
    /// The next number, if the chain tells it.
    pub(crate) next: Option<u32>,
    /// One past the number of the last whole record.
    after: Option<u32>,
}

/// More records than a boot makes: a year of 34 a second.
const MOST_RECORDS: u32 = 1 << 30;

/// Words of a record that goes where a half-written one was.
pub(crate) const FILL_WORDS: usize = crate::record::HEADER;

impl<const N: usize> FlightRing<N> {
    /// Empties it.
    pub(crate) fn format(&self) {
        for word in [&self.tail, &self.head, &self.next, &self.has_reader] {
            word.store(0, Release);
        }
        for count in [
            &self.refused,
            &self.too_large,
            &self.read_count,
            &self.read_number,
        ] {
            count.set(0);
        }
    }

    /// Whether head and tail can be believed.
    pub(crate) fn is_sound(&self) -> bool {
        self.head
            .load(Relaxed)
            .wrapping_sub(self.tail.load(Relaxed))
            <= Self::CAPACITY
    }

    /// Walks the chain. `visit` may change the slot that it is shown, but not its length.
    fn walk(&self, mut visit: impl FnMut(Left)) {
        let (head, mut at) = (self.head.load(Relaxed), self.tail.load(Relaxed));
        // Where the damaged stretch began, as far as it has not been shown; whether some of it has.
        let (mut run, mut is_new): (Option<u32>, bool) = (None, true);
        let mut last: Option<u32> = None;
        // The number that follows, where the chain tells it.
        let mut expected = None;
        while at != head {
            let left = self.look(at, head);
            let (left, words) = match left {
                Some(whole @ Left::Whole { slot, .. })
                    if last.is_none_or(|last| Self::can_follow(last, slot.number)) =>
                {
                    last = Some(slot.number);
                    expected = Some(slot.number.wrapping_add(1));
                    (Some(whole), slot.words)
                }
                // A header without a check word is believed only where the chain led to it.
                Some(half @ Left::Half(slot))
                    if run.is_none()
                        && expected.map_or_else(
                            || self.is_followed(slot, head),
                            |expected| expected == slot.number,
                        ) =>
                {
                    expected = Some(slot.number.wrapping_add(1));
                    (Some(half), slot.words)
                }
                Some(Left::Skip) if run.is_none() => (Some(Left::Skip), self.header_len(at)),
                _ => {
                    expected = None;
                    (None, 1)
                }
            };
            let from = *run.get_or_insert(at);
            let length = at.wrapping_sub(from);
            // A piece neither straddles the end of the memory nor outgrows a header's length.
            let is_piece = at & (Self::CAPACITY - 1) == 0 || length as usize == MAX_WORDS;
            if length != 0 && (left.is_some() || is_piece) {
                visit(Self::damaged(from, length, is_new));
                is_new = false;
                run = Some(at);
            }
            if let Some(left) = left {
                (run, is_new) = (None, true);
                visit(left);
            }
            at = at.wrapping_add(words);
        }
        if let Some(from) = run.filter(|from| *from != head) {
            visit(Self::damaged(from, head.wrapping_sub(from), is_new));
        }
    }
    /// Whether a record of this number can come behind one of that: no more are between them than the ring holds.
    fn can_follow(last: u32, number: u32) -> bool {
        number.wrapping_sub(last).wrapping_sub(1) < Self::CAPACITY
    }
    /// Whether the number of a half-written record, which nothing sums up, is right by what is behind it.
    fn is_followed(&self, slot: Slot, head: u32) -> bool {
        let mut at = slot.at.wrapping_add(slot.words);
        let after = slot.number.wrapping_add(1);
        if self.look(at, head) == Some(Left::Skip) {
            at = at.wrapping_add(self.header_len(at));
        }
        match self.look(at, head) {
            Some(Left::Whole { slot, .. } | Left::Half(slot)) => slot.number == after,
            // The last one; a reset may have come before the next number was stored.
            _ => {
                let next = self.next.load(Relaxed);
                at == head && (next == after || next == slot.number)
            }
        }
    }
    fn damaged(at: u32, words: u32, is_new: bool) -> Left {
        Left::Damaged {
            slot: Slot {
                at,
                words,
                number: 0,
            },
            is_new,
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "15 bits")]
    fn header_len(&self, at: u32) -> u32 {
        Header::parse(self.words.low(at).load(Relaxed)).map_or(1, |header| header.len() as u32)
    }

    /// What stands at a position, if it can be a slot.
    fn look(&self, at: u32, head: u32) -> Option<Left> {
        let header = Header::parse(self.words.low(at).load(Relaxed))?;
        let to_end = Self::CAPACITY - (at & (Self::CAPACITY - 1));
        let words = self.header_len(at);
        if words > to_end.min(head.wrapping_sub(at)) {
            return None;
        }
        let committed = match header.state() {
            State::Skip => return Some(Left::Skip),
            State::Committed => true,
            State::Reserved => false,
        };
        let number = self.words.high(at).load(Relaxed);
        let slot = Slot { at, words, number };
        if words < 2 {
            return None;
        }
        let mut check = Self::check_of(at, number, words);
        for i in 1..words {
            let word = at.wrapping_add(i);
            if i != 1 {
                check.add(self.words.low(word).load(Relaxed));
            }
            check.add(self.words.high(word).load(Relaxed));
        }
        if self.words.low(at.wrapping_add(1)).load(Relaxed) == check.word() {
            Some(Left::Whole { slot, committed })
        } else if committed {
            None
        } else {
            Some(Left::Half(slot))
        }
    }

    /// Looks, and changes nothing.
    pub(crate) fn survey(&self, first: u32, read: u32) -> Survey {
        let mut survey = Survey::default();
        let mut is_first = true;
        self.walk(|left| {
            match left {
                Left::Whole { slot, .. } => {
                    survey.next = Some(slot.number.wrapping_add(1));
                    survey.after = survey.next;
                    if is_before(slot.number, first) {
                        survey.before += 1;
                        return;
                    }
                    survey.whole += 1;
                    survey.unread += u32::from(!is_before(slot.number, read));
                    if is_first {
                        survey.oldest = Some(slot.number);
                    }
                }
                Left::Half(slot) => {
                    survey.half_written += u32::from(Self::can_fill(slot));
                    // Its number was not summed up: believed if it follows.
                    let number = survey.next.unwrap_or(slot.number);
                    survey.next = (number == slot.number).then_some(number.wrapping_add(1));
                    if is_first {
                        survey.oldest = Some(later(first, number));
                    }
                }
                Left::Skip => return,
                Left::Damaged { is_new, .. } => {
                    survey.damaged += u32::from(is_new);
                    survey.next = None;
                }
            }
            is_first = false;
        });
        survey
    }

    fn can_fill(slot: Slot) -> bool {
        slot.words as usize > FILL_WORDS
    }

    /// Shows a word, counted from 0, of each record that is whole and was not committed.
    pub(crate) fn uncommitted(&self, word: u32, mut show: impl FnMut(u64)) {
        self.walk(|left| {
            if let Left::Whole {
                slot,
                committed: false,
            } = left
                && word < slot.words - 1
            {
                let at = slot.at.wrapping_add(1 + word);
                let (low, high) = (self.words.low(at), self.words.high(at));
                show(u64::from(high.load(Relaxed)) << 32 | u64::from(low.load(Relaxed)));
            }
        });
    }

    /// Puts the chain in order: whole records are committed, those before number `first` and all that cannot
    /// be believed are passed by. `fill` is shown half-written slots that [`fill`](Self::fill) can use.
    pub(crate) fn repair(&self, first: u32, mut fill: impl FnMut(&Self, Slot) -> bool) {
        self.walk(|left| match left {
            Left::Whole { slot, .. } if is_before(slot.number, first) => self.skip(slot),
            Left::Whole {
                slot,
                committed: false,
            } => self.set_header(slot, State::Committed),
            Left::Half(slot) if Self::can_fill(slot) && fill(self, slot) => {}
            Left::Half(slot) | Left::Damaged { slot, .. } => self.skip(slot),
            Left::Whole { .. } | Left::Skip => {}
        });
    }

    /// Sets the next number to what the chain says, if that can be in a boot that began at `first`, and ends whatever
    /// reading there was.
    pub(crate) fn resume(&self, survey: &Survey, first: u32) {
        // Behind damage the number that was kept counts, if it can be: the damage hides no more records than
        // the ring has words.
        let kept = self.next.load(Relaxed);
        let next = match (survey.next, survey.after) {
            (Some(next), _) => next,
            (None, Some(after)) if kept.wrapping_sub(after) > Self::CAPACITY => after,
            (None, _) => kept,
        };
        // Behind the first, or so far ahead that comparing numbers would fail: damage.
        let next = if next.wrapping_sub(first) > MOST_RECORDS {
            first
        } else {
            next
        };
        self.next.store(next, Release);
        self.has_reader.store(0, Release);
    }

    /// Records read, and one past the number of the last of them, as far as the reset has left them. `None`
    /// if they are damaged.
    ///
    /// `FlightReader::advance` stores count, number, and their complements in the same order.
    pub(crate) fn reads_left(&self) -> Option<(u32, u32)> {
        let (count, number) = (&self.read_count, &self.read_number);
        match (count.intact(0), number.intact(0)) {
            (Some(count), Some(number)) => Some((count, number)),
            // The number was not stored: as if it had not been read.
            (None, Some(number)) if count.intact(1).is_some() => Some((count.by_inverse(), number)),
            (None, None) if count.intact(1).is_some() => Some((count.get(), number.get())),
            (Some(count), None) if is_before(number.by_inverse(), number.get()) => {
                Some((count, number.get()))
            }
            _ => None,
        }
    }

    /// Writes a record where a half-written one was, by the steps of a push.
    pub(crate) fn fill(&self, slot: Slot, record: &[u64; FILL_WORDS], settle_with: impl FnOnce()) {
        #[expect(clippy::cast_possible_truncation, reason = "8")]
        const WORDS: u32 = FILL_WORDS as u32 + 1;
        if let Some(rest) = slot.words.checked_sub(WORDS).filter(|rest| *rest != 0) {
            // Means nothing until the slot is shortened.
            let at = slot.at.wrapping_add(WORDS);
            self.skip(Slot {
                at,
                words: rest,
                ..slot
            });
        }
        let slot = Slot {
            words: WORDS,
            ..slot
        };
        self.set_header(slot, State::Reserved);
        let mut check = Self::check_of(slot.at, slot.number, WORDS);
        let mut at = slot.at;
        #[expect(clippy::cast_possible_truncation, reason = "takes the halves")]
        for (i, word) in record.iter().enumerate() {
            at = at.wrapping_add(1);
            if i != 0 {
                check.add(*word as u32);
                self.words.low(at).store(*word as u32, Relaxed);
            }
            check.add((*word >> 32) as u32);
            self.words.high(at).store((*word >> 32) as u32, Relaxed);
        }
        self.words
            .low(slot.at.wrapping_add(1))
            .store(check.word(), Release);
        settle_with();
        self.set_header(slot, State::Committed);
    }

    fn skip(&self, slot: Slot) {
        self.set_header(slot, State::Skip);
    }
    fn set_header(&self, slot: Slot, state: State) {
        if let Some(header) = Header::new(state, slot.words as usize) {
            // ORDERING: after what was written before, for a reset.
            self.words.low(slot.at).store(header.word(), Release);
        }
    }
}
