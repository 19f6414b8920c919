//! Times → columns: the axis and the bars.
//!
//! Input: nanoseconds. Output: one sign for each column. Bound: the number of columns, and a span's calls.

use std::collections::HashMap;

use super::super::critical_path::self_intervals;
use super::{
    CriticalPath, Glyphs, HumanDuration, Style, TraceTree, columns, is_exception, is_retry,
};

/// What the bars are drawn to.
pub(super) struct Axis {
    start_unix_ns: u64,
    /// At least 1.
    length_ns: u64,
    cells: usize,
    /// The critical path's segments, by node.
    critical: HashMap<usize, Vec<(u64, u64)>>,
}

/// How much of a cell is covered, in parts of its length.
const FULL: u128 = 1 << 16;

impl Axis {
    /// From the first start to the last end, but spans far outside the entry (a message handled an hour
    /// later) do not squeeze it below half of the width.
    pub(super) fn of(tree: &TraceTree<'_>, path: &CriticalPath, cells: usize) -> Self {
        let entry = tree.nodes[path.entry].span;
        let (mut start, mut end) = (
            entry.start_unix_ns,
            entry.end_unix_ns.max(entry.start_unix_ns),
        );
        let slack = match path.total_ns {
            0 => u64::MAX,
            total => total / 2,
        };
        let (earliest, latest) = (start.saturating_sub(slack), end.saturating_add(slack));
        for node in &tree.nodes {
            let s = node.span;
            if (earliest..=latest).contains(&s.start_unix_ns) {
                start = start.min(s.start_unix_ns);
                end = end.max(s.end_unix_ns.min(latest));
            }
        }
        let mut critical: HashMap<usize, Vec<(u64, u64)>> = HashMap::new();
        for s in &path.segments {
            let of_node = critical.entry(s.node).or_default();
            of_node.push((s.start_unix_ns, s.end_unix_ns));
        }
        Axis {
            start_unix_ns: start,
            length_ns: (end - start).max(1),
            cells,
            critical,
        }
    }

    /// Two lines: the times, and the rule that they stand on.
    pub(super) fn head(&self, glyphs: &Glyphs) -> (String, String) {
        let step = self.step_ns();
        let mut times = String::new();
        let mut rule: Vec<char> = vec![glyphs.axis; self.cells];
        let mut at_ns = 0;
        while at_ns < self.length_ns {
            let cell = usize::try_from(self.position(at_ns) / FULL).unwrap_or(0);
            let text = HumanDuration(at_ns).to_string();
            let text = if at_ns == 0 { "0".to_owned() } else { text };
            if cell + columns(&text) > self.cells {
                break;
            }
            // Texts must not run into each other: where one has no room, its tick stands alone.
            let used = columns(&times);
            if used == 0 || cell > used {
                times.extend(core::iter::repeat_n(' ', cell - used));
                times.push_str(&text);
            }
            if let Some(c) = rule.get_mut(cell) {
                *c = glyphs.axis_tick;
            }
            at_ns = match at_ns.checked_add(step) {
                Some(next) => next,
                None => break,
            };
        }
        (super::pad(&times, self.cells), rule.into_iter().collect())
    }

    /// A round step that leaves room for its text.
    fn step_ns(&self) -> u64 {
        let most = u64::try_from(self.cells / 9).unwrap_or(1).max(1);
        let least = self.length_ns.div_ceil(most).max(1);
        let mut unit: u64 = 1;
        while unit.checked_mul(10).is_some_and(|next| next <= least) {
            unit *= 10;
        }
        let steps = [1, 2, 5, 10].into_iter();
        steps
            .filter_map(|k| unit.checked_mul(k))
            .find(|&step| step >= least)
            .unwrap_or(u64::MAX)
    }

    /// From the axis's start, in parts of a cell.
    fn position(&self, offset_ns: u64) -> u128 {
        let cells = u128::try_from(self.cells).unwrap_or(0);
        u128::from(offset_ns) * cells * FULL / u128::from(self.length_ns)
    }

    /// Start and end on the axis, in parts of a cell; empty if wholly outside.
    fn project(&self, (start, end): (u64, u64)) -> (u128, u128) {
        let on_axis =
            |t: u64| self.position(t.saturating_sub(self.start_unix_ns).min(self.length_ns));
        (on_axis(start), on_axis(end))
    }

    /// Adds what an interval covers of each cell.
    fn cover(&self, cover: &mut [u128], interval: (u64, u64)) {
        let (start, end) = self.project(interval);
        if start >= end {
            return;
        }
        let first = usize::try_from(start / FULL).unwrap_or(0);
        let last = usize::try_from(end.div_ceil(FULL)).unwrap_or(0);
        for cell in first..last.min(cover.len()) {
            let from = u128::try_from(cell).unwrap_or(0) * FULL;
            cover[cell] += end.min(from + FULL) - start.max(from);
        }
    }

    /// A span's bar: `cells` signs with their styles.
    pub(super) fn bar(
        &self,
        tree: &TraceTree<'_>,
        path: &CriticalPath,
        node: usize,
        glyphs: &Glyphs,
    ) -> Vec<(char, Style)> {
        let span = tree.nodes[node].span;
        let (mut whole, mut own, mut critical) = (
            vec![0; self.cells],
            vec![0; self.cells],
            vec![0; self.cells],
        );
        self.cover(&mut whole, (span.start_unix_ns, span.end_unix_ns));
        for interval in self_intervals(tree, node) {
            self.cover(&mut own, interval);
        }
        for &interval in self.critical.get(&node).into_iter().flatten() {
            self.cover(&mut critical, interval);
        }
        let on_path = path.on_path[node];
        let (waiting, beside) = match on_path {
            true => (Style::Plain, Style::Beside),
            false => (Style::Dim, Style::Beside),
        };
        let mut bar: Vec<(char, Style)> = (0..self.cells)
            .map(|cell| {
                let next_to = |at: Option<usize>| at.and_then(|i| critical.get(i)) == Some(&FULL);
                let (before, after) = (next_to(cell.checked_sub(1)), next_to(cell.checked_add(1)));
                let (c, o, w) = (critical[cell], own[cell], whole[cell]);
                // Where a bar's end covers too little of a cell, nothing is drawn rather than a wait.
                let rest = match c.max(o) < w {
                    true => (glyphs.waiting, waiting),
                    false => (' ', Style::Plain),
                };
                match () {
                    () if c == 0 && o * 2 >= FULL => (glyphs.own, beside),
                    () if c == 0 => rest,
                    () if c >= FULL => (glyphs.own_on_path, Style::Path),
                    () if after && !before => match c * 4 {
                        q if q >= FULL * 3 => (glyphs.own_on_path, Style::Path),
                        q if q >= FULL => (glyphs.right_half, Style::Path),
                        _ => rest,
                    },
                    // Alone between waiting: a part of a block would look like a break in the line.
                    () if !before && c < w => match c * 2 >= FULL {
                        true => (glyphs.own_on_path, Style::Path),
                        false => rest,
                    },
                    () => partial(c, glyphs).map_or(rest, |sign| (sign, Style::Path)),
                }
            })
            .collect();
        self.never_empty(&mut bar, span.start_unix_ns, on_path, glyphs);
        self.ticks(&mut bar, tree, node, glyphs);
        bar
    }

    /// A span too short for a cell, or off the axis, still leaves a mark.
    fn never_empty(&self, bar: &mut [(char, Style)], start: u64, on_path: bool, glyphs: &Glyphs) {
        let style = if on_path { Style::Path } else { Style::Beside };
        let end = self.start_unix_ns.saturating_add(self.length_ns);
        let sign = match start {
            t if t < self.start_unix_ns => glyphs.before_axis,
            t if t > end => glyphs.after_axis,
            _ => glyphs.sliver,
        };
        let blank = bar.iter().all(|(c, _)| *c == ' ' || *c == glyphs.waiting);
        let alone = bar.iter().filter(|(c, _)| *c != ' ').count() <= 1;
        if blank && alone {
            let cell = self.cell(start);
            // The one sign moves with the start, so that rounding leaves no second one.
            bar.iter_mut().for_each(|b| *b = (' ', Style::Plain));
            if let Some(b) = bar.get_mut(cell) {
                *b = (sign, style);
            }
        }
    }

    fn ticks(&self, bar: &mut [(char, Style)], tree: &TraceTree<'_>, node: usize, glyphs: &Glyphs) {
        let rank = |name: &str| match () {
            () if is_exception(name) => (2, glyphs.tick_error, Style::Error),
            () if is_retry(name) => (1, glyphs.tick_retry, Style::Error),
            () => (0, glyphs.tick_event, Style::Strong),
        };
        let mut events: Vec<_> = tree.nodes[node]
            .span
            .events
            .iter()
            .map(|e| (rank(&e.name), self.cell(e.time_unix_ns)))
            .collect();
        events.sort_by_key(|((rank, _, _), _)| *rank);
        for ((_, sign, style), cell) in events {
            if let Some(b) = bar.get_mut(cell) {
                *b = (sign, style);
            }
        }
    }

    /// The cell that shows a moment; moments off the axis show at its ends.
    fn cell(&self, unix_ns: u64) -> usize {
        let (at, _) = self.project((unix_ns, unix_ns));
        let cell = usize::try_from(at / FULL).unwrap_or(usize::MAX);
        cell.min(self.cells.saturating_sub(1))
    }
}

/// The sign for a cell of which the left part is covered; `None` where too little is to be seen.
fn partial(cover: u128, glyphs: &Glyphs) -> Option<char> {
    if glyphs.eighths.is_empty() {
        return (cover * 2 >= FULL).then_some(glyphs.own_on_path);
    }
    let eighths = usize::try_from((cover * 8 + FULL / 2) / FULL).unwrap_or(8);
    match eighths {
        0 => None,
        8.. => Some(glyphs.own_on_path),
        n => glyphs.eighths.get(n - 1).copied(),
    }
}
