//! Every case of `golden/cases.txt` has a test that names it, or a word on why not yet.
//!
//! A test names a case by its identifier, `T-LIS-3`, anywhere in its file; `T-LIS-1..11` is all of
//! 1 to 11. With `--nocapture` the places are printed.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const CASES: &str = include_str!("golden/cases.txt");

#[test]
fn every_case_has_a_test_or_a_reason() {
    let mut listed = BTreeMap::new();
    for line in CASES.lines().filter(|line| line.starts_with("T-")) {
        let (id, text) = line.split_once(' ').expect("words behind the identifier");
        let later = text
            .split_once(" [later: ")
            .map(|(_, why)| why.trim_end_matches(']'));
        assert!(listed.insert(id.to_owned(), later).is_none(), "{id} twice");
    }
    let mut places = BTreeMap::<String, BTreeSet<String>>::new();
    for file in tests() {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let name = file.strip_prefix(crates()).unwrap_or(&file);
        for id in identifiers(tested(&file, &text)) {
            let name = name.display().to_string();
            places.entry(id).or_default().insert(name);
        }
    }
    let unknown: Vec<_> = places
        .iter()
        .filter(|(id, _)| !listed.contains_key(*id))
        .collect();
    assert!(unknown.is_empty(), "not in golden/cases.txt: {unknown:?}");
    let mut missing = Vec::new();
    for (id, later) in &listed {
        match (places.get(id), later) {
            (Some(files), later) => {
                let files: Vec<&str> = files.iter().map(String::as_str).collect();
                let early = if later.is_some() {
                    " (marked later)"
                } else {
                    ""
                };
                println!("{id} {}{early}", files.join(" "));
            }
            (None, Some(why)) => println!("{id} later: {why}"),
            (None, None) => missing.push(id.as_str()),
        }
    }
    assert!(
        missing.is_empty(),
        "{} without a test: {}",
        missing.len(),
        missing.join(" ")
    );
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files that may hold tests.
fn tests() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![crates()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let list = path.ends_with("golden/cases.txt") || path.ends_with("route/tests/cases.rs");
            if path.is_dir() {
                folders.push(path);
            } else if !list {
                found.push(path);
            }
        }
    }
    found
}

/// The part of a file that is tests: all of it under `tests`, else what follows the mark.
fn tested<'t>(file: &Path, text: &'t str) -> &'t str {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let whole = name.ends_with("tests") || file.components().any(|it| it.as_os_str() == "tests");
    match text.find("#[cfg(test)]") {
        _ if whole => text,
        Some(at) => &text[at..],
        None => "",
    }
}

/// `T-LIS-3`, `T-LIS-49b` and `T-LIS-1..11` in a text.
fn identifiers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("T-") {
        let before = text[..at].chars().next_back();
        let rest = &text[at + 2..];
        let end = rest.find(|it: char| !it.is_ascii_uppercase()).unwrap_or(0);
        let (group, rest) = rest.split_at(end);
        let Some(number) = rest.strip_prefix('-').filter(|_| end > 0) else {
            continue;
        };
        if before.is_some_and(|it| it.is_ascii_alphanumeric() || it == '-') {
            continue;
        }
        let digits = |text: &str| {
            text.len()
                - text
                    .trim_start_matches(|it: char| it.is_ascii_digit())
                    .len()
        };
        let (first, rest) = number.split_at(digits(number));
        let Ok(from) = first.parse::<u32>() else {
            continue;
        };
        let letter = rest.chars().next().filter(char::is_ascii_lowercase);
        let to = rest.strip_prefix("..").map_or("", |to| &to[..digits(to)]);
        match (to.parse::<u32>(), letter) {
            (Ok(to), _) => found.extend((from..=to).map(|it| format!("T-{group}-{it}"))),
            (Err(_), Some(letter)) => found.push(format!("T-{group}-{from}{letter}")),
            (Err(_), None) => found.push(format!("T-{group}-{from}")),
        }
    }
    found
}

#[test]
fn identifiers_are_read_as_they_are_written() {
    let text = "T-LIS-1..3, T-LIS-49b T-H-5, (T-BE-100) MUT-H-4 NOT-1 T-VST-7..";
    assert_eq!(
        identifiers(text).join(" "),
        "T-LIS-1 T-LIS-2 T-LIS-3 T-LIS-49b T-H-5 T-BE-100 T-VST-7"
    );
}
