//! Spans → trees.
//!
//! Input: spans of any traces in any order. Output: one [`TraceTree`] for each trace, its nodes in the
//! order in which they are shown. Bound: O(n log n); every distinct span is in exactly one tree, once.

use core::cmp::Reverse;
use std::collections::HashMap;

use spanlet::{SpanId, TraceId};

use super::model::TraceSpan;

/// Why a node stands where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A root: it names no parent.
    Root,
    /// Under the parent that it names.
    Child,
    /// Under the span that it links to, such as a message's producer. It may be of another trace.
    Link,
    /// A root for want of better: the parent that it names is not among the spans.
    ParentMissing,
    /// A root for want of better: following its parents led back to itself.
    CycleBroken,
}

/// A span in its place.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// The span.
    pub span: &'a TraceSpan,
    /// Why it stands here.
    pub attachment: Attachment,
    /// The index of the node above; smaller than its own.
    pub parent: Option<usize>,
    /// Indices of the nodes below, by start time.
    pub children: Vec<usize>,
    /// Steps from its root.
    pub depth: usize,
}

/// The spans of one trace, and those of other traces that were linked into it.
#[derive(Clone, Debug)]
pub struct TraceTree<'a> {
    /// The trace.
    pub trace_id: TraceId,
    /// Every node, each root followed by all that is below it (depth first, by start time).
    pub nodes: Vec<Node<'a>>,
    /// Indices of the roots, by start time.
    pub roots: Vec<usize>,
    /// Spans of this trace that came more than once and were dropped.
    pub duplicates: usize,
}

impl<'a> TraceTree<'a> {
    /// Sorts spans into trees, the trace that started first first.
    ///
    /// Of spans with the same trace and span id the first is kept. A span without a parent (or whose
    /// parent is missing) that links to a span at hand is put under that span, even across traces; such
    /// a trace then has no tree of its own. Of a ring of parents the earliest span becomes a root, unless the
    /// ring holds a link, which then gives way.
    ///
    /// Never panics. Cost: O(n log n).
    ///
    /// ```
    /// use spanlet::{SpanId, TraceId};
    /// use spanlet_std::trace::{Attachment, TraceSpan, TraceTree};
    /// let trace = TraceId::from_bytes([1; 16]).unwrap();
    /// let id = |n| SpanId::from_bytes([n; 8]).unwrap();
    /// let root = TraceSpan::new(trace, id(1), "root");
    /// let mut child = TraceSpan::new(trace, id(2), "child");
    /// child.parent_span_id = Some(id(1));
    /// let mut orphan = TraceSpan::new(trace, id(3), "orphan");
    /// orphan.parent_span_id = Some(id(9));
    /// let spans = [child, orphan, root];
    /// let trees = TraceTree::build(&spans);
    /// assert_eq!(trees.len(), 1);
    /// let shown = trees[0].nodes.iter().map(|n| (n.span.name.as_str(), n.attachment));
    /// assert!(shown.eq([
    ///     ("root", Attachment::Root),
    ///     ("child", Attachment::Child),
    ///     ("orphan", Attachment::ParentMissing),
    /// ]));
    /// ```
    pub fn build(spans: &'a [TraceSpan]) -> Vec<TraceTree<'a>> {
        let (spans, duplicates) = distinct(spans);
        let mut above = attach(&spans);
        break_cycles(&spans, &mut above);
        let children = sorted_children(&spans, &above);

        let mut roots: Vec<usize> = (0..spans.len())
            .filter(|&i| above[i].node.is_none())
            .collect();
        roots.sort_by_key(|&i| order(spans[i]));

        let mut trees: Vec<TraceTree<'a>> = Vec::new();
        let mut tree_of: HashMap<TraceId, usize> = HashMap::new();
        for root in roots {
            let trace_id = spans[root].trace_id;
            let at = *tree_of.entry(trace_id).or_insert_with(|| {
                trees.push(TraceTree {
                    trace_id,
                    nodes: Vec::new(),
                    roots: Vec::new(),
                    duplicates: duplicates.get(&trace_id).copied().unwrap_or(0),
                });
                trees.len() - 1
            });
            trees[at].append(root, &spans, &above, &children);
        }
        trees
    }

    /// Adds a root and all below it, depth first. Iterative: a chain may be as deep as there are spans.
    fn append(
        &mut self,
        root: usize,
        spans: &[&'a TraceSpan],
        above: &[Above],
        children: &[Vec<usize>],
    ) {
        self.roots.push(self.nodes.len());
        let mut stack: Vec<(usize, Option<usize>)> = vec![(root, None)];
        while let Some((i, parent)) = stack.pop() {
            let at = self.nodes.len();
            let depth = parent.map_or(0, |p| {
                self.nodes[p].children.push(at);
                self.nodes[p].depth + 1
            });
            self.nodes.push(Node {
                span: spans[i],
                attachment: above[i].attachment,
                parent,
                children: Vec::with_capacity(children[i].len()),
                depth,
            });
            stack.extend(children[i].iter().rev().map(|&c| (c, Some(at))));
        }
    }

    /// Nodes below `node` that it called itself: linked ones are left out, since nobody waits for them.
    pub fn calls(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let children = self.nodes.get(node).map_or(&[][..], |n| &n.children);
        children
            .iter()
            .copied()
            .filter(|&c| self.nodes[c].attachment != Attachment::Link)
    }
}

/// Where a span hangs, before there are nodes.
struct Above {
    node: Option<usize>,
    attachment: Attachment,
}

/// The order of siblings and roots: by start, the longer first, ties settled by id so that the same
/// spans always give the same picture.
fn order(span: &TraceSpan) -> (u64, Reverse<u64>, [u8; 8]) {
    (
        span.start_unix_ns,
        Reverse(span.end_unix_ns),
        span.span_id.to_bytes(),
    )
}

fn distinct(spans: &[TraceSpan]) -> (Vec<&TraceSpan>, HashMap<TraceId, usize>) {
    let mut seen = std::collections::HashSet::with_capacity(spans.len());
    let mut duplicates = HashMap::new();
    let mut kept = Vec::with_capacity(spans.len());
    for span in spans {
        if seen.insert((span.trace_id, span.span_id)) {
            kept.push(span);
        } else {
            *duplicates.entry(span.trace_id).or_insert(0) += 1;
        }
    }
    (kept, duplicates)
}

fn attach(spans: &[&TraceSpan]) -> Vec<Above> {
    let by_id: HashMap<(TraceId, SpanId), usize> = spans
        .iter()
        .enumerate()
        .map(|(i, s)| ((s.trace_id, s.span_id), i))
        .collect();
    let linked = |span: &TraceSpan| {
        span.links
            .iter()
            .find_map(|l| by_id.get(&(l.trace_id, l.span_id)).copied())
    };
    spans
        .iter()
        .map(|span| {
            let parent = span.parent_span_id;
            match parent.and_then(|p| by_id.get(&(span.trace_id, p)).copied()) {
                Some(node) => Above {
                    node: Some(node),
                    attachment: Attachment::Child,
                },
                None => match linked(span) {
                    Some(node) => Above {
                        node: Some(node),
                        attachment: Attachment::Link,
                    },
                    None if parent.is_some() => Above {
                        node: None,
                        attachment: Attachment::ParentMissing,
                    },
                    None => Above {
                        node: None,
                        attachment: Attachment::Root,
                    },
                },
            }
        })
        .collect()
}

/// Cuts one edge of every ring. Each span has at most one edge upwards, so rings do not share spans.
fn break_cycles(spans: &[&TraceSpan], above: &mut [Above]) {
    // The walk in which a span was first met, counted from 1.
    let mut met = vec![0_usize; spans.len()];
    for start in 0..spans.len() {
        let walk = start + 1;
        let mut at = start;
        while met[at] == 0 {
            met[at] = walk;
            match above[at].node {
                Some(next) => at = next,
                None => break,
            }
        }
        // A walk that ends on a span of its own, with an edge still leading on, has closed a ring there.
        if met[at] != walk || above[at].node.is_none() {
            continue;
        }
        let mut ring = vec![at];
        let mut next = above[at].node;
        while let Some(i) = next.filter(|&i| i != at) {
            ring.push(i);
            next = above[i].node;
        }
        let cut = ring
            .iter()
            .copied()
            .min_by_key(|&i| (above[i].attachment != Attachment::Link, order(spans[i])))
            .unwrap_or(at);
        above[cut] = Above {
            node: None,
            attachment: match above[cut].attachment {
                Attachment::Link if spans[cut].parent_span_id.is_some() => {
                    Attachment::ParentMissing
                }
                Attachment::Link => Attachment::Root,
                _ => Attachment::CycleBroken,
            },
        };
    }
}

fn sorted_children(spans: &[&TraceSpan], above: &[Above]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); spans.len()];
    for (i, a) in above.iter().enumerate() {
        if let Some(parent) = a.node {
            children[parent].push(i);
        }
    }
    for list in &mut children {
        list.sort_by_key(|&i| order(spans[i]));
    }
    children
}
