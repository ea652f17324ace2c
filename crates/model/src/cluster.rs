//! The name of a backend.
use std::{fmt, sync::Arc};

/// Identifies a backend: one for every port of every visible service, and one more for each subset.
///
/// Prints as Istio users and their dashboards know it:
/// `outbound|9080|v1|reviews.default.svc.cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterName {
    /// Full service host.
    pub host: Arc<str>,
    /// Service port.
    pub port: u16,
    /// Subset, if a route names one.
    pub subset: Option<Arc<str>>,
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "outbound|{}|{}|{}",
            self.port,
            self.subset.as_deref().unwrap_or_default(),
            self.host
        )
    }
}
