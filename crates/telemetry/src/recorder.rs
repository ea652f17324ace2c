//! Where metrics end up: registration with a bound on label sets, and the Prometheus text.
//!
//! The recorder is a value, not a process-wide slot, so that several gateways (or tests) live in
//! one process. [`Recorder`] also implements [`metrics::Recorder`]: an embedding application may
//! install a clone globally and use the `metrics` macros beside ours; its histograms get
//! [`names::ENVOY_BUCKETS`].
use crate::{
    labels::OTHER,
    names::{self, CounterFamily, FamilyKind, GaugeFamily, HistogramFamily},
    shared_histogram::Histograms,
};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_util::MetricKindMask;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_label_sets: 10_000,
        }
    }
}

/// All metrics of one process. Clones share them.
///
/// Nothing expires by itself. A counter or histogram handle is resolved once and then cached by
/// its user; a series that idled out would keep its cached handle counting into nowhere, and a
/// counter that comes back at zero reads as a restart. The bound on label sets keeps the memory
/// finite instead. Gauges that stop to have a meaning are ended with [`Recorder::retire`].
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    exporter: PrometheusRecorder,
    handle: PrometheusHandle,
    max_label_sets: usize,
    /// Label sets admitted so far, by family.
    known: Mutex<HashMap<String, HashSet<Key>>>,
    /// Gauges that have not been retired. Also held while rendering, see [`Recorder::render`].
    gauges: Mutex<HashMap<Key, Gauge>>,
    histograms: Mutex<Histograms>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new(&Settings::default())
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// An empty recorder that knows the help texts and buckets of [`names::ALL`].
    pub fn new(settings: &Settings) -> Self {
        let exporter = PrometheusBuilder::new()
            // Only retired gauges are ever seen idle, see `render`; they go at once.
            .idle_timeout(MetricKindMask::GAUGE, Some(Duration::ZERO))
            .build_recorder();
        let mut histograms = Histograms::default();
        for family in names::ALL {
            use metrics::Recorder as _;
            let (name, help) = (KeyName::from_const_str(family.name), family.help.into());
            match family.kind {
                FamilyKind::Counter => exporter.describe_counter(name, None, help),
                FamilyKind::Gauge => exporter.describe_gauge(name, None, help),
                FamilyKind::Histogram(_) => histograms.describe(family.name, family.help),
            }
        }
        Self {
            inner: Arc::new(Inner {
                handle: exporter.handle(),
                exporter,
                max_label_sets: settings.max_label_sets.max(1),
                known: Mutex::default(),
                gauges: Mutex::default(),
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
        let key = self.admit(&key);
        lock(&self.inner.histograms).register(&key, family.buckets)
    }

    /// Ends the series of a gauge: it is zero, and gone after two more renders at the latest. Handles to it
    /// must be dropped; what they set afterwards is lost. A later [`Recorder::gauge`] begins anew.
    pub fn retire<const N: usize>(&self, family: &GaugeFamily<N>, values: [&str; N]) {
        let key = key(family.name, &family.labels, &values);
        // Same order of locks as in `register_gauge`.
        let mut gauges = lock(&self.inner.gauges);
        if let Some(known) = lock(&self.inner.known).get_mut(family.name) {
            known.remove(&key);
        }
        if let Some(gauge) = gauges.remove(&key) {
            gauge.set(0.0); // a render may still show it
        }
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        // The exporter drops gauges whose update count did not move since the last render. Moving
        // the count of every living gauge leaves exactly the retired ones. The lock keeps a second
        // render from coming between the two steps, and a gauge from being registered there.
        let gauges = lock(&self.inner.gauges);
        for gauge in gauges.values() {
            gauge.increment(0.0);
        }
        let mut text = self.inner.handle.render();
        drop(gauges);
        lock(&self.inner.histograms).render(&mut text);
        text
    }

    /// Counts a fold of a series of `family`.
    pub(crate) fn overflowed(&self, family: &str) {
        use metrics::Recorder as _;
        let overflow = &names::METRICS_OVERFLOW;
        // Not through `admit`: the families are few, and the count must not fold itself.
        self.inner
            .exporter
            .register_counter(&key(overflow.name, &overflow.labels, &[family]), &METADATA)
            .increment(1);
    }

    /// The key itself while its family has room, else the family's `other`.
    fn admit<'k>(&self, key: &'k Key) -> Cow<'k, Key> {
        let mut known = lock(&self.inner.known);
        if !known.contains_key(key.name()) {
            known.insert(key.name().to_owned(), HashSet::new());
        }
        if let Some(sets) = known.get_mut(key.name()) {
            if sets.contains(key) {
                return Cow::Borrowed(key);
            }
            if sets.len() < self.inner.max_label_sets {
                sets.insert(key.to_retained());
                return Cow::Borrowed(key);
            }
        }
        drop(known);
        self.overflowed(key.name());
        let labels: Vec<Label> = key
            .labels()
            .map(|label| Label::new(label.key().to_owned(), OTHER))
            .collect();
        Cow::Owned(Key::from_parts(key.name().to_owned(), labels))
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.exporter.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.exporter.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        lock(&self.inner.histograms).describe(key.as_str(), &description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.inner
            .exporter
            .register_counter(&self.admit(key), metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let mut gauges = lock(&self.inner.gauges);
        let key = self.admit(key);
        let gauge = self.inner.exporter.register_gauge(&key, metadata);
        gauges
            .entry(key.to_retained())
            .or_insert_with(|| gauge.clone());
        gauge
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let buckets = names::ALL
            .iter()
            .find_map(|family| match family.kind {
                FamilyKind::Histogram(buckets) if family.name == key.name() => Some(buckets),
                _ => None,
            })
            .unwrap_or(names::ENVOY_BUCKETS);
        let key = self.admit(key);
        lock(&self.inner.histograms).register(&key, buckets)
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
