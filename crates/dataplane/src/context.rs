//! What all stages of one client connection share.
use crate::{
    access::pending::Pending,
    shard::{
        Shard,
        registry::{IdleEnd, Lease},
        view::View,
    },
    socket::Socket,
    stream,
};
use pointsman_route::{Class, Connection, ConnectionDecision, Inspection, NoTrace, Via};
use pointsman_wire::{
    forwarded::{Sender, Side},
    http1::Reason,
};
use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    time::Duration,
};

/// One client connection: borrowed by every stage that serves it.
pub(crate) struct Context<'a> {
    pub(crate) shard: &'a Rc<Shard>,
    pub(crate) lease: &'a Lease,
    pub(crate) client: &'a Socket,
    /// Who connected.
    pub(crate) peer: SocketAddr,
    /// Whose request is being served: the peer, unless trusted proxies say whom it speaks for.
    pub(crate) source: Cell<SocketAddr>,
    /// By which door it came.
    pub(crate) via: Via,
    /// Where the client dialled.
    pub(crate) original: SocketAddr,
    /// True when `original` is this very process: passing through would loop.
    pub(crate) original_is_self: bool,
    /// The access log record of what is going on now.
    pub(crate) access: Pending,
}

/// What of a ClientHello routing asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// It offers a protocol of the mesh's own (GW-15).
    pub(crate) mesh_alpn: bool,
}

impl Context<'_> {
    /// The view of now, to begin a request or a connection with.
    pub(crate) fn view(&self) -> Rc<View> {
        self.shard.view(self.via, self.peer.ip())
    }

    /// What must be looked at before this connection can be decided on, by the documents of now.
    pub(crate) fn inspection(&self) -> Inspection {
        let view = self.view();
        self.lease.hold(view.generation());
        let table = view.table();
        table.inspection(table.listener(self.original))
    }

    /// As [`Lease::idle`], for something that the client is to send. What has come already is waited for
    /// also in a drain: of a connection that was accepted a moment ago the runtime does not know yet.
    pub(crate) async fn idle<F: Future>(
        &self,
        limit: Duration,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, IdleEnd> {
        match self.lease.idle(limit, future.as_mut()).await {
            Err(IdleEnd::Draining) if stream::is_disturbed(self.client) => {
                // Boxed, as it is rare.
                let come = Box::pin(self.lease.within(limit, future));
                come.await.map_err(IdleEnd::from)
            }
            ended => ended,
        }
    }

    /// Counts a response that is not passed on, or not to its end, and says in the log what is wrong
    /// with it.
    pub(crate) fn refuse_response(&self, reason: &'static str) {
        self.shard.counts.refuse(reason);
        for (over, limit) in [
            (Reason::HeadTooLarge, "limits.head_bytes"),
            (Reason::TooManyFields, "limits.fields"),
        ] {
            if reason == over.as_str() {
                self.shard.counts.limit(limit);
            }
        }
        self.access
            .edit(|record| record.transport_failure = reason.into());
    }

    /// Is what the peer says in `X-Request-Id` and `X-Envoy-*` to be acted upon? A captured client is
    /// trusted (PS-84, VS-H-64), at a gateway only the proxies in `trust.proxies` are (GW-82). What
    /// the others say is gone from their requests before anything reads them.
    pub(crate) fn is_trusted(&self) -> bool {
        let trust = &self.shard.settings.trust;
        match self.via {
            Via::Mesh => true,
            Via::Gateway => trust.has_proxy(self.peer.ip()),
        }
    }

    /// By whom requests are sent here. `peer` is the text of its address.
    pub(crate) fn sender<'s>(&self, view: &View, peer: impl FnOnce() -> &'s str) -> Sender<'s> {
        let trusted = self.is_trusted();
        let (side, hops) = match self.via {
            Via::Mesh => (Side::Mesh, 0),
            Via::Gateway => {
                let trust = &self.shard.settings.trust;
                let told = view.table().context().trusted_hops;
                let hops = match trust.hops.unwrap_or(told) {
                    hops if trusted => hops.max(1),
                    hops if trust.proxies.is_empty() => hops,
                    _ => 0,
                };
                (Side::Edge { peer: peer() }, hops)
            }
        };
        Sender {
            side,
            trusted,
            hops,
            scheme: "http",
        }
    }

    /// A request speaks for this client, or for the peer itself (GW-80).
    pub(crate) fn spoken_for(&self, client: Option<IpAddr>) {
        // Nobody says from which port.
        let source = client.map_or(self.peer, |client| SocketAddr::new(client, 0));
        self.source.set(source);
        if client.is_some() {
            self.access
                .edit(|record| record.downstream_remote = Some(source));
        }
    }

    /// What a view says about this connection, were it of this class and had said this hello.
    pub(crate) fn decide<'v>(
        &self,
        view: &'v View,
        class: Class,
        hello: Option<&Hello>,
    ) -> ConnectionDecision<'v> {
        let table = view.table();
        table.connection(
            table.listener(self.original),
            &Connection {
                original: self.original,
                source: Some(self.peer),
                class,
                sni: hello.and_then(|hello| hello.server_name.as_deref()),
                mesh_alpn: hello.is_some_and(|hello| hello.mesh_alpn),
            },
            &mut NoTrace,
        )
    }
}
