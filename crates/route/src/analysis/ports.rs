//! What ports say of themselves, and what their names, numbers and policies say beside it.
use crate::{cluster::ClusterKind, compile::Findings, table::Table};
use foldhash::{HashMap, HashSet};
use pointsman_model::{
    ClusterName, Finding, KubeService, Level, Protocol, ProtocolClass, ServiceKind, ServicePort,
    World, policy::TlsMode,
};
use std::sync::Arc;

use super::{
    codes::{HEADLESS_PORT, HTTP_ON_443, PORT_NAME, TLS_TWICE},
    services::{Known, Service},
};

/// Words that declare a protocol (PS-28), longest first, so that `https` is not read as `http`.
const WORDS: [&str; 12] = [
    "http_proxy",
    "grpc-web",
    "https",
    "http2",
    "mongo",
    "redis",
    "mysql",
    "http",
    "grpc",
    "tls",
    "tcp",
    "udp",
];

pub(super) fn check(world: &World, known: &Known<'_>, table: &Table, findings: &mut Findings) {
    let dialled = dialled(world);
    for service in world.services.values() {
        if matches!(service.kind, ServiceKind::ExternalName { .. }) {
            continue;
        }
        for port in &service.ports {
            if let Some(finding) = name(service, port) {
                findings.push(finding);
            }
            if service.kind == ServiceKind::Headless
                && let Some(finding) = headless(service, port, &dialled)
            {
                findings.push(finding);
            }
        }
    }
    for service in known.all() {
        for port in service.ports {
            if port.number == 443 && port.protocol.class() == ProtocolClass::Http {
                http_on_443(service, port, table, findings);
            }
        }
    }
    tls_twice(table, findings);
}

/// PS-29: names that come near to a declaration.
fn name(service: &KubeService, port: &ServicePort) -> Option<Finding> {
    if port.protocol != Protocol::Auto || port.name.is_empty() {
        return None;
    }
    let lower = port.name.to_ascii_lowercase();
    let first = lower.split('-').next().unwrap_or_default();
    let (word, help) = if let Some(word) = Protocol::from_word(first).map(|_| first) {
        // Its own name would have declared it.
        let help = "`appProtocol` is not a known protocol, and replaces the name (PS-21): write http, https, grpc, tcp, tls or leave it out".to_owned();
        (word, help)
    } else {
        let word = WORDS.into_iter().find(|word| {
            lower.starts_with(word)
                || lower
                    .strip_suffix(word)
                    .is_some_and(|rest| rest.ends_with('-'))
        })?;
        let rest = lower
            .strip_prefix(word)
            .or_else(|| lower.strip_suffix(word))
            .unwrap_or_default();
        let rest = rest.trim_matches('-');
        let help = match rest {
            "" => format!("name it {word}, or set `appProtocol: {word}`"),
            rest => format!("name it {word}-{rest}, or set `appProtocol: {word}`"),
        };
        (word, help)
    };
    let finding = Finding::new(
        PORT_NAME,
        Level::Warning,
        format!(
            "the name {:?} of port {} does not declare {word}",
            port.name, port.number
        ),
    )
    .of(&service.meta.key)
    .at(&port.place)
    .effect(match word {
        "https" | "tls" => {
            "the protocol is detected on each connection, and tls rules never apply (VS-S-1)"
        }
        _ => "the protocol is detected on each connection, by its first bytes",
    });
    Some(finding.help(help))
}

/// Target ports of endpoints, by Service and port name.
type Dialled<'w> = HashMap<(&'w str, &'w str, &'w str), u16>;

fn dialled(world: &World) -> Dialled<'_> {
    let mut found = HashMap::default();
    for set in world.endpoints.values() {
        for group in set
            .groups
            .iter()
            .filter(|group| !group.endpoints.is_empty())
        {
            for (name, number) in &group.ports {
                found.insert((&*set.meta.key.namespace, &*set.service, &**name), *number);
            }
        }
    }
    found
}

/// LIS-23: clients dial the port of the Service at the address of the Pod, and are sent there.
fn headless(service: &KubeService, port: &ServicePort, dialled: &Dialled<'_>) -> Option<Finding> {
    if port.protocol.class() == ProtocolClass::Udp {
        return None;
    }
    let key = &service.meta.key;
    let known = dialled
        .get(&(&*key.namespace, &*key.name, &*port.name))
        .copied();
    let target = known
        .or(port.target)
        .filter(|&target| target != port.number)?;
    Some(
        Finding::new(
            HEADLESS_PORT,
            Level::Info,
            format!("port {} of the headless {key} leads to port {target} of its Pods", port.number),
        )
        .of(key)
        .at(&port.place)
        .effect(format!(
            "connections to port {} of a Pod are sent on to port {target} here; in Istio and without a proxy they reach nothing (LIS-23)",
            port.number
        ))
        .help(format!("give the port the number {target}, or the Service a clusterIP")),
    )
}

/// Plain HTTP where everybody speaks TLS. With a policy that makes TLS of it, it is meant (BE-89).
fn http_on_443(service: &Service<'_>, port: &ServicePort, table: &Table, findings: &mut Findings) {
    let name = ClusterName {
        host: service.host.to_string().into(),
        port: port.number,
        subset: None,
    };
    let encrypts = table.cluster_by_name(&name).is_some_and(|(_, cluster)| {
        let tls = cluster.policy.tls.as_ref();
        tls.is_some_and(|tls| tls.mode != TlsMode::Disable)
    });
    if encrypts {
        return;
    }
    findings.push(
        Finding::new(
            HTTP_ON_443,
            Level::Warning,
            format!("port 443 of {} is declared as {}", service.host, port.protocol),
        )
        .of(&service.meta.key)
        .at(&port.place)
        .effect("TLS connections to it are not recognised by their server name, and no rule applies to them")
        .help("declare HTTPS or TLS, if clients speak TLS; if they speak plain HTTP and the backend TLS, a DestinationRule makes TLS of it"),
    );
}

/// BE-89a.
fn tls_twice(table: &Table, findings: &mut Findings) {
    let mut seen: HashSet<(&Arc<str>, u16)> = HashSet::default();
    for cluster in table.clusters() {
        let twice = cluster.protocol.class() == ProtocolClass::Tls
            && cluster.kind != ClusterKind::DynamicDns
            && cluster
                .policy
                .tls
                .as_ref()
                .is_some_and(|tls| matches!(tls.mode, TlsMode::Simple | TlsMode::Mutual));
        let name = &cluster.name;
        if !twice || !seen.insert((&name.host, name.port)) {
            continue;
        }
        let Some((rule, place)) = &cluster.policy.origin else {
            continue;
        };
        findings.push(
            Finding::new(
                TLS_TWICE,
                Level::Warning,
                format!("port {} of {} is {} already, and this policy encrypts it again", name.port, name.host, cluster.protocol),
            )
            .of(rule)
            .at(place)
            .effect("the backend is spoken to in TLS inside TLS, which it hardly understands (BE-89a)")
            .help("remove `tls` for this port, or declare the port as HTTP if clients speak plain HTTP")
            .related(&cluster.place, "the port"),
        );
    }
}
