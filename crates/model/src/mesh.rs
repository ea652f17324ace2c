//! Settings of a whole mesh: the document `mesh` in Istio's ConfigMap `istio`.
use crate::{
    Meta, OutboundPolicy, PathNormalization, World,
    action::Retries,
    context::{DEFAULT_ROOT_NAMESPACE, ExportDefaults},
    policy::{PolicyBlocks, TcpKeepalive},
};
use std::{sync::Arc, time::Duration};

/// What a mesh says about all its clients. Absent fields say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// Identity of the ConfigMap.
    pub meta: Meta,
    /// `outboundTrafficPolicy.mode` (LIS-65).
    pub outbound_policy: Option<OutboundPolicy>,
    /// `pathNormalization.normalization` (PS-80); `DEFAULT` says nothing.
    pub path_normalization: Option<PathNormalization>,
    /// `defaultConfig.gatewayTopology.numTrustedProxies` (GW-80).
    pub trusted_hops: Option<u32>,
    /// `rootNamespace` (BE-12).
    pub root_namespace: Option<Arc<str>>,
    /// `defaultServiceExportTo` and the like (VIS-5). An empty list says nothing.
    pub export_defaults: ExportDefaults,
    /// `defaultHttpRetryPolicy` (VS-H-71).
    pub retries: Option<Retries>,
    /// `connectTimeout`, for pools that set none (BE-61).
    pub connect_timeout: Option<Duration>,
    /// `h2UpgradePolicy: UPGRADE`, for pools that say neither (BE-72).
    pub h2_upgrade: bool,
    /// `tcpKeepalive`, for all connections to endpoints (BE-62).
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `defaultTrafficPolicy`: `connectionPool` and `outlierDetection` (BE-26).
    pub default_policy: PolicyBlocks,
}

/// The name of the ConfigMap; revisions of the control plane put a dash and theirs behind it.
pub const CONFIG_MAP: &str = "istio";

impl MeshSettings {
    /// The document in force: in the root namespace that was given, else in `istio-system`; the
    /// one without a revision, else the oldest. A namespace that has any decides: documents are
    /// not merged.
    pub fn in_force<'w>(world: &'w World, root: Option<&str>) -> Option<&'w Arc<Self>> {
        let rank = |it: &&Arc<Self>| {
            let (created, name, _) = it.meta.age_key();
            (*name != *CONFIG_MAP, created, name.to_owned())
        };
        let of = |namespace: &str| {
            let here = |it: &&Arc<Self>| *it.meta.key.namespace == *namespace;
            world.mesh_settings.values().filter(here).min_by_key(rank)
        };
        root.and_then(of).or_else(|| of(DEFAULT_ROOT_NAMESPACE))
    }
}
