//! One copy on its way.
use super::{Slot, http1, http2, original::Http2Head};
use crate::shard::{
    Shard,
    cluster_state::{ClusterState, Tried},
    pool_limits::PoolLimits,
};
use bytes::Bytes;
use pointsman_wire::http1::RequestKind;
use std::{rc::Rc, time::Duration};

/// A complete request.
pub(super) enum Copy {
    /// As it is sent.
    Http1(Bytes, RequestKind),
    Http2 {
        head: Http2Head,
        /// As HTTP/1 frames it.
        body: Bytes,
        chunked: bool,
    },
}

/// Delivers it within `limit`, and counts how that went.
pub(super) async fn deliver(
    shard: Rc<Shard>,
    to: Rc<ClusterState>,
    copy: Copy,
    limit: Duration,
    slot: Slot,
) {
    let outcome = tokio::time::timeout(limit, attempt(&shard, &to, copy)).await;
    shard.counts.mirror(outcome.unwrap_or("late"));
    drop(slot);
}

/// No retries (VS-H-89): a copy that is lost is lost.
async fn attempt(shard: &Rc<Shard>, cluster: &ClusterState, copy: Copy) -> &'static str {
    let Some(in_flight) = cluster.pick(&Tried::new(), &shard.random) else {
        return "unavailable";
    };
    let limits = cluster.limits.as_deref();
    // Its backend's own limits hold for a copy too (VS-H-89).
    let Ok(_request) = limits.map_or(Ok(None), PoolLimits::request) else {
        return "overflow";
    };
    let endpoint = in_flight.endpoint();
    match copy {
        Copy::Http1(bytes, kind) => http1::send(shard, cluster, endpoint, &bytes, kind).await,
        Copy::Http2 {
            head,
            body,
            chunked,
        } => match http2::body(body, chunked, head.text) {
            Some(body) => http2::send(shard, cluster, endpoint, *head.request, body).await,
            None => "failed",
        },
    }
}
