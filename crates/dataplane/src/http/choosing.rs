//! Which endpoint a try goes to.
use super::{
    Context,
    local::{self, Local},
    outgoing::speaks_http2,
    step::{Forward, To},
};
use crate::shard::{
    cluster_state::{ClusterState, Dialled, Tried},
    endpoint_state::InFlight,
};
use std::rc::Rc;

/// The backend as the present documents have it: a try that begins later than its request is to meet
/// the endpoints of its own time (BE-126). `None` where they have it no more, or its endpoints speak
/// another protocol, in which the head is not written: then it stays as it was.
#[cold]
pub(super) fn present(cx: &Context<'_>, forward: &Forward) -> Option<Rc<ClusterState>> {
    let name = &forward.backend()?.cluster.name;
    let view = cx.view();
    let (id, _) = view.table().cluster_by_name(name)?;
    let cluster = cx.shard.cluster(&view, id)?;
    let http2 = speaks_http2(cx, &cluster, &forward.facts);
    (http2 == forward.http2.is_some()).then_some(cluster)
}

/// An endpoint of the `backend`, for this try.
pub(super) fn pick(
    cx: &Context<'_>,
    forward: &Forward,
    backend: Option<&ClusterState>,
    tried: &Tried,
) -> Result<InFlight, Local> {
    let cluster = match (&forward.to, backend) {
        (To::Original(endpoint, _), _) => return Ok(endpoint.enter()),
        (To::Cluster(_), Some(backend)) => backend,
        (To::Cluster(backend), None) => backend,
    };
    let dialled = match cluster.dialled(cx.original, cx.original_is_self) {
        None | Some(Dialled::Any) => return choose(cx, cluster, tried),
        Some(Dialled::Endpoint(endpoint)) => endpoint,
        Some(Dialled::Address(address)) => cx.shard.original(address),
        Some(Dialled::Ourselves) => {
            cx.shard.counts.self_connect(&cluster.cluster.label);
            return Err(local::SELF_CONNECT);
        }
    };
    Ok(dialled.enter())
}

/// An endpoint that was not tried yet, else any (VS-H-77).
fn choose(cx: &Context<'_>, cluster: &ClusterState, tried: &Tried) -> Result<InFlight, Local> {
    let random = &cx.shard.random;
    cluster
        .pick(tried, random)
        .or_else(|| {
            let any = Tried::new();
            (!tried.is_empty())
                .then(|| cluster.pick(&any, random))
                .flatten()
        })
        .ok_or(local::NO_ENDPOINT)
}
