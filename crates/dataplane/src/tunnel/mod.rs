//! Bytes both ways between two sockets, unparsed.
//!
//! Half-close is kept: the end of one direction is passed on and the other goes on. A reset on one
//! side becomes a reset on the other, but for what the upstream ended before it: servers that close with
//! something unread reset what their client has still to read. At most one buffer per direction is held, and only while it
//! has bytes in it: a slow reader stops the reading of the other side.
mod direction;
pub(crate) mod splice;

use crate::{
    context::Context,
    linger::{self, linger},
    settings::Settings,
    socket::Socket,
    stream,
};
use direction::Direction;
use pointsman_model::policy::ConnectionPool;
use std::{
    cell::Cell,
    future::poll_fn,
    io,
    task::Poll,
    time::{Duration, Instant},
};

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides closed.
    Closed,
    /// The client reset the connection.
    ClientReset,
    /// The upstream reset the connection.
    UpstreamReset,
    /// No byte for the idle limit, and none that its peer had still to take.
    Idle,
    /// It has been open for as long as it may.
    TooOld,
    /// The process ends.
    Cut,
}

impl End {
    /// The limit that was hit, if it was one.
    pub(crate) fn limit(self) -> Option<&'static str> {
        match self {
            Self::Idle => Some("timeouts.tunnel_idle"),
            Self::TooOld => Some("maxConnectionDuration"),
            _ => None,
        }
    }
}

/// How long a tunnel may be open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a byte (BE-64); zero: for ever.
    pub(crate) idle: Duration,
    /// In all (BE-63).
    pub(crate) total: Option<Duration>,
}

impl Patience {
    /// What a backend's policy says, else the settings.
    pub(crate) fn of(policy: Option<&ConnectionPool>, settings: &Settings) -> Self {
        Self {
            idle: policy
                .and_then(|pool| pool.tcp_idle_timeout)
                .unwrap_or(settings.timeouts.tunnel_idle.0),
            total: policy.and_then(|pool| pool.max_connection_duration),
        }
    }
}

/// What a tunnel carried.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// How it ended.
    pub end: End,
    /// The client may go on sending though nobody takes it, and have still to get what it was sent:
    /// `hear_out`.
    pub unheard: bool,
    /// Bytes from the client to the upstream.
    pub received: u64,
    /// Bytes from the upstream to the client.
    pub sent: u64,
}

/// Live byte counts, read by telemetry on its tick while the tunnel runs.
#[derive(Debug, Default)]
pub struct Moved {
    /// Bytes from the client, delivered upstream.
    pub received: Cell<u64>,
    /// Bytes from the upstream, delivered to the client.
    pub sent: Cell<u64>,
}

/// Runs a tunnel to its end. `first` are bytes already read from the client, `reply` bytes already
/// read from the upstream.
pub(crate) async fn run(
    cx: &Context<'_>,
    upstream: &Socket,
    first: Vec<u8>,
    reply: Vec<u8>,
    patience: Patience,
    moved: &Moved,
) -> Summary {
    let (client, buffers, settings) = (cx.client, &cx.shard.buffers, &cx.shard.settings);
    let bulk = settings.limits.splice_after;
    let mut up = Direction::new(first, bulk, &moved.received);
    let mut down = Direction::new(reply, bulk, &moved.sent);
    let Patience { idle, total } = patience;
    let begun = total.map(|_| Instant::now());
    let left = || total.map(|total| total.saturating_sub(begun.map_or(total, |it| it.elapsed())));
    let (mut to_client, mut to_upstream) = (Backlog::of(client), Backlog::of(upstream));

    // The upstream takes no more. What it has said before is the client's, and may be whole.
    let mut refused = false;

    let end = loop {
        let before = (moved.received.get(), moved.sent.get());
        let lease = cx.lease;
        let both = poll_fn(|cx| {
            if !refused {
                match up.poll(cx, client, upstream, buffers, down.is_done()) {
                    Poll::Ready(Err(Side::From)) => return Poll::Ready(End::ClientReset),
                    Poll::Ready(Err(Side::To)) => refused = true,
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            let last = refused || up.is_done();
            match down.poll(cx, upstream, client, buffers, last) {
                Poll::Ready(Err(Side::From)) => Poll::Ready(End::UpstreamReset),
                Poll::Ready(Err(Side::To)) => Poll::Ready(End::ClientReset),
                Poll::Ready(Ok(())) if last => Poll::Ready(End::Closed),
                _ if lease.is_cut() => Poll::Ready(End::Cut),
                _ => Poll::Pending,
            }
        });
        // Zero would be no limit at all.
        let limit = match left() {
            None => idle,
            Some(Duration::ZERO) => break End::TooOld,
            Some(left) if idle.is_zero() => left,
            Some(left) => left.min(idle),
        };
        match cx.lease.within(limit, both).await {
            Ok(end) => break end,
            Err(_) if left() == Some(Duration::ZERO) => break End::TooOld,
            Err(_) => {
                // The limit is re-armed as long as anything moved since: cheaper than re-arming per byte,
                // and a tunnel is cut after one to two limits of silence.
                let still = before == (moved.received.get(), moved.sent.get());
                let backlogs = [(&mut to_client, &down), (&mut to_upstream, &up)];
                let waits = backlogs.map(|(backlog, direction)| {
                    backlog.is_left_to_kernel(still && !direction.is_done(), idle)
                });
                if still && waits == [false; 2] {
                    break End::Idle;
                }
            }
        }
    };
    match end {
        End::Closed => {}
        End::ClientReset => stream::reset_on_close(upstream),
        End::UpstreamReset => stream::reset_on_close(client),
        End::Idle | End::TooOld | End::Cut => {
            if let Some(limit) = end.limit() {
                cx.shard.counts.limit(limit);
            }
            // Whoever has been told the end gets what comes before it of the kernel, however slowly.
            if !down.is_done() {
                stream::reset_on_close(client);
            }
            if !up.is_done() {
                stream::reset_on_close(upstream);
            }
        }
    }
    up.release(buffers);
    down.release(buffers);
    Summary {
        end,
        unheard: refused && end == End::Closed,
        received: moved.received.get(),
        sent: moved.sent.get(),
    }
}

/// How long a client may go on sending that has been told the end: enough for what it has in flight.
const HEARD_OUT: Duration = Duration::from_secs(5);

/// Reads on from a client whose upstream has ended and takes no more, until it has got everything: closed at
/// once its connection would be reset by what it still sends.
pub(crate) async fn hear_out(cx: &Context<'_>) {
    let patience = linger::Patience {
        silence: HEARD_OUT,
        speech: HEARD_OUT,
        // They cost no more than those of a tunnel, which has no limit either.
        bytes: usize::MAX,
    };
    let heard = linger(cx.shard, cx.lease, cx.client, patience);
    cx.lease.unless_cut(heard).await;
}

/// What was written to a socket and is not sent yet. A peer that reads slowly takes it while nothing moves
/// here: up to some MiB, and for minutes.
pub(crate) struct Backlog<'a> {
    socket: &'a Socket,
    watched: bool,
}

impl<'a> Backlog<'a> {
    pub(crate) fn of(socket: &'a Socket) -> Self {
        let watched = false;
        Self { socket, watched }
    }

    /// Looks, if `asked`, whether there is any. The kernel then gives the peer up that takes nothing of it
    /// for `limit`: it alone knows.
    pub(crate) fn is_left_to_kernel(&mut self, asked: bool, limit: Duration) -> bool {
        let waits = asked && !stream::is_sent(self.socket);
        if waits != std::mem::replace(&mut self.watched, waits) {
            // Zero is what the system has.
            stream::give_up_after(self.socket, if waits { limit } else { Duration::ZERO });
        }
        waits
    }
}

/// Which socket of a direction failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    From,
    To,
}

pub(crate) fn is_would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
