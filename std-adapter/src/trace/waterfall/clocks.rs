//! Where times of two clocks meet.
//!
//! Input: a tree. Output: how far the clocks of a span and its caller may be apart, where that shows. Bound:
//! one look at each span.

use super::{Attachment, HumanDuration, TraceTree};
use crate::clock::ClockError;

/// Two clocks in a picture.
pub(super) struct Apart {
    /// How far apart at most; `None` if nobody knows.
    bound_ns: Option<u64>,
    /// By how much the span seems to start before its parent.
    pub(super) early_ns: u64,
}

impl Apart {
    /// Of a span and the one that called it, if their clocks may be off by so much that it shows: the span seems to
    /// start before its parent, or the bound is a fiftieth of the picture at least. Spans of one device or process
    /// have one clock.
    pub(super) fn of(tree: &TraceTree<'_>, node: usize, total_ns: u64) -> Option<Self> {
        let node = tree.nodes.get(node)?;
        let parent = tree.nodes.get(node.parent?)?.span;
        let span = node.span;
        let is_of_one = span.service == parent.service && span.resource == parent.resource;
        if node.attachment != Attachment::Child || is_of_one {
            return None;
        }
        let (ours, theirs) = (span.clock_error(), parent.clock_error());
        let bound_ns = match (ours, theirs) {
            (None, None) => return None,
            (Some(ClockError::Unknown), _) | (_, Some(ClockError::Unknown)) => None,
            (ours, theirs) => {
                let ns =
                    |error: Option<ClockError>| error.and_then(ClockError::bound_ns).unwrap_or(0);
                Some(ns(ours).saturating_add(ns(theirs)))
            }
        };
        let early_ns = parent.start_unix_ns.saturating_sub(span.start_unix_ns);
        let shows = early_ns != 0 || bound_ns.is_some_and(|ns| ns >= total_ns / 50);
        shows.then_some(Apart { bound_ns, early_ns })
    }
    /// As it stands before a name.
    pub(super) fn mark(&self, sign: &str, ascii: bool) -> String {
        match self.bound_ns {
            Some(ns) => format!("{sign}{} ", self.plain(ns, ascii)),
            None => format!("{sign}? "),
        }
    }
    /// Why the span seems to start before its parent.
    pub(super) fn explanation(&self, name: &str, ascii: bool) -> String {
        let early = self.plain(self.early_ns, ascii);
        let seems = format!("{name} seems to start {early} before its parent, by another clock");
        match self.bound_ns {
            Some(ns) if ns >= self.early_ns => {
                format!("{seems}: the two may be {} apart", self.plain(ns, ascii))
            }
            Some(ns) => format!(
                "{seems}, although the two should be at most {} apart",
                self.plain(ns, ascii)
            ),
            None => format!("{seems}: nobody knows how far apart the two are"),
        }
    }
    fn plain(&self, ns: u64, ascii: bool) -> String {
        let text = HumanDuration(ns).to_string();
        if ascii { text.replace('µ', "u") } else { text }
    }
}
