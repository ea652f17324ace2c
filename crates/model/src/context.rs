//! In whose eyes the documents are read.
use crate::{
    Gateway, HostPattern, Kind, Meta, Sidecar, VirtualService,
    action::Retries,
    object::Labels,
    policy::{PolicyBlocks, TcpKeepalive, selects},
};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// The root namespace of a mesh that names no other (BE-12).
pub const DEFAULT_ROOT_NAMESPACE: &str = "istio-system";

/// What happens to traffic nothing recognises (LIS-60..65).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundPolicy {
    /// It passes through to its original destination.
    #[default]
    AllowAny,
    /// It is refused.
    RegistryOnly,
}

/// How paths are normalised, once, before anything matches them (PS-80).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PathNormalization {
    /// They are taken as they came.
    None,
    /// Dot segments are resolved and `\` becomes `/`.
    #[default]
    Base,
    /// Repeated slashes become one as well.
    MergeSlashes,
    /// `%2F` and `%5C` become slashes before all that.
    DecodeAndMergeSlashes,
}

impl PathNormalization {
    /// As it is written in the mesh's settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Base => "BASE",
            Self::MergeSlashes => "MERGE_SLASHES",
            Self::DecodeAndMergeSlashes => "DECODE_AND_MERGE_SLASHES",
        }
    }
}

/// On which side traffic comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Role {
    /// Traffic of a client is captured on its way out.
    #[default]
    Mesh,
    /// Traffic comes to the ports of Gateways. Namespace and labels of the context are then those
    /// of the gateway proxy.
    Gateway(ServedGateways),
}

impl Role {
    /// Is it the side of Gateways?
    pub const fn is_gateway(self) -> bool {
        matches!(self, Self::Gateway(_))
    }
}

/// Which Gateways a gateway proxy serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedGateways {
    /// Every one: the proxy stands in for whatever each of them selects, and has the labels that
    /// it selects by. No Service is known to lead to it, so ports are bound as they are written.
    Every,
    /// Those whose selector the labels of the context satisfy (GW-1).
    Selected,
}

/// How an address-less TCP ServiceEntry captures (pain: it swallows a whole port in Istio).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryCapture {
    /// Swallow guard: only addresses its hosts are known to have.
    #[default]
    Resolved,
    /// Istio's behaviour: every address on the port (LIS-27).
    Port,
}

/// What a document without `exportTo` is exported to, by kind (VIS-5). An empty list: everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ExportDefaults {
    /// Services and ServiceEntries (`defaultServiceExportTo` of a mesh).
    pub services: Vec<Arc<str>>,
    /// `defaultVirtualServiceExportTo`.
    pub virtual_services: Vec<Arc<str>>,
    /// `defaultDestinationRuleExportTo`.
    pub destination_rules: Vec<Arc<str>>,
}

impl ExportDefaults {
    /// The list in force for a document; empty: everywhere.
    pub fn list<'l>(&'l self, meta: &'l Meta) -> &'l [Arc<str>] {
        if meta.export_to.is_empty() {
            self.of(meta.key.kind)
        } else {
            &meta.export_to
        }
    }

    /// Is the document visible to a namespace (VIS-1..6)?
    pub fn shows(&self, meta: &Meta, namespace: &str) -> bool {
        meta.visible_to(namespace, self.of(meta.key.kind))
    }

    /// These lists, and where they say nothing, those of `other`.
    pub(crate) fn or(&self, other: &Self) -> Self {
        fn one(list: &[Arc<str>], other: &[Arc<str>]) -> Vec<Arc<str>> {
            if list.is_empty() { other } else { list }.to_vec()
        }
        Self {
            services: one(&self.services, &other.services),
            virtual_services: one(&self.virtual_services, &other.virtual_services),
            destination_rules: one(&self.destination_rules, &other.destination_rules),
        }
    }

    fn of(&self, kind: Kind) -> &[Arc<str>] {
        match kind {
            Kind::Service | Kind::ServiceEntry => &self.services,
            Kind::VirtualService => &self.virtual_services,
            Kind::DestinationRule => &self.destination_rules,
            // Not exported: they belong to a service (VIS-7).
            _ => &[],
        }
    }
}

/// Frontends of Services beside their cluster addresses. None by default, as in a mesh (LIS-7):
/// traffic to these addresses is unmatched there.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OutsideFrontends {
    /// `externalIPs` and the addresses of load balancers are addresses of the Service like any
    /// other: for its ports, and as Host names (HST-7).
    pub external_addresses: bool,
    /// Addresses of nodes: each of them with the `nodePort` of a port leads to that port. The
    /// address decides, whatever the Host says. Nodes are not read from documents; empty: none.
    pub nodes: Vec<IpAddr>,
}

/// The client whose traffic is captured, or the gateway it comes to, and the mesh it lives in: what
/// [`Given::context`] makes of settings and documents.
///
/// [`Given::context`]: crate::Given::context
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientContext {
    /// On which side its traffic comes in.
    pub role: Role,
    /// Namespace of the client (`--namespace`): short host names belong to it (HST-5).
    pub namespace: Arc<str>,
    /// Labels of the client (`--label k=v`).
    pub labels: Labels,
    /// The client's own addresses, skipped among headless endpoints (LIS-24).
    pub addresses: Vec<IpAddr>,
    /// Node the client runs on (BE-121).
    pub node: Option<Arc<str>>,
    /// Mesh root namespace (BE-12).
    pub root_namespace: Arc<str>,
    /// `cluster.local`.
    pub cluster_domain: Arc<str>,
    /// What happens to unmatched traffic.
    pub outbound_policy: OutboundPolicy,
    /// How paths are normalised before they are matched.
    pub path_normalization: PathNormalization,
    /// How many proxies stand in front of a gateway, as the mesh says (GW-80).
    pub trusted_hops: u32,
    /// How address-less TCP entries capture.
    pub entry_capture: EntryCapture,
    /// What documents without `exportTo` are exported to.
    pub export_defaults: ExportDefaults,
    /// The mesh's own `connectionPool` and `outlierDetection`, for blocks that no DestinationRule
    /// sets (BE-26). The other blocks are not looked at.
    pub default_policy: PolicyBlocks,
    /// The mesh's time to connect, for pools that set none; absent: the process's own (BE-61).
    pub connect_timeout: Option<Duration>,
    /// Does the mesh have HTTP/2 spoken to ports that are declared HTTP (BE-72)?
    pub h2_upgrade: bool,
    /// The mesh's probes of connections to endpoints (BE-62).
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The mesh's retries, for rules that set none; absent: the built-in ones (VS-H-70, VS-H-71).
    pub retries: Option<Arc<Retries>>,
    /// The client's Sidecar: narrows what it can see (VIS-10). Its outbound policy is in
    /// `outbound_policy` already.
    pub sidecar: Option<Arc<Sidecar>>,
    /// External addresses and node ports as frontends.
    pub outside: OutsideFrontends,
}

impl ClientContext {
    /// May the client know of the document?
    pub fn sees(&self, meta: &Meta) -> bool {
        self.export_defaults.shows(meta, &self.namespace)
    }

    /// May the client know of a port of a service it [sees](Self::sees) (VIS-10)?
    pub fn lists_port(&self, namespace: &str, host: &HostPattern, port: u16) -> bool {
        let client = &*self.namespace;
        let sidecar = self.sidecar.as_ref();
        sidecar.is_none_or(|it| it.lists_port(client, namespace, host, port))
    }

    /// May the client know of a VirtualService: by its export, and by the client's Sidecar?
    pub fn sees_rules(&self, service: &VirtualService) -> bool {
        let sidecar = self.sidecar.as_ref();
        self.sees(&service.meta)
            && sidecar.is_none_or(|it| it.lists_rules(&self.namespace, service))
    }

    /// A gateway in the same mesh: in this namespace, or the root namespace, where gateways are
    /// installed unless somebody decides otherwise. Sidecars do not speak of gateways.
    pub fn gateway(
        &self,
        served: ServedGateways,
        namespace: Option<Arc<str>>,
        labels: Labels,
    ) -> Self {
        Self {
            role: Role::Gateway(served),
            namespace: namespace.unwrap_or_else(|| self.root_namespace.clone()),
            labels,
            addresses: Vec::new(),
            node: None,
            sidecar: None,
            ..self.clone()
        }
    }

    /// Is the Gateway served by a gateway of this context? Never by a mesh client.
    pub fn serves(&self, gateway: &Gateway) -> bool {
        match self.role {
            Role::Mesh => false,
            Role::Gateway(ServedGateways::Every) => true,
            Role::Gateway(ServedGateways::Selected) => selects(&gateway.selector, &self.labels),
        }
    }
}

impl Default for ClientContext {
    fn default() -> Self {
        Self {
            role: Role::Mesh,
            namespace: "default".into(),
            labels: Labels::new(),
            addresses: Vec::new(),
            node: None,
            root_namespace: DEFAULT_ROOT_NAMESPACE.into(),
            cluster_domain: "cluster.local".into(),
            outbound_policy: OutboundPolicy::AllowAny,
            path_normalization: PathNormalization::default(),
            trusted_hops: 0,
            entry_capture: EntryCapture::Resolved,
            export_defaults: ExportDefaults::default(),
            default_policy: PolicyBlocks::default(),
            connect_timeout: None,
            h2_upgrade: false,
            tcp_keepalive: None,
            retries: None,
            sidecar: None,
            outside: OutsideFrontends::default(),
        }
    }
}
