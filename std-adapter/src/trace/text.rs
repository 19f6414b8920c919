//! Text for people: durations, names that cannot harm a terminal, widths, wrapping.
//!
//! Input: numbers, and text from anywhere. Output: text that is safe to print. Bound: linear.

use core::fmt;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::model::TraceSpan;

/// A duration in nanoseconds, shown in three significant digits with its unit.
///
/// ```
/// use spanlet_std::trace::HumanDuration;
/// assert_eq!(HumanDuration(2_400_000_000).to_string(), "2.4 s");
/// assert_eq!(HumanDuration(999_960_000).to_string(), "1 s");
/// assert_eq!(HumanDuration(45_120_000).to_string(), "45.1 ms");
/// assert_eq!(HumanDuration(754_000_000_000).to_string(), "12 min 34 s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(
    /// Nanoseconds.
    pub u64,
);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&human(self.0))
    }
}

fn human(ns: u64) -> String {
    // Above this a number in the unit would round to 1000.
    let fits = |unit_ns: u64| ns < unit_ns * 1000 - unit_ns / 2;
    let (unit_ns, unit) = match () {
        () if ns < 1000 => return format!("{ns} ns"),
        () if fits(1000) => (1e3, "µs"),
        () if fits(1_000_000) => (1e6, "ms"),
        () if ns < 99_950_000_000 => (1e9, "s"),
        () => {
            let s = ns / 1_000_000_000 + u64::from(ns % 1_000_000_000 >= 500_000_000);
            return match (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60) {
                (0, 0, min, s) => format!("{min} min {s} s"),
                (0, h, min, _) => format!("{h} h {min} min"),
                (days, h, _, _) => format!("{days} d {h} h"),
            };
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = ns as f64 / unit_ns;
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    let digits = format!("{value:.decimals$}");
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => &digits,
    };
    format!("{digits} {unit}")
}

/// The text with everything escaped that could steer a terminal or reorder what stands beside it:
/// control characters, bidirectional overrides, invisible separators.
pub(super) fn escape(text: &str, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{61c}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' => out.extend(c.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_unicode()),
            // Whoever prints ASCII has no use for more than to see that something stood here.
            c if ascii && !c.is_ascii() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// Columns that the text takes on a terminal.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// Cuts at the end so that no more than `max` columns are taken, and shows the cut.
pub(super) fn cut(text: &str, max: usize, ellipsis: &str) -> String {
    if columns(text) <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(columns(ellipsis));
    let mut taken = 0;
    let mut out: String = text
        .chars()
        .take_while(|c| {
            taken += c.width().unwrap_or(0);
            taken <= room
        })
        .collect();
    if columns(ellipsis) <= max {
        out.push_str(ellipsis);
    }
    out
}

/// Pads with spaces at the end up to `width` columns.
pub(super) fn pad(text: &str, width: usize) -> String {
    let fill = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(fill))
}

/// Breaks at spaces into lines of at most `width` columns, the later ones indented; a longer word is cut across lines.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let width = width.max(indent + 8);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    // Whether the line holds nothing but its indentation.
    let mut fresh = true;
    for word in text.split(' ') {
        let wide = columns(word);
        if !fresh && used + 1 + wide > width {
            lines.push(core::mem::replace(&mut line, " ".repeat(indent)));
            (used, fresh) = (indent, true);
        }
        if !fresh {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            let w = c.width().unwrap_or(0);
            if used + w > width {
                lines.push(core::mem::replace(&mut line, " ".repeat(indent)));
                used = indent;
            }
            line.push(c);
            used += w;
        }
        fresh = false;
    }
    lines.push(line);
    lines
}

/// What to call a span in a sentence: service and operation.
pub(super) fn label(span: &TraceSpan) -> String {
    match (span.service.as_str(), span.name.as_str()) {
        ("", "") => format!("span {}", span.span_id),
        ("", name) => name.to_owned(),
        (service, "") => service.to_owned(),
        (service, name) if name.starts_with(service) => name.to_owned(),
        (service, name) => format!("{service} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_into_the_next_unit() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1000, "1 µs"),
            (999_499, "999 µs"),
            (999_500, "1 ms"),
            (9_996_000, "10 ms"),
            (310_000_000, "310 ms"),
            (3_180_000_000, "3.18 s"),
            (59_960_000_000, "60 s"),
            (3_700_000_000_000, "1 h 1 min"),
            (u64::MAX, "213503 d 23 h"),
        ] {
            assert_eq!(human(ns), text);
        }
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let hostile = "a\u{1b}[2Jb\u{9b}31m\r\n\u{202e}c\u{7f}\u{200b}";
        let safe = escape(hostile, false);
        assert_eq!(
            safe,
            "a\\u{1b}[2Jb\\u{9b}31m\\r\\n\\u{202e}c\\u{7f}\\u{200b}"
        );
        assert_eq!(escape("支払い ok", true), "??? ok");
    }

    #[test]
    fn wide_characters_are_never_cut_in_half() {
        assert_eq!(cut("支払いサービス", 7, "…"), "支払い…");
        assert_eq!(cut("支払いサービス", 6, "…"), "支払…");
        assert_eq!(cut("abc", 0, "…"), "");
        assert_eq!(columns(&pad("支払", 7)), 7);
    }

    #[test]
    fn wrapped_lines_fit_and_lose_no_word() {
        let text = "one twotwotwotwotwotwotwotwo three 支払いサービス four";
        for width in 12..60 {
            let lines = wrap(text, width, 3);
            assert!(lines.iter().all(|l| columns(l) <= width), "{lines:?}");
            let joined: String = lines.concat().chars().filter(|c| *c != ' ').collect();
            assert_eq!(joined, text.replace(' ', ""));
        }
    }
}
