//! What a process was told about its client and mesh, and what follows together with documents.
use crate::{
    ClientContext, MeshSettings, OutboundPolicy, Sidecar, World,
    context::{
        DEFAULT_ROOT_NAMESPACE, EntryCapture, ExportDefaults, OutsideFrontends, Role,
        ServedGateways,
    },
    object::Labels,
};
use std::{net::IpAddr, sync::Arc};

/// What flags and settings said. What they left open is taken from the mesh's own document, and
/// only then from the defaults: so it must be known here what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Namespace of the client.
    pub namespace: Arc<str>,
    /// Labels of the client.
    pub labels: Labels,
    /// The client's own addresses.
    pub addresses: Vec<IpAddr>,
    /// Node the client runs on.
    pub node: Option<Arc<str>>,
    /// Namespace of the gateway proxy; absent: the mesh's root namespace, where gateways are
    /// installed unless somebody decides otherwise.
    pub gateway_namespace: Option<Arc<str>>,
    /// Labels of the gateway proxy; absent: it serves every Gateway.
    pub gateway_labels: Option<Labels>,
    /// The cluster's domain; documents do not say it.
    pub cluster_domain: Arc<str>,
    /// How address-less TCP entries capture; documents do not say it.
    pub entry_capture: EntryCapture,
    /// Frontends beside cluster addresses; documents do not say it.
    pub outside: OutsideFrontends,
    /// The mesh's root namespace.
    pub root_namespace: Option<Arc<str>>,
    /// What happens to unmatched traffic.
    pub outbound_policy: Option<OutboundPolicy>,
    /// What documents without `exportTo` are exported to. An empty list says nothing; everywhere
    /// is written `*`.
    pub export_defaults: ExportDefaults,
    /// True when the process was told how long connecting may take: the mesh's `connectTimeout`
    /// is then not used.
    pub connect_timeout: bool,
}

impl Default for Given {
    fn default() -> Self {
        let context = ClientContext::default();
        Self {
            namespace: context.namespace,
            labels: context.labels,
            addresses: context.addresses,
            node: context.node,
            gateway_namespace: None,
            gateway_labels: None,
            cluster_domain: context.cluster_domain,
            entry_capture: context.entry_capture,
            outside: context.outside,
            root_namespace: None,
            outbound_policy: None,
            export_defaults: ExportDefaults::default(),
            connect_timeout: false,
        }
    }
}

impl Given {
    /// In whose eyes the documents are read: what was given, then the mesh's document, then the
    /// defaults. A Sidecar of the client speaks of fewer clients than either, and has the last
    /// word on its outbound policy (LIS-65).
    pub fn context(&self, world: &World) -> ClientContext {
        let mut context = self.mesh(world);
        let root = &context.root_namespace;
        let sidecar = Sidecar::in_force(world, &context.namespace, &context.labels, root);
        if let Some(outbound) = sidecar.and_then(|it| it.outbound.as_ref()) {
            context.outbound_policy = outbound.policy;
        }
        context.sidecar = sidecar.cloned();
        context
    }

    /// In whose eyes the documents are read for the listeners of Gateways.
    pub fn gateway(&self, world: &World) -> ClientContext {
        let (served, labels) = match &self.gateway_labels {
            None => (ServedGateways::Every, Labels::new()),
            Some(labels) => (ServedGateways::Selected, labels.clone()),
        };
        let namespace = self.gateway_namespace.clone();
        self.mesh(world).gateway(served, namespace, labels)
    }

    /// Without a Sidecar: they do not speak of gateways.
    pub fn mesh(&self, world: &World) -> ClientContext {
        let mesh = MeshSettings::in_force(world, self.root_namespace.as_deref());
        let root = self.root_namespace.clone();
        let root = root.or_else(|| mesh.and_then(|it| it.root_namespace.clone()));
        let policy = self.outbound_policy;
        let policy = policy.or_else(|| mesh.and_then(|it| it.outbound_policy));
        ClientContext {
            role: Role::Mesh,
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            addresses: self.addresses.clone(),
            node: self.node.clone(),
            root_namespace: root.unwrap_or_else(|| DEFAULT_ROOT_NAMESPACE.into()),
            cluster_domain: self.cluster_domain.clone(),
            outbound_policy: policy.unwrap_or_default(),
            path_normalization: mesh
                .and_then(|it| it.path_normalization)
                .unwrap_or_default(),
            trusted_hops: mesh.and_then(|it| it.trusted_hops).unwrap_or_default(),
            entry_capture: self.entry_capture,
            export_defaults: match mesh {
                Some(mesh) => self.export_defaults.or(&mesh.export_defaults),
                None => self.export_defaults.clone(),
            },
            default_policy: mesh.map_or_else(Default::default, |it| it.default_policy.clone()),
            connect_timeout: mesh
                .filter(|_| !self.connect_timeout)
                .and_then(|it| it.connect_timeout),
            h2_upgrade: mesh.is_some_and(|it| it.h2_upgrade),
            tcp_keepalive: mesh.and_then(|it| it.tcp_keepalive),
            retries: mesh.and_then(|it| it.retries.clone()).map(Arc::new),
            sidecar: None,
            outside: self.outside.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Kind, Meta, Object, ObjectKey, PathNormalization, Place,
        action::Retries,
        policy::{PolicyBlocks, TcpKeepalive},
        sidecar::{Egress, Outbound},
    };
    use OutboundPolicy::{AllowAny, RegistryOnly};
    use std::time::Duration;

    fn meta(kind: Kind, namespace: &str, name: &str, created: i64) -> Meta {
        Meta {
            key: ObjectKey {
                kind,
                namespace: namespace.into(),
                name: name.into(),
            },
            created: Some(created),
            labels: Labels::new(),
            export_to: Vec::new(),
            place: Place::nowhere(),
        }
    }

    fn mesh(namespace: &str, name: &str, created: i64, root: &str) -> Object {
        Object::MeshSettings(Arc::new(MeshSettings {
            meta: meta(Kind::ConfigMap, namespace, name, created),
            outbound_policy: Some(RegistryOnly),
            path_normalization: Some(PathNormalization::MergeSlashes),
            trusted_hops: Some(2),
            root_namespace: Some(root.into()),
            export_defaults: ExportDefaults {
                services: vec![".".into()],
                virtual_services: vec!["prod".into()],
                ..ExportDefaults::default()
            },
            retries: Some(Retries {
                attempts: 7,
                ..Retries::default()
            }),
            connect_timeout: Some(Duration::from_secs(3)),
            h2_upgrade: true,
            tcp_keepalive: Some(TcpKeepalive::default()),
            default_policy: PolicyBlocks::default(),
        }))
    }

    fn sidecar(namespace: &str, name: &str, created: i64, labels: &[(&str, &str)]) -> Object {
        let labels: Labels = labels
            .iter()
            .map(|&(key, value)| (key.into(), value.into()))
            .collect();
        Object::Sidecar(Arc::new(Sidecar {
            meta: meta(Kind::Sidecar, namespace, name, created),
            workload_selector: (!labels.is_empty()).then_some(labels),
            egress: vec![Egress {
                port: None,
                hosts: Vec::new(),
                place: Place::nowhere(),
            }],
            outbound: (name == "allow").then_some(Outbound {
                policy: AllowAny,
                egress_proxy: None,
            }),
        }))
    }

    #[test]
    fn what_was_given_comes_before_the_document_and_that_before_the_defaults() {
        let nothing = World::default();
        assert_eq!(Given::default().context(&nothing), ClientContext::default());

        let world = World::from_iter([mesh("istio-system", "istio", 1, "mesh-root")]);
        let context = Given::default().context(&world);
        assert_eq!(context.outbound_policy, RegistryOnly);
        assert_eq!(
            (context.path_normalization, context.trusted_hops),
            (PathNormalization::MergeSlashes, 2)
        );
        assert_eq!(&*context.root_namespace, "mesh-root");
        assert_eq!(context.connect_timeout, Some(Duration::from_secs(3)));
        assert!(context.h2_upgrade);
        assert_eq!(context.tcp_keepalive, Some(TcpKeepalive::default()));
        assert_eq!(context.retries.map(|it| it.attempts), Some(7));
        assert_eq!(context.export_defaults.services, [".".into()]);

        let given = Given {
            outbound_policy: Some(AllowAny),
            root_namespace: Some("own".into()),
            export_defaults: ExportDefaults {
                services: vec!["*".into()],
                ..ExportDefaults::default()
            },
            connect_timeout: true,
            ..Given::default()
        };
        let context = given.context(&world);
        assert_eq!(context.outbound_policy, AllowAny);
        assert_eq!(&*context.root_namespace, "own");
        assert_eq!(context.connect_timeout, None);
        assert_eq!(context.export_defaults.services, ["*".into()]);
        assert_eq!(context.export_defaults.virtual_services, ["prod".into()]);
    }

    #[test]
    fn the_document_of_the_root_namespace_without_a_revision_is_in_force() {
        let root = |given: Option<&str>, objects: &[Object]| {
            let world = World::from_iter(objects.to_vec());
            let mesh = MeshSettings::in_force(&world, given)?;
            mesh.root_namespace.as_deref().map(str::to_owned)
        };
        let plain = mesh("istio-system", "istio", 9, "plain");
        let old = mesh("istio-system", "istio-b", 1, "old");
        let young = mesh("istio-system", "istio-a", 2, "young");
        let foreign = mesh("elsewhere", "istio", 0, "foreign");
        let all = [young.clone(), old.clone(), plain, foreign.clone()];
        assert_eq!(root(None, &all).as_deref(), Some("plain"));
        assert_eq!(root(None, &[young, old]).as_deref(), Some("old"));
        assert_eq!(root(Some("elsewhere"), &all).as_deref(), Some("foreign"));
        assert_eq!(root(Some("nowhere"), &all).as_deref(), Some("plain"));
        assert_eq!(root(None, &[foreign]), None);
    }

    #[test]
    fn a_sidecar_that_selects_the_client_comes_first_then_its_namespace_then_the_root() {
        let world = World::from_iter([
            sidecar("istio-system", "root", 1, &[]),
            sidecar("istio-system", "selected", 0, &[("app", "a")]),
            sidecar("default", "plain", 1, &[]),
            sidecar("default", "younger", 2, &[]),
            sidecar("default", "chosen", 3, &[("app", "a")]),
            sidecar("default", "allow", 4, &[("app", "b")]),
        ]);
        let of = |namespace: &str, app: &str| {
            let given = Given {
                namespace: namespace.into(),
                labels: Labels::from([("app".into(), app.into())]),
                outbound_policy: Some(RegistryOnly),
                ..Given::default()
            };
            let context = given.context(&world);
            let name = context.sidecar.map(|it| it.meta.key.name.to_string());
            (name.unwrap_or_default(), context.outbound_policy)
        };
        assert_eq!(of("default", "a"), ("chosen".into(), RegistryOnly));
        assert_eq!(of("default", "b"), ("allow".into(), AllowAny));
        assert_eq!(of("default", "c"), ("plain".into(), RegistryOnly));
        assert_eq!(of("prod", "a"), ("root".into(), RegistryOnly));
        assert_eq!(of("istio-system", "a"), ("selected".into(), RegistryOnly));
        assert_eq!(Given::default().mesh(&world).sidecar, None);
    }
}
