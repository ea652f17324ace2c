//! Clients that are known by their address: Pods, and which of them need tables of their own.
//!
//! Two Pods of one namespace see the same unless a document asks for a label in which they differ,
//! so there are far fewer tables than Pods.
use foldhash::HashSet;
use pointsman_model::{
    ClientContext, Code, Finding, Given, Level, Pod, SharedMap, World, matches::ClientMatch,
    object::Labels,
};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// More kinds of clients than tables that may be made.
const TOO_MANY_CLIENTS: Code = Code(312);

/// What the Pods say about clients.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) clients: Vec<Client>,
    pub(crate) finding: Option<Finding>,
    /// What it follows from: the documents but endpoints, which say nothing about clients and
    /// change more often than all others.
    world: World,
    base: Given,
    limit: usize,
}

impl Known {
    fn follows_from(&self, world: &World, base: &Given, limit: usize) -> bool {
        let endpoints = self.world.endpoints.clone();
        let world = World {
            endpoints,
            ..world.clone()
        };
        world.is_same(&self.world) && self.base == *base && self.limit == limit
    }
}

/// Clients that see the same.
#[derive(Debug)]
pub(crate) struct Client {
    /// `None`: they see what the client of the settings sees.
    pub(crate) context: Option<ClientContext>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// What of a client makes a difference to its table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    namespace: Arc<str>,
    labels: Labels,
    node: Option<Arc<str>>,
}

/// The clients that Pods tell about, in at most `limit` tables. Those with the most Pods come
/// first; the rest are clients of whom nothing is known.
///
/// Where nothing has changed that they follow from, they are those of before.
pub(crate) fn of(
    world: &World,
    base: &Given,
    limit: usize,
    before: Option<&Arc<Known>>,
) -> Arc<Known> {
    match before {
        Some(before) if before.follows_from(world, base, limit) => Arc::clone(before),
        _ => Arc::new(look(world, base, limit)),
    }
}

fn look(world: &World, base: &Given, limit: usize) -> Known {
    let mut known = Known {
        clients: Vec::new(),
        finding: None,
        world: World {
            endpoints: SharedMap::new(),
            ..world.clone()
        },
        base: base.clone(),
        limit,
    };
    if limit == 0 || world.pods.is_empty() {
        return known;
    }
    let asked = Asked::of(world);
    let own = asked.identity(&base.namespace, &base.labels, base.node.as_ref());
    let mut kinds: BTreeMap<Identity, Vec<IpAddr>> = BTreeMap::new();
    for (address, pod) in owners(world) {
        let identity = asked.identity(&pod.meta.key.namespace, pod.labels(), pod.node.as_ref());
        kinds.entry(identity).or_default().push(address);
    }
    if let Some(addresses) = kinds.remove(&own) {
        known.clients.push(Client {
            context: None,
            addresses,
        });
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    // Stable, so equal numbers stay in the order of their names.
    kinds.sort_by_key(|(_, addresses)| std::cmp::Reverse(addresses.len()));
    if kinds.len() > limit {
        let rest = kinds.split_off(limit);
        let pods: usize = rest.iter().map(|(_, addresses)| addresses.len()).sum();
        let made = kinds.len() + rest.len();
        known.finding = Some(
            Finding::new(
                TOO_MANY_CLIENTS,
                Level::Warning,
                format!("Pods are {made} different kinds of clients, and {limit} are told apart"),
            )
            .effect(format!(
                "{pods} addresses are served as clients of whom only the settings tell"
            ))
            .help("raise `client.known_clients`, or read fewer Pods; 0 tells none apart"),
        );
    }
    known
        .clients
        .extend(kinds.into_iter().map(|(identity, addresses)| {
            Client {
                context: Some(
                    Given {
                        namespace: identity.namespace,
                        labels: identity.labels,
                        node: identity.node,
                        ..base.clone()
                    }
                    .context(world),
                ),
                addresses,
            }
        }));
    known
}

/// The Pod that a client with this address is.
///
/// The Pod that has an address; none where it is nobody's, or that of several or of a node.
pub fn pod_at(world: &World, address: IpAddr) -> Option<&Pod> {
    let address = address.to_canonical();
    let has = |pod: &&Pod| pod.addresses.iter().any(|it| it.to_canonical() == address);
    let mut pods = world.pods.values().map(|pod| &**pod);
    let pod = pods.by_ref().filter(|pod| !pod.host_network).find(has)?;
    let mut rest = pods.filter(|pod| !pod.host_network);
    rest.all(|other| !has(&other)).then_some(pod)
}

/// Each address with the one Pod that has it. An address of several Pods is that of their node,
/// and tells nothing about who calls.
fn owners(world: &World) -> impl Iterator<Item = (IpAddr, &Pod)> {
    let mut owners: BTreeMap<IpAddr, Option<&Pod>> = BTreeMap::new();
    for pod in world.pods.values().filter(|pod| !pod.host_network) {
        for address in &pod.addresses {
            owners
                .entry(address.to_canonical())
                .and_modify(|owner| *owner = None)
                .or_insert(Some(pod));
        }
    }
    owners
        .into_iter()
        .filter_map(|(address, pod)| Some((address, pod?)))
}

/// What documents ask of clients.
struct Asked<'w> {
    labels: HashSet<&'w str>,
    node: bool,
}

impl<'w> Asked<'w> {
    fn of(world: &'w World) -> Self {
        let mut labels: HashSet<&str> = HashSet::default();
        let mut add = |asked: &'w Labels| labels.extend(asked.keys().map(|key| &**key));
        for service in world.virtual_services.values() {
            let http = service.http.iter().flat_map(|rule| &rule.matches);
            let tls = service.tls.iter().flat_map(|rule| &rule.matches);
            let tcp = service.tcp.iter().flat_map(|rule| &rule.matches);
            let all = http.map(|it| &it.client).chain(tls.map(|it| &it.client));
            all.chain(tcp.map(|it| &it.client))
                .for_each(|it: &ClientMatch| add(&it.source_labels));
        }
        for rule in world.destination_rules.values() {
            rule.workload_selector.iter().for_each(&mut add);
        }
        for sidecar in world.sidecars.values() {
            sidecar.workload_selector.iter().for_each(&mut add);
        }
        Self {
            labels,
            node: world.services.values().any(|it| it.internal_traffic_local),
        }
    }

    fn identity(&self, namespace: &Arc<str>, labels: &Labels, node: Option<&Arc<str>>) -> Identity {
        Identity {
            namespace: Arc::clone(namespace),
            labels: labels
                .iter()
                .filter(|(key, _)| self.labels.contains(&***key))
                .map(|(key, value)| (Arc::clone(key), Arc::clone(value)))
                .collect(),
            node: node.filter(|_| self.node).cloned(),
        }
    }
}
