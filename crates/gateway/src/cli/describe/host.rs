//! A host: a Service, a ServiceEntry, or a name only a VirtualService knows.
use super::{Known, page::Page, refers};
use pointsman_model::{
    HostPattern, KubeService, ObjectKey, Protocol, ServiceEntry, ServiceKind, ServicePort,
    VirtualService,
};
use pointsman_route::{Cluster, Health, VirtualHost};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Endpoints listed of one backend.
const SHOWN: usize = 50;

pub(super) fn page(known: &Known<'_>, host: &HostPattern) -> Page {
    let domain = &known.table.context().cluster_domain;
    let world = known.world;
    let service = world
        .services
        .values()
        .find(|it| HostPattern::Exact(it.host(domain)) == *host);
    let entries: Vec<&Arc<ServiceEntry>> = world
        .service_entries
        .values()
        .filter(|it| it.hosts.contains(host))
        .collect();
    let metas = service.map(|it| &it.meta);
    let metas: Vec<_> = metas
        .into_iter()
        .chain(entries.iter().map(|it| &it.meta))
        .collect();
    let place = metas.first().map(|meta| &meta.place);
    let mut page = Page::new("host", host.to_string(), place);

    let declared = page.section("declared by", &["document", "visible to"]);
    for meta in &metas {
        declared.row(
            [meta.key.to_string(), visible_to(&meta.export_to)],
            Some(&meta.place),
        );
    }
    let found = virtual_hosts(known, host);
    names(known, host, service, &mut page);
    ports(service, &entries, &mut page);
    speakers(known, host, &found, &mut page);
    rules(&found, &mut page);
    backends(known, host, &mut page);
    references(known, host, &mut page);

    let mut keys: Vec<&ObjectKey> = metas.iter().map(|meta| &meta.key).collect();
    let named = world.virtual_services.values();
    let named = named.filter(|it| it.hosts.contains(host));
    let speaking = found.iter().filter_map(|it| it.virtual_service.as_ref());
    keys.extend(speaking.chain(named).map(|it| &it.meta.key));
    let rules = world.destination_rules.values();
    keys.extend(rules.filter(|it| it.host == *host).map(|it| &it.meta.key));
    known.findings_about(&keys, &mut page);
    page
}

pub(super) fn visible_to(export_to: &[Arc<str>]) -> String {
    match export_to {
        [] => "all namespaces".to_owned(),
        list => {
            let words = list.iter().map(|it| match &**it {
                "*" => "all namespaces",
                "." => "its own namespace",
                "~" => "nobody",
                other => other,
            });
            words.collect::<Vec<_>>().join(", ")
        }
    }
}

/// What takes requests for the host, by port.
fn virtual_hosts<'w>(known: &Known<'w>, host: &HostPattern) -> Vec<&'w Arc<VirtualHost>> {
    let mut by_port: BTreeMap<u16, &Arc<VirtualHost>> = BTreeMap::new();
    for table in known.table.http_tables() {
        for (name, found) in table.virtual_hosts() {
            let own = name == *host || HostPattern::new(&found.host) == *host;
            if own {
                by_port.entry(found.port).or_insert(found);
            }
        }
    }
    by_port.into_values().collect()
}

/// Everything clients can write or dial.
fn names(
    known: &Known<'_>,
    host: &HostPattern,
    service: Option<&Arc<KubeService>>,
    page: &mut Page,
) {
    let context = known.table.context();
    let domain = &context.cluster_domain;
    let section = page.section("names and addresses", &["name", "why"]);
    section.row([host.to_string(), "full name".to_owned()], None);
    if let Some(service) = service {
        let key = &service.meta.key;
        let (name, namespace) = (&key.name, &key.namespace);
        section.row(
            [
                format!("{name}.{namespace}.svc"),
                "name with namespace and svc".to_owned(),
            ],
            None,
        );
        section.row(
            [
                format!("{name}.{namespace}"),
                "name with namespace".to_owned(),
            ],
            None,
        );
        if *namespace == context.namespace {
            section.row(
                [
                    name.to_string(),
                    "short name, in its own namespace".to_owned(),
                ],
                None,
            );
        }
        match &service.kind {
            ServiceKind::ClusterIp { addresses } if addresses.is_empty() => {
                section.row(
                    ["-".to_owned(), "no address is assigned yet".to_owned()],
                    None,
                );
            }
            ServiceKind::ClusterIp { addresses } => {
                for address in addresses {
                    section.row([address.to_string(), "cluster address".to_owned()], None);
                }
            }
            ServiceKind::Headless => {
                let why = "headless: clients dial the endpoints".to_owned();
                section.row(["-".to_owned(), why], None);
            }
            ServiceKind::ExternalName { .. } => {}
        }
    }
    for entry in known
        .world
        .service_entries
        .values()
        .filter(|it| it.hosts.contains(host))
    {
        for address in &entry.addresses {
            section.row(
                [address.to_string(), "address of the entry".to_owned()],
                None,
            );
        }
    }
    // Aliases of aliases too; a ring ends where it began.
    let mut targets: BTreeSet<String> = BTreeSet::from([host.to_string()]);
    loop {
        let aliases = known
            .world
            .services
            .values()
            .filter_map(|it| match &it.kind {
                ServiceKind::ExternalName { target } => Some((it, target)),
                _ => None,
            });
        let before = targets.len();
        for (alias, target) in aliases {
            if targets.contains(&**target) && targets.insert(alias.host(domain).to_string()) {
                let why = format!("alias of {target}");
                section.row(
                    [alias.host(domain).to_string(), why],
                    Some(&alias.meta.place),
                );
            }
        }
        if targets.len() == before {
            break;
        }
    }
}

fn ports(service: Option<&Arc<KubeService>>, entries: &[&Arc<ServiceEntry>], page: &mut Page) {
    let section = page.section("ports", &["port", "name", "protocol", "why"]);
    let mut row = |port: &ServicePort, why: &str| {
        let name = if port.name.is_empty() {
            "-"
        } else {
            &port.name
        };
        section.row(
            [
                port.number.to_string(),
                name.to_owned(),
                port.protocol.as_str().to_owned(),
                why.to_owned(),
            ],
            Some(&port.place),
        );
    };
    for port in service.iter().flat_map(|it| &it.ports) {
        let by_name = Protocol::of_service_port("TCP", None, &port.name, port.number);
        row(
            port,
            match (port.protocol, by_name) {
                (Protocol::Auto, _) => "nothing declares it: the first bytes tell",
                (own, by_name) if own == by_name => "its name, or a well-known number",
                _ => "its appProtocol, or `protocol`",
            },
        );
    }
    for port in entries.iter().flat_map(|it| &it.ports) {
        row(port, "declared by the entry");
    }
}

/// The VirtualServices that name the host: in force, or not.
fn speakers(known: &Known<'_>, host: &HostPattern, found: &[&Arc<VirtualHost>], page: &mut Page) {
    let section = page.section("virtual services", &["name", "in force", "visible to"]);
    let in_force = |it: &VirtualService| -> Vec<String> {
        let own = found.iter().filter(|found| {
            let speaker = found.virtual_service.as_ref();
            speaker.is_some_and(|speaker| speaker.meta.key == it.meta.key)
        });
        own.map(|found| found.port.to_string()).collect()
    };
    for it in known.world.virtual_services.values() {
        let names = it
            .hosts
            .iter()
            .any(|own| own == host || (own.is_wildcard() && own.covers(host)));
        let ports = in_force(it);
        if !names && ports.is_empty() {
            continue;
        }
        let state = match (ports.is_empty(), it.http.is_empty()) {
            (false, _) => format!("requests on port {}", ports.join(", ")),
            (true, true) => "connections, by its tls and tcp rules".to_owned(),
            (true, false) if !it.applies_to_mesh() => "for gateways only".to_owned(),
            (true, false) => "no: another one speaks for the host, or it is not visible".to_owned(),
        };
        let key = &it.meta.key;
        let name = format!("{}/{}", key.namespace, key.name);
        section.row(
            [name, state, visible_to(&it.meta.export_to)],
            Some(&it.meta.place),
        );
    }
}

/// The rules requests meet, in order.
fn rules(found: &[&Arc<VirtualHost>], page: &mut Page) {
    let section = page.section("rules", &["port", "rule", "match", "to"]);
    for host in found {
        for rule in host.rules.rules() {
            section.row(
                [
                    host.port.to_string(),
                    rule.origin.label.to_string(),
                    super::virtual_service::asks(rule),
                    super::virtual_service::does(rule),
                ],
                Some(&rule.origin.place),
            );
        }
    }
}

fn backends(known: &Known<'_>, host: &HostPattern, page: &mut Page) {
    let clusters: Vec<&Arc<Cluster>> = known
        .table
        .clusters()
        .filter(|it| HostPattern::new(&it.name.host) == *host)
        .collect();
    let section = page.section(
        "backends",
        &["backend", "ready", "subset", "destination rule"],
    );
    for cluster in &clusters {
        let labels = cluster
            .subset
            .as_ref()
            .map(|it| super::destination_rule::pairs(&it.labels));
        let origin = cluster.policy.origin.as_ref();
        let origin = origin.map(|(key, _)| format!("{}/{}", key.namespace, key.name));
        section.row(
            [
                cluster.label.to_string(),
                format!("{}/{}", cluster.ready().count(), cluster.endpoints.len()),
                labels.unwrap_or_else(|| "-".to_owned()),
                origin.unwrap_or_else(|| "-".to_owned()),
            ],
            Some(&cluster.place),
        );
    }
    let section = page.section("endpoints", &["port", "endpoint", "state", "pod", "labels"]);
    for cluster in clusters.iter().filter(|it| it.name.subset.is_none()) {
        for endpoint in cluster.endpoints.iter().take(SHOWN) {
            let state = match endpoint.health {
                Health::Ready => "ready",
                Health::NotReady => "not ready",
            };
            section.row(
                [
                    cluster.name.port.to_string(),
                    endpoint.address.to_string(),
                    state.to_owned(),
                    endpoint.workload.as_deref().unwrap_or("-").to_owned(),
                    super::destination_rule::pairs(&endpoint.labels),
                ],
                None,
            );
        }
        if let Some(more @ 1..) = cluster.endpoints.len().checked_sub(SHOWN) {
            let cells = ["", &format!("and {more} more"), "", "", ""].map(str::to_owned);
            section.row(cells, None);
        }
    }
}

fn references(known: &Known<'_>, host: &HostPattern, page: &mut Page) {
    let section = page.section("sent here by", &["rule", "how", "subset", "port", "weight"]);
    for it in refers::all(known.world) {
        if HostPattern::new(it.host) != *host {
            continue;
        }
        let or_dash = |it: Option<String>| it.unwrap_or_else(|| "-".to_owned());
        section.row(
            [
                it.rule,
                it.how.to_owned(),
                or_dash(it.subset.map(str::to_owned)),
                or_dash(it.port.map(|it| it.to_string())),
                or_dash(it.weight.map(|it| it.to_string())),
            ],
            Some(it.place),
        );
    }
}
