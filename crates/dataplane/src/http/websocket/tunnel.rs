//! The bytes of a WebSocket: from the switch on it is a connection of TCP to its backend, and is counted
//! as those are, while it runs. What a client sends before it has seen the switch belongs to no protocol
//! that it can know to be spoken, so it is not passed on (CVE-2026-2833 was a proxy that did).
use crate::{
    context::Context,
    http::{
        body::{Accounts, Broken, Cut, Framing, Http1Sink, Http2Sink, Sink, Source, begin, carry},
        client::Client,
        crossing::Crossing,
        download::breaks_off,
        outcome::{End, Outcome},
        progress::Progress,
        watched::{Stall, watched},
    },
    socket::Socket,
    stream,
    tunnel::{self, Backlog, Patience},
};
use futures_util::future::try_join;
use pointsman_telemetry::{ClusterStats, Flags};
use pointsman_wire::http1::Version;
use std::{cell::Cell, future::poll_fn, pin::pin, rc::Rc, task::Poll};

/// From HTTP/1 to HTTP/1: from socket to socket, to the end. `true`: the client is still to be
/// [heard out](tunnel::hear_out). The error says why it was cut. `first` was received of the client before it
/// could know, `reply` came from the endpoint behind its 101.
pub(in crate::http) async fn run(
    cx: &Context<'_>,
    stats: &Rc<ClusterStats>,
    upstream: &Socket,
    first: Vec<u8>,
    reply: Vec<u8>,
    progress: &Progress,
) -> Result<bool, Flags> {
    if progress.early.get() || !first.is_empty() {
        cx.shard.counts.refuse("bytes_before_upgrade");
        stream::reset_on_close(cx.client);
        return Err(Flags::DPE);
    }
    // No limits of the policy's: those of bytes are for TCP.
    let patience = Patience::of(None, &cx.shard.settings);
    let tunnel = async {
        let tunnel = tunnel::run(cx, upstream, first, reply, patience, &progress.moved);
        let summary = tunnel.await;
        match summary.end {
            tunnel::End::Closed => Ok(summary.unheard),
            tunnel::End::ClientReset | tunnel::End::Cut => Err(Flags::DC),
            tunnel::End::UpstreamReset => Err(Flags::UC),
            tunnel::End::Idle | tunnel::End::TooOld => Err(Flags::SI),
        }
    };
    // Boxed, so that connections which switch to nothing are not as large as this is.
    Box::pin(counted(cx, stats, progress, tunnel)).await
}

/// Runs a tunnel to its end, and counts it meanwhile. The error says why it was cut.
async fn counted<T>(
    cx: &Context<'_>,
    stats: &Rc<ClusterStats>,
    progress: &Progress,
    tunnel: impl Future<Output = Result<T, Flags>>,
) -> Result<T, Flags> {
    progress.switched.set(true);
    stats.tcp_opened();
    let live = cx.shard.live(stats);
    let mut tunnel = pin!(tunnel);
    let end = poll_fn(|cx| {
        let end = tunnel.as_mut().poll(cx);
        live.follow(&progress.moved);
        end
    });
    let end = end.await;
    let flags = end.as_ref().err().copied();
    stats.tcp_closed(flags.unwrap_or(Flags::EMPTY), 0, 0);
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
        // The connections of HTTP/2 go on, and are others' too.
        let mut to_client = match client {
            Client::Http1(_) => Some(Backlog::of(self.cx.client)),
            Client::Http2(_) => None,
        };
        let mut to_endpoint = match &up {
            Sink::Http1(sink) => Some(Backlog::of(sink.to)),
            _ => None,
        };
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
        let up_ended = Cell::new(false);
        let both = async {
            let (sent, received) = (&progress.moved.sent, &progress.moved.received);
            let down = async {
                let carried = whole(&mut from_endpoint, &mut down, sent).await;
                progress.ended.set(carried.is_ok());
                carried.map_err(|cut| match cut {
                    Cut::Source(broken) => Gone::Endpoint(broken),
                    Cut::Sink => Gone::Client,
                })
            };
            let up = async {
                match whole(from_client, &mut up, received).await {
                    Ok(()) => {
                        up_ended.set(true);
                        Ok(())
                    }
                    Err(Cut::Source(_)) => Err(Gone::Client),
                    // What the endpoint has said before it stopped reading is the client's, and may be all it
                    // has to say.
                    Err(Cut::Sink) => {
                        poll_fn(|cx| match progress.ended.get() {
                            true => Poll::Ready(Ok(())),
                            false => {
                                from_client.poll_discard(cx);
                                Poll::Pending
                            }
                        })
                        .await
                    }
                }
            };
            // Polled in this order: what goes up may wait for the end of what comes down.
            try_join(down, up).await
        };
        let mut left_to_kernel = || {
            let backlogs = [
                (&mut to_client, &progress.ended),
                (&mut to_endpoint, &up_ended),
            ];
            let waits = backlogs.map(|(backlog, ended)| {
                let backlog = backlog.as_mut();
                backlog.is_some_and(|it| it.is_left_to_kernel(!ended.get(), idle))
            });
            waits != [false; 2]
        };
        let tunnel = async {
            let mut both = Box::pin(both);
            let limit = loop {
                match watched(
                    self.cx,
                    progress,
                    Some(self.sending),
                    || idle,
                    both.as_mut(),
                )
                .await
                {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(Gone::Endpoint(broken))) => {
                        return Err(breaks_off(self.cx, progress, broken));
                    }
                    Ok(Err(Gone::Client)) | Err(Stall::ClientGone) => return Err(Flags::DC),
                    Err(Stall::Unread) => break "timeouts.write",
                    Err(Stall::Idle) if left_to_kernel() => {}
                    Err(Stall::Idle) => break "timeouts.tunnel_idle",
                }
            };
            self.cx.shard.counts.limit(limit);
            Err(Flags::SI)
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

/// Who has ended a tunnel in the middle.
enum Gone {
    Client,
    Endpoint(Broken),
}

/// Carries one direction from its beginning.
async fn whole(source: &mut Source<'_>, sink: &mut Sink<'_>, moved: &Cell<u64>) -> Result<(), Cut> {
    let accounts = Accounts::of(moved);
    let begun = begin(source, sink, &accounts)?;
    carry(begun, source, sink, accounts).await
}
