//! One routed request: find a connection to an endpoint, send, stream, replay what is safe.
use super::{
    Context,
    decide::{Forward, To},
    download::{Download, download},
    local::{self, Local},
    mirror::Copies,
    upload::{Upload, upload},
};
use crate::{
    shard::{
        cluster_state::{Dialled, Tried},
        endpoint_state::{self, EndpointState, InFlight},
        registry,
    },
    stream,
    tunnel::Progress,
};
use pointsman_telemetry::Flags;
use pointsman_wire::http1::{BodyLength, Refusal};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// Further tries after a connect failure, each on another endpoint where there is one (VS-H-70).
/// Nothing was sent, so any request may be tried again.
const CONNECT_RETRIES: usize = 2;

/// What became of a request.
pub(crate) enum Outcome {
    /// Answered whole.
    Answered { status: u16, keep: bool },
    /// The endpoint switched protocols.
    Upgraded {
        upstream: TcpStream,
        in_flight: InFlight,
        reply: Vec<u8>,
    },
    /// Nothing was sent to the client; this is to be.
    Reply(Local),
    /// As `Reply`, for a body with wrong framing.
    Refused(Refusal),
    /// The client's connection must be cut.
    Abort { status: u16, flags: Flags },
}

/// Carries out a forwarded request. `out` holds its head.
pub(crate) async fn exchange(
    cx: &Context<'_>,
    forward: &Forward,
    out: &mut Vec<u8>,
    input: &mut Vec<u8>,
    progress: &Progress,
) -> Outcome {
    match forward.timeout {
        None => attempts(cx, forward, out, input, progress).await,
        Some(limit) => {
            let attempts = attempts(cx, forward, out, input, progress);
            match tokio::time::timeout(limit, attempts).await {
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

async fn attempts(
    cx: &Context<'_>,
    forward: &Forward,
    out: &mut Vec<u8>,
    input: &mut Vec<u8>,
    progress: &Progress,
) -> Outcome {
    let copies = forward.copies.as_deref();
    let body = take_received_body(forward.facts.body, copies, out, input, progress);
    let mut complete = copies.filter(|_| body == BodyLength::None);
    // Replayed on a fresh connection when a pooled one turns out to be closed: only what may be
    // repeated, and only while all of it is still in `out`.
    let replayable = forward.facts.idempotent && body == BodyLength::None;
    let mut tried = Tried::new();
    let mut fresh_only = false;
    loop {
        let in_flight = match pick(cx, forward, &tried) {
            Ok(in_flight) => in_flight,
            Err(local) => return Outcome::Reply(local),
        };
        if let Some(copies) = complete.take() {
            copies.send();
        }
        let endpoint = in_flight.endpoint();
        cx.access.chosen(endpoint);
        let pooled = if fresh_only {
            None
        } else {
            endpoint.take_idle()
        };
        let reused = pooled.is_some();
        let upstream = match pooled {
            Some(upstream) => upstream,
            None => match connect(cx, forward, endpoint).await {
                Ok(upstream) => upstream,
                Err(local) => {
                    tried.push(Rc::as_ptr(endpoint));
                    if tried.len() > CONNECT_RETRIES || pick(cx, forward, &tried).is_err() {
                        return Outcome::Reply(local);
                    }
                    continue;
                }
            },
        };
        cx.access.connected(&upstream);
        match attempt(cx, forward, &upstream, out, input, body, progress).await {
            End::Finished {
                status,
                reusable,
                keep,
            } => {
                if reusable {
                    let most = cx.shard.settings.limits.pooled_per_endpoint;
                    endpoint.keep(upstream, most, Instant::now());
                }
                return Outcome::Answered { status, keep };
            }
            End::Upgraded(reply) => {
                return Outcome::Upgraded {
                    upstream,
                    in_flight,
                    reply,
                };
            }
            End::Silent if reused && replayable => fresh_only = true,
            End::Silent => return Outcome::Reply(local::UPSTREAM_CLOSED),
            End::Other(outcome) => return outcome,
        }
    }
}

/// Body bytes that came with the head go out with the head, in one write.
fn take_received_body(
    body: BodyLength,
    copies: Option<&Copies>,
    out: &mut Vec<u8>,
    input: &mut Vec<u8>,
    progress: &Progress,
) -> BodyLength {
    let BodyLength::Length(length) = body else {
        return body;
    };
    let take = usize::try_from(length).map_or(input.len(), |length| length.min(input.len()));
    let received = input.get(..take).unwrap_or_default();
    out.extend_from_slice(received);
    if let Some(copies) = copies {
        copies.add(received);
    }
    input.drain(..take);
    progress.received.set(take as u64);
    match length - take as u64 {
        0 => BodyLength::None,
        left => BodyLength::Length(left),
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
        Err(_) => Err(local::CONNECT_TIMEOUT),
    }
}

enum End {
    Finished {
        status: u16,
        reusable: bool,
        keep: bool,
    },
    Upgraded(Vec<u8>),
    /// The connection gave nothing and can be taken as never used.
    Silent,
    Other(Outcome),
}

async fn attempt(
    cx: &Context<'_>,
    forward: &Forward,
    upstream: &TcpStream,
    out: &mut Vec<u8>,
    input: &mut Vec<u8>,
    body: BodyLength,
    progress: &Progress,
) -> End {
    let facts = &forward.facts;
    match cx
        .lease
        .within(
            cx.shard.settings.timeouts.write.0,
            stream::write_all(upstream, out),
        )
        .await
    {
        Ok(Ok(())) => {}
        // A closed peer may have said why before it closed: read on.
        Ok(Err(_)) => {}
        Err(_) => return End::Other(Outcome::Reply(local::RESPONSE_IDLE)),
    }
    let operations = forward.changes.levels();
    let down = download(cx, facts, &operations, upstream, out, progress);
    if body == BodyLength::None {
        let end = watched(cx, progress, || cx.shard.settings.timeouts.response.0, down).await;
        return match end {
            Ok(end) => finish(cx, end, true),
            Err(stall) => stall.end(progress, local::RESPONSE_IDLE),
        };
    }
    // Boxed, so that connections whose requests have no body are not as large as this is.
    let copies = forward.copies.as_deref();
    Box::pin(both_ways(cx, upstream, input, body, down, copies, progress)).await
}

/// Body up and response down at the same time: a server may answer before it has read everything.
async fn both_ways(
    cx: &Context<'_>,
    upstream: &TcpStream,
    input: &mut Vec<u8>,
    body: BodyLength,
    down: impl Future<Output = Download>,
    copies: Option<&Copies>,
    progress: &Progress,
) -> End {
    let uploaded = Cell::new(false);
    let end = {
        let mut up = pin!(upload(
            cx.client,
            upstream,
            &cx.shard.buffers,
            body,
            input,
            copies,
            progress
        ));
        let mut down = pin!(down);
        let mut upstream_gone = false;
        let both = poll_fn(|cx| {
            if !uploaded.get() && !upstream_gone {
                match up.as_mut().poll(cx) {
                    Poll::Ready(Upload::Done) => {
                        uploaded.set(true);
                        if let Some(copies) = copies {
                            copies.send();
                        }
                    }
                    // The endpoint may have answered before it stopped reading.
                    Poll::Ready(Upload::UpstreamGone) => upstream_gone = true,
                    Poll::Ready(Upload::ClientGone) => return Poll::Ready(Err(None)),
                    Poll::Ready(Upload::Refused(refusal)) => {
                        return Poll::Ready(Err(Some(refusal)));
                    }
                    Poll::Pending => {}
                }
            }
            down.as_mut().poll(cx).map(Ok)
        });
        let timeouts = &cx.shard.settings.timeouts;
        let limit = || {
            if uploaded.get() || progress.answering.get() || progress.unsent.get() > 0 {
                timeouts.response.0
            } else {
                timeouts.request_body.0
            }
        };
        watched(cx, progress, limit, both).await
    };
    match end {
        Ok(Ok(end)) => finish(cx, end, uploaded.get()),
        Ok(Err(Some(refusal))) if !progress.answering.get() => {
            End::Other(Outcome::Refused(refusal))
        }
        Ok(Err(_)) => client_gone(),
        Err(stall) if uploaded.get() || progress.unsent.get() > 0 => {
            stall.end(progress, local::RESPONSE_IDLE)
        }
        Err(stall) => stall.end(progress, local::BODY_IDLE),
    }
}

fn client_gone() -> End {
    End::Other(Outcome::Abort {
        status: 0,
        flags: Flags::DC,
    })
}

/// Why an exchange was given up while it waited.
pub(crate) enum Stall {
    /// Nothing moved for too long.
    Idle,
    /// The client has reset its connection, or ended its side long ago and got nothing since.
    ClientGone,
}

impl Stall {
    /// What the client gets: `late` if it has got nothing yet.
    fn end(self, progress: &Progress, late: Local) -> End {
        match self {
            Self::ClientGone => client_gone(),
            Self::Idle if progress.answering.get() => End::Other(Outcome::Abort {
                status: 200,
                flags: Flags::SI,
            }),
            Self::Idle => End::Other(Outcome::Reply(late)),
        }
    }
}

/// How often a waiting exchange looks whether its client is still there. A look is a system call,
/// which no exchange that ends sooner pays.
const LOOK: Duration = Duration::from_secs(1);

/// Runs `future` as long as bytes move: given up after `limit` without any, or after
/// `timeouts.write` in which the client took none of what was written to it.
pub(crate) async fn watched<T>(
    cx: &Context<'_>,
    progress: &Progress,
    limit: impl Fn() -> Duration,
    future: impl Future<Output = T>,
) -> Result<T, Stall> {
    let mut future = pin!(future);
    let timeouts = &cx.shard.settings.timeouts;
    let moved = || {
        let (received, sent) = (progress.received.get(), progress.sent.get());
        (
            received,
            sent,
            progress.unwritten.get(),
            progress.unsent.get(),
        )
    };
    let mut seen = moved();
    let mut since = Instant::now();
    // A FIN may mean "that was my request" or "I am gone"; only time tells.
    let mut ended: Option<Instant> = None;
    loop {
        // Who is waited for may change meanwhile, so the shorter limit sets the pace.
        let nearest = [limit(), timeouts.write.0]
            .into_iter()
            .filter(|limit| !limit.is_zero())
            .map(|limit| limit.saturating_sub(since.elapsed()))
            .min();
        let pace = nearest.unwrap_or(LOOK).clamp(registry::TICK, LOOK);
        if let Ok(output) = cx.lease.within(pace, future.as_mut()).await {
            return Ok(output);
        }
        if moved() != seen {
            seen = moved();
            since = Instant::now();
        }
        match stream::peek(cx.client) {
            stream::Peer::Gone => return Err(Stall::ClientGone),
            stream::Peer::Ended if !progress.answering.get() => {
                let gone = ended.get_or_insert_with(Instant::now).elapsed();
                let patience = timeouts.half_closed.0;
                if !patience.is_zero() && gone >= patience {
                    return Err(Stall::ClientGone);
                }
            }
            _ => ended = None,
        }
        let waits_for_client = progress.unwritten.get() > 0;
        let most = if waits_for_client {
            timeouts.write.0
        } else {
            limit()
        };
        if !most.is_zero() && since.elapsed() >= most {
            return Err(Stall::Idle);
        }
    }
}

fn finish(cx: &Context<'_>, end: Download, uploaded: bool) -> End {
    match end {
        Download::Done {
            status,
            upstream_reusable,
            client_keeps,
        } => End::Finished {
            status,
            // An early answer leaves a body half sent, on both sides.
            reusable: upstream_reusable && uploaded,
            keep: client_keeps && uploaded,
        },
        Download::Upgraded(reply) => End::Upgraded(reply),
        Download::Silent => End::Silent,
        Download::CutHead => End::Other(Outcome::Reply(local::UPSTREAM_CLOSED)),
        Download::Malformed(reason) => {
            cx.shard.counts.refuse(reason);
            End::Other(Outcome::Reply(local::BAD_RESPONSE))
        }
        Download::Cut { status, malformed } => End::Other(Outcome::Abort {
            status,
            flags: if malformed { Flags::UPE } else { Flags::UC },
        }),
        Download::ClientGone { status } => End::Other(Outcome::Abort {
            status,
            flags: Flags::DC,
        }),
    }
}
