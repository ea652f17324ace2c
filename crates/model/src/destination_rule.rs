//! Istio DestinationRules.
use crate::{HostPattern, Meta, Place, object::Labels, policy::TrafficPolicy};
use std::sync::Arc;

/// A named part of a service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// Name.
    pub name: Arc<str>,
    /// Labels an endpoint must carry.
    pub labels: Labels,
    /// Policy; absent: the rule's (BE-25).
    pub policy: Option<TrafficPolicy>,
    /// Where it is written.
    pub place: Place,
}

/// A DestinationRule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationRule {
    /// Identity.
    pub meta: Meta,
    /// Host, completed with the own namespace (BE-11).
    pub host: HostPattern,
    /// Top-level policy.
    pub policy: Option<TrafficPolicy>,
    /// Subsets in order.
    pub subsets: Vec<Subset>,
    /// `workloadSelector.matchLabels` (BE-16).
    pub workload_selector: Option<Labels>,
}
