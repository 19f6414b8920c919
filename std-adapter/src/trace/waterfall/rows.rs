//! Which spans are drawn, and where in the tree.
//!
//! Input: a tree and its critical path. Output: rows in the tree's order; what is left out is counted in its place.
//! Bound: `max_rows` spans, and at most one line of counts after each.

use super::{Bottleneck, CriticalPath, Glyphs, Status, TraceTree};

/// A line of the picture: a span, or a count of spans that are not shown.
pub(super) struct Row {
    /// The node, unless this is a count.
    pub(super) node: Option<usize>,
    /// Spans that are not shown here.
    pub(super) elided: usize,
    /// The nearest node above that is shown.
    pub(super) shown_parent: Option<usize>,
    /// Steps from the root, of what is shown.
    depth: usize,
    /// For each depth down to its own, whether more follows there.
    more: Vec<bool>,
}

impl Row {
    /// The lines that join the row to its parent. Deep rows show a number instead, so that names keep their room.
    pub(super) fn guides(&self, glyphs: &Glyphs, width: usize) -> String {
        let drawn = width / 10;
        if self.depth == 0 {
            return String::new();
        }
        let mut out = String::new();
        let first = match self.depth.checked_sub(drawn) {
            Some(hidden) if hidden > 0 => {
                out = format!("+{hidden} ");
                hidden + 1
            }
            _ => 1,
        };
        let more = |depth: usize| self.more.get(depth).copied().unwrap_or(false);
        for depth in first..self.depth {
            out.push_str(if more(depth) { glyphs.through } else { "  " });
        }
        out.push_str(match more(self.depth) {
            true => glyphs.branch,
            false => glyphs.last_branch,
        });
        out
    }
}

/// The rows to draw. Kept first: the bottleneck, roots, the critical path, errors, then the longest.
pub(super) fn choose(
    tree: &TraceTree<'_>,
    path: &CriticalPath,
    bottleneck: Option<&Bottleneck>,
    max_rows: usize,
) -> Vec<Row> {
    let n = tree.nodes.len();
    let mut ranked: Vec<usize> = (0..n).collect();
    if n > max_rows {
        ranked.sort_by_key(|&i| {
            let span = tree.nodes[i].span;
            let rank = match () {
                () if bottleneck.is_some_and(|b| b.node == i) || i == path.entry => 0,
                () if path.on_path[i] && path.critical_self_ns[i] >= path.total_ns / 100 => 1,
                () if tree.nodes[i].parent.is_none() => 2,
                () if span.status == Status::Error => 3,
                () if path.on_path[i] => 4,
                () => 5,
            };
            (rank, core::cmp::Reverse(span.duration_ns()), i)
        });
    }
    let mut shown = vec![false; n];
    for &i in ranked.iter().take(max_rows) {
        shown[i] = true;
    }
    let mut rows = place(tree, &shown);
    draw_through(&mut rows);
    rows
}

fn place(tree: &TraceTree<'_>, shown: &[bool]) -> Vec<Row> {
    // Of each node: its depth among what is shown, and the nearest shown node at or above it.
    let mut at: Vec<(usize, Option<usize>)> = Vec::with_capacity(shown.len());
    let mut rows = Vec::new();
    let mut elided: Option<Row> = None;
    for (i, node) in tree.nodes.iter().enumerate() {
        let above = node.parent.map(|p| (p, at[p]));
        let (depth, shown_parent) = match above {
            Some((p, (depth, parent))) => (depth + usize::from(shown[p]), parent),
            None => (0, None),
        };
        at.push((depth, if shown[i] { Some(i) } else { shown_parent }));
        let row = |node, elided| Row {
            node,
            elided,
            shown_parent,
            depth,
            more: Vec::new(),
        };
        if shown[i] {
            rows.extend(elided.take());
            rows.push(row(Some(i), 0));
        } else {
            let run = elided.get_or_insert_with(|| row(None, 0));
            run.elided += 1;
            run.depth = run.depth.min(depth);
        }
    }
    rows.extend(elided);
    rows
}

/// From the last row up: a branch goes on at a depth if a row below is at that depth before one is shallower.
fn draw_through(rows: &mut [Row]) {
    let mut open: Vec<bool> = Vec::new();
    for row in rows.iter_mut().rev() {
        open.resize(row.depth + 1, false);
        row.more.clone_from(&open);
        open[row.depth] = true;
    }
}
