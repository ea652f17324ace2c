//! Bytes both ways between two sockets, unparsed.
//!
//! Half-close is kept: the end of one direction is passed on and the other goes on. A reset on one
//! side becomes a reset on the other. At most one buffer per direction is held, and only while it
//! has bytes in it: a slow reader stops the reading of the other side.
mod direction;
mod splice;

use crate::{context::Context, stream};
use direction::Direction;
use std::{cell::Cell, future::poll_fn, io, task::Poll};
use tokio::net::TcpStream;

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides closed.
    Closed,
    /// The client reset the connection.
    ClientReset,
    /// The upstream reset the connection.
    UpstreamReset,
    /// No byte for the idle limit.
    Idle,
}

/// What a tunnel carried.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// How it ended.
    pub end: End,
    /// Bytes from the client to the upstream.
    pub received: u64,
    /// Bytes from the upstream to the client.
    pub sent: u64,
}

/// Live byte counts, read by telemetry on its tick while the tunnel runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes from the client, delivered upstream.
    pub received: Cell<u64>,
    /// Bytes from the upstream, delivered to the client.
    pub sent: Cell<u64>,
    /// The head of a response is on its way to the client: from here on only a cut can tell it of
    /// a failure.
    pub answering: Cell<bool>,
    /// Bytes the client has not taken yet of the write under way; 0 when there is none. Whoever
    /// waits meanwhile waits for the client.
    pub unwritten: Cell<usize>,
    /// The same for the endpoint, of a request body.
    pub unsent: Cell<usize>,
    /// With which code the endpoint cut its response, if it did.
    pub cut: Cell<Option<h2::Reason>>,
    /// What the response to a gRPC call said in `grpc-status`.
    pub grpc_status: Cell<Option<u8>>,
}

/// Runs a tunnel to its end. `first` are bytes already read from the client, `reply` bytes already
/// read from the upstream.
pub(crate) async fn run(
    cx: &Context<'_>,
    upstream: &TcpStream,
    first: Vec<u8>,
    reply: Vec<u8>,
    progress: &Progress,
) -> Summary {
    let (client, buffers, settings) = (cx.client, &cx.shard.buffers, &cx.shard.settings);
    let bulk = settings.limits.splice_after;
    let mut up = Direction::new(first, bulk, &progress.received);
    let mut down = Direction::new(reply, bulk, &progress.sent);
    let idle = settings.timeouts.tunnel_idle.0;

    let end = loop {
        let before = (progress.received.get(), progress.sent.get());
        let both = poll_fn(|cx| {
            let one = up.poll(cx, client, upstream, buffers, down.is_done());
            let two = down.poll(cx, upstream, client, buffers, up.is_done());
            match (one, two) {
                (Poll::Ready(Err(side)), _) => Poll::Ready(side.of_upward()),
                (_, Poll::Ready(Err(side))) => Poll::Ready(side.of_downward()),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Closed),
                _ => Poll::Pending,
            }
        });
        match cx.lease.within(idle, both).await {
            Ok(end) => break end,
            // The limit is re-armed as long as anything moved since: cheaper than re-arming per byte,
            // and a tunnel is cut after one to two limits of silence.
            Err(_) if before != (progress.received.get(), progress.sent.get()) => {}
            Err(_) => break End::Idle,
        }
    };
    match end {
        End::Closed => {}
        End::ClientReset => stream::reset_on_close(upstream),
        End::UpstreamReset => stream::reset_on_close(client),
        End::Idle => {
            cx.shard.counts.limit("timeouts.tunnel_idle");
            stream::reset_on_close(client);
            stream::reset_on_close(upstream);
        }
    }
    up.release(buffers);
    down.release(buffers);
    Summary {
        end,
        received: progress.received.get(),
        sent: progress.sent.get(),
    }
}

/// Which socket of a direction failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    From,
    To,
}

impl Side {
    fn of_upward(self) -> End {
        match self {
            Self::From => End::ClientReset,
            Self::To => End::UpstreamReset,
        }
    }

    fn of_downward(self) -> End {
        match self {
            Self::From => End::UpstreamReset,
            Self::To => End::ClientReset,
        }
    }
}

pub(crate) fn is_would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
