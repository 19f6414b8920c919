//! Text put together on the stack.

use core::fmt;

/// Up to `N` bytes; what is longer goes to the heap.
#[derive(Debug)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
    /// All of it, once it did not fit.
    long: String,
}

impl<const N: usize> Text<N> {
    pub(crate) fn new() -> Self {
        Text {
            bytes: [0; N],
            len: 0,
            long: String::new(),
        }
    }
    pub(crate) fn as_str(&self) -> &str {
        if !self.long.is_empty() {
            return &self.long;
        }
        // Whole texts were written.
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
    pub(crate) fn push_str(&mut self, text: &str) {
        let end = self.len + text.len();
        if self.long.is_empty()
            && let Some(room) = self.bytes.get_mut(self.len..end)
        {
            room.copy_from_slice(text.as_bytes());
            self.len = end;
            return;
        }
        if self.long.is_empty() {
            let written = self.as_str().to_owned();
            self.long = written;
        }
        self.long.push_str(text);
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn what_does_not_fit_goes_to_the_heap() {
        let mut text = Text::<8>::new();
        write!(text, "{} ", http::Method::GET).unwrap();
        assert_eq!(text.as_str(), "GET ");
        text.push_str("/ä");
        assert_eq!((text.as_str(), text.long.len()), ("GET /ä", 0));
        text.push_str("/orders");
        text.push_str("/{id}");
        assert_eq!(text.as_str(), "GET /ä/orders/{id}");
    }
}
