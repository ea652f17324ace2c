//! One client connection, from its first byte to its last: look at it if its port asks for that,
//! decide, serve.
mod detect;
mod tcp;

use crate::{
    access::pending::{Ending, Pending},
    context::Context,
    extension::Recognised,
    http,
    shard::{Shard, endpoint_state::InFlight, view::View},
    socket::Socket,
};
use detect::{Detected, detect};
use pointsman_route::{Class, ConnectionDecision, Via};
use pointsman_runtime::{Guard, offer};
use pointsman_sdk::Session;
use pointsman_telemetry::Flags;
use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub stream: Socket,
    /// The client.
    pub peer: SocketAddr,
    /// By which door it came.
    pub via: Via,
    /// Where the client dialled: the original destination.
    pub original: SocketAddr,
    /// The original destination is a socket of this very process: passing through would loop.
    pub original_is_self: bool,
}

/// An accepted connection on its way to its task, where the shard's registry takes over counting
/// it. Without it a burst would pass `limits.connections`, since accepting is quicker than starting, and
/// a drain would not wait for it.
pub struct Arriving {
    count: Arc<AtomicU32>,
    _guard: Guard,
}

impl Arriving {
    /// Counts as one until dropped.
    pub(crate) fn new(shard: &Shard) -> Self {
        shard.arriving.fetch_add(1, Ordering::Relaxed);
        Self {
            count: shard.arriving.clone(),
            _guard: shard.drain.guard(),
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection to its end. It counts as open from this call on, not only once it is polled.
pub fn serve(shard: Rc<Shard>, accepted: Accepted) -> impl Future<Output = ()> {
    let guard = shard.drain.guard();
    let generation = shard.view(accepted.via, accepted.peer.ip()).generation();
    let lease = shard.registry.join(generation);
    // Not an `async fn`, which would hold its arguments twice.
    async move {
        let _guard = guard;
        let cx = Context {
            shard: &shard,
            lease: &lease,
            client: &accepted.stream,
            peer: accepted.peer,
            source: Cell::new(accepted.peer),
            via: accepted.via,
            original: accepted.original,
            original_is_self: accepted.original_is_self,
            access: Pending::new(shard.clone(), accepted.peer, accepted.original),
        };
        let started = Instant::now();
        // Not the view: a client may be silent for long.
        let inspection = cx.inspection();
        let mut detected = if inspection.is_none() {
            Detected::opaque()
        } else {
            // Boxed, as what follows: a connection is as large as the largest of what it goes through,
            // for all its life.
            match Box::pin(detect(&cx, inspection)).await {
                Ok(detected) => detected,
                Err(why) => {
                    tracing::debug!(
                        peer = %accepted.peer,
                        original = %accepted.original,
                        %why,
                        "connection closed before its protocol was known"
                    );
                    return;
                }
            }
        };
        if detected.extension.is_none()
            && let Some(early) = detected.early.take()
        {
            // It has its endpoint, and keeps it as every tunnel does.
            return Box::pin(early.carry(&cx, detected)).await;
        }
        // Whatever it has said, it is routed by the documents of now.
        let view = cx.view();
        lease.hold(view.generation());
        match detected.extension.take() {
            None => {
                let hello = detected.hello.as_ref();
                let name = hello.and_then(|hello| hello.server_name.as_deref());
                cx.access.begin(name, started);
                cx.access.edit(|record| record.revision = view.generation());
                if let Some(received) = decided(&cx, view, &accepted, detected).await {
                    // Its streams share what belongs to the connection.
                    drop(cx);
                    Box::pin(http::serve_http2(shard, lease, accepted, received)).await;
                }
            }
            Some(protocol) => {
                cx.access.begin(None, started);
                cx.access.edit(|record| {
                    record.revision = view.generation();
                    record.route_name = Some(protocol.name().into());
                    record.why = "extension".into();
                });
                let upstream = Box::pin(tcp::upstream(&cx, &view)).await;
                drop(view);
                let access = cx.access;
                Box::pin(extended(accepted, protocol, detected.bytes, upstream)).await;
                // How many bytes went by is known to the extension alone.
                access.finish(&Ending::of_connection(Flags::EMPTY, (0, 0)));
            }
        }
    }
}

/// Carries out what the table says about a connection; the bytes received of one that speaks HTTP/2
/// are given back, for its streams to be served.
async fn decided(
    cx: &Context<'_>,
    view: Rc<View>,
    accepted: &Accepted,
    detected: Detected,
) -> Option<Vec<u8>> {
    let decision = cx.decide(&view, detected.class, detected.hello.as_ref());
    let http = detected.class == Class::Http;
    match decision {
        ConnectionDecision::Http(_) if detected.http2 => return Some(detected.bytes),
        ConnectionDecision::Http(_) => {
            // Each request takes the view of its own time; this one is let go.
            drop(view);
            http::serve(cx, detected.bytes).await;
        }
        ConnectionDecision::Forward(rule) => {
            cx.access.decided_by(&rule.origin);
            // The endpoint is kept to the end, the view is not.
            let plan = tcp::plan(cx, &view, rule);
            drop(view);
            Box::pin(tcp::forward(cx, plan, detected)).await;
        }
        ConnectionDecision::Blackhole => tcp::blackhole(cx, detected),
        ConnectionDecision::Terminate(server) => {
            cx.access.decided_by(&server.origin);
            tcp::closed(cx, detected, "tls_not_ended");
        }
        ConnectionDecision::Closed(reason) => tcp::closed(cx, detected, reason.as_str()),
        ConnectionDecision::Passthrough if accepted.original_is_self && http => {
            if detected.http2 {
                return Some(detected.bytes);
            }
            drop(view);
            http::serve(cx, detected.bytes).await;
        }
        ConnectionDecision::Passthrough => {
            drop(view);
            Box::pin(tcp::passthrough(cx, detected)).await;
        }
    }
    None
}

/// Leaves a connection to an extension's protocol actor until that is done with it.
async fn extended(
    accepted: Accepted,
    protocol: Recognised,
    received: Vec<u8>,
    upstream: Option<(Socket, InFlight)>,
) {
    let (upstream, _in_flight) = upstream.unzip();
    // Neither was hushed so far.
    let (client, upstream) = (accepted.stream, upstream.map(Socket::into_stream));
    let (Ok(client), Ok(upstream)) = (client.into_stream(), upstream.transpose()) else {
        return;
    };
    let (session, end) = Session::new(client, upstream, received, accepted.peer, accepted.original);
    match offer(&protocol, session) {
        // An error only says that the session was dropped, which is how it ends.
        Ok(()) => drop(end.await),
        Err(refused) => {
            tracing::warn!(protocol = protocol.name(), ?refused, "session refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// A careless local held over an await shows up here as bytes of every connection.
    #[test]
    fn a_connection_is_small() {
        let size = size_of_future(serve);
        assert!(size <= 1616, "{size} bytes");
    }
}
