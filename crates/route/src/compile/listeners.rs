//! Listeners: what each service port contributes (LIS-20..28), and who wins where several want the
//! same place (LIS-50..59).
use crate::{
    cluster::EndpointAddress,
    listener::{Bind, Chains, Inspection, Listener, NameChains, Purpose},
    rule::TcpRule,
};
use foldhash::HashMap;
use ipnet::IpNet;
use pointsman_model::{
    ClientContext, Finding, KnownNames, Level, ObjectKey, Place, Protocol, ProtocolClass,
    ServicePort, context::EntryCapture,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use super::{
    bindings::Bindings,
    chains::{RawChain, raw_chains},
    findings::{ADDRESS_TAKEN, Findings, GUARDED_ENTRY},
    hosts::Builder,
    registry::{Placement, Registry, Service},
    rules::Compiler,
};

/// A listener under construction.
pub(crate) struct Draft {
    pub(crate) listener: Listener,
    pub(crate) bind: Bind,
    /// Protocol of the first service, for LIS-57.
    pub(super) protocol: Protocol,
}

/// How the chains of a service without criteria of their own are limited.
enum Limit<'a> {
    /// Not at all.
    None,
    /// To address ranges (LIS-26).
    Ranges(&'a [IpNet]),
    /// To known addresses: the swallow guard.
    Known(&'a [IpAddr]),
}

struct Listeners<'f> {
    drafts: Vec<Draft>,
    by_place: HashMap<(Option<IpAddr>, u16), usize>,
    findings: &'f mut Findings,
}

/// All listeners, in the order services are met.
pub(crate) fn build<'w>(
    registry: &Registry<'w>,
    bindings: &Bindings<'w>,
    hosts: &mut Builder<'_, 'w>,
    rules: &mut Compiler<'_, 'w>,
    context: &ClientContext,
    names: &KnownNames,
    findings: &mut Findings,
) -> Vec<Draft> {
    let mut made = Listeners {
        drafts: Vec::new(),
        by_place: HashMap::default(),
        findings,
    };
    for (index, service) in registry.services.iter().enumerate() {
        for port in &service.ports {
            let class = port.protocol.class();
            made.open_node_port((index, *port), registry, bindings, hosts, rules, context);
            if class == ProtocolClass::Http {
                // The address plays no role (LIS-30).
                let place = (None, port.number);
                if let Some(at) = made.open(place, service, port, Purpose::Wildcard) {
                    made.drafts[at].listener.http = Some(hosts.shared(port.number));
                }
                continue;
            }
            let places = places_of(service, port, rules, context);
            let wildcard = match service.placement {
                Placement::Addresses => !service.ranges.is_empty(),
                Placement::Anywhere => true,
                Placement::PerEndpoint | Placement::Nowhere => false,
            };
            if places.is_empty() && !wildcard {
                continue;
            }
            let auto = class == ProtocolClass::Auto;
            if !places.is_empty() {
                let chains = raw_chains(
                    service,
                    port,
                    false,
                    bindings,
                    rules,
                    context,
                    made.findings,
                );
                let purpose = match service.placement {
                    Placement::PerEndpoint => Purpose::Endpoint,
                    _ => Purpose::Address,
                };
                let mut table = None;
                for address in places {
                    let place = (Some(address), port.number);
                    let Some(at) = made.open(place, service, port, purpose) else {
                        continue;
                    };
                    if auto && made.drafts[at].listener.http.is_none() {
                        if table.is_none() {
                            table = hosts.single(index, port, rules, made.findings);
                        }
                        made.drafts[at].listener.http = table;
                    }
                    made.install(at, &chains, &Limit::None, service, port);
                }
            }
            let place = (None, port.number);
            if wildcard && let Some(at) = made.open(place, service, port, Purpose::Wildcard) {
                if auto {
                    made.drafts[at].listener.http = Some(hosts.shared(port.number));
                }
                let chains =
                    raw_chains(service, port, true, bindings, rules, context, made.findings);
                let known;
                let limit = if service.placement == Placement::Addresses {
                    Limit::Ranges(&service.ranges)
                } else if class == ProtocolClass::Tls {
                    Limit::None // the server name limits it
                } else {
                    known = service.known_addresses(names);
                    made.tell_capture(service, port, &known, context.entry_capture);
                    match context.entry_capture {
                        EntryCapture::Resolved => Limit::Known(&known),
                        EntryCapture::Port => Limit::None,
                    }
                };
                made.install(at, &chains, &limit, service, port);
            }
        }
    }
    hosts.fill(rules, made.findings);
    for draft in &mut made.drafts {
        draft.listener.derive_inspection();
    }
    made.drafts
}

/// The addresses a port listens on by itself: the service's, or its endpoints' (LIS-21, LIS-24).
fn places_of(
    service: &Service<'_>,
    port: &ServicePort,
    rules: &Compiler<'_, '_>,
    context: &ClientContext,
) -> Vec<IpAddr> {
    if service.placement == Placement::Addresses {
        return service.vips.to_vec();
    }
    if service.placement != Placement::PerEndpoint {
        return Vec::new();
    }
    let backends = rules.destinations.backends;
    let cluster = backends
        .id(&service.host, port.number, None)
        .map(|id| backends.cluster(id));
    let mut places: Vec<IpAddr> = Vec::new();
    for endpoint in cluster
        .into_iter()
        .flat_map(|cluster| cluster.endpoints.iter())
    {
        if let EndpointAddress::Socket(address) = &endpoint.address
            && !context.addresses.contains(&address.ip())
        {
            places.push(address.ip());
        }
    }
    places.sort_unstable();
    places.dedup();
    places
}

impl Listeners<'_> {
    /// Every node's address with the port leads to the service (LIS-7): as an auto port does at its
    /// own address, whatever its protocol is (LIS-31).
    fn open_node_port<'w>(
        &mut self,
        (index, port): (usize, &'w ServicePort),
        registry: &Registry<'w>,
        bindings: &Bindings<'w>,
        hosts: &mut Builder<'_, 'w>,
        rules: &mut Compiler<'_, 'w>,
        context: &ClientContext,
    ) {
        let (Some(number), Some(service)) = (port.node_port, registry.get(index)) else {
            return;
        };
        if service.placement != Placement::Addresses || context.outside.nodes.is_empty() {
            return;
        }
        let class = port.protocol.class();
        let chains = if class == ProtocolClass::Http {
            Vec::new()
        } else {
            let findings = &mut *self.findings;
            raw_chains(service, port, false, bindings, rules, context, findings)
        };
        let table = if matches!(class, ProtocolClass::Http | ProtocolClass::Auto) {
            hosts.single(index, port, rules, self.findings)
        } else {
            None
        };
        for node in &context.outside.nodes {
            let place = (Some(node.to_canonical()), number);
            let Some(at) = self.open(place, service, port, Purpose::Address) else {
                continue;
            };
            if let Some(draft) = self.drafts.get_mut(at) {
                draft.listener.http = draft.listener.http.or(table);
            }
            self.install(at, &chains, &Limit::None, service, port);
        }
    }

    /// The draft of a place, made if new; `None` if the port's protocol may not share it (LIS-57).
    fn open(
        &mut self,
        key: (Option<IpAddr>, u16),
        service: &Service<'_>,
        port: &ServicePort,
        purpose: Purpose,
    ) -> Option<usize> {
        let (address, number) = key;
        if let Some(&at) = self.by_place.get(&key) {
            let first = self.drafts.get(at)?;
            let refuses = first.protocol.refuses_inspection() || port.protocol.refuses_inspection();
            if refuses && first.protocol != port.protocol {
                let (object, place) = (first.bind.object.clone(), first.bind.place.clone());
                self.tell_taken(key, service, port, &object, &place);
                return None;
            }
            return Some(at);
        }
        let wildcard = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.drafts.push(Draft {
            listener: Listener {
                address,
                port: number,
                inspection: Inspection::NONE,
                http: None,
                open: None,
                chains: None,
                gateway: None,
            },
            bind: Bind {
                address: SocketAddr::new(address.unwrap_or(wildcard), number),
                place: port.place.clone(),
                object: service.meta.key.clone(),
                purpose,
            },
            protocol: port.protocol,
        });
        let at = self.drafts.len() - 1;
        self.by_place.insert(key, at);
        Some(at)
    }

    /// Puts chains in; criteria that are taken stay with the first (LIS-53).
    fn install(
        &mut self,
        at: usize,
        chains: &[RawChain],
        limit: &Limit<'_>,
        service: &Service<'_>,
        port: &ServicePort,
    ) {
        let Some(draft) = self.drafts.get_mut(at) else {
            return;
        };
        let mut taken = None;
        for chain in chains {
            let rejected = put(&mut draft.listener, chain, limit);
            // Two chains of one service with equal criteria are no conflict: VS-S-6.
            taken = taken
                .or(rejected
                    .filter(|winner| !chains.iter().any(|own| Arc::ptr_eq(&own.rule, winner))));
        }
        if let Some(winner) = taken {
            let key = (draft.listener.address, draft.listener.port);
            let origin = &winner.origin;
            let (object, place) = (origin.object.clone(), origin.place.clone());
            self.tell_taken(key, service, port, &object, &place);
        }
    }

    fn tell_taken(
        &mut self,
        (address, number): (Option<IpAddr>, u16),
        service: &Service<'_>,
        port: &ServicePort,
        winner: &ObjectKey,
        place: &Place,
    ) {
        let taken = match address {
            Some(address) => SocketAddr::new(address, number).to_string(),
            None => format!("port {number} on all addresses"),
        };
        self.findings.push(
            Finding::new(
                ADDRESS_TAKEN,
                Level::Warning,
                format!("{taken} is already taken by {winner}"),
            )
            .of(&service.meta.key)
            .at(&port.place)
            .effect(format!(
                "connections there go to {winner}; {} port {} ({}) does not get them",
                service.host, port.number, port.protocol
            ))
            .help("give one of them another port or address")
            .related(
                place,
                "the first one (private exports first, then the oldest) keeps it",
            ),
        );
    }

    /// An entry without addresses cannot be told from other traffic of its port.
    fn tell_capture(
        &mut self,
        service: &Service<'_>,
        port: &ServicePort,
        known: &[IpAddr],
        capture: EntryCapture,
    ) {
        let number = port.number;
        let effect = match (capture, known) {
            (EntryCapture::Port, _) => {
                format!(
                    "every connection to port {number} of any address goes to {}, unless another service has that address",
                    service.host
                )
            }
            (EntryCapture::Resolved, []) => {
                format!(
                    "no address of {} is known, so no connection to port {number} goes to it",
                    service.host
                )
            }
            (EntryCapture::Resolved, known) => {
                let list: Vec<String> = known.iter().take(4).map(IpAddr::to_string).collect();
                let more = if known.len() > list.len() {
                    ", ..."
                } else {
                    ""
                };
                format!(
                    "only connections to {}{more} on port {number} go to {}",
                    list.join(", "),
                    service.host
                )
            }
        };
        self.findings.push(
            Finding::new(
                GUARDED_ENTRY,
                Level::Warning,
                format!(
                    "{} port of {} has no addresses to be recognised by",
                    port.protocol, service.meta.key
                ),
            )
            .of(&service.meta.key)
            .at(&port.place)
            .effect(effect)
            .help("list the addresses in spec.addresses"),
        );
    }
}

/// Puts one chain in; the rule that already has the place comes back.
fn put(listener: &mut Listener, chain: &RawChain, limit: &Limit<'_>) -> Option<Arc<TcpRule>> {
    let ranges: &[IpNet] = match limit {
        _ if !chain.subnets.is_empty() => &chain.subnets,
        Limit::Ranges(ranges) => ranges,
        _ => &[],
    };
    if ranges.is_empty() && chain.names.is_empty() && !matches!(limit, Limit::Known(_)) {
        return put_in(&mut listener.open, &chain.rule);
    }
    let chains = listener.chains.get_or_insert_with(Box::default);
    if !ranges.is_empty() {
        let mut taken = None;
        for range in ranges {
            let rejected = put_names(chains.subnets.entry(*range), chain);
            taken = taken.or(rejected);
        }
        return taken;
    }
    if !chain.names.is_empty() {
        return put_names(&mut chains.names, chain);
    }
    match limit {
        Limit::Known(addresses) => put_guarded(chains, addresses, &chain.rule),
        _ => None,
    }
}

fn put_in(slot: &mut Option<Arc<TcpRule>>, rule: &Arc<TcpRule>) -> Option<Arc<TcpRule>> {
    if slot.is_some() {
        return slot.clone();
    }
    *slot = Some(Arc::clone(rule));
    None
}

fn put_names(names: &mut NameChains, chain: &RawChain) -> Option<Arc<TcpRule>> {
    use pointsman_model::HostPattern::{Any, Exact, Suffix};
    let rule = &chain.rule;
    if chain.names.is_empty() {
        return put_in(&mut names.any, rule);
    }
    let mut taken = None;
    for name in &chain.names {
        let rejected = match name {
            // Never in a list beside others: `*` drops the criterion (LIS-45).
            Any => None,
            Exact(name) => match names.exact.get(name) {
                Some(winner) => Some(Arc::clone(winner)),
                None => names.exact.insert(Arc::clone(name), Arc::clone(rule)),
            },
            Suffix(suffix) => match names.wildcards.get(suffix) {
                Some(winner) => Some(Arc::clone(winner)),
                None => names.wildcards.insert(suffix, Arc::clone(rule)).err(),
            },
        };
        taken = taken.or(rejected);
    }
    taken
}

fn put_guarded(
    chains: &mut Chains,
    addresses: &[IpAddr],
    rule: &Arc<TcpRule>,
) -> Option<Arc<TcpRule>> {
    chains.is_guarded = true;
    let mut taken = None;
    for address in addresses {
        let winner = chains
            .guarded
            .entry(*address)
            .or_insert_with(|| Arc::clone(rule));
        if !Arc::ptr_eq(winner, rule) {
            taken = Some(Arc::clone(winner));
        }
    }
    taken
}
