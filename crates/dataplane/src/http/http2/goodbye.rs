//! The end of a client connection that has nothing more to say.
//!
//! Whoever closes a socket while the other side still sends has what the kernel has not sent yet
//! thrown away, and clients send to the last: windows, PINGs. So our side ends once all is sent, and what
//! comes is read and thrown away until the client has closed too.
use super::serve::Peer;
use crate::{shard::registry::Elapsed, stream};
use std::time::{Duration, Instant};
use tokio::task::coop::consume_budget;

/// How long a connection that is told to go may take to do so once everything was sent.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

/// How often is looked whether everything was sent.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes that are thrown away, beyond the body that the windows let a client send: frames that say
/// what it has taken.
const FRAMES: u64 = 4 * 1024 * 1024;

impl Peer {
    /// The client is told to go: from now on the kernel gives it up if it takes nothing of what was
    /// written for as long as a write may take.
    pub(super) fn tell(&self) {
        let limit = self.shard.settings.timeouts.write.0;
        if !limit.is_zero() {
            stream::give_up_after(&self.accepted.stream, limit);
        }
    }

    /// Has the client still to take some of what was written?
    pub(super) fn is_behind(&self) -> bool {
        !self.is_written() || !stream::is_sent(&self.accepted.stream)
    }

    /// Ends our side when all is sent, and waits for the client to end its own.
    pub(super) async fn part(&self) {
        self.tell();
        let settings = &self.shard.settings;
        let (stream, write) = (&self.accepted.stream, settings.timeouts.write.0);
        let mut left = u64::from(settings.http2.connection_window_bytes) + FRAMES;
        let mut bytes = self.shard.buffers.small();
        let mut ended: Option<Instant> = None;
        loop {
            consume_budget().await;
            if ended.is_none() && stream::is_sent(stream) {
                stream::half_close(stream);
                ended = Some(Instant::now());
            }
            let limit = if ended.is_some() { GOODBYE } else { LOOK };
            let read = self.lease.within(limit, stream::read(stream, &mut bytes));
            match read.await {
                Ok(Ok(read @ 1..)) => {
                    bytes.clear();
                    left = left.saturating_sub(read as u64);
                }
                Err(Elapsed) if ended.is_none() => {}
                // It has closed, is gone, or does not close.
                _ => break,
            }
            // What it says shows that it is still reading; for ever it is not waited for.
            let late = ended.is_some_and(|it| !write.is_zero() && it.elapsed() >= write);
            if left == 0 || late {
                break;
            }
        }
        self.shard.buffers.give(bytes);
    }
}
