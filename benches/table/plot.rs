//! The table as a picture: a bar for each case, on a logarithmic scale of nanoseconds.
//!
//! Input: what was measured. Output: SVG, readable on light and on dark ground.

use crate::measure::Measured;
use core::fmt::Write;

const LINE: f64 = 16.0;
const LEFT: f64 = 250.0;
const WIDTH: f64 = 560.0;
const RIGHT: f64 = 70.0;
/// The scale, in nanoseconds.
const LEAST: f64 = 0.3;
const MOST: f64 = 20_000.0;

fn x(ns: f64) -> f64 {
    let share = (ns.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + share * WIDTH
}

/// All rows, floors in grey, ours in green, peers in orange.
pub(crate) fn svg(measured: &[Measured]) -> String {
    let mut body = String::new();
    let (mut y, mut row) = (36.0, None);
    for m in measured {
        if row != Some(m.row) {
            row = Some(m.row);
            y += LINE * 1.6;
            let _ = writeln!(
                body,
                r#"<text x="8" y="{y:.0}" class="row">{}</text>"#,
                m.row.title
            );
        }
        y += LINE;
        let class = match (m.is_floor(), m.is_ours) {
            (true, _) => "floor",
            (_, true) => "ours",
            _ => "peer",
        };
        let _ = writeln!(
            body,
            r#"<text x="{:.0}" y="{y:.0}" class="name">{}</text><rect x="{LEFT:.0}" y="{:.0}" width="{:.1}" height="11" rx="2" class="{class}"/><text x="{:.1}" y="{y:.0}">{}</text>"#,
            LEFT - 8.0,
            m.name,
            y - 10.0,
            x(m.ns) - LEFT,
            x(m.ns) + 6.0,
            nanoseconds(m.ns),
        );
    }
    let (height, width) = (y + LINE, LEFT + WIDTH + RIGHT);
    let mut grid = String::new();
    for ns in [1.0, 10.0, 100.0, 1_000.0, 10_000.0] {
        let _ = writeln!(
            grid,
            r#"<line x1="{0:.1}" y1="34" x2="{0:.1}" y2="{1:.0}" class="grid"/><text x="{0:.1}" y="28" class="scale">{2}</text>"#,
            x(ns),
            height - 8.0,
            nanoseconds(ns),
        );
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" font-family="system-ui, sans-serif" font-size="11">
<style>
svg {{ background: #fff; }} text {{ fill: #222; }} .row {{ font-weight: 600; font-size: 12px; }} .name {{ text-anchor: end; }}
.scale {{ text-anchor: middle; fill: #777; }} .grid {{ stroke: #ccc; stroke-width: .6; }}
.floor {{ fill: #9a9a9a; }} .ours {{ fill: #2a9d5c; }} .peer {{ fill: #e08e45; }}
@media (prefers-color-scheme: dark) {{ svg {{ background: #16181c; }} text {{ fill: #ddd; }} .grid {{ stroke: #444; }} }}
</style>
{grid}{body}</svg>
"#
    )
}

fn nanoseconds(ns: f64) -> String {
    match ns {
        ns if ns < 10.0 => format!("{} ns", (ns * 10.0).round() / 10.0),
        ns if ns < 1000.0 => format!("{ns:.0} ns"),
        ns => format!("{} µs", (ns / 100.0).round() / 10.0),
    }
}
