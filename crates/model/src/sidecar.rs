//! Istio Sidecars: what a client can see of the mesh (VIS-10).
use crate::{
    Destination, HostPattern, Meta, OutboundPolicy, Place, VirtualService, World, object::Labels,
    policy::selects,
};
use std::sync::Arc;

/// The namespace part of an item of `egress[].hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressNamespace {
    /// `*`.
    Any,
    /// `.`: the client's own.
    Own,
    /// `~`: none.
    Nowhere,
    /// A namespace by name.
    Named(Arc<str>),
}

/// One item of `egress[].hosts`: `namespace/host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressHost {
    /// Namespace of the services.
    pub namespace: EgressNamespace,
    /// Their hosts.
    pub host: HostPattern,
}

/// One item of `egress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// `port.number`: the item speaks of this port of its services only, and no other item does.
    pub port: Option<u16>,
    /// What is listed.
    pub hosts: Vec<EgressHost>,
    /// Where the item begins.
    pub place: Place,
}

/// `outboundTrafficPolicy` of a Sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// What happens to traffic that nothing recognises (LIS-65).
    pub policy: OutboundPolicy,
    /// Where such traffic goes instead of to its original destination (LIS-67).
    pub egress_proxy: Option<Destination>,
}

/// A Sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Identity.
    pub meta: Meta,
    /// `workloadSelector.labels`; absent: all clients of the namespace.
    pub workload_selector: Option<Labels>,
    /// What the client can see; empty: everything.
    pub egress: Vec<Egress>,
    /// `outboundTrafficPolicy`; absent: the mesh's.
    pub outbound: Option<Outbound>,
}

impl Sidecar {
    /// The Sidecar of a client: one of its namespace that selects it, else one of its namespace
    /// without a selector, else one of the root namespace without a selector. Of several the
    /// oldest.
    pub fn in_force<'w>(
        world: &'w World,
        namespace: &str,
        labels: &Labels,
        root: &str,
    ) -> Option<&'w Arc<Self>> {
        let oldest = |namespace: &str, takes: &dyn Fn(Option<&Labels>) -> bool| {
            world
                .sidecars
                .values()
                .filter(|it| *it.meta.key.namespace == *namespace)
                .filter(|it| takes(it.workload_selector.as_ref()))
                .min_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()))
        };
        let chosen = |selector: Option<&Labels>| selector.is_some_and(|it| selects(it, labels));
        let plain = |selector: Option<&Labels>| selector.is_none();
        oldest(namespace, &chosen)
            .or_else(|| oldest(namespace, &plain))
            .or_else(|| oldest(root, &plain))
    }

    /// May the client, who lives in `client`, know of a port of a service? An item with that port
    /// decides alone, as Istio's listener of that port has only the services it lists.
    pub fn lists_port(&self, client: &str, namespace: &str, host: &HostPattern, port: u16) -> bool {
        let explicit = self.egress.iter().any(|item| item.port == Some(port));
        let wanted = explicit.then_some(port);
        self.lists(
            client,
            namespace,
            |item| item.port == wanted,
            |own| own.covers(host),
        )
    }

    /// May the client know of any rule of a VirtualService? One that has a listed host may also
    /// speak of others. Delegates have no hosts and are not asked about.
    pub fn lists_rules(&self, client: &str, service: &VirtualService) -> bool {
        let overlaps = |own: &HostPattern| {
            let one = |host: &HostPattern| own.covers(host) || host.covers(own);
            service.hosts.iter().any(one)
        };
        self.lists(client, &service.meta.key.namespace, |_| true, overlaps)
    }

    fn lists(
        &self,
        client: &str,
        namespace: &str,
        item: impl Fn(&Egress) -> bool,
        host: impl Fn(&HostPattern) -> bool,
    ) -> bool {
        let here = |own: &EgressNamespace| match own {
            EgressNamespace::Any => true,
            EgressNamespace::Own => client == namespace,
            EgressNamespace::Nowhere => false,
            EgressNamespace::Named(own) => **own == *namespace,
        };
        self.egress.is_empty()
            || self
                .egress
                .iter()
                .filter(|own| item(own))
                .flat_map(|own| &own.hosts)
                .any(|own| here(&own.namespace) && host(&own.host))
    }
}
