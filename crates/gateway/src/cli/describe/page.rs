//! A page: facts about one thing in sections, each a table whose rows know where they are written.
use pointsman_model::Place;
use serde_json::{Map, Value, json};
use std::fmt::Write;

pub(super) struct Page {
    kind: &'static str,
    name: String,
    place: Option<Place>,
    sections: Vec<Section>,
}

pub(super) struct Section {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<(Vec<String>, Option<Place>)>,
}

/// Widest column that is padded to; longer texts push their line.
const WIDEST: usize = 56;

impl Page {
    pub(super) fn new(kind: &'static str, name: String, place: Option<&Place>) -> Self {
        Self {
            kind,
            name,
            place: place.cloned(),
            sections: Vec::new(),
        }
    }

    /// A new section; it is left out of the text while it is empty.
    pub(super) fn section(
        &mut self,
        title: &'static str,
        columns: &'static [&'static str],
    ) -> &mut Section {
        self.sections.push(Section {
            title,
            columns,
            rows: Vec::new(),
        });
        let last = self.sections.len() - 1;
        &mut self.sections[last]
    }

    pub(super) fn text(&self, color: bool) -> String {
        let paint = |code: &str, text: &str| match color {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        };
        let place = self.place.as_ref().map(|it| format!("   {it}"));
        let title = paint("1", &format!("{} {}", self.kind, self.name));
        let mut out = format!("{title}{}\n", place.unwrap_or_default());
        for section in self.sections.iter().filter(|it| !it.rows.is_empty()) {
            let heads: Vec<String> = section.columns.iter().map(|it| it.to_uppercase()).collect();
            let heads = (heads, None);
            let widths: Vec<usize> = (0..section.columns.len())
                .map(|at| {
                    let cells = section.rows.iter().chain([&heads]);
                    let cells = cells.filter_map(|(cells, _)| cells.get(at));
                    let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                    widest.min(WIDEST)
                })
                .collect();
            let _ = writeln!(out, "\n{}", paint("1", section.title));
            let line = |cells: &[String], place: &Option<Place>| {
                let mut line = String::from("  ");
                for (cell, width) in cells.iter().zip(&widths) {
                    let _ = write!(line, "{cell:<width$}  ");
                }
                if let Some(place) = place {
                    let _ = write!(line, " {place}");
                }
                line.trim_end().to_owned()
            };
            if section.columns.len() > 1 {
                let _ = writeln!(out, "{}", paint("2", &line(&heads.0, &None)));
            }
            for (cells, place) in &section.rows {
                let _ = writeln!(out, "{}", line(cells, place));
            }
        }
        out
    }

    /// One object; version 1 of its form.
    pub(super) fn json(&self) -> Value {
        let sections: Map<String, Value> = self
            .sections
            .iter()
            .map(|section| {
                let rows = section.rows.iter().map(|(cells, place)| {
                    let mut row: Map<String, Value> = section
                        .columns
                        .iter()
                        .zip(cells)
                        .map(|(column, cell)| (column.replace(' ', "_"), cell.as_str().into()))
                        .collect();
                    if let Some(place) = place {
                        row.insert("file".to_owned(), place.file.to_string().into());
                        row.insert("line".to_owned(), place.line.into());
                    }
                    Value::Object(row)
                });
                (section.title.replace(' ', "_"), rows.collect())
            })
            .collect();
        json!({
            "version": 1,
            "kind": self.kind,
            "name": self.name,
            "file": self.place.as_ref().map(|it| it.file.to_string()),
            "line": self.place.as_ref().map(|it| it.line),
            "sections": sections,
        })
    }
}

impl Section {
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N], place: Option<&Place>) {
        self.rows.push((cells.to_vec(), place.cloned()));
    }
}
