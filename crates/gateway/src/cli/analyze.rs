//! `pointsman analyze`: everything there is to say about documents, without serving them.
use super::{args, documents::Documents, exit, output};
use pointsman_model::Level;
use pointsman_route::Table;
use std::process::ExitCode;

pub(super) fn analyze(command: &args::Analyze) -> anyhow::Result<ExitCode> {
    let client = args::load(
        &args::ConfigArgs::default(),
        &command.client,
        &args::ProcessArgs::default(),
        Vec::new(),
    )?
    .settings
    .client;
    let documents = Documents::read(&command.files, &client)?;
    let compiled = Table::compile(&documents.world, &client.context(), None);
    let mut findings = documents.findings;
    findings.extend(compiled.findings);
    findings.sort_by(|a, b| (&a.place, a.code).cmp(&(&b.place, b.code)));

    if command.json || command.output == args::Output::Json {
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
        output::say!(
            "{} in {} objects",
            output::tally(&findings),
            documents.world.len()
        );
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
