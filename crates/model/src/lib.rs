//! The validated vocabulary every other crate speaks.
//!
//! How to read it, in the order a document travels: [`place`] says where something was written,
//! [`object`] names a document, the kinds follow ([`service`], [`endpoint`], [`service_entry`],
//! [`workload_entry`], [`virtual_service`] with [`mod@matches`] and [`action`],
//! [`destination_rule`] with [`policy`], [`gateway`], [`sidecar`], [`mesh`]), [`world`] is the set
//! of all of them (kept in a [`shared_map`]), [`given`] what a process was told beside them, and [`context`] what follows from
//! both: in whose eyes they are read. [`finding`] is what people are told about them, [`codes`]
//! lists all there are, [`cluster`] names a backend, and [`re2`] reads the patterns of matches.
//!
//! Nothing here parses YAML (`manifest`), decides (`route`) or does I/O.
#![forbid(unsafe_code)]

pub mod action;
pub mod cluster;
pub mod codes;
pub mod context;
pub mod destination_rule;
pub mod endpoint;
pub mod finding;
pub mod gateway;
pub mod given;
pub mod header_value;
pub mod host;
pub mod matches;
pub mod mesh;
pub mod names;
pub mod object;
pub mod place;
pub mod policy;
pub mod protocol;
pub mod re2;
pub mod service;
pub mod service_entry;
pub mod shared_map;
pub mod sidecar;
pub mod virtual_service;
pub mod workload_entry;
pub mod world;

pub use action::{Destination, HttpAction, HttpRoute, WeightedDestination};
pub use cluster::ClusterName;
pub use context::{ClientContext, OutboundPolicy, PathNormalization, Role, ServedGateways};
pub use destination_rule::{DestinationRule, Subset};
pub use endpoint::{EndpointSet, Pod, SliceEndpoint};
pub use finding::{Code, Finding, Level};
pub use gateway::Gateway;
pub use given::Given;
pub use header_value::HeaderValue;
pub use host::HostPattern;
pub use mesh::MeshSettings;
pub use names::KnownNames;
pub use object::{Kind, Meta, ObjectKey};
pub use place::Place;
pub use protocol::{Protocol, ProtocolClass};
pub use service::{KubeService, ServiceKind, ServicePort};
pub use service_entry::{Resolution, ServiceEntry};
pub use shared_map::SharedMap;
pub use sidecar::Sidecar;
pub use virtual_service::VirtualService;
pub use workload_entry::WorkloadEntry;
pub use world::{Object, World};
