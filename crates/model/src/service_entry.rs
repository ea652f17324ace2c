//! Istio ServiceEntries: services that Kubernetes does not know.
use crate::{HostPattern, Meta, Place, ServicePort, object::Labels};
use ipnet::IpNet;
use std::{net::IpAddr, path::PathBuf, sync::Arc};

/// How the endpoints of a ServiceEntry are found (BE-92..96).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Resolution {
    /// The original destination (BE-92).
    #[default]
    None,
    /// The listed addresses (BE-93).
    Static,
    /// All addresses the names resolve to (BE-94).
    Dns,
    /// The first address of the latest answer (BE-95).
    DnsRoundRobin,
    /// The request's own Host or SNI, resolved at request time (BE-96).
    DynamicDns,
}

/// Where an endpoint of a ServiceEntry is (BE-107).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A host name, for the DNS resolutions only.
    Name(Arc<str>),
    /// `unix:///path`, for STATIC only.
    Unix(PathBuf),
}

/// One endpoint of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryEndpoint {
    /// Address.
    pub address: EntryAddress,
    /// Port by port name (BE-108).
    pub ports: Vec<(Arc<str>, u16)>,
    /// Labels for subsets (BE-110).
    pub labels: Labels,
    /// Relative weight; 0 or absent counts as 1 (BE-109).
    pub weight: u32,
    /// `region/zone/subzone` (BE-111).
    pub locality: Option<Arc<str>>,
    /// Where it is written.
    pub place: Place,
}

/// A ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Identity.
    pub meta: Meta,
    /// Hosts, at least one, lower case.
    pub hosts: Vec<HostPattern>,
    /// Usable addresses; a plain IP is a /32 or /128 (LIS-5). Empty: no address (LIS-27).
    pub addresses: Vec<IpNet>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Endpoints.
    pub endpoints: Vec<EntryEndpoint>,
    /// Selects Pods and WorkloadEntries of the namespace (BE-112); excludes `endpoints`.
    pub workload_selector: Option<Labels>,
    /// `location: MESH_INTERNAL` (BE-104).
    pub mesh_internal: bool,
    /// `subjectAltNames` (BE-87).
    pub subject_alt_names: Vec<Arc<str>>,
}
