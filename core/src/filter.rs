//! Which spans exist at all: by level and by module, at compile time and at run time.
//!
//! A filter is a list like `info,my_app::parser=debug,noisy=off`: a default level, and levels for module
//! paths, of which the longest that matches counts. `SPANLET_FILTER` in the environment of the *build* is
//! compiled in: what it refuses leaves no code. [`set_max_level`] refuses at run time.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// How much detail a span stands for. The words of `log` and `tracing`; OpenTelemetry has none for spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Level {
    /// Failures.
    Error = 1,
    /// What may lead to failures.
    Warn = 2,
    /// The boundaries that a user asks about: requests, calls, transactions. The default.
    #[default]
    Info = 3,
    /// Parts of those.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

/// The filter that this build was compiled with; everything where none was given, or an empty one.
pub const COMPILED: Filter<'static> = Filter::new(match option_env!("SPANLET_FILTER") {
    Some(text) if !text.is_empty() => text,
    _ => "trace",
});
const _: () = assert!(
    COMPILED.check().is_ok(),
    "SPANLET_FILTER has a directive that is neither a level (off, error, warn, info, debug, trace) nor path=level"
);

/// Whether the compiled filter leaves anything: if not, spans of the global tracer have no code.
pub const ANY: bool = COMPILED.max_level() > 0;

static MAX_LEVEL: AtomicU8 = AtomicU8::new(Level::Trace as u8);

/// Refuses spans of the global tracer above `level` from now on; `None` refuses all.
pub fn set_max_level(level: Option<Level>) {
    // ORDERING: alone.
    MAX_LEVEL.store(level.map_or(0, |l| l as u8), Relaxed);
}

/// Whether spans of `level` pass at run time. One load and a compare.
#[inline(always)]
pub fn passes(level: Level) -> bool {
    // ORDERING: alone.
    level as u8 <= MAX_LEVEL.load(Relaxed)
}

/// A filter's text, read whenever it is asked: `const`, so that the answer for a module and a level is
/// known at compile time.
///
/// A directive that cannot be understood is ignored; [`Filter::check`] names it.
///
/// ```
/// use spanlet::filter::{Filter, Level};
/// const F: Filter<'_> = Filter::new("warn,app=debug,app::noisy=off");
/// const _: () = assert!(F.allows("app::db", Level::Debug));
/// assert!(!F.allows("app::noisy::inner", Level::Error));
/// assert!(!F.allows("application", Level::Info), "whole segments only");
/// assert!(F.check().is_ok());
/// assert_eq!(Filter::new("info,x=loud").check().unwrap_err().offset, 5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a>(&'a str);

/// A directive that is no `level` and no `path=level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FilterError {
    /// Where the directive starts, in bytes.
    pub offset: usize,
}

impl core::fmt::Display for FilterError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "filter directive at byte {} is neither a level (off, error, warn, info, debug, trace) nor path=level",
            self.offset
        )
    }
}
impl core::error::Error for FilterError {}

impl<'a> Filter<'a> {
    /// A filter of this text.
    pub const fn new(text: &'a str) -> Self {
        Filter(text)
    }
    /// Whether spans of `level` in module `path` pass.
    pub const fn allows(&self, path: &str, level: Level) -> bool {
        level as u8 <= self.level_of(path)
    }
    /// The highest level that any module has; 0 if everything is off.
    pub const fn max_level(&self) -> u8 {
        let (mut at, mut max) = (0, 0);
        while let Some(d) = directive(self.0.as_bytes(), at) {
            if d.level != UNKNOWN && d.level > max {
                max = d.level;
            }
            at = d.next;
        }
        max
    }
    /// Finds the first directive that cannot be understood.
    ///
    /// # Errors
    /// Where it starts.
    pub const fn check(&self) -> Result<(), FilterError> {
        let mut at = 0;
        while let Some(d) = directive(self.0.as_bytes(), at) {
            if d.level == UNKNOWN {
                return Err(FilterError { offset: at });
            }
            at = d.next;
        }
        Ok(())
    }
    const fn level_of(&self, path: &str) -> u8 {
        let (mut at, mut best, mut level) = (0, 0, 0);
        while let Some(d) = directive(self.0.as_bytes(), at) {
            let fits = starts_path(path.as_bytes(), self.0.as_bytes(), at, d.path_end);
            // The longest path that fits counts, the last among equals.
            if d.level != UNKNOWN && fits && d.path_end - at >= best {
                (best, level) = (d.path_end - at, d.level);
            }
            at = d.next;
        }
        level
    }
}

const UNKNOWN: u8 = u8::MAX;

struct Directive {
    /// The path is `at..path_end`; empty for the default level.
    path_end: usize,
    level: u8,
    next: usize,
}

#[expect(
    clippy::indexing_slicing,
    reason = "const fn has no get; every index is below the length"
)]
const fn directive(text: &[u8], at: usize) -> Option<Directive> {
    if at >= text.len() {
        return None;
    }
    let (mut end, mut equals) = (at, None);
    while end < text.len() && text[end] != b',' {
        if text[end] == b'=' {
            equals = Some(end);
        }
        end += 1;
    }
    let (path_end, level) = match equals {
        Some(i) => (i, level(text, i + 1, end)),
        None => (at, level(text, at, end)),
    };
    Some(Directive {
        path_end,
        level,
        next: end + 1,
    })
}

const LEVELS: [&[u8]; 6] = [b"off", b"error", b"warn", b"info", b"debug", b"trace"];

#[expect(
    clippy::indexing_slicing,
    reason = "const fn has no get; every index is below the length"
)]
const fn level(text: &[u8], from: usize, to: usize) -> u8 {
    let mut n = 0u8;
    while (n as usize) < LEVELS.len() {
        let word = LEVELS[n as usize];
        let (mut i, mut same) = (0, word.len() == to - from);
        while same && i < word.len() {
            same = word[i] == text[from + i].to_ascii_lowercase();
            i += 1;
        }
        if same {
            return n;
        }
        n += 1;
    }
    UNKNOWN
}

/// Whether `text[from..to]` is `path` or a parent module of it.
#[expect(
    clippy::indexing_slicing,
    reason = "const fn has no get; every index is below the length"
)]
const fn starts_path(path: &[u8], text: &[u8], from: usize, to: usize) -> bool {
    let len = to - from;
    if path.len() < len {
        return false;
    }
    let mut i = 0;
    while i < len {
        if path[i] != text[from + i] {
            return false;
        }
        i += 1;
    }
    len == 0 || path.len() == len || path[len] == b':'
}
