//! Istio VirtualServices.
use crate::{
    HostPattern, HttpRoute, Meta, Place, WeightedDestination,
    matches::{TcpMatch, TlsMatch},
};
use std::sync::Arc;

/// One item of `spec.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRoute {
    /// Index in `spec.tls`, from 0.
    pub index: u32,
    /// Alternatives, at least one.
    pub matches: Vec<TlsMatch>,
    /// Where to, per connection.
    pub route: Vec<WeightedDestination>,
    /// Where the rule begins.
    pub place: Place,
}

/// One item of `spec.tcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpRoute {
    /// Index in `spec.tcp`, from 0.
    pub index: u32,
    /// Alternatives; empty takes everything (VS-T-3).
    pub matches: Vec<TcpMatch>,
    /// Where to, per connection.
    pub route: Vec<WeightedDestination>,
    /// Where the rule begins.
    pub place: Place,
}

/// A VirtualService.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualService {
    /// Identity.
    pub meta: Meta,
    /// Hosts, short names completed with the own namespace (VSB-4). Empty: a delegate (VS-H-110).
    pub hosts: Vec<HostPattern>,
    /// Gateways as `namespace/name`, or `mesh`. Empty: `mesh` (VSB-1).
    pub gateways: Vec<Arc<str>>,
    /// HTTP rules in order.
    pub http: Vec<HttpRoute>,
    /// TLS rules in order.
    pub tls: Vec<TlsRoute>,
    /// TCP rules in order.
    pub tcp: Vec<TcpRoute>,
}

impl VirtualService {
    /// Bound to transparent clients (VSB-1)?
    pub fn applies_to_mesh(&self) -> bool {
        self.gateways.is_empty() || self.gateways.iter().any(|gateway| &**gateway == "mesh")
    }
}
