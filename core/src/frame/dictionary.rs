//! Texts as symbols.
//!
//! Input: constant texts of records on the device, announcements in frames on the host. Output: numbers
//! in place of texts, and back. Bound: on the device a table of `N` entries, open addressing, a text that
//! finds no place goes inline; on the host what the [`Symbols`] grants.

use core::num::NonZeroU16;

/// The number of a text, of one device and boot. Never 0, which on the wire says "inline".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Symbol(NonZeroU16);

impl Symbol {
    /// `None` for 0.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Symbol(number)),
            None => None,
        }
    }
    /// Its number, 1–65535.
    pub const fn number(self) -> u16 {
        self.0.get()
    }
    fn of_index(index: usize) -> Option<Self> {
        u16::try_from(index + 1).ok().and_then(Symbol::new)
    }
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Whether the receiver has had the chance to learn a symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Not announced, or to be announced again.
    New,
    /// To be announced in the frame that is being built.
    Pending,
    Announced,
}

/// The device's table of constant texts: at most `N` symbols, numbered in the order of first use.
///
/// A text is known by its address and length, so a look-up hashes 2 words and compares addresses; the
/// text itself is read only to announce it. About 14 bytes an entry on 32-bit targets.
#[derive(Debug)]
pub struct Dictionary<const N: usize> {
    texts: heapless::Vec<(&'static str, State), N>,
    /// Open addressing, linear probing: index + 1 of a text, 0 for a free slot.
    slots: [u16; N],
    /// Next to be announced again.
    round: usize,
}

impl<const N: usize> Default for Dictionary<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Dictionary<N> {
    /// An empty table.
    pub const fn new() -> Self {
        const { assert!(N <= 65535, "symbols are 16 bits") };
        Dictionary {
            texts: heapless::Vec::new(),
            slots: [0; N],
            round: 0,
        }
    }
    /// Symbols given out.
    pub fn len(&self) -> usize {
        self.texts.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
    /// Forgets what was announced: each text is announced again when it is next used. For a receiver that
    /// asks, and before records are sent again.
    pub fn announce_again(&mut self) {
        for (_, state) in &mut self.texts {
            *state = State::New;
        }
    }

    /// The symbol of a text, old or new; `None` if the table is full. Bound: `N` probes, as a rule 1 to 3.
    pub(crate) fn symbol(&mut self, text: &'static str) -> Option<Symbol> {
        if N == 0 || text.is_empty() {
            return None;
        }
        let mut at = hash(text) as usize % N;
        for _ in 0..N {
            let slot = self.slots.get_mut(at)?;
            match (*slot as usize).checked_sub(1) {
                None => {
                    let symbol = Symbol::of_index(self.texts.len())?;
                    self.texts.push((text, State::New)).ok()?;
                    *slot = symbol.number();
                    return Some(symbol);
                }
                Some(index) => {
                    let (known, _) = self.texts.get(index)?;
                    if core::ptr::eq(*known, text) {
                        return Symbol::of_index(index);
                    }
                }
            }
            at = if at + 1 == N { 0 } else { at + 1 };
        }
        None
    }
    /// The text of a symbol that [`symbol`](Self::symbol) gave.
    pub(crate) fn text(&self, symbol: Symbol) -> &'static str {
        self.texts.get(symbol.index()).map_or("", |(text, _)| text)
    }
    /// Whether it has to go into the frame that is being built; asked once, it is pending.
    pub(crate) fn needs_announcement(&mut self, symbol: Symbol) -> bool {
        match self.texts.get_mut(symbol.index()) {
            Some((_, state)) if *state == State::New => {
                *state = State::Pending;
                true
            }
            _ => false,
        }
    }
    /// The frame went without it.
    pub(crate) fn withdraw(&mut self, symbol: Symbol) {
        self.set(symbol, State::New);
    }
    /// The frame has it.
    pub(crate) fn announced(&mut self, symbol: Symbol) {
        self.set(symbol, State::Announced);
    }
    fn set(&mut self, symbol: Symbol, to: State) {
        if let Some((_, state)) = self.texts.get_mut(symbol.index()) {
            *state = to;
        }
    }
    /// The text whose turn it is to be announced without being used. Those come first that have not been
    /// since [`announce_again`](Self::announce_again).
    pub(crate) fn in_turn(&self) -> Option<Symbol> {
        let (mut at, mut known) = (self.round, None);
        for _ in 0..self.texts.len() {
            if at >= self.texts.len() {
                at = 0;
            }
            match self.texts.get(at) {
                Some((_, State::New)) => return Symbol::of_index(at),
                Some((_, State::Announced)) => known = known.or(Some(at)),
                _ => {}
            }
            at += 1;
        }
        Symbol::of_index(known?)
    }
    /// It goes into the frame that is being built, and it is the turn of the one behind it. Whether it was one
    /// of those that come first.
    pub(crate) fn end_turn(&mut self, symbol: Symbol) -> bool {
        self.round = symbol.index() + 1;
        self.needs_announcement(symbol)
    }
}

/// Of address and length: linkers put constants side by side, so the low bits differ.
fn hash(text: &str) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "a hash")]
    let word = (text.as_ptr().addr() as u32).rotate_left(5) ^ text.len() as u32;
    word.wrapping_mul(0x9e37_79b1) >> 15
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// A symbol that was not known.
    New,
    /// Known, with the same text.
    Known,
    /// Known with another text: the sender has restarted without a new epoch. Nothing changed.
    Conflict,
    /// There was no room for it.
    Full,
}

/// The receiver's dictionary of one device and epoch.
pub trait Symbols {
    /// The text of a symbol, if it has been announced.
    fn text(&self, symbol: Symbol) -> Option<&str>;
    /// Learns an announcement. The first text of a symbol stays.
    fn learn(&mut self, symbol: Symbol, text: &str) -> Learned;
}

/// A [`Symbols`] of fixed capacity: symbols 1 to `N`, `BYTES` of text in all.
///
/// ```
/// use spanlet::frame::{FixedSymbols, Learned, Symbol, Symbols};
/// let mut symbols: FixedSymbols<4, 16> = FixedSymbols::new();
/// let two = Symbol::new(2).unwrap();
/// assert_eq!(symbols.learn(two, "checkout"), Learned::New);
/// assert_eq!(symbols.text(two), Some("checkout"));
/// assert_eq!(symbols.learn(two, "other"), Learned::Conflict);
/// assert_eq!(symbols.learn(Symbol::new(3).unwrap(), "too long a text"), Learned::Full);
/// ```
#[derive(Debug)]
pub struct FixedSymbols<const N: usize, const BYTES: usize> {
    /// End and start of each text in `bytes`; both 0 for one that is not known.
    ranges: [(u32, u32); N],
    bytes: heapless::String<BYTES>,
}

impl<const N: usize, const BYTES: usize> Default for FixedSymbols<N, BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize, const BYTES: usize> FixedSymbols<N, BYTES> {
    /// Knows nothing yet.
    pub const fn new() -> Self {
        FixedSymbols {
            ranges: [(0, 0); N],
            bytes: heapless::String::new(),
        }
    }
}

impl<const N: usize, const BYTES: usize> Symbols for FixedSymbols<N, BYTES> {
    fn text(&self, symbol: Symbol) -> Option<&str> {
        match *self.ranges.get(symbol.index())? {
            (_, 0) => None,
            (start, end) => self.bytes.get(start as usize..end as usize),
        }
    }
    fn learn(&mut self, symbol: Symbol, text: &str) -> Learned {
        if let Some(known) = self.text(symbol) {
            return if known == text {
                Learned::Known
            } else {
                Learned::Conflict
            };
        }
        let (start, end) = (self.bytes.len(), self.bytes.len() + text.len());
        let (Some(range), Ok(start), Ok(end)) = (
            self.ranges.get_mut(symbol.index()),
            u32::try_from(start),
            u32::try_from(end),
        ) else {
            return Learned::Full;
        };
        if text.is_empty() || self.bytes.push_str(text).is_err() {
            return Learned::Full;
        }
        *range = (start, end);
        Learned::New
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::cast_possible_truncation,
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn gives_each_text_one_symbol_until_full() {
        static TEXT: &str = "abcdefghijklmnopqrstuvwxyz";
        let mut table: Dictionary<8> = Dictionary::new();
        for round in 0..2 {
            for i in 0..10 {
                let symbol = table.symbol(&TEXT[i..i + 3]);
                assert_eq!(
                    symbol.map(Symbol::number),
                    (i < 8).then_some(i as u16 + 1),
                    "{round}"
                );
            }
        }
        assert_eq!(table.text(Symbol::new(2).unwrap()), "bcd");
        assert_eq!(
            table.symbol(&TEXT[0..4]),
            None,
            "same address, another length"
        );
    }

    #[test]
    fn takes_turns_the_new_ones_first() {
        let mut table: Dictionary<8> = Dictionary::new();
        assert_eq!(table.in_turn(), None);
        let [a, b, c] = ["one", "two", "three"].map(|text| table.symbol(text).unwrap());
        for symbol in [a, c] {
            assert!(table.needs_announcement(symbol));
            assert!(!table.needs_announcement(symbol));
            table.announced(symbol);
        }
        let mut turns = || -> [_; 4] {
            core::array::from_fn(|_| {
                let symbol = table.in_turn().unwrap();
                let is_new = table.end_turn(symbol);
                table.announced(symbol);
                (symbol, is_new)
            })
        };
        assert_eq!(turns(), [(b, true), (c, false), (a, false), (b, false)]);
        table.announce_again();
        let mut turns = || -> [_; 2] {
            core::array::from_fn(|_| {
                let symbol = table.in_turn().unwrap();
                assert!(table.end_turn(symbol));
                symbol
            })
        };
        assert_eq!(turns(), [c, a], "on from where it was");
        assert_eq!(table.in_turn(), Some(b), "the others are under way");
    }
}
