//! Where metrics end up: registration with a bound on label sets, and the Prometheus text.
//!
//! The recorder is a value, not a process-wide slot, so that several gateways (or tests) live in
//! one process. [`Recorder`] also implements [`metrics::Recorder`]: an embedding application may
//! install a clone globally and use the `metrics` macros beside ours; its histograms get
//! [`names::ENVOY_BUCKETS`].
use crate::{
    names::{self, CounterFamily, FamilyKind, GaugeFamily, HistogramFamily},
    series::{Count, Families, Reading, folded},
    shared_histogram::SharedHistogram,
};
use metrics::{
    Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Label, Metadata, SharedString, Unit,
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const METADATA: Metadata<'static> = Metadata::new("pointsman", metrics::Level::INFO, None);

/// Bounds of a recorder.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Label sets kept for each family, at least 1. What comes later is folded into one more set
    /// with every label value `other`.
    pub max_label_sets: usize,
    /// In a full family, a counter or histogram of which nobody has a handle, and that nobody has asked
    /// for in this time, makes room.
    pub unused: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_label_sets: 10_000,
            unused: Duration::from_secs(600),
        }
    }
}

/// All metrics of one process. Clones share them.
///
/// Nothing expires while there is room. A counter or histogram handle is resolved once and then cached
/// by its user; a series that idled out would keep its cached handle counting into nowhere, and a
/// counter that comes back at zero reads as a restart. The bound on label sets keeps the memory
/// finite instead: only where it is reached, series whose users are gone make room, as those of backends
/// that no document has any more. Gauges that stop to have a meaning are ended with
/// [`Recorder::retire`].
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    counters: Mutex<Families<Count>>,
    /// Those that have not been retired.
    gauges: Mutex<Families<Reading>>,
    histograms: Mutex<Families<SharedHistogram>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new(&Settings::default())
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// An empty recorder that knows the help texts and buckets of [`names::ALL`].
    pub fn new(settings: &Settings) -> Self {
        let mut counters = Families::default();
        let mut gauges = Families::default();
        let mut histograms = Families::default();
        for family in names::ALL {
            match family.kind {
                FamilyKind::Counter => counters.describe(family.name, family.help),
                FamilyKind::Gauge => gauges.describe(family.name, family.help),
                FamilyKind::Histogram(_) => histograms.describe(family.name, family.help),
            }
        }
        Self {
            inner: Arc::new(Inner {
                settings: Settings {
                    max_label_sets: settings.max_label_sets.max(1),
                    ..settings.clone()
                },
                counters: Mutex::new(counters),
                gauges: Mutex::new(gauges),
                histograms: Mutex::new(histograms),
            }),
        }
    }

    /// A handle to one series. Resolve it once and keep it: this locks and allocates.
    pub fn counter<const N: usize>(&self, family: &CounterFamily<N>, values: [&str; N]) -> Counter {
        let key = key(family.name, &family.labels, &values);
        metrics::Recorder::register_counter(self, &key, &METADATA)
    }

    /// A handle to one series. Resolve it once and keep it: this locks and allocates.
    pub fn gauge<const N: usize>(&self, family: &GaugeFamily<N>, values: [&str; N]) -> Gauge {
        let key = key(family.name, &family.labels, &values);
        metrics::Recorder::register_gauge(self, &key, &METADATA)
    }

    /// A handle to one series. Resolve it once and keep it: this locks and allocates.
    pub fn histogram<const N: usize>(
        &self,
        family: &HistogramFamily<N>,
        values: [&str; N],
    ) -> Histogram {
        let key = key(family.name, &family.labels, &values);
        self.histogram_of(&key, family.buckets)
    }

    /// Ends the series of a gauge. Handles to it must be dropped; what they set afterwards is lost.
    /// A later [`Recorder::gauge`] begins anew.
    pub fn retire<const N: usize>(&self, family: &GaugeFamily<N>, values: [&str; N]) {
        let key = key(family.name, &family.labels, &values);
        if let Some(gauge) = lock(&self.inner.gauges).remove(&key) {
            gauge.set(0.0); // a rendering under way may still show it
        }
    }

    /// All metrics in the Prometheus text format. With many series this takes its time: not on a
    /// thread that others wait for. Nobody who has or resolves a handle does.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    /// No lock is held while `out` is written to.
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let counters = lock(&self.inner.counters).copy();
        counters.write(out)?;
        let gauges = lock(&self.inner.gauges).copy();
        gauges.write(out)?;
        let histograms = lock(&self.inner.histograms).copy();
        histograms.write(out)
    }

    fn histogram_of(&self, key: &Key, buckets: &'static [f64]) -> Histogram {
        let unused = Some(self.inner.settings.unused);
        let new = || SharedHistogram::new(buckets);
        Histogram::from_arc(self.register(&self.inner.histograms, key, unused, new))
    }

    /// Counts a fold of a series of `family`.
    pub(crate) fn overflowed(&self, family: &str) {
        let overflow = &names::METRICS_OVERFLOW;
        let key = key(overflow.name, &overflow.labels, &[family]);
        // Whatever room there is: the families are few, and the count must not fold itself.
        let count = lock(&self.inner.counters).register(&key, Count::default);
        Counter::from_arc(count).increment(1);
    }

    /// The series of `key` while its family has room, else the family's `other`.
    fn register<T>(
        &self,
        families: &Mutex<Families<T>>,
        key: &Key,
        unused: Option<Duration>,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let most = self.inner.settings.max_label_sets;
        let mut locked = lock(families);
        if locked.has_room(key, most, unused) {
            return locked.register(key, make);
        }
        let other = locked.register(&folded(key), make);
        drop(locked);
        self.overflowed(key.name());
        other
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        lock(&self.inner.counters).describe(key.as_str(), &description);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        lock(&self.inner.gauges).describe(key.as_str(), &description);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        lock(&self.inner.histograms).describe(key.as_str(), &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let unused = Some(self.inner.settings.unused);
        Counter::from_arc(self.register(&self.inner.counters, key, unused, Count::default))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        // Whoever sets a gauge may have let go of it, and it still holds.
        Gauge::from_arc(self.register(&self.inner.gauges, key, None, Reading::default))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let buckets = names::ALL
            .iter()
            .find_map(|family| match family.kind {
                FamilyKind::Histogram(buckets) if family.name == key.name() => Some(buckets),
                _ => None,
            })
            .unwrap_or(names::ENVOY_BUCKETS);
        self.histogram_of(key, buckets)
    }
}

fn key(name: &'static str, labels: &[&'static str], values: &[&str]) -> Key {
    let labels: Vec<Label> = labels
        .iter()
        .zip(values)
        .map(|(label, value)| Label::new(*label, (*value).to_owned()))
        .collect();
    Key::from_parts(name, labels)
}

/// A panic while one of these was held leaves at worst one series unlisted; metrics go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread, time::Duration};

    /// Somebody who uses the recorder as a shard does, whenever a family begins to be written.
    struct Beside(Recorder);

    impl fmt::Write for Beside {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            if !piece.starts_with("# ") {
                return Ok(());
            }
            let (recorder, (done, is_done)) = (self.0.clone(), mpsc::channel());
            thread::spawn(move || {
                for index in ["0", "1"] {
                    let detection = recorder.histogram(&names::DETECTION_SECONDS, []);
                    detection.record(0.1);
                    let open = recorder.gauge(&names::CONNECTIONS_OPEN, [index]);
                    open.set(1.0);
                    recorder.retire(&names::CONNECTIONS_OPEN, [index]);
                    recorder.counter(&names::RETRIES, [index]).increment(1);
                }
                let _ = done.send(());
            });
            let waited = is_done.recv_timeout(Duration::from_secs(10));
            waited.map_err(|_| fmt::Error)
        }
    }

    #[test]
    fn nobody_waits_for_what_is_being_rendered() {
        let recorder = Recorder::default();
        recorder.counter(&names::SCRAPES, []).increment(1);
        recorder.gauge(&names::CONFIG_GENERATION, []).set(1.0);
        let duration = recorder.histogram(&names::CONFIG_COMPILE_SECONDS, []);
        duration.record(0.1);
        let written = recorder.write(&mut Beside(recorder.clone()));
        assert_eq!(written, Ok(()), "somebody waited for the rendering");
    }
}
