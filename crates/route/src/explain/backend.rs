//! Which backend takes it, under which policy, and which endpoints it has.
use super::{BackendStep, Candidate, Outcome, Verdict};
use crate::{
    cluster::{Cluster, ClusterKind, Health, Policy},
    rule::Rule,
    split::{Split, Target},
    table::Table,
    trace::Reason,
};
use pointsman_model::{
    action::{Abort, PartsPerMillion},
    policy::{Algorithm, HashKey, TlsMode},
};
use std::net::SocketAddr;

/// Endpoints that are listed one by one.
pub(super) const LISTED: usize = 10;

pub(super) fn steps(
    table: &Table,
    original: SocketAddr,
    split: &Split,
    rule: Option<&Rule>,
) -> Vec<BackendStep> {
    let single = split.targets().len() == 1;
    split
        .targets()
        .iter()
        .map(|target| {
            let share = if single {
                100
            } else {
                let part = u64::from(target.weight) * 100;
                part.checked_div(split.total_weight()).unwrap_or(0) as u32
            };
            match target.cluster {
                Ok(id) => of_cluster(table.cluster(id), original, share, rule),
                Err(missing) => BackendStep {
                    label: written(target),
                    share,
                    missing: Some(missing),
                    detail: missing.to_string(),
                    place: Some(target.destination.place.clone()),
                    policy: String::new(),
                    choice: String::new(),
                    endpoints: Vec::new(),
                    usable: 0,
                },
            }
        })
        .collect()
}

/// A destination as its rule names it: `host:port subset v1`.
fn written(target: &Target) -> String {
    let mut text = target.destination.host.to_string();
    if let Some(port) = target.destination.port {
        text.push_str(&format!(":{port}"));
    }
    if let Some(subset) = &target.destination.subset {
        text.push_str(&format!(" subset {subset}"));
    }
    text
}

fn of_cluster(
    cluster: &Cluster,
    original: SocketAddr,
    share: u32,
    rule: Option<&Rule>,
) -> BackendStep {
    let (detail, place) = match &cluster.subset {
        Some(subset) => {
            let labels: Vec<String> = subset
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let name = cluster.name.subset.as_deref().unwrap_or_default();
            let text = format!("subset {name}: {}", labels.join(","));
            (text, subset.place.clone())
        }
        None => (cluster.service.to_string(), cluster.place.clone()),
    };
    let ready = cluster.ready().count();
    let total = cluster.endpoints.len();
    let known = !original.ip().is_unspecified();
    let dialled = cluster.original_destination(original).filter(|_| known);
    let (choice, usable, endpoints) = match (cluster.kind, dialled) {
        (ClusterKind::OriginalDestination { .. }, Some(address)) => {
            let line = Candidate {
                what: address.to_string(),
                verdict: Verdict::Match,
                detail: "the dialled address".to_owned(),
                place: None,
            };
            ("the address the client dialled".to_owned(), 1, vec![line])
        }
        (ClusterKind::OriginalDestination { .. }, None) if !cluster.is_headless() => (
            "the address the client dialled, which is not known here".to_owned(),
            1,
            Vec::new(),
        ),
        (ClusterKind::DynamicDns, _) => (
            // Nothing looks it up yet, so the data path finds no endpoint either (BE-96).
            "the name of the request, which nothing looks up yet".to_owned(),
            0,
            Vec::new(),
        ),
        (kind, _) => (
            format!(
                "{}, {ready} of {total} usable",
                match kind {
                    ClusterKind::OriginalDestination { .. } => "whichever the client's DNS gives",
                    _ => algorithm(&cluster.policy),
                }
            ),
            ready,
            cluster
                .endpoints
                .iter()
                .take(LISTED)
                .map(endpoint)
                .collect(),
        ),
    };
    BackendStep {
        label: cluster.label.to_string(),
        share,
        missing: None,
        detail,
        place: Some(place),
        policy: policy(&cluster.policy, rule),
        choice,
        endpoints,
        usable,
    }
}

fn endpoint(endpoint: &crate::Endpoint) -> Candidate {
    let (verdict, detail) = match endpoint.health {
        Health::Ready => (Verdict::Match, "ready"),
        Health::NotReady => (Verdict::No(Reason::SetAside), "not ready"),
    };
    let pod = endpoint.workload.as_ref();
    Candidate {
        what: endpoint.address.to_string(),
        verdict,
        detail: pod.map_or_else(|| detail.to_owned(), |pod| format!("{detail}, {pod}")),
        place: None,
    }
}

fn algorithm(policy: &Policy) -> &'static str {
    match &policy.algorithm {
        Algorithm::LeastRequest => "least request",
        Algorithm::RoundRobin => "round robin",
        Algorithm::Random => "random",
        Algorithm::Passthrough => "passthrough",
        Algorithm::ConsistentHash(HashKey::Header(_)) => "hash of a header",
        Algorithm::ConsistentHash(HashKey::Cookie { .. }) => "hash of a cookie",
        Algorithm::ConsistentHash(HashKey::SourceIp) => "hash of the client address",
        Algorithm::ConsistentHash(HashKey::Query(_)) => "hash of a query parameter",
    }
}

fn policy(policy: &Policy, rule: Option<&Rule>) -> String {
    let mut parts = Vec::new();
    if let Some(rule) = rule {
        parts.push(match rule.timeout {
            Some(timeout) => format!("timeout {timeout:?} (rule)"),
            None => "no timeout".to_owned(),
        });
        let retries = rule.retries();
        parts.push(format!("retries {} ({})", retries.attempts(), retries.from));
        effects(rule, &mut parts);
    }
    parts.push(match policy.tls.as_ref().map(|tls| tls.mode) {
        None | Some(TlsMode::Disable) => "tls none".to_owned(),
        Some(TlsMode::Simple) => "tls simple".to_owned(),
        Some(TlsMode::Mutual) => "tls mutual".to_owned(),
        Some(TlsMode::IstioMutual) => "tls mesh".to_owned(),
    });
    if policy.outlier.is_some() {
        parts.push("outlier ejection".to_owned());
    }
    if let Some((key, place)) = &policy.origin {
        parts.push(format!("{key} {place}"));
    }
    parts.join("  ")
}

/// What the rule does besides: drawn for each request, so all that can be told is how often.
fn effects(rule: &Rule, parts: &mut Vec<String>) {
    if let Some(fault) = rule.effects.as_ref().and_then(|it| it.fault.as_ref()) {
        if let Some((delay, share)) = fault.delay {
            parts.push(format!("delay {delay:?} for {}", percent(share)));
        }
        if let Some((abort, share)) = &fault.abort {
            let status = match abort {
                Abort::Http(status) => format!("{status}"),
                Abort::Grpc(status) => format!("grpc-status {status}"),
            };
            parts.push(format!("abort {status} for {}", percent(*share)));
        }
    }
    if rule.effects.as_ref().is_some_and(|it| it.cors.is_some()) {
        parts.push("cors".to_owned());
    }
    for mirror in rule.model().iter().flat_map(|rule| &rule.mirrors) {
        let host = &mirror.destination.host;
        parts.push(format!("mirror {} to {host}", percent(mirror.share)));
    }
}

fn percent(share: PartsPerMillion) -> String {
    format!("{}%", f64::from(share) / 10_000.0)
}

/// What becomes of it, from all backends that can be picked. `failure` is what a client sees
/// when nothing can take it.
pub(super) fn outcome(steps: &[BackendStep], failure: &str) -> (Outcome, String) {
    let good: Vec<&BackendStep> = steps.iter().filter(|step| step.usable > 0).collect();
    match (good.as_slice(), steps) {
        ([only], [_]) => {
            let sentence = match only.endpoints.as_slice() {
                [one] if one.verdict == Verdict::Match => format!("would be sent to {}", one.what),
                // The client's own address decides.
                [] => format!(
                    "would be sent to the address the client dialled, for {}: --to IP:PORT gives it",
                    only.label
                ),
                _ => format!(
                    "would be sent to one of {} endpoints of {}",
                    only.usable, only.label
                ),
            };
            (Outcome::Forwarded, sentence)
        }
        ([], [first, ..]) => match first.missing {
            Some(missing) => (
                Outcome::NoCluster(missing),
                format!("{failure} NC: {} ({missing})", first.label),
            ),
            None => (
                Outcome::NoEndpoint,
                format!("{failure} UH: {} has no usable endpoint", first.label),
            ),
        },
        (good, steps) => {
            let share: u32 = good.iter().map(|step| step.share).sum();
            let rest = if good.len() == steps.len() {
                String::new()
            } else {
                format!("; {}% fails with {failure}", 100_u32.saturating_sub(share))
            };
            (
                Outcome::Forwarded,
                format!("would be sent to one of {} backends{rest}", good.len()),
            )
        }
    }
}
