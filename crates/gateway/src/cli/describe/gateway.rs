//! A Gateway: its servers, the VirtualServices bound to it, and their rules as they are in force.
use super::{
    Known,
    destination_rule::pairs,
    page::Page,
    virtual_service::{asks, does},
};
use pointsman_model::{Gateway, HostPattern, VirtualService};
use pointsman_route::{Rule, VirtualHost};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) fn page(known: &Known<'_>, it: &Arc<Gateway>) -> Page {
    let key = &it.meta.key;
    let mut page = Page::new("Gateway", it.full_name(), Some(&it.meta.place));
    let section = page.section("bound to", &["what", "value"]);
    let selector = match it.selector.is_empty() {
        true => "every gateway".to_owned(),
        false => pairs(&it.selector),
    };
    section.row(["served by".to_owned(), selector], None);

    let section = page.section("servers", &["port", "name", "protocol", "tls", "hosts"]);
    for server in &it.servers {
        let tls = match &server.tls {
            None => "-".to_owned(),
            Some(_) if server.redirects_to_https() => "redirect to https".to_owned(),
            Some(tls) => format!("{:?}", tls.mode),
        };
        let hosts: Vec<String> = server
            .hosts
            .iter()
            .map(|it| match &it.namespace {
                Some(namespace) => format!("{namespace}/{}", it.host),
                None => it.host.to_string(),
            })
            .collect();
        section.row(
            [
                server.port.to_string(),
                server.port_name.to_string(),
                server.protocol.as_str().to_owned(),
                tls,
                hosts.join(", "),
            ],
            Some(&server.place),
        );
    }

    let section = page.section("virtual services", &["name", "hosts", "admitted"]);
    let full = it.full_name();
    for service in known.world.virtual_services.values() {
        if !service.gateways.iter().any(|own| **own == *full) {
            continue;
        }
        let namespace = &service.meta.key.namespace;
        let admitted = |host: &HostPattern| {
            it.servers
                .iter()
                .flat_map(|server| &server.hosts)
                .any(|own| {
                    let same = own.host == *host || own.host.covers(host) || host.covers(&own.host);
                    own.admits(namespace) && same
                })
        };
        let refused: Vec<String> = service
            .hosts
            .iter()
            .filter(|host| !admitted(host))
            .map(ToString::to_string)
            .collect();
        let admitted = match refused.is_empty() {
            true => "all hosts".to_owned(),
            false => format!("no server has {}", refused.join(", ")),
        };
        let hosts: Vec<String> = service.hosts.iter().map(ToString::to_string).collect();
        let name = format!("{namespace}/{}", service.meta.key.name);
        section.row(
            [name, hosts.join(", "), admitted],
            Some(&service.meta.place),
        );
    }

    // Which of its ports: a server may be translated, or be left out.
    let ports: BTreeSet<u16> = known
        .gateway
        .listeners()
        .iter()
        .flat_map(|listener| listener.servers())
        .filter(|server| server.origin.object == *key && server.left_out.is_none())
        .map(|server| server.port)
        .collect();
    let section = page.section("rules", COLUMNS);
    let bound = |own: &VirtualService| own.gateways.iter().any(|it| **it == *full);
    for (host, found) in hosts(known) {
        let speakers = found
            .gateway
            .as_ref()
            .map_or(&[][..], |own| &own.virtual_services);
        if !ports.contains(&found.port) || !speakers.iter().any(|it| bound(it)) {
            continue;
        }
        for rule in found.rules.rules() {
            section.row(row(&host, rule), Some(&rule.origin.place));
        }
    }
    known.findings_about(&[key], &mut page);
    page
}

/// What is told of a rule that is in force at a gateway.
pub(super) const COLUMNS: &[&str] = &["host", "port", "rule", "match", "to"];

/// The hosts of all gateways that have rules, each port once.
pub(super) fn hosts<'w>(known: &Known<'w>) -> BTreeMap<(String, u16, usize), &'w Arc<VirtualHost>> {
    let tables = known.gateway.http_tables().enumerate();
    let all = tables.flat_map(|(at, table)| {
        let hosts = table.virtual_hosts().into_iter();
        hosts.map(move |(pattern, found)| ((pattern.to_string(), found.port, at), found))
    });
    all.filter(|(_, found)| found.gateway.is_some()).collect()
}

pub(super) fn row((host, port, _): &(String, u16, usize), rule: &Rule) -> [String; 5] {
    let label = rule.origin.label.to_string();
    [
        host.clone(),
        port.to_string(),
        label,
        asks(rule),
        does(rule),
    ]
}
