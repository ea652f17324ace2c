//! A class of requests in words: `GET reviews:9080 (any path, no end-user header)`.
use super::requests::{Axis, OPTIONS, Part, Point, Space, WHOLE_SERVER};
use crate::text::Text;

/// Absent headers and parameters that are named one by one.
const ABSENT: usize = 3;

/// `stays` has, for each part, the divisions that do not matter.
pub(super) fn what(
    space: &Space,
    point: &Point,
    stays: &[Vec<usize>],
    host: &str,
    port: u16,
) -> String {
    let mut method = "GET";
    let mut said: Vec<String> = Vec::new();
    let mut absent: Vec<String> = Vec::new();
    for ((axis, &at), stays) in space.axes.iter().zip(point).zip(stays) {
        let any = stays.len() == axis.cells.len();
        if axis.part == Part::Method {
            let cell = axis.cells.get(at).and_then(Option::as_ref);
            method = cell.map_or("GET", |cell| &cell.value);
            if any && axis.cells.len() > 1 {
                said.push("any method".to_owned());
            }
        } else if any {
            said.extend((axis.part == Part::Path).then(|| "any path".to_owned()));
        } else if axis.cells.get(at).is_none_or(Option::is_none) {
            absent.push(without(axis));
        } else {
            said.push(value(axis, at));
        }
    }
    if space.request(point).path == WHOLE_SERVER {
        method = OPTIONS;
    }
    match absent.len() {
        0..=ABSENT => said.extend(absent),
        more => said.push(format!("without {more} others that rules look at")),
    }
    format!("{method} {host}:{port} ({})", said.join(", "))
}

/// The words without the host.
pub(super) fn of_rule(what: &str) -> (&str, &str) {
    let method = what.split(' ').next().unwrap_or_default();
    let at = what.find(" (").unwrap_or(what.len());
    (method, what.get(at..).unwrap_or_default())
}

/// `reviews:9080` of the words.
pub(super) fn host_of(what: &str) -> &str {
    what.split(' ').nth(1).unwrap_or_default()
}

fn without(axis: &Axis) -> String {
    match &axis.part {
        Part::Header(name) => format!("no {name} header"),
        Part::Query(name) => format!("no parameter {name}"),
        Part::Target => "no query".to_owned(),
        // The others are never absent.
        _ => String::new(),
    }
}

fn value(axis: &Axis, at: usize) -> String {
    let Some(cell) = axis.cells.get(at).and_then(Option::as_ref) else {
        return String::new();
    };
    // The text that says most: equal, then the longest beginning, then a pattern.
    let text = cell
        .holds
        .iter()
        .filter_map(|&at| axis.texts.get(at))
        .max_by_key(|(text, _)| match text {
            Text::Exact(_) => (3, 0),
            Text::Prefix(text) => (2, text.len()),
            Text::Pattern(_) => (1, 0),
            Text::Present => (0, 0),
        });
    let (name, is) = match &axis.part {
        Part::Path => ("path".to_owned(), " "),
        Part::Method => ("method".to_owned(), " "),
        Part::Scheme => ("scheme".to_owned(), " "),
        Part::Authority => ("Host".to_owned(), " "),
        Part::Target => ("query".to_owned(), " "),
        Part::Header(name) => (name.to_string(), ": "),
        Part::Query(name) => (format!("parameter {name}"), "="),
    };
    match text.map(|it| &it.0) {
        Some(Text::Exact(_)) => format!("{name}{is}{}", cell.value),
        Some(Text::Prefix(text)) => format!("{name}{is}{text}…"),
        Some(Text::Pattern(pattern)) => format!("{name} ~ {}", pattern.source()),
        Some(Text::Present) | None => match &axis.part {
            Part::Path => "any other path".to_owned(),
            Part::Header(name) => format!("another {name} header"),
            _ => format!("another {name}"),
        },
    }
}
