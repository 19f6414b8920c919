//! Tree → critical path and self times.
//!
//! Input: a [`TraceTree`]. Output: for each node its self time and its time on the critical path, and the
//! path as segments. Bound: O(n log n), iterative, for any times whatsoever.
//!
//! The path is found by walking backwards from the end of the entry span (below). At a cursor inside a
//! span, two of its calls can explain what the span was waiting for:
//! - the *finished* one: of those that ended at or before the cursor, the last to end;
//! - the *running* one: of those that end after the cursor (overlapping calls, calls that outlive
//!   the span, skewed clocks) and started before it, the first to start.
//!
//! The finished call is on the path if it lasted at least as long as the gap that it leaves up to the cursor, or if none
//! is running; else the running one is, cut at the cursor. The walk goes on inside that call and then from its
//! start. What no call explains belongs to the span itself. Calls are cut to the part of their parent
//! that is on the path; linked spans are not calls.

use super::model::SpanKind;
use super::tree::TraceTree;

/// A stretch of the critical path that is one span's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index into [`TraceTree::nodes`].
    pub node: usize,
    /// Start in Unix nanoseconds.
    pub start_unix_ns: u64,
    /// End in Unix nanoseconds, after the start.
    pub end_unix_ns: u64,
}

/// The chain of work that made a trace last as long as it did.
///
/// Shortening anything on it shortens the trace; shortening anything else does not.
///
/// ```
/// use spanlet::{SpanId, TraceId};
/// use spanlet_std::trace::{CriticalPath, TraceSpan, TraceTree};
/// let trace = TraceId::from_bytes([1; 16]).unwrap();
/// let id = |n| SpanId::from_bytes([n; 8]).unwrap();
/// let mut order = TraceSpan::new(trace, id(1), "order");
/// (order.start_unix_ns, order.end_unix_ns) = (0, 100);
/// let mut payment = TraceSpan::new(trace, id(2), "payment");
/// payment.parent_span_id = Some(id(1));
/// (payment.start_unix_ns, payment.end_unix_ns) = (10, 90);
/// let spans = [order, payment];
/// let trees = TraceTree::build(&spans);
/// let path = CriticalPath::of(&trees[0]).unwrap();
/// assert_eq!(path.total_ns, 100);
/// assert_eq!(path.critical_self_ns, [20, 80]);
/// ```
#[derive(Clone, Debug)]
pub struct CriticalPath {
    /// The node whose duration is explained: see [`CriticalPath::of`].
    pub entry: usize,
    /// The entry's duration in nanoseconds: the sum of all segments.
    pub total_ns: u64,
    /// The path in time order, without gap or overlap.
    pub segments: Vec<Segment>,
    /// For each node, the time in nanoseconds during which none of its calls was running.
    pub self_ns: Vec<u64>,
    /// For each node, the nanoseconds of the path that are its own.
    pub critical_self_ns: Vec<u64>,
    /// For each node, whether the path leads through it.
    pub on_path: Vec<bool>,
}

impl CriticalPath {
    /// The critical path of a tree; `None` for one without nodes.
    ///
    /// The entry is the longest root. If that root is not itself a server or consumer, and a server or consumer
    /// that it reached without another in between both outlives it and lasts longer (a device that sends
    /// a request and sleeps, a producer and its message), then nobody waited at the root and the longest such
    /// span is the entry.
    ///
    /// Never panics. Cost: O(n log n).
    pub fn of(tree: &TraceTree<'_>) -> Option<Self> {
        let entry = entry(tree)?;
        let n = tree.nodes.len();
        let mut path = CriticalPath {
            entry,
            total_ns: tree.nodes[entry].span.duration_ns(),
            segments: Vec::new(),
            self_ns: (0..n)
                .map(|i| {
                    let own = self_intervals(tree, i);
                    own.iter().map(|(start, end)| end - start).sum()
                })
                .collect(),
            critical_self_ns: vec![0; n],
            on_path: vec![false; n],
        };
        path.walk(tree);
        for s in &path.segments {
            path.critical_self_ns[s.node] += s.end_unix_ns - s.start_unix_ns;
        }
        Some(path)
    }

    /// The calls of `node` that are on the path, by start time.
    pub fn calls_on_path<'t>(
        &'t self,
        tree: &'t TraceTree<'_>,
        node: usize,
    ) -> impl Iterator<Item = usize> + 't {
        tree.calls(node).filter(|&c| self.on_path[c])
    }

    fn walk(&mut self, tree: &TraceTree<'_>) {
        let end = tree.nodes[self.entry].span.end_unix_ns;
        let mut stack = vec![Frame::new(tree, self.entry, 0, end)];
        self.on_path[self.entry] = true;
        while let Some(frame) = stack.last_mut() {
            let cursor = frame.cursor;
            let call = frame.next(tree);
            // What lies between the call's end and the cursor, or between the start and the cursor, is the span's own.
            let own_from = call.map_or(frame.from, |(_, call_end)| call_end);
            if own_from < cursor {
                self.segments.push(Segment {
                    node: frame.node,
                    start_unix_ns: own_from,
                    end_unix_ns: cursor,
                });
            }
            match call {
                None => {
                    stack.pop();
                }
                Some((call, call_end)) => {
                    let from = frame.from;
                    frame.cursor = tree.nodes[call].span.start_unix_ns.max(from);
                    self.on_path[call] = true;
                    stack.push(Frame::new(tree, call, from, call_end));
                }
            }
        }
        self.segments.reverse();
    }
}

/// The walk inside one span.
struct Frame {
    node: usize,
    /// Where the part of the span that is on the path begins.
    from: u64,
    /// Everything after this is explained.
    cursor: u64,
    /// Its calls, the last to end first.
    calls: Vec<usize>,
    /// Calls before this index end after the cursor.
    passed: usize,
    /// Of the passed calls, the first to start.
    running: Option<usize>,
}

impl Frame {
    fn new(tree: &TraceTree<'_>, node: usize, from: u64, cursor: u64) -> Self {
        let mut calls: Vec<usize> = tree
            .calls(node)
            .filter(|&c| tree.nodes[c].span.duration_ns() > 0)
            .collect();
        calls.sort_by_key(|&c| {
            let s = tree.nodes[c].span;
            (
                core::cmp::Reverse(s.end_unix_ns),
                s.start_unix_ns,
                s.span_id.to_bytes(),
            )
        });
        Frame {
            node,
            from: tree.nodes[node].span.start_unix_ns.max(from),
            cursor,
            calls,
            passed: 0,
            running: None,
        }
    }

    /// The call that explains the cursor, and where it ends on the path.
    fn next(&mut self, tree: &TraceTree<'_>) -> Option<(usize, u64)> {
        if self.cursor <= self.from {
            return None;
        }
        let start = |c: usize| tree.nodes[c].span.start_unix_ns;
        let end = |c: usize| tree.nodes[c].span.end_unix_ns;
        while let Some(&call) = self.calls.get(self.passed) {
            if end(call) <= self.cursor {
                break;
            }
            let key = |c: usize| (start(c), tree.nodes[c].span.span_id.to_bytes());
            if self.running.is_none_or(|r| key(call) < key(r)) {
                self.running = Some(call);
            }
            self.passed += 1;
        }
        // A call that was taken began at the cursor, so it can never be found running again.
        let running = self.running.filter(|&c| start(c) < self.cursor);
        let finished = self.calls.get(self.passed).copied();
        match finished.filter(|&c| end(c) > self.from) {
            Some(call) => {
                let gap = self.cursor - end(call);
                let length = end(call) - start(call).max(self.from);
                match running {
                    Some(running) if gap > length => Some((running, self.cursor)),
                    _ => Some((call, end(call))),
                }
            }
            None => running.map(|call| (call, self.cursor)),
        }
    }
}

/// The stretches of a node, as (start, end) in Unix nanoseconds, during which none of its calls was running.
///
/// Cost: O(k log k) in its calls.
pub(crate) fn self_intervals(tree: &TraceTree<'_>, node: usize) -> Vec<(u64, u64)> {
    let span = tree.nodes[node].span;
    let mut calls: Vec<(u64, u64)> = tree
        .calls(node)
        .map(|c| tree.nodes[c].span)
        .map(|s| (s.start_unix_ns, s.end_unix_ns.min(span.end_unix_ns)))
        .filter(|(start, end)| start < end)
        .collect();
    calls.sort_unstable();
    let mut own = Vec::new();
    let mut at = span.start_unix_ns;
    for (start, end) in calls {
        if at < start {
            own.push((at, start));
        }
        at = at.max(end);
    }
    if at < span.end_unix_ns {
        own.push((at, span.end_unix_ns));
    }
    own
}

fn entry(tree: &TraceTree<'_>) -> Option<usize> {
    let longest = |a: &usize, b: &usize| {
        let key = |i: usize| {
            let s = tree.nodes[i].span;
            (
                s.duration_ns(),
                core::cmp::Reverse((s.start_unix_ns, s.span_id.to_bytes())),
            )
        };
        key(*a).cmp(&key(*b))
    };
    let root = tree.roots.iter().copied().max_by(longest)?;
    let answers = |i: usize| {
        matches!(
            tree.nodes[i].span.kind,
            SpanKind::Server | SpanKind::Consumer
        )
    };
    if answers(root) {
        return Some(root);
    }
    let span = tree.nodes[root].span;
    let mut best = None;
    let mut stack = vec![root];
    while let Some(i) = stack.pop() {
        for c in tree.calls(i) {
            if !answers(c) {
                stack.push(c);
                continue;
            }
            let s = tree.nodes[c].span;
            if s.end_unix_ns > span.end_unix_ns && s.duration_ns() > span.duration_ns() {
                best = best.into_iter().chain([c]).max_by(longest);
            }
        }
    }
    Some(best.unwrap_or(root))
}
