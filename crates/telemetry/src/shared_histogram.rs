//! Histograms as the recorder keeps and renders them.
//!
//! Ours rather than the exporter's, which queues every sample (16 bytes each until a timer comes
//! round) and takes `record_many(value, n)` as `n` samples: a shard that flushes 15 000 requests
//! would stall its connections for milliseconds. Here a flush costs the same for one request as
//! for a million, nothing queues, and no timer is needed.
use metrics::{Histogram, HistogramFn, Key};
use metrics_exporter_prometheus::formatting::{
    sanitize_label_key, sanitize_label_value, sanitize_metric_name, write_help_line,
    write_type_line,
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Bucket counts and sum of one series, added to from any thread.
///
/// A render beside an addition may see its count without its sum, as it may with any Prometheus
/// client that takes no lock; the buckets and the total count always agree.
struct SharedHistogram {
    bounds: &'static [f64],
    /// One more than there are bounds: the last is for what is above all of them.
    counts: Box<[AtomicU64]>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

impl HistogramFn for SharedHistogram {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        // One NaN or infinity would spoil the sum for good.
        if !value.is_finite() {
            return;
        }
        let index = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.counts.get(index) {
            bucket.fetch_add(count as u64, Relaxed);
        }
        let add = |bits| Some((f64::from_bits(bits) + value * count as f64).to_bits());
        // Never `Err`: `add` always answers.
        let _ = self.sum.fetch_update(Relaxed, Relaxed, add);
    }
}

/// Every histogram of a recorder, by family, in the order they are rendered in.
#[derive(Default)]
pub(crate) struct Histograms {
    families: BTreeMap<String, Family>,
}

#[derive(Default)]
struct Family {
    help: Option<String>,
    series: HashMap<Key, Series>,
}

struct Series {
    /// `name="value",…,` ready to be followed by `le`.
    labels: String,
    histogram: Arc<SharedHistogram>,
}

impl Histograms {
    pub(crate) fn describe(&mut self, name: &str, help: &str) {
        let family = self.families.entry(sanitize_metric_name(name)).or_default();
        family.help.get_or_insert_with(|| help.to_owned());
    }

    /// The series of `key`, made with `bounds` if it is new.
    pub(crate) fn register(&mut self, key: &Key, bounds: &'static [f64]) -> Histogram {
        let family = self
            .families
            .entry(sanitize_metric_name(key.name()))
            .or_default();
        let series = family.series.entry(key.to_retained());
        let series = series.or_insert_with(|| Series::new(key, bounds));
        Histogram::from_arc(series.histogram.clone())
    }

    pub(crate) fn render(&self, out: &mut String) {
        for (name, family) in &self.families {
            if family.series.is_empty() {
                continue;
            }
            if let Some(help) = &family.help {
                write_help_line(out, name, None, None, help);
            }
            write_type_line(out, name, None, None, "histogram");
            for series in family.series.values() {
                series.render(name, out);
            }
            out.push('\n');
        }
    }
}

impl Series {
    fn new(key: &Key, bounds: &'static [f64]) -> Self {
        let mut labels = String::new();
        for label in key.labels() {
            let name = sanitize_label_key(label.key());
            let value = sanitize_label_value(label.value());
            let _ = write!(labels, "{name}=\"{value}\",");
        }
        Self {
            labels,
            histogram: Arc::new(SharedHistogram {
                bounds,
                counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
                sum: AtomicU64::new(0),
            }),
        }
    }

    fn render(&self, name: &str, out: &mut String) {
        let Self { labels, histogram } = self;
        let mut count = 0;
        let bounds = histogram.bounds.iter().map(Some).chain([None]);
        for (bound, bucket) in bounds.zip(&histogram.counts) {
            count += bucket.load(Relaxed);
            // Writing to a String cannot fail.
            let _ = match bound {
                Some(bound) => writeln!(out, "{name}_bucket{{{labels}le=\"{bound}\"}} {count}"),
                None => writeln!(out, "{name}_bucket{{{labels}le=\"+Inf\"}} {count}"),
            };
        }
        let set = match labels.strip_suffix(',') {
            Some(labels) => format!("{{{labels}}}"),
            None => String::new(),
        };
        let sum = f64::from_bits(histogram.sum.load(Relaxed));
        let _ = write!(out, "{name}_sum{set} {sum}\n{name}_count{set} {count}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Label;

    #[test]
    fn many_samples_are_one_addition_and_odd_values_do_no_harm() {
        let mut histograms = Histograms::default();
        let key = Key::from_parts("t_ms", vec![Label::new("path", "a\"b\\c\nd")]);
        let histogram = histograms.register(&key, &[1.0, 2.5]);
        histogram.record_many(1.0, 1_000_000_000);
        histogram.record(1.5);
        histogram.record(9.0);
        histogram.record(f64::NAN);
        histogram.record(f64::INFINITY);
        histograms.register(&key, &[1.0, 2.5]).record(-1.0);
        histograms.describe("t_ms", "Times.");
        let mut text = String::new();
        histograms.render(&mut text);
        assert_eq!(
            text,
            "# HELP t_ms Times.\n# TYPE t_ms histogram\n\
             t_ms_bucket{path=\"a\\\"b\\\\c\\nd\",le=\"1\"} 1000000001\n\
             t_ms_bucket{path=\"a\\\"b\\\\c\\nd\",le=\"2.5\"} 1000000002\n\
             t_ms_bucket{path=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 1000000003\n\
             t_ms_sum{path=\"a\\\"b\\\\c\\nd\"} 1000000009.5\n\
             t_ms_count{path=\"a\\\"b\\\\c\\nd\"} 1000000003\n\n"
        );
    }
}
