//! Services without anybody behind them.
use crate::compile::Findings;
use foldhash::{HashMap, HashSet};
use pointsman_model::{Finding, KubeService, Level, Pod, ServiceKind, World, policy::selects};

use super::codes::{NO_ENDPOINTS, SELECTS_NOTHING};

/// What a Service sees of its namespace: documents that are not given cannot be missed.
pub(super) fn check(world: &World, findings: &mut Findings) {
    let mut pods: HashMap<&str, Vec<&Pod>> = HashMap::default();
    for pod in world.pods.values() {
        pods.entry(&pod.meta.key.namespace).or_default().push(pod);
    }
    let mut workloads: HashMap<&str, Vec<_>> = HashMap::default();
    for entry in world.workload_entries.values() {
        workloads
            .entry(&entry.meta.key.namespace)
            .or_default()
            .push(entry);
    }
    let backed: HashSet<(&str, &str)> = world
        .endpoints
        .values()
        .filter(|set| set.groups.iter().any(|group| !group.endpoints.is_empty()))
        .map(|set| (&*set.meta.key.namespace, &*set.service))
        .collect();
    for service in world.services.values() {
        if matches!(service.kind, ServiceKind::ExternalName { .. }) {
            continue;
        }
        let key = &service.meta.key;
        let has_endpoints = backed.contains(&(&*key.namespace, &*key.name));
        let own = pods.get(&*key.namespace);
        let selected = |pod: &&Pod| selects(&service.selector, pod.labels());
        let by_entry = workloads
            .get(&*key.namespace)
            .is_some_and(|all| all.iter().any(|it| selects(&service.selector, it.labels())));
        // The proxies of a Gateway are not among the Pods: this process is one of them (GW-3).
        let of_gateway = world
            .gateways
            .values()
            .any(|it| selects(&service.selector, &it.selector));
        if let Some(pods) = own
            && !service.selector.is_empty()
            && !of_gateway
            && !pods.iter().any(selected)
            && !by_entry
            && !has_endpoints
        {
            findings.push(selects_nothing(service, pods));
        } else if !world.endpoints.is_empty() && !has_endpoints && !by_entry {
            findings.push(
                Finding::new(NO_ENDPOINTS, Level::Info, format!("{key} has no endpoints"))
                    .of(key)
                    .at(&service.meta.place)
                    .effect("requests are answered 503 UH, connections are closed (BE-125)")
                    .help("it may be scaled to zero; else look at its selector"),
            );
        }
    }
}

fn selects_nothing(service: &KubeService, pods: &[&Pod]) -> Finding {
    let key = &service.meta.key;
    let selector: Vec<String> = service
        .selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    // The Pod that misses by the fewest labels is most likely the one that was meant.
    let misses = |pod: &Pod| {
        service
            .selector
            .iter()
            .filter(|(key, value)| pod.labels().get(*key) != Some(value))
            .count()
    };
    let nearest = pods
        .iter()
        .min_by_key(|pod| misses(pod))
        .filter(|pod| misses(pod) < service.selector.len());
    let finding = Finding::new(
        SELECTS_NOTHING,
        Level::Warning,
        format!(
            "the selector {} selects no Pod of namespace {}",
            selector.join(","),
            key.namespace
        ),
    )
    .of(key)
    .at(&service.meta.place)
    .effect("the Service has no endpoints: requests are answered 503 UH, connections are closed");
    match nearest {
        Some(pod) => finding
            .help(format!(
                "Pod {} has some of these labels",
                pod.meta.key.name
            ))
            .related(&pod.meta.place, "this Pod"),
        None => finding.help("compare it with the labels of the Pods"),
    }
}
