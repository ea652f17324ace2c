//! Series as the recorder keeps and renders them: families by name, and in each its series by labels.
//!
//! What is kept is copied to be rendered, handles and not their text: whoever resolves a handle waits
//! for the copy at most, and not until megabytes are written.
use crate::labels::OTHER;
use metrics::{CounterFn, GaugeFn, Key, Label, atomics::AtomicU64};
use metrics_exporter_prometheus::formatting::{
    sanitize_label_key, sanitize_label_value, sanitize_metric_name, write_help_line,
    write_type_line,
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// What one series counts.
pub(crate) trait Value {
    /// Its type in the text.
    const TYPE: &'static str;

    /// Its lines. `labels` is `name="value",…,`, ready to be followed by another one, or nothing.
    fn write(&self, name: &str, labels: &str, out: &mut impl Write) -> fmt::Result;
}

/// The families of one type, in the order they are rendered in.
pub(crate) struct Families<T> {
    families: BTreeMap<Arc<str>, Family<T>>,
}

struct Family<T> {
    help: Option<Arc<str>>,
    series: HashMap<Key, Series<T>>,
    /// When it was full and was looked through for series that nobody uses.
    swept: Option<Instant>,
}

/// How often that is done: while all of them are used, each new one would look at thousands.
const SWEEP: Duration = Duration::from_secs(1);

struct Series<T> {
    /// As [`Value::write`] takes them.
    labels: Arc<str>,
    value: Arc<T>,
    /// When somebody last asked for it; who keeps the handle may use it at any time.
    resolved: Instant,
}

/// What there is to render.
pub(crate) struct Copied<T>(Vec<CopiedFamily<T>>);

struct CopiedFamily<T> {
    name: Arc<str>,
    help: Option<Arc<str>>,
    series: Vec<Series<T>>,
}

impl<T> Default for Families<T> {
    fn default() -> Self {
        Self {
            families: BTreeMap::new(),
        }
    }
}

impl<T> Default for Family<T> {
    fn default() -> Self {
        Self {
            help: None,
            series: HashMap::new(),
            swept: None,
        }
    }
}

impl<T> Clone for Series<T> {
    fn clone(&self) -> Self {
        Self {
            labels: self.labels.clone(),
            value: self.value.clone(),
            resolved: self.resolved,
        }
    }
}

impl<T> Families<T> {
    /// The first help that is given stays.
    pub(crate) fn describe(&mut self, name: &str, help: &str) {
        self.family(name).help.get_or_insert_with(|| help.into());
    }

    /// The series of `key`, made by `make` if it is new.
    pub(crate) fn register(&mut self, key: &Key, make: impl FnOnce() -> T) -> Arc<T> {
        let series = &mut self.family(key.name()).series;
        let now = Instant::now();
        if let Some(series) = series.get_mut(key) {
            series.resolved = now;
            return series.value.clone();
        }
        let new = Series {
            labels: labels(key).into(),
            value: Arc::new(make()),
            resolved: now,
        };
        let value = new.value.clone();
        series.insert(key.to_retained(), new);
        value
    }

    /// Is `key` one of the `most` series of its family, beside the one of what is folded, or can it be
    /// one? A full family forgets those of which nobody has a handle, and that nobody has asked for in
    /// the time `unused`; `None`: it forgets none.
    pub(crate) fn has_room(&mut self, key: &Key, most: usize, unused: Option<Duration>) -> bool {
        let Family { series, swept, .. } = self.family(key.name());
        let others =
            |series: &HashMap<_, _>| series.len() - usize::from(series.contains_key(&folded(key)));
        if series.contains_key(key) || series.len() < most || others(series) < most {
            return true;
        }
        let now = Instant::now();
        let since = |then| now.saturating_duration_since(then);
        match unused {
            Some(unused) if swept.is_none_or(|then| since(then) >= SWEEP) => {
                *swept = Some(now);
                series.retain(|_, it| {
                    Arc::strong_count(&it.value) > 1 || since(it.resolved) < unused
                });
                others(series) < most
            }
            _ => false,
        }
    }

    /// Ends the series of `key`.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<T>> {
        let removed = self.family(key.name()).series.remove(key);
        removed.map(|series| series.value)
    }

    fn family(&mut self, name: &str) -> &mut Family<T> {
        self.families
            .entry(sanitize_metric_name(name).into())
            .or_default()
    }

    pub(crate) fn copy(&self) -> Copied<T> {
        let used = self.families.iter().filter(|it| !it.1.series.is_empty());
        let families = used.map(|(name, family)| CopiedFamily {
            name: name.clone(),
            help: family.help.clone(),
            series: family.series.values().cloned().collect(),
        });
        Copied(families.collect())
    }
}

impl<T: Value> Copied<T> {
    pub(crate) fn write(&self, out: &mut impl Write) -> fmt::Result {
        let mut head = String::new();
        for CopiedFamily { name, help, series } in &self.0 {
            head.clear();
            if let Some(help) = help {
                write_help_line(&mut head, name, None, None, help);
            }
            write_type_line(&mut head, name, None, None, T::TYPE);
            out.write_str(&head)?;
            for Series { labels, value, .. } in series {
                value.write(name, labels, out)?;
            }
            out.write_char('\n')?;
        }
        Ok(())
    }
}

/// The one series of what has no room in the family of `key`.
pub(crate) fn folded(key: &Key) -> Key {
    let labels = key.labels();
    let labels: Vec<Label> = labels
        .map(|label| Label::new(label.key().to_owned(), OTHER))
        .collect();
    Key::from_parts(key.name().to_owned(), labels)
}

fn labels(key: &Key) -> String {
    let mut labels = String::new();
    for label in key.labels() {
        let name = sanitize_label_key(label.key());
        let value = sanitize_label_value(label.value());
        // Writing to a String cannot fail.
        let _ = write!(labels, "{name}=\"{value}\",");
    }
    labels
}

/// `labels` in braces, if there are any.
pub(crate) fn write_set(labels: &str, out: &mut impl Write) -> fmt::Result {
    match labels.strip_suffix(',') {
        Some(labels) => write!(out, "{{{labels}}}"),
        None => Ok(()),
    }
}

/// One value of a series, on a line of its own.
fn write_sample(
    name: &str,
    labels: &str,
    value: impl fmt::Display,
    out: &mut impl Write,
) -> fmt::Result {
    out.write_str(name)?;
    write_set(labels, out)?;
    writeln!(out, " {value}")
}

/// A counter.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        CounterFn::increment(&self.0, value);
    }

    fn absolute(&self, value: u64) {
        CounterFn::absolute(&self.0, value);
    }
}

impl Value for Count {
    const TYPE: &'static str = "counter";

    fn write(&self, name: &str, labels: &str, out: &mut impl Write) -> fmt::Result {
        write_sample(name, labels, self.0.load(Relaxed), out)
    }
}

/// A gauge: the bits of an `f64`.
#[derive(Default)]
pub(crate) struct Reading(AtomicU64);

impl GaugeFn for Reading {
    fn increment(&self, value: f64) {
        GaugeFn::increment(&self.0, value);
    }

    fn decrement(&self, value: f64) {
        GaugeFn::decrement(&self.0, value);
    }

    fn set(&self, value: f64) {
        GaugeFn::set(&self.0, value);
    }
}

impl Value for Reading {
    const TYPE: &'static str = "gauge";

    fn write(&self, name: &str, labels: &str, out: &mut impl Write) -> fmt::Result {
        write_sample(name, labels, f64::from_bits(self.0.load(Relaxed)), out)
    }
}
