//! Whole files against what is said about them and what they turn into.
//!
//! `UPDATE_GOLDEN=1 cargo test -p pointsman-manifest --test golden` writes the expected files anew.
use pointsman_manifest::{Input, Parsed, parse, render};
use pointsman_model::Level;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(root)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "yaml" || end == "json")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn read(path: &Path) -> (String, Parsed) {
    let text = fs::read_to_string(path).expect("readable");
    let name = path.file_name().expect("a file").to_string_lossy();
    let parsed = parse(&Input {
        file: name.as_ref().into(),
        text: &text,
        default_namespace: "default",
        cluster_domain: "cluster.local",
    });
    (text, parsed)
}

/// The findings as people see them, then what became of each document.
fn account(text: &str, parsed: &Parsed) -> String {
    let mut account = String::new();
    for finding in &parsed.findings {
        let shown = render(finding, Some(text), None, false);
        writeln!(account, "{shown}\n").expect("text");
    }
    for document in &parsed.documents {
        let key = match &document.key {
            Some(key) => key.to_string(),
            None => "?".to_owned(),
        };
        let became = if document.result.is_ok() {
            "read"
        } else {
            "set aside"
        };
        writeln!(account, "{key} at {}: {became}", document.place).expect("text");
    }
    writeln!(account, "complete: {}", parsed.complete).expect("text");
    account
}

fn expect(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, actual).expect("writable");
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; this is what it should be now:\n{actual}",
        path.display()
    );
}

#[test]
fn good_files_are_read_without_an_error() {
    for path in files("good") {
        let (text, parsed) = read(&path);
        let errors: Vec<_> = parsed
            .findings
            .iter()
            .filter(|finding| finding.level == Level::Error)
            .map(|finding| render(finding, Some(&text), None, false))
            .collect();
        assert_eq!(errors, [""; 0], "{}", path.display());
        assert!(parsed.complete);
        assert!(
            parsed
                .documents
                .iter()
                .all(|document| document.result.is_ok())
        );
        expect(&path.with_extension("txt"), &account(&text, &parsed));
    }
}

#[test]
fn bad_files_are_explained() {
    for path in files("bad") {
        let (text, parsed) = read(&path);
        assert!(!parsed.findings.is_empty());
        expect(&path.with_extension("txt"), &account(&text, &parsed));
    }
}

/// Every detail of the objects, of the files that use every field.
#[test]
fn objects_hold_what_was_written() {
    for name in [
        "virtual-service",
        "destination-rule",
        "gateway",
        "service-entries",
        "endpoints",
        "surprises",
        "mesh",
    ] {
        let path = files("good")
            .into_iter()
            .find(|path| path.file_stem().is_some_and(|stem| stem == name))
            .expect("the file is there");
        let (_, parsed) = read(&path);
        let mut shown = String::new();
        for document in parsed.documents {
            writeln!(shown, "{:#?}", document.result.expect("good")).expect("text");
        }
        // A place takes five lines and there is one in every rule.
        let folded = fold_places(&shown);
        expect(&path.with_extension("model.txt"), &folded);
    }
}

/// Folds `Place { file: …, line: 1, column: 2, }` over five lines into `@1:2`.
fn fold_places(text: &str) -> String {
    let mut folded = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_suffix("Place {") else {
            folded.push_str(line);
            folded.push('\n');
            continue;
        };
        let mut number = || {
            let line = lines.next().unwrap_or_default();
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            digits
        };
        let _file = number();
        let (line, column) = (number(), number());
        let _end = number();
        folded.push_str(&format!("{head}@{line}:{column},\n"));
    }
    folded
}
