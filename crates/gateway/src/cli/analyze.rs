//! `pointsman analyze` and `validate`: everything there is to say about documents, without serving
//! them.
use super::{args, documents::Documents, exit, output};
use pointsman_model::{Finding, Level, World};
use pointsman_route::{Table, Tables, analysis};
use std::{collections::BTreeSet, process::ExitCode};

/// Each document, and what they say together.
pub(super) fn analyze(command: &args::Analyze) -> anyhow::Result<ExitCode> {
    run(command, true)
}

/// Each document by itself.
pub(super) fn validate(command: &args::Analyze) -> anyhow::Result<ExitCode> {
    run(command, false)
}

fn run(command: &args::Analyze, together: bool) -> anyhow::Result<ExitCode> {
    let form = if command.json {
        args::Output::Json
    } else {
        command.output
    };
    if command.list_codes {
        output::list_codes(form);
        return Ok(exit::FINE);
    }
    let settings = args::load(
        &args::ConfigArgs::default(),
        &command.client,
        &args::ProcessArgs::default(),
        Vec::new(),
    )?
    .settings;
    let mut documents = Documents::read(&command.files, &settings.client)?;
    let mut findings = std::mem::take(&mut documents.findings);
    if together {
        let world = &documents.world;
        let mut contexts = settings.contexts();
        contexts.known_clients = 0;
        let compiled = Tables::compile(world, &contexts, None, Table::compile);
        findings.extend(compiled.findings);
        let table = compiled.tables.mesh();
        findings.extend(analysis::analyze(world, table.context(), table));
    }
    findings.sort_by(|a, b| (&a.place, a.code).cmp(&(&b.place, b.code)));

    if form == args::Output::Json {
        for finding in &findings {
            output::say!("{}", output::finding_json(finding));
        }
    } else {
        let mut renderer =
            output::Renderer::new(output::colored(command.color, &std::io::stdout()));
        for (file, text) in documents.texts {
            renderer.text(&file, text);
        }
        let least = if command.info {
            Level::Info
        } else {
            Level::Warning
        };
        for finding in findings.iter().filter(|it| it.level >= least) {
            output::say!("{}\n", renderer.render(finding));
        }
        output::say!("{}", summary(&findings, &documents.world));
    }
    let worst = findings.iter().map(|it| it.level).max();
    let fails = match command.fail_on {
        args::FailOn::Never => false,
        args::FailOn::Error => worst >= Some(Level::Error),
        args::FailOn::Warning => worst >= Some(Level::Warning),
        args::FailOn::Info => worst >= Some(Level::Info),
    };
    Ok(if fails { exit::FAILED } else { exit::FINE })
}

/// `1 error, 2 warnings in 14 files (31 objects, 212 rules)`. Files in which there was nothing to
/// read or to say do not count, and neither do objects that are set aside.
fn summary(findings: &[Finding], world: &World) -> String {
    let found = findings.iter().filter_map(|it| it.place.as_ref());
    let files: BTreeSet<&str> = world
        .metas()
        .map(|meta| &meta.place)
        .chain(found)
        .map(|place| &*place.file)
        .collect();
    let rules = world.virtual_services.values();
    let rules = rules.map(|it| it.http.len() + it.tls.len() + it.tcp.len());
    format!(
        "{} in {} ({}, {})",
        output::tally(findings),
        output::counted(files.len(), "file"),
        output::counted(world.len(), "object"),
        output::counted(rules.sum(), "rule")
    )
}
