//! What all stages of one client connection share.
use crate::{
    access::pending::Pending,
    shard::{Shard, registry::Lease},
};
use std::{net::SocketAddr, rc::Rc};
use tokio::net::TcpStream;

/// One client connection: borrowed by every stage that serves it.
pub(crate) struct Context<'a> {
    pub(crate) shard: &'a Rc<Shard>,
    pub(crate) lease: &'a Lease,
    pub(crate) client: &'a TcpStream,
    /// Where the client dialled.
    pub(crate) original: SocketAddr,
    /// True when `original` is this very process: passing through would loop.
    pub(crate) original_is_self: bool,
    /// The access log record of what is going on now.
    pub(crate) access: Pending,
}
