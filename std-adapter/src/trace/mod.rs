//! Traces as people look at them: the last stage, after export or from a file.
//!
//! Input: [`TraceSpan`]s, owned, of any number of traces, in any order, as broken as the network left
//! them. Output: trees, the critical path, the bottleneck with its reason, a console waterfall, JSON
//! lines. Bound: O(n log n) time and O(n) memory in the number of spans; meant for up to 100 000 at once.
//!
//! The way of the data: [`TraceSpan`] → [`TraceTree`] → [`CriticalPath`] → [`Bottleneck`] → [`Waterfall`].

mod model;

pub(crate) mod convert;

pub(crate) mod decode;

mod json;

mod tree;

mod critical_path;

mod bottleneck;

mod text;

mod waterfall;

pub use bottleneck::{Bottleneck, Hint, HintKind};
pub use critical_path::{CriticalPath, Segment};
pub use decode::RequestError;
pub use json::{JsonLineError, read_json_lines, write_json_lines};
pub use model::{
    AttributeValue, Attributes, SpanEvent, SpanKind, SpanLink, Status, TraceSpan, attribute,
};
pub use text::HumanDuration;
pub use tree::{Attachment, Node, TraceTree};
pub use waterfall::Waterfall;

/// `text` with everything escaped that could steer a terminal.
pub(crate) fn escape_for_terminal(text: &str) -> String {
    text::escape(text, false)
}
