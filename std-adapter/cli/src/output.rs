//! Where spans go that are printed, and how.
//!
//! Input: spans, one by one. Output: JSON lines, or a waterfall for each trace that has come to rest. Bound:
//! [`MAX_SPANS`] of unfinished traces; the trace that rested longest makes room, and is drawn.

use clap::Args;
use spanlet::TraceId;
use spanlet_std::trace::{TraceSpan, TraceTree, Waterfall, write_json_lines};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Spans of traces that are not drawn yet.
const MAX_SPANS: usize = 50_000;
/// How long a trace must be silent to be drawn: with its root, and without.
const REST: Duration = Duration::from_secs(1);
const REST_WITHOUT_ROOT: Duration = Duration::from_secs(5);
/// Columns where nobody says how many there are.
const COLUMNS: usize = 100;

/// Why a command could not do its work: one line, with what to do about it.
#[derive(Debug)]
pub(crate) enum CliError {
    /// Something about a file or standard stream.
    File { what: String, cause: io::Error },
    /// Something else, in words.
    Other(String),
}

impl CliError {
    pub(crate) fn file(verb: &str, path: &Path, cause: io::Error) -> Self {
        let what = format!("cannot {verb} {}", path.display());
        CliError::File { what, cause }
    }
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, CliError::File { cause, .. } if cause.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::File { what, cause } => write!(f, "{what}: {cause}"),
            CliError::Other(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for CliError {}

/// How waterfalls look.
#[derive(Args)]
pub(crate) struct LookArgs {
    /// Columns of the picture [default: those of the terminal, else 100]
    #[arg(long, value_name = "COLUMNS")]
    width: Option<usize>,
    /// Draws without colours; so does NO_COLOR
    #[arg(long)]
    no_color: bool,
    /// Draws with ASCII alone
    #[arg(long)]
    ascii: bool,
}

impl LookArgs {
    pub(crate) fn waterfall(&self) -> Waterfall {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM") == Some(OsString::from("dumb"));
        let colour =
            !self.no_color && !is_set("NO_COLOR") && !is_dumb && io::stdout().is_terminal();
        let terminal = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let width = self.width.or_else(terminal).unwrap_or(COLUMNS);
        Waterfall::new(width).colour(colour).ascii(self.ascii)
    }
}

/// A file to write, or standard output for `-`.
pub(crate) fn create(path: &Path) -> Result<Box<dyn Write + Send>, CliError> {
    if path == Path::new("-") {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    match File::create(path) {
        Ok(file) => Ok(Box::new(BufWriter::new(file))),
        Err(cause) => Err(CliError::file("write", path, cause)),
    }
}

/// Prints spans as they come.
pub(crate) struct Printer {
    json: Option<(PathBuf, Box<dyn Write + Send>)>,
    waterfall: Option<(Waterfall, Box<dyn Write + Send>)>,
    traces: HashMap<TraceId, Open>,
    spans: usize,
    failed: Option<CliError>,
}

/// A trace that may grow yet.
struct Open {
    spans: Vec<TraceSpan>,
    has_root: bool,
    last: Instant,
}

impl Printer {
    pub(crate) fn new(json: Option<&Path>, waterfall: Option<Waterfall>) -> Result<Self, CliError> {
        Ok(Printer {
            json: match json {
                Some(path) => Some((path.to_owned(), create(path)?)),
                None => None,
            },
            waterfall: waterfall.map(|look| (look, Box::new(io::stdout()) as _)),
            traces: HashMap::new(),
            spans: 0,
            failed: None,
        })
    }
    /// Takes a span. What goes wrong is told by [`turn`](Self::turn).
    pub(crate) fn span(&mut self, span: TraceSpan) {
        if self.failed.is_some() {
            return;
        }
        if let Some((path, out)) = &mut self.json
            && let Err(cause) = write_json_lines([&span], out)
        {
            self.failed = Some(CliError::file("write", path, cause));
        }
        if self.waterfall.is_none() {
            return;
        }
        let trace = self.traces.entry(span.trace_id).or_insert_with(|| Open {
            spans: Vec::new(),
            has_root: false,
            last: Instant::now(),
        });
        trace.has_root |= span.parent_span_id.is_none();
        trace.last = Instant::now();
        trace.spans.push(span);
        self.spans += 1;
        while self.spans > MAX_SPANS {
            let oldest = self.traces.iter().min_by_key(|(_, trace)| trace.last);
            let Some(id) = oldest.map(|(id, _)| *id) else {
                return;
            };
            self.draw(|at, _| *at == id);
        }
    }
    fn draw(&mut self, which: impl Fn(&TraceId, &Open) -> bool) {
        let Some((look, out)) = &mut self.waterfall else {
            return;
        };
        let mut spans = Vec::new();
        let finished = self.traces.extract_if(|id, trace| which(id, trace));
        finished.for_each(|(_, trace)| spans.extend(trace.spans));
        self.spans -= spans.len();
        for tree in TraceTree::build(&spans) {
            if self.failed.is_some() {
                return;
            }
            let done = look.write(&tree, &mut *out).and_then(|()| writeln!(out));
            self.failed = done
                .err()
                .map(|cause| CliError::file("write", Path::new("standard output"), cause));
        }
    }
    /// Draws what has come to rest and writes out what is buffered.
    ///
    /// # Errors
    /// The first that there was.
    pub(crate) fn turn(&mut self) -> Result<(), CliError> {
        let now = Instant::now();
        self.draw(|_, trace| {
            let rest = if trace.has_root {
                REST
            } else {
                REST_WITHOUT_ROOT
            };
            now.duration_since(trace.last) >= rest
        });
        self.flush()
    }
    /// Draws everything: nothing more will come.
    ///
    /// # Errors
    /// The first that there was.
    pub(crate) fn finish(&mut self) -> Result<(), CliError> {
        self.draw(|_, _| true);
        self.flush()
    }
    fn flush(&mut self) -> Result<(), CliError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some((path, out)) = &mut self.json {
            out.flush()
                .map_err(|cause| CliError::file("write", path, cause))?;
        }
        Ok(())
    }
}
