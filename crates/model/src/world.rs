//! Everything that is known: all documents of all sources.
use crate::{
    DestinationRule, EndpointSet, Gateway, KnownNames, KubeService, MeshSettings, Meta, ObjectKey,
    Pod, ServiceEntry, SharedMap, Sidecar, VirtualService, WorkloadEntry,
};
use std::sync::Arc;

/// One validated document.
///
/// Behind `Arc`s, so that unchanged documents are shared between generations and "did it change"
/// is first a pointer comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// Kubernetes Service.
    Service(Arc<KubeService>),
    /// EndpointSlice or Endpoints.
    Endpoints(Arc<EndpointSet>),
    /// Pod.
    Pod(Arc<Pod>),
    /// ServiceEntry.
    ServiceEntry(Arc<ServiceEntry>),
    /// WorkloadEntry.
    WorkloadEntry(Arc<WorkloadEntry>),
    /// VirtualService.
    VirtualService(Arc<VirtualService>),
    /// DestinationRule.
    DestinationRule(Arc<DestinationRule>),
    /// Gateway.
    Gateway(Arc<Gateway>),
    /// Sidecar.
    Sidecar(Arc<Sidecar>),
    /// Istio's ConfigMap.
    MeshSettings(Arc<MeshSettings>),
}

impl Object {
    /// What every document has.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Service(object) => &object.meta,
            Self::Endpoints(object) => &object.meta,
            Self::Pod(object) => &object.meta,
            Self::ServiceEntry(object) => &object.meta,
            Self::WorkloadEntry(object) => &object.meta,
            Self::VirtualService(object) => &object.meta,
            Self::DestinationRule(object) => &object.meta,
            Self::Gateway(object) => &object.meta,
            Self::Sidecar(object) => &object.meta,
            Self::MeshSettings(object) => &object.meta,
        }
    }

    /// Identity.
    pub fn key(&self) -> &ObjectKey {
        &self.meta().key
    }
}

/// All documents by identity. Ordered, so that compiling is deterministic. Copies share what they
/// have in common, so a copy is cheap, and so is a change after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Services.
    pub services: SharedMap<ObjectKey, Arc<KubeService>>,
    /// EndpointSlices and Endpoints.
    pub endpoints: SharedMap<ObjectKey, Arc<EndpointSet>>,
    /// Pods.
    pub pods: SharedMap<ObjectKey, Arc<Pod>>,
    /// ServiceEntries.
    pub service_entries: SharedMap<ObjectKey, Arc<ServiceEntry>>,
    /// WorkloadEntries.
    pub workload_entries: SharedMap<ObjectKey, Arc<WorkloadEntry>>,
    /// VirtualServices.
    pub virtual_services: SharedMap<ObjectKey, Arc<VirtualService>>,
    /// DestinationRules.
    pub destination_rules: SharedMap<ObjectKey, Arc<DestinationRule>>,
    /// Gateways.
    pub gateways: SharedMap<ObjectKey, Arc<Gateway>>,
    /// Sidecars.
    pub sidecars: SharedMap<ObjectKey, Arc<Sidecar>>,
    /// Settings of the mesh.
    pub mesh_settings: SharedMap<ObjectKey, Arc<MeshSettings>>,
    /// What names in documents are known to be: no document, but as much a part of what is known.
    pub names: Arc<KnownNames>,
}

impl World {
    /// Adds or replaces a document.
    pub fn upsert(&mut self, object: Object) {
        let key = object.key().clone();
        match object {
            Object::Service(it) => drop(self.services.insert(key, it)),
            Object::Endpoints(it) => drop(self.endpoints.insert(key, it)),
            Object::Pod(it) => drop(self.pods.insert(key, it)),
            Object::ServiceEntry(it) => drop(self.service_entries.insert(key, it)),
            Object::WorkloadEntry(it) => drop(self.workload_entries.insert(key, it)),
            Object::VirtualService(it) => drop(self.virtual_services.insert(key, it)),
            Object::DestinationRule(it) => drop(self.destination_rules.insert(key, it)),
            Object::Gateway(it) => drop(self.gateways.insert(key, it)),
            Object::Sidecar(it) => drop(self.sidecars.insert(key, it)),
            Object::MeshSettings(it) => drop(self.mesh_settings.insert(key, it)),
        }
    }

    /// Removes a document; unknown keys are fine.
    pub fn remove(&mut self, key: &ObjectKey) {
        use crate::Kind::*;
        match key.kind {
            Service => drop(self.services.remove(key)),
            EndpointSlice | Endpoints => drop(self.endpoints.remove(key)),
            Pod => drop(self.pods.remove(key)),
            ServiceEntry => drop(self.service_entries.remove(key)),
            WorkloadEntry => drop(self.workload_entries.remove(key)),
            VirtualService => drop(self.virtual_services.remove(key)),
            DestinationRule => drop(self.destination_rules.remove(key)),
            Gateway => drop(self.gateways.remove(key)),
            Sidecar => drop(self.sidecars.remove(key)),
            ConfigMap => drop(self.mesh_settings.remove(key)),
        }
    }

    /// What every document has, kind by kind.
    pub fn metas(&self) -> impl Iterator<Item = &Meta> {
        let services = self.services.values().map(|it| &it.meta);
        let endpoints = self.endpoints.values().map(|it| &it.meta);
        let pods = self.pods.values().map(|it| &it.meta);
        let entries = self.service_entries.values().map(|it| &it.meta);
        let workloads = self.workload_entries.values().map(|it| &it.meta);
        let virtual_services = self.virtual_services.values().map(|it| &it.meta);
        let rules = self.destination_rules.values().map(|it| &it.meta);
        let gateways = self.gateways.values().map(|it| &it.meta);
        let sidecars = self.sidecars.values().map(|it| &it.meta);
        let meshes = self.mesh_settings.values().map(|it| &it.meta);
        services
            .chain(endpoints)
            .chain(pods)
            .chain(entries)
            .chain(workloads)
            .chain(virtual_services)
            .chain(rules)
            .chain(gateways)
            .chain(sidecars)
            .chain(meshes)
    }

    /// The same in memory? Then they are equal; otherwise they may still be.
    pub fn is_same(&self, other: &Self) -> bool {
        self.services.is_same(&other.services)
            && self.endpoints.is_same(&other.endpoints)
            && self.pods.is_same(&other.pods)
            && self.service_entries.is_same(&other.service_entries)
            && self.workload_entries.is_same(&other.workload_entries)
            && self.virtual_services.is_same(&other.virtual_services)
            && self.destination_rules.is_same(&other.destination_rules)
            && self.gateways.is_same(&other.gateways)
            && self.sidecars.is_same(&other.sidecars)
            && self.mesh_settings.is_same(&other.mesh_settings)
            && Arc::ptr_eq(&self.names, &other.names)
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.services.len()
            + self.endpoints.len()
            + self.pods.len()
            + self.service_entries.len()
            + self.workload_entries.len()
            + self.virtual_services.len()
            + self.destination_rules.len()
            + self.gateways.len()
            + self.sidecars.len()
            + self.mesh_settings.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<Object> for World {
    fn from_iter<T: IntoIterator<Item = Object>>(objects: T) -> Self {
        let mut world = Self::default();
        for object in objects {
            world.upsert(object);
        }
        world
    }
}
