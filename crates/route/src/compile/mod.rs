//! Compiling all documents into one table, as one client sees them.
//!
//! Where little has changed, `partial` compiles the part of the world that the changes reach, with
//! the same code. Otherwise everything is compiled anew and compared with the previous table part by
//! part: what is equal is taken from there. That costs a second at a hundred thousand services.
mod backends;
mod bindings;
mod chains;
mod delegates;
mod destinations;
mod effects;
mod endpoints;
mod findings;
mod gateway;
mod hosts;
mod listeners;
mod merge;
mod partial;
mod policies;
mod registry;
mod rules;
mod shadows;
mod unmatched;

use crate::{
    clusters::Clusters,
    listener::ListenerId,
    shared::{Chunks, Shards},
    table::{Compiled, Table},
};
use foldhash::HashMap;
use pointsman_model::{ClientContext, World};
use std::sync::Arc;

pub(crate) use findings::Findings;
pub(crate) use partial::MadeOf;
pub(crate) use rules::{Side, applies_to_http};
pub(crate) use shadows::{Effort, covering_match, is_catch_all, shadowed, shadowed_by};

/// The same `Arc` as before where nothing changed.
fn share<T: PartialEq>(known: Option<&Arc<T>>, made: T) -> Arc<T> {
    match known {
        Some(known) if **known == made => Arc::clone(known),
        _ => Arc::new(made),
    }
}

pub(crate) fn empty(context: ClientContext) -> Table {
    Table {
        context,
        listeners: Arc::default(),
        by_address: Arc::default(),
        by_port: Arc::default(),
        http_tables: Chunks::default(),
        clusters: Clusters::new(Vec::new(), Vec::new(), backends::vacant()),
        binds: Arc::default(),
        unmatched: None,
        patterns: Shards::default(),
        made_of: partial::MadeOf::default(),
    }
}

pub(crate) fn compile(
    world: &World,
    context: &ClientContext,
    previous: Option<&Table>,
) -> Compiled {
    if context.role.is_gateway() && gateway::serves_nothing(world, context) {
        let table = empty(context.clone());
        return Compiled {
            changed: previous.is_none_or(|previous| !equal(previous, &table)),
            table,
            findings: Vec::new(),
        };
    }
    let compiled = previous
        .and_then(|previous| partial::compile(world, context, previous))
        .unwrap_or_else(|| whole(world, context, previous));
    if !compiled.changed
        && let Some(previous) = previous
    {
        previous.made_of.renew(&compiled.table.made_of);
    }
    compiled
}

/// Compiles everything anew; parts that are equal to those of the previous table are taken from
/// there.
pub(crate) fn whole(world: &World, context: &ClientContext, previous: Option<&Table>) -> Compiled {
    let mut findings = findings::Findings::default();
    let known = hosts::Known::of(previous);
    let speakers = delegates::speakers(world, context, &known, &mut findings);
    let registry = registry::Registry::build(world, context);
    let backends = backends::Backends::build(&registry, world, context, previous);
    let speakers = bindings::ordered(&speakers, context);
    let mut rules = rules::Compiler::new(&registry, &backends, world, context, previous, &known);
    for service in &speakers {
        rules.validate(service, &mut findings);
        shadows::report(service, &mut findings);
    }
    let (drafts, http_tables) = if context.role.is_gateway() {
        gateway::build(world, &speakers, &known, &mut rules, context, &mut findings)
    } else {
        let bindings = bindings::Bindings::build(speakers, &mut findings);
        let mut hosts = hosts::Builder::new(&registry, &bindings, context, &known);
        let drafts = listeners::build(
            &registry,
            &bindings,
            &mut hosts,
            &mut rules,
            context,
            &world.names,
            &mut findings,
        );
        (drafts, hosts.finish())
    };
    let unmatched = rules.unmatched(context, &mut findings);
    let mut patterns = Shards::default();
    for (source, pattern) in rules.into_patterns() {
        patterns.insert(source, pattern);
    }
    let mut by_address = HashMap::default();
    let mut by_port = HashMap::default();
    let mut binds = Vec::with_capacity(drafts.len());
    let mut listeners = Vec::with_capacity(drafts.len());
    for (number, draft) in drafts.into_iter().enumerate() {
        let id = ListenerId(number as u32);
        match draft.listener.address {
            Some(address) => by_address.insert((address, draft.listener.port), id),
            None => by_port.insert(draft.listener.port, id),
        };
        binds.push(draft.bind);
        listeners.push(draft.listener);
    }
    let findings = findings.finish();
    let made_of = partial::MadeOf::whole(world, previous, &findings, patterns.len());
    let table = Table {
        context: context.clone(),
        listeners: listeners.into(),
        by_address: Arc::new(by_address),
        by_port: Arc::new(by_port),
        http_tables: http_tables.into(),
        clusters: backends.clusters,
        binds: binds.into(),
        unmatched,
        patterns,
        made_of,
    };
    let changed = previous.is_none_or(|previous| !equal(previous, &table));
    Compiled {
        table,
        findings,
        changed,
    }
}

/// Equal in every respect a user of the table could notice. Patterns are a cache, and the indexes
/// follow from the lists.
pub(crate) fn equal(a: &Table, b: &Table) -> bool {
    a.context == b.context
        && a.binds == b.binds
        && a.unmatched == b.unmatched
        && a.listeners == b.listeners
        && a.clusters == b.clusters
        && a.http_tables == b.http_tables
}
