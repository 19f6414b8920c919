//! A trace → a picture for the console.
//!
//! Input: a [`TraceTree`]. Output: the tree with bars to scale, the critical path marked, and a last line that
//! names the bottleneck and why. Bound: at most two lines for each of `max_rows` spans, besides a few
//! lines above and below; every line fits the width.

use std::collections::HashSet;
use std::io::{self, Write};

use super::bottleneck::{Bottleneck, error_message, is_exception, is_retry};
use super::critical_path::CriticalPath;
use super::model::Status;
use super::text::{HumanDuration, columns, cut, escape, label, pad, wrap};
use super::tree::{Attachment, TraceTree};

mod bar;
mod clocks;
mod rows;

use bar::Axis;
use clocks::Apart;
use rows::Row;

/// Spaces before the total and before the self time.
const TIME_MARGIN: usize = 2;
const MIN_WIDTH: usize = 60;
/// Errors that are spelled out below the picture.
const ERROR_LINES: usize = 3;

/// Draws traces for a terminal.
///
/// Everything that came with a span is escaped: nothing in it reaches the terminal as a command.
///
/// ```
/// use spanlet::{SpanId, TraceId};
/// use spanlet_std::trace::{TraceSpan, TraceTree, Waterfall};
/// let trace = TraceId::from_bytes([1; 16]).unwrap();
/// let mut span = TraceSpan::new(trace, SpanId::from_bytes([2; 8]).unwrap(), "fraud-check");
/// span.end_unix_ns = 2_400_000_000;
/// let spans = [span];
/// let mut out = Vec::new();
/// for tree in TraceTree::build(&spans) {
///     Waterfall::new(100).write(&tree, &mut out)?;
/// }
/// let text = String::from_utf8(out).unwrap();
/// assert!(text.ends_with("fraud-check: 2.4 s of 2.4 s, 100 % of the critical path\n"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Waterfall {
    width: usize,
    colour: bool,
    ascii: bool,
    max_rows: usize,
}

impl Waterfall {
    /// For a terminal of so many columns (60 at least are used), without colour, in Unicode, with at most 60 spans.
    pub fn new(width: usize) -> Self {
        Waterfall {
            width: width.max(MIN_WIDTH),
            colour: false,
            ascii: false,
            max_rows: 60,
        }
    }
    /// Whether to use ANSI colours. Callers decide, by `NO_COLOR` and by whether it is a terminal.
    #[must_use]
    pub fn colour(mut self, colour: bool) -> Self {
        self.colour = colour;
        self
    }
    /// Whether to draw with ASCII alone.
    #[must_use]
    pub fn ascii(mut self, ascii: bool) -> Self {
        self.ascii = ascii;
        self
    }
    /// How many spans to show before the least telling are counted instead of drawn; 1 at least.
    #[must_use]
    pub fn max_rows(mut self, max_rows: usize) -> Self {
        self.max_rows = max_rows.max(1);
        self
    }

    /// Writes one trace.
    ///
    /// # Errors
    /// Those of the writer.
    ///
    /// Cost: O(n log n) in the spans.
    pub fn write(&self, tree: &TraceTree<'_>, mut out: impl Write) -> io::Result<()> {
        let Some(path) = CriticalPath::of(tree) else {
            return Ok(());
        };
        let bottleneck = Bottleneck::of(tree, &path);
        let picture = Picture {
            look: self,
            tree,
            path: &path,
            bottleneck: bottleneck.as_ref(),
        };
        picture.write(&mut out)
    }

    fn glyphs(&self) -> &'static Glyphs {
        if self.ascii { &ASCII } else { &UNICODE }
    }
    fn paint(&self, style: Style, text: &str) -> String {
        match style {
            Style::Plain => text.to_owned(),
            _ if !self.colour || text.is_empty() => text.to_owned(),
            _ => format!("\x1b[{}m{text}\x1b[0m", style.code()),
        }
    }
}

/// What a piece of text or bar means; the terminal's own palette does the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    Plain,
    Dim,
    Strong,
    Path,
    Beside,
    Bottleneck,
    Error,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "0",
            Style::Dim => "2",
            Style::Strong => "1",
            Style::Path => "33",
            Style::Beside => "36",
            Style::Bottleneck => "1;33",
            Style::Error => "1;31",
        }
    }
}

/// The signs that a picture is made of.
struct Glyphs {
    on_path: &'static str,
    bottleneck: &'static str,
    error: &'static str,
    warning: &'static str,
    link: &'static str,
    within: &'static str,
    ellipsis: &'static str,
    dot: &'static str,
    branch: &'static str,
    last_branch: &'static str,
    through: &'static str,
    own_on_path: char,
    own: char,
    waiting: char,
    /// Left parts of `own_on_path`, by eighths.
    eighths: &'static [char],
    /// The right half of `own_on_path`.
    right_half: char,
    sliver: char,
    before_axis: char,
    after_axis: char,
    tick_retry: char,
    tick_error: char,
    tick_event: char,
    axis: char,
    axis_tick: char,
}

const UNICODE: Glyphs = Glyphs {
    on_path: "●",
    bottleneck: "▶",
    error: "✖ ",
    warning: "⚠ ",
    link: "⇠ link ",
    within: "±",
    ellipsis: "…",
    dot: " · ",
    branch: "├ ",
    last_branch: "└ ",
    through: "│ ",
    own_on_path: '█',
    own: '▒',
    waiting: '─',
    eighths: &['▏', '▎', '▍', '▌', '▋', '▊', '▉'],
    right_half: '▐',
    sliver: '▏',
    before_axis: '‹',
    after_axis: '›',
    tick_retry: '▲',
    tick_error: '✖',
    tick_event: '◆',
    axis: '─',
    axis_tick: '┴',
};

const ASCII: Glyphs = Glyphs {
    on_path: "*",
    bottleneck: ">",
    error: "! ",
    warning: "? ",
    link: "<~ link ",
    within: "+-",
    ellipsis: "...",
    dot: ", ",
    branch: "|-",
    last_branch: "`-",
    through: "| ",
    own_on_path: '#',
    own: '=',
    waiting: '-',
    eighths: &[],
    right_half: '#',
    sliver: '|',
    before_axis: '<',
    after_axis: '>',
    tick_retry: '^',
    tick_error: '!',
    tick_event: 'o',
    axis: '-',
    axis_tick: '+',
};

/// One trace about to be drawn.
struct Picture<'a> {
    look: &'a Waterfall,
    tree: &'a TraceTree<'a>,
    path: &'a CriticalPath,
    bottleneck: Option<&'a Bottleneck>,
}

impl Picture<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let look = self.look;
        let rows = rows::choose(self.tree, self.path, self.bottleneck, look.max_rows);
        let labels: Vec<Label> = rows.iter().map(|row| self.label(row)).collect();

        let layout = self.layout(&rows, &labels);
        let axis = Axis::of(self.tree, self.path, layout.bar);

        self.say(out, Style::Strong, &self.title())?;
        self.head(out, &axis, &layout)?;
        for (row, label) in rows.iter().zip(&labels) {
            self.row(out, &axis, row, label, &layout)?;
        }
        writeln!(out)?;
        self.say(out, Style::Dim, &self.legend(&rows))?;
        self.notes(out)
    }

    fn layout(&self, rows: &[Row], labels: &[Label]) -> Layout {
        let times = |ns: &dyn Fn(usize) -> u64, title: &str| {
            let shown = rows.iter().filter_map(|r| r.node);
            let texts = shown.map(|n| columns(&HumanDuration(ns(n)).to_string()));
            TIME_MARGIN + texts.max().unwrap_or(0).max(columns(title))
        };
        let total = times(&|n| self.tree.nodes[n].span.duration_ns(), "total");
        let own = times(&|n| self.path.self_ns[n], "self");
        let width = self.look.width;
        let widest = labels.iter().map(Label::columns).max().unwrap_or(0);
        let label = widest.clamp(12, width * 42 / 100 - 1);
        Layout {
            label,
            bar: width.saturating_sub(2 + label + 1 + total + own).max(1),
            total,
            own,
        }
    }

    /// Writes text that is safe already, wrapped at the width.
    fn say(&self, out: &mut dyn Write, style: Style, text: &str) -> io::Result<()> {
        for line in wrap(text, self.look.width, 2) {
            writeln!(out, "{}", self.look.paint(style, &line))?;
        }
        Ok(())
    }

    fn title(&self) -> String {
        let count = |n: usize, one: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{n} {one}s"),
        };
        let nodes = &self.tree.nodes;
        let entry = nodes[self.path.entry].span;
        let services: HashSet<&str> = nodes.iter().map(|n| n.span.service.as_str()).collect();
        let errors = nodes.iter().filter(|n| n.span.status == Status::Error);
        let mut parts = vec![
            format!("trace {}", self.tree.trace_id),
            escape(&label(entry), self.look.ascii),
            HumanDuration(self.path.total_ns).to_string(),
            count(nodes.len(), "span"),
            count(services.len(), "service"),
        ];
        match errors.count() {
            0 => {}
            n => parts.push(count(n, "error")),
        }
        parts.join(self.look.glyphs().dot)
    }

    fn head(&self, out: &mut dyn Write, axis: &Axis, layout: &Layout) -> io::Result<()> {
        let (times, rule) = axis.head(self.look.glyphs());
        let margin = " ".repeat(2 + layout.label + 1);
        let (t, s) = (layout.total, layout.own);
        let head = format!("{margin}{times}{:>t$}{:>s$}", "total", "self");
        writeln!(out, "{}", self.look.paint(Style::Dim, &head))?;
        let rule = format!("{margin}{rule}");
        writeln!(out, "{}", self.look.paint(Style::Dim, &rule))
    }

    fn row(
        &self,
        out: &mut dyn Write,
        axis: &Axis,
        row: &Row,
        label: &Label,
        layout: &Layout,
    ) -> io::Result<()> {
        let (look, glyphs) = (self.look, self.look.glyphs());
        let Some(node) = row.node else {
            let text = cut(&label.plain(), look.width - 2, glyphs.ellipsis);
            return writeln!(out, "  {}", look.paint(Style::Dim, &text));
        };
        let span = self.tree.nodes[node].span;
        let is_bottleneck = self.bottleneck.is_some_and(|b| b.node == node);
        let on_path = self.path.on_path[node];
        let mark = match (is_bottleneck, on_path) {
            (true, _) => look.paint(Style::Bottleneck, glyphs.bottleneck),
            (false, true) => look.paint(Style::Path, glyphs.on_path),
            (false, false) => " ".to_owned(),
        };
        let bar: String = axis
            .bar(self.tree, self.path, node, glyphs)
            .chunk_by(|a, b| a.1 == b.1)
            .map(|run| {
                let text: String = run.iter().map(|(c, _)| *c).collect();
                let style = match run[0].1 {
                    Style::Path if span.status == Status::Error => Style::Error,
                    Style::Path if is_bottleneck => Style::Bottleneck,
                    style => style,
                };
                look.paint(style, &text)
            })
            .collect();
        let (t, s) = (layout.total, layout.own);
        let total = format!("{:>t$}", HumanDuration(span.duration_ns()));
        let own = format!("{:>s$}", HumanDuration(self.path.self_ns[node]));
        let (total_style, own_style) = match (is_bottleneck, on_path) {
            (true, _) => (Style::Bottleneck, Style::Bottleneck),
            (false, true) => (Style::Plain, Style::Plain),
            (false, false) => (Style::Dim, Style::Dim),
        };
        writeln!(
            out,
            "{mark} {} {bar}{}{}",
            label.painted(look, layout.label),
            look.paint(total_style, &total),
            look.paint(own_style, &own),
        )
    }

    fn label(&self, row: &Row) -> Label {
        let (look, glyphs) = (self.look, self.look.glyphs());
        let mut label = Label::default();
        label.push(Style::Dim, row.guides(glyphs, look.width));
        let Some(node) = row.node else {
            let spans = if row.elided == 1 { "span" } else { "spans" };
            let text = format!("{} {} more {spans}", glyphs.ellipsis, row.elided);
            label.push(Style::Dim, text);
            return label;
        };
        let n = &self.tree.nodes[node];
        let warning = |what: &str| format!("{}{what}: ", glyphs.warning);
        match n.attachment {
            Attachment::Root | Attachment::Child => {}
            Attachment::Link => label.push(Style::Dim, glyphs.link.to_owned()),
            Attachment::ParentMissing => label.push(Style::Error, warning("parent missing")),
            Attachment::CycleBroken => label.push(Style::Error, warning("parents in a ring")),
        }
        if let Some(apart) = Apart::of(self.tree, node, self.path.total_ns) {
            label.push(Style::Dim, apart.mark(glyphs.within, look.ascii));
        }
        let failed = n.span.status == Status::Error;
        if failed {
            label.push(Style::Error, glyphs.error.to_owned());
        }
        let style = |usual| if failed { Style::Error } else { usual };
        // Within a process the service need not be said again.
        let above = row.shown_parent.map(|p| &self.tree.nodes[p].span.service);
        if above != Some(&n.span.service) && !n.span.service.is_empty() {
            label.push(
                style(Style::Strong),
                escape(&n.span.service, look.ascii) + " ",
            );
        }
        label.push(style(Style::Plain), escape(&n.span.name, look.ascii));
        label
    }

    /// What the signs in this picture mean; those that it does not hold are left out.
    fn legend(&self, rows: &[Row]) -> String {
        let glyphs = self.look.glyphs();
        let events = || {
            let shown = rows.iter().filter_map(|r| r.node);
            shown.flat_map(|n| &self.tree.nodes[n].span.events)
        };
        let mut parts = vec![
            format!("{} on the critical path", glyphs.on_path),
            format!("{} own time on it", glyphs.own_on_path),
            format!("{} own time beside it", glyphs.own),
            format!("{} waiting for calls", glyphs.waiting),
        ];
        if events().any(|e| is_retry(&e.name)) {
            parts.push(format!("{} retry", glyphs.tick_retry));
        }
        if events().any(|e| is_exception(&e.name)) {
            parts.push(format!("{} exception", glyphs.tick_error));
        }
        if events().any(|e| !is_exception(&e.name) && !is_retry(&e.name)) {
            parts.push(format!("{} event", glyphs.tick_event));
        }
        let total_ns = self.path.total_ns;
        let mut shown = rows.iter().filter_map(|r| r.node);
        if shown.any(|n| Apart::of(self.tree, n, total_ns).is_some()) {
            parts.push(format!("{} how far two clocks may be apart", glyphs.within));
        }
        parts.join(", ")
    }

    fn notes(&self, out: &mut dyn Write) -> io::Result<()> {
        let safe = |text: &str| escape(text, self.look.ascii);
        let glyphs = self.look.glyphs();
        let nodes = &self.tree.nodes;

        let orphans = nodes
            .iter()
            .filter(|n| n.attachment == Attachment::ParentMissing);
        match orphans.count() {
            0 => {}
            n => {
                let text = match n {
                    1 => "the parent of 1 span".to_owned(),
                    n => format!("the parents of {n} spans"),
                };
                let text = format!(
                    "{}{text} never arrived: late, lost or not exported",
                    glyphs.warning
                );
                self.say(out, Style::Error, &text)?;
            }
        }
        match self.tree.duplicates {
            0 => {}
            n => {
                let text = format!("{}dropped as duplicates: {n}", glyphs.warning);
                self.say(out, Style::Dim, &text)?;
            }
        }
        let early = (nodes.iter().enumerate()).filter_map(|(i, n)| {
            let apart = Apart::of(self.tree, i, self.path.total_ns)?;
            (apart.early_ns != 0).then_some((n.span, apart))
        });
        for (span, apart) in early.take(ERROR_LINES) {
            let text = apart.explanation(&safe(&label(span)), self.look.ascii);
            self.say(out, Style::Dim, &text)?;
        }
        let failed = nodes.iter().filter(|n| n.span.status == Status::Error);
        for n in failed.clone().take(ERROR_LINES) {
            let what = error_message(n.span).unwrap_or_else(|| "failed".to_owned());
            let text = format!("{}{}: {}", glyphs.error, safe(&label(n.span)), safe(&what));
            self.say(out, Style::Error, &text)?;
        }
        match failed.count() {
            n if n > ERROR_LINES => {
                let text = format!("{}{} more errors", glyphs.error, n - ERROR_LINES);
                self.say(out, Style::Error, &text)?;
            }
            _ => {}
        }

        let Some(bottleneck) = self.bottleneck else {
            return self.say(out, Style::Plain, "No bottleneck: the trace is zero long.");
        };
        for hint in bottleneck.hints.iter().filter(|h| !h.explains()) {
            self.say(out, Style::Plain, &format!("Hint: {}.", safe(&hint.text)))?;
        }
        let why: Vec<String> = bottleneck
            .hints
            .iter()
            .filter(|h| h.explains())
            .map(|h| safe(&h.text))
            .collect();
        let why = match why.as_slice() {
            [] => String::new(),
            why => format!("; {}", why.join("; ")),
        };
        let text = format!(
            "{} Bottleneck: {}{why}",
            glyphs.bottleneck,
            safe(&bottleneck.reason)
        );
        self.say(out, Style::Bottleneck, &text)
    }
}

/// The columns of each part of a row.
struct Layout {
    label: usize,
    bar: usize,
    total: usize,
    own: usize,
}

/// A row's text: pieces of safe text, each with its style.
#[derive(Default)]
struct Label(Vec<(Style, String)>);

impl Label {
    fn push(&mut self, style: Style, text: String) {
        self.0.push((style, text));
    }
    fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }
    fn columns(&self) -> usize {
        self.0.iter().map(|(_, text)| columns(text)).sum()
    }
    /// Exactly `width` columns: cut or padded.
    fn painted(&self, look: &Waterfall, width: usize) -> String {
        let mut out = String::new();
        let mut room = width;
        for (at, (style, text)) in self.0.iter().enumerate() {
            let rest: usize = self.0[at..].iter().map(|(_, t)| columns(t)).sum();
            let text = match rest > room && columns(text) >= room {
                true => cut(text, room, look.glyphs().ellipsis),
                false => text.clone(),
            };
            room = room.saturating_sub(columns(&text));
            out.push_str(&look.paint(*style, &text));
            if room == 0 {
                break;
            }
        }
        out + &pad("", room)
    }
}
