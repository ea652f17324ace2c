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

impl Context<'_> {
    /// The view to begin a request with.
    pub(crate) fn view(&self) -> Rc<View> {
        self.shard.view(self.via, self.peer.ip())
    }

    /// What a view says about this connection, were it of this class and asked for this name.
    pub(crate) fn decide<'v>(
        &self,
        view: &'v View,
        class: Class,
        sni: Option<&str>,
    ) -> ConnectionDecision<'v> {
        let table = view.table();
        table.connection(
            table.listener(self.original),
            &Connection {
                original: self.original,
                source: Some(self.peer),
                class,
                sni,
                mesh_alpn: false,
            },
            &mut NoTrace,
        )
    }
}
