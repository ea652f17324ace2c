//! Random documents and random traffic: a running gateway does over real sockets what
//! `pointsman explain --json` says it would.
//!
//! `REPLAY_SEED` chooses the documents and questions, `REPLAY_PROBES` how many there are; a failure
//! prints the seed, the documents and the question. [`documents`] and [`questions`] make them,
//! [`verdict`] compares.
#[path = "../common/mod.rs"]
mod common;
mod documents;
mod questions;
mod verdict;

use common::{Everywhere, Feed, captured, enclosed};
use documents::Mesh;
use fastrand::Rng;
use pointsman_gateway::Settings;
use pointsman_model::{OutboundPolicy, context::EntryCapture};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Probes of one set of documents.
const EACH: usize = 25;

#[test]
fn the_gateway_does_what_explain_says() {
    enclosed("the_gateway_does_what_explain_says", || async {
        let number = |name| std::env::var(name).ok().and_then(|it| it.parse().ok());
        let seed = number("REPLAY_SEED").unwrap_or(1);
        let probes = number("REPLAY_PROBES").unwrap_or(1000) as usize;
        eprintln!("REPLAY_SEED={seed} REPLAY_PROBES={probes}");
        let mut rng = Rng::with_seed(seed);
        let mut everywhere = Everywhere::default();
        everywhere.listen(documents::answered());
        let mut kinds = BTreeMap::<String, usize>::new();
        let clients = clients();
        for (settings, flags) in &clients {
            // One gateway for each client, since the capture port is one.
            let (gateway, mut feed) = Feed::serve_with(settings.clone(), "").await;
            for _ in 0..probes.div_ceil(EACH * clients.len()) {
                let mesh = Mesh::random(&mut rng);
                let folder = tempfile::tempdir().expect("a folder");
                std::fs::write(folder.path().join("mesh.yaml"), &mesh.text).expect("a file");
                feed.swap(&gateway, &[("base", &mesh.text)]).await;
                let questions: Vec<Value> = (0..EACH)
                    .map(|id| questions::random(&mut rng, &mesh, id))
                    .collect();
                let answers = explain(folder.path(), flags, &questions);
                for (question, answer) in questions.iter().zip(&answers) {
                    let fate = questions::probe(question)
                        .send(questions::to(question))
                        .await;
                    if let Err(why) = verdict::agrees(question, answer, &fate) {
                        panic!(
                            "{}\nREPLAY_SEED={seed} {}\nasked    {question}\ntold     {answer}\nbut      {why}",
                            mesh.text,
                            flags.join(" "),
                        );
                    }
                    let kind = answer["kind"].as_str().unwrap_or_default();
                    let protocol = question["protocol"].as_str().unwrap_or_default();
                    *kinds.entry(format!("{protocol} {kind}")).or_default() += 1;
                }
            }
        }
        eprintln!("{kinds:#?}");
        for kind in [
            "http forward",
            "http passthrough",
            "http redirect",
            "http respond",
            "http notfound",
            "http unavailable",
            "http blackhole",
            "http reject",
            "tcp forward",
            "tcp passthrough",
            "tcp blackhole",
            "tls forward",
            "tls passthrough",
            "tls blackhole",
        ] {
            let seen = kinds.get(kind).copied().unwrap_or_default();
            assert!(
                probes < 1000 || seen > 0,
                "{kind} never came up: {kinds:#?}"
            );
        }
    });
}

/// Settings of a gateway, and the same as flags of `explain`.
fn clients() -> Vec<(Settings, Vec<&'static str>)> {
    let with = |flags: &[&'static str], change: fn(&mut Settings)| {
        let mut settings = captured();
        settings.client.labels = [("app".to_owned(), "client".to_owned())].into();
        change(&mut settings);
        let flags = [&["--label", "app=client"], flags].concat();
        (settings, flags)
    };
    vec![
        with(&[], |_| {}),
        with(&["--outbound-policy", "REGISTRY_ONLY"], |settings| {
            settings.client.outbound_policy = Some(OutboundPolicy::RegistryOnly);
        }),
        with(&["--serviceentry-capture", "port"], |settings| {
            settings.client.serviceentry_capture = EntryCapture::Port;
        }),
        with(&["--namespace", "prod"], |settings| {
            settings.client.namespace = "prod".to_owned();
        }),
    ]
}

/// The binary's answers.
fn explain(folder: &Path, flags: &[&str], questions: &[Value]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["explain", "--json", "-f"])
        .arg(folder)
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines: String = questions.iter().map(|it| format!("{it}\n")).collect();
    let mut input = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it wrote").expect("all was read");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(answers.len(), questions.len());
    answers
}
