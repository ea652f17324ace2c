//! The interface of `explain --json`, to the byte: for each `NAME.in.jsonl` of `explain_json`, with
//! the flags of `NAME.flags.json`, the answers are those of `NAME.out.jsonl`.
//!
//! `UPDATE_GOLDEN=1` writes the answers anew. Programs rely on them: fields may be added, but what is
//! there keeps its name, form and meaning (docs/explain.md).
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain_json")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The sets of questions.
fn sets() -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(folder())
        .expect("a folder")
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".in.jsonl")?.to_owned())
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// What the binary answers to a set.
fn answers(set: &str) -> String {
    let flags: Vec<String> =
        serde_json::from_str(&read(&format!("{set}.flags.json"))).expect("a list of flags");
    let questions = fs::File::open(folder().join(format!("{set}.in.jsonl"))).expect("questions");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POINTSMAN_") {
            command.env_remove(name);
        }
    }
    let output = command
        .current_dir(folder())
        .args(["explain", "--json", "-f", "mesh.yaml"])
        .args(flags)
        .stdin(Stdio::from(questions))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{set}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn answers_are_what_programs_rely_on() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for set in sets() {
        let answers = answers(&set);
        let name = format!("{set}.out.jsonl");
        if update {
            fs::write(folder().join(name), &answers).expect("written");
            continue;
        }
        let expected = read(&name);
        for (answer, expected) in lines(&answers).iter().zip(lines(&expected)) {
            assert_eq!(*answer, expected, "{set}: {}", answer["id"]);
        }
        assert_eq!(answers, expected, "{set}");
    }
}

/// Each question has one answer, with its `id`, in order.
#[test]
fn every_question_has_its_answer() {
    for set in sets() {
        let questions = read(&format!("{set}.in.jsonl"));
        let questions = questions.lines().filter(|line| !line.is_empty());
        let asked: Vec<Value> = questions
            .map(|line| {
                let question = serde_json::from_str::<Value>(line).unwrap_or_default();
                question.get("id").cloned().unwrap_or_default()
            })
            .collect();
        let answers = lines(&read(&format!("{set}.out.jsonl")));
        let told: Vec<Value> = answers.iter().map(|it| it["id"].clone()).collect();
        assert_eq!(told, asked, "{set}");
        for answer in &answers {
            let object = answer.as_object().expect("an object");
            let error = object.contains_key("error");
            assert_eq!(error, !object.contains_key("kind"), "{answer}");
            assert!(!error || object.len() == 2, "{answer}");
        }
    }
}

/// The rows of the tables of docs/explain.md, by the words in their first column.
fn documented() -> BTreeSet<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut words = BTreeSet::new();
    for file in ["explain.md", "refusals.md"] {
        let text = fs::read_to_string(docs.join(file)).expect("a page");
        for row in text.lines().filter(|line| line.starts_with("| `")) {
            let first = row.split(" | ").next().unwrap_or_default();
            words.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

/// The lists of kinds, reasons and fields are closed: docs/explain.md names them all.
#[test]
fn every_word_of_an_answer_is_documented() {
    let documented = documented();
    let mut seen = BTreeMap::<&str, BTreeSet<String>>::new();
    for set in sets() {
        for answer in lines(&read(&format!("{set}.out.jsonl"))) {
            let mut word = |list, word: &str| {
                seen.entry(list).or_default().insert(word.to_owned());
            };
            for name in answer.as_object().expect("an object").keys() {
                word("field", name);
            }
            for list in ["kind", "reason"] {
                if let Some(it) = answer[list].as_str() {
                    word(list, it);
                }
            }
            for weight in answer["weights"].as_array().into_iter().flatten() {
                if let Some(it) = weight["reason"].as_str() {
                    word("reason", it);
                }
            }
        }
    }
    for (list, words) in &seen {
        for word in words {
            let known = ["id", "error", "kind"].contains(&word.as_str());
            assert!(
                known || documented.contains(word),
                "{list} `{word}` is in no table of docs/explain.md"
            );
        }
    }
    // And all of them come up here.
    let kinds: Vec<&str> = seen["kind"].iter().map(String::as_str).collect();
    assert_eq!(
        kinds.join(" "),
        "blackhole forward notfound passthrough redirect reject respond unavailable"
    );
    for field in [
        "authority",
        "body",
        "delay",
        "destination",
        "endpoints",
        "error",
        "id",
        "kind",
        "location",
        "mirrors",
        "path",
        "reason",
        "request_headers",
        "response_headers",
        "retries",
        "rule",
        "status",
        "timeout",
        "trace",
        "weights",
    ] {
        assert!(seen["field"].contains(field), "no answer has `{field}`");
    }
}
