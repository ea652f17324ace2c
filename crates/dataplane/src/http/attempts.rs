//! One routed request: choose an endpoint, find a connection to it, try, and try again where that is
//! safe. Whoever asks and whatever the endpoint speaks, this is the one loop.
use super::{
    Context,
    decide::{Forward, To},
    local::{self, Local},
};
use crate::{
    shard::{
        cluster_state::{Dialled, Tried},
        endpoint_state::{self, EndpointState, InFlight},
        http2_pool::{ConnectionLimits, Http2Lease, Http2OpenError},
    },
    tunnel::Progress,
};
use pointsman_telemetry::Flags;
use pointsman_wire::http1::Refusal;
use std::rc::Rc;
use tokio::net::TcpStream;

/// Further tries after a connect failure, each on another endpoint where there is one (VS-H-70).
/// Nothing was sent, so any request may be tried again.
const CONNECT_RETRIES: usize = 2;

/// Further tries after an endpoint of HTTP/2 refused a stream without looking at it.
const MOST_REFUSED: u32 = 2;

/// What became of a request.
pub(crate) enum Outcome {
    /// Answered whole.
    Answered { status: u16, keep: bool },
    /// The endpoint switched protocols; both sides speak HTTP/1.
    Upgraded {
        upstream: TcpStream,
        in_flight: InFlight,
        reply: Vec<u8>,
    },
    /// Nothing was sent to the client; this is to be.
    Reply(Local),
    /// As `Reply`, for a body with wrong framing.
    Refused(Refusal),
    /// The client must see a cut.
    Abort { status: u16, flags: Flags },
}

/// How one try ended.
pub(super) enum End {
    /// The response was passed on.
    Finished {
        status: u16,
        /// The endpoint's connection can carry another request.
        reusable: bool,
        keep: bool,
    },
    /// As [`Outcome::Upgraded`].
    Upgraded(Vec<u8>),
    /// Nothing was sent to the client.
    Failed(Failure),
    /// There is nothing to be tried again.
    Other(Outcome),
}

/// A try that gave the client nothing.
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// What the client is told if it stays at this.
    pub(super) local: Local,
}

/// What is known of a request whose try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// There was no connection to send it on.
    Connect,
    /// The endpoint has certainly not begun with it.
    Unprocessed,
    /// The connection ended without a byte of a response.
    Silent,
    /// The response was cut in its head, or reset.
    Reset,
}

/// A request as the loop sees it.
pub(super) trait Attempt {
    /// An endpoint was found: copies of a complete request may go out.
    fn begins(&mut self);

    /// Sends it over a connection to an HTTP/1 endpoint.
    async fn http1(&mut self, upstream: &TcpStream) -> End;

    /// Sends it over a connection to an HTTP/2 endpoint.
    async fn http2(&mut self, upstream: Http2Lease) -> End;

    /// Is all of it still there to be sent again?
    fn replayable(&self) -> bool;
}

/// Carries out a forwarded request, within the time that its rule gives it.
pub(super) async fn exchange(
    cx: &Context<'_>,
    forward: &Forward,
    attempt: &mut impl Attempt,
    progress: &Progress,
) -> Outcome {
    match forward.timeout {
        None => attempts(cx, forward, attempt).await,
        Some(limit) => {
            match tokio::time::timeout(limit, attempts(cx, forward, attempt)).await {
                Ok(outcome) => outcome,
                // Bytes of the response are with the client already: it must see a cut.
                Err(_) if progress.answering.get() => Outcome::Abort {
                    status: 200,
                    flags: Flags::UT,
                },
                Err(_) => Outcome::Reply(local::TIMEOUT),
            }
        }
    }
}

async fn attempts(cx: &Context<'_>, forward: &Forward, attempt: &mut impl Attempt) -> Outcome {
    let mut tried = Tried::new();
    let mut fresh_only = false;
    let mut unprocessed = 0;
    loop {
        let in_flight = match pick(cx, forward, &tried) {
            Ok(in_flight) => in_flight,
            Err(local) => return Outcome::Reply(local),
        };
        attempt.begins();
        let endpoint = in_flight.endpoint();
        cx.access.chosen(endpoint);
        let (end, upstream, reused) = if forward.http2.is_some() {
            // Boxed, so that connections which only speak HTTP/1 are not as large as this is.
            let (end, reused) = Box::pin(by_http2(cx, forward, endpoint, attempt)).await;
            (end, None, reused)
        } else {
            let pooled = if fresh_only {
                None
            } else {
                endpoint.take_idle(forward.facts.idempotent && attempt.replayable())
            };
            let reused = pooled.is_some();
            let upstream = match pooled {
                Some(upstream) => Ok(upstream),
                None => connect(cx, forward, endpoint).await,
            };
            match upstream {
                Ok(upstream) => {
                    cx.access.connected(&upstream);
                    (attempt.http1(&upstream).await, Some(upstream), reused)
                }
                Err(local) => (no_connection(local), None, false),
            }
        };
        match end {
            End::Finished {
                status,
                reusable,
                keep,
            } => {
                if let Some(upstream) = upstream.filter(|_| reusable) {
                    let most = cx.shard.settings.limits.pooled_per_endpoint;
                    endpoint.keep(upstream, most, cx.lease.now());
                }
                return Outcome::Answered { status, keep };
            }
            End::Upgraded(reply) => {
                return match upstream {
                    Some(upstream) => Outcome::Upgraded {
                        upstream,
                        in_flight,
                        reply,
                    },
                    None => Outcome::Reply(local::BAD_RESPONSE),
                };
            }
            End::Failed(Failure { kind, local }) => match kind {
                FailureKind::Connect => {
                    tried.push(Rc::as_ptr(endpoint));
                    if tried.len() > CONNECT_RETRIES || pick(cx, forward, &tried).is_err() {
                        return Outcome::Reply(local);
                    }
                }
                // Whatever it is: nobody has seen it.
                FailureKind::Unprocessed if attempt.replayable() && unprocessed < MOST_REFUSED => {
                    unprocessed += 1;
                }
                // The endpoint may have closed it while it was idle, unseen (RFC 9112 section 9.3.1).
                FailureKind::Silent
                    if reused && forward.facts.idempotent && attempt.replayable() =>
                {
                    fresh_only = true;
                }
                _ => return Outcome::Reply(local),
            },
            End::Other(outcome) => return outcome,
        }
    }
}

fn pick(cx: &Context<'_>, forward: &Forward, tried: &Tried) -> Result<InFlight, Local> {
    let cluster = match &forward.to {
        To::Original(endpoint, _) if tried.is_empty() => return Ok(endpoint.enter()),
        To::Original(..) => return Err(local::CONNECT_FAILED),
        To::Cluster(cluster) => cluster,
    };
    let dialled = match cluster.dialled(cx.original, cx.original_is_self) {
        None | Some(Dialled::Any) => None,
        Some(Dialled::Endpoint(endpoint)) => Some(endpoint),
        Some(Dialled::Address(address)) => Some(cx.shard.original(address)),
        Some(Dialled::Ourselves) => {
            cx.shard.counts.self_connect(&cluster.cluster.label);
            return Err(local::SELF_CONNECT);
        }
    };
    match dialled {
        Some(endpoint) if tried.is_empty() => return Ok(endpoint.enter()),
        Some(_) => return Err(local::CONNECT_FAILED),
        None => {}
    }
    cluster
        .pick(tried, &cx.shard.random)
        .ok_or(local::NO_ENDPOINT)
}

/// Over a connection to an endpoint that speaks HTTP/2; and whether that had served others before.
async fn by_http2(
    cx: &Context<'_>,
    forward: &Forward,
    endpoint: &Rc<EndpointState>,
    attempt: &mut impl Attempt,
) -> (End, bool) {
    let policy = match &forward.to {
        To::Cluster(cluster) => Some(&cluster.cluster.policy.pool),
        To::Original(..) => None,
    };
    let limits = ConnectionLimits::of(policy, &cx.shard.settings);
    let local = match endpoint.http2().open(endpoint, cx.shard, &limits).await {
        Ok(lease) => {
            cx.access.connected(lease.socket());
            let reused = lease.is_reused();
            return (attempt.http2(lease).await, reused);
        }
        Err(Http2OpenError::Connect(_) | Http2OpenError::Handshake(_)) => local::CONNECT_FAILED,
        Err(Http2OpenError::ConnectTimeout | Http2OpenError::HandshakeTimeout) => {
            local::CONNECT_TIMEOUT
        }
        Err(Http2OpenError::Ourselves(error)) => {
            cx.shard.counts.self_connect(&error);
            local::SELF_ENDPOINT
        }
        Err(Http2OpenError::NoStreams | Http2OpenError::Exhausted) => local::OVERFLOW,
    };
    (no_connection(local), false)
}

fn no_connection(local: Local) -> End {
    End::Failed(Failure {
        kind: FailureKind::Connect,
        local,
    })
}

async fn connect(
    cx: &Context<'_>,
    forward: &Forward,
    endpoint: &EndpointState,
) -> Result<TcpStream, Local> {
    let limit = forward.connect_timeout(&cx.shard.settings);
    match cx.lease.within(limit, endpoint.connect(cx.shard)).await {
        Ok(Ok(upstream)) => Ok(upstream),
        Ok(Err(error)) if endpoint_state::is_ourselves(&error) => {
            cx.shard.counts.self_connect(&error);
            Err(local::SELF_ENDPOINT)
        }
        Ok(Err(_)) => Err(local::CONNECT_FAILED),
        Err(_) => {
            cx.shard.counts.limit("timeouts.connect");
            Err(local::CONNECT_TIMEOUT)
        }
    }
}
