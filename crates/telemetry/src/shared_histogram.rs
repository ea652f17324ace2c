//! Histograms as the recorder keeps and renders them.
//!
//! Ours rather than the one of metrics-exporter-prometheus, which queues every sample (16 bytes each until a timer comes
//! round) and takes `record_many(value, n)` as `n` samples: a shard that flushes 15 000 requests
//! would stall its connections for milliseconds. Here a flush costs the same for one request as
//! for a million, nothing queues, and no timer is needed.
use crate::series::{Value, write_set};
use metrics::HistogramFn;
use std::{
    fmt::{self, Write},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Bucket counts and sum of one series, added to from any thread.
///
/// A render beside an addition may see its count without its sum, as it may with any Prometheus
/// client that takes no lock; the buckets and the total count always agree.
pub(crate) struct SharedHistogram {
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

impl SharedHistogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }
}

impl Value for SharedHistogram {
    const TYPE: &'static str = "histogram";

    fn write(&self, name: &str, labels: &str, out: &mut impl Write) -> fmt::Result {
        let mut count = 0;
        let bounds = self.bounds.iter().map(Some).chain([None]);
        for (bound, bucket) in bounds.zip(&self.counts) {
            count += bucket.load(Relaxed);
            match bound {
                Some(bound) => writeln!(out, "{name}_bucket{{{labels}le=\"{bound}\"}} {count}")?,
                None => writeln!(out, "{name}_bucket{{{labels}le=\"+Inf\"}} {count}")?,
            }
        }
        let sum = f64::from_bits(self.sum.load(Relaxed));
        for (what, value) in [("sum", &sum as &dyn fmt::Display), ("count", &count)] {
            write!(out, "{name}_{what}")?;
            write_set(labels, out)?;
            writeln!(out, " {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Families;
    use metrics::{Key, Label};

    #[test]
    fn many_samples_are_one_addition_and_odd_values_do_no_harm() {
        let mut histograms = Families::default();
        let key = Key::from_parts("t_ms", vec![Label::new("path", "a\"b\\c\nd")]);
        let new = || SharedHistogram::new(&[1.0, 2.5]);
        let histogram = histograms.register(&key, new);
        histogram.record_many(1.0, 1_000_000_000);
        histogram.record(1.5);
        histogram.record(9.0);
        histogram.record(f64::NAN);
        histogram.record(f64::INFINITY);
        histograms.register(&key, new).record(-1.0);
        histograms.describe("t_ms", "Times.");
        let mut text = String::new();
        histograms.copy().write(&mut text).expect("a String");
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
