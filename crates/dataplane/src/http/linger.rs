//! The end of a connection of HTTP/1 whose last answer its client has still to get, or whose client may
//! still be sending.
use super::Context;
use crate::stream;
use std::{cell::Cell, pin::pin, time::Duration};
use tokio::task::coop::consume_budget;

/// How long a connection that we close is read from once the peer's kernel has all, so that the peer
/// gets the answer instead of a reset for the bytes it still sends (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_millis(500);
/// And at most this many bytes.
const LINGER_BYTES: usize = 256 * 1024;

/// Reads on as long as the client takes what the kernel has still to send, then ends our side and reads
/// on for a moment: to close with unread bytes in the socket sends a reset, which overtakes an answer
/// and takes what is not sent yet with it.
pub(super) async fn linger(cx: &Context<'_>) {
    let limit = cx.shard.settings.timeouts.write.0;
    if !limit.is_zero() {
        stream::give_up_after(cx.client, limit);
    }
    let most = Cell::new(usize::MAX);
    let mut discarded = pin!(discard_all(cx, &most));
    let taken = async {
        stream::sent(cx.client).await;
        // What is under way may still be lost, and is sent again only by an open connection.
        stream::count_what_is_under_way(cx.client);
        stream::sent(cx.client).await;
    };
    tokio::select! {
        biased;
        // What has ended sends nothing that would cause a reset.
        () = &mut discarded => return,
        () = taken => {}
    }
    stream::half_close(cx.client);
    most.set(LINGER_BYTES);
    let _ = cx.lease.within(LINGER, discarded).await;
}

/// Reads and throws away until the client has ended its side, or there was more than `most`.
async fn discard_all(cx: &Context<'_>, most: &Cell<usize>) {
    let mut scratch = cx.shard.buffers.small();
    while let Ok(read @ 1..) = stream::read(cx.client, &mut scratch).await {
        consume_budget().await;
        scratch.clear();
        let Some(left) = most.get().checked_sub(read) else {
            break;
        };
        most.set(left);
    }
    cx.shard.buffers.give(scratch);
}
