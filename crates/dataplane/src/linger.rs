//! The end of a connection whose last answer its client has still to get, or whose client may still be
//! sending.
//!
//! Whoever closes a socket while the other side still sends, or with bytes in it that nobody read, has
//! what the kernel has not sent yet thrown away, and sends a reset, which overtakes an answer. So what
//! comes is read and thrown away, and our side ends once all is sent (RFC 9112 section 9.6). Clients of
//! HTTP/2 send to the last: windows, PINGs.
use crate::{
    shard::{Shard, registry::Lease},
    socket::Socket,
    stream,
};
use futures_util::FutureExt;
use std::{
    future::pending,
    time::{Duration, Instant},
};
use tokio::task::coop::consume_budget;

/// What a client may still do once it has got everything.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// So long it may say nothing before it ends its side.
    pub(crate) silence: Duration,
    /// So long it may speak.
    pub(crate) speech: Duration,
    /// And so many bytes.
    pub(crate) bytes: usize,
}

impl Patience {
    /// With clients of which nothing more is of use.
    pub(crate) const LITTLE: Self = Self {
        silence: Duration::from_millis(500),
        speech: Duration::from_millis(500),
        bytes: 256 * 1024,
    };
}

/// From now on the kernel gives the client up if it takes nothing of what was written for as long as a
/// write may take.
pub(crate) fn hurry(shard: &Shard, client: &Socket) {
    let limit = shard.settings.timeouts.write.0;
    if !limit.is_zero() {
        stream::give_up_after(client, limit);
    }
}

/// Reads on as long as the client takes what the kernel has still to send, then ends our side and reads
/// on until the client has ended its own, or there is no more `patience`.
pub(crate) async fn linger(shard: &Shard, lease: &Lease, client: &Socket, patience: Patience) {
    hurry(shard, client);
    let mut bytes = shard.buffers.small();
    // What has ended sends nothing that would cause a reset.
    let ended = tokio::select! {
        biased;
        () = discard(client, &mut bytes) => true,
        () = taken(client) => false,
    };
    if !ended {
        stream::half_close(client);
        hear_out(lease, client, &mut bytes, patience).await;
    }
    shard.buffers.give(bytes);
}

/// The same behind an answer that was cut where only a reset shows that: the connection is reset once the
/// client has taken what was written before, or the process ends.
pub(crate) async fn reset(shard: &Shard, lease: &Lease, client: &Socket) {
    hurry(shard, client);
    let mut bytes = shard.buffers.small();
    let taken = async {
        tokio::select! {
            biased;
            () = taken(client) => {}
            () = discard(client, &mut bytes).then(|()| pending()) => {}
        }
    };
    lease.unless_cut(taken).await;
    stream::reset_on_close(client);
    shard.buffers.give(bytes);
}

/// Waits until the client has taken what was written, or is gone.
async fn taken(client: &Socket) {
    stream::sent(client).await;
    // What is under way may still be lost, and is sent again only by an open connection.
    stream::count_what_is_under_way(client);
    stream::sent(client).await;
}

/// Ends our side at once, and reads on for a moment: for what is said to a client that may send no more.
pub(crate) async fn dismiss(shard: &Shard, lease: &Lease, client: &Socket) {
    stream::half_close(client);
    let mut bytes = shard.buffers.small();
    hear_out(lease, client, &mut bytes, Patience::LITTLE).await;
    shard.buffers.give(bytes);
}

/// Reads and throws away until the client has ended its side.
async fn discard(client: &Socket, bytes: &mut Vec<u8>) {
    while let Ok(1..) = stream::read(client, bytes).await {
        consume_budget().await;
        bytes.clear();
    }
}

/// The same, and no longer than `patience` lasts.
async fn hear_out(lease: &Lease, client: &Socket, bytes: &mut Vec<u8>, patience: Patience) {
    let Patience {
        silence,
        speech,
        bytes: mut left,
    } = patience;
    let began = Instant::now();
    while let Ok(Ok(read @ 1..)) = lease.within(silence, stream::read(client, bytes)).await {
        consume_budget().await;
        bytes.clear();
        left = left.saturating_sub(read);
        if left == 0 || began.elapsed() >= speech {
            break;
        }
    }
}
