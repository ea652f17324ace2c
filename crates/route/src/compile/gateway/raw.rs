//! What a gateway routes as bytes: TLS by server name (GW-15, GW-33, GW-43, GW-72), and TCP (GW-71).
use crate::{
    gateway::listener::{TlsChain, TlsChains},
    rule::{Origin, TcpRule},
};
use pointsman_model::{Finding, HostPattern, Level, ServicePort, VirtualService};
use std::sync::Arc;

use super::{servers::Served, speakers::Speakers};
use crate::compile::{
    destinations::Destinations,
    findings::{Findings, SERVER_NAME_TAKEN},
    registry::{Service, Source},
    rules::{Compiler, RawRoute, applies_to_bytes},
};

/// The first rule that speaks of the port and the Gateway takes everything (GW-71).
pub(super) fn first_tcp<'w>(
    served: &Served<'w>,
    speakers: &Speakers<'w>,
    rules: &Compiler<'_, 'w>,
    findings: &mut Findings,
) -> Option<Arc<TcpRule>> {
    let port = served.server.port;
    speakers.overlapping(served).find_map(|speaker| {
        let route = speaker.tcp.iter().find(|route| {
            let mut matches = route.matches.iter();
            route.matches.is_empty()
                || matches.any(|one| applies_to_bytes(&one.client, port, served.side()))
        })?;
        let written = RawRoute {
            section: "tcp",
            index: route.index,
            place: &route.place,
            route: &route.route,
        };
        Some(rules.bytes(speaker, &written, port, findings))
    })
}

/// TLS chains under construction; who takes a server name first keeps it.
#[derive(Default)]
pub(super) struct Chains {
    made: TlsChains,
}

impl Chains {
    pub(super) fn finish(self) -> TlsChains {
        self.made
    }

    /// PASSTHROUGH: the names are those of the rules, not of the server (GW-43).
    pub(super) fn passthrough<'w>(
        &mut self,
        served: &Served<'w>,
        speakers: &Speakers<'w>,
        rules: &Compiler<'_, 'w>,
        findings: &mut Findings,
    ) {
        let port = served.server.port;
        for speaker in speakers.overlapping(served) {
            for route in &speaker.tls {
                let mut made = None;
                for item in &route.matches {
                    if !applies_to_bytes(&item.client, port, served.side()) {
                        continue;
                    }
                    // A name that is taken sets the whole item aside (GW-72).
                    if let Some(name) = names(&item.sni_hosts).find(|name| self.has(name)) {
                        findings.push(taken(served, speaker, &item.place, name));
                        continue;
                    }
                    let rule = made.get_or_insert_with(|| {
                        let written = RawRoute {
                            section: "tls",
                            index: route.index,
                            place: &route.place,
                            route: &route.route,
                        };
                        rules.bytes(speaker, &written, port, findings)
                    });
                    for name in names(&item.sni_hosts) {
                        self.put(name, TlsChain::Forward(Arc::clone(rule)));
                    }
                }
            }
        }
    }

    /// A server that ends TLS: its hosts are the names (GW-40).
    pub(super) fn terminate(&mut self, served: &Served<'_>, chain: TlsChain) {
        let hosts: Vec<HostPattern> = served
            .server
            .hosts
            .iter()
            .map(|host| host.host.clone())
            .collect();
        for name in names(&hosts) {
            self.put(name, chain.clone());
        }
    }

    /// AUTO_PASSTHROUGH: a name for each cluster of the mesh's own services (GW-15).
    pub(super) fn mesh(&mut self, served: &Served<'_>, destinations: &Destinations<'_, '_>) {
        let registry = destinations.registry;
        for (index, service) in registry.services.iter().enumerate() {
            let internal = match service.source {
                Source::Kube(_) => true,
                Source::Entry(entry) => entry.mesh_internal,
            };
            let hosts = &served.server.hosts;
            let inside = hosts.iter().any(|own| own.host.covers(&service.pattern));
            if !internal || !inside || service.pattern.is_wildcard() {
                continue;
            }
            for port in &service.ports {
                let subsets = destinations.backends.subsets(index).iter();
                let subsets = subsets.map(|subset| Some(&subset.name));
                for subset in std::iter::once(None).chain(subsets) {
                    let name = format!(
                        "outbound_.{}_.{}_.{}",
                        port.number,
                        subset.map_or("", |subset| &**subset),
                        service.host
                    );
                    let rule = to_cluster(service, port, subset, destinations);
                    let name = HostPattern::Exact(name.to_ascii_lowercase().into());
                    self.put(&name, TlsChain::Mesh(Arc::new(rule)));
                }
            }
        }
    }

    fn has(&self, name: &HostPattern) -> bool {
        match name {
            HostPattern::Exact(name) => self.made.exact.contains_key(name),
            HostPattern::Suffix(suffix) => self.made.wildcards.get(suffix).is_some(),
            HostPattern::Any => self.made.any.is_some(),
        }
    }

    fn put(&mut self, name: &HostPattern, chain: TlsChain) {
        match name {
            HostPattern::Exact(name) => {
                let slot = self.made.exact.entry(Arc::clone(name));
                slot.or_insert(chain);
            }
            HostPattern::Suffix(suffix) => drop(self.made.wildcards.insert(suffix, chain)),
            HostPattern::Any => {
                self.made.any.get_or_insert(chain);
            }
        }
    }
}

/// `*` among names drops the criterion (LIS-45).
fn names(all: &[HostPattern]) -> impl Iterator<Item = &HostPattern> {
    let any = all.contains(&HostPattern::Any);
    let mut seen_any = false;
    all.iter().filter(move |name| {
        if !any {
            return true;
        }
        let first = **name == HostPattern::Any && !seen_any;
        seen_any |= first;
        first
    })
}

fn to_cluster(
    service: &Service<'_>,
    port: &ServicePort,
    subset: Option<&Arc<str>>,
    destinations: &Destinations<'_, '_>,
) -> TcpRule {
    let subset_text = subset.map_or("", |subset| &**subset);
    TcpRule {
        origin: Origin {
            object: service.meta.key.clone(),
            rule: None,
            name: None,
            place: port.place.clone(),
            label: format!(
                "server name of outbound|{}|{subset_text}|{}",
                port.number, service.host
            )
            .into(),
        },
        split: destinations.own_split(service, port, subset),
    }
}

fn taken(
    served: &Served<'_>,
    speaker: &VirtualService,
    place: &pointsman_model::Place,
    name: &HostPattern,
) -> Finding {
    Finding::new(
        SERVER_NAME_TAKEN,
        Level::Warning,
        format!(
            "server name {name} has a rule on port {} of a gateway already",
            served.server.port
        ),
    )
    .of(&speaker.meta.key)
    .at(place)
    .effect("the whole match is left out there, with all its names")
    .help("name each server name once on a port")
    .related(&served.server.place, "on this server")
}
