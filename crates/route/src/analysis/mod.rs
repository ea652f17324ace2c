//! What people get wrong across documents, beyond what compiling finds: everything here serves, and
//! hardly as meant.
//!
//! How to read it: `services` indexes what the documents call a service, whoever may see it;
//! `references` follows names from documents to services, gateways and delegates; `reach` asks which
//! ports and hosts the rules of a VirtualService can be asked on; `rules` looks inside the rules, `merged` at
//! those that a gateway puts together, `paths` at what they ask of paths;
//! `subsets` and `workloads` compare labels with Pods and endpoints; `ports` reads what ports say of
//! themselves; `duplicates` finds documents that want the same host, and `sidecars` what narrows
//! nothing.
//!
//! Nothing here is needed to serve, and some of it compares many documents with many, so it runs
//! when a person asks (`pointsman analyze`), not at every change.
mod codes;
mod duplicates;
mod merged;
mod paths;
mod ports;
mod reach;
mod references;
mod rules;
mod services;
mod sidecars;
mod subsets;
mod workloads;

use crate::{compile::Findings, table::Table};
use pointsman_model::{ClientContext, Finding, World};

/// Findings about all documents. `table` is what they compiled to for the client of `context`.
pub fn analyze(world: &World, context: &ClientContext, table: &Table) -> Vec<Finding> {
    let known = services::Known::build(world, context);
    let mut findings = Findings::default();
    references::check(world, context, &known, &mut findings);
    reach::check(world, &known, &mut findings);
    rules::check(world, &mut findings);
    merged::check(world, &mut findings);
    paths::check(world, context, &mut findings);
    subsets::check(table, &mut findings);
    workloads::check(world, &mut findings);
    ports::check(world, &known, table, &mut findings);
    duplicates::check(world, context, &known, &mut findings);
    sidecars::check(world, context, &known, &mut findings);
    findings.finish()
}
