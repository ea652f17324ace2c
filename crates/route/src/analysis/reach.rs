//! On which ports and hosts the rules of a VirtualService can be asked at all.
use pointsman_model::{
    Finding, HostPattern, Level, Place, ProtocolClass, VirtualService, World, matches::ClientMatch,
};
use std::collections::BTreeSet;

use super::{
    codes::{HOST_IS_NO_SERVICE, NO_PORT_FOR_RULES},
    services::{Known, Service},
};
use crate::compile::Findings;

/// The port of literal hosts (VSB-10).
const LITERAL_PORT: u16 = 80;

pub(super) fn check(world: &World, known: &Known<'_>, findings: &mut Findings) {
    // VSB-11: without a service that has it, nothing listens on port 80 for literal hosts.
    let has_literals = known.all().iter().any(|it| {
        it.ports
            .iter()
            .any(|port| port.number == LITERAL_PORT && port.protocol.class() == ProtocolClass::Http)
    });
    for service in world.virtual_services.values() {
        if service.hosts.is_empty() || !service.applies_to_mesh() {
            continue;
        }
        if !service.http.is_empty() {
            http(service, has_literals, known, findings);
        }
        for (section, rules) in [
            (
                "tls",
                service.tls.iter().map(|it| &it.place).collect::<Vec<_>>(),
            ),
            ("tcp", service.tcp.iter().map(|it| &it.place).collect()),
        ] {
            if let Some(place) = rules.first() {
                bytes(service, section, place, known, findings);
            }
        }
    }
}

/// Ports of services that a section has rules for.
fn ports(services: &[&Service<'_>], section: &str) -> BTreeSet<u16> {
    let fits = |class: ProtocolClass| match section {
        "http" => matches!(class, ProtocolClass::Http | ProtocolClass::Auto),
        "tls" => class == ProtocolClass::Tls,
        _ => matches!(class, ProtocolClass::Tcp | ProtocolClass::Auto),
    };
    let all = services.iter().flat_map(|it| it.ports);
    all.filter(|port| fits(port.protocol.class()))
        .map(|port| port.number)
        .collect()
}

fn spoken_for<'k, 'w>(
    service: &VirtualService,
    known: &'k Known<'w>,
    names: bool,
) -> Vec<&'k Service<'w>> {
    let hosts = service.hosts.iter();
    hosts
        .flat_map(|host| known.spoken_for(host, names))
        .collect()
}

fn http(service: &VirtualService, has_literals: bool, known: &Known<'_>, findings: &mut Findings) {
    let services = spoken_for(service, known, false);
    let mut reached = ports(&services, "http");
    let unknown: Vec<&HostPattern> = service
        .hosts
        .iter()
        .filter(|host| known.spoken_for(host, false).is_empty())
        .collect();
    if let Some(place) = service.http.first().map(|rule| &rule.place)
        && unknown.is_empty()
        && reached.is_empty()
    {
        findings.push(nowhere(service, "http", place, &services));
        return;
    }
    if !unknown.is_empty() {
        if has_literals {
            reached.insert(LITERAL_PORT);
        }
        for host in unknown {
            // Aliases and names that want completing have findings of their own.
            let told = host.exact().is_some_and(|name| {
                known.aliases.contains_key(name) || known.completed(name).is_some()
            });
            if !told {
                findings.push(literal(service, host, &reached, known));
            }
        }
    }
    if reached.is_empty() {
        return;
    }
    for rule in &service.http {
        let clients = rule.matches.iter().map(|one| &one.client);
        never_on(
            service,
            "http",
            &rule.place,
            clients.collect(),
            &reached,
            findings,
        );
    }
}

fn bytes(
    service: &VirtualService,
    section: &'static str,
    place: &Place,
    known: &Known<'_>,
    findings: &mut Findings,
) {
    let services = spoken_for(service, known, true);
    let reached = ports(&services, section);
    if reached.is_empty() {
        findings.push(nowhere(service, section, place, &services));
        return;
    }
    if section == "tls" {
        for rule in &service.tls {
            let clients = rule.matches.iter().map(|one| &one.client).collect();
            never_on(service, section, &rule.place, clients, &reached, findings);
        }
    } else {
        for rule in &service.tcp {
            let clients = rule.matches.iter().map(|one| &one.client).collect();
            never_on(service, section, &rule.place, clients, &reached, findings);
        }
    }
}

/// VS-S-1, VS-S-2, VS-T-1, VSB-17.
fn nowhere(
    service: &VirtualService,
    section: &str,
    place: &Place,
    services: &[&Service<'_>],
) -> Finding {
    let wanted = match section {
        "http" => "a port for HTTP",
        "tls" => "a port declared as TLS or HTTPS",
        _ => "a port for TCP",
    };
    let message = match services {
        [] => format!("`{section}` rules for hosts that are no service"),
        _ => format!("`{section}` rules, and no service of these hosts has {wanted}"),
    };
    let finding = Finding::new(NO_PORT_FOR_RULES, Level::Warning, message)
        .of(&service.meta.key)
        .at(place)
        .effect("they are never asked");
    match services.first() {
        None => finding.help(format!("only http rules reach hosts that are no service (VS-S-2): create a ServiceEntry with {wanted}")),
        Some(one) => {
            let has: Vec<String> = one
                .ports
                .iter()
                .map(|port| format!("{} ({})", port.number, port.protocol))
                .collect();
            finding
                .help(format!("its ports are: {}; rules for them belong into another section, or the port's declaration is wrong", has.join(", ")))
                .related(&one.meta.place, "this service")
        }
    }
}

fn literal(
    service: &VirtualService,
    host: &HostPattern,
    reached: &BTreeSet<u16>,
    known: &Known<'_>,
) -> Finding {
    let list = |ports: &BTreeSet<u16>| {
        let list: Vec<String> = ports.iter().map(u16::to_string).collect();
        list.join(", ")
    };
    // Where a service has a wildcard for it, its requests are recognised on that port all the same.
    let wide = known.wider(host).find_map(|wide| {
        let ports = &ports(&[wide], "http") - reached;
        (!ports.is_empty()).then(|| (wide, list(&ports)))
    });
    let (level, mut effect) = if reached.is_empty() {
        let effect = match wide {
            None => "nothing listens for it: requests to it pass through (VSB-11)",
            Some(_) => "its http rules are never asked (VSB-11)",
        };
        (Level::Warning, effect.to_owned())
    } else {
        (
            Level::Info,
            format!(
                "requests with this Host are asked the rules on port {} only (VSB-10)",
                list(reached)
            ),
        )
    };
    if let Some((wide, ports)) = wide {
        effect.push_str(&format!(
            "; {} of {} takes its requests on port {ports}, without them",
            wide.host, wide.meta.key
        ));
    }
    Finding::new(
        HOST_IS_NO_SERVICE,
        level,
        format!("no service has the host {host}"),
    )
    .of(&service.meta.key)
    .at(&service.meta.place)
    .effect(effect)
    .help("a ServiceEntry makes it known, with its ports")
}

/// A rule whose every match wants a port that none of the services has.
fn never_on(
    service: &VirtualService,
    section: &str,
    place: &Place,
    clients: Vec<&ClientMatch>,
    reached: &BTreeSet<u16>,
    findings: &mut Findings,
) {
    let gateway_only = |one: &&ClientMatch| {
        !one.gateways.is_empty() && one.gateways.iter().all(|it| &**it != "mesh")
    };
    // On a gateway a port is the server's.
    if clients.is_empty()
        || clients.iter().any(gateway_only)
        || service.gateways.iter().any(|it| &**it != "mesh")
    {
        return;
    }
    let missing: BTreeSet<u16> = clients
        .iter()
        .filter_map(|one| one.port.filter(|port| !reached.contains(port)))
        .collect();
    if missing.is_empty()
        || clients
            .iter()
            .any(|one| one.port.is_none_or(|port| reached.contains(&port)))
    {
        return;
    }
    let list = |ports: &BTreeSet<u16>| {
        let all: Vec<String> = ports.iter().map(u16::to_string).collect();
        all.join(", ")
    };
    findings.push(
        Finding::new(
            NO_PORT_FOR_RULES,
            Level::Warning,
            format!(
                "this rule is for port {}, where none of the hosts has {section} traffic",
                list(&missing)
            ),
        )
        .of(&service.meta.key)
        .at(place)
        .effect("it is never asked")
        .help(format!(
            "ports of the Service are meant, not of its endpoints: {}",
            list(reached)
        )),
    );
}
