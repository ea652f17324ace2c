//! Host tables of a gateway (GW-37, GW-44, GW-47, GW-50..53, GW-63..69).
use crate::{
    condition::{Alternative, Condition},
    gateway::names::{GatewayHost, ServerNames},
    hosts::{HostTable, Hosts, VirtualHost},
    rule::{Origin, Rule, RuleList},
    table::HttpTableId,
    text::Text,
};
use foldhash::HashMap;
use pointsman_model::{HostPattern, ObjectKey, Place, VirtualService};
use std::sync::Arc;

use super::{
    servers::{Served, intersection},
    speakers::Speakers,
};
use crate::compile::{findings::Findings, hosts::Known, rules::Compiler, share};

/// The tables so far.
pub(super) struct Tables<'k> {
    known: &'k Known<'k>,
    tables: Vec<Arc<HostTable>>,
    /// What one VirtualService says by one Gateway on one port.
    parts: Vec<Part>,
    by_origin: HashMap<(Arc<str>, u16, ObjectKey), Option<usize>>,
    /// Concatenations by their parts: hosts with the same parts share one list.
    lists: HashMap<Vec<usize>, Arc<RuleList>>,
    nothing: Arc<RuleList>,
}

struct Part {
    service: Arc<VirtualService>,
    rules: Vec<Rule>,
}

/// A virtual host under construction.
struct Host {
    pattern: HostPattern,
    port: u16,
    place: Place,
    parts: Vec<usize>,
    https_redirect: Option<Origin>,
}

impl<'k> Tables<'k> {
    pub(super) fn new(known: &'k Known<'k>) -> Self {
        Self {
            known,
            tables: Vec::new(),
            parts: Vec::new(),
            by_origin: HashMap::default(),
            lists: HashMap::default(),
            nothing: Arc::new(RuleList::new(Vec::new())),
        }
    }

    pub(super) fn finish(self) -> Vec<Arc<HostTable>> {
        self.tables
    }

    /// The table of some servers: those of a plain HTTP port, or one of HTTPS.
    pub(super) fn build<'w>(
        &mut self,
        label: Arc<str>,
        servers: &[Served<'w>],
        speakers: &Speakers<'w>,
        rules: &mut Compiler<'_, 'w>,
        findings: &mut Findings,
    ) -> HttpTableId {
        let mut hosts: Vec<Host> = Vec::new();
        let mut places: HashMap<HostPattern, usize> = HashMap::default();
        let mut host = |pattern: &HostPattern, place: &Place, port: u16| {
            *places.entry(pattern.clone()).or_insert_with(|| {
                hosts.push(Host {
                    pattern: pattern.clone(),
                    port,
                    place: place.clone(),
                    parts: Vec::new(),
                    https_redirect: None,
                });
                hosts.len() - 1
            })
        };
        let mut wanted: Vec<(usize, Option<usize>, Option<Origin>)> = Vec::new();
        for served in servers {
            let server = served.server;
            let redirect = server.redirects_to_https().then(|| served.origin());
            for speaker in speakers.of(&served.name) {
                let namespace = &speaker.meta.key.namespace;
                let common = intersection(&server.hosts, &speaker.hosts, namespace);
                if common.is_empty() {
                    continue;
                }
                // GW-68: what cannot apply here contributes nothing, not even the host.
                let Some(part) = self.part(speaker, served, rules, findings) else {
                    continue;
                };
                for pattern in &common {
                    let at = host(pattern, &speaker.meta.place, server.port);
                    wanted.push((at, Some(part), redirect.clone()));
                }
            }
            if redirect.is_some() {
                for own in &server.hosts {
                    let at = host(&own.host, &own.place, server.port);
                    wanted.push((at, None, redirect.clone()));
                }
            }
        }
        for (at, part, redirect) in wanted {
            let Some(host) = hosts.get_mut(at) else {
                continue;
            };
            if let Some(part) = part
                && !host.parts.contains(&part)
            {
                host.parts.push(part);
            }
            // One of several servers is enough (GW-53).
            host.https_redirect = host.https_redirect.take().or(redirect);
        }
        let port = servers.first().map_or(0, |served| served.server.port);
        self.finish_table(label, port, hosts)
    }

    fn finish_table(&mut self, label: Arc<str>, port: u16, hosts: Vec<Host>) -> HttpTableId {
        let known = self.known.servers(&label);
        let before = known.and_then(|table| match &table.hosts {
            Hosts::Servers(names) => Some(names),
            _ => None,
        });
        let mut names = ServerNames::new(label);
        for host in hosts {
            let before = before.and_then(|names| names.get(&host.pattern));
            let rules = self.list(&host.parts, before);
            let services = host.parts.iter().filter_map(|part| self.parts.get(*part));
            let made = VirtualHost {
                host: host.pattern.to_string().into(),
                port: host.port,
                service: None,
                place: host.place,
                rules,
                virtual_service: None,
                gateway: Some(Box::new(GatewayHost {
                    https_redirect: host.https_redirect,
                    virtual_services: services.map(|part| Arc::clone(&part.service)).collect(),
                })),
            };
            names.insert(&host.pattern, share(before, made));
        }
        let made = HostTable {
            port,
            hosts: Hosts::Servers(Box::new(names)),
        };
        self.tables.push(share(known, made));
        HttpTableId((self.tables.len() - 1) as u32)
    }

    /// The rules of a VirtualService that can apply by this Gateway and port.
    fn part<'w>(
        &mut self,
        speaker: &Arc<VirtualService>,
        served: &Served<'w>,
        rules: &mut Compiler<'_, 'w>,
        findings: &mut Findings,
    ) -> Option<usize> {
        let port = served.server.port;
        let key = (Arc::clone(&served.name), port, speaker.meta.key.clone());
        if let Some(part) = self.by_origin.get(&key) {
            return *part;
        }
        let rules = rules.http_rules(speaker, port, served.side(), findings);
        let part = (!rules.is_empty()).then(|| {
            self.parts.push(Part {
                service: Arc::clone(speaker),
                rules,
            });
            self.parts.len() - 1
        });
        self.by_origin.insert(key, part);
        part
    }

    fn list(&mut self, parts: &[usize], before: Option<&Arc<VirtualHost>>) -> Arc<RuleList> {
        if parts.is_empty() {
            return Arc::clone(&self.nothing);
        }
        if let Some(list) = self.lists.get(parts) {
            return Arc::clone(list);
        }
        let parts_of = |part: &usize| self.parts.get(*part).map(|part| part.rules.as_slice());
        let slices: Vec<&[Rule]> = parts.iter().filter_map(parts_of).collect();
        let rules = concatenated(&slices);
        // Compared before the index is built, which takes longer.
        let list = match before.map(|host| &host.rules) {
            Some(known) if known.rules().iter().map(|rule| &**rule).eq(&rules) => Arc::clone(known),
            _ => Arc::new(RuleList::new(rules)),
        };
        self.lists.insert(parts.to_vec(), Arc::clone(&list));
        list
    }
}

/// The rules of several VirtualServices of one host, one after the other. What takes everything
/// goes behind all others, in the same order among itself (VS-H-121), and what stands behind it in
/// its own VirtualService is not used (VS-H-5).
fn concatenated(parts: &[&[Rule]]) -> Vec<Rule> {
    if let [only] = parts {
        return only.to_vec();
    }
    let (mut rules, mut last) = (Vec::new(), Vec::new());
    for part in parts {
        for rule in *part {
            let end = rule.alternatives.iter().position(is_catch_all);
            if end.is_none() && !rule.alternatives.is_empty() {
                rules.push(rule.clone());
                continue;
            }
            // Each alternative is a route of its own: those before the one that takes everything
            // keep their place.
            let (before, all) = rule.alternatives.split_at(end.unwrap_or(0));
            let with = |alternatives: &[Alternative]| Rule {
                alternatives: alternatives.into(),
                ..rule.clone()
            };
            if !before.is_empty() {
                rules.push(with(before));
            }
            last.push(with(all.get(..1).unwrap_or(all)));
            break;
        }
    }
    rules.append(&mut last);
    rules
}

/// Path prefix `/` or the pattern `.*`, and nothing else (VS-H-5).
fn is_catch_all(one: &Alternative) -> bool {
    match &*one.conditions {
        [] => true,
        [Condition::Path { text, .. }] => match text {
            Text::Prefix(prefix) => **prefix == *"/",
            Text::Pattern(pattern) => &**pattern.source() == ".*",
            Text::Present | Text::Exact(_) => false,
        },
        _ => false,
    }
}
