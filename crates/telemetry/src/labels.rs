//! Who calls whom, in the labels of Istio's metrics.
use crate::names::{HTTP_LABELS, TCP_LABELS};
use pointsman_model::ClientContext;
use std::borrow::Cow;

/// What a label says when nothing is known.
pub const UNKNOWN: &str = "unknown";

/// What Istio calls the revision of a workload that names none.
const LATEST: &str = "latest";

/// What a label says when its value was folded to keep a family bounded.
pub const OTHER: &str = "other";

/// The `source_*` labels: one set for the whole process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLabels {
    /// Workload (deployment) name.
    pub workload: Cow<'static, str>,
    /// Its namespace.
    pub workload_namespace: Cow<'static, str>,
    /// SPIFFE identity.
    pub principal: Cow<'static, str>,
    /// Label `app`.
    pub app: Cow<'static, str>,
    /// Label `version`.
    pub version: Cow<'static, str>,
    /// Kubernetes cluster.
    pub cluster: Cow<'static, str>,
    /// Canonical service of the workload.
    pub canonical_service: Cow<'static, str>,
    /// Canonical revision of the workload.
    pub canonical_revision: Cow<'static, str>,
}

impl Default for SourceLabels {
    fn default() -> Self {
        const UNKNOWN_COW: Cow<'static, str> = Cow::Borrowed(UNKNOWN);
        Self {
            workload: UNKNOWN_COW,
            workload_namespace: UNKNOWN_COW,
            principal: UNKNOWN_COW,
            app: UNKNOWN_COW,
            version: UNKNOWN_COW,
            cluster: UNKNOWN_COW,
            canonical_service: UNKNOWN_COW,
            canonical_revision: Cow::Borrowed(LATEST),
        }
    }
}

impl SourceLabels {
    /// Reads them from the client's labels as Istio does: the canonical name is the first of
    /// `service.istio.io/canonical-name`, `app.kubernetes.io/name` and `app`, the revision the
    /// first of `service.istio.io/canonical-revision`, `app.kubernetes.io/version` and `version`.
    pub fn from_context(context: &ClientContext) -> Self {
        let first = |keys: &[&str]| {
            keys.iter()
                .find_map(|key| context.labels.get(*key))
                .map(|value| Cow::Owned(value.to_string()))
        };
        let mut labels = Self {
            workload_namespace: Cow::Owned(context.namespace.to_string()),
            ..Self::default()
        };
        let name = [
            "service.istio.io/canonical-name",
            "app.kubernetes.io/name",
            "app",
        ];
        let revision = [
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ];
        for (field, keys) in [
            (&mut labels.app, &["app"][..]),
            (&mut labels.version, &["version"]),
            (&mut labels.canonical_service, &name),
            (&mut labels.canonical_revision, &revision),
        ] {
            if let Some(value) = first(keys) {
                *field = value;
            }
        }
        labels
    }
}

/// The labels of one destination. Subsets and ports of a service share them, as in Istio.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterLabels {
    /// `destination_service`: the full host.
    pub service_host: Cow<'static, str>,
    /// `destination_service_name`.
    pub service_name: Cow<'static, str>,
    /// `destination_service_namespace`.
    pub service_namespace: Cow<'static, str>,
}

impl ClusterLabels {
    /// Traffic nothing recognised, forwarded to its original destination (LIS-60). Istio puts the
    /// Host of the request into `destination_service`; that is the client's to choose and without
    /// bound, so it stays `unknown` here.
    pub const PASSTHROUGH: Self = Self::nowhere("PassthroughCluster");

    /// Traffic nothing recognised, refused (LIS-60, VS-H-140, VS-H-150).
    pub const BLACK_HOLE: Self = Self::nowhere("BlackHoleCluster");

    const fn nowhere(name: &'static str) -> Self {
        Self {
            service_host: Cow::Borrowed(UNKNOWN),
            service_name: Cow::Borrowed(name),
            service_namespace: Cow::Borrowed(UNKNOWN),
        }
    }

    /// Values for [`HTTP_LABELS`], in that order.
    pub(crate) fn http<'a>(
        &'a self,
        source: &'a SourceLabels,
        protocol: &'a str,
        code: &'a str,
        grpc_status: &'a str,
        flags: &'a str,
    ) -> [&'a str; HTTP_LABELS.len()] {
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8] = source_values(source);
        let [d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10] = self.values();
        [
            s0,
            s1,
            s2,
            s3,
            s4,
            s5,
            s6,
            s7,
            s8,
            d0,
            d1,
            d2,
            d3,
            d4,
            d5,
            d6,
            d7,
            d8,
            d9,
            d10,
            protocol,
            code,
            grpc_status,
            flags,
            UNKNOWN,
        ]
    }

    /// Values for [`TCP_LABELS`], in that order.
    pub(crate) fn tcp<'a>(
        &'a self,
        source: &'a SourceLabels,
        flags: &'a str,
    ) -> [&'a str; TCP_LABELS.len()] {
        let http = self.http(source, "tcp", "", "", flags);
        let mut values = [""; TCP_LABELS.len()];
        let kept = HTTP_LABELS
            .iter()
            .zip(http)
            .filter(|(label, _)| TCP_LABELS.contains(label));
        for (value, (_, kept)) in values.iter_mut().zip(kept) {
            *value = kept;
        }
        values
    }

    fn values(&self) -> [&str; 11] {
        [
            UNKNOWN, // workload
            UNKNOWN, // workload namespace
            UNKNOWN, // principal
            UNKNOWN, // app
            UNKNOWN, // version
            &self.service_host,
            UNKNOWN, // canonical service, a property of the workload
            LATEST,  // canonical revision, what Istio says of a workload it does not know
            &self.service_name,
            &self.service_namespace,
            UNKNOWN, // cluster
        ]
    }
}

fn source_values(source: &SourceLabels) -> [&str; 9] {
    [
        "source",
        &source.workload,
        &source.canonical_service,
        &source.canonical_revision,
        &source.workload_namespace,
        &source.principal,
        &source.app,
        &source.version,
        &source.cluster,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn context(labels: &[(&str, &str)]) -> ClientContext {
        ClientContext {
            namespace: "shop".into(),
            labels: labels
                .iter()
                .map(|(k, v)| (Arc::from(*k), Arc::from(*v)))
                .collect(),
            ..ClientContext::default()
        }
    }

    #[test]
    fn canonical_name_prefers_istios_own_label() {
        let labels = SourceLabels::from_context(&context(&[
            ("app", "cart"),
            ("app.kubernetes.io/name", "cart-app"),
            ("service.istio.io/canonical-name", "cart-canonical"),
            ("version", "v2"),
        ]));
        assert_eq!(labels.canonical_service, "cart-canonical");
        assert_eq!(labels.canonical_revision, "v2");
        assert_eq!(labels.app, "cart");
        assert_eq!(labels.workload_namespace, "shop");
        assert_eq!(labels.workload, UNKNOWN);
    }

    #[test]
    fn without_labels_everything_is_unknown_and_the_revision_latest() {
        let labels = SourceLabels::from_context(&context(&[]));
        assert_eq!(labels.app, UNKNOWN);
        assert_eq!(labels.canonical_service, UNKNOWN);
        assert_eq!(labels.canonical_revision, "latest");
    }
}
