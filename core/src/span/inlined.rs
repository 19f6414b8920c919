//! The usual span of a server: inlined where it is used.

use super::*;

/// The bit of a key in [`Span::seen`](Span).
#[inline(always)]
pub(super) fn key_bit(key: &str) -> u64 {
    let hash = key_hash(key, 6);
    // The last bit is CAREFUL.
    1 << if hash == 63 { 62 } else { hash }
}

/// See [`Span::seen`](Span).
pub(super) type Seen = u64;

impl<R: Recorder, B: SpanBuf> Span<R, B> {
    #[inline(always)]
    pub(super) fn finish_at(&mut self, at: Ticks) {
        // SAFETY: a recording span has its whole header but END.
        let start = unsafe { self.header.get_unchecked(START).assume_init() };
        let fits = close(&mut self.header, start, at.0);
        if !fits || self.word(META) & (META_RECORD_ONLY | META_HAS_COUNTS) != 0 {
            if self.finish_rare(start, at) {
                self.record();
            }
            return;
        }
        self.record();
    }
    #[inline(always)]
    pub(super) fn attribute(&mut self, key: &'static str, value: Value<'_>) {
        if !self.is_recording() {
            return;
        }
        let bit = key_bit(key);
        if self.seen & bit != 0 || key.is_empty() {
            // By parts: a value that a call sees has to lie in memory, for the usual way below too.
            return match value {
                Value::Bool(v) => self.bool_carefully(key, v),
                Value::I64(v) => self.i64_carefully(key, v),
                Value::F64(v) => self.f64_carefully(key, v),
                Value::Str(text) => self.text_carefully(key, text),
                Value::Static(text) => self.static_carefully(key, text),
                other => self.attribute_carefully(key, other),
            };
        }
        if EntryWriter::attribute(self, key, 0, value) {
            self.seen |= bit;
        } else {
            self.no_room_for_attribute();
        }
    }

    #[cold]
    #[inline(never)]
    fn bool_carefully(&mut self, key: &'static str, value: bool) {
        self.attribute_carefully(key, Value::Bool(value));
    }
    #[cold]
    #[inline(never)]
    fn i64_carefully(&mut self, key: &'static str, value: i64) {
        self.attribute_carefully(key, Value::I64(value));
    }
    #[cold]
    #[inline(never)]
    fn f64_carefully(&mut self, key: &'static str, value: f64) {
        self.attribute_carefully(key, Value::F64(value));
    }
    #[cold]
    #[inline(never)]
    fn text_carefully(&mut self, key: &'static str, value: &str) {
        self.attribute_carefully(key, Value::Str(value));
    }
    #[cold]
    #[inline(never)]
    fn static_carefully(&mut self, key: &'static str, value: &'static str) {
        self.attribute_carefully(key, Value::Static(value));
    }
}

impl<R: Recorder> SpanBuilder<'_, R> {
    /// Starts the span.
    #[inline(always)]
    pub fn start<B: SpanBuf>(self) -> Span<R, B> {
        self.start_here()
    }
}
