//! DestinationRules.
use super::{Context, policy};
use crate::{
    codes,
    yaml::{Map, Node, Span},
};
use foldhash::{HashMap, HashMapExt as _};
use pointsman_model::{DestinationRule, HostPattern, Meta, Subset};
use std::sync::Arc;

pub(super) fn destination_rule(
    meta: Meta,
    spec: &Map,
    context: &mut Context<'_>,
) -> DestinationRule {
    let host = spec
        .get("host")
        .and_then(|node| context.service_host(node))
        .unwrap_or(HostPattern::Any);
    exported_with_selector(&meta, spec, context);
    DestinationRule {
        host,
        policy: spec
            .entry("trafficPolicy")
            .and_then(|(key, node)| Some(policy::traffic_policy(key, node.as_map()?, context))),
        subsets: subsets(spec, context),
        workload_selector: spec
            .map("workloadSelector")
            .map(|selector| context.labels(selector.map("matchLabels"))),
        meta,
    }
}

/// A rule for selected workloads stays in its namespace (BE-16).
fn exported_with_selector(meta: &Meta, spec: &Map, context: &mut Context<'_>) {
    let own = |item: &Arc<str>| matches!(&**item, ".") || *item == meta.key.namespace;
    if let (true, Some((key, _))) = (spec.has("workloadSelector"), spec.entry("exportTo"))
        && !meta.export_to.iter().all(own)
    {
        context.report.error(
            codes::COMBINATION,
            key.span,
            "a rule with `workloadSelector` cannot be exported to other namespaces (BE-16)",
            "only the own one",
            "remove `exportTo`, or `workloadSelector`",
        );
    }
    if let Some((key, node)) = spec.entry("workloadSelector")
        && node.as_map().is_some_and(|map| {
            map.map("matchLabels")
                .is_none_or(|it| it.entries.is_empty())
        })
    {
        context.report.warning(
            codes::REQUIRED,
            key.span,
            "`workloadSelector` selects by no label",
            "no `matchLabels`",
            "the rule applies to every workload of its namespace",
            "list labels, or remove the selector",
        );
    }
}

/// A repeated name keeps the first (BE-17).
fn subsets(spec: &Map, context: &mut Context<'_>) -> Vec<Subset> {
    let mut names: HashMap<Arc<str>, Span> = HashMap::new();
    let mut subsets = Vec::new();
    for node in spec.list("subsets") {
        let Some((map, name)) = named(node) else {
            continue;
        };
        let name = context.dns_name(name, "a subset");
        let subset = Subset {
            labels: context.labels(map.map("labels")),
            policy: map
                .entry("trafficPolicy")
                .and_then(|(key, node)| Some(policy::traffic_policy(key, node.as_map()?, context))),
            place: context.report.place(node.start()),
            name: name.clone(),
        };
        match names.get(&name) {
            Some(&first) => context.report.collision(
                codes::COMBINATION,
                node.start(),
                format!("the subset {name:?} is defined twice"),
                "again",
                (first, "the first one"),
                "remove one of them, or give it another name",
            ),
            None => {
                names.insert(name, node.start());
                subsets.push(subset);
            }
        }
    }
    subsets
}

fn named(node: &Node) -> Option<(&Map, &Node)> {
    let map = node.as_map()?;
    Some((map, map.get("name")?))
}
