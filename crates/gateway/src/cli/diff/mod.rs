//! `pointsman diff`: which traffic goes elsewhere, or is treated otherwise, by new documents.
//!
//! Both sets of documents are compiled as the same client sees them, and `pointsman_route::diff`
//! asks both tables; [`report`] tells what came of it.
mod report;

use super::{args, documents::Documents, exit, output};
use crate::settings::Settings;
use anyhow::anyhow;
use pointsman_model::{Finding, Level};
use pointsman_route::{
    Table,
    diff::{Limits, compare},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The two sides, and what is to be said about them.
struct Report<'c> {
    diff: pointsman_route::diff::Diff,
    new: &'c Path,
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
    let (after, is) = compiled(new, &settings, Some(&before.table))?;
    let mut diff = compare(&before.table, &after.table, &Limits::default());
    // Silence about them would read as "nothing changes".
    if before.gateways || after.gateways {
        let sentence = "traffic that comes to the ports of Gateways is not compared";
        diff.cut.push(sentence.to_owned());
    }
    let (findings, settled) = against(was, is);
    let report = Report {
        diff,
        new,
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

/// One side.
struct Side {
    table: Table,
    /// Are there Gateways?
    gateways: bool,
}

fn compiled(
    path: &PathBuf,
    settings: &Settings,
    previous: Option<&Table>,
) -> anyhow::Result<(Side, Vec<Finding>)> {
    let read = Documents::read(std::slice::from_ref(path), &settings.client);
    let documents = read.map_err(args::WrongUse)?;
    let context = settings.given().context(&documents.world);
    let compiled = Table::compile(&documents.world, &context, previous);
    let mut findings = documents.findings;
    findings.extend(compiled.findings);
    let side = Side {
        table: compiled.table,
        gateways: !documents.world.gateways.is_empty(),
    };
    Ok((side, findings))
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
