//! The endpoints of a service port (BE-92..94, BE-105..121).
use crate::cluster::{Endpoint, EndpointAddress, Health};
use foldhash::{HashMap, HashSet};
use pointsman_model::{
    ClientContext, EndpointSet, KnownNames, KubeService, Pod, ServiceEntry, ServicePort,
    WorkloadEntry, World,
    endpoint::Readiness,
    object::Labels,
    policy::selects,
    service_entry::{EntryAddress, EntryEndpoint, Resolution},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::registry::{Service, Source};

/// A Pod, and its labels to be shared by all its endpoints.
type KnownPod<'w> = (&'w Arc<Pod>, Arc<Labels>);

/// Where endpoints are looked up.
pub(crate) struct Sources<'w> {
    slices: HashMap<(&'w str, &'w str), Vec<&'w Arc<EndpointSet>>>,
    pods: HashMap<(&'w str, &'w str), KnownPod<'w>>,
    pods_of: HashMap<&'w str, Vec<&'w Arc<Pod>>>,
    workloads_of: HashMap<&'w str, Vec<&'w Arc<WorkloadEntry>>>,
    /// ServiceEntries by host and namespace: they share their endpoints, and give them to a
    /// Service of the same host and namespace (BE-105).
    entries: HashMap<(Arc<str>, &'w str), Vec<&'w Arc<ServiceEntry>>>,
    no_labels: Arc<Labels>,
    node: Option<Arc<str>>,
    names: &'w KnownNames,
}

impl<'w> Sources<'w> {
    pub(crate) fn build(world: &'w World, context: &ClientContext) -> Self {
        let mut slices: HashMap<_, Vec<_>> = HashMap::default();
        for set in world.endpoints.values() {
            let key = (&*set.meta.key.namespace, &*set.service);
            slices.entry(key).or_default().push(set);
        }
        let mut pods = HashMap::default();
        let mut pods_of: HashMap<&str, Vec<_>> = HashMap::default();
        for pod in world.pods.values() {
            let key = (&*pod.meta.key.namespace, &*pod.meta.key.name);
            pods.insert(key, (pod, Arc::new(pod.labels().clone())));
            pods_of.entry(key.0).or_default().push(pod);
        }
        let mut workloads_of: HashMap<&str, Vec<_>> = HashMap::default();
        for workload in world.workload_entries.values() {
            let namespace = &*workload.meta.key.namespace;
            workloads_of.entry(namespace).or_default().push(workload);
        }
        let mut entries: HashMap<_, Vec<_>> = HashMap::default();
        for entry in world.service_entries.values() {
            for host in &entry.hosts {
                let key = (host.to_string().into(), &*entry.meta.key.namespace);
                entries.entry(key).or_default().push(entry);
            }
        }
        Self {
            slices,
            pods,
            pods_of,
            workloads_of,
            entries,
            no_labels: Arc::default(),
            node: context.node.clone(),
            names: &world.names,
        }
    }

    /// The endpoints of one port, in a stable order, each address once.
    pub(crate) fn of(&self, service: &Service<'w>, port: &ServicePort) -> Vec<Endpoint> {
        let mut found = Vec::new();
        if let Source::Kube(kube) = service.source {
            self.add_slices(service, port, &mut found);
            self.add_workloads_of(kube, port, &mut found);
        }
        for entry in self.entries_of(service) {
            self.add_entry(service, entry, port, &mut found);
        }
        // Without a known node there is no "local": the policy has no effect (BE-121).
        if matches!(service.source, Source::Kube(kube) if kube.internal_traffic_local)
            && self.node.is_some()
        {
            found.retain(|endpoint| endpoint.node == self.node);
        }
        if found.len() > 1 {
            let mut seen: HashSet<EndpointAddress> = HashSet::default();
            found.retain(|endpoint| seen.insert(endpoint.address.clone()));
        }
        found
    }

    /// The entries that give their endpoints to a service: those with its host, in its namespace
    /// (BE-105). What they export is not asked for.
    fn entries_of(&self, service: &Service<'w>) -> &[&'w Arc<ServiceEntry>] {
        if self.entries.is_empty() {
            return &[];
        }
        let key = (Arc::clone(&service.host), &*service.meta.key.namespace);
        self.entries.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Names that certificates of the endpoints may bear; entries give them along with their
    /// endpoints (BE-105).
    pub(crate) fn subject_alt_names(&self, service: &Service<'w>) -> Arc<[Arc<str>]> {
        let entries = self.entries_of(service).iter();
        let mut names: Vec<Arc<str>> = Vec::new();
        for name in entries.flat_map(|entry| &entry.subject_alt_names) {
            if !names.contains(name) {
                names.push(Arc::clone(name));
            }
        }
        // The empty list exists once.
        if names.is_empty() {
            return Arc::default();
        }
        names.into()
    }

    fn add_slices(&self, service: &Service<'w>, port: &ServicePort, found: &mut Vec<Endpoint>) {
        let namespace = &*service.meta.key.namespace;
        let key = (namespace, &*service.meta.key.name);
        // An address in several slices counts once, whatever number they give the port (BE-116).
        let mut seen: HashSet<IpAddr> = HashSet::default();
        for group in self
            .slices
            .get(&key)
            .into_iter()
            .flatten()
            .flat_map(|set| &set.groups)
        {
            // Joined by name (BE-115).
            let Some(&(_, number)) = group.ports.iter().find(|(name, _)| *name == port.name) else {
                continue;
            };
            for endpoint in &group.endpoints {
                let Some(health) = health(endpoint.readiness) else {
                    continue;
                };
                if !seen.insert(endpoint.address.to_canonical()) {
                    continue;
                }
                let pod = endpoint
                    .pod
                    .as_deref()
                    .and_then(|name| self.pods.get(&(namespace, name)));
                found.push(Endpoint {
                    address: EndpointAddress::Socket(SocketAddr::new(
                        endpoint.address.to_canonical(),
                        number,
                    )),
                    weight: 1,
                    labels: pod.map_or_else(|| Arc::clone(&self.no_labels), |pod| pod.1.clone()),
                    health,
                    node: endpoint
                        .node
                        .clone()
                        .or_else(|| pod.and_then(|pod| pod.0.node.clone())),
                    locality: endpoint.zone.clone(),
                    workload: endpoint.pod.clone(),
                });
            }
        }
    }

    /// The WorkloadEntries that a Service's selector picks (BE-112). Those with a name are for the
    /// DNS resolutions of entries, and those with a socket for STATIC ones.
    fn add_workloads_of(
        &self,
        service: &KubeService,
        port: &ServicePort,
        found: &mut Vec<Endpoint>,
    ) {
        if service.selector.is_empty() || self.workloads_of.is_empty() {
            return;
        }
        let namespace = &*service.meta.key.namespace;
        for workload in self.picked(namespace, &service.selector) {
            let endpoint = &workload.endpoint;
            let number = |name: &str| {
                let mut numbers = endpoint.ports.iter();
                numbers.find(|(own, _)| **own == *name).map(|(_, it)| *it)
            };
            let number = match &port.target_name {
                // Not every workload has every named port.
                Some(name) => number(name),
                None => Some(number(&port.name).unwrap_or(port.target.unwrap_or(port.number))),
            };
            if let (Some(number), EntryAddress::Ip(ip)) = (number, &endpoint.address) {
                let address = EndpointAddress::Socket(SocketAddr::new(ip.to_canonical(), number));
                found.push(made(workload, address));
            }
        }
    }

    /// The WorkloadEntries of a namespace with these labels.
    fn picked<'s>(
        &'s self,
        namespace: &str,
        selector: &'s Labels,
    ) -> impl Iterator<Item = &'w Arc<WorkloadEntry>> + 's {
        let all = self.workloads_of.get(namespace).into_iter().flatten();
        all.filter(|it| selects(selector, it.labels())).copied()
    }

    /// `port` is the service's; the entry contributes through its own port of that name (BE-105).
    fn add_entry(
        &self,
        service: &Service<'w>,
        entry: &'w Arc<ServiceEntry>,
        port: &ServicePort,
        found: &mut Vec<Endpoint>,
    ) {
        let Some(own) = entry.ports.iter().find(|own| own.name == port.name) else {
            return;
        };
        let resolves = matches!(
            entry.resolution,
            Resolution::Dns | Resolution::DnsRoundRobin
        );
        let number = own.target.unwrap_or(own.number);
        for endpoint in &entry.endpoints {
            let address = address_of(endpoint, own, number);
            self.resolve(from_entry(endpoint, address), entry.resolution, found);
        }
        if let Some(selector) = &entry.workload_selector {
            let namespace = &*entry.meta.key.namespace;
            for pod in self.pods_of.get(namespace).into_iter().flatten() {
                if selects(selector, pod.labels()) {
                    self.add_pod(pod, number, found);
                }
            }
            for workload in self.picked(namespace, selector) {
                let usable = match workload.endpoint.address {
                    EntryAddress::Ip(_) => true,
                    EntryAddress::Name(_) => resolves,
                    EntryAddress::Unix(_) => entry.resolution == Resolution::Static,
                };
                if usable {
                    let address = address_of(&workload.endpoint, own, number);
                    self.resolve(made(workload, address), entry.resolution, found);
                }
            }
        }
        // A selector that picks nobody is not made good by the host.
        let own_endpoints = !entry.endpoints.is_empty() || entry.workload_selector.is_some();
        if resolves && !own_endpoints && !service.pattern.is_wildcard() {
            let own = Endpoint {
                address: EndpointAddress::Name {
                    host: Arc::clone(&service.host),
                    port: number,
                },
                weight: 1,
                labels: Arc::clone(&self.no_labels),
                health: Health::Ready,
                node: None,
                locality: None,
                workload: None,
            };
            self.resolve(own, entry.resolution, found);
        }
    }

    /// Adds an endpoint; a name as what it is known to be: all its addresses (BE-94), or only the
    /// first (BE-95). One that is not known yet stays a name.
    fn resolve(&self, endpoint: Endpoint, resolution: Resolution, found: &mut Vec<Endpoint>) {
        let EndpointAddress::Name { host, port } = &endpoint.address else {
            return found.push(endpoint);
        };
        let Some(addresses) = self.names.get(host) else {
            return found.push(endpoint);
        };
        let most = match resolution {
            Resolution::DnsRoundRobin => 1,
            _ => usize::MAX,
        };
        found.extend(addresses.iter().take(most).map(|address| Endpoint {
            address: EndpointAddress::Socket(SocketAddr::new(address.to_canonical(), *port)),
            ..endpoint.clone()
        }));
    }

    fn add_pod(&self, pod: &Arc<Pod>, number: u16, found: &mut Vec<Endpoint>) {
        let key = (&*pod.meta.key.namespace, &*pod.meta.key.name);
        let labels = self.pods.get(&key).map(|known| Arc::clone(&known.1));
        if let (Some(address), Some(labels), Some(health)) =
            (pod.addresses.first(), labels, health(pod.readiness))
        {
            found.push(Endpoint {
                address: EndpointAddress::Socket(SocketAddr::new(address.to_canonical(), number)),
                weight: 1,
                labels,
                health,
                node: pod.node.clone(),
                locality: None,
                workload: Some(Arc::clone(&pod.meta.key.name)),
            });
        }
    }
}

/// `None`: it is not an endpoint any more.
fn health(readiness: Readiness) -> Option<Health> {
    match readiness {
        Readiness::Ready => Some(Health::Ready),
        Readiness::NotReady => Some(Health::NotReady),
        Readiness::Terminating => None,
    }
}

/// BE-108: the endpoint's own number for that port name, then `targetPort`, then the number; a
/// socket has none.
fn address_of(endpoint: &EntryEndpoint, port: &ServicePort, number: u16) -> EndpointAddress {
    let number = endpoint
        .ports
        .iter()
        .find(|(name, _)| *name == port.name)
        .map_or(number, |&(_, own)| own);
    match &endpoint.address {
        EntryAddress::Ip(ip) => EndpointAddress::Socket(SocketAddr::new(ip.to_canonical(), number)),
        EntryAddress::Name(host) => EndpointAddress::Name {
            host: Arc::clone(host),
            port: number,
        },
        EntryAddress::Unix(path) => EndpointAddress::Unix(path.clone()),
    }
}

fn from_entry(endpoint: &EntryEndpoint, address: EndpointAddress) -> Endpoint {
    Endpoint {
        address,
        weight: endpoint.weight.max(1),
        labels: Arc::new(endpoint.labels.clone()),
        health: Health::Ready,
        node: None,
        locality: endpoint.locality.clone(),
        workload: None,
    }
}

fn made(workload: &WorkloadEntry, address: EndpointAddress) -> Endpoint {
    Endpoint {
        workload: Some(Arc::clone(&workload.meta.key.name)),
        ..from_entry(&workload.endpoint, address)
    }
}
