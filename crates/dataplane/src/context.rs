//! What all stages of one client connection share.
use crate::{
    access::pending::Pending,
    shard::{Shard, registry::Lease, view::View},
};
use pointsman_route::{Class, Connection, ConnectionDecision, NoTrace, Via};
use std::{net::SocketAddr, rc::Rc};
use tokio::net::TcpStream;

/// One client connection: borrowed by every stage that serves it.
pub(crate) struct Context<'a> {
    pub(crate) shard: &'a Rc<Shard>,
    pub(crate) lease: &'a Lease,
    pub(crate) client: &'a TcpStream,
    /// The client.
    pub(crate) peer: SocketAddr,
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
    /// The view to begin a request with.
    pub(crate) fn view(&self) -> Rc<View> {
        self.shard.view(self.via, self.peer.ip())
    }

    /// Counts a response that is not passed on, or not to its end, and says in the log what is wrong
    /// with it.
    pub(crate) fn refuse_response(&self, reason: &'static str) {
        self.shard.counts.refuse(reason);
        self.access
            .edit(|record| record.transport_failure = reason.into());
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
