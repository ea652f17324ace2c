//! Documents that want the same host.
use crate::compile::Findings;
use foldhash::HashMap;
use pointsman_model::{ClientContext, DestinationRule, Finding, HostPattern, Level, World};
use std::{collections::BTreeSet, sync::Arc};

use super::{
    codes::{POLICY_HIDDEN, POLICY_IGNORED, SAME_HOST},
    services::{Known, Service},
};

pub(super) fn check(
    world: &World,
    context: &ClientContext,
    known: &Known<'_>,
    findings: &mut Findings,
) {
    for (host, services) in known.shared() {
        same_host(host, &services, context, findings);
    }
    let mut rules: HashMap<(String, &str), Vec<&Arc<DestinationRule>>> = HashMap::default();
    for rule in world.destination_rules.values() {
        let key = (rule.host.to_string(), &*rule.meta.key.namespace);
        rules.entry(key).or_default().push(rule);
    }
    for list in rules.values_mut().filter(|list| list.len() > 1) {
        list.sort_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()));
        merged(list, findings);
    }
    hidden(world, context, known, findings);
}

/// LIS-3: a Service wins, then the client's namespace, then the oldest.
fn same_host(
    host: &str,
    services: &[&Service<'_>],
    context: &ClientContext,
    findings: &mut Findings,
) {
    let listed = |it: &&&Service<'_>| {
        let namespace = &it.meta.key.namespace;
        let mut ports = it.ports.iter();
        ports.any(|port| context.lists_port(namespace, &it.host, port.number))
    };
    let seen = services.iter().filter(|it| context.sees(it.meta));
    let visible: Vec<&&Service<'_>> = seen.filter(listed).collect();
    let rank = |it: &&&Service<'_>| {
        let own = it.meta.key.namespace == context.namespace;
        (it.entry.is_some(), !own)
    };
    // The sort is stable, and they come in the order of age.
    let mut ranked = visible;
    ranked.sort_by_key(rank);
    let Some((winner, losers)) = ranked.split_first() else {
        return;
    };
    for loser in losers {
        if loser.meta.key == winner.meta.key || unites(winner, loser) {
            continue;
        }
        let near = loser.meta.key.namespace == winner.meta.key.namespace;
        let (level, effect) = if near {
            // BE-105: made on purpose, for instance to move a service into the mesh.
            (
                Level::Info,
                "its endpoints are added to those of the other; its ports and addresses are not used",
            )
        } else {
            (Level::Warning, "it is not used for clients that see both")
        };
        findings.push(
            Finding::new(
                SAME_HOST,
                level,
                format!("{} has the host {host} too", winner.meta.key),
            )
            .of(&loser.meta.key)
            .at(&loser.meta.place)
            .effect(effect)
            .help("give it another host, or limit both with `exportTo`")
            .related(&winner.meta.place, "this one is used"),
        );
    }
}

/// Entries that are equal in everything else unite their ports (LIS-3).
fn unites(winner: &Service<'_>, loser: &Service<'_>) -> bool {
    match (winner.entry, loser.entry) {
        (Some(a), Some(b)) => {
            a.meta.key.namespace == b.meta.key.namespace
                && a.resolution == b.resolution
                && a.meta.labels == b.meta.labels
                && a.meta.export_to == b.meta.export_to
                && a.workload_selector == b.workload_selector
        }
        _ => false,
    }
}

/// BE-17: the oldest says what is said twice.
fn merged(list: &[&Arc<DestinationRule>], findings: &mut Findings) {
    for (at, later) in list.iter().enumerate() {
        let earlier = list.get(..at).unwrap_or_default();
        let same = |first: &&&Arc<DestinationRule>| {
            first.workload_selector == later.workload_selector && set(first) == set(later)
        };
        for first in earlier.iter().filter(same) {
            let mut twice: Vec<String> = later
                .subsets
                .iter()
                .filter(|own| {
                    first.subsets.iter().any(|it| {
                        it.name == own.name && (it.labels != own.labels || it.policy != own.policy)
                    })
                })
                .map(|own| format!("subset {}", own.name))
                .collect();
            if later.policy.is_some() && first.policy.is_some() && later.policy != first.policy {
                twice.push("trafficPolicy".to_owned());
            }
            if twice.is_empty() {
                continue;
            }
            findings.push(
                Finding::new(
                    POLICY_IGNORED,
                    Level::Warning,
                    format!("{} is for {} too, and older", first.meta.key, later.host),
                )
                .of(&later.meta.key)
                .at(&later.meta.place)
                .effect(format!("ignored here: {} (BE-17)", twice.join(", ")))
                .help("put both into one DestinationRule")
                .related(&first.meta.place, "what this one says counts"),
            );
            break;
        }
    }
}

fn set(rule: &DestinationRule) -> BTreeSet<&str> {
    rule.meta.export_to.iter().map(|it| &**it).collect()
}

/// BE-15: a broad rule in the client's namespace hides what the owner of a service wrote.
fn hidden(world: &World, context: &ClientContext, known: &Known<'_>, findings: &mut Findings) {
    let own: Vec<&Arc<DestinationRule>> = world
        .destination_rules
        .values()
        .filter(|it| it.meta.key.namespace == context.namespace && it.host.is_wildcard())
        .filter(|it| it.workload_selector.is_none())
        .collect();
    if own.is_empty() || context.namespace == context.root_namespace {
        return;
    }
    for rule in world.destination_rules.values() {
        let HostPattern::Exact(name) = &rule.host else {
            continue;
        };
        let owner = &rule.meta.key.namespace;
        let of_owner = known.of(name).any(|it| it.meta.key.namespace == *owner);
        if *owner == context.namespace || !of_owner || !context.sees(&rule.meta) {
            continue;
        }
        let said_here = world
            .destination_rules
            .values()
            .any(|it| it.meta.key.namespace == context.namespace && it.host == rule.host);
        let Some(wide) = own
            .iter()
            .find(|it| it.host.matches(name))
            .filter(|_| !said_here)
        else {
            continue;
        };
        findings.push(
            Finding::new(
                POLICY_HIDDEN,
                Level::Warning,
                format!(
                    "{} hides {} from clients of namespace {}",
                    wide.host, rule.meta.key, context.namespace
                ),
            )
            .of(&wide.meta.key)
            .at(&wide.meta.place)
            .effect(format!(
                "for {name} neither the policy nor the subsets of its owner apply (BE-15)"
            ))
            .help(format!(
                "make the host narrower, or repeat the rule for {name} in this namespace"
            ))
            .related(&rule.meta.place, "this one is hidden"),
        );
    }
}
