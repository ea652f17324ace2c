//! `analyze` and `validate` on documents with known mistakes: each by its code, level and line.
use serde_json::Value;
use std::{path::Path, process::Command};

fn findings(command: &str) -> (Option<i32>, Vec<Value>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes/shop.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args([command, "--json", "-f"])
        .arg(file)
        .output()
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text
        .lines()
        .map(|it| serde_json::from_str(it).expect("one object a line"));
    (output.status.code(), lines.collect())
}

fn told(findings: &[Value]) -> Vec<String> {
    let word = |it: &Value, key: &str| it[key].as_str().unwrap_or("?").to_owned();
    findings
        .iter()
        .map(|it| {
            format!(
                "{} {} {} {}",
                it["line"],
                word(it, "code"),
                word(it, "level"),
                word(it, "name")
            )
        })
        .collect()
}

#[test]
fn each_mistake_is_told_at_its_line() {
    let (code, all) = findings("analyze");
    assert_eq!(code, Some(1));
    assert_eq!(told(&all), EXPECTED, "{all:#?}");
    for it in &all {
        let text = |key: &str| it[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(
            text("message") && text("effect") && text("kind") && text("file"),
            "{it}"
        );
        assert_eq!(it["namespace"], "default");
        assert!(it["column"].is_u64() && it["istio"].is_array(), "{it}");
    }
}

const EXPECTED: [&str; 9] = [
    "2 PM0107 warning shop",
    "9 PM0341 warning shop",
    "10 PM0342 warning shop",
    "17 PM0105 warning shop",
    "24 PM0110 warning shop",
    "32 PM0101 error shop",
    "33 PM0207 warning shop",
    "35 PM0102 error shop",
    "46 PM0011 error refused",
];

/// Each document by itself: nothing about what others say.
#[test]
fn validate_looks_at_one_document_at_a_time() {
    let (code, all) = findings("validate");
    assert_eq!(code, Some(1));
    let told = told(&all);
    let errors: Vec<_> = told.iter().filter(|it| it.contains("error")).collect();
    assert_eq!(errors, ["46 PM0011 error refused"]);
    assert!(
        all.iter()
            .all(|it| it["code"].as_str().is_some_and(|code| code < "PM0100")),
        "{told:?}"
    );
}

/// What has no end is read no further for an excerpt than for its documents.
#[test]
fn a_file_without_end_is_a_finding() {
    for command in ["analyze", "validate"] {
        let output = Command::new("timeout")
            .args(["20", env!("CARGO_BIN_EXE_pointsman"), command])
            .args(["-f", "/dev/zero"])
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("/dev/zero cannot be read: it is larger than"));
    }
}
