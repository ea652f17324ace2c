//! The bytes of a WebSocket: from the switch on it is a connection of TCP to its backend, and is counted
//! as those are, while it runs. What a client sends before it has seen the switch belongs to no protocol
//! that it can know to be spoken, so it is not passed on (CVE-2026-2833 was a proxy that did).
use crate::{
    context::Context,
    http::{
        attempts::{End, Outcome},
        body::{Accounts, Cut, Framing, Http1Sink, Http2Sink, Sink, Source, begin, carry},
        client::Client,
        crossing::Crossing,
        watched::watched,
    },
    socket::Socket,
    stream,
    tunnel::{self, Patience, Progress},
};
use pointsman_telemetry::{ClusterStats, Flags};
use pointsman_wire::http1::Version;
use std::{cell::Cell, future::poll_fn, pin::pin, rc::Rc};

/// From HTTP/1 to HTTP/1: from socket to socket, to the end. The error says why it was cut. `first` was
/// received of the client before it could know, `reply` came from the endpoint behind its 101.
pub(in crate::http) async fn run(
    cx: &Context<'_>,
    stats: &Rc<ClusterStats>,
    upstream: &Socket,
    first: Vec<u8>,
    reply: Vec<u8>,
    progress: &Progress,
) -> Result<(), Flags> {
    if progress.early.get() || !first.is_empty() {
        cx.shard.counts.refuse("bytes_before_upgrade");
        stream::reset_on_close(cx.client);
        return Err(Flags::DPE);
    }
    // No limits of the policy's: those of bytes are for TCP.
    let patience = Patience::of(None, &cx.shard.settings);
    let tunnel = async {
        let tunnel = tunnel::run(cx, upstream, first, reply, patience, progress);
        match tunnel.await.end {
            tunnel::End::Closed => Ok(()),
            tunnel::End::ClientReset | tunnel::End::Cut => Err(Flags::DC),
            tunnel::End::UpstreamReset => Err(Flags::UC),
            tunnel::End::Idle | tunnel::End::TooOld => Err(Flags::SI),
        }
    };
    // Boxed, so that connections which switch to nothing are not as large as this is.
    Box::pin(counted(cx, stats, progress, tunnel)).await
}

/// Runs a tunnel to its end, and counts it meanwhile. The error says why it was cut.
async fn counted(
    cx: &Context<'_>,
    stats: &Rc<ClusterStats>,
    progress: &Progress,
    tunnel: impl Future<Output = Result<(), Flags>>,
) -> Result<(), Flags> {
    progress.switched.set(true);
    stats.tcp_opened();
    let live = cx.shard.live(stats);
    let mut tunnel = pin!(tunnel);
    let end = poll_fn(|cx| {
        let end = tunnel.as_mut().poll(cx);
        live.follow(progress);
        end
    });
    let end = end.await;
    stats.tcp_closed(end.err().unwrap_or(Flags::EMPTY), 0, 0);
    end
}

impl Crossing<'_> {
    /// Carries the bytes of a WebSocket until both sides have ended, or one is cut.
    pub(in crate::http) async fn tunnel(
        &self,
        from_client: &mut Source<'_>,
        mut up: Sink<'_>,
        mut from_endpoint: Source<'_>,
        client: &mut Client<'_>,
    ) -> End {
        let progress = self.progress;
        let mut stream;
        let mut down = match client {
            Client::Http1(out) => {
                let unread = stream::peek(self.cx.client) == stream::Peer::Spoke;
                if unread || from_client.is_early() {
                    self.cx.shard.counts.refuse("bytes_before_upgrade");
                    return End::Other(Outcome::Abort {
                        status: 101,
                        flags: Flags::DPE,
                    });
                }
                Sink::Http1(Http1Sink {
                    to: self.cx.client,
                    out,
                    framing: Framing::Tunnel,
                    whole: None,
                    left: &progress.unwritten,
                })
            }
            Client::Http2(answering) => match answering.take_body() {
                None => {
                    return End::Other(Outcome::Abort {
                        status: 200,
                        flags: Flags::DC,
                    });
                }
                Some(taken) => {
                    stream = taken;
                    Sink::Http2(Http2Sink {
                        to: &mut stream,
                        left: &progress.unwritten,
                    })
                }
            },
        };
        progress.answering.set(true);
        let status = match self.forward.facts.version {
            Version::Http2 => 200,
            _ => 101,
        };
        let idle = self.cx.shard.settings.timeouts.tunnel_idle.0;
        let both = async {
            let (sent, received) = (&progress.sent, &progress.received);
            let up = whole(from_client, &mut up, received);
            let down = whole(&mut from_endpoint, &mut down, sent);
            let up = async { up.await.map_err(|cut| matches!(cut, Cut::Source(_))) };
            let down = async { down.await.map_err(|cut| matches!(cut, Cut::Sink)) };
            tokio::try_join!(up, down)
        };
        let tunnel = async {
            match watched(self.cx, progress, || idle, Box::pin(both)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(client_gone)) if client_gone => Err(Flags::DC),
                Ok(Err(_)) => Err(Flags::UC),
                Err(_) => Err(Flags::SI),
            }
        };
        match counted(self.cx, self.forward.stats(), progress, tunnel).await {
            Ok(()) => End::Finished {
                status,
                reusable: false,
                keep: false,
            },
            Err(flags) => End::Other(Outcome::Abort { status, flags }),
        }
    }
}

/// Carries one direction from its beginning.
async fn whole(source: &mut Source<'_>, sink: &mut Sink<'_>, moved: &Cell<u64>) -> Result<(), Cut> {
    let accounts = Accounts::of(moved);
    let begun = begin(source, sink, &accounts)?;
    carry(begun, source, sink, accounts).await
}
