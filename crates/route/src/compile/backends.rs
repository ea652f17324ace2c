//! Clusters: one for every port of every service, and one more for every subset.
use crate::{
    cluster::{Cluster, ClusterId, ClusterKind, Endpoint, Policy, SubsetOrigin},
    clusters::Clusters,
    table::Table,
};
use foldhash::{HashMap, HashSet};
use pointsman_model::{
    ClientContext, ClusterName, Kind, ObjectKey, Place, Protocol, ServicePort, Subset, World,
    policy::{Algorithm, selects},
    service_entry::Resolution,
};
use std::sync::Arc;

use super::{
    endpoints::Sources,
    policies::{InForce, Rules},
    registry::{Placement, Registry, Service, Source},
};

/// All clusters and their numbers.
pub(crate) struct Backends<'w> {
    pub(crate) clusters: Clusters,
    /// Subsets in force by service, for "did you mean".
    subsets: HashMap<usize, Vec<&'w Subset>>,
}

impl<'w> Backends<'w> {
    pub(crate) fn build(
        registry: &Registry<'w>,
        world: &'w World,
        context: &ClientContext,
        previous: Option<&Table>,
    ) -> Self {
        let (made, subsets) = Maker::run(registry, world, context, previous);
        let vacant = previous.map_or_else(vacant, |table| Arc::clone(table.clusters.vacant()));
        Self {
            clusters: number(made, vacant, previous),
            subsets,
        }
    }

    /// The backends of some hosts of a part of a world, among all of the previous table, and those
    /// of them that are others now. `None` if one of them is new.
    pub(super) fn part(
        registry: &Registry<'w>,
        world: &'w World,
        context: &ClientContext,
        previous: &Table,
        hosts: &HashSet<Arc<str>>,
    ) -> Option<(Self, Vec<Numbered>)> {
        let (made, subsets) = Maker::run(registry, world, context, Some(previous));
        let mut changed = Vec::new();
        for cluster in made {
            if !hosts.contains(&cluster.name.host) {
                continue;
            }
            let (id, known) = previous.clusters.find(&cluster.name)?;
            if !Arc::ptr_eq(known, &cluster) {
                changed.push((id, cluster));
            }
        }
        let mut clusters = previous.clusters.clone();
        clusters.replace(changed.iter().cloned());
        Some((Self { clusters, subsets }, changed))
    }

    pub(crate) fn id(
        &self,
        host: &Arc<str>,
        port: u16,
        subset: Option<&Arc<str>>,
    ) -> Option<ClusterId> {
        let name = ClusterName {
            host: Arc::clone(host),
            port,
            subset: subset.cloned(),
        };
        self.clusters.find(&name).map(|(id, _)| id)
    }

    pub(crate) fn subsets(&self, service: usize) -> &[&'w Subset] {
        self.subsets.get(&service).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn cluster(&self, id: ClusterId) -> &Arc<Cluster> {
        self.clusters.get(id)
    }
}

struct Maker<'a> {
    /// The policy of services nobody wrote one for.
    plain: Arc<Policy>,
    context: &'a ClientContext,
    previous: Option<&'a Table>,
    clusters: Vec<Arc<Cluster>>,
}

/// A cluster and its number.
pub(super) type Numbered = (ClusterId, Arc<Cluster>);

/// Subsets in force by service.
type Subsets<'w> = HashMap<usize, Vec<&'w Subset>>;

impl<'a> Maker<'a> {
    /// All clusters in order.
    fn run<'w>(
        registry: &Registry<'w>,
        world: &'w World,
        context: &'a ClientContext,
        previous: Option<&'a Table>,
    ) -> (Vec<Arc<Cluster>>, Subsets<'w>) {
        let sources = Sources::build(world, context);
        let rules = Rules::build(world, context);
        let mut made = Maker {
            plain: Arc::new(InForce::default().resolve(None, 0, context)),
            context,
            previous,
            clusters: Vec::with_capacity(registry.services.len()),
        };
        let mut subsets = HashMap::default();
        for (index, service) in registry.services.iter().enumerate() {
            let in_force = rules.in_force(service, context);
            let names = sources.subject_alt_names(service);
            for port in &service.ports {
                let endpoints: Arc<[Endpoint]> = sources.of(service, port).into();
                made.add(service, port, &in_force, None, (&endpoints, &names));
                for subset in &in_force.subsets {
                    made.add(service, port, &in_force, Some(subset), (&endpoints, &names));
                }
            }
            if !in_force.subsets.is_empty() {
                subsets.insert(index, in_force.subsets);
            }
        }
        (made.clusters, subsets)
    }

    fn add(
        &mut self,
        service: &Service<'_>,
        port: &ServicePort,
        in_force: &InForce<'_>,
        subset: Option<&Subset>,
        (endpoints, names): (&Arc<[Endpoint]>, &Arc<[Arc<str>]>),
    ) {
        let name = ClusterName {
            host: Arc::clone(&service.host),
            port: port.number,
            subset: subset.map(|subset| Arc::clone(&subset.name)),
        };
        let policy = if in_force.rule.is_some() {
            Arc::new(in_force.resolve(subset, port.number, self.context))
        } else {
            Arc::clone(&self.plain)
        };
        let mut kind = kind_of(service, port, self.context);
        let mut endpoints: Arc<[Endpoint]> = match subset {
            Some(subset) => endpoints
                .iter()
                .filter(|endpoint| selects(&subset.labels, &endpoint.labels))
                .cloned()
                .collect(),
            None => Arc::clone(endpoints),
        };
        if policy.algorithm == Algorithm::Passthrough && !self.context.role.is_gateway() {
            // BE-34: configured endpoints are ignored.
            kind = ClusterKind::OriginalDestination { port: None };
            endpoints = Arc::default();
        }
        let known = self
            .previous
            .and_then(|table| table.cluster_by_name(&name))
            .map(|(_, cluster)| cluster);
        let cluster = Cluster {
            label: known.map_or_else(|| name.to_string().into(), |known| Arc::clone(&known.label)),
            name,
            endpoints,
            kind,
            protocol: port.protocol,
            policy,
            service: service.meta.key.clone(),
            place: port.place.clone(),
            subset: subset.map(|subset| {
                Box::new(SubsetOrigin {
                    labels: subset.labels.clone(),
                    place: subset.place.clone(),
                })
            }),
            subject_alt_names: Arc::clone(names),
        };
        self.clusters.push(super::share(known, cluster));
    }
}

fn kind_of(service: &Service<'_>, port: &ServicePort, context: &ClientContext) -> ClusterKind {
    match service.source {
        // A gateway is what its clients dialled: it chooses among the endpoints (BE-123).
        Source::Kube(_) if context.role.is_gateway() => ClusterKind::Endpoints,
        Source::Entry(entry)
            if context.role.is_gateway() && entry.resolution == Resolution::None =>
        {
            ClusterKind::Endpoints
        }
        Source::Kube(_) if service.placement == Placement::PerEndpoint => {
            ClusterKind::OriginalDestination { port: None }
        }
        Source::Kube(_) => ClusterKind::Endpoints,
        Source::Entry(entry) => match entry.resolution {
            Resolution::None => ClusterKind::OriginalDestination { port: port.target },
            Resolution::Static => ClusterKind::Endpoints,
            Resolution::Dns => ClusterKind::Dns { first_only: false },
            Resolution::DnsRoundRobin => ClusterKind::Dns { first_only: true },
            Resolution::DynamicDns => ClusterKind::DynamicDns,
        },
    }
}

/// Clusters that were there keep their numbers, so that rules naming them stay equal; new ones
/// take freed numbers first.
fn number(clusters: Vec<Arc<Cluster>>, vacant: Arc<Cluster>, previous: Option<&Table>) -> Clusters {
    let before = previous.map_or(0, |table| table.clusters.slots());
    let mut slots: Vec<Option<Arc<Cluster>>> = vec![None; before];
    let mut order = Vec::with_capacity(clusters.len());
    let mut fresh = Vec::new();
    for cluster in clusters {
        let known = previous.and_then(|table| table.clusters.find(&cluster.name));
        match known.and_then(|(id, _)| Some((id, slots.get_mut(id.index())?))) {
            Some((id, slot)) => {
                *slot = Some(cluster);
                order.push(id);
            }
            None => {
                fresh.push((order.len(), cluster));
                order.push(ClusterId(0)); // follows
            }
        }
    }
    let mut next = 0;
    for (place, cluster) in fresh {
        while slots.get(next).is_some_and(Option::is_some) {
            next += 1;
        }
        if next == slots.len() {
            slots.push(None);
        }
        if let Some(slot) = slots.get_mut(next) {
            *slot = Some(cluster);
        }
        if let Some(id) = order.get_mut(place) {
            *id = ClusterId(next as u32);
        }
    }
    while slots.last().is_some_and(Option::is_none) {
        slots.pop();
    }
    let slots = slots
        .into_iter()
        .map(|slot| slot.unwrap_or_else(|| Arc::clone(&vacant)));
    Clusters::new(slots.collect(), order, vacant)
}

/// Stands in freed places: a cluster nothing routes to and no endpoint serves.
pub(crate) fn vacant() -> Arc<Cluster> {
    let nobody: Arc<str> = "".into();
    Arc::new(Cluster {
        name: ClusterName {
            host: Arc::clone(&nobody),
            port: 0,
            subset: None,
        },
        label: "vacant".into(),
        endpoints: Arc::default(),
        kind: ClusterKind::Endpoints,
        protocol: Protocol::Tcp,
        policy: Arc::default(),
        service: ObjectKey {
            kind: Kind::Service,
            namespace: Arc::clone(&nobody),
            name: nobody,
        },
        place: Place::nowhere(),
        subset: None,
        subject_alt_names: Arc::default(),
    })
}
