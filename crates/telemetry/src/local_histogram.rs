//! A histogram that one thread adds to between two flushes.
use crate::names::ENVOY_BUCKETS;
use metrics::Histogram;

const BOUNDS: usize = ENVOY_BUCKETS.len();

/// What samples are measured in, against the exported unit.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Upper bounds in the unit of the samples.
    bounds: [u64; BOUNDS],
    /// Samples per exported unit.
    per_unit: f64,
}

impl Scale {
    /// Microseconds in, milliseconds out.
    pub(crate) const MICROS_TO_MILLIS: Self = Self::new(1_000.0);
    /// Bytes in, bytes out.
    pub(crate) const BYTES: Self = Self::new(1.0);

    const fn new(per_unit: f64) -> Self {
        let mut bounds = [0; BOUNDS];
        let mut i = 0;
        while i < BOUNDS {
            // Samples are whole numbers: at most 0.5 means at most 0.
            bounds[i] = (ENVOY_BUCKETS[i] * per_unit) as u64;
            i += 1;
        }
        Self { bounds, per_unit }
    }
}

/// Count and sum for each bucket, since the last flush. 320 bytes, no allocation.
///
/// A flush hands on the mean of each bucket, `count` times. The mean of samples between two bounds
/// lies between them, so bucket counts, count and sum come out as if every sample had been
/// recorded by itself (the sum up to the rounding of floating point).
#[derive(Default)]
pub(crate) struct LocalHistogram {
    buckets: [Bucket; BOUNDS + 1],
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    count: u64,
    sum: u64,
}

impl LocalHistogram {
    pub(crate) fn add(&mut self, scale: &Scale, sample: u64) {
        let index = scale.bounds.partition_point(|bound| *bound < sample);
        if let Some(bucket) = self.buckets.get_mut(index) {
            bucket.count += 1;
            bucket.sum = bucket.sum.saturating_add(sample);
        }
    }

    pub(crate) fn flush(&mut self, scale: &Scale, into: &Histogram) {
        for bucket in &mut self.buckets {
            let Bucket { count, sum } = std::mem::take(bucket);
            if count > 0 {
                let mean = sum as f64 / count as f64 / scale.per_unit;
                into.record_many(mean, count as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{names, recorder::Recorder};
    use proptest::prelude::*;

    /// Everything but the sum, and the sum.
    fn scrape(recorder: &Recorder) -> (Vec<String>, f64) {
        let text = recorder.render();
        let sum = text
            .lines()
            .find(|line| line.contains("_sum{"))
            .and_then(|line| line.rsplit(' ').next())
            .and_then(|value| value.parse().ok())
            .unwrap_or_default();
        let rest = text
            .lines()
            .filter(|line| line.contains("_bucket{") || line.contains("_count{"))
            .map(str::to_owned)
            .collect();
        (rest, sum)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn flushing_equals_recording_each_sample(
            samples in proptest::collection::vec(
                prop_oneof![
                    0u64..3_000,
                    0u64..4_000_000_000,
                    // The bounds themselves and their neighbours.
                    (0..BOUNDS, 0u64..3).prop_map(|(i, d)| {
                        (Scale::MICROS_TO_MILLIS.bounds[i] + d).saturating_sub(1)
                    }),
                ],
                1..200,
            ),
            flush_every in 1usize..50,
        ) {
            let (local, direct) = (Recorder::default(), Recorder::default());
            let values = [""; names::HTTP_LABELS.len()];
            let into = local.histogram(&names::REQUEST_DURATION, values);
            let reference = direct.histogram(&names::REQUEST_DURATION, values);
            let mut histogram = LocalHistogram::default();
            for (i, sample) in samples.iter().enumerate() {
                histogram.add(&Scale::MICROS_TO_MILLIS, *sample);
                reference.record(*sample as f64 / 1_000.0);
                if i % flush_every == 0 {
                    histogram.flush(&Scale::MICROS_TO_MILLIS, &into);
                }
            }
            histogram.flush(&Scale::MICROS_TO_MILLIS, &into);
            let (got, sum) = scrape(&local);
            let (want, want_sum) = scrape(&direct);
            prop_assert_eq!(got, want);
            prop_assert!((sum - want_sum).abs() <= want_sum.abs() * 1e-9 + 1e-9);
        }
    }
}
