//! `pointsman diff`: which traffic goes elsewhere, or is treated otherwise, by new documents.
//!
//! Both sets of documents are compiled as the same client sees them, and as the ports of Gateways
//! do; `pointsman_route::diff` asks the tables of each door, and [`report`] tells what came of it.
mod report;

use super::{args, documents::Documents, exit, output};
use crate::settings::Settings;
use anyhow::anyhow;
use pointsman_model::{Finding, Level};
use pointsman_route::{
    Table,
    diff::{Diff, Limits, compare},
    snapshot::{Contexts, Tables},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The two sides, and what is to be said about them.
struct Report<'c> {
    diff: Diff,
    new: &'c Path,
    /// The context flags, for commands that are to see what this one saw.
    context: Vec<String>,
    /// Findings only the new documents give, warnings and worse.
    findings: Vec<Finding>,
    /// How many findings of the old documents are gone.
    settled: usize,
}

pub(super) fn diff(command: &args::Diff) -> anyhow::Result<ExitCode> {
    let [old, new] = command.files.as_slice() else {
        let error = anyhow!("write -f OLD -f NEW: what is served, and what is to be");
        return Err(args::WrongUse(error).into());
    };
    let settings = args::load(
        &args::ConfigArgs::default(),
        &command.client,
        &args::ProcessArgs::default(),
        Vec::new(),
    )?
    .settings;
    let (before, was) = compiled(old, &settings, None)?;
    let (after, is) = compiled(new, &settings, Some(&before))?;
    let limits = Limits::default();
    let mut diff = compare(before.mesh(), after.mesh(), &limits);
    if let (Some(before), Some(after)) = (before.gateway(), after.gateway()) {
        add(compare(before, after, &limits), &mut diff);
    }
    let (findings, settled) = against(was, is);
    let report = Report {
        diff,
        new,
        context: command.client.words(),
        findings,
        settled,
    };
    match command.output {
        args::Output::Json => output::say!("{}", report::json(&report)),
        args::Output::Text => {
            let color = output::colored(command.color, &std::io::stdout());
            output::print(format_args!("{}", report::text(&report, color)));
        }
    }
    Ok(match report.diff.is_empty() {
        true => exit::FINE,
        false => exit::FAILED,
    })
}

/// What comes to the ports of Gateways, behind what is captured. A backend that changes in the eyes
/// of both alike is told once.
fn add(gateway: Diff, all: &mut Diff) {
    all.trusted_proxies = gateway.trusted_proxies;
    all.classes.extend(gateway.classes);
    for backend in gateway.backends {
        let same = |own: &&_| **own == backend;
        if all.backends.iter().find(same).is_none() {
            all.backends.push(backend);
        }
    }
    for sentence in gateway.cut {
        let sentence = format!("{sentence}, via gateway");
        all.cut.push(sentence);
    }
    all.probes += gateway.probes;
}

fn compiled(
    path: &PathBuf,
    settings: &Settings,
    previous: Option<&Tables>,
) -> anyhow::Result<(Tables, Vec<Finding>)> {
    let read = Documents::read(std::slice::from_ref(path), &settings.client);
    let documents = read.map_err(args::WrongUse)?;
    let contexts = Contexts {
        mesh: settings.given(),
        // On both sides, as one of them may have no Gateway: then nothing listens there.
        gateway: Some(settings.given()),
        known_clients: 0,
    };
    let compiled = Tables::compile(&documents.world, &contexts, previous, Table::compile);
    let mut findings = documents.findings;
    findings.extend(compiled.findings);
    Ok((compiled.tables, findings))
}

/// Findings are the same if they say the same of the same document, wherever it lies.
fn against(was: Vec<Finding>, is: Vec<Finding>) -> (Vec<Finding>, usize) {
    type Said = (u16, Option<String>, String);
    let said = |it: &Finding| -> Said {
        let object = it.object.as_ref().map(ToString::to_string);
        (it.code.0, object, it.message.clone())
    };
    let known: BTreeSet<Said> = was.iter().map(said).collect();
    let now: BTreeSet<Said> = is.iter().map(said).collect();
    let settled = known.difference(&now).count();
    let more = is
        .into_iter()
        .filter(|it| it.level >= Level::Warning && !known.contains(&said(it)));
    (more.collect(), settled)
}
