//! A connection for a request that found none in the pool: opened, or waited for where the backend
//! has as many as it may.
use super::{
    Context,
    local::{self, Local},
    outcome::{End, Failure, FailureKind, Outcome},
    watched::{Stall, awaited},
};
use crate::{
    shard::{
        cluster_state::ClusterState,
        endpoint_state::{self, EndpointState},
        pool_limits::{ConnectionPermit, Full, Lifetime, PoolLimits},
        upstream::Upstream,
    },
    socket::Socket,
};
use rustix::io::Errno;
use std::{io, time::Instant};

/// Why there is no connection.
pub(super) enum NoConnection {
    /// Connecting failed: that may be tried again.
    Failed(Local),
    /// The try's own time is over (VS-H-75).
    Late,
    /// The backend has no room, which is never tried again (VS-H-79).
    Full(Local),
    /// Nobody waits for an answer any more.
    ClientGone,
}

/// A connection, and whether others have used it.
pub(super) type Found = Result<(Upstream, bool), NoConnection>;

impl NoConnection {
    /// The end of the try.
    pub(super) fn end(&self) -> End {
        let (kind, local) = match self {
            Self::Failed(local) => (FailureKind::Connect, *local),
            Self::Late => (FailureKind::Late, local::TRY_TIMEOUT),
            Self::Full(local) => return End::Other(Outcome::Reply(*local)),
            Self::ClientGone => return End::Other(Outcome::CLIENT_GONE),
        };
        End::Failed(Failure { kind, local })
    }
}

/// A connection to an HTTP/1 endpoint, by the end of the try. Where they are counted, the right to one
/// may have been `freed` by the try before.
pub(super) async fn connection(
    cx: &Context<'_>,
    backend: Option<&ClusterState>,
    endpoint: &EndpointState,
    freed: Option<ConnectionPermit>,
    deadline: Option<Instant>,
) -> Found {
    let found = async {
        match backend.and_then(|it| it.limits.as_deref()) {
            None => opened(cx, backend, endpoint, None).await,
            Some(limits) => limited(cx, backend, endpoint, limits, freed).await,
        }
    };
    match deadline {
        None => found.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), found)
            .await
            .unwrap_or(Err(NoConnection::Late)),
    }
}

/// The same to a backend with limits: beyond `http1MaxPendingRequests` nobody waits (BE-66), below
/// it a request waits until there are fewer than `maxConnections` (BE-60), or until one that another
/// request has done with comes free.
async fn limited(
    cx: &Context<'_>,
    backend: Option<&ClusterState>,
    endpoint: &EndpointState,
    limits: &PoolLimits,
    freed: Option<ConnectionPermit>,
) -> Found {
    let full = |full| NoConnection::Full(overflow(cx, full));
    let _pending = limits.pending().map_err(full)?;
    let freed = freed.filter(|it| limits.granted(it));
    let permit = match freed.map_or_else(|| limits.connection(), |freed| Ok(Some(freed))) {
        // Nobody connects only to be refused then.
        Ok(_) if !limits.has_place() => return Err(full(Full("http2MaxRequests"))),
        Ok(permit) => permit,
        Err(_) => match room(cx, endpoint, limits).await? {
            Room::Used(upstream) => return Ok((upstream, true)),
            Room::New(permit) => permit,
        },
    };
    opened(cx, backend, endpoint, permit).await
}

enum Room {
    Used(Upstream),
    New(Option<ConnectionPermit>),
}

async fn room(
    cx: &Context<'_>,
    endpoint: &EndpointState,
    limits: &PoolLimits,
) -> Result<Room, NoConnection> {
    let line = endpoint.queue();
    let permit = limits.wait(&cx.shard.shared);
    let first = async {
        tokio::select! {
            biased;
            Ok(upstream) = line => match upstream.still_sound() {
                Ok(upstream) => Room::Used(upstream),
                Err(permit) => Room::New(permit),
            },
            permit = permit => Room::New(permit),
        }
    };
    let limit = cx.shard.settings.timeouts.pending.0;
    awaited(cx, limit, first)
        .await
        .map_err(|stall| match stall {
            Stall::ClientGone => NoConnection::ClientGone,
            Stall::Idle | Stall::Unread => {
                cx.shard.counts.limit("timeouts.pending");
                NoConnection::Full(local::PENDING_TIMEOUT)
            }
        })
}

async fn opened(
    cx: &Context<'_>,
    backend: Option<&ClusterState>,
    endpoint: &EndpointState,
    permit: Option<ConnectionPermit>,
) -> Found {
    let stream = connect(cx, backend, endpoint).await?;
    let lifetime = Lifetime::in_force(backend);
    Ok((Upstream::new(stream, lifetime, permit), false))
}

async fn connect(
    cx: &Context<'_>,
    backend: Option<&ClusterState>,
    endpoint: &EndpointState,
) -> Result<Socket, NoConnection> {
    // The backend's own, or the process's.
    let limit = backend.and_then(|it| it.cluster.policy.pool.connect_timeout);
    let limit = limit.unwrap_or(cx.shard.settings.timeouts.connect.0);
    let local = match awaited(cx, limit, endpoint.connect(cx.shard)).await {
        Ok(Ok(upstream)) => return Ok(upstream),
        Ok(Err(error)) if endpoint_state::is_ourselves(&error) => {
            cx.shard.counts.self_connect(&error);
            local::SELF_ENDPOINT
        }
        Ok(Err(error)) => failed(cx, &error),
        Err(Stall::ClientGone) => return Err(NoConnection::ClientGone),
        Err(Stall::Idle | Stall::Unread) => {
            cx.shard.counts.limit("timeouts.connect");
            local::CONNECT_TIMEOUT
        }
    };
    Err(NoConnection::Failed(local))
}

/// A limit of the backend leaves no room for a request (VS-H-132). That is never tried again
/// (VS-H-79).
pub(super) fn overflow(cx: &Context<'_>, Full(limit): Full) -> Local {
    cx.shard.counts.limit(limit);
    local::OVERFLOW
}

/// Connecting failed: the record gets why.
pub(super) fn failed(cx: &Context<'_>, error: &io::Error) -> Local {
    cx.access
        .edit(|record| record.transport_failure = why(error).into());
    match is_ours(error) {
        true => local::CONNECT_FAILED_HERE,
        false => local::CONNECT_FAILED,
    }
}

/// Was nobody asked?
fn is_ours(error: &io::Error) -> bool {
    use Errno as E;
    matches!(
        Errno::from_io_error(error),
        Some(E::ADDRNOTAVAIL | E::NETUNREACH | E::ACCESS | E::PERM | E::MFILE | E::NFILE)
    )
}

/// Why connecting failed, as Envoy writes it into its log.
fn why(error: &io::Error) -> String {
    let words = error.to_string();
    let words = match words.rsplit_once(" (os error") {
        Some((words, _)) => words,
        None => &words,
    };
    let when = match is_ours(error) {
        true => "immediate",
        false => "delayed",
    };
    format!("{when} connect error: {words}").replace(' ', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_failed_are_told_apart() {
        for (errno, ours, told) in [
            (
                Errno::CONNREFUSED,
                false,
                "delayed_connect_error:_Connection_refused",
            ),
            (
                Errno::HOSTUNREACH,
                false,
                "delayed_connect_error:_No_route_to_host",
            ),
            (
                Errno::TIMEDOUT,
                false,
                "delayed_connect_error:_Connection_timed_out",
            ),
            (
                Errno::NETUNREACH,
                true,
                "immediate_connect_error:_Network_is_unreachable",
            ),
            (
                Errno::ADDRNOTAVAIL,
                true,
                "immediate_connect_error:_Cannot_assign_requested_address",
            ),
            (
                Errno::MFILE,
                true,
                "immediate_connect_error:_Too_many_open_files",
            ),
        ] {
            let error = errno.into();
            assert_eq!((is_ours(&error), &*why(&error)), (ours, told));
        }
    }
}
