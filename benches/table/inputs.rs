//! Values that the optimiser cannot see through: the same for everybody.

use core::hint::black_box;

/// Spans of a chunk.
pub(crate) const SPANS: usize = 512;
/// Traces of a chunk: as many spans.
pub(crate) const TRACES: usize = SPANS / 11;

/// A constant text.
pub(crate) const STATIC_TEXT: &str = "GET";
const TEXT: &str = "user-48151623";

#[inline(always)]
pub(crate) fn text() -> &'static str {
    black_box(TEXT)
}
#[inline(always)]
pub(crate) fn int() -> i64 {
    black_box(200)
}
#[inline(always)]
pub(crate) fn boolean() -> bool {
    black_box(true)
}

/// A valid `traceparent`.
pub(crate) const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
