//! Compiling all documents into one table, as one client sees them.
//!
//! Everything is compiled anew and compared with the previous table part by part: what is equal is
//! taken from there. That costs a second at a hundred thousand services, and cannot go stale the
//! way a list of dependencies between documents can.
mod backends;
mod bindings;
mod chains;
mod delegates;
mod destinations;
mod effects;
mod endpoints;
mod findings;
mod hosts;
mod listeners;
mod merge;
mod policies;
mod registry;
mod rules;
mod shadows;

use crate::{
    listener::ListenerId,
    table::{Compiled, Table},
};
use foldhash::HashMap;
use pointsman_model::{ClientContext, World};
use std::sync::Arc;

pub(crate) use findings::Findings;
pub(crate) use rules::applies_to_http;
pub(crate) use shadows::shadowed_by;

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
        listeners: Vec::new(),
        by_address: HashMap::default(),
        by_port: HashMap::default(),
        http_tables: Vec::new(),
        slots: Vec::new(),
        clusters: Vec::new(),
        cluster_ids: HashMap::default(),
        vacant: backends::vacant(),
        binds: Vec::new(),
        patterns: HashMap::default(),
    }
}

pub(crate) fn compile(
    world: &World,
    context: &ClientContext,
    previous: Option<&Table>,
) -> Compiled {
    let mut findings = findings::Findings::default();
    let known = hosts::Known::of(previous);
    let speakers = delegates::speakers(world, context, &known, &mut findings);
    let registry = registry::Registry::build(world, context);
    let backends = backends::Backends::build(&registry, world, context, previous);
    let bindings = bindings::Bindings::build(&speakers, context, &mut findings);
    let mut rules = rules::Compiler::new(&registry, &backends, world, context, previous, &known);
    for service in bindings.all() {
        rules.validate(service, &mut findings);
        shadows::report(service, &mut findings);
    }
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
    let patterns = rules.into_patterns();
    let mut table = Table {
        http_tables: hosts.finish(),
        slots: backends.slots,
        clusters: backends.clusters,
        cluster_ids: backends.ids,
        vacant: backends.vacant,
        patterns,
        ..empty(context.clone())
    };
    for (number, draft) in drafts.into_iter().enumerate() {
        let id = ListenerId(number as u32);
        match draft.listener.address {
            Some(address) => {
                table.by_address.insert((address, draft.listener.port), id);
            }
            None => {
                table.by_port.insert(draft.listener.port, id);
            }
        }
        table.binds.push(draft.bind);
        table.listeners.push(draft.listener);
    }
    let changed = previous.is_none_or(|previous| !equal(previous, &table));
    Compiled {
        table,
        findings: findings.finish(),
        changed,
    }
}

/// Equal in every respect a user of the table could notice. Patterns are a cache, and the indexes
/// follow from the lists.
fn equal(a: &Table, b: &Table) -> bool {
    a.context == b.context
        && a.binds == b.binds
        && a.cluster_ids == b.cluster_ids
        && a.listeners == b.listeners
        && same(&a.clusters, &b.clusters)
        && same(&a.http_tables, &b.http_tables)
}

/// Unchanged parts are the same `Arc`s, so pointers are enough.
fn same<T>(a: &[Arc<T>], b: &[Arc<T>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}
