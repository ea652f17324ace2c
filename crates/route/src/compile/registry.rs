//! Which services exist in the client's eyes, in the order that decides all "first wins" rules.
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, HostPattern, KnownNames, KubeService, Meta, ProtocolClass, ServiceEntry,
    ServiceKind, ServicePort, World,
    object::Labels,
    service_entry::{EntryAddress, Resolution},
};
use smallvec::SmallVec;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// The document behind a service.
#[derive(Clone, Copy)]
pub(crate) enum Source<'w> {
    Kube(&'w Arc<KubeService>),
    Entry(&'w Arc<ServiceEntry>),
}

/// Where connections to a service arrive, apart from its host names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// At its addresses and ranges (LIS-20, LIS-25, LIS-26).
    Addresses,
    /// At the addresses of its endpoints (LIS-21).
    PerEndpoint,
    /// Anywhere on its ports (LIS-27).
    Anywhere,
    /// Nowhere: a Service without an address yet.
    Nowhere,
}

/// One service: a Kubernetes Service, or one host of a ServiceEntry (LIS-1).
pub(crate) struct Service<'w> {
    /// Full host as text; wildcards with their `*`.
    pub(crate) host: Arc<str>,
    pub(crate) pattern: HostPattern,
    pub(crate) meta: &'w Meta,
    pub(crate) source: Source<'w>,
    /// Ports but UDP ones (PS-67), no number twice.
    pub(crate) ports: SmallVec<[&'w ServicePort; 2]>,
    pub(crate) vips: SmallVec<[IpAddr; 1]>,
    pub(crate) ranges: Vec<ipnet::IpNet>,
    pub(crate) placement: Placement,
    /// Full names of ExternalName Services that end here (ALS-3, ALS-6).
    pub(crate) aliases: Vec<Arc<str>>,
}

impl<'w> Service<'w> {
    pub(crate) fn port(&self, number: u16) -> Option<&'w ServicePort> {
        self.ports
            .iter()
            .find(|port| port.number == number)
            .copied()
    }

    pub(crate) fn is_headless(&self) -> bool {
        matches!(self.source, Source::Kube(service) if service.kind == ServiceKind::Headless)
    }

    pub(crate) fn entry(&self) -> Option<&'w Arc<ServiceEntry>> {
        match self.source {
            Source::Entry(entry) => Some(entry),
            Source::Kube(_) => None,
        }
    }

    fn add_ports(&mut self, ports: &'w [ServicePort], context: &ClientContext) {
        let namespace = &self.meta.key.namespace;
        for port in ports {
            if port.protocol.class() != ProtocolClass::Udp
                && self.port(port.number).is_none()
                && context.lists_port(namespace, &self.pattern, port.number)
            {
                self.ports.push(port);
            }
        }
    }

    /// Addresses that an address-less entry is known to have: what its hosts and endpoints say
    /// literally, and what names were found to be.
    pub(crate) fn known_addresses(&self, names: &KnownNames) -> Vec<IpAddr> {
        let Some(entry) = self.entry() else {
            return Vec::new();
        };
        let mut addresses = Vec::new();
        let mut add_name = |name: &str| match name.parse::<IpAddr>() {
            Ok(address) => addresses.push(address.to_canonical()),
            Err(_) => {
                let known = names.get(name).unwrap_or_default();
                addresses.extend(known.iter().map(IpAddr::to_canonical));
            }
        };
        add_name(&self.host);
        let mut literal = Vec::new();
        for endpoint in &entry.endpoints {
            match &endpoint.address {
                EntryAddress::Ip(address) => literal.push(address.to_canonical()),
                EntryAddress::Name(name) => add_name(name),
                EntryAddress::Unix(_) => {}
            }
        }
        addresses.extend(literal);
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// All services and aliases.
pub(crate) struct Registry<'w> {
    /// In the order of LIS-2.
    pub(crate) services: Vec<Service<'w>>,
    by_host: HashMap<Arc<str>, usize>,
    /// Alias host -> target host.
    aliases: HashMap<Arc<str>, Arc<str>>,
}

impl<'w> Registry<'w> {
    pub(crate) fn build(world: &'w World, context: &ClientContext) -> Self {
        let domain = &context.cluster_domain;
        let mut candidates = Vec::with_capacity(world.services.len());
        let mut aliases = Vec::new();
        for service in world.services.values() {
            // The alias's own visibility is not asked for (ALS-13).
            if let ServiceKind::ExternalName { target } = &service.kind {
                aliases.push((&service.meta, service.host(domain), Arc::clone(target)));
            } else if context.sees(&service.meta) {
                candidates.push(from_kube(service, context));
            }
        }
        for entry in world.service_entries.values() {
            if context.sees(&entry.meta) {
                let hosts = entry.hosts.iter();
                candidates.extend(hosts.map(|host| from_entry(entry, host, context)));
            }
        }
        if context.sidecar.is_some() {
            // Before one of each host is chosen: what is not listed is unknown, and hides nobody.
            candidates.retain(|service| !service.ports.is_empty());
        }
        candidates.sort_by(|a, b| order(a, context).cmp(&order(b, context)));
        let (services, by_host) = one_per_host(candidates, context);
        aliases.sort_by(|a, b| a.0.age_key().cmp(&b.0.age_key()));
        let mut registry = Self {
            services,
            by_host,
            aliases: HashMap::default(),
        };
        registry.aliases = aliases
            .iter()
            .map(|(_, host, target)| (Arc::clone(host), Arc::clone(target)))
            .collect();
        for (_, alias, _) in aliases {
            if registry.exact(&alias).is_none()
                && let Some(index) = registry.resolve(&alias)
                && let Some(service) = registry.services.get_mut(index)
            {
                service.aliases.push(alias);
            }
        }
        registry
    }

    /// The service of exactly that host.
    pub(crate) fn exact(&self, host: &str) -> Option<usize> {
        self.by_host.get(host).copied()
    }

    /// The service of a host, aliases followed to their end (ALS-6, ALS-9). A loop is unknown.
    pub(crate) fn resolve(&self, host: &str) -> Option<usize> {
        let mut host = host;
        // A chain visits every alias at most once, so a longer walk is a loop.
        for _ in 0..=self.aliases.len() {
            if let Some(index) = self.exact(host) {
                return Some(index);
            }
            host = self.aliases.get(host)?;
        }
        None
    }

    /// Is the host an alias, known target or not?
    pub(crate) fn alias_target(&self, host: &str) -> Option<&Arc<str>> {
        self.aliases.get(host)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Service<'w>> {
        self.services.get(index)
    }

    /// Some service of that host, for callers who know it exists.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.iter().map(|service| &service.host)
    }
}

/// Private exports first, then oldest first (LIS-2). Equal keys keep Services before entries.
fn order<'a>(service: &'a Service<'_>, context: &ClientContext) -> (bool, (i64, &'a str, &'a str)) {
    let export = context.export_defaults.list(service.meta);
    let public = export.is_empty() || export.iter().any(|item| &**item == "*");
    (public, service.meta.age_key())
}

fn from_kube<'w>(service: &'w Arc<KubeService>, context: &ClientContext) -> Service<'w> {
    let host = service.host(&context.cluster_domain);
    let (vips, placement): (SmallVec<[IpAddr; 1]>, _) = match &service.kind {
        ServiceKind::ClusterIp { addresses } if !addresses.is_empty() => (
            addresses.iter().map(IpAddr::to_canonical).collect(),
            Placement::Addresses,
        ),
        ServiceKind::Headless => (SmallVec::new(), Placement::PerEndpoint),
        _ => (SmallVec::new(), Placement::Nowhere),
    };
    let mut vips = vips;
    if placement == Placement::Addresses && context.outside.external_addresses {
        for address in &service.external_addresses {
            let address = address.to_canonical();
            if !vips.contains(&address) {
                vips.push(address);
            }
        }
    }
    let mut made = Service {
        pattern: HostPattern::Exact(Arc::clone(&host)),
        host,
        meta: &service.meta,
        source: Source::Kube(service),
        ports: SmallVec::new(),
        vips,
        ranges: Vec::new(),
        placement,
        aliases: Vec::new(),
    };
    made.add_ports(&service.ports, context);
    made
}

fn from_entry<'w>(
    entry: &'w Arc<ServiceEntry>,
    host: &HostPattern,
    context: &ClientContext,
) -> Service<'w> {
    let mut vips = SmallVec::new();
    let mut ranges = Vec::new();
    for net in &entry.addresses {
        // 0.0.0.0 stands for "no address" (LIS-4).
        if net.addr() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            || net.addr() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        {
            continue;
        }
        if net.prefix_len() == net.max_prefix_len() {
            vips.push(net.addr().to_canonical());
        } else {
            ranges.push(net.trunc());
        }
    }
    let own_endpoints = !entry.endpoints.is_empty() || entry.workload_selector.is_some();
    let placement = if !vips.is_empty() || !ranges.is_empty() {
        Placement::Addresses
    } else if entry.resolution == Resolution::None && own_endpoints {
        Placement::PerEndpoint
    } else {
        Placement::Anywhere
    };
    let text = match host {
        HostPattern::Exact(name) => Arc::clone(name),
        pattern => pattern.to_string().into(),
    };
    let mut made = Service {
        host: text,
        pattern: host.clone(),
        meta: &entry.meta,
        source: Source::Entry(entry),
        ports: SmallVec::new(),
        vips,
        ranges,
        placement,
        aliases: Vec::new(),
    };
    made.add_ports(&entry.ports, context);
    made
}

/// One service per host (LIS-3): a Kubernetes Service beats an entry, then the client's namespace,
/// then the order. Entries that are equal in everything else unite their ports.
fn one_per_host<'w>(
    candidates: Vec<Service<'w>>,
    context: &ClientContext,
) -> (Vec<Service<'w>>, HashMap<Arc<str>, usize>) {
    let rank = |service: &Service<'_>| {
        let kube = matches!(service.source, Source::Kube(_));
        let own = service.meta.key.namespace == context.namespace;
        (kube, own)
    };
    let mut winners: HashMap<Arc<str>, usize> = HashMap::default();
    winners.reserve(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        winners
            .entry(Arc::clone(&candidate.host))
            .and_modify(|winner| {
                if candidates
                    .get(*winner)
                    .is_some_and(|winner| rank(candidate) > rank(winner))
                {
                    *winner = index;
                }
            })
            .or_insert(index);
    }
    let mut kept: Vec<Service<'w>> = Vec::with_capacity(winners.len());
    let mut losers = Vec::new();
    for (index, candidate) in candidates.into_iter().enumerate() {
        match winners.get_mut(&candidate.host) {
            Some(winner) if *winner == index => {
                *winner = kept.len();
                // From here on `winner` means a place in `kept`, and no later candidate of this
                // host can be mistaken for it: its index is larger than any place in `kept`.
                kept.push(candidate);
            }
            _ => losers.push(candidate),
        }
    }
    for loser in losers {
        let winner = winners.get(&loser.host).and_then(|&at| kept.get_mut(at));
        if let (Some(winner), Source::Entry(other)) = (winner, loser.source)
            && winner.entry().is_some_and(|own| unites(own, other))
        {
            winner.add_ports(&other.ports, context);
        }
    }
    (kept, winners)
}

fn unites(own: &ServiceEntry, other: &ServiceEntry) -> bool {
    let selector = |entry: &ServiceEntry| -> Option<Labels> { entry.workload_selector.clone() };
    own.meta.key.namespace == other.meta.key.namespace
        && own.resolution == other.resolution
        && own.meta.labels == other.meta.labels
        && own.meta.export_to == other.meta.export_to
        && selector(own) == selector(other)
}
