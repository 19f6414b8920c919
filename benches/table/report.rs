//! The table, as text and as JSON.

use crate::case::Target;
use crate::measure::Measured;
use core::fmt::Write;

impl Target {
    fn text(self) -> String {
        match self {
            Target::TimesFloor(limit) => format!("≤ {limit:.2} × floor"),
            Target::Ns(limit) => format!("≤ {limit} ns"),
            Target::Instructions(limit) => format!("≤ {limit} instructions"),
            Target::NoAlloc => "0 alloc".into(),
        }
    }
    /// `None` if nothing was measured to tell.
    fn is_met(self, by: &Measured) -> Option<bool> {
        Some(match self {
            // As it is printed.
            Target::TimesFloor(limit) => (by.times_floor? * 100.0).round() / 100.0 <= limit,
            Target::Ns(limit) => (by.ns * 10.0).round() / 10.0 <= limit,
            Target::Instructions(limit) => by.instructions?.round() <= limit,
            Target::NoAlloc => by.allocs == 0.0,
        })
    }
}

fn target(m: &Measured) -> String {
    let texts: Vec<String> = m.targets.iter().map(|target| target.text()).collect();
    texts.join(", ")
}

/// "met", or what was not; empty without a target.
pub(crate) fn verdict(m: &Measured) -> String {
    let missed: Vec<String> = m
        .targets
        .iter()
        .filter_map(|target| match target.is_met(m) {
            Some(true) => None,
            Some(false) => Some(format!("NOT MET {}", target.text())),
            None => Some(format!("not measured {}", target.text())),
        })
        .collect();
    match (m.targets.is_empty(), missed.is_empty()) {
        (true, _) => String::new(),
        (_, true) => "met".into(),
        _ => missed.join(", "),
    }
}

fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

/// Aligned columns, one block a row.
pub(crate) fn table(measured: &[Measured]) -> String {
    let mut out = format!(
        "{:<34} {:>9} {:>8} {:>7} {:>8}  {:<38} {}\n",
        "", "ns", "× floor", "allocs", "instr.", "target", "met"
    );
    let mut row = None;
    for m in measured {
        if row != Some(m.row) {
            row = Some(m.row);
            let _ = writeln!(out, "\n{}", m.row.title);
        }
        let line = format!(
            "  {:<32} {:>9.2} {:>8} {:>7} {:>8}  {:<38} {}",
            m.name,
            m.ns,
            optional(m.times_floor, 2),
            optional(Some(m.allocs), if m.allocs.fract() == 0.0 { 0 } else { 1 }),
            optional(m.instructions, 0),
            target(m),
            verdict(m)
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let missed: Vec<&Measured> = measured
        .iter()
        .filter(|m| verdict(m).contains("NOT MET"))
        .collect();
    let of = measured.iter().filter(|m| !m.targets.is_empty()).count();
    let _ = writeln!(
        out,
        "\n{} of {of} forms of spanlet reach their targets",
        of - missed.len()
    );
    out
}

/// An array of objects, one a line.
pub(crate) fn json(measured: &[Measured]) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "null".into(), |v| format!("{v:.3}"));
    let lines: Vec<String> = measured
        .iter()
        .map(|m| {
            // Names hold no quote and no backslash.
            format!(
                r#" {{"row": "{}", "name": "{}", "ns": {:.3}, "times_floor": {}, "allocs": {:.3}, "instructions": {}, "target": "{}", "verdict": "{}"}}"#,
                m.row.id,
                m.name,
                m.ns,
                number(m.times_floor),
                m.allocs,
                number(m.instructions),
                target(m),
                verdict(m)
            )
        })
        .collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}
