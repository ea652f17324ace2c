//! The documents a table was made of, and where those are that speak of something.
use crate::shared::Shards;
use foldhash::HashMap;
use pointsman_model::{
    DestinationRule, EndpointSet, HostPattern, HttpAction, KubeService, ObjectKey, ServiceEntry,
    ServiceKind, VirtualService, World, shared_map::Change,
};
use smallvec::SmallVec;
use std::{
    hash::Hash,
    sync::{Arc, Mutex, Weak},
};

use super::CHANGES;

type Few<T> = SmallVec<[Arc<T>; 1]>;

/// A world, and documents in it by what they speak of. Shared by the tables of all contexts.
pub(super) struct Documents {
    pub(super) world: World,
    index: Index,
    /// Those that followed, if a table is made of them: the tables of one generation are compiled
    /// one after the other.
    next: Mutex<Weak<Documents>>,
}

#[derive(Clone, Default)]
struct Index {
    /// By namespace and name of their Service.
    slices: Shards<(Arc<str>, Arc<str>), Few<EndpointSet>>,
    /// VirtualServices by their literal hosts.
    speakers: Shards<Arc<str>, Few<VirtualService>>,
    /// Those with other hosts.
    wildcard_speakers: Arc<Vec<Arc<VirtualService>>>,
    /// DestinationRules by their literal hosts.
    rules: Shards<Arc<str>, Few<DestinationRule>>,
    /// Those with other hosts.
    wildcard_rules: Arc<Vec<Arc<DestinationRule>>>,
    /// By host as text.
    entries: Arc<HashMap<Arc<str>, Few<ServiceEntry>>>,
    /// ExternalNames by what they stand for.
    aliases: Arc<HashMap<Arc<str>, Few<KubeService>>>,
    /// Is there an entry that selects Pods?
    selects_pods: bool,
    /// Is there a Service whose name does not follow from its host?
    is_odd: bool,
}

impl Documents {
    /// All of them; those known before, if they are the same.
    pub(super) fn of(world: &World, before: Option<Arc<Self>>) -> Arc<Self> {
        if let Some(before) = before {
            if before.world.is_same(world) {
                return before;
            }
            if let Some(next) = before.followed_by(world) {
                return next;
            }
        }
        Arc::new(Self {
            world: world.clone(),
            index: Index::build(world),
            next: Mutex::default(),
        })
    }

    fn followed_by(&self, world: &World) -> Option<Arc<Self>> {
        let next = self.next.lock().ok()?.upgrade()?;
        next.world.is_same(world).then_some(next)
    }

    /// The documents of a world that differs in endpoints, Pods, VirtualServices and
    /// DestinationRules only, and in few of them; otherwise `None`.
    pub(super) fn advance(self: &Arc<Self>, world: &World) -> Option<Arc<Self>> {
        if self.world.is_same(world) {
            return Some(Arc::clone(self));
        }
        if let Some(next) = self.followed_by(world) {
            return Some(next);
        }
        let changes = Changes::between(&self.world, world)?;
        let mut index = self.index.clone();
        index.apply(&changes);
        let next = Arc::new(Self {
            world: world.clone(),
            index,
            next: Mutex::default(),
        });
        if let Ok(mut known) = self.next.lock() {
            *known = Arc::downgrade(&next);
        }
        Some(next)
    }

    pub(super) fn slices(&self, namespace: &Arc<str>, service: &Arc<str>) -> &[Arc<EndpointSet>] {
        let key = (Arc::clone(namespace), Arc::clone(service));
        few(self.index.slices.get(&key))
    }

    pub(super) fn speakers(&self, host: &str) -> &[Arc<VirtualService>] {
        few(self.index.speakers.get(host))
    }

    pub(super) fn wildcard_speakers(&self) -> &[Arc<VirtualService>] {
        &self.index.wildcard_speakers
    }

    /// All whose host covers this one.
    pub(super) fn rules(&self, host: &Arc<str>) -> impl Iterator<Item = &Arc<DestinationRule>> {
        let pattern = HostPattern::new(host);
        let wildcards = self.index.wildcard_rules.iter();
        let wildcards = wildcards.filter(move |rule| rule.host.covers(&pattern));
        few(self.index.rules.get(host)).iter().chain(wildcards)
    }

    pub(super) fn entries(&self, host: &str) -> &[Arc<ServiceEntry>] {
        few(self.index.entries.get(host))
    }

    pub(super) fn aliases(&self, target: &str) -> &[Arc<KubeService>] {
        few(self.index.aliases.get(target))
    }

    pub(super) fn selects_pods(&self) -> bool {
        self.index.selects_pods
    }

    /// The Service of a host name.
    pub(super) fn service(&self, host: &str, cluster_domain: &str) -> Option<&Arc<KubeService>> {
        let (rest, _) = host
            .strip_suffix(cluster_domain)
            .and_then(|rest| rest.strip_suffix(".svc."))
            .and_then(|rest| Some((rest, rest.rsplit_once('.')?)))?;
        let (name, namespace) = rest.rsplit_once('.')?;
        self.world.services.get(&ObjectKey {
            kind: pointsman_model::Kind::Service,
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    /// Can it be said what a change reaches?
    pub(super) fn is_odd(&self) -> bool {
        self.index.is_odd
    }
}

fn few<T>(found: Option<&Few<T>>) -> &[Arc<T>] {
    found.map_or(&[], |few| few.as_slice())
}

/// What is different between two worlds, of the kinds whose reach is known.
pub(super) struct Changes<'w> {
    pub(super) endpoints: Vec<Change<'w, ObjectKey, Arc<EndpointSet>>>,
    pub(super) pods: Vec<Change<'w, ObjectKey, Arc<pointsman_model::Pod>>>,
    pub(super) speakers: Vec<Change<'w, ObjectKey, Arc<VirtualService>>>,
    pub(super) rules: Vec<Change<'w, ObjectKey, Arc<DestinationRule>>>,
}

impl<'w> Changes<'w> {
    /// `None` if other kinds have changed, or too many documents.
    pub(super) fn between(before: &'w World, after: &'w World) -> Option<Self> {
        // Every kind is named, so that a new one is not forgotten.
        let World {
            services,
            endpoints,
            pods,
            service_entries,
            workload_entries,
            virtual_services,
            destination_rules,
            gateways,
            sidecars,
            mesh_settings,
            names,
        } = after;
        let same = *services == before.services
            && *service_entries == before.service_entries
            && *workload_entries == before.workload_entries
            && *gateways == before.gateways
            && *sidecars == before.sidecars
            && *mesh_settings == before.mesh_settings
            && *names == before.names;
        if !same {
            return None;
        }
        let made = Self {
            endpoints: endpoints.changes_since(&before.endpoints),
            pods: pods.changes_since(&before.pods),
            speakers: virtual_services.changes_since(&before.virtual_services),
            rules: destination_rules.changes_since(&before.destination_rules),
        };
        let count = made.endpoints.len() + made.pods.len() + made.speakers.len() + made.rules.len();
        (count <= CHANGES).then_some(made)
    }
}

impl Index {
    fn build(world: &World) -> Self {
        let mut made = Self::default();
        for set in world.endpoints.values() {
            add(&mut made.slices, service_of(set), set);
        }
        for speaker in world.virtual_services.values() {
            made.add_speaker(speaker);
        }
        for rule in world.destination_rules.values() {
            made.add_rule(rule);
        }
        let mut entries: HashMap<Arc<str>, Few<ServiceEntry>> = HashMap::default();
        for entry in world.service_entries.values() {
            made.selects_pods |= entry.workload_selector.is_some();
            for host in &entry.hosts {
                let text = host.to_string().into();
                entries.entry(text).or_default().push(Arc::clone(entry));
            }
        }
        let mut aliases: HashMap<Arc<str>, Few<KubeService>> = HashMap::default();
        for service in world.services.values() {
            let key = &service.meta.key;
            made.is_odd |= key.namespace.contains('.')
                || [&key.namespace, &key.name]
                    .iter()
                    .any(|text| text.bytes().any(|byte| byte.is_ascii_uppercase()));
            if let ServiceKind::ExternalName { target } = &service.kind {
                let of_target = aliases.entry(Arc::clone(target)).or_default();
                of_target.push(Arc::clone(service));
            }
        }
        made.entries = Arc::new(entries);
        made.aliases = Arc::new(aliases);
        made.slices.fit();
        made.speakers.fit();
        made.rules.fit();
        made
    }

    fn apply(&mut self, changes: &Changes<'_>) {
        for change in &changes.endpoints {
            if let Some(before) = change.before {
                remove(&mut self.slices, &service_of(before), before);
            }
            if let Some(after) = change.after {
                add(&mut self.slices, service_of(after), after);
            }
        }
        for change in &changes.speakers {
            if let Some(before) = change.before {
                for host in before.hosts.iter().filter_map(HostPattern::exact) {
                    remove(&mut self.speakers, host, before);
                }
                if before.hosts.iter().any(HostPattern::is_wildcard) {
                    let all = Arc::make_mut(&mut self.wildcard_speakers);
                    all.retain(|own| own != before);
                }
            }
            if let Some(after) = change.after {
                self.add_speaker(after);
            }
        }
        for change in &changes.rules {
            if let Some(before) = change.before {
                match &before.host {
                    HostPattern::Exact(host) => remove(&mut self.rules, host, before),
                    _ => Arc::make_mut(&mut self.wildcard_rules).retain(|own| own != before),
                }
            }
            if let Some(after) = change.after {
                self.add_rule(after);
            }
        }
    }

    fn add_speaker(&mut self, speaker: &Arc<VirtualService>) {
        for host in speaker.hosts.iter().filter_map(HostPattern::exact) {
            add(&mut self.speakers, Arc::clone(host), speaker);
        }
        if speaker.hosts.iter().any(HostPattern::is_wildcard) {
            Arc::make_mut(&mut self.wildcard_speakers).push(Arc::clone(speaker));
        }
    }

    fn add_rule(&mut self, rule: &Arc<DestinationRule>) {
        match &rule.host {
            HostPattern::Exact(host) => add(&mut self.rules, Arc::clone(host), rule),
            _ => Arc::make_mut(&mut self.wildcard_rules).push(Arc::clone(rule)),
        }
    }
}

fn service_of(set: &EndpointSet) -> (Arc<str>, Arc<str>) {
    (
        Arc::clone(&set.meta.key.namespace),
        Arc::clone(&set.service),
    )
}

fn add<K: Hash + Eq + Clone, T>(map: &mut Shards<K, Few<T>>, key: K, value: &Arc<T>) {
    let mut few = map.get(&key).cloned().unwrap_or_default();
    few.push(Arc::clone(value));
    map.insert(key, few);
}

fn remove<K: Hash + Eq + Clone, T: Eq>(map: &mut Shards<K, Few<T>>, key: &K, value: &Arc<T>) {
    let Some(mut few) = map.get(key).cloned() else {
        return;
    };
    few.retain(|own| *own != *value);
    if few.is_empty() {
        map.remove(key);
    } else {
        map.insert(key.clone(), few);
    }
}

/// Does the VirtualService stay within its hosts: only literal ones, requests only, rules of its
/// own only, and not on listeners of gateways?
pub(super) fn is_plain(speaker: &VirtualService) -> bool {
    let delegates = speaker
        .http
        .iter()
        .any(|rule| matches!(rule.action, HttpAction::Delegate { .. }));
    let gateways = speaker.gateways.iter().any(|gateway| &**gateway != "mesh");
    !speaker.hosts.is_empty()
        && !gateways
        && !speaker.hosts.iter().any(HostPattern::is_wildcard)
        && speaker.tls.is_empty()
        && speaker.tcp.is_empty()
        && !delegates
}
