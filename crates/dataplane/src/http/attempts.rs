//! One routed request: choose an endpoint, find a connection to it, try, and try again where that is
//! safe. Whoever asks and whatever the endpoint speaks, this is the one loop.
use super::{
    Context,
    again::Tries,
    body::gathering,
    choosing::{pick, present},
    connecting::{self, Found, NoConnection, connection, overflow},
    local::{self, Local},
    outcome::{End, Failure, FailureKind, Outcome, Upgraded},
    progress::{Progress, Sending},
    step::Forward,
    try_time::{TryTime, in_time},
    watched::{Looks, awaited},
};
use crate::{
    shard::{
        cluster_state::{ClusterState, Tried},
        endpoint_state::EndpointState,
        http2_pool::{ConnectionLimits, Http2Lease, Http2OpenError},
        pool_limits::{ConnectionPermit, Counted, Lifetime, PoolLimits},
        upstream::Upstream,
    },
    socket::Socket,
};
use pointsman_telemetry::Flags;
use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{self, Poll},
    time::{Duration, Instant},
};
use tokio::task::coop::unconstrained;

/// A request as the loop sees it.
pub(super) trait Attempt {
    /// An endpoint was found: copies of a complete request may go out.
    fn begins(&mut self);

    /// Sends it over a connection to an HTTP/1 endpoint. Before anything of a response goes to the
    /// client, [`Tries::reject`] is asked. May be dropped at any time.
    async fn http1(&mut self, upstream: &Socket, tries: &Tries<'_>, sending: &Sending) -> End;

    /// The same over a connection to an HTTP/2 endpoint.
    async fn http2(&mut self, upstream: Http2Lease, tries: &Tries<'_>, sending: &Sending) -> End;

    /// Is all of it sent at once, and there until a response is?
    fn in_one_piece(&self) -> bool;

    /// Is all of it still there to be sent again?
    fn replayable(&self) -> bool;

    /// It is to be sent again from its beginning.
    fn rewind(&mut self);

    /// Takes over small pieces of its body that have come, while nobody is there to be sent them.
    fn gather(&mut self, cx: &mut task::Context<'_>);
}

/// Carries out a forwarded request, within the time that its rule gives it.
pub(super) async fn exchange(
    cx: &Context<'_>,
    forward: &Forward,
    attempt: &mut impl Attempt,
    progress: &Progress,
) -> Outcome {
    // Pinned where they are made and waited for in one place, or both would be in a stream twice.
    let mut attempts = pin!(attempts(cx, forward, attempt, progress));
    // What is always ready would leave no turn for the time behind it.
    let late = |limit| unconstrained(tokio::time::sleep(limit));
    let mut late = pin!(forward.timeout.map(late));
    let lease = cx.lease;
    poll_fn(|cx| {
        // First: what has come is not late, even if this thread is.
        let polled = attempts.as_mut().poll(cx);
        // Once a protocol is switched the time is over: it was for that.
        if polled.is_pending()
            && let Some(late) = late.as_mut().as_pin_mut()
            && !progress.switched.get()
            && late.poll(cx).is_ready()
        {
            return Poll::Ready(match progress.answering.get() {
                // Bytes of the response are with the client already: it must see a cut.
                true => Outcome::abort(progress, Flags::UT),
                false => Outcome::Reply(local::TIMEOUT),
            });
        }
        if polled.is_pending() && lease.is_cut() {
            return Poll::Ready(Outcome::abort(progress, Flags::DC));
        }
        polled
    })
    .await
}

async fn attempts(
    cx: &Context<'_>,
    forward: &Forward,
    attempt: &mut impl Attempt,
    progress: &Progress,
) -> Outcome {
    if attempt.in_one_piece() {
        progress.complete.set(true);
    }
    // The backend as it is now, for what does not begin with the request: what a fault has delayed, and
    // every try but the first.
    let mut newer = match forward.facts.injected.contains(Flags::DI) {
        true => present(cx, forward),
        false => None,
    };
    let tries = Tries::new(cx.shard, forward.retries(), forward.backend());
    let mut tried = Tried::new();
    // Repetitions that no policy has to grant: behind one, the others take no chances either.
    let mut repeated = 0;
    let mut freed = None;
    // Of all tries: each by itself may be over before anybody looks.
    let mut looks = Looks::default();
    loop {
        if repeated > 0 || tries.made() > 0 {
            newer = present(cx, forward).or(newer);
        }
        let backend = newer.as_deref().or(forward.backend());
        let in_flight = match pick(cx, forward, backend, &tried) {
            Ok(in_flight) => in_flight,
            Err(local) => return Outcome::Reply(local),
        };
        attempt.begins();
        let sending = Sending::default();
        let endpoint = in_flight.endpoint();
        cx.access.chosen(endpoint);
        let time = tries.policy().per_try_timeout().map(|limit| TryTime {
            limit,
            end: progress.is_complete().then(|| Instant::now() + limit),
        });
        let (upstream, place, end, reused) = if forward.http2.is_some() {
            let lease = match time {
                None => endpoint.http2().try_open(http2_limits(cx, backend)),
                Some(_) => None,
            };
            let (end, reused) = match (lease, time) {
                (Some(lease), _) => match place(cx, backend) {
                    Ok(_place) => {
                        cx.access.connected(lease.socket());
                        let reused = lease.is_reused();
                        (attempt.http2(lease, &tries, &sending).await, reused)
                    }
                    Err(full) => (NoConnection::Full(full).end(), false),
                },
                // Boxed, as all that is rare.
                (None, None) => {
                    Box::pin(by_http2(cx, backend, endpoint, attempt, &tries, &sending)).await
                }
                (None, Some(time)) => {
                    let reused = Cell::new(false);
                    let one = async {
                        let one = by_http2(cx, backend, endpoint, attempt, &tries, &sending);
                        let (end, was) = one.await;
                        reused.set(was);
                        end
                    };
                    let end = Box::pin(in_time(time, progress, &sending, one)).await;
                    (end, reused.get())
                }
            };
            (None, None, end, reused)
        } else {
            let repeatable = forward.facts.idempotent && attempt.in_one_piece();
            let pooled = match repeated {
                1.. => None,
                0 => endpoint.take_idle(Lifetime::in_force(backend), repeatable),
            };
            let (upstream, reused) = match pooled {
                Some(pooled) => (Ok(pooled), true),
                None => {
                    let end = time.and_then(|time| time.end);
                    let opened = opened(cx, backend, endpoint, freed.take(), end);
                    match gathering(|cx| attempt.gather(cx), opened).await {
                        Ok((upstream, used)) => (Ok(upstream), used),
                        Err(none) => (Err(none), false),
                    }
                }
            };
            // Given up before the connection is: whoever waits for that finds room.
            let (upstream, place) = match upstream.map(|it| (it, place(cx, backend))) {
                Ok((upstream, Ok(place))) => (Ok(upstream), place),
                Ok((unused, Err(full))) => {
                    keep_idle(cx, backend, endpoint, unused);
                    (Err(NoConnection::Full(full)), None)
                }
                Err(none) => (Err(none), None),
            };
            let end = match (&upstream, time) {
                (Ok(upstream), None) => {
                    cx.access.connected(upstream);
                    attempt.http1(upstream, &tries, &sending).await
                }
                (Ok(upstream), Some(time)) => {
                    cx.access.connected(upstream);
                    let one = attempt.http1(upstream, &tries, &sending);
                    Box::pin(in_time(time, progress, &sending, one)).await
                }
                (Err(none), _) => none.end(),
            };
            (upstream.ok(), place, end, reused)
        };
        let happened = match end {
            End::Finished {
                status,
                reusable,
                keep,
            } => {
                drop(place);
                if let Some(upstream) = upstream
                    && reusable
                {
                    keep_idle(cx, backend, endpoint, upstream);
                }
                return Outcome::Answered {
                    status,
                    keep,
                    flags: tries.flags(),
                };
            }
            End::Upgraded(reply) => {
                return match upstream {
                    Some(upstream) => Outcome::Upgraded(Box::new(Upgraded {
                        upstream,
                        in_flight,
                        request: place,
                        reply,
                    })),
                    // There is none without a connection.
                    None => Outcome::Reply(local::CONNECT_FAILED),
                };
            }
            End::Other(outcome) => return outcome,
            // The endpoint may have closed it while it was idle, unseen (RFC 9112 section 9.3.1).
            End::Failed(Failure {
                kind: FailureKind::Silent,
                ..
            }) if reused
                && repeated < repetitions(forward)
                && forward.facts.idempotent
                && attempt.replayable() =>
            {
                repeated += 1;
                // Who has waited for it already does not wait again.
                freed = upstream.and_then(Upstream::into_permit);
                attempt.rewind();
                continue;
            }
            End::Failed(failure) => Some(failure),
            End::Rejected => None,
        };
        if let Some(Failure { kind, local }) = happened
            && !tries.again(&kind.happened(), attempt.replayable())
        {
            let flags = local.flags | tries.flags();
            return Outcome::Reply(Local { flags, ..local });
        }
        cx.access.edit(|record| {
            record.why = format!("retries: {}", tries.made()).into();
        });
        if looks.find_gone(cx, false) {
            return Outcome::CLIENT_GONE;
        }
        drop(place);
        drop(upstream);
        if tries.policy().other_hosts_first() {
            tried.push(Rc::as_ptr(endpoint));
        }
        drop(in_flight);
        attempt.rewind();
        let pause = tries.pause();
        if !pause.is_zero() {
            // The runtime's own timer: the shard's clock is accurate to a tenth of a second.
            let pause = gathering(|cx| attempt.gather(cx), tokio::time::sleep(pause));
            if Box::pin(awaited(cx, Duration::ZERO, pause)).await.is_err() {
                return Outcome::CLIENT_GONE;
            }
        }
    }
}

/// How often a request may find that its connection was used before, and closed. Over HTTP/1 the next one is
/// new: but where `maxConnections` has changed it may be one that another request has done with.
fn repetitions(forward: &Forward) -> u8 {
    match forward.http2 {
        None => 3,
        Some(_) => 1,
    }
}

/// Boxed, as all that is rare: a connection is not to be as large as this is.
fn opened<'a>(
    cx: &'a Context<'_>,
    backend: Option<&'a ClusterState>,
    endpoint: &'a EndpointState,
    freed: Option<ConnectionPermit>,
    deadline: Option<Instant>,
) -> Pin<Box<dyn Future<Output = Found> + 'a>> {
    Box::pin(connection(cx, backend, endpoint, freed, deadline))
}

/// The place of a try among the requests that the backend may have at once, once it has a connection, or a
/// stream: who waits for one is counted by itself (BE-66).
fn place(cx: &Context<'_>, backend: Option<&ClusterState>) -> Result<Option<Counted>, Local> {
    let limits = backend.and_then(|it| it.limits.as_deref());
    limits
        .map_or(Ok(None), PoolLimits::request)
        .map_err(|full| overflow(cx, full))
}

/// Keeps a connection for the next request.
fn keep_idle(
    cx: &Context<'_>,
    backend: Option<&ClusterState>,
    endpoint: &EndpointState,
    upstream: Upstream,
) {
    let most = cx.shard.settings.limits.pooled_per_endpoint;
    endpoint.keep(upstream, Lifetime::in_force(backend), most, cx.lease.now());
}

/// Over a connection to an endpoint that speaks HTTP/2; and whether that was idle before.
async fn by_http2(
    cx: &Context<'_>,
    backend: Option<&ClusterState>,
    endpoint: &Rc<EndpointState>,
    attempt: &mut impl Attempt,
    tries: &Tries<'_>,
    sending: &Sending,
) -> (End, bool) {
    let limits = http2_limits(cx, backend);
    let counted = backend.and_then(|it| it.limits.as_ref());
    let open = endpoint.http2().open(endpoint, cx.shard, limits, counted);
    // The pool has its own limits.
    let open = gathering(|cx| attempt.gather(cx), open);
    let Ok(opened) = awaited(cx, Duration::ZERO, open).await else {
        return (NoConnection::ClientGone.end(), false);
    };
    let local = match opened {
        Ok(lease) => {
            let _place = match place(cx, backend) {
                Ok(place) => place,
                Err(full) => return (NoConnection::Full(full).end(), false),
            };
            cx.access.connected(lease.socket());
            let reused = lease.is_reused();
            return (attempt.http2(lease, tries, sending).await, reused);
        }
        Err(Http2OpenError::Connect(error)) => connecting::failed(cx, &error),
        Err(error @ Http2OpenError::Handshake(_)) => {
            cx.access
                .edit(|record| record.transport_failure = error.to_string().into());
            match error.is_breach() {
                true => local::NO_HTTP2,
                false => local::UPSTREAM_CLOSED,
            }
        }
        Err(error @ (Http2OpenError::ConnectTimeout | Http2OpenError::HandshakeTimeout)) => {
            if let Http2OpenError::HandshakeTimeout = error {
                cx.access
                    .edit(|record| record.transport_failure = error.to_string().into());
            }
            cx.shard.counts.limit("timeouts.connect");
            local::CONNECT_TIMEOUT
        }
        Err(Http2OpenError::Ourselves(error)) => {
            cx.shard.counts.self_connect(&error);
            local::SELF_ENDPOINT
        }
        Err(Http2OpenError::NoStreams | Http2OpenError::Exhausted) => {
            return (NoConnection::Full(local::OVERFLOW).end(), false);
        }
        Err(Http2OpenError::Late) => {
            return (NoConnection::Full(local::PENDING_TIMEOUT).end(), false);
        }
        Err(Http2OpenError::Full(full)) => {
            return (NoConnection::Full(overflow(cx, full)).end(), false);
        }
    };
    (NoConnection::Failed(local).end(), false)
}

/// What holds for connections of HTTP/2.
fn http2_limits<'a>(
    cx: &'a Context<'_>,
    backend: Option<&'a ClusterState>,
) -> &'a ConnectionLimits {
    match backend {
        Some(backend) => backend.http2_limits(&cx.shard.settings),
        None => &cx.shard.passthrough_http2,
    }
}
