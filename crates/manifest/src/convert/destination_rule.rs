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
        .and_then(|node| context.host(node, true))
        .unwrap_or(HostPattern::Any);
    DestinationRule {
        host,
        policy: spec
            .map("trafficPolicy")
            .map(|map| policy::traffic_policy(map, context)),
        subsets: subsets(spec, context),
        workload_selector: spec
            .map("workloadSelector")
            .map(|selector| context.labels(selector.map("matchLabels"))),
        meta,
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
                .map("trafficPolicy")
                .map(|map| policy::traffic_policy(map, context)),
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
