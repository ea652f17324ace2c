//! ServiceEntries.
use super::Context;
use crate::{
    codes, form,
    report::near,
    yaml::{Map, Span},
};
use foldhash::{HashMap, HashMapExt as _, HashSet};
use pointsman_model::{
    HostPattern, Meta, Place, Protocol, ProtocolClass, Resolution, ServiceEntry, ServicePort,
    WorkloadEntry,
    service_entry::{EntryAddress, EntryEndpoint},
};
use std::{net::IpAddr, path::PathBuf, sync::Arc};

/// Names of protocols that ports may declare (PS-28, PS-33).
const PROTOCOLS: [&str; 12] = [
    "HTTP",
    "HTTP2",
    "HTTP_PROXY",
    "GRPC",
    "GRPC-Web",
    "HTTPS",
    "TLS",
    "TCP",
    "Mongo",
    "Redis",
    "MySQL",
    "UDP",
];

pub(super) fn service_entry(meta: Meta, spec: &Map, context: &mut Context<'_>) -> ServiceEntry {
    let resolution = match spec.text("resolution") {
        Some("STATIC") => Resolution::Static,
        Some("DNS") => Resolution::Dns,
        Some("DNS_ROUND_ROBIN") => Resolution::DnsRoundRobin,
        Some("DYNAMIC_DNS") => Resolution::DynamicDns,
        _ => Resolution::None,
    };
    let hosts = hosts(spec, context);
    let ports = ports(spec, context);
    let names: HashSet<Arc<str>> = ports.iter().map(|port| port.name.clone()).collect();
    let endpoints: Vec<EntryEndpoint> = spec
        .list("endpoints")
        .iter()
        .filter_map(|node| {
            let place = context.report.place(node.start());
            let map = node.as_map()?;
            Some(endpoint(map, place, Some((&names, resolution)), context))
        })
        .collect();
    let entry = ServiceEntry {
        meta,
        hosts,
        addresses: addresses(spec, context),
        ports,
        resolution,
        endpoints,
        workload_selector: spec
            .map("workloadSelector")
            .map(|selector| context.labels(selector.map("labels"))),
        mesh_internal: spec.text("location") == Some("MESH_INTERNAL"),
        subject_alt_names: Context::texts(spec, "subjectAltNames"),
    };
    fits(&entry, spec, context);
    entry
}

fn hosts(spec: &Map, context: &mut Context<'_>) -> Vec<HostPattern> {
    let nodes = spec.list("hosts");
    if let Some((key, _)) = spec.entry("hosts")
        && nodes.is_empty()
    {
        context.report.error(
            codes::HOSTS,
            key.span,
            "a ServiceEntry needs at least one host",
            "none is listed",
            "",
        );
    }
    let mut hosts = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(text) = node.as_text() else { continue };
        if text == "*" {
            context.report.error(
                codes::HOSTS,
                node.span,
                "a ServiceEntry cannot have the host `*` (BE-102)",
                "everything there is",
                "traffic to unknown hosts passes through without an entry; name a domain as in *.example.com",
            );
        } else if let Err(fault) = form::host(text, true) {
            context.report.error(
                codes::VALUE,
                node.span,
                format!("{text:?} is not a host name"),
                fault.label(),
                "",
            );
        } else if text.parse::<IpAddr>().is_ok() {
            context.report.error(
                codes::VALUE,
                node.span,
                format!("{text} is an address"),
                "expected a host name",
                "addresses belong into `addresses`; any name does for `hosts`, for instance one that ends in .internal",
            );
        } else if text.starts_with('*') && !text.starts_with("*.") {
            context.report.warning(
                codes::VALUE,
                node.span,
                format!("{text} begins in the middle of a part"),
                "usually written *.",
                "it matches every host with this ending",
                "write *. and a domain, if subdomains are meant",
            );
        }
        // Not completed: hosts of a ServiceEntry are full names (HST-9c).
        hosts.push(HostPattern::new(text.strip_suffix('.').unwrap_or(text)));
    }
    hosts
}

/// Unreadable addresses are left out; an entry without a readable one has none (LIS-5).
fn addresses(spec: &Map, context: &mut Context<'_>) -> Vec<ipnet::IpNet> {
    let mut addresses = Vec::new();
    for node in spec.list("addresses") {
        let Some(text) = node.as_text() else { continue };
        match form::cidr(text) {
            Some(address) => addresses.push(address),
            None => context.report.warning(
                codes::VALUE,
                node.span,
                format!("{text:?} is not an address"),
                "expected an address as in 10.0.0.1 or a range as in 10.0.0.0/8",
                "it is left out, the other addresses apply (LIS-5)",
                "names belong into `hosts` or `endpoints`",
            ),
        }
    }
    addresses
}

fn ports(spec: &Map, context: &mut Context<'_>) -> Vec<ServicePort> {
    let mut names: HashMap<Arc<str>, Span> = HashMap::new();
    let mut numbers: HashMap<u16, Span> = HashMap::new();
    let mut ports = Vec::new();
    for item in spec.list("ports") {
        let Some(map) = item.as_map() else { continue };
        let (Some(name), Some(number)) = (map.get("name"), Context::port(map, "number")) else {
            continue;
        };
        let name = context.dns_name(name, "a port");
        if let Some(first) = names.insert(name.clone(), item.start()) {
            context.report.collision(
                codes::PORTS,
                item.start(),
                format!("two ports have the name {name:?} (BE-102)"),
                "again",
                (first, "the first one"),
                "",
            );
        }
        if let Some(first) = numbers.insert(number, item.start()) {
            context.report.collision(
                codes::PORTS,
                item.start(),
                format!("port {number} is there twice (BE-102)"),
                "again",
                (first, "the first one"),
                "",
            );
        }
        ports.push(ServicePort {
            name,
            number,
            protocol: protocol(map, context),
            target: Context::port(map, "targetPort"),
            target_name: None,
            node_port: None,
            place: context.report.place(item.start()),
        });
    }
    ports
}

/// A whole word in any letter case (PS-33); none is allowed and means detection (PS-34).
fn protocol(map: &Map, context: &mut Context<'_>) -> Protocol {
    let Some((text, node)) = map.filled("protocol").zip(map.get("protocol")) else {
        return Protocol::Auto;
    };
    Protocol::from_word(text).unwrap_or_else(|| {
        let head = text.split('-').next().unwrap_or_default();
        let meant = near(text, PROTOCOLS.into_iter()).or_else(|| near(head, PROTOCOLS.into_iter()));
        context.report.error(
            codes::PORTS,
            node.span,
            format!("{text:?} is not a protocol (PS-34)"),
            "not one of the known words",
            match meant {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!(
                    "one of {}; or leave it out to have it detected",
                    PROTOCOLS.join(", ")
                ),
            },
        );
        Protocol::Auto
    })
}

/// A WorkloadEntry: an endpoint on its own, for entries that are not known here (BE-112).
pub(super) fn workload_entry(meta: Meta, spec: &Map, context: &mut Context<'_>) -> WorkloadEntry {
    let mut endpoint = endpoint(spec, meta.place.clone(), None, context);
    let own = meta
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    endpoint.labels.extend(own);
    WorkloadEntry { meta, endpoint }
}

/// `entry` is what the entry it stands in says: names of ports, and how endpoints are found.
fn endpoint(
    map: &Map,
    place: Place,
    entry: Option<(&HashSet<Arc<str>>, Resolution)>,
    context: &mut Context<'_>,
) -> EntryEndpoint {
    let mut numbers = Vec::new();
    for (key, value) in map.map("ports").map_or(&[][..], |map| &map.entries) {
        if let Some((names, _)) = entry
            && !names.contains(&*key.text)
        {
            context.report.error(
                codes::PORTS,
                key.span,
                format!("the entry has no port with the name {:?}", key.text),
                "joined by name (BE-108)",
                match near(&key.text, names.iter().take(64).map(|name| &**name)) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => "add it to `ports` of the entry".into(),
                },
            );
        }
        if let Some(port) = value.as_int().and_then(|port| u16::try_from(port).ok()) {
            numbers.push(((*key.text).into(), port));
        }
    }
    EntryEndpoint {
        address: address(
            map,
            &place,
            entry.map(|(_, resolution)| resolution),
            context,
        ),
        ports: numbers,
        labels: context.labels(map.map("labels")),
        weight: weight(map, context),
        locality: Context::text(map, "locality"),
        place,
    }
}

/// 0 or absent counts as 1 (BE-109).
fn weight(map: &Map, context: &mut Context<'_>) -> u32 {
    match map.int("weight") {
        Some(weight) if weight < 0 => {
            let at = map.get("weight").map(|node| node.span);
            context.report.error(
                codes::WEIGHT,
                at.unwrap_or_default(),
                format!("a weight cannot be {weight}"),
                "expected a whole number, 0 and up",
                "",
            );
            1
        }
        Some(weight) => u32::try_from(weight).unwrap_or(1).max(1),
        None => 1,
    }
}

/// BE-107: an IP, a name for the DNS resolutions, a socket for STATIC. A WorkloadEntry may be any
/// of them: which entries use it is found out later.
fn address(
    map: &Map,
    place: &Place,
    resolution: Option<Resolution>,
    context: &mut Context<'_>,
) -> EntryAddress {
    let written = map.get("address");
    let start = Span {
        line: place.line,
        column: place.column,
        width: 0,
    };
    let at = written.map_or(start, |written| written.span);
    let Some(text) = map.filled("address") else {
        context.report.error(
            codes::RESOLUTION,
            at,
            "an endpoint needs an `address`",
            "where is it?",
            "",
        );
        return EntryAddress::Name("".into());
    };
    if let Some(path) = text.strip_prefix("unix://") {
        if resolution.is_some_and(|it| it != Resolution::Static) {
            context.report.error(
                codes::RESOLUTION,
                at,
                "a socket path needs `resolution: STATIC` (BE-107)",
                "cannot be resolved",
                "",
            );
        }
        if !path.starts_with('/') || map.has("ports") {
            context.report.error(
                codes::RESOLUTION,
                at,
                "a socket is an absolute path and has no ports (BE-107)",
                "as in unix:///run/app.sock",
                "",
            );
        }
        return EntryAddress::Unix(PathBuf::from(path));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return EntryAddress::Ip(ip);
    }
    if resolution == Some(Resolution::Static) {
        context.report.error(
            codes::RESOLUTION,
            at,
            "with `resolution: STATIC` an endpoint is an IP address (BE-93)",
            "a name",
            "write the address, or `resolution: DNS`",
        );
    } else if let Err(fault) = form::host(text, false) {
        context.report.error(
            codes::VALUE,
            at,
            format!("{text:?} is not a host name"),
            fault.label(),
            "",
        );
    }
    EntryAddress::Name(text.to_ascii_lowercase().into())
}

/// Do resolution, hosts, addresses, ports and endpoints go together (BE-92..BE-101)?
fn fits(entry: &ServiceEntry, spec: &Map, context: &mut Context<'_>) {
    let at = |field: &str| -> Span {
        spec.entry(field)
            .or_else(|| spec.entry("hosts"))
            .map(|(key, _)| key.span)
            .unwrap_or_default()
    };
    let has_wildcard = entry.hosts.iter().any(HostPattern::is_wildcard);
    let count = entry.endpoints.len();
    let mut faults: Vec<(Span, &str, &str, &str)> = Vec::new();
    if entry.workload_selector.is_some() && count > 0 {
        faults.push((
            at("endpoints"),
            "`endpoints` and `workloadSelector` exclude each other (BE-112)",
            "listed",
            "keep one of them",
        ));
    }
    let is_socket = |endpoint: &EntryEndpoint| matches!(endpoint.address, EntryAddress::Unix(_));
    if entry.endpoints.iter().any(is_socket) && entry.ports.len() != 1 {
        faults.push((
            at("ports"),
            "an entry with a socket has exactly one port (BE-107)",
            "which one leads there?",
            "write one ServiceEntry for each socket",
        ));
    }
    match entry.resolution {
        Resolution::None if count > 0 => faults.push((
            at("endpoints"),
            "with `resolution: NONE` the endpoint is the client's original destination (BE-92)",
            "cannot be listed",
            "write `resolution: STATIC` for addresses or `resolution: DNS` for names",
        )),
        Resolution::Dns | Resolution::DnsRoundRobin
            if has_wildcard && count == 0 && entry.workload_selector.is_none() =>
        {
            faults.push((
                at("hosts"),
                "a wildcard host cannot be resolved (BE-99)",
                "no name to look up",
                "list `endpoints`, or write `resolution: NONE`",
            ));
        }
        Resolution::DnsRoundRobin if count > 1 => faults.push((
            at("endpoints"),
            "`resolution: DNS_ROUND_ROBIN` has one name (BE-95)",
            "more than one",
            "write `resolution: DNS`",
        )),
        Resolution::DynamicDns
            if count > 0
                || !entry.addresses.is_empty()
                || !entry.hosts.iter().all(HostPattern::is_wildcard) =>
        {
            faults.push((
                at("resolution"),
                "`resolution: DYNAMIC_DNS` has wildcard hosts, and neither addresses nor endpoints (BE-96)",
                "resolved per request",
                "write `resolution: DNS`",
            ));
        }
        _ => {}
    }
    let is_range = |net: &ipnet::IpNet| net.prefix_len() != net.max_prefix_len();
    if !matches!(entry.resolution, Resolution::None | Resolution::Static)
        && entry.addresses.iter().any(is_range)
    {
        faults.push((
            at("addresses"),
            "an address range needs `resolution: NONE` or `STATIC` (BE-101)",
            "a range",
            "",
        ));
    }
    let opaque = |port: &ServicePort| {
        !matches!(
            port.protocol.class(),
            ProtocolClass::Http | ProtocolClass::Tls
        )
    };
    if entry.hosts.len() > 1
        && entry.resolution != Resolution::None
        && entry.ports.iter().any(opaque)
    {
        faults.push((
            at("hosts"),
            "several hosts can be told apart only on HTTP and TLS ports (BE-100)",
            "which one is meant?",
            "write one ServiceEntry for each host, or declare the protocol of each port",
        ));
    }
    if entry.resolution == Resolution::DynamicDns {
        for port in &entry.ports {
            let known = [
                Protocol::Http,
                Protocol::Http2,
                Protocol::Grpc,
                Protocol::Tls,
            ];
            if !known.contains(&port.protocol) {
                faults.push((
                    at("ports"),
                    "ports of `resolution: DYNAMIC_DNS` are HTTP, HTTP2, GRPC or TLS (BE-96)",
                    "another protocol carries no name",
                    "write `resolution: DNS`",
                ));
                break;
            }
        }
    }
    doubtful(entry, spec, context);
    for (span, message, label, help) in faults {
        context
            .report
            .error(codes::RESOLUTION, span, message, label, help.to_owned());
    }
}

/// What is legal, and hardly meant.
fn doubtful(entry: &ServiceEntry, spec: &Map, context: &mut Context<'_>) {
    if let (Some(selector), Some((key, _))) =
        (&entry.workload_selector, spec.entry("workloadSelector"))
    {
        if selector.is_empty() {
            context.report.warning(
                codes::RESOLUTION,
                key.span,
                "`workloadSelector` selects by no label",
                "no `labels`",
                "every workload of the namespace is an endpoint",
                "list labels",
            );
        } else if entry.resolution == Resolution::None {
            context.report.warning(
                codes::RESOLUTION,
                key.span,
                "`workloadSelector` does not go with `resolution: NONE` (BE-92)",
                "balances nothing",
                "connections go to their original destination",
                "write `resolution: STATIC`",
            );
        }
    }
    let resolves = matches!(
        entry.resolution,
        Resolution::Dns | Resolution::DnsRoundRobin
    );
    let opaque = |port: &ServicePort| {
        matches!(
            port.protocol.class(),
            ProtocolClass::Tcp | ProtocolClass::Tls
        )
    };
    if let Some((key, _)) = spec.entry("addresses")
        && resolves
        && entry.hosts.len() > 1
        && !entry.addresses.is_empty()
        && entry.ports.iter().any(opaque)
    {
        context.report.warning(
            codes::RESOLUTION,
            key.span,
            "several hosts share these addresses",
            "the address alone cannot tell them apart",
            "connections go to the first host",
            "write one ServiceEntry for each host",
        );
    }
    if entry.ports.is_empty() && !entry.hosts.is_empty() {
        let first = spec.entries.first().map(|(key, _)| key.span);
        context.report.warning(
            codes::REQUIRED,
            spec.entry("hosts")
                .map(|(key, _)| key.span)
                .or(first)
                .unwrap_or_default(),
            "a ServiceEntry without `ports` recognises nothing",
            "no port clients could dial",
            "its hosts are as unknown as without it",
            "list the ports",
        );
    }
}
