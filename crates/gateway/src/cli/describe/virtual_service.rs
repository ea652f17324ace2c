//! A VirtualService: whom it speaks for, what its rules ask and do, and where that leads.
use super::{Known, gateway, host::visible_to, page::Page, refers};
use pointsman_model::{ClusterName, VirtualService};
use pointsman_route::{Action, Rule};
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn page(known: &Known<'_>, it: &Arc<VirtualService>) -> Page {
    let key = &it.meta.key;
    let name = format!("{}/{}", key.namespace, key.name);
    let mut page = Page::new("VirtualService", name.clone(), Some(&it.meta.place));
    let section = page.section("bound to", &["what", "value"]);
    let gateways: Vec<&str> = match it.gateways.is_empty() {
        true => vec!["mesh"],
        false => it.gateways.iter().map(|it| &**it).collect(),
    };
    section.row(["gateways".to_owned(), gateways.join(", ")], None);
    section.row(
        ["visible to".to_owned(), visible_to(&it.meta.export_to)],
        None,
    );

    // By host and port: who speaks there.
    let mut speaks: BTreeMap<(String, u16), (bool, String)> = BTreeMap::new();
    for table in known.table.http_tables() {
        for (pattern, found) in table.virtual_hosts() {
            let own = found.virtual_service.as_ref();
            let ours = own.is_some_and(|own| own.meta.key == *key);
            let named = it.hosts.contains(&pattern);
            if ours || named {
                let who = own.map(|own| own.meta.key.to_string());
                let who = who.unwrap_or_else(|| "the default route".to_owned());
                speaks.insert((pattern.to_string(), found.port), (ours, who));
            }
        }
    }
    let section = page.section("hosts", &["host", "port", "requests are routed by"]);
    for host in &it.hosts {
        let text = host.to_string();
        if it.applies_to_mesh() && !speaks.keys().any(|(own, _)| *own == text) {
            let why = "nobody: no HTTP port has it, or it speaks of connections";
            section.row([text, "-".to_owned(), why.to_owned()], None);
        }
    }
    for ((host, port), (ours, who)) in speaks {
        let who = if ours { "this".to_owned() } else { who };
        section.row([host, port.to_string(), who], None);
    }

    let section = page.section("rules", &["rule", "match", "to"]);
    if let Some(found) = speaking(known, it) {
        for rule in found.rules.rules() {
            let cells = [rule.origin.label.to_string(), asks(rule), does(rule)];
            section.row(cells, Some(&rule.origin.place));
        }
    }
    let mut all = Vec::new();
    for (host, found) in gateway::hosts(known) {
        let own = found.rules.rules().iter();
        let own = own.filter(|rule| rule.origin.object == *key);
        all.extend(own.map(|rule| (gateway::row(&host, rule), &rule.origin.place)));
    }
    for (list, index, place) in raw(it) {
        let cells = [
            format!("{name}.{list}#{index}"),
            String::new(),
            String::new(),
        ];
        section.row(cells, Some(place));
    }

    let section = page.section("rules at gateways", gateway::COLUMNS);
    for (cells, place) in all {
        section.row(cells, Some(place));
    }

    let section = page.section("destinations", &["rule", "how", "destination", "state"]);
    for it in refers::all(known.world)
        .into_iter()
        .filter(|own| own.service.meta.key == *key)
    {
        let state = state(known, &it);
        let subset = it
            .subset
            .map(|it| format!(" subset {it}"))
            .unwrap_or_default();
        let port = it.port.map(|it| format!(":{it}")).unwrap_or_default();
        let destination = format!("{}{port}{subset}", it.host);
        section.row(
            [it.rule, it.how.to_owned(), destination, state],
            Some(it.place),
        );
    }
    known.findings_about(&[key], &mut page);
    page
}

/// Where its rules are in force.
fn speaking<'w>(
    known: &Known<'w>,
    it: &VirtualService,
) -> Option<&'w Arc<pointsman_route::VirtualHost>> {
    known.table.http_tables().find_map(|table| {
        let own = |found: &&Arc<pointsman_route::VirtualHost>| {
            let speaker = found.virtual_service.as_ref();
            speaker.is_some_and(|speaker| speaker.meta.key == it.meta.key)
        };
        table
            .virtual_hosts()
            .into_iter()
            .map(|(_, found)| found)
            .find(own)
    })
}

fn raw(it: &VirtualService) -> impl Iterator<Item = (&'static str, u32, &pointsman_model::Place)> {
    let tls = it.tls.iter().map(|rule| ("tls", rule.index, &rule.place));
    tls.chain(it.tcp.iter().map(|rule| ("tcp", rule.index, &rule.place)))
}

/// Does the destination exist, and can traffic be sent to it?
fn state(known: &Known<'_>, it: &refers::Reference<'_>) -> String {
    let clusters = known.table.clusters().filter(|cluster| {
        let ClusterName {
            host, subset, port, ..
        } = &cluster.name;
        **host == *it.host
            && subset.as_deref() == it.subset
            && it.port.is_none_or(|own| own == *port)
    });
    let by_port: Vec<(u16, usize, usize)> = clusters
        .map(|it| (it.name.port, it.ready().count(), it.endpoints.len()))
        .collect();
    match by_port.as_slice() {
        [] => "does not exist".to_owned(),
        [(_, 0, all)] => format!("no endpoint of {all} is ready"),
        [(_, ready, all)] => format!("{ready} of {all} endpoints ready"),
        // Without a port of its own the destination has that of the request.
        several => {
            let one =
                |(port, ready, all): &(u16, usize, usize)| format!("{port}: {ready} of {all}");
            let all: Vec<String> = several.iter().map(one).collect();
            format!("endpoints ready by port: {}", all.join(", "))
        }
    }
}

/// What a rule asks for: its alternatives.
pub(super) fn asks(rule: &Rule) -> String {
    if rule.alternatives.is_empty() {
        return "everything".to_owned();
    }
    let one = |it: &pointsman_route::condition::Alternative| {
        let all: Vec<String> = it.conditions.iter().map(|it| it.describe()).collect();
        match all.is_empty() {
            true => "everything".to_owned(),
            false => all.join(" and "),
        }
    };
    let all: Vec<String> = rule.alternatives.iter().map(one).collect();
    all.join("  or  ")
}

/// What a rule does.
pub(super) fn does(rule: &Rule) -> String {
    match &rule.action {
        Action::Forward(split) => {
            let several = split.targets().len() > 1;
            let one = |target: &pointsman_route::Target| {
                let it = &target.destination;
                let host = it
                    .host
                    .split_once(".svc.")
                    .map_or(&*it.host, |(short, _)| short);
                let port = it.port.map(|it| format!(":{it}")).unwrap_or_default();
                let subset = it
                    .subset
                    .as_ref()
                    .map(|it| format!(" {it}"))
                    .unwrap_or_default();
                let weight = if several {
                    format!(" {}", target.weight)
                } else {
                    String::new()
                };
                let missing = target.cluster.err().map(|it| format!(" ({it})"));
                format!(
                    "{host}{port}{subset}{weight}{}",
                    missing.unwrap_or_default()
                )
            };
            let all: Vec<String> = split.targets().iter().map(one).collect();
            all.join(" / ")
        }
        Action::Redirect(it) => format!("redirect {}", it.code),
        Action::Respond(it) => format!("answer {}", it.status),
    }
}
