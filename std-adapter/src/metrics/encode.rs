//! OpenMetrics text.
//!
//! SPEC: OpenMetrics 1.0, "Text format", "Exemplars".

use super::histogram::Histogram;
use super::labels::{METRICS, Metric};
use super::series::SeriesTable;
use core::fmt::Write;

/// The label of what there was no room for. SPEC: OpenTelemetry Metrics SDK, "Cardinality limits".
pub(super) const OVERFLOW: (&str, &str) = ("otel_metric_overflow", "true");

pub(super) fn text(table: &SeriesTable) -> String {
    let mut to = String::new();
    for (number, metric) in METRICS.iter().enumerate() {
        let (series, overflow) = (table.of(number), table.overflow(number));
        if series.is_empty() && overflow.is_none() {
            continue;
        }
        let Metric { name, help, .. } = metric;
        put(&mut to, format_args!("# HELP {name} {help}\n"));
        put(&mut to, format_args!("# TYPE {name} histogram\n"));
        put(&mut to, format_args!("# UNIT {name} seconds\n"));
        for series in series {
            let labels = metric.labels.iter().copied();
            let labels = labels.zip(series.labels.iter().map(|value| &**value));
            histogram(&mut to, metric, labels, &series.histogram);
        }
        if let Some(overflow) = overflow {
            histogram(&mut to, metric, [OVERFLOW].into_iter(), overflow);
        }
    }
    to.push_str("# EOF\n");
    to
}

fn put(to: &mut String, text: core::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = to.write_fmt(text);
}

fn histogram<'l>(
    to: &mut String,
    metric: &Metric,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
    histogram: &Histogram,
) {
    let mut set = String::new();
    for (key, value) in labels.filter(|(_, value)| !value.is_empty()) {
        if !set.is_empty() {
            set.push(',');
        }
        put(&mut set, format_args!("{key}=\""));
        for c in value.chars() {
            match c {
                '"' => set.push_str("\\\""),
                '\\' => set.push_str("\\\\"),
                '\n' => set.push_str("\\n"),
                c => set.push(c),
            }
        }
        set.push('"');
    }
    let comma = if set.is_empty() { "" } else { "," };
    let snapshot = histogram.snapshot();
    let name = metric.name;
    let mut total = 0;
    let bounds = metric.bounds.iter().map(|(text, _)| *text).chain(["+Inf"]);
    for (bucket, (bound, count)) in bounds.zip(snapshot.counts).enumerate() {
        total += count;
        put(
            to,
            format_args!("{name}_bucket{{{set}{comma}le=\"{bound}\"}} {total}"),
        );
        if let Some(exemplar) = histogram.exemplar(bucket) {
            let (trace_id, span_id) = (exemplar.trace_id, exemplar.span_id);
            let (value, time) = (seconds(exemplar.nanos), exemplar.unix_nanos / 1_000_000);
            put(
                to,
                format_args!(
                    " # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {value} {}.{:03}",
                    time / 1000,
                    time % 1000
                ),
            );
        }
        to.push('\n');
    }
    put(to, format_args!("{name}_count{{{set}}} {total}\n"));
    let sum = seconds(snapshot.sum_nanos);
    put(to, format_args!("{name}_sum{{{set}}} {sum}\n"));
}

pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
