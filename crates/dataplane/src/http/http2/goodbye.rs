//! The end of a client connection: until it has gone by itself, and what is still read of it then.
use super::serve::Peer;
use crate::{
    linger::{Patience, dismiss, hurry, linger},
    stream,
};
use std::time::Duration;

/// How long a connection that is told to go may take to do so once everything was sent, and how long
/// streams that are being opened then are still served.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

/// Bytes that are thrown away, beyond the body that the windows let a client send: frames that say
/// what it has taken.
const FRAMES: usize = 4 * 1024 * 1024;

impl Peer {
    /// The client is told to go.
    pub(super) fn tell(&self) {
        self.told.set(Some(self.lease.now()));
        hurry(&self.shard, &self.accepted.stream);
    }

    /// Is it too late for streams? The last GOAWAY, behind which h2 takes none, waits for the answer to a PING.
    pub(super) fn is_late(&self) -> bool {
        let told = self.told.get();
        told.is_some_and(|told| self.lease.now().saturating_duration_since(told) >= GOODBYE)
    }

    /// Has the client still to take some of what was written?
    pub(super) fn is_behind(&self) -> bool {
        !self.is_written() || !stream::is_sent(&self.accepted.stream)
    }

    /// Ends our side when all is sent, and waits for the client to end its own: what it says shows that
    /// it is still reading.
    pub(super) async fn part(&self) {
        let settings = &self.shard.settings;
        let http2 = &settings.http2;
        let patience = Patience {
            silence: GOODBYE,
            speech: settings.timeouts.write.0.max(GOODBYE),
            bytes: http2.connection_window(http2.client_streams) as usize + FRAMES,
        };
        linger(&self.shard, &self.lease, &self.accepted.stream, patience).await;
    }

    /// The client has been told what it did wrong.
    pub(super) async fn dismiss(&self) {
        dismiss(&self.shard, &self.lease, &self.accepted.stream).await;
    }
}
