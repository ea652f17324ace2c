//! The table of codes against the sources that raise them and the document that lists them.
use pointsman_model::{
    Code,
    codes::{CODES, entry},
};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The numbers in `const NAME: Code = Code(N);` of every crate's `src`.
fn raised() -> BTreeSet<Code> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("crates") {
        let folder = entry.expect("readable").path().join("src");
        if folder.is_dir() {
            sources(&folder, &mut files);
        }
    }
    let mut codes = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("text");
        for line in text.lines().filter(|line| line.contains("const ")) {
            let Some((_, rest)) = line.split_once(": Code = Code(") else {
                continue;
            };
            let digits = rest.split(')').next().unwrap_or_default();
            let Ok(code) = digits.parse().map(Code) else {
                continue; // this file, or a pattern
            };
            assert!(
                codes.insert(code),
                "{code} is raised for two things: {}",
                file.display()
            );
        }
    }
    codes
}

#[test]
fn the_table_has_every_code_that_can_be_raised_and_no_other() {
    let listed: BTreeSet<Code> = CODES.iter().map(|entry| entry.code).collect();
    let raised = raised();
    assert!(raised.len() > 30, "the constants are found");
    let missing: Vec<_> = raised.difference(&listed).map(Code::to_string).collect();
    let gone: Vec<_> = listed.difference(&raised).map(Code::to_string).collect();
    assert_eq!(missing, [""; 0], "raised, and not in the table");
    assert_eq!(gone, [""; 0], "in the table, and raised by nobody");
}

#[test]
fn the_table_is_in_order_and_complete() {
    assert!(CODES.is_sorted_by(|a, b| a.code < b.code));
    for row in CODES {
        assert!(!row.levels.is_empty(), "{}", row.code);
        for text in [row.title, row.meaning, row.advice] {
            assert!(
                !text.is_empty() && !text.ends_with('.'),
                "{}: {text}",
                row.code
            );
            assert!(!text.contains('|'), "{}: would break the table", row.code);
        }
        assert_eq!(entry(row.code), Some(row));
        let known = |it: &&str| it.len() == 7 && it.starts_with("IST");
        assert!(row.istio.iter().all(known), "{}", row.code);
    }
}

/// `UPDATE_GOLDEN=1 cargo test -p pointsman-model --test codes` writes it anew.
#[test]
fn the_document_has_the_same_table() {
    const BEGIN: &str =
        "<!-- the table is written by the tests of crates/model/tests/codes.rs -->\n";
    const END: &str = "<!-- end of the table -->\n";
    let path = root().join("docs/findings.md");
    let text = fs::read_to_string(&path).expect("docs/findings.md");
    let (before, rest) = text.split_once(BEGIN).expect("the marker");
    let (_, after) = rest.split_once(END).expect("the other marker");
    let mut table = String::from("\n| Code | Level | Found | Effect | What to do | Istio |\n");
    table.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for row in CODES {
        let levels: Vec<&str> = row.levels.iter().map(|level| level.as_str()).collect();
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} |",
            row.code,
            levels.join(", "),
            row.title,
            row.meaning,
            row.advice,
            row.istio.join(", ")
        )
        .expect("text");
    }
    table.push('\n');
    let expected = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, expected).expect("writable");
    } else {
        assert!(
            text == expected,
            "stale: UPDATE_GOLDEN=1 cargo test -p pointsman-model --test codes"
        );
    }
}
