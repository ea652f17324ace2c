//! Prometheus text, read by its grammar: series with their labels and values.
use std::{collections::BTreeMap, fmt};

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// Name, labels, value.
    pub series: Vec<(String, BTreeMap<String, String>, f64)>,
    /// `# TYPE` lines.
    pub types: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads the exposition format.
    ///
    /// # Panics
    /// At a line that is not of it.
    pub fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix('#') {
                let words: Vec<_> = comment.split_whitespace().collect();
                if let ["TYPE", name, kind] = words.as_slice() {
                    scrape.types.insert((*name).to_owned(), (*kind).to_owned());
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = match series.split_once('{') {
                None => (series, BTreeMap::new()),
                Some((name, rest)) => (name, labels(rest)),
            };
            let value = value.parse().expect("a number");
            scrape.series.push((name.to_owned(), labels, value));
        }
        scrape
    }

    /// The sum of all series of this name that have at least these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|(_, value)| value).sum()
    }

    /// The series of this name that have at least these labels.
    pub fn select<'s>(
        &'s self,
        name: &'s str,
        labels: &'s [(&'s str, &'s str)],
    ) -> impl Iterator<Item = (&'s BTreeMap<String, String>, f64)> {
        self.series
            .iter()
            .filter(move |(series, own, _)| {
                series == name
                    && labels
                        .iter()
                        .all(|(key, value)| own.get(*key).is_some_and(|it| it == value))
            })
            .map(|(_, labels, value)| (labels, *value))
    }
}

/// `a="b",c="d"}`; values here hold no escapes but the three of the format.
fn labels(mut rest: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        loop {
            match chars.next().expect("a closing quote") {
                (at, '"') => {
                    rest = &after[at + 1..];
                    break;
                }
                (_, '\\') => match chars.next().expect("an escaped character").1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        }
        labels.insert(name.trim_start_matches(',').to_owned(), value);
    }
    assert_eq!(rest, "}", "labels end in a brace");
    labels
}

impl fmt::Display for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, labels, value) in &self.series {
            // Zeros and unknowns are most of it and say nothing.
            let told: Vec<_> = labels
                .iter()
                .filter(|(_, value)| !matches!(value.as_str(), "" | "unknown" | "latest"))
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            writeln!(f, "{name}{{{}}} {value}", told.join(","))?;
        }
        Ok(())
    }
}
