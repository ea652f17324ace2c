//! The figures, side by side: a table for the terminal, the same as Markdown, or JSON with every
//! sample.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::bars;
use crate::measure::Outcome;
use crate::rows::{Row, Unit};

/// A measured row.
#[derive(Debug)]
pub struct Measured {
    /// Which.
    pub row: Row,
    /// One outcome per proxy.
    pub outcomes: Vec<Outcome>,
    /// What else is to be said about it, one line each.
    pub notes: Vec<String>,
}

/// How the table is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Unicode lines, for a terminal.
    Lines,
    /// A Markdown table.
    Markdown,
}

/// CPUs' worth of foreign work above which the table says so.
const NOISY: f64 = 0.1;

const HEADINGS: [&str; 7] = [
    "row",
    "proxy",
    "cost (median)",
    "min to max",
    "rate",
    "CPU busy",
    "× best peer / × floor",
];

impl Measured {
    fn cells(&self) -> Vec<[String; 7]> {
        let name = |index| {
            if index == 0 {
                self.row.name().to_owned()
            } else {
                String::new()
            }
        };
        self.outcomes
            .iter()
            .enumerate()
            .map(|(index, outcome)| {
                let [cost, range, rate, busy, ratios] = self.figures(outcome);
                [
                    name(index),
                    outcome.name.clone(),
                    cost,
                    range,
                    rate,
                    busy,
                    ratios,
                ]
            })
            .collect()
    }

    fn verdicts(&self) -> Vec<[String; 4]> {
        let unit = self.row.unit().cost();
        let verdicts = bars::judge(self.row, &self.outcomes)
            .into_iter()
            .enumerate();
        let cells = verdicts.map(|(index, verdict)| {
            let name = if index == 0 { self.row.name() } else { "" };
            let here = verdict.here.map_or("-".into(), |here| format!("{here:.2}"));
            [
                name.to_owned(),
                verdict.bar.text(unit),
                here,
                verdict.text().to_owned(),
            ]
        });
        cells.collect()
    }

    fn figures(&self, outcome: &Outcome) -> [String; 5] {
        let Some((cost, (least, most))) = outcome
            .median(|sample| sample.cost)
            .zip(outcome.cost_range())
        else {
            return [
                "failed".into(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ];
        };
        let digits = if cost < 10.0 { 3 } else { 1 };
        let rate = outcome.median(|sample| sample.rate).unwrap_or_default();
        let rate_digits = if rate < 100.0 { 2 } else { 0 };
        let busy = outcome.median(|sample| sample.busy).unwrap_or_default() * 100.0;
        let ratio = |to: Option<&Outcome>| {
            let ratio = to.and_then(|to| outcome.against(to));
            ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"))
        };
        let best_peer = bars::best_peer(&self.outcomes);
        [
            format!("{cost:.digits$} {}", self.row.unit().cost()),
            format!("{least:.digits$} to {most:.digits$}"),
            format!("{rate:.rate_digits$} {}", self.row.unit().rate()),
            if self.row.unit() == Unit::Memory {
                "-".to_owned()
            } else {
                format!("{busy:.0} %")
            },
            format!(
                "{} / {}",
                ratio(best_peer),
                ratio(bars::floor(&self.outcomes))
            ),
        ]
    }

    fn json(&self) -> Value {
        let outcomes: Vec<Value> = self
            .outcomes
            .iter()
            .map(|outcome| {
                let cost = outcome.median(|sample| sample.cost);
                let ratio = |to: Option<&Outcome>| to.and_then(|to| outcome.against(to));
                let samples: Vec<Value> = outcome
                    .samples
                    .iter()
                    .map(|sample| {
                        json!({"cost": sample.cost, "rate": sample.rate, "busy": sample.busy, "others": sample.others})
                    })
                    .collect();
                json!({
                    "proxy": outcome.name,
                    "cost": cost,
                    "to_best_peer": ratio(bars::best_peer(&self.outcomes)),
                    "to_floor": ratio(bars::floor(&self.outcomes)),
                    "samples": samples,
                    "failure": outcome.failure,
                })
            })
            .collect();
        let bars: Vec<Value> = bars::judge(self.row, &self.outcomes)
            .iter()
            .map(|verdict| {
                json!({
                    "bar": verdict.bar.text(self.row.unit().cost()),
                    "here": verdict.here,
                    "verdict": verdict.text(),
                })
            })
            .collect();
        json!({
            "row": self.row.name(),
            "cost_unit": self.row.unit().cost(),
            "rate_unit": self.row.unit().rate(),
            "outcomes": outcomes,
            "bars": bars,
            "notes": self.notes,
        })
    }
}

/// Every sample, machine-readable. `versions` names what was measured.
#[must_use]
pub fn json(rows: &[Measured], versions: &[(String, String)]) -> String {
    let versions: Value = versions
        .iter()
        .map(|(name, version)| (name.clone(), Value::from(version.as_str())))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let rows: Vec<Value> = rows.iter().map(Measured::json).collect();
    format!("{:#}", json!({"versions": versions, "rows": rows}))
}

/// The table, what it makes of the bars, then the versions, notes, and why whatever failed did.
#[must_use]
pub fn table(rows: &[Measured], versions: &[(String, String)], style: Style) -> String {
    let mut out = String::new();
    let figures: Vec<_> = rows.iter().map(Measured::cells).collect();
    draw(&mut out, &HEADINGS, &figures, style);
    let bars: Vec<_> = rows.iter().map(Measured::verdicts).collect();
    if bars.iter().any(|group| !group.is_empty()) {
        out.push('\n');
        draw(&mut out, &["row", "bar", "here", "verdict"], &bars, style);
    }
    // Writing into a String cannot fail.
    let _ = writeln!(out);
    for (name, version) in versions {
        let _ = writeln!(out, "- {name}: {version}");
    }
    let noise = rows.iter().flat_map(|measured| &measured.outcomes);
    let noise = noise.filter_map(|outcome| outcome.median(|sample| sample.others));
    if let Some(noise) = noise.reduce(f64::max).filter(|noise| *noise > NOISY) {
        let _ = writeln!(
            out,
            "- The machine was not quiet: other processes kept up to {noise:.1} CPUs busy."
        );
    }
    for measured in rows {
        let row = measured.row.name();
        for note in &measured.notes {
            let _ = writeln!(out, "- {row}, {note}");
        }
        for outcome in &measured.outcomes {
            if let Some(why) = &outcome.failure {
                let _ = writeln!(out, "- {row}, {}: failed: {why}", outcome.name);
            }
        }
    }
    out
}

/// Draws lines of cells in groups.
fn draw<const N: usize>(
    out: &mut String,
    headings: &[&str; N],
    groups: &[Vec<[String; N]>],
    style: Style,
) {
    let mut widths = headings.map(|heading| heading.chars().count());
    for line in groups.iter().flatten() {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let headings = headings.map(str::to_owned);
    match style {
        Style::Lines => {
            rule(out, &widths, ['┌', '┬', '┐']);
            line(out, &widths, &headings, '│');
            for group in groups.iter().filter(|group| !group.is_empty()) {
                rule(out, &widths, ['├', '┼', '┤']);
                group
                    .iter()
                    .for_each(|cells| line(out, &widths, cells, '│'));
            }
            rule(out, &widths, ['└', '┴', '┘']);
        }
        Style::Markdown => {
            line(out, &widths, &headings, '|');
            line(out, &widths, &headings.map(|_| "---".to_owned()), '|');
            groups
                .iter()
                .flatten()
                .for_each(|cells| line(out, &widths, cells, '|'));
        }
    }
}

fn rule<const N: usize>(out: &mut String, widths: &[usize; N], [left, middle, right]: [char; 3]) {
    let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
    let _ = writeln!(out, "{left}{}{right}", bars.join(&middle.to_string()));
}

fn line<const N: usize>(out: &mut String, widths: &[usize; N], cells: &[String; N], bar: char) {
    let cells: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!(" {cell:width$} "))
        .collect();
    let _ = writeln!(out, "{bar}{}{bar}", cells.join(&bar.to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;
    use crate::proxies::Kind;

    fn outcome(kind: Kind, costs: &[f64]) -> Outcome {
        let samples = costs
            .iter()
            .map(|cost| Sample {
                cost: *cost,
                rate: 5e4,
                busy: 0.9,
                others: 0.3,
            })
            .collect();
        let failure = costs.is_empty().then(|| "closed".to_owned());
        Outcome {
            kind,
            name: kind.name().into(),
            is_floor: kind == Kind::Relay,
            samples,
            failure,
        }
    }

    fn measured() -> Vec<Measured> {
        let outcomes = vec![
            outcome(Kind::Pointsman, &[18.0]),
            outcome(Kind::Nginx, &[24.0, 20.0]),
            outcome(Kind::Haproxy, &[20.0]),
            outcome(Kind::Envoy, &[]),
            outcome(Kind::Relay, &[15.0]),
        ];
        vec![Measured {
            row: Row::HttpSmall,
            outcomes,
            notes: vec!["pointsman: ready at once".to_owned()],
        }]
    }

    #[test]
    fn ratios_are_to_the_best_peer_and_the_floor() {
        let text = table(&measured(), &[], Style::Markdown);
        let pointsman = text
            .lines()
            .find(|line| line.contains("pointsman"))
            .expect("its line");
        assert!(pointsman.contains("0.90 / 1.20"), "{pointsman}");
        assert!(text.contains("- http-small, envoy: failed: closed"));
        assert!(text.contains("- http-small, pointsman: ready at once"));
        assert!(text.contains("up to 0.3 CPUs busy"));
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            squeezed.contains("| http-small | 0.80 × haproxy | 0.90 | missed |"),
            "{text}"
        );
        assert!(squeezed.contains("| 1.30 × floor | 1.20 | met |"), "{text}");
        let lines = table(&measured(), &[], Style::Lines);
        let widths: Vec<_> = lines
            .lines()
            .take(9)
            .map(|line| line.chars().count())
            .collect();
        assert!(
            widths.windows(2).all(|pair| pair.first() == pair.last()),
            "{lines}"
        );
    }

    #[test]
    fn json_holds_every_sample() {
        let value: Value = serde_json::from_str(&json(&measured(), &[])).expect("JSON");
        let nginx = &value["rows"][0]["outcomes"][1];
        assert_eq!(nginx["samples"].as_array().map(Vec::len), Some(2));
        assert_eq!(nginx["cost"], 22.0);
    }
}
