//! `pointsman explain`: why traffic would go where it goes, by the same code as the data path's.
//!
//! A [`question`] comes from a target, a [`curl`] command or a [`log_line`], and is answered for
//! people here; or it comes as a line of JSON ([`stream`]), is decided in [`decide`] (what its
//! rule does is worked out in [`taken`] and [`execute`]) and answered in machine form, [`answer`].
//! [`trace`] is the machine form of the steps that led there.
mod answer;
mod curl;
mod decide;
mod execute;
mod log_line;
mod question;
mod refused;
#[cfg(test)]
mod replay;
mod shell;
mod stream;
mod taken;
mod trace;

use self::{
    decide::{answer, not_read},
    execute::fields,
    question::{Question, SOME_ID, Traffic, limits},
    refused::{Refused, Subject},
    trace::Line,
};
// `pointsman test` asks the same questions and compares the answers.
pub(super) use self::{
    answer::{Answer, Destination, Kind, Retries},
    execute::Sent,
    question::{Question as Target, Traffic as TargetTraffic, split_port},
    stream::{Answerer, Asked, Protocol, Source, Tls, Values, Via},
};
use super::{args, documents::Documents, exit, output};
use anyhow::Context;
use pointsman_route::{
    Class, Connection, Request, Table,
    explain::{Candidate, Explanation, Outcome, explain_connection, explain_request_on},
};
use pointsman_wire::{
    forwarded::{FieldList, Forwarded, request_id},
    http1::{Refusal, field_slots, parse_request},
    path,
};
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) fn explain(command: &args::Explain) -> anyhow::Result<ExitCode> {
    let wrong_use = |error: &dyn std::fmt::Display| {
        eprintln!("pointsman: {error}");
        Ok(exit::wrong_use())
    };
    let asked = match ask_for(command) {
        Ok(asked) => asked,
        Err(error) => return wrong_use(&format_args!("{error:#}")),
    };
    if asked.is_none() && command.files.iter().any(|it| it.as_os_str() == "-") {
        return wrong_use(&"--json reads questions from standard input: -f - cannot read it too");
    }
    let settings = args::load(
        &args::ConfigArgs::default(),
        &command.client,
        &args::ProcessArgs::default(),
        Vec::new(),
    )?
    .settings;
    let documents = Documents::read(&command.files, &settings.client)?;
    let mut answerer = Answerer::new(&documents.world, &settings.given(), command.trace);
    let Some((subject, mut notes)) = asked else {
        return match answerer.run(std::io::stdin().lock(), std::io::stdout().lock()) {
            // Whoever read the answers has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Ok(exit::READER_GONE.into())
            }
            other => {
                other.context("questions and answers")?;
                Ok(exit::FINE)
            }
        };
    };
    let refused = |refused: Refused, notes: &[String]| {
        for note in notes {
            eprintln!("note: {note}");
        }
        match command.output {
            args::Output::Json => output::say!("{}", refused.json(notes)),
            args::Output::Text => {
                let color = output::colored(command.color, &std::io::stdout());
                let line = format!("=> {}\n", refused.sentence());
                output::print(format_args!("{}", paint(&line, color)));
            }
        }
        Ok(exit::no_route())
    };
    let mut question = match subject {
        Subject::Traffic(question) => *question,
        Subject::Refused(it) => return refused(*it, &notes),
    };
    let table = &match command.gateway {
        true => answerer.gateway(),
        false => answerer.table().clone(),
    };
    question.settle_gateway(table);
    let mut explanation = match ask(table, &question)? {
        Ok(explanation) => explanation,
        Err(refusal) => return refused(refusal.into(), &notes),
    };
    let answer = answer(table, &question, false)?;
    if let Some(status) = answer.grpc_status {
        let told = format!("; a gRPC client is told 200 with grpc-status {status}");
        explanation.sentence.push_str(&told);
    } else if let Some(status) = answer.told.iter().find_map(|it| it.grpc_status) {
        let told = format!(
            "; a gRPC-Web client is told 200 with grpc-status {status} where its call would be translated"
        );
        explanation.sentence.push_str(&told);
    }
    let set_aside = documents
        .findings
        .iter()
        .filter(|it| it.level == pointsman_model::Level::Error)
        .count();
    if set_aside > 0 {
        notes.push(format!(
            "{set_aside} errors in the documents: what they are about is not in this answer; see pointsman analyze"
        ));
    }
    if explanation.outcome == Outcome::Passthrough {
        notes.push(
            "with --capture bind the original destination is the gateway itself: it answers 404 NR, or closes"
                .to_owned(),
        );
    }
    for note in &notes {
        eprintln!("note: {note}");
    }
    match command.output {
        args::Output::Json => {
            output::say!("{}", machine(&explanation, &answer, &notes));
        }
        args::Output::Text => {
            let color = output::colored(command.color, &std::io::stdout());
            output::print(format_args!("{}", paint(&explanation.to_string(), color)));
        }
    }
    Ok(match explanation.outcome {
        Outcome::NoRule | Outcome::NoHost | Outcome::NoServer(_) | Outcome::Refused => {
            exit::no_route()
        }
        Outcome::NoCluster(_) | Outcome::NoEndpoint => exit::no_endpoint(),
        Outcome::Forwarded | Outcome::Answered(_) | Outcome::Passthrough | Outcome::EndsTls => {
            exit::FINE
        }
    })
}

/// The one question and notes on it; `None`: questions come line by line.
fn ask_for(command: &args::Explain) -> anyhow::Result<Option<(Subject, Vec<String>)>> {
    let (mut question, notes) = match (&command.target, &command.curl, &command.log_line) {
        (Some(target), ..) => (Question::of_target(target, command.to)?, Vec::new()),
        (_, Some(curl), _) => curl::question(curl, command.to)?,
        (.., Some(line)) => match log_line::question(line, command.to)? {
            (Subject::Traffic(question), notes) => (*question, notes),
            refused => return Ok(Some(refused)),
        },
        (None, None, None) => return Ok(None),
    };
    let heads = match &mut question.traffic {
        Traffic::Http(head) => Some(head),
        // The request in TLS that a gateway ends.
        Traffic::Tls { .. } => question.inside.as_mut(),
        Traffic::Tcp => None,
    };
    if let Some(head) = heads {
        if let Some(method) = &command.method {
            head.method.clone_from(method);
        }
        for header in &command.headers {
            let (name, value) = header
                .split_once(':')
                .with_context(|| format!("-H '{header}': write it as 'Name: value'"))?;
            head.headers
                .push((name.trim().to_owned(), value.trim().to_owned()));
        }
        head.settle_host();
    }
    Ok(Some((Subject::Traffic(Box::new(question)), notes)))
}

fn ask(table: &Table, question: &Question) -> anyhow::Result<Result<Explanation, Refusal>> {
    let connection = |class, sni| Connection {
        original: question.original,
        source: question.source,
        class,
        sni,
        mesh_alpn: question.mesh_alpn,
    };
    let bytes = |class, sni| Ok(Ok(explain_connection(table, &connection(class, sni))));
    let (connection, head, scheme) = match (&question.traffic, &question.inside) {
        (Traffic::Tcp, _) => return bytes(Class::Tcp, None),
        (Traffic::Tls { sni }, Some(head)) if table.context().role.is_gateway() => (
            connection(Class::Tls, sni.as_deref()),
            head.bytes()?,
            "https",
        ),
        (Traffic::Tls { sni }, _) => return bytes(Class::Tls, sni.as_deref()),
        (Traffic::Http(head), _) => (connection(Class::Http, None), head.bytes()?, "http"),
    };
    if scheme == "http"
        && let Some(class) = not_read(table, question.original, &head)
    {
        return bytes(class, None);
    }
    let mut slots = field_slots();
    let head = match parse_request(&head, &mut slots, &limits()) {
        Ok(head) => head.context("the request has no end")?,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let peer = question.peer();
    let sender = question.sender(table, &peer, scheme);
    let forwarded = Forwarded::new(&head, &sender, || Some(request_id(SOME_ID)));
    let mut list = FieldList::new();
    let head = match forwarded.head(&head, &sender, &mut list) {
        Ok(head) => head,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mode = pointsman_route::normalization(table.context().path_normalization);
    let path = match path::normalize(head.path, mode) {
        Ok(path) => path,
        Err(refusal) => return Ok(Err(refusal)),
    };
    Ok(Ok(explain_request_on(
        table,
        &connection,
        &Request {
            method: head.method,
            authority: head.host.unwrap_or_default(),
            path: &path,
            query: head.query,
            scheme: forwarded.scheme(),
            fields: &fields(&head),
        },
    )))
}

/// Winners in green, the closing sentence in bold: never colour alone, `+` and `=>` are there.
fn paint(text: &str, color: bool) -> String {
    if !color {
        return text.to_owned();
    }
    text.lines()
        .map(|line| {
            let trimmed = line.trim_start();
            if trimmed.starts_with("+ ") {
                format!("\u{1b}[32m{line}\u{1b}[0m\n")
            } else if trimmed.starts_with("=>") {
                format!("\u{1b}[1m{line}\u{1b}[0m\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect()
}

fn machine(explanation: &Explanation, answer: &Answer, notes: &[String]) -> Value {
    let candidates = |list: &[Candidate]| list.iter().map(Line::new).collect::<Vec<_>>();
    json!({
        "version": 1,
        "outcome": explanation.outcome.as_str(),
        "status": match explanation.outcome {
            Outcome::Answered(status) => Some(status),
            _ => None,
        },
        "sentence": explanation.sentence,
        "answer": answer,
        "notes": notes,
        "protocol": explanation.protocol,
        "frontends": candidates(&explanation.frontends),
        "rules": explanation.rules.as_ref().map(|rules| json!({
            "title": rules.title,
            "candidates": candidates(&rules.candidates),
            "closest": rules.closest,
        })),
        "backends": explanation.backends.iter().map(|backend| json!({
            "cluster": backend.label,
            "share": backend.share,
            "missing": backend.missing.map(|it| it.to_string()),
            "policy": backend.policy,
            "choice": backend.choice,
            "usable": backend.usable,
            "endpoints": candidates(&backend.endpoints),
        })).collect::<Vec<_>>(),
    })
}
