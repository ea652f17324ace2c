//! Istio WorkloadEntries: workloads outside Kubernetes (BE-112).
use crate::{Meta, object::Labels, service_entry::EntryEndpoint};

/// A WorkloadEntry: an endpoint of every Service and ServiceEntry of its namespace whose selector
/// picks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadEntry {
    /// Identity. Its labels are the document's own.
    pub meta: Meta,
    /// Address, ports and weight. Its labels are those of `spec` and of the document together,
    /// of which the latter come first: selectors and subsets go by them.
    pub endpoint: EntryEndpoint,
}

impl WorkloadEntry {
    /// The labels selectors and subsets go by.
    pub fn labels(&self) -> &Labels {
        &self.endpoint.labels
    }
}
