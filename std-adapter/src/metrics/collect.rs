//! The metrics inside a registry of `prometheus-client`, beside those that a program has there already.

use super::RequestMetrics;
use super::encode::{OVERFLOW, seconds};
use super::histogram::Histogram;
use super::labels::{METRICS, Metric};
use core::fmt;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// ```
/// use prometheus_client::registry::Registry;
/// use spanlet_std::metrics::RequestMetrics;
/// use std::sync::Arc;
///
/// let metrics = Arc::new(RequestMetrics::new());
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(metrics.clone()));
/// # let mut text = String::new();
/// # prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
/// # assert_eq!(text, "# EOF\n");
/// ```
///
/// Without exemplars, which that library lets nobody else write: for those, [`encode`](RequestMetrics::encode).
impl Collector for RequestMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (number, metric) in METRICS.iter().enumerate() {
            let (series, overflow) = (self.series.of(number), self.series.overflow(number));
            if series.is_empty() && overflow.is_none() {
                continue;
            }
            // The registry writes the unit behind the name.
            let name = metric.name.strip_suffix("_seconds").unwrap_or(metric.name);
            let mut encoder = encoder.encode_descriptor(
                name,
                metric.help,
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?;
            for series in series {
                let pairs = metric.labels.iter().copied();
                let pairs = pairs.zip(series.labels.iter().map(|value| &**value));
                let labels: Vec<_> = pairs.filter(|(_, value)| !value.is_empty()).collect();
                let of_set = encoder.encode_family(&labels)?;
                One(metric, &series.histogram).encode(of_set)?;
            }
            if let Some(overflow) = overflow {
                let labels = [OVERFLOW];
                One(metric, overflow).encode(encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// A histogram of one label set.
#[derive(Debug)]
struct One<'m>(&'m Metric, &'m Histogram);

impl EncodeMetric for One<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let snapshot = self.1.snapshot();
        let bounds = self.0.bounds.iter().map(|(_, nanos)| seconds(*nanos));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(snapshot.counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(seconds(snapshot.sum_nanos), count, &buckets, None)
    }
    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
