//! From a destination as written to a cluster (BE-1..10), and what to say when there is none.
use crate::{
    cluster::ClusterId,
    split::{Missing, Split, Target},
};
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, Destination, Finding, KubeService, Level, ObjectKey, Place, ServicePort,
    WeightedDestination, World, action::HeaderOps,
};
use std::{cell::OnceCell, sync::Arc};

use super::{
    backends::Backends,
    findings::{Findings, UNKNOWN_HOST, UNKNOWN_PORT, UNKNOWN_SUBSET},
    registry::{Registry, Service},
};

/// Looks destinations up.
pub(crate) struct Destinations<'a, 'w> {
    pub(crate) registry: &'a Registry<'w>,
    pub(crate) backends: &'a Backends<'w>,
    pub(crate) world: &'w World,
    pub(crate) context: &'a ClientContext,
    no_headers: Arc<HeaderOps>,
    /// Some Service of each name, made when the first unknown host asks for it: looking through
    /// all Services for every finding would be quadratic.
    by_name: OnceCell<HashMap<&'w str, &'w Arc<KubeService>>>,
    /// Namespaces of all hosts exported to the client, made as late.
    exported: OnceCell<HashMap<Arc<str>, &'w str>>,
}

impl<'a, 'w> Destinations<'a, 'w> {
    pub(crate) fn new(
        registry: &'a Registry<'w>,
        backends: &'a Backends<'w>,
        world: &'w World,
        context: &'a ClientContext,
    ) -> Self {
        Self {
            registry,
            backends,
            world,
            context,
            no_headers: Arc::default(),
            by_name: OnceCell::new(),
            exported: OnceCell::new(),
        }
    }

    /// The cluster of a destination. `listener` is the port the traffic came in on; without one
    /// (documents are only being checked) a port nobody wrote is no fault.
    pub(crate) fn resolve(
        &self,
        destination: &Destination,
        listener: Option<u16>,
        object: &ObjectKey,
        findings: &mut Findings,
    ) -> Result<ClusterId, Missing> {
        let Some((index, service)) = self
            .registry
            .resolve(&destination.host)
            .and_then(|index| Some((index, self.registry.get(index)?)))
        else {
            findings.push(self.unknown_host(destination, object));
            return Err(Missing::Host);
        };
        // BE-5: the written port, else the only one, else the listener's.
        let number = match (destination.port, service.ports.as_slice()) {
            (Some(number), _) => number,
            (None, [only]) => only.number,
            (None, _) => match listener {
                Some(number) => number,
                None => match service.ports.first() {
                    Some(first) => first.number,
                    None => return Err(Missing::Port),
                },
            },
        };
        let Some(port) = service.port(number) else {
            findings.push(unknown_port(destination, number, service, object));
            return Err(Missing::Port);
        };
        let found = self
            .backends
            .id(&service.host, port.number, destination.subset.as_ref());
        found.ok_or_else(|| {
            findings.push(self.unknown_subset(destination, index, service, port, object));
            Missing::Subset
        })
    }

    /// All destinations of a `route`.
    pub(crate) fn split(
        &self,
        route: &[WeightedDestination],
        listener: u16,
        object: &ObjectKey,
        findings: &mut Findings,
    ) -> Split {
        let mut targets = route.iter().map(|item| Target {
            weight: item.weight,
            cluster: self.resolve(&item.destination, Some(listener), object, findings),
            destination: item.destination.clone(),
            headers: if item.headers == HeaderOps::default() {
                Arc::clone(&self.no_headers)
            } else {
                Arc::new(item.headers.clone())
            },
        });
        // Validation refuses an empty list; a hand-made one goes nowhere, visibly.
        let first = targets.next().unwrap_or_else(|| Target {
            weight: 1,
            cluster: Err(Missing::Host),
            destination: Destination {
                host: "".into(),
                subset: None,
                port: None,
                place: Place::nowhere(),
            },
            headers: Arc::clone(&self.no_headers),
        });
        Split::new(first, targets.collect())
    }

    /// Everything to a service on one of its ports (VSB-16), or to a subset of it.
    pub(crate) fn own_split(
        &self,
        service: &Service<'_>,
        port: &ServicePort,
        subset: Option<&Arc<str>>,
    ) -> Split {
        let cluster = self.backends.id(&service.host, port.number, subset);
        let target = Target {
            weight: 1,
            cluster: cluster.ok_or(Missing::Port),
            destination: Destination {
                host: Arc::clone(&service.host),
                subset: subset.cloned(),
                port: Some(port.number),
                place: port.place.clone(),
            },
            headers: Arc::clone(&self.no_headers),
        };
        Split::new(target, Vec::new())
    }

    fn unknown_host(&self, destination: &Destination, object: &ObjectKey) -> Finding {
        let host = &destination.host;
        let domain = &self.context.cluster_domain;
        let mut finding = fault(
            UNKNOWN_HOST,
            destination,
            object,
            format!(
                "host {host} is not a service that namespace {} knows",
                self.context.namespace
            ),
        );
        finding = finding.label(host.chars().count() as u32, "no such service");
        if let Some(target) = self.registry.alias_target(host) {
            return finding.help(format!(
                "{host} is an ExternalName for {target}, which is unknown: a ServiceEntry for {target} repairs it"
            ));
        }
        if let Some(finding) = self.not_listed(&finding, host) {
            return finding;
        }
        let full = format!("{host}.svc.{domain}");
        if self.registry.exact(&full).is_some() {
            return finding.help(format!(
                "a name with a dot is taken as it is: write the full name, {full}"
            ));
        }
        let name = host.split('.').next().unwrap_or_default();
        let by_name = self.by_name.get_or_init(|| {
            let mut all: HashMap<&str, &Arc<KubeService>> = HashMap::default();
            for service in self.world.services.values() {
                all.entry(&service.meta.key.name).or_insert(service);
            }
            all
        });
        let elsewhere = by_name.get(name).copied();
        if let Some(other) = elsewhere {
            let own = other.host(domain);
            let help = if self.context.sees(&other.meta) {
                format!(
                    "a Service {name} exists in namespace {}: write {own}",
                    other.meta.key.namespace
                )
            } else {
                format!(
                    "{own} exists, but its exportTo hides it from namespace {}",
                    self.context.namespace
                )
            };
            return finding
                .help(help)
                .related(&other.meta.place, "this Service");
        }
        match closest(host, self.registry.hosts().map(|host| &**host)) {
            Some(near) => finding.help(format!("did you mean {near}?")),
            None => finding.help("create the Service or a ServiceEntry with this host"),
        }
    }

    /// A service that exists, and that the client's Sidecar does not list (VIS-10).
    fn not_listed(&self, finding: &Finding, host: &str) -> Option<Finding> {
        let sidecar = self.context.sidecar.as_ref()?;
        let exported = self.exported.get_or_init(|| {
            let domain = &self.context.cluster_domain;
            let services = self.world.services.values();
            let services = services.map(|it| (&it.meta, it.host(domain)));
            let entries = self.world.service_entries.values().flat_map(|entry| {
                let hosts = entry.hosts.iter();
                hosts.map(move |host| (&entry.meta, host.to_string().into()))
            });
            let seen = services.chain(entries);
            let seen = seen.filter(|(meta, _)| self.context.sees(meta));
            seen.map(|(meta, host)| (host, &*meta.key.namespace))
                .collect()
        });
        let namespace = exported.get(host)?;
        let help = format!(
            "add \"{namespace}/{host}\" to `egress` of {}",
            sidecar.meta.key
        );
        let finding = finding.clone().help(help);
        Some(finding.related(&sidecar.meta.place, "does not list it"))
    }

    fn unknown_subset(
        &self,
        destination: &Destination,
        index: usize,
        service: &Service<'_>,
        port: &ServicePort,
        object: &ObjectKey,
    ) -> Finding {
        let wanted = destination.subset.as_deref().unwrap_or_default();
        let subsets = self.backends.subsets(index);
        let finding = fault(
            UNKNOWN_SUBSET,
            destination,
            object,
            format!("subset {wanted:?} is not defined for {}", service.host),
        )
        .label(wanted.chars().count() as u32, "no such subset");
        let near = closest(wanted, subsets.iter().map(|subset| &*subset.name));
        let names: Vec<&str> = subsets.iter().map(|subset| &*subset.name).collect();
        let finding = match (near, names.as_slice()) {
            (Some(near), _) => finding.help(format!("did you mean {near:?}?")),
            (None, []) => finding.help(format!(
                "no DestinationRule in force for {} defines any subset",
                service.host
            )),
            (None, names) => finding.help(format!("defined are: {}", names.join(", "))),
        };
        let rule = self
            .backends
            .id(&service.host, port.number, None)
            .and_then(|id| self.backends.cluster(id).policy.origin.clone());
        match rule {
            Some((key, place)) => finding.related(&place, format!("{key} is in force")),
            None => finding,
        }
    }
}

fn unknown_port(
    destination: &Destination,
    number: u16,
    service: &Service<'_>,
    object: &ObjectKey,
) -> Finding {
    let numbers: Vec<String> = service
        .ports
        .iter()
        .map(|port| port.number.to_string())
        .collect();
    let help = if destination.port.is_some() {
        format!("its ports are: {}", numbers.join(", "))
    } else {
        format!(
            "no port is written, so the port the traffic came in on is meant; its ports are: {}",
            numbers.join(", ")
        )
    };
    fault(
        UNKNOWN_PORT,
        destination,
        object,
        format!("{} has no port {number}", service.host),
    )
    .help(help)
    .related(&service.meta.place, "this service")
}

/// The rule keeps matching: setting it aside would silently send its traffic to the next one.
fn fault(
    code: pointsman_model::Code,
    destination: &Destination,
    object: &ObjectKey,
    message: String,
) -> Finding {
    Finding::new(code, Level::Error, message)
        .of(object)
        .at(&destination.place)
        .effect("requests that match the rule are answered 503 NC, connections are closed")
}

/// The nearest name, if it is near enough to be a slip of the finger.
fn closest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (wanted.chars().count() / 4).max(1);
    // Comparing with every one of a hundred thousand names for every finding is not worth it.
    names
        .take(2_000)
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}
