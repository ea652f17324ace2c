//! Names in documents, and what they lead to.
use pointsman_model::{
    ClientContext, DestinationRule, Finding, Gateway, HostPattern, HttpAction, Level, ObjectKey,
    VirtualService, World, gateway::ServerHost, policy::TrafficPolicy,
};
use std::collections::{HashMap, HashSet};

use super::{
    codes::{
        ALIAS, HOST_NOT_COMPLETED, HOST_NOT_IN_GATEWAY, RULE_FOR_NOBODY, UNKNOWN_GATEWAY,
        UNKNOWN_POLICY_PORT, UNUSED_DELEGATE,
    },
    services::{Alias, End, Known},
};
use crate::compile::Findings;

pub(super) fn check(
    world: &World,
    context: &ClientContext,
    known: &Known<'_>,
    findings: &mut Findings,
) {
    let gateways: HashMap<String, &Gateway> = world
        .gateways
        .values()
        .map(|it| (it.full_name(), &**it))
        .collect();
    let delegates = delegates(world);
    for service in world.virtual_services.values() {
        if service.hosts.is_empty() && !delegates.contains(&service.meta.key) {
            findings.push(unused(service));
        }
        for gateway in &service.gateways {
            match gateways.get(&**gateway) {
                Some(_) => {}
                None if &**gateway == "mesh" => {}
                None => findings.push(unknown_gateway(service, gateway, &gateways)),
            }
        }
        let bound: Option<Vec<&Gateway>> = service
            .gateways
            .iter()
            .filter(|it| &***it != "mesh")
            .map(|it| gateways.get(&**it).copied())
            .collect();
        // One that is not there might have had the host.
        if let Some(bound) = bound.filter(|it| !it.is_empty()) {
            hosts_of_gateways(service, &bound, known, findings);
        }
        for host in &service.hosts {
            virtual_service_host(service, host, known, findings);
        }
    }
    for rule in world.destination_rules.values() {
        destination_rule(rule, context, known, findings);
    }
    for alias in known.aliases.values() {
        if let Some(finding) = alias_end(alias, known) {
            findings.push(finding);
        }
    }
}

fn delegates(world: &World) -> HashSet<ObjectKey> {
    let rules = world.virtual_services.values().flat_map(|it| &it.http);
    rules
        .filter_map(|rule| match &rule.action {
            HttpAction::Delegate { namespace, name } => Some(ObjectKey {
                kind: pointsman_model::Kind::VirtualService,
                namespace: namespace.clone(),
                name: name.clone(),
            }),
            _ => None,
        })
        .collect()
}

fn unused(service: &VirtualService) -> Finding {
    Finding::new(
        UNUSED_DELEGATE,
        Level::Warning,
        "a VirtualService without hosts is a delegate, and nobody delegates to it",
    )
    .of(&service.meta.key)
    .at(&service.meta.place)
    .effect("its rules are never asked (VS-H-110)")
    .help("name it in `delegate` of another VirtualService, or give it `hosts`")
}

fn unknown_gateway(
    service: &VirtualService,
    gateway: &str,
    gateways: &HashMap<String, &Gateway>,
) -> Finding {
    let (namespace, name) = gateway.split_once('/').unwrap_or(("", gateway));
    let mut elsewhere: Vec<&String> = gateways
        .keys()
        .filter(|it| it.split_once('/').is_some_and(|(_, other)| other == name))
        .collect();
    elsewhere.sort();
    let finding = Finding::new(
        UNKNOWN_GATEWAY,
        Level::Warning,
        format!("there is no Gateway {name} in namespace {namespace}"),
    )
    .of(&service.meta.key)
    .at(&service.meta.place)
    .effect("no traffic of that gateway is asked the rules of this VirtualService");
    match elsewhere.first() {
        Some(other) => finding.help(format!(
            "there is {other}: a name without / is looked for in the own namespace"
        )),
        None => finding.help("create the Gateway, or correct `gateways`"),
    }
}

/// GW-62..64: a host is served where it meets a server's host that admits the namespace. Of several
/// gateways each may have its own hosts, and with `mesh` among them some may be for the mesh.
fn hosts_of_gateways(
    service: &VirtualService,
    gateways: &[&Gateway],
    known: &Known<'_>,
    findings: &mut Findings,
) {
    let namespace = &*service.meta.key.namespace;
    let all = || {
        gateways
            .iter()
            .flat_map(|it| &it.servers)
            .flat_map(|it| &it.hosts)
    };
    for host in &service.hosts {
        if service.applies_to_mesh() && !known.spoken_for(host, false).is_empty() {
            continue;
        }
        let meets = |it: &&ServerHost| it.host.covers(host) || host.covers(&it.host);
        if all().filter(meets).any(|it| it.admits(namespace)) {
            continue;
        }
        let names: Vec<String> = gateways.iter().map(|it| it.meta.key.to_string()).collect();
        let finding = Finding::new(
            HOST_NOT_IN_GATEWAY,
            Level::Warning,
            format!("{} has no server for the host {host}", names.join(" or ")),
        )
        .of(&service.meta.key)
        .at(&service.meta.place)
        .effect("requests with this host that come to the gateway are not asked these rules");
        findings.push(match all().find(meets) {
            Some(closed) => finding
                .help(format!(
                    "its host {} is for other namespaces than {namespace}",
                    closed.host
                ))
                .related(&closed.place, "not for this namespace"),
            None => finding.help("add it to `hosts` of a server"),
        });
    }
}

/// VSB-4, VSB-13.
fn virtual_service_host(
    service: &VirtualService,
    host: &HostPattern,
    known: &Known<'_>,
    findings: &mut Findings,
) {
    let (Some(name), true) = (host.exact(), service.applies_to_mesh()) else {
        return;
    };
    if known.of(name).next().is_some() {
        return;
    }
    if let Some(alias) = known.aliases.get(name) {
        findings.push(
            Finding::new(
                ALIAS,
                Level::Warning,
                format!("host {name} is an ExternalName for {}", alias.target),
            )
            .of(&service.meta.key)
            .at(&service.meta.place)
            .effect("the rules are asked for this literal name on port 80 alone, and tls and tcp rules never (VSB-13)")
            .help(format!("name the target, {}, in `hosts`", alias.target))
            .related(&alias.service.meta.place, "the alias"),
        );
    } else if let Some((full, meta)) = known.completed(name) {
        findings.push(
            Finding::new(
                HOST_NOT_COMPLETED,
                Level::Warning,
                format!("host {name} is taken as it is: it is not {full}"),
            )
            .of(&service.meta.key)
            .at(&service.meta.place)
            .effect(format!(
                "requests to {full} are not asked these rules (VSB-4)"
            ))
            .help(format!(
                "only names without a dot are completed: write {full}"
            ))
            .related(&meta.place, "this Service"),
        );
    }
}

fn destination_rule(
    rule: &DestinationRule,
    context: &ClientContext,
    known: &Known<'_>,
    findings: &mut Findings,
) {
    let Some(name) = rule.host.exact() else {
        return;
    };
    let services: Vec<_> = known.of(name).collect();
    if services.is_empty() {
        let finding = Finding::new(
            RULE_FOR_NOBODY,
            Level::Warning,
            format!("no service has the host {name}"),
        )
        .of(&rule.meta.key)
        .at(&rule.meta.place)
        .effect("the policy and the subsets of this DestinationRule apply to nothing");
        findings.push(nobody(finding, rule, name, context, known));
        return;
    }
    for (policy, number) in ports(rule) {
        if services
            .iter()
            .all(|it| it.ports.iter().all(|port| port.number != number))
        {
            let numbers: Vec<String> = services
                .iter()
                .flat_map(|it| it.ports.iter().map(|port| port.number.to_string()))
                .collect();
            findings.push(
                Finding::new(
                    UNKNOWN_POLICY_PORT,
                    Level::Warning,
                    format!("{policy} has settings for port {number}, which {name} does not have"),
                )
                .of(&rule.meta.key)
                .at(&rule.meta.place)
                .effect("they apply to nothing (BE-27)")
                .help(format!(
                    "ports of the Service are meant, not of its endpoints: {}",
                    numbers.join(", ")
                )),
            );
        }
    }
}

fn nobody(
    finding: Finding,
    rule: &DestinationRule,
    name: &str,
    context: &ClientContext,
    known: &Known<'_>,
) -> Finding {
    if let Some(alias) = known.aliases.get(name) {
        return finding
            .help(format!(
                "{name} is an ExternalName (BE-18): name its target, {}",
                alias.target
            ))
            .related(&alias.service.meta.place, "the alias");
    }
    if let Some((full, meta)) = known.completed(name) {
        return finding
            .help(format!("a name with a dot is taken as it is: write {full}"))
            .related(&meta.place, "this Service");
    }
    let short = format!(
        ".{}.svc.{}",
        rule.meta.key.namespace, context.cluster_domain
    );
    let bare = name.strip_suffix(short.as_str());
    let same = |it: &&super::services::Service<'_>| {
        it.entry.is_none() && bare.is_some_and(|bare| &*it.meta.key.name == bare)
    };
    match known.all().iter().find(same) {
        Some(other) => finding
            .help(format!(
                "a Service {} exists in namespace {}: write {}",
                other.meta.key.name, other.meta.key.namespace, other.host
            ))
            .related(&other.meta.place, "this Service"),
        None => finding.help("correct `host`, or create the Service or a ServiceEntry"),
    }
}

/// Ports that policies of a rule speak of, with the name of the policy.
fn ports(rule: &DestinationRule) -> impl Iterator<Item = (String, u16)> {
    let top = rule
        .policy
        .iter()
        .map(|policy| ("trafficPolicy".to_owned(), policy));
    let subsets = rule
        .subsets
        .iter()
        .filter_map(|subset| Some((format!("subset {}", subset.name), subset.policy.as_ref()?)));
    top.chain(subsets)
        .flat_map(|(name, policy): (String, &TrafficPolicy)| {
            policy
                .ports
                .iter()
                .map(move |(number, _)| (name.clone(), *number))
        })
}

/// ALS-6, ALS-12, ALS-14.
fn alias_end(alias: &Alias<'_>, known: &Known<'_>) -> Option<Finding> {
    let end = known.follow(alias).err()?;
    let (level, message) = match end {
        End::Loop => (
            Level::Warning,
            "this ExternalName leads back to itself".to_owned(),
        ),
        // Names outside the cluster are what aliases are usually made for.
        End::Unknown(host) if known.completed(host).is_none() => (
            Level::Info,
            format!("this ExternalName leads to {host}, which is no known service"),
        ),
        End::Unknown(host) => (
            Level::Warning,
            format!("this ExternalName leads to {host}, which is taken as it is"),
        ),
    };
    let finding = Finding::new(ALIAS, level, message)
        .of(&alias.service.meta.key)
        .at(&alias.service.meta.place)
        .effect(
            "its name is no host that requests or connections are recognised by; they pass through",
        );
    Some(match end {
        End::Loop => finding.help("let one of the chain lead to a service"),
        End::Unknown(host) => match known.completed(host) {
            Some((full, meta)) => finding
                .help(format!(
                    "a target is never completed (ALS-14): write {full}"
                ))
                .related(&meta.place, "this Service"),
            None => finding.help(format!("a ServiceEntry for {host} makes it known")),
        },
    })
}
