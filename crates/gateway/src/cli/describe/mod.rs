//! `pointsman describe`: one thing, everything that refers to it, and what it means for traffic.
//!
//! [`subject`] finds out what the words on the command line mean; [`host`], [`virtual_service`],
//! [`destination_rule`] and [`gateway`] each fill a [`page::Page`], which is told as text or JSON.
//! What is said of traffic is read from the compiled table, not from the documents.
mod destination_rule;
mod gateway;
mod host;
mod page;
mod refers;
mod subject;
mod virtual_service;

use self::{page::Page, subject::Subject};
use super::{args, documents::Documents, exit, output};
use pointsman_model::{Finding, ObjectKey, World};
use pointsman_route::{
    Table,
    snapshot::{Contexts, Tables},
};
use std::process::ExitCode;

/// What pages are made of.
struct Known<'w> {
    world: &'w World,
    /// As the client of the context flags sees it.
    table: &'w Table,
    /// As the ports of Gateways do.
    gateway: &'w Table,
    findings: &'w [Finding],
}

pub(super) fn describe(command: &args::Describe) -> anyhow::Result<ExitCode> {
    let settings = args::load(
        &args::ConfigArgs::default(),
        &command.client,
        &args::ProcessArgs::default(),
        Vec::new(),
    )?
    .settings;
    let documents = Documents::read(&command.files, &settings.client)?;
    let contexts = Contexts {
        mesh: settings.given(),
        gateway: Some(settings.given()),
        known_clients: 0,
    };
    let compiled = Tables::compile(&documents.world, &contexts, None, Table::compile);
    let tables = compiled.tables;
    let mut findings = documents.findings;
    findings.extend(compiled.findings);
    let known = Known {
        world: &documents.world,
        table: tables.mesh(),
        gateway: tables.gateway().unwrap_or(tables.mesh()),
        findings: &findings,
    };
    let page = match Subject::find(&known, command.kind, &command.name)? {
        Subject::Host(host) => host::page(&known, &host),
        Subject::VirtualService(it) => virtual_service::page(&known, it),
        Subject::DestinationRule(it) => destination_rule::page(&known, it),
        Subject::Gateway(it) => gateway::page(&known, it),
    };
    match command.output {
        args::Output::Json => output::say!("{}", page.json()),
        args::Output::Text => {
            let color = output::colored(command.color, &std::io::stdout());
            output::print(format_args!("{}", page.text(color)));
        }
    }
    Ok(exit::FINE)
}

impl Known<'_> {
    /// What was found about these documents, worst first.
    fn findings_about(&self, keys: &[&ObjectKey], page: &mut Page) {
        let mut found: Vec<&Finding> = self
            .findings
            .iter()
            .filter(|it| it.object.as_ref().is_some_and(|own| keys.contains(&own)))
            .collect();
        found.sort_by_key(|it| (std::cmp::Reverse(it.level), it.code));
        let section = page.section("findings", &["finding", "message", "effect"]);
        for finding in found {
            section.row(
                [
                    format!("{}[{}]", finding.level.as_str(), finding.code),
                    finding.message.clone(),
                    finding.effect.clone(),
                ],
                finding.place.as_ref(),
            );
        }
    }
}
