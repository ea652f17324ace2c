//! The identity of a document.
use crate::Place;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Label sets keep their order by key, so that equal sets compare equal.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// The kinds of documents Pointsman reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Endpoints, the older form of the same facts.
    Endpoints,
    /// `v1` Pod: its labels choose subsets, its address names a client.
    Pod,
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry,
    /// `networking.istio.io` WorkloadEntry.
    WorkloadEntry,
    /// `networking.istio.io` VirtualService.
    VirtualService,
    /// `networking.istio.io` DestinationRule.
    DestinationRule,
    /// `networking.istio.io` Gateway.
    Gateway,
    /// `networking.istio.io` Sidecar.
    Sidecar,
    /// `v1` ConfigMap: only Istio's own, which holds the settings of the mesh.
    ConfigMap,
}

impl Kind {
    /// The word used in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
            Self::Pod => "Pod",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::Gateway => "Gateway",
            Self::Sidecar => "Sidecar",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identifies one document: two documents with equal keys are versions of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Kind of the document.
    pub kind: Kind,
    /// Namespace, `default` where the document names none.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What every document has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Identity.
    pub key: ObjectKey,
    /// `metadata.creationTimestamp` as Unix seconds. Documents without one count as equally old,
    /// and name, then namespace, decide "oldest first" (LIS-2).
    pub created: Option<i64>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `exportTo`, or the annotation `networking.istio.io/exportTo` of a Service. Empty: the mesh
    /// default of that kind (VIS-5).
    pub export_to: Vec<Arc<str>>,
    /// Where the document begins.
    pub place: Place,
}

impl Meta {
    /// Sort key of "oldest first": creation time, then name, then namespace (LIS-2). A document
    /// without a creation time sorts before those that have one: files are older than clusters.
    pub fn age_key(&self) -> (i64, &str, &str) {
        (
            self.created.unwrap_or(i64::MIN),
            &self.key.name,
            &self.key.namespace,
        )
    }

    /// Is the document visible to `namespace` (VIS-1..6)? `default` stands in for an empty list.
    pub fn visible_to(&self, namespace: &str, default: &[Arc<str>]) -> bool {
        let list: &[Arc<str>] = if self.export_to.is_empty() {
            default
        } else {
            &self.export_to
        };
        list.is_empty()
            || list.iter().any(|item| match &**item {
                "*" => true,
                "~" => false,
                "." => &*self.key.namespace == namespace,
                other => other == namespace,
            })
    }
}
