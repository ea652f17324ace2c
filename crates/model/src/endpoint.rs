//! Endpoints of Kubernetes Services, and the Pods behind them.
use crate::{Meta, object::Labels};
use std::{net::IpAddr, sync::Arc};

/// An EndpointSlice, or one subset of an Endpoints document: endpoints that share ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSet {
    /// Identity of the document.
    pub meta: Meta,
    /// The Service they belong to: label `kubernetes.io/service-name`, or the name of the
    /// Endpoints document.
    pub service: Arc<str>,
    /// Groups of endpoints that share one list of ports. A slice has one.
    pub groups: Vec<EndpointGroup>,
}

/// Endpoints that share ports.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EndpointGroup {
    /// Port name and target port number (BE-115).
    pub ports: Vec<(Arc<str>, u16)>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// Readiness of an endpoint as Kubernetes tells it (BE-113).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Readiness {
    /// `ready` true or absent.
    #[default]
    Ready,
    /// Known, never used, except in panic mode (BE-84).
    NotReady,
    /// On its way out, not used at all.
    Terminating,
}

/// One address of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// The address; slices of type FQDN are left out (BE-114).
    pub address: IpAddr,
    /// Readiness.
    pub readiness: Readiness,
    /// Pod the address belongs to (`targetRef` of kind Pod), in the slice's namespace.
    pub pod: Option<Arc<str>>,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `zone`.
    pub zone: Option<Arc<str>>,
}

/// A Pod: labels choose subsets (BE-119); the address tells who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Identity and labels.
    pub meta: Meta,
    /// `status.podIPs`, or `podIP`.
    pub addresses: Vec<IpAddr>,
    /// The condition `Ready`, and `metadata.deletionTimestamp`; whoever has neither is ready.
    pub readiness: Readiness,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<Arc<str>>,
    /// `spec.hostNetwork`: its address is that of its node, and of everything else there.
    pub host_network: bool,
}

impl Pod {
    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.meta.labels
    }
}
