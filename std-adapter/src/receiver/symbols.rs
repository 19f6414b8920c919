//! The texts of one device and epoch.
//!
//! Input: announcements. Output: texts by symbol. Bound: 65,535 texts, and [`MAX_BYTES`] in all.

use spanlet::frame::{Learned, Symbol, Symbols};

/// Bytes of text that a device may announce in an epoch.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// Grows with what is announced.
#[derive(Debug, Default)]
pub(crate) struct SymbolTable {
    texts: Vec<Option<Box<str>>>,
    bytes: usize,
    known: u32,
}

impl SymbolTable {
    /// Texts known.
    pub(crate) fn len(&self) -> u32 {
        self.known
    }
    fn index(symbol: Symbol) -> usize {
        usize::from(symbol.number()) - 1
    }
}

impl Symbols for SymbolTable {
    fn text(&self, symbol: Symbol) -> Option<&str> {
        self.texts.get(Self::index(symbol))?.as_deref()
    }
    fn learn(&mut self, symbol: Symbol, text: &str) -> Learned {
        match self.text(symbol) {
            Some(known) if known == text => return Learned::Known,
            Some(_) => return Learned::Conflict,
            None => {}
        }
        if self.bytes + text.len() > MAX_BYTES {
            return Learned::Full;
        }
        let index = Self::index(symbol);
        if self.texts.len() <= index {
            self.texts.resize(index + 1, None);
        }
        self.texts[index] = Some(text.into());
        self.bytes += text.len();
        self.known += 1;
        Learned::New
    }
}
