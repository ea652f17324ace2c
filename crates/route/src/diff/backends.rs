//! Backends that both tables send traffic to, but not the same: endpoints, policy, subset.
use super::{
    Diff,
    values::{Said, upgrade},
};
use crate::{
    cluster::{Cluster, ClusterId, Endpoint, Health, Policy},
    rule::Action,
    split::Split,
    table::Table,
};
use pointsman_model::{ClusterName, Place, policy::ConnectionPool};
use std::{collections::BTreeMap, sync::Arc};

/// One backend, and what changed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendChange {
    /// `outbound|80|v1|host`.
    pub label: Arc<str>,
    /// A sentence for each change.
    pub changes: Vec<String>,
    /// Where its port is declared, as it is now.
    pub place: Place,
}

pub(super) fn compare(old: &Table, new: &Table, diff: &mut Diff) {
    let (before, after) = (in_use(old), in_use(new));
    for (name, new) in after {
        let Some(old) = before.get(&name) else {
            continue;
        };
        if Arc::ptr_eq(old, new) {
            continue;
        }
        let changes = changes(old, new);
        if !changes.is_empty() {
            diff.backends.push(BackendChange {
                label: new.label.clone(),
                changes,
                place: new.place.clone(),
            });
        }
    }
}

/// What traffic can be sent to: a backend no rule names is nobody's.
fn in_use(table: &Table) -> BTreeMap<ClusterName, &Arc<Cluster>> {
    let mut ids: Vec<ClusterId> = Vec::new();
    let mut take = |split: &Split| {
        ids.extend(split.targets().iter().filter_map(|it| it.cluster.ok()));
    };
    for listener in table.listeners() {
        for rule in listener.rules() {
            take(&rule.split);
        }
        if let Some(gateway) = &listener.gateway {
            for rule in gateway.rules() {
                take(&rule.split);
            }
        }
    }
    let mut mirrors = Vec::new();
    for hosts in table.http_tables() {
        for (_, host) in hosts.virtual_hosts() {
            for rule in host.rules.rules() {
                if let Action::Forward(split) = &rule.action {
                    take(split);
                }
                mirrors.extend(rule.mirrors.iter().filter_map(|it| it.cluster.ok()));
            }
        }
    }
    ids.extend(mirrors);
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
        .map(|id| {
            let cluster = table.cluster(id);
            (cluster.name.clone(), cluster)
        })
        .collect()
}

fn changes(old: &Cluster, new: &Cluster) -> Vec<String> {
    let mut changes = Vec::new();
    // By name, so that a new field is not forgotten here.
    let Cluster {
        name: _,
        label: _,
        endpoints,
        kind,
        protocol,
        policy,
        service: _,
        place: _,
        subset,
        // Nothing acts on them yet.
        subject_alt_names: _,
        ..
    } = new;
    of_endpoints(&old.endpoints, endpoints, &mut changes);
    differ("how it is reached", &old.kind, kind, &mut changes);
    differ("protocol", &old.protocol, protocol, &mut changes);
    of_policy(&old.policy, policy, &mut changes);
    let labels = |cluster: &Option<Box<crate::cluster::SubsetOrigin>>| {
        cluster.as_ref().map(|it| {
            let all = it.labels.iter();
            all.map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join(",")
        })
    };
    let (before, after) = (labels(&old.subset), labels(subset));
    if before != after {
        let text = |it: Option<String>| it.unwrap_or_else(|| "none".to_owned());
        changes.push(format!("subset: {} -> {}", text(before), text(after)));
    }
    changes
}

fn differ(what: &str, old: &impl Said, new: &impl Said, changes: &mut Vec<String>) {
    let (old, new) = (old.said(), new.said());
    if old != new {
        changes.push(format!("{what}: {old} -> {new}"));
    }
}

fn of_policy(old: &Policy, new: &Policy, changes: &mut Vec<String>) {
    let Policy {
        algorithm,
        custom,
        pool,
        mesh_h2_upgrade,
        retry_budget,
        origin: _,
        // Nothing acts on these yet, so that no traffic changes by them.
        warmup: _,
        outlier: _,
        tls: _,
        proxy_protocol: _,
        tunnel: _,
        ..
    } = new;
    differ("algorithm", &old.algorithm, algorithm, changes);
    differ("balancer", &old.custom, custom, changes);
    of_pool(&old.pool, pool, changes);
    if old.pool.h2_upgrade.is_none() && pool.h2_upgrade.is_none() {
        let [then, now] = [old.mesh_h2_upgrade, *mesh_h2_upgrade].map(|it| upgrade(Some(it)));
        if then != now {
            changes.push(format!("h2UpgradePolicy of the mesh: {then} -> {now}"));
        }
    }
    differ("retryBudget", &old.retry_budget, retry_budget, changes);
}

fn of_pool(old: &ConnectionPool, new: &ConnectionPool, changes: &mut Vec<String>) {
    // By name, so that a new field is not forgotten here.
    let ConnectionPool {
        max_connections,
        connect_timeout,
        tcp_keepalive,
        tcp_idle_timeout,
        max_connection_duration,
        max_pending_requests,
        max_requests,
        max_requests_per_connection,
        max_retries,
        http_idle_timeout,
        max_concurrent_streams,
        http2_keep_alive,
        h2_upgrade,
        use_client_protocol,
    } = new;
    let mut of = |name: &str, then: &dyn Said, now: &dyn Said| {
        let (then, now) = (then.said(), now.said());
        if then != now {
            changes.push(format!("connectionPool {name}: {then} -> {now}"));
        }
    };
    of("maxConnections", &old.max_connections, max_connections);
    of("connectTimeout", &old.connect_timeout, connect_timeout);
    of("tcp.idleTimeout", &old.tcp_idle_timeout, tcp_idle_timeout);
    of(
        "maxConnectionDuration",
        &old.max_connection_duration,
        max_connection_duration,
    );
    of(
        "http1MaxPendingRequests",
        &old.max_pending_requests,
        max_pending_requests,
    );
    of("http2MaxRequests", &old.max_requests, max_requests);
    of(
        "maxRequestsPerConnection",
        &old.max_requests_per_connection,
        max_requests_per_connection,
    );
    of("maxRetries", &old.max_retries, max_retries);
    of(
        "maxConcurrentStreams",
        &old.max_concurrent_streams,
        max_concurrent_streams,
    );
    of("http2KeepAlive", &old.http2_keep_alive, http2_keep_alive);
    of("tcpKeepalive", &old.tcp_keepalive, tcp_keepalive);
    of(
        "http.idleTimeout",
        &old.http_idle_timeout,
        http_idle_timeout,
    );
    of(
        "useClientProtocol",
        &old.use_client_protocol,
        use_client_protocol,
    );
    let [then, now] = [old.h2_upgrade, *h2_upgrade].map(upgrade);
    if then != now {
        changes.push(format!("connectionPool h2UpgradePolicy: {then} -> {now}"));
    }
}

/// Endpoints shown of each kind of change; the rest are a number.
const SHOWN: usize = 3;

fn of_endpoints(old: &[Endpoint], new: &[Endpoint], changes: &mut Vec<String>) {
    // Nothing acts on their localities yet.
    let by_address = |all: &[Endpoint]| -> BTreeMap<String, (Health, u32)> {
        all.iter()
            .map(|it| (it.address.to_string(), (it.health, it.weight)))
            .collect()
    };
    let (before, after) = (by_address(old), by_address(new));
    let mut parts = Vec::new();
    let mut part = |sign: &str, all: Vec<&String>| {
        if all.is_empty() {
            return;
        }
        let shown: Vec<&str> = all.iter().take(SHOWN).map(|it| it.as_str()).collect();
        let more = match all.len().checked_sub(SHOWN) {
            None | Some(0) => String::new(),
            Some(more) => format!(" and {more} more"),
        };
        parts.push(format!("{sign}{}{more}", shown.join(", ")));
    };
    let without = |one: &BTreeMap<String, _>, other: &BTreeMap<String, _>| -> Vec<String> {
        one.keys()
            .filter(|it| !other.contains_key(*it))
            .cloned()
            .collect()
    };
    let (added, removed) = (without(&after, &before), without(&before, &after));
    part("+ ", added.iter().collect());
    part("- ", removed.iter().collect());
    for (sign, health) in [
        ("ready: ", Health::Ready),
        ("not ready: ", Health::NotReady),
    ] {
        let turned = after.iter().filter(|(address, now)| {
            let then = before.get(*address);
            then.is_some_and(|then| then.0 != now.0 && now.0 == health)
        });
        part(sign, turned.map(|(address, _)| address).collect());
    }
    let weighed = after.iter().filter(|(address, now)| {
        let then = before.get(*address);
        then.is_some_and(|then| then.1 != now.1)
    });
    part(
        "other weight: ",
        weighed.map(|(address, _)| address).collect(),
    );
    if !parts.is_empty() {
        let (then, now) = (before.len(), after.len());
        changes.push(format!("endpoints {then} -> {now}: {}", parts.join("; ")));
    }
}
