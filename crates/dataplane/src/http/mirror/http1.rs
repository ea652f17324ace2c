//! To a mirror that speaks HTTP/1.
use crate::{
    http::{discard::Rest, interim::Interims},
    shard::{
        Shard, cluster_state::ClusterState, endpoint_state::EndpointState, pool_limits::PoolLimits,
        upstream::Upstream,
    },
    socket::Socket,
    stream,
};
use pointsman_wire::http1::{
    BodyLength, RequestKind, ResponseBody, ResponseHead, field_slots, head_may_be_complete,
    parse_response,
};
use std::time::Instant;
use tokio::task::coop::consume_budget;

/// Sends a copy and reads the reply; what became of it. A copy does not wait for room.
pub(super) async fn send(
    shard: &Shard,
    cluster: &ClusterState,
    endpoint: &EndpointState,
    bytes: &[u8],
    kind: RequestKind,
) -> &'static str {
    let limits = cluster.limits.as_deref();
    let upstream = match endpoint.take_idle(&cluster.lifetime, false) {
        Some(upstream) => upstream,
        None => {
            let Ok(permit) = limits.map_or(Ok(None), PoolLimits::connection) else {
                return "overflow";
            };
            match endpoint.connect(shard).await {
                Ok(upstream) => Upstream::new(upstream, &cluster.lifetime, permit),
                Err(_) => return "failed",
            }
        }
    };
    if stream::write_all(&upstream, bytes).await.is_err() {
        return "failed";
    }
    let mut input = shard.buffers.small();
    let end = read_away(shard, &upstream, kind, &mut input).await;
    shard.buffers.give(input);
    match end {
        None => "failed",
        Some(reusable) => {
            if reusable {
                let most = shard.settings.limits.pooled_per_endpoint;
                endpoint.keep(upstream, &cluster.lifetime, most, Instant::now());
            }
            "answered"
        }
    }
}

/// Reads a response and throws it away. Whether the connection can be used again; `None` where
/// there was no response.
async fn read_away(
    shard: &Shard,
    upstream: &Socket,
    kind: RequestKind,
    input: &mut Vec<u8>,
) -> Option<bool> {
    let limits = shard.settings.limits.of_heads();
    let (mut scanned, interims) = (0, Interims::default());
    let mut rest = loop {
        let mut head = None;
        if head_may_be_complete(input, scanned) || input.len() >= limits.max_bytes {
            let mut slots = field_slots();
            let parsed = parse_response(input, &mut slots, &limits, kind).ok()?;
            // Nobody asked for another protocol: what a 101 leaves is no connection for requests.
            let keeps = |head: &ResponseHead<'_>| head.keep_alive && head.status != 101;
            head = parsed.map(|head| (head.len, head.is_interim(), keeps(&head), head.body));
        }
        match head {
            None => {
                scanned = input.len();
                consume_budget().await;
                if stream::read(upstream, input).await.ok()? == 0 {
                    return None;
                }
            }
            Some((length, true, ..)) => {
                input.drain(..length.min(input.len()));
                scanned = 0;
                if !interims.another() {
                    return None;
                }
            }
            Some((length, false, keep_alive, body)) => {
                input.drain(..length.min(input.len()));
                match body {
                    _ if !keep_alive => return Some(false),
                    ResponseBody::UntilClose => return Some(false),
                    ResponseBody::None => break Rest::new(BodyLength::None),
                    ResponseBody::Length(length) => break Rest::new(BodyLength::Length(length)),
                    ResponseBody::Chunked => break Rest::new(BodyLength::Chunked),
                }
            }
        }
    };
    // What is longer than a request may be is not worth reading for the sake of a connection.
    let mut most = shard.settings.mirrors.body_bytes;
    loop {
        consume_budget().await;
        let Some(part) = rest.take(input) else {
            return Some(false);
        };
        input.drain(..part.bytes.min(input.len()));
        match most.checked_sub(part.bytes) {
            // Bytes behind the response answer nobody.
            Some(_) if part.last => return Some(input.is_empty()),
            Some(left) => most = left,
            None => return Some(false),
        }
        if !matches!(stream::read(upstream, input).await, Ok(1..)) {
            return Some(false);
        }
    }
}
