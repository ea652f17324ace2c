//! Backends that both tables send traffic to, but not the same: endpoints, policy, subset.
use super::Diff;
use crate::{
    cluster::{Cluster, ClusterId, Endpoint, Health, Policy},
    rule::Action,
    split::Split,
    table::Table,
};
use pointsman_model::{ClusterName, Place, policy::ClientTls};
use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

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
        subject_alt_names,
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
    differ(
        "subject alternative names",
        &old.subject_alt_names,
        subject_alt_names,
        &mut changes,
    );
    changes
}

fn differ<T: PartialEq + Debug>(what: &str, old: &T, new: &T, changes: &mut Vec<String>) {
    if old != new {
        changes.push(format!("{what}: {old:?} -> {new:?}"));
    }
}

fn text<T: Debug>(value: &Option<T>) -> String {
    value
        .as_ref()
        .map_or_else(|| "none".to_owned(), |value| format!("{value:?}"))
}

/// A sentence for each optional field that differs; if it is another one, for the whole.
macro_rules! by_field {
    ($what:literal, $old:expr, $new:expr, $changes:expr, {$($name:literal: $field:ident),+ $(,)?}) => {{
        let (old, new) = (&$old, &$new);
        let before = $changes.len();
        $(if old.$field != new.$field {
            let (then, now) = (text(&old.$field), text(&new.$field));
            $changes.push(format!(concat!($what, " ", $name, ": {} -> {}"), then, now));
        })+
        if $changes.len() == before && old != new {
            $changes.push(concat!($what, ": with other parameters").to_owned());
        }
    }};
}

fn of_policy(old: &Policy, new: &Policy, changes: &mut Vec<String>) {
    let Policy {
        algorithm,
        custom,
        warmup,
        pool,
        outlier,
        mesh_h2_upgrade,
        tls,
        proxy_protocol,
        tunnel,
        retry_budget,
        origin: _,
        ..
    } = new;
    differ("algorithm", &old.algorithm, algorithm, changes);
    differ("balancer", &old.custom, custom, changes);
    differ("warmup", &old.warmup, warmup, changes);
    by_field!("connectionPool", old.pool, *pool, changes, {
        "maxConnections": max_connections,
        "connectTimeout": connect_timeout,
        "tcp.idleTimeout": tcp_idle_timeout,
        "maxConnectionDuration": max_connection_duration,
        "http1MaxPendingRequests": max_pending_requests,
        "http2MaxRequests": max_requests,
        "maxRequestsPerConnection": max_requests_per_connection,
        "maxRetries": max_retries,
        "maxConcurrentStreams": max_concurrent_streams,
        "http2KeepAlive": http2_keep_alive,
        "tcpKeepalive": tcp_keepalive,
        "h2UpgradePolicy": h2_upgrade,
        "http.idleTimeout": http_idle_timeout,
    });
    if old.pool.h2_upgrade.is_none() && pool.h2_upgrade.is_none() {
        let (then, now) = (&old.mesh_h2_upgrade, mesh_h2_upgrade);
        differ("h2UpgradePolicy of the mesh", then, now, changes);
    }
    match (&old.outlier, outlier) {
        (Some(old), Some(new)) => by_field!("outlierDetection", *old, *new, changes, {
            "consecutive5xxErrors": consecutive_5xx,
            "consecutiveGatewayErrors": consecutive_gateway,
            "interval": interval,
            "baseEjectionTime": base_ejection,
            "maxEjectionPercent": max_ejection_percent,
            "minHealthPercent": min_health_percent,
        }),
        (None, None) => {}
        (Some(_), None) => changes.push("outlierDetection: gone".to_owned()),
        (None, Some(_)) => changes.push("outlierDetection: new".to_owned()),
    }
    if old.tls != *tls {
        let mode = |it: &Option<ClientTls>| it.as_ref().map(|it| it.mode);
        match (mode(&old.tls), mode(tls)) {
            (then, now) if then == now => changes.push("TLS: with other parameters".to_owned()),
            (then, now) => changes.push(format!("TLS: {} -> {}", text(&then), text(&now))),
        }
    }
    differ(
        "PROXY protocol",
        &old.proxy_protocol,
        proxy_protocol,
        changes,
    );
    differ("tunnel", &old.tunnel, tunnel, changes);
    differ("retry budget", &old.retry_budget, retry_budget, changes);
}

/// Endpoints shown of each kind of change; the rest are a number.
const SHOWN: usize = 3;

fn of_endpoints(old: &[Endpoint], new: &[Endpoint], changes: &mut Vec<String>) {
    let by_address = |all: &[Endpoint]| -> BTreeMap<String, (Health, u32, Option<Arc<str>>)> {
        all.iter()
            .map(|it| {
                let told = (it.health, it.weight, it.locality.clone());
                (it.address.to_string(), told)
            })
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
        then.is_some_and(|then| (then.1, &then.2) != (now.1, &now.2))
    });
    part(
        "other weight or place: ",
        weighed.map(|(address, _)| address).collect(),
    );
    if !parts.is_empty() {
        let (then, now) = (before.len(), after.len());
        changes.push(format!("endpoints {then} -> {now}: {}", parts.join("; ")));
    }
}
