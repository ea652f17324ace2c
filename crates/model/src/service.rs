//! Kubernetes Services.
use crate::{Meta, Place, Protocol};
use std::{net::IpAddr, sync::Arc};

/// What a Service is to its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// ClusterIP, LoadBalancer and NodePort: the same for captured traffic (LIS-7).
    ClusterIp {
        /// `clusterIPs`, or `clusterIP`; empty only while Kubernetes has not assigned one.
        addresses: Vec<IpAddr>,
    },
    /// `clusterIP: None` (LIS-21).
    Headless,
    /// An alias and nothing else (ALS-1): never a backend.
    ExternalName {
        /// `externalName`, lower case, taken literally (ALS-14).
        target: Arc<str>,
    },
}

/// One port of a Service or ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; endpoints are joined to ports by it (BE-115). Empty for an unnamed port.
    pub name: Arc<str>,
    /// The port clients dial.
    pub number: u16,
    /// Declared protocol, `Auto` where nothing usable was declared.
    pub protocol: Protocol,
    /// Numeric `targetPort` where given; endpoints may override it.
    pub target: Option<u16>,
    /// `targetPort` given as a name: workloads say which number that is (BE-112).
    pub target_name: Option<Arc<str>>,
    /// `nodePort`: no frontend by default (LIS-7).
    pub node_port: Option<u16>,
    /// Where the port is written.
    pub place: Place,
}

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeService {
    /// Identity; the host is `name.namespace.svc.<cluster domain>`.
    pub meta: Meta,
    /// Kind of Service.
    pub kind: ServiceKind,
    /// Ports, UDP ones included (they make no frontend, PS-67).
    pub ports: Vec<ServicePort>,
    /// `spec.selector`; empty: endpoints are made by hand (BE-118).
    pub selector: crate::object::Labels,
    /// `internalTrafficPolicy: Local` (BE-121).
    pub internal_traffic_local: bool,
    /// `externalIPs` and `status.loadBalancer.ingress[].ip`: no frontends by default (LIS-7).
    pub external_addresses: Vec<IpAddr>,
}

impl KubeService {
    /// The full host name.
    pub fn host(&self, cluster_domain: &str) -> Arc<str> {
        format!(
            "{}.{}.svc.{cluster_domain}",
            self.meta.key.name, self.meta.key.namespace
        )
        .to_ascii_lowercase()
        .into()
    }
}
