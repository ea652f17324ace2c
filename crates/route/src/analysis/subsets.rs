//! Subsets whose labels select none of the endpoints (BE-8, BE-119).
use crate::{
    cluster::{Cluster, ClusterKind},
    compile::Findings,
    table::Table,
};
use pointsman_model::{ClusterName, Finding, Level};

use super::codes::EMPTY_SUBSET;

pub(super) fn check(table: &Table, findings: &mut Findings) {
    for cluster in table.clusters() {
        if cluster.kind != ClusterKind::Endpoints || !cluster.endpoints.is_empty() {
            continue;
        }
        let (Some(subset), Some(name)) = (&cluster.subset, &cluster.name.subset) else {
            continue;
        };
        let whole = ClusterName {
            subset: None,
            ..cluster.name.clone()
        };
        // A service without endpoints is no fault of its subsets.
        let Some((_, whole)) = table.cluster_by_name(&whole) else {
            continue;
        };
        if whole.endpoints.is_empty() {
            continue;
        }
        let Some((rule, _)) = &cluster.policy.origin else {
            continue;
        };
        findings.push(
            Finding::new(
                EMPTY_SUBSET,
                Level::Warning,
                format!(
                    "subset {name:?} selects no endpoint of {}",
                    cluster.name.host
                ),
            )
            .of(rule)
            .at(&subset.place)
            .effect("requests for the subset are answered 503 UH, connections are closed")
            .help(help(whole, cluster)),
        );
    }
}

/// What the endpoints have instead, by the keys that the subset asks for.
fn help(whole: &Cluster, cluster: &Cluster) -> String {
    if whole.endpoints.iter().all(|it| it.labels.is_empty()) {
        return "no labels of its endpoints are known: they come from Pods, which are not among the documents".to_owned();
    }
    let wanted = cluster.subset.iter().flat_map(|it| it.labels.iter());
    let told: Vec<String> = wanted
        .map(|(key, value)| {
            let mut values: Vec<&str> = whole
                .endpoints
                .iter()
                .filter_map(|it| it.labels.get(key).map(|value| &**value))
                .collect();
            values.sort_unstable();
            values.dedup();
            values.truncate(8);
            match values.as_slice() {
                [] => format!("no endpoint has the label {key}"),
                values if values.contains(&&**value) => format!("some have {key}={value}"),
                values => format!("{key} is {}, not {value}", values.join(" or ")),
            }
        })
        .collect();
    told.join("; ")
}
