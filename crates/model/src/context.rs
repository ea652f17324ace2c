//! In whose eyes the documents are read.
use crate::object::Labels;
use std::{net::IpAddr, sync::Arc};

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

/// The client whose traffic is captured, and the mesh it lives in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientContext {
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
    /// How address-less TCP entries capture.
    pub entry_capture: EntryCapture,
}

impl Default for ClientContext {
    fn default() -> Self {
        Self {
            namespace: "default".into(),
            labels: Labels::new(),
            addresses: Vec::new(),
            node: None,
            root_namespace: "istio-system".into(),
            cluster_domain: "cluster.local".into(),
            outbound_policy: OutboundPolicy::AllowAny,
            entry_capture: EntryCapture::Resolved,
        }
    }
}
