//! All documents of all sources, merged. Pure.
use crate::codes;
use pointsman_model::{Finding, Kind, KnownNames, Level, Object, ObjectKey, World};
use pointsman_sdk::SourceChange;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem,
    sync::Arc,
};

/// Documents by source, and the world they make together.
///
/// Where several sources bring the same document, the source that comes first serves; the others'
/// versions are kept and take over when it withdraws its own. Sources come in the order in which
/// the process first heard of them, an order that outlives a restart of the catalogue. "Who
/// brought it first" was rejected: after a restart it depends on which source answers sooner.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Shared with a compilation in progress; a change meanwhile copies the maps, not the
    /// documents.
    world: Arc<World>,
    sources: Vec<Source>,
    /// Documents that several sources bring.
    contested: BTreeSet<ObjectKey>,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    documents: HashMap<ObjectKey, Object>,
    findings: Vec<Finding>,
    /// Has it said everything since this store began?
    synced: bool,
    /// While it says everything once more: what it said before and did not repeat yet.
    unconfirmed: Option<HashSet<ObjectKey>>,
}

/// What a change did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The world is another.
    pub(crate) world: bool,
    /// The findings are others.
    pub(crate) findings: bool,
}

impl Store {
    /// An empty store that knows these sources, in this order.
    pub(crate) fn knowing(sources: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut store = Self::default();
        for source in sources {
            store.rank(&source);
        }
        store
    }

    /// A source begins to say everything it knows.
    pub(crate) fn begin(&mut self, source: &Arc<str>) {
        let rank = self.rank(source);
        if let Some(source) = self.sources.get_mut(rank) {
            source.unconfirmed = Some(source.documents.keys().cloned().collect());
        }
    }

    /// Takes in what a source says.
    pub(crate) fn apply(&mut self, change: SourceChange) -> Effect {
        let rank = self.rank(&change.source);
        let Some(source) = self.sources.get_mut(rank) else {
            return Effect::default();
        };
        let mut effect = Effect::default();
        let mut touched = Vec::new();
        for object in change.upserts {
            let key = object.key().clone();
            if let Some(unconfirmed) = &mut source.unconfirmed {
                unconfirmed.remove(&key);
            }
            source.documents.insert(key.clone(), object);
            touched.push(key);
        }
        for key in change.deletes {
            if source.documents.remove(&key).is_some() {
                touched.push(key);
            }
        }
        if change.synced {
            source.synced = true;
            for key in mem::take(&mut source.unconfirmed).into_iter().flatten() {
                if source.documents.remove(&key).is_some() {
                    touched.push(key);
                }
            }
        }
        if let Some(findings) = change.findings {
            effect.findings = findings != source.findings;
            source.findings = findings;
        }
        for key in touched {
            let settled = self.settle(&key);
            effect.world |= settled.world;
            effect.findings |= settled.findings;
        }
        effect
    }

    /// Sets what names are known to be.
    pub(crate) fn set_names(&mut self, names: &Arc<KnownNames>) {
        if self.world.names != *names {
            Arc::make_mut(&mut self.world).names = Arc::clone(names);
        }
    }

    /// Everything that serves.
    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Names of sources that have not said everything yet.
    pub(crate) fn unsynced(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sources
            .iter()
            .filter(|source| !source.synced)
            .map(|source| &source.name)
    }

    /// Name, number of documents, and whether it has said everything, of each source in order.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&Arc<str>, usize, bool)> {
        self.sources
            .iter()
            .map(|source| (&source.name, source.documents.len(), source.synced))
    }

    /// Findings of the sources in order, then those about documents that several bring.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .sources
            .iter()
            .flat_map(|source| source.findings.iter().cloned())
            .collect();
        for key in &self.contested {
            let mut bringers = self
                .sources
                .iter()
                .filter_map(|source| Some((&source.name, source.documents.get(key)?)));
            let Some((first, serving)) = bringers.next() else {
                continue;
            };
            findings.extend(bringers.map(|(second, object)| {
                Finding::new(
                    codes::BROUGHT_TWICE,
                    Level::Warning,
                    format!("{key} comes from source {first} and again from source {second}"),
                )
                .of(key)
                .at(&object.meta().place)
                .label(0, "not used")
                .effect(format!(
                    "the one of {first} serves, the one of {second} does not"
                ))
                .help("remove one of them, or give it another name")
                .related(&serving.meta().place, "this one serves")
            }));
        }
        findings
    }

    /// Position of a source; a new one comes last.
    fn rank(&mut self, name: &Arc<str>) -> usize {
        if let Some(rank) = self.sources.iter().position(|it| it.name == *name) {
            return rank;
        }
        self.sources.push(Source {
            name: Arc::clone(name),
            documents: HashMap::new(),
            findings: Vec::new(),
            synced: false,
            unconfirmed: None,
        });
        self.sources.len() - 1
    }

    /// Brings the world in line with what the sources say about one document.
    fn settle(&mut self, key: &ObjectKey) -> Effect {
        let mut versions = self
            .sources
            .iter()
            .filter_map(|source| source.documents.get(key));
        let serving = versions.next();
        let contested = versions.next().is_some();
        let mut effect = Effect {
            world: false,
            findings: if contested {
                // Told again in any case: places may have moved.
                self.contested.insert(key.clone()) || contested
            } else {
                self.contested.remove(key)
            },
        };
        if serving != lookup(&self.world, key).as_ref() {
            effect.world = true;
            let world = Arc::make_mut(&mut self.world);
            match serving.cloned() {
                Some(object) => world.upsert(object),
                None => world.remove(key),
            }
        }
        effect
    }
}

/// The version of a document that serves.
fn lookup(world: &World, key: &ObjectKey) -> Option<Object> {
    match key.kind {
        Kind::Service => world.services.get(key).cloned().map(Object::Service),
        Kind::EndpointSlice | Kind::Endpoints => {
            world.endpoints.get(key).cloned().map(Object::Endpoints)
        }
        Kind::Pod => world.pods.get(key).cloned().map(Object::Pod),
        Kind::ServiceEntry => world
            .service_entries
            .get(key)
            .cloned()
            .map(Object::ServiceEntry),
        Kind::WorkloadEntry => world
            .workload_entries
            .get(key)
            .cloned()
            .map(Object::WorkloadEntry),
        Kind::VirtualService => world
            .virtual_services
            .get(key)
            .cloned()
            .map(Object::VirtualService),
        Kind::DestinationRule => world
            .destination_rules
            .get(key)
            .cloned()
            .map(Object::DestinationRule),
        Kind::Gateway => world.gateways.get(key).cloned().map(Object::Gateway),
        Kind::Sidecar => world.sidecars.get(key).cloned().map(Object::Sidecar),
        Kind::ConfigMap => world
            .mesh_settings
            .get(key)
            .cloned()
            .map(Object::MeshSettings),
    }
}
