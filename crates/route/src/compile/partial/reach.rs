//! The part of a world that changes reach.
use foldhash::{HashMap, HashMapExt, HashSet};
use pointsman_model::{
    ClientContext, DestinationRule, HttpAction, Kind, Object, ObjectKey, ServiceKind,
    VirtualService, World, host::HostPattern, shared_map::Change,
};
use std::sync::Arc;

use super::{
    DOCUMENTS, SPEAKERS,
    documents::{Changes, Documents, is_plain},
};

/// A part of a world, in which the services of [`Part::hosts`] and the VirtualServices of
/// [`Part::speakers`] are what they are in the whole.
pub(super) struct Part {
    pub(super) world: World,
    /// Hosts of which everything is here that has a say in what their service is, and in its
    /// backends.
    pub(super) hosts: HashSet<Arc<str>>,
    /// VirtualServices to be asked anew: those that changed, as they were and as they are, and all
    /// that have a host in common with one of them.
    pub(super) speakers: HashMap<ObjectKey, Vec<Arc<VirtualService>>>,
}

/// `None` where it is not certain what the changes reach.
pub(super) fn part(before: &Documents, after: &Documents, context: &ClientContext) -> Option<Part> {
    if before.is_odd() {
        return None;
    }
    let changes = Changes::between(&before.world, &after.world)?;
    let mut gatherer = Gatherer::new(after, context);
    for change in &changes.endpoints {
        for set in [change.before, change.after].into_iter().flatten() {
            gatherer.service(&set.meta.key.namespace, &set.service);
        }
    }
    if !changes.pods.is_empty() {
        gatherer.pods(changes.pods.iter().map(|change| change.key))?;
    }
    for change in &changes.rules {
        gatherer.host(same_shape(change)?);
    }
    let speakers = changes.speakers.iter();
    let speakers = speakers.flat_map(|change| [change.before, change.after]);
    gatherer.speakers(speakers.flatten().collect())?;
    gatherer.finish()
}

/// The host of a DestinationRule that changed, if it makes no other clusters, and its place among
/// the rules is the same.
fn same_shape<'c>(change: &Change<'c, ObjectKey, Arc<DestinationRule>>) -> Option<&'c Arc<str>> {
    let (before, after) = (change.before?, change.after?);
    let names = |rule: &DestinationRule| -> Vec<Arc<str>> {
        let subsets = rule.subsets.iter();
        subsets.map(|subset| Arc::clone(&subset.name)).collect()
    };
    let same = before.host == after.host
        && before.workload_selector == after.workload_selector
        && before.meta.export_to == after.meta.export_to
        && before.meta.created == after.meta.created
        && names(before) == names(after);
    if same { after.host.exact() } else { None }
}

struct Gatherer<'d> {
    documents: &'d Documents,
    context: &'d ClientContext,
    part: Part,
    pending: Vec<Arc<str>>,
    /// Namespaces of which all Pods are here.
    namespaces: HashSet<Arc<str>>,
}

impl<'d> Gatherer<'d> {
    fn new(documents: &'d Documents, context: &'d ClientContext) -> Self {
        let whole = &documents.world;
        Self {
            documents,
            context,
            part: Part {
                // Kinds of which there are few, or that speak of everything, are here as a whole.
                world: World {
                    workload_entries: whole.workload_entries.clone(),
                    gateways: whole.gateways.clone(),
                    sidecars: whole.sidecars.clone(),
                    mesh_settings: whole.mesh_settings.clone(),
                    names: Arc::clone(&whole.names),
                    ..World::default()
                },
                hosts: HashSet::default(),
                speakers: HashMap::new(),
            },
            pending: Vec::new(),
            namespaces: HashSet::default(),
        }
    }

    fn host(&mut self, host: &Arc<str>) {
        if self.part.hosts.insert(Arc::clone(host)) {
            self.pending.push(Arc::clone(host));
        }
    }

    fn service(&mut self, namespace: &str, name: &str) {
        let domain = &self.context.cluster_domain;
        let host = format!("{name}.{namespace}.svc.{domain}").to_ascii_lowercase();
        self.host(&host.into());
    }

    /// All Services of which an endpoint is one of these Pods.
    fn pods<'k>(&mut self, pods: impl Iterator<Item = &'k ObjectKey>) -> Option<()> {
        if self.documents.selects_pods() {
            return None;
        }
        let mut named: HashMap<&str, HashSet<&str>> = HashMap::new();
        for pod in pods {
            named.entry(&pod.namespace).or_default().insert(&pod.name);
        }
        // An index of them would be larger than all others together.
        for set in self.documents.world.endpoints.values() {
            let Some(names) = named.get(&*set.meta.key.namespace) else {
                continue;
            };
            let endpoints = set.groups.iter().flat_map(|group| &group.endpoints);
            let mut pods = endpoints.filter_map(|endpoint| endpoint.pod.as_deref());
            if pods.any(|pod| names.contains(pod)) {
                self.service(&set.meta.key.namespace, &set.service);
            }
        }
        Some(())
    }

    /// VirtualServices, and all that have a host in common with one of them.
    fn speakers(&mut self, mut pending: Vec<&'d Arc<VirtualService>>) -> Option<()> {
        let documents = self.documents;
        let mut hosts: HashSet<&Arc<str>> = HashSet::default();
        while let Some(speaker) = pending.pop() {
            let key = &speaker.meta.key;
            let known = self.part.speakers.entry(key.clone()).or_default();
            if known.contains(speaker) {
                continue;
            }
            known.push(Arc::clone(speaker));
            if !is_plain(speaker) || self.part.speakers.len() > SPEAKERS {
                return None;
            }
            for pattern in &speaker.hosts {
                let covers = |own: &HostPattern| own.is_wildcard() && own.covers(pattern);
                let mut wildcards = documents.wildcard_speakers().iter();
                if wildcards.any(|other| other.hosts.iter().any(covers)) {
                    return None;
                }
                let host = pattern.exact()?;
                self.host(host);
                if hosts.insert(host) {
                    pending.extend(documents.speakers(host));
                }
            }
            for rule in &speaker.http {
                if let HttpAction::Route(route) = &rule.action {
                    for item in route {
                        self.host(&item.destination.host);
                    }
                }
                for mirror in &rule.mirrors {
                    self.host(&mirror.destination.host);
                }
            }
        }
        Some(())
    }

    /// Everything that has a say in the hosts gathered so far.
    fn finish(mut self) -> Option<Part> {
        let documents = self.documents;
        let most = self.part.world.len() + DOCUMENTS;
        while let Some(host) = self.pending.pop() {
            if let Some(service) = documents.service(&host, &self.context.cluster_domain) {
                let key = &service.meta.key;
                self.part.world.upsert(Object::Service(Arc::clone(service)));
                if let ServiceKind::ExternalName { target } = &service.kind {
                    self.host(target);
                }
                for set in documents.slices(&key.namespace, &key.name) {
                    let endpoints = set.groups.iter().flat_map(|group| &group.endpoints);
                    for name in endpoints.filter_map(|endpoint| endpoint.pod.as_ref()) {
                        self.pod(&key.namespace, name);
                    }
                    self.part.world.upsert(Object::Endpoints(Arc::clone(set)));
                }
            }
            for entry in documents.entries(&host) {
                if entry.workload_selector.is_some() {
                    self.all_pods(&entry.meta.key.namespace);
                }
                let entry = Object::ServiceEntry(Arc::clone(entry));
                self.part.world.upsert(entry);
            }
            for alias in documents.aliases(&host) {
                self.part.world.upsert(Object::Service(Arc::clone(alias)));
                self.service(&alias.meta.key.namespace, &alias.meta.key.name);
            }
            for rule in documents.rules(&host) {
                let rule = Object::DestinationRule(Arc::clone(rule));
                self.part.world.upsert(rule);
            }
            if self.part.world.len() > most {
                return None;
            }
        }
        let speakers = self.part.speakers.keys();
        let speakers: Vec<_> = speakers
            .filter_map(|key| documents.world.virtual_services.get(key))
            .map(|speaker| Object::VirtualService(Arc::clone(speaker)))
            .collect();
        for speaker in speakers {
            self.part.world.upsert(speaker);
        }
        Some(self.part)
    }

    fn pod(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        let key = ObjectKey {
            kind: Kind::Pod,
            namespace: Arc::clone(namespace),
            name: Arc::clone(name),
        };
        if let Some(pod) = self.documents.world.pods.get(&key) {
            self.part.world.upsert(Object::Pod(Arc::clone(pod)));
        }
    }

    fn all_pods(&mut self, namespace: &Arc<str>) {
        if !self.namespaces.insert(Arc::clone(namespace)) {
            return;
        }
        let first = ObjectKey {
            kind: Kind::Pod,
            namespace: Arc::clone(namespace),
            name: "".into(),
        };
        let pods = self.documents.world.pods.from(&first);
        let own = pods.take_while(|(key, _)| key.namespace == *namespace);
        for (_, pod) in own {
            self.part.world.upsert(Object::Pod(Arc::clone(pod)));
        }
    }
}
