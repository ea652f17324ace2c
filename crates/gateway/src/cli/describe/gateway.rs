//! A Gateway: its servers, and the VirtualServices bound to it.
use super::{Known, destination_rule::pairs, page::Page};
use pointsman_model::{Gateway, HostPattern};
use std::sync::Arc;

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
    known.findings_about(&[key], &mut page);
    page
}
